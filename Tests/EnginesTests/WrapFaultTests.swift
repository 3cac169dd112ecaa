import COracle
import Testing
import VMCore
import X86

/// An operand that reaches over the end of a flat 4 GiB segment: the segment says which fault it is (SDM 3A 6.15).
@Suite struct WrapFaultTests {
  struct Row: Sendable, CustomTestStringConvertible {
    var name: String
    var code: [UInt8]
    var exception: Exception
    var testDescription: String { name }
  }
  /// ESI and EBP are 1Eh: the operand begins at FFFFFFFAh or FFFFFFFDh.
  static let rows: [Row] = [
    Row(name: "[esi]", code: [0x8B, 0x46, 0xDF], exception: .gp),
    Row(name: "ss:[esi]", code: [0x36, 0x8B, 0x46, 0xDF], exception: .ss),
    Row(name: "es:[esi]", code: [0x26, 0x8B, 0x46, 0xDF], exception: .gp),
    Row(name: "[ebp]", code: [0x8B, 0x45, 0xDF], exception: .ss),
    Row(name: "ds:[ebp]", code: [0x3E, 0x8B, 0x45, 0xDF], exception: .gp),
    Row(name: "fcom qword ss:[esi]", code: [0x36, 0xDC, 0x56, 0xDC], exception: .ss),
    Row(name: "fcom qword [esi]", code: [0xDC, 0x56, 0xDC], exception: .gp),
  ]

  @Test(arguments: rows, ["interpreter", "rewriter"])
  func `an operand that wraps is a stack fault where its segment is SS`(_ row: Row, _ engine: String) throws {
    var c = OracleCase(code: row.code)
    c.stand(in: CORACLE_COMPAT32)
    (c.initial.gpr.5, c.initial.gpr.6) = (0x1E, 0x1E)
    let after = try OracleMachine(engine: engine).run(c).0
    #expect(Exception(rawValue: after.vector) == row.exception)
  }
}
