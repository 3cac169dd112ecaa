import VMCore

/// The real-time clock and CMOS memory, an MC146818A (Motorola data sheet) at ports 70h and 71h with
/// its interrupt on line 8. It starts at 2026-01-01 00:00:00 and counts virtual time.
///
/// The divider always runs; holding it in reset (register A, 11x) is not modelled.
package final class RTC: TimedDevice {
  package let name = "rtc"
  private let context: DeviceContext
  private let line: InterruptLine
  private let ramSize: UInt64

  private var index: UInt8 = 0
  private var cmos = [UInt8](repeating: 0, count: 128)
  /// Seconds since 1970 at virtual time `base`, while the clock runs.
  private var epoch: Int64 = RTC.start
  private var base: UInt64 = 0
  /// Virtual time up to which the flags of register C are worked out.
  private var settled: UInt64 = 0
  package private(set) var deadline = Deadline.never { didSet { context.timersChanged = true } }

  private static let start = Int64(
    CalendarDate(year: 2026, month: 1, day: 1, hour: 0, minute: 0, second: 0).seconds)
  private static let second: UInt64 = 1_000_000_000
  private static let century = 0x32
  private enum B {
    static let set: UInt8 = 0x80
    static let binary: UInt8 = 0x04
    static let hours24: UInt8 = 0x02
  }
  private enum Flag {
    static let any: UInt8 = 0x80
    static let periodic: UInt8 = 0x40
    static let alarm: UInt8 = 0x20
    static let update: UInt8 = 0x10
  }

  /// Whether CMOS tells of a floppy drive: BIOS services have one, the PC itself has no controller for any.
  var hasFloppyDrive = true { didSet { fillEquipment() } }

  package init(context: DeviceContext, line: InterruptLine, ramSize: UInt64) {
    self.context = context
    self.line = line
    self.ramSize = ramSize
    reset()
  }

  // MARK: Time

  private var isSet: Bool { cmos[0x0B] & B.set != 0 }

  private func seconds(_ time: UInt64) -> Int64 {
    epoch &+ Int64(time > base ? (time - base) / Self.second : 0)
  }

  /// The first second boundary after `time`.
  private func nextSecond(_ time: UInt64) -> UInt64 {
    let whole = time > base ? (time - base) / Self.second : 0
    return base + (whole + 1) * Self.second
  }

  /// Periodic interrupt: clocks of 32,768 Hz between two, 0 = off (register A, RS).
  private var periodicClocks: UInt64 {
    let rate = UInt64(cmos[0x0A] & 0x0F)
    if rate == 0 { return 0 }
    // Rates 1 and 2 are 256 and 128 Hz.
    return 1 << (rate < 3 ? rate + 6 : rate - 1)
  }

  /// Periods of the periodic interrupt up to `time`.
  private func periods(_ time: UInt64) -> UInt64 {
    let clocks = Self.second.dividingFullWidth(time.multipliedFullWidth(by: 32768)).quotient
    return clocks / periodicClocks
  }

  private func time(ofPeriod period: UInt64) -> UInt64 {
    let clocks = period.multipliedReportingOverflow(by: periodicClocks)
    if clocks.overflow { return Deadline.never }
    let product = clocks.partialValue.multipliedFullWidth(by: Self.second)
    guard product.high < 32768 else { return Deadline.never }
    let result = UInt64(32768).dividingFullWidth(product)
    return Deadline.clamped(result.quotient &+ (result.remainder == 0 ? 0 : 1))
  }

  /// The first second after `from` (seconds since 1970) that the alarm registers match.
  private func nextAlarm(_ from: Int64) -> Int64? {
    // Outer nil: never matches; inner nil: always does.
    func field(_ register: Int, _ limit: Int64) -> Int64?? {
      let raw = cmos[register]
      if raw >= 0xC0 { return .some(nil) }
      let value = Int64(register == 5 ? hour(raw) : number(raw))
      guard value < limit else { return nil }
      return .some(value)
    }
    guard let second = field(1, 60), let minute = field(3, 60), let hour = field(5, 24) else { return nil }
    var at = from &+ 1
    if let second { while at % 60 != second { at &+= 1 } }
    if let minute {
      while at / 60 % 60 != minute { at = (at / 60 &+ 1) &* 60 &+ (second ?? 0) }
    }
    if let hour {
      let inHour = (minute ?? 0) * 60 + (second ?? 0)
      while at / 3600 % 24 != hour { at = (at / 3600 &+ 1) &* 3600 &+ inHour }
    }
    return at
  }

  /// Brings the flags of register C up to `time` and the line with them.
  private func settle(_ time: UInt64) {
    guard time > settled else { return }
    var flags = cmos[0x0C]
    if periodicClocks != 0, periods(time) > periods(settled) { flags |= Flag.periodic }
    if !isSet {
      let before = seconds(settled)
      let now = seconds(time)
      if now > before {
        flags |= Flag.update
        if let alarm = nextAlarm(before), alarm <= now { flags |= Flag.alarm }
      }
    }
    settled = time
    cmos[0x0C] = flags
    updateLine()
  }

  private func updateLine() {
    let raised = cmos[0x0C] & cmos[0x0B] & 0x70 != 0
    cmos[0x0C] = cmos[0x0C] & 0x7F | (raised ? Flag.any : 0)
    line.set(raised)
  }

  private func schedule() {
    let enabled = cmos[0x0B]
    var next = Deadline.never
    // While the line is up nothing changes until register C is read.
    if cmos[0x0C] & Flag.any == 0 {
      if enabled & Flag.periodic != 0, periodicClocks != 0 { next = time(ofPeriod: periods(settled) + 1) }
      if enabled & Flag.update != 0, !isSet { next = min(next, nextSecond(settled)) }
      if enabled & Flag.alarm != 0, !isSet, let alarm = nextAlarm(seconds(settled)) {
        let ahead = UInt64(max(alarm - seconds(settled), 1)) - 1
        next = min(next, nextSecond(settled) + ahead * Self.second)
      }
    }
    deadline = next == Deadline.never ? next : Deadline.clamped(next)
  }

  package func fire(upTo time: UInt64) {
    settle(time)
    schedule()
  }

  // MARK: Numbers as registers hold them

  private func number(_ raw: UInt8) -> Int {
    cmos[0x0B] & B.binary != 0 ? Int(raw) : Int(raw >> 4) * 10 + Int(raw & 15)
  }

  private func encoded(_ value: Int) -> UInt8 {
    cmos[0x0B] & B.binary != 0 ? UInt8(truncatingIfNeeded: value) : UInt8(value / 10 % 10) << 4 | UInt8(value % 10)
  }

  /// An hour register as 0...23; in the 12-hour form bit 7 is PM.
  private func hour(_ raw: UInt8) -> Int {
    if cmos[0x0B] & B.hours24 != 0 { return number(raw) }
    return number(raw & 0x7F) % 12 + (raw & 0x80 != 0 ? 12 : 0)
  }

  private func encodedHour(_ hour: Int) -> UInt8 {
    if cmos[0x0B] & B.hours24 != 0 { return encoded(hour) }
    return encoded((hour + 11) % 12 + 1) | (hour >= 12 ? 0x80 : 0)
  }

  /// The running time into the registers.
  private func fillDate() {
    let date = CalendarDate(seconds: Int(seconds(context.now)))
    cmos[0] = encoded(date.second)
    cmos[2] = encoded(date.minute)
    cmos[4] = encodedHour(date.hour)
    cmos[6] = encoded(date.weekday)
    cmos[7] = encoded(date.day)
    cmos[8] = encoded(date.month)
    cmos[9] = encoded(date.year % 100)
    cmos[Self.century] = encoded(date.year / 100)
  }

  /// The registers become the running time, counted from now.
  private func takeDate() {
    let century = number(cmos[Self.century]) * 100
    let date = CalendarDate(
      year: century + number(cmos[9]), month: min(max(number(cmos[8]), 1), 12), day: min(max(number(cmos[7]), 1), 31),
      hour: hour(cmos[4]), minute: number(cmos[2]), second: number(cmos[0]))
    epoch = Int64(max(date.seconds, 0))
    base = context.now
    settled = context.now
  }

  // MARK: Registers

  package func read(_ offset: UInt64, size: UInt8) -> UInt64 {
    // The index register is write-only.
    if offset == 0 { return 0xFF }
    let now = context.now
    switch index {
    case 0, 2, 4, 6, 7, 8, 9, UInt8(Self.century):
      if !isSet { fillDate() }
      return UInt64(cmos[Int(index)])
    case 0x0A:
      // UIP: the registers change within 244 us.
      let inSecond = now > base ? (now - base) % Self.second : 0
      let updating = !isSet && inSecond >= Self.second - 244_000
      return UInt64(cmos[0x0A] | (updating ? 0x80 : 0))
    case 0x0C:
      settle(now)
      let flags = cmos[0x0C]
      cmos[0x0C] = 0
      updateLine()
      schedule()
      return UInt64(flags)
    default: return UInt64(cmos[Int(index)])
    }
  }

  package func write(_ offset: UInt64, size: UInt8, value: UInt64) {
    let byte = UInt8(truncatingIfNeeded: value)
    if offset == 0 {
      // Bit 7 switches NMIs off, of which there are none.
      index = byte & 0x7F
      return
    }
    settle(context.now)
    switch index {
    case 0, 2, 4, 6, 7, 8, 9, UInt8(Self.century):
      if !isSet { fillDate() }
      cmos[Int(index)] = byte
      if !isSet { takeDate() }
    case 0x0A: setRate(byte)
    case 0x0B: setControl(byte)
    case 0x0C, 0x0D: break
    default: cmos[Int(index)] = byte
    }
    updateLine()
    schedule()
  }

  private func setRate(_ byte: UInt8) {
    cmos[0x0A] = byte & 0x7F
    let period = periodicClocks * Self.second / 32768
    if period != 0 { context.emit(.timer, a: TimerChannel.rtcPeriodic, b: period) }
  }

  private func setControl(_ byte: UInt8) {
    let was = isSet
    if !was { fillDate() }
    // SET holds the update-ended interrupt off.
    cmos[0x0B] = byte & B.set != 0 ? byte & ~Flag.update : byte
    if was, !isSet {
      takeDate()
    } else if !was, !isSet {
      fillDate()
    }
  }

  package func registerName(_ offset: UInt64, write: Bool) -> String { offset == 0 ? "index" : "data" }

  // MARK: Power-on, snapshot, display

  package func reset() {
    index = 0
    cmos = [UInt8](repeating: 0, count: 128)
    cmos[0x0A] = 0x26
    cmos[0x0B] = B.hours24
    // VRT: the battery is good.
    cmos[0x0D] = 0x80
    epoch = Self.start
    base = context.now
    settled = context.now
    deadline = Deadline.never
    fillEquipment()
    fillMemorySize()
  }

  /// FPU, 80-column display, and one 1.44 MB floppy drive where there is something to drive it.
  private func fillEquipment() {
    cmos[0x10] = hasFloppyDrive ? 0x40 : 0
    cmos[0x14] = hasFloppyDrive ? 0x07 : 0x06
  }

  /// The memory sizes firmware leaves in CMOS: base memory (15h), KiB from 1 MiB (17h, 30h), 64 KiB
  /// units from 16 MiB (34h) and from 4 GiB (5Bh).
  private func fillMemorySize() {
    func put(_ register: Int, _ value: UInt64, bytes: Int = 2) {
      for byte in 0..<bytes { cmos[register + byte] = UInt8(value >> UInt64(byte * 8) & 0xFF) }
    }
    let low = min(ramSize, GuestMemory.holeStart)
    let extended = min((max(low, 1 << 20) - 1 << 20) >> 10, 0xFFFF)
    put(0x15, 640)
    put(0x17, extended)
    put(0x30, extended)
    put(0x34, min((max(low, 16 << 20) - (16 << 20)) >> 16, 0xFFFF))
    put(0x5B, min((ramSize - low) >> 16, 0xFF_FFFF), bytes: 3)
  }

  package func code(_ coder: inout StateCoder) {
    coder.code(&index)
    index &= 0x7F
    coder.code(fixed: &cmos)
    coder.code(&epoch)
    // Far enough for any clock, near enough for calendar arithmetic.
    epoch = min(max(epoch, 0), 1 << 40)
    coder.code(&base)
    coder.code(&settled)
    coder.code(&deadline)
    base = min(base, Deadline.horizon)
  }

  package var inspection: DeviceInspection {
    let date = CalendarDate(seconds: Int(seconds(context.now)))
    func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
    let day = "\(date.year)-\(two(date.month))-\(two(date.day))"
    let time = "\(two(date.hour)):\(two(date.minute)):\(two(date.second))"
    return DeviceInspection(
      device: "RTC",
      rows: [
        ("time", "\(day) \(time)"), ("index", hex(UInt64(index))), ("A", bits(cmos[0x0A])), ("B", bits(cmos[0x0B])),
        ("C", bits(cmos[0x0C])),
        ("periodic", periodicClocks == 0 ? "off" : "every \(Self.second * periodicClocks / 32768) ns"),
        ("next event", deadline == Deadline.never ? "none" : "in \(deadline &- min(context.now, deadline)) ns"),
      ], role: .timer)
  }
}
