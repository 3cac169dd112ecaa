import CZydis
import VMCore
import X86

/// Decodes guest code into blocks.
struct BlockBuilder {
  static let maximumInstructions = 64
  private var decoders: [ZydisDecoder]
  /// Blocks count their executions, so many before they are rewritten; 0 if they never are.
  private let warmth: Int64
  private let sites: SensitiveSites?
  private let forms: HostForms?
  private var translator: Translator
  /// Every instruction goes the long way where this is false: the other gives the same.
  var hasQuickWay = true
  /// What becomes of sensitive instructions; nil leaves them to the VMCS.
  var policy: RewritingPolicy?

  init(features: CPUFeatures, forms: HostForms?, warmth: Int64, sites: SensitiveSites) {
    self.warmth = warmth
    self.sites = sites
    self.forms = forms
    translator = Translator(features: features, forms: forms, sites: sites)
    let modes: [(ZydisMachineMode, ZydisStackWidth)] = [
      (ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16), (ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32),
      (ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64), (ZYDIS_MACHINE_MODE_REAL_16, ZYDIS_STACK_WIDTH_16),
      (ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16),
      (ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32),
    ]
    decoders = modes.map { mode, width in
      var decoder = ZydisDecoder()
      ZydisDecoderInit(&decoder, mode, width)
      // The encodings of a processor without MPX, CET, BMI1 or LZCNT mean what they meant before.
      var off = [ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CET]
      if !features.contains(.lzcnt) { off.append(ZYDIS_DECODER_MODE_LZCNT) }
      if !features.contains(.bmi1) { off.append(ZYDIS_DECODER_MODE_TZCNT) }
      for mode in off { ZydisDecoderEnableMode(&decoder, mode, 0) }
      return decoder
    }
  }

  private func decoder(_ context: Context) -> Int {
    if context.isLong64 { return 2 }
    if !context.isProtected { return context.isVirtual8086 ? 0 : 3 }
    if context.isIA32e { return context.codeBits == 16 ? 4 : 5 }
    return context.codeBits == 16 ? 0 : 1
  }

  /// Decodes from `rip` at guest-physical `gpa`. `room` bytes are left before CS's limit.
  /// `secondPage` translates the following page when the first instruction reaches into it.
  mutating func build(
    context: Context, rip: UInt64, gpa: UInt64, room: UInt64, memory: GuestMemory, breakpoints: (UInt64) -> Bool,
    secondPage: () throws(Stop) -> UInt64, raise: (Exception, UInt32?) -> Stop
  ) throws(Stop) -> BlockPointer {
    translator.begin(context: context, rip: rip, gpa: gpa, policy: policy)
    let limit = context.alone ? 1 : Self.maximumInstructions
    let inPage = 4096 - (gpa & 4095)
    var second = Block.noPage
    let first = Code(memory: memory, gpa: gpa)
    let isQuick = hasQuickWay && translator.isQuick
    var window = InlineArray<16, UInt8>(repeating: 0xFF)
    if !context.alone && breakpoints(rip) { translator.emit(MicroOp(.breakpoint)) }
    while translator.ordinal < limit && !translator.ended {
      let offset = UInt64(translator.offset)
      if offset >= inPage { break }
      if offset > 0 && !context.alone && breakpoints(rip &+ offset) { break }
      var length = min(inPage - offset, 15)
      if isQuick, room &- min(offset, room) >= length, translateQuickly(first, offset, length) { continue }
      first.copy(from: offset, count: Int(length), into: &window, at: 0)
      var usable = min(length, room &- min(offset, room))
      var status = decode(context, window, Int(usable))
      if status == .truncated, length < 15, usable == length, room &- offset > length {
        // The instruction reaches into the next page.
        if translator.ordinal > 0 { break }
        second = try secondPage()
        let rest = Code(memory: memory, gpa: second)
        rest.copy(from: 0, count: Int(15 - length), into: &window, at: Int(length))
        length = 15
        usable = min(15, room)
        status = decode(context, window, Int(usable))
      }
      switch status {
      case .decoded:
        translate()
      case .truncated, .tooLong:
        if translator.ordinal > 0 { return finishBlock(gpa: gpa, second: second) }
        // Over CS's limit, or longer than 15 bytes.
        throw raise(.gp, 0)
      case .invalid:
        translator.instruction = ZydisDecodedInstruction()
        translator.instruction.length = 1
        translator.finish(MicroOp(.undefined))
      }
      translator.offset &+= UInt16(translator.instruction.length)
      translator.ordinal += 1
    }
    return finishBlock(gpa: gpa, second: second)
  }

