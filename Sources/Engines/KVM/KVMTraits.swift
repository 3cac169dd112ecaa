import VMCore

/// What this host's KVM does as processors with VT-x or AMD-V do. Found out by behaviour, once per process; on
/// such processors all of them hold.
package struct KVMTraits: OptionSet, Sendable, CaseIterable {
  package let rawValue: UInt32
  package init(rawValue: UInt32) { self.rawValue = rawValue }
  package static let nativeRing0 = Self(rawValue: 1 << 0)
  package static let paging32 = Self(rawValue: 1 << 1)
  package static let syscallEntersRing0 = Self(rawValue: 1 << 2)
  package static let swBreakpointExit = Self(rawValue: 1 << 3)
  package static let dataWatchpoints = Self(rawValue: 1 << 4)
  package static let hwExecAtCPL3 = Self(rawValue: 1 << 5)
  package static let stepAtCPL3 = Self(rawValue: 1 << 6)
  package static let cpuidFaithful = Self(rawValue: 1 << 7)
  package static let tscWritable = Self(rawValue: 1 << 8)
  package static let preciseInterrupts = Self(rawValue: 1 << 9)
  package static let readonlySlots = Self(rawValue: 1 << 10)

  package static let allCases: [KVMTraits] = [
    .nativeRing0, .paging32, .syscallEntersRing0, .swBreakpointExit, .dataWatchpoints, .hwExecAtCPL3, .stepAtCPL3,
    .cpuidFaithful, .tscWritable, .preciseInterrupts, .readonlySlots,
  ]
  package static let all = KVMTraits(allCases)

  /// A processor's own virtualization runs the guest.
  package var showHardware: Bool { isSuperset(of: [.nativeRing0, .paging32, .syscallEntersRing0]) }

  /// Of one trait.
  package var name: String {
    switch self {
    case .nativeRing0: "nativeRing0"
    case .paging32: "paging32"
    case .syscallEntersRing0: "syscallEntersRing0"
    case .swBreakpointExit: "swBreakpointExit"
    case .dataWatchpoints: "dataWatchpoints"
    case .hwExecAtCPL3: "hwExecAtCPL3"
    case .stepAtCPL3: "stepAtCPL3"
    case .cpuidFaithful: "cpuidFaithful"
    case .tscWritable: "tscWritable"
    case .preciseInterrupts: "preciseInterrupts"
    case .readonlySlots: "readonlySlots"
    default: "several"
    }
  }

  /// What one trait gives where it holds, and what its lack means.
  package func explanation(_ holds: Bool) -> String {
    switch self {
    case .nativeRing0:
      holds ? "the processor runs ring 0 itself" : "KVM interprets ring 0, a hundred times slower than the processor"
    case .paging32:
      holds ? "protected mode with paging runs" : "32-bit paging ends the guest at its first instruction"
    case .syscallEntersRing0:
      holds ? "SYSCALL reaches ring 0" : "SYSCALL stays in ring 3: it is mended at the guest's fault handlers, where their breakpoints fit"
    case .swBreakpointExit: holds ? "a planted INT3 exits" : "a planted INT3 reaches the monitor as an emulation failure, in ring 0 alone"
    case .dataWatchpoints: holds ? "debug registers watch data" : "debug registers never fire on data: pages are made read-only"
    case .hwExecAtCPL3: holds ? "breakpoints work in ring 3" : "breakpoints do not fire in ring 3"
    case .stepAtCPL3:
      holds ? "ring 3 can be stepped" : "a step's trap in ring 3 goes to the guest: such steps are taken on the embedded processor"
    case .cpuidFaithful: holds ? "CPUID says what it was told to" : "CPUID shows features of the host"
    case .tscWritable: holds ? "the TSC can be set" : "the TSC is the host's"
    case .preciseInterrupts:
      holds ? "an interrupt comes as soon as it may" : "an interrupt may come a thousand instructions late in ring 0"
    case .readonlySlots: holds ? "a store to ROM exits" : "ROM can be written"
    default: ""
    }
  }

  /// As engines show them.
  package var described: [EngineTrait] {
    Self.allCases.map { trait in
      EngineTrait(name: trait.name, holds: contains(trait), explanation: trait.explanation(contains(trait)))
    }
  }
}
