import VMCore

/// One vector instruction as host code: a function that loads its operands out of `CPU`, carries it out, and stores
/// its results there.
struct VectorForm {
  /// Where it lies (`chost_vector`).
  var entry: UInt
  /// Of the memory operand, in bytes; 0 if there is none.
  var bytes: UInt8
  /// Bits of its address that must be 0, or #GP(0).
  var alignment: UInt8
  /// It writes the memory operand.
  var stores: Bool
  var isVEX: Bool
  var isMMX: Bool
  /// Its destination is an MMX register.
  var writesMMX: Bool
  var writesFlags: Bool
  /// For the rewriter, which writes it where it stands.
  let shape: VectorShape
}

/// The host code of all vector instructions the guest has had so far, one function for each instruction but for its
/// registers. There are a hundred thousand of them at most, immediates being what most of them differ in.
///
/// Invariant for the unsafe part: forms live as long as this object, which belongs to the engine.
final class HostForms {
  private let buffer: CodeBuffer
  private var forms: [[UInt8]: UnsafeMutablePointer<VectorForm>] = [:]

  init() throws(VMError) { buffer = try CodeBuffer() }

  deinit {
    for form in forms.values {
      form.deinitialize(count: 1)
      form.deallocate()
    }
  }

  /// The form of `shape`; operands of one instruction in several alignments have several. nil if there is no room.
  func form(_ shape: VectorShape, alignment: UInt8) -> UnsafeMutablePointer<VectorForm>? {
    let key = shape.code + [alignment]
    if let form = forms[key] { return form }
    guard buffer.used + FormWriter.room <= CodeBuffer.size else { return nil }
    var writer = FormWriter(Assembler(buffer.writable, at: buffer.used), shape)
    let entry = buffer.address(buffer.used)
    writer.write()
    buffer.used = (writer.asm.count + 15) & ~15
    let form = UnsafeMutablePointer<VectorForm>.allocate(capacity: 1)
    form.initialize(
      to: VectorForm(
        entry: entry, bytes: UInt8(shape.bytes), alignment: alignment,
        stores: shape.rm.kind == .memory && shape.rm.writes, isVEX: shape.isVEX, isMMX: shape.hasMMX,
        writesMMX: shape.reg.kind == .mmx && shape.reg.writes, writesFlags: shape.writesFlags, shape: shape))
    forms[key] = form
    return form
  }
}

/// Writes one of them. Arguments: RDI `CPU`, RSI the memory operand, RDX, RCX, R8, R9 the operands of ModRM.reg,
/// ModRM.rm, VEX.vvvv and the immediate; gives RFLAGS. Nothing is pushed before the instruction: a SIGFPE there ends
/// the call (`chost_float_begin`).
private struct FormWriter {
  /// Bytes one may take.
  static let room = 256
  var asm: Assembler
  let shape: VectorShape

  init(_ asm: Assembler, _ shape: VectorShape) {
    self.asm = asm
    self.shape = shape
  }

  private var holders: [(VectorShape.Place, HostRegister)] {
    [(shape.reg, .rdx), (shape.vvvv, .r8), (shape.is4, .r9), (shape.rm, .rcx)]
  }

  mutating func write() {
    for (place, holder) in holders where place.reads { load(place, holder) }
    let first = Int32(Slot.xmmOffset)
    if shape.readsXMM0 { move(0, .memory(.rdi, displacement: first), store: false) }
    if shape.readsLengths {
      asm.move(.rax, .memory(.rdi), size: 8)
      asm.move(.rdx, .memory(.rdi, displacement: 16), size: 8)
    }
    for byte in shape.code { asm.byte(byte) }
    if shape.writesIndex { asm.move(.memory(.rdi, displacement: 8), .rcx, size: 8) }
    for (place, holder) in holders where place.writes { store(place, holder) }
    if shape.writesXMM0 { storeVector(0, .memory(.rdi, displacement: first), .memory(.rdi, displacement: first + 256)) }
    if shape.writesFlags {
      asm.byte(0x9C)
      asm.pop(.rax)
    }
    if shape.isVEX { for byte: UInt8 in [0xC5, 0xF8, 0x77] { asm.byte(byte) } }
    if shape.hasMMX { for byte: UInt8 in [0x0F, 0x77] { asm.byte(byte) } }
    asm.ret()
  }

