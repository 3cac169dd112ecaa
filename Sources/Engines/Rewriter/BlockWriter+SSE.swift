/// SSE: the guest's XMM registers are in the host's while they are worked on.
extension MicroOp {
  /// What of the family `Op.sse` is rewritten.
  var isRewrittenSSE: Bool {
    switch sseOp {
    case .ready, .load64, .store64, .move128, .load128, .load128Aligned, .store128, .store128Aligned, .moveScalar32,
      .load32, .store32, .moveScalar64, .moveLow, .fromGPR32, .fromGPR64, .toGPR32, .toGPR64, .integer, .float,
      .shuffle32, .shuffleHigh16, .shuffleLow16, .shuffleSingle, .shuffleDouble, .nothing, .loadHigh, .storeHigh, .loadLow,
      .moveLowToHigh, .moveHighToLow:
      true
    case .convertFromGPR, .convertToGPR: flags & MicroOp.hasMemory == 0
    default: sseOp.rawValue >= SSEOp.addsd.rawValue && sseOp.rawValue <= SSEOp.unpackLow64.rawValue
    }
  }
}

extension BlockWriter {
  /// A host instruction by mandatory prefix (0 none, 1 66h, 2 F3h, 3 F2h) and opcode behind 0Fh.
  private mutating func host(_ prefix: UInt32, _ opcode: UInt32, _ x: UInt8, _ rm: HostOperand, size: Int = 4, immediate: UInt8? = nil) {
    let byte: UInt8? = prefix == 0 ? nil : prefix == 1 ? 0x66 : prefix == 2 ? 0xF3 : 0xF2
    asm.modRM(0x0F00 | opcode, x, rm, size: size, immediate: immediate == nil ? 0 : 1, prefix: byte)
    if let immediate { asm.byte(immediate) }
  }

  /// The host's register for a guest's, which an operand names by twice its number.
  func number(_ operand: UInt8) -> UInt8 { (operand & 30) >> 1 }
  private func register(_ operand: UInt8) -> HostOperand { .register(HostRegister(number(operand))) }

  /// Has the guest's register in the host's.
  mutating func ensure(_ operand: UInt8) {
    let number = number(operand)
    guard state.vectors >> UInt16(number) & 1 == 0 else { return }
    host(0, 0x10, number, Self.vector(Int(number)))
    state.vectors |= 1 << UInt16(number)
  }
  /// The host's register holds a new value for the guest's.
  mutating func define(_ operand: UInt8) {
    let bit: UInt16 = 1 << UInt16(number(operand))
    state.vectors |= bit
    state.changedVectors |= bit
  }
  private mutating func change(_ operand: UInt8) {
    ensure(operand)
    define(operand)
  }

