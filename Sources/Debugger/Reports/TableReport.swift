import VMCore
import X86

/// Descriptor tables as rows, every entry decoded and what is wrong with it said.
package struct TableReport {
  private let state: VCPUState
  private let memory: GuestMemory
  private let symbols: SymbolTable
  private let view: AddressSpaceView
  private var longMode: Bool { state.efer & EFER.lma != 0 }

  package init(_ state: VCPUState, _ memory: GuestMemory, symbols: SymbolTable = .empty) {
    self.state = state
    self.memory = memory
    self.symbols = symbols
    view = AddressSpaceView(state: state, memory: memory)
  }

  // MARK: GDT and LDT

  /// The global descriptor table; entry 0 and runs of empty entries are told in one row.
  package var gdt: [ReportRow] {
    let head = place("GDT", state.gdtr.base, UInt64(state.gdtr.limit))
    if state.cr0 & CR0.pe == 0 {
      return [head, ReportRow("real mode does not use it; this is where GDTR points", .dim), columns]
        + segments(state.gdtr.base, UInt64(state.gdtr.limit), bits: 0)
    }
    return [head, columns] + segments(state.gdtr.base, UInt64(state.gdtr.limit), bits: 0)
  }

  /// The local descriptor table LDTR holds.
  package var ldt: [ReportRow] {
    let ldtr = state[.ldtr]
    guard ldtr.present, !ldtr.unusable, ldtr.selector & 0xFFFC != 0 else {
      return [ReportRow("LDTR \(Hex.padded(UInt64(ldtr.selector), 4)): there is no LDT", .dim)]
    }
    let head = place("LDT", ldtr.base, UInt64(ldtr.limit), selector: ldtr.selector)
    return [head, columns] + segments(ldtr.base, UInt64(min(ldtr.limit, 0xFFFF)), bits: 4)
  }

  private var columns: ReportRow { ReportRow("sel   type                     base      limit     DPL P", .dim) }

  private func place(_ name: String, _ base: UInt64, _ limit: UInt64, selector: UInt16? = nil) -> ReportRow {
    var row = ReportRow(target: .linear(base))
    row.add("\(name) ", .heading)
    if let selector { row.add("\(Hex.padded(UInt64(selector), 4)) ", .value) }
    row.add("at \(Hex.padded(base, longMode ? 16 : 8)) limit \(Hex.text(limit))", .value)
    return row
  }

  private func segments(_ base: UInt64, _ last: UInt64, bits: UInt16) -> [ReportRow] {
    var rows: [ReportRow] = []
    var offset: UInt64 = 0
    var emptyFrom: UInt64?
    func closeGap(_ end: UInt64) {
      guard let from = emptyFrom else { return }
      emptyFrom = nil
      let isNull = from == 0 && bits == 0
      let range = end - from <= 8 ? Hex.padded(from, 4) : "\(Hex.padded(from, 4))-\(Hex.padded(end - 8, 4))"
      rows.append(ReportRow("\(range)  " + (isNull && end == 8 ? "null, as it must be" : "empty"), .dim))
    }
    while offset + 7 <= last, rows.count < 1024 {
      let at = GVA(base &+ offset)
      guard let raw = view.load(at, size: 8) else {
        closeGap(offset)
        rows.append(ReportRow("\(Hex.padded(offset, 4))  cannot be read: \(unreadable(at))", .bad))
        offset = (offset | 0xFFF) &+ 1 & ~7
        continue
      }
      if raw == 0 {
        if emptyFrom == nil { emptyFrom = offset }
        offset += 8
        continue
      }
      closeGap(offset)
      let high = longMode ? view.load(GVA(at.value &+ 8), size: 8) ?? 0 : 0
      let descriptor = Descriptor(raw, high: high, longMode: longMode)
      rows.append(row(UInt16(truncatingIfNeeded: offset) | bits, descriptor, at, isFirst: offset == 0 && bits == 0))
      offset += UInt64(descriptor.size)
    }
    closeGap(offset)
    if last != 0, (last + 1) % 8 != 0 {
      rows.append(ReportRow("limit \(Hex.text(last)) ends inside an entry: a table of n entries has limit 8n-1", .bad))
    }
    return rows
  }

  private func unreadable(_ at: GVA) -> String { view.translate(at) == nil ? "not mapped" : "no memory there" }

  private func row(_ selector: UInt16, _ descriptor: Descriptor, _ at: GVA, isFirst: Bool) -> ReportRow {
    var row = ReportRow(target: .linear(at.value))
    row.add(Hex.padded(UInt64(selector), 4) + "  ", .address)
    row.add(descriptor.typeText, width: 24, descriptor.present ? .plain : .dim)
    if descriptor.isGate {
      row.add("-> \(Hex.padded(UInt64(descriptor.selector), 4)):\(Hex.padded(descriptor.offset, 8)) ", .value)
    } else {
      row.add(Hex.padded(descriptor.base, longMode && descriptor.isSystem ? 16 : 8) + "  ", .value)
      row.add(Hex.padded(UInt64(descriptor.limit), 8) + "  ", .value)
    }
    row.add("\(descriptor.dpl) \(descriptor.present ? "P" : "-")", .value)
    if descriptor.granular, !descriptor.isGate { row.add(" G", .dim) }
    for fault in faults(descriptor, isFirst: isFirst) { row.add("  ! \(fault)", .bad) }
    for name in users(of: selector) { row.add("  <- \(name)", .set) }
    return row
  }

  /// Segment registers that hold this selector now.
  private func users(of selector: UInt16) -> [String] {
    SegmentName.allCases.filter { name in
      let segment = state[name]
      return segment.selector & 0xFFFC == selector & 0xFFFC && !segment.unusable && segment.selector & 0xFFFC != 0
    }.map { $0.name.uppercased() }
  }

  /// What the processor would refuse about a segment or system descriptor (SDM 3A 3.4.5, 3.5, 5.8.3).
  private func faults(_ descriptor: Descriptor, isFirst: Bool) -> [String] {
    var faults: [String] = []
    if isFirst { faults.append("entry 0 is never used") }
    if case .reserved(let type) = descriptor.kind { faults.append("type \(type) is reserved: #GP") }
    if !descriptor.present { faults.append("not present: #NP") }
    if case .code = descriptor.kind, longMode, descriptor.long, descriptor.big {
      faults.append("L and D both set: reserved")
    }
    if descriptor.size == 16 {
      let upper = Int64(bitPattern: descriptor.base) >> 47
      if !descriptor.isGate, upper != 0, upper != -1 { faults.append("base is not canonical") }
      if descriptor.rawHigh >> 40 & 0x1F != 0 { faults.append("upper half has a type: must be 0") }
    }
    if case .tss(let bits, _) = descriptor.kind {
      let least: UInt32 = bits == 16 ? 0x2B : 0x67
      if descriptor.limit < least { faults.append("limit below \(Hex.text(UInt64(least))): #TS") }
    }
    if descriptor.isGate { faults += gateFaults(descriptor) }
    return faults
  }

  // MARK: IDT and IVT

  /// The interrupt table the processor uses now: vectors in real mode, gates elsewhere.
  package var interrupts: [ReportRow] { state.cr0 & CR0.pe == 0 ? ivt : idt }

  private var ivt: [ReportRow] {
    var head = ReportRow(target: .linear(state.idtr.base))
    head.add("IVT ", .heading)
    head.add("at \(Hex.padded(state.idtr.base, 8)) limit \(Hex.text(UInt64(state.idtr.limit)))", .value)
    head.add("  vector  CS:IP", .dim)
    var rows = [head]
    let table = DescriptorTables.ivt(state, memory, symbols: symbols)
    var index = 0
    while index < table.count {
      let entry = table[index]
      var end = index + 1
      while end < table.count, table[end].segment == entry.segment, table[end].offset == entry.offset { end += 1 }
      rows.append(vectorRow(entry, last: end - index > 2 ? table[end - 1].vector : nil))
      index = end - index > 2 ? end : index + 1
    }
    if table.count < 256 {
      rows.append(ReportRow("vectors from \(Hex.padded(UInt64(table.count), 2))h on lie beyond the limit: #GP", .bad))
    }
    return rows
  }

  private func vectorRow(_ entry: InterruptVectorRow, last: Vector?) -> ReportRow {
    var row = ReportRow(target: .linear(entry.address.value))
    let range = last.map { "-\(Hex.padded(UInt64($0), 2))" } ?? ""
    row.add(Column.left(Hex.padded(UInt64(entry.vector), 2) + range, 6), .address)
    row.add("\(Hex.padded(UInt64(entry.segment), 4)):\(Hex.padded(UInt64(entry.offset), 4))  ", .value)
    if let name = symbols.name(of: entry.address.value) { row.add("<\(name)>  ", .symbol) }
    if last == nil, let meaning = Self.vectorMeaning(entry.vector) { row.add(meaning, .dim) }
    if entry.segment == 0, entry.offset == 0 { row.add("  not set", .bad) }
    return row
  }

  /// What a vector is for by the architecture; the PC's firmware uses low vectors for its own ends.
  private static func vectorMeaning(_ vector: Vector) -> String? {
    Exception(rawValue: vector).map { "\($0.mnemonic) \($0.meaning)" }
  }

  private var idt: [ReportRow] {
    let size: UInt64 = longMode ? 16 : 8
    let limit = UInt64(state.idtr.limit)
    var head = ReportRow(target: .linear(state.idtr.base))
    head.add("IDT ", .heading)
    head.add("at \(Hex.padded(state.idtr.base, longMode ? 16 : 8)) limit \(Hex.text(limit))", .value)
    head.add("  vector  gate", .dim)
    var rows = [head]
    var emptyFrom: UInt64?
    func closeGap(_ end: UInt64) {
      guard let from = emptyFrom else { return }
      emptyFrom = nil
      let range = end - from == 1 ? Hex.padded(from, 2) : "\(Hex.padded(from, 2))-\(Hex.padded(end - 1, 2))"
      rows.append(ReportRow("\(range)  empty: #GP if it comes", .dim))
    }
    let count = min((limit + 1) / size, 256)
    for vector in 0..<count {
      let at = GVA(state.idtr.base &+ vector * size)
      guard let raw = view.load(at, size: 8) else {
        closeGap(vector)
        rows.append(ReportRow("\(Hex.padded(vector, 2)) and on: cannot be read, \(unreadable(at))", .bad))
        return rows
      }
      if raw == 0 {
        if emptyFrom == nil { emptyFrom = vector }
        continue
      }
      closeGap(vector)
      let high = longMode ? view.load(GVA(at.value &+ 8), size: 8) ?? 0 : 0
      rows.append(gate(vector, Descriptor(raw, high: high, longMode: longMode), at))
    }
    closeGap(count)
    if count < 256 { rows.append(ReportRow("vectors from \(Hex.padded(count, 2))h on lie beyond the limit: #GP", .dim)) }
    return rows
  }

  private func gate(_ vector: UInt64, _ descriptor: Descriptor, _ at: GVA) -> ReportRow {
    var row = ReportRow(target: .linear(descriptor.isGate ? descriptor.offset : at.value))
    row.add(Hex.padded(vector, 2) + "  ", .address)
    row.add(descriptor.typeText, width: 18, descriptor.present ? .plain : .dim)
    if descriptor.isGate {
      let digits = descriptor.size == 16 ? 16 : 8
      row.add("\(Hex.padded(UInt64(descriptor.selector), 4)):\(Hex.padded(descriptor.offset, digits)) ", .value)
      row.add("DPL\(descriptor.dpl)\(descriptor.ist > 0 ? " IST\(descriptor.ist)" : "")  ", .value)
      if let name = symbols.name(of: descriptor.offset) { row.add("<\(name)>  ", .symbol) }
    }
    if let meaning = Exception(rawValue: UInt8(truncatingIfNeeded: vector)) { row.add(meaning.mnemonic, .dim) }
    let wrong = descriptor.isGate ? gateFaults(descriptor) : ["no gate: #GP"]
    for fault in wrong { row.add("  ! \(fault)", .bad) }
    return row
  }

  /// What keeps a gate from being used (SDM 3A 6.12.1, 6.14.1).
  private func gateFaults(_ gate: Descriptor) -> [String] {
    var faults: [String] = []
    if !gate.present { faults.append("not present: #NP") }
    if case .callGate = gate.kind, longMode, gate.ist != 0 { return faults }
    let upper = Int64(bitPattern: gate.offset) >> 47
    if gate.size == 16, upper != 0, upper != -1 { faults.append("offset is not canonical") }
    do throws(DescriptorFault) {
      let target = try DescriptorTables.descriptor(gate.selector, state: state, memory: memory)
      switch target.kind {
      case .code: if !target.present { faults.append("its code segment is not present") }
      case .tss: if gate.kind != .taskGate { faults.append("selector names a TSS, not code: #GP") }
      default: faults.append("selector names no code segment: #GP")
      }
      if longMode, case .code = target.kind, !target.long { faults.append("its code segment is not 64-bit: #GP") }
    } catch {
      faults.append("selector \(Hex.padded(UInt64(gate.selector), 4)): \(error.text)")
    }
    return faults
  }

  // MARK: TSS

  /// The task state segment field by field, and which ring's stack it gives.
  package var tss: [ReportRow] {
    let tr = state[.tr]
    let fields = DescriptorTables.tss(state, memory, symbols: symbols)
    guard !fields.isEmpty else {
      return [ReportRow("TR \(Hex.padded(UInt64(tr.selector), 4)): it holds no TSS", .dim)]
    }
    var head = ReportRow(target: .linear(tr.base))
    head.add("TSS ", .heading)
    head.add("\(Hex.padded(UInt64(tr.selector), 4)) ", .value)
    head.add("at \(Hex.padded(tr.base, longMode ? 16 : 8)) limit \(Hex.text(UInt64(tr.limit)))", .value)
    head.add("  \(SegmentText.type(accessRights: tr.access))", .dim)
    var rows = [head]
    for pair in stride(from: 0, to: fields.count, by: 2) {
      var row = ReportRow(target: .linear(tr.base &+ fields[pair].offset))
      for field in fields[pair..<min(pair + 2, fields.count)] {
        row.add("+\(Hex.padded(field.offset, 2)) ", .dim)
        row.add(field.text, width: 30, field.value == nil ? .bad : .value)
      }
      rows.append(row)
    }
    if let map = fields.first(where: { $0.name == "I/O map" })?.value { rows.append(ioMap(map, tr)) }
    return rows
  }

  private func ioMap(_ offset: UInt64, _ tr: SegmentState) -> ReportRow {
    guard offset <= UInt64(tr.limit) else {
      return ReportRow("I/O map lies beyond the limit: with CPL above IOPL no port is allowed", .dim)
    }
    let count = Int(min(UInt64(tr.limit) - offset, 8192))
    let bytes = view.readable(GVA(tr.base &+ offset), count: count)
    let open = bytes.reduce(0) { $0 + 8 - $1.nonzeroBitCount }
    return ReportRow("I/O map covers ports 0-\(Hex.padded(UInt64(max(bytes.count * 8 - 1, 0)), 4)): \(open) open", .value)
  }
}