  private func vector(_ holder: HostRegister, upper: Bool = false) -> HostOperand {
    .memory(.rdi, index: holder, scale: 3, displacement: Int32(Slot.xmmOffset + (upper ? Slot.upperDistance : 0)))
  }
  private func mmx(_ holder: HostRegister) -> HostOperand {
    let offset = MemoryLayout<CPU>.offset(of: \CPU.fpuSignificand) ?? 0
    return .memory(.rdi, index: holder, scale: 3, displacement: Int32(offset))
  }

  private mutating func load(_ place: VectorShape.Place, _ holder: HostRegister) {
    switch place.kind {
    case .xmm, .ymm:
      move(place.number, vector(holder), store: false)
      if place.kind == .ymm {
        asm.vex(.insertUpper, place.number, place.number, vector(holder, upper: true), long: true, immediate: 1)
      }
    case .mmx: asm.modRM(0x0F6F, place.number, mmx(holder), size: 4)
    case .general: asm.move(HostRegister(place.number), .memory(.rdi, index: holder), size: 8)
    case .none, .memory: break
    }
  }

  private mutating func store(_ place: VectorShape.Place, _ holder: HostRegister) {
    switch place.kind {
    case .xmm, .ymm: storeVector(place.number, vector(holder), vector(holder, upper: true))
    case .mmx: asm.modRM(0x0F7F, place.number, mmx(holder), size: 4)
    case .general: asm.move(.memory(.rdi, index: holder), HostRegister(place.number), size: 8)
    case .none, .memory: break
    }
  }

  /// VEX instructions clear what they do not write.
  private mutating func storeVector(_ number: UInt8, _ low: HostOperand, _ high: HostOperand) {
    move(number, low, store: true)
    if shape.isVEX { asm.vex(.extractUpper, number, 0, high, long: true, immediate: 1) }
  }

  private mutating func move(_ number: UInt8, _ memory: HostOperand, store: Bool) {
    if shape.isVEX {
      asm.vex(store ? .store : .load, number, 0, memory, long: false)
    } else {
      asm.modRM(store ? 0x0F11 : 0x0F10, number, memory, size: 4)
    }
  }
}

/// VEX instructions that host code needs of its own.
struct VEXOpcode {
  /// Opcode map and mandatory prefix, as the VEX prefix holds them.
  var map: UInt8
  var prefix: UInt8
  var opcode: UInt8
  /// VMOVUPS.
  static let load = VEXOpcode(map: 1, prefix: 0, opcode: 0x10), store = VEXOpcode(map: 1, prefix: 0, opcode: 0x11)
  /// VINSERTF128, VEXTRACTF128.
  static let insertUpper = VEXOpcode(map: 3, prefix: 1, opcode: 0x18)
  static let extractUpper = VEXOpcode(map: 3, prefix: 1, opcode: 0x19)
}

extension Assembler {
  /// A VEX instruction in the three-byte form: ModRM.reg, VEX.vvvv, ModRM.rm.
  mutating func vex(
    _ opcode: VEXOpcode, _ reg: UInt8, _ other: UInt8, _ rm: HostOperand, long: Bool, wide: Bool = false,
    immediate: UInt8? = nil
  ) {
    var first: UInt8 = 0xE0
    if reg & 8 != 0 { first ^= 0x80 }
    switch rm {
    case .register(let r):
      name(r.number)
      if r.number & 8 != 0 { first ^= 0x20 }
    case .memory(let base, let index, _, _):
      if base.number & 8 != 0 { first ^= 0x20 }
      if let index, index.number & 8 != 0 { first ^= 0x40 }
    case .code: break
    }
    byte(0xC4)
    byte(first | opcode.map)
    byte((wide ? 0x80 : 0) | (0xF ^ other) << 3 | (long ? 4 : 0) | opcode.prefix)
    byte(opcode.opcode)
    operand(reg & 7, rm, immediate == nil ? 0 : 1)
    if let immediate { byte(immediate) }
  }
}
