import X86

/// What an engine can do. What it cannot is a missing bit here, shown to the person, never a method
/// that throws "unsupported".
package struct EngineCapabilities: OptionSet, Sendable, CaseIterable {
  package let rawValue: UInt32
  package init(rawValue: UInt32) { self.rawValue = rawValue }
  /// Stops at any exact instruction count.
  package static let instructionBudget = Self(rawValue: 1 << 0)
  /// The same guest and the same input give the same run.
  package static let deterministic = Self(rawValue: 1 << 1)
  package static let singleStep = Self(rawValue: 1 << 2)
  package static let unlimitedBreakpoints = Self(rawValue: 1 << 3)
  package static let memoryWatch = Self(rawValue: 1 << 4)
  package static let exceptionExits = Self(rawValue: 1 << 5)
  package static let hardwareAssisted = Self(rawValue: 1 << 6)
  package static let multipleVCPUs = Self(rawValue: 1 << 7)
  /// Several vCPUs run at the same time, each on a thread of its own.
  package static let parallelVCPUs = Self(rawValue: 1 << 8)

  /// CPUID, RDTSC, control registers and the like exit where that is asked for.
  package static let instructionExits = Self(rawValue: 1 << 9)

  package static var allCases: [EngineCapabilities] {
    [
      .instructionBudget, .deterministic, .singleStep, .unlimitedBreakpoints, .memoryWatch, .exceptionExits,
      .hardwareAssisted, .multipleVCPUs, .parallelVCPUs, .instructionExits,
    ]
  }
  package var name: String {
    switch self {
    case .instructionBudget: "instruction budget"
    case .deterministic: "deterministic"
    case .singleStep: "single step"
    case .unlimitedBreakpoints: "unlimited breakpoints"
    case .memoryWatch: "memory watch"
    case .exceptionExits: "exception exits"
    case .hardwareAssisted: "hardware-assisted"
    case .multipleVCPUs: "multiple vCPUs"
    case .parallelVCPUs: "vCPUs in threads"
    case .instructionExits: "instruction exits"
    default: "several"
    }
  }
}

/// Something an engine does as the processors it stands for do, or does not on this host.
package struct EngineTrait: Equatable, Sendable {
  package var name: String
  package var holds: Bool
  /// One sentence: what that gives, or what its lack means.
  package var explanation: String
  package init(name: String, holds: Bool, explanation: String) {
    self.name = name
    self.holds = holds
    self.explanation = explanation
  }
}

package struct CPUIDResult: Equatable, Sendable {
  package var eax, ebx, ecx, edx: UInt32
  package init(eax: UInt32 = 0, ebx: UInt32 = 0, ecx: UInt32 = 0, edx: UInt32 = 0) {
    self.eax = eax
    self.ebx = ebx
    self.ecx = ecx
    self.edx = edx
  }
}

/// One way of executing guest code, holding what its vCPUs share (decoded code, guest memory).
package protocol Engine: AnyObject {
  /// "interpreter", "kvm", "rewriter".
  var name: String { get }
  var capabilities: EngineCapabilities { get }
  /// The VM's vCPUs, made with the engine; index = `VMExit.vcpu`.
  var vcpus: [any VCPU] { get }
  /// What was found out about the host; none for engines that are the same on every host.
  var traits: [EngineTrait] { get }
  /// What else there is to say about it now, a sentence each.
  var remarks: [String] { get }
  /// Why the VMCS's control bits cannot be changed on this engine; nil where they can.
  var whyControlsAreFixed: String? { get }
}

extension Engine {
  package var traits: [EngineTrait] { [] }
  package var remarks: [String] { [] }
  package var whyControlsAreFixed: String? { nil }
}

