import Console
import Debugger
import Glibc
import Session
import TerminalUI
import VMCore
import X86

/// A session that only remembers what it was asked.
final class FakeSession: SessionFacade {
  var snapshot: SessionSnapshot
  var submitted: [String] = []
  var typed: [UInt8] = []
  var pauses = 0
  var requests = 0
  var history: [String] = ["info regs"]
  var changeDescriptor: Int32 { -1 }

  init(_ snapshot: SessionSnapshot) { self.snapshot = snapshot }

  func acknowledgeChange() {}
  func requestSnapshot() { requests += 1 }
  func submit(_ line: String) { submitted.append(line) }
  func pause() { pauses += 1 }
  func typeToGuest(_ bytes: [UInt8]) { typed += bytes }
  func completions(for line: String) -> [String] {
    let word = line.split(separator: " ", omittingEmptySubsequences: false).last.map(String.init) ?? ""
    return ["break", "breakpoints", "continue", "putchar"].filter { $0.hasPrefix(word) }
  }

  /// Publishes a changed snapshot.
  func publish(_ change: (inout SessionSnapshot) -> Void) {
    change(&snapshot)
    snapshot.generation += 1
  }
}

/// Snapshots made by hand.
enum Fixture {
  static let code: [UInt8] = [
    0xFA, 0x31, 0xC0, 0x8E, 0xD8, 0xBC, 0x00, 0x7C, 0xB9, 0x0A, 0x00, 0xE8, 0x0E, 0x00, 0x49, 0x75, 0xFA, 0xBA, 0xF8,
    0x03, 0xB0, 0x4B, 0xEE, 0x0F, 0xA2, 0xF4, 0xEB, 0xFD, 0x50, 0xB4, 0x0E, 0xB0, 0x41, 0xCD, 0x10, 0x58, 0xC3,
  ]
  static let symbols = SymbolTable([
    Symbol(name: "boot", address: 0x7C00, size: 0x1C), Symbol(name: "putchar", address: 0x7C1C, size: 9),
  ])

  static func memory() throws -> GuestMemory {
    let memory = try GuestMemory(ramSize: 1 << 20)
    memory.write(GPA(0x7C00), code)
    memory.write(GPA(0x7D00), Array("Ringside says hello".utf8))
    return memory
  }

  /// A boot sector stopped at OUT DX, AL, in real mode.
  static func realMode() throws -> SessionSnapshot {
    var now = VCPUState()
    now[.cs] = SegmentState(selector: 0, base: 0, access: 0x9B)
    now.rip = 0x7C16
    now[.rax] = 0x4B
    now[.rcx] = 9
    now[.rdx] = 0x3F8
    now[.rsp] = 0x7BFE
    now.rflags = 0x46
    var before = now
    before.rip = 0x7C14
    before[.rax] = 0
    before[.rdx] = 0
    var snapshot = SessionSnapshot(memory: try memory(), vcpus: [now], symbols: symbols)
    snapshot.previous = [before]
    snapshot.phase = .paused
    snapshot.stop = .exit(.io)
    snapshot.stopSentence = "VM exit #1842: guest wrote 'K' to COM1 (port 3f8h). Next: e, s or c; ? explains"
    snapshot.guestName = "boot.img"
    snapshot.capabilities = [.instructionBudget, .deterministic, .singleStep]
    snapshot.instructionCount = 16_654_588
    snapshot.virtualTime = 16_654_588
    snapshot.exitCount = 18_553
    snapshot.exits = exits()
    snapshot.reasons = [
      statistics(.io, 13_202, 0.712, 1_800, 31_000), statistics(.cpuid, 2_604, 0.14, 700, 2_000),
      statistics(.hlt, 1_690, 0.091, 4_001_000, 4_100_000), statistics(.eptViolation, 1_038, 0.056, 5_200, 88_000),
      statistics(.vmcall, 19, 0.001, 2_400, 9_000),
    ]
    snapshot.hypercalls = [
      HypercallRecord("console_write(ptr=0x8000, len=5) = 5", sequence: 41),
      HypercallRecord("get_time() = 16654", sequence: 42),
    ]
    snapshot.breakpoints = breakpoints()
    snapshot.guestConsole = ["Booting", "AAAAAAAAAA", "K"]
    snapshot.screen = TextScreen(
      (0..<2000).map { UInt16($0 < 12 ? 0x1F00 + UInt16(Array("Hello, \u{1}VGA!".utf8)[$0]) : 0x0720) }, cursor: 12)
    snapshot.devices = devices()
    snapshot.events = events(snapshot.exits)
    snapshot.exitAddresses = [
      AddressCount(address: 0x7C16, count: 10_760), AddressCount(address: 0x7C17, count: 1_670),
      AddressCount(address: 0x7C19, count: 1_650), AddressCount(address: 0x7C21, count: 40),
    ]
    snapshot.otherExitAddresses = 4_433
    snapshot.measuredMIPS = 123.4
    snapshot.engines = [
      EngineChoice(name: "interpreter", unavailable: nil),
      EngineChoice(name: "kvm", unavailable: "there is no /dev/kvm on this host"),
    ]
    snapshot.messages = [
      ConsoleMessage(.notice, "boot.img: a 512-byte boot sector at 7c00h", number: 1),
      ConsoleMessage(.command, "brek 7c1c", number: 2),
      ConsoleMessage(.error, "'brek': no such command; did you mean 'break'?", number: 3),
    ]
    snapshot.eventCount = 40_000
    snapshot.rewriting = rewriting()
    snapshot.comparison = comparison(now)
    snapshot.techniques = techniques()
    return snapshot
  }

