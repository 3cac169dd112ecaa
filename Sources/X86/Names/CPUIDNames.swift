/// What a CPUID leaf is about (SDM 2 "CPUID", table 3-8; hypervisor range by convention).
package enum CPUIDLeaf {
  /// A few words for `leaf`, with its subleaf where that decides; nil for an unknown one.
  package static func name(_ leaf: UInt32, subleaf: UInt32 = 0) -> String? {
    if let name = names[leaf] {
      return hasSubleaves.contains(leaf) && subleaf > 0 ? "\(name), subleaf \(subleaf)" : name
    }
    if leaf >= 0x4000_0000 && leaf < 0x4000_0100 { return "hypervisor leaf \(leaf & 0xFF)" }
    return nil
  }

  private static let hasSubleaves: Set<UInt32> = [4, 7, 0xB, 0xD, 0xF, 0x10, 0x12, 0x14, 0x17, 0x18, 0x1F, 0x8000_001D]

  private static let names: [UInt32: String] = [
    0: "vendor and highest leaf", 1: "version and features", 2: "cache and TLB descriptors", 3: "serial number",
    4: "cache parameters", 5: "MONITOR/MWAIT", 6: "thermal and power", 7: "extended features", 9: "direct cache access",
    0xA: "performance monitoring", 0xB: "topology", 0xD: "XSAVE state", 0xF: "resource monitoring",
    0x10: "resource allocation", 0x12: "SGX", 0x14: "processor trace", 0x15: "TSC and crystal clock",
    0x16: "processor frequency", 0x17: "SoC vendor", 0x18: "TLB parameters", 0x1F: "topology (V2)",
    0x4000_0000: "hypervisor vendor and highest leaf", 0x4000_0001: "hypervisor features",
    0x8000_0000: "highest extended leaf", 0x8000_0001: "extended features", 0x8000_0002: "brand string, part 1",
    0x8000_0003: "brand string, part 2", 0x8000_0004: "brand string, part 3", 0x8000_0005: "L1 cache and TLB (AMD)",
    0x8000_0006: "L2 cache", 0x8000_0007: "invariant TSC", 0x8000_0008: "address sizes", 0x8000_000A: "SVM",
    0x8000_001D: "cache topology (AMD)", 0x8000_001E: "processor topology (AMD)",
  ]
}
