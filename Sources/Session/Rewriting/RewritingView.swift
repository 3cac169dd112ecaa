import Debugger
import VMCore
import X86

/// What a stop knows of rewritten code and of sensitive instructions.
package struct RewritingView: Equatable, Sendable {
  package var technique = ""
  package var engine = ""
  package var policy = RewritingPolicy.none
  /// Nil where the engine neither rewrites nor obeys a policy.
  package var totals: RewritingTotals?
  /// The block at RIP; nil while the guest runs, or where it was never decoded.
  package var block: RewrittenBlock?
  /// Sensitive instructions met so far; none while the guest runs.
  package var sites: [SensitiveSite] = []
  package init() {}
}

extension SessionCore {
  /// Taken for a snapshot: all of it at a stop, only the counters while the guest runs.
  func rewritingView(isRunning: Bool) -> RewritingView {
    var view = RewritingView()
    view.technique = machine.technique.rawValue
    view.engine = machine.engine.name
    view.policy = baseControls.policy
    guard let inspection = machine.inspection else { return view }
    view.totals = inspection.rewritingTotals
    guard !isRunning, recorded == nil else { return view }
    let vcpu = control.current
    if states.indices.contains(vcpu) { view.block = inspection.block(at: states[vcpu].rip, vcpu: vcpu) }
    view.sites = inspection.sensitiveSites
    return view
  }
}
