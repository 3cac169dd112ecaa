import VMCore
import X86

/// VM entry into our own guest: the checks a guest's monitor meets (SDM 3C 27.2.1, 27.3.1), on what somebody
/// set at a stop. The host-state area is left out: the monitor runs outside the modelled processor.
extension InterpreterVCPU {
  package func entryProblem() -> EntryProblem? {
    let image = VMCSImage(state: state, controls: ownControls).withFixedBits
    let quad = { [c] (address: UInt64) in c.physicalQuad(address) }
    let controls = EntryChecks(region: image, cr4Allowed: c.supportedCR4, hostIsLong: true, quad: quad)
    let guest = GuestChecks(region: image, cr4Allowed: c.supportedCR4, quad: quad)
    guard let failure = controls.controls() ?? guest.check() else { return nil }
    return EntryProblem(field: failure.field, rule: failure.rule, section: Self.section(failure.field))
  }

  /// Where the manual has the checks of a field.
  private static func section(_ field: VMCSField) -> String {
    guard field.area == .guestState else { return field.rawValue == 0x4012 ? "SDM 3C 27.2.1.3" : "SDM 3C 27.2.1.1" }
    switch field {
    case .guestCR0, .guestCR3, .guestCR4, .guestDR7, .guestDebugControl, .guestPAT, .guestEFER, .guestSysenterESP,
      .guestSysenterEIP, .guestSysenterCS:
      return "SDM 3C 27.3.1.1"
    case .guestGDTRBase, .guestGDTRLimit, .guestIDTRBase, .guestIDTRLimit: return "SDM 3C 27.3.1.3"
    case .guestRIP, .guestRFLAGS: return "SDM 3C 27.3.1.4"
    case .guestActivity, .guestInterruptibility, .guestPendingDebug, .linkPointer: return "SDM 3C 27.3.1.5"
    case .guestPDPTE0, .guestPDPTE1, .guestPDPTE2, .guestPDPTE3: return "SDM 3C 27.3.1.6"
    default: return "SDM 3C 27.3.1.2"
    }
  }
}
