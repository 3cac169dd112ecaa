import X86

/// The memory operands of a loop whose registers stay as they are or move by the same distance in every round: while each
/// stays on its page, no round needs the TLB.
struct Streams {
  /// An operand of the loop, as its code was written.
  struct Access {
    let op: MicroOpPointer
    let size: Int
    let isWrite: Bool
  }

  /// Operands by the same registers and close together.
  struct Stream {
    /// The first of them, for its registers.
    let model: MicroOpPointer
    let isWrite: Bool
    /// The register that moves, by byte offset, if one does.
    let register: UInt8?
    /// log2 of what it is multiplied by.
    let scale: UInt8
    /// How far that moves the operands in a round, in bytes.
    let stride: Int64
    /// The register holds 32 bits: it must not wrap.
    let isNarrow: Bool
    /// Where the operands begin and end, from what the registers give as a round begins.
    var low: Int64
    var high: Int64
  }

  private(set) var all: [Stream] = []
  /// Host registers that hold what is added to the registers of streams, by their places in `all`; the others' is in `CPU`.
  var homes: [Int: HostRegister] = [:]
  private var places: [MicroOpPointer: Int] = [:]

  static let limit = 6
  /// Rounds that are charged together, at most, and how many micro-ops they may have in all.
  static let mostCopies = 4
  private static let opsOfCopies = 40
  /// So many rounds of a trace, a power of two.
  static func copies(of trace: Trace) -> Int {
    let ops = trace.parts.reduce(0) { $0 + $1.block.body.count }
    var copies = mostCopies
    while copies > 1, ops * copies > opsOfCopies { copies /= 2 }
    return copies
  }

  /// Larger ones would be looked up again after a few rounds.
  private static let strideLimit: Int64 = 512
  private static let spanLimit: Int64 = 512

  /// nil where some operand moves otherwise, or an instruction may change more than is known.
  init?(_ accesses: [Access], _ trace: Trace) {
    guard !accesses.isEmpty, let round = Movements(trace) else { return nil }
    var before = Movements()
    var next = accesses[...]
    for part in trace.parts {
      for (index, op) in part.block.body.enumerated() {
        if let access = next.first, access.op == part.block.body.baseAddress.map({ $0 + index }) {
          guard add(access, round, before) else { return nil }
          next.removeFirst()
        }
        before.apply(op)
      }
    }
    guard next.isEmpty else { return nil }
  }

  /// The stream that the operand of this micro-op belongs to.
  func place(of op: MicroOpPointer) -> Int? { places[op] }

  /// What `homes` may be, the best first: `HostLayout.b` is where all others are brought for each access.
  var possibleHomes: [[Int: HostRegister]] {
    let (a, b) = (HostLayout.a, HostLayout.b)
    switch all.count {
    case 1: return [[0: b]]
    case 2: return [[0: b, 1: a], [0: a], [1: a]]
    default: return all.indices.map { [$0: a] }
    }
  }

  private mutating func add(_ access: Access, _ round: Movements, _ before: Movements) -> Bool {
    let o = access.op.pointee
    guard o.segment == Movements.none, round.isSteady(o.base), round.isSteady(o.index) else { return false }
    let (baseMoves, indexMoves) = (round.moves(o.base), round.moves(o.index))
    if baseMoves, indexMoves { return false }
    let register = baseMoves ? o.base : indexMoves ? o.index : nil
    let scale = indexMoves ? o.scale : 0
    let stride = register.map { round.distance($0) << Int64(scale) } ?? 0
    let lead = register.map { before.distance($0) << Int64(scale) } ?? 0
    let low = o.disp &+ lead
    guard abs(stride) <= Self.strideLimit, abs(lead) <= Self.spanLimit, Int32(exactly: low) != nil, Int32(exactly: o.disp) != nil
    else { return false }
    let high = low + Int64(access.size)
    let known = all.firstIndex { stream in
      let model = stream.model.pointee
      let sameRegisters = model.base == o.base && model.index == o.index && model.scale == o.scale
      return sameRegisters && stream.isWrite == access.isWrite && max(stream.high, high) - min(stream.low, low) <= Self.spanLimit
    }
    if let known {
      all[known].low = min(all[known].low, low)
      all[known].high = max(all[known].high, high)
      places[access.op] = known
    } else {
      guard all.count < Self.limit else { return false }
      places[access.op] = all.count
      all.append(
        Stream(
          model: access.op, isWrite: access.isWrite, register: register, scale: scale, stride: stride,
          isNarrow: register.map { round.isNarrow($0) } ?? false, low: low, high: high))
    }
    return true
  }
}

