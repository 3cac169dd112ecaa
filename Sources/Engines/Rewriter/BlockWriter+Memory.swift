extension MicroOp {
  /// MOV between a register or constant and memory, also with an extension.
  var isPlainAccess: Bool {
    let raw = op.rawValue
    if raw >= Op.mov8rm.rawValue && raw <= Op.mov64mi.rawValue { return true }
    return raw >= Op.movzx8to32m.rawValue && raw <= Op.movsx32to64m.rawValue
  }
  var isPlainStore: Bool { op.rawValue >= Op.mov8mr.rawValue && op.rawValue <= Op.mov64mi.rawValue }
}

/// Guest memory through the software TLB, inline; what it does not hold goes the interpreter's way.
extension BlockWriter {
  /// The operand's offset as one host operand, if its parts are in registers and nothing must be added.
  func directAddress(_ o: MicroOpPointer) -> HostOperand? {
    let zero = UInt8(Slot.zero * 8)
    guard let displacement = Int32(exactly: o.pointee.disp) else { return nil }
    let index: HostRegister?
    if o.pointee.index == zero {
      index = nil
    } else {
      guard let home = home(o.pointee.index) else { return nil }
      index = home
    }
    guard o.pointee.base != zero, let base = home(o.pointee.base) else { return nil }
    return .memory(base, index: index, scale: o.pointee.scale, displacement: displacement)
  }

  /// The register that is the operand's whole linear address.
  private func plainAddress(_ o: MicroOpPointer) -> HostRegister? {
    let zero = UInt8(Slot.zero * 8)
    guard isLong, o.pointee.segment == zero, o.pointee.index == zero, o.pointee.disp == 0 else { return nil }
    return o.pointee.base == zero ? nil : home(o.pointee.base)
  }

  /// The operand's offset, without segment and mask, into `to` (not `a`). Uses `a`, leaves the flags.
  mutating func compute(_ o: MicroOpPointer, into to: HostRegister) {
    if let direct = directAddress(o) {
      asm.lea(to, direct, size: 8)
      return
    }
    let zero = UInt8(Slot.zero * 8)
    let short = Int32(exactly: o.pointee.disp)
    if o.pointee.base != zero, let short {
      asm.lea(to, .memory(value(o.pointee.base, Self.a, size: 8), displacement: short), size: 8)
    } else {
      asm.load(to, UInt64(bitPattern: o.pointee.disp))
      if o.pointee.base != zero {
        let base = value(o.pointee.base, Self.a, size: 8)
        asm.lea(to, .memory(to, index: base), size: 8)
      }
    }
    if o.pointee.index != zero {
      let index = value(o.pointee.index, Self.a, size: 8)
      asm.lea(to, .memory(to, index: index, scale: o.pointee.scale), size: 8)
    }
  }

  /// Has the micro-op's operand as `found`; gives the jump that is taken where the TLB does not know it, nil where its page
  /// was looked up before. Uses `b` for `found`, leaves the entry's distance from the table's first in `a`, changes the
  /// host's flags.
  mutating func reach(_ o: MicroOpPointer, size: Int, write: Bool) -> Miss? {
    if let streams, let index = streams.place(of: o) {
      reach(o, stream: index, of: streams)
      return nil
    }
    found = .memory(Self.b)
    accesses.append(Streams.Access(op: o, size: size, isWrite: write))
    let b = Self.b
    let start = asm.count
    if let plain = plainAddress(o) { return probe(size: size, write: write, at: plain, from: start) }
    if o.pointee.segment == UInt8(Slot.zero * 8), !isLong, let direct = directAddress(o) {
      asm.lea(b, direct, size: 4)
    } else {
      compute(o, into: b)
      if o.pointee.segment != UInt8(Slot.zero * 8) {
        asm.alu(0, b, .memory(.rsp, displacement: Int32(o.pointee.segment)), size: 8)
      }
      if !isLong { asm.move(b, .register(b), size: 4) }
    }
    return probe(size: size, write: write, from: start)
  }

  /// Where the entries for reads or writes begin, from `CPU` on.
  func table(write: Bool) -> Int32 { write ? tlb + Int32(TLB.half * MemoryLayout<TLBEntry>.stride) : tlb }

  /// Has the address of `found` in `b`.
  mutating func findAddress() {
    asm.lea(Self.b, found, size: 8)
    found = .memory(Self.b)
  }

  /// The host address for the linear one in `linear`, into `b`. An entry's tag and an address of its page differ in the offset
  /// alone; it must leave room for all bytes.
  mutating func probe(size: Int, write: Bool, at linear: HostRegister = HostLayout.b, from start: Int? = nil) -> Miss {
    probes += 1
    let start = start ?? asm.count
    let (a, b) = (Self.a, Self.b)
    let table = table(write: write)
    host = .none
    asm.bits(from: 7, of: linear, into: a)
    asm.alu(4, .register(a), Int32((TLB.half - 1) << 5), size: 4)
    if linear == b {
      asm.alu(6, b, .memory(.rsp, index: a, displacement: table), size: 8)
    } else {
      asm.move(b, .memory(.rsp, index: a, displacement: table), size: 8)
      asm.alu(6, b, .register(linear), size: 8)
    }
    asm.alu(7, .register(b), Int32(4096 - size), size: 8)
    let miss = Miss(start: start, jump: asm.jumpAhead(7), state: state)
    asm.alu(0, b, .memory(.rsp, index: a, displacement: table + 8), size: 8)
    return miss
  }
}
