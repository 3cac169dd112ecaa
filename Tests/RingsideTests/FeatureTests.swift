import TerminalDriver
import Testing

/// What people have in other tools, row by row: each can be shown in the running program, on a real terminal.
@Suite("What the console shows", .serialized) struct FeatureTests {
  struct Row: Sendable, CustomTestStringConvertible {
    var feature: String
    var guest: String
    /// Keys, and what stands on the screen after each.
    var steps: [(String, String)]
    var testDescription: String { feature }
  }

  static let rows: [Row] = [
    Row(feature: "live registers with changes marked", guest: "long-kernel", steps: [("5s", "*"), ("F2", "RIP ")]),
    Row(feature: "flags, segment caches, CR and EFER bits by name", guest: "long-kernel", steps: [("F2 z", "IOPL0"), ("", "CS 0008"), ("", "EFER"), ("", "CR0")]),
    Row(feature: "MSRs, x87 and SSE", guest: "long-kernel", steps: [(":info msr", "IA32_TSC_AUX"), (":info fpu", "xmm15")]),
    Row(feature: "GDT, LDT, IDT or IVT, TSS", guest: "long-kernel", steps: [
      (":break log_write", "breakpoint 1"), ("5c", "STOPPED"), (":info gdt", "code"), (":info idt", "0"), (":info tss", "I/O map"),
    ]),
    Row(feature: "page walk level by level with flags", guest: "long-kernel", steps: [("30e", "STOPPED #"), (":walk rip", "PML4E"), ("", "PTE")]),
    Row(feature: "exit counts, share, average and longest time", guest: "long-kernel", steps: [("20e", "STOPPED #"), ("9z", "share"), ("", "avg")]),
    Row(feature: "stop on a named exit reason", guest: "long-kernel", steps: [(":sx cpuid stop", "cpuid"), ("c", "CPUID")]),
    Row(feature: "event, condition, action", guest: "hello-real", steps: [(":be io port==0x3f8 if al==0x48 do \"print al\"", "breakpoint 1"), ("c", "0x48")]),
    Row(feature: "breakpoints on ports, MSRs, control registers, vectors", guest: "long-kernel", steps: [
      (":be io port==0x3f8", "breakpoint 1"), (":be wrmsr", "breakpoint 2"), (":be cr", "breakpoint 3"), (":bi 14", "breakpoint 4"), ("4z", "4"),
    ]),
    Row(feature: "exit statistics and guest debugging on one screen", guest: "long-kernel", steps: [("10e", "STOPPED #"), ("F2", "RAX "), ("", "IO ")]),
    Row(feature: "sensitivity gutter", guest: "sensitive-parade", steps: [("20e", "STOPPED"), ("", "P ")]),
    Row(feature: "hypercalls decoded", guest: "hypercalls", steps: [("3h", "hypercall"), ("2", "probe()")]),
    Row(feature: "explain on anything", guest: "long-kernel", steps: [("?", "Explain (arrows"), (":explain efer.nxe", "no-execute")]),
    Row(feature: "honest capabilities", guest: "long-kernel", steps: [(":info engine", "deterministic")]),
    Row(feature: "guest console and VGA text", guest: "long-kernel", steps: [("c", "Good night.")]),
    Row(feature: "search in memory and lists", guest: "long-kernel", steps: [("20e", "STOPPED #"), ("1/cpuid Enter", "cpuid")]),
    Row(feature: "exit anatomy, from exit to exit", guest: "long-kernel", steps: [
      ("8e", "STOPPED #7"), ("1 Enter z", "#7 anatomy"), ("", "3 qualification"), ("", "6 resume"), ("[", "#6 anatomy"),
    ]),
    Row(feature: "a hex editor with undo", guest: "long-kernel", steps: [("3z", "Memory"), ("x90", "90 e7"), ("u", "c0 e7")]),
    Row(feature: "the same as JSON, headless", guest: "long-kernel", steps: [(":trace export /dev/null", "events")]),
    Row(feature: "event stream", guest: "long-kernel", steps: [("10e", "STOPPED #"), (":info events", "exit")]),
    Row(feature: "back-trace", guest: "long-kernel", steps: [(":break log_write", "breakpoint 1"), ("c", "Breakpoint 1"), (":bt", "log_write")]),
  ]

  @Test("can be shown", arguments: rows)
  func row(_ row: Row) throws {
    let program = try DrivenTerminalTests.start([row.guest], width: 160, height: 50)
    #expect(program.waitFor("F1 help"))
    for (keys, text) in row.steps {
      program.type(DocumentTests.bytes(keys))
      #expect(program.waitFor(text), "\(keys) -> \(text)\n\(program.screen.text)")
    }
  }
}
