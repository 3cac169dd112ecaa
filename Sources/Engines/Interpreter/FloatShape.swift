import CHost

/// What an arithmetic SSE instruction computes, told from its opcode: for what the host cannot be asked with
/// exceptions masked. Unmasked underflow is raised by a tiny result even if it is exact, and with unmasked
/// overflow or underflow PE tells whether the significand was rounded as if exponents had no bounds
/// (SDM 1 4.9.1.4, 4.9.1.5).
struct FloatShape {
  enum Operation { case add, subtract, multiply, divide, narrow }
  let operation: Operation
  let isDouble: Bool
  /// 0 where the instruction is none of these.
  let lanes: Int

  /// `stub` as in `chost_float.h`.
  init(stub: UInt32) {
    let prefix = stub >> 8
    isDouble = prefix & 1 != 0
    let packed = isDouble ? 2 : 4
    switch stub & 0xFF {
    case 0x58: operation = .add
    case 0x59: operation = .multiply
    case 0x5C: operation = .subtract
    case 0x5E: operation = .divide
    default: operation = .narrow
    }
    if prefix > 3 || (operation == .narrow && (stub & 0xFF != 0x5A || !isDouble)) {
      lanes = 0
    } else {
      lanes = prefix < 2 ? packed : 1
    }
  }

  /// The flags to settle with, given those of the masked execution on `a` and `b`, under
  /// an MXCSR that does not mask overflow or underflow.
  func raised(_ masked: UInt32, _ a: XMM, _ b: XMM, mxcsr: UInt32) -> UInt32 {
    guard lanes > 0 else { return masked }
    var raised: UInt32 = 0
    for i in 0..<lanes { raised |= laneFlags(i, a, b, mxcsr) }
    return raised
  }

  /// The flags of one lane by itself.
  private func laneFlags(_ i: Int, _ a: XMM, _ b: XMM, _ mxcsr: UInt32) -> UInt32 {
    let left = lane(i, a)
    let right = lane(i, b)
    var x = XMM(low: left)
    var y = XMM(low: right)
    var control = mxcsr & ~MXCSR.flags | MXCSR.masks
    let unmaskedUnderflow = mxcsr & MXCSR.underflow << 7 == 0
    if unmaskedUnderflow { control &= ~MXCSR.flushToZero }
    chost_sse_float(scalarStub, &x, &y, &control)
    var flags = control & MXCSR.flags
    let tiny =
      operation != .narrow && isDouble
      ? Double(bitPattern: x.low).isSubnormal : Float(bitPattern: UInt32(truncatingIfNeeded: x.low)).isSubnormal
    if tiny && unmaskedUnderflow { flags |= MXCSR.underflow }
    let late = flags & ~(mxcsr >> 7) & (MXCSR.overflow | MXCSR.underflow)
    if late != 0 {
      flags &= ~MXCSR.precision
      if isRounded(left, right, rounding: mxcsr >> 13 & 3) { flags |= MXCSR.precision }
    }
    return flags
  }

  private func lane(_ i: Int, _ value: XMM) -> UInt64 {
    isDouble ? (i == 0 ? value.low : value.high) : UInt64(value.lane(i))
  }

  private var scalarStub: UInt32 {
    let prefix: UInt32 = isDouble ? 3 : 2
    switch operation {
    case .add: return prefix << 8 | 0x58
    case .multiply: return prefix << 8 | 0x59
    case .subtract: return prefix << 8 | 0x5C
    case .divide: return prefix << 8 | 0x5E
    case .narrow: return prefix << 8 | 0x5A
    }
  }

  /// Does the exact result have more bits than the format's significand? The x87 unit answers: its precision
  /// control rounds to the same bits, and its exponents go far beyond. Narrowing needs only a look.
  private func isRounded(_ a: UInt64, _ b: UInt64, rounding: UInt32) -> Bool {
    if operation == .narrow {
      let value = Double(bitPattern: a)
      return value.significandWidth > Float.significandBitCount
    }
    var image = InlineArray<16, UInt64>(repeating: 0)
    let precision: UInt32 = isDouble ? 0x200 : 0
    let masks: UInt32 = 0x7F | precision
    let control: UInt32 = masks | rounding << 10
    // FLD of the first operand, then the operation with the second from memory.
    let load: UInt32 = isDouble ? 552 : 520
    let base: UInt32 = isDouble ? 544 : 512
    let reg: UInt32 =
      switch operation {
      case .add, .narrow: 0
      case .multiply: 1
      case .subtract: 4
      case .divide: 6
      }
    return withUnsafeMutableBytes(of: &image) { bytes -> Bool in
      guard let start = bytes.baseAddress else { return false }
      start.storeBytes(of: control, as: UInt32.self)
      start.storeBytes(of: 0xFFFF, toByteOffset: 8, as: UInt32.self)
      let operand = start + 112
      operand.storeBytes(of: a, as: UInt64.self)
      _ = chost_x87(load, start, operand, 0)
      operand.storeBytes(of: b, as: UInt64.self)
      _ = chost_x87(base + reg, start, operand, 0)
      return start.load(fromByteOffset: 4, as: UInt16.self) & 0x20 != 0
    }
  }
}
