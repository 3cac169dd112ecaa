import COracle
import X86

/// Where the interpreter's result and the processor's differ.
enum OracleComparison {
  /// Lines "what: processor's, interpreter's"; empty where all that is defined is the same.
  static func differences(
    _ c: OracleCase, native: coracle_case, nativeData: UnsafeRawBufferPointer, ours: coracle_case, ourData: [UInt64]
  ) -> [String] {
    var lines: [String] = []
    func check(_ name: String, _ a: UInt64, _ b: UInt64) {
      if a != b { lines.append("\(name): \(hex(a)), interpreter \(hex(b))") }
    }
    let whole = native.vector == Exception.bp.rawValue && !c.branches
    if !isOpen(c, native, ours) {
      check("vector", UInt64(native.vector), UInt64(ours.vector))
      // The host's kernel hides from user space whether a page of its own is present.
      if native.vector == Exception.pf.rawValue {
        let mask: UInt32 = native.cr2 >> 63 != 0 ? ~1 : ~0
        check("error code", UInt64(native.error & mask), UInt64(ours.error & mask))
        check("cr2", native.cr2, ours.cr2)
      }
    }
    check("rip", native.rip, ours.rip)
    let flags = (RFLAGS.arithmetic | RFLAGS.df) & ~(whole ? c.undefinedFlags : c.everUndefinedFlags)
    check("rflags", native.rflags & flags, ours.rflags & flags)
    withUnsafeBytes(of: native.gpr) { a in
      withUnsafeBytes(of: ours.gpr) { b in
        for i in 0..<16 {
          // Returning to a 16-bit stack segment leaves junk in the upper half of RSP.
          let mask: UInt64 = i == 4 && c.initial.mode == CORACLE_LDT16.rawValue ? 0xFFFF_FFFF : .max
          check(
            GPR(rawValue: UInt8(i))?.name ?? "", a.load(fromByteOffset: i * 8, as: UInt64.self) & mask,
            b.load(fromByteOffset: i * 8, as: UInt64.self) & mask)
        }
      }
    }
    withUnsafeBytes(of: native.xmm) { a in
      withUnsafeBytes(of: ours.xmm) { b in
        for i in 0..<32 {
          check(
            "xmm\(i / 2).\(i & 1 == 0 ? "low" : "high")", a.load(fromByteOffset: i * 8, as: UInt64.self),
            b.load(fromByteOffset: i * 8, as: UInt64.self))
        }
      }
    }
    withUnsafeBytes(of: native.ymm_high) { a in
      withUnsafeBytes(of: ours.ymm_high) { b in
        for i in 0..<32 {
          check(
            "ymm\(i / 2).\(2 + i & 1)", a.load(fromByteOffset: i * 8, as: UInt64.self),
            b.load(fromByteOffset: i * 8, as: UInt64.self))
        }
      }
    }
    check("mxcsr", UInt64(native.mxcsr & 0xFFFF), UInt64(ours.mxcsr))
    compareX87(c, native, ours, &lines)
    // PUSHA and ENTER may have pushed a part before they fault.
    if whole || !c.contains("pusha", "enter") { compareData(nativeData, ourData, &lines) }
    return lines
  }

  /// Both faulted, and the manual does not say which of two faults comes first: the two operands of CMPS,
  /// target and push of CALL, source and destination of POP, and alignment against the segment limit for
  /// 16-byte operands.
  private static func isOpen(_ c: OracleCase, _ native: coracle_case, _ ours: coracle_case) -> Bool {
    let faults: Set<UInt8> = [12, 13, 14]
    guard faults.contains(native.vector), faults.contains(ours.vector), native.rip == ours.rip else { return false }
    if c.contains("cmps", "call", "pop") { return true }
    return c.contains("xmm", "ymm") && native.vector != ours.vector
  }

