import TerminalUI

/// What a key does, apart from what the focused pane does with it.
package enum ConsoleAction: Equatable, Sendable {
  case step, over, out, toCursor, nextExit, nextExitOfReason, nextInterrupt, nextHypercall
  case run, runWithoutDrawing, pause, toggleBreakpoint, listBreakpoints, watch
  case exitBack(Int), exitForward(Int), firstExit, lastExit
  case find, findNext, findPrevious, goTo, toInstructionPointer
  case focusNext, focusPrevious, zoom, nextLayout, focusRegisters, neighbour
  case explain, help, command, redraw, suspend, quit, leave
}

/// One row of the key sheet: the only place where keys, their help and what they do are written down.
package struct KeyBinding: Sendable {
  package var keys: [Key]
  /// As shown: `s F8`.
  package var shown: String
  package var action: ConsoleAction
  package var help: String
  /// Word on the key line at the bottom, and its place there; nil keeps it off.
  package var line: (word: String, order: Int)?
  /// A number typed before it repeats it.
  package var takesCount = false
}

package enum KeyTable {
  private static func bind(
    _ keys: [Key], _ shown: String, _ action: ConsoleAction, _ help: String, line: (String, Int)? = nil,
    count: Bool = false
  ) -> KeyBinding {
    KeyBinding(keys: keys, shown: shown, action: action, help: help, line: line.map { ($0.0, $0.1) }, takesCount: count)
  }

  package static let bindings: [KeyBinding] = [
    bind([Key("s"), Key(.function(8)), Key(.function(11))], "s F8 F11", .step, "step one instruction", line: ("step", 1), count: true),
    bind([Key("n"), Key(.function(10))], "n F10", .over, "step over a call", line: ("over", 2), count: true),
    bind([Key("f")], "f", .out, "run until this routine returns", line: ("out", 3)),
    bind([Key("u"), Key(.function(7))], "u F7", .toCursor, "run to the cursor in the code pane", line: ("to cursor", 12)),
    bind([Key("e")], "e", .nextExit, "run to the next VM exit", line: ("next exit", 4), count: true),
    bind([Key("E")], "E", .nextExitOfReason, "run to the next exit of the selected reason", count: true),
    bind([Key("i")], "i", .nextInterrupt, "run to the next interrupt or exception", line: ("next irq", 8), count: true),
    bind([Key("h")], "h", .nextHypercall, "run to the next hypercall", line: ("hypercall", 9), count: true),
    bind([Key("c"), Key(.function(5))], "c F5", .run, "run", line: ("run", 5)),
    bind([Key("C")], "C", .runWithoutDrawing, "run without drawing", line: ("fast", 15)),
    bind([Key(" "), Key.control("c")], "Space ^C", .pause, "pause", line: ("pause", 6)),
    bind([Key("[")], "[", .exitBack(1), "look at the exit before (registers stay those of now)", count: true),
    bind([Key("]")], "]", .exitForward(1), "look at the exit after", count: true),
    bind([Key("{")], "{", .exitBack(100), "a hundred exits back", count: true),
    bind([Key("}")], "}", .exitForward(100), "a hundred exits forward", count: true),
    bind([Key("<")], "<", .firstExit, "the oldest exit kept"),
    bind([Key(">")], ">", .lastExit, "the newest exit"),
    bind([Key("b"), Key(.function(9))], "b F9", .toggleBreakpoint, "breakpoint at the cursor on and off", line: ("brk", 7)),
    bind([Key("B")], "B", .listBreakpoints, "the breakpoints"),
    bind([Key("w")], "w", .watch, "watch memory: begins the command"),
    bind([Key("/")], "/", .find, "find in the focused pane (then n and N outside the code pane)", line: ("find", 11)),
    bind([Key("N")], "N", .findPrevious, "find backwards"),
    bind([Key("g")], "g", .goTo, "go to an address, symbol or sequence number", line: ("go to", 13)),
    bind([Key(".")], ".", .toInstructionPointer, "back to the instruction pointer"),
    bind([Key(.tab)], "Tab", .focusNext, "next pane", line: ("pane", 14)),
    bind([Key(.backTab)], "Shift-Tab", .focusPrevious, "pane before"),
    bind([Key(.function(2))], "F2", .focusRegisters, "the registers"),
    bind([Key("`")], "`", .neighbour, "the next pane with the digit of this one"),
    bind([Key("z")], "z", .zoom, "the focused pane alone, and back", line: ("zoom", 16)),
    bind([Key("L")], "L", .nextLayout, "next layout", line: ("layout", 17)),
    bind([Key("?")], "?", .explain, "explain what is under the cursor", line: ("explain", 18)),
    bind([Key(.function(1)), Key("H")], "F1 H", .help, "this help", line: ("help", 0)),
    bind([Key(":")], ":", .command, "type a command (Tab completes, arrows recall)", line: ("cmd", 10)),
    bind([Key.control("l")], "^L", .redraw, "draw the screen again"),
    bind([Key.control("z")], "^Z", .suspend, "suspend Ringside"),
    bind([Key("q")], "q", .quit, "quit (asks while the guest runs)", line: ("quit", 19)),
    bind([Key(.escape)], "Esc", .leave, "back: end a count, a search, a zoom"),
  ]

  private static let byKey: [Key: Int] = {
    var table: [Key: Int] = [:]
    for (index, binding) in bindings.enumerated() {
      for key in binding.keys {
        precondition(table[key] == nil, "a key does one thing")
        table[key] = index
      }
    }
    return table
  }()

  package static func binding(for key: Key) -> KeyBinding? { byKey[key].map { bindings[$0] } }

  /// Keys with a meaning in some panes only.
  package static let paneKeys: [(String, String)] = [
    ("0 to 9", "the panes; ` goes on: 1 exits, anatomy, events; 5 tables, interrupts, devices, capabilities; 8 console, VGA"),
    ("10e", "a number before a key repeats it"),
    ("arrows PgUp PgDn", "move; Home and End go to the ends, End follows again"),
    ("Enter", "open: an exit's anatomy, follow a branch, pointer or table entry, type to the guest"),
    ("Ctrl-]", "stop typing to the guest"),
    ("m", "memory: GVA, GPA or HVA; registers, statistics, events, interrupts: next view"),
    ("d", "memory: width of numbers; registers: number format; stack: how many words"),
    ("hex digits", "memory: change the byte under the cursor; u takes the last change back"),
    ("M '", "memory: set a mark, go to the next mark"),
    ("r W", "memory: follow the last read, the last write"),
    ("g l d t m w x", "system tables: GDT, LDT, IDT, TSS, map, walk, MSRs"),
    ("o", "statistics: sort by count, cost or name"),
    ("=", "events: only those with the text searched for"),
    ("Del", "breakpoints: delete; Enter switches one on and off"),
  ]
}
