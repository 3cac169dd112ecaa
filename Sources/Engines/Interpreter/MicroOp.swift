import VMCore
import X86

/// One decoded instruction, or a part of one, ready to execute: 32 bytes.
///
/// Operands `dst`, `src`, `base`, `index`, `segment` are byte offsets into `CPU.r` (`Slot` * 8); the
/// effective address is r[base] + (r[index] << scale) + disp + r[segment], cut by the address mask.
/// Where segmentation matters (limits, types, bases other than FS/GS in 64-bit mode), a `.segmentAddress`
/// micro-op before it has left the checked linear address in `Slot.temporary`.
struct MicroOp {
  var op: Op
  /// Second-level opcode of a family (`Op.system`, `.sse`, `.x87`, `.string`, ...).
  var aux: UInt16 = 0
  var dst: UInt8 = 0
  var src: UInt8 = 0
  var base: UInt8 = UInt8(Slot.zero * 8)
  var index: UInt8 = UInt8(Slot.zero * 8)
  var scale: UInt8 = 0
  var segment: UInt8 = UInt8(Slot.zero * 8)
  /// `MicroOp.Flags`, by family.
  var flags: UInt8 = 0
  /// Length of the instruction in bytes.
  var length: UInt8 = 0
  /// The instruction's offset from the start of its block, in bytes.
  var offset: UInt16 = 0
  /// Instructions from this one to the end of its block, itself included.
  var remaining: UInt16 = 0
  var disp: Int64 = 0
  var imm: Int64 = 0

  init(_ op: Op) { self.op = op }

  /// A fault on its memory operand is a stack fault: RSP or RBP addressing (64-bit mode).
  var usesStack: Bool {
    (base == UInt8(Slot.rsp * 8) || base == 40) && segment == UInt8(Slot.zero * 8)
  }

  /// The meanings of `flags` shared by the families.
  static let hasMemory: UInt8 = 1
  static let lock: UInt8 = 2
  static let rep: UInt8 = 4
  static let repne: UInt8 = 8
  /// log2 of the operand size in bytes, at bits 5:4.
  @inline(__always) var sizeLog2: UInt8 { flags >> 4 & 3 }
  /// log2 of the address size in bytes, at bits 7:6.
  @inline(__always) var addressSizeLog2: UInt8 { flags >> 6 & 3 }
}

typealias MicroOpPointer = UnsafeMutablePointer<MicroOp>

extension UnsafeMutablePointer<CPU> {
  /// The linear address of the micro-op's memory operand, for the families outside the hot loop.
  @inline(__always) func address(_ o: MicroOpPointer) -> UInt64 {
    let base: UInt64 = get(o.pointee.base)
    let index: UInt64 = get(o.pointee.index)
    let segment: UInt64 = get(o.pointee.segment)
    let scaled = index &<< UInt64(o.pointee.scale)
    let sum = base &+ scaled &+ UInt64(bitPattern: o.pointee.disp) &+ segment
    return sum & pointee.addressMask
  }

  /// LEA's offset: no segment, no mask.
  @inline(__always) func offsetAddress(_ o: MicroOpPointer) -> UInt64 {
    let base: UInt64 = get(o.pointee.base)
    let index: UInt64 = get(o.pointee.index)
    return base &+ (index &<< UInt64(o.pointee.scale)) &+ UInt64(bitPattern: o.pointee.disp)
  }
}
