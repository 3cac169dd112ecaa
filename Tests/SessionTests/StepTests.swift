import Debugger
import Session
import Testing
import VMCore
import X86

@Suite("Step plans")
struct StepPlanTests {
  static func position(_ address: UInt64, _ flow: StepPosition.Flow = .plain, stack: UInt64 = 0x8000) -> StepPosition {
    StepPosition(address: GVA(address), next: GVA(address + 3), stackPointer: stack, flow: flow)
  }

  @Test func `N steps are one directive, and a delivery among them is a step`() {
    var plan = StepPlan(.instructions, count: 7)
    #expect(plan.next(at: Self.position(0)) == .instructions(7))
    #expect(plan.next(at: Self.position(7)) == .done)
    plan = StepPlan(.instructions, count: 7)
    #expect(plan.next(at: Self.position(0)) == .instructions(7))
    plan.delivered(after: 2)
    #expect(plan.next(at: Self.position(0x100)) == .instructions(4))
    plan.delivered(after: 3)
    #expect(plan.next(at: Self.position(0x200)) == .done)
  }

  @Test func `over runs a call to its return and single-steps the rest`() {
    var plan = StepPlan(.over, count: 2)
    #expect(plan.next(at: Self.position(0x10, .call)) == .runTo(GVA(0x13), stackAtLeast: 0x8000))
    #expect(plan.next(at: Self.position(0x13)) == .instructions(1))
    #expect(plan.next(at: Self.position(0x14)) == .done)
  }

  @Test func `out ends behind the return`() {
    var plan = StepPlan(.out)
    #expect(plan.next(at: Self.position(0x10)) == .instructions(1))
    #expect(plan.next(at: Self.position(0x13, .call)) == .runTo(GVA(0x16), stackAtLeast: 0x8000))
    #expect(plan.next(at: Self.position(0x16, .returning)) == .instructions(1))
    #expect(plan.next(at: Self.position(0x99)) == .done)
  }

  @Test func `an interrupt on the way over is run to its end first`() {
    var plan = StepPlan(.over)
    let start = Self.position(0x10)
    #expect(plan.next(at: start) == .instructions(1))
    plan.interrupted(at: start)
    #expect(plan.next(at: Self.position(0x500)) == .runTo(GVA(0x10), stackAtLeast: 0x8000))
    #expect(plan.next(at: start) == .instructions(1))
    #expect(plan.next(at: Self.position(0x11)) == .done)
  }

  @Test func `the third exit of a reason is the third`() {
    var plan = StepPlan(.reason(.cpuid), count: 3)
    func exit(_ reason: ExitReason) -> VMExit {
      VMExit(vcpu: 0, reason: reason, qualification: .none, rip: 0, instructionLength: 1, instructionCount: 0)
    }
    #expect(plan.next(at: Self.position(0)) == .run)
    let results = [ExitReason.cpuid, .io, .cpuid, .io, .cpuid].map { plan.observe(exit($0), isHypercall: false) }
    #expect(results == [false, false, false, false, true])
  }
}

@Suite("Breakpoints")
struct BreakpointTests {
  static func exit(_ reason: ExitReason, _ qualification: ExitQualification) -> VMExit {
    VMExit(vcpu: 0, reason: reason, qualification: qualification, rip: 0, instructionLength: 1, instructionCount: 0)
  }
  static let write = exit(.io, .io(port: 0x3F8, size: 1, write: true, string: false, rep: false, value: 1))
  static let wideRead = exit(.io, .io(port: 0x3F6, size: 4, write: false, string: false, rep: false, value: 0))

  static let cases: [(BreakpointCause, VMExit, Bool)] = [
    (.port(0x3F8, .write), write, true), (.port(0x3F8, .read), write, false), (.port(nil, .both), write, true),
    (.port(0x3F8, .read), wideRead, true), (.port(0x3FA, .read), wideRead, false),
    (.msr(0x1B, .both), exit(.wrmsr, .msr(index: 0x1B, write: true, value: 0)), true),
    (.msr(0x1B, .read), exit(.wrmsr, .msr(index: 0x1B, write: true, value: 0)), false),
    (.controlRegister(3, .write), exit(.crAccess, .cr(number: 3, access: .write, gpr: 0, value: 0)), true),
    (.controlRegister(0, .write), exit(.crAccess, .cr(number: 0, access: .lmsw, gpr: 0, value: 0)), true),
    (.controlRegister(3, .write), exit(.crAccess, .cr(number: 3, access: .read, gpr: 0, value: 0)), false),
    (.vector(14), exit(.exception, .exception(vector: 14, errorCode: 2, linear: 5)), true),
    (.vector(nil), exit(.softwareInterrupt, .softwareInterrupt(vector: 0x80)), true),
    (.vector(13), exit(.exception, .exception(vector: 14, errorCode: 2, linear: 5)), false),
    (.reason(.hlt), exit(.hlt, .hlt), true), (.reason(.hlt), exit(.cpuid, .cpuid(leaf: 0, subleaf: 0)), false),
    (.execution(GVA(5)), exit(.debug, .debug(.execution(GVA(5)))), true),
    (.data(GVA(0x100), length: 4, .write), exit(.debug, .debug(.data(GVA(0x102), size: 1, write: true))), true),
    (.data(GVA(0x100), length: 4, .write), exit(.debug, .debug(.data(GVA(0xFE), size: 4, write: true))), true),
    (.data(GVA(0x100), length: 4, .write), exit(.debug, .debug(.data(GVA(0xFC), size: 4, write: true))), false),
    (.data(GVA(0x100), length: 4, .read), exit(.debug, .debug(.data(GVA(0x100), size: 4, write: true))), false),
  ]

  @Test(arguments: cases)
  func `matches what it waits for and nothing else`(cause: BreakpointCause, exit: VMExit, expected: Bool) {
    var table = BreakpointTable()
    table.add(cause)
    let stopped = table.check(exit, hypercall: nil) { _ in true }
    #expect((stopped != nil) == expected)
    if expected { #expect(table.interest.contains(exit.reason)) }
  }

  @Test func `are removed in any order and numbers are not used again`() {
    var table = BreakpointTable()
    for address in 1...4 { table.add(.execution(GVA(UInt64(address)))) }
    let removed = [2, 1, 4, 2].map { table.remove($0) }
    #expect(removed == [true, true, true, false])
    #expect(table.all.map(\.number) == [3])
    let next = table.add(.execution(GVA(9)))
    #expect(next == 5)
    #expect(table.traps.execution == [3, 9])
  }

  @Test func `ignore counts and hit limits pass over hits`() {
    var table = BreakpointTable()
    table.add(.reason(.hlt)) {
      $0.ignoreCount = 2
      $0.hitLimit = 4
    }
    let stops = (0..<6).map { _ in table.check(Self.exit(.hlt, .hlt), hypercall: nil) { _ in true } }
    #expect(stops == [nil, nil, nil, 1, 1, 1])
    #expect(table[1]?.hits == 6)
  }

  @Test func `disabled ones ask for nothing`() {
    var table = BreakpointTable()
    table.add(.msr(nil, .both))
    #expect(table.controls(over: .standard).vmcs.has(.useMSRBitmaps) == false)
    table.change(1) { $0.enabled = false }
    #expect(table.controls(over: .standard) == .standard)
    #expect(table.interest.isEmpty)
  }
}
