import VMCore
import X86

/// SYSCALL and SYSRET between 64-bit code of two rings: a few words of `CPU`, and on by the jump cache.
extension BlockWriter {
  /// What the target of SYSRET may find in its flags without a second look.
  private static var plainFlags: UInt64 { RFLAGS.arithmetic | RFLAGS.df | RFLAGS.interruptEnable | RFLAGS.fixed1 }

  mutating func systemCall(_ o: MicroOpPointer) {
    let (a, r11) = (Self.a, HostRegister.r11)
    makeEager()
    let slow = whereWanted(.deprivileged) + whereRingsDiffer()
    later(.end(o), from: slow)
    asm.load(.rcx, block.pointee.endRIP)
    asm.move(r11, offsets.field(offsets.rflags), size: 8)
    asm.alu(4, .register(r11), ~Int32(RFLAGS.rf), size: 8)
    asm.move(a, offsets.field(offsets.sfmask), size: 8)
    asm.unary(2, .register(a), size: 8)
    asm.alu(4, a, .register(r11), size: 8)
    asm.alu(1, .register(a), Int32(RFLAGS.fixed1), size: 8)
    asm.move(offsets.field(offsets.rflags), a, size: 8)
    asm.move(a, offsets.field(offsets.lstar), size: 8)
    asm.move(offsets.field(offsets.rip), a, size: 8)
    enterRing(0, selectorsAt: 32, code: 0, stack: 8)
  }

  mutating func systemReturn(_ o: MicroOpPointer) {
    let (a, r11) = (Self.a, HostRegister.r11)
    var slow = whereRingsDiffer()
    asm.test(.register(r11), Int32(truncatingIfNeeded: ~Self.plainFlags), size: 4)
    slow.append(asm.jumpAhead(5))
    asm.move(a, .register(.rcx), size: 8)
    asm.shift(4, .register(a), by: 16, size: 8)
    asm.shift(7, .register(a), by: 16, size: 8)
    asm.alu(7, .register(a), .rcx, size: 8)
    slow.append(asm.jumpAhead(5))
    later(.end(o), from: slow)
    asm.move(a, .register(r11), size: 4)
    asm.alu(1, .register(a), Int32(RFLAGS.fixed1), size: 4)
    asm.move(offsets.field(offsets.rflags), a, size: 8)
    asm.store(offsets.field(offsets.flagClass), Int32(FlagClass.eager.rawValue), size: 1)
    state.flags = .saved(.eager)
    asm.move(offsets.field(offsets.rip), .rcx, size: 8)
    enterRing(3, selectorsAt: 48, code: 16, stack: 8)
  }

  /// Jumps that are taken where these instructions are switched off, somebody waits for interrupts, or RFLAGS.AC may open
  /// pages that it then does not.
  private mutating func whereRingsDiffer() -> [Int] {
    host = .none
    asm.test(offsets.field(offsets.efer), Int32(EFER.sce), size: 4)
    var jumps = [asm.jumpAhead(4)]
    asm.test(offsets.field(offsets.rflags), Int32(RFLAGS.ac | RFLAGS.tf | RFLAGS.vm), size: 4)
    jumps.append(asm.jumpAhead(5))
    for field in [offsets.windowRequested, offsets.leaveSoon] {
      asm.alu(7, offsets.field(field), 0, size: 1)
      jumps.append(asm.jumpAhead(5))
    }
    return jumps
  }

