import Debugger
import VMCore
import X86

/// A stop in a recording's list.
struct RecordedStopPlace {
  var number: UInt64
  /// Events before it.
  var position: UInt64
  var retired: UInt64
  var stop: StopReason
  var place: UInt64
}

/// A recording as something to move about in: any moment of it can be had, from the kept one before it.
final class RecordedRun {
  let recording: Recording
  private(set) var stops: [RecordedStopPlace] = []
  private(set) var names: [RecordedName: String] = [:]
  private var contents: [[UInt8]] = []
  /// Moments at the beginnings of chunks, in order.
  private var kept: [(chunk: Int, moment: RecordedMoment)] = []
  private var spacing: UInt64 = 1 << 15
  private static let keptMoments = 48
  private static let nameLimit = 1 << 15
  private static let stopLimit = 1 << 20

  init(path: String) throws(VMError) {
    recording = try Recording(path: path)
    readWhole()
    guard !stops.isEmpty else {
      throw VMError(
        .usage, "\(path): the recording ends before its first stop (\(recording.complaint ?? "nothing was recorded"))")
    }
  }

  var eventCount: UInt64 { recording.eventCount }
  var exitCount: UInt64 { recording.exitCount }

  /// One pass over everything: what is damaged is found here, and what later passes need is kept.
  private func readWhole() {
    var moment = RecordedMoment()
    kept = [(0, moment)]
    var index = 0
    while index < recording.chunks.count {
      if let last = kept.last, moment.position - last.moment.position >= spacing { keep(moment, index) }
      let before = (moment.position, moment.exits)
      let isWhole = recording.read(index) { record in
        note(record, moment)
        moment.take(record)
        return true
      }
      let chunk = recording.chunks[index]
      let isRight = chunk.firstEvent == before.0 && chunk.firstExit == before.1
      if !isWhole || !isRight {
        // What of a damaged chunk could be read is not shown: its checksum says that some of it is wrong.
        stops.removeAll { $0.position > before.0 }
        recording.cut(at: index, events: before.0, exits: before.1)
        return
      }
      index += 1
    }
    if moment.position != recording.eventCount || moment.exits != recording.exitCount, index > 0 {
      recording.cut(at: index - 1, events: recording.chunks[index - 1].firstEvent, exits: recording.chunks[index - 1].firstExit)
      stops.removeAll { $0.position > recording.eventCount }
    }
  }

  private func note(_ record: Record, _ moment: RecordedMoment) {
    switch record {
    case .stop(let stop):
      guard stops.count < Self.stopLimit else { return }
      let place = stop.states.indices.contains(stop.vcpu) ? stop.states[stop.vcpu].linearRIP.value : 0
      stops.append(
        RecordedStopPlace(
          number: stop.number, position: moment.position, retired: stop.retired, stop: stop.stop, place: place))
    case .name(let name, let text): if names[name] != nil || names.count < Self.nameLimit { names[name] = text }
    case .page(let bytes): if contents.count < PageKeeper.limit { contents.append(bytes) }
    default: break
    }
  }

  private func keep(_ moment: RecordedMoment, _ chunk: Int) {
    kept.append((chunk, moment))
    guard kept.count > Self.keptMoments else { return }
    kept = kept.enumerated().filter { $0.offset % 2 == 0 }.map { $0.element }
    spacing *= 2
  }

  // MARK: moments

  /// What is known after so many events (at most all of them): of several stops there, the last.
  func moment(_ wanted: UInt64) -> RecordedMoment {
    let position = min(wanted, eventCount)
    guard let start = kept.last(where: { $0.moment.position <= position }) else { return RecordedMoment() }
    var moment = start.moment
    var index = start.chunk
    var isThere = false
    var extra = 0
    while index < recording.chunks.count, extra < 3 {
      recording.read(index) { record in
        if !isThere {
          if case .event = record, moment.position == position {
            isThere = true
          } else {
            moment.take(record)
            return true
          }
        }
        // What was written later about exits before here: their registers and costs.
        guard case .exit(let exit) = record else { return true }
        moment.take(exit)
        return exit.ordinal < moment.exits
      }
      if isThere { extra += 1 }
      index += 1
    }
    return moment
  }

  /// The pages of guest memory kept at a stop.
  func memory(_ stop: RecordedStop?) -> GuestMemory? {
    var pages: [GPA: [UInt8]] = [:]
    for page in stop?.pages ?? [] where page.address < PageKeeper.highest && contents.indices.contains(page.content) {
      pages[GPA(page.address)] = contents[page.content]
    }
    return try? GuestMemory(pages: pages)
  }

  /// Content of a page at a stop, nil where it was not kept.
  func content(_ page: RecordedPage) -> [UInt8]? {
    contents.indices.contains(page.content) ? contents[page.content] : nil
  }

  // MARK: looking for places

  /// The position right after the exit with this number.
  func position(ofExit number: UInt64) -> UInt64? {
    guard number < exitCount, let index = recording.chunks.lastIndex(where: { $0.firstExit <= number }) else { return nil }
    var left = number - recording.chunks[index].firstExit
    var found: UInt64?
    recording.read(index) { record in
      guard case .event(let event) = record, event.kind == .exit else { return true }
      if left == 0 {
        found = event.sequence + 1
        return false
      }
      left -= 1
      return true
    }
    return found
  }

  /// The position right after the `count`-th event behind `position` that is wanted.
  func position(after position: UInt64, count: UInt64, where wanted: (Event) -> Bool) -> UInt64? {
    guard let start = recording.chunks.lastIndex(where: { $0.firstEvent <= position }) else { return nil }
    var left = count
    var found: UInt64?
    for index in start..<recording.chunks.count where found == nil {
      recording.read(index) { record in
        guard case .event(let event) = record, event.sequence >= position, wanted(event) else { return true }
        left -= 1
        if left == 0 { found = event.sequence + 1 }
        return left > 0
      }
    }
    return found
  }

  /// The position right after the nearest wanted event before the one at `position`.
  func position(before position: UInt64, where wanted: (Event) -> Bool) -> UInt64? {
    guard position > 0, var index = recording.chunks.lastIndex(where: { $0.firstEvent < position }) else { return nil }
    while true {
      var found: UInt64?
      recording.read(index) { record in
        guard case .event(let event) = record else { return true }
        if event.sequence + 1 < position, wanted(event) { found = event.sequence + 1 }
        return event.sequence < position
      }
      if found != nil || index == 0 { return found }
      index -= 1
    }
  }

  func stop(number: UInt64) -> RecordedStopPlace? { stops.first { $0.number == number } }
}
