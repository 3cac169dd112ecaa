import Debugger
import VMCore

/// A recording being made, as shown.
package struct RecordingStatus: Equatable, Sendable {
  package var path: String
  package var bytes: UInt64
  package var events: UInt64
  /// Writing failed: what came after is missing.
  package var failed: Bool

  package init(path: String, bytes: UInt64, events: UInt64, failed: Bool) {
    (self.path, self.bytes, self.events, self.failed) = (path, bytes, events, failed)
  }
}

extension SessionCore {
  /// Everything from now on goes into a file that `replay` opens.
  func startRecording(_ path: String) throws(VMError) {
    stream.drain()
    stopRecording()
    var header = RecordingHeader()
    header.guestName = machine.name
    header.technique = machine.technique.rawValue
    header.engine = machine.engine.name
    header.capabilities = machine.engine.capabilities
    header.vcpus = machine.engine.vcpus.count
    header.ramSize = machine.memory.ramSize
    header.hypercalls = machine.words.hypercalls
    header.symbols = machine.symbols.symbols
    header.eventsBefore = stream.eventCount
    header.exitsBefore = stream.exitCount
    let writer = try RecordingWriter(path: path, header: header, words: machine.words)
    control.recordsStates = true
    stream.recording = writer
    recordStop()
  }

  /// Closes the recording under way; what it came to.
  @discardableResult
  func stopRecording() -> RecordingStatus? {
    guard let writer = stream.recording else { return nil }
    stream.drain()
    writer.take(control.costs, control.exitStates, isStop: true)
    writer.flush(waits: true)
    stream.recording = nil
    control.recordsStates = configuration.recordsStates
    return Self.status(writer)
  }

  static func status(_ writer: RecordingWriter) -> RecordingStatus {
    RecordingStatus(path: writer.path, bytes: writer.size, events: writer.events, failed: writer.failed)
  }

  /// The session stopped: puts it among the stops, and into the recording.
  func noteStop() {
    stops.append(
      StopPoint(
        number: stops.next, stop: stop, states: states, vcpu: control.current, retired: control.retired, time: control.time,
        exits: stream.exitCount, events: stream.eventCount, reasons: stream.reasonCounts, changedPages: nil),
      memory: machine.memory, compares: isServing || stops.next < Self.comparedStops || stream.recording != nil)
    if stream.recording != nil { recordStop() }
  }

  /// Stops of a session without a console at which memory is compared: a script of a million steps is not to pay
  /// for a comparison nobody asks for.
  private static let comparedStops: UInt64 = 256

  private func recordStop() {
    guard let writer = stream.recording, var point = stops[stops.next - 1] else { return }
    stream.drain()
    var sentence = stopSentence()
    if phase == .running {
      // A recording that begins while the guest runs has that moment for its first stop.
      point.states = control.vcpus.map(\.state)
      (point.stop, point.vcpu, point.retired, point.time) = (.pause, control.current, control.retired, control.time)
      point.changedPages = nil
      sentence = "The recording began while the guest ran, at \(place(point.states[point.vcpu]))."
    }
    writer.take(control.costs, control.exitStates, isStop: true)
    var stop = RecordedStop()
    stop.number = point.number
    stop.stop = point.stop
    stop.sentence = sentence
    stop.vcpu = point.vcpu
    stop.retired = point.retired
    stop.time = point.time
    stop.states = point.states
    stop.changedPages = point.changedPages.flatMap { $0.count <= RecordedStop.pageLimit ? $0 : nil }
    let view = RecordingWriter.View(
      stop: stop, devices: machine.platform.inspection, screen: machine.words.textScreen,
      breakpoints: control.breakpoints.all.compactMap { summary($0) })
    writer.stop(view, memory: machine.memory)
  }
}
