import CHost
import X86

/// Second-level opcodes of `Op.vector`. `dst` and `src` are the operands of ModRM.reg and ModRM.rm as `VectorShape`
/// names them; `imm` is the address of a `VectorForm`, or what the case says.
enum VectorOp: UInt8 {
  /// The host's instruction; `aux` has VEX.vvvv and the immediate's register too.
  case host
  /// Only the #UD and #NM of AVX, of SSE, and of MMX.
  case avxReady, sseReady, mmxReady
  case clearUppers, clearAll
  case loadMXCSR, storeMXCSR
  /// VMASKMOVDQU: `dst` data, `src` mask.
  case maskedBytes
  /// VMASKMOVPx, VPMASKMOVx: `imm` is a `LaneDetail`, the mask is VEX.vvvv.
  case maskedLoad, maskedStore
  /// Gathers: `imm` is a `LaneDetail`, the mask is VEX.vvvv, the indices are register `src`.
  case gather
}

extension MicroOp {
  /// `aux` of this family: the operation, twice the number of VEX.vvvv and of the immediate's register.
  var vectorOp: VectorOp { VectorOp(rawValue: UInt8(truncatingIfNeeded: aux & 0xF)) ?? .avxReady }
  @inline(__always) var otherVector: UInt8 { UInt8(truncatingIfNeeded: aux >> 4) & 0x1E }
  @inline(__always) var lastVector: UInt8 { UInt8(truncatingIfNeeded: aux >> 10) & 0x1E }

  mutating func setVector(_ op: VectorOp, other: UInt8 = 0, last: UInt8 = 0) {
    self.op = .vector
    aux = UInt16(op.rawValue) | UInt16(other) << 4 | UInt16(last) << 10
  }
  /// Where `imm` is the address of a form.
  @inline(__always) var vectorForm: UnsafePointer<VectorForm>? {
    UnsafePointer(bitPattern: UInt(truncatingIfNeeded: imm))
  }
}

extension UnsafeMutablePointer<CPU> {
  /// The upper half of a vector register, by twice its number.
  subscript(upper index: UInt8) -> XMM {
    get {
      let at = Slot.xmmOffset &+ Slot.upperDistance &+ Int(index & 30) &* 8
      return XMM(file.loadUnaligned(fromByteOffset: at, as: SIMD2<UInt64>.self))
    }
    nonmutating set {
      let at = Slot.xmmOffset &+ Slot.upperDistance &+ Int(index & 30) &* 8
      file.storeBytes(of: newValue.vector, toByteOffset: at, as: SIMD2<UInt64>.self)
    }
  }

  /// #UD and #NM of AVX instructions (SDM 2 2.4).
  @inline(__always) func requireAVX() throws(Stop) {
    let enabled = pointee.cr4 & 1 << 18 != 0 && pointee.xcr0 & 6 == 6
    if !enabled || pointee.cr0 & 8 != 0 { throw avxUnavailable(enabled) }
  }
  @inline(never) private func avxUnavailable(_ enabled: Bool) -> Stop { raise(enabled ? .nm : .ud) }

  /// Executes a micro-op of the family `Op.vector`.
  func vector(_ o: MicroOpPointer) throws(Stop) {
    guard o.pointee.aux & 0xF == VectorOp.host.rawValue, let form = o.pointee.vectorForm else {
      return try vectorRare(o)
    }
    if form.pointee.isVEX { try requireAVX() } else if form.pointee.isMMX { try requireMMX() } else { try requireSSE() }
    if o.pointee.flags & MicroOp.hasMemory == 0 {
      try carryOut(o, form, memory: file)
    } else {
      let at = address(o)
      if at & UInt64(form.pointee.alignment) != 0 { throw raise(.gp, 0) }
      let last = (at &+ UInt64(form.pointee.bytes) &- 1) & ~0xFFF
      let entry = form.pointee.stores ? tlbWriteEntry(at) : tlbEntry(at)
      if entry.pointee.tag == last {
        try carryOut(o, form, memory: entry.host(at))
      } else {
        try carryOutSlowly(o, form, at)
      }
    }
    if form.pointee.isMMX { noteMMX(o, form) }
  }