  /// The loop at 7C0Eh as a trace, and where sensitive instructions were met.
  private static func rewriting() -> RewritingView {
    var view = RewritingView()
    view.technique = "rewrite"
    view.engine = "rewriter"
    view.policy = .standard
    var totals = RewritingTotals()
    totals.blocks = 214
    totals.guestBytes = 4_820
    totals.hostBytes = 61_440
    totals.kinds = [.identity: 812, .rewritten: 604, .inCache: 21, .callout: 12, .interpreted: 40]
    totals.refused = 9
    totals.invalidations = 3
    totals.interpreted = 166_545
    totals.cached = 16_488_043
    totals.used = 98_304
    totals.size = 64 << 20
    view.totals = totals
    var block = RewrittenBlock(rip: 0x7C14, gpa: GPA(0x7C14), length: 3, status: .rewritten(address: 0x7F00_1000_0200))
    block.instructions = [
      .init(rip: 0x7C14, length: 2, kind: .identity), .init(rip: 0x7C16, length: 1, kind: .callout),
    ]
    // mov al, 4bh; mov r13, 1234h; call; mov rax, [rsp+20h]; ret
    block.host = [0xB0, 0x4B, 0x49, 0xC7, 0xC5, 0x34, 0x12, 0, 0, 0xE8, 0x10, 0, 0, 0, 0x48, 0x8B, 0x44, 0x24, 0x20, 0xC3]
    block.starts = [0, 2]
    block.straightEnd = 14
    block.exits = [.init(isTaken: false, target: 0x7C17, isChained: true)]
    block.chainsIn = 2
    view.block = block
    func site(_ rip: UInt64, _ operation: SensitiveOperation, _ count: UInt64) -> SensitiveSite {
      SensitiveSite(
        rip: rip, gpa: GPA(rip), cpl: 0, operation: operation, treatment: view.policy.treatment(of: operation), count: count)
    }
    view.sites = [
      site(0x7C00, .interruptFlag, 1), site(0x7C03, .loadSegment, 1), site(0x7C16, .portOutput, 13_202),
      site(0x7C17, .cpuid, 2_604), site(0x7C19, .hlt, 1_690), site(0x7C21, .softwareInterrupt, 10),
    ]
    return view
  }

  private static func comparison(_ state: VCPUState) -> ComparisonReport {
    var report = ComparisonReport(names: ["interpreter", "rewriter"], technique: "rewrite")
    report.comparisons = 167
    report.memoryComparisons = 1
    report.exits = 18_553
    report.retired = [16_654_588, 16_654_588]
    report.mips = [121.4, 902.7]
    report.exitCounts = [18_553, 18_553]
    for (name, treatment, count, costs) in [
      ("OUT, OUTS", "callout", UInt64(13_202), [UInt64(1_800), 1_750]), ("CPUID", "callout", 2_604, [700, 690]),
      ("CLI, STI", "in cache", 1, [0, 0]),
    ] {
      for side in 0...1 {
        var tally = ComparisonTally()
        (tally.count, tally.cost, tally.treatment) = (count, count * costs[side], treatment)
        report.tallies[side][name] = tally
      }
    }
    var other = state
    other[.rax] = 0x4C
    other.rflags |= 1
    var divergence = Divergence(count: 16_654_588, isRepeatable: true, states: [[state], [other]])
    divergence.retired = report.retired
    divergence.code = [
      DivergentLine(rip: 0x7C11, place: "boot+11", bytes: [0xBA, 0xF8, 0x03], text: "mov dx, 3f8h", endsBlock: false, number: 16_654_586),
      DivergentLine(rip: 0x7C14, place: "boot+14", bytes: [0xB0, 0x4B], text: "mov al, 4bh", endsBlock: false, number: 16_654_587),
    ]
    report.divergence = divergence
    return report
  }

