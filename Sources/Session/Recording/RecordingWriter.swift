import Debugger
import VMCore
import X86

/// Writes everything a session does to a file that can be opened again. Memory is bounded by a chunk and the few
/// that wait for the disk. On the thread that runs the vCPUs.
final class RecordingWriter {
  let path: String
  private let file: ChunkFile
  private let words: any PlatformWords
  private var out = ByteWriter(capacity: RecordingChunk.size + 1 << 16)
  private var codec = RecordCodec()
  private var chunk = RecordingChunk()
  private(set) var events: UInt64 = 0
  private var exits: UInt64 = 0
  /// Reasons of the newest exits, by their number here.
  private var reasons = [ExitReason](repeating: .unknown, count: RecordingWriter.kept)
  /// The first exit whose registers and cost are still to be written, and what its number here is, less that of the
  /// session.
  private var nextExit: UInt64 = 0
  private var offset: UInt64 = 0
  /// Exits whose names were written, by what the names depend on, with those names: they may be others later.
  private var known: [UInt64: (exit: VMExit, names: [RecordedName: String])] = [:]
  /// The exit whose cost is written although more of it may come.
  private var costWritten = UInt64.max
  private var recent = [UInt64](repeating: .max, count: 256)
  private var lastFlush: UInt64 = 0
  private var pages = PageKeeper()
  private var devices: [UInt8] = []
  private var screen: TextScreen?
  private var breakpoints: [BreakpointSummary]?
  private static let kept = 4096
  private static let nameLimit = 16384
  /// Nanoseconds after which what is there is written while the guest runs.
  private static let flushInterval: UInt64 = 1_000_000_000

  init(path: String, header: RecordingHeader, words: any PlatformWords) throws(VMError) {
    self.path = path
    self.words = words
    file = try ChunkFile(path: path)
    var bytes = ByteWriter()
    header.put(&bytes)
    file.put(RecordingChunk(kind: .header, bytes: bytes.bytes), waits: true)
    nextExit = header.exitsBefore
    offset = 0 &- header.exitsBefore
    lastFlush = ExitCosts.now()
  }

  /// Bytes in the file, and those on their way.
  var size: UInt64 { file.size + UInt64(out.count) }
  var failed: Bool { file.failed }

  // MARK: while the guest runs

  func add(_ event: borrowing Event) {
    if event.kind == .exit { noteExit(event) }
    codec.put(event, &out)
    events &+= 1
    chunk.events &+= 1
    if out.count >= RecordingChunk.size { flush(waits: false) }
  }

