import Debugger
import Session
import Testing
import VMCore
import X86

@Suite("Several vCPUs")
struct TurnTests {
  /// vCPU 0 starts vCPU 1 at 0 and loops; vCPU 1 loops, with a halt if asked for.
  private func machine(halts: Bool = false) throws -> Scripted {
    var second: [UInt64: ScriptedVCPU.Step] = [0x10: .jump(0)]
    if halts { second[8] = .halt }
    let machine = try Scripted([0x1003: Scripted.out(0x99), 0x1020: .jump(0x1010)], second)
    machine.platform.requestPorts[0x99] = .startup(vcpu: 1, vector: 0)
    return machine
  }

  private func counts(_ machine: Scripted) -> [UInt64] { machine.engine.scripted.map(\.instructionCount) }

  @Test func `a vCPU that is started has the turn at once, and then they go round by slices`() throws {
    let machine = try machine()
    let control = machine.control()
    let slice = VCPUTurn.instructions
    let last = 4 + 3 * slice
    let cases: [(UInt64, [UInt64])] = [
      (4, [4, 0]), (5, [4, 1]), (4 + slice, [4, slice]), (5 + slice, [5, slice]), (last, [4 + slice, 2 * slice]),
    ]
    for (target, expected) in cases {
      var goal = RunGoal()
      goal.target = target
      #expect(control.run(goal) == .target)
      #expect(counts(machine) == expected)
    }
    // One time line: neither clock is ahead of the instructions of both.
    #expect(machine.engine.scripted.allSatisfy { $0.virtualTime <= control.place.time } && control.place.time == last)
  }

  @Test func `HLT gives the turn away, and an idle vCPU costs the other nothing`() throws {
    let machine = try machine(halts: true)
    let control = machine.control()
    var goal = RunGoal()
    goal.target = 100_000
    #expect(control.run(goal) == .target)
    #expect(counts(machine) == [100_000 - 9, 9])
  }

  @Test(arguments: [1, 2, 7, 9_999, 10_000, 10_001, 33_333] as [UInt64])
  func `the turns are the same however the run is stopped between`(pace: UInt64) throws {
    let whole = try machine()
    let parts = try machine()
    let (a, b) = (whole.control(), parts.control())
    var goal = RunGoal()
    goal.target = 50_000
    #expect(a.run(goal) == .target)
    var target: UInt64 = 0
    while target < 50_000 {
      target = min(target + pace, 50_000)
      goal.target = target
      #expect(b.run(goal) == .target)
    }
    #expect(counts(whole) == counts(parts) && a.place == b.place)
  }

  @Test func `a step is one vCPU's, while the others take their turns`() throws {
    let machine = try machine()
    let control = machine.control()
    var goal = RunGoal()
    goal.target = 10
    #expect(control.run(goal) == .target && counts(machine) == [4, 6] && control.place.vcpu == 1)
    for count in 5...7 as ClosedRange<UInt64> {
      var step = RunGoal()
      (step.vcpu, step.target) = (0, count)
      #expect(control.run(step) == .target && control.place.vcpu == 0)
      #expect(counts(machine) == [count, VCPUTurn.instructions])
    }
    var other = RunGoal()
    (other.vcpu, other.target) = (1, VCPUTurn.instructions + 1)
    #expect(control.run(other) == .target && control.place.vcpu == 1)
    #expect(counts(machine) == [4 + VCPUTurn.instructions, VCPUTurn.instructions + 1])
  }

  @Test func `a breakpoint stops on the vCPU that came to it, and each passes its own`() throws {
    let session = try machine().session()
    for line in ["break 5", "continue"] { _ = session.perform(line) }
    #expect(session.currentSnapshot().currentVCPU == 1 && session.currentSnapshot().vcpus[1].rip == 5)
    #expect(!session.perform("step").failed && session.currentSnapshot().vcpus[1].rip == 6)
    _ = session.perform("continue")
    #expect(session.currentSnapshot().stopSentence == "Breakpoint 1 (exec 5) at 0000:0005.")
    _ = session.perform("vcpu 0")
    #expect(session.currentSnapshot().stopSentence == "Breakpoint 1 (exec 5) at 0000:0005 on vCPU 1.", "also while the other is looked at")
    #expect(!session.perform("delete").failed)
    _ = session.perform("break 1015")
    _ = session.perform("continue")
    #expect(session.currentSnapshot().currentVCPU == 0 && session.currentSnapshot().vcpus[0].rip == 0x1015)
  }
}