  /// A guest with two operations under three techniques; a fourth is not to be had.
  private static func techniques() -> TechniquesReport {
    var report = TechniquesReport(guest: "teaching")
    func counts(_ instructions: UInt64, _ kinds: [(String, TechniqueTreatment, UInt64, UInt64)]) -> TechniqueCounts {
      var counts = TechniqueCounts()
      (counts.instructions, counts.virtualTime, counts.hostTime) = (instructions, instructions, instructions / 3)
      for (name, how, count, cost) in kinds { counts.kinds[TechniqueKind(name, how)] = TechniqueTally(count: count, cost: cost) }
      return counts
    }
    let columns: [(TechniqueChoice, [(String, TechniqueTreatment, UInt64, UInt64)])] = [
      (TechniqueChoice(.hvm, "rewriter"), [("IN, INS", .exit, 1_000, 70_000)]),
      (TechniqueChoice(.rewrite, "rewriter"), [("IN, INS", .callout, 1_000, 80_000), ("CLI, STI", .inCache, 12, 0)]),
      (TechniqueChoice(.pv, "rewriter"), [("#GP", .emulated, 1_000, 150_000), ("mmu_update", .hypercall, 1_000, 210_000), ("event", .upcall, 7, 0)]),
    ]
    for (index, (choice, kinds)) in columns.enumerated() {
      var run = TechniqueRun(choice)
      run.end = "shut down"
      run.console = Array("the end\n".utf8)
      run.total = counts(12_345_678 + UInt64(index) * 1_000, kinds)
      run.operations = [
        TechniqueOperation(name: "in", times: 1_000, counts: counts(2_000, Array(kinds.prefix(1)))),
        TechniqueOperation(name: "callret", times: 1_000, counts: counts(3_000, [])),
      ]
      if choice.technique == .rewrite { run.missed = ["PUSHF, POPF": 31] }
      report.runs.append(run)
    }
    var refused = TechniqueRun(TechniqueChoice(.hvm, "kvm"))
    refused.refusal = "there is no /dev/kvm on this host"
    report.runs.append(refused)
    return report
  }

  private static func exits() -> [ExitRecord] {
    let kinds: [(ExitReason, ExitQualification, String, UInt64, String, UInt64)] = [
      (.io, .io(port: 0x3F8, size: 1, write: true, string: false, rep: false, value: 0x4B), "out 3f8h (COM1 THR) <- 4b 'K'", 0x7C16, "uart16550", 1_900),
      (.cpuid, .cpuid(leaf: 1, subleaf: 0), "eax=1 -> 000506e3..", 0x7C17, "cpuid", 700),
      (.hlt, .hlt, "IF=1, idle for 4.0ms", 0x7C19, "", 4_001_000),
    ]
    return (0..<40).map { index in
      let kind = kinds[index % 3]
      let exit = VMExit(
        vcpu: 0, reason: kind.0, qualification: kind.1, rip: kind.3, instructionLength: UInt8(1 + index % 3 % 2),
        instructionCount: 16_654_000 + UInt64(index))
      var record = ExitRecord(exit, sequence: 1803 + UInt64(index), detail: kind.2)
      record.time = 16_000_000 + UInt64(index) * 800
      record.handler = kind.4
      record.cost = kind.5
      record.event = 39_800 + UInt64(index) * 3
      // The guest stands at the newest; the oldest were not recorded.
      if index < 39 {
        record.answer = kind.0 == .io ? .complete(0) : kind.0 == .cpuid ? .skip : .emulate
        record.answerEvent = record.event + 2
      }
      if index >= 10 { record.states = states(kind.0, kind.3, isOpen: index == 39) }
      return record
    }
  }

