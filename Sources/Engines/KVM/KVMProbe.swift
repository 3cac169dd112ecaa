import CHost
import Glibc
import VMCore
import X86

/// What the probe found out.
package struct KVMFindings: Sendable {
  package var traits: KVMTraits = []
  /// At the exit of an OUT the instruction pointer is already behind it.
  package var ripIsPastOut = false
  /// Nanoseconds the probe took.
  package var duration: UInt64 = 0

  /// This process's findings, made at the first use; nothing where there is no KVM.
  package static let shared: KVMFindings = {
    guard case .success(let host) = KVMHost.shared else { return KVMFindings() }
    return (try? KVMProbe(host).findings()) ?? KVMFindings()
  }()
}

/// Runs a dozen guests of a few instructions each, every one on a vCPU of its own and with a timer against
/// those that do not come back.
private final class KVMProbe {
  private let host: KVMHost
  private let memory: GuestMemory
  private let machine: KVMMachine
  private var count = 0
  private static let tables: UInt64 = 0x1000
  private static let code: UInt64 = 0x8000
  private static let stack: UInt64 = 0xF000
  private static let patience: UInt64 = 20_000_000

  init(_ host: KVMHost) throws(VMError) {
    self.host = host
    memory = try GuestMemory(ramSize: 1 << 20)
    try memory.addROM([UInt8](repeating: 0xF4, count: 4096), at: [GPA(0xF_0000)])
    machine = try KVMMachine(host: host)
    try machine.lay(out: memory)
    // The first 2 MiB, for both rings; the third table serves 32-bit paging with one page of 4 MiB.
    memory.store(GPA(Self.tables), (Self.tables + 0x1000) | 7)
    memory.store(GPA(Self.tables + 0x1000), (Self.tables + 0x2000) | 7)
    memory.store(GPA(Self.tables + 0x2000), UInt64(0x87))
    memory.store(GPA(Self.tables + 0x3000), UInt32(0x87))
  }

  func findings() throws(VMError) -> KVMFindings {
    let start = HostTime.now()
    var found = KVMFindings()
    let tests: [(KVMTraits, () throws(VMError) -> Bool)] = [
      (.nativeRing0, runsRing0), (.paging32, pages32), (.syscallEntersRing0, enters), (.swBreakpointExit, breaks),
      (.dataWatchpoints, watches), (.hwExecAtCPL3, stopsInRing3), (.stepAtCPL3, stepsInRing3),
      (.cpuidFaithful, keepsCPUID), (.tscWritable, setsTSC), (.preciseInterrupts, seesWindow),
      (.readonlySlots, guardsROM),
    ]
    for (trait, holds) in tests where try holds() { found.traits.insert(trait) }
    found.ripIsPastOut = try isPastOut()
    found.duration = HostTime.now() &- start
    return found
  }

  // MARK: a guest

  /// A vCPU about to execute `code` in 64-bit mode.
  private func guest(_ code: [UInt8], ring: UInt8 = 0) throws(VMError) -> KVMProcessor {
    memory.write(GPA(Self.code), code + [UInt8](repeating: 0xF4, count: 16))
    let cpu = try KVMProcessor(host: host, vm: machine.fd, index: count)
    count += 1
    var s = VCPUState()
    s.cr0 = CR0.pe | CR0.pg | CR0.et | CR0.ne
    s.cr3 = Self.tables
    s.cr4 = CR4.pae
    s.efer = EFER.lme | EFER.lma | EFER.sce
    s.idtr.limit = 0
    for name in [SegmentName.es, .ds, .fs, .gs, .ss] {
      s[name] = SegmentState(selector: 0x10, limit: .max, access: 0xC093)
    }
    s[.cs] = SegmentState(selector: 8, limit: .max, access: 0xA09B)
    if ring == 3 {
      s[.cs] = SegmentState(selector: 0x2B, limit: .max, access: 0xA0FB)
      for name in [SegmentName.es, .ds, .ss] { s[name] = SegmentState(selector: 0x33, limit: .max, access: 0xC0F3) }
    }
    s.rip = Self.code
    s[.rsp] = Self.stack
    s[.rsi] = 0x9000
    KVMRegisters.put(s, into: cpu)
    return cpu
  }

  /// The exit reason, or nil where the guest did not come back by itself. What nobody looks at is skipped.
  private func exit(of cpu: KVMProcessor) -> UInt32? {
    let deadline = HostTime.now() &+ Self.patience
    cpu.attach()
    defer { cpu.rest() }
    while true {
      cpu.prepare()
      let now = HostTime.now()
      guard now < deadline else { return nil }
      cpu.setAlarm(deadline, now: now)
      let result = cpu.enter()
      if result == -EINTR || result == -EAGAIN { continue }
      return result < 0 ? nil : cpu.run.pointee.exit_reason
    }
  }

  private func halts(_ cpu: KVMProcessor) -> Bool { exit(of: cpu) == UInt32(KVM_EXIT_HLT) }

  private func debug(_ cpu: KVMProcessor, _ control: Int32, dr0: UInt64 = 0, dr7: UInt64 = 0) {
    _ = chost_kvm_guest_debug(cpu.fd, UInt32(KVM_GUESTDBG_ENABLE) | UInt32(control), [dr0, 0, 0, 0, 0, 0, 0, dr7])
  }

  // MARK: the questions

