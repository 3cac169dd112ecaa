import Session
import VMCore
import X86

/// Random control areas: what a person could set in the VMCS of a guest before its first instruction.
enum ControlGenerator {
  private static let bits = VMXControlBit.all.filter { VMCSChange.whyFixed($0) == nil }

  /// The changes from the standard controls; a quarter of all guests keep those.
  static func changes(_ random: inout Random) -> [VMCSChange] {
    if random.one(in: 4) { return [] }
    var changes: [VMCSChange] = random.one(in: 4) ? [.preset(random.pick(VMCSPreset.allCases))] : []
    // With 0 the guest would never execute, which is refused.
    changes.append(.field(.preemptionTimer, UInt64(random.below(200) + 1)))
    for bit in bits where random.one(in: 3) { changes.append(.bit(bit, !random.one(in: 3))) }
    for _ in 0..<random.below(6) { changes.append(bitmapChange(&random)) }
    for field in VMCSChange.numbers where field != .preemptionTimer && random.one(in: 6) {
      changes.append(.field(field, random.edgy() & field.mask))
    }
    return changes
  }

  private static func bitmapChange(_ random: inout Random) -> VMCSChange {
    let on = random.one(in: 2)
    switch random.below(4) {
    case 0: return .exception(random.one(in: 4) ? nil : UInt8(random.below(32)), on)
    case 1: return .ports(random.one(in: 3) ? 0...0xFFFF : ports(&random), on)
    case 2: return .msr(random.one(in: 3) ? nil : random.pick(VMCSBitmaps.processorMSRs), random.pick([.read, .write]), on)
    default:
      let isCR0 = random.one(in: 2)
      let bit = random.pick(isCR0 ? CR0.bits : CR4.bits).bit
      return .mask(isCR0 ? .cr0Mask : .cr4Mask, 1 << UInt64(bit), on)
    }
  }

  private static func ports(_ random: inout Random) -> ClosedRange<UInt16> {
    let first = UInt16(random.one(in: 2) ? random.below(0x400) : random.below(0x1_0000))
    return first...UInt16(clamping: Int(first) + random.below(64))
  }
}
