import VMCore
import X86

/// The rarer integer instructions, written for any operand size (SDM 2).
extension UnsafeMutablePointer<CPU> {
  /// Bits of an operand of 1 << log2 bytes, as a mask.
  @inline(__always) func mask(_ log2: UInt8) -> UInt64 { ~0 &>> (64 &- (8 &<< UInt64(log2))) }

  func getSized(_ offset: UInt8, _ log2: UInt8) -> UInt64 {
    switch log2 {
    case 0: UInt64(get(offset, as: UInt8.self))
    case 1: UInt64(get(offset, as: UInt16.self))
    case 2: UInt64(get(offset, as: UInt32.self))
    default: get(offset)
    }
  }
  func setSized(_ offset: UInt8, _ log2: UInt8, _ value: UInt64) {
    switch log2 {
    case 0: set(offset, UInt8(truncatingIfNeeded: value))
    case 1: set(offset, UInt16(truncatingIfNeeded: value))
    case 2: set(offset, UInt32(truncatingIfNeeded: value))
    default: set(offset, value)
    }
  }

  /// The register-or-memory operand, whose register is at `offset`.
  func readRM(_ o: MicroOpPointer, _ offset: UInt8) throws(Stop) -> UInt64 {
    let log2 = o.pointee.sizeLog2
    if o.pointee.flags & MicroOp.hasMemory == 0 { return getSized(offset, log2) }
    return try loadSized(address(o), bytes: 1 << Int(log2))
  }
  func writeRM(_ o: MicroOpPointer, _ offset: UInt8, _ value: UInt64) throws(Stop) {
    let log2 = o.pointee.sizeLog2
    if o.pointee.flags & MicroOp.hasMemory == 0 {
      setSized(offset, log2, value)
    } else {
      try storeSized(address(o), value, bytes: 1 << Int(log2))
    }
  }
  /// The destination of an instruction that reads and writes it.
  func readToModifyRM(_ o: MicroOpPointer) throws(Stop) -> UInt64 {
    let log2 = o.pointee.sizeLog2
    if o.pointee.flags & MicroOp.hasMemory == 0 { return getSized(o.pointee.dst, log2) }
    return try loadToModify(address(o), bytes: 1 << Int(log2))
  }

