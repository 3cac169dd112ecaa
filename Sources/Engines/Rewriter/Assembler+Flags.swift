import X86

/// The architecture's flags from any way the guest's are saved in, without a call to the interpreter.
extension Assembler {
  /// Writes a routine that has all flags in `CPU.rflags`: its offset. It uses `HostLayout.a` and `b` and changes the host's
  /// flags. It is called: the stack lies eight bytes lower in it.
  mutating func materializer(_ offsets: HostOffsets) -> Int {
    let (a, b) = (HostLayout.a, HostLayout.b)
    let table = count
    for _ in 0..<28 { word32(0) }
    var whole: [Int] = []
    var parts: [Int] = []
    for kind in 0..<7 {
      for log2 in 0..<4 {
        let entry = UnsafeMutableRawPointer(start + table + 4 * (4 * kind + log2))
        entry.storeBytes(of: Int32(count - table), as: Int32.self)
        switch kind {
        case 0: ret()
        case 4:
          recoverParts(1 << log2, offsets)
          parts.append(jumpAhead())
        default:
          recover(kind, 1 << log2, offsets)
          whole.append(jumpAhead())
        }
      }
    }
    for jump in whole { land(jump) }
    byte(0x9C)  // PUSHFQ
    pop(a)
    for jump in parts { land(jump) }
    storeFlags(offsets, pushed: 8)
    ret()
    let routine = count
    extend(a, .memory(.rsp, displacement: offsets.flagClass + 8), size: 1)
    lea(b, .code(table), size: 8)
    extendSigned(a, .memory(b, index: a, scale: 2), from: 4, size: 8)
    alu(0, a, .register(b), size: 8)
    jump(.register(a))
    return routine
  }

  /// Does an operation again whose flags were saved lazily, by the number of its `FlagClass`.
  private mutating func recover(_ kind: Int, _ size: Int, _ offsets: HostOffsets) {
    let a = HostLayout.a
    let first = HostOperand.memory(.rsp, displacement: offsets.flagA + 8)
    let result = HostOperand.memory(.rsp, displacement: offsets.flagResult + 8)
    switch kind {
    case 1:
      move(a, result, size: 8)
      alu(5, a, first, size: 8)
      alu(0, a, first, size: size)
    case 2:
      move(a, first, size: 8)
      alu(5, a, result, size: 8)
      alu(7, first, a, size: size)
    case 3: alu(7, result, 0, size: size)
    default:
      // INC or DEC of what the other makes of the result; the carry is kept.
      let code: UInt8 = kind == 5 ? 0 : 1
      move(a, result, size: 8)
      step(1 - code, .register(a), size: size)
      modRM(0x0FBA, 4, first, size: 4, immediate: 1)  // BT
      byte(0)
      step(code, .register(a), size: size)
    }
  }

  /// `FlagClass.mixed8`: into `a`.
  private mutating func recoverParts(_ size: Int, _ offsets: HostOffsets) {
    let (a, b) = (HostLayout.a, HostLayout.b)
    alu(7, .memory(.rsp, displacement: offsets.flagResult + 8), 0, size: size)
    byte(0x9C)  // PUSHFQ
    pop(a)
    alu(4, .register(a), Int32(RFLAGS.pf | RFLAGS.zf | RFLAGS.sf), size: 4)
    move(b, .memory(.rsp, displacement: offsets.flagA + 8), size: 4)
    alu(4, .register(b), Int32(RFLAGS.cf | RFLAGS.af | RFLAGS.of), size: 4)
    alu(1, .register(a), b, size: 4)
  }

  /// The host's flags become the guest's. Uses `HostLayout.a` and `b`.
  mutating func saveHostFlags(_ offsets: HostOffsets) {
    byte(0x9C)  // PUSHFQ
    pop(HostLayout.a)
    storeFlags(offsets, pushed: 0)
  }

  /// The arithmetic flags in `a` become the guest's.
  private mutating func storeFlags(_ offsets: HostOffsets, pushed: Int32) {
    let (a, b) = (HostLayout.a, HostLayout.b)
    let rflags = HostOperand.memory(.rsp, displacement: offsets.rflags + pushed)
    let arithmetic = Int32(RFLAGS.arithmetic)
    alu(4, .register(a), arithmetic, size: 4)
    move(b, rflags, size: 8)
    alu(4, .register(b), ~arithmetic, size: 8)
    alu(1, .register(b), a, size: 8)
    move(rflags, b, size: 8)
    store(.memory(.rsp, displacement: offsets.flagClass + pushed), Int32(FlagClass.eager.rawValue), size: 1)
  }
}
