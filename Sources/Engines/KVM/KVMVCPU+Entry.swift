import CHost
import Glibc
import VMCore
import X86

/// What the monitor decided about the last exit, and what it puts into the guest.
extension KVMVCPU {
  /// Carries out `entry`; an exit if that led to one. With a `limit` of at most 1 all of it is done here, else
  /// the rest may be left to the KVM_RUN that follows.
  func carryOut(_ entry: VMEntry, _ limit: UInt64) -> VMExit? {
    let isExact = limit <= 1 || entry.inject != nil
    switch open.kind {
    case .nothing, .breakpoint:
      if case .retire(let rip) = entry.action { retire(rip) }
      if case .fault(let vector, let errorCode) = entry.action {
        open = KVMOpenExit()
        return inject(.exception(vector, errorCode: errorCode), entry, isExact: isExact)
      }
    case .taskPriority:
      open = KVMOpenExit()
      if case .fault(let vector, let errorCode) = entry.action {
        return inject(.exception(vector, errorCode: errorCode), entry, isExact: isExact)
      }
      if let next = waiting {
        waiting = nil
        open = next.open
        return next.exit
      }
    case .companion: if let exit = finishCompanion(entry) { return exit }
    case .hlt: if let exit = finishHalt(entry, isExact) { return exit }
    case .io, .mmio, .msr: if let exit = finishAccess(entry, isExact) { return exit }
    }
    guard let event = entry.inject else { return nil }
    return inject(event, entry, isExact: limit <= 1)
  }

  // MARK: HLT

  private func finishHalt(_ entry: VMEntry, _ isExact: Bool) -> VMExit? {
    let (rip, next) = (open.rip, open.next)
    open = KVMOpenExit()
    switch entry.action {
    case .resume: setRIP(rip)
    case .fault(let vector, let errorCode):
      setRIP(rip)
      return inject(.exception(vector, errorCode: errorCode), entry, isExact: isExact)
    case .emulate, .complete:
      retire(next)
      activity = .halted
    case .skip: retire(next)
    case .retire(let rip): retire(rip)
    }
    return nil
  }

  /// An instruction is over without KVM's doing.
  private func retire(_ next: UInt64) {
    if cpu.regs.pointee.rip != next { setRIP(next) }
    cpu.sync.pointee.events.interrupt.shadow = 0
    instructionCount &+= 1
  }

  // MARK: ports, memory, MSRs

  private func finishAccess(_ entry: VMEntry, _ isExact: Bool) -> VMExit? {
    switch entry.action {
    case .resume:
      takeBack()
      return nil
    case .fault(let vector, let errorCode):
      takeBack()
      return inject(.exception(vector, errorCode: errorCode), entry, isExact: isExact)
    case .skip:
      let next = open.next
      if open.isPast {
        open = KVMOpenExit()
        instructionCount &+= 1
      } else {
        takeBack()
        retire(next)
      }
      return nil
    case .retire(let rip):
      takeBack()
      retire(rip)
      return nil
    case .emulate:
      guard open.kind == .msr else { return complete(0, isExact: isExact) }
      // Every MSR exits now, and this one is the processor's own: the embedded one carries it out on the state.
      takeBack()
      emulatedCount &+= 1
      return byCompanion(.resume, limit: 1)
    case .complete(let value): return complete(value, isExact: isExact)
    }
  }

  /// Gives KVM what it waits for.
  func complete(_ value: UInt64, isExact: Bool) -> VMExit? {
    switch open.kind {
    case .io:
      let io = chost_kvm_io_exit(cpu.run)
      if !io.write { Self.put(value, into: io.data + Int(open.element) * Int(io.size), io.size) }
      if open.element + 1 < open.count {
        open.element += 1
        return ioElement(io, stringInstruction(io))
      }
    case .mmio:
      let access = chost_kvm_mmio_exit(cpu.run)
      if !access.write { Self.put(value, into: access.data, UInt8(truncatingIfNeeded: access.size)) }
    default: chost_kvm_msr_answer(cpu.run, value, false)
    }
    if open.isPast {
      open.close()
      instructionCount &+= 1
      return nil
    }
    if isExact || !open.written.isEmpty { return finishExactly(open.written) }
    open.close()
    instructionCount &+= 1
    return nil
  }

