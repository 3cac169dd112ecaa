import Debugger
import VMCore
import X86

/// An exit as kept for display: the record, its number among the exits, and how it was answered.
struct KeptExit {
  var event: Event
  var ordinal: UInt64
  /// Where it came from beside RIP.
  var segment = CodeSegment()
  /// Of the event that answered it, as far as it tells more than the exit does; nothing as long as there is none.
  private var answerNumber = UInt64.max
  private var answerKind: UInt32 = 0
  private var answerValue: UInt64 = 0

  init(event: Event, ordinal: UInt64, segment: CodeSegment) {
    self.event = event
    self.ordinal = ordinal
    self.segment = segment
  }

  /// Takes in the monitor's answer, if it belongs to this exit.
  mutating func take(answer: UnsafePointer<Event>) {
    if Self.belongs(answer, to: event.vcpu, event.rip) { put(answer) }
  }

  @inline(__always)
  static func belongs(_ answer: UnsafePointer<Event>, to vcpu: UInt8, _ rip: UInt64) -> Bool {
    answer.pointee.vcpu == vcpu && answer.pointee.rip == rip
  }

  /// Takes in the monitor's answer, which belongs to this exit.
  @inline(__always)
  mutating func put(_ answer: UnsafePointer<Event>) {
    (answerNumber, answerKind, answerValue) = (answer.pointee.sequence, answer.pointee.a, answer.pointee.b)
  }

  var isAnswered: Bool { answerNumber != .max }
  /// The sequence number of the event that answered it.
  var answerEvent: UInt64? { isAnswered ? answerNumber : nil }
  /// The value that completed a read; nil where the answer was another.
  var answer: UInt64? { isAnswered && answerKind == 2 ? answerValue : nil }
  /// The vector, where the instruction faulted instead.
  var fault: UInt64? { isAnswered && answerKind == 4 ? answerValue : nil }

  var action: VMEntry.Action? {
    guard isAnswered else { return nil }
    switch answerKind {
    case 0: return .resume
    case 1: return .emulate
    case 2: return .complete(answerValue)
    case 3: return .skip
    case 5: return .retire(rip: answerValue)
    default: return .fault(Vector(truncatingIfNeeded: answerValue), errorCode: nil)
    }
  }
}

/// The code segment of an exit.
package struct CodeSegment: Equatable, Sendable {
  package var selector: UInt16 = 0
  /// What is to be added to RIP for a linear address: 0 in 64-bit code.
  package var base: UInt64 = 0

  package func linear(_ rip: UInt64) -> UInt64 { base == 0 ? rip : (base &+ rip) & 0xFFFF_FFFF }

  /// `7c16`, or `f000:e987` where RIP alone is not where the guest is.
  package func place(_ rip: UInt64) -> String {
    base == 0 ? Hex.padded(rip, 4) : "\(Hex.padded(UInt64(selector), 4)):\(Hex.padded(rip, 4))"
  }
}

/// The code segment each vCPU's exits come from, followed through the events.
struct CodeSegments: Sendable {
  private var all: [CodeSegment] = []

  subscript(vcpu: UInt8) -> CodeSegment { Int(vcpu) < all.count ? all[Int(vcpu)] : CodeSegment() }

  mutating func take(_ event: Event) {
    guard event.kind == .codeSegment else { return }
    while all.count <= Int(event.vcpu) { all.append(CodeSegment()) }
    all[Int(event.vcpu)] = CodeSegment(selector: UInt16(truncatingIfNeeded: event.a), base: event.b)
  }
}

