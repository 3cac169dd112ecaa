import COracle
import Engines
import Testing
import VMCore
import X86

/// Floating-point exceptions that are not masked (SDM 1 4.9, 8.6, 11.5), and XSAVE's header (13.4.2, 13.8), in ring 3 with
/// every exception exiting.
@Suite struct UnmaskedExceptionTests {
  struct Row: Sendable, CustomTestStringConvertible {
    var name: String
    var code: [UInt8]
    /// All masked.
    var mxcsr: UInt32 = 0x1F80
    var control: UInt16 = 0x37F
    var clearCR4: UInt64 = 0
    /// XMM1 as the divisor, the operand, or the comparand: single-precision bits in its lowest element.
    var operand: UInt64 = 0
    var exception: Exception
    /// The instruction it comes at, as an offset into the code.
    var at: Int = 0
    /// Of MXCSR, afterwards.
    var raised: UInt32 = 0
    var isVEX = false
    var testDescription: String { name }
  }
  private enum Mask {
    static let invalid: UInt32 = 1 << 7
    static let divide: UInt32 = 1 << 9
    static let inexact: UInt32 = 1 << 12
  }
  private static let divss: [UInt8] = [0xF3, 0x0F, 0x5E, 0xC1]
  private static let divideByZero: [UInt8] = [0xD9, 0xE8, 0xD9, 0xEE, 0xDE, 0xF9]

  static let rows: [Row] = [
    Row(name: "divss by zero, masked", code: divss, exception: .bp, at: 4, raised: 4),
    Row(name: "divss by zero", code: divss, mxcsr: 0x1F80 & ~Mask.divide, exception: .xm, raised: 4),
    Row(name: "divss by zero without OSXMMEXCPT", code: divss, mxcsr: 0x1F80 & ~Mask.divide, clearCR4: CR4.osxmmexcpt, exception: .ud, raised: 4),
    Row(name: "divss, another one unmasked", code: divss, mxcsr: 0x1F80 & ~Mask.inexact, exception: .bp, at: 4, raised: 4),
    Row(name: "sqrtss of -1", code: [0xF3, 0x0F, 0x51, 0xC1], mxcsr: 0x1F80 & ~Mask.invalid, operand: 0xBF80_0000, exception: .xm, raised: 1),
    Row(name: "divss by 3", code: divss, mxcsr: 0x1F80 & ~Mask.inexact, operand: 0x4040_0000, exception: .xm, raised: 0x20),
    Row(name: "comiss of a NaN", code: [0x0F, 0x2F, 0xC1], mxcsr: 0x1F80 & ~Mask.invalid, operand: 0x7FC0_0000, exception: .xm, raised: 1),
    Row(name: "ucomiss of a quiet NaN", code: [0x0F, 0x2E, 0xC1], mxcsr: 0x1F80 & ~Mask.invalid, operand: 0x7FC0_0000, exception: .bp, at: 3),
    Row(name: "cvttss2si of 2^31", code: [0xF3, 0x0F, 0x2C, 0xC1], mxcsr: 0x1F80 & ~Mask.invalid, operand: 0x4F00_0000, exception: .xm, raised: 1),
    Row(name: "vdivps by zero, and 0 by 0 in the other elements", code: [0xC5, 0xFC, 0x5E, 0xC1], mxcsr: 0x1F80 & ~Mask.divide, exception: .xm, raised: 5, isVEX: true),
    Row(name: "vfmadd132ss of a signalling NaN", code: [0xC4, 0xE2, 0x71, 0x99, 0xC1], mxcsr: 0x1F80 & ~Mask.invalid, operand: 0x7F80_0001, exception: .xm, raised: 1, isVEX: true),
    Row(name: "fdivp by zero, masked", code: divideByZero + [0x9B], exception: .bp, at: 7),
    Row(name: "fdivp by zero comes at the next that waits", code: divideByZero + [0x90, 0x9B], control: 0x37B, exception: .mf, at: 7),
    Row(name: "fdivp by zero, then FLD1", code: divideByZero + [0xD9, 0xE8], control: 0x37B, exception: .mf, at: 6),
    Row(name: "fdivp by zero, then FNSTSW, which does not wait", code: divideByZero + [0xDF, 0xE0], control: 0x37B, exception: .bp, at: 8),
    Row(name: "fdivp by zero, then FNCLEX and FWAIT", code: divideByZero + [0xDB, 0xE2, 0x9B], control: 0x37B, exception: .bp, at: 9),
    Row(name: "fdivp by zero, then an MMX instruction", code: divideByZero + [0x0F, 0xFC, 0xC1], control: 0x37B, exception: .mf, at: 6),
    Row(name: "an empty stack, popped", code: [0xDD, 0xD8, 0x9B], control: 0x37E, exception: .mf, at: 2),
  ]

