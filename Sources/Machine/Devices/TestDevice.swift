import VMCore

/// What programs that test processors and interrupt controllers expect of an emulator beside a PC (QEMU's pc-testdev, for
/// which kvm-unit-tests is written): memory at FF000000h whose every access exits, ports that set interrupt lines, and a
/// port that has a page's translations forgotten, which here nobody keeps.
final class TestDevice: Device {
  let name = "testdev"
  /// An access of any width reads back what was written last.
  static let memory = GPA(0xFF00_0000)
  static let memorySize: UInt64 = 0x1_0000
  /// Port 2000h + n: a write sets ISA line n, or IOAPIC pin n from 16 on, to 1 or 0.
  static let lines: ClosedRange<UInt16> = 0x2000...0x2017
  /// A write of a guest-physical address.
  static let flush: ClosedRange<UInt16> = 0xE4...0xE7

  /// Offsets of its places as a device.
  static let linesOffset: UInt64 = 0x2_0000
  static let flushOffset: UInt64 = 0x3_0000

  private let router: InterruptRouter
  /// Empty until the first write: a snapshot of a guest that does not use it has none of it.
  private var bytes: [UInt8] = []

  init(router: InterruptRouter) { self.router = router }

  func read(_ offset: UInt64, size: UInt8) -> UInt64 {
    guard offset < Self.memorySize else { return 0 }
    guard !bytes.isEmpty else { return 0 }
    var result: UInt64 = 0
    for index in 0..<UInt64(size) { result |= UInt64(bytes[place(offset, index)]) << (8 * index) }
    return result
  }

  func write(_ offset: UInt64, size: UInt8, value: UInt64) {
    if offset < Self.memorySize {
      if bytes.isEmpty { bytes = [UInt8](repeating: 0, count: Int(Self.memorySize)) }
      for index in 0..<UInt64(size) { bytes[place(offset, index)] = UInt8(truncatingIfNeeded: value >> (8 * index)) }
    } else if offset < Self.flushOffset {
      router.set(UInt8(truncatingIfNeeded: offset - Self.linesOffset), value != 0)
    }
  }

  private func place(_ offset: UInt64, _ index: UInt64) -> Int { Int((offset + index) % Self.memorySize) }

  func registerName(_ offset: UInt64, write: Bool) -> String {
    if offset < Self.memorySize { return "memory" }
    return offset < Self.flushOffset ? "line \(offset - Self.linesOffset)" : "flush"
  }

  func reset() { bytes = [] }

  func code(_ coder: inout StateCoder) {
    coder.code(&bytes)
    if !bytes.isEmpty && bytes.count != Int(Self.memorySize) { coder.fail() }
  }

  var inspection: DeviceInspection {
    DeviceInspection(device: "test device", rows: [("memory", bytes.isEmpty ? "not written" : "in use")])
  }
}
