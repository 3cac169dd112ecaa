import VMCore
import X86

#if canImport(Glibc)
  import Glibc
#endif

/// String instructions (SDM 1 7.3.9). A REP instruction commits after each element, so a fault or a pause
/// in the middle leaves registers from which it goes on.
extension UnsafeMutablePointer<CPU> {
  /// Elements, of one REP instruction or of many, after which they look whether someone wants them to stop:
  /// a millisecond or so.
  private static var stride: UInt64 { 1 << 16 }

  @inline(never)
  func string(_ o: MicroOpPointer) throws(Stop) {
    let operation = StringOp(rawValue: o.pointee.aux) ?? .movs
    let repeated = o.pointee.flags & (MicroOp.rep | MicroOp.repne) != 0
    guard repeated else { return try element(operation, o) }
    let log2 = o.pointee.addressSizeLog2
    let compares = operation == .cmps || operation == .scas
    let wantEqual = o.pointee.flags & MicroOp.rep != 0
    while true {
      if pointee.stringElements > Self.stride { try pauseIfWanted() }
      let count = getSized(8, log2)
      if count == 0 { return }
      if !compares, o.pointee.imm == 1, pointee.rflags & RFLAGS.df == 0 {
        let moved = try bulk(operation, o, count)
        if moved > 0 {
          setSized(8, log2, count &- moved)
          pointee.stringElements &+= moved
          continue
        }
      }
      try element(operation, o)
      setSized(8, log2, count &- 1)
      // Behind a committed element its answers are none for the next: it begins with those of its own.
      if pointee.alone { vcpu.forgetUsedAnswers() }
      if compares && zf != wantEqual { return }
      pointee.stringElements &+= 1
    }
  }

  /// A long REP gives way to `kick()` between elements; entered again, it goes on.
  private func pauseIfWanted() throws(Stop) {
    pointee.stringElements = 0
    let kicked = pointee.owner._withUnsafeGuaranteedRef { $0.takeKick() }
    if kicked { throw leave(.kicked, .kicked) }
  }

  private func element(_ operation: StringOp, _ o: MicroOpPointer) throws(Stop) {
    let bytes = 1 << Int(o.pointee.sizeLog2)
    let log2 = o.pointee.addressSizeLog2
    let step = pointee.rflags & RFLAGS.df == 0 ? UInt64(bytes) : 0 &- UInt64(bytes)
    switch operation {
    case .movs:
      let from = try stringAddress(o, 48, source: true, bytes, write: false)
      let to = try stringAddress(o, 56, source: false, bytes, write: true)
      try storeSized(to, try loadSized(from, bytes: bytes), bytes: bytes)
      advance(48, log2, step)
      advance(56, log2, step)
    case .stos:
      let to = try stringAddress(o, 56, source: false, bytes, write: true)
      try storeSized(to, self[slot: 0], bytes: bytes)
      advance(56, log2, step)
    case .lods:
      let from = try stringAddress(o, 48, source: true, bytes, write: false)
      setSized(0, o.pointee.sizeLog2, try loadSized(from, bytes: bytes))
      advance(48, log2, step)
    case .scas:
      let to = try stringAddress(o, 56, source: false, bytes, write: false)
      let b = try loadSized(to, bytes: bytes)
      compareSized(getSized(0, o.pointee.sizeLog2), b, o.pointee.sizeLog2)
      advance(56, log2, step)
    case .cmps:
      let from = try stringAddress(o, 48, source: true, bytes, write: false)
      let to = try stringAddress(o, 56, source: false, bytes, write: false)
      let a = try loadSized(from, bytes: bytes)
      let b = try loadSized(to, bytes: bytes)
      compareSized(a, b, o.pointee.sizeLog2)
      advance(48, log2, step)
      advance(56, log2, step)
    }
  }

  private func compareSized(_ a: UInt64, _ b: UInt64, _ log2: UInt8) {
    pointee.flagClass = FlagClass(.sub8, bytes: 1 << Int(log2))
    pointee.flagA = a
    pointee.flagResult = (a &- b) & mask(log2)
  }

  private func advance(_ register: UInt8, _ log2: UInt8, _ step: UInt64) {
    setSized(register, log2, getSized(register, log2) &+ step)
  }

