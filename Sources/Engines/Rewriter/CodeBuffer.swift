import CHost
import VMCore

/// Memory for generated code: written at one address, executed at another.
///
/// Invariant for the unsafe part: the mappings live as long as this object, and nothing executes in the buffer
/// while it is emptied.
final class CodeBuffer {
  static let size = 64 << 20
  let writable: UnsafeMutablePointer<UInt8>
  /// Address at which the first byte is executed.
  let executable: UInt
  private let mappings: (UnsafeMutableRawPointer, UnsafeMutableRawPointer)
  /// Where the next code goes.
  var used = 0

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
