import VMCore
import X86

/// Runs a compiled expression against one vCPU. The state is handed down, never stored: copying it costs more
/// than a whole condition.
struct ExpressionEvaluator {
  private var stack: [UInt64] = []

  mutating func run(
    _ program: [ExpressionOperation], _ state: borrowing VCPUState, _ memory: GuestMemory?,
    field: (EventField) -> UInt64?
  ) throws(ExpressionError) -> UInt64 {
    stack.reserveCapacity(8)
    var position = 0
    while position < program.count {
      let operation = program[position]
      position += 1
      switch operation {
      case .push(let value): stack.append(value)
      case .register(let register): stack.append(state.read(register))
      case .programCounter: stack.append(state.linearRIP.value)
      case .field(let name, let column):
        guard let value = field(name) else {
          throw ExpressionError(column: column, message: "this event has no '\(name.rawValue)'")
        }
        stack.append(value)
      case .load(let size, let physical, let column):
        stack.append(try Self.load(pop(), Int(size), physical, column, state, memory))
      case .unary(let unary): stack.append(Self.apply(unary, pop()))
      case .binary(let binary, let column):
        let right = pop()
        let left = pop()
        stack.append(try Self.apply(binary, left, right, column))
      case .truth: stack.append(pop() != 0 ? 1 : 0)
      case .andAlso(let target): if pop() == 0 { jump(to: target, with: 0, &position) }
      case .orElse(let target): if pop() != 0 { jump(to: target, with: 1, &position) }
      case .inSegment(let name): stack.append(Self.linear(state[name].base, pop(), state))
      case .segmented(let column):
        let offset = pop()
        stack.append(Self.linear(try Self.base(ofSelector: pop(), column, state, memory), offset, state))
      }
    }
    return pop()
  }

  private mutating func jump(to target: Int, with value: UInt64, _ position: inout Int) {
    stack.append(value)
    position = target
  }

  private mutating func pop() -> UInt64 {
    guard let value = stack.popLast() else {
      preconditionFailure("the parser emits each operation after its operands")
    }
    return value
  }

  private static func linear(_ base: UInt64, _ offset: UInt64, _ state: borrowing VCPUState) -> UInt64 {
    state.mode == .long64 ? base &+ offset : (base &+ offset) & 0xFFFF_FFFF
  }

  private static func base(
    ofSelector value: UInt64, _ column: Int, _ state: VCPUState, _ memory: GuestMemory?
  ) throws(ExpressionError) -> UInt64 {
    let selector = UInt16(truncatingIfNeeded: value)
    if state.mode == .real16 || state.mode == .virtual8086 { return UInt64(selector) << 4 }
    if let memory, let segment = try? DescriptorTables.segment(selector, state: state, memory: memory) {
      return segment.base
    }
    throw ExpressionError(column: column, message: "selector \(Hex.text(value)) has no descriptor")
  }

  private static func load(
    _ address: UInt64, _ size: Int, _ physical: Bool, _ column: Int, _ state: VCPUState, _ memory: GuestMemory?
  ) throws(ExpressionError) -> UInt64 {
    guard let memory else { throw ExpressionError(column: column, message: "there is no memory to read from") }
    let count = size == 0 ? state.mode.codeBits / 8 : size
    let view = AddressSpaceView(state: state, memory: memory)
    let bytes = physical ? memory.readBytes(GPA(address), count: count) : view.read(GVA(address), count: count)
    var value: UInt64 = 0
    for (index, byte) in bytes.enumerated() {
      guard let byte else {
        let kind = physical ? "physical" : "linear"
        throw ExpressionError(column: column, message: "no memory at \(kind) address \(Hex.text(address))")
      }
      value |= UInt64(byte) << UInt64(index * 8)
    }
    return value
  }

  private static func apply(_ unary: UnaryOperator, _ value: UInt64) -> UInt64 {
    switch unary {
    case .negate: 0 &- value
    case .complement: ~value
    case .not: value == 0 ? 1 : 0
    }
  }

  private static func apply(
    _ binary: BinaryOperator, _ a: UInt64, _ b: UInt64, _ column: Int
  ) throws(ExpressionError) -> UInt64 {
    switch binary {
    case .multiply: return a &* b
    case .divide, .remainder:
      guard b != 0 else { throw ExpressionError(column: column, message: "division by zero") }
      return binary == .divide ? a / b : a % b
    case .add: return a &+ b
    case .subtract: return a &- b
    case .shiftLeft: return b < 64 ? a << b : 0
    case .shiftRight: return b < 64 ? a >> b : 0
    case .less: return a < b ? 1 : 0
    case .lessEqual: return a <= b ? 1 : 0
    case .greater: return a > b ? 1 : 0
    case .greaterEqual: return a >= b ? 1 : 0
    case .equal: return a == b ? 1 : 0
    case .notEqual: return a != b ? 1 : 0
    case .and, .logicalAnd: return a & b
    case .xor: return a ^ b
    case .or, .logicalOr: return a | b
    }
  }
}