  @inline(never)
  func integer(_ o: MicroOpPointer) throws(Stop) {
    switch IntegerOp(rawValue: o.pointee.aux) ?? .clc {
    case .shl, .shr, .sar, .rol, .ror, .rcl, .rcr: try shiftRotate(o)
    case .shld, .shrd: try doubleShift(o)
    case .bt, .bts, .btr, .btc: try bitTest(o)
    case .bsf, .bsr: try bitScan(o)
    case .bitReach:
      let log2 = o.pointee.sizeLog2
      let raw = getSized(o.pointee.src, log2)
      let unused = 64 &- (8 &<< Int64(log2))
      let offset = (Int64(bitPattern: raw) &<< unused) &>> unused
      let bytes = (offset &>> (3 &+ Int64(log2))) &<< Int64(log2)
      self[slot: Slot.temporary] = UInt64(bitPattern: bytes)
    case .addOffset: self[slot: Slot.temporary] &+= offsetAddress(o)
    case .mul, .imul: try multiplyAccumulator(o)
    case .imul2, .imul3: try multiplyRegister(o)
    case .div, .idiv: try divide(o)
    case .movzx16: set(o.pointee.dst, UInt16(truncatingIfNeeded: try readRM(o, o.pointee.src)))
    case .movsx16: set(o.pointee.dst, Int16(Int8(truncatingIfNeeded: try readRM(o, o.pointee.src))))
    case .setccM: try store(address(o), condition(UInt8(truncatingIfNeeded: o.pointee.imm)) ? 1 : 0 as UInt8)
    case .cmov:
      let value = try readRM(o, o.pointee.src)
      let taken = condition(UInt8(truncatingIfNeeded: o.pointee.imm))
      let log2 = o.pointee.sizeLog2
      setSized(o.pointee.dst, log2, taken ? value : getSized(o.pointee.dst, log2))
    case .xchg:
      let old = try readToModifyRM(o)
      let new = getSized(o.pointee.src, o.pointee.sizeLog2)
      try writeRM(o, o.pointee.dst, new)
      setSized(o.pointee.src, o.pointee.sizeLog2, old)
    case .cmpxchg, .xadd: try exchangeArithmetic(o)
    case .cmpxchg8b: try compareExchange8(o)
    case .cmpxchg16b: try compareExchange16(o)
    case .cbw: set(0, Int16(get(0, as: Int8.self)))
    case .cwd: set(16, get(0, as: Int16.self) >> 15)
    case .lahf: set(1, UInt8(truncatingIfNeeded: materializeFlags() & 0xD5 | 2))
    case .sahf:
      let kept = materializeFlags() & ~0xD5
      replaceFlags(kept | UInt64(get(1, as: UInt8.self)) & 0xD5)
    case .clc: putFlag(RFLAGS.cf, false)
    case .stc: putFlag(RFLAGS.cf, true)
    case .cmc: putFlag(RFLAGS.cf, !cf)
    case .cld: pointee.rflags &= ~RFLAGS.df
    case .std: pointee.rflags |= RFLAGS.df
    case .salc: set(0, cf ? 0xFF : 0 as UInt8)
    case .xlat: set(0, try load(address(o), as: UInt8.self))
    case .aaa, .aas, .aam, .aad, .daa, .das: try decimal(o)
    case .pushRM: try push(try readRM(o, o.pointee.dst), bytes: 1 << Int(o.pointee.sizeLog2))
    case .pushImmediate: try push(UInt64(bitPattern: o.pointee.imm), bytes: 1 << Int(o.pointee.sizeLog2))
    case .popRM:
      let bytes = 1 << Int(o.pointee.sizeLog2)
      let value = try loadSized(try stackAddress(0, bytes: bytes, write: false), bytes: bytes)
      // The translator has allowed for the moved stack pointer in a memory operand's displacement; POP RSP
      // overwrites it.
      let top = self[slot: Slot.rsp] &+ UInt64(bytes)
      if o.pointee.flags & MicroOp.hasMemory != 0 {
        try writeRM(o, o.pointee.dst, value)
        setStackPointer(top)
      } else {
        setStackPointer(top)
        try writeRM(o, o.pointee.dst, value)
      }
    case .pusha, .popa: try pushPopAll(o)
    case .enter: try enterFrame(o)
    case .leave:
      let bytes = 1 << Int(o.pointee.sizeLog2)
      let frame = self[slot: 5] & stackMask
      let at = isLong64 ? frame : try linear(2, frame, size: bytes, write: false)
      let value = try loadSized(at, bytes: bytes)
      setStackPointer(frame &+ UInt64(bytes))
      setSized(40, o.pointee.sizeLog2, value)
    case .bound: try bound(o)
    case .jccChecked: if condition(o.pointee.src) { try transfer(UInt64(bitPattern: o.pointee.imm)) }
    case .jmpChecked: try transfer(UInt64(bitPattern: o.pointee.imm))
    case .callChecked: try call(UInt64(bitPattern: o.pointee.imm), o)
    case .jmpRM: try transfer(try readRM(o, o.pointee.dst))
    case .callRM: try call(try readRM(o, o.pointee.dst), o)
    case .ret:
      let bytes = 1 << Int(o.pointee.sizeLog2)
      let target = try loadSized(try stackAddress(0, bytes: bytes, write: false), bytes: bytes)
      try transfer(target)
      setStackPointer(self[slot: Slot.rsp] &+ UInt64(bytes) &+ o.count)
    case .loop, .loope, .loopne, .jcxz: try countedJump(o)
    case .popcnt, .lzcnt, .tzcnt, .andn, .bextr, .blsi, .blsmsk, .blsr, .bzhi: try countBits(o)
    case .mulx, .pdep, .pext, .rorx, .sarx, .shlx, .shrx: try moveBits(o)
    case .movbeLoad, .movbeStore: try moveBigEndian(o)
    case .crc32: try checksum(o)
    }
  }

  /// Near transfer with its check: canonical, or inside CS's limit.
  private func transfer(_ target: UInt64) throws(Stop) {
    if isLong64 {
      guard isCanonical(target) else { throw raise(.gp, 0) }
    } else {
      guard target <= UInt64(pointee.segments[1].limit) else { throw raise(.gp, 0) }
    }
    pointee.rip = target
  }

  private func call(_ target: UInt64, _ o: MicroOpPointer) throws(Stop) {
    let back = pointee.rip
    try transfer(target)
    try push(back, bytes: 1 << Int(o.pointee.sizeLog2))
  }

  private func countedJump(_ o: MicroOpPointer) throws(Stop) {
    let log2 = o.pointee.addressSizeLog2
    let operation = IntegerOp(rawValue: o.pointee.aux)
    var count = getSized(8, log2)
    if operation == .jcxz {
      if count == 0 { try transfer(UInt64(bitPattern: o.pointee.imm)) }
      return
    }
    count = (count &- 1) & mask(log2)
    let wanted = operation == .loop || zf == (operation == .loope)
    if count != 0 && wanted { try transfer(UInt64(bitPattern: o.pointee.imm)) }
    setSized(8, log2, count)
  }
}
