import CHost
import Glibc
import VMCore
import X86

/// The architectural state as a value, out of the kernel and back.
extension KVMVCPU {
  package var state: VCPUState {
    get { open.kind == .companion ? companion.vcpu.state : read() }
    set {
      let old = read()
      abandon()
      waiting = nil
      write(newValue, over: old)
      if newValue.tscOffset != tscOffset {
        tscOffset = newValue.tscOffset
        if traits.contains(.tscWritable) { _ = chost_kvm_set_msr(cpu.fd, MSR.tsc, virtualTime &+ tscOffset) }
      }
    }
  }

  func read() -> VCPUState {
    var s = VCPUState()
    KVMRegisters.get(&s, from: cpu.sync)
    slowState.get(&s)
    s.rip = shownRIP
    for entry in open.written { s[entry.register] = entry.value }
    s.activity = activity
    s.tscOffset = tscOffset
    return s
  }

  private var slowState: KVMSlowState {
    if let slow { return slow }
    let made = KVMSlowState(cpu.fd, host)
    slow = made
    return made
  }

  /// Puts `s` in place of `old`, which is there now.
  func write(_ s: VCPUState, over old: VCPUState) {
    var slow = slowState
    slow.put(s, over: old, cpu.fd, host)
    self.slow = slow
    KVMRegisters.put(s, into: cpu)
    knownCR8 = s.cr8
    ports.forget()
    knownCode = nil
    activity = s.activity
  }

  /// Whatever instruction is open ends without a trace in the registers, which are about to be replaced.
  func abandon() {
    switch open.kind {
    case .io, .mmio, .msr: if !open.isPast { finishUnseen() }
    default: break
    }
    open = KVMOpenExit()
  }

  /// Lets KVM finish its instruction, with zeros for what it still reads.
  private func finishUnseen() {
    for _ in 0..<1024 {
      let result = cpu.finishInstruction()
      if result == -EAGAIN { continue }
      guard result == 0 else { return }
      switch Int32(cpu.run.pointee.exit_reason) {
      case KVM_EXIT_IO, KVM_EXIT_MMIO: continue
      default: return
      }
    }
  }

  /// The instruction of the last exit has had no effect: the guest stands before it.
  func takeBack() {
    guard open.kind != .nothing else { return }
    // KVM leaves them as they were at the exit until it has finished its instruction.
    let (registers, rip) = (cpu.regs.pointee, open.rip)
    let written = open.written
    abandon()
    cpu.regs.pointee = registers
    cpu.regs.pointee.rip = rip
    for entry in written { KVMRegisters.setGPR(&cpu.regs.pointee, entry.register, entry.value) }
    cpu.changed(KVMProcessor.registers)
  }

  /// Registers that were written during the instruction get their values now that it is finished.
  func putWritten(_ written: [(register: GPR, value: UInt64)]) {
    guard !written.isEmpty else { return }
    for entry in written { KVMRegisters.setGPR(&cpu.regs.pointee, entry.register, entry.value) }
    cpu.changed(KVMProcessor.registers)
  }

  /// The instruction pointer and nothing else.
  func setRIP(_ rip: UInt64) {
    cpu.regs.pointee.rip = rip
    cpu.changed(KVMProcessor.registers)
  }
}
