import CHost
import VMCore
import X86

/// What ring 3 asks of ring 0 on a host whose KVM runs ring 3 as a program of its own (trait syscallEntersRing0):
/// SYSCALL gets to its target still in ring 3 and faults there, INT n is an undefined instruction. Both end in a
/// fault handler of the guest's, in ring 0, where a debug register stops it; the fault is taken back then, and the
/// embedded processor executes the instruction.
extension KVMVCPU {
  private static let reviewed: [UInt8] = [Exception.ud.rawValue, Exception.gp.rawValue, Exception.pf.rawValue]
  private static let gatePresent: UInt64 = 1 << 47

  /// The handlers the guest's IDT names now (SDM 3A 6.14.1).
  func findHandlers() {
    let system = cpu.present.pointee.sregs
    guard system.efer & EFER.lma != 0, system.cs.l != 0, system.tr.base != 0 else {
      if !debug.handlers.isEmpty { setHandlers([]) }
      return
    }
    let space = space
    var found: [(vector: UInt8, address: UInt64)] = []
    for vector in Self.reviewed where UInt64(vector) * 16 + 15 <= UInt64(system.idt.limit) {
      guard let gpa = space.translate(system.idt.base &+ UInt64(vector) * 16),
        let low = memory.load(GPA(gpa), as: UInt64.self), low & Self.gatePresent != 0,
        let high = memory.load(GPA(gpa &+ 8), as: UInt32.self)
      else { continue }
      found.append((vector, low & 0xFFFF | low >> 32 & 0xFFFF_0000 | UInt64(high) << 32))
    }
    if !found.elementsEqual(debug.handlers, by: ==) { setHandlers(found) }
  }

  private func setHandlers(_ found: [(vector: UInt8, address: UInt64)]) {
    debug.handlers = found
    debug.isStale = true
  }

  /// The guest stands before the first instruction of a fault's handler.
  func review(_ vector: UInt8) -> VMExit? {
    guard let state = interrupted(vector) else {
      // Over the handler's first instruction, where the debug register would stop again.
      return byCompanionAmidst()
    }
    let before = read()
    write(state, over: before)
    return byCompanionAmidst()
  }

  /// Ring 3 before the instruction that faulted, from the handler's stack; nil where it was not ring 3, or the fault is
  /// the guest's own.
  private func interrupted(_ vector: UInt8) -> VCPUState? {
    var s = read()
    let hasCode: UInt64 = vector == Exception.ud.rawValue ? 0 : 8
    let space = space
    func word(_ index: UInt64) -> UInt64? {
      space.translate(s[.rsp] &+ hasCode &+ index * 8).flatMap { memory.load(GPA($0)) }
    }
    guard let rip = word(0), let code = word(1), let flags = word(2), let stack = word(3), let data = word(4),
      code & 3 == 3, let cs = descriptor(code, s), let ss = descriptor(data, s)
    else { return nil }
    let isCall = rip == s.lstar && s.efer & EFER.sce != 0
    if vector == Exception.pf.rawValue, !isCall { return nil }
    s.rip = isCall ? s[.rcx] &- 2 : rip
    s.rflags = isCall ? s[.r11] | RFLAGS.fixed1 : flags
    s[.rsp] = stack
    s[.cs] = cs
    s[.ss] = ss
    s.interruptShadow = false
    return s
  }

  /// A segment of the GDT as it is when loaded (SDM 3A 3.4.5).
  private func descriptor(_ selector: UInt64, _ s: VCPUState) -> SegmentState? {
    let offset = selector & 0xFFF8
    guard selector & 4 == 0, offset != 0, offset + 7 <= UInt64(s.gdtr.limit),
      let gpa = space.translate(s.gdtr.base &+ offset), let raw = memory.load(GPA(gpa), as: UInt64.self)
    else { return nil }
    let low = UInt32(truncatingIfNeeded: raw & 0xFFFF | raw >> 32 & 0xF_0000)
    let isCoarse = raw >> 55 & 1 != 0
    let base = raw >> 16 & 0xFF_FFFF | (raw >> 56) << 24
    let access = UInt32(truncatingIfNeeded: raw >> 40) & 0xF0FF | 1
    return SegmentState(
      selector: UInt16(truncatingIfNeeded: selector), base: base, limit: isCoarse ? low << 12 | 0xFFF : low,
      access: access)
  }
}
