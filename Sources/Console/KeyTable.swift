import TerminalUI

/// What a key does, apart from what the focused pane does with it.
package enum ConsoleAction: Equatable, Sendable {
  case step, stepBack, over, out, toCursor, nextExit, nextExitOfReason, nextInterrupt, nextHypercall
  case run, runWithoutDrawing, animate, pause, toggleBreakpoint, listBreakpoints, watch
  case exitBack(Int), exitForward(Int), firstExit, lastExit
  case find, findNext, findPrevious, goTo, toInstructionPointer
  case focusNext, focusPrevious, zoom, nextLayout, focusRegisters, nextVCPU, neighbour
  case explain, lesson, copy, help, command, redraw, suspend, quit, leave

  /// Lets the guest run in another way than an animation does.
  package var runsGuest: Bool {
    switch self {
    case .step, .stepBack, .over, .out, .toCursor, .nextExit, .nextExitOfReason, .nextInterrupt, .nextHypercall, .run,
      .runWithoutDrawing:
      true
    default: false
    }
  }
}

/// One row of the key sheet: the only place where keys, their help and what they do are written down.
package struct KeyBinding: Sendable {
  /// What a settings file calls it: `step`.
  package var name: String
  package var keys: [Key]
  package var action: ConsoleAction
  package var help: String
  /// Word on the key line at the bottom, and its place there; nil keeps it off.
  package var line: (word: String, order: Int)?
  /// A number typed before it repeats it.
  package var takesCount = false

  /// The keys as help shows them: `s F8`.
  package var shown: String { keys.map(\.name).joined(separator: " ") }
}

