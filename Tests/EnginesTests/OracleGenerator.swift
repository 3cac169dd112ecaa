import COracle
import CZydis

/// A case before it runs: initial state, and what the comparison must leave out.
struct OracleCase {
  var initial = coracle_case()
  /// The data area.
  var data: [UInt64] = []
  /// Arithmetic flags the last instruction to touch them leaves undefined.
  var undefinedFlags: UInt64 = 0
  /// Flags any instruction leaves undefined: what counts if the sequence ends early.
  var everUndefinedFlags: UInt64 = 0
  var everUndefinedStatus: UInt16 = 0
  /// C0..C3 of the x87 status word left undefined, at their places.
  var undefinedStatus: UInt16 = 0
  var disassembly: [String] = []
  /// A branch may leave out instructions.
  var branches = false

  init() {}

  /// One piece of code in 64-bit mode: RDI points at data of zeros, RSP behind it, no floating-point exception is
  /// unmasked.
  init(code: [UInt8]) {
    stand(in: CORACLE_LONG64)
    (initial.mxcsr, initial.control) = (0x1F80, 0x37F)
    data = Array(repeating: 0, count: Int(CORACLE_DATA_BYTES) / 8)
    put(code)
  }

  /// Starts at the code, with RDI and RSP in the data.
  mutating func stand(in mode: coracle_mode) {
    initial.mode = UInt8(mode.rawValue)
    initial.rip = UInt64(CORACLE_CODE)
    initial.gpr.7 = UInt64(CORACLE_DATA)
    initial.gpr.4 = UInt64(CORACLE_DATA) + 0x1000
  }

  /// `code`, at most 48 bytes, with INT3 behind it.
  mutating func put(_ code: [UInt8]) {
    let padding = [UInt8](repeating: 0xCC, count: 48 - code.count)
    withUnsafeMutableBytes(of: &initial.code) { $0.copyBytes(from: code + padding) }
  }
}

/// Draws instruction sequences and states for the oracle.
struct OracleGenerator {
  /// What most instructions are of: everything, x87, or SSE3 and later with VEX and BMI.
  enum Focus: String, CaseIterable { case any, x87, vector }
  private let focus: Focus
  private var random: OracleRandom
  private var decoders: [ZydisDecoder]
  private var formatter = ZydisFormatter()
  /// GPRs whose initial value a memory operand depends on.
  private var pinned: Set<Int> = []
  private var draft = OracleCase()

