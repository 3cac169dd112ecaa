import Debugger
import Testing
import VMCore
import X86

@Suite("Expressions")
struct ExpressionTests {
  static let constants: [(String, UInt64)] = [
    ("1+2*3", 7), ("(1+2)*3", 9), ("0x10", 16), ("10h", 16), ("0ffh", 255), ("0b101", 5), ("'K'", 75), ("7c1c", 0x7C1C),
    ("1<<4|1", 17), ("-1", .max), ("~0", .max), ("!0", 1), ("!5", 0), ("10-3-2", 5), ("100/7%3", 2), ("1==1&&2!=3", 1),
    ("0&&1/0", 0), ("1||1/0", 1), ("2&&3", 1), ("0||0", 0), ("5>4==1", 1), ("6&3^1", 3), ("1<<64", 0), ("'\\n'", 10),
    ("0x1_0000", 0x10000), ("3*-1", .max - 2),
  ]

  @Test("constants come out as in C", arguments: constants)
  func constant(_ text: String, _ value: UInt64) throws {
    let expression = try Expression(text)
    #expect(try expression.evaluate(VCPUState()) == value)
    #expect(expression.constant == value)
  }
}