  private func stringInstruction(_ io: chost_kvm_io) -> KVMPortInstruction {
    var found = KVMPortInstruction(
      length: UInt8(truncatingIfNeeded: open.next &- open.rip), isOut: io.write, isString: true, isPast: open.isPast)
    found.isRepeated = true
    return found
  }

  /// Lets KVM finish the instruction and stop there: the one way to a state that is whole
  /// (Documentation/virt/kvm/api.rst, KVM_RUN). Another part of the same access exits.
  private func finishExactly(_ written: [(register: GPR, value: UInt64)]) -> VMExit? {
    open = KVMOpenExit()
    forgetSlowState()
    for _ in 0..<16 {
      let result = cpu.finishInstruction()
      if result == -EAGAIN { continue }
      if result == 0 {
        let reason = Int32(cpu.run.pointee.exit_reason)
        // A single step ends with the instruction, as it should.
        if reason != KVM_EXIT_DEBUG, let exit = exitOfKVM() {
          open.written = written
          return exit
        }
        if reason == KVM_EXIT_MMIO { continue }
      }
      break
    }
    putWritten(written)
    instructionCount &+= 1
    return nil
  }

  // MARK: events

  /// Puts an event into the guest. Exactly: the guest stands before its handler's first instruction then, which
  /// KVM has no way to say; the embedded processor delivers it.
  private func inject(_ event: InjectedEvent, _ entry: VMEntry, isExact: Bool) -> VMExit? {
    if activity == .halted { activity = .active }
    if isExact || entry.stopsAfterDelivery {
      var delivery = VMEntry(.resume, inject: event)
      if case .exception(let vector, let errorCode) = event { delivery = VMEntry(.fault(vector, errorCode: errorCode)) }
      delivery.stopsAfterDelivery = entry.stopsAfterDelivery
      let after = VMEntry(.resume, inject: event == entry.inject ? nil : entry.inject)
      if let exit = byCompanion(delivery, limit: 0) { return exit }
      return after.inject.flatMap { inject($0, after, isExact: isExact) }
    }
    Self.put(event, into: &cpu.sync.pointee.events)
    cpu.changed(KVMProcessor.events)
    return nil
  }

  private static func put(_ event: InjectedEvent, into events: inout kvm_vcpu_events) {
    events.interrupt.shadow = 0
    switch event {
    case .externalInterrupt(let vector):
      events.interrupt.injected = 1
      events.interrupt.nr = vector
      events.interrupt.soft = 0
    case .nmi: events.nmi.injected = 1
    case .exception(let vector, let errorCode):
      events.exception.injected = 1
      events.exception.nr = vector
      events.exception.has_error_code = errorCode == nil ? 0 : 1
      events.exception.error_code = errorCode ?? 0
    }
  }

  /// An event KVM took but has not delivered is delivered now.
  func deliverPending() -> VMExit? {
    guard isDelivering else { return nil }
    let events = cpu.sync.pointee.events
    cpu.sync.pointee.events.interrupt.injected = 0
    cpu.sync.pointee.events.exception.injected = 0
    cpu.sync.pointee.events.exception.pending = 0
    cpu.sync.pointee.events.nmi.injected = 0
    cpu.sync.pointee.events.nmi.pending = 0
    cpu.changed(KVMProcessor.events)
    var delivery = VMEntry.resume
    if events.exception.injected != 0 || events.exception.pending != 0 {
      let code = events.exception.has_error_code != 0 ? events.exception.error_code : nil
      delivery.action = .fault(events.exception.nr, errorCode: code)
    } else if events.nmi.injected != 0 || events.nmi.pending != 0 {
      delivery.inject = .nmi
    } else {
      delivery.inject = .externalInterrupt(events.interrupt.nr)
    }
    return byCompanion(delivery, limit: 0)
  }
}