  /// Linear address of the element at RSI (source, in the segment of `src`) or RDI (in ES).
  private func stringAddress(
    _ o: MicroOpPointer, _ register: UInt8, source: Bool, _ bytes: Int, write: Bool
  ) throws(Stop) -> UInt64 {
    let offset = getSized(register, o.pointee.addressSizeLog2)
    let segment = source ? Int(o.pointee.src) : 0
    if o.pointee.imm == 1 {
      guard isLong64, segment >= 4 else { return offset }
      return offset &+ (segment == 4 ? self[slot: Slot.fsBase] : self[slot: Slot.gsBase])
    }
    return try linear(segment, offset, size: bytes, write: write)
  }

  /// As many elements of a forward REP MOVS, STOS or LODS as lie on one page of each operand, at the
  /// host's speed; 0 where the pages are not simple.
  private func bulk(_ operation: StringOp, _ o: MicroOpPointer, _ count: UInt64) throws(Stop) -> UInt64 {
    let log2 = UInt64(o.pointee.sizeLog2)
    let bytes = 1 << Int(log2)
    let addressLog2 = o.pointee.addressSizeLog2
    guard addressLog2 >= 2 else { return 0 }
    var elements = count
    func room(_ address: UInt64) -> UInt64 { (4096 &- (address & 4095)) >> log2 }
    switch operation {
    case .movs:
      let from = try stringAddress(o, 48, source: true, bytes, write: false)
      let to = try stringAddress(o, 56, source: false, bytes, write: true)
      elements = min(elements, room(from), room(to))
      let length = Int(elements << log2)
      guard elements > 1, let source = try readable(from), let target = try writable(to) else { return 0 }
      let distance = UInt(bitPattern: target) &- UInt(bitPattern: source)
      if distance < UInt(length) && distance != 0 {
        // The target overlaps ahead of the source: what was written is read again.
        guard distance >= UInt(bytes) else { return 0 }
        var at = 0
        while at < length {
          let piece = min(Int(distance), length - at)
          memcpy(target + at, source + at, piece)
          at += piece
        }
      } else {
        memmove(target, source, length)
      }
      advance(48, addressLog2, UInt64(length))
      advance(56, addressLog2, UInt64(length))
    case .stos:
      let to = try stringAddress(o, 56, source: false, bytes, write: true)
      elements = min(elements, room(to))
      guard elements > 1, let target = try writable(to) else { return 0 }
      fill(target, Int(elements), o.pointee.sizeLog2)
      advance(56, addressLog2, elements << log2)
    default: return 0
    }
    return elements
  }

  private func fill(_ target: UnsafeMutableRawPointer, _ count: Int, _ log2: UInt8) {
    func put<T: FixedWidthInteger>(_ value: T) {
      for i in 0..<count { target.storeBytes(of: value, toByteOffset: i &* MemoryLayout<T>.size, as: T.self) }
    }
    switch log2 {
    case 0: memset(target, Int32(get(0, as: UInt8.self)), count)
    case 1: put(get(0, as: UInt16.self))
    case 2: put(get(0, as: UInt32.self))
    default: put(get(0, as: UInt64.self))
    }
  }

  /// Host address of a byte the guest may read now; nil where each access must be looked at. A miss
  /// fills the TLB by a one-byte access; the pointer stays good when the other operand takes the entry.
  private func readable(_ address: UInt64) throws(Stop) -> UnsafeMutableRawPointer? {
    let entry = tlbEntry(address)
    if entry.pointee.tag != address & ~0xFFF {
      guard hasMemory(address) else { return nil }
      _ = try slowLoad(address, 1)
    }
    guard entry.pointee.tag == address & ~0xFFF else { return nil }
    return entry.host(address)
  }
  private func writable(_ address: UInt64) throws(Stop) -> UnsafeMutableRawPointer? {
    let entry = tlbWriteEntry(address)
    if entry.pointee.tag != address & ~0xFFF {
      guard hasMemory(address) else { return nil }
      try slowProbeWrite(address, 1)
    }
    guard entry.pointee.tag == address & ~0xFFF else { return nil }
    return entry.host(address)
  }

  /// False where the access would be MMIO, whose width matters, or would fault.
  private func hasMemory(_ address: UInt64) -> Bool {
    translateQuietly(address).map { hostPage($0) != nil } ?? false
  }
}