  private static func states(_ reason: ExitReason, _ rip: UInt64, isOpen: Bool) -> ExitStates {
    var before = RegisterCapture()
    before.rip = rip
    before.rflags = 0x46
    before[.rax] = 0x4B
    before[.rcx] = 9
    before[.rdx] = 0x3F8
    before[.rsp] = 0x7BFE
    var after = before
    after.rip = rip + (reason == .cpuid ? 2 : 1)
    if reason == .cpuid {
      after[.rax] = 0x506E3
      after[.rbx] = 0x10800
      after[.rdx] = 0x78B_FBFF
    }
    return ExitStates(before: before, after: isOpen ? nil : after)
  }

  /// For each exit: itself, what the handler did, the answer.
  private static func events(_ exits: [ExitRecord]) -> [Event] {
    var events: [Event] = []
    for record in exits {
      var exit = Event(exit: record.exit)
      exit.sequence = record.event
      exit.time = record.time
      events.append(exit)
      guard let answer = record.answer else { continue }
      var did = Event(record.exit.reason == .hlt ? .interruptLine : .output, a: record.exit.reason == .hlt ? 0 : 0x4B, b: 1)
      if record.exit.reason == .cpuid { did = Event(.timer, a: 0, b: 10_000) }
      did.sequence = record.event + 1
      did.time = record.time
      var entry = Event(.entry, rip: record.exit.rip, a: answer == .skip ? 3 : answer == .emulate ? 1 : 2)
      entry.sequence = record.event + 2
      entry.time = record.time
      events += [did, entry]
    }
    return events
  }

  private static func devices() -> [DeviceInspection] {
    let names = [
      "timer", "keyboard", "cascade", "COM2", "COM1", "LPT2", "floppy", "LPT1", "RTC", "", "", "", "mouse", "FPU", "IDE 0",
      "IDE 1",
    ]
    var requested = VectorSet()
    requested[0x20] = true
    requested[0x31] = true
    var serving = VectorSet()
    serving[0x80] = true
    return [
      DeviceInspection(device: "Serial16550 COM1", rows: [("IER", "00"), ("LSR", "60 THR empty")]),
      DeviceInspection(
        device: "PIC 8259A", rows: [("PIC1 base", "08"), ("PIC2 base", "70"), ("INTR", "1")], role: .interruptController,
        bitmaps: [
          InspectionBitmap("line", word: 1, count: 16, lines: names), InspectionBitmap("IRR", word: 1, count: 16),
          InspectionBitmap("ISR", word: 2, count: 16), InspectionBitmap("IMR", word: 0xFFF8, count: 16),
          InspectionBitmap("ELCR", word: 0, count: 16),
        ]),
      DeviceInspection(
        device: "local APIC 0",
        rows: [("mode", "xAPIC at fee00000"), ("TPR", "00"), ("LVT timer", "20031  vector 31 fixed open")],
        role: .interruptController,
        bitmaps: [
          InspectionBitmap("IRR", bits: requested), InspectionBitmap("ISR", bits: serving),
          InspectionBitmap("TMR", bits: VectorSet()),
        ]),
      DeviceInspection(
        device: "PIT 8254", rows: [("counter 0 (IRQ 0)", "mode 2 reload 2e9b count 1f00 out 1 gate 1"), ("  OUT rises", "in 6652 ns")],
        role: .timer),
    ]
  }

  private static func statistics(
    _ reason: ExitReason, _ count: UInt64, _ share: Double, _ average: Double, _ most: UInt64
  ) -> ReasonStatistics {
    var row = ReasonStatistics(reason, count: count, share: share)
    row.averageCost = average
    row.maximumCost = most
    row.minimumCost = UInt64(average / 2)
    row.p99Cost = most * 9 / 10
    var histogram = [UInt64](repeating: 0, count: 48)
    let middle = 63 - UInt64(average).leadingZeroBitCount
    histogram[middle] = count / 2
    histogram[middle + 1] = count / 3
    histogram[63 - most.leadingZeroBitCount] += max(count / 100, 1)
    row.histogram = histogram
    return row
  }

  private static func breakpoints() -> [BreakpointSummary] {
    var first = BreakpointSummary("exec 7c1c <putchar>", number: 1)
    first.condition = "cx==5"
    first.hits = 1
    var second = BreakpointSummary("io port==3f8 w", number: 2)
    second.hits = 3
    second.hitLimit = 3
    var third = BreakpointSummary("msr c0000080 w", number: 4)
    third.enabled = false
    third.action = "info regs"
    return [first, second, third]
  }