package enum KeyTable {
  private static func bind(
    _ name: String, _ keys: [Key], _ action: ConsoleAction, _ help: String, line: (String, Int)? = nil,
    count: Bool = false
  ) -> KeyBinding {
    KeyBinding(name: name, keys: keys, action: action, help: help, line: line.map { ($0.0, $0.1) }, takesCount: count)
  }

  package static let bindings: [KeyBinding] = [
    bind("step", [Key("s"), Key(.function(8)), Key(.function(11))], .step, "step one instruction", line: ("step", 1), count: true),
    bind("step-back", [Key(.backspace)], .stepBack, "step back one instruction, the guest's state with it", count: true),
    bind("over", [Key("n"), Key(.function(10))], .over, "step over a call", line: ("over", 2), count: true),
    bind("out", [Key("f")], .out, "run until this routine returns", line: ("out", 3)),
    bind("to-cursor", [Key("u"), Key(.function(7))], .toCursor, "run to the cursor in the code pane", line: ("to cursor", 12)),
    bind("next-exit", [Key("e")], .nextExit, "run to the next VM exit", line: ("next exit", 4), count: true),
    bind("next-exit-of-reason", [Key("E")], .nextExitOfReason, "run to the next exit of the selected reason", count: true),
    bind("next-interrupt", [Key("i")], .nextInterrupt, "run to the next interrupt or exception", line: ("next irq", 8), count: true),
    bind("next-hypercall", [Key("h")], .nextHypercall, "run to the next hypercall", line: ("hypercall", 9), count: true),
    bind("run", [Key("c"), Key(.function(5))], .run, "run; with a count to the N-th stop at a breakpoint", line: ("run", 5), count: true),
    bind("run-fast", [Key("C")], .runWithoutDrawing, "run without drawing", line: ("fast", 15)),
    bind("animate", [Key("A")], .animate, "step by itself: slowly, faster with each press, flat out; Space stops", line: ("animate", 20)),
    bind("pause", [Key(" "), Key.control("c")], .pause, "pause", line: ("pause", 6)),
    bind("exit-back", [Key("[")], .exitBack(1), "look at the exit before (registers stay those of now, but in a recording)", count: true),
    bind("exit-forward", [Key("]")], .exitForward(1), "look at the exit after", count: true),
    bind("exits-back", [Key("{")], .exitBack(100), "a hundred exits back", count: true),
    bind("exits-forward", [Key("}")], .exitForward(100), "a hundred exits forward", count: true),
    bind("first-exit", [Key("<")], .firstExit, "the oldest exit kept"),
    bind("last-exit", [Key(">")], .lastExit, "the newest exit"),
    bind("breakpoint", [Key("b"), Key(.function(9))], .toggleBreakpoint, "breakpoint at the cursor on and off", line: ("brk", 7)),
    bind("breakpoints", [Key("B")], .listBreakpoints, "the breakpoints"),
    bind("watch", [Key("w")], .watch, "watch memory: begins the command"),
    bind("find", [Key("/")], .find, "find in the focused pane (then n and N; in code and registers / Enter and N)", line: ("find", 11)),
    bind("find-back", [Key("N")], .findPrevious, "find backwards"),
    bind("go-to", [Key("g")], .goTo, "go to an address, symbol or sequence number", line: ("go to", 13)),
    bind("to-rip", [Key(".")], .toInstructionPointer, "back to the instruction pointer"),
    bind("focus-next", [Key(.tab)], .focusNext, "next pane", line: ("pane", 14)),
    bind("focus-back", [Key(.backTab)], .focusPrevious, "pane before"),
    bind("registers", [Key(.function(2))], .focusRegisters, "the registers"),
    bind("next-vcpu", [Key("v")], .nextVCPU, "the next vCPU becomes the current one"),
    bind("neighbour", [Key("`")], .neighbour, "the next pane with the digit of this one"),
    bind("zoom", [Key("z")], .zoom, "the focused pane alone, and back", line: ("zoom", 16)),
    bind("next-layout", [Key("L")], .nextLayout, "next layout", line: ("layout", 17)),
    bind("explain", [Key("?")], .explain, "explain what is under the cursor (then arrows point at anything)", line: ("explain", 18)),
    bind("lesson", [Key("l")], .lesson, "the lesson's page has the keys; without a lesson, which ones there are"),
    bind("copy", [Key("y")], .copy, "copy the selected row or explained word to the terminal's clipboard"),
    bind("help", [Key(.function(1)), Key("H")], .help, "this help; ? explains what is under the cursor", line: ("help", 0)),
    bind("command", [Key(":")], .command, "type a command (Tab completes, arrows recall)", line: ("cmd", 10)),
    bind("redraw", [Key.control("l")], .redraw, "draw the screen again"),
    bind("suspend", [Key.control("z")], .suspend, "suspend Ringside"),
    bind("quit", [Key("q")], .quit, "quit (asks while the guest runs)", line: ("quit", 19)),
    bind("leave", [Key(.escape)], .leave, "back: end a count, a search, a zoom"),
  ]

  /// By the keys Ringside comes with.
  package static func binding(for key: Key) -> KeyBinding? { KeyMap.standard.binding(for: key) }

  /// Keys with a meaning in some panes only.
  package static let paneKeys: [(String, String)] = [
    ("0 to 9", "the panes; ` goes on: 1 exits, anatomy, events, VMCS; 5 tables, interrupts, devices, capabilities; 8 console, VGA; 9 statistics, rewriter; 0 log, compare; 2 hypercalls, Xen; 4 breakpoints, displays"),
    ("10e", "a number before a key repeats it"),
    ("arrows PgUp PgDn", "move; Home and End go to the ends, End follows again"),
    ("Enter", "open: an exit's anatomy, follow a branch, pointer or table entry, type to the guest"),
    ("Ctrl-]", "stop typing to the guest"),
    ("m", "memory: GVA, GPA or HVA; registers, statistics, events, interrupts: next view"),
    ("d", "memory: width of numbers; registers: number format; stack: how many words"),
    ("x Ins", "memory: edit; then hex digits change the byte under the cursor, u takes back, Esc ends"),
    ("M '", "memory: set a mark, go to the next mark"),
    ("r W", "memory: follow the last read, the last write"),
    ("g l d t m w x", "system tables: GDT, LDT, IDT, TSS, map, walk, MSRs"),
    ("Space Enter", "VMCS: the bit under the cursor on and off; p a preset, U takes the last change back"),
    (". o", "VMCS: to the bit that made the last exit; the guest monitor's own VMCS and back"),
    ("b", "rewriter: to the next block of guest code; m goes on to totals, sites, missed, policy"),
    ("r i", "compare: this guest under the rewriter, the interpreter, from its start to here"),
    ("o", "statistics: sort by count, cost or name"),
    ("=", "events: only those with the text searched for"),
    ("Del", "breakpoints: delete; Enter switches one on and off"),
    ("n p h 1-9 a d r q", "lesson: on (or Enter), back, hint, answers, done; r brings the guest back to it, q leaves it"),
    ("mouse", "click focuses, selects and explains a flag; right click explains any word; wheel scrolls; drag a border"),
  ]
}

/// Keys and what they do in this session: the table, with what the settings changed.
package struct KeyMap: Sendable {
  package private(set) var bindings: [KeyBinding]
  private var byKey: [Key: Int] = [:]

  package static let standard = KeyMap(KeyTable.bindings)

  private init(_ bindings: [KeyBinding]) {
    self.bindings = bindings
    for (index, binding) in bindings.enumerated() {
      for key in binding.keys {
        precondition(byKey[key] == nil, "a key does one thing")
        byKey[key] = index
      }
    }
  }

  package func binding(for key: Key) -> KeyBinding? { byKey[key].map { bindings[$0] } }

  /// Gives an action other keys; what had one of them before loses it.
  package mutating func rebind(_ name: String, to keys: [Key]) {
    guard let index = bindings.firstIndex(where: { $0.name == name }) else { return }
    for key in bindings[index].keys { byKey[key] = nil }
    for key in keys {
      if let other = byKey[key] { bindings[other].keys.removeAll { $0 == key } }
      byKey[key] = index
    }
    bindings[index].keys = keys
  }
}
