import Glibc
import VMCore

/// The first bytes in which two memories differ.
package struct ByteDifference: Equatable, Sendable {
  package var address: GPA
  package var bytes: [[UInt8]]
  package init(address: GPA, bytes: [[UInt8]]) {
    self.address = address
    self.bytes = bytes
  }
}

extension GuestMemory {
  /// Whether a page, by number, has another content in `other`.
  func differs(from other: GuestMemory, page: UInt64) -> Bool {
    guard let a = hostPage(GPA(page << 12))?.host, let b = other.hostPage(GPA(page << 12))?.host else {
      return (hostPage(GPA(page << 12)) == nil) != (other.hostPage(GPA(page << 12)) == nil)
    }
    return memcmp(a, b, Int(Self.pageSize)) != 0
  }

  /// At most eight bytes from the first that differs on.
  func difference(from other: GuestMemory, page: UInt64) -> ByteDifference? {
    guard let a = hostPage(GPA(page << 12))?.host, let b = other.hostPage(GPA(page << 12))?.host else { return nil }
    let size = Int(Self.pageSize)
    let (x, y) = (UnsafeRawBufferPointer(start: a, count: size), UnsafeRawBufferPointer(start: b, count: size))
    guard let first = x.indices.first(where: { x[$0] != y[$0] }) else { return nil }
    let range = first..<min(first + 8, size)
    return ByteDifference(address: GPA(page << 12 + UInt64(first)), bytes: [Array(x[range]), Array(y[range])])
  }
}
