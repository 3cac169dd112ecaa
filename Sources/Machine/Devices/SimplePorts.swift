import VMCore

/// The debug port E9h: a byte written goes to the console; a read gives E9h, which is how guests find it.
final class DebugPort: Device {
  let name = "debug-port"
  private let context: DeviceContext
  init(context: DeviceContext) { self.context = context }
  func read(_ offset: UInt64, size: UInt8) -> UInt64 { 0xE9 }
  func write(_ offset: UInt64, size: UInt8, value: UInt64) { context.writeConsole(UInt8(truncatingIfNeeded: value)) }
  func registerName(_ offset: UInt64, write: Bool) -> String { "" }
  func reset() {}
  func code(_ coder: inout StateCoder) {}
  var inspection: DeviceInspection { DeviceInspection(device: "debug port e9", rows: []) }
}

/// The ways a guest ends itself: the exit port F4h (offsets 0...3), the reset control register CF9h
/// (4), the ACPI PM1 control register 604h (6, 7) and the text port 8900h (8).
final class PowerPorts: Device {
  let name = "power"
  private let context: DeviceContext
  /// CF9h, bits as written.
  private var resetControl: UInt8 = 0
  /// How much of "Shutdown" came in at 8900h.
  private var matched: UInt8 = 0
  private static let word: [UInt8] = Array("Shutdown".utf8)
  /// PM1_CNT.SLP_EN (ACPI 6.5, 4.8.3.2.1).
  private static let sleepEnable: UInt64 = 0x2000

  init(context: DeviceContext) { self.context = context }

  func read(_ offset: UInt64, size: UInt8) -> UInt64 {
    switch offset {
    case 0...3: 0
    case 4: UInt64(resetControl)
    // SCI_EN: the power management is in ACPI mode.
    case 6: 1
    case 7: 0
    default: .max
    }
  }

  func write(_ offset: UInt64, size: UInt8, value: UInt64) {
    switch offset {
    case 0:
      // A process status has eight bits.
      context.request(.exit(status: Int32(truncatingIfNeeded: (value << 1 | 1) & 0xFF)))
    case 1...3: break
    case 4:
      let byte = UInt8(truncatingIfNeeded: value)
      // RST_CPU resets as it goes from 0 to 1.
      let resets = byte & 4 != 0 && resetControl & 4 == 0
      resetControl = byte & 0x0A
      if resets { context.request(.reset) }
    case 6:
      if value & Self.sleepEnable != 0 { context.request(.shutdown) }
    case 7:
      if value << 8 & Self.sleepEnable != 0 { context.request(.shutdown) }
    default: match(UInt8(truncatingIfNeeded: value))
    }
  }

  private func match(_ byte: UInt8) {
    if byte == Self.word[Int(matched)] {
      matched += 1
    } else {
      matched = byte == Self.word[0] ? 1 : 0
    }
    guard Int(matched) == Self.word.count else { return }
    matched = 0
    context.request(.shutdown)
  }

  func registerName(_ offset: UInt64, write: Bool) -> String {
    switch offset {
    case 0...3: "exit"
    case 4: "reset control"
    case 6, 7: "PM1 control"
    default: "shutdown text"
    }
  }

  func reset() {
    resetControl = 0
    matched = 0
  }

  func code(_ coder: inout StateCoder) {
    coder.code(&resetControl)
    coder.code(&matched)
    matched &= 7
  }

  var inspection: DeviceInspection {
    DeviceInspection(device: "power", rows: [("reset control", bits(resetControl))])
  }
}

/// A four-byte register at port E0h that reads back what was written.
final class EchoPort: Device {
  let name = "echo"
  private var value: UInt32 = 0
  func read(_ offset: UInt64, size: UInt8) -> UInt64 { UInt64(value) >> (offset * 8) }

  func write(_ offset: UInt64, size: UInt8, value: UInt64) {
    let shift = UInt32(offset & 3) * 8
    let mask = UInt32(truncatingIfNeeded: PortBus.ones(size)) << shift
    self.value = self.value & ~mask | UInt32(truncatingIfNeeded: value) << shift & mask
  }
  func registerName(_ offset: UInt64, write: Bool) -> String { "" }
  func reset() { value = 0 }
  func code(_ coder: inout StateCoder) { coder.code(&value) }
  var inspection: DeviceInspection {
    DeviceInspection(device: "echo e0", rows: [("value", hex(UInt64(value), digits: 8))])
  }
}

/// The POST code ports 80h (also every kernel's I/O delay) and 190h: writes are kept for display.
final class POSTPorts: Device {
  let name = "post"
  private var codes: [UInt8] = [0, 0]
  func read(_ offset: UInt64, size: UInt8) -> UInt64 { UInt64(codes[Int(offset & 1)]) }

  func write(_ offset: UInt64, size: UInt8, value: UInt64) {
    codes[Int(offset & 1)] = UInt8(truncatingIfNeeded: value)
  }
  func registerName(_ offset: UInt64, write: Bool) -> String { "code" }
  func reset() { codes = [0, 0] }
  func code(_ coder: inout StateCoder) { coder.code(fixed: &codes) }
  var inspection: DeviceInspection {
    DeviceInspection(
      device: "POST", rows: [("port 80h", hex(UInt64(codes[0]))), ("port 190h", hex(UInt64(codes[1])))])
  }
}
