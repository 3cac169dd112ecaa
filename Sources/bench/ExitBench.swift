import Session
import VMCore
import X86

/// What a VM exit of the embedded model costs from guest to monitor and back, by reason: a loop around one
/// instruction with its control bit on, less the same loop without the exit. Measured twice: by run control with
/// nobody reading its events, and in a session, which keeps every event, statistics and the run's digest; on both engines.
struct ExitBench {
  private struct Case {
    var name: String
    /// The instruction; it may change any register but EDI.
    var bytes: [UInt8]
    /// What makes it exit, and what makes it not; without the latter a NOP is measured instead.
    var on: [VMCSChange] = []
    var off: [VMCSChange]?
    var setUp: [UInt8] = []
    /// Instructions that retire each time round, a handler's among them.
    var length: UInt64 = 3
    /// Exits each time round.
    var exits = 1.0
  }
  private static let count: UInt64 = 200_000
  private static let rounds = 5
  private static let target = 250.0
  /// Every figure is given for each of them, in this order.
  private static let engines = ["interpreter", "rewriter"]

  private static let cases: [Case] = [
    Case(name: "port input (reason 30)", bytes: [0xE4, 0x80]),
    Case(name: "port output (reason 30)", bytes: [0xE6, 0x80]),
    Case(name: "CPUID (reason 10)", bytes: [0x0F, 0xA2]),
    Case(name: "RDMSR of the processor's own (reason 31)", bytes: [0x0F, 0x32], on: [.msr(MSR.efer, .read, true)], off: [], setUp: ecx(MSR.efer)),
    Case(name: "RDMSR of the local APIC's (reason 31)", bytes: [0x0F, 0x32], setUp: ecx(MSR.apicBase)),
    Case(name: "RDTSC (reason 16)", bytes: [0x0F, 0x31], on: [.bit(.rdtscExiting, true)], off: []),
    Case(name: "MOV to CR3 (reason 28)", bytes: [0x0F, 0x22, 0xD8], on: [.bit(.cr3LoadExiting, true)], off: []),
    Case(name: "PAUSE (reason 40)", bytes: [0xF3, 0x90], on: [.bit(.pauseExiting, true)], off: []),
    Case(name: "memory without RAM behind it (reason 48)", bytes: [0xA1, 0x00, 0x00, 0xC0, 0xFE]),
    Case(name: "#UD by the exception bitmap (reason 0)", bytes: [0x0F, 0x0B], on: [.exception(6, true)], off: [], length: 4),
    Case(name: "HLT (reason 12), the PIT's interrupt and its EOI (reason 30)", bytes: [0xF4], setUp: timer, length: 8, exits: 2),
    Case(name: "a port whose bit is 0: no exit, straight to the device", bytes: [0xE6, 0x80], on: [.ports(0x80...0x80, false)]),
  ]

