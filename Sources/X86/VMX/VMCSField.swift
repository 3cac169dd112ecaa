/// The fields of a virtual-machine control structure by their encodings (SDM 3D appendix B). In the
/// encoding, bits 14:13 give the width, 11:10 the area, and bit 0 asks for the upper half of a 64-bit field.
@usableFromInline package enum VMCSField: UInt32, CaseIterable, Sendable {
  // 16-bit control, guest-state and host-state fields.
  case virtualProcessorID = 0x0000
  case guestES = 0x0800, guestCS = 0x0802, guestSS = 0x0804, guestDS = 0x0806, guestFS = 0x0808, guestGS = 0x080A
  case guestLDTR = 0x080C, guestTR = 0x080E
  case hostES = 0x0C00, hostCS = 0x0C02, hostSS = 0x0C04, hostDS = 0x0C06, hostFS = 0x0C08, hostGS = 0x0C0A
  case hostTR = 0x0C0C
  // 64-bit.
  case ioBitmapA = 0x2000, ioBitmapB = 0x2002, msrBitmap = 0x2004
  case exitMSRStoreAddress = 0x2006, exitMSRLoadAddress = 0x2008, entryMSRLoadAddress = 0x200A
  case tscOffset = 0x2010, virtualAPICAddress = 0x2012, eptPointer = 0x201A
  case guestPhysicalAddress = 0x2400
  case linkPointer = 0x2800, guestDebugControl = 0x2802, guestPAT = 0x2804, guestEFER = 0x2806
  case guestPDPTE0 = 0x280A, guestPDPTE1 = 0x280C, guestPDPTE2 = 0x280E, guestPDPTE3 = 0x2810
  case hostPAT = 0x2C00, hostEFER = 0x2C02
  // 32-bit.
  case pinControls = 0x4000, primaryControls = 0x4002, exceptionBitmap = 0x4004
  case pageFaultMask = 0x4006, pageFaultMatch = 0x4008, cr3TargetCount = 0x400A
  case exitControls = 0x400C, exitMSRStoreCount = 0x400E, exitMSRLoadCount = 0x4010
  case entryControls = 0x4012, entryMSRLoadCount = 0x4014, entryInterruption = 0x4016, entryErrorCode = 0x4018
  case entryInstructionLength = 0x401A, tprThreshold = 0x401C, secondaryControls = 0x401E
  case pleGap = 0x4020, pleWindow = 0x4022
  case instructionError = 0x4400, exitReason = 0x4402, exitInterruption = 0x4404, exitErrorCode = 0x4406
  case idtVectoring = 0x4408, idtVectoringErrorCode = 0x440A, exitInstructionLength = 0x440C
  case exitInstructionInformation = 0x440E
  case guestESLimit = 0x4800, guestCSLimit = 0x4802, guestSSLimit = 0x4804, guestDSLimit = 0x4806
  case guestFSLimit = 0x4808, guestGSLimit = 0x480A, guestLDTRLimit = 0x480C, guestTRLimit = 0x480E
  case guestGDTRLimit = 0x4810, guestIDTRLimit = 0x4812
  case guestESAccess = 0x4814, guestCSAccess = 0x4816, guestSSAccess = 0x4818, guestDSAccess = 0x481A
  case guestFSAccess = 0x481C, guestGSAccess = 0x481E, guestLDTRAccess = 0x4820, guestTRAccess = 0x4822
  case guestInterruptibility = 0x4824, guestActivity = 0x4826, guestSMBase = 0x4828, guestSysenterCS = 0x482A
  case preemptionTimer = 0x482E
  case hostSysenterCS = 0x4C00
  // Natural width.
  case cr0Mask = 0x6000, cr4Mask = 0x6002, cr0Shadow = 0x6004, cr4Shadow = 0x6006
  case cr3Target0 = 0x6008, cr3Target1 = 0x600A, cr3Target2 = 0x600C, cr3Target3 = 0x600E
  case exitQualification = 0x6400, ioRCX = 0x6402, ioRSI = 0x6404, ioRDI = 0x6406, ioRIP = 0x6408
  case guestLinearAddress = 0x640A
  case guestCR0 = 0x6800, guestCR3 = 0x6802, guestCR4 = 0x6804
  case guestESBase = 0x6806, guestCSBase = 0x6808, guestSSBase = 0x680A, guestDSBase = 0x680C
  case guestFSBase = 0x680E, guestGSBase = 0x6810, guestLDTRBase = 0x6812, guestTRBase = 0x6814
  case guestGDTRBase = 0x6816, guestIDTRBase = 0x6818, guestDR7 = 0x681A, guestRSP = 0x681C, guestRIP = 0x681E
  case guestRFLAGS = 0x6820, guestPendingDebug = 0x6822, guestSysenterESP = 0x6824, guestSysenterEIP = 0x6826
  case hostCR0 = 0x6C00, hostCR3 = 0x6C02, hostCR4 = 0x6C04, hostFSBase = 0x6C06, hostGSBase = 0x6C08
  case hostTRBase = 0x6C0A, hostGDTRBase = 0x6C0C, hostIDTRBase = 0x6C0E, hostSysenterESP = 0x6C10
  case hostSysenterEIP = 0x6C12, hostRSP = 0x6C14, hostRIP = 0x6C16

  /// The area a field belongs to: encoding bits 11:10.
  package enum Area: UInt32, CaseIterable, Sendable {
    case control, exitInformation, guestState, hostState
  }
  package var area: Area { Area(rawValue: rawValue >> 10 & 3) ?? .control }

  /// 16, 32 or 64 bits; natural-width fields have 64 on this processor.
  package var bits: Int {
    switch rawValue >> 13 & 3 {
    case 0: 16
    case 2: 32
    default: 64
    }
  }
  /// A 64-bit field, whose upper half has an encoding of its own.
  package var hasHighHalf: Bool { rawValue >> 13 & 3 == 1 }
  package var mask: UInt64 { bits == 64 ? .max : (1 << UInt64(bits)) - 1 }

  /// Guest-state fields of a segment register, by its number (ES, CS, SS, DS, FS, GS, LDTR, TR).
  package static func selector(_ segment: Int) -> VMCSField { at(0x0800, segment, .guestES) }
  package static func limit(_ segment: Int) -> VMCSField { at(0x4800, segment, .guestESLimit) }
  package static func access(_ segment: Int) -> VMCSField { at(0x4814, segment, .guestESAccess) }
  package static func base(_ segment: Int) -> VMCSField { at(0x6806, segment, .guestESBase) }
  private static func at(_ first: UInt32, _ index: Int, _ none: VMCSField) -> VMCSField {
    VMCSField(rawValue: first + UInt32(index) * 2) ?? none
  }

  /// Position among all fields, dense from 0: where a VMCS region keeps it.
  package var slot: Int { Int(Self.slots[Self.key(rawValue)]) }
  /// The field of an encoding with bit 0 clear; nil for one this processor does not have.
  package init?(encoding: UInt32) {
    guard encoding & ~0x7FFE == 0 else { return nil }
    self.init(rawValue: encoding)
  }
  private static func key(_ encoding: UInt32) -> Int {
    let width = (encoding >> 13 & 3) << 7
    let area = (encoding >> 10 & 3) << 5
    return Int(width | area | encoding >> 1 & 0x1F)
  }
  private static let slots: [UInt8] = {
    var table = [UInt8](repeating: 0, count: 512)
    for (slot, field) in allCases.enumerated() { table[key(field.rawValue)] = UInt8(slot) }
    return table
  }()
}
