import VMCore

/// One device's interrupt line, by its global system interrupt number.
package struct InterruptLine {
  package let gsi: UInt8
  /// The machine's, like the device.
  private unowned(unsafe) let router: InterruptRouter

  package init(gsi: UInt8, router: InterruptRouter) {
    self.gsi = gsi
    self.router = router
  }
  package func set(_ level: Bool) { router.set(gsi, level) }
  /// Low, then high: an edge, whatever the level was.
  package func pulse() {
    router.set(gsi, false)
    router.set(gsi, true)
  }
  /// The level at power-on, which is no change and no edge.
  package func preset(_ level: Bool) { router.preset(gsi, level) }
  package var level: Bool { router.level(gsi) }
}

/// The wires from devices to the interrupt controllers: each of the 16 ISA lines goes to the PIC pair
/// and to the IOAPIC, line 0 to the IOAPIC's pin 2 as on every PC.
package final class InterruptRouter {
  private let context: DeviceContext
  /// Bit n = level of line n.
  private var levels: UInt32 = 0
  /// Told of each change of an ISA line 0...15.
  package var pic: ((UInt8, Bool) -> Void)?
  /// Told of each change of a pin 0...23.
  package var ioapic: ((UInt8, Bool) -> Void)?

  package init(context: DeviceContext) { self.context = context }

  package func level(_ gsi: UInt8) -> Bool { levels >> UInt32(gsi & 31) & 1 != 0 }

  package func set(_ gsi: UInt8, _ level: Bool) {
    let bit = UInt32(1) << UInt32(gsi & 31)
    guard (levels & bit != 0) != level else { return }
    levels ^= bit
    context.emit(.interruptLine, a: UInt32(gsi), b: level ? 1 : 0)
    if gsi < 16 { pic?(gsi, level) }
    ioapic?(gsi == 0 ? 2 : gsi, level)
  }

  package func preset(_ gsi: UInt8, _ level: Bool) {
    let bit = UInt32(1) << UInt32(gsi & 31)
    levels = level ? levels | bit : levels & ~bit
  }

  package func reset() { levels = 0 }
  package func code(_ coder: inout StateCoder) { coder.code(&levels) }
}
