import VMCore

/// The I/O APIC (Intel 82093AA data sheet, with the EOI register of its successors): 24 pins, each
/// with a redirection entry that says where its interrupt goes.
package final class IOAPIC: Device {
  package let name = "ioapic"
  package static let base = GPA(0xFEC0_0000)
  static let pins = 24

  private unowned let bus: APICBus
  private var id: UInt8 = 0
  private var selected: UInt8 = 0
  private var entries = [UInt64](repeating: IOAPIC.masked, count: IOAPIC.pins)
  /// Bit n = level of pin n.
  private var levels: UInt32 = 0

  private static let masked: UInt64 = 1 << 16
  private static let levelTriggered: UInt64 = 1 << 15
  private static let remoteIRR: UInt64 = 1 << 14
  private static let activeLow: UInt64 = 1 << 13
  private static let logical: UInt64 = 1 << 11
  /// Vector, mode, destination mode, polarity, trigger, mask and destination.
  private static let writable: UInt64 = 0xFF00_0000_0001_AFFF
  private static let version: UInt32 = 0x20

  package init(bus: APICBus) { self.bus = bus }

  /// A change of a pin. Polarity is not modelled: a line that asks is active whatever the entry says.
  package func set(_ pin: UInt8, _ level: Bool) {
    guard pin < Self.pins else { return }
    let bit = UInt32(1) << UInt32(pin)
    let rose = level && levels & bit == 0
    levels = level ? levels | bit : levels & ~bit
    guard level else { return }
    // An edge on a masked pin is lost (data sheet, 3.2.4).
    if rose || isLevel(Int(pin)) { deliver(Int(pin)) }
  }

  private func isLevel(_ pin: Int) -> Bool { entries[pin] & Self.levelTriggered != 0 }

  private func deliver(_ pin: Int) {
    let entry = entries[pin]
    guard entry & Self.masked == 0, entry & Self.remoteIRR == 0 || !isLevel(pin),
      let mode = InterruptMessage.Mode(rawValue: UInt8(entry >> 8 & 7))
    else { return }
    // Level-triggered delivery is for fixed and lowest priority; the other modes are edges.
    let level = isLevel(pin) && (mode == .fixed || mode == .lowestPriority)
    let accepted = bus.send(
      InterruptMessage(
        mode: mode, vector: UInt8(entry & 0xFF), destination: UInt32(entry >> 56), isLogical: entry & Self.logical != 0,
        isLevel: level))
    if accepted, level { entries[pin] |= Self.remoteIRR }
  }

  /// Pin 0 is wired to the PIC's output: whether its entry passes that on, and to whom.
  func passesPIC(to local: LocalAPIC) -> Bool {
    let entry = entries[0]
    guard entry & (Self.masked | 0x700) == 0x700 else { return false }
    let message = InterruptMessage(
      mode: .extINT, vector: 0, destination: UInt32(entry >> 56), isLogical: entry & Self.logical != 0, isLevel: false)
    return local.matches(message)
  }

  /// A local APIC ended a level-triggered vector.
  package func endOfInterrupt(_ vector: UInt8) {
    for pin in entries.indices where entries[pin] & 0xFF == UInt64(vector) && entries[pin] & Self.remoteIRR != 0 {
      entries[pin] &= ~Self.remoteIRR
      if levels >> UInt32(pin) & 1 != 0 { deliver(pin) }
    }
  }

  // MARK: Registers

  package func read(_ offset: UInt64, size: UInt8) -> UInt64 {
    switch offset {
    case 0x00: UInt64(selected)
    case 0x10: UInt64(selectedValue)
    default: 0
    }
  }

  private var selectedValue: UInt32 {
    switch selected {
    case 0, 2: return UInt32(id) << 24
    case 1: return UInt32(Self.pins - 1) << 16 | Self.version
    case 0x10..<0x10 + UInt8(Self.pins * 2):
      let entry = entries[Int(selected - 0x10) / 2]
      return UInt32(truncatingIfNeeded: selected & 1 == 0 ? entry : entry >> 32)
    default: return 0
    }
  }

  package func write(_ offset: UInt64, size: UInt8, value: UInt64) {
    switch offset {
    case 0x00: selected = UInt8(truncatingIfNeeded: value)
    case 0x10: writeSelected(UInt32(truncatingIfNeeded: value))
    case 0x40: endOfInterrupt(UInt8(truncatingIfNeeded: value))
    default: break
    }
  }

  private func writeSelected(_ word: UInt32) {
    switch selected {
    case 0: id = UInt8(word >> 24 & 0x0F)
    case 0x10..<0x10 + UInt8(Self.pins * 2): writeEntry(Int(selected - 0x10) / 2, isHigh: selected & 1 != 0, word)
    default: break
    }
  }

  private func writeEntry(_ pin: Int, isHigh: Bool, _ word: UInt32) {
    let old = entries[pin]
    let merged = isHigh ? old & 0xFFFF_FFFF | UInt64(word) << 32 : old & ~0xFFFF_FFFF | UInt64(word)
    var entry = merged & Self.writable | old & Self.remoteIRR
    if entry & Self.levelTriggered == 0 { entry &= ~Self.remoteIRR }
    entries[pin] = entry
    if !isHigh, isLevel(pin), levels >> UInt32(pin) & 1 != 0 { deliver(pin) }
  }

  package func registerName(_ offset: UInt64, write: Bool) -> String {
    switch offset {
    case 0x00: "IOREGSEL"
    case 0x10: "IOWIN"
    case 0x40: "EOI"
    default: "reserved"
    }
  }

  package func reset() {
    id = 0
    selected = 0
    entries = [UInt64](repeating: Self.masked, count: Self.pins)
    levels = 0
  }

  package func code(_ coder: inout StateCoder) {
    coder.code(&id)
    coder.code(&selected)
    coder.code(fixed: &entries)
    coder.code(&levels)
  }

  package var inspection: DeviceInspection {
    var rows: [(name: String, value: String)] = [("id", "\(id)"), ("pins up", hex(UInt64(levels), digits: 6))]
    var closed: UInt64 = 0
    var waiting: UInt64 = 0
    for (pin, entry) in entries.enumerated() {
      if entry & Self.masked != 0 { closed |= 1 << UInt64(pin) }
      if entry & Self.remoteIRR != 0 { waiting |= 1 << UInt64(pin) }
      // An entry still as reset left it says nothing.
      if entry != Self.masked { rows.append(("pin \(pin)", Self.text(entry))) }
    }
    return DeviceInspection(
      device: "IOAPIC", rows: rows, role: .interruptController,
      bitmaps: [
        InspectionBitmap("pin", word: UInt64(levels), count: Self.pins, lines: Self.pinNames),
        InspectionBitmap("masked", word: closed, count: Self.pins),
        InspectionBitmap("remote IRR", word: waiting, count: Self.pins),
      ])
  }

  /// A redirection entry in words (data sheet, 3.2.4).
  private static func text(_ entry: UInt64) -> String {
    let mode = InterruptMessage.Mode(rawValue: UInt8(entry >> 8 & 7)).map { "\($0)" } ?? "reserved"
    var words = ["vector \(hex(entry & 0xFF))", mode, entry & levelTriggered != 0 ? "level" : "edge"]
    if entry & activeLow != 0 { words.append("active-low") }
    words.append("to \(entry & logical != 0 ? "logical" : "APIC") \(hex(entry >> 56))")
    if entry & remoteIRR != 0 { words.append("waits for EOI") }
    words.append(entry & masked != 0 ? "masked" : "open")
    return words.joined(separator: " ")
  }

  /// What the PC wires to the pins.
  private static let pinNames = [
    "PIC", "keyboard", "timer", "COM2", "COM1", "LPT2", "floppy", "LPT1", "RTC", "", "", "", "mouse", "FPU", "IDE 0",
    "IDE 1", "", "", "", "", "", "", "", "",
  ]
}
