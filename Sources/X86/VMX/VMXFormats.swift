/// Exit qualifications and event information as a VMCS holds them (SDM 3C 28.2).
package enum VMXFormat {
  /// Types of events in interruption information (SDM 3C 25.8.3).
  package enum EventType: UInt32, CaseIterable, Sendable {
    case externalInterrupt = 0, nmi = 2, hardwareException = 3, softwareInterrupt = 4
    case privilegedSoftwareException = 5, softwareException = 6, other = 7
  }
  /// Bit 11: an error code comes with it. Bit 31: there is an event.
  package static let hasErrorCode: UInt32 = 1 << 11
  package static let valid: UInt32 = 1 << 31

  package static func interruption(_ type: EventType, vector: UInt8, hasErrorCode code: Bool = false) -> UInt32 {
    UInt32(vector) | type.rawValue << 8 | (code ? hasErrorCode : 0) | valid
  }

  /// I/O instructions (SDM 3C table 28-5).
  package static func io(
    port: UInt16, size: UInt8, isInput: Bool, isString: Bool, hasREP: Bool, isImmediate: Bool
  ) -> UInt64 {
    var value = UInt64(size &- 1) & 7 | UInt64(port) << 16
    if isInput { value |= 1 << 3 }
    if isString { value |= 1 << 4 }
    if hasREP { value |= 1 << 5 }
    if isImmediate { value |= 1 << 6 }
    return value
  }
  /// Control-register accesses (SDM 3C table 28-3). `access` 0 MOV to, 1 MOV from, 2 CLTS, 3 LMSW.
  package static func cr(number: UInt8, access: UInt8, gpr: UInt8, isMemory: Bool = false, source: UInt16 = 0) -> UInt64 {
    var value = UInt64(number) | UInt64(access) << 4 | UInt64(gpr) << 8
    if isMemory { value |= 1 << 6 }
    value |= UInt64(source) << 16
    return value
  }
  /// MOV DR (SDM 3C table 28-4).
  package static func dr(number: UInt8, isRead: Bool, gpr: UInt8) -> UInt64 {
    UInt64(number) | (isRead ? 1 << 4 : 0) | UInt64(gpr) << 8
  }
  /// Task switches (SDM 3C table 28-2). `source` 0 CALL, 1 IRET, 2 JMP, 3 task gate in the IDT.
  package static func taskSwitch(selector: UInt16, source: UInt8) -> UInt64 { UInt64(selector) | UInt64(source) << 30 }

  /// EPT violations (SDM 3C table 28-7).
  package struct EPTViolation: OptionSet, Sendable {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
    package static let read = Self(rawValue: 1 << 0)
    package static let write = Self(rawValue: 1 << 1)
    package static let fetch = Self(rawValue: 1 << 2)
    package static let readable = Self(rawValue: 1 << 3)
    package static let writable = Self(rawValue: 1 << 4)
    package static let executable = Self(rawValue: 1 << 5)
    /// The guest linear address is valid.
    package static let linearValid = Self(rawValue: 1 << 7)
    /// The access was to the translation of that linear address, not to a paging structure on its way.
    package static let final = Self(rawValue: 1 << 8)
  }
}