  init(seed: UInt64, focus: Focus = .any) {
    self.focus = focus
    random = OracleRandom(seed: seed)
    decoders = [
      (ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64), (ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32),
      (ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32),
      (ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16),
    ].map { mode, width in
      var decoder = ZydisDecoder()
      _ = ZydisDecoderInit(&decoder, mode, width)
      return decoder
    }
    _ = ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL)
  }

  private var mode: Int { Int(draft.initial.mode) }
  private var is64: Bool { mode == Int(CORACLE_LONG64.rawValue) }
  /// Where data begins as instructions address it, and the offset of the code page.
  private var dataStart: UInt64 { mode < 2 ? UInt64(CORACLE_DATA) : 0 }
  private var codeStart: UInt64 { mode < 2 ? UInt64(CORACLE_CODE) : 0 }
  private var gprMask: UInt64 { is64 ? .max : 0xFFFF_FFFF }

  /// The next case.
  mutating func next() -> OracleCase {
    draft = OracleCase()
    draft.initial.mode = UInt8(random.pick([0, 0, 0, 0, 0, 0, 1, 1, 2, 3]))
    pinned = [4]
    drawState()
    var bytes: [UInt8] = []
    var branches: [(at: Int, size: Int, end: Int)] = []
    var ends: [Int] = []
    let count = random.pick([1, 1, 1, 2, 2, 3, 4])
    while ends.count < count {
      guard let drawn = drawInstruction(at: bytes.count) else { continue }
      if let branch = drawn.branch {
        branches.append((bytes.count + branch.offset, branch.size, bytes.count + drawn.bytes.count))
      }
      bytes += drawn.bytes
      ends.append(bytes.count)
    }
    // Branches go forward to the beginning of an instruction, or to the INT3 after the last.
    for branch in branches {
      let target = random.pick(ends.filter { $0 >= branch.end })
      let distance = target - branch.end
      for i in 0..<branch.size { bytes[branch.at + i] = UInt8(truncatingIfNeeded: distance >> (i * 8)) }
    }
    bytes += Array(repeating: 0xCC, count: 48 - bytes.count)
    withUnsafeMutableBytes(of: &draft.initial.code) { $0.copyBytes(from: bytes) }
    return draft
  }

  /// An address in the data area as the case's segments see it, with room on both sides.
  private mutating func dataAddress(alignment: Int = 1) -> UInt64 {
    let offset = 0x200 + random.below(0x1A00)
    return dataStart &+ UInt64(offset / alignment * alignment)
  }

  private mutating func drawState() {
    var c = draft.initial
    withUnsafeMutableBytes(of: &c.gpr) { bytes in
      let gpr = bytes.bindMemory(to: UInt64.self)
      for i in 0..<16 {
        let value = random.chance(30) ? dataAddress(alignment: random.pick([1, 8, 16])) : random.integer()
        gpr[i] = is64 || i < 8 ? value & gprMask : 0
      }
      gpr[4] = dataAddress(alignment: 8)
    }
    c.rip = codeStart
    c.rflags = 0x202 | random.next() & 0x8D5 | (random.chance(15) ? 0x400 : 0)
    withUnsafeMutableBytes(of: &c.xmm) { bytes in
      let xmm = bytes.bindMemory(to: UInt64.self)
      for i in 0..<(is64 ? 32 : 16) { xmm[i] = random.vectorHalf() }
    }
    withUnsafeMutableBytes(of: &c.ymm_high) { bytes in
      let upper = bytes.bindMemory(to: UInt64.self)
      for i in 0..<(is64 ? 32 : 16) where OracleFilter.hasVEX { upper[i] = random.vectorHalf() }
    }
    c.mxcsr = random.mxcsr()
    c.control = random.x87Control()
    c.status = UInt16(random.below(8)) << 11 | UInt16(random.below(16) & 7) << 8
    if c.control & 0x3F == 0x3F && random.chance(30) { c.status |= UInt16(random.below(64)) }
    c.tags = random.chance(30) ? 0 : random.chance(50) ? random.byte() : 0xFF
    for i in 0..<8 {
      let value = random.extended()
      withUnsafeMutableBytes(of: &c.significand) { $0.bindMemory(to: UInt64.self)[i] = value.significand }
      withUnsafeMutableBytes(of: &c.sign_exponent) { $0.bindMemory(to: UInt16.self)[i] = value.signExponent }
    }
    draft.initial = c
    draft.data = (0..<CORACLE_DATA_BYTES / 8).map { $0 & 7 < 5 ? random.vectorHalf() : random.next() }
  }

  // MARK: Instructions

  private struct Drawn {
    var bytes: [UInt8]
    /// Where a relative displacement lies in it.
    var branch: (offset: Int, size: Int)?
  }

  /// Random bytes of the shape an instruction has; nil where they are none, or not one to be run.
  private mutating func drawInstruction(at offset: Int) -> Drawn? {
    var bytes: [UInt8] = []
    if random.chance(20) { bytes.append(0x66) }
    if random.chance(12) { bytes.append(random.pick([0xF2, 0xF3])) }
    if random.chance(3) { bytes.append(0xF0) }
    if random.chance(3) { bytes.append(0x67) }
    if random.chance(2) { bytes.append(random.pick([0x26, 0x2E, 0x36, 0x3E])) }
    if is64 && random.chance(45) { bytes.append(0x40 | UInt8(random.below(16))) }
    drawOpcode(&bytes)
    let start = bytes.count
    while bytes.count < 15 { bytes.append(random.byte()) }
    // Immediates and displacements with small values are likelier to do something.
    if random.chance(40), start + 2 < 15 { bytes[start + 2] = UInt8(random.below(32)) }
    guard let decoded = decode(bytes) else { return nil }
    let (instruction, operands) = decoded
    guard OracleFilter.allows(instruction, operands, mode: mode) else { return nil }
    guard offset + Int(instruction.length) <= 44 else { return nil }
    var result = Drawn(bytes: Array(bytes.prefix(Int(instruction.length))))
    guard noteFlags(instruction) else { return nil }
    steer(instruction, operands, &result, at: offset)
    if instruction.attributes & ZYDIS_ATTRIB_IS_RELATIVE != 0, instruction.raw.imm.0.is_relative != 0 {
      draft.branches = true
      result.branch = (Int(instruction.raw.imm.0.offset), Int(instruction.raw.imm.0.size) / 8)
    }
    draft.disassembly.append(text(result.bytes, at: offset))
    return result
  }

  /// The opcode's first bytes: what makes random ones of a kind.
  private mutating func drawOpcode(_ bytes: inout [UInt8]) {
    let shape = focus == .x87 ? 95 : focus == .vector ? 99 : random.below(100)
    switch shape {
    case 0..<35: break
    case 35..<80: bytes.append(0x0F)
    case 80..<96: bytes.append(0xD8 + UInt8(random.below(8)))
    default: drawVector(&bytes)
    }
  }

  /// A VEX prefix, or one of the longer opcode maps.
  private mutating func drawVector(_ bytes: inout [UInt8]) {
    guard OracleFilter.hasVEX && random.chance(65) else {
      bytes.append(0x0F)
      if random.chance(85) { bytes.append(random.pick([0x38, 0x3A])) }
      return
    }
    // Other prefixes are not allowed before it.
    bytes = []
    // Outside 64-bit mode these bits tell it from LDS and LES.
    let fixed: UInt8 = is64 ? 0 : 0xC0
    if random.chance(30) {
      bytes += [0xC5, random.byte() | fixed]
    } else {
      bytes += [0xC4, random.byte() & 0xE0 | fixed | random.pick([1, 2, 2, 3]), random.byte()]
    }
  }

  private func decode(_ bytes: [UInt8]) -> (ZydisDecodedInstruction, [ZydisDecodedOperand])? {
    var instruction = ZydisDecodedInstruction()
    var operands = Array(repeating: ZydisDecodedOperand(), count: 10)
    var decoder = decoders[mode]
    let status = ZydisDecoderDecodeFull(&decoder, bytes, ZyanUSize(bytes.count), &instruction, &operands)
    guard status & 0x8000_0000 == 0 else { return nil }
    return (instruction, Array(operands.prefix(Int(instruction.operand_count))))
  }

  private func text(_ bytes: [UInt8], at offset: Int) -> String {
    guard let (instruction, operands) = decode(bytes + Array(repeating: 0x90, count: 15)) else { return "?" }
    var instructionCopy = instruction
    var all = operands
    var formatter = formatter
    var buffer = [CChar](repeating: 0, count: 128)
    _ = ZydisFormatterFormatInstruction(
      &formatter, &instructionCopy, &all, instruction.operand_count_visible, &buffer, 128,
      codeStart + UInt64(offset), nil)
    return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// Keeps count of undefined flags; false if the instruction would read one.
  private mutating func noteFlags(_ instruction: ZydisDecodedInstruction) -> Bool {
    if let flags = instruction.cpu_flags?.pointee {
      if UInt64(flags.tested) & draft.undefinedFlags != 0 { return false }
      let written = UInt64(flags.modified) | UInt64(flags.set_0) | UInt64(flags.set_1)
      // A shift or REP by a count of zero writes nothing: what was undefined stays so.
      if !OracleFilter.mayLeaveFlags(instruction.mnemonic) { draft.undefinedFlags &= ~written }
      draft.undefinedFlags |= UInt64(flags.undefined) & 0x8D5
      draft.everUndefinedFlags |= draft.undefinedFlags
    }
    // PUSHF and LAHF hand on every flag.
    if draft.undefinedFlags != 0 && OracleFilter.readsAllFlags(instruction.mnemonic) { return false }
    if let flags = instruction.fpu_flags?.pointee {
      let undefined = OracleFilter.statusBits(flags.undefined)
      let written = OracleFilter.statusBits(flags.modified | flags.set_0 | flags.set_1)
      draft.undefinedStatus = draft.undefinedStatus & ~written | undefined
      draft.everUndefinedStatus |= undefined
    }
    if draft.undefinedStatus != 0 && instruction.mnemonic == ZYDIS_MNEMONIC_FNSTSW { return false }
    return true
  }

  // MARK: Memory operands

  /// Sees to it that memory operands fall into the data area: by the displacement where there is a wide
  /// one, else by the initial value of the base register.
  private mutating func steer(
    _ instruction: ZydisDecodedInstruction, _ operands: [ZydisDecodedOperand], _ drawn: inout Drawn, at offset: Int
  ) {
    guard !random.chance(3) else { return }
    if instruction.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE) != 0 {
      setGPR(1, UInt64(random.below(20)))
    }
    for operand in operands where operand.type == ZYDIS_OPERAND_TYPE_MEMORY {
      let bytes = max(Int(operand.size) / 8, 1)
      let alignment = bytes >= 16 && random.chance(90) ? 32 : random.pick([1, 2, 4, 8])
      chooseIndices(operand.mem.index, isWide: instruction.opcode & 1 != 0)
      steer(operand.mem, instruction, &drawn, at: offset, target: dataAddress(alignment: alignment))
    }
  }

  /// Small indices in the vector register that a gather takes them from.
  private mutating func chooseIndices(_ register: ZydisRegister, isWide: Bool) {
    switch ZydisRegisterGetClass(register) {
    case ZYDIS_REGCLASS_XMM, ZYDIS_REGCLASS_YMM: break
    default: return
    }
    let number = Int(ZydisRegisterGetId(register))
    for half in 0..<2 {
      let low = (UInt64(random.below(64)), UInt64(random.below(64)))
      let values = isWide ? [low.0, low.1] : [low.0 | low.1 << 32, low.1 | low.0 << 32]
      func put(_ bytes: UnsafeMutableRawBufferPointer) {
        let words = bytes.bindMemory(to: UInt64.self)
        (words[number * 2], words[number * 2 + 1]) = (values[0], values[1])
      }
      if half == 0 {
        withUnsafeMutableBytes(of: &draft.initial.xmm, put)
      } else if OracleFilter.hasVEX {
        withUnsafeMutableBytes(of: &draft.initial.ymm_high, put)
      }
    }
  }

  private mutating func steer(
    _ m: ZydisDecodedOperandMem, _ instruction: ZydisDecodedInstruction, _ drawn: inout Drawn, at offset: Int,
    target: UInt64
  ) {
    let disp = instruction.raw.disp
    let base = gprNumber(m.base)
    let index = gprNumber(m.index)
    if let index, index != base { setGPR(index, UInt64(random.below(64))) }
    let scaled = (index.map(gpr) ?? 0) &* UInt64(max(m.scale, 1))
    let isRelative = m.base == ZYDIS_REGISTER_RIP || m.base == ZYDIS_REGISTER_EIP
    if disp.size >= 16 && (isRelative || base == nil || pinned.contains(base ?? 0) || random.chance(50)) {
      var from = scaled
      if isRelative { from = codeStart &+ UInt64(offset + drawn.bytes.count) }
      if let base { from = from &+ gpr(base) }
      let value = target &- from
      for i in 0..<Int(disp.size) / 8 {
        drawn.bytes[Int(disp.offset) + i] = UInt8(truncatingIfNeeded: value >> UInt64(i * 8))
      }
      let wide = Int64(truncatingIfNeeded: value)
      if disp.size == 64 || !is64 || Int64(Int32(truncatingIfNeeded: wide)) == wide { return }
    }
    guard let base, base != index else { return }
    var value = target &- scaled
    if m.disp.has_displacement != 0 && disp.size == 8 { value = value &- UInt64(bitPattern: m.disp.value) }
    if disp.size >= 16 { value = value &- displacement(drawn.bytes, disp) }
    setGPR(base, value)
  }

  private func displacement(_ bytes: [UInt8], _ disp: ZydisDecodedInstructionRawDisp_) -> UInt64 {
    var value: UInt64 = 0
    for i in 0..<Int(disp.size) / 8 { value |= UInt64(bytes[Int(disp.offset) + i]) << UInt64(i * 8) }
    let shift = UInt64(64 - Int(disp.size))
    return UInt64(bitPattern: Int64(bitPattern: value << shift) >> Int64(shift))
  }

  private func gprNumber(_ register: ZydisRegister) -> Int? {
    switch ZydisRegisterGetClass(register) {
    case ZYDIS_REGCLASS_GPR16, ZYDIS_REGCLASS_GPR32, ZYDIS_REGCLASS_GPR64: return Int(ZydisRegisterGetId(register))
    default: return nil
    }
  }
  private func gpr(_ i: Int) -> UInt64 {
    withUnsafeBytes(of: draft.initial.gpr) { $0.bindMemory(to: UInt64.self)[i] }
  }
  private mutating func setGPR(_ i: Int, _ value: UInt64) {
    guard pinned.insert(i).inserted else { return }
    let cut = value & gprMask
    withUnsafeMutableBytes(of: &draft.initial.gpr) { $0.bindMemory(to: UInt64.self)[i] = cut }
  }
}
