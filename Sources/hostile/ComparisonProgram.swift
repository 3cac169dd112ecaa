import X86

/// Random programs of the kind compilers make, where a rewriter has most to get wrong: arithmetic whose flags are used
/// later or never, loops, calls, memory operands that miss, SSE; and stores into the program's own code, pages mapped
/// elsewhere, and pages seen at two addresses.
struct ComparisonProgram {
  private let mode: GuestMode
  private var code: [UInt8] = []
  private var depth = 0
  /// Linear page that may become a second view of the program's page.
  private static let alias: UInt64 = 0x20

  private let hasStreams: Bool

  /// A program of up to a kilobyte that begins again at its end; with `hasStreams` also of loops that run through memory by
  /// equal steps.
  static func program(_ mode: GuestMode, hasStreams: Bool, _ random: inout Random) -> [UInt8] {
    var program = ComparisonProgram(mode, hasStreams: hasStreams)
    let length = 64 + random.below(700)
    while program.code.count < length { program.addPiece(&random) }
    return program.closed()
  }

  private init(_ mode: GuestMode, hasStreams: Bool) {
    self.mode = mode
    self.hasStreams = hasStreams
  }
  private var bits: Int { mode.bits }

  private func closed() -> [UInt8] {
    let size = bits == 16 ? 2 : 4
    return code + [0xE9] + Self.little(UInt64(bitPattern: Int64(-(code.count + 1 + size))), size)
  }

  private static func little(_ value: UInt64, _ size: Int) -> [UInt8] {
    (0..<size).map { UInt8(truncatingIfNeeded: value >> UInt64($0 * 8)) }
  }

  // MARK: Pieces

  private mutating func addPiece(_ random: inout Random) {
    if hasStreams, random.one(in: 4) { return addStream(&random) }
    switch random.below(40) {
    case 0..<8: addArithmetic(&random)
    case 8..<12: addMove(&random)
    case 12..<15: addShift(&random)
    case 15..<17: addUnary(&random)
    case 17..<20: addCondition(&random)
    case 20..<23: addBranch(&random)
    case 23..<26: addLoop(&random)
    case 26..<28: addCall(&random)
    case 28..<30: addStack(&random)
    case 30..<33: addSSE(&random)
    case 33..<35: addRare(&random)
    case 35: addString(&random)
    case 36: addStoreIntoCode(&random)
    case 37..<39: addRemapping(&random)
    default: addFlags(&random)
    }
  }

  /// Operand size and REX prefixes, then these opcode bytes, then any operand.
  private mutating func instruction(_ random: inout Random, _ opcode: [UInt8], reg: UInt8? = nil, prefix: UInt8? = nil) {
    if random.one(in: 6) { code.append(0x66) }
    if let prefix { code.append(prefix) }
    if bits == 64, random.one(in: 2) { code.append(0x40 | random.byte() & 15) }
    code += opcode
    operand(&random, reg: reg)
  }

  /// ModRM with what belongs to it; displacements are small.
  private mutating func operand(_ random: inout Random, reg: UInt8?) {
    let mod = random.one(in: 2) ? 3 : UInt8(random.below(3))
    let rm = UInt8(random.below(8))
    code.append(mod << 6 | (reg ?? UInt8(random.below(8))) << 3 | rm)
    guard mod != 3 else { return }
    var size = [0, 1, bits == 16 ? 2 : 4][Int(mod)]
    if bits == 16 {
      if mod == 0, rm == 6 { size = 2 }
    } else if rm == 4 {
      let sib = random.byte()
      code.append(sib)
      if mod == 0, sib & 7 == 5 { size = 4 }
    } else if mod == 0, rm == 5 {
      size = 4
    }
    code += Self.little(size == 1 ? UInt64(random.byte()) : UInt64(random.below(0x3000)), size)
  }

  private mutating func addArithmetic(_ random: inout Random) {
    let family = UInt8(random.below(8))
    switch random.below(4) {
    case 0:
      instruction(&random, [0x83], reg: family)
      code.append(random.byte())
    case 1:
      instruction(&random, [0x80], reg: family)
      code.append(random.byte())
    case 2: instruction(&random, [random.pick([0x84, 0x85, 0x84, 0x85, 0x39, 0x3B])])
    default: instruction(&random, [family << 3 | UInt8(random.below(4))])
    }
  }

  private mutating func addMove(_ random: inout Random) {
    switch random.below(6) {
    case 0: instruction(&random, [0x0F, random.pick([0xB6, 0xB7, 0xBE, 0xBF])])
    case 1: instruction(&random, [0x8D])
    case 2:
      instruction(&random, [0xC6], reg: 0)
      code.append(random.byte())
    case 3:
      code.append(0xB8 + UInt8(random.below(8)))
      code += Self.little(random.one(in: 4) ? random.edgy() : UInt64(random.below(0x1_0000)), bits == 16 ? 2 : 4)
    case 4 where bits == 64: instruction(&random, [0x63])
    default: instruction(&random, [0x88 + UInt8(random.below(4))])
    }
  }

