import CHost
import X86

/// Second-level opcodes of SSE, SSE2, MMX and FXSAVE. Operands `dst` and `src` are twice the XMM register's
/// number (an index into `CPU.xmm`), the MMX register's number, or a byte offset into the register file
/// where a general-purpose register stands; `imm` is an `SSEDetail`.
enum SSEOp: UInt8 {
  // The hottest first, each with a body of its own.
  case load64, store64, move128, load128, load128Aligned, store128, store128Aligned
  case addsd, subsd, mulsd, divsd, sqrtsd, minsd, maxsd, addpd, subpd, mulpd
  case addss, subss, mulss, divss, addps, subps, mulps
  case xor128, and128, andNot128, or128
  case moveScalar32, load32, store32, moveScalar64, unpackLow64, moveLow
  // From here on: `sseRare`.
  case moveLowToHigh, moveHighToLow, loadLow, loadHigh, storeHigh
  case fromGPR32, fromGPR64, toGPR32, toGPR64
  // Carried out by the host's instruction.
  case integer, float, compare, convertFromGPR, convertToGPR, convertFromMMX, convertToMMX
  case shiftImmediate, shiftBytesLeft, shiftBytesRight
  case shuffle32, shuffleHigh16, shuffleLow16, shuffleSingle, shuffleDouble
  case insert16, extract16, signMask, maskedStore
  case loadMXCSR, storeMXCSR, storeGPR32, storeGPR64, nothing, flushLine, fxsave, fxrstor
  case mmxMove, mmxLoad32, mmxLoad64, mmxStore32, mmxStore64
  case mmxFromGPR32, mmxFromGPR64, mmxToGPR32, mmxToGPR64
  case mmxInteger, mmxShiftImmediate, mmxShuffle, mmxInsert16, mmxExtract16, mmxSignMask, mmxMaskedStore
  case mmxToXMM, mmxFromXMM, emms
  /// Only the #UD, #NM and #MF of SSE, of MMX, of both, and of FXSAVE.
  case ready, mmxReady, bothReady, stateReady
}

extension MicroOp {
  /// `aux` of this family. Every raw value from 0 up is a case, and the translator puts in nothing else.
  @inline(__always) var sseOp: SSEOp {
    get { unsafeBitCast(UInt8(truncatingIfNeeded: aux), to: SSEOp.self) }
    set { aux = UInt16(newValue.rawValue) }
  }
}

/// What an SSE micro-op carries in `imm`.
struct SSEDetail {
  var raw: Int64
  init(_ raw: Int64) { self.raw = raw }
  init(immediate: UInt8, stub: UInt32, bytes: Int, aligned: Bool) {
    let low = Int64(immediate)
    let middle = Int64(stub) << 8
    let size = Int64(bytes) << 24
    let align: Int64 = aligned ? 1 << 32 : 0
    raw = low | middle | size | align
  }
  var immediate: UInt8 { UInt8(truncatingIfNeeded: raw) }
  /// Index of the host instruction (`chost_float.h`).
  var stub: UInt32 { UInt32(truncatingIfNeeded: raw >> 8) & 0xFFFF }
  /// Size of the memory operand.
  var bytes: UInt8 { UInt8(truncatingIfNeeded: raw >> 24) }
  /// The memory operand must lie on a multiple of 16, or #GP(0).
  var aligned: Bool { raw & 1 << 32 != 0 }
}

/// The contents of an XMM register, kept as one vector: halves stored apart cannot be forwarded to the load
/// of the whole that follows.
struct XMM: Equatable {
  var vector: SIMD2<UInt64>
  @inline(__always) init(_ vector: SIMD2<UInt64>) { self.vector = vector }
  @inline(__always) init(low: UInt64 = 0, high: UInt64 = 0) { vector = SIMD2(low, high) }
  @inline(__always) init(_ doubles: SIMD2<Double>) { vector = unsafeBitCast(doubles, to: SIMD2<UInt64>.self) }
  @inline(__always) init(_ singles: SIMD4<Float>) { vector = unsafeBitCast(singles, to: SIMD2<UInt64>.self) }

  @inline(__always) var low: UInt64 {
    get { vector.x }
    set { vector.x = newValue }
  }
  @inline(__always) var high: UInt64 {
    get { vector.y }
    set { vector.y = newValue }
  }
  @inline(__always) var doubles: SIMD2<Double> { unsafeBitCast(vector, to: SIMD2<Double>.self) }
  @inline(__always) var singles: SIMD4<Float> { unsafeBitCast(vector, to: SIMD4<Float>.self) }
}