  /// The same code at 1 MiB less 64 KiB in long mode without paging structures: nothing is mapped.
  static func longModeUnmapped() throws -> SessionSnapshot {
    var snapshot = try realMode()
    var state = snapshot.vcpus[0]
    state.cr0 |= CR0.pe | CR0.pg
    state.cr4 |= CR4.pae
    state.efer |= EFER.lme | EFER.lma
    state[.cs].access = 0xA09B
    state.rip = 0xFFFF_8000_0000_7C16
    snapshot.vcpus = [state]
    snapshot.stop = .tripleFault
    snapshot.stopSentence =
      "Triple fault: the double fault's handler could not be reached because the IDT at 0 has no page behind it, "
      + "which is what the processor resets for; registers are those at the fault"
    return snapshot
  }

  /// A long-mode guest with page tables, GDT, IDT, TSS and frames on its stack, stopped in `inner`, which
  /// `outer` called.
  static func longMode() throws -> SessionSnapshot {
    let memory = try GuestMemory(ramSize: 4 << 20)
    func quad(_ address: UInt64, _ value: UInt64) { memory.store(GPA(address), value) }
    // 4-level tables: 0 to 2 MiB in 4 KiB pages, then one 2 MiB page; the page at 3000h is not present.
    quad(0x10000, 0x11003)
    quad(0x11000, 0x12003)
    quad(0x12000, 0x13003)
    quad(0x12008, 0x20_0083)
    for page in UInt64(0)..<512 where page != 3 { quad(0x13000 + page * 8, page << 12 | (page < 16 ? 0x67 : 0x03)) }
    quad(0x13000 + 5 * 8, 0x5000 | 0x8000_0000_0000_0061)
    // GDT: null, 64-bit code, data, 32-bit code, a hole, a TSS, a reserved type.
    let gdt: [UInt64] = [
      0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x00CF_9B00_0000_FFFF, 0, 0x0000_8B00_8000_0067, 0,
      0x0000_8500_0000_0000,
    ]
    for (index, entry) in gdt.enumerated() { quad(0x6000 + UInt64(index) * 8, entry) }
    func gate(_ vector: UInt64, _ offset: UInt64, selector: UInt64 = 8, type: UInt64 = 0x8E, ist: UInt64 = 0) {
      let high = (offset >> 16 & 0xFFFF) << 48
      quad(0x7000 + vector * 16, offset & 0xFFFF | selector << 16 | ist << 32 | type << 40 | high)
      quad(0x7008 + vector * 16, offset >> 32)
    }
    gate(3, 0x10_0020, type: 0xEF)
    gate(8, 0x10_0040, ist: 1)
    gate(14, 0x10_0020)
    gate(32, 0x10_0020, selector: 0x10)
    gate(33, 0x10_0020, type: 0x0E)
    for index in UInt64(0)..<13 { memory.store(GPA(0x8004 + index * 8), 0x9000 + index * 0x100) }
    // outer: push rbp; mov rbp, rsp; call inner. inner: push rbp; mov rbp, rsp; mov rax, [rbp+16]; jz; leave; ret.
    memory.write(
      GPA(0x10_0000),
      [0x55, 0x48, 0x89, 0xE5, 0xE8, 0x17, 0, 0, 0, 0x5D, 0xC3] + [UInt8](repeating: 0x90, count: 21)
        + [0x55, 0x48, 0x89, 0xE5, 0x48, 0x8B, 0x45, 0x10, 0x74, 0x02, 0xEB, 0xFC, 0xC9, 0xC3])
    quad(0x9FD0, 0x9FE0)
    quad(0x9FD8, 0x10_0009)
    quad(0x9FE0, 0x9FF0)
    quad(0x9FE8, 0x1234_5678)
    var state = VCPUState()
    state.cr0 = CR0.pe | CR0.pg | CR0.wp | CR0.et
    state.cr3 = 0x10000
    state.cr4 = CR4.pae | CR4.osfxsr
    state.efer = EFER.lme | EFER.lma | EFER.nxe | EFER.sce
    state.lstar = 0x10_0020
    state.star = 0x001B_0008 << 32
    state[.cs] = SegmentState(selector: 8, base: 0, limit: 0xFFFF_FFFF, access: 0xA09B)
    for name in [SegmentName.ss, .ds, .es] {
      state[name] = SegmentState(selector: 0x10, base: 0, limit: 0xFFFF_FFFF, access: 0xC093)
    }
    state[.tr] = SegmentState(selector: 0x28, base: 0x8000, limit: 0x67, access: 0x8B)
    state[.ldtr] = SegmentState(selector: 0, base: 0, limit: 0, access: 0x1_0000)
    state.gdtr = TableRegister(base: 0x6000, limit: 0x3F)
    state.idtr = TableRegister(base: 0x7000, limit: 0x22F)
    state.rip = 0x10_0024
    state[.rsp] = 0x9FD0
    state[.rbp] = 0x9FD0
    state.rflags = 0x246
    state.dr[0] = 0x10_0020
    state.dr7 = 0x402
    state.fpu.significand[0] = 0xC90F_DAA2_2168_C235
    state.fpu.signExponent[0] = 0x4000
    state.fpu.tag = 0xFFFC
    state.fpu.xmm[0] = 0x4000_0000_3F80_0000
    state.fpu.xmm[1] = 0x4080_0000_4040_0000
    let table = SymbolTable([
      Symbol(name: "outer", address: 0x10_0000, size: 11), Symbol(name: "inner", address: 0x10_0020, size: 14),
    ])
    var snapshot = SessionSnapshot(memory: memory, vcpus: [state], symbols: table)
    snapshot.phase = .paused
    snapshot.stop = .step
    snapshot.stopSentence = "Stepped to 100024 <inner+4>."
    snapshot.guestName = "long.elf"
    snapshot.capabilities = [.instructionBudget, .deterministic, .singleStep, .unlimitedBreakpoints]
    return snapshot
  }