  private mutating func addShift(_ random: inout Random) {
    let group = random.pick([0, 1, 2, 3, 4, 5, 7] as [UInt8])
    let opcode = random.pick([0xC0, 0xC1, 0xC1, 0xD1, 0xD3, 0xD0] as [UInt8])
    instruction(&random, [opcode], reg: group)
    if opcode < 0xC2 { code.append(random.one(in: 4) ? random.byte() : UInt8(random.below(32))) }
  }

  private mutating func addUnary(_ random: inout Random) {
    switch random.below(3) {
    case 0: instruction(&random, [0xFE + UInt8(random.below(2))], reg: UInt8(random.below(2)))
    case 1: instruction(&random, [0xF6 + UInt8(random.below(2))], reg: UInt8(2 + random.below(2)))
    default: instruction(&random, [0xF6 + UInt8(random.below(2))], reg: UInt8(4 + random.below(4)))
    }
  }

  private mutating func addCondition(_ random: inout Random) {
    instruction(&random, [0x0F, (random.one(in: 2) ? 0x90 : 0x40) | random.byte() & 15])
  }

  private func piece(_ random: inout Random, _ count: Int) -> [UInt8] {
    var inner = ComparisonProgram(mode, hasStreams: false)
    inner.depth = depth + 1
    guard inner.depth < 4 else { return [] }
    for _ in 0..<count { inner.addPiece(&random) }
    return inner.code.count < 110 ? inner.code : []
  }

  /// A jump over a piece.
  private mutating func addBranch(_ random: inout Random) {
    let over = piece(&random, 1 + random.below(3))
    code += [0x70 | random.byte() & 15, UInt8(over.count)] + over
  }

  private mutating func addLoop(_ random: inout Random) {
    code.append(0xB8 + 1)
    code += Self.little(UInt64(2 + random.below(60)), bits == 16 ? 2 : 4)
    var body = piece(&random, 1 + random.below(5))
    switch random.below(3) {
    case 0: body += bits == 64 ? [0xFF, 0xC9] : [0x49]
    case 1: body += [0x83, 0xE9, 1]
    default:
      code += body + [0xE2, UInt8(truncatingIfNeeded: -(body.count + 2))]
      return
    }
    code += body + [random.one(in: 4) ? 0x7F : 0x75, UInt8(truncatingIfNeeded: -(body.count + 2))]
  }

  /// A loop whose operands go on by equal distances, over pages' ends and perhaps the program itself.
  private mutating func addStream(_ random: inout Random) {
    guard bits != 16 else { return addLoop(&random) }
    let pointer: UInt8 = random.pick([3, 6, 7])
    code += [0xB8 + pointer] + Self.little(UInt64(0x7E00 + random.below(0x6000)), 4)
    code += [0xB9] + Self.little(UInt64(20 + random.below(100)), 4)
    var body: [UInt8] = []
    for _ in 0...random.below(2) { body += streamOperand(pointer, &random) }
    body += streamStep(pointer, &random)
    for _ in 0..<random.below(3) { body += streamOperand(pointer, &random) }
    body += [0x83, 0xE9, 1]
    code += body + [0x75, UInt8(truncatingIfNeeded: -(body.count + 2))]
  }

  private func streamOperand(_ pointer: UInt8, _ random: inout Random) -> [UInt8] {
    let width: [UInt8] = bits == 64 && random.one(in: 2) ? [0x48] : []
    let register: UInt8 = random.pick([0, 2])
    let operand: [UInt8] = [0x40 | register << 3 | pointer, random.byte()]
    if random.one(in: 5) { return [0x0F, 0x10 + UInt8(random.below(2))] + operand }
    return width + [random.pick([0x8B, 0x89, 0x03, 0x01, 0x39, 0x3B, 0x8A, 0x88, 0x31, 0x13] as [UInt8])] + operand
  }

  private func streamStep(_ pointer: UInt8, _ random: inout Random) -> [UInt8] {
    let width: [UInt8] = bits == 64 && !random.one(in: 4) ? [0x48] : []
    let code: UInt8 = random.pick([0, 0, 5]) << 3
    switch random.below(4) {
    case 0: return width + [0xFF, 0xC0 | code & 8 | pointer]
    case 1: return width + [0x81, 0xC0 | code | pointer] + Self.little(UInt64(random.below(0x240)), 4)
    default: return width + [0x83, 0xC0 | code | pointer, UInt8(random.below(0x50))]
    }
  }

