/// The guest's flags: they wait as a recipe until somebody may see them, are saved lazily then, as the interpreter
/// does, and are brought into the host's for a condition.
extension BlockWriter {
  /// Saves the flags of an operation whose first operand and result are in `CPU` (or need not be).
  mutating func noteFlags(_ base: FlagClass, size: Int) {
    asm.store(offsets.field(offsets.flagClass), Int32(FlagClass(base, bytes: size).rawValue), size: 1)
    let saved: HostState.SavedFlags =
      switch base {
      case .add8: .add(size)
      case .sub8: .sub(size)
      case .logic8: .logic(size)
      case .inc8, .dec8: .step(size)
      default: .mixed(size)
      }
    state.flags = .saved(saved)
  }
  mutating func saveField(_ field: Int32, _ from: HostOperand, size: Int) {
    if size == 8, case .register(let register) = from {
      asm.move(offsets.field(field), register, size: 8)
    } else {
      asm.extend(Self.a, from, size: size)
      asm.move(offsets.field(field), Self.a, size: 8)
    }
  }
  mutating func saveFirst(_ from: HostOperand, size: Int) { saveField(offsets.flagA, from, size: size) }
  mutating func saveResult(_ from: HostOperand, size: Int) { saveField(offsets.flagResult, from, size: size) }

  /// The flags follow by this recipe from now on, and are in the host's too.
  mutating func promise(_ kind: FlagRecipe.Kind, _ size: Int, _ x: FlagRecipe.Place, _ y: FlagRecipe.Value = .number(0)) {
    state.flags = .deferred(FlagRecipe(kind: kind, size: size, x: x, y: y))
    host = .all
  }

  // MARK: Recipes

  private func place(_ place: FlagRecipe.Place) -> HostOperand {
    switch place {
    case .operand: offsets.field(offsets.flagOperand)
    case .register(let offset): operand(offset) ?? offsets.field(Int32(offset))
    }
  }
  /// The first value into `a`.
  private mutating func bringFirst(_ r: FlagRecipe) {
    if r.moved != 0, case .register(let offset) = r.x, let register = home(offset) {
      asm.lea(Self.a, .memory(register, displacement: -r.moved), size: r.size)
    } else {
      asm.extend(Self.a, place(r.x), size: r.size)
    }
  }
  /// `code` is the number of an ALU operation, with the recipe's second value.
  private mutating func apply(_ code: UInt8, _ to: HostRegister, _ y: FlagRecipe.Value, size: Int) {
    switch y {
    case .number(let number): asm.alu(code, .register(to), number, size: size)
    case .place(let y): asm.alu(code, to, place(y), size: size)
    }
  }

  /// Saves flags that wait. Uses `a`, changes the host's flags.
  mutating func settleFlags() {
    let rotation = state.rotation
    if case .deferred(let recipe) = state.flags { settle(recipe) }
    guard let rotation, let from = operand(rotation.register) else { return }
    saveField(offsets.rotated, from, size: rotation.size)
    callForFlags(rewriter.flagOps + (1 + (rotation.size == 8 ? 1 : 0) + (rotation.toRight ? 2 : 0)))
    state.flags = .saved(.unknown)
  }

  private mutating func settle(_ r: FlagRecipe) {
    let a = Self.a
    let (flagA, flagResult) = (offsets.field(offsets.flagA), offsets.field(offsets.flagResult))
    bringFirst(r)
    host = .none
    switch r.kind {
    case .compare:
      asm.move(flagA, a, size: 8)
      apply(5, a, r.y, size: r.size)
      asm.move(flagResult, a, size: 8)
      noteFlags(.sub8, size: r.size)
    case .test:
      apply(4, a, r.y, size: r.size)
      asm.move(flagResult, a, size: 8)
      noteFlags(.logic8, size: r.size)
    case .result:
      asm.move(flagResult, a, size: 8)
      noteFlags(.logic8, size: r.size)
    case .sum, .difference:
      asm.move(flagResult, a, size: 8)
      apply(r.kind == .sum ? 5 : 0, a, r.y, size: r.size)
      asm.move(flagA, a, size: 8)
      noteFlags(r.kind == .sum ? .add8 : .sub8, size: r.size)
    case .negated:
      asm.move(flagResult, a, size: 8)
      asm.store(flagA, 0, size: 8)
      noteFlags(.sub8, size: r.size)
    }
  }

  /// Brings flags that wait into the host's. Uses `a`.
  mutating func bring(_ r: FlagRecipe) {
    let a = Self.a
    switch r.kind {
    case .compare, .test:
      bringFirst(r)
      apply(r.kind == .compare ? 7 : 4, a, r.y, size: r.size)
    case .result:
      bringFirst(r)
      asm.test(.register(a), a, size: r.size)
    case .sum, .difference:
      bringFirst(r)
      apply(r.kind == .sum ? 5 : 0, a, r.y, size: r.size)
      apply(r.kind == .sum ? 0 : 7, a, r.y, size: r.size)
    case .negated:
      bringFirst(r)
      asm.unary(3, .register(a), size: r.size)
      asm.unary(3, .register(a), size: r.size)
    }
    host = .all
  }