extension UnsafeMutablePointer<CPU> {
  /// `index` is twice the register's number, as operands hold it (0...30: the translator's invariant).
  @inline(__always) subscript(xmm index: UInt8) -> XMM {
    get { XMM(file.loadUnaligned(fromByteOffset: Slot.xmmOffset &+ Int(index & 30) &* 8, as: SIMD2<UInt64>.self)) }
    nonmutating set {
      file.storeBytes(
        of: newValue.vector, toByteOffset: Slot.xmmOffset &+ Int(index & 30) &* 8, as: SIMD2<UInt64>.self)
    }
  }
  @inline(__always) subscript(xmmLow index: UInt8) -> UInt64 {
    get { pointee.xmm[unchecked: Int(index & 30)] }
    nonmutating set { pointee.xmm[unchecked: Int(index & 30)] = newValue }
  }

  /// #UD and #NM of SSE instructions (SDM 3A table 13-1).
  @inline(__always) func requireSSE() throws(Stop) {
    // CR0.EM and TS; CR4.OSFXSR. As literals, so that nothing is called for them here.
    let off = pointee.cr0 & 0xC | (~pointee.cr4 & 0x200)
    if off != 0 { throw sseUnavailable() }
  }
  @inline(never) func sseUnavailable() -> Stop {
    let undefined = pointee.cr0 & CR0.em != 0 || pointee.cr4 & CR4.osfxsr == 0
    return raise(undefined ? .ud : .nm)
  }

  /// Sixteen bytes from memory, of any alignment.
  @inline(__always) func load128(_ address: UInt64) throws(Stop) -> XMM {
    let entry = tlbEntry(address)
    if entry.pointee.tag == (address &+ 15) & ~0xFFF {
      return XMM(entry.host(address).loadUnaligned(as: SIMD2<UInt64>.self))
    }
    let low: UInt64 = try load(address)
    return XMM(low: low, high: try load((address &+ 8) & pointee.addressMask))
  }

  /// Sixteen bytes to memory, of any alignment: both halves or none.
  @inline(__always) func store128(_ address: UInt64, _ value: XMM) throws(Stop) {
    let entry = tlbWriteEntry(address)
    if entry.pointee.tag == (address &+ 15) & ~0xFFF {
      entry.host(address).storeBytes(of: value.vector, as: SIMD2<UInt64>.self)
      return
    }
    try slowStore128(address, value)
  }
  @inline(never) func slowStore128(_ address: UInt64, _ value: XMM) throws(Stop) {
    let upper = (address &+ 8) & pointee.addressMask
    try probeWrite(address, 8)
    try probeWrite(upper, 8)
    try store(address, value.low)
    try store(upper, value.high)
  }

  /// The address of a 16-byte operand that must be aligned (SDM 2 table 2-18, exception type 1).
  @inline(__always) func alignedAddress(_ o: MicroOpPointer) throws(Stop) -> UInt64 {
    let at = address(o)
    if at & 15 != 0 { throw raise(.gp, 0) }
    return at
  }

  /// The low 32 or 64 bits of a scalar source.
  @inline(__always) func scalar64(_ o: MicroOpPointer) throws(Stop) -> UInt64 {
    if o.pointee.flags & MicroOp.hasMemory == 0 { return self[xmmLow: o.pointee.src] }
    return try load(address(o))
  }
  @inline(__always) func scalar32(_ o: MicroOpPointer) throws(Stop) -> UInt32 {
    if o.pointee.flags & MicroOp.hasMemory == 0 { return UInt32(truncatingIfNeeded: self[xmmLow: o.pointee.src]) }
    return try load(address(o))
  }
  /// A 16-byte source.
  @inline(__always) func packed(_ o: MicroOpPointer) throws(Stop) -> XMM {
    if o.pointee.flags & MicroOp.hasMemory == 0 { return self[xmm: o.pointee.src] }
    return try load128(try alignedAddress(o))
  }
  /// A source of any size: XMM register, or as many bytes of memory as the instruction reads.
  func source(_ o: MicroOpPointer) throws(Stop) -> XMM {
    if o.pointee.flags & MicroOp.hasMemory == 0 { return self[xmm: o.pointee.src] }
    let detail = SSEDetail(o.pointee.imm)
    switch detail.bytes {
    case 16:
      let at = address(o)
      if detail.aligned && at & 15 != 0 { throw raise(.gp, 0) }
      return try load128(at)
    default: return XMM(low: try narrowLoad(address(o), detail.bytes))
    }
  }
  /// 1, 2, 4 or 8 bytes, zero-extended.
  func narrowLoad(_ at: UInt64, _ bytes: UInt8) throws(Stop) -> UInt64 {
    switch bytes {
    case 8: return try load(at)
    case 4: return UInt64(try load(at, as: UInt32.self))
    case 2: return UInt64(try load(at, as: UInt16.self))
    default: return UInt64(try load(at, as: UInt8.self))
    }
  }

