import VMCore
import X86

/// A store as kernels make them into page tables: MOV, XCHG, CMPXCHG, CMPXCHG8B, AND, OR, BTS, BTR, BTC with a memory
/// destination, LOCKed or not. Where it stores is known from the fault; what, is read here.
struct StoreInstruction {
  enum Kind { case move, exchange, compareExchange, compareExchange8B, and, or, bitSet, bitReset, bitComplement }
  private(set) var kind = Kind.move
  /// Bytes written: 1, 4 or 8 (2 with an operand size prefix).
  private(set) var size = 4
  private(set) var length = 0
  /// The source register; nil: `immediate`.
  private var register: GPR?
  private var immediate: UInt64 = 0

  /// Nil for any other instruction.
  init?(_ bytes: [UInt8], is32Bit: Bool = false) {
    func isREX(_ byte: UInt8) -> Bool { byte & 0xF0 == 0x40 && !is32Bit }
    var reader = ByteReader(bytes: bytes)
    var rex: UInt8 = 0
    while let byte = reader.peek, byte == 0xF0 || byte == 0x66 || byte == 0x3E || isREX(byte) {
      if byte == 0x66 { size = 2 }
      rex = isREX(byte) ? byte : 0
      reader.skip(1)
    }
    if rex & 8 != 0 { size = 8 }
    guard let opcode = reader.next() else { return nil }
    let isLong = opcode == 0x0F
    let code = isLong ? reader.next() ?? 0 : opcode
    guard let modRM = reader.next(), modRM >> 6 != 3 else { return nil }
    reader.skipOperand(modRM)
    let source = GPR(rawValue: modRM >> 3 & 7 | (rex & 4) << 1)
    let isKnown = isLong ? setLong(code, modRM, source, &reader) : setShort(code, modRM, source, &reader)
    guard isKnown, !reader.failed else { return nil }
    // Without REX the byte registers 4 to 7 are AH to BH.
    if size == 1, rex == 0, let source, source.rawValue >= 4, register != nil { return nil }
    length = reader.position
  }

  private mutating func setShort(_ code: UInt8, _ modRM: UInt8, _ source: GPR?, _ reader: inout ByteReader) -> Bool {
    let operation = modRM >> 3 & 7
    if code & 1 == 0, code != 0x80, code & 0xFE != 0x82 { size = 1 }
    if code == 0x80 { size = 1 }
    switch code {
    case 0x88, 0x89: (kind, register) = (.move, source)
    case 0x86, 0x87: (kind, register) = (.exchange, source)
    case 0x20, 0x21: (kind, register) = (.and, source)
    case 0x08, 0x09: (kind, register) = (.or, source)
    case 0xC6, 0xC7:
      guard operation == 0 else { return false }
      immediate = reader.signed(min(size, 4))
    case 0x80, 0x81, 0x83:
      guard operation == 1 || operation == 4 else { return false }
      kind = operation == 1 ? .or : .and
      immediate = reader.signed(code == 0x81 ? min(size, 4) : 1)
    default: return false
    }
    return true
  }

  private mutating func setLong(_ code: UInt8, _ modRM: UInt8, _ source: GPR?, _ reader: inout ByteReader) -> Bool {
    switch code {
    case 0xB0: (kind, register, size) = (.compareExchange, source, 1)
    case 0xB1: (kind, register) = (.compareExchange, source)
    case 0xC7 where modRM >> 3 & 7 == 1 && size != 8: (kind, size) = (.compareExchange8B, 8)
    case 0xBA:
      switch modRM >> 3 & 7 {
      case 5: kind = .bitSet
      case 6: kind = .bitReset
      case 7: kind = .bitComplement
      default: return false
      }
      immediate = reader.signed(1)
    default: return false
    }
    return true
  }

  /// What a store leaves: the whole entry, and what changes in registers once it is allowed.
  struct Outcome {
    var new: UInt64
    var result: (register: GPR, value: UInt64)?
    var upperResult: (register: GPR, value: UInt64)?
    var flags: (mask: UInt64, value: UInt64)?

    func finish(_ vcpu: any VCPU) {
      if let result { vcpu.setGPR(result.register, result.value) }
      if let upperResult { vcpu.setGPR(upperResult.register, upperResult.value) }
      guard let flags else { return }
      var state = vcpu.state
      state.rflags = state.rflags & ~flags.mask | flags.value
      vcpu.state = state
    }
  }

