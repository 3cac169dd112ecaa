import VMCore
import X86

/// Privileged instructions of the guest's kernel: they fault in ring 3, and the monitor carries them out on what the
/// guest owns. What is not among them is the guest's fault.
extension XenPlatform {
  /// Code at the exit's RIP, at most 15 bytes.
  private func code(_ vcpu: any VCPU) -> [UInt8] {
    var bytes: [UInt8] = []
    var rip = rip
    if abi.is32Bit {
      var registers = RegisterCapture()
      vcpu.capture(into: &registers)
      rip = (registers.csBase &+ rip) & 0xFFFF_FFFF
    }
    var place: GPA?
    for offset in 0..<15 as Range<UInt64> {
      let at = rip &+ offset
      if place == nil || at & 4095 == 0 { place = tables.translate(at, root: root, write: false) }
      guard let from = place, let byte = memory.load(GPA(from.value & ~4095 | at & 4095), as: UInt8.self) else { break }
      bytes.append(byte)
    }
    return bytes
  }

  // MARK: ud2 xen cpuid

  private static let forcedCPUID: [UInt8] = [0x0F, 0x0B, 0x78, 0x65, 0x6E, 0x0F, 0xA2]

  /// UD2, "xen", CPUID: the guest asks for the monitor's answer rather than the processor's.
  func forcedInvalid(_ vcpu: any VCPU) -> VMEntry.Action? {
    guard code(vcpu).starts(with: Self.forcedCPUID) else { return nil }
    let leaf = UInt32(truncatingIfNeeded: vcpu.gpr(.rax))
    let subleaf = UInt32(truncatingIfNeeded: vcpu.gpr(.rcx))
    domain.emulatedCount &+= 1
    setCPUID(leaf: leaf, subleaf: subleaf, on: vcpu)
    return .retire(rip: rip &+ UInt64(Self.forcedCPUID.count))
  }

  func setCPUID(leaf: UInt32, subleaf: UInt32, on vcpu: any VCPU) {
    let result = cpuid(leaf: leaf, subleaf: subleaf, on: vcpu)
    vcpu.setGPR(.rax, UInt64(result.eax))
    vcpu.setGPR(.rbx, UInt64(result.ebx))
    vcpu.setGPR(.rcx, UInt64(result.ecx))
    vcpu.setGPR(.rdx, UInt64(result.edx))
  }

  /// The processor without what a guest under this ABI must not use, and the monitor's own leaves.
  private func cpuid(leaf: UInt32, subleaf: UInt32, on vcpu: any VCPU) -> CPUIDResult {
    var result = vcpu.cpuid(leaf: leaf, subleaf: subleaf)
    switch leaf {
    // What tells a frequency is left out: the guest has its time from the monitor.
    case 0: result.eax = min(result.eax, Self.highestLeaf)
    case Self.highestLeaf + 1..<0x4000_0000: result = CPUIDResult()
    case 1:
      result.ebx &= 0x0000_FFFF
      // PCID, x2APIC, VMX and OSXSAVE go; the hypervisor bit comes.
      result.ecx = result.ecx & ~(1 << 5 | 1 << 17 | 1 << 21 | 1 << 24 | 1 << 27) | 1 << 31
      // VME, PSE, MCE, APIC, MTRR, PGE, MCA, PSE-36, HTT.
      result.edx &= ~(1 << 1 | 1 << 3 | 1 << 7 | 1 << 9 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17 | 1 << 28)
    case 7:
      // FSGSBASE, SMEP, INVPCID, SMAP; UMIP, PKU.
      result.ebx &= ~(1 << 0 | 1 << 7 | 1 << 10 | 1 << 20)
      result.ecx &= ~(1 << 2 | 1 << 3)
    case 0xB: result = CPUIDResult()
    // No pages of 1 GiB; SYSCALL and long mode are a 64-bit guest's.
    case 0x8000_0001:
      let long: UInt32 = 1 << 11 | 1 << 29
      result.edx = result.edx & ~(1 << 26 | long) | 1 << 20 | (abi.is32Bit ? 0 : long)
    case 0x4000_0000:
      // "XenVMMXenVMM".
      result = CPUIDResult(eax: 0x4000_0005, ebx: 0x566E_6558, ecx: 0x6558_4D4D, edx: 0x4D4D_566E)
    case 0x4000_0001: result = CPUIDResult(eax: UInt32(XenABI.version))
    case 0x4000_0002: result = CPUIDResult(eax: 1, ebx: 0x4000_0000, ecx: 1)
    case 0x4000_0005: result = CPUIDResult(ebx: 40)
    case 0x4000_0003...0x4000_FFFF: result = CPUIDResult()
    default: break
    }
    return result
  }

