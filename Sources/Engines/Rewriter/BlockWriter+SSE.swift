/// SSE: the guest's XMM registers stay in `CPU`, the host's first two do the work.
extension MicroOp {
  /// What of the family `Op.sse` is rewritten.
  var isRewrittenSSE: Bool {
    switch sseOp {
    case .ready, .load64, .store64, .move128, .load128, .load128Aligned, .store128, .store128Aligned, .moveScalar32,
      .load32, .store32, .moveScalar64, .moveLow, .fromGPR32, .fromGPR64, .toGPR32, .toGPR64, .integer, .float,
      .shuffle32, .shuffleHigh16, .shuffleLow16, .shuffleSingle, .shuffleDouble:
      true
    default: sseOp.rawValue >= SSEOp.addsd.rawValue && sseOp.rawValue <= SSEOp.unpackLow64.rawValue
    }
  }
}

extension BlockWriter {
  private static let x0: UInt8 = 0, x1: UInt8 = 1

  private func xmm(_ index: UInt8) -> HostOperand {
    .memory(.rsp, displacement: Int32(Slot.xmmOffset) + Int32(index & 30) * 8)
  }
  /// A host instruction by mandatory prefix (0 none, 1 66h, 2 F3h, 3 F2h) and opcode behind 0Fh.
  private mutating func host(_ prefix: UInt32, _ opcode: UInt32, _ x: UInt8, _ rm: HostOperand, size: Int = 4) {
    let byte: UInt8? = prefix == 0 ? nil : prefix == 1 ? 0x66 : prefix == 2 ? 0xF3 : 0xF2
    asm.modRM(0x0F00 | opcode, x, rm, size: size, prefix: byte)
  }
  private mutating func load(_ x: UInt8, _ from: HostOperand) { host(0, 0x10, x, from) }
  private mutating func store(_ x: UInt8, _ to: HostOperand) { host(0, 0x11, x, to) }

  /// False for what is left to a callout.
  mutating func emitSSE(_ o: MicroOpPointer) -> Bool {
    guard o.pointee.isRewrittenSSE else { return false }
    requireSSE(o)
    let a = HostLayout.a
    let b = HostOperand.memory(HostLayout.b)
    let (dst, src) = (o.pointee.dst, o.pointee.src)
    switch o.pointee.sseOp {
    case .ready: return true
    case .move128:
      load(Self.x0, xmm(src))
      store(Self.x0, xmm(dst))
    case .load128, .load128Aligned, .load64, .load32:
      let size = o.pointee.sseOp == .load64 ? 8 : o.pointee.sseOp == .load32 ? 4 : 16
      let miss = reachVector(o, size: size, aligned: o.pointee.sseOp == .load128Aligned)
      loadSource(b, size)
      store(Self.x1, xmm(dst))
      slowWay(from: miss, o)
    case .store128, .store128Aligned:
      let miss = reachVector(o, size: 16, aligned: o.pointee.sseOp == .store128Aligned, write: true)
      load(Self.x0, xmm(src))
      store(Self.x0, b)
      slowWay(from: miss, o)
    case .store64, .store32:
      let size = o.pointee.sseOp == .store64 ? 8 : 4
      let miss = reach(o, size: size, write: true)
      asm.move(a, xmm(src), size: size)
      asm.move(b, a, size: size)
      slowWay(from: miss, o)
    case .moveScalar32, .moveScalar64:
      let size = o.pointee.sseOp == .moveScalar64 ? 8 : 4
      asm.move(a, xmm(src), size: size)
      asm.move(xmm(dst), a, size: size)
    case .moveLow:
      host(2, 0x7E, Self.x0, xmm(src))
      store(Self.x0, xmm(dst))
    case .fromGPR32, .fromGPR64:
      guard let from = operand(src) else { return false }
      host(1, 0x6E, Self.x0, from, size: o.pointee.sseOp == .fromGPR64 ? 8 : 4)
      store(Self.x0, xmm(dst))
    case .toGPR32, .toGPR64:
      let size = o.pointee.sseOp == .toGPR64 ? 8 : 4
      asm.move(a, xmm(src), size: size)
      put(dst, a, size: size)
    case .shuffle32: return shuffle(o, 1, 0x70)
    case .shuffleHigh16: return shuffle(o, 2, 0x70)
    case .shuffleLow16: return shuffle(o, 3, 0x70)
    case .shuffleSingle: return shuffle(o, 0, 0xC6)
    case .shuffleDouble: return shuffle(o, 1, 0xC6)
    default: return compute(o)
    }
    return true
  }