  private static func compareX87(
    _ c: OracleCase, _ native: coracle_case, _ ours: coracle_case, _ lines: inout [String]
  ) {
    func check(_ name: String, _ a: UInt64, _ b: UInt64) {
      if a != b { lines.append("\(name): \(hex(a)), interpreter \(hex(b))") }
    }
    check("x87 control", UInt64(native.control), UInt64(ours.control))
    let status = ~(native.vector == 3 && !c.branches ? c.undefinedStatus : c.everUndefinedStatus)
    check("x87 status", UInt64(native.status & status), UInt64(ours.status & status))
    check("x87 tags", UInt64(native.tags), UInt64(ours.tags))
    withUnsafeBytes(of: native) { a in
      withUnsafeBytes(of: ours) { b in
        guard let significands = MemoryLayout<coracle_case>.offset(of: \.significand),
          let exponents = MemoryLayout<coracle_case>.offset(of: \.sign_exponent)
        else { return }
        for i in 0..<8 {
          let at = significands + i * 8
          check(
            "st\(i) significand", a.load(fromByteOffset: at, as: UInt64.self),
            b.load(fromByteOffset: at, as: UInt64.self))
          let place = exponents + i * 2
          check(
            "st\(i) exponent", UInt64(a.load(fromByteOffset: place, as: UInt16.self)),
            UInt64(b.load(fromByteOffset: place, as: UInt16.self)))
        }
      }
    }
  }

  private static func compareData(_ native: UnsafeRawBufferPointer, _ ours: [UInt64], _ lines: inout [String]) {
    for (i, right) in ours.enumerated() {
      let left = native.load(fromByteOffset: i * 8, as: UInt64.self)
      if left != right { lines.append("data+\(hex(UInt64(i * 8))): \(hex(left)), interpreter \(hex(right))") }
    }
  }

  static func hex(_ value: UInt64) -> String { String(value, radix: 16, uppercase: true) }

  /// A difference with all that is needed to see it again.
  static func report(number: Int, _ c: OracleCase, native: coracle_case, lines: [String]) -> String {
    let names = ["long64", "compat32", "ldt32", "ldt16"]
    var text = "case \(number), \(names[Int(c.initial.mode)]):\n"
    for instruction in c.disassembly { text += "    \(instruction)\n" }
    let bytes = withUnsafeBytes(of: c.initial.code) { Array($0) }
    text += "  bytes: \(bytes.map { String($0, radix: 16) }.joined(separator: " "))\n"
    text += "  in: rflags \(hex(c.initial.rflags)) mxcsr \(hex(UInt64(c.initial.mxcsr)))"
    text += " fcw \(hex(UInt64(c.initial.control))) fsw \(hex(UInt64(c.initial.status)))"
    text += " tags \(hex(UInt64(c.initial.tags)))\n  in:"
    let gpr = withUnsafeBytes(of: c.initial.gpr) { Array($0.bindMemory(to: UInt64.self)) }
    for (i, value) in gpr.enumerated() { text += " \(GPR(rawValue: UInt8(i))?.name ?? "")=\(hex(value))" }
    let xmm = withUnsafeBytes(of: c.initial.xmm) { Array($0.bindMemory(to: UInt64.self)) }
    text += "\n  in xmm:"
    for i in 0..<16 { text += " \(hex(xmm[i * 2 + 1])):\(hex(xmm[i * 2]))" }
    let upper = withUnsafeBytes(of: c.initial.ymm_high) { Array($0.bindMemory(to: UInt64.self)) }
    text += "\n  in upper halves:"
    for i in 0..<16 { text += " \(hex(upper[i * 2 + 1])):\(hex(upper[i * 2]))" }
    let significands = withUnsafeBytes(of: c.initial.significand) { Array($0.bindMemory(to: UInt64.self)) }
    let exponents = withUnsafeBytes(of: c.initial.sign_exponent) { Array($0.bindMemory(to: UInt16.self)) }
    text += "\n  in st:"
    for i in 0..<8 { text += " \(hex(UInt64(exponents[i]))):\(hex(significands[i]))" }
    text += "\n  ended by vector \(native.vector)\n"
    for line in lines.prefix(12) { text += "  processor's \(line)\n" }
    return text
  }
}

extension OracleCase {
  /// An instruction or operand of the sequence has one of these in its text.
  func contains(_ parts: String...) -> Bool {
    disassembly.contains { line in parts.contains { line.contains($0) } }
  }
}
