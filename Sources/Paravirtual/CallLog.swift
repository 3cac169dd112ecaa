import VMCore
import X86

/// A hypercall as it was made: all arguments, and the words its pointer pointed at.
package struct LoggedCall: Equatable, Sendable {
  package var number: UInt64
  package var arguments: [UInt64]
  package var words: [UInt64]
  /// An entry of a multicall.
  package var isInner: Bool
  /// A 32-bit guest's.
  package var isNarrow: Bool
}

/// The newest hypercalls, for display: events have room for two arguments alone.
struct CallLog {
  static let kept: UInt64 = 1024
  static let mostWords = 12
  /// Number and flags, five arguments, count of words, words.
  private static let stride = 7 + mostWords
  private var words = [UInt64](repeating: 0, count: Int(kept) * stride)

  private static func start(_ ordinal: UInt64) -> Int { Int(ordinal % kept) * stride }

  /// `kind`: an entry of a multicall, and a 32-bit guest's.
  mutating func keep(
    _ call: UInt64, _ a: HypercallArguments, _ pointed: [UInt64], kind: (isInner: Bool, isNarrow: Bool), at ordinal: UInt64
  ) {
    // One check that the array is its owner's alone, not one a word.
    words.withUnsafeMutableBufferPointer { all in
      let words = UnsafeMutableBufferPointer(rebasing: all[Self.start(ordinal)..<Self.start(ordinal) + Self.stride])
      words[0] = call & 0xFFFF_FFFF | (kind.isInner ? 1 << 32 : 0) | (kind.isNarrow ? 1 << 33 : 0)
      (words[1], words[2], words[3], words[4], words[5]) = a.values
      words[6] = UInt64(pointed.count)
      for (index, word) in pointed.prefix(Self.mostWords).enumerated() { words[7 + index] = word }
    }
  }

  /// The call with this ordinal, of `total` so far; nil where it is no longer kept.
  func call(_ ordinal: UInt64, total: UInt64) -> LoggedCall? {
    guard ordinal < total, total - ordinal <= Self.kept else { return nil }
    let start = Self.start(ordinal)
    let count = min(Int(clamping: words[start + 6]), Self.mostWords)
    return LoggedCall(
      number: words[start] & 0xFFFF_FFFF, arguments: Array(words[start + 1..<start + 6]),
      words: Array(words[start + 7..<start + 7 + count]), isInner: words[start] >> 32 & 1 != 0,
      isNarrow: words[start] >> 33 & 1 != 0)
  }
}

extension XenPlatform {
  /// The hypercall with this ordinal since the guest's start, with what it pointed at; nil where it is not kept.
  package func loggedCall(_ ordinal: UInt64) -> LoggedCall? {
    keepsCalls ? calls.call(ordinal, total: domain.notedCount) : nil
  }

  /// Keeps a call for display, where somebody may look.
  func log(_ number: UInt64, _ a: HypercallArguments, inner: Bool) {
    if keepsCalls { calls.keep(number, a, pointed(number, a), kind: (inner, abi.is32Bit), at: domain.notedCount) }
    domain.notedCount &+= 1
  }

  /// The words behind the pointer of a call, as far as they are interesting and can be read: as a 64-bit guest has them,
  /// each of eight bytes.
  private func pointed(_ number: UInt64, _ a: HypercallArguments) -> [UInt64] {
    guard let (pointer, count) = structure(number, a), pointer != 0 else { return [] }
    let isInWords = abi.is32Bit && hasWords(number, a)
    // xen_callback_t is a segment and an offset there.
    let isCallback = isInWords && number == HypercallNumber.callbackOp.rawValue
    var words: [UInt64] = []
    for index in 0..<UInt64(min(count + (isCallback ? 1 : 0), CallLog.mostWords)) {
      let word: UInt64? = isInWords ? try? readWord(pointer &+ index &* abi.wordSize) : try? read(pointer &+ index &* 8)
      guard let word else { break }
      words.append(word)
    }
    if isCallback, words.count == 3 { words.remove(at: 1) }
    return words
  }

  /// Structures of words as long as the guest's; in all others members are as long in both ABIs.
  private func hasWords(_ number: UInt64, _ a: HypercallArguments) -> Bool {
    switch HypercallNumber(rawValue: number) {
    case .mmuextOp?, .setTrapTable?, .setGDT?, .callbackOp?: true
    case .vcpuOp?: a.first == 5
    default: false
    }
  }

  private func structure(_ number: UInt64, _ a: HypercallArguments) -> (pointer: UInt64, words: Int)? {
    switch HypercallNumber(rawValue: number) {
    case .mmuUpdate?: (a.first, Int(min(a.second & 0x7FFF_FFFF, 6)) * 2)
    case .mmuextOp?: (a.first, Int(min(a.second & 0x7FFF_FFFF, 4)) * 3)
    case .setTrapTable?: (a.first, 8)
    case .setGDT?: (a.first, Int(min(a.second, 4 * 512) + 511) / 512)
    case .eventChannelOp?: (a.second, a.first == 1 ? 2 : 1)
    case .schedOp?: a.first == 2 ? (a.second, 1) : nil
    case .vcpuOp?: (a.third, 2)
    case .physdevOp?: (a.second, 1)
    case .callbackOp?: (a.second, 2)
    case .xenVersion?: a.first == 6 ? (a.second, 1) : nil
    case .memoryOp?, .grantTableOp?: described(number, a)
    default: nil
    }
  }

  /// Structures with members of several lengths, as they lie in memory.
  private func described(_ number: UInt64, _ a: HypercallArguments) -> (pointer: UInt64, words: Int)? {
    guard let layout = CallStructure.of(number, a.first) else { return nil }
    let count = number == HypercallNumber.grantTableOp.rawValue ? Int(min(a.third, 1024)) : 1
    return (a.second, (layout.size(isNarrow: abi.is32Bit) * count + 7) / 8)
  }
}
