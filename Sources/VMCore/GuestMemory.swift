import X86

#if canImport(Glibc)
  import Glibc
#endif

/// A range of guest-physical addresses with host memory behind it.
package struct MemorySlot: Sendable {
  package enum Kind: UInt8, Sendable { case ram, rom }
  package var base: GPA
  /// In bytes, a multiple of 4096.
  package var size: UInt64
  package var host: UInt
  package var kind: Kind
  package var end: UInt64 { base.value + size }
}

/// The guest's physical memory: slots of RAM and ROM over one or more anonymous host mappings.
///
/// Invariant for the unsafe parts: slots do not overlap, are page-aligned, lie inside mappings this
/// object owns until `deinit`, and change only while no vCPU runs.
package final class GuestMemory: @unchecked Sendable {
  package static let pageSize: UInt64 = 4096
  /// RAM ends here below 4 GiB; the rest is put above 4 GiB.
  package static let holeStart: UInt64 = 0xC000_0000

  package private(set) var slots: [MemorySlot] = []
  /// One word a page of guest-physical memory, up to the end of the last slot: the host address of the
  /// page, bit 0 set where the guest may write; 0 where no memory is. For engines' slow paths.
  package private(set) var pageMap: UnsafeMutablePointer<UInt>
  package private(set) var pageMapCount: UInt64 = 0
  package let ramSize: UInt64
  private var mappings: [(UnsafeMutableRawPointer, Int)] = []
  /// Told of every write that did not come from a vCPU's own instruction (devices, loaders, debugger):
  /// engines drop what they decoded from there.
  package var onExternalWrite: ((GPA, UInt64) -> Void)?
  /// Told when slots change.
  package var onLayoutChange: (() -> Void)?

  /// RAM of `ramSize` bytes (rounded up to a page) from address 0, with a hole below 4 GiB. The legacy
  /// area A0000h..FFFFFh is RAM too until `addROM` covers it.
  package init(ramSize: UInt64) throws(VMError) {
    let size = max((ramSize + 4095) & ~4095, 1 << 20)
    self.ramSize = size
    pageMap = .allocate(capacity: 1)
    let host = try map(size)
    let low = min(size, Self.holeStart)
    slots.append(MemorySlot(base: GPA(0), size: low, host: host, kind: .ram))
    if size > low {
      slots.append(MemorySlot(base: GPA(0x1_0000_0000), size: size - low, host: host + UInt(low), kind: .ram))
    }
    rebuildPageMap()
  }

  /// Only these pages, each with 4096 bytes of content; everything else is without memory. For looking at what
  /// was kept of a guest.
  package init(pages: [GPA: [UInt8]]) throws(VMError) {
    ramSize = 0
    pageMap = .allocate(capacity: 1)
    guard !pages.isEmpty else { return }
    let host = try map(UInt64(pages.count) * Self.pageSize)
    for (index, page) in pages.sorted(by: { $0.key < $1.key }).enumerated() {
      let place = host + UInt(index) * UInt(Self.pageSize)
      precondition(page.key.value % Self.pageSize == 0 && page.value.count == Self.pageSize, "pages are whole")
      UnsafeMutableRawPointer(bitPattern: place)?.copyMemory(from: page.value, byteCount: page.value.count)
      slots.append(MemorySlot(base: page.key, size: Self.pageSize, host: place, kind: .ram))
    }
    rebuildPageMap()
  }

  deinit {
    pageMap.deallocate()
    for (address, size) in mappings { munmap(address, size) }
  }

  private func rebuildPageMap() {
    let count = (slots.map(\.end).max() ?? 0) >> 12
    pageMap.deallocate()
    pageMap = .allocate(capacity: Int(count))
    pageMap.initialize(repeating: 0, count: Int(count))
    pageMapCount = count
    for slot in slots {
      let writable: UInt = slot.kind == .ram ? 1 : 0
      let first = Int(slot.base.value >> 12)
      for page in 0..<Int(slot.size >> 12) { pageMap[first + page] = (slot.host + UInt(page) << 12) | writable }
    }
  }

  private func map(_ size: UInt64) throws(VMError) -> UInt {
    let address = mmap(nil, Int(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let address, address != MAP_FAILED else {
      throw VMError(
        .host, "cannot get \(size >> 20) MiB of memory for the guest (errno \(errno))",
        remedy: "ask for less with --memory")
    }
    // A guest ranges far over its memory: with huge pages the host's own TLB keeps up. Only a wish.
    _ = madvise(address, Int(size), MADV_HUGEPAGE)
    mappings.append((address, Int(size)))
    return UInt(bitPattern: address)
  }

  /// Puts read-only memory at each of `bases` (aliases of the same bytes), over RAM where it overlaps.
  /// `bytes` is padded to a page with FFh.
  package func addROM(_ bytes: [UInt8], at bases: [GPA]) throws(VMError) {
    let size = max((UInt64(bytes.count) + 4095) & ~4095, 4096)
    let host = try map(size)
    let target = UnsafeMutableRawBufferPointer(start: UnsafeMutableRawPointer(bitPattern: host), count: Int(size))
    target.initializeMemory(as: UInt8.self, repeating: 0xFF)
    target.copyBytes(from: bytes)
    for base in bases {
      cut(base.value, base.value + size)
      slots.append(MemorySlot(base: base, size: size, host: host, kind: .rom))
    }
    slots.sort { $0.base < $1.base }
    rebuildPageMap()
    onLayoutChange?()
  }

  /// Makes all RAM zero, as at power-on. Only while no vCPU runs.
  package func clear() {
    for slot in slots where slot.kind == .ram {
      guard let host = UnsafeMutableRawPointer(bitPattern: slot.host) else { continue }
      if madvise(host, Int(slot.size), MADV_DONTNEED) != 0 { memset(host, 0, Int(slot.size)) }
      onExternalWrite?(slot.base, slot.size)
    }
  }

  private func cut(_ start: UInt64, _ end: UInt64) {
    var result: [MemorySlot] = []
    for slot in slots {
      if slot.end <= start || slot.base.value >= end {
        result.append(slot)
        continue
      }
      if slot.base.value < start {
        var left = slot
        left.size = start - slot.base.value
        result.append(left)
      }
      if slot.end > end {
        let skip = end - slot.base.value
        result.append(
          MemorySlot(base: GPA(end), size: slot.end - end, host: slot.host + UInt(skip), kind: slot.kind))
      }
    }
    slots = result
  }

  package func slot(at address: GPA) -> MemorySlot? {
    for slot in slots where address.value >= slot.base.value && address.value < slot.end { return slot }
    return nil
  }

  /// Host address of the page that holds `address`, and whether the guest may write it; nil where no
  /// memory is (an access there is MMIO).
  package func hostPage(_ address: GPA) -> (host: UnsafeMutableRawPointer, writable: Bool)? {
    let page = address.value >> 12
    guard page < pageMapCount else { return nil }
    let entry = pageMap[Int(page)]
    guard let host = UnsafeMutableRawPointer(bitPattern: entry & ~1) else { return nil }
    return (host, entry & 1 != 0)
  }

  /// Host memory of a range that lies in one slot of RAM, for devices to transfer to and from; whoever writes there
  /// calls `onExternalWrite` after it. Nil where the range is not RAM as a whole.
  package func ram(_ address: GPA, count: Int) -> UnsafeMutableRawBufferPointer? {
    guard count >= 0, let slot = slot(at: address), slot.kind == .ram else { return nil }
    guard UInt64(count) <= slot.end - address.value else { return nil }
    let host = UnsafeMutableRawPointer(bitPattern: slot.host + UInt(address.value - slot.base.value))
    return host.map { UnsafeMutableRawBufferPointer(start: $0, count: count) }
  }

  package func hva(_ address: GPA) -> HVA? {
    slot(at: address).map { HVA(UInt64($0.host) + (address.value - $0.base.value)) }
  }

  /// Copies guest memory out, byte by byte where slots change; bytes without memory are nil.
  package func readBytes(_ address: GPA, count: Int) -> [UInt8?] {
    var result: [UInt8?] = []
    result.reserveCapacity(count)
    for i in 0..<UInt64(max(count, 0)) {
      let at = GPA(address.value &+ i)
      result.append(hostPage(at).map { $0.host.load(fromByteOffset: Int(at.value & 4095), as: UInt8.self) })
    }
    return result
  }

  /// Copies `buffer.count` bytes out; false (nothing promised of the buffer) if any has no memory.
  package func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) -> Bool {
    forEachPiece(address, buffer.count) { piece, offset, count, _ in
      UnsafeMutableRawBufferPointer(rebasing: buffer[offset..<offset + count]).copyMemory(
        from: UnsafeRawBufferPointer(start: piece, count: count))
    }
  }

  /// Little-endian integer at `address`; nil if any byte has no memory.
  package func load<T: FixedWidthInteger>(_ address: GPA, as type: T.Type = T.self) -> T? {
    var value: T = 0
    let ok = withUnsafeMutableBytes(of: &value) { read(address, into: $0) }
    return ok ? T(littleEndian: value) : nil
  }

  /// Writes from outside the guest (loader, device, debugger). With `force`, ROM is written too.
  /// False if any byte has no memory or is ROM without `force`; then what lies before it was written.
  @discardableResult
  package func write(_ address: GPA, _ bytes: UnsafeRawBufferPointer, force: Bool = false) -> Bool {
    var allWritable = true
    let ok = forEachPiece(address, bytes.count) { piece, offset, count, writable in
      guard writable || force else {
        allWritable = false
        return
      }
      if let from = bytes.baseAddress { piece.copyMemory(from: from + offset, byteCount: count) }
    }
    onExternalWrite?(address, UInt64(bytes.count))
    return ok && allWritable
  }

  @discardableResult
  package func write(_ address: GPA, _ bytes: [UInt8], force: Bool = false) -> Bool {
    bytes.withUnsafeBytes { write(address, $0, force: force) }
  }

  @discardableResult
  package func store<T: FixedWidthInteger>(_ address: GPA, _ value: T) -> Bool {
    withUnsafeBytes(of: value.littleEndian) { write(address, $0) }
  }

  private func forEachPiece(
    _ address: GPA, _ count: Int, _ body: (UnsafeMutableRawPointer, Int, Int, Bool) -> Void
  ) -> Bool {
    var offset = 0
    while offset < count {
      let at = GPA(address.value &+ UInt64(offset))
      let piece = min(count - offset, Int(4096 - (at.value & 4095)))
      guard let page = hostPage(at) else { return false }
      body(page.host + Int(at.value & 4095), offset, piece, page.writable)
      offset += piece
    }
    return true
  }
}
