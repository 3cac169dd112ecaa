/// A host general-purpose register, by its number in encodings.
struct HostRegister: Equatable {
  var number: UInt8
  init(_ number: UInt8) { self.number = number }
  static let rax = Self(0), rcx = Self(1), rdx = Self(2), rbx = Self(3), rsp = Self(4), rbp = Self(5)
  static let rsi = Self(6), rdi = Self(7), r8 = Self(8), r9 = Self(9), r10 = Self(10), r11 = Self(11)
  static let r12 = Self(12), r13 = Self(13), r14 = Self(14), r15 = Self(15)
}

/// The r/m operand of an instruction.
enum HostOperand {
  case register(HostRegister)
  /// [base + index * 2^scale + displacement]
  case memory(HostRegister, index: HostRegister? = nil, scale: UInt8 = 0, displacement: Int32 = 0)
  /// [RIP + distance to this offset of the code buffer]
  case code(Int)
}

/// The host's conditions, by their codes (SDM 2 appendix B.1.4.7): the guest's are the same.
typealias Condition = UInt8

/// Writes host instructions (SDM 2) into the code buffer, from an offset on.
///
/// Invariant for the unsafe part: who makes one has seen to it that there is room for all it will write.
struct Assembler {
  /// Of the whole buffer; `count` is the offset of the next byte.
  let start: UnsafeMutablePointer<UInt8>
  private(set) var count: Int
  /// The host registers, by bits of their numbers, that an instruction has named since this was emptied for anything but
  /// the base of an address: all by a call. A vector register passes for the general one of its number.
  var named: UInt16 = 0

  init(_ start: UnsafeMutablePointer<UInt8>, at offset: Int) {
    self.start = start
    count = offset
  }

  mutating func byte(_ value: UInt8) {
    start[count] = value
    count += 1
  }
  mutating func word32(_ value: Int32) {
    UnsafeMutableRawPointer(start + count).storeBytes(of: value, as: Int32.self)
    count += 4
  }
  mutating func word64(_ value: UInt64) {
    UnsafeMutableRawPointer(start + count).storeBytes(of: value, as: UInt64.self)
    count += 8
  }

  // MARK: The general form

  /// Opcode with ModRM. `opcode` up to FFh is one byte; 0F00h and above has the 0Fh before it. `size` is the
  /// operand's in bytes; `byteRM` says that only the r/m operand is a byte (MOVZX, SETcc). `immediate` is how many
  /// bytes follow, which RIP-relative operands must know.
  mutating func modRM(
    _ opcode: UInt32, _ reg: UInt8, _ rm: HostOperand, size: Int, byteRM: Bool = false, immediate: Int = 0,
    prefix: UInt8? = nil
  ) {
    var rex: UInt8 = size == 8 ? 0x48 : 0x40
    if reg & 8 != 0 { rex |= 4 }
    var needed = size == 1 && reg >= 4
    name(reg)
    switch rm {
    case .register(let r):
      name(r.number)
      if r.number & 8 != 0 { rex |= 1 }
      if (size == 1 || byteRM) && r.number >= 4 { needed = true }
    case .memory(let base, let index, _, _):
      if base.number & 8 != 0 { rex |= 1 }
      if let index {
        name(index.number)
        if index.number & 8 != 0 { rex |= 2 }
      }
    case .code: break
    }
    var head = Head()
    if size == 2 { head.put(0x66) }
    if let prefix { head.put(prefix) }
    if rex != 0x40 || needed { head.put(rex) }
    if opcode > 0xFF { head.put(0x0F) }
    head.put(UInt8(truncatingIfNeeded: opcode))
    put(head)
    operand(reg & 7, rm, immediate)
  }

  mutating func name(_ number: UInt8) { named |= 1 &<< UInt16(number & 15) }

  /// Bytes that are written together.
  private struct Head {
    var word: UInt64 = 0
    var bits: UInt64 = 0
    mutating func put(_ byte: UInt8) {
      word |= UInt64(byte) &<< bits
      bits &+= 8
    }
  }
  /// There is room behind the code for what is written in vain.
  private mutating func put(_ head: Head) {
    UnsafeMutableRawPointer(start + count).storeBytes(of: head.word, as: UInt64.self)
    count &+= Int(head.bits &>> 3)
  }