/// What has been counted and kept of the events so far. One value, so that taking an event in is one access.
struct EventTallies {
  var recorder: EventRecorder?
  var recording: RecordingWriter?
  var digest = RunDigest()
  var exits = RingBuffer<KeptExit>(capacity: EventStream.keptExits)
  var hypercalls = RingBuffer<Event>(capacity: EventStream.keptExits)
  var newest = RingBuffer<Event>(capacity: EventStream.keptEvents)
  /// By linear address.
  var byAddress = AddressCounts()
  /// Hypercalls by number, and by the address they were made at.
  var calls = CallCounts()
  var callers = AddressCounts()
  var segments = CodeSegments()
  /// In place: counting needs no look at whose they are.
  private var byReason = InlineArray<64, UInt64>(repeating: 0)
  private var byKind = InlineArray<64, UInt64>(repeating: 0)
  var reasonCounts: [UInt64] { (0..<64).map { byReason[$0] } }
  func count(of reason: ExitReason) -> UInt64 { byReason[Self.index(raw: Int(reason.rawValue))] }
  func count(of kind: EventKind) -> UInt64 { byKind[Int(kind.rawValue)] }

  mutating func take(_ event: Event) {
    withUnsafePointer(to: event) { take(UnsafeBufferPointer(start: $0, count: 1)) }
  }

  /// Takes in events that follow each other.
  mutating func take(_ events: UnsafeBufferPointer<Event>) {
    digest.add(events)
    newest.append(contentsOf: events)
    own()
    tally(events)
    guard recorder != nil || recording != nil else { return }
    for event in events {
      recorder?.record(event)
      recording?.add(event)
    }
  }

  /// One look at each event.
  private mutating func tally(_ events: UnsafeBufferPointer<Event>) {
    guard var event = events.baseAddress else { return }
    let end = event + events.count
    // With the event it was made from: what was just written is slow to read in other pieces.
    var exit: (kept: UnsafeMutablePointer<KeptExit>, source: UnsafePointer<Event>)?
    while event != end {
      byKind[Int(event.pointee.kind.rawValue) & 63] &+= 1
      switch event.pointee.kind {
      case .exit:
        byReason[Self.index(raw: Int(event.pointee.a & 0xFFFF))] &+= 1
        let segment = segments[event.pointee.vcpu]
        byAddress.count(segment.linear(event.pointee.rip))
        exit = (exits.put(KeptExit(event: event.pointee, ordinal: exits.total, segment: segment)), event)
      case .entry:
        if let exit {
          if KeptExit.belongs(event, to: exit.source.pointee.vcpu, exit.source.pointee.rip) { exit.kept.pointee.put(event) }
        } else {
          answerLast(event)
        }
      case .hypercall:
        hypercalls.put(event.pointee)
        calls.add(event)
        callers.count(segments[event.pointee.vcpu].linear(event.pointee.rip))
      case .codeSegment: segments.take(event.pointee)
      default: break
      }
      event += 1
    }
  }

  /// The answer to an exit that came with earlier events.
  private mutating func answerLast(_ event: UnsafePointer<Event>) {
    if exits.total > 0 { exits[exits.total - 1].take(answer: event) }
  }

  /// What `tally` writes to is nobody else's.
  private mutating func own() {
    exits.own()
    hypercalls.own()
    byAddress.own()
    callers.own()
  }

  /// As it is now, whatever becomes of this one.
  func copied() -> EventTallies {
    var copy = self
    copy.digest = digest.copied()
    return copy
  }

  static func index(_ reason: ExitReason) -> Int { index(raw: Int(reason.rawValue)) }

  @inline(__always)
  private static func index(raw: Int) -> Int { (raw < 56 ? raw : raw &- 200) & 63 }
}

