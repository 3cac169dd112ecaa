import VMCore
import X86

/// Registers in words, for panes and `info` commands.
package enum RegisterDescription {
  /// Every named bit from high to low, upper case where set, lower where clear; wider fields with their value:
  /// `pg cd nw am wp ne ET ts em mp pe`, `nt IOPL0 of df IF tf sf ZF af PF cf`.
  package static func bits(_ value: UInt64, _ names: [BitName]) -> String {
    names.sorted { $0.bit > $1.bit }.map { name in
      let field = value >> UInt64(name.bit) & VCPUState.mask(name.width)
      if name.width > 1 { return name.name.uppercased() + String(field) }
      return field != 0 ? name.name.uppercased() : name.name
    }.joined(separator: " ")
  }

  /// Only the bits that are set, high to low: `PG WP PE`; `none` where there is none.
  package static func setBits(_ value: UInt64, _ names: [BitName]) -> String {
    let set = names.sorted { $0.bit > $1.bit }.filter { value >> UInt64($0.bit) & VCPUState.mask($0.width) != 0 }
    return set.isEmpty ? "none" : set.map { $0.name.uppercased() }.joined(separator: " ")
  }

  /// RFLAGS without the rarely set upper bits: `nt IOPL0 of df IF tf sf ZF af PF cf`; upper ones are put in
  /// front where set.
  package static func flags(_ rflags: UInt64) -> String {
    bits(rflags, RFLAGS.bits.filter { $0.bit < 16 || rflags >> UInt64($0.bit) & 1 != 0 })
  }

  /// Nine places for narrow panes, a letter where set: `[OD I T SZ A P C]` as `[--I--Z-P-]`.
  package static func compactFlags(_ rflags: UInt64) -> String {
    let places: [(UInt64, Character)] = [
      (RFLAGS.of, "O"), (RFLAGS.df, "D"), (RFLAGS.interruptEnable, "I"), (RFLAGS.tf, "T"), (RFLAGS.sf, "S"),
      (RFLAGS.zf, "Z"), (RFLAGS.af, "A"), (RFLAGS.pf, "P"), (RFLAGS.cf, "C"),
    ]
    return "[" + String(places.map { rflags & $0.0 != 0 ? $0.1 : "-" }) + "]"
  }

  /// What each set flag means, low to high: `ZF result was zero`.
  package static func flagsInWords(_ rflags: UInt64) -> [String] {
    RFLAGS.bits.compactMap { name in
      let field = rflags >> UInt64(name.bit) & VCPUState.mask(name.width)
      guard field != 0 else { return nil }
      return "\(name.name.uppercased()) \(name.meaning)" + (name.width > 1 ? " \(field)" : "")
    }
  }

  /// `CS 0008 base 00000000 limit ffffffff 32-bit code R/X A DPL0`.
  package static func segment(_ name: SegmentName, _ state: VCPUState) -> String {
    let segment = state[name]
    let start = "\(name.name.uppercased()) \(Hex.padded(UInt64(segment.selector), 4))"
    if segment.unusable { return start + " unusable" }
    let base = Hex.padded(segment.base, segment.base > 0xFFFF_FFFF ? 16 : 8)
    let limit = Hex.padded(UInt64(segment.limit), segment.limit > 0xFFFF ? 8 : 4)
    let type = SegmentText.type(accessRights: segment.access)
    return "\(start) base \(base) limit \(limit) \(type) DPL\(segment.dpl)"
  }

  /// `CS 0000 b=00000000 l=ffff 16r`.
  package static func shortSegment(_ name: SegmentName, _ state: VCPUState) -> String {
    let segment = state[name]
    let limit = String(segment.limit, radix: 16)
    let base = Hex.padded(segment.base, 8)
    let type = SegmentText.short(accessRights: segment.access)
    return "\(name.name.uppercased()) \(Hex.padded(UInt64(segment.selector), 4)) b=\(base) l=\(limit) \(type)"
  }

  /// The names of the bits of a register that has named bits.
  package static func bitNames(of register: Register) -> [BitName]? {
    switch register {
    case .flags: RFLAGS.bits
    case .control(0): CR0.bits
    case .control(4): CR4.bits
    case .system(.efer): EFER.bits
    default: nil
    }
  }

  /// A register's value as wide as it is: `000000000000004b`, 32 digits for XMM, sign-exponent:significand for ST.
  package static func value(_ register: Register, _ state: VCPUState) -> String {
    let low = state.read(register)
    switch register {
    case .xmm: return Hex.padded(state.readHigh(register), 16) + Hex.padded(low, 16)
    case .ymm(let number):
      let upper = [1, 0].map { Hex.padded(state.fpu.ymmHigh[Int(number & 15) * 2 + $0], 16) }
      return upper.joined() + Hex.padded(state.readHigh(register), 16) + Hex.padded(low, 16)
    case .st: return Hex.padded(state.readHigh(register), 4) + ":" + Hex.padded(low, 16)
    default: return Hex.padded(low, max(1, (register.bits + 3) / 4))
    }
  }

  /// The instruction pointer with its segment where that matters: `0000:7c16`, `0008:00101000`, `ffffffff81000000`.
  package static func instructionPointer(_ state: VCPUState) -> String {
    let digits = state.mode.codeBits / 4
    let offset = Hex.padded(state.rip & VCPUState.mask(state.mode.codeBits), digits)
    return state.mode == .long64 ? offset : "\(Hex.padded(UInt64(state[.cs].selector), 4)):\(offset)"
  }
}
