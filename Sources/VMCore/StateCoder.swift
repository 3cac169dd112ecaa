/// Saves and restores device state, by one routine for both directions: `coder.code(&state.field)`.
/// Little-endian, without field names; a wrong length is noticed, a wrong meaning is not, so the
/// snapshot's header carries a version.
package struct StateCoder {
  /// What was saved so far, or what is being restored.
  package private(set) var bytes: [UInt8]
  package let isRestoring: Bool
  private var position = 0
  /// The bytes restored from ended early or held a count that cannot be.
  package private(set) var failed = false

  package init() {
    bytes = []
    isRestoring = false
  }
  package init(restoring bytes: [UInt8]) {
    self.bytes = bytes
    isRestoring = true
  }

  /// Everything was there and nothing is left over.
  package var isComplete: Bool { !failed && position == bytes.count }

  package mutating func code<T: FixedWidthInteger>(_ value: inout T) {
    let size = T.bitWidth / 8
    guard isRestoring else {
      withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
      return
    }
    guard bytes.count - position >= size else {
      failed = true
      return
    }
    var result: T = 0
    withUnsafeMutableBytes(of: &result) { $0.copyBytes(from: bytes[position..<position + size]) }
    value = T(littleEndian: result)
    position += size
  }

  package mutating func code(_ value: inout Bool) {
    var byte: UInt8 = value ? 1 : 0
    code(&byte)
    value = byte != 0
  }

  /// What is being restored cannot be.
  package mutating func fail() { failed = true }

  /// A list of any length.
  package mutating func code<T: FixedWidthInteger>(_ values: inout [T]) {
    var count = UInt32(truncatingIfNeeded: values.count)
    code(&count)
    if isRestoring {
      guard !failed, Int(count) <= (bytes.count - position) / max(T.bitWidth / 8, 1) else {
        failed = true
        return
      }
      values = Array(repeating: 0, count: Int(count))
    }
    for index in values.indices { code(&values[index]) }
  }

  /// A list whose length never changes: a snapshot with another length is refused.
  package mutating func code<T: FixedWidthInteger>(fixed values: inout [T]) {
    let expected = values.count
    var copy = values
    code(&copy)
    guard copy.count == expected else {
      failed = true
      return
    }
    values = copy
  }
}
