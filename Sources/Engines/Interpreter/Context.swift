import VMCore
import X86

/// What decoding depends on besides the bytes: part of every block's key. Fits the low 16 bits of
/// `CPU.stamp`.
struct Context: Equatable {
  var bits: UInt16

  /// Default operand and address size: 16, 32 or 64.
  var codeBits: Int { 16 << Int(bits & 3) }
  var isLong64: Bool { bits & 3 == 2 }
  /// DS, ES and SS are writable, start at 0 and end at 4 GiB (always so in 64-bit mode).
  var flatData: Bool { bits & 4 != 0 }
  /// Stack pointer size is 32 bits or more (SS.B, or 64-bit mode).
  var bigStack: Bool { bits & 8 != 0 }
  var cpl: UInt8 { UInt8(bits >> 4 & 3) }
  /// Protected mode, not virtual-8086.
  var isProtected: Bool { bits & 0x40 != 0 }
  var isVirtual8086: Bool { bits & 0x80 != 0 }
  /// Blocks of one instruction, for exact stops.
  var alone: Bool { bits & 0x100 != 0 }
  /// CS starts at 0 and ends at 4 GiB.
  var flatCode: Bool { bits & 0x200 != 0 }
  static let aloneBit: UInt16 = 0x100
  /// CS's limit is at least FFFFh: no 16-bit branch target lies beyond it.
  var reaches64K: Bool { bits & 0x800 != 0 }
  /// IA-32e mode is active (long or compatibility).
  var isIA32e: Bool { bits & 0x400 != 0 }
}

extension UnsafeMutablePointer<CPU> {
  /// Call after any change to CR0.PE, EFER.LMA, RFLAGS.VM, CPL or a segment register: brings the address
  /// mask, the TLB in force and `stamp` in line.
  func updateContext() {
    updateAlignmentChecks()
    pointee.tlb = pointee.cpl == 3 ? pointee.tlbs + TLB.entries : pointee.tlbs
    let long = isLong64
    pointee.addressMask = long ? .max : 0xFFFF_FFFF
    let bits = long ? longContext : shortContext
    let base = long ? 0 : (pointee.segments[1].base & 0xFFFF_FFFF) << 16
    pointee.stamp = pointee.stamp & 0xFFFF_0000_0000_0000 | base | UInt64(bits | UInt16(pointee.cpl) << 4)
  }

  /// Call after any change to CR0.AM, RFLAGS.AC or CPL: while ring 3 has its alignment checked (SDM 3A 6.15, vector 17)
  /// its half of the TLB stays empty, so that every access comes by `readLinear` and `writeLinear`.
  func updateAlignmentChecks() {
    let checks = pointee.cpl == 3 && pointee.rflags & RFLAGS.ac != 0 && pointee.cr0 & CR0.am != 0
    guard checks != pointee.checksAlignment else { return }
    pointee.checksAlignment = checks
    if checks { flushTLB(keepGlobal: false) }
  }

  /// Of 64-bit mode, all but the CPL.
  private var longContext: UInt16 { 2 | 4 | 8 | 0x200 | commonContext }

  /// Of any other mode.
  private var shortContext: UInt16 {
    var bits = commonContext
    let cs = pointee.segments[1]
    if bits & 0x40 != 0 {
      if cs.big { bits |= 1 }
      if isFlat(0), isFlat(2), isFlat(3) { bits |= 4 }
      if pointee.segments[2].big { bits |= 8 }
      if cs.base == 0 && cs.limit == 0xFFFF_FFFF { bits |= 0x200 }
    }
    return cs.limit >= 0xFFFF ? bits | 0x800 : bits
  }

  private var commonContext: UInt16 {
    var bits: UInt16 = isProtected ? 0x40 : 0
    if pointee.rflags & RFLAGS.vm != 0 { bits |= 0x80 }
    if pointee.efer & EFER.lma != 0 { bits |= 0x400 }
    return bits
  }

  /// Present, not unusable, writable data that grows up, of all addresses.
  private func isFlat(_ index: Int) -> Bool {
    let s = pointee.segments[index]
    return s.base == 0 && s.limit == 0xFFFF_FFFF && s.access & 0x1_009E == 0x92
  }

  /// Call after any change of the linear-to-physical mapping or of decoded code: nothing cached by
  /// address is trusted unseen any more.
  func bumpGeneration() {
    let step = vcpu.engine.generationStep
    pointee.stamp &+= step << 48
    // Stamps of 65,536 generations ago would look fresh again.
    if pointee.stamp >> 48 < step { vcpu.engine.forgetStamps() }
  }

  var context: Context { Context(bits: UInt16(truncatingIfNeeded: pointee.stamp)) }

  /// Loads a segment register's visible and hidden part.
  func setSegment(_ index: Int, _ state: SegmentState) {
    pointee.segments[index] = state
    if index == 1 && !isLong64 {
      let base = (state.base & 0xFFFF_FFFF) << 16
      pointee.stamp = pointee.stamp & 0xFFFF_0000_0000_FFFF | base
    }
    if index == 4 { self[slot: Slot.fsBase] = state.base }
    if index == 5 { self[slot: Slot.gsBase] = state.base }
  }
}