  /// A function, called a few times.
  private mutating func addCall(_ random: inout Random) {
    let body = piece(&random, 1 + random.below(3)) + [0xC3]
    code += [0xEB, UInt8(body.count)] + body
    let size = bits == 16 ? 2 : 4
    for number in 0..<(1 + random.below(2)) {
      let back = -(body.count + (number + 1) * (1 + size))
      code += [0xE8] + Self.little(UInt64(bitPattern: Int64(back)), size)
    }
  }

  private mutating func addStack(_ random: inout Random) {
    let registers = [0, 1, 2, 3, 5, 6, 7] as [UInt8]
    code.append(0x50 + random.pick(registers))
    if random.one(in: 2) { addArithmetic(&random) }
    code.append(0x58 + random.pick(registers))
  }

  private mutating func addSSE(_ random: inout Random) {
    let opcodes: [UInt8] = [
      0x10, 0x11, 0x28, 0x29, 0x12, 0x13, 0x14, 0x16, 0x17, 0x54, 0x57, 0x58, 0x59, 0x5C, 0x5E, 0x51, 0x2A, 0x2C, 0x2E, 0x6E,
      0x7E, 0x6F, 0x7F, 0xEF, 0xFE, 0xD4, 0x70, 0xC6, 0x5D,
    ]
    let opcode = random.pick(opcodes)
    let prefix: UInt8? = random.pick([nil, 0x66, 0xF2, 0xF3])
    instruction(&random, [0x0F, opcode], prefix: prefix)
    if opcode == 0x70 || opcode == 0xC6 { code.append(random.byte()) }
  }

  private mutating func addRare(_ random: inout Random) {
    let opcode = random.pick([0xA3, 0xAB, 0xB3, 0xBB, 0xA5, 0xAD, 0xAF, 0xB0, 0xB1, 0xBC, 0xBD, 0xC0, 0xC1] as [UInt8])
    switch random.below(4) {
    case 0: code += [0x0F, 0xC8 + UInt8(random.below(8))]
    case 1: instruction(&random, [0x86 + UInt8(random.below(2))])
    case 2: code.append(random.pick([0x98, 0x99]))
    default: instruction(&random, [0x0F, opcode])
    }
  }

  private mutating func addString(_ random: inout Random) {
    code.append(0xB9)
    code += Self.little(UInt64(random.below(40)), bits == 16 ? 2 : 4)
    if random.one(in: 2) { code.append(0xF3) }
    code.append(random.pick([0xA4, 0xA5, 0xAA, 0xAB, 0xAC, 0xAE, 0xA6]))
  }

  private mutating func addFlags(_ random: inout Random) {
    code += random.pick([[0xF8], [0xF9], [0xF5], [0x9C, 0x9D], [0xFA], [0xFB], [0x9F], [0x9E], [0xFC], [0xFD, 0xFC], [0x9C, 0x58]])
  }

  // MARK: Code and pages that change

  /// MOV of a constant to a direct address of `size` bytes.
  private mutating func store(_ address: UInt64, _ value: UInt64, size: Int) {
    if size == 2, bits != 16 { code.append(0x66) }
    if size == 4, bits == 16 { code.append(0x66) }
    let far = bits == 16 && address > 0xFFFF
    if far { code.append(0x67) }
    code.append(size == 1 ? 0xC6 : 0xC7)
    switch bits {
    case 64: code += [0x04, 0x25] + Self.little(address, 4)
    case 32: code += [0x05] + Self.little(address, 4)
    default: code += (far ? [0x05] : [0x06]) + Self.little(address, far ? 4 : 2)
    }
    code += Self.little(value, size)
  }

  private mutating func addStoreIntoCode(_ random: inout Random) {
    let offset = UInt64(random.below(700))
    let page = random.one(in: 3) && mode.paging != .none ? Self.alias << 12 : GuestTables.program
    store(page + offset, random.one(in: 2) ? 0x90 : UInt64(random.byte()), size: 1)
  }

  /// An entry of the lowest page table, then mostly what makes the processor look at it.
  private mutating func addRemapping(_ random: inout Random) {
    guard mode.paging != .none, bits != 16 else { return addMove(&random) }
    let wide = mode.paging != .bits32
    let page = random.pick([Self.alias, Self.alias, 0x9, 0xA, 0x8, 0xE])
    let target = page == Self.alias ? 0x8 : random.one(in: 2) ? page : 0xB
    let rights = random.pick([7, 7, 0x67, 0x67, 0x67, 5, 1, 0, 0x65] as [UInt64])
    let table = GuestTables.pages + (wide ? 0x4000 : 0x1000)
    store(table + page * (wide ? 8 : 4), target << 12 | rights, size: 4)
    if random.one(in: 3) { return }
    if random.one(in: 3) {
      code += [0x0F, 0x20, 0xD8, 0x0F, 0x22, 0xD8]
    } else {
      code += [0x0F, 0x01] + (bits == 64 ? [0x3C, 0x25] : [0x3D]) + Self.little(page << 12, 4)
    }
  }
}