  private static func ecx(_ value: UInt32) -> [UInt8] { [0xB9] + (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }
  /// Both PICs' first at vector 20h, the timer alone open, and the PIT as fast as it goes.
  private static let timer: [UInt8] =
    [(0x20, 0x11), (0x21, 0x20), (0x21, 0x04), (0x21, 0x01), (0x21, 0xFE), (0x43, 0x34), (0x40, 0x10), (0x40, 0)]
    .flatMap { [0xB0, UInt8($0.1), 0xE6, UInt8($0.0)] } + [0xFB]

  func findings() throws(VMError) -> [Finding] {
    var findings: [Finding] = []
    for test in Self.cases {
      var (alone, whole): ([Double], [Double]) = ([], [])
      for engine in Self.engines {
        alone.append(try Self.cost(test) { bytes, changes throws(VMError) in try Self.byControl(test, bytes, changes, engine) })
        whole.append(try Self.cost(test) { bytes, changes throws(VMError) in try Self.bySession(test, bytes, changes, engine) })
      }
      func figures(_ costs: [Double]) -> String { costs.map { Figure.time($0) }.joined(separator: ", ") }
      let worst = (alone + whole).max() ?? 0
      findings.append(
        Finding(
          what: "exit: \(test.name)", measured: figures(alone), peer: "in a session \(figures(whole))",
          target: Figure.time(Self.target * test.exits), isReached: worst <= Self.target * test.exits))
    }
    return findings
  }

  private typealias Measure = ([UInt8], [VMCSChange]) throws(VMError) -> Double

  /// The median cost of one exit by a way of measuring the loop.
  private static func cost(_ test: Case, _ measure: Measure) throws(VMError) -> Double {
    var costs: [Double] = []
    for _ in 0..<rounds {
      let with = try measure(test.bytes, test.on)
      let without = try measure(test.off == nil ? [0x90] : test.bytes, test.off ?? [])
      costs.append((with - without) / Double(count))
    }
    return Statistics.median(costs) ?? 0
  }

  // MARK: the guest

  private static let code: UInt64 = 0x8000
  private static let idt: UInt64 = 0x2000
  private static let handlers: UInt64 = 0x9000

  private static func machine(_ test: Case, _ bytes: [UInt8], _ engine: String) throws(VMError) -> VirtualMachine {
    let memory = try GuestMemory(ramSize: 4 << 20)
    put(memory, test.setUp, bytes)
    return try VirtualMachine.assemble(name: "exits", memory: memory, cpus: 1, state: state, engine: engine).machine
  }

  /// CPU time of the loop, ns.
  private static func bySession(
    _ test: Case, _ bytes: [UInt8], _ changes: [VMCSChange], _ engine: String
  ) throws(VMError) -> Double {
    let session = Session(SessionConfiguration(), machine: try machine(test, bytes, engine))
    for change in changes { try session.check(VMCSCommandLine.set(change)) }
    try session.check("tbreak 0x\(String(loop(test), radix: 16))")
    try session.check("continue")
    try session.check("tbreak 0x\(String(loop(test) + UInt64(bytes.count) + 3, radix: 16))")
    let start = HostClock.ownCPUTime()
    try session.check("continue")
    return Double(HostClock.ownCPUTime() &- start)
  }

  private static func byControl(
    _ test: Case, _ bytes: [UInt8], _ changes: [VMCSChange], _ engine: String
  ) throws(VMError) -> Double {
    let machine = try machine(test, bytes, engine)
    let control = RunControl(vcpus: machine.engine.vcpus, platform: machine.platform, events: machine.events)
    machine.events.onFull = { sink in sink.consume { _ in } }
    control.restart(machine.initialStates)
    var goal = RunGoal()
    goal.vcpu = 0
    goal.trap = GVA(loop(test))
    guard control.run(goal) == .trap else { throw VMError(.session, "\(test.name): the loop was not reached") }
    // A run without a trap puts the standard controls in place, and the next one leaves them alone.
    goal.trap = nil
    goal.target = machine.engine.vcpus[0].instructionCount
    _ = control.run(goal)
    goal.target += count * test.length
    for change in changes { change.apply(to: &machine.engine.vcpus[0].controls) }
    let start = HostClock.ownCPUTime()
    guard control.run(goal) == .target else { throw VMError(.session, "\(test.name): the loop did not end") }
    return Double(HostClock.ownCPUTime() &- start)
  }

  private static func loop(_ test: Case) -> UInt64 { code + UInt64(test.setUp.count) + 5 }

  private static func put(_ memory: GuestMemory, _ setUp: [UInt8], _ bytes: [UInt8]) {
    let count = (0..<4).map { UInt8(truncatingIfNeeded: Self.count >> UInt64($0 * 8)) }
    let back = UInt8(bitPattern: Int8(-(bytes.count + 3)))
    memory.write(GPA(code), setUp + [0xBF] + count + bytes + [0x4F, 0x75, back, 0xEB, 0xFE])
    for (vector, handler) in [(6, handlers), (0x20, handlers + 0x40)] as [(UInt64, UInt64)] {
      memory.store(GPA(idt + vector * 8), handler & 0xFFFF | 8 << 16 | 0x8E << 40 | (handler >> 16) << 48)
    }
    // #UD: over the instruction. The timer: end of interrupt.
    memory.write(GPA(handlers), [0x83, 0x04, 0x24, 0x02, 0xCF])
    memory.write(GPA(handlers + 0x40), [0x50, 0xB0, 0x20, 0xE6, 0x20, 0x58, 0xCF])
    for (index, descriptor) in [0, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF].enumerated() as EnumeratedSequence<[UInt64]> {
      memory.store(GPA(0x1000 + UInt64(index * 8)), descriptor)
    }
  }

  /// Flat 32-bit protected mode without paging.
  private static var state: VCPUState {
    var state = VCPUState()
    state.cr0 = CR0.pe | CR0.et | CR0.ne
    state.gdtr = TableRegister(base: 0x1000, limit: 0x17)
    state.idtr = TableRegister(base: idt, limit: 0x7FF)
    state[.cs] = SegmentState(selector: 8, limit: .max, access: 0xC09B)
    for name in [SegmentName.ds, .es, .ss, .fs, .gs] { state[name] = SegmentState(selector: 16, limit: .max, access: 0xC093) }
    state[.rsp] = 0x7000
    state.rip = code
    return state
  }
}
