import VMCore

/// One 8259A: priorities, request, service and mask registers (Intel 8259A data sheet, 231468-003).
/// ICW1's level bit is ignored, as on every chipset with edge/level control registers.
struct InterruptController8259A: Equatable {
  /// Levels of the eight request lines.
  private(set) var lines: UInt8 = 0
  private(set) var irr: UInt8 = 0
  private(set) var isr: UInt8 = 0
  private(set) var imr: UInt8 = 0
  /// Bit n: line n is level-triggered.
  var elcr: UInt8 = 0
  /// ICW2, bits 7:3.
  private(set) var vectorBase: UInt8 = 0
  private var icw4: UInt8 = 0
  /// ICW3 as written: the master's slave lines, a slave's identity.
  private var icw3: UInt8 = 0
  private var icw1: UInt8 = 0
  /// Next initialization word expected at the data port (2, 3, 4), 0 = none: OCW1.
  private var expected: UInt8 = 0
  /// The line of lowest priority.
  private var lowest: UInt8 = 7
  private var readsISR = false
  private var polling = false
  private var specialMask = false
  private var rotateInAutoEOI = false

  private static let autoEOI: UInt8 = 0x02
  private static let fullyNested: UInt8 = 0x10

  /// Line numbers from the highest to the lowest priority, the first that has its bit in `bits`.
  private func first(_ bits: UInt8) -> UInt8? {
    guard bits != 0 else { return nil }
    let highest = (lowest &+ 1) & 7
    let turned = (bits &>> highest) | (bits &<< (8 &- highest))
    return (UInt8(truncatingIfNeeded: turned.trailingZeroBitCount) &+ highest) & 7
  }

  /// How far `line` is from the highest priority.
  private func rank(_ line: UInt8) -> UInt8 { (line &- lowest &- 1) & 7 }

  /// The request the chip signals on its INT output.
  var request: UInt8? {
    guard let line = first(irr & ~imr) else { return nil }
    var serving = isr
    if specialMask { serving &= ~imr }
    // A slave's line in service does not keep the slave's higher requests out.
    if icw4 & Self.fullyNested != 0 { serving &= ~icw3 | ~(1 << line) }
    guard let current = first(serving) else { return line }
    return rank(line) < rank(current) ? line : nil
  }

  mutating func set(_ line: UInt8, _ level: Bool) {
    let bit = UInt8(1) << (line & 7)
    if level {
      if lines & bit == 0 || elcr & bit != 0 { irr |= bit }
      lines |= bit
    } else {
      // The request must stay up until it is acknowledged.
      lines &= ~bit
      irr &= ~bit
    }
  }

  /// The interrupt-acknowledge cycle: the line taken into service, nil for a spurious one.
  mutating func acknowledge() -> UInt8? {
    guard let line = request else { return nil }
    let bit = UInt8(1) << line
    if elcr & bit == 0 { irr &= ~bit }
    if icw4 & Self.autoEOI != 0 {
      if rotateInAutoEOI { lowest = line }
    } else {
      isr |= bit
    }
    return line
  }

  func vector(_ line: UInt8) -> UInt8 { vectorBase | line & 7 }

  // MARK: Registers

  mutating func read(_ register: UInt8) -> UInt8 {
    if polling {
      polling = false
      return acknowledge().map { 0x80 | $0 } ?? 0
    }
    if register == 1 { return imr }
    return readsISR ? isr : irr
  }

  /// Returns the line an end-of-interrupt command ended, if it did.
  mutating func write(_ register: UInt8, _ value: UInt8) -> UInt8? {
    if register == 1 {
      writeData(value)
      return nil
    }
    if value & 0x10 != 0 {
      initialize(value)
      return nil
    }
    if value & 0x08 != 0 {
      writeOCW3(value)
      return nil
    }
    return writeOCW2(value)
  }

  private mutating func initialize(_ value: UInt8) {
    icw1 = value
    imr = 0
    isr = 0
    // The edge sense starts anew: lines that are up must go down first; level lines still ask.
    irr = lines & elcr
    lowest = 7
    specialMask = false
    readsISR = false
    polling = false
    rotateInAutoEOI = false
    icw4 = 0
    icw3 = 0
    expected = 2
  }

  private mutating func writeData(_ value: UInt8) {
    switch expected {
    case 2:
      vectorBase = value & 0xF8
      expected = icw1 & 0x02 == 0 ? 3 : icw1 & 1 != 0 ? 4 : 0
    case 3:
      icw3 = value
      expected = icw1 & 1 != 0 ? 4 : 0
    case 4:
      icw4 = value
      expected = 0
    default:
      imr = value
    }
  }

  private mutating func writeOCW3(_ value: UInt8) {
    if value & 0x04 != 0 { polling = true }
    if value & 0x02 != 0 { readsISR = value & 1 != 0 }
    if value & 0x40 != 0 { specialMask = value & 0x20 != 0 }
  }

  private mutating func writeOCW2(_ value: UInt8) -> UInt8? {
    let line = value & 7
    switch value >> 5 {
    case 0: rotateInAutoEOI = false
    case 4: rotateInAutoEOI = true
    case 1, 5: return endHighest(rotate: value & 0x80 != 0)
    case 3, 7: return end(line, rotate: value & 0x80 != 0)
    case 6: lowest = line
    default: break
    }
    return nil
  }

  private mutating func endHighest(rotate: Bool) -> UInt8? {
    // In special mask mode, masked lines are not ended by the non-specific command.
    guard let line = first(specialMask ? isr & ~imr : isr) else { return nil }
    return end(line, rotate: rotate)
  }

