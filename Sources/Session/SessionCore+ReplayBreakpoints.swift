import Debugger
import VMCore

/// Breakpoints in a recording: its exits meet them, and the registers kept around each exit answer their conditions.
extension SessionCore {
  /// To the next exit at which a breakpoint holds, or to the next recorded stop, whichever comes first.
  func replayToStop(after position: UInt64, in run: RecordedRun) -> CommandResult {
    let stop = run.stops.first { $0.position > position }?.position
    var here = position
    while let place = nextMatch(after: here, in: run), stop.map({ place < $0 }) ?? true {
      if let hit = meet(at: place, in: run) { return hit }
      here = place
    }
    return move(to: stop, "no stop was recorded after this, and no breakpoint is met", in: run)
  }

  /// The position right after the next exit some breakpoint waits for, whatever its condition.
  private func nextMatch(after position: UInt64, in run: RecordedRun) -> UInt64? {
    let waiting = control.breakpoints.all.filter(\.enabled)
    guard !waiting.isEmpty else { return nil }
    return run.position(after: position, count: 1) { event in
      guard let exit = event.vmExit else { return false }
      return waiting.contains { $0.matches(exit, hypercall: nil) }
    }
  }

  /// Stops at the exit before `place` where a breakpoint holds; nil where it goes on.
  private func meet(at place: UInt64, in run: RecordedRun) -> CommandResult? {
    let moment = run.moment(place)
    guard let kept = moment.currentExit, let exit = kept.event.vmExit, Int(exit.vcpu) < moment.vcpus.count else { return nil }
    let state = moment.vcpus[Int(exit.vcpu)]
    let isCaptured = moment.states[kept.ordinal] != nil
    var unknown: String?
    let number = control.breakpoints.check(exit, hypercall: nil) { condition in
      // What cannot be judged holds, so that the person sees where.
      unknown = condition.unknown(registers: isCaptured)
      if unknown != nil { return true }
      let value = try? condition.evaluate(state) { EventFields.value(of: $0, in: exit, time: kept.event.time) }
      return value != 0
    }
    guard let number else { return nil }
    seek(place, in: run)
    if carryOutAction(number) { return nil }
    stop = .breakpoint(number)
    let doubt = unknown.map { " Its condition was not judged: \($0) of this exit were not recorded." } ?? ""
    recordedSentence = "Breakpoint \(number).\(doubt) \(recordedSentence ?? "")"
    return answerToStop()
  }
}
