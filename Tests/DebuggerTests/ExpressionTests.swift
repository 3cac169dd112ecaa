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

@Suite("Expressions on a machine")
struct MachineExpressionTests {
  @Test(
    "registers and flags are read by name",
    arguments: [
      ("$rax", 0x1122_3344_5566_7788), ("eax", 0x5566_7788), ("al", 0x88), ("ah", 0x77), ("AX+1", 0x7789), ("zf", 1),
      ("cf", 0), ("cs", 0xF000), ("cs_base", 0xF0000), ("ip", 0xFFF0), ("pc", 0xFFFF0), ("cs:ip", 0xFFFF0),
      ("f000:fff0", 0xFFFF0), ("0000:7c00", 0x7C00), ("f000:al+1", 0xF0089), ("cr0", 0x10), ("10:10", 0x110),
    ] as [(String, UInt64)])
  func registers(_ text: String, _ value: UInt64) throws {
    var guest = try Guest.real(cs: 0xF000, ip: 0xFFF0)
    guest.state[.rax] = 0x1122_3344_5566_7788
    guest.state.cr0 = CR0.et
    guest.state.rflags |= RFLAGS.zf
    #expect(try Expression(text).evaluate(guest.state, memory: guest.memory) == value)
  }

  @Test(
    "memory is read little-endian",
    arguments: [
      ("byte[0x500]", 0x11), ("word[500h]", 0x2211), ("dword ptr [0x500]", 0x4433_2211),
      ("qword[0x500]", 0x8877_6655_4433_2211), ("*0x500", 0x2211), ("[0x500]", 0x2211), ("pbyte[0x501]", 0x22),
      ("byte[byte[0x508]+0x500]", 0x33), ("*table", 0x2211), ("&table+1", 0x501),
    ] as [(String, UInt64)])
  func memory(_ text: String, _ value: UInt64) throws {
    let guest = try Guest.real()
    guest.memory.write(GPA(0x500), [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 2])
    let scope = ExpressionScope(symbols: SymbolTable([Symbol(name: "table", address: 0x500, size: 8)]))
    #expect(try Expression(text, scope: scope).evaluate(guest.state, memory: guest.memory) == value)
  }

  @Test("conditions ask about the event")
  func fields() throws {
    let scope = ExpressionScope(allowsEventFields: true)
    let condition = try Expression("port==0x3f8 && value=='K' && reason==io", scope: scope)
    let event: [EventField: UInt64] = [.port: 0x3F8, .value: 75, .reason: 30]
    #expect(try condition.evaluate(VCPUState()) { event[$0] } == 1)
    #expect(try condition.evaluate(VCPUState()) { $0 == .port ? 0x3F9 : event[$0] } == 0)
    #expect(throws: ExpressionError(column: 1, message: "this event has no 'port'")) {
      try condition.evaluate(VCPUState())
    }
  }

  @Test("a selector in protected mode goes through the GDT")
  func selectors() throws {
    var guest = try Guest.protected()
    guest.state.gdtr = TableRegister(base: 0x800, limit: 0x17)
    guest.memory.store(GPA(0x810), UInt64(0x00CF_9312_3456_FFFF))
    #expect(try Expression("0010:10").evaluate(guest.state, memory: guest.memory) == 0x12_3466)
    #expect(throws: ExpressionError.self) { try Expression("0018:10").evaluate(guest.state, memory: guest.memory) }
  }

  @Test("what follows an expression is left")
  func leading() throws {
    let (expression, length) = try Expression.leading("0x7c00+4 if al==1")
    #expect(expression.constant == 0x7C04 && length == 9 && expression.text == "0x7c00+4 ")
  }

  @Test("addresses may be typed in hexadecimal")
  func hexadecimal() throws {
    let scope = ExpressionScope(hexadecimal: true)
    #expect(try Expression("100", scope: scope).constant == 0x100)
    #expect(try Expression("fff0", scope: scope).constant == 0xFFF0)
  }

  @Test(
    "errors say where and what",
    arguments: [
      ("1+", "column 3: expected a number, register or symbol, found the end"),
      ("(1", "column 3: expected ')', found the end"), ("1 2", "column 3: expected an operator or the end, found '2'"),
      ("raxx+1", "column 1: unknown name 'raxx'; did you mean 'rax'?"),
      ("1+mian", "column 3: unknown name 'mian'; did you mean 'main'?"), ("1/0", "column 2: division by zero"),
      ("5%(2-2)", "column 2: division by zero"),
      ("0x", "column 1: '0x' is not a number: 10, 0x1f, 1fh and 0b101 are"),
      ("0xfffffffffffffffff", "column 1: '0xfffffffffffffffff' does not fit into 64 bits"),
      ("99999999999999999999", "column 1: '99999999999999999999' does not fit into 64 bits"),
      ("1 # 2", "column 3: '#' has no meaning in an expression"),
      ("'ab", "column 1: expected one character between quotes, as 'K' or '\\n'"),
      ("", "column 1: expected a number, register or symbol, found the end"),
      ("port==1", "column 1: unknown name 'port'"),
      ("byte[0xfffffff0]", "column 1: no memory at linear address 0xfffffff0"),
    ])
  func errors(_ text: String, _ message: String) throws {
    let guest = try Guest.real()
    let scope = ExpressionScope(symbols: SymbolTable([Symbol(name: "main", address: 1, size: 0)]))
    var found = ""
    do {
      _ = try Expression(text, scope: scope).evaluate(guest.state, memory: guest.memory)
    } catch let error {
      found = error.description
    }
    #expect(found == message)
  }

  @Test("deep nesting is refused, not followed")
  func deep() {
    for opener in ["(", "-", "[", "!", "*", "cs:(", "byte["] {
      #expect(throws: ExpressionError.self) { try Expression(String(repeating: opener, count: 900) + "1") }
    }
    #expect(throws: ExpressionError.self) { try Expression(String(repeating: "1+", count: 4000) + "1") }
    #expect(throws: Never.self) { try Expression(String(repeating: "1+", count: 2000) + "1") }
  }

  @Test("20,000 random texts compile or are refused")
  func fuzz() throws {
    let pieces = [
      "1", "0x", "rax", "al", "(", ")", "[", "]", "*", "&&", "||", "cs", ":", "byte", "-", "~", "/", "0", "'", "port",
      "main", " ", "<<", "64", "h", "$", "f000", "==", "%", "é", "\u{0}", "99999999999999999999999",
    ]
    let guest = try Guest.long()
    let scope = ExpressionScope(
      symbols: SymbolTable([Symbol(name: "main", address: 1, size: 0)]), allowsEventFields: true)
    var random = SplitMix(seed: 2)
    var compiled = 0
    for round in 0..<20_000 {
      let text =
        round & 1 == 0
        ? (0..<Int.random(in: 0..<12, using: &random)).map { _ in pieces.randomElement(using: &random) ?? "" }.joined()
        : String(decoding: random.bytes(Int.random(in: 0..<24, using: &random)), as: UTF8.self)
      guard let expression = try? Expression(text, scope: scope) else { continue }
      compiled += 1
      _ = try? expression.evaluate(guest.state, memory: guest.memory) { _ in 7 }
    }
    #expect(compiled > 100)
  }
}