  private mutating func end(_ line: UInt8, rotate: Bool) -> UInt8? {
    let was = isr >> line & 1 != 0
    isr &= ~(1 << line)
    if rotate { lowest = line }
    return was ? line : nil
  }

  /// Level-triggered lines ask again as long as they are up.
  mutating func refreshLevels() { irr |= lines & elcr }

  mutating func code(_ coder: inout StateCoder) {
    coder.code(&lines)
    coder.code(&irr)
    coder.code(&isr)
    coder.code(&imr)
    coder.code(&elcr)
    coder.code(&vectorBase)
    coder.code(&icw4)
    coder.code(&icw3)
    coder.code(&icw1)
    coder.code(&expected)
    coder.code(&lowest)
    coder.code(&readsISR)
    coder.code(&polling)
    coder.code(&specialMask)
    coder.code(&rotateInAutoEOI)
    lowest &= 7
  }
}

/// The PC's pair of 8259As, the second on line 2 of the first, with the chipset's edge/level control
/// registers. Offsets: 0, 1 master command and data; 2, 3 slave; 4, 5 ELCR.
package final class PIC8259A: Device {
  package let name = "pic"
  private let context: DeviceContext
  private var master = InterruptController8259A()
  private var slave = InterruptController8259A()
  /// The pair's INTR output: an interrupt waits.
  package private(set) var output = false
  /// Told of each change of the output.
  package var onOutput: ((Bool) -> Void)?

  package init(context: DeviceContext) { self.context = context }

  /// A change of one of the lines 0...15 (line 2 is the cascade and not on the bus).
  package func set(_ line: UInt8, _ level: Bool) {
    if line < 8 {
      if line != 2 { master.set(line, level) }
    } else {
      slave.set(line & 7, level)
    }
    update()
  }

  private func update() {
    master.set(2, slave.request != nil)
    let now = master.request != nil
    guard now != output else { return }
    output = now
    onOutput?(now)
  }

  /// The processor's interrupt acknowledge: the vector. With nothing requested any more it is the
  /// spurious one, line 7 of the chip that was asked.
  package func acknowledge() -> UInt8 {
    defer { update() }
    guard let line = master.acknowledge() else { return master.vector(7) }
    if line != 2 { return master.vector(line) }
    // The slave's INT falls with the acknowledge, so that a further request of it is a new edge.
    guard let second = slave.acknowledge() else { return slave.vector(7) }
    master.set(2, false)
    return slave.vector(second)
  }

  package func read(_ offset: UInt64, size: UInt8) -> UInt64 {
    defer { update() }
    switch offset {
    case 0, 1: return UInt64(master.read(UInt8(offset)))
    case 2, 3: return UInt64(slave.read(UInt8(offset & 1)))
    case 4: return UInt64(master.elcr)
    default: return UInt64(slave.elcr)
    }
  }

  package func write(_ offset: UInt64, size: UInt8, value: UInt64) {
    let byte = UInt8(truncatingIfNeeded: value)
    switch offset {
    case 0, 1:
      if let line = master.write(UInt8(offset), byte) { context.emit(.eoi, a: UInt32(master.vector(line))) }
    case 2, 3:
      if let line = slave.write(UInt8(offset & 1), byte) { context.emit(.eoi, a: UInt32(slave.vector(line))) }
    // Timer, keyboard, cascade, clock and coprocessor are edge-triggered by wiring.
    case 4: master.elcr = byte & 0xF8
    default: slave.elcr = byte & 0xDE
    }
    master.refreshLevels()
    slave.refreshLevels()
    update()
  }

  package func registerName(_ offset: UInt64, write: Bool) -> String {
    switch offset {
    case 0: "PIC1 command"
    case 1: "PIC1 data"
    case 2: "PIC2 command"
    case 3: "PIC2 data"
    case 4: "ELCR1"
    default: "ELCR2"
    }
  }

  package func reset() {
    master = InterruptController8259A()
    slave = InterruptController8259A()
    output = false
  }

  package func code(_ coder: inout StateCoder) {
    master.code(&coder)
    slave.code(&coder)
    coder.code(&output)
  }

  /// What the PC wires to the sixteen lines.
  private static let lineNames = [
    "timer", "keyboard", "cascade", "COM2", "COM1", "LPT2", "floppy", "LPT1", "RTC", "", "", "", "mouse", "FPU", "IDE 0",
    "IDE 1",
  ]

  package var inspection: DeviceInspection {
    func rows(_ chip: InterruptController8259A, _ name: String) -> [(name: String, value: String)] {
      [
        ("\(name) IRR", bits(chip.irr)), ("\(name) ISR", bits(chip.isr)), ("\(name) IMR", bits(chip.imr)),
        ("\(name) base", hex(UInt64(chip.vectorBase))), ("\(name) ELCR", bits(chip.elcr)),
      ]
    }
    func bitmap(_ name: String, _ register: KeyPath<InterruptController8259A, UInt8>) -> InspectionBitmap {
      let word = UInt64(master[keyPath: register]) | UInt64(slave[keyPath: register]) << 8
      return InspectionBitmap(name, word: word, count: 16, lines: Self.lineNames)
    }
    return DeviceInspection(
      device: "PIC 8259A", rows: rows(master, "PIC1") + rows(slave, "PIC2") + [("INTR", output ? "1" : "0")],
      role: .interruptController,
      bitmaps: [
        bitmap("line", \.lines), bitmap("IRR", \.irr), bitmap("ISR", \.isr), bitmap("IMR", \.imr),
        bitmap("ELCR", \.elcr),
      ])
  }
}
