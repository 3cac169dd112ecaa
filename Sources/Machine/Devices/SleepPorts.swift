import VMCore

/// What hardware-reduced ACPI has in place of the PM1 registers (ACPI 6.5, 4.8.3.7): sleep control (offset 0) and sleep
/// status (1); and the reset register of the FADT (2).
final class SleepPorts: Device {
  static let ports: ClosedRange<UInt16> = 0x600...0x602
  /// What the FADT has a system write to reset.
  static let resetValue: UInt8 = 0x2A
  /// What stands at F000:FFF0, where a system goes that knows no other way to start again: MOV DX,602h; MOV AL,2Ah;
  /// OUT DX,AL; CLI; HLT.
  static let resetCode: [UInt8] = [0xBA, 0x02, 0x06, 0xB0, resetValue, 0xEE, 0xFA, 0xF4]
  /// The sleep type of S5, as `\_S5` says.
  static let offType: UInt8 = 5
  private static let sleepEnable: UInt64 = 0x20

  let name = "acpi"
  private let context: DeviceContext

  init(context: DeviceContext) { self.context = context }

  /// SLP_EN reads 0; WAK_STS is never set, as nothing wakes from S5.
  func read(_ offset: UInt64, size: UInt8) -> UInt64 { 0 }

  func write(_ offset: UInt64, size: UInt8, value: UInt64) {
    switch offset {
    case 0: if value & Self.sleepEnable != 0, value >> 2 & 7 == UInt64(Self.offType) { context.request(.shutdown) }
    case 2: if value == UInt64(Self.resetValue) { context.request(.reset) }
    default: break
    }
  }

  func registerName(_ offset: UInt64, write: Bool) -> String {
    offset == 0 ? "sleep control" : offset == 1 ? "sleep status" : "reset"
  }
  func reset() {}
  func code(_ coder: inout StateCoder) {}
  var inspection: DeviceInspection { DeviceInspection(device: "ACPI sleep and reset ports", rows: []) }
}
