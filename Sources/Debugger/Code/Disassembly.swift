import VMCore
import X86

/// One line of a code listing.
package struct CodeLine: Equatable, Sendable {
  package var instruction: DecodedInstruction
  /// Linear address of the first byte.
  package var linear: GVA
  /// Symbols that begin here: `boot:` lines above the instruction.
  package var labels: [String]
  /// `boot+1c`, nil outside of every symbol.
  package var place: String?
  /// The bytes could not be read: no translation or no memory.
  package var isUnreadable: Bool

  package var address: UInt64 { instruction.address }
  package var gutter: Character { instruction.sensitivity.gutter }
  /// `00007c16`, as wide as the code segment: 4, 8 or 16 digits.
  package var addressText: String { Hex.padded(instruction.address, max(instruction.mode.codeBits / 4, 4)) }
  package var bytesText: String { instruction.bytes.map { Hex.padded(UInt64($0), 2) }.joined() }
}

/// Listings of guest code around an address. Pure: state, memory and symbols in, lines out.
package struct Disassembly {
  package let view: AddressSpaceView
  package let symbols: SymbolTable
  /// Listings have at most this many lines.
  package static let maximumLines = 4096

  package init(state: VCPUState, memory: GuestMemory, symbols: SymbolTable = .empty) {
    view = AddressSpaceView(state: state, memory: memory)
    self.symbols = symbols
  }

  private var state: VCPUState { view.state }
  private var mode: ProcessorMode { view.state.mode }

  /// The instruction at offset `address` in CS.
  package func instruction(at address: UInt64) -> DecodedInstruction { line(at: address).instruction }

  /// `count` lines from offset `address` in CS forward.
  package func forward(from address: UInt64, count: Int) -> [CodeLine] {
    var lines: [CodeLine] = []
    var next = mode.wrap(address)
    for _ in 0..<min(max(count, 0), Self.maximumLines) {
      let line = line(at: next)
      lines.append(line)
      next = line.instruction.next
    }
    return lines
  }

  /// The `count` lines that end where `address` begins, oldest first: decoded from the nearest symbol at or
  /// before, else from the start that meets `address` and looks most like code. Fewer where nothing fits.
  package func backward(from address: UInt64, count: Int) -> [CodeLine] {
    let count = min(max(count, 0), 256)
    guard count > 0 else { return [] }
    let reach = min(UInt64(count * 8 + 32), address)
    if let start = symbolStart(before: address, reach: UInt64(count * InstructionDecoder.maximumLength)),
      let lines = meeting(from: start, at: address)
    {
      let tail = Array(lines.suffix(count))
      if tail.count == count { return tail }
      return backward(from: start, count: count - tail.count) + tail
    }
    return guess(before: address, reach: reach, count: count)
  }

  /// `before` lines ahead of `address`, then `after` from it on; and the index of the line at `address`.
  package func around(_ address: UInt64, before: Int, after: Int) -> (lines: [CodeLine], index: Int) {
    let head = backward(from: mode.wrap(address), count: before)
    return (head + forward(from: address, count: after), head.count)
  }

  /// One line at offset `address` in CS.
  package func line(at address: UInt64) -> CodeLine {
    let address = mode.wrap(address)
    let bytes = view.readable(state.linear(.cs, address), count: InstructionDecoder.maximumLength)
    return Self.line(of: bytes, at: address, state: state, symbols: symbols)
  }

  /// The line at `state`'s instruction pointer, given the bytes that lie there (or lay there when `state` was taken).
  package static func line(of bytes: [UInt8], state: VCPUState, symbols: SymbolTable) -> CodeLine {
    line(of: bytes, at: state.mode.wrap(state.rip), state: state, symbols: symbols)
  }

  private static func line(of bytes: [UInt8], at address: UInt64, state: VCPUState, symbols: SymbolTable) -> CodeLine {
    let linear = state.linear(.cs, address)
    let namer: OperandNamer? = symbols.isEmpty ? nil : { symbols.name(of: state.linear($1, $0).value) }
    let instruction = InstructionDecoder.decode(bytes, at: address, mode: state.mode, namer: namer)
    return CodeLine(
      instruction: instruction, linear: linear, labels: symbols.labels(at: linear.value).map(\.name),
      place: symbols.name(of: linear.value), isUnreadable: bytes.isEmpty)
  }

  /// Offset of the nearest symbol start strictly before `address` and at most `reach` back.
  private func symbolStart(before address: UInt64, reach: UInt64) -> UInt64? {
    let linear = view.linear(.cs, address).value
    guard linear > 0, let place = symbols.place(of: linear &- 1) else { return nil }
    let back = place.offset &+ 1
    return back <= address && back <= reach ? address - back : nil
  }

  /// The lines from `start` if they run exactly into `address`.
  private func meeting(from start: UInt64, at address: UInt64) -> [CodeLine]? {
    var lines: [CodeLine] = []
    var next = start
    while next < address {
      let line = line(at: next)
      lines.append(line)
      next = line.address &+ UInt64(line.instruction.length)
    }
    return next == address ? lines : nil
  }

  /// Tries every start within `reach`; the one whose decoding agrees with most others wins, unreadable and bad
  /// bytes count against it.
  private func guess(before address: UInt64, reach: UInt64, count: Int) -> [CodeLine] {
    let low = address - reach
    let bytes = view.read(view.linear(.cs, low), count: Int(reach) + InstructionDecoder.maximumLength)
    var lengths: [Int] = []
    var cost: [Int] = []
    for offset in 0..<Int(reach) {
      let code = bytes[offset..<offset + InstructionDecoder.maximumLength].prefix { $0 != nil }.compactMap { $0 }
      let length = InstructionDecoder.length(of: code, mode: mode)
      lengths.append(length ?? 1)
      // Zeroed memory decodes as ADD [..], AL: no likely code.
      let isFiller = code.prefix(length ?? 1).allSatisfy { $0 == 0 }
      cost.append(code.isEmpty ? 100 : length == nil || isFiller ? 8 : 0)
    }
    // How many of the starts tried pass through each offset.
    var votes = [Int](repeating: 0, count: lengths.count + 1)
    for index in lengths.indices {
      votes[index] += 1
      let next = index + lengths[index]
      if next < votes.count { votes[next] += votes[index] }
    }
    return chain(lengths, votes, cost, low: low, count: count)
  }

  private func chain(
    _ lengths: [Int], _ votes: [Int], _ cost: [Int], low: UInt64, count: Int
  ) -> [CodeLine] {
    // Backwards: of the instructions that end here, the one most decodings pass through.
    var lines: [CodeLine] = []
    var end = lengths.count
    while end > 0, lines.count < count {
      let first = max(0, end - InstructionDecoder.maximumLength)
      let candidates = (first..<end).filter { $0 + lengths[$0] == end }
      guard let start = candidates.max(by: { votes[$0] - cost[$0] < votes[$1] - cost[$1] }) else { break }
      lines.append(line(at: low + UInt64(start)))
      end = start
    }
    return lines.reversed()
  }
}
