import Debugger
import VMCore
import X86

/// Memory as pwndbg, WinDbg and Bochs show it, and finding things in it.
enum DumpCommands {
  static let all: [CommandDescriptor] = [
    dump(["hexdump", "hd", "db"], unit: 1, help: "memory in hexadecimal and characters, N bytes"),
    dump(["dw"], unit: 2, help: "memory as words, N of them"),
    dump(["dd"], unit: 4, help: "memory as double words, N of them"),
    dump(["dq"], unit: 8, help: "memory as quad words, N of them"),
    CommandDescriptor(
      ["telescope", "tele", "stack", "dps", "dqs", "print-stack"], .looking, arguments: "[ADDR] [N]",
      help: "words from an address (else the stack pointer) on, each with where it leads", whileRunning: true,
      completion: .expression
    ) { core, arguments throws(CommandError) in try telescope(core, arguments) },
    CommandDescriptor(
      ["find", "searchmem", "find-bytes"], .looking, arguments: "[START, END|+LENGTH,] \"TEXT\" | BYTES | value:N[/SIZE]",
      help: "where in memory a text, bytes (55 aa) or a number stands; everywhere, or in a range",
      whileRunning: true, completion: .expression
    ) { core, arguments throws(CommandError) in try find(core, arguments) },
    CommandDescriptor(
      ["context", "ctx"], .looking, help: "registers, code, stack and back-trace at once", whileRunning: true
    ) { core, _ throws(CommandError) in
      let parts = ["info regs", "disassemble", "telescope 8", "backtrace 8"].map { core.execute($0) }
      return CommandResult(parts.flatMap(\.lines), json: .array(parts.map(\.json)))
    },
  ]

  // MARK: hexdump

  private static func dump(_ names: [String], unit: Int, help: String) -> CommandDescriptor {
    CommandDescriptor(
      names, .looking, arguments: "[ADDR] [N]", help: help, whileRunning: true, completion: .expression
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      let address = scanner.isAtEnd ? core.examinedTo ?? stackPointer(core) : try core.takeAddress(&scanner, "an address")
      let count = Int(clamping: scanner.takeNumber() ?? UInt64(64 / unit))
      try scanner.end()
      let bytes = MemoryCommands.read(core, address, min(max(count, 1), 65536) * unit, false)
      core.examinedTo = GVA(address.value &+ UInt64(bytes.count))
      return CommandResult(
        lines(core, address, bytes, unit), json: .members(
          ("address", .hex(address.value)), ("bytes", .array(bytes.map { $0.map { .number(UInt64($0)) } ?? .null }))))
    }
  }

  private static func stackPointer(_ core: SessionCore) -> GVA {
    core.currentState.linear(.ss, StackView.pointer(core.currentState, .rsp))
  }

  private static func lines(_ core: SessionCore, _ address: GVA, _ bytes: [UInt8?], _ unit: Int) -> [String] {
    stride(from: 0, to: bytes.count, by: 16).map { start in
      let row = bytes[start..<min(start + 16, bytes.count)]
      let at = address.value &+ UInt64(start)
      let numbers = stride(from: row.startIndex, to: row.endIndex, by: unit).map { first in
        row[first..<min(first + unit, row.endIndex)].reversed().map { $0.map { Hex.padded(UInt64($0), 2) } ?? "??" }.joined()
      }
      let text = row.map { byte in
        byte.map { (0x20..<0x7F).contains($0) ? String(Character(Unicode.Scalar($0))) : "." } ?? "?"
      }.joined()
      let name = core.symbols.name(of: at).map { "  <\($0)>" } ?? ""
      let width = 16 * 2 + 16 / unit - 1
      return "\(Hex.padded(at, 8))  \(Column.left(numbers.joined(separator: " "), width))  \(text)\(name)"
    }
  }

  // MARK: telescope

  private static func telescope(_ core: SessionCore, _ arguments: CommandArguments) throws(CommandError) -> CommandResult {
    var scanner = arguments.scanner
    var count: UInt64 = 8
    var address: GVA?
    // `telescope 16` is a count, as in pwndbg's `stack 16`: nobody has a stack in the first page.
    if let number = UInt64(scanner.remainder), number < 0x1000 { count = number } else if !scanner.isAtEnd {
      address = try core.takeAddress(&scanner, "an address")
      count = scanner.takeNumber() ?? count
      try scanner.end()
    }
    let width = core.currentState.mode.codeBits / 8
    let start = address ?? stackPointer(core)
    let rows = (0..<min(max(count, 1), 512)).map { index in
      let at = start.value &+ index * UInt64(width)
      return (at: at, value: core.view.load(GVA(at), size: width))
    }
    return CommandResult(
      rows.map { line(core, $0.at, $0.value, from: start.value, width) },
      json: .array(rows.map { row in
        .members(
          ("address", .hex(row.at)), ("value", row.value.map { .hex($0) } ?? .null),
          ("leads", .string(row.value.map { PointerChain.text(from: $0, core.view, core.symbols) } ?? "")))
      }))
  }