  /// On the entry `old`, from its byte `byte` on.
  func carryOut(on old: UInt64, byte: UInt64, _ vcpu: any VCPU) -> Outcome {
    let shift = byte * 8
    let mask: UInt64 = size == 8 ? .max : (1 << UInt64(size * 8)) - 1
    let before = old >> shift & mask
    let source = (register.map { vcpu.gpr($0) } ?? immediate) & mask
    func entry(_ value: UInt64) -> UInt64 { old & ~(mask << shift) | (value & mask) << shift }
    switch kind {
    case .move: return Outcome(new: entry(source))
    case .exchange:
      guard let register else { return Outcome(new: entry(source)) }
      return Outcome(new: entry(source), result: (register, merged(before, into: vcpu.gpr(register))))
    case .compareExchange:
      let accumulator = vcpu.gpr(.rax) & mask
      let flags = Self.flags(ofSubtracting: before, from: accumulator, size)
      if accumulator == before { return Outcome(new: entry(source), flags: flags) }
      return Outcome(new: old, result: (.rax, merged(before, into: vcpu.gpr(.rax))), flags: flags)
    case .compareExchange8B: return exchanged8B(old, vcpu)
    case .and, .or:
      let value = kind == .and ? before & source : before | source
      return Outcome(new: entry(value), flags: (RFLAGS.arithmetic, Self.flags(of: value, size)))
    case .bitSet, .bitReset, .bitComplement:
      let bit = UInt64(1) << (immediate & UInt64(size * 8 - 1))
      let value = kind == .bitSet ? before | bit : kind == .bitReset ? before & ~bit : before ^ bit
      return Outcome(new: entry(value), flags: (RFLAGS.cf, before & bit != 0 ? RFLAGS.cf : 0))
    }
  }

  /// EDX:EAX against the entry: ECX:EBX into it, or it into them.
  private func exchanged8B(_ old: UInt64, _ vcpu: any VCPU) -> Outcome {
    func pair(_ high: GPR, _ low: GPR) -> UInt64 { vcpu.gpr(high) << 32 | vcpu.gpr(low) & 0xFFFF_FFFF }
    guard old == pair(.rdx, .rax) else {
      return Outcome(
        new: old, result: (.rax, old & 0xFFFF_FFFF), upperResult: (.rdx, old >> 32), flags: (RFLAGS.zf, 0))
    }
    return Outcome(new: pair(.rcx, .rbx), flags: (RFLAGS.zf, RFLAGS.zf))
  }

  /// A result in a register: 32 bits clear the upper half, less leaves it.
  private func merged(_ value: UInt64, into old: UInt64) -> UInt64 {
    switch size {
    case 8, 4: value
    case 2: old & ~0xFFFF | value
    default: old & ~0xFF | value
    }
  }

  /// SF, ZF and PF; CF, OF and AF 0.
  private static func flags(of value: UInt64, _ size: Int) -> UInt64 {
    var flags: UInt64 = 0
    if value == 0 { flags |= RFLAGS.zf }
    if value >> UInt64(size * 8 - 1) & 1 != 0 { flags |= RFLAGS.sf }
    if (value & 0xFF).nonzeroBitCount & 1 == 0 { flags |= RFLAGS.pf }
    return flags
  }

  private static func flags(
    ofSubtracting b: UInt64, from a: UInt64, _ size: Int
  ) -> (mask: UInt64, value: UInt64) {
    let mask: UInt64 = size == 8 ? .max : (1 << UInt64(size * 8)) - 1
    let difference = (a &- b) & mask
    var value = flags(of: difference, size)
    if a < b { value |= RFLAGS.cf }
    if (a ^ b ^ difference) & 0x10 != 0 { value |= RFLAGS.af }
    let overflow = (a ^ b) & (a ^ difference)
    if overflow >> UInt64(size * 8 - 1) & 1 != 0 { value |= RFLAGS.of }
    return (RFLAGS.arithmetic, value)
  }
}

/// Instruction bytes in order.
private struct ByteReader {
  let bytes: [UInt8]
  private(set) var position = 0
  private(set) var failed = false

  init(bytes: [UInt8]) { self.bytes = bytes }

  var peek: UInt8? { position < bytes.count ? bytes[position] : nil }

  mutating func next() -> UInt8? {
    defer { position += 1 }
    return peek
  }

  mutating func skip(_ count: Int) { position += count }

  /// SIB and displacement behind a ModR/M byte with a memory operand (SDM 2 2.1.5, 64-bit addresses).
  mutating func skipOperand(_ modRM: UInt8) {
    let (mod, rm) = (modRM >> 6, modRM & 7)
    var displacement = mod == 1 ? 1 : mod == 2 ? 4 : 0
    if rm == 4 {
      let sib = next() ?? 0
      if mod == 0, sib & 7 == 5 { displacement = 4 }
    } else if mod == 0, rm == 5 {
      displacement = 4
    }
    skip(displacement)
  }

  /// A sign-extended immediate of `count` bytes.
  mutating func signed(_ count: Int) -> UInt64 {
    guard position + count <= bytes.count else {
      failed = true
      return 0
    }
    let value = (0..<count).reduce(0) { $0 | UInt64(bytes[position + $1]) << UInt64(8 * $1) }
    position += count
    let shift = UInt64(64 - 8 * count)
    return UInt64(bitPattern: Int64(bitPattern: value << shift) >> Int64(shift))
  }
}