  @Test(arguments: rows, ["interpreter", "rewriter"])
  func `an unmasked exception comes where the manual says, and changes nothing but its flag`(_ row: Row, _ engine: String) throws {
    guard !row.isVEX || CPUModel.widest == .v3 else { return }
    var c = OracleCase(code: row.code)
    (c.initial.mxcsr, c.initial.control) = (row.mxcsr, row.control)
    let one: UInt64 = 0x3F80_0000
    (c.initial.xmm.0, c.initial.xmm.2) = (one, row.operand)
    let after = try OracleMachine(engine: engine).run(c, clearCR4: row.clearCR4).0
    #expect(Exception(rawValue: after.vector) == row.exception)
    let end = row.exception == .bp ? 1 : 0
    #expect(after.rip == c.initial.rip + UInt64(row.at + end))
    #expect(after.mxcsr == row.mxcsr | row.raised, "\(String(after.mxcsr, radix: 16))")
    if row.exception == .xm { #expect(after.xmm.0 == one && after.gpr.0 == 0) }
  }

  // MARK: XSAVE and XRSTOR

  /// In words of the area at RDI: where MXCSR is, XSTATE_BV, XCOMP_BV, and the YMM halves.
  private static let header = 64
  private static let upper = 72

  private func saved(_ components: UInt64, over old: UInt64) throws -> [UInt64] {
    // xsave64 [rdi]
    var c = OracleCase(code: [0x48, 0x0F, 0xAE, 0x27])
    c.initial.gpr.0 = components
    (c.initial.xmm.0, c.initial.ymm_high.0) = (0x1111, 0x2222)
    c.data = Array(repeating: old, count: c.data.count)
    let (after, data) = try OracleMachine().run(c)
    #expect(Exception(rawValue: after.vector) == .bp)
    return data
  }

  @Test(.enabled(if: CPUModel.widest == .v3, "this host has no AVX2"))
  func `XSAVE stores the components asked for and leaves the bytes of others`() throws {
    let old: UInt64 = 0x5A5A_5A5A_5A5A_5A5A
    let avx = try saved(4, over: old)
    #expect(avx[Self.header] & 7 == 4 | old & 3 && avx[20] == old && avx[Self.upper] == 0x2222)
    let sse = try saved(2, over: old)
    #expect(sse[20] == 0x1111 && sse[Self.upper] == old && sse[0] == old)
    // XCOMP_BV and what follows it are not written (13.7).
    #expect(sse[Self.header + 1] == old && sse[Self.header + 2] == old)
  }

  struct Header: Sendable, CustomTestStringConvertible {
    var name: String
    var present: UInt64 = 7
    var compaction: UInt64 = 0
    var reserved: UInt64 = 0
    var mxcsr: UInt64 = 0x1F80
    var exception = Exception.bp
    var testDescription: String { name }
  }
  static let headers: [Header] = [
    Header(name: "all there"),
    Header(name: "nothing there: all as at reset", present: 0),
    Header(name: "AVX alone", present: 4),
    Header(name: "a component that is not enabled", present: 8, exception: .gp),
    Header(name: "the compacted form, which CPUID does not show", compaction: 1 << 63, exception: .gp),
    Header(name: "XCOMP_BV not zero", compaction: 1, exception: .gp),
    Header(name: "reserved words of the header", reserved: 1, exception: .gp),
    Header(name: "reserved bits of MXCSR", mxcsr: 0x1_0000, exception: .gp),
  ]

  @Test(.enabled(if: CPUModel.widest == .v3, "this host has no AVX2"), arguments: headers, ["interpreter", "rewriter"])
  func `XRSTOR believes a header that can be, and refuses others`(_ header: Header, _ engine: String) throws {
    // xrstor64 [rdi]
    var c = OracleCase(code: [0x48, 0x0F, 0xAE, 0x2F])
    c.initial.gpr.0 = 7
    (c.initial.xmm.0, c.initial.ymm_high.0) = (0x1111, 0x2222)
    c.data[0] = 0x37F
    c.data[3] = header.mxcsr
    (c.data[20], c.data[Self.upper]) = (0x3333, 0x4444)
    (c.data[Self.header], c.data[Self.header + 1], c.data[Self.header + 2]) = (header.present, header.compaction, header.reserved)
    let after = try OracleMachine(engine: engine).run(c).0
    #expect(Exception(rawValue: after.vector) == header.exception)
    let isLoaded = header.exception == .bp
    #expect(after.xmm.0 == (!isLoaded ? 0x1111 : header.present & 2 != 0 ? 0x3333 : 0))
    #expect(after.ymm_high.0 == (!isLoaded ? 0x2222 : header.present & 4 != 0 ? 0x4444 : 0))
  }
}
