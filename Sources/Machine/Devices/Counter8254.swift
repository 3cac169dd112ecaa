import VMCore

/// One channel of an 8254 (Intel 8254 data sheet, 231164-005). Nothing ticks: count and output follow
/// from the clock count handed in. Times are clocks of 1.193182 MHz since power-on.
///
/// Simplified: a count written to a running mode 3 takes effect at the end of the whole period rather
/// than of the half.
struct Counter8254: Equatable {
  private(set) var mode: UInt8 = 3
  private(set) var bcd = false
  /// 1 low byte, 2 high byte, 3 low then high.
  private var access: UInt8 = 3
  /// The initial count as a number of clocks, 0 before one is written.
  private(set) var period: UInt64 = 0
  /// The initial count as written.
  private(set) var written: UInt16 = 0
  private var lowByte: UInt8 = 0
  private var expectsHigh = false
  private var readsHigh = false
  private var countLatched = false
  private var countLatch: UInt16 = 0
  private var statusLatched = false
  private var statusLatch: UInt8 = 0
  private(set) var gate = true
  /// Counting (a count was written, and modes 1 and 5 were triggered).
  private var armed = false
  /// Clock at which the count was loaded, valid while armed and counting.
  private var start: UInt64 = 0
  /// Clocks counted before the gate stopped modes 0 and 4.
  private var held: UInt64 = 0
  /// Modes 2 and 3: a new count waits for the end of the period.
  private var nextPeriod: UInt64 = 0

  private var modulus: UInt64 { bcd ? 10000 : 65536 }
  var isPeriodic: Bool { mode == 2 || mode == 3 }
  private var isGateTriggered: Bool { mode == 1 || mode == 5 }

  /// Clocks counted since the load.
  private func elapsed(_ now: UInt64) -> UInt64 {
    guard gate || isGateTriggered else { return held }
    return held &+ (now > start ? now &- start : 0)
  }

  /// Puts a waiting count into effect once the period it waited for is over.
  mutating func settle(_ now: UInt64) {
    guard nextPeriod != 0, armed, gate, period != 0 else { return }
    guard elapsed(now) >= period else { return }
    start = start &+ period
    period = nextPeriod
    nextPeriod = 0
  }

  /// The OUT pin (data sheet, mode definitions).
  func output(_ now: UInt64) -> Bool {
    guard armed, period != 0 else { return mode != 0 }
    let clocks = elapsed(now)
    switch mode {
    case 0, 1: return clocks >= period
    case 2: return !gate || clocks % period != period - 1
    case 3: return !gate || clocks % period < (period + 1) / 2
    default: return clocks != period
    }
  }

  /// The counting element as a number.
  private func count(_ now: UInt64) -> UInt64 {
    guard period != 0 else { return 0 }
    guard armed else { return period % modulus }
    let clocks = elapsed(now)
    switch mode {
    case 2: return (period - clocks % period) % modulus
    case 3:
      let phase = clocks % period
      let high = (period + 1) / 2
      let steps = phase < high ? phase : phase - high
      let from = period & ~1
      return (from - min(from, steps * 2)) % modulus
    default:
      let counted = clocks % modulus
      return (period % modulus + modulus - counted) % modulus
    }
  }

  private func encoded(_ now: UInt64) -> UInt16 {
    let value = count(now)
    guard bcd else { return UInt16(truncatingIfNeeded: value) }
    let thousands = value / 1000 % 10
    let hundreds = value / 100 % 10
    let tens = value / 10 % 10
    return UInt16(thousands << 12 | hundreds << 8 | tens << 4 | value % 10)
  }

  /// The count as read back now, latched or live.
  func currentCount(_ now: UInt64) -> UInt16 { encoded(now) }

  /// The clock after `now` at which OUT next goes high, nil if it will not by itself.
  func nextRise(_ now: UInt64) -> UInt64? {
    guard armed, period != 0, gate || isGateTriggered else { return nil }
    if isPeriodic {
      let clocks = now > start ? now &- start : 0
      return start &+ (clocks / period &+ 1) &* period
    }
    // Modes 4 and 5 rise one clock after the strobe began.
    let at = mode < 2 ? period : period + 1
    guard elapsed(now) < at, held < at else { return nil }
    return start &+ (at - held)
  }