  /// Before a micro-op that overwrites a register that waiting flags depend on: they are saved, if anybody may see them
  /// after it. True where nobody will: they are to be forgotten then, but not before it can have faulted.
  mutating func protectFlags(_ o: MicroOpPointer, live: Bool) -> Bool {
    guard !o.pointee.replacesFlags else { return false }
    // The next rotate is the one whose CF and OF count.
    if o.pointee.isRotate { state.rotation = nil }
    let (one, other) = o.pointee.writtenRegisters
    guard waits(for: one) || waits(for: other) else { return false }
    if live, o.pointee.movesStack(isLong), !waits(for: other), canFollowStack { return false }
    if live { settleFlags() }
    return !live
  }
  /// The flags that wait for the stack pointer do so as `moveStack` takes care of.
  private var canFollowStack: Bool {
    let stack = UInt8(Slot.rsp * 8)
    guard state.rotation == nil, case .deferred(let recipe) = state.flags else { return false }
    return recipe.x == .register(stack) && recipe.y != .place(.register(stack)) && recipe.size == (isLong ? 8 : 4)
  }
  private func waits(for register: UInt8?) -> Bool {
    guard let register else { return false }
    if state.rotation?.register == register { return true }
    guard case .deferred(let recipe) = state.flags else { return false }
    return recipe.depends(on: register)
  }

  // MARK: Conditions

  /// Brings the guest's flags that a condition reads into the host's. Uses `a`, and `b` where they are saved in a way
  /// not known here.
  mutating func bringFlags(for condition: Condition) {
    switch host {
    case .all: return
    case .allButCarry where condition >> 1 != 1 && condition >> 1 != 3: return
    default: break
    }
    if state.rotation != nil { settleFlags() }
    if bringPart(for: condition) { return }
    knowFlags()
    let a = Self.a
    switch state.flags {
    case .deferred(let recipe): bring(recipe)
    case .saved(.add(let size)):
      asm.move(a, offsets.field(offsets.flagResult), size: 8)
      asm.alu(5, a, offsets.field(offsets.flagA), size: 8)
      asm.alu(0, a, offsets.field(offsets.flagA), size: size)
    case .saved(.sub(let size)):
      asm.move(a, offsets.field(offsets.flagA), size: 8)
      asm.alu(5, a, offsets.field(offsets.flagResult), size: 8)
      asm.alu(7, offsets.field(offsets.flagA), a, size: size)
    case .saved(.logic(let size)): asm.alu(7, offsets.field(offsets.flagResult), 0, size: size)
    default: bringEager()
    }
    host = .all
  }

  /// From RFLAGS. Uses `a`.
  mutating func bringEager() {
    let a = Self.a
    asm.move(a, offsets.field(offsets.rflags), size: 4)
    asm.alu(4, .register(a), 0x8D5, size: 4)
    asm.push(a)
    asm.byte(0x9D)  // POPFQ
  }

  /// From flags saved in parts or in RFLAGS, those of the result alone or the carry alone. Uses `a`.
  private mutating func bringPart(for condition: Condition) -> Bool {
    guard case .saved(let saved) = state.flags else { return false }
    switch saved {
    case .mixed(let size), .step(let size):
      switch condition >> 1 {
      case 1:
        asm.modRM(0x0FBA, 4, offsets.field(offsets.flagA), size: 4, immediate: 1)  // BT
        asm.byte(0)
      case 2, 4, 5: asm.alu(7, offsets.field(offsets.flagResult), 0, size: size)
      default: return false
      }
      return true
    case .eager:
      switch condition >> 1 {
      case 1:
        asm.modRM(0x0FBA, 4, offsets.field(offsets.rflags), size: 4, immediate: 1)  // BT
        asm.byte(0)
      case 2:
        asm.move(Self.a, offsets.field(offsets.rflags), size: 4)
        asm.unary(2, .register(Self.a), size: 4)
        asm.test(.register(Self.a), 0x40, size: 4)
      default: return false
      }
      return true
    default: return false
    }
  }

  /// Flags saved in a way that is not known here become the architecture's. Uses `a` and `b`.
  mutating func knowFlags() {
    if state.rotation != nil { settleFlags() }
    switch state.flags {
    case .saved(.unknown), .saved(.step), .saved(.mixed): materialize()
    default: break
    }
  }
  /// Flags saved in any way become the architecture's. Uses `a` and `b`.
  private mutating func materialize() {
    asm.call(to: rewriter.materializeAt)
    state.flags = .saved(.eager)
    host = .none
  }

  /// All flags into `CPU.rflags`. Uses `a` and `b`.
  mutating func makeEager() {
    if state.rotation != nil { settleFlags() }
    switch state.flags {
    case .saved(.eager): return
    case .saved: materialize()
    case .deferred(let recipe):
      if host != .all { bring(recipe) }
      asm.saveHostFlags(offsets)
      state.flags = .saved(.eager)
      host = .none
    }
  }

