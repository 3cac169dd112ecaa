import VMCore
import X86

/// How the bytes of a vector register are read.
package enum VectorFormat: String, CaseIterable, Sendable {
  case bytes = "16 x 8 bit"
  case words = "8 x 16 bit"
  case dwords = "4 x 32 bit"
  case qwords = "2 x 64 bit"
  case signed = "4 x signed 32 bit"
  case floats = "4 x float"
  case doubles = "2 x double"
}

/// System, floating-point and vector registers as rows; what changed since `before` is marked.
package struct RegisterReport {
  private let now: VCPUState
  private let before: VCPUState

  package init(_ now: VCPUState, before: VCPUState? = nil) {
    self.now = now
    self.before = before ?? now
  }

  private func mark(_ changed: Bool) -> ReportTone { changed ? .changed : .value }

  // MARK: MSRs

  /// The model-specific registers that are part of a vCPU's state, by number (SDM 4 chapter 2).
  package static func msrs(_ state: VCPUState) -> [(index: UInt32, value: UInt64)] {
    [
      (MSR.sysenterCS, state.sysenterCS), (MSR.sysenterESP, state.sysenterESP), (MSR.sysenterEIP, state.sysenterEIP),
      (MSR.pat, state.pat), (MSR.efer, state.efer), (MSR.star, state.star), (MSR.lstar, state.lstar),
      (MSR.cstar, state.cstar), (MSR.sfmask, state.sfmask), (MSR.fsBase, state[.fs].base),
      (MSR.gsBase, state[.gs].base), (MSR.kernelGSBase, state.kernelGSBase), (MSR.tscAux, state.tscAux),
    ]
  }

  package var msrs: [ReportRow] {
    zip(Self.msrs(now), Self.msrs(before)).map { entry, old in
      let changed = entry.value != old.value
      var row = ReportRow()
      row.add(Hex.padded(UInt64(entry.index), 8) + " ", .address)
      row.add(MSR.text(entry.index), width: 22, .symbol)
      row.add(Hex.padded(entry.value, 16), mark(changed))
      row.add(changed ? "* " : "  ", .changed)
      row.add(msrMeaning(entry.index, entry.value), .dim)
      return row
    }
  }

  private func msrMeaning(_ index: UInt32, _ value: UInt64) -> String {
    switch index {
    case MSR.efer: return RegisterDescription.bits(value, EFER.bits)
    case MSR.star:
      return "SYSCALL CS \(Hex.padded(value >> 32 & 0xFFFF, 4)), SYSRET CS \(Hex.padded(value >> 48, 4))"
    case MSR.lstar: return value == 0 ? "" : "SYSCALL goes here"
    case MSR.sfmask: return "SYSCALL clears: \(RegisterDescription.setBits(value, RFLAGS.bits))"
    case MSR.pat:
      let names: [UInt64: String] = [0: "UC", 1: "WC", 4: "WT", 5: "WP", 6: "WB", 7: "UC-"]
      return (0..<UInt64(8)).map { names[value >> ($0 * 8) & 7] ?? "?" }.joined(separator: " ")
    case MSR.sysenterEIP: return value == 0 ? "" : "SYSENTER goes here"
    default: return ""
    }
  }

  // MARK: debug registers

  /// DR0...DR3 with what DR7 says of them, DR6 and DR7 by name (SDM 3B 17.2).
  package var debug: [ReportRow] {
    var rows = (0..<4).map { index -> ReportRow in
      let changed = now.dr[index] != before.dr[index]
      var row = ReportRow(target: .linear(now.dr[index]))
      row.add("DR\(index) ", .dim)
      row.add(Hex.padded(now.dr[index], 16), mark(changed))
      row.add(changed ? "* " : "  ", .changed)
      row.add(condition(UInt64(index)), isOn(UInt64(index)) ? .set : .clear)
      return row
    }
    rows.append(named("DR6", now.dr6, before.dr6, Self.dr6Bits))
    rows.append(named("DR7", now.dr7, before.dr7, Self.dr7Bits))
    return rows
  }

  private func isOn(_ index: UInt64) -> Bool { now.dr7 >> (index * 2) & 3 != 0 }

  private func condition(_ index: UInt64) -> String {
    guard isOn(index) else { return "off" }
    let kinds = ["execute", "write", "I/O", "read or write"]
    let lengths = [1, 2, 8, 4]
    let kind = kinds[Int(now.dr7 >> (16 + index * 4) & 3)]
    let length = lengths[Int(now.dr7 >> (18 + index * 4) & 3)]
    let scope = now.dr7 >> (index * 2 + 1) & 1 != 0 ? "global" : "local"
    return "\(kind) \(length) byte\(length == 1 ? "" : "s"), \(scope)"
  }

  private func named(_ name: String, _ value: UInt64, _ old: UInt64, _ bits: [BitName]) -> ReportRow {
    var row = ReportRow()
    row.add("\(name) ", .dim)
    row.add(Hex.padded(value, 8), mark(value != old))
    row.add(value != old ? "* " : "  ", .changed)
    for bit in bits.sorted(by: { $0.bit > $1.bit }) {
      let field = value >> UInt64(bit.bit) & ((1 << UInt64(bit.width)) - 1)
      let text = bit.width > 1 ? "\(bit.name)=\(field)" : field != 0 ? bit.name.uppercased() : bit.name
      row.add(text + " ", field != 0 ? .set : .clear)
    }
    return row
  }

  /// DR6 (SDM 3B figure 17-1).
  package static let dr6Bits: [BitName] = [
    BitName(0, "b0", "breakpoint 0 was met"), BitName(1, "b1", "breakpoint 1 was met"),
    BitName(2, "b2", "breakpoint 2 was met"), BitName(3, "b3", "breakpoint 3 was met"),
    BitName(13, "bd", "debug registers were accessed under DR7.GD"), BitName(14, "bs", "single step"),
    BitName(15, "bt", "task switch to a TSS with T set"),
  ]

  /// DR7 without the conditions, which DR0...DR3's rows tell (SDM 3B figure 17-1).
  package static let dr7Bits: [BitName] = [
    BitName(0, "l0", "breakpoint 0 in this task"), BitName(1, "g0", "breakpoint 0 in every task"),
    BitName(2, "l1", "breakpoint 1 in this task"), BitName(3, "g1", "breakpoint 1 in every task"),
    BitName(4, "l2", "breakpoint 2 in this task"), BitName(5, "g2", "breakpoint 2 in every task"),
    BitName(6, "l3", "breakpoint 3 in this task"), BitName(7, "g3", "breakpoint 3 in every task"),
    BitName(8, "le", "exact data breakpoints in this task"), BitName(9, "ge", "exact data breakpoints"),
    BitName(13, "gd", "access to debug registers traps"),
  ]

  // MARK: x87

  /// ST(0)...ST(7) as numbers and as stored; control, status and tag words by name (SDM 1 8.1).
  package var x87: [ReportRow] {
    let fpu = now.fpu
    var rows = (0..<8).map { stackRow($0) }
    rows.append(
      named("FCW", UInt64(fpu.control), UInt64(before.fpu.control), Self.controlBits))
    rows.append(named("FSW", UInt64(fpu.status), UInt64(before.fpu.status), Self.statusBits))
    var tags = ReportRow()
    tags.add("FTW ", .dim)
    tags.add(Hex.padded(UInt64(fpu.tag), 4), mark(fpu.tag != before.fpu.tag))
    tags.add("  last instruction \(Hex.padded(fpu.instructionPointer, 8)) operand \(Hex.padded(fpu.dataPointer, 8)) ", .dim)
    tags.add("opcode \(Hex.padded(UInt64(fpu.opcode), 3))", .dim)
    rows.append(tags)
    return rows
  }

  private func stackRow(_ index: Int) -> ReportRow {
    let fpu = now.fpu
    let old = before.fpu
    let changed =
      fpu.significand[index] != old.significand[index] || fpu.signExponent[index] != old.signExponent[index]
    let physical = (index + Int(fpu.status >> 11 & 7)) & 7
    let tag = Int(fpu.tag >> UInt16(physical * 2) & 3)
    var row = ReportRow()
    row.add("ST\(index) ", .dim)
    row.add("\(Hex.padded(UInt64(fpu.signExponent[index]), 4)):\(Hex.padded(fpu.significand[index], 16))", mark(changed))
    row.add(changed ? "* " : "  ", .changed)
    row.add(["valid", "zero", "special", "empty"][tag], width: 8, tag == 3 ? .clear : .set)
    row.add(tag == 3 ? "" : Self.extended(fpu.signExponent[index], fpu.significand[index]), tag == 3 ? .clear : .plain)
    return row
  }

  /// An 80-bit number in decimal (SDM 1 4.2.2).
  static func extended(_ signExponent: UInt16, _ significand: UInt64) -> String {
    let exponent = UInt(signExponent & 0x7FFF)
    let sign: FloatingPointSign = signExponent & 0x8000 != 0 ? .minus : .plus
    // Without its integer bit a number is a denormal, or an encoding the processor refuses.
    if significand >> 63 == 0, exponent != 0 { return "unsupported encoding" }
    #if arch(x86_64)
      return "\(Float80(sign: sign, exponentBitPattern: exponent, significandBitPattern: significand))"
    #else
      return "\(Double(sign: sign, exponent: Int(exponent) - 16383 - 63, significand: Double(significand)))"
    #endif
  }

  private static let controlBits: [BitName] = [
    BitName(0, "im", "invalid operation masked"), BitName(1, "dm", "denormal masked"),
    BitName(2, "zm", "divide by zero masked"), BitName(3, "om", "overflow masked"),
    BitName(4, "um", "underflow masked"), BitName(5, "pm", "precision masked"),
    BitName(8, "PC", "precision", width: 2), BitName(10, "RC", "rounding", width: 2),
  ]
  private static let statusBits: [BitName] = [
    BitName(0, "ie", "invalid operation"), BitName(1, "de", "denormal"), BitName(2, "ze", "divide by zero"),
    BitName(3, "oe", "overflow"), BitName(4, "ue", "underflow"), BitName(5, "pe", "precision"),
    BitName(6, "sf", "stack fault"), BitName(7, "es", "error summary"), BitName(8, "c0", "condition 0"),
    BitName(9, "c1", "condition 1"), BitName(10, "c2", "condition 2"), BitName(11, "TOP", "top of stack", width: 3),
    BitName(14, "c3", "condition 3"), BitName(15, "b", "busy"),
  ]

  // MARK: SSE

  /// MXCSR (SDM 1 10.2.3).
  package static let mxcsrBits: [BitName] = [
    BitName(0, "ie", "invalid operation"), BitName(1, "de", "denormal"), BitName(2, "ze", "divide by zero"),
    BitName(3, "oe", "overflow"), BitName(4, "ue", "underflow"), BitName(5, "pe", "precision"),
    BitName(6, "daz", "denormals are zero"), BitName(7, "im", "invalid operation masked"),
    BitName(8, "dm", "denormal masked"), BitName(9, "zm", "divide by zero masked"), BitName(10, "om", "overflow masked"),
    BitName(11, "um", "underflow masked"), BitName(12, "pm", "precision masked"), BitName(13, "RC", "rounding", width: 2),
    BitName(15, "fz", "flush to zero"),
  ]

  /// XMM0...XMM15 read as `format`, the highest element first, each with the upper half of its YMM register before it
  /// where the guest has AVX on, and MXCSR by name.
  package func sse(_ format: VectorFormat) -> [ReportRow] {
    let hasUppers = now.xcr0 & 4 != 0
    var rows = (0..<16).flatMap { index -> [ReportRow] in
      let lower = half("XMM\(index)", now.fpu.xmm, before.fpu.xmm, index, format)
      return hasUppers ? [half("YMM\(index)", now.fpu.ymmHigh, before.fpu.ymmHigh, index, format), lower] : [lower]
    }
    rows.append(named("MXCSR", UInt64(now.fpu.mxcsr), UInt64(before.fpu.mxcsr), Self.mxcsrBits))
    return rows
  }

  private func half(
    _ name: String, _ now: [UInt64], _ before: [UInt64], _ index: Int, _ format: VectorFormat
  ) -> ReportRow {
    let place = index * 2...index * 2 + 1
    let changed = now[place] != before[place]
    var row = ReportRow()
    row.add(name, width: 5, .dim)
    row.add(Self.vector(now[place.upperBound], now[place.lowerBound], format), mark(changed))
    row.add(changed ? "*" : "", .changed)
    return row
  }

  /// 128 bits in a format's elements.
  package static func vector(_ high: UInt64, _ low: UInt64, _ format: VectorFormat) -> String {
    func elements(_ bits: UInt64) -> [UInt64] {
      let perHalf = 64 / bits
      let mask: UInt64 = bits == 64 ? .max : (1 << bits) - 1
      return [high, low].flatMap { half in (0..<perHalf).reversed().map { half >> ($0 * bits) & mask } }
    }
    switch format {
    case .bytes: return elements(8).map { Hex.padded($0, 2) }.joined(separator: " ")
    case .words: return elements(16).map { Hex.padded($0, 4) }.joined(separator: " ")
    case .dwords: return elements(32).map { Hex.padded($0, 8) }.joined(separator: " ")
    case .qwords: return elements(64).map { Hex.padded($0, 16) }.joined(separator: " ")
    case .signed:
      return elements(32).map { Column.right("\(Int32(truncatingIfNeeded: $0))", 11) }.joined(separator: " ")
    case .floats:
      return elements(32).map { Column.right("\(Float(bitPattern: UInt32($0)))", 15) }.joined(separator: " ")
    case .doubles: return elements(64).map { Column.right("\(Double(bitPattern: $0))", 24) }.joined(separator: " ")
    }
  }

  // MARK: RFLAGS in words

  /// A row for each flag that is set.
  package var flagsInWords: [ReportRow] {
    RegisterDescription.flagsInWords(now.rflags).map { ReportRow($0, .set) }
  }
}
