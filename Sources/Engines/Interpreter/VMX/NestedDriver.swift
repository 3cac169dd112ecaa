import VMCore
import X86

/// The driver's part of VMX operation: from the guest's guest to the guest's monitor, between two instructions.
extension InterpreterVCPU {
  /// The guest's own monitor takes over; an exit to ours if that shut the vCPU down.
  func leaveNested() -> VMExit? {
    c.leaveGuest(length: c.pointee.stopLength)
    c.pointee.stopLength = 0
    settle()
    guard c.pointee.activity == .shutdown else { return nil }
    return exit(.tripleFault, .tripleFault)
  }

  /// The same for an exit that belongs to no instruction.
  func leaveNested(_ exit: VMXExit) -> VMExit? {
    c.pointee.vmx.exit = exit
    c.pointee.stopLength = 0
    return leaveNested()
  }

  /// Something of VMX operation comes before the next instruction.
  var isNestedEventDue: Bool {
    guard c.pointee.activity == .active || c.pointee.activity == .halted else { return false }
    if c.pointee.vmx.injection != 0 || isDebugDue || c.boundaryExit != nil { return true }
    guard c.pointee.vmx.heldInterrupt != nil else { return false }
    let isOpen = c.pointee.rflags & RFLAGS.interruptEnable != 0 && c.pointee.shadowAt != c.retired
    return c.interruptsExit || isOpen
  }

  /// Debug exceptions wait, and no MOV SS puts them off by an instruction.
  private var isDebugDue: Bool {
    let isShadowed = c.pointee.shadowAt == c.retired && c.pointee.shadowIsMOVSS
    return c.pointee.vmx.pendingDebug != 0 && !isShadowed
  }

  /// Delivers what VM entry injects, leaves for what is due, or gives the monitor an interrupt that waited.
  func takeNestedEvent() -> VMExit? {
    if c.pointee.vmx.injection != 0 { return takeInjection() }
    if isDebugDue {
      let debug = c.pointee.vmx.pendingDebug
      c.pointee.vmx.pendingDebug = 0
      c.pointee.activity = .active
      return deliver(Fault(vector: Exception.db.rawValue, linear: debug & 0x400F)) ?? monitorTrap()
    }
    if let exit = c.boundaryExit { return leaveNested(exit) }
    guard let vector = c.pointee.vmx.heldInterrupt else { return nil }
    c.pointee.vmx.heldInterrupt = nil
    c.pointee.leaveSoon = false
    return inject(.externalInterrupt(vector))
  }

  /// What VM entry injects: an event for the guest, or an exit by the monitor trap flag right away.
  func takeInjection() -> VMExit? {
    if c.pointee.vmx.injection >> 8 & 7 == VMXFormat.EventType.other.rawValue {
      return leaveNested(VMXExit(reason: .monitorTrap, pendingDebug: c.pointee.vmx.pendingDebug))
    }
    do throws(Stop) {
      try c.injectPending()
    } catch {
      if let exit = stopped(error) { return exit }
    }
    return monitorTrap()
  }

  /// The exit of the monitor trap flag after an instruction or a delivery (SDM 3C 26.5.2); nothing where it
  /// is off. It comes before the debug traps in `pending`, which wait in the VMCS.
  func monitorTrap(pending debug: UInt64 = 0) -> VMExit? {
    guard c.isNonRoot, c.pointee.vmx.controls.has(.monitorTrapFlag) else { return nil }
    let enabled: UInt64 = debug & 0xF != 0 ? 1 << 12 : 0
    return leaveNested(VMXExit(reason: .monitorTrap, pendingDebug: debug & 0x400F | enabled))
  }
}
