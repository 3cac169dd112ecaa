import Testing
import VMCore
import X86

@Suite("An exit packed into an event")
struct EventExitTests {
  static let cases: [(ExitReason, ExitQualification)] = [
    (.io, .io(port: 0x3F8, size: 1, write: true, string: false, rep: false, value: 0x4B)),
    (.io, .io(port: 0xFFFF, size: 4, write: false, string: true, rep: true, value: .max)),
    (.eptViolation, .mmio(gpa: GPA(0xFEE0_0080), linear: GVA(.max), size: 8, write: true, value: 0x1234_5678_9ABC)),
    (.eptViolation, .mmio(gpa: GPA(1 << 51), linear: GVA(0), size: 1, write: false, value: 0)),
    (.rdmsr, .msr(index: .max, write: false, value: 0)), (.wrmsr, .msr(index: 0x1B, write: true, value: .max)),
    (.cpuid, .cpuid(leaf: 0x8000_0008, subleaf: .max)), (.hlt, .hlt),
    (.crAccess, .cr(number: 8, access: .write, gpr: 15, value: .max)),
    (.crAccess, .cr(number: 0, access: .clts, gpr: 0, value: 0)),
    (.crAccess, .cr(number: 0, access: .lmsw, gpr: 3, value: 9)),
    (.drAccess, .dr(number: 7, access: .read, gpr: 1, value: 0x400)),
    (.gdtrIdtrAccess, .descriptorTable(table: 1, write: true)),
    (.ldtrTrAccess, .descriptorTable(table: 3, write: false)),
    (.exception, .exception(vector: 14, errorCode: 0x1F, linear: .max)),
    (.exception, .exception(vector: 0, errorCode: nil, linear: 0)),
    (.exception, .exception(vector: 13, errorCode: 0, linear: 0)),
    (.softwareInterrupt, .softwareInterrupt(vector: 0x80)),
    (.externalInterrupt, .externalInterrupt(vector: 0xFF)), (.interruptWindow, .interruptWindow),
    (.vmcall, .hypercall(number: .max)), (.invlpg, .invlpg(GVA(.max))),
    (.taskSwitch, .taskSwitch(selector: 0xFFFF, source: 3)), (.debug, .debug(.execution(GVA(0x7C00)))),
    (.debug, .debug(.data(GVA(.max), size: 16, write: true))),
    (.debug, .debug(.data(GVA(1), size: 1, write: false))), (.debug, .debug(.step)),
    (.tripleFault, .tripleFault), (.budget, .budget), (.kicked, .kicked),
    (.unknownInstruction, .unknownInstruction(bytes: .max, length: 15)),
    (.entryFailure, .entryFailure(field: .max)), (.rdtsc, .none), (.unknown, .unknown(raw: .max)),
  ]

  @Test(arguments: cases)
  func `comes back as it was`(reason: ExitReason, qualification: ExitQualification) {
    for (vcpu, length, count) in [(UInt8(0), UInt8(0), UInt64(0)), (255, 15, .max)] {
      let exit = VMExit(
        vcpu: vcpu, reason: reason, qualification: qualification, rip: .max, instructionLength: length,
        instructionCount: count)
      #expect(Event(exit: exit).vmExit == exit)
    }
  }

  @Test(arguments: ExitReason.allCases)
  func `keeps every reason`(reason: ExitReason) {
    let exit = VMExit(
      vcpu: 1, reason: reason, qualification: .none, rip: 2, instructionLength: 3, instructionCount: 4)
    #expect(Event(exit: exit).exitReason == reason)
  }

  /// Whatever the slot held before.
  @Test(arguments: cases)
  func `is the same where it is made in the ring`(reason: ExitReason, qualification: ExitQualification) {
    let exit = VMExit(
      vcpu: 3, reason: reason, qualification: qualification, rip: 0x1234, instructionLength: 5, instructionCount: 77)
    var expected = Event(exit: exit)
    (expected.sequence, expected.time) = (4, 99)
    #expect(Self.emitted { $0.emit(exit: exit) } == expected)
  }

  @Test(arguments: [
    (.resume, 0, 0), (.emulate, 1, 0), (.complete(.max), 2, .max), (.skip, 3, 0), (.fault(13, errorCode: 1), 4, 13),
    (.retire(rip: 0x7C00), 5, 0x7C00),
  ] as [(VMEntry.Action, UInt32, UInt64)])
  func `its answer is told by number and value`(action: VMEntry.Action, number: UInt32, value: UInt64) {
    let exit = VMExit(
      vcpu: 3, reason: .hlt, qualification: .hlt, rip: 0x1234, instructionLength: 1, instructionCount: 77)
    var expected = Event(.entry, vcpu: 3, rip: 0x1234, a: number, b: value)
    (expected.sequence, expected.time) = (4, 99)
    #expect(Self.emitted { $0.emit(action, to: exit) } == expected)
  }

  /// What `emit` puts into a slot that was full of ones.
  private static func emitted(_ emit: (EventSink) -> Void) -> Event? {
    let sink = EventSink(capacity: 4)
    for _ in 0..<4 {
      sink.emit(Event(.go, vcpu: .max, rip: .max, a: .max, b: .max, c: .max, d: .max, flags: .max, count: .max))
    }
    sink.consume { _ in }
    sink.time = 99
    emit(sink)
    var events: [Event] = []
    sink.consume { events += $0 }
    return events.count == 1 ? events[0] : nil
  }

  @Test func `is one cache line`() { #expect(MemoryLayout<Event>.stride == 64) }

  @Test func `is not read from another kind of event`() { #expect(Event(.interrupt, a: 0x20).vmExit == nil) }
}
