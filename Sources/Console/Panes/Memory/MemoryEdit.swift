import Session
import VMCore

/// Changing memory byte by byte, with a way back: digits typed, what stood there before.
struct MemoryEdit {
  /// A change made: where, as a guest-physical address, and the byte before.
  struct Change: Equatable {
    var place: UInt64
    var cursor: UInt64
    var old: UInt8
    var new: UInt8
  }
  private(set) var isActive = false
  /// The first digit of a byte, waiting for the second.
  private(set) var high: UInt8?
  private(set) var changes: [Change] = []
  private static let most = 4096

  mutating func begin() {
    isActive = true
    high = nil
  }

  mutating func end() {
    isActive = false
    high = nil
  }

  /// The cursor moved: half a byte is forgotten.
  mutating func moved() { high = nil }

  /// Takes a digit; gives the whole byte with the second.
  mutating func type(_ digit: UInt8) -> UInt8? {
    guard let first = high else {
      high = digit
      return nil
    }
    high = nil
    return first << 4 | digit
  }

  mutating func note(_ change: Change) {
    changes.append(change)
    if changes.count > Self.most { changes.removeFirst() }
  }

  /// The change to take back, nil where there is none left.
  mutating func takeBack() -> Change? {
    high = nil
    return changes.popLast()
  }

  /// The command that writes a byte.
  static func command(_ place: UInt64, _ byte: UInt8) -> String {
    "set pbyte[0x\(Format.hex(place))]=0x\(Format.hex(UInt64(byte), 2))"
  }
}