/// Everything that becomes of events: a lossless recorder, statistics, the run's digest, and bounded
/// histories for the console. Fed from the ring by the thread that fills it, in its slack or when the ring is
/// full, so nothing is ever lost on the way here.
package final class EventStream {
  let sink: EventSink
  private var tallies = EventTallies()
  package static let keptExits = 1000
  package static let keptEvents = 4096

  package init(_ sink: EventSink) {
    self.sink = sink
    sink.onFull = { [weak self] _ in self?.drain() }
  }

  /// Takes in what waits in the ring.
  package func drain() { sink.consume { tallies.take($0) } }

  /// An access that exited to nobody, in its place among the events: the digest alone has it.
  func addDirect(_ event: Event) {
    drain()
    tallies.digest.add(event)
  }

  /// Forgets everything taken in so far, and what waits: the guest starts again. Recorders go on.
  func startOver() {
    drain()
    let (recorder, recording) = (tallies.recorder, tallies.recording)
    tallies = EventTallies()
    for event in beginning { tallies.take(event) }
    (tallies.recorder, tallies.recording) = (recorder, recording)
  }

  /// What was taken in so far, to be put back by `replace`.
  var present: EventTallies { tallies.copied() }

  /// Puts what was taken in by an earlier moment in place of everything since. Recorders go on.
  func replace(_ earlier: EventTallies) {
    drain()
    let (recorder, recording) = (tallies.recorder, tallies.recording)
    tallies = earlier.copied()
    (tallies.recorder, tallies.recording) = (recorder, recording)
  }
  /// What building the machine said, before the first instruction.
  private var beginning: [Event] = []
  func markBeginning() {
    drain()
    beginning = (tallies.newest.first..<tallies.newest.total).map { tallies.newest[$0] }
  }

  /// What recorders are told about instruction counts.
  var countsInstructions = true
  /// Takes every event, in order; nil when nothing is recorded.
  package var recorder: EventRecorder? {
    get { tallies.recorder }
    set {
      newValue?.countsInstructions = countsInstructions
      tallies.recorder = newValue
    }
  }
  /// Takes every event, and more, into a file that can be opened again; nil when none is made.
  var recording: RecordingWriter? {
    get { tallies.recording }
    set { tallies.recording = newValue }
  }
  package var digest: RunDigest { tallies.digest }
  var exits: RingBuffer<KeptExit> { tallies.exits }
  var hypercalls: RingBuffer<Event> { tallies.hypercalls }
  var newest: RingBuffer<Event> { tallies.newest }
  var calls: [UInt32: CallTally] { tallies.calls.all }
  var callers: AddressCounts { tallies.callers }
  var byAddress: AddressCounts { tallies.byAddress }
  var segments: CodeSegments { tallies.segments }

  // MARK: numbers

  /// Exits so far.
  package var exitCount: UInt64 { tallies.exits.total }
  /// Events so far.
  package var eventCount: UInt64 { tallies.newest.total }
  /// Events that fell out of the console's bounded history; a recorder has them all the same.
  package var droppedFromHistory: UInt64 { tallies.newest.first }
  /// Exits of a reason.
  package func count(of reason: ExitReason) -> UInt64 { tallies.count(of: reason) }
  /// Exits by reason, as `EventTallies.index` numbers them.
  var reasonCounts: [UInt64] { tallies.reasonCounts }
  /// Events of a kind.
  package func count(of kind: EventKind) -> UInt64 { tallies.count(of: kind) }

  /// Reasons that occurred, most frequent first.
  package func statistics(_ costs: ExitCosts) -> [ReasonStatistics] {
    let total = Double(max(exitCount, 1))
    let used = ExitReason.allCases.filter { count(of: $0) > 0 }
    return used.map { reason in
      let cost = costs.sum(reason)
      let histogram = costs.histogram(reason)
      let average = cost.count == 0 ? 0 : Double(cost.total) / Double(cost.count)
      return ReasonStatistics(
        reason: reason, count: count(of: reason), share: Double(count(of: reason)) / total, averageCost: average,
        maximumCost: cost.maximum, minimumCost: cost.count == 0 ? 0 : cost.minimum,
        p99Cost: min(histogram.percentile(0.99), cost.maximum), histogram: histogram.byPowerOfTwo)
    }.sorted { ($1.count, $0.reason.rawValue) < ($0.count, $1.reason.rawValue) }
  }
}
