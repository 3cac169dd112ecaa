import X86

/// Which sensitive instructions leave translated code: the policy table of binary rewriting. Every engine that
/// obeys it gives the same events.
package struct RewritingPolicy: Equatable, Sendable {
  /// Each of these is an exit of reason `callout` before it is executed; the monitor emulates it.
  package var callouts: SensitiveSet
  /// These are carried out where they stand, and only counted.
  package var inCache: SensitiveSet

  package init(callouts: SensitiveSet, inCache: SensitiveSet) {
    self.callouts = callouts
    self.inCache = inCache
  }

  /// Nothing is rewritten for its own sake: the VMCS alone decides what exits.
  package static let none = RewritingPolicy(callouts: SensitiveSet(), inCache: SensitiveSet())

  /// Technique `rewrite`: the flag instructions, SWAPGS, CLAC and STAC work on the guest's own state and are
  /// cheap where they stand; all other sensitive instructions call out.
  package static let standard: RewritingPolicy = {
    let cheap = SensitiveSet([.interruptFlag, .pushFlags, .popFlags, .swapgs, .smapFlag])
    return RewritingPolicy(callouts: SensitiveSet.all.subtracting(cheap), inCache: cheap)
  }()

  package var isEmpty: Bool { callouts.isEmpty && inCache.isEmpty }

  /// What happens to an operation.
  package func treatment(of operation: SensitiveOperation) -> Treatment {
    callouts.contains(operation) ? .callout : inCache.contains(operation) ? .inCache : .unnoticed
  }
  package enum Treatment: String, Sendable { case callout, inCache = "in cache", unnoticed }
}

extension ExitControls {
  /// Technique `rewrite`: no VMCS decides, but what the platform answers exits as it must everywhere.
  package static let rewriting: ExitControls = {
    var controls = ExitControls.standard
    controls.bitmaps = VMCSBitmaps(all: true)
    controls.vmcs[.invlpgExiting] = true
    controls.policy = .standard
    return controls
  }()
}

extension VMExit {
  /// The sensitive operation that made a callout; nil for any other exit.
  package var operation: SensitiveOperation? {
    guard reason == .callout else { return nil }
    return qualification.operation
  }

  /// The reason this exit has, or would have had with VT-x where it is a rewriter's callout.
  package var architecturalReason: ExitReason {
    guard reason == .callout else { return reason }
    switch qualification {
    case .io: return .io
    case .msr(_, let write, _): return write ? .wrmsr : .rdmsr
    case .cpuid: return .cpuid
    case .hlt: return .hlt
    case .cr: return .crAccess
    case .dr: return .drAccess
    case .descriptorTable(let table, _): return table < 2 ? .gdtrIdtrAccess : .ldtrTrAccess
    case .softwareInterrupt: return .softwareInterrupt
    case .hypercall: return .vmcall
    case .invlpg: return .invlpg
    case .callout(.rdtsc): return .rdtsc
    case .callout(.rdtscp): return .rdtscp
    case .callout(.rdpmc): return .rdpmc
    default: return .callout
    }
  }
}

extension ExitQualification {
  /// The sensitive operation behind an instruction's exit; nil for what no such instruction does.
  package var operation: SensitiveOperation? {
    switch self {
    case .callout(let operation): operation
    case .io(_, _, let write, _, _, _): write ? .portOutput : .portInput
    case .msr(_, let write, _): write ? .msrWrite : .msrRead
    case .cpuid: .cpuid
    case .hlt: .hlt
    case .cr(_, .write, _, _): .crWrite
    case .cr(_, .read, _, _): .crRead
    case .cr(_, .clts, _, _): .clts
    case .cr(_, .lmsw, _, _): .lmsw
    case .dr: .drAccess
    case .descriptorTable(let table, let write):
      write ? (table < 2 ? .loadDescriptorTable : .loadLDTTR) : (table < 2 ? .storeDescriptorTable : .storeLDTTR)
    case .softwareInterrupt: .softwareInterrupt
    case .hypercall: .hypercall
    case .invlpg: .invlpg
    default: nil
    }
  }
}
