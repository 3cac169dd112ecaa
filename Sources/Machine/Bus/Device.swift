import VMCore

/// A device's core: registers by offset and width, and a plain state that is its snapshot. Where it
/// appears in port or memory space is decided by who claims the place on a bus, not here.
package protocol Device: AnyObject {
  /// Short name for display: "uart16550".
  var name: String { get }
  /// A guest's read of `size` bytes (1, 2, 4 or 8) at `offset` from the device's first register.
  func read(_ offset: UInt64, size: UInt8) -> UInt64
  /// A guest's write; `value` has no bits above `size` bytes.
  func write(_ offset: UInt64, size: UInt8, value: UInt64)
  /// Data-sheet name of the register for display: "THR".
  func registerName(_ offset: UInt64, write: Bool) -> String
  /// Power-on state.
  func reset()
  /// Saves or restores the complete state.
  func code(_ coder: inout StateCoder)
  /// State in words, for display. Without side effects.
  var inspection: DeviceInspection { get }
}

/// A device that does something by itself when virtual time comes to a certain point.
package protocol TimedDevice: Device {
  /// Virtual time in ns of the next thing to happen, `Deadline.never` if nothing will.
  var deadline: UInt64 { get }
  /// Carries out everything due up to `time`. What happens more than once before the guest can see it
  /// is carried out once, so the cost does not depend on how far time jumped.
  func fire(upTo time: UInt64)
}

/// Points in virtual time.
package enum Deadline {
  package static let never = UInt64.max
  /// Time ends here, after 146 years: what lies beyond never happens, so that arithmetic on times and
  /// counts a hostile guest programs cannot overflow.
  package static let horizon: UInt64 = 1 << 62
  /// `time`, or never if it lies beyond the horizon.
  @inline(__always)
  package static func clamped(_ time: UInt64) -> UInt64 { time < horizon ? time : never }
  /// `start + delay` without overflow.
  @inline(__always)
  package static func after(_ start: UInt64, _ delay: UInt64) -> UInt64 {
    let (sum, overflow) = start.addingReportingOverflow(delay)
    return overflow ? never : clamped(sum)
  }
}

/// Numbers of the timer channels in `Event(.timer)`.
package enum TimerChannel {
  /// PIT channels are 0, 1, 2.
  package static let rtcPeriodic: UInt32 = 8
  package static let serial: UInt32 = 9
  /// Plus the APIC id.
  package static let localAPIC: UInt32 = 16
}
