import Debugger
import VMCore
import X86

/// The engine, the technique, what they can do here and what they lack, as rows.
package struct CapabilityReport {
  private let snapshot: SessionSnapshot

  package init(_ snapshot: SessionSnapshot) { self.snapshot = snapshot }

  package var rows: [ReportRow] {
    [
      pair("engine", "\(snapshot.engine): \(Self.engine(snapshot.engine))"),
    ] + (snapshot.engineNote.map { [pair("chosen", $0)] } ?? [])
      + snapshot.engineRemarks.map { pair("", $0) } + [
      pair("technique", "\(snapshot.technique): \(Self.technique(snapshot.technique))"),
      pair("speed", speed),
      pair("breakpoints", slots),
      pair("vCPUs", "\(snapshot.vcpus.count)"),
      ReportRow.heading("What the engine can do"),
    ] + traits + hostTraits + [ReportRow.heading("Engines of this program")] + engines
  }

  private func pair(_ name: String, _ value: String) -> ReportRow {
    var row = ReportRow()
    row.add(name, width: 12, .dim)
    row.add(value, .value)
    return row
  }

  private static func engine(_ name: String) -> String {
    switch name {
    case "interpreter": "a software processor with a VT-x model, decoded instructions cached by block"
    case "kvm": "the host's processor, by /dev/kvm"
    case "rewriter": "guest code rewritten into host code"
    default: "an engine this console does not know"
    }
  }

  private static func technique(_ name: String) -> String {
    switch name {
    case "hvm": "hardware-assisted, the guest runs unmodified and exits to the monitor"
    case "rewrite": "binary rewriting, sensitive instructions become callouts"
    case "pv": "paravirtualization, the guest asks by hypercall"
    default: "unknown"
    }
  }

  private var speed: String {
    if !snapshot.countsInstructions { return "instructions are \(SessionSnapshot.notCounted)" }
    guard snapshot.measuredMIPS > 0 else { return "not measured yet: let the guest run for a while" }
    let tenths = UInt64(min(snapshot.measuredMIPS, 1e9) * 10)
    return "\(tenths / 10).\(tenths % 10) million instructions a second, measured on this guest"
  }

  private var slots: String {
    if snapshot.capabilities.contains(.unlimitedBreakpoints) {
      return "as many as wanted; the guest's own DR0-DR3 stay the guest's"
    }
    let used = snapshot.breakpoints.filter { $0.what.hasPrefix("exec") || $0.what.hasPrefix("watch") }.count
    return "4 hardware slots, \(used) used"
  }

  private var traits: [ReportRow] {
    EngineCapabilities.allCases.map { trait in
      let has = snapshot.capabilities.contains(trait)
      var row = ReportRow(has ? "  yes  " : "  no   ", has ? .set : .bad)
      row.add(trait.name, width: 22, .plain)
      row.add(Self.meaning(trait, has), .dim)
      return row
    }
  }

  /// What having a capability gives, or lacking it takes.
  private static func meaning(_ trait: EngineCapabilities, _ has: Bool) -> String {
    switch trait {
    case .instructionBudget: has ? "stops at any exact instruction" : "stops near an instruction, not at it"
    case .deterministic: has ? "equal input gives equal runs" : "runs differ; no replay"
    case .singleStep: has ? "s, n and f work" : "no stepping"
    case .unlimitedBreakpoints: has ? "none of the guest's debug registers is used" : "the processor's slots are shared"
    case .memoryWatch: has ? "any range, reads too" : "at most four, aligned, and no pure reads"
    case .exceptionExits: has ? "every vector can stop" : "exceptions pass unseen"
    case .hardwareAssisted: has ? "the host's VT-x or SVM runs the guest" : "no VT-x or SVM is used: exits follow a model of it"
    case .parallelVCPUs: has ? "each vCPU can run on a thread of its own" : "vCPUs take turns on one thread"
    case .instructionExits:
      has ? "CPUID, RDTSC, control registers can exit" : "only ports, device memory, MSRs and HLT exit"
    case .multipleVCPUs: has ? "more than one vCPU" : "one vCPU"
    default: ""
    }
  }

  /// What the engine found out about the host.
  private var hostTraits: [ReportRow] {
    guard !snapshot.engineTraits.isEmpty else { return [] }
    return [ReportRow.heading("What was found out about this host")]
      + snapshot.engineTraits.map { trait in
        var row = ReportRow(trait.holds ? "  yes  " : "  no   ", trait.holds ? .set : .bad)
        row.add(trait.name, width: 22, .plain)
        row.add(trait.explanation, .dim)
        return row
      }
  }

  private var engines: [ReportRow] {
    snapshot.engines.map { engine in
      let has = engine.unavailable == nil
      var row = ReportRow(has ? "  yes  " : "  no   ", has ? .set : .bad)
      row.add(engine.name, width: 22, .plain)
      row.add(engine.unavailable ?? (engine.name == snapshot.engine ? "in use" : "can be had with --engine"), .dim)
      return row
    }
  }
}
