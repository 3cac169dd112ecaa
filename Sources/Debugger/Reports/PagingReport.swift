import VMCore
import X86

/// The translation of one linear address level by level, and what the tables map, as rows.
package struct PagingReport {
  private let state: VCPUState
  private let memory: GuestMemory
  private let symbols: SymbolTable

  package init(_ state: VCPUState, _ memory: GuestMemory, symbols: SymbolTable = .empty) {
    self.state = state
    self.memory = memory
    self.symbols = symbols
  }

  private var mode: PagingMode { PagingMode(cr0: state.cr0, cr4: state.cr4, efer: state.efer) }
  private var digits: Int { mode == .level4 ? 16 : 8 }

  // MARK: one address

  /// The walk for `address`: CR3, each level with its bits, the outcome, and who may do what there.
  package func walk(_ address: GVA) -> [ReportRow] {
    let walk = PageWalk(address, state: state, memory: memory)
    var head = ReportRow(target: .linear(address.value))
    head.add("GVA ", .dim)
    head.add(Hex.padded(address.value, digits), .address)
    if let name = symbols.name(of: address.value) { head.add(" <\(name)>", .symbol) }
    head.add("  paging \(mode.name)", .plain)
    guard mode != .none else {
      head.add(" (CR0.PG=0): a linear address is the physical one", .dim)
      return [head, outcome(walk)]
    }
    head.add("  CR3 ", .dim)
    head.add(Hex.padded(walk.cr3, digits), .value)
    var rows = [head, columns]
    rows += walk.steps.map { step($0, isLast: $0 == walk.steps.last, walk) }
    rows.append(outcome(walk))
    rows += accesses(walk)
    return rows
  }

  private var columns: ReportRow {
    ReportRow("level  index  entry at  entry             P W U PWT PCD A D PS G NX", .dim)
  }

  private func step(_ step: PageWalkStep, isLast: Bool, _ walk: PageWalk) -> ReportRow {
    var row = ReportRow(target: .physical(step.entryAddress.value))
    row.add(step.level.name, width: 6, .heading)
    row.add(Column.right(Hex.padded(step.index, 3), 5) + "  ", .value)
    row.add(Hex.padded(step.entryAddress.value, 8) + "  ", .address)
    row.add(Hex.padded(step.entry, 16) + "  ", .value)
    for (text, isSet) in bits(step) { row.add(text + " ", isSet ? .set : .clear) }
    if step.isLeaf, step.level != .pte, walk.fault == nil { row.add(" maps \(sizeText(walk.pageSize))", .plain) }
    if isLast, let fault = walk.fault { row.add(" <- \(fault.text)", .bad) }
    return row
  }

  /// The flags in the columns' order, a dot where a bit has no meaning at this level.
  private func bits(_ step: PageWalkStep) -> [(String, Bool)] {
    let entry = step.entry
    guard entry & PageEntry.present != 0 else { return [("-", false)] }
    let hasRights = !(mode == .pae && step.level == .pdpte)
    func bit(_ mask: UInt64, _ letter: String, _ applies: Bool = true) -> (String, Bool) {
      let isSet = entry & mask != 0
      let width = letter.count
      let text = !applies ? "." : isSet ? letter : "-"
      return (Column.left(text, width), applies && isSet)
    }
    return [
      bit(PageEntry.present, "P"), bit(PageEntry.writable, "W", hasRights), bit(PageEntry.user, "U", hasRights),
      bit(PageEntry.writeThrough, "PWT"), bit(PageEntry.cacheDisable, "PCD"), bit(PageEntry.accessed, "A", hasRights),
      bit(PageEntry.dirty, "D", step.isLeaf), bit(PageEntry.large, "PS", step.level != .pte && step.level != .pml4e),
      bit(PageEntry.global, "G", step.isLeaf), bit(PageEntry.noExecute, "NX", mode != .bits32),
    ]
  }

  private func sizeText(_ size: UInt64) -> String {
    size >= 1 << 30 ? "1 GiB" : size >= 1 << 20 ? "\(size >> 20) MiB" : "4 KiB"
  }

  private func outcome(_ walk: PageWalk) -> ReportRow {
    guard let result = walk.result else {
      var row = ReportRow("=> no translation: ", .bad)
      row.add(walk.fault?.text ?? "", .bad)
      if case .nonCanonical? = walk.fault { row.add(" (#GP, not #PF)", .dim) } else { row.add(" (#PF)", .dim) }
      return row
    }
    var row = ReportRow("=> GPA ", .dim)
    row.target = .physical(result.value)
    row.add(Hex.padded(result.value, 8), .address)
    if let slot = memory.slot(at: result) {
      row.add(slot.kind == .rom ? "  ROM" : "  RAM", .value)
      if let host = memory.hva(result) { row.add("  HVA \(Hex.padded(host.value, 12))", .dim) }
    } else {
      row.add("  no memory there: MMIO or nothing", .bad)
    }
    if walk.mode != .none { row.add("  \(sizeText(walk.pageSize)) page", .plain) }
    return row
  }

  /// Who may do what at the address, and why not.
  private func accesses(_ walk: PageWalk) -> [ReportRow] {
    guard walk.fault == nil else { return errorCode(walk) }
    let kinds: [(String, Bool, Bool)] = [("read", false, false), ("write", true, false), ("execute", false, true)]
    return [UInt8(0), 3].map { cpl in
      var row = ReportRow("CPL\(cpl)", .dim)
      let obstacles = kinds.map { walk.obstacle(write: $0.1, execute: $0.2, cpl: cpl, state: state) }
      if let same = obstacles[0], obstacles.allSatisfy({ $0 == same }) {
        row.add("  no access: \(same.text)", .bad)
        return row
      }
      for (name, write, execute) in kinds {
        let obstacle = walk.obstacle(write: write, execute: execute, cpl: cpl, state: state)
        row.add("  \(name) ", .dim)
        row.add(obstacle == nil ? "yes" : "no: \(obstacle?.text ?? "")", obstacle == nil ? .set : .bad)
      }
      return row
    }
  }

  /// What the page fault would push (SDM 3A 4.7).
  private func errorCode(_ walk: PageWalk) -> [ReportRow] {
    var code: UInt32 = 0
    switch walk.fault {
    case .nonCanonical, nil: return []
    case .reservedBit: code = PageFaultError.present | PageFaultError.reserved
    default: break
    }
    let user = state.cpl == 3 ? PageFaultError.user : 0
    let read = code | user
    let write = read | PageFaultError.write
    return [
      ReportRow(
        "error code at CPL\(state.cpl): read \(Hex.text(UInt64(read))), write \(Hex.text(UInt64(write)))", .dim)
    ]
  }

  // MARK: everything mapped

  /// What the tables map, from `from` on: ranges with the same rights in one row.
  package func map(from: UInt64 = 0, maximumRanges: Int = 1024, maximumTables: Int = 4096) -> [ReportRow] {
    guard mode != .none else {
      return [ReportRow("paging is off: every linear address is its own physical one", .dim)] + slots
    }
    let list = MappingList(
      state, memory, from: from, maximumRanges: maximumRanges, maximumTables: maximumTables)
    guard !list.ranges.isEmpty else { return [ReportRow("the tables at CR3 map nothing", .bad)] }
    let isHigh = list.ranges.contains { $0.last > 0xFFFF_FFFF }
    var rows = [
      ReportRow(
        Column.left("linear", isHigh ? 33 : 17) + "    physical  size     page rights", .dim)
    ]
    rows += list.ranges.map { row($0, digits: isHigh ? 16 : 8) }
    if !list.isComplete { rows.append(ReportRow("... and more", .dim)) }
    return rows
  }

  private func row(_ range: MappedRange, digits: Int) -> ReportRow {
    var row = ReportRow(target: .walk(range.start))
    row.add("\(Hex.padded(range.start, digits))-\(Hex.padded(range.last, digits))", .address)
    row.add(" -> ", .dim)
    row.add(Hex.padded(range.physical.value, 8), width: 9, .value)
    row.add(Self.size(range.length), width: 8, .plain)
    row.add(range.pageSize >= 1 << 30 ? "1G" : range.pageSize >= 1 << 20 ? "\(range.pageSize >> 20)M" : "4K", width: 4)
    row.add(range.writable ? "RW " : "RO ", range.writable ? .set : .plain)
    row.add(range.user ? "user " : "sup  ", range.user ? .set : .plain)
    row.add(range.executable ? "X " : "NX", range.executable ? .set : .plain)
    let now = state.linearRIP.value
    if now >= range.start, now <= range.last { row.add("  <- RIP", .changed) }
    if range.writable, range.executable, range.user { row.add("  writable and executable", .bad) }
    let isBacked = memory.slot(at: range.physical) != nil
    if !isBacked { row.add("  no memory there", .dim) }
    return row
  }

  /// The guest-physical memory there is, for a guest without paging.
  private var slots: [ReportRow] {
    memory.slots.map { slot in
      var row = ReportRow(target: .physical(slot.base.value))
      row.add("\(Hex.padded(slot.base.value, 9))-\(Hex.padded(slot.end - 1, 9))  ", .address)
      row.add("\(slot.kind == .rom ? "ROM" : "RAM")  \(Self.size(slot.size))", .value)
      return row
    }
  }

  private static func size(_ bytes: UInt64) -> String {
    for (shift, unit) in [(UInt64(40), "TiB"), (30, "GiB"), (20, "MiB")] where bytes >> shift > 0 && bytes % (1 << shift) == 0 {
      return "\(bytes >> shift) \(unit)"
    }
    return "\(bytes >> 10) KiB"
  }
}
