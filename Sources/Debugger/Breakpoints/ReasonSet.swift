import X86
import VMCore

/// A set of exit reasons in one word: asked at every exit, so it must cost nothing.
@usableFromInline package struct ReasonSet: Equatable, Sendable {
  @usableFromInline package private(set) var bits: UInt64 = 0
  package init(_ reasons: [ExitReason] = []) { for reason in reasons { insert(reason) } }

  /// SDM reasons are below 56; Ringside's own, from 256 on, follow at bit 56.
  @inlinable @inline(__always)
  static func bit(_ reason: ExitReason) -> UInt64 {
    let number = UInt64(reason.rawValue)
    return 1 &<< (number < 56 ? number : number &- 200)
  }

  @inlinable @inline(__always)
  package func contains(_ reason: ExitReason) -> Bool { bits & Self.bit(reason) != 0 }
  package mutating func insert(_ reason: ExitReason) { bits |= Self.bit(reason) }
  package mutating func remove(_ reason: ExitReason) { bits &= ~Self.bit(reason) }
  package mutating func formUnion(_ other: ReasonSet) { bits |= other.bits }
  package func subtracting(_ other: ReasonSet) -> ReasonSet {
    var rest = self
    rest.bits &= ~other.bits
    return rest
  }
  package var isEmpty: Bool { bits == 0 }
}

extension ExitReason {
  /// The name commands and displays use: the SDM's, in lower case.
  package var name: String {
    switch self {
    case .exception: "exception"
    case .externalInterrupt: "interrupt"
    case .tripleFault: "triplefault"
    case .initSignal: "init"
    case .sipi: "sipi"
    case .interruptWindow: "intwindow"
    case .nmiWindow: "nmiwindow"
    case .taskSwitch: "taskswitch"
    case .cpuid: "cpuid"
    case .hlt: "hlt"
    case .invd: "invd"
    case .invlpg: "invlpg"
    case .rdpmc: "rdpmc"
    case .rdtsc: "rdtsc"
    case .vmcall: "vmcall"
    case .crAccess: "cr"
    case .drAccess: "dr"
    case .io: "io"
    case .rdmsr: "rdmsr"
    case .wrmsr: "wrmsr"
    case .entryFailure: "entryfailure"
    case .mwait: "mwait"
    case .monitorTrap: "mtf"
    case .monitor: "monitor"
    case .pause: "pause"
    case .gdtrIdtrAccess: "gdtr"
    case .ldtrTrAccess: "ldtr"
    case .eptViolation: "mmio"
    case .rdtscp: "rdtscp"
    case .wbinvd: "wbinvd"
    case .xsetbv: "xsetbv"
    case .vmclear: "vmclear"
    case .vmlaunch: "vmlaunch"
    case .vmptrld: "vmptrld"
    case .vmptrst: "vmptrst"
    case .vmread: "vmread"
    case .vmresume: "vmresume"
    case .vmwrite: "vmwrite"
    case .vmxoff: "vmxoff"
    case .vmxon: "vmxon"
    case .invept: "invept"
    case .invvpid: "invvpid"
    case .entryMSRFailure: "entrymsr"
    case .tprBelowThreshold: "tpr"
    case .eptMisconfiguration: "eptmisconfig"
    case .preemptionTimer: "preemption"
    case .softwareInterrupt: "int"
    case .debug: "debug"
    case .budget: "budget"
    case .kicked: "kicked"
    case .callout: "callout"
    case .unknownInstruction: "badinsn"
    case .unknown: "unknown"
    case .syscall: "syscall"
    }
  }

  /// Other names it goes by.
  package var aliases: [String] {
    switch self {
    case .eptViolation: ["ept", "eptviolation"]
    case .crAccess: ["craccess"]
    case .drAccess: ["draccess"]
    case .externalInterrupt: ["extint", "irq"]
    case .softwareInterrupt: ["softint"]
    case .gdtrIdtrAccess: ["idtr", "gdtridtr"]
    case .ldtrTrAccess: ["tr", "ldtrtr"]
    case .unknownInstruction: ["unknowninstruction"]
    case .vmcall: ["hypercall"]
    default: []
    }
  }

  /// By name or alias, in any case.
  package init?(named name: String) {
    let wanted = name.lowercased()
    guard let found = Self.allCases.first(where: { $0.name == wanted || $0.aliases.contains(wanted) }) else {
      return nil
    }
    self = found
  }

  /// Exits of the monitor's own making, which the guest did nothing for: never shown, counted or recorded.
  package var isBookkeeping: Bool {
    switch self {
    case .budget, .kicked, .debug: true
    default: false
    }
  }
}
