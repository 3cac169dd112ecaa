import CHost
import VMCore

/// Memory for generated code: written at one address, executed at another.
///
/// It is filled from its beginning on, again and again, and in front of what is written the oldest code is given up, a
/// segment at a time.
///
/// Invariant for the unsafe part: the mappings live as long as this object, and nothing executes in the buffer
/// while code is given up.
final class CodeBuffer {
  static let size = 64 << 20
  static let segmentSize = 256 << 10
  static var segmentCount: Int { size / segmentSize }
  let writable: UnsafeMutablePointer<UInt8>
  /// Address at which the first byte is executed.
  let executable: UInt
  private let mappings: (UnsafeMutableRawPointer, UnsafeMutableRawPointer)
  /// Where the next code goes, and where the room for it ends.
  var used = 0
  private(set) var end = CodeBuffer.size
  private var isOnceFilled = false

  /// Bytes that hold code, or did.
  var filled: Int { isOnceFilled ? Self.size : used }

  /// Widens the room for code, which begins anew at `start` behind the end: by the segment whose number it gives.
  func widen(from start: Int) -> Int {
    if end == Self.size {
      used = start
      end = 0
      isOnceFilled = true
    }
    end += Self.segmentSize
    return end / Self.segmentSize - 1
  }

  /// All of it is room.
  func clear(from start: Int) {
    used = start
    end = Self.size
    isOnceFilled = false
  }

  init() throws(VMError) {
    var write: UnsafeMutableRawPointer?
    var execute: UnsafeMutableRawPointer?
    let result = chost_code_map(Self.size, &write, &execute)
    guard result == 0, let write, let execute else {
      throw VMError(
        .host, "the host gives no memory for generated code (errno \(-result))",
        remedy: "allow memfd_create and executable mappings, or use --engine interpreter")
    }
    mappings = (write, execute)
    writable = write.assumingMemoryBound(to: UInt8.self)
    executable = UInt(bitPattern: execute)
  }

  deinit { chost_code_unmap(Self.size, mappings.0, mappings.1) }

  func address(_ offset: Int) -> UInt { executable &+ UInt(offset) }

  func store<T>(_ value: T, at offset: Int) {
    UnsafeMutableRawPointer(writable + offset).storeBytes(of: value, as: T.self)
  }
}
