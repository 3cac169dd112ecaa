import VMCore
import X86

/// What a platform adds to the processor itself: CPUID leaves and MSRs of the local APIC.
extension PC {
  private enum Feature {
    /// CPUID.01H:EDX.
    static let apic: UInt32 = 1 << 9
    static let multiThreading: UInt32 = 1 << 28
    /// CPUID.01H:ECX.
    static let x2APIC: UInt32 = 1 << 21
    static let tscDeadline: UInt32 = 1 << 24
  }

  /// CPUID (SDM 2A, CPUID): the engine's answer, with APIC id, count and features in leaves 1 and 0Bh.
  func cpuid(leaf: UInt32, subleaf: UInt32, on vcpu: any VCPU) -> VMEntry.Action {
    let topology = leaf == 0x0B && vcpu.cpuid(leaf: 0, subleaf: 0).eax >= 0x0B
    guard let local = local(vcpu.index), leaf == 1 || topology else { return .emulate }
    var result = vcpu.cpuid(leaf: leaf, subleaf: subleaf)
    let count = UInt32(locals.count)
    if leaf == 1 {
      result.ebx = result.ebx & 0xFFFF | (count & 0xFF) << 16 | UInt32(local.index) << 24
      result.ecx |= Feature.x2APIC | Feature.tscDeadline
      result.edx &= ~(Feature.apic | Feature.multiThreading)
      if local.isEnabled { result.edx |= Feature.apic }
      if count > 1 { result.edx |= Feature.multiThreading }
    } else {
      result = Self.topology(subleaf, count: count, id: UInt32(local.index))
    }
    vcpu.setGPR(.rax, UInt64(result.eax))
    vcpu.setGPR(.rbx, UInt64(result.ebx))
    vcpu.setGPR(.rcx, UInt64(result.ecx))
    vcpu.setGPR(.rdx, UInt64(result.edx))
    return .skip
  }

  /// Leaf 0Bh: one thread a core, all cores in one package.
  private static func topology(_ subleaf: UInt32, count: UInt32, id: UInt32) -> CPUIDResult {
    switch subleaf {
    case 0: return CPUIDResult(eax: 0, ebx: 1, ecx: 1 << 8, edx: id)
    case 1:
      let shift = UInt32(32 - (max(count, 1) - 1).leadingZeroBitCount)
      return CPUIDResult(eax: shift, ebx: count, ecx: 2 << 8 | 1, edx: id)
    default: return CPUIDResult(ecx: subleaf & 0xFF, edx: id)
    }
  }

  static func isAPIC(msr index: UInt32) -> Bool {
    index == MSR.apicBase || index == MSR.tscDeadline || index >= MSR.x2apicFirst && index <= MSR.x2apicLast
  }

  /// RDMSR and WRMSR: the local APIC's by name. The processor's own exit where the MSR bitmap says so, and the
  /// engine goes on; any other does not exist.
  func msr(_ index: UInt32, write: Bool, value: UInt64, on vcpu: any VCPU) -> VMEntry.Action {
    let fault = VMEntry.Action.fault(Exception.gp.rawValue, errorCode: 0)
    if Self.isAPIC(msr: index) {
      guard let local = local(vcpu.index) else { return fault }
      if !write { return local.readMSR(index).map(VMEntry.Action.complete) ?? fault }
      let offset = index == MSR.tscDeadline ? vcpu.state.tscOffset : 0
      let width = index == MSR.apicBase ? UInt64(vcpu.cpuid(leaf: 0x8000_0008, subleaf: 0).eax & 0xFF) : 0
      return local.writeMSR(index, value, tscOffset: offset, physicalBits: width) ? .complete(0) : fault
    }
    return VMCSBitmaps.processorMSRs.contains(index) ? .emulate : fault
  }

  /// MOV to and from CR8 is the local APIC's task priority (SDM 3A 11.8.6). The engine also keeps the
  /// value, so writes go on to it.
  func cr8(_ access: RegisterAccess, value: UInt64, on vcpu: any VCPU) -> VMEntry.Action {
    guard let local = local(vcpu.index) else { return .emulate }
    if access == .read { return .complete(local.cr8) }
    guard value <= 15 else { return .fault(Exception.gp.rawValue, errorCode: 0) }
    local.setCR8(value)
    return .emulate
  }
}
