import CHost
import X86

/// Second-level opcodes of x87. For `host...` forms `imm` is an `X87Detail`; the others address memory as
/// usual.
enum X87Op: UInt8 {
  /// Register form: the host's instruction.
  case hostRegister
  /// Memory operand read by the host's instruction.
  case hostLoad
  /// Memory operand written by the host's instruction.
  case hostStore
  // Frequent and simple ones without the host.
  case load64, loadRegister, exchange, storeRegister
  /// By `X87Quick`, else as the first three: on registers, on ST(0) and memory, memory pushed, ST(0) stored.
  case quickRegister, quickMemory, quickPush, quickStore
  case fwait, initialize, clearExceptions, nothing
  case loadControl, storeControl, storeStatus, storeStatusAX
  case loadEnvironment, storeEnvironment, save, restore
  /// Only the #NM and #MF of waiting instructions, and the #NM of the others.
  case waitingReady, ready
}

extension MicroOp {
  /// `aux` of this family. Every raw value from 0 up is a case, and the translator puts in nothing else.
  @inline(__always) var x87Op: X87Op {
    get { unsafeBitCast(UInt8(truncatingIfNeeded: aux), to: X87Op.self) }
    set { aux = UInt16(newValue.rawValue) }
  }
}

/// What an x87 micro-op carries in `imm`.
struct X87Detail {
  var raw: Int64
  init(_ raw: Int64) { self.raw = raw }
  init(stub: UInt32, bytes: Int, opcode: UInt16, segment: Int, quick: X87Quick? = nil) {
    let low = Int64(stub)
    let size = Int64(bytes) << 16
    let code = Int64(opcode) << 24
    let register = Int64(segment) << 40
    raw = low | size | code | register
    guard let quick else { return }
    let target = Int64(quick.target.rawValue) << 43
    let others: Int64 = (quick.pops ? 1 << 45 : 0) | (quick.compares ? 1 << 46 : 0)
    raw |= target | others | Int64(quick.stub) << 48
  }
  /// Index of the host's instruction (`chost_float.h`).
  var stub: UInt32 { UInt32(truncatingIfNeeded: raw & 0xFFFF) }
  var bytes: Int { Int(raw >> 16 & 0xFF) }
  /// FOP: the low 3 bits of the first opcode byte and the ModRM byte.
  var opcode: UInt16 { UInt16(truncatingIfNeeded: raw >> 24) & 0x7FF }
  /// Segment register of the memory operand.
  var segment: Int { Int(raw >> 40 & 7) }
  /// Where `X87Quick` takes part.
  var target: X87Quick.Target { X87Quick.Target(rawValue: UInt8(raw >> 43 & 3)) ?? .none }
  var pops: Bool { raw >> 45 & 1 != 0 }
  var compares: Bool { raw >> 46 & 1 != 0 }
  var quickStub: UInt32 { UInt32(truncatingIfNeeded: raw >> 48) & 0x7FFF }
}

/// The x87 status word's bits (SDM 1 8.1.3).
enum X87Status {
  static let invalid: UInt16 = 0x01
  static let exceptions: UInt16 = 0x3F
  static let stackFault: UInt16 = 0x40
  static let summary: UInt16 = 0x80
  static let c1: UInt16 = 0x200
  /// C0 to C3.
  static let conditions: UInt16 = 0x4700
  static let top: UInt16 = 0x3800
  static let busy: UInt16 = 0x8000
}

/// The 108 bytes of FSAVE in the 32-bit protected-mode format, and 20 more that hold memory operands.
private typealias X87Image = InlineArray<16, UInt64>

extension UnsafeMutablePointer<CPU> {
  /// The status word with TOP in place.
  var fpuStatusWord: UInt16 { pointee.fpuStatus & ~X87Status.top | UInt16(pointee.fpuTop & 7) << 11 }

