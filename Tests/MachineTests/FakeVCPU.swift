import Machine
import VMCore
import X86

/// A vCPU that executes nothing: what a platform may ask of one.
final class FakeVCPU: VCPU {
  let index: Int
  var state = VCPUState()
  var instructionCount: UInt64 = 0
  var virtualTime: UInt64 = 0
  var controls = ExitControls.standard
  var traps = DebugTraps()
  var canTakeInterrupt = true
  /// Linear pages that are mapped, to the physical page behind each.
  var pages: [UInt64: UInt64] = [:]

  init(index: Int = 0) { self.index = index }
  func run(_ entry: VMEntry, limit: UInt64) -> VMExit { exit(.budget, .budget) }
  func kick() {}
  func restartClock() {}
  func idle(until time: UInt64) { virtualTime = max(virtualTime, time) }
  func gpr(_ register: GPR) -> UInt64 { state[register] }
  func setGPR(_ register: GPR, _ value: UInt64) { state[register] = value }
  func cpuid(leaf: UInt32, subleaf: UInt32) -> CPUIDResult {
    switch leaf {
    case 0: CPUIDResult(eax: 0x16)
    case 1: CPUIDResult(eax: 0x663, ebx: 0x0800, ecx: 0, edx: 0x0780_FBFF)
    case 0x8000_0008: CPUIDResult(eax: 0x3028)
    default: CPUIDResult()
    }
  }
  func translate(_ address: GVA) -> GPA? {
    pages[address.value & ~4095].map { GPA($0 | address.value & 4095) }
  }

  func exit(_ reason: ExitReason, _ qualification: ExitQualification) -> VMExit {
    VMExit(
      vcpu: UInt8(index), reason: reason, qualification: qualification, rip: 0x1000, instructionLength: 2,
      instructionCount: instructionCount)
  }
}

/// A PC with its vCPUs, and the guest's accesses as exits.
struct Bench {
  let memory: GuestMemory
  let events = EventSink(capacity: 1 << 12)
  let pc: PC
  let vcpus: [FakeVCPU]
  var vcpu: FakeVCPU { vcpus[0] }

  init(vcpus count: Int = 1, ram: UInt64 = 64 << 20, hasLocalAPIC: Bool = true, model: PCModel = .pc) throws {
    memory = try GuestMemory(ramSize: ram)
    vcpus = (0..<count).map { FakeVCPU(index: $0) }
    pc = PC(
      memory: memory,
      configuration: PCConfiguration(ramSize: ram, vcpuCount: count, hasLocalAPIC: hasLocalAPIC, model: model),
      events: events)
  }

  func out(_ port: UInt16, _ value: UInt64, size: UInt8 = 1) {
    _ = pc.handle(
      vcpu.exit(.io, .io(port: port, size: size, write: true, string: false, rep: false, value: value)), on: vcpu)
  }
  func `in`(_ port: UInt16, size: UInt8 = 1) -> UInt64 {
    value(
      pc.handle(
        vcpu.exit(.io, .io(port: port, size: size, write: false, string: false, rep: false, value: 0)), on: vcpu))
  }
  func load(_ address: UInt64, size: UInt8 = 4, on index: Int = 0) -> UInt64 {
    let vcpu = vcpus[index]
    return value(
      pc.handle(
        vcpu.exit(
          .eptViolation, .mmio(gpa: GPA(address), linear: GVA(address), size: size, write: false, value: 0)), on: vcpu))
  }
  func store(_ address: UInt64, _ value: UInt64, size: UInt8 = 4, on index: Int = 0) {
    let vcpu = vcpus[index]
    _ = pc.handle(
      vcpu.exit(
        .eptViolation, .mmio(gpa: GPA(address), linear: GVA(address), size: size, write: true, value: value)), on: vcpu)
  }
  func rdmsr(_ index: UInt32) -> VMEntry.Action {
    pc.handle(vcpu.exit(.rdmsr, .msr(index: index, write: false, value: 0)), on: vcpu)
  }
  func wrmsr(_ index: UInt32, _ value: UInt64) -> VMEntry.Action {
    pc.handle(vcpu.exit(.wrmsr, .msr(index: index, write: true, value: value)), on: vcpu)
  }
  private func value(_ action: VMEntry.Action) -> UInt64 {
    if case .complete(let value) = action { return value }
    return 0xDEAD_BEEF_DEAD_BEEF
  }

  /// Lets virtual time pass on every vCPU.
  func wait(_ time: UInt64) {
    for vcpu in vcpus { vcpu.virtualTime += time }
    pc.advance(to: vcpu.virtualTime)
  }

  /// The vectors the guest would take now, each ended in the PIC by `end`.
  func takeInterrupt(vcpu: Int = 0) -> UInt8? {
    pc.interruptPending(vcpu: vcpu) ? pc.acknowledgeInterrupt(vcpu: vcpu) : nil
  }

  /// The PIC pair as every system sets it up: vectors 20h and 28h, everything unmasked but `masks`.
  func initializePICs(_ masks: (UInt64, UInt64) = (0, 0), icw4: UInt64 = 1) {
    for (port, value) in [(0x20, 0x11), (0x21, 0x20), (0x21, 0x04), (0xA0, 0x11), (0xA1, 0x28), (0xA1, 0x02)] {
      out(UInt16(port), UInt64(value))
    }
    out(0x21, icw4)
    out(0xA1, icw4)
    out(0x21, masks.0)
    out(0xA1, masks.1)
  }

  func line(_ gsi: UInt8, _ level: Bool) { pc.router.set(gsi, level) }

  func drainEvents() -> [Event] {
    var result: [Event] = []
    events.consume { result.append(contentsOf: $0) }
    return result
  }
}

/// Repeatable "random" numbers.
struct LCG {
  var state: UInt64
  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state >> 16
  }
}
