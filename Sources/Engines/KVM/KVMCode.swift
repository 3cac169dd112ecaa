import CHost
import VMCore
import X86

/// The guest's code around its instruction pointer. KVM does not say how long an instruction is that it exited
/// for, nor, where it is already behind it, where it began: that is found out from the bytes.
extension KVMVCPU {
  var mode: ProcessorMode { KVMRegisters.mode(cpu.sync) }
  var space: KVMAddressSpace { KVMAddressSpace(memory, cpu.sync) }

  /// The linear address of an offset in CS.
  func linear(_ rip: UInt64) -> UInt64 {
    cpu.sync.pointee.sregs.cs.l != 0 && cpu.sync.pointee.sregs.efer & EFER.lma != 0
      ? rip : (cpu.sync.pointee.sregs.cs.base &+ rip) & 0xFFFF_FFFF
  }
  private var linearMask: UInt64 { mode == .long64 ? .max : 0xFFFF_FFFF }

  func codeBytes(at rip: UInt64, count: Int = InstructionDecoder.maximumLength) -> [UInt8] {
    space.bytes(at: linear(rip), count: count, mask: linearMask)
  }

  func instruction(at rip: UInt64) -> DecodedInstruction {
    InstructionDecoder.decode(codeBytes(at: rip), at: rip, mode: mode)
  }

  func length(at rip: UInt64) -> UInt8 {
    UInt8(InstructionDecoder.length(of: codeBytes(at: rip), mode: mode) ?? 0)
  }

  /// Four bytes of code.
  private func codeWord(at rip: UInt64) -> UInt32? {
    let start = linear(rip)
    if start & 4095 <= 4092, let gpa = space.translate(start), let page = memory.hostPage(GPA(gpa)) {
      return page.host.loadUnaligned(fromByteOffset: Int(gpa & 4095), as: UInt32.self)
    }
    let bytes = codeBytes(at: rip, count: 4)
    guard bytes.count == 4 else { return nil }
    return bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) }
  }

  // MARK: behind the instruction

  /// Where an OUT began that ends at `rip`: by immediate, or by DX. 0 where there is none.
  func lengthOfOut(before rip: UInt64, _ port: UInt16, _ size: UInt8) -> UInt8 {
    guard let word = codeWord(at: rip &- 4) else { return 0 }
    let before: InlineArray<4, UInt8> = [
      UInt8(word & 0xFF), UInt8(word >> 8 & 0xFF), UInt8(word >> 16 & 0xFF), UInt8(word >> 24),
    ]
    let needsPrefix = size == 2 && mode.codeBits != 16 || size == 4 && mode.codeBits == 16
    let opcode: UInt8 = size == 1 ? 0xEE : 0xEF
    func prefixed(_ length: Int) -> UInt8 {
      guard needsPrefix else { return UInt8(length) }
      return before[3 - length] == 0x66 ? UInt8(length + 1) : 0
    }
    if before[3] == opcode, UInt16(truncatingIfNeeded: cpu.regs.pointee.rdx) == port {
      return prefixed(1)
    }
    if before[2] == opcode & ~8, UInt16(before[3]) == port { return prefixed(2) }
    return 0
  }

  /// Where an instruction began that ends at `rip` and passes `test`: the shortest, since what could be a prefix
  /// before it changes nothing then. 0 where there is none.
  func length(before rip: UInt64, _ test: (DecodedInstruction) -> Bool) -> UInt8 {
    for length in 1...UInt8(InstructionDecoder.maximumLength) {
      let start = rip &- UInt64(length)
      let bytes = codeBytes(at: start, count: Int(length))
      guard bytes.count == Int(length) else { return 0 }
      let found = InstructionDecoder.decode(bytes, at: start, mode: mode)
      if !found.isBad, found.length == Int(length), test(found) { return length }
    }
    return 0
  }

  /// The length of the instruction before `rip` that wrote `size` bytes at `gpa`: all it writes, or a part.
  func lengthOfStore(before rip: UInt64, _ gpa: UInt64, _ size: UInt8) -> UInt8 {
    let exact = length(before: rip) { writes($0, gpa) { $0 == Int(size) } }
    return exact > 0 ? exact : length(before: rip) { writes($0, gpa) { $0 > Int(size) } }
  }

  /// Whether an instruction could have written at `gpa`. String instructions have moved on.
  private func writes(_ found: DecodedInstruction, _ gpa: UInt64, _ fits: (Int) -> Bool) -> Bool {
    if found.isString { return found.memory.contains { $0.writes && fits($0.size) } }
    return found.memory.contains { operand in
      guard operand.writes, fits(operand.size) else { return false }
      if operand.isPush { return true }
      guard let address = space.translate(address(of: operand, in: found)) else { return false }
      return gpa >= address && gpa < address + UInt64(max(operand.size, 1))
    }
  }

  // MARK: operands

  /// The linear address of a memory operand, with the registers as they are.
  func address(of operand: MemoryOperand, in found: DecodedInstruction) -> UInt64 {
    var offset = UInt64(bitPattern: operand.displacement)
    offset &+= value(of: operand.base, found)
    offset &+= value(of: operand.index, found) &* UInt64(operand.scale)
    if operand.isPush { offset &-= UInt64(operand.size) }
    switch operand.addressBits {
    case 16: offset &= 0xFFFF
    case 32: offset &= 0xFFFF_FFFF
    default: break
    }
    if mode == .long64 {
      switch operand.segment {
      case .fs: return offset &+ cpu.sync.pointee.sregs.fs.base
      case .gs: return offset &+ cpu.sync.pointee.sregs.gs.base
      default: return offset
      }
    }
    return (offset &+ base(of: operand.segment)) & 0xFFFF_FFFF
  }

  private func base(of name: SegmentName) -> UInt64 {
    let system = cpu.sync.pointee.sregs
    switch name {
    case .es: return system.es.base
    case .cs: return system.cs.base
    case .ss: return system.ss.base
    case .ds: return system.ds.base
    case .fs: return system.fs.base
    case .gs: return system.gs.base
    default: return 0
    }
  }

  private func value(of register: Register?, _ found: DecodedInstruction) -> UInt64 {
    switch register {
    case .gpr(let name, let part)?:
      let value = KVMRegisters.gpr(cpu.regs.pointee, name)
      return part == .qword ? value : value & (part == .dword ? 0xFFFF_FFFF : 0xFFFF)
    case .instructionPointer?: return found.next
    default: return 0
    }
  }
}
