import VMCore
import X86

/// An EPT pointer (SDM 3C table 25-9).
struct EPTPointer {
  var raw: UInt64
  /// Uncacheable or write-back, a walk of four levels, no accessed and dirty flags, no reserved bit.
  var isValid: Bool {
    let type = raw & 7
    let reserved: UInt64 = 0xFC0 | ~AddressWidth.physicalMask
    return (type == 0 || type == 6) && raw >> 3 & 7 == 3 && raw & reserved == 0
  }
  var table: UInt64 { raw & PageEntry.addressMask }
}

/// What extended page tables say of one guest-physical address (SDM 3C 29.3).
struct EPTWalk {
  enum Outcome { case mapped, violation, misconfiguration }
  var outcome = Outcome.mapped
  var address: UInt64 = 0
  /// Read 1, write 2, execute 4: the conjunction over all levels.
  var rights: UInt64 = 7
}

extension UnsafeMutablePointer<CPU> {
  /// Walks the extended page tables in force; the address itself without EPT.
  func readEPT(_ gpa: UInt64) -> EPTWalk {
    var walk = EPTWalk()
    guard pointee.vmx.eptPointer != 0 else {
      walk.address = gpa
      return walk
    }
    var table = EPTPointer(raw: pointee.vmx.eptPointer).table
    var level = 4
    while true {
      let shift = UInt64(3 + 9 * level)
      let entry = physicalQuad(table + (gpa >> shift & 0x1FF) * 8)
      guard entry & 7 != 0 else {
        walk.rights = 0
        walk.outcome = .violation
        return walk
      }
      let leaf = level == 1 || (entry & PageEntry.large != 0 && level <= 3)
      guard isConfigured(entry, level: level, leaf: leaf) else {
        walk.outcome = .misconfiguration
        return walk
      }
      walk.rights &= entry & 7
      if leaf {
        let offset: UInt64 = (1 << shift) - 1
        walk.address = entry & PageEntry.addressMask & ~offset | gpa & offset
        return walk
      }
      table = entry & PageEntry.addressMask
      level -= 1
    }
  }

  /// Writable or executable without being readable (execute-only is not there), a memory type that does not
  /// exist, and reserved bits are misconfigurations (SDM 3C 29.3.3.1).
  private func isConfigured(_ entry: UInt64, level: Int, leaf: Bool) -> Bool {
    guard entry & 1 != 0 else { return false }
    var reserved: UInt64 = 0x000F_FFFF_FFFF_FFFF & ~AddressWidth.physicalMask
    if leaf {
      let type = entry >> 3 & 7
      if type == 2 || type == 3 || type == 7 { return false }
      let offset: UInt64 = (1 << UInt64(3 + 9 * level)) - 1
      reserved |= offset & ~0xFFF
    } else {
      reserved |= level == 4 ? 0xF8 : 0x78
    }
    return entry & reserved == 0
  }

  /// The exit for an access that extended page tables refuse. `needs` is what it wanted of `walk`'s rights;
  /// `final` tells the access itself from one to a paging structure on its way; `linear` is nil where none
  /// led there, as when PDPTEs are loaded.
  func eptExit(_ walk: EPTWalk, _ gpa: UInt64, linear: UInt64?, needs: UInt64, final: Bool) -> Stop {
    var exit = VMXExit(reason: .eptMisconfiguration, linear: linear ?? 0, physical: gpa)
    if walk.outcome != .misconfiguration {
      var qualification = VMXFormat.EPTViolation(rawValue: needs | walk.rights << 3)
      if linear != nil { qualification.insert(.linearValid) }
      if final { qualification.insert(.final) }
      exit.reason = .eptViolation
      exit.qualification = qualification.rawValue
    }
    return vmExit(exit)
  }
}
