import Debugger
import VMCore
import X86

/// A stop as a recording keeps it.
struct RecordedStop {
  /// Counts the session's stops, from 0 on.
  var number: UInt64 = 0
  var stop = StopReason.created
  var sentence = ""
  var vcpu = 0
  var retired: UInt64 = 0
  var time: UInt64 = 0
  var states: [VCPUState] = []
  /// Pages of guest memory whose content is known here: address, and the place of the content in the recording's
  /// row of pages.
  var pages: [RecordedPage] = []
  /// Pages that changed since the stop before; nil where they were not compared.
  var changedPages: [UInt64]?

  /// Most pages a stop names as changed.
  static let pageLimit = 1 << 16

  func put(_ out: inout ByteWriter) {
    out.put(RecordTag.stop.rawValue)
    out.put(number: number)
    let (code, value) = stop.coded
    out.put(number: UInt64(code))
    out.put(number: value)
    out.put(stop.text)
    out.put(sentence)
    out.put(number: UInt64(vcpu))
    out.put(number: retired)
    out.put(number: time)
    out.put(number: UInt64(states.count))
    var before = StateWords(VCPUState()).words
    for state in states {
      let words = StateWords(state).words
      for (index, word) in words.enumerated() { out.put(word, after: before[index]) }
      before = words
    }
    out.put(number: UInt64(pages.count))
    for page in pages {
      out.put(number: page.address >> 12)
      out.put(number: UInt64(page.content))
    }
    out.put(changedPages == nil ? 0 : 1)
    guard let changedPages else { return }
    out.put(number: UInt64(changedPages.count))
    var last: UInt64 = 0
    for page in changedPages {
      out.put(page, after: last)
      last = page
    }
  }

  init(_ bytes: inout ByteReader, vcpus: Int) throws(DamagedRecording) {
    number = try bytes.number()
    let (code, value) = (try bytes.number(), try bytes.number())
    let text = try bytes.text()
    guard let reason = StopReason(code: UInt32(truncatingIfNeeded: code), value: value, text: text) else {
      throw DamagedRecording()
    }
    stop = reason
    sentence = try bytes.text()
    vcpu = try bytes.count(max(vcpus - 1, 0))
    retired = try bytes.number()
    time = try bytes.number()
    guard try bytes.count(vcpus) == vcpus else { throw DamagedRecording() }
    var words = StateWords(VCPUState()).words
    for _ in 0..<vcpus {
      for index in words.indices { words[index] = try bytes.number(after: words[index]) }
      guard let state = StateWords.state(words) else { throw DamagedRecording() }
      states.append(state)
    }
    for _ in 0..<(try bytes.count(1024)) {
      let address = try bytes.number()
      pages.append(RecordedPage(address: address << 12, content: try bytes.count(PageKeeper.limit)))
    }
    guard try bytes.flag() else { return }
    var changed: [UInt64] = []
    var last: UInt64 = 0
    for _ in 0..<(try bytes.count(Self.pageLimit)) {
      last = try bytes.number(after: last)
      changed.append(last)
    }
    changedPages = changed
  }

  init() {}
}

/// A page of guest memory at a stop.
struct RecordedPage: Hashable {
  /// Guest-physical.
  var address: UInt64
  var content: Int
}

extension StopReason {
  /// Why, in words of its own; "" for most.
  var text: String {
    switch self {
    case .error(let text), .entryFailed(let text): return text
    default: return ""
    }
  }

  /// Number and operand; the text goes apart.
  var coded: (code: UInt32, value: UInt64) {
    let value: UInt64 =
      switch self {
      case .breakpoint(let number): UInt64(number)
      case .exit(let reason): UInt64(reason.rawValue)
      case .hypercall(let number): number
      case .interrupt(let vector), .exception(let vector): UInt64(vector)
      case .guestExit(let status): UInt64(UInt32(bitPattern: status))
      default: 0
      }
    return (number, value)
  }

  init?(code: UInt32, value: UInt64, text: String) {
    let vector = Vector(truncatingIfNeeded: value)
    switch code {
    case 0: self = .created
    case 1: self = .pause
    case 2: self = .step
    case 3: self = .breakpoint(Int(truncatingIfNeeded: value & 0xFFFF_FFFF))
    case 4: self = .exit(ExitReason(rawValue: UInt16(truncatingIfNeeded: value)) ?? .unknown)
    case 5: self = .hypercall(number: value)
    case 6: self = .interrupt(vector)
    case 7: self = .exception(vector)
    case 8: self = .tripleFault
    case 9: self = .unknownInstruction
    case 10: self = .haltedForGood
    case 11: self = .limit
    case 12: self = .shutdown
    case 13: self = .reset
    case 14: self = .guestExit(status: Int32(truncatingIfNeeded: value))
    case 15: self = .error(text)
    case 16: self = .wentBack
    case 17: self = .entryFailed(text)
    default: return nil
    }
  }
}