  private static func line(_ core: SessionCore, _ at: UInt64, _ value: UInt64?, from start: UInt64, _ width: Int) -> String {
    let state = core.currentState
    let pointers = [("sp", GPR.rsp), ("bp", .rbp)].filter { state.linear(.ss, StackView.pointer(state, $0.1)).value == at }
    let mark = Column.left(pointers.first.map { "\($0.0)=>" } ?? "", 4)
    let offset = Column.right("+\(String(at &- start, radix: 16))", 5)
    guard let value else { return "\(mark) \(offset)  \(Hex.padded(at, 8))  \(String(repeating: "?", count: width * 2))" }
    let leads = PointerChain.text(from: value, core.view, core.symbols)
    return "\(mark) \(offset)  \(Hex.padded(at, 8))  \(Hex.padded(value, width * 2))" + (leads.isEmpty ? "" : "  \(leads)")
  }

  // MARK: find

  /// Places shown, and bytes looked at before it is too much.
  private static let mostPlaces = 32
  private static let mostBytes: UInt64 = 64 << 20
  private static let chunk: UInt64 = 1 << 16

  private static func find(_ core: SessionCore, _ arguments: CommandArguments) throws(CommandError) -> CommandResult {
    var scanner = arguments.scanner
    var ranges = MappingList(core.currentState, core.machine.memory).ranges.map { (start: $0.start, length: $0.length) }
    if arguments.rest.contains(","), !arguments.rest.hasPrefix("\"") { ranges = [try takeRange(core, &scanner)] }
    let needle = try takeNeedle(&scanner)
    var places: [UInt64] = []
    var left = mostBytes
    for range in ranges where places.count < mostPlaces {
      search(core, needle, range.start, min(range.length, left), &places)
      left -= min(range.length, left)
    }
    let lines = places.map { at in
      let bytes = core.view.read(GVA(at), count: 16).compactMap { $0 }
      let name = core.symbols.name(of: at).map { " <\($0)>" } ?? ""
      return "\(Hex.padded(at, 8))\(name)  \(PointerChain.quoted(bytes))"
    }
    let limited = "only \(mostBytes >> 20) MiB were looked at; a range looks elsewhere"
    let more = lines.isEmpty ? [] : places.count >= mostPlaces ? ["... the first \(mostPlaces); a range finds others"]
      : left == 0 ? ["... \(limited)"] : []
    return InfoCommands.rows(
      lines + more, empty: "found nowhere" + (left == 0 ? ": \(limited)" : ""), json: .array(places.map { .hex($0) }))
  }

  /// `START, END,` or `START, +LENGTH,`.
  private static func takeRange(
    _ core: SessionCore, _ scanner: inout ArgumentScanner
  ) throws(CommandError) -> (start: UInt64, length: UInt64) {
    var start = ArgumentScanner(scanner.takeUpTo(",") ?? "", usage: scanner.usage)
    let first = try core.takeAddress(&start, "where to begin").value
    guard let text = scanner.takeUpTo(",") else { throw scanner.fail(scanner.remainder, "a comma and what to find were expected") }
    var end = ArgumentScanner(text, usage: scanner.usage)
    let isLength = end.take(prefix: "+")
    let last = try core.takeValue(&end, "where to end")
    guard isLength || last > first else { throw scanner.fail(text, "the end lies before the beginning") }
    return (first, isLength ? last : last - first)
  }

  /// Texts and numbers with commas between them are one needle, as in gdb.
  private static func takeNeedle(_ scanner: inout ArgumentScanner) throws(CommandError) -> MemoryNeedle {
    guard scanner.remainder.contains("\"") || scanner.remainder.lowercased().hasPrefix("0x") else {
      guard let needle = MemoryNeedle(scanner.remainder) else {
        throw scanner.fail(scanner.remainder, "a text in quotes, bytes or value:N was expected")
      }
      return needle
    }
    var bytes: [UInt8] = []
    while !scanner.isAtEnd {
      if scanner.remainder.hasPrefix("\"") {
        bytes += Array((try scanner.takeText() ?? "").utf8)
      } else {
        let word = String(scanner.peek.prefix { $0 != "," })
        guard let needle = MemoryNeedle("value:\(word)"), scanner.take(prefix: word) else {
          throw scanner.fail(word, "a number or a text in quotes was expected")
        }
        bytes += needle.bytes
      }
      _ = scanner.take(prefix: ",")
    }
    guard !bytes.isEmpty else { throw scanner.fail("", "what to find is missing") }
    return MemoryNeedle(bytes: bytes)
  }

  private static func search(
    _ core: SessionCore, _ needle: MemoryNeedle, _ start: UInt64, _ length: UInt64, _ places: inout [UInt64]
  ) {
    var offset: UInt64 = 0
    while offset < length, places.count < mostPlaces {
      let count = min(chunk, length - offset) + UInt64(needle.bytes.count - 1)
      var content = core.view.read(GVA(start &+ offset), count: Int(count))[...]
      while places.count < mostPlaces, let index = needle.index(in: Array(content), last: false) {
        places.append(start &+ offset &+ UInt64(content.startIndex + index))
        content = content.dropFirst(index + 1)
      }
      offset += chunk
    }
  }
}
