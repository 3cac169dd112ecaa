import Debugger
import VMCore
import X86

/// A block of guest code and its rewritten form, side by side.
package struct BlockReport {
  private let block: RewrittenBlock
  private let guest: [DecodedInstruction]
  private let symbols: SymbolTable
  private let rip: UInt64

  /// The block of a stop; `state` is the vCPU's it belongs to.
  package init(_ block: RewrittenBlock, _ state: VCPUState, _ memory: GuestMemory, symbols: SymbolTable) {
    self.block = block
    self.symbols = symbols
    rip = state.rip
    let code = Disassembly(state: state, memory: memory, symbols: symbols)
    guest = block.instructions.map { code.instruction(at: $0.rip) }
  }

  package var head: [ReportRow] {
    var row = ReportRow(
      "block \(Hex.text(block.rip))\(symbols.name(of: block.rip).map { " <\($0)>" } ?? ""), \(block.length) byte\(block.length == 1 ? "" : "s") at GPA \(Hex.text(block.gpa.value)): ",
      .heading)
    switch block.status {
    case .cold(let left): row.add("cold, rewritten after \(left) more execution\(left == 1 ? "" : "s")", .plain)
    case .refused: row.add("left to the interpreter: most of it would call out", .plain)
    case .interpreted: row.add("interpreted", .plain)
    case .rewritten(let address):
      row.add("rewritten, \(block.host.count) bytes at host \(Hex.text(address))", .set)
    }
    guard !block.host.isEmpty else { return [row] }
    let ways = block.exits.map { exit in
      "\(exit.isTaken ? "taken" : "next") \(Hex.text(exit.target)) \(exit.isChained ? "chained" : "not chained")"
    }
    let out = ways.isEmpty ? "none direct" : ways.joined(separator: ", ")
    return [row, ReportRow("chains in \(block.chainsIn); out: \(out)", .dim)]
  }

  /// Guest instruction, what it became, and the host's instructions beside it.
  package func rows(width: Int) -> [ReportRow] {
    let left = min(max(width * 2 / 5, 26), 44)
    let host = hostTexts
    var rows: [ReportRow] = []
    for (index, instruction) in guest.enumerated() {
      let lines = host[index]
      for line in 0..<max(lines.count, 1) {
        var row = ReportRow(target: .code(instruction.address))
        if line == 0 {
          row.add(instruction.address == rip ? "=>" : "  ", .heading)
          row.add(Column.left(String("\(Hex.padded(instruction.address, 8)) \(instruction.text)".prefix(left - 1)), left), .code)
          row.add(block.instructions[index].kind.name, width: 11, Self.tone(block.instructions[index].kind))
        } else {
          row.add(Column.left("", left + 14), .plain)
        }
        if lines.indices.contains(line) { row.add(lines[line], .dim) }
        rows.append(row)
      }
    }
    let behind = host[guest.count]
    if !behind.isEmpty {
      rows.append(ReportRow("  off the straight path: \(behind.count) host instructions", .dim))
      rows += behind.map { ReportRow(Column.left("", left + 14) + $0, .dim) }
    }
    return rows
  }

  private static func tone(_ kind: RewritingKind) -> ReportTone {
    switch kind {
    case .identity: .plain
    case .rewritten: .value
    case .inCache: .set
    case .callout: .exit
    case .interpreted: .changed
    }
  }

  /// The host's instructions by guest instruction, and those behind the last one: the slow ways.
  private var hostTexts: [[String]] {
    var result = [[String]](repeating: [], count: guest.count + 1)
    guard !block.host.isEmpty, case .rewritten(let base) = block.status else { return result }
    var at = 0
    while at < block.host.count {
      if block.stamps.contains(at) {
        result[owner(at)].append("(stamp of a chain)")
        at += 8
        continue
      }
      let instruction = InstructionDecoder.decode(block.host[at...].prefix(15), at: base &+ UInt64(at), mode: .long64)
      result[owner(at)].append(instruction.isBad ? "db \(Hex.bytes(instruction.bytes))" : instruction.text)
      at += max(instruction.length, 1)
    }
    return result
  }

  /// The guest instruction whose straight code lies there. That of the last one ends where its own way out does.
  private func owner(_ at: Int) -> Int {
    guard let index = block.starts.lastIndex(where: { $0 <= at }) else { return 0 }
    if let end = block.straightEnd, at >= end { return guest.count }
    return index
  }
}
