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
    snapshot.devices = [
      DeviceInspection(device: "Serial16550 COM1", rows: [("IER", "00"), ("LSR", "60 THR empty")]),
      DeviceInspection(device: "PIC8259A master", rows: [("IMR", "fb"), ("IRR", "01 timer")]),
    ]
    snapshot.messages = [
      ConsoleMessage(.notice, "boot.img: a 512-byte boot sector at 7c00h", number: 1),
      ConsoleMessage(.command, "brek 7c1c", number: 2),
      ConsoleMessage(.error, "'brek': no such command; did you mean 'break'?", number: 3),
    ]
    snapshot.eventCount = 40_000
    return snapshot
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
      return record
    }
  }

  private static func statistics(
    _ reason: ExitReason, _ count: UInt64, _ share: Double, _ average: Double, _ most: UInt64
  ) -> ReasonStatistics {
    var row = ReasonStatistics(reason, count: count, share: share)
    row.averageCost = average
    row.maximumCost = most
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

  func draw() {
    let buffer = CellBuffer(terminal.size)
    model.update()
    let cursor = model.draw(on: buffer, glyphs: terminal.glyphs)
    _ = terminal.present(buffer, theme: model.theme, cursor: cursor)
  }

  var rows: [String] { screen.split(separator: "\n", omittingEmptySubsequences: false).map(String.init) }
}