  /// ModRM and what follows it, for `reg` below 8.
  mutating func operand(_ reg: UInt8, _ rm: HostOperand, _ immediate: Int) {
    let middle = reg << 3
    switch rm {
    case .register(let r): byte(0xC0 | middle | r.number & 7)
    case .code(let target):
      byte(middle | 5)
      word32(Int32(target - (count + 4 + immediate)))
    case .memory(let base, let index, let scale, let displacement):
      let short = displacement >= -128 && displacement <= 127
      // RBP and R13 as a base always have a displacement.
      let mod: UInt8 = displacement == 0 && base.number & 7 != 5 ? 0 : short ? 0x40 : 0x80
      var head = Head()
      if let index {
        head.put(mod | middle | 4)
        head.put(scale << 6 | (index.number & 7) << 3 | base.number & 7)
      } else if base.number & 7 == 4 {
        head.put(mod | middle | 4)
        head.put(0x24)
      } else {
        head.put(mod | middle | base.number & 7)
      }
      put(head)
      if mod != 0 { self.immediate(displacement, mod == 0x40 ? 1 : 4) }
    }
  }

  // MARK: Instructions

  /// The eight operations of opcode 80h to 83h: 0 ADD, 1 OR, 2 ADC, 3 SBB, 4 AND, 5 SUB, 6 XOR, 7 CMP.
  mutating func alu(_ code: UInt8, _ rm: HostOperand, _ reg: HostRegister, size: Int) {
    modRM(UInt32(code << 3 | (size == 1 ? 0 : 1)), reg.number, rm, size: size)
  }
  mutating func alu(_ code: UInt8, _ reg: HostRegister, _ rm: HostOperand, size: Int) {
    modRM(UInt32(code << 3 | (size == 1 ? 2 : 3)), reg.number, rm, size: size)
  }
  mutating func alu(_ code: UInt8, _ rm: HostOperand, _ value: Int32, size: Int) {
    let short = value >= -128 && value <= 127
    let width = size == 1 || short ? 1 : min(size, 4)
    modRM(size == 1 ? 0x80 : short ? 0x83 : 0x81, code, rm, size: size, immediate: width)
    immediate(value, width)
  }
  private mutating func immediate(_ value: Int32, _ width: Int) {
    UnsafeMutableRawPointer(start + count).storeBytes(of: value, as: Int32.self)
    count += width
  }
  mutating func test(_ rm: HostOperand, _ reg: HostRegister, size: Int) {
    modRM(size == 1 ? 0x84 : 0x85, reg.number, rm, size: size)
  }
  mutating func test(_ rm: HostOperand, _ value: Int32, size: Int) {
    modRM(size == 1 ? 0xF6 : 0xF7, 0, rm, size: size, immediate: min(size, 4))
    immediate(value, min(size, 4))
  }

  mutating func move(_ to: HostRegister, _ from: HostOperand, size: Int) {
    modRM(size == 1 ? 0x8A : 0x8B, to.number, from, size: size)
  }
  mutating func move(_ to: HostOperand, _ from: HostRegister, size: Int) {
    modRM(size == 1 ? 0x88 : 0x89, from.number, to, size: size)
  }
  /// Stores an immediate, sign-extended to 8 bytes.
  mutating func store(_ to: HostOperand, _ value: Int32, size: Int) {
    modRM(size == 1 ? 0xC6 : 0xC7, 0, to, size: size, immediate: min(size, 4))
    immediate(value, min(size, 4))
  }
  /// A whole register, by the shortest form. Leaves the flags alone.
  mutating func load(_ to: HostRegister, _ value: UInt64) {
    name(to.number)
    if let short = UInt32(exactly: value) {
      if to.number & 8 != 0 { byte(0x41) }
      byte(0xB8 | to.number & 7)
      word32(Int32(bitPattern: short))
    } else if let signed = Int32(exactly: Int64(bitPattern: value)) {
      modRM(0xC7, 0, .register(to), size: 8)
      word32(signed)
    } else {
      byte(to.number & 8 != 0 ? 0x49 : 0x48)
      byte(0xB8 | to.number & 7)
      word64(value)
    }
  }
  /// Zero-extends 1, 2, 4 or 8 bytes to the whole register.
  mutating func extend(_ to: HostRegister, _ from: HostOperand, size: Int) {
    switch size {
    case 1: modRM(0x0FB6, to.number, from, size: 4, byteRM: true)
    case 2: modRM(0x0FB7, to.number, from, size: 4)
    default: move(to, from, size: size)
    }
  }
  /// Sign-extends 1, 2 or 4 bytes to `size`.
  mutating func extendSigned(_ to: HostRegister, _ from: HostOperand, from width: Int, size: Int) {
    switch width {
    case 1: modRM(0x0FBE, to.number, from, size: size, byteRM: true)
    case 2: modRM(0x0FBF, to.number, from, size: size)
    default: modRM(0x63, to.number, from, size: 8)
    }
  }
  mutating func lea(_ to: HostRegister, _ from: HostOperand, size: Int) { modRM(0x8D, to.number, from, size: size) }