/// One virtual processor. Only `kick()` may be called from another thread while `run` is under way.
package protocol VCPU: AnyObject {
  var index: Int { get }
  /// Carries out `entry`, then executes until something exits or `limit` further instructions have
  /// retired (`limit` 0 does only what `entry` asks, then exits with `budget`). Delivering an injected
  /// event counts as no instruction. Exactly `limit` instructions retire before a `budget` exit; each
  /// REP iteration is part of its one instruction.
  func run(_ entry: VMEntry, limit: UInt64) -> VMExit
  /// Asks a running `run` to return soon with `kicked`; with none running, the next one does.
  func kick()
  /// Asked, where there is one, about exits in the midst of `run`, which then need not return.
  var monitor: ExitMonitor? { get set }

  var state: VCPUState { get set }
  /// Instructions retired since creation.
  var instructionCount: UInt64 { get }
  /// Nanoseconds: instructions retired plus time slept in HLT. The TSC runs at 1 GHz on it.
  var virtualTime: UInt64 { get }
  /// Moves virtual time forward (never back) to `time` without retiring instructions.
  func idle(until time: UInt64)
  /// Sets instruction count and virtual time to 0, as at creation.
  func restartClock()
  /// Sets instruction count and virtual time (at least as many nanoseconds as instructions) to those of an earlier
  /// moment; false, with nothing done, where the engine cannot.
  func setClock(instructions: UInt64, time: UInt64) -> Bool
  /// IF is set, no shadow, nothing else being delivered.
  var canTakeInterrupt: Bool { get }
  /// The last NMI's handler has executed IRET, no shadow, nothing else being delivered (SDM 3A 6.7.1).
  var canTakeNMI: Bool { get }
  /// Cheap single-register access for platforms (hypercall arguments, BIOS services).
  func gpr(_ register: GPR) -> UInt64
  func setGPR(_ register: GPR, _ value: UInt64)
  /// The same registers in the order of `GPR`, where they lie in memory: good while one exit is dealt with. Nil where
  /// they do not.
  var generalRegisters: UnsafeMutablePointer<UInt64>? { get }
  /// The registers an instruction works on, without the cost of `state`: what an exit's anatomy compares.
  func capture(into capture: inout RegisterCapture)
  /// What is to be added to RIP for a linear address: the base of CS, 0 in 64-bit code.
  var codeBase: UInt64 { get }
  /// Forgets cached translations after a platform changed page tables in the guest's stead: of one linear page,
  /// or of all.
  func forgetTranslations(of page: GVA?)
  /// What CPUID returns on this vCPU before the platform adds to it.
  func cpuid(leaf: UInt32, subleaf: UInt32) -> CPUIDResult

  var controls: ExitControls { get set }
  /// What made the last exit: a bit of the controls, or a reason beyond them. Nil where the engine does not
  /// know, or nothing asked for it.
  var exitCause: VMXCause? { get }
  /// Whether it executes, halts or waits; `state.activity` without the rest.
  var activity: ActivityState { get }
  /// Virtual time at which the VMX-preemption timer makes a halted guest exit; nil without one.
  var timerDeadline: UInt64? { get }
  /// What VM entry would refuse of the present state and controls (SDM 3C 27.2, 27.3); nil where it would
  /// succeed, or the engine leaves the checks to hardware.
  func entryProblem() -> EntryProblem?
  var traps: DebugTraps { get set }
  /// Guest-physical address behind a linear one, by the present page tables, without side effects;
  /// nil where nothing is mapped.
  func translate(_ address: GVA) -> GPA?
  /// Why the engine cannot go on, in one sentence with a remedy, where the last exit was `unknown` or
  /// `entryFailure`; nil where it has nothing to add.
  var failureSentence: String? { get }
}

extension VCPU {
  package var failureSentence: String? { nil }
  package var generalRegisters: UnsafeMutablePointer<UInt64>? { nil }
  package var monitor: ExitMonitor? {
    get { nil }
    set {}
  }
}

extension VCPU {
  package var codeBase: UInt64 { state.linearRIP.value &- state.rip }
  package var exitCause: VMXCause? { nil }
  package var activity: ActivityState { state.activity }
  package var timerDeadline: UInt64? { nil }
  package var canTakeNMI: Bool { !state.nmiBlocked }
  package func entryProblem() -> EntryProblem? { nil }
}

/// A VM entry that fails: the field of the VMCS at fault, the rule it breaks, and where the manual has it.
package struct EntryProblem: Equatable, Sendable {
  package var field: VMCSField
  package var rule: String
  /// "SDM 3C 27.3.1.1".
  package var section: String
  package init(field: VMCSField, rule: String, section: String) {
    self.field = field
    self.rule = rule
    self.section = section
  }
}

extension VCPU {
  package func setClock(instructions: UInt64, time: UInt64) -> Bool { false }
  /// For vCPUs that have nothing cheaper.
  package func forgetTranslations(of page: GVA?) { state = state }
}

/// What an engine is told about the VM it executes.
package struct EngineConfiguration: Sendable {
  package var vcpuCount: Int
  /// Executions of a block before a rewriting engine makes host code of it.
  package var warmth: Int
  /// Whether generated code is kept from all memory it has no business with, to find mistakes in it.
  package enum Guarding: Sendable {
    case none
    /// By protection keys: an access elsewhere ends the program.
    case keys
    /// The same, with such an access put into the first code, to see that it does.
    case trespassed
  }
  package var guarding = Guarding.none
  package var cpu: CPUModel
  package init(vcpuCount: Int = 1, warmth: Int = 40, cpu: CPUModel = .baseline) {
    self.vcpuCount = vcpuCount
    self.warmth = warmth
    self.cpu = cpu
  }
}