  private enum Status { case decoded, truncated, tooLong, invalid }

  /// False, with nothing done, where the instruction at `offset` is not one of the most common or may not lie all on its
  /// page.
  private mutating func translateQuickly(_ code: Code, _ offset: UInt64, _ length: UInt64) -> Bool {
    guard length >= UInt64(Translator.quickRoom), let bytes = code.bytes(at: offset) else { return false }
    guard translator.translateQuickly(bytes) else { return false }
    translator.offset &+= UInt16(translator.instruction.length)
    translator.ordinal += 1
    return true
  }

  private mutating func decode(
    _ context: Context, _ window: borrowing InlineArray<16, UInt8>, _ count: Int
  ) -> Status {
    var bytes = (window[0], window[1], window[2], window[3], window[4], window[5], window[6], window[7], window[8],
      window[9], window[10], window[11], window[12], window[13], window[14], window[15])
    var instruction = ZydisDecodedInstruction()
    var decoder = decoders[self.decoder(context)]
    let status = withUnsafeBytes(of: &bytes) { buffer in
      ZydisDecoderDecodeFull(&decoder, buffer.baseAddress, ZyanUSize(count), &instruction, &translator.operands)
    }
    // Bit 31 of a status says failure; the low 20 bits are the code.
    if status & 0x8000_0000 == 0 {
      translator.instruction = instruction
      return .decoded
    }
    switch status & 0xFFFFF {
    case 0: return .truncated
    case 2: return .tooLong
    default: return .invalid
    }
  }

  private mutating func translate() {
    if translator.isPresent {
      if translator.translateInteger() { return }
      if translator.translateSSE() { return }
      if translator.translateVector() { return }
      if translator.translateX87() { return }
      if translator.translateSystem() { return }
    }
    var op = MicroOp(.undefined)
    op.imm = 1
    translator.finish(op)
  }

  /// Replaces rotates, shifts and INC/DEC by forms that leave the flags alone, where a later instruction
  /// of the block sets them all before anything could read them, fault or stop.
  private func dropDeadFlags(_ ops: inout [MicroOp]) {
    var dead = false
    for index in ops.indices.reversed() {
      if dead { ops[index].forgetFlags() }
      switch ops[index].effectOnFlags {
      case .setsAll: dead = true
      case .none: break
      case .other: dead = false
      }
    }
  }

  private mutating func finishBlock(gpa: UInt64, second: UInt64) -> BlockPointer {
    if !translator.ended { translator.ops.append(MicroOp(.next)) }
    dropDeadFlags(&translator.ops)
    let count = translator.ordinal
    let isCounted = warmth > 0 && !translator.context.alone && translator.ops.first?.op != .breakpoint
    let capacity = translator.ops.count + (isCounted ? 1 : 0)
    let ops = MicroOpPointer.allocate(capacity: capacity)
    var next = ops
    if isCounted {
      var counter = MicroOp(.warm)
      counter.imm = warmth
      counter.remaining = count
      next.initialize(to: counter)
      next += 1
    }
    for op in translator.ops {
      next.initialize(to: op)
      next.pointee.remaining = count - op.remaining
      next += 1
    }
    if (next - 1).pointee.op == .next { (next - 1).pointee.remaining = 0 }
    let block = BlockPointer.allocate(capacity: 1)
    let mask: UInt64 = translator.context.isLong64 ? .max : 0xFFFF_FFFF
    block.initialize(
      to: Block(
        ops: ops, capacity: capacity, count: Int64(count), rip: translator.rip,
        endRIP: (translator.rip &+ UInt64(translator.offset)) & mask, takenRIP: translator.takenRIP, gpa: gpa,
        length: UInt64(translator.offset), secondPage: second, context: translator.context.bits))
    return block
  }
}

/// Bytes of one page of guest code; FFh where there is no memory.
private struct Code {
  let host: UnsafeMutableRawPointer?
  let start: Int

  init(memory: GuestMemory, gpa: UInt64) {
    host = memory.hostPage(GPA(gpa))?.host
    start = Int(gpa & 4095)
  }

  func bytes(at offset: UInt64) -> UnsafePointer<UInt8>? {
    host.map { UnsafePointer(($0 + (start + Int(offset))).assumingMemoryBound(to: UInt8.self)) }
  }

  func copy(from offset: UInt64, count: Int, into window: inout InlineArray<16, UInt8>, at: Int) {
    for i in 0..<count {
      let value = host?.load(fromByteOffset: start + Int(offset) + i, as: UInt8.self)
      window[at + i] = value ?? 0xFF
    }
  }
}