  /// SSE is switched on; otherwise the interpreter goes on from here, and raises what is due.
  private mutating func requireSSE(_ o: MicroOpPointer) {
    guard !isSSEReady else { return }
    asm.test(offsets.field(offsets.cr0), 0xC, size: 4)
    interpretInstead(from: asm.jumpAhead(5), o)
    asm.test(offsets.field(offsets.cr4), 0x200, size: 4)
    interpretInstead(from: asm.jumpAhead(4), o)
    isSSEReady = true
    host = .none
  }
  /// The guest's MXCSR is in the host's and masks every exception.
  private mutating func requireMXCSR(_ o: MicroOpPointer) {
    guard !isMXCSRReady else { return }
    asm.alu(7, offsets.field(offsets.mxcsrLoaded), 0, size: 1)
    interpretInstead(from: asm.jumpAhead(4), o)
    isMXCSRReady = true
    host = .none
  }

  private mutating func reachVector(_ o: MicroOpPointer, size: Int, aligned: Bool, write: Bool = false) -> Int {
    let miss = reach(o, size: size, write: write)
    if aligned {
      asm.test(.register(HostLayout.b), 15, size: 1)
      interpretInstead(from: asm.jumpAhead(5), o)
    }
    return miss
  }
  private mutating func loadSource(_ from: HostOperand, _ size: Int) {
    switch size {
    case 4: host(2, 0x10, Self.x1, from)
    case 8: host(3, 0x10, Self.x1, from)
    default: load(Self.x1, from)
    }
  }

  /// The second operand into the second register; the jump taken where it is in memory the TLB does not know.
  private mutating func bringSource(_ o: MicroOpPointer) -> Int? {
    guard o.pointee.flags & MicroOp.hasMemory != 0 else {
      load(Self.x1, xmm(o.pointee.src))
      return nil
    }
    let detail = SSEDetail(o.pointee.imm)
    let miss = reachVector(o, size: Int(detail.bytes), aligned: detail.aligned)
    loadSource(.memory(HostLayout.b), Int(detail.bytes))
    return miss
  }

  private mutating func shuffle(_ o: MicroOpPointer, _ prefix: UInt32, _ opcode: UInt32) -> Bool {
    let miss = bringSource(o)
    load(Self.x0, xmm(o.pointee.dst))
    host(prefix, opcode, Self.x0, .register(HostRegister(Self.x1)))
    asm.byte(SSEDetail(o.pointee.imm).immediate)
    store(Self.x0, xmm(o.pointee.dst))
    if let miss { slowWay(from: miss, o) }
    return true
  }

  /// An operation of two registers, or one and memory, by the host's own instruction.
  private mutating func compute(_ o: MicroOpPointer) -> Bool {
    let detail = SSEDetail(o.pointee.imm)
    let bytes = detail.bytes
    guard o.pointee.flags & MicroOp.hasMemory == 0 || bytes == 4 || bytes == 8 || bytes == 16 else { return false }
    let op = o.pointee.sseOp
    let floats = op == .float || op.rawValue >= SSEOp.addsd.rawValue && op.rawValue <= SSEOp.mulps.rawValue
    if floats { requireMXCSR(o) }
    let miss = bringSource(o)
    load(Self.x0, xmm(o.pointee.dst))
    let x1 = HostOperand.register(HostRegister(Self.x1))
    if detail.stub >= 1024 {
      // CMPxx with a predicate.
      host((detail.stub - 1024) >> 3, 0xC2, Self.x0, x1)
      asm.byte(UInt8(detail.stub & 7))
    } else {
      host(detail.stub >> 8, detail.stub & 0xFF, Self.x0, x1)
    }
    store(Self.x0, xmm(o.pointee.dst))
    if let miss { slowWay(from: miss, o) }
    return true
  }
}
