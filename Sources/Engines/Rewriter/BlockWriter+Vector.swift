/// SSE3 to SSE4.2 and AVX: the guest's instruction on the host's registers of the same numbers. Lower halves stay there
/// as those of SSE do; upper halves are in `CPU` between any two instructions.
extension MicroOp {
  /// What of the family `Op.vector` is rewritten.
  var isRewrittenVector: Bool {
    guard vectorOp == .host, let form = vectorForm else { return vectorOp == .avxReady || vectorOp == .sseReady || vectorOp == .clearUppers }
    let shape = form.pointee.shape
    return !shape.hasMMX && !shape.writesFlags && !shape.readsLengths && !shape.writesXMM0
  }

  /// The general register it writes, by byte offset.
  var vectorRegister: UInt8? {
    guard vectorOp == .host, let shape = vectorForm?.pointee.shape else { return nil }
    if shape.reg.kind == .general { return dst & ~7 }
    return shape.rm.kind == .general && shape.rm.writes ? src & ~7 : nil
  }
}

extension BlockWriter {
  /// False for what is left to a callout.
  mutating func emitVector(_ o: MicroOpPointer) -> Bool {
    guard o.pointee.isRewrittenVector else { return false }
    guard o.pointee.vectorOp == .host, let form = o.pointee.vectorForm else { return emitPlainVector(o) }
    let shape = form.pointee.shape
    // Nothing is written before what may turn out to be left to a callout.
    if let general = generalSource(o, shape), operand(general) == nil { return false }
    if shape.isVEX { requireAVX(o) } else { requireSSE(o) }
    requireMXCSR(o)
    let registers = places(o, shape)
    for (place, number) in registers where place.reads { ensure(number * 2) }
    if shape.readsXMM0 { ensure(0) }
    var rm = HostOperand.register(HostRegister(number(o.pointee.src)))
    var miss: Miss?
    switch shape.rm.kind {
    case .memory:
      miss = reachVector(o, size: shape.bytes, alignment: form.pointee.alignment, write: shape.rm.writes)
      rm = found
    case .general where shape.rm.writes: rm = .register(Self.a)
    case .general: rm = operand(o.pointee.src) ?? rm
    default: break
    }
    for (place, number) in registers where place.reads && place.kind == .ymm {
      asm.vex(.insertUpper, number, number, upper(number), long: true, immediate: 1)
    }
    write(o, shape, rm)
    for (place, number) in registers where place.writes { defineVector(number, shape) }
    if shape.isLong { for byte: UInt8 in [0xC5, 0xF8, 0x77] { asm.byte(byte) } }
    if let to = o.pointee.vectorRegister { put(to, Self.a, size: shape.isWide ? 8 : 4) }
    slowWay(from: miss, o)
    return true
  }

  private func generalSource(_ o: MicroOpPointer, _ shape: VectorShape) -> UInt8? {
    shape.rm.kind == .general && shape.rm.reads ? o.pointee.src : nil
  }

  /// Vector operands with their registers' numbers.
  private func places(_ o: MicroOpPointer, _ shape: VectorShape) -> [(VectorShape.Place, UInt8)] {
    let all = [
      (shape.reg, o.pointee.dst), (shape.rm, o.pointee.src), (shape.vvvv, o.pointee.otherVector),
      (shape.is4, o.pointee.lastVector),
    ]
    return all.filter { $0.0.kind == .xmm || $0.0.kind == .ymm }.map { ($0.0, number($0.1)) }
  }

  private func upper(_ number: UInt8) -> HostOperand {
    .memory(.rsp, displacement: Int32(Slot.xmmOffset + Slot.upperDistance) + Int32(number) * 16)
  }

  private mutating func defineVector(_ number: UInt8, _ shape: VectorShape) {
    define(number * 2)
    if shape.isVEX { asm.vex(.extractUpper, number, 0, upper(number), long: true, immediate: 1) }
  }

