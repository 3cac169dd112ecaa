import VMCore
import X86

/// One field of a TSS as it stands in memory.
package struct TaskStateField: Equatable, Sendable {
  package var name: String
  package var offset: UInt64
  /// nil where memory cannot be read or the limit ends before.
  package var value: UInt64?
  package var text: String
}

extension DescriptorTables {
  /// The TSS that TR points to, field by field (SDM 3A figures 8-2, 8-10 and 8-11); empty where TR holds none.
  package static func tss(
    _ state: VCPUState, _ memory: GuestMemory, symbols: SymbolTable = .empty
  ) -> [TaskStateField] {
    let tr = state[.tr]
    guard tr.present, !tr.unusable, tr.selector & 0xFFFC != 0 else { return [] }
    let layout = state.efer & EFER.lma != 0 ? layout64 : tr.type & 8 != 0 ? layout32 : layout16
    let view = AddressSpaceView(state: state, memory: memory)
    return layout.map { name, offset, size in
      let inside = offset + UInt64(size) - 1 <= UInt64(tr.limit)
      let value = inside ? view.load(GVA(tr.base &+ offset), size: size) : nil
      let number = value.map { Hex.padded($0, size * 2) } ?? (inside ? "unreadable" : "outside the limit")
      let isCode = name == "RIP" || name == "EIP" || name == "IP"
      let place = isCode ? value.flatMap { symbols.name(of: $0) }.map { " <\($0)>" } ?? "" : ""
      return TaskStateField(name: name, offset: offset, value: value, text: "\(name) \(number)\(place)")
    }
  }

  private typealias Layout = [(name: String, offset: UInt64, size: Int)]

  private static let layout64: Layout = {
    var fields: Layout = (0..<3).map { ("RSP\($0)", 4 + UInt64($0) * 8, 8) }
    fields += (1...7).map { ("IST\($0)", 28 + UInt64($0) * 8, 8) }
    return fields + [("I/O map", 102, 2)]
  }()

  private static let layout32: Layout = {
    var fields: Layout = [("link", 0, 2)]
    for ring in 0..<3 {
      fields.append(("ESP\(ring)", 4 + UInt64(ring) * 8, 4))
      fields.append(("SS\(ring)", 8 + UInt64(ring) * 8, 2))
    }
    let words = ["CR3", "EIP", "EFLAGS", "EAX", "ECX", "EDX", "EBX", "ESP", "EBP", "ESI", "EDI"]
    for (index, name) in words.enumerated() { fields.append((name, 28 + UInt64(index) * 4, 4)) }
    for (index, name) in ["ES", "CS", "SS", "DS", "FS", "GS", "LDT"].enumerated() {
      fields.append((name, 72 + UInt64(index) * 4, 2))
    }
    return fields + [("T", 100, 2), ("I/O map", 102, 2)]
  }()

  private static let layout16: Layout = {
    let names = [
      "link", "SP0", "SS0", "SP1", "SS1", "SP2", "SS2", "IP", "FLAGS", "AX", "CX", "DX", "BX", "SP", "BP", "SI", "DI",
      "ES", "CS", "SS", "DS", "LDT",
    ]
    return names.enumerated().map { ($1, UInt64($0) * 2, 2) }
  }()
}
