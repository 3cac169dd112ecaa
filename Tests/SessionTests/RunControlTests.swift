import Debugger
import Session
import Testing
import VMCore
import X86

@Suite("Run control")
struct RunControlTests {
  @Test func `a budget is met to the instruction`() throws {
    let machine = try Scripted([:])
    let control = machine.control()
    for target in [UInt64(1), 2, 3, 10, 1000] {
      var goal = RunGoal()
      goal.target = target
      #expect(control.run(goal) == .target)
      #expect(machine.vcpu.instructionCount == target)
    }
  }

  @Test func `somebody wants attention just when the guest goes on from a breakpoint: it goes on all the same`() throws {
    var configuration = SessionConfiguration()
    configuration.guest = "long-kernel"
    let session = try Session(configuration)
    _ = session.perform("break log_write")
    let first = session.perform("continue").json["icount"]
    session.typeToGuest([])
    let second = session.perform("continue").json["icount"]
    #expect(first == .number(5242) && second == .number(5769))
  }

  @Test func `going on from a breakpoint leaves it where the turn is another vCPU's by now`() throws {
    var configuration = SessionConfiguration()
    configuration.guest = "two-processors"
    let session = try Session(configuration)
    _ = session.perform("break start_second")
    _ = session.perform("continue 9")
    _ = session.perform("rc")
    let back = session.perform("rc").json["icount"]
    #expect(back == .number(2_082_971))
    #expect(session.perform("continue").json["icount"] != back)
  }

  @Test func `an answered exit retires once and counts against the budget`() throws {
    let machine = try Scripted([0x1001: Scripted.out(0x80)])
    let control = machine.control()
    var goal = RunGoal()
    goal.target = 3
    #expect(control.run(goal) == .target)
    #expect(machine.vcpu.instructionCount == 3)
    #expect(machine.vcpu.state.rip == 0x1003)
    #expect(machine.platform.handled.count == 1)
  }

  @Test func `the limit is exact whatever exits before it`() throws {
    let machine = try Scripted([0x1001: Scripted.out(0x80), 0x1003: Scripted.input(0x60), 0x1004: .jump(0x1000)])
    let control = machine.control()
    control.limit = 12_345
    #expect(control.run(RunGoal()) == .stopped(.limit))
    #expect(control.instructionsRetired == 12_345)
    #expect(machine.vcpu.instructionCount == 12_345)
  }

  @Test func `a timer interrupts at its exact instruction`() throws {
    let machine = try Scripted([0x12000: .interruptReturn])
    machine.platform.timers = [(time: 100, vector: 0x20)]
    let control = machine.control()
    control.limit = 200
    _ = control.run(RunGoal())
    #expect(machine.vcpu.delivered.count == 1)
    #expect(machine.vcpu.delivered.first?.at == Scripted.start + 100)
  }

  @Test func `INIT waits for a vCPU in VMX operation, and resets any other`() throws {
    for region: UInt64? in [0x9000, nil] {
      let machine = try Scripted([0x1000: Scripted.out(0x80)])
      machine.platform.requestPorts = [0x80: .initialize(vcpu: 0)]
      let control = machine.control()
      machine.vcpu.state.vmx.vmxon = region
      control.limit = 4
      _ = control.run(RunGoal())
      #expect(machine.vcpu.state.vmx.isInitPending == (region != nil))
      #expect((machine.vcpu.state.rip > 0x1000 && machine.vcpu.state.rip < 0x1010) == (region != nil))
    }
  }

  @Test func `interrupts wait for the window when they are off`() throws {
    let machine = try Scripted([0x1000: .disableInterrupts, 0x1050: .enableInterrupts, 0x12000: .interruptReturn])
    machine.platform.timers = [(time: 10, vector: 0x20)]
    let control = machine.control()
    control.limit = 200
    _ = control.run(RunGoal())
    #expect(machine.vcpu.delivered.first?.at == 0x1051)
    #expect(machine.vcpu.entries.contains { $0.interruptWindow })
  }

  @Test func `a device's interrupt comes after the instruction that raised it`() throws {
    let machine = try Scripted([0x1004: Scripted.out(0x3F9), 0x12400: .interruptReturn])
    machine.platform.interruptPort = (port: 0x3F9, vector: 0x24)
    let control = machine.control()
    control.limit = 20
    _ = control.run(RunGoal())
    #expect(machine.vcpu.delivered.first?.at == 0x1005)
  }

  @Test func `a halt jumps to the next timer`() throws {
    let machine = try Scripted([0x1002: .halt, 0x12000: .interruptReturn])
    machine.platform.timers = [(time: 1_000_000, vector: 0x20)]
    let control = machine.control()
    control.limit = 10
    #expect(control.run(RunGoal()) == .stopped(.limit))
    #expect(machine.vcpu.delivered.first?.at == 0x1003)
    #expect(machine.vcpu.virtualTime >= 1_000_000)
    #expect(machine.vcpu.instructionCount == 10)
  }

  @Test func `a halt with interrupts off is for good`() throws {
    let machine = try Scripted([0x1000: .disableInterrupts, 0x1001: .halt])
    #expect(machine.control().run(RunGoal()) == .stopped(.haltedForGood))
  }

