import VMCore

/// What is left of a keyboard controller without a keyboard: of its commands those that pulse the processor's reset
/// line work. Offsets: 0 data, 1 command and status.
///
/// The status never says that input is full, so nobody waits to send a command; and always that output is, which
/// tells a driver that flushes it that there is no controller. One that says neither would be waited for, half a
/// second a command.
final class ResetPort: Device {
  let name = "reset"
  private static let outputFull: UInt64 = 0x01
  private let context: DeviceContext
  init(context: DeviceContext) { self.context = context }
  func read(_ offset: UInt64, size: UInt8) -> UInt64 { offset == 1 ? Self.outputFull : 0 }

  func write(_ offset: UInt64, size: UInt8, value: UInt64) {
    // Commands F0h to FFh pulse the output lines whose bits are 0; line 0 is the reset.
    if offset == 1, value & 0xF1 == 0xF0 { context.request(.reset) }
  }
  func registerName(_ offset: UInt64, write: Bool) -> String { offset == 0 ? "data" : write ? "command" : "status" }
  func reset() {}
  func code(_ coder: inout StateCoder) {}
  var inspection: DeviceInspection { DeviceInspection(device: "reset port 64", rows: []) }
}