  /// False for what is left to a callout.
  mutating func emitSSE(_ o: MicroOpPointer) -> Bool {
    guard o.pointee.isRewrittenSSE else { return false }
    if o.pointee.sseOp == .nothing { return true }
    requireSSE(o)
    let (dst, src) = (o.pointee.dst, o.pointee.src)
    switch o.pointee.sseOp {
    case .ready: return true
    case .load64, .load32, .load128, .load128Aligned, .loadLow, .loadHigh: load(o)
    case .store64, .store32, .store128, .store128Aligned, .storeHigh: store(o)
    case .move128:
      ensure(src)
      host(0, 0x28, number(dst), register(src))
      define(dst)
    case .moveScalar32, .moveScalar64:
      ensure(src)
      change(dst)
      host(o.pointee.sseOp == .moveScalar64 ? 3 : 2, 0x10, number(dst), register(src))
    case .moveLow:
      ensure(src)
      host(2, 0x7E, number(dst), register(src))
      define(dst)
    case .moveLowToHigh, .moveHighToLow:
      ensure(src)
      change(dst)
      host(0, o.pointee.sseOp == .moveLowToHigh ? 0x16 : 0x12, number(dst), register(src))
    case .fromGPR32, .fromGPR64:
      guard let from = operand(src) else { return false }
      host(1, 0x6E, number(dst), from, size: o.pointee.sseOp == .fromGPR64 ? 8 : 4)
      define(dst)
    case .toGPR32, .toGPR64:
      let size = o.pointee.sseOp == .toGPR64 ? 8 : 4
      ensure(src)
      host(1, 0x7E, number(src), .register(Self.a), size: size)
      put(dst, Self.a, size: size)
    case .convertFromGPR, .convertToGPR: return convert(o)
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
  mutating func requireSSE(_ o: MicroOpPointer) {
    guard !state.isSSEReady else { return }
    asm.test(offsets.field(offsets.cr0), 0xC, size: 4)
    interpretInstead(from: asm.jumpAhead(5), o)
    asm.test(offsets.field(offsets.cr4), 0x200, size: 4)
    interpretInstead(from: asm.jumpAhead(4), o)
    state.isSSEReady = true
    host = .none
  }
  /// The guest's MXCSR is in the host's and masks every exception.
  mutating func requireMXCSR(_ o: MicroOpPointer) {
    guard !state.isMXCSRReady else { return }
    asm.alu(7, offsets.field(offsets.mxcsrLoaded), 0, size: 1)
    interpretInstead(from: asm.jumpAhead(4), o)
    state.isMXCSRReady = true
    host = .none
  }

  private mutating func reachVector(_ o: MicroOpPointer, size: Int, aligned: Bool, write: Bool = false) -> Miss? {
    let miss = reach(o, size: size, write: write)
    if aligned {
      findAddress()
      asm.test(.register(Self.b), 15, size: 1)
      interpretInstead(from: asm.jumpAhead(5), o)
    }
    return miss
  }

  private mutating func load(_ o: MicroOpPointer) {
    let dst = o.pointee.dst
    let half = o.pointee.sseOp == .loadLow || o.pointee.sseOp == .loadHigh
    if half { ensure(dst) }
    let size = o.pointee.sseOp == .load64 || half ? 8 : o.pointee.sseOp == .load32 ? 4 : 16
    let miss = reachVector(o, size: size, aligned: o.pointee.sseOp == .load128Aligned)
    let memory = found
    switch o.pointee.sseOp {
    case .load64: host(2, 0x7E, number(dst), memory)
    case .load32: host(2, 0x10, number(dst), memory)
    case .loadLow: host(0, 0x12, number(dst), memory)
    case .loadHigh: host(0, 0x16, number(dst), memory)
    default: host(0, 0x10, number(dst), memory)
    }
    define(dst)
    slowWay(from: miss, o)
  }

  private mutating func store(_ o: MicroOpPointer) {
    let src = o.pointee.src
    ensure(src)
    let size = o.pointee.sseOp == .store32 ? 4 : o.pointee.sseOp == .store64 || o.pointee.sseOp == .storeHigh ? 8 : 16
    let miss = reachVector(o, size: size, aligned: o.pointee.sseOp == .store128Aligned, write: true)
    let memory = found
    switch o.pointee.sseOp {
    case .store32: host(2, 0x11, number(src), memory)
    case .store64: host(0, 0x13, number(src), memory)
    case .storeHigh: host(0, 0x17, number(src), memory)
    default: host(0, 0x11, number(src), memory)
    }
    slowWay(from: miss, o)
  }

  /// The second operand: a register or, behind the jump for what the TLB does not know, memory.
  private mutating func bringSource(_ o: MicroOpPointer) -> (HostOperand, Miss?)? {
    guard o.pointee.flags & MicroOp.hasMemory != 0 else {
      ensure(o.pointee.src)
      return (register(o.pointee.src), nil)
    }
    let detail = SSEDetail(o.pointee.imm)
    guard detail.bytes == 4 || detail.bytes == 8 || detail.bytes == 16 && detail.aligned else { return nil }
    let miss = reachVector(o, size: Int(detail.bytes), aligned: detail.aligned)
    return (found, miss)
  }

  private mutating func shuffle(_ o: MicroOpPointer, _ prefix: UInt32, _ opcode: UInt32) -> Bool {
    if opcode == 0xC6 { ensure(o.pointee.dst) }
    guard let (source, miss) = bringSource(o) else { return false }
    host(prefix, opcode, number(o.pointee.dst), source, immediate: SSEDetail(o.pointee.imm).immediate)
    define(o.pointee.dst)
    slowWay(from: miss, o)
    return true
  }

  /// CVTSI2xx, CVTxx2SI and CVTTxx2SI between registers.
  private mutating func convert(_ o: MicroOpPointer) -> Bool {
    let stub = SSEDetail(o.pointee.imm).stub
    let isWide = stub >= 1056
    let which = isWide ? stub - 1056 : 0
    let prefix = isWide ? 2 + which / 3 : stub >> 8
    let opcode = isWide ? [0x2A, 0x2C, 0x2D][Int(which % 3)] : stub & 0xFF
    let size = isWide ? 8 : 4
    if o.pointee.sseOp == .convertFromGPR {
      guard let from = operand(o.pointee.src) else { return false }
      requireMXCSR(o)
      change(o.pointee.dst)
      host(prefix, opcode, number(o.pointee.dst), from, size: size)
    } else {
      guard o.pointee.dst & 7 == 0 else { return false }
      requireMXCSR(o)
      ensure(o.pointee.src)
      host(prefix, opcode, Self.a.number, register(o.pointee.src), size: size)
      put(o.pointee.dst, Self.a, size: size)
    }
    return true
  }

  /// An operation of two registers, or one and memory, by the host's own instruction.
  private mutating func compute(_ o: MicroOpPointer) -> Bool {
    let detail = SSEDetail(o.pointee.imm)
    let op = o.pointee.sseOp
    let floats = op == .float || op.rawValue >= SSEOp.addsd.rawValue && op.rawValue <= SSEOp.mulps.rawValue
    if floats { requireMXCSR(o) }
    let clears = op == .xor128 && o.pointee.flags & MicroOp.hasMemory == 0 && o.pointee.src == o.pointee.dst
    if clears { define(o.pointee.dst) } else { ensure(o.pointee.dst) }
    guard let (source, miss) = bringSource(o) else { return false }
    if detail.stub >= 1024 {
      // CMPxx with a predicate.
      host((detail.stub - 1024) >> 3, 0xC2, number(o.pointee.dst), source, immediate: UInt8(detail.stub & 7))
    } else {
      host(detail.stub >> 8, detail.stub & 0xFF, number(o.pointee.dst), source)
    }
    define(o.pointee.dst)
    slowWay(from: miss, o)
    return true
  }
}