  @Test func `a halt with nothing due is idle`() throws {
    let machine = try Scripted([0x1000: .halt])
    #expect(machine.control().run(RunGoal()) == .idle)
  }

  @Test func `a triple fault stops and stays`() throws {
    let machine = try Scripted([0x1000: .tripleFault])
    let control = machine.control()
    #expect(control.run(RunGoal()) == .stopped(.tripleFault))
    #expect(control.run(RunGoal()) == .stopped(.tripleFault))
  }

  @Test func `an unknown instruction gives the guest its fault and goes on`() throws {
    let machine = try Scripted([
      0x1000: .exits(.unknownInstruction, .unknownInstruction(bytes: 0x0F, length: 1)), 0x10600: .interruptReturn,
    ])
    let control = machine.control()
    control.limit = 5
    #expect(control.run(RunGoal()) == .stopped(.limit))
    #expect(machine.vcpu.delivered.first?.event == .exception(6, errorCode: nil))
  }

  @Test func `an execution breakpoint stops before its instruction and then lets it pass`() throws {
    let machine = try Scripted([0x1004: .jump(0x1000)])
    let control = machine.control()
    control.breakpoints.add(.execution(GVA(0x1002)))
    for round in 1...3 {
      #expect(control.run(RunGoal()) == .stopped(.breakpoint(1)))
      #expect(machine.vcpu.state.rip == 0x1002)
      #expect(control.breakpoints[1]?.hits == UInt64(round))
    }
  }

  @Test func `a breakpoint whose condition fails does not change the run`() throws {
    func trace(_ withBreakpoint: Bool) throws -> [UInt64] {
      let machine = try Scripted([0x1004: .jump(0x1000), 0x12000: .interruptReturn])
      machine.platform.timers = (1...20).map { (time: UInt64($0 * 7), vector: 0x20) }
      let control = machine.control()
      if withBreakpoint {
        control.breakpoints.add(.execution(GVA(0x1002))) { $0.condition = try? Expression("0") }
        control.holds = { _, _, _ in false }
      }
      control.limit = 500
      #expect(control.run(RunGoal()) == .stopped(.limit))
      return machine.vcpu.delivered.map(\.at)
    }
    #expect(try trace(true) == trace(false))
  }

  @Test func `a port breakpoint stops before the access and the access happens on going on`() throws {
    let machine = try Scripted([0x1002: Scripted.out(0x3F8, 0x41), 0x1004: .jump(0x1004)])
    let control = machine.control()
    control.breakpoints.add(.port(0x3F8, .write))
    control.limit = 50
    #expect(control.run(RunGoal()) == .stopped(.breakpoint(1)))
    #expect(machine.platform.handled.isEmpty)
    #expect(machine.vcpu.instructionCount == 2)
    #expect(control.run(RunGoal()) == .stopped(.limit))
    #expect(machine.platform.takeConsoleOutput() == [0x41])
  }

  @Test func `stops before an interrupt deliver it on going on`() throws {
    let machine = try Scripted([0x12000: .interruptReturn])
    machine.platform.timers = [(time: 10, vector: 0x20)]
    let control = machine.control()
    control.breakpoints.add(.vector(0x20))
    control.limit = 30
    #expect(control.run(RunGoal()) == .stopped(.breakpoint(1)))
    #expect(machine.vcpu.delivered.isEmpty)
    #expect(control.run(RunGoal()) == .stopped(.limit))
    #expect(machine.vcpu.delivered.first?.at == 0x100A)
  }

  @Test func `one step at a time is the same run as one go`() throws {
    func run(stepwise: Bool) throws -> ([UInt64], UInt64, String) {
      let machine = try Scripted([
        0x1001: Scripted.out(0x3F9), 0x1003: .disableInterrupts, 0x1007: .enableInterrupts, 0x1009: .jump(0x1000),
        0x12000: .interruptReturn, 0x12400: .interruptReturn,
      ])
      machine.platform.interruptPort = (port: 0x3F9, vector: 0x24)
      machine.platform.timers = (1...50).map { (time: UInt64($0 * 13), vector: 0x20) }
      let control = machine.control()
      let stream = EventStream(machine.events)
      for target in stepwise ? Array(1...1000) : [1000] {
        var goal = RunGoal()
        goal.target = UInt64(target)
        #expect(control.run(goal) == .target)
      }
      stream.drain()
      let digest = stream.digest.finish(
        states: [machine.vcpu.state], memory: machine.memory, instructions: control.instructionsRetired)
      return (machine.vcpu.delivered.map(\.at), stream.exitCount, digest)
    }
    let whole = try run(stepwise: false)
    let steps = try run(stepwise: true)
    #expect(whole == steps)
  }

  @Test func `a second vCPU waits for its SIPI and takes turns`() throws {
    let machine = try Scripted([0x1000: Scripted.out(0x10), 0x1001: .jump(0x1001)], [:])
    machine.platform.requestPorts = [0x10: .startup(vcpu: 1, vector: 0x9)]
    let control = machine.control()
    control.limit = 50_000
    #expect(control.run(RunGoal()) == .stopped(.limit))
    let other = machine.engine.scripted[1]
    #expect(other.instructionCount > 20_000)
    #expect(other.state[.cs].base == 0x9000)
    #expect(machine.vcpu.instructionCount + other.instructionCount == 50_000)
  }
}
