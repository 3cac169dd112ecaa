import VMCore
import X86

/// Whether a conditional jump at hand will be taken, on the registers as they are (SDM 1 appendix B).
package enum BranchOutlook {
  /// Nil for what is no conditional jump.
  package static func isTaken(_ instruction: DecodedInstruction, _ state: VCPUState) -> Bool? {
    guard instruction.isConditional else { return nil }
    let flags = state.rflags
    let cf = flags & RFLAGS.cf != 0
    let zf = flags & RFLAGS.zf != 0
    let sf = flags & RFLAGS.sf != 0
    let of = flags & RFLAGS.of != 0
    let pf = flags & RFLAGS.pf != 0
    switch instruction.mnemonic {
    case "jo": return of
    case "jno": return !of
    case "jb", "jc": return cf
    case "jnb", "jnc": return !cf
    case "jz": return zf
    case "jnz": return !zf
    case "jbe": return cf || zf
    case "jnbe": return !cf && !zf
    case "js": return sf
    case "jns": return !sf
    case "jp": return pf
    case "jnp": return !pf
    case "jl": return sf != of
    case "jnl": return sf == of
    case "jle": return zf || sf != of
    case "jnle": return !zf && sf == of
    default: return counted(instruction, state, zf)
    }
  }

  /// LOOP and J(E)CXZ, whose counter is as wide as the address (SDM 2A, LOOP).
  private static func counted(_ instruction: DecodedInstruction, _ state: VCPUState, _ zf: Bool) -> Bool? {
    let bits: Int
    switch instruction.mnemonic {
    case "jcxz": return state[.rcx] & 0xFFFF == 0
    case "jecxz": return state[.rcx] & 0xFFFF_FFFF == 0
    case "jrcxz": return state[.rcx] == 0
    case "loop", "loope", "loopne":
      let isShort = instruction.bytes.contains(0x67)
      bits = state.mode.codeBits == 64 ? (isShort ? 32 : 64) : (state.mode.codeBits == 32) != isShort ? 32 : 16
    default: return nil
    }
    let goesOn = (state[.rcx] &- 1) & VCPUState.mask(bits) != 0
    switch instruction.mnemonic {
    case "loope": return goesOn && zf
    case "loopne": return goesOn && !zf
    default: return goesOn
    }
  }

  /// What the instruction at hand will do besides its registers: `reads ds:1234 = 004b`, `jumps`, `falls through`.
  package static func outlook(
    _ instruction: DecodedInstruction, _ state: VCPUState, _ memory: GuestMemory, symbols: SymbolTable
  ) -> String {
    let touches = NextTouch.all(of: instruction, state: state, memory: memory).map { $0.text(symbols: symbols) }
    let jump = isTaken(instruction, state).map { $0 ? "will jump" : "will not jump" }
    return (touches + (jump.map { [$0] } ?? [])).joined(separator: ", ")
  }
}
