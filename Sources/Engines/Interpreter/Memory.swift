import VMCore
import X86

/// Guest memory through the software TLB. `address` is linear; a miss goes to the slow path, which walks
/// the page tables, fills the TLB, raises #PF, or leaves for MMIO.
extension UnsafeMutablePointer<CPU> {
  @inline(__always) func tlbEntry(_ address: UInt64) -> UnsafeMutablePointer<TLBEntry> {
    pointee.tlb + TLB.index(address)
  }
  @inline(__always) func tlbWriteEntry(_ address: UInt64) -> UnsafeMutablePointer<TLBEntry> {
    pointee.tlb + TLB.writeIndex(address)
  }

  @inline(__always)
  func load<T: FixedWidthInteger & UnsignedInteger>(_ address: UInt64, as type: T.Type = T.self) throws(Stop) -> T {
    let entry = tlbEntry(address)
    let last = address &+ UInt64(MemoryLayout<T>.size - 1)
    if entry.pointee.tag == last & ~0xFFF {
      let host = entry.host(address)
      return host.loadUnaligned(as: T.self)
    }
    return T(truncatingIfNeeded: try slowLoad(address, MemoryLayout<T>.size))
  }

  @inline(__always)
  func store<T: FixedWidthInteger & UnsignedInteger>(_ address: UInt64, _ value: T) throws(Stop) {
    let entry = tlbWriteEntry(address)
    let last = address &+ UInt64(MemoryLayout<T>.size - 1)
    if entry.pointee.tag == last & ~0xFFF {
      let host = entry.host(address)
      host.storeBytes(of: value, as: T.self)
      return
    }
    try slowStore(address, MemoryLayout<T>.size, UInt64(truncatingIfNeeded: value))
  }

  /// Checks that `size` bytes could be written (faults now, not half-way), without writing.
  @inline(__always)
  func probeWrite(_ address: UInt64, _ size: Int) throws(Stop) {
    let entry = tlbWriteEntry(address)
    let last = address &+ UInt64(size - 1)
    if entry.pointee.tag == last & ~0xFFF { return }
    try slowProbeWrite(address, size)
  }

  /// Reads 1, 2, 4 or 8 bytes that are to be written next. Reading and writing are one access: it faults as a write
  /// before anything is changed, and where the TLB has the write, what it has for reads does not count.
  func loadToModify(_ address: UInt64, bytes: Int) throws(Stop) -> UInt64 {
    try probeWrite(address, bytes)
    let entry = tlbWriteEntry(address)
    let last = address &+ UInt64(bytes - 1)
    guard entry.pointee.tag == last & ~0xFFF else { return try loadSized(address, bytes: bytes) }
    let host = entry.host(address)
    switch bytes {
    case 1: return UInt64(host.load(as: UInt8.self))
    case 2: return UInt64(host.loadUnaligned(as: UInt16.self))
    case 4: return UInt64(host.loadUnaligned(as: UInt32.self))
    default: return host.loadUnaligned(as: UInt64.self)
    }
  }
}

extension UnsafeMutablePointer<TLBEntry> {
  /// Host address of a linear one whose tag matched. Such an entry's addend leads into a memory slot of
  /// the guest, never to address 0, so the check for it is left out of the hot path.
  @inline(__always) func host(_ address: UInt64) -> UnsafeMutableRawPointer {
    UnsafeMutableRawPointer(bitPattern: pointee.addend &+ UInt(address)).unsafelyUnwrapped
  }
}

extension UnsafeMutablePointer<CPU> {
  /// Host page behind a guest-physical address, and whether the guest may write it; nil where no memory is.
  @inline(__always) func hostPage(_ gpa: UInt64) -> (host: UnsafeMutableRawPointer, writable: Bool)? {
    let page = gpa &>> 12
    guard page < pointee.pageMapCount else { return nil }
    let entry = pointee.pageMap[Int(truncatingIfNeeded: page)]
    guard let host = UnsafeMutableRawPointer(bitPattern: entry & ~1) else { return nil }
    return (host, entry & 1 != 0)
  }

  /// True where a store to the page of this guest-physical address must look for decoded code.
  @inline(__always) func hasCode(_ gpa: UInt64) -> Bool {
    let page = gpa &>> 12
    return page < pointee.codeFlagCount && pointee.codeFlags[Int(truncatingIfNeeded: page)] != 0
  }
}
