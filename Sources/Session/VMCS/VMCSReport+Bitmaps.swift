import Debugger
import VMCore
import X86

/// A port somebody answers at, and what it is called: "COM1 THR".
package struct NamedPort: Equatable, Sendable {
  package var port: UInt16
  package var name: String
  package init(port: UInt16, name: String) {
    self.port = port
    self.name = name
  }
}

extension VMCSReport {
  var bitmapRows: [VMCSRow] {
    [VMCSRow(.heading("I/O bitmaps A and B: ports with their devices"))] + portRows
      + [VMCSRow(.heading("MSR bitmap: R read exits, W write exits"))] + msrRows
      + [VMCSRow(.heading("Exception bitmap"))] + exceptionRows
  }

  // MARK: ports

  /// Each port a device answers at, and what lies between by runs of equal bits.
  private var portRows: [VMCSRow] {
    guard view.effective.vmcs.has(.useIOBitmaps) else {
      let all = view.effective.vmcs.has(.unconditionalIOExiting)
      return [VMCSRow(ReportRow("  not used: \"use I/O bitmaps\" is 0, so \(all ? "every" : "no") port exits", .dim))]
    }
    var rows: [VMCSRow] = []
    var next = 0
    for named in snapshot.ports {
      rows += runs(from: next, to: Int(named.port))
      rows.append(port(Int(named.port), Int(named.port), named.name))
      next = Int(named.port) + 1
    }
    return rows + runs(from: next, to: 0x10000)
  }

  /// Ports nobody has, from `from` to below `to`, by runs of equal bits.
  private func runs(from: Int, to: Int) -> [VMCSRow] {
    var rows: [VMCSRow] = []
    var start = from
    while start < to {
      let bit = isOn(start)
      var end = start
      while end + 1 < to, isOn(end + 1) == bit { end += 1 }
      rows.append(port(start, end, "nobody"))
      start = end + 1
    }
    return rows
  }

  private func isOn(_ port: Int) -> Bool { view.effective.bitmaps[port: UInt16(truncatingIfNeeded: port)] }

  private func port(_ first: Int, _ last: Int, _ name: String) -> VMCSRow {
    let bit = isOn(first)
    let port = UInt16(truncatingIfNeeded: first)
    var row = ReportRow(bit ? "  [x] " : "  [ ] ", bit ? .set : .clear)
    row.add(Hex.padded(UInt64(first), 4) + (last > first ? "-" + Hex.padded(UInt64(last), 4) : ""), width: 10, .address)
    row.add(name, width: 30, name == "nobody" ? .dim : .symbol)
    let askers = view.askers { $0.bitmaps[port: port] }
    if bit, !askers.isEmpty { row.add("asked for by \(askers.joined(separator: ", "))", .changed) }
    if !bit { row.add("straight to the device, no exit", .dim) }
    return VMCSRow(row, .port(port...UInt16(truncatingIfNeeded: last)))
  }

  // MARK: MSRs

  /// MSRs that have a name or belong to the processor or its local APIC.
  static let shownMSRs: [UInt32] =
    (VMCSBitmaps.processorMSRs + [MSR.apicBase, MSR.tscDeadline]
      + (MSR.x2apicFirst...MSR.x2apicFirst + 0x3F).filter { MSR.name($0)?.hasPrefix("IA32_X2APIC_8") == false })
    .sorted()

  private var msrRows: [VMCSRow] {
    guard view.effective.vmcs.has(.useMSRBitmaps) else {
      return [VMCSRow(ReportRow("  not used: \"use MSR bitmaps\" is 0, so every MSR exits", .dim))]
    }
    let others = VMCSRow(ReportRow("  others: 'vmcs set msr INDEX r|w on|off'; outside 0-1fffh and c0000000-c0001fffh all exit", .dim))
    return Self.shownMSRs.flatMap { [msr($0, write: false), msr($0, write: true)] } + [others]
  }

  private func msr(_ index: UInt32, write: Bool) -> VMCSRow {
    let bit = view.effective.bitmaps.contains(msr: index, write: write) ?? true
    var row = ReportRow(bit ? "  [x] " : "  [ ] ", bit ? .set : .clear)
    row.add(write ? "W" : "R", width: 2, .plain)
    row.add(Hex.padded(UInt64(index), 8), width: 9, .address)
    row.add(MSR.text(index), width: 30, .symbol)
    let askers = view.askers { $0.bitmaps.contains(msr: index, write: write) == true }
    if bit, !askers.isEmpty { row.add("asked for by \(askers.joined(separator: ", "))", .changed) }
    if !bit { row.add(VMCSBitmaps.processorMSRs.contains(index) ? "the processor's own" : "straight to the platform", .dim) }
    return VMCSRow(row, .msr(index, write: write))
  }

  // MARK: exceptions

  private var exceptionRows: [VMCSRow] {
    (0..<32).map { vector in
      let bit = image[.exceptionBitmap] >> UInt64(vector) & 1 != 0
      var row = ReportRow(bit ? "  [x] " : "  [ ] ", bit ? .set : .clear)
      row.add(Hex.padded(UInt64(vector), 2), width: 4, .address)
      let exception = Exception(rawValue: UInt8(vector))
      row.add(exception.map { "\($0.mnemonic) \($0.meaning)" } ?? "reserved", width: 30, exception == nil ? .dim : .plain)
      if view.effective.wishes.vectors[UInt8(vector)] {
        let who = view.askers.filter { $0.controls.wishes.vectors[UInt8(vector)] }.map(\.name)
        row.add("exits as asked for by \(who.joined(separator: ", "))", .changed)
      }
      return VMCSRow(row, .exception(UInt8(vector)))
    }
  }
}
