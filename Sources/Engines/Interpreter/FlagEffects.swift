/// What decides whether flags can be seen after a micro-op.
enum FlagEffect {
  /// Replaces all arithmetic flags, reads none, cannot fault.
  case setsAll
  /// Neither reads nor writes flags, cannot fault.
  case none
  /// Anything else.
  case other
}

extension MicroOp {
  var effectOnFlags: FlagEffect {
    let raw = op.rawValue
    // Register forms of ADD ... CMP, TEST and MOV: the first two of five forms of four sizes.
    if raw < Op.mov8rr.rawValue {
      let family = raw / 20
      let registersOnly = raw % 20 < 8
      let readsCarry = family == 2 || family == 3
      return registersOnly && !readsCarry ? .setsAll : .other
    }
    if raw < Op.mov8rm.rawValue { return .none }
    switch op {
    case .neg8r, .neg16r, .neg32r, .neg64r, .imul32rr, .imul64rr, .imul32rri, .imul64rri: return .setsAll
    case .shl32ri, .shl64ri, .shr32ri, .shr64ri, .sar32ri, .sar64ri: return .setsAll
    case .not8r, .not16r, .not32r, .not64r, .lea16, .lea32, .lea64, .bswap32, .bswap64: return .none
    case .movzx8to32r, .movzx16to32r, .movsx8to32r, .movsx16to32r, .movsx8to64r, .movsx16to64r, .movsx32to64r:
      return .none
    case .cdq, .cqo, .cdqe, .cwde, .xchg32rr, .xchg64rr, .nop: return .none
    case .rotate32, .rotate64, .shiftLeft32, .shiftLeft64, .shiftRight32, .shiftRight64: return .none
    default: return .other
    }
  }

  /// Becomes the form that does the same without flags, if there is one.
  mutating func forgetFlags() {
    switch op {
    case .rol32ri, .ror32ri: op = .rotate32
    case .rol64ri, .ror64ri: op = .rotate64
    case .shl32ri: op = .shiftLeft32
    case .shl64ri: op = .shiftLeft64
    case .shr32ri: op = .shiftRight32
    case .shr64ri: op = .shiftRight64
    case .inc32r: becomeAddressArithmetic(.lea32, 1)
    case .inc64r: becomeAddressArithmetic(.lea64, 1)
    case .dec32r: becomeAddressArithmetic(.lea32, -1)
    case .dec64r: becomeAddressArithmetic(.lea64, -1)
    default: break
    }
  }

  private mutating func becomeAddressArithmetic(_ lea: Op, _ distance: Int64) {
    op = lea
    base = dst
    disp = distance
  }
}
