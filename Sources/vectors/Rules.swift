/// Where a processor may differ from the recorded 80286 and still be right: undefined flags, and what
/// changed between the 286 and later processors.
enum Rules {
  static let cf: UInt16 = 1 << 0
  static let pf: UInt16 = 1 << 2
  static let af: UInt16 = 1 << 4
  static let zf: UInt16 = 1 << 6
  static let sf: UInt16 = 1 << 7
  static let of: UInt16 = 1 << 11

  /// Flags the manuals leave undefined after this instruction (SDM 2; SDM 1 appendix A).
  static func undefinedFlags(_ vector: Vector, mnemonic: String) -> UInt16 {
    switch mnemonic {
    case "and", "or", "xor", "test": return af
    case "mul", "imul": return sf | zf | af | pf
    case "div", "idiv": return cf | of | sf | zf | af | pf
    case "aaa", "aas": return of | sf | zf | pf
    case "aam", "aad": return of | af | cf
    case "daa", "das": return of
    case "shl", "sal", "shr", "sar":
      let count = shiftCount(vector)
      if count == 0 { return 0 }
      let beyond = count >= operandBits(vector) ? cf : 0
      return af | (count == 1 ? 0 : of) | beyond
    case "rol", "ror", "rcl", "rcr":
      return shiftCount(vector) <= 1 ? 0 : of
    default: return 0
    }
  }

  /// The opcode behind the prefixes, and where it lies.
  private static func opcode(_ vector: Vector) -> (value: UInt8, at: Int) {
    let prefixes: Set<UInt8> = [0x26, 0x2E, 0x36, 0x3E, 0xF0, 0xF2, 0xF3]
    let at = vector.bytes.firstIndex { !prefixes.contains($0) } ?? 0
    return (vector.bytes.isEmpty ? 0 : vector.bytes[at], at)
  }

  private static func operandBits(_ vector: Vector) -> Int { opcode(vector).value & 1 == 0 ? 8 : 16 }

  private static func shiftCount(_ vector: Vector) -> Int {
    let code = opcode(vector).value
    switch code {
    case 0xC0, 0xC1:
      // The immediate is the last byte before the HLT that ends the test.
      return vector.bytes.count >= 2 ? Int(vector.bytes[vector.bytes.count - 2] & 31) : 0
    case 0xD2, 0xD3: return Int((vector.before[2] ?? 0) & 31)
    default: return 1
    }
  }

  /// A reason why later processors do something else than a 286 here, or nil.
  static func changedSince286(_ vector: Vector, mnemonic: String) -> String? {
    let (code, at) = opcode(vector)
    if vector.bytes.count - 1 > 10 { return "the 286 refuses instructions over 10 bytes" }
    if vector.bytes.prefix(at).contains(0xF0) && !lockable(vector, at) {
      return "since the 386, LOCK before what cannot be locked raises #UD"
    }
    switch code {
    case 0x0F: return "0F encodings grew since the 286"
    case 0x6C...0x6F, 0xA4...0xA7, 0xAA...0xAF:
      return vector.exception == nil ? nil : "the 286 leaves SI and DI advanced where a string element faults"
    case 0x8C, 0x8E:
      let register = at + 1 < vector.bytes.count ? vector.bytes[at + 1] >> 3 & 7 : 0
      return register == 4 || register == 5 ? "the 386 brought FS and GS" : nil
    default: return nil
    }
  }

  /// Instructions that read, change and write memory in one go (SDM 2A LOCK).
  private static func lockable(_ vector: Vector, _ at: Int) -> Bool {
    let code = vector.bytes[at]
    guard at + 1 < vector.bytes.count else { return false }
    let modRM = vector.bytes[at + 1]
    if modRM >= 0xC0 { return false }
    let digit = modRM >> 3 & 7
    switch code {
    case 0x00...0x37 where code & 7 <= 1: return true
    case 0x80...0x83: return digit != 7
    case 0x86, 0x87: return true
    case 0xF6, 0xF7: return digit == 2 || digit == 3
    case 0xFE, 0xFF: return digit <= 1
    default: return false
    }
  }
}