  static func model(_ session: FakeSession, layout: ConsoleLayout = .standard) -> ConsoleModel {
    ConsoleModel(session: session, theme: .plain, themes: ThemeLibrary(directories: [themes]), layout: layout)
  }

  /// Two vCPUs, the second in ring 3.
  static func twoVCPUs() throws -> SessionSnapshot {
    var snapshot = try realMode()
    var other = snapshot.vcpus[0]
    other[.rax] = 0x2222
    other.rip = 0x7C1C
    snapshot.vcpus.append(other)
    snapshot.previous.append(other)
    return snapshot
  }

  static let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
  static let themes = root + "/Themes"
}

/// A model on a memory terminal.
final class Desk {
  let session: FakeSession
  let model: ConsoleModel
  let terminal: MemoryTerminal

  init(
    _ snapshot: SessionSnapshot, width: Int = 80, height: Int = 24, glyphs: Glyphs = .ascii,
    layout: ConsoleLayout = .standard
  ) {
    session = FakeSession(snapshot)
    model = Fixture.model(session, layout: layout)
    terminal = MemoryTerminal(size: Size(width: width, height: height), glyphs: glyphs)
  }

  @discardableResult
  func press(_ keys: Key...) -> ConsoleModel.Request {
    var request = ConsoleModel.Request.none
    for key in keys { request = model.handle(.key(key)) }
    return request
  }

  @discardableResult
  func type(_ text: String) -> ConsoleModel.Request {
    var request = ConsoleModel.Request.none
    for scalar in text.unicodeScalars { request = press(scalar == "\n" ? Key(.enter) : Key(scalar)) }
    return request
  }

  /// The screen as it is now.
  var screen: String {
    draw()
    return terminal.text
  }

  /// Brings a pane up by its digit, pressed as often as it takes.
  func show(_ pane: PaneID) {
    if pane == .registers { press(Key(.function(2))) }
    guard let digit = pane.digit, let place = PaneID.group(digit).firstIndex(of: pane) else { return }
    type("\(digit)" + String(repeating: "`", count: place))
    press(Key(.tab), Key(.backTab))
  }

  /// The cells as they are now.
  var shown: CellBuffer {
    draw()
    return terminal.shown
  }

  func draw() {
    let buffer = CellBuffer(terminal.size)
    model.update()
    let cursor = model.draw(on: buffer, glyphs: terminal.glyphs)
    _ = terminal.present(buffer, theme: model.theme, cursor: cursor)
  }

  var rows: [String] { screen.split(separator: "\n", omittingEmptySubsequences: false).map(String.init) }
}