  private func noteExit(_ event: borrowing Event) {
    reasons[Int(truncatingIfNeeded: exits % UInt64(Self.kept))] = event.exitReason
    exits &+= 1
    chunk.exits &+= 1
    let key = Self.key(event)
    let slot = Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) >> 56)
    guard recent[slot] != key else { return }
    recent[slot] = key
    guard known.count < Self.nameLimit, known[key] == nil, let exit = event.vmExit else { return }
    known[key] = (exit, [:])
    putNames(key)
  }

  /// What an exit's names depend on: where it went, in which direction, and for ports from where.
  private static func key(_ event: borrowing Event) -> UInt64 {
    let tag = UInt64(event.a >> 20 & 31)
    let place = tag == 1 ? event.c : tag == 2 || tag == 3 ? event.b : UInt64(event.a & 0xFFFF)
    return place << 8 ^ (tag == 1 ? event.rip &* 0x9E37_79B9_7F4A_7C15 : 0) ^ UInt64(event.a >> 25 & 1) << 7 ^ tag
  }

  /// Writes the names of an exit that are not those written last.
  private func putNames(_ key: UInt64) {
    guard let (exit, before) = known[key] else { return }
    var names: [RecordedName: String] = [:]
    let handler = words.handlerName(for: exit)
    if !handler.isEmpty { names[.handler(exit)] = handler }
    switch exit.qualification {
    case .io(let port, _, let write, _, _, _): names[.port(port, write: write)] = words.portName(port, write: write)
    case .mmio(let gpa, _, _, let write, _): names[.memory(gpa, write: write)] = words.memoryName(gpa, write: write)
    default: break
    }
    guard names != before else { return }
    for (name, text) in names where before[name] != text {
      out.put(RecordTag.name.rawValue)
      out.put(name.kind.rawValue)
      out.put(number: name.key)
      out.put(text)
    }
    known[key]?.names = names
  }

  /// What the guest wrote to its console.
  func console(_ bytes: [UInt8]) {
    out.put(RecordTag.console.rawValue)
    out.put(bytes)
  }

  /// Registers and costs of exits that are over by now; with `isStop` of the last one too, as far as it has come.
  func take(_ costs: borrowing ExitCosts, _ states: borrowing ExitStateRing, isStop: Bool) {
    let total = costs.exitCount
    guard total > 0 else { return }
    nextExit = max(nextExit, total > 1000 ? total - 1000 : 0)
    while nextExit < total - 1 {
      put(nextExit, costs, states, isOpen: false)
      nextExit += 1
    }
    if isStop, nextExit == total - 1 { put(nextExit, costs, states, isOpen: true) }
    if !isStop, ExitCosts.now() &- lastFlush > Self.flushInterval { flush(waits: false) }
  }

  private func put(_ ordinal: UInt64, _ costs: borrowing ExitCosts, _ states: borrowing ExitStateRing, isOpen: Bool) {
    let number = ordinal &+ offset
    guard number < exits, exits - number <= UInt64(Self.kept) else { return }
    let cost = costs.cost(ofExit: ordinal)
    let reason = reasons[Int(truncatingIfNeeded: number % UInt64(Self.kept))]
    let isPaid = isOpen && cost == 0 || number == costWritten
    if isOpen, cost != 0 { costWritten = number }
    states.read(ordinal) { around in
      guard cost != 0 || around != nil else { return }
      codec.put(number, reason, cost: cost, isOpen: isPaid, states: around, &out)
    }
  }

  // MARK: at stops

  /// What is shown at a stop.
  struct View {
    var stop: RecordedStop
    var devices: [DeviceInspection]
    var screen: TextScreen?
    var breakpoints: [BreakpointSummary]
  }

  func stop(_ view: View, memory: GuestMemory) {
    var inspection = ByteWriter()
    RecordedViews.put(view.devices, &inspection)
    if inspection.bytes != devices {
      devices = inspection.bytes
      out.put(RecordTag.devices.rawValue)
      out.put(raw: devices)
    }
    if view.screen != screen, let shown = view.screen {
      screen = shown
      out.put(RecordTag.screen.rawValue)
      RecordedViews.put(shown, &out)
    }
    if view.breakpoints != breakpoints {
      breakpoints = view.breakpoints
      out.put(RecordTag.breakpoints.rawValue)
      RecordedViews.put(view.breakpoints, &out)
    }
    for key in known.keys { putNames(key) }
    var stop = view.stop
    for address in PageKeeper.wanted(stop.states, memory) {
      guard let (content, bytes) = pages.keep(address, memory) else { continue }
      if let bytes {
        out.put(RecordTag.page.rawValue)
        out.put(raw: bytes)
      }
      stop.pages.append(RecordedPage(address: address.value, content: content))
    }
    stop.put(&out)
    flush(waits: true)
  }

  /// Something about the recording itself: the guest went back, started again.
  func note(_ text: String) {
    out.put(RecordTag.note.rawValue)
    out.put(text)
  }

  /// The session's exits are counted anew: the next one has this number there.
  func renumber(exits count: UInt64) {
    nextExit = count
    offset = exits &- count
  }

  func flush(waits: Bool) {
    lastFlush = ExitCosts.now()
    guard out.count > 0 else { return }
    chunk.bytes = out.bytes
    file.put(chunk, waits: waits)
    chunk = RecordingChunk()
    out.removeAll()
    codec = RecordCodec()
  }
}

extension RecordedName {
  static func handler(_ exit: VMExit) -> RecordedName {
    let reason = UInt64(exit.reason.rawValue)
    switch exit.qualification {
    case .io(let port, _, let write, _, _, _):
      // One port of the BIOS answers for all services: the place in it tells them apart.
      return at(.handler, exit.rip << 26 | UInt64(port) << 10 | reason, write)
    case .mmio(let gpa, _, _, let write, _): return at(.handler, gpa.value << 10 | reason, write)
    case .msr(let index, let write, _): return at(.handler, UInt64(index) << 10 | reason, write)
    default: return at(.handler, reason, false)
    }
  }
  static func port(_ port: UInt16, write: Bool) -> RecordedName { at(.port, UInt64(port), write) }
  static func memory(_ address: GPA, write: Bool) -> RecordedName { at(.memory, address.value, write) }

  private static func at(_ kind: Kind, _ place: UInt64, _ write: Bool) -> RecordedName {
    RecordedName(kind: kind, key: place << 1 | (write ? 1 : 0))
  }
}
