import Foundation
import TerminalDriver
import Testing

/// What people have in other tools, row by row: each is shown in the running program, by keys, on a real terminal.
@Suite("What the console shows", .serialized) struct FeatureTests {
  struct Row: Sendable, CustomTestStringConvertible {
    var feature: String
    /// Arguments of the program; `RECORDING` stands for a recording made first.
    var arguments: String
    /// Keys, and what stands on the screen after them; no keys: what else stands there.
    var steps: [(String, String)]
    var testDescription: String { feature }
  }

  static let rows: [Row] = [
    Row(
      feature: "live registers with changes marked", arguments: "long-kernel",
      steps: [
        ("F2 z", "001002d7"), ("s", "Stepped to"), ("", "*"),
      ]),
    Row(
      feature: "flags, segment caches, CR and EFER bits by name", arguments: "long-kernel",
      steps: [
        ("F2 z", "IOPL0"), ("", "CS 0008 b=00000000 l=ffffffff 32r"), ("", "EFER 00000000"), ("30e", "PG"),
        ("", "LMA"),
      ]),
    Row(
      feature: "MSRs, x87 and SSE by width", arguments: "long-kernel",
      steps: [
        ("F2 z m", "TSC_AUX"), ("m", "ST0"), ("m", "XMM15"), ("m", "DR7"),
      ]),
    Row(
      feature: "memory panes that follow the last access", arguments: "long-kernel",
      steps: [
        ("3 z W", "follows each write"), ("5s", "Stepped"),
      ]),
    Row(
      feature: "GDT, LDT, IDT, TSS, each entry with what is wrong with it", arguments: "long-kernel",
      steps: [
        ("30e", "STOPPED #29"), ("5 z", "GDT"), ("", "code"), ("d", "IDT"), ("t", "TSS"),
      ]),
    Row(feature: "IVT and linear addresses in real mode", arguments: "hello-real", steps: [("5 z d", "IVT")]),
    Row(
      feature: "page walk level by level, and a map of what is mapped", arguments: "long-kernel",
      steps: [
        ("30e", "STOPPED #29"), ("6 z", "PML4E"), ("", "PTE"), ("5 m", "kernel"),
      ]),
    Row(
      feature: "exit counts, share, minimum, average, p99, maximum and histogram", arguments: "long-kernel",
      steps: [
        ("20e", "STOPPED #19"), ("9 z", "p99"), ("", "IO"), ("", "max"),
      ]),
    Row(
      feature: "exits by address and by symbol", arguments: "long-kernel",
      steps: [
        ("20e", "STOPPED #19"), ("9 z m", "Exits by RIP"), ("m", "Exits by symbol"), ("", "log_write"),
      ]),
    Row(
      feature: "stop on a named exit reason", arguments: "long-kernel",
      steps: [
        ("e", "STOPPED #0 IO"), (":sx cpuid stop", "cpuid: stop"), ("c", "STOPPED #9 CPUID"),
      ]),
    Row(
      feature: "to the next exit of the selected reason", arguments: "long-kernel",
      steps: [
        ("10e", "STOPPED #9 CPUID"), ("E", "STOPPED #13 CPUID"),
      ]),
    Row(
      feature: "event = condition + action", arguments: "hello-real",
      steps: [
        (":be io port==0x3f8 if al==0x48 do \"print al\"", "breakpoint 1"), ("c", "0x48"),
        ("4 z", "if (port==0x3f8) && (al==0x48)  hits 1"),
      ]),
    Row(
      feature: "breakpoints on ports, MSRs, control registers, vectors", arguments: "long-kernel",
      steps: [
        (":be io port==0x3f8", "breakpoint 1"), (":be wrmsr", "breakpoint 2"), (":be cr", "breakpoint 3"),
        (":bi 14", "breakpoint 4"), ("4 z", "1+ exit io if port==0x3f8"), ("", "2+ exit wrmsr"), ("", "3+ exit cr"),
        ("", "4+ vector #PF"),
      ]),
    Row(
      feature: "a watchpoint set in the middle", arguments: "long-kernel",
      steps: [
        ("20s", "Stepped to"), ("w", ":watch w"), ("$rsp-4 Enter", "breakpoint 1: watch w 106ff8/1"),
        ("c", "It holds"),
      ]),
    Row(
      feature: "breakpoint at the cursor, switched and deleted", arguments: "long-kernel",
      steps: [
        ("b", "breakpoint 1"), ("4 z", "exec 1002d7 <start>"), ("Enter", "1-"), ("Del", "deleted 1"),
      ]),
    Row(
      feature: "exit statistics and guest debugging on one screen", arguments: "long-kernel",
      steps: [
        ("10e", "STOPPED #9 CPUID"), ("", "RAX 0000000080000001"), ("", "90.0%"), ("", "=>001000b7"),
      ]),
    Row(feature: "sensitivity gutter and exit heat", arguments: "sensitive-parade", steps: [("20e", "STOPPED #19"), ("z", "% P")]),
    Row(feature: "hypercalls decoded", arguments: "hypercalls", steps: [("3h", "Hypercall"), ("2 z", "probe() = ")]),
    Row(feature: "explain on anything", arguments: "long-kernel", steps: [("?", "Explain (arrows"), ("Esc F2 ?", "general-purpose")]),
    Row(feature: "honest capabilities", arguments: "long-kernel", steps: [("5 ` ` ` z", "deterministic"), ("", "kvm")]),
    Row(feature: "guest console", arguments: "long-kernel", steps: [("c", "ENDED"), ("8 z", "Good night.")]),
    Row(feature: "VGA text", arguments: "hello-real", steps: [("c", "ENDED"), ("8 ` z", "ello")]),
    Row(
      feature: "search in memory and lists", arguments: "long-kernel",
      steps: [
        ("20e", "STOPPED #19"), ("1/cpuid Enter", "looking back at exits"), ("n", "CPUID"),
      ]),
    Row(
      feature: "exit anatomy, from exit to exit", arguments: "long-kernel",
      steps: [
        ("8e", "STOPPED #7"), ("1 Enter z", "#7 anatomy"), ("", "3 qualification"), ("", "6 resume"),
        ("[", "#6 anatomy"),
      ]),
    Row(feature: "a hex editor with undo", arguments: "long-kernel", steps: [("3 z", "Memory"), ("x90", "90 e7"), ("u", "c0 e7")]),
    Row(
      feature: "event stream with filter", arguments: "long-kernel",
      steps: [
        ("10e", "STOPPED #9"), ("1 ` ` z", "Events: all"), ("m", "Events: exits"), ("", "CPUID"),
      ]),
    Row(feature: "interrupt controllers and timers", arguments: "timer-keyboard", steps: [("c", "ENDED"), ("5 ` z", "IRR"), ("", "PIT")]),
    Row(feature: "devices", arguments: "long-kernel", steps: [("10e", "STOPPED #9"), ("5 ` ` z", "PS/2 8042")]),
    Row(
      feature: "stack and back-trace", arguments: "long-kernel",
      steps: [
        (":break log_write", "breakpoint 1"), ("c", "Breakpoint 1"), ("7 z", "log_write  (here)"),
        ("", "#1 000000000010002d main+1d"),
      ]),
    Row(
      feature: "true reverse execution", arguments: "long-kernel",
      steps: [
        ("10s", "Stepped to"), ("Backspace", "Back after 9 instructions"),
        ("3 Backspace", "Back after 6 instructions"), (":rc", "Back after 0 instructions"),
      ]),
    Row(
      feature: "recording, and what it is called while it is made", arguments: "long-kernel",
      steps: [
        (":trace start /tmp/ringside-feature.rec", "recording to"), ("", "REC "), ("5e", "STOPPED #4"),
        (":trace stop", "events in /tmp/ringside-feature.rec"),
      ]),
    Row(
      feature: "the recording reopened: seek, reason, search, stop by stop", arguments: "replay RECORDING",
      steps: [
        ("", "REPLAY"), ("<", "event 0/"), ("3e", "REPLAY #2 IO"), ("]", "REPLAY #3 IO"), ("[", "REPLAY #2 IO"),
        ("1g1 Enter", "REPLAY #1 IO"), ("1/cpuid Enter", "REPLAY #9 CPUID"), (">", "Stop "),
        (":set $rax=1", "recording"),
      ]),
    Row(
      feature: "diff of two stops", arguments: "long-kernel",
      steps: [
        ("s", "Stepped to"), ("20e", "STOPPED #19"), (":diff 1 2", "registers: "), ("0 z", "+PG"), ("", "registers: "),
        ("", "memory: 8 pages changed"), ("End", "this_core"),
      ]),
    Row(
      feature: "snapshots and checkpoints", arguments: "long-kernel",
      steps: [
        ("5s", "Stepped to"), (":snap save here", "saved as here"), ("5e", "STOPPED #4"),
        (":snap load here", "Back after 5 instructions"), (":info checkpoints", "no checkpoints yet"),
      ]),
    Row(
      feature: "animation at several speeds", arguments: "long-kernel",
      steps: [
        ("A", "ANIMATION"), ("A", "ANIMATION"), ("Space", "animation stopped"),
      ]),
    Row(
      feature: "steps over, out and to the cursor", arguments: "long-kernel",
      steps: [
        ("n", "Stepped to"), (":break log_write", "breakpoint 1"), ("c", "Breakpoint 1"), ("f", "Stepped to"),
      ]),
    Row(feature: "to the next interrupt", arguments: "timer-keyboard", steps: [("i", "about to be delivered")]),
    Row(feature: "two processors side by side", arguments: "--cpus 2 timer-keyboard", steps: [("", "vCPU1"), ("v", "vcpu 1/2")]),
    Row(feature: "layouts and zoom", arguments: "long-kernel", steps: [("L", "layout monitor"), ("L", "layout guest"), ("z", "Code")]),
    Row(
      feature: "themes change while it runs", arguments: "long-kernel",
      steps: [
        (":theme light", "theme light"), (":theme high-contrast", "theme high-contrast"),
      ]),
    Row(
      feature: "rewritten code beside the guest's, by kind, with its chains", arguments: "--technique rewrite long-kernel",
      steps: [
        ("", "rewrite/rewriter"), ("60e", "STOPPED #59"), ("9 ` z", "Rewriter [block]"), ("m", "expansion"), ("m", "callout"),
        ("m", "trap and emulate"), ("m", "treated"), ("m b", "Stepped to"),
      ]),
    Row(
      feature: "stop on a callout, by what it is", arguments: "--technique rewrite long-kernel",
      steps: [
        (":exit cpuid", "CALLOUT"), ("", "cpuid leaf"), (":be callout", "breakpoint 1"), ("c", "Breakpoint 1"),
      ]),
    Row(
      feature: "technique comparator: two engines in lockstep", arguments: "long-kernel",
      steps: [
        ("20e", "STOPPED #19"), (":compare with rewriter every 500", "no difference in"), ("0 z", "Technique compare"),
        ("", "million a second"), ("", "OUT, OUTS"),
      ]),
    Row(
      feature: "lessons: predict the next exit", arguments: "lesson rings",
      steps: [
        ("", "0 of 7 right  Rings and sensitive instructions"), ("n", "What is IF after this POPFQ in ring 0?"),
        ("h", "Hint: "), ("2", "No, not"), ("p", "The gutter marks it"), ("1", "Right: 0: interrupts are off."),
        ("n", "The same in ring 3"), ("s", "=>00100643"), ("", "driven on from here"), ("r", "!driven on from here"), ("3", "Right: Nothing"),
        ("q", "the lesson is left"),
      ]),
    Row(
      feature: "a lesson begun in the console, and the guest one came from", arguments: "hello-real",
      steps: [
        ("s", "Stepped to"), (":lesson vmcs", "right  VMCS, bitmaps and exits"), ("", "long-kernel"), ("q", "hello-real"),
      ]),
    Row(
      feature: "help from the same table as the keys", arguments: "long-kernel",
      steps: [
        ("F1", "step one instruction"), ("", "next VM exit"),
      ]),
  ]

  /// Two terminals that are not alike: tmux has no way to erase in colour.
  static let terminals = ["xterm-256color", "tmux-256color"]

  @Test("is shown", arguments: rows, terminals)
  func row(_ row: Row, _ terminal: String) throws {
    let recording = FileManager.default.temporaryDirectory.appendingPathComponent("ringside-\(getpid())-feature.rec").path
    defer { unlink(recording) }
    if row.arguments.contains("RECORDING") {
      _ = Shell.run("--headless long-kernel --record \(recording) -c 'exit 5' -c 'step 3' -c c")
    }
    let arguments = row.arguments.replacing("RECORDING", with: recording).split(separator: " ").map(String.init)
    let program = try DrivenTerminalTests.start(arguments, term: terminal, width: 160, height: 50)
    #expect(program.waitFor("F1 help"))
    for (keys, text) in row.steps {
      if !keys.isEmpty { program.type(DocumentTests.bytes(keys)) }
      let (words, isThere) = text.hasPrefix("!") ? (String(text.dropFirst()), false) : (text, true)
      let came = program.wait(milliseconds: DrivenProgram.patience) { $0.text.contains(words) == isThere }
      #expect(came, "\(keys) -> \(text)\n\(program.screen.text)")
    }
  }
}