  private static let highestLeaf: UInt32 = 0xB

  // MARK: Privileged instructions

  /// An exception at an instruction of those that are carried out in the guest's stead.
  func isEmulated(_ vector: Vector, _ code: UInt32, _ linear: UInt64, _ vcpu: any VCPU) -> Bool {
    switch Exception(rawValue: vector) {
    case .ud: self.code(vcpu).starts(with: Self.forcedCPUID)
    case .gp: code & 0xFFFF == 0 && domain.isKernel && PrivilegedInstruction(self.code(vcpu), abi) != nil
    case .pf: tableStore(code, linear, vcpu) != nil
    default: false
    }
  }

  /// Carries out the instruction at RIP if it is one of those a guest's kernel may keep; nil: the fault is its own.
  func emulatePrivileged(_ vcpu: any VCPU) -> VMEntry.Action? {
    guard let instruction = PrivilegedInstruction(code(vcpu), abi) else { return nil }
    let length: Int?
    switch instruction.opcode {
    case 0xE4...0xE7, 0xEC...0xEF: length = port(instruction.opcode, instruction.operandSize, vcpu)
    // Interrupts are masked in vcpu_info; the flag itself is not the guest's.
    case 0xFA, 0xFB: length = domain.iopl > 0 ? 1 : nil
    default: length = twoByte(instruction.second, instruction.modRM, instruction.rex, vcpu).map { 1 + $0 }
    }
    guard let length else { return nil }
    domain.emulatedCount &+= 1
    return .retire(rip: rip &+ UInt64(instruction.prefixes + length))
  }

  /// Ports of a domain without devices float; what is written is lost. Gives the length from the opcode on.
  private func port(_ opcode: UInt8, _ operandSize: UInt64, _ vcpu: any VCPU) -> Int? {
    guard domain.iopl > 0 else { return nil }
    let isInput = opcode & 2 == 0
    if isInput {
      let size = opcode & 1 == 0 ? 1 : operandSize
      let ones: UInt64 = size == 1 ? 0xFF : size == 2 ? 0xFFFF : 0xFFFF_FFFF
      let old = vcpu.gpr(.rax)
      vcpu.setGPR(.rax, size == 4 ? ones : old | ones)
    }
    return opcode < 0xE8 ? 2 : 1
  }

  /// 0F xx; gives the length from xx on.
  private func twoByte(_ opcode: UInt8, _ modRM: UInt8, _ rex: UInt8, _ vcpu: any VCPU) -> Int? {
    let register = Int(modRM >> 3 & 7) + (rex & 4 != 0 ? 8 : 0)
    let general = Int(modRM & 7) + (rex & 1 != 0 ? 8 : 0)
    guard let gpr = GPR(rawValue: UInt8(general)) else { return nil }
    switch opcode {
    case 0x06:
      setTaskSwitched(false, vcpu)
      return 1
    case 0x09: return 1
    case 0x20:
      guard let value = controlRegister(register, vcpu) else { return nil }
      vcpu.setGPR(gpr, value)
      return 2
    case 0x22: return setControlRegister(register, vcpu.gpr(gpr), vcpu) ? 2 : nil
    case 0x21:
      guard register < 8 else { return nil }
      vcpu.setGPR(gpr, domain.debugRegisters[register])
      return 2
    case 0x23:
      let arguments = HypercallArguments([UInt64(register), vcpu.gpr(gpr)])
      return (try? setDebugRegister(arguments, vcpu)) == nil ? nil : 2
    case 0x30: return writeMSR(vcpu) ? 1 : nil
    case 0x32:
      guard let value = readMSR(UInt32(truncatingIfNeeded: vcpu.gpr(.rcx)), vcpu) else { return nil }
      vcpu.setGPR(.rax, value & 0xFFFF_FFFF)
      vcpu.setGPR(.rdx, value >> 32)
      return 1
    default: return nil
    }
  }

  // MARK: Control registers

  private func controlRegister(_ number: Int, _ vcpu: any VCPU) -> UInt64? {
    switch number {
    case 0:
      let fixed = CR0.pe | CR0.mp | CR0.et | CR0.ne | CR0.wp | CR0.am | CR0.pg
      return fixed | (domain.isTaskSwitched ? CR0.ts : 0)
    case 2: return loadWord(GPA(domain.vcpuInfo + abi.vcpuInfo.cr2))
    case 3: return domain.kernelRoot << 12
    case 4: return domain.cr4
    default: return nil
    }
  }