/// How far instructions move the general registers.
private struct Movements {
  private struct Movement {
    var distance: Int64 = 0
    /// Bytes of what moves it: 0 if nothing does.
    var size = 0
    /// It gets no other value than by adding constants.
    var isSteady = true
  }
  private var registers = Array(repeating: Movement(), count: 16)

  /// Stands for no register.
  static let none = UInt8(Slot.zero * 8)

  init() {}

  /// Those of a whole trace; nil if some instruction's are not known.
  init?(_ trace: Trace) {
    for part in trace.parts {
      for op in part.block.body {
        guard op.effectOnRegisters != nil else { return nil }
        apply(op)
      }
    }
  }

  mutating func apply(_ op: MicroOp) {
    switch op.effectOnRegisters {
    case .none?, nil: break
    case .sets(let register): registers[Int(register >> 3) & 15].isSteady = false
    case .adds(let distance, let register, let size):
      let slot = Int(register >> 3) & 15
      registers[slot].distance &+= distance
      if registers[slot].size != 0, registers[slot].size != size { registers[slot].isSteady = false }
      registers[slot].size = size
    }
  }

  func isSteady(_ register: UInt8) -> Bool {
    register == Self.none || register >> 3 < 16 && registers[Int(register >> 3)].isSteady
  }
  func moves(_ register: UInt8) -> Bool { register != Self.none && registers[Int(register >> 3) & 15].size != 0 }
  func isNarrow(_ register: UInt8) -> Bool { registers[Int(register >> 3) & 15].size == 4 }
  /// Kept small: far more than any stream may move is as good as any other.
  func distance(_ register: UInt8) -> Int64 { min(max(registers[Int(register >> 3) & 15].distance, -1 << 20), 1 << 20) }
}

/// What an instruction does to the general registers.
enum EffectOnRegisters {
  case none
  case adds(Int64, to: UInt8, size: Int)
  case sets(UInt8)
}

extension MicroOp {
  /// Of those that loops are mostly made of; nil for the others.
  var effectOnRegisters: EffectOnRegisters? {
    if let binary = Binary(op) { return effect(binary) }
    if let unary = Unary(op) { return effect(unary) }
    let raw = op.rawValue
    if raw >= Op.shl8ri.rawValue && raw <= Op.movsx32to64m.rawValue { return .sets(dst) }
    switch op {
    case .lea64: return effectOfLEA(size: 8)
    case .lea32: return effectOfLEA(size: 4)
    case .imul32rr, .imul64rr, .imul32rri, .imul64rri, .bswap32, .bswap64, .setccR, .cmov32rr, .cmov64rr: return .sets(dst)
    case .cdq, .cqo: return .sets(UInt8(2 * 8))
    case .cdqe, .cwde: return .sets(0)
    case .decJnz32: return .adds(-1, to: dst, size: 4)
    case .decJnz64: return .adds(-1, to: dst, size: 8)
    case .jcc, .jmp, .next, .nop: return EffectOnRegisters.none
    case .sse: return effectOfSSE
    case .integer where aux == IntegerOp.imul2.rawValue || aux == IntegerOp.imul3.rawValue: return .sets(dst)
    case .vector: return isRewrittenVector ? vectorRegister.map { .sets($0) } ?? EffectOnRegisters.none : nil
    default: return comparesAndJumps ? EffectOnRegisters.none : nil
    }
  }

  private func effect(_ k: Binary) -> EffectOnRegisters {
    guard k.form < 3, k.writes else { return .none }
    let isSum = k.operation == 0 || k.operation == 5
    guard k.form == 1, isSum, k.size >= 4 else { return .sets(dst) }
    return .adds(k.operation == 0 ? imm : 0 &- imm, to: dst, size: k.size)
  }

  private func effect(_ k: Unary) -> EffectOnRegisters {
    if k.inMemory { return .none }
    guard k.size >= 4 else { return .sets(dst) }
    switch k.operation {
    case .inc: return .adds(1, to: dst, size: k.size)
    case .dec: return .adds(-1, to: dst, size: k.size)
    case .neg, .not: return .sets(dst)
    }
  }

  private func effectOfLEA(size: Int) -> EffectOnRegisters {
    base == dst && index == Movements.none ? .adds(disp, to: dst, size: size) : .sets(dst)
  }

  private var effectOfSSE: EffectOnRegisters? {
    guard isRewrittenSSE else { return nil }
    switch sseOp {
    case .toGPR32, .toGPR64, .convertToGPR: return .sets(dst)
    default: return EffectOnRegisters.none
    }
  }
}
