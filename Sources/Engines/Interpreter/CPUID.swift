import VMCore

/// What the embedded processor says of itself: only what it has. The platform adds what is its own (local
/// APIC, x2APIC, hypervisor leaves).
enum EmbeddedCPUID {
  private static let maximumLeaf: UInt32 = 0x16
  private static let maximumExtendedLeaf: UInt32 = 0x8000_0008

  /// CPUID (SDM 2A). `apicID` is the vCPU's index; `processors` share one package. Some bits follow the control
  /// registers: whether CR4.OSXSAVE is set, and XCR0.
  static func result(
    leaf: UInt32, subleaf: UInt32, apicID: UInt32, processors: Int, model: CPUModel, osxsave: Bool = false,
    xcr0: UInt64 = 1
  ) -> CPUIDResult {
    let isP0 = model == .p0
    let features = model.features
    switch leaf {
    case 0: return CPUIDResult(eax: maximumLeaf, ebx: word("Genu"), ecx: word("ntel"), edx: word("ineI"))
    case 1:
      var result = isP0 ? CPUIDResult(eax: p0Signature) : identity(apicID, processors)
      result.ecx = features.shown(in: .ecx1) | (osxsave ? 1 << 27 : 0)
      result.edx |= mask(commonFeatures) | features.shown(in: .edx1)
      return result
    // Leaf 2: ask leaf 4.
    case 2: return CPUIDResult(eax: 0x00FF_FF01)
    case 4: return cache(subleaf, processors)
    case 7:
      guard subleaf == 0, !isP0 else { return CPUIDResult() }
      // Bit 13: the x87 unit keeps no selectors.
      return CPUIDResult(ebx: features.shown(in: .ebx7) | 1 << 13, ecx: features.shown(in: .ecx7))
    case 0xB: return isP0 ? CPUIDResult() : topology(subleaf, apicID, processors)
    case 0xD: return features.contains(.xsave) ? extendedState(subleaf, xcr0) : CPUIDResult()
    // TSC and local APIC timer run at the crystal's 1 GHz.
    case 0x15: return CPUIDResult(eax: 1, ebx: 1, ecx: 1_000_000_000)
    case 0x16: return CPUIDResult(eax: 1000, ebx: 1000, ecx: 1000)
    case 0x8000_0000: return CPUIDResult(eax: maximumExtendedLeaf)
    case 0x8000_0001:
      return CPUIDResult(
        ecx: features.shown(in: .ecx8000_0001), edx: extendedFeatures | features.shown(in: .edx8000_0001))
    case 0x8000_0002...0x8000_0004: return brand(Int(leaf - 0x8000_0002))
    case 0x8000_0006: return CPUIDResult(ecx: 0x0100_6040)
    // Bit 8: the TSC never stops or changes its rate.
    case 0x8000_0007: return CPUIDResult(edx: 1 << 8)
    case 0x8000_0008: return CPUIDResult(eax: 48 << 8 | UInt32(AddressWidth.physical))
    default: return CPUIDResult()
    }
  }

  /// Family 6 model 26 stepping 5.
  private static let signature: UInt32 = 0x0001_06A5

  private static func identity(_ apicID: UInt32, _ processors: Int) -> CPUIDResult {
    let count = UInt32(clamping: processors) & 0xFF
    let lineSize: UInt32 = 8 << 8
    // HTT: the count of logical processors is valid.
    return CPUIDResult(
      eax: signature, ebx: apicID << 24 | count << 16 | lineSize, edx: processors > 1 ? 1 << 28 : 0)
  }

  /// Family 6 model 28 stepping 10, a processor that executes in order: systems know that it does not speculate,
  /// and leave out what guards against that.
  private static let p0Signature: UInt32 = 0x0001_06CA

  private static func mask(_ bits: [UInt32]) -> UInt32 { bits.reduce(0) { $0 | 1 << $1 } }

  /// FPU DE PSE TSC MSR PAE CX8 PGE CMOV PSE-36 MMX FXSR SSE SSE2.
  private static let commonFeatures: [UInt32] = [0, 2, 3, 4, 5, 6, 8, 13, 15, 17, 23, 24, 25, 26]

  /// SYSCALL, NX, long mode.
  private static let extendedFeatures: UInt32 = 1 << 11 | 1 << 20 | 1 << 29

  /// x87, SSE and AVX state in the standard format (SDM 1 13.2, table 13-1).
  private static func extendedState(_ subleaf: UInt32, _ xcr0: UInt64) -> CPUIDResult {
    switch subleaf {
    case 0:
      return CPUIDResult(
        eax: UInt32(XCR0.supported), ebx: UInt32(XSaveArea.size(xcr0)), ecx: UInt32(XSaveArea.size(XCR0.supported)))
    case 2: return CPUIDResult(eax: UInt32(XSaveArea.upperBytes), ebx: UInt32(XSaveArea.upper))
    default: return CPUIDResult()
    }
  }

  /// 32 KiB of data and of instructions, 256 KiB of second level; lines of 64 bytes, eight ways.
  private static func cache(_ subleaf: UInt32, _ processors: Int) -> CPUIDResult {
    guard subleaf < 3 else { return CPUIDResult() }
    let type: UInt32 = [1, 2, 3][Int(subleaf)]
    let level: UInt32 = subleaf == 2 ? 2 : 1
    let cores = UInt32(clamping: max(processors, 1) - 1) & 0x3F
    let ways: UInt32 = 7 << 22
    let lineSize: UInt32 = 63
    let sets: UInt32 = subleaf == 2 ? 511 : 63
    let selfInitializing: UInt32 = 1 << 8
    return CPUIDResult(
      eax: type | level << 5 | selfInitializing | cores << 26, ebx: ways | lineSize, ecx: sets, edx: 0)
  }

  /// One thread a core, all cores in one package.
  private static func topology(_ subleaf: UInt32, _ apicID: UInt32, _ processors: Int) -> CPUIDResult {
    let count = max(processors, 1)
    var shift: UInt32 = 0
    while 1 << shift < count { shift += 1 }
    switch subleaf {
    case 0: return CPUIDResult(eax: 0, ebx: 1, ecx: 1 << 8, edx: apicID)
    case 1: return CPUIDResult(eax: shift, ebx: UInt32(clamping: count), ecx: 2 << 8 | 1, edx: apicID)
    default: return CPUIDResult(ecx: subleaf & 0xFF, edx: apicID)
    }
  }

  /// Sixteen of the 48 bytes of the brand string.
  private static func brand(_ part: Int) -> CPUIDResult {
    var bytes = Array("Ringside embedded x86-64".utf8)
    bytes += Array(repeating: 0, count: 48 - bytes.count)
    func dword(_ index: Int) -> UInt32 {
      let at = part * 16 + index * 4
      return (0..<4).reduce(0) { $0 | UInt32(bytes[at + $1]) << UInt32(8 * $1) }
    }
    return CPUIDResult(eax: dword(0), ebx: dword(1), ecx: dword(2), edx: dword(3))
  }

  private static func word(_ text: StaticString) -> UInt32 {
    text.withUTF8Buffer { bytes in
      bytes.prefix(4).enumerated().reduce(0) { $0 | UInt32($1.element) << UInt32(8 * $1.offset) }
    }
  }
}