  /// The memory operand is not in one piece on the host: it goes by way of `CPU.vectorMemory`.
  @inline(never) private func carryOutSlowly(
    _ o: MicroOpPointer, _ form: UnsafePointer<VectorForm>, _ at: UInt64
  ) throws(Stop) {
    let bytes = Int(form.pointee.bytes)
    let room = UnsafeMutableRawPointer(file + (MemoryLayout<CPU>.offset(of: \CPU.vectorMemory) ?? 0))
    let step = min(bytes, 8)
    for i in stride(from: 0, to: bytes, by: step) {
      if form.pointee.stores {
        try probeWrite(offset(at, i), step)
      } else {
        let value = try narrowLoad(offset(at, i), UInt8(step))
        room.storeBytes(of: value, toByteOffset: i, as: UInt64.self)
      }
    }
    try carryOut(o, form, memory: room)
    guard form.pointee.stores else { return }
    for i in stride(from: 0, to: bytes, by: step) {
      try storeSized(offset(at, i), room.loadUnaligned(fromByteOffset: i, as: UInt64.self), bytes: step)
    }
  }

  @inline(__always) private func carryOut(
    _ o: MicroOpPointer, _ form: UnsafePointer<VectorForm>, memory: UnsafeMutableRawPointer
  ) throws(Stop) {
    let (reg, rm) = (UInt(o.pointee.dst), UInt(o.pointee.src))
    let (other, last) = (UInt(o.pointee.otherVector), UInt(o.pointee.lastVector))
    let flags: UInt64
    if floatsFreely {
      flags = chost_vector(form.pointee.entry, file, memory, reg, rm, other, last)
    } else {
      var control = hostControl
      flags = chost_vector_under(file, memory, reg, rm, other, last, form.pointee.entry, &control)
      try settle(control & MXCSR.flags)
    }
    if form.pointee.writesFlags {
      replaceFlags(pointee.rflags & ~RFLAGS.arithmetic | flags & RFLAGS.arithmetic)
    }
  }

  /// What every MMX instruction leaves (SDM 3A 12.2).
  private func noteMMX(_ o: MicroOpPointer, _ form: UnsafePointer<VectorForm>) {
    pointee.fpuTop = 0
    pointee.fpuTag = 0
    if form.pointee.writesMMX { pointee.fpuSignExponent[Int(o.pointee.dst & 7)] = 0xFFFF }
  }

  @inline(never) private func vectorRare(_ o: MicroOpPointer) throws(Stop) {
    let op = o.pointee.vectorOp
    switch op {
    case .sseReady: return try requireSSE()
    case .mmxReady: return try requireMMX()
    default: try requireAVX()
    }
    switch op {
    case .clearUppers: for i in 0..<vectorCount { self[upper: UInt8(i * 2)] = XMM() }
    case .clearAll:
      for i in 0..<vectorCount {
        self[xmm: UInt8(i * 2)] = XMM()
        self[upper: UInt8(i * 2)] = XMM()
      }
    case .loadMXCSR:
      let value: UInt32 = try load(address(o))
      if value & ~MXCSR.mask != 0 { throw raise(.gp, 0) }
      takeMXCSR(value)
    case .storeMXCSR:
      unloadMXCSR()
      try store(address(o), pointee.mxcsr)
    case .maskedBytes: try storeMasked(address(o), self[xmm: o.pointee.dst], self[xmm: o.pointee.src], count: 16)
    case .maskedLoad: try maskedLoad(o)
    case .maskedStore: try maskedStore(o)
    case .gather: try gather(o)
    default: break
    }
  }

  /// Outside 64-bit mode the upper eight registers are out of reach, and stay.
  private var vectorCount: Int { isLong64 ? 16 : 8 }
}