  /// The group of opcode C1h: 0 ROL, 1 ROR, 4 SHL, 5 SHR, 7 SAR.
  mutating func shift(_ code: UInt8, _ rm: HostOperand, by count: UInt8, size: Int) {
    modRM(size == 1 ? 0xC0 : 0xC1, code, rm, size: size, immediate: 1)
    byte(count)
  }
  /// RORX of 32 bits (BMI2): leaves the source and the flags.
  mutating func rotateRight(_ to: HostRegister, _ from: HostRegister, by count: UInt8) {
    name(to.number)
    name(from.number)
    byte(0xC4)
    byte((to.number & 8 == 0 ? 0x80 : 0) | 0x40 | (from.number & 8 == 0 ? 0x20 : 0) | 3)
    byte(0x7B)
    byte(0xF0)
    operand(to.number & 7, .register(from), 1)
    byte(count)
  }
  /// Bits `count` to 31 of `from` at the lower end of `to`; what is above them is anything.
  mutating func bits(from count: UInt8, of from: HostRegister, into to: HostRegister) {
    if HostLayout.hasRORX { return rotateRight(to, from, by: count) }
    move(to, .register(from), size: 4)
    shift(5, .register(to), by: count, size: 4)
  }
  /// The same by CL.
  mutating func shiftByCL(_ code: UInt8, _ rm: HostOperand, size: Int) { modRM(size == 1 ? 0xD2 : 0xD3, code, rm, size: size) }
  /// The group of opcode F7h: 2 NOT, 3 NEG.
  mutating func unary(_ code: UInt8, _ rm: HostOperand, size: Int) {
    modRM(size == 1 ? 0xF6 : 0xF7, code, rm, size: size)
  }
  /// INC (0) or DEC (1): leaves CF.
  mutating func step(_ code: UInt8, _ rm: HostOperand, size: Int) {
    modRM(size == 1 ? 0xFE : 0xFF, code, rm, size: size)
  }
  mutating func multiply(_ to: HostRegister, _ rm: HostOperand, size: Int) { modRM(0x0FAF, to.number, rm, size: size) }
  mutating func multiply(_ to: HostRegister, _ rm: HostOperand, _ value: Int32, size: Int) {
    modRM(0x69, to.number, rm, size: size, immediate: 4)
    word32(value)
  }
  mutating func swap(_ reg: HostRegister, size: Int) {
    name(reg.number)
    if size == 8 || reg.number & 8 != 0 { byte((size == 8 ? 0x48 : 0x40) | (reg.number & 8) >> 3) }
    byte(0x0F)
    byte(0xC8 | reg.number & 7)
  }
  mutating func set(_ condition: Condition, _ rm: HostOperand) {
    modRM(0x0F90 | UInt32(condition), 0, rm, size: 4, byteRM: true)
  }
  mutating func conditionalMove(_ condition: Condition, _ to: HostRegister, _ from: HostOperand, size: Int) {
    modRM(0x0F40 | UInt32(condition), to.number, from, size: size)
  }

  mutating func push(_ reg: HostRegister) {
    if reg.number & 8 != 0 { byte(0x41) }
    byte(0x50 | reg.number & 7)
  }
  mutating func pop(_ reg: HostRegister) {
    name(reg.number)
    if reg.number & 8 != 0 { byte(0x41) }
    byte(0x58 | reg.number & 7)
  }
  mutating func ret() { byte(0xC3) }
  mutating func call(_ rm: HostOperand) {
    named = .max
    modRM(0xFF, 2, rm, size: 4)
  }
  mutating func jump(_ rm: HostOperand) { modRM(0xFF, 4, rm, size: 4) }

  // MARK: Jumps within the code buffer

  /// To an offset already known.
  mutating func jump(to target: Int) {
    byte(0xE9)
    word32(Int32(target - (count + 4)))
  }
  mutating func call(to target: Int) {
    named = .max
    byte(0xE8)
    word32(Int32(target - (count + 4)))
  }
  /// A jump forwards; `land` says later where to.
  mutating func jumpAhead(_ condition: Condition? = nil) -> Int {
    if let condition {
      byte(0x0F)
      byte(0x80 | condition)
    } else {
      byte(0xE9)
    }
    word32(0)
    return count
  }
  mutating func jump(_ condition: Condition, to target: Int) {
    byte(0x0F)
    byte(0x80 | condition)
    word32(Int32(target - (count + 4)))
  }
  /// Lets a jump made by `jumpAhead` come out here.
  mutating func land(_ from: Int) { land(from, at: count) }
  mutating func land(_ from: Int, at target: Int) {
    UnsafeMutableRawPointer(start + from - 4).storeBytes(of: Int32(target - from), as: Int32.self)
  }
}