  /// The tag word with each full register told as valid, zero or special (SDM 1 8.1.7): inside, only empty
  /// (3) and full (0) are kept.
  var fpuTagWord: UInt16 {
    var tags: UInt16 = 0
    for i in 0..<8 {
      let shift = UInt16(i) * 2
      tags |= tag(physical: i) << shift
    }
    return tags
  }
  private func tag(physical i: Int) -> UInt16 {
    if pointee.fpuTag >> (UInt16(i) * 2) & 3 == 3 { return 3 }
    let exponent = pointee.fpuSignExponent[i] & 0x7FFF
    let significand = pointee.fpuSignificand[i]
    if exponent == 0 && significand == 0 { return 1 }
    if exponent == 0 || exponent == 0x7FFF || significand >> 63 == 0 { return 2 }
    return 0
  }
  /// Takes a tag word as FRSTOR gives it: empty or not is all that is believed.
  func setTagWord(_ word: UInt16) {
    let empty = word & word >> 1 & 0x5555
    pointee.fpuTag = empty | empty << 1
  }

  func setStatusWord(_ word: UInt16) {
    pointee.fpuTop = UInt8(word >> 11 & 7)
    pointee.fpuStatus = word & ~X87Status.top
    updateSummary()
  }
  /// ES and B: an exception is pending that the control word does not mask.
  func updateSummary() {
    let pending = pointee.fpuStatus & ~pointee.fpuControl & X87Status.exceptions != 0
    pointee.fpuStatus &= ~(X87Status.summary | X87Status.busy)
    if pending { pointee.fpuStatus |= X87Status.summary | X87Status.busy }
  }

  /// #NM of x87 instructions (SDM 3A 2.5).
  @inline(__always) func requireFPU() throws(Stop) {
    if pointee.cr0 & (CR0.em | CR0.ts) != 0 { throw raise(.nm) }
  }
  /// #MF before a waiting instruction. Without CR0.NE a PC would signal IRQ 13 through FERR#; that wire is
  /// not there, so #MF is raised either way.
  @inline(__always) func requireNoFPUException() throws(Stop) {
    if pointee.fpuStatus & ~pointee.fpuControl & X87Status.exceptions != 0 { throw raise(.mf) }
  }

  /// Executes a micro-op of the family `Op.x87`.
  func x87(_ o: MicroOpPointer) throws(Stop) {
    let op = o.pointee.x87Op
    switch op {
    case .fwait:
      if pointee.cr0 & (CR0.mp | CR0.ts) == CR0.mp | CR0.ts { throw raise(.nm) }
      try requireNoFPUException()
    case .hostRegister, .hostLoad, .hostStore, .load64, .loadRegister, .exchange, .storeRegister, .quickRegister,
      .quickMemory, .quickPush, .quickStore:
      try requireFPU()
      try requireNoFPUException()
      try x87Data(o, op)
    case .waitingReady:
      try requireFPU()
      try requireNoFPUException()
    case .ready: try requireFPU()
    case .loadControl, .loadEnvironment, .restore:
      try requireFPU()
      try requireNoFPUException()
      try x87Control(o, op)
    default:
      try requireFPU()
      try x87Control(o, op)
    }
  }

  /// Remembers where the last non-control instruction was and what it addressed (SDM 1 8.1.8). The code and
  /// data selectors are not kept: CPUID says so by "deprecates FPU CS and DS".
  @inline(__always) private func recordPointers(_ o: MicroOpPointer) {
    let detail = X87Detail(o.pointee.imm)
    pointee.fpuInstructionPointer = pointee.rip &- UInt64(o.pointee.length)
    pointee.fpuOpcode = detail.opcode
  }
  func recordData(_ linear: UInt64, _ detail: X87Detail) {
    let long = isLong64
    let base: UInt64
    switch detail.segment {
    case 4: base = self[slot: Slot.fsBase]
    case 5: base = self[slot: Slot.gsBase]
    default: base = long ? 0 : pointee.segments[detail.segment].base
    }
    let offset = linear &- base
    pointee.fpuDataPointer = long ? offset : offset & 0xFFFF_FFFF
  }

  private func x87Data(_ o: MicroOpPointer, _ op: X87Op) throws(Stop) {
    switch op {
    case .hostLoad: try hostLoad(o)
    case .hostStore: try hostStore(o)
    case .load64:
      let at = address(o)
      let value: UInt64 = try load(at)
      if !quickLoad(value) { return try hostLoad(o) }
      recordData(at, X87Detail(o.pointee.imm))
      recordPointers(o)
    case .loadRegister, .exchange, .storeRegister:
      if !quickMove(op, Int(o.pointee.src)) { hostRegister(o) }
      recordPointers(o)
    case .quickRegister:
      if !quickRegister(o) { hostRegister(o) }
      recordPointers(o)
    case .quickMemory:
      if try quickMemory(o) { recordPointers(o) } else { try hostLoad(o) }
    case .quickPush:
      if try quickPush(o) { recordPointers(o) } else { try hostLoad(o) }
    case .quickStore:
      if try quickStore(o) { recordPointers(o) } else { try hostStore(o) }
    default:
      hostRegister(o)
      recordPointers(o)
    }
  }