  /// CS and SS from IA32_STAR, from this bit on; and on at `CPU.rip`.
  private mutating func enterRing(_ ring: UInt8, selectorsAt bit: UInt8, code: Int32, stack: Int32) {
    let a = Self.a
    let level = UInt32(ring) << 5
    asm.move(a, offsets.field(offsets.star), size: 8)
    asm.shift(5, .register(a), by: bit, size: 8)
    for (index, distance) in [(1, code), (2, stack)] {
      asm.lea(Self.b, .memory(a, displacement: distance), size: 4)
      asm.alu(4, .register(Self.b), 0xFFFC, size: 4)
      if ring != 0 { asm.alu(1, .register(Self.b), Int32(ring), size: 4) }
      asm.move(offsets.field(offsets.segment(index, \.selector)), Self.b, size: 2)
      asm.store(offsets.field(offsets.segment(index, \.base)), 0, size: 8)
      asm.store(offsets.field(offsets.segment(index, \.limit)), -1, size: 4)
      let access = index == 1 ? SegmentAccess.flatCode | SegmentAccess.long : SegmentAccess.flatData
      asm.store(offsets.field(offsets.segment(index, \.access)), Int32(bitPattern: access | level), size: 4)
    }
    asm.store(offsets.field(offsets.cpl), Int32(ring), size: 1)
    // The CPL is bits 4 and 5 of the stamp.
    if ring == 0 {
      asm.alu(4, offsets.field(offsets.stamp), ~0x30, size: 8)
    } else {
      asm.alu(1, offsets.field(offsets.stamp), 0x30, size: 8)
    }
    asm.move(a, offsets.field(offsets.tlbs), size: 8)
    if ring == 3 { asm.lea(a, .memory(a, displacement: Int32(TLB.entries * MemoryLayout<TLBEntry>.stride)), size: 8) }
    asm.move(offsets.field(offsets.tlb), a, size: 8)
    settle()
    goOn()
  }
}

extension Assembler {
  /// Writes a routine for RDMSR of the registers that are words of `CPU`: its offset. It is called, and returns with ZF set
  /// where it knows nothing of the register. Uses `HostLayout.a` and `b`.
  mutating func readerOfMSRs(_ offsets: HostOffsets) -> Int {
    let (a, b) = (HostLayout.a, HostLayout.b)
    let low: [UInt32: Int32] = [
      MSR.sysenterCS: offsets.sysenterCS, MSR.sysenterESP: offsets.sysenterESP, MSR.sysenterEIP: offsets.sysenterEIP,
    ]
    let high: [UInt32: Int32] = [
      MSR.efer: offsets.efer, MSR.star: offsets.star, MSR.lstar: offsets.lstar, MSR.cstar: offsets.cstar,
      MSR.sfmask: offsets.sfmask, MSR.fsBase: Int32(Slot.fsBase * 8), MSR.gsBase: Int32(Slot.gsBase * 8),
      MSR.kernelGSBase: offsets.kernelGSBase, MSR.tscAux: offsets.tscAux,
    ]
    let table = count
    // From where the routine is, the stack lies eight bytes lower.
    for index in MSR.sysenterCS...MSR.sysenterEIP { word32(low[index].map { $0 + 8 } ?? 0) }
    for index in MSR.efer...MSR.tscAux { word32(high[index].map { $0 + 8 } ?? 0) }
    let routine = count
    move(b, .register(.rcx), size: 4)
    alu(5, .register(b), Int32(MSR.sysenterCS), size: 4)
    alu(7, .register(b), Int32(MSR.sysenterEIP - MSR.sysenterCS), size: 4)
    let isLow = jumpAhead(6)
    move(b, .register(.rcx), size: 4)
    alu(5, .register(b), Int32(bitPattern: MSR.efer), size: 4)
    alu(7, .register(b), Int32(MSR.tscAux - MSR.efer), size: 4)
    let unknown = jumpAhead(7)
    alu(0, .register(b), Int32(MSR.sysenterEIP - MSR.sysenterCS + 1), size: 4)
    land(isLow)
    lea(a, .code(table), size: 8)
    extendSigned(b, .memory(a, index: b, scale: 2), from: 4, size: 8)
    test(.register(b), b, size: 4)
    let absent = jumpAhead(4)
    move(a, .memory(.rsp, index: b), size: 8)
    move(.rax, .register(a), size: 4)
    shift(5, .register(a), by: 32, size: 8)
    move(.rdx, .register(a), size: 4)
    test(.register(b), b, size: 4)
    ret()
    land(unknown)
    alu(7, .register(b), b, size: 4)
    land(absent)
    ret()
    return routine
  }
}
