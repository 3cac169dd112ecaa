import VMCore
import X86

/// What an expression is compiled against.
package struct ExpressionScope: Sendable {
  package var symbols: SymbolTable
  /// Whether event fields (`port`, `value`, ...) and names of exit reasons are known: in conditions.
  package var allowsEventFields: Bool
  /// A plain number is hexadecimal, as in addresses typed to Bochs and DEBUG.
  package var hexadecimal: Bool
  package init(symbols: SymbolTable = .empty, allowsEventFields: Bool = false, hexadecimal: Bool = false) {
    self.symbols = symbols
    self.allowsEventFields = allowsEventFields
    self.hexadecimal = hexadecimal
  }
}

/// An expression of commands and breakpoint conditions, compiled to a little stack program.
///
/// C's operators with C's precedence on unsigned 64-bit numbers that wrap: `* / %`, `+ -`, `<< >>`,
/// `< <= > >=`, `== !=`, `&`, `^`, `|`, `&&`, `||`, unary `- + ~ ! * &`. Numbers are decimal, `0x1f`, `1fh`, `0b101`,
/// `'c'`; registers `rax`, `$rax`, `al`, `cs`, `zf`, `cr0`, `gs_base`; `pc` is the linear address of the next
/// instruction; a symbol is its address. `byte[E]`, `word[E]`, `dword[E]`, `qword[E]` read linear memory,
/// with `p` before the name physical memory; `*E` and `[E]` read as many bytes as the code is wide. As in gdb,
/// `*(int *)E` and `{char}E` read as many as the type has, `(short)E` cuts a number down to it, and `$sp` and `$fp` are
/// the whole stack and frame pointer.
/// `cs:ip`, `f000:fff0` (hexadecimal) are addresses by segment.
package struct Expression: Equatable, Sendable {
  package static let maximumLength = 4096
  static let maximumDepth = 200

  /// As typed.
  package let text: String
  let program: [ExpressionOperation]

  /// Compiles `text`; the error names the column and what was expected.
  package init(_ text: String, scope: ExpressionScope = ExpressionScope()) throws(ExpressionError) {
    var parser = try ExpressionParser(text, scope: scope)
    self.text = text
    program = try parser.parse()
  }

  /// Compiles the longest expression at the start of `text` and tells how many characters it took: for commands
  /// in which something follows (`break main if ...`).
  package static func leading(
    _ text: String, scope: ExpressionScope = ExpressionScope()
  ) throws(ExpressionError) -> (expression: Expression, length: Int) {
    var parser = try ExpressionParser(text, scope: scope)
    let (program, length) = try parser.parseLeading()
    return (Expression(text: String(text.prefix(length)), program: program), length)
  }

  private init(text: String, program: [ExpressionOperation]) {
    self.text = text
    self.program = program
  }

  /// The constant this is, nil if it depends on the machine.
  package var constant: UInt64? {
    if case .push(let value)? = program.first, program.count == 1 { return value }
    return nil
  }

  /// Where it reads, of an expression that is the contents of memory (`*E`, `dword[E]`, `{int}E`): the address, and how
  /// many bytes (0: as many as the code is wide); nil for all others.
  package var location: (address: Expression, size: Int, isPhysical: Bool)? {
    guard case .load(let size, let physical, _)? = program.last else { return nil }
    return (Expression(text: text, program: Array(program.dropLast())), Int(size), physical)
  }

  /// What it reads that is not known where only the event is, and with `registers` those that a `RegisterCapture`
  /// holds; nil where all of it is.
  package func unknown(registers isCaptured: Bool) -> String? {
    for operation in program {
      switch operation {
      case .load, .segmented: return "memory"
      case .programCounter, .inSegment(.cs): if !isCaptured { return "the registers" }
      case .inSegment: return "segment registers but CS"
      case .register(let register):
        switch register {
        case .gpr, .instructionPointer, .flags, .flag, .segment(.cs), .segmentField(.cs, .base):
          if !isCaptured { return "the registers" }
        default: return "registers but general ones, RIP, flags and CS"
        }
      default: break
      }
    }
    return nil
  }

  /// The value now. `field` answers for the event being judged; nil where the event has no such field.
  package func evaluate(
    _ state: VCPUState, memory: GuestMemory? = nil, field: (EventField) -> UInt64? = { _ in nil }
  ) throws(ExpressionError) -> UInt64 {
    var evaluator = ExpressionEvaluator()
    return try evaluator.run(program, state, memory, field: field)
  }
}

/// One step of a compiled expression: takes from and puts on a stack.
enum ExpressionOperation: Equatable, Sendable {
  case push(UInt64)
  case register(Register)
  /// The linear address of the next instruction.
  case programCounter
  case field(EventField, column: Int)
  /// Pops an address, pushes the little-endian number there. `size` 0 is the code's width.
  case load(size: UInt8, physical: Bool, column: Int)
  case unary(UnaryOperator)
  case binary(BinaryOperator, column: Int)
  /// `a && b`: pops a; if zero pushes 0 and goes to the target.
  case andAlso(target: Int)
  /// `a || b`: pops a; if not zero pushes 1 and goes to the target.
  case orElse(target: Int)
  case truth
  /// Pops an offset, pushes the linear address in the segment a register holds.
  case inSegment(SegmentName)
  /// Pops offset and selector, pushes the linear address.
  case segmented(column: Int)
}

enum UnaryOperator: Equatable, Sendable { case negate, complement, not }

enum BinaryOperator: String, Equatable, Sendable {
  case multiply = "*"
  case divide = "/"
  case remainder = "%"
  case add = "+"
  case subtract = "-"
  case shiftLeft = "<<"
  case shiftRight = ">>"
  case less = "<"
  case lessEqual = "<="
  case greater = ">"
  case greaterEqual = ">="
  case equal = "=="
  case notEqual = "!="
  case and = "&"
  case xor = "^"
  case or = "|"
  case logicalAnd = "&&"
  case logicalOr = "||"

  /// Higher binds tighter.
  var precedence: Int {
    switch self {
    case .multiply, .divide, .remainder: 10
    case .add, .subtract: 9
    case .shiftLeft, .shiftRight: 8
    case .less, .lessEqual, .greater, .greaterEqual: 7
    case .equal, .notEqual: 6
    case .and: 5
    case .xor: 4
    case .or: 3
    case .logicalAnd: 2
    case .logicalOr: 1
    }
  }
}