  /// Leaves CF alone in `flagA`, for INC and DEC. Uses `a`.
  mutating func keepCarry() {
    let a = Self.a
    if state.rotation != nil { settleFlags() }
    switch state.flags {
    case .saved(.step): return
    case .saved(.logic): asm.store(offsets.field(offsets.flagA), 0, size: 8)
    case .saved(.unknown):
      // Flags of an INC or DEC before are in this form already; others are brought to it.
      asm.alu(7, offsets.field(offsets.flagClass), Int32(FlagClass.inc8.rawValue), size: 1)
      flagWay(from: asm.jumpAhead(2), rewriter.flagOps)
    default:
      bringFlags(for: 2)
      asm.set(2, .register(a))
      asm.extend(a, .register(a), size: 1)
      asm.move(offsets.field(offsets.flagA), a, size: 8)
    }
  }

  mutating func setByCondition(_ o: MicroOpPointer, live: Bool) -> Bool {
    let condition = UInt8(truncatingIfNeeded: o.pointee.aux)
    guard let to = operand(o.pointee.dst) else { return false }
    bringFlags(for: condition)
    guard case .deferred(let recipe) = state.flags, recipe.depends(on: o.pointee.dst) else {
      asm.set(condition, to)
      return true
    }
    asm.set(condition, .register(Self.b))
    settleFlags()
    asm.move(to, Self.b, size: 1)
    return true
  }

  mutating func moveByCondition(_ o: MicroOpPointer, size: Int) -> Bool {
    let condition = UInt8(truncatingIfNeeded: o.pointee.aux)
    guard let from = operand(o.pointee.src), let to = operand(o.pointee.dst) else { return false }
    bringFlags(for: condition)
    var depends = false
    if case .deferred(let recipe) = state.flags { depends = recipe.depends(on: o.pointee.dst) }
    if !depends, let home = home(o.pointee.dst) {
      asm.conditionalMove(condition, home, from, size: size)
      return true
    }
    asm.move(Self.b, to, size: size)
    asm.conditionalMove(condition, Self.b, from, size: size)
    if depends { settleFlags() }
    put(o.pointee.dst, Self.b, size: size)
    return true
  }
}

extension MicroOp {
  /// Of a register by a constant, with flags.
  var isRotate: Bool { op.rawValue >= Op.rol32ri.rawValue && op.rawValue <= Op.ror64ri.rawValue }

  /// It sets all arithmetic flags and reads none. (It may fault first.)
  var replacesFlags: Bool {
    if effectOnFlags == .setsAll || comparesAndJumps { return true }
    guard op.rawValue < Op.mov8rr.rawValue else { return false }
    let family = op.rawValue / 20
    return family != 2 && family != 3
  }

  /// General registers it overwrites, by byte offset, where generated code carries it out. Conditional moves and sets
  /// look after the flags themselves.
  var writtenRegisters: (UInt8?, UInt8?) {
    if op.rawValue <= Op.mov64mi.rawValue {
      let form = op.rawValue % 20 / 4
      return (form < 3 ? dst & ~7 : nil, nil)
    }
    if let unary = Unary(op), unary.inMemory { return (nil, nil) }
    switch op {
    case .setccR, .cmov32rr, .cmov64rr, .jcc, .jmp, .next, .nop, .jmpR, .jmp64m: return (nil, nil)
    case .cdq, .cqo: return (16, nil)
    case .cdqe, .cwde: return (0, nil)
    case .push64r, .push64i, .push32r, .push32i, .call64, .call32, .ret64, .ret32: return (UInt8(Slot.rsp * 8), nil)
    case .leave64, .leave32: return (UInt8(Slot.rsp * 8), 40)
    case .pop64r, .pop32r: return (UInt8(Slot.rsp * 8), dst & ~7)
    case .xchg32rr, .xchg64rr: return (dst & ~7, src & ~7)
    case .system where aux == SystemOp.swapgs.rawValue: return (nil, nil)
    case .system where aux == SystemOp.rdtsc.rawValue || aux == SystemOp.rdmsr.rawValue: return (0, 16)
    case .integer where aux <= IntegerOp.imul.rawValue || aux == IntegerOp.div.rawValue || aux == IntegerOp.idiv.rawValue:
      return (0, 16)
    case .integer where aux == IntegerOp.cmpxchg.rawValue: return (0, nil)
    case .integer where aux == IntegerOp.xadd.rawValue || aux == IntegerOp.xchg.rawValue: return (src & ~7, nil)
    case .vector: return (vectorRegister, nil)
    case .sse: return (sseOp == .toGPR32 || sseOp == .toGPR64 || sseOp == .convertToGPR ? dst & ~7 : nil, nil)
    default: return (dst & ~7, nil)
    }
  }
}
