import VMCore

/// The firmware configuration device that SeaBIOS, and test programs without firmware, ask about their machine (QEMU,
/// docs/specs/fw_cfg): a selector at 510h, and a port 511h from which the selected item is read byte by byte. Read-only,
/// without DMA.
/// Offsets: 0 selector, 1 data.
final class FirmwareConfig: Device {
  let name = "fw_cfg"
  private enum Key {
    static let signature: UInt16 = 0x00
    static let identity: UInt16 = 0x01
    static let ramSize: UInt16 = 0x03
    static let vcpus: UInt16 = 0x05
    static let maximumVCPUs: UInt16 = 0x0F
    static let directory: UInt16 = 0x19
    static let firstFile: UInt16 = 0x20
  }
  private var items: [UInt16: [UInt8]]
  private var selector: UInt16 = 0
  private var position: UInt32 = 0

  init(_ configuration: PCConfiguration) {
    let count = UInt16(truncatingIfNeeded: configuration.vcpuCount)
    items = [
      Key.signature: Array("QEMU".utf8), Key.identity: [1, 0, 0, 0],
      Key.ramSize: Self.littleEndian(configuration.ramSize), Key.vcpus: Self.littleEndian(count),
      Key.maximumVCPUs: Self.littleEndian(count), Key.directory: Self.bigEndian(UInt32(0)),
    ]
  }

  /// The files firmware finds, by name. Called before the guest runs.
  func provide(_ files: [(name: String, bytes: [UInt8])]) {
    var directory = Self.bigEndian(UInt32(files.count))
    for (index, file) in files.enumerated() {
      let key = Key.firstFile + UInt16(index)
      items[key] = file.bytes
      let name = Array(file.name.utf8.prefix(55))
      directory += Self.bigEndian(UInt32(file.bytes.count)) + Self.bigEndian(key) + [0, 0]
      directory += name + [UInt8](repeating: 0, count: 56 - name.count)
    }
    items[Key.directory] = directory
  }

  private static func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
  }
  private static func bigEndian(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.bigEndian) { Array($0) }
  }

  /// Beyond an item's end, and for items there are not, zeros.
  func read(_ offset: UInt64, size: UInt8) -> UInt64 {
    guard offset == 1 else { return 0 }
    let item = items[selector] ?? []
    defer { position = position &+ 1 }
    return position < UInt32(item.count) ? UInt64(item[Int(position)]) : 0
  }

  func write(_ offset: UInt64, size: UInt8, value: UInt64) {
    guard offset == 0 else { return }
    // Bit 14 asks for writing, which nothing here allows.
    selector = UInt16(truncatingIfNeeded: value) & 0xBFFF
    position = 0
  }

  func registerName(_ offset: UInt64, write: Bool) -> String { offset == 0 ? "selector" : "data" }

  func reset() { (selector, position) = (0, 0) }

  func code(_ coder: inout StateCoder) {
    coder.code(&selector)
    coder.code(&position)
  }

  var inspection: DeviceInspection {
    DeviceInspection(
      device: "firmware configuration",
      rows: [("selector", hex(UInt64(selector), digits: 4)), ("position", String(position))])
  }
}