  /// Executes a micro-op of the family `Op.sse`.
  func sse(_ o: MicroOpPointer) throws(Stop) {
    let op = o.pointee.sseOp
    if op.rawValue > SSEOp.moveLow.rawValue { return try sseRare(o) }
    try requireSSE()
    let dst = o.pointee.dst
    switch op {
    case .load64:
      self[xmm: dst] = XMM(low: try load(address(o)))
    case .store64:
      try store(address(o), self[xmmLow: o.pointee.src])
    case .move128:
      self[xmm: dst] = self[xmm: o.pointee.src]
    case .load128:
      self[xmm: dst] = try load128(address(o))
    case .load128Aligned:
      self[xmm: dst] = try load128(try alignedAddress(o))
    case .store128:
      try store128(address(o), self[xmm: o.pointee.src])
    case .store128Aligned:
      try store128(try alignedAddress(o), self[xmm: o.pointee.src])
    case .addsd: try scalar(o, try scalar64(o)) { chost_addsd($0, $1) }
    case .subsd: try scalar(o, try scalar64(o)) { chost_subsd($0, $1) }
    case .mulsd: try scalar(o, try scalar64(o)) { chost_mulsd($0, $1) }
    case .divsd: try scalar(o, try scalar64(o)) { chost_divsd($0, $1) }
    case .sqrtsd: try scalar(o, try scalar64(o)) { chost_sqrtsd($0, $1) }
    case .minsd: try scalar(o, try scalar64(o)) { chost_minsd($0, $1) }
    case .maxsd: try scalar(o, try scalar64(o)) { chost_maxsd($0, $1) }
    case .addpd: try doubles(o, try packed(o)) { chost_addpd($0, $1) }
    case .subpd: try doubles(o, try packed(o)) { chost_subpd($0, $1) }
    case .mulpd: try doubles(o, try packed(o)) { chost_mulpd($0, $1) }
    case .addss: try single(o, try scalar32(o)) { chost_addss($0, $1) }
    case .subss: try single(o, try scalar32(o)) { chost_subss($0, $1) }
    case .mulss: try single(o, try scalar32(o)) { chost_mulss($0, $1) }
    case .divss: try single(o, try scalar32(o)) { chost_divss($0, $1) }
    case .addps: try singles(o, try packed(o)) { chost_addps($0, $1) }
    case .subps: try singles(o, try packed(o)) { chost_subps($0, $1) }
    case .mulps: try singles(o, try packed(o)) { chost_mulps($0, $1) }
    case .xor128:
      let a = self[xmm: dst]
      let b = try packed(o)
      self[xmm: dst] = XMM(a.vector ^ b.vector)
    case .and128:
      let a = self[xmm: dst]
      let b = try packed(o)
      self[xmm: dst] = XMM(a.vector & b.vector)
    case .andNot128:
      let a = self[xmm: dst]
      let b = try packed(o)
      self[xmm: dst] = XMM(~a.vector & b.vector)
    case .or128:
      let a = self[xmm: dst]
      let b = try packed(o)
      self[xmm: dst] = XMM(a.vector | b.vector)
    case .moveScalar32:
      let low = self[xmmLow: o.pointee.src] & 0xFFFF_FFFF
      self[xmmLow: dst] = self[xmmLow: dst] & ~0xFFFF_FFFF | low
    case .load32:
      self[xmm: dst] = XMM(low: UInt64(try load(address(o), as: UInt32.self)))
    case .store32:
      try store(address(o), UInt32(truncatingIfNeeded: self[xmmLow: o.pointee.src]))
    case .moveScalar64:
      self[xmmLow: dst] = self[xmmLow: o.pointee.src]
    case .unpackLow64:
      let b = try packed(o)
      self[xmm: dst] = XMM(low: self[xmmLow: dst], high: b.low)
    case .moveLow:
      self[xmm: dst] = XMM(low: self[xmmLow: o.pointee.src])
    default: preconditionFailure("rare SSE micro-ops were sorted out above")
    }
  }
}