  /// CR0: TS is the guest's. CR4: kept for it to read, with what it has of its own.
  private func setControlRegister(_ number: Int, _ value: UInt64, _ vcpu: any VCPU) -> Bool {
    switch number {
    case 0:
      guard let old = controlRegister(0, vcpu), (old ^ value) & ~CR0.ts == 0 else { return false }
      setTaskSwitched(value & CR0.ts != 0, vcpu)
    case 4:
      let own = CR4.tsd | CR4.de
      guard value & ~(own | CR4.pae | CR4.osfxsr | CR4.osxmmexcpt) == 0 else { return false }
      domain.cr4 = value & own | CR4.pae | CR4.osfxsr | CR4.osxmmexcpt
    default: return false
    }
    return true
  }

  // MARK: MSRs

  private func readMSR(_ index: UInt32, _ vcpu: any VCPU) -> UInt64? {
    if abi.is32Bit, index >= MSR.fsBase, index <= MSR.kernelGSBase { return nil }
    return switch index {
    case MSR.fsBase: vcpu.state[.fs].base
    case MSR.gsBase: vcpu.state[.gs].base
    case MSR.kernelGSBase: vcpu.state.kernelGSBase
    case MSR.efer: builder.initialState().efer
    case MSR.tsc: vcpu.virtualTime
    // Write-combining and write-protected memory, where Xen has them.
    case MSR.pat: 0x0000_0501_0007_0406
    case MSR.miscEnable: 1
    case MSR.biosSignature, 0x17, 0xCE: 0
    default: nil
    }
  }

  private func writeMSR(_ vcpu: any VCPU) -> Bool {
    let low = vcpu.gpr(.rax) & 0xFFFF_FFFF
    let value = low | vcpu.gpr(.rdx) << 32
    switch UInt32(truncatingIfNeeded: vcpu.gpr(.rcx)) {
    case MSR.fsBase: return setBase(value, vcpu) { $0[.fs].base = value }
    case MSR.gsBase: return setBase(value, vcpu) { $0[.gs].base = value }
    case MSR.kernelGSBase: return setBase(value, vcpu) { $0.kernelGSBase = value }
    case MSR.efer: return value == builder.initialState().efer
    case MSR.miscEnable, MSR.biosSignature: return true
    default: return false
    }
  }

  private func setBase(_ value: UInt64, _ vcpu: any VCPU, _ change: (inout VCPUState) -> Void) -> Bool {
    guard abi.isCanonical(value), !abi.is32Bit else { return false }
    var state = vcpu.state
    change(&state)
    vcpu.state = state
    return true
  }

  // MARK: Stores into page tables

  /// A store into an L1 table that is mapped read-only: which entry, and from which byte of it.
  private func tableStore(
    _ code: UInt32, _ linear: UInt64, _ vcpu: any VCPU
  ) -> (mfn: UInt64, index: Int, store: StoreInstruction)? {
    let wanted = PageFaultError.present | PageFaultError.write
    guard domain.isKernel, domain.assists & 1 << 2 != 0, code & wanted == wanted,
      code & (PageFaultError.fetch | PageFaultError.reserved) == 0, abi.isGuestAddress(linear),
      let leaf = tables.leaf(linear, root: root)
    else { return nil }
    let mapping = tables.entry(leaf.mfn, leaf.index)
    let mfn = XenABI.frame(mapping)
    guard mapping & XenABI.present != 0, let frame = tables.frame(mfn), frame.type == .l1,
      frame.count > 0 || isTrusting,
      let store = StoreInstruction(self.code(vcpu), is32Bit: abi.is32Bit), linear & 7 + UInt64(store.size) <= 8
    else { return nil }
    return (mfn, Int(linear >> 3 & 511), store)
  }

  /// VMASST_TYPE_writable_pagetables: a store of the guest's kernel to an L1 table is carried out as a checked update;
  /// nil where the fault is the guest's own.
  func pageTableWrite(_ code: UInt32, _ linear: UInt64, _ vcpu: any VCPU) -> VMEntry.Action? {
    guard let (mfn, index, store) = tableStore(code, linear, vcpu) else { return nil }
    let old = tables.entry(mfn, index)
    let outcome = store.carryOut(on: old, byte: linear & 7, vcpu)
    if outcome.new != old {
      do throws(XenError) { try tables.update(mfn, index, to: outcome.new) } catch { return nil }
    }
    domain.emulatedCount &+= 1
    outcome.finish(vcpu)
    return .retire(rip: rip &+ UInt64(store.length))
  }
}
