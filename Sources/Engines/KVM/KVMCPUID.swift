import CHost
import VMCore

/// The CPUID leaves a KVM guest is told: those of the embedded processor, so that a guest finds the same machine
/// under both, less what this host cannot do, with the local APIC the platform brings.
enum KVMCPUID {
  private static let leaves: [UInt32] = [
    0, 1, 2, 7, 0x16, 0x8000_0000, 0x8000_0001, 0x8000_0002, 0x8000_0003, 0x8000_0004, 0x8000_0006, 0x8000_0007,
    0x8000_0008,
  ]
  /// Leaves with subleaves, and how many of them.
  private static let indexed: [(leaf: UInt32, count: UInt32)] = [(4, 4), (0xB, 3), (0xD, 3)]
  private static let vmx: UInt32 = 1 << 5
  private static let x2APIC: UInt32 = 1 << 21
  private static let apic: UInt32 = 1 << 9

  static func entries(apicID: UInt32, configuration: EngineConfiguration) -> [kvm_cpuid_entry2] {
    var result = leaves.map { entry($0, 0, apicID, configuration, flags: 0) }
    for (leaf, count) in indexed {
      for subleaf in 0..<count {
        result.append(entry(leaf, subleaf, apicID, configuration, flags: UInt32(KVM_CPUID_FLAG_SIGNIFCANT_INDEX)))
      }
    }
    return result
  }

  private static func entry(
    _ leaf: UInt32, _ subleaf: UInt32, _ apicID: UInt32, _ configuration: EngineConfiguration, flags: UInt32
  ) -> kvm_cpuid_entry2 {
    var found = EmbeddedCPUID.result(
      leaf: leaf, subleaf: subleaf, apicID: apicID, processors: configuration.vcpuCount, model: configuration.cpu)
    if leaf == 1, configuration.cpu != .p0 {
      found.ecx = found.ecx & ~vmx | x2APIC
      found.edx |= apic
    }
    // The TSC's rate is the host's.
    if leaf == 0x16 { found = CPUIDResult() }
    var entry = kvm_cpuid_entry2()
    entry.function = leaf
    entry.index = subleaf
    entry.flags = flags
    (entry.eax, entry.ebx, entry.ecx, entry.edx) = (found.eax, found.ebx, found.ecx, found.edx)
    return entry
  }

  /// Less the features (of leaves 1, 7 and 8000_0001h) that KVM says it cannot give. The local APIC is the platform's.
  static func intersect(_ entries: [kvm_cpuid_entry2], supported: [kvm_cpuid_entry2]) -> [kvm_cpuid_entry2] {
    entries.map { entry in
      guard [1, 7, 0x8000_0001].contains(entry.function),
        let host = supported.first(where: { $0.function == entry.function && $0.index == entry.index })
      else { return entry }
      var result = entry
      result.edx &= host.edx | (entry.function == 1 ? apic : 0)
      result.ecx &= host.ecx | (entry.function == 1 ? x2APIC : 0)
      if entry.function == 7 { result.ebx &= host.ebx }
      return result
    }
  }
}
