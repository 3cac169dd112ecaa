import CHost
import Glibc
import VMCore
import X86

/// One instruction at a time.
extension KVMVCPU {
  /// How long one instruction may take before the guest is thought to have run away, in ns.
  private static let patience: UInt64 = 1_000_000_000
  /// After these a trap flag of the monitor's does not come back where it should, or the guest sees it; and a
  /// repeated string instruction is one instruction (see `VCPU.run`).
  private static let unsteppable: Set<String> = [
    "iret", "iretd", "iretq", "pushf", "pushfd", "pushfq", "popf", "popfd", "popfq", "int", "int1", "int3", "into",
    "syscall", "sysret", "sysenter", "sysexit", "sti", "lss", "swapgs",
  ]

  /// Executes one instruction; nil when it is done.
  func step(_ entry: VMEntry) -> VMExit? {
    if let exit = deliverPending() { return exit }
    let at = linear(cpu.regs.pointee.rip)
    if open.kind != .breakpoint, traps.execution.contains(at) { return breakpointExit(at) }
    let found = instruction(at: cpu.regs.pointee.rip)
    if found.mnemonic == "hlt", currentPrivilege == 0, controls.vmcs.has(.hltExiting) {
      return hltExit(at: cpu.regs.pointee.rip, isPast: false)
    }
    return isSteppable(found) ? stepByKVM(found) : stepByCompanion(entry)
  }

  /// Executes the instruction of a breakpoint that was reported, or that nobody is to see.
  func stepOver(_ entry: VMEntry) -> VMExit? {
    open = KVMOpenExit()
    var silent = DebugTraps()
    silent.watches = traps.watches
    return byCompanion(VMEntry(.resume), limit: 1, traps: silent)
  }

  private func stepByCompanion(_ entry: VMEntry) -> VMExit? {
    var silent = DebugTraps()
    silent.watches = traps.watches
    var first = VMEntry.resume
    first.stopsAfterDelivery = entry.stopsAfterDelivery
    return byCompanion(first, limit: 1, traps: silent)
  }

  var currentPrivilege: UInt8 {
    if cpu.sync.pointee.sregs.cr0 & CR0.pe == 0 { return 0 }
    return cpu.regs.pointee.rflags & RFLAGS.vm != 0 ? 3 : cpu.sync.pointee.sregs.ss.dpl
  }

  private func isSteppable(_ found: DecodedInstruction) -> Bool {
    if found.isBad || found.repeatPrefix != .none || Self.unsteppable.contains(found.mnemonic) { return false }
    if currentPrivilege == 3, !traits.contains(.stepAtCPL3) { return false }
    if cpu.regs.pointee.rflags & RFLAGS.tf != 0 || !traps.watches.isEmpty { return false }
    let loadsSS = found.mnemonic == "mov" && found.text.hasPrefix("mov ss") || found.text == "pop ss"
    if loadsSS { return false }
    // What faults would run its handler under a processor's own trap flag.
    let space = space
    return found.memory.allSatisfy { space.translate(address(of: $0, in: found)) != nil }
  }

  private func stepByKVM(_ found: DecodedInstruction) -> VMExit? {
    open = KVMOpenExit()
    setGuestDebug(UInt32(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP))
    defer { setGuestDebug(0) }
    let rip = cpu.regs.pointee.rip
    notePaging32()
    let deadline = HostTime.now() &+ Self.patience
    cpu.run.pointee.request_interrupt_window = 0
    while true {
      cpu.prepare()
      if takeKick() { return exit(.kicked, .kicked) }
      let now = HostTime.now()
      if now >= deadline { return exit(.budget, .budget) }
      cpu.setAlarm(deadline, now: now)
      forgetSlowState()
      let result = cpu.enter()
      if result == 0 {
        if cpu.run.pointee.exit_reason == UInt32(KVM_EXIT_DEBUG) { break }
        let before = instructionCount
        if let exit = exitOfKVM() { return withTaskPriority(exit) }
        // The embedded processor has done it.
        if instructionCount != before { return nil }
      } else if result != -EINTR, result != -EAGAIN {
        return entryFailure(UInt32(truncatingIfNeeded: -result), "KVM refused to run the guest: error \(-result)")
      }
      if cpu.regs.pointee.rip != rip { break }
    }
    instructionCount &+= 1
    return cpu.run.pointee.cr8 == knownCR8 ? nil : taskPriorityExit()
  }
}