  /// KVM counts what it interprets.
  private func runsRing0() throws(VMError) -> Bool {
    // mov ecx, 500; loop $
    let cpu = try guest([0xB9, 0xF4, 0x01, 0, 0, 0xE2, 0xFE])
    var before: UInt64 = 0
    let isCounted = chost_kvm_statistic(cpu.fd, "insn_emulation", &before) >= 0
    let start = HostTime.now()
    guard halts(cpu) else { return false }
    let duration = HostTime.now() &- start
    var after: UInt64 = 0
    guard isCounted, chost_kvm_statistic(cpu.fd, "insn_emulation", &after) >= 0 else { return duration < 100_000 }
    return after &- before < 250
  }

  private func pages32() throws(VMError) -> Bool {
    let cpu = try guest([])
    var s = VCPUState()
    s.cr0 = CR0.pe | CR0.pg | CR0.et | CR0.ne
    s.cr3 = Self.tables + 0x3000
    s.cr4 = CR4.pse
    s.idtr.limit = 0
    for name in [SegmentName.es, .ds, .fs, .gs, .ss] {
      s[name] = SegmentState(selector: 0x10, limit: .max, access: 0xC093)
    }
    s[.cs] = SegmentState(selector: 8, limit: .max, access: 0xC09B)
    s.rip = Self.code
    KVMRegisters.put(s, into: cpu)
    return halts(cpu)
  }

  /// SYSCALL to a HLT.
  private func enters() throws(VMError) -> Bool {
    let cpu = try guest([0x0F, 0x05], ring: 3)
    _ = chost_kvm_set_msr(cpu.fd, MSR.star, 0x0018_0008 << 32)
    _ = chost_kvm_set_msr(cpu.fd, MSR.lstar, Self.code + 4)
    return halts(cpu)
  }

  private func breaks() throws(VMError) -> Bool {
    let cpu = try guest([0xCC])
    debug(cpu, KVM_GUESTDBG_USE_SW_BP)
    return exit(of: cpu) == UInt32(KVM_EXIT_DEBUG)
  }

  /// mov [rsi], eax under a debug register.
  private func watches() throws(VMError) -> Bool {
    let cpu = try guest([0x89, 0x06, 0x90])
    debug(cpu, KVM_GUESTDBG_USE_HW_BP, dr0: 0x9000, dr7: 0x000D_0402)
    return exit(of: cpu) == UInt32(KVM_EXIT_DEBUG)
  }

  private func stopsInRing3() throws(VMError) -> Bool {
    let cpu = try guest([0x90, 0x90, 0x0F, 0x0B], ring: 3)
    debug(cpu, KVM_GUESTDBG_USE_HW_BP, dr0: Self.code + 1, dr7: 0x402)
    return exit(of: cpu) == UInt32(KVM_EXIT_DEBUG)
  }

  private func stepsInRing3() throws(VMError) -> Bool {
    let cpu = try guest([0x90, 0x90, 0x0F, 0x0B], ring: 3)
    debug(cpu, KVM_GUESTDBG_SINGLESTEP)
    return exit(of: cpu) == UInt32(KVM_EXIT_DEBUG) && cpu.regs.pointee.rip == Self.code + 1
  }

  /// cpuid; mov [rsi], ecx; ud2, told that leaf 1 has no feature in ECX.
  private func keepsCPUID() throws(VMError) -> Bool {
    let cpu = try guest([0x0F, 0xA2, 0x89, 0x0E, 0x0F, 0x0B], ring: 3)
    memory.store(GPA(0x9000), UInt32.max)
    var entries = KVMCPUID.entries(apicID: 0, configuration: EngineConfiguration())
    for index in entries.indices where entries[index].function == 1 { entries[index].ecx = 0 }
    guard chost_kvm_set_cpuid(cpu.fd, entries, UInt32(entries.count)) >= 0 else { return false }
    cpu.regs.pointee.rax = 1
    cpu.changed(KVMProcessor.registers)
    _ = exit(of: cpu)
    return memory.load(GPA(0x9000), as: UInt32.self) == 0
  }

  private func setsTSC() throws(VMError) -> Bool {
    let cpu = try guest([])
    var before: UInt64 = 0
    var after: UInt64 = 0
    guard chost_kvm_get_msr(cpu.fd, MSR.tsc, &before) >= 0, chost_kvm_set_msr(cpu.fd, MSR.tsc, before &+ 1 << 60) >= 0
    else { return false }
    return chost_kvm_get_msr(cpu.fd, MSR.tsc, &after) >= 0 && after > before &+ 1 << 59
  }

  /// sti; nop; nop; nop; cli, with a wish for the window.
  private func seesWindow() throws(VMError) -> Bool {
    let cpu = try guest([0xFB, 0x90, 0x90, 0x90, 0xFA])
    cpu.run.pointee.request_interrupt_window = 1
    return exit(of: cpu) == UInt32(KVM_EXIT_IRQ_WINDOW_OPEN)
  }

  private func guardsROM() throws(VMError) -> Bool {
    guard host.hasReadOnlyMemory else { return false }
    let cpu = try guest([0x89, 0x06])
    cpu.regs.pointee.rsi = 0xF_0000
    cpu.changed(KVMProcessor.registers)
    return exit(of: cpu) == UInt32(KVM_EXIT_MMIO) && memory.load(GPA(0xF_0000), as: UInt8.self) == 0xF4
  }

  private func isPastOut() throws(VMError) -> Bool {
    let cpu = try guest([0xE6, 0x80])
    return exit(of: cpu) == UInt32(KVM_EXIT_IO) && cpu.regs.pointee.rip == Self.code + 2
  }
}
