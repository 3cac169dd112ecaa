import Debugger
import VMCore
import X86

/// Where a recording is looked at, as shown.
package struct ReplayStatus: Equatable, Sendable {
  package var path: String
  /// Events before the moment shown, and all there are.
  package var position: UInt64
  package var events: UInt64
  package var exits: UInt64
  package var stops: Int
  package var bytes: UInt64
  /// Number of the stop shown; nil between two stops.
  package var stop: UInt64?
  /// Pages of guest memory known here.
  package var pages: Int
  /// Why not all of the file could be read.
  package var complaint: String?

  package init(
    path: String, position: UInt64, events: UInt64, exits: UInt64, stops: Int, bytes: UInt64, stop: UInt64?, pages: Int,
    complaint: String?
  ) {
    (self.path, self.position, self.events, self.exits) = (path, position, events, exits)
    (self.stops, self.bytes, self.stop, self.pages, self.complaint) = (stops, bytes, stop, pages, complaint)
  }
}

/// A session over a recording: what lets a guest run moves about in what it did.
extension SessionCore {
  /// The moment after so many events becomes what everything shows.
  func seek(_ position: UInt64, in run: RecordedRun) {
    let moment = run.moment(position)
    previousStates = states
    stream.replace(moment.tallies)
    control.costs = moment.costs
    control.exitStates = moment.states
    (control.retired, control.time) = (moment.retired, moment.time)
    for (vcpu, state) in zip(machine.engine.vcpus, moment.vcpus) { vcpu.state = state }
    states = machine.engine.vcpus.map(\.state)
    let exit = moment.isAtStop ? nil : moment.currentExit
    control.current = min(exit.map { Int($0.event.vcpu) } ?? moment.stop?.vcpu ?? 0, states.count - 1)
    console = moment.console
    if let platform = machine.platform as? RecordedPlatform {
      platform.inspection = moment.devices
      platform.screen = moment.screen
    }
    if let memory = run.memory(moment.stop) { machine.memory = memory }
    stop = moment.isAtStop ? moment.stop?.stop ?? .created : exit.map { .exit($0.event.exitReason) } ?? .step
    phase = .paused
    recordedBreakpoints = moment.breakpoints
    replay = ReplayStatus(
      path: run.recording.path, position: moment.position, events: run.eventCount, exits: run.exitCount,
      stops: run.stops.count, bytes: run.recording.fileSize, stop: moment.isAtStop ? moment.stop?.number : nil,
      pages: moment.stop?.pages.count ?? 0, complaint: run.recording.complaint)
    recordedSentence = sentence(moment, exit)
  }

  /// What is shown, and what of it is known.
  private func sentence(_ moment: RecordedMoment, _ exit: KeptExit?) -> String {
    if moment.isAtStop, let stop = moment.stop { return "Stop \(stop.number): \(stop.sentence)" }
    let at = place(currentState)
    let memory = "memory and devices as at stop \(moment.stop?.number ?? 0)"
    guard let exit else { return "Event \(moment.position), at \(at); registers, \(memory)." }
    let answered = !exit.isAnswered ? "" : ", answered"
    let isKnown = control.exitStates[exit.ordinal] != nil
    let registers = isKnown ? "registers as they were there, " : "registers (but RIP), "
    return "VM exit #\(exit.ordinal) (\(exit.event.exitReason.name)\(answered)): \(describe.detail(of: exit)), at \(at); \(registers)\(memory)."
  }

  // MARK: moving

  /// What a plan means in a recording.
  func replay(_ plan: StepPlan?, in run: RecordedRun) -> CommandResult {
    let here = replay?.position ?? 0
    guard let plan else { return replayToStop(after: here, in: run) }
    func next(_ what: String, _ wanted: (Event) -> Bool) -> CommandResult {
      move(to: run.position(after: here, count: plan.remaining, where: wanted), "no \(what) was recorded after this", in: run)
    }
    var segments = stream.segments
    switch plan.goal {
    case .instructions: return next("event") { _ in true }
    case .exit: return next("exit") { $0.kind == .exit }
    case .reason(let reason): return next("\(reason.name) exit") { $0.kind == .exit && $0.exitReason == reason }
    case .hypercall: return next("hypercall") { $0.kind == .hypercall }
    case .service(.upcall): return next("upcall") { $0.kind == .interrupt }
    case .service(.bounce): return next("trap handed to the guest") { $0.kind == .exception }
    case .service(.emulated):
      return CommandResult(["a recording does not say which instructions were emulated"], failed: true)
    case .delivery: return next("interrupt or exception") { [.interrupt, .exception, .softwareInterrupt].contains($0.kind) }
    case .until(let address):
      return next("exit at \(Hex.text(address.value))") { event in
        segments.take(event)
        return event.kind == .exit && segments[event.vcpu].linear(event.rip) == address.value
      }
    case .over, .out, .search:
      return CommandResult(["a recording does not run: s, e, i, h and c go to the next event, exit, delivery, hypercall, stop"], failed: true)
    }
  }

  /// `count` events back.
  func replayBack(_ count: UInt64, in run: RecordedRun) -> CommandResult {
    let here = replay?.position ?? 0
    return move(to: here == 0 ? nil : here - min(here, count), "this is the recording's beginning", in: run)
  }

  /// The stop before this moment.
  func replayToStopBefore(in run: RecordedRun) -> CommandResult {
    let here = replay?.position ?? 0
    return move(to: run.stops.last { $0.position < here }?.position, "no stop was recorded before this", in: run)
  }

  func move(to position: UInt64?, _ otherwise: String, in run: RecordedRun) -> CommandResult {
    guard let position else { return CommandResult([otherwise], failed: true) }
    seek(position, in: run)
    return answerToStop()
  }

  /// Moves by exits: back for negative distances.
  func moveByExits(_ distance: Int64, in run: RecordedRun) -> CommandResult {
    guard run.exitCount > 0 else { return CommandResult(["no exit was recorded"], failed: true) }
    let last = Int64(clamping: stream.exitCount) - 1
    // Behind an exit's answer the exit itself is one back.
    let isThere = last >= 0 && run.position(ofExit: UInt64(last)) == replay?.position
    let from = isThere || distance > 0 ? last : last + 1
    let wanted = min(max(from.addingReportingOverflow(distance).partialValue, 0), Int64(clamping: run.exitCount) - 1)
    return move(to: run.position(ofExit: UInt64(wanted)), "no such exit was recorded", in: run)
  }

  /// To the next event whose words contain a text; from the beginning again after the last.
  func search(_ text: String, backward: Bool, in run: RecordedRun) -> CommandResult {
    let here = replay?.position ?? 0
    let needle = text.lowercased()
    let report = EventReport(snapshot())
    let describe = describe
    var segments = stream.segments
    func matches(_ event: Event) -> Bool {
      segments.take(event)
      let words =
        event.kind == .hypercall
        ? describe.record(event).text : event.vmExit.map { "\($0.reason.name) \(describe.detail(of: $0))" } ?? report.words(event)
      let name = symbols.name(of: segments[event.vcpu].linear(event.rip)) ?? ""
      return "\(EventReport.name(event.kind)) \(words) \(name)".lowercased().contains(needle)
    }
    if backward {
      let found = run.position(before: here, where: matches) ?? run.position(before: run.eventCount + 1, where: matches)
      return move(to: found, "'\(text)' is in no event of this recording", in: run)
    }
    let found = run.position(after: here, count: 1, where: matches) ?? run.position(after: 0, count: 1, where: matches)
    return move(to: found, "'\(text)' is in no event of this recording", in: run)
  }
}