  // MARK: Programming

  /// A control word for this channel, other than a latch command.
  mutating func configure(_ control: UInt8, _ now: UInt64) {
    let selected = control >> 1 & 7
    // Modes 6 and 7 are aliases of 2 and 3.
    mode = selected > 5 ? selected - 4 : selected
    bcd = control & 1 != 0
    access = control >> 4 & 3
    expectsHigh = false
    readsHigh = false
    countLatched = false
    statusLatched = false
    armed = false
    period = 0
    nextPeriod = 0
    held = 0
  }

  mutating func latchCount(_ now: UInt64) {
    guard !countLatched else { return }
    countLatched = true
    countLatch = encoded(now)
  }

  mutating func latchStatus(_ now: UInt64) {
    guard !statusLatched else { return }
    statusLatched = true
    let isNull = period == 0 || nextPeriod != 0 || now < start
    let pins: UInt8 = (output(now) ? 0x80 : 0) | (isNull ? 0x40 : 0)
    statusLatch = pins | access << 4 | mode << 1 | (bcd ? 1 : 0)
  }

  mutating func read(_ now: UInt64) -> UInt8 {
    if statusLatched {
      statusLatched = false
      return statusLatch
    }
    let value = countLatched ? countLatch : encoded(now)
    let high = access == 2 || access == 3 && readsHigh
    if access == 3 { readsHigh.toggle() }
    if access != 3 || high { countLatched = false }
    return UInt8(truncatingIfNeeded: high ? value >> 8 : value)
  }

  /// Returns true when a whole count was written.
  mutating func write(_ value: UInt8, _ now: UInt64) -> Bool {
    switch access {
    case 1: load(UInt16(value), now)
    case 2: load(UInt16(value) << 8, now)
    default:
      if !expectsHigh {
        lowByte = value
        expectsHigh = true
        // The first byte stops mode 0 and puts its output low.
        if mode == 0 { armed = false }
        return false
      }
      expectsHigh = false
      load(UInt16(value) << 8 | UInt16(lowByte), now)
    }
    return true
  }

  private mutating func load(_ value: UInt16, _ now: UInt64) {
    written = value
    var clocks = bcd ? Self.fromBCD(value) : UInt64(value)
    if clocks == 0 { clocks = modulus }
    // A count of 1 is illegal in the periodic modes; the chip's output would not move.
    if isPeriodic { clocks = max(clocks, 2) }
    if isPeriodic, armed, gate {
      // `start` moves to the running period's beginning, so that its end is where the count changes.
      start = start &+ (elapsed(now) / period) &* period
      nextPeriod = clocks
      return
    }
    period = clocks
    if isGateTriggered { return }
    armed = true
    held = 0
    start = now &+ 1
  }

  private static func fromBCD(_ value: UInt16) -> UInt64 {
    let thousands = UInt64(value >> 12) * 1000
    let hundreds = UInt64(value >> 8 & 15) * 100
    let tens = UInt64(value >> 4 & 15) * 10
    return (thousands + hundreds + tens + UInt64(value & 15)) % 10000
  }

  mutating func setGate(_ level: Bool, _ now: UInt64) {
    guard level != gate else { return }
    if !level {
      if !isGateTriggered { held = elapsed(now) }
      gate = false
      return
    }
    gate = true
    start = now &+ 1
    switch mode {
    case 0, 4: break
    default:
      held = 0
      if nextPeriod != 0 {
        period = nextPeriod
        nextPeriod = 0
      }
      if isGateTriggered { armed = period != 0 }
    }
  }

  mutating func code(_ coder: inout StateCoder) {
    coder.code(&mode)
    coder.code(&bcd)
    coder.code(&access)
    coder.code(&period)
    coder.code(&written)
    coder.code(&lowByte)
    coder.code(&expectsHigh)
    coder.code(&readsHigh)
    coder.code(&countLatched)
    coder.code(&countLatch)
    coder.code(&statusLatched)
    coder.code(&statusLatch)
    coder.code(&gate)
    coder.code(&armed)
    coder.code(&start)
    coder.code(&held)
    coder.code(&nextPeriod)
    mode = min(mode, 5)
    period = min(period, 65536)
    nextPeriod = min(nextPeriod, 65536)
    start = min(start, Deadline.horizon)
  }
}
