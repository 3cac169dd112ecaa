import Debugger
import Session
import TerminalUI
import VMCore

/// The processor's tables in memory: GDT, LDT, IDT or IVT, TSS; and from here the map, the walk and the MSRs.
package final class TablesPane: ReportPane {
  private enum Table: Int, CaseIterable {
    case gdt, ldt, interrupts, tss, map, walk, msr
    var key: Unicode.Scalar {
      switch self {
      case .gdt: "g"
      case .ldt: "l"
      case .interrupts: "d"
      case .tss: "t"
      case .map: "m"
      case .walk: "w"
      case .msr: "x"
      }
    }
  }
  /// The one asked for; without, the vectors in real mode and the GDT elsewhere.
  private var chosen: Table?
  private let paging: PagingPane

  package init(paging: PagingPane) {
    self.paging = paging
    super.init(.tables, followsEnd: false)
  }

  private func table(_ snapshot: SessionSnapshot) -> Table {
    chosen ?? (snapshot.vcpu.mode == .real16 ? .interrupts : .gdt)
  }

  package override var view: Int { (chosen?.rawValue ?? -1) &+ Int(truncatingIfNeeded: walked &* 8) }
  private var walked: UInt64 = 0

  package override func render(_ snapshot: SessionSnapshot, on canvas: Canvas, focused: Bool) {
    walked = paging.target(snapshot)
    super.render(snapshot, on: canvas, focused: focused)
  }

  package override func title(_ snapshot: SessionSnapshot) -> String {
    let isReal = snapshot.vcpu.mode == .real16
    let names = ["GDT", "LDT", isReal ? "IVT" : "IDT", "TSS", "map", "walk", "MSR"]
    let table = table(snapshot)
    return "System " + zip(Table.allCases, names).map { $0 == table ? "[\($0.key) \($1)]" : "\($0.key) \($1)" }.joined(separator: " ")
  }

  package override func makeRows(_ snapshot: SessionSnapshot, width: Int) -> [ReportRow] {
    let report = TableReport(snapshot.vcpu, snapshot.memory, symbols: snapshot.symbols)
    switch table(snapshot) {
    case .gdt: return report.gdt
    case .ldt: return report.ldt
    case .interrupts: return report.interrupts
    case .tss: return report.tss
    case .map: return PagingReport(snapshot.vcpu, snapshot.memory, symbols: snapshot.symbols).map()
    case .walk: return paging.walk(snapshot)
    case .msr: return RegisterReport(snapshot.vcpu, before: snapshot.before).msrs
    }
  }

  package override func handleKey(_ key: Key, _ snapshot: SessionSnapshot) -> PaneResponse {
    guard key.modifiers.isEmpty else { return .ignored }
    let all = Table.allCases
    switch key.code {
    case .right: chosen = all[(table(snapshot).rawValue + 1) % all.count]
    case .left: chosen = all[(table(snapshot).rawValue + all.count - 1) % all.count]
    default:
      guard let asked = all.first(where: { $0.key == key.typed }) else { return .ignored }
      chosen = asked
    }
    select(nil)
    return .handled
  }
}
