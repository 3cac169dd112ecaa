import VMCore

/// The PC's 8254: channel 0 on IRQ 0, channel 2 behind port 61h (gate, speaker, OUT2).
/// Offsets: 0...2 counters, 3 control word, 4 port 61h.
///
/// IRQ 0 is pulsed at each rising edge of OUT0: the low time before it is not shown on the line.
package final class PIT8254: TimedDevice {
  package let name = "pit"
  /// Clocks a second.
  package static let frequency: UInt64 = 1_193_182

  private let context: DeviceContext
  private let line: InterruptLine
  private var counters = [Counter8254(), Counter8254(), Counter8254()]
  /// Port 61h, bits 3:0 as written.
  private var control: UInt8 = 0
  package private(set) var deadline = Deadline.never { didSet { context.timersChanged = true } }

  package init(context: DeviceContext, line: InterruptLine) {
    self.context = context
    self.line = line
    reset()
  }

  // MARK: Time

  /// Whole clocks up to a virtual time.
  static func clocks(_ time: UInt64) -> UInt64 {
    let product = time.multipliedFullWidth(by: frequency)
    return UInt64(1_000_000_000).dividingFullWidth(product).quotient
  }

  /// The first virtual time at which `clocks` clocks have passed.
  static func time(_ clocks: UInt64) -> UInt64 {
    let product = clocks.multipliedFullWidth(by: 1_000_000_000)
    guard product.high < frequency else { return Deadline.never }
    let result = frequency.dividingFullWidth(product)
    return Deadline.clamped(result.quotient &+ (result.remainder == 0 ? 0 : 1))
  }

  private var now: UInt64 { Self.clocks(context.now) }

  private func schedule(_ now: UInt64) {
    deadline = counters[0].nextRise(now).map(Self.time) ?? Deadline.never
  }

  package func fire(upTo time: UInt64) {
    guard deadline <= time else { return }
    let now = Self.clocks(time)
    counters[0].settle(now)
    line.pulse()
    schedule(now)
  }

  // MARK: Registers

  package func read(_ offset: UInt64, size: UInt8) -> UInt64 {
    let now = now
    switch offset {
    case 0, 1, 2:
      counters[Int(offset)].settle(now)
      return UInt64(counters[Int(offset)].read(now))
    case 3: return 0xFF
    default:
      counters[2].settle(now)
      // Bit 4 shows the memory refresh: it changes every 15 us.
      let refresh: UInt64 = context.now / 15_085 & 1 != 0 ? 0x10 : 0
      let out: UInt64 = counters[2].output(now) ? 0x20 : 0
      return UInt64(control) | refresh | out
    }
  }

  package func write(_ offset: UInt64, size: UInt8, value: UInt64) {
    let byte = UInt8(truncatingIfNeeded: value)
    let now = now
    switch offset {
    case 0, 1, 2: writeCounter(Int(offset), byte, now)
    case 3: writeControl(byte, now)
    default:
      control = byte & 0x0F
      counters[2].settle(now)
      counters[2].setGate(byte & 1 != 0, now)
    }
  }

  private func writeCounter(_ index: Int, _ byte: UInt8, _ now: UInt64) {
    counters[index].settle(now)
    let complete = counters[index].write(byte, now)
    if index == 0 {
      if !counters[0].isPeriodic { line.set(counters[0].output(now)) }
      schedule(now)
    }
    guard complete else { return }
    let clocks = counters[index].written == 0 ? 65536 : UInt64(counters[index].written)
    context.emit(.timer, a: UInt32(index), b: Self.time(clocks))
  }

  private func writeControl(_ byte: UInt8, _ now: UInt64) {
    let selected = Int(byte >> 6)
    if selected == 3 {
      readBack(byte, now)
    } else if byte & 0x30 == 0 {
      counters[selected].settle(now)
      counters[selected].latchCount(now)
    } else {
      counters[selected].configure(byte, now)
      if selected == 0 {
        line.set(counters[0].output(now))
        schedule(now)
      }
    }
  }

  private func readBack(_ byte: UInt8, _ now: UInt64) {
    for index in 0..<3 where byte >> UInt8(index + 1) & 1 != 0 {
      counters[index].settle(now)
      if byte & 0x20 == 0 { counters[index].latchCount(now) }
      if byte & 0x10 == 0 { counters[index].latchStatus(now) }
    }
  }

  package func registerName(_ offset: UInt64, write: Bool) -> String {
    switch offset {
    case 0, 1, 2: "counter \(offset)"
    case 3: "control"
    default: "system control B"
    }
  }

  package func reset() {
    counters = [Counter8254(), Counter8254(), Counter8254()]
    counters[2].setGate(false, 0)
    control = 0
    deadline = Deadline.never
    line.preset(true)
  }

  package func code(_ coder: inout StateCoder) {
    for index in 0..<3 { counters[index].code(&coder) }
    coder.code(&control)
    coder.code(&deadline)
  }

  package var inspection: DeviceInspection {
    let now = now
    let names = ["counter 0 (IRQ 0)", "counter 1", "counter 2 (speaker)"]
    var rows: [(name: String, value: String)] = []
    for (counter, name) in zip(counters, names) {
      let count = hex(UInt64(counter.currentCount(now)), digits: 4)
      let reload = hex(UInt64(counter.written), digits: 4)
      let out = counter.output(now) ? "1" : "0"
      rows.append((name, "mode \(counter.mode) reload \(reload) count \(count) out \(out) gate \(counter.gate ? 1 : 0)"))
      let next = counter.nextRise(now).map { Self.time($0) &- context.now }
      rows.append(("  OUT rises", next.map { "in \($0) ns" } ?? "not by itself"))
    }
    rows.append(("port 61h", bits(control)))
    return DeviceInspection(device: "PIT 8254", rows: rows, role: .timer)
  }
}