  func isEmpty(physical i: Int) -> Bool { pointee.fpuTag >> (UInt16(i) * 2) & 3 == 3 }
  func setFull(physical i: Int) { pointee.fpuTag &= ~(3 << (UInt16(i) * 2)) }

  /// Pushes a double that is normal or zero onto a stack with room; false where more is to be done.
  private func quickLoad(_ value: UInt64) -> Bool {
    let exponent = UInt16(truncatingIfNeeded: value >> 52) & 0x7FF
    let top = Int((pointee.fpuTop &- 1) & 7)
    let isZero = value << 1 == 0
    guard isEmpty(physical: top), isZero || (exponent != 0 && exponent != 0x7FF) else { return false }
    let sign = UInt16(truncatingIfNeeded: value >> 48) & 0x8000
    pointee.fpuTop = UInt8(top)
    setFull(physical: top)
    pointee.fpuStatus &= ~X87Status.c1
    pointee.fpuSignificand[top] = isZero ? 0 : 1 << 63 | value << 11
    pointee.fpuSignExponent[top] = isZero ? sign : sign | (exponent + 0x3C00)
    return true
  }

  /// FLD ST(i), FXCH and FST(P) ST(i) where no stack fault can come of it; false where one would.
  private func quickMove(_ op: X87Op, _ i: Int) -> Bool {
    let top = Int(pointee.fpuTop)
    let other = (top + i) & 7
    switch op {
    case .loadRegister:
      let new = (top - 1) & 7
      guard !isEmpty(physical: other), isEmpty(physical: new) else { return false }
      pointee.fpuSignificand[new] = pointee.fpuSignificand[other]
      pointee.fpuSignExponent[new] = pointee.fpuSignExponent[other]
      pointee.fpuTop = UInt8(new)
      setFull(physical: new)
    case .exchange:
      guard !isEmpty(physical: other), !isEmpty(physical: top) else { return false }
      pointee.fpuSignificand.swapAt(top, other)
      pointee.fpuSignExponent.swapAt(top, other)
    default:
      guard !isEmpty(physical: top) else { return false }
      pointee.fpuSignificand[other] = pointee.fpuSignificand[top]
      pointee.fpuSignExponent[other] = pointee.fpuSignExponent[top]
      setFull(physical: other)
      pointee.fpuTag |= 3 << (UInt16(top) * 2)
      pointee.fpuTop = UInt8((top + 1) & 7)
    }
    pointee.fpuStatus &= ~X87Status.c1
    return true
  }

  // MARK: - The host's instruction on the whole x87 state

  private func fill(_ image: UnsafeMutableRawPointer) {
    image.storeBytes(of: UInt32(pointee.fpuControl), as: UInt32.self)
    image.storeBytes(of: UInt32(fpuStatusWord), toByteOffset: 4, as: UInt32.self)
    image.storeBytes(of: UInt32(pointee.fpuTag), toByteOffset: 8, as: UInt32.self)
    for offset in [12, 16, 20, 24] { image.storeBytes(of: 0, toByteOffset: offset, as: UInt32.self) }
    for i in 0..<8 {
      let register = (Int(pointee.fpuTop) + i) & 7
      image.storeBytes(of: pointee.fpuSignificand[register], toByteOffset: 28 + i * 10, as: UInt64.self)
      image.storeBytes(of: pointee.fpuSignExponent[register], toByteOffset: 36 + i * 10, as: UInt16.self)
    }
  }

  private func take(_ image: UnsafeMutableRawPointer) {
    pointee.fpuControl = image.load(as: UInt16.self)
    let status = image.load(fromByteOffset: 4, as: UInt16.self)
    pointee.fpuTop = UInt8(status >> 11 & 7)
    pointee.fpuStatus = status & ~X87Status.top
    setTagWord(image.load(fromByteOffset: 8, as: UInt16.self))
    for i in 0..<8 {
      let register = (Int(pointee.fpuTop) + i) & 7
      pointee.fpuSignificand[register] = image.loadUnaligned(fromByteOffset: 28 + i * 10, as: UInt64.self)
      pointee.fpuSignExponent[register] = image.loadUnaligned(fromByteOffset: 36 + i * 10, as: UInt16.self)
    }
  }