  /// The instruction itself, on these registers.
  private mutating func write(_ o: MicroOpPointer, _ shape: VectorShape, _ rm: HostOperand) {
    let reg = shape.reg.kind == .general ? Self.a.number : shape.reg.kind == .none ? shape.extension : number(o.pointee.dst)
    let last = shape.is4.kind == .none ? shape.immediate : number(o.pointee.lastVector) << 4
    if shape.isVEX {
      let opcode = VEXOpcode(map: shape.map, prefix: shape.prefix, opcode: shape.opcode)
      let other = shape.vvvv.kind == .none ? 0 : number(o.pointee.otherVector)
      asm.vex(opcode, reg, other, rm, long: shape.isLong, wide: shape.isWide, immediate: last)
    } else {
      asm.long(map: shape.map, prefix: shape.prefix, shape.opcode, reg, rm, wide: shape.isWide, immediate: last)
    }
  }

  /// The checks alone, and VZEROUPPER.
  private mutating func emitPlainVector(_ o: MicroOpPointer) -> Bool {
    switch o.pointee.vectorOp {
    case .sseReady: requireSSE(o)
    case .avxReady: requireAVX(o)
    default:
      // A register whose contents are in `CPU` too lends itself as a zero.
      guard isLong, let lent = (0..<16).first(where: { state.changedVectors >> UInt16($0) & 1 == 0 }) else { return false }
      requireAVX(o)
      state.vectors &= ~(1 << UInt16(lent))
      let zero = UInt8(lent)
      asm.vex(VEXOpcode(map: 1, prefix: 0, opcode: 0x57), zero, zero, .register(HostRegister(zero)), long: false)
      for i in UInt8(0)..<8 { asm.vex(.store, zero, 0, upper(i * 2), long: true) }
    }
    return true
  }

  /// AVX is switched on; otherwise the interpreter goes on from here, and raises what is due.
  private mutating func requireAVX(_ o: MicroOpPointer) {
    guard !state.isAVXReady else { return }
    asm.test(offsets.field(offsets.cr0), 8, size: 4)
    interpretInstead(from: asm.jumpAhead(5), o)
    asm.test(offsets.field(offsets.cr4), 1 << 18, size: 4)
    interpretInstead(from: asm.jumpAhead(4), o)
    asm.move(Self.a, offsets.field(offsets.xcr0), size: 4)
    asm.alu(4, .register(Self.a), 6, size: 4)
    asm.alu(7, .register(Self.a), 6, size: 4)
    interpretInstead(from: asm.jumpAhead(5), o)
    state.isAVXReady = true
    host = .none
  }

  private mutating func reachVector(_ o: MicroOpPointer, size: Int, alignment: UInt8, write: Bool) -> Miss? {
    let miss = reach(o, size: size, write: write)
    if alignment != 0 {
      findAddress()
      asm.test(.register(Self.b), Int32(alignment), size: 1)
      interpretInstead(from: asm.jumpAhead(5), o)
    }
    return miss
  }
}

extension Assembler {
  /// An instruction of a longer opcode map without VEX: `prefix` 1 is 66h, 2 F3h, 3 F2h.
  fileprivate mutating func long(
    map: UInt8, prefix: UInt8, _ opcode: UInt8, _ reg: UInt8, _ rm: HostOperand, wide: Bool, immediate: UInt8?
  ) {
    if prefix != 0 { byte([0x66, 0xF3, 0xF2][Int(prefix) - 1]) }
    var rex: UInt8 = wide ? 0x48 : 0x40
    if reg & 8 != 0 { rex |= 4 }
    switch rm {
    case .register(let r):
      name(r.number)
      if r.number & 8 != 0 { rex |= 1 }
    case .memory(let base, let index, _, _):
      if base.number & 8 != 0 { rex |= 1 }
      if let index, index.number & 8 != 0 { rex |= 2 }
    case .code: break
    }
    if rex != 0x40 { byte(rex) }
    byte(0x0F)
    if map > 1 { byte(map == 2 ? 0x38 : 0x3A) }
    byte(opcode)
    operand(reg & 7, rm, immediate == nil ? 0 : 1)
    if let immediate { byte(immediate) }
  }
}