  private func hostRegister(_ o: MicroOpPointer) {
    var image = X87Image(repeating: 0)
    let flags = materializeFlags() & RFLAGS.arithmetic
    let after = withUnsafeMutableBytes(of: &image) { bytes -> UInt64 in
      guard let base = bytes.baseAddress else { return flags }
      fill(base)
      let after = chost_x87(X87Detail(o.pointee.imm).stub, base, base + 108, flags)
      take(base)
      return after
    }
    pointee.rflags = pointee.rflags & ~RFLAGS.arithmetic | after & RFLAGS.arithmetic
  }

  private func hostLoad(_ o: MicroOpPointer) throws(Stop) {
    let detail = X87Detail(o.pointee.imm)
    let at = address(o)
    let low = try narrowLoad(at, UInt8(min(detail.bytes, 8)))
    var high: UInt16 = 0
    if detail.bytes == 10 { high = try load((at &+ 8) & pointee.addressMask) }
    var image = X87Image(repeating: 0)
    withUnsafeMutableBytes(of: &image) { bytes in
      guard let base = bytes.baseAddress else { return }
      fill(base)
      (base + 108).storeBytes(of: low, as: UInt64.self)
      (base + 116).storeBytes(of: high, as: UInt16.self)
      _ = chost_x87(detail.stub, base, base + 108, 0)
      take(base)
    }
    recordData(at, detail)
    recordPointers(o)
  }

  /// A store is done on a copy of the state, and committed once memory has taken the value. An unmasked
  /// exception can keep the instruction from storing; that is told by running it over two different
  /// backgrounds.
  private func hostStore(_ o: MicroOpPointer) throws(Stop) {
    let detail = X87Detail(o.pointee.imm)
    let at = address(o)
    let upper = (at &+ 8) & pointee.addressMask
    try probeWrite(at, min(detail.bytes, 8))
    if detail.bytes == 10 { try probeWrite(upper, 2) }
    var image = X87Image(repeating: 0)
    let (low, high, stores) = runStore(detail, &image, background: 0x55)
    if stores {
      if detail.bytes == 10 { try store(upper, high) }
      switch detail.bytes {
      case 2: try store(at, UInt16(truncatingIfNeeded: low))
      case 4: try store(at, UInt32(truncatingIfNeeded: low))
      default: try store(at, low)
      }
    }
    withUnsafeMutableBytes(of: &image) { bytes in
      if let base = bytes.baseAddress { take(base) }
    }
    recordData(at, detail)
    recordPointers(o)
  }

  private func runStore(
    _ detail: X87Detail, _ image: inout X87Image, background: UInt8
  ) -> (low: UInt64, high: UInt16, stores: Bool) {
    let (low, high, pending) = runStoreOnce(detail, &image, background: background)
    guard pending else { return (low, high, true) }
    var other = X87Image(repeating: 0)
    let (low2, high2, _) = runStoreOnce(detail, &other, background: ~background)
    return (low, high, low == low2 && high == high2)
  }

  private func runStoreOnce(
    _ detail: X87Detail, _ image: inout X87Image, background: UInt8
  ) -> (low: UInt64, high: UInt16, pending: Bool) {
    withUnsafeMutableBytes(of: &image) { bytes -> (UInt64, UInt16, Bool) in
      guard let base = bytes.baseAddress else { return (0, 0, false) }
      fill(base)
      var operand = base + 108
      let count = detail.bytes
      for i in 0..<count { (operand + i).storeBytes(of: background, as: UInt8.self) }
      _ = chost_x87(detail.stub, base, operand, 0)
      let pending = base.load(fromByteOffset: 4, as: UInt16.self) & X87Status.summary != 0
      var value: (UInt64, UInt16) = (0, 0)
      value.0 = operand.loadUnaligned(as: UInt64.self)
      operand += 8
      if count == 10 { value.1 = operand.loadUnaligned(as: UInt16.self) }
      if count < 8 { value.0 &= (1 << UInt64(count * 8)) - 1 }
      return (value.0, value.1, pending)
    }
  }
}
