import VMCore

/// The registers of a VGA (IBM VGA technical reference), as far as they say what is shown: text, CGA's graphics
/// and 320x200 in 256 colours, whose memory is plain RAM from A0000h. Planes and their latches are not there, so
/// modes made of them are known but not shown.
/// Offsets are ports minus 3C0h.
package final class VGA: Device {
  package let name = "vga"

  private let context: DeviceContext
  private var miscellaneous: UInt8 = 0
  private var sequencer = IndexedRegisters(count: 8)
  private var graphics = IndexedRegisters(count: 16)
  private var attributes = IndexedRegisters(count: 32)
  private var crtc = IndexedRegisters(count: 32)
  /// The attribute controller's port takes an index first, then data; reading 3DAh starts over.
  private var attributeWantsData = false
  package private(set) var palette = VGAPalette()

  package init(context: DeviceContext) {
    self.context = context
    reset()
  }

  // MARK: What the registers say

  package var mode: VGAMode {
    VGAMode(
      VGARegisters(
        memoryMode: sequencer[4], horizontalEnd: crtc[0x01], overflow: crtc[0x07], maximumScanLine: crtc[0x09],
        verticalEnd: crtc[0x12], graphicsMode: graphics[5], graphicsMiscellaneous: graphics[6]))
  }

  /// First character cell of the screen, counted in cells from B8000h; in graphics, of bytes or groups of them.
  package internal(set) var startAddress: Int {
    get { Int(crtc[0x0C]) << 8 | Int(crtc[0x0D]) }
    set {
      crtc[0x0C] = UInt8(truncatingIfNeeded: newValue >> 8)
      crtc[0x0D] = UInt8(truncatingIfNeeded: newValue)
    }
  }
  /// The cursor's cell, counted from B8000h; nil while it is switched off.
  package var cursor: Int? {
    crtc[0x0A] & 0x20 != 0 ? nil : Int(crtc[0x0E]) << 8 | Int(crtc[0x0F])
  }

  /// One of the 16 colours of CGA that a pixel's value stands for in modes of 4 or 2 colours.
  func color(ofPixel value: UInt8) -> UInt8 {
    let code = attributes[value & 15]
    return code & 7 | (code & 0x10) >> 1
  }

  // MARK: What a video BIOS does

  /// Programs all registers and the palette for a mode of INT 10h.
  func program(_ mode: BIOSMode) {
    let registers = mode.registers
    sequencer[4] = registers.memoryMode
    crtc[0x01] = registers.horizontalEnd
    crtc[0x07] = registers.overflow
    crtc[0x09] = registers.maximumScanLine
    crtc[0x12] = registers.verticalEnd
    graphics[5] = registers.graphicsMode
    graphics[6] = registers.graphicsMiscellaneous
    for (index, code) in mode.attributes.enumerated() { attributes[UInt8(truncatingIfNeeded: index)] = code }
    palette = VGAPalette()
  }

  /// What a pixel's value, 0 to 15, stands for, as in the attribute controller.
  func setAttribute(_ value: UInt8, _ code: UInt8) { attributes[value & 15] = code }
  func attribute(_ value: UInt8) -> UInt8 { attributes[value & 15] }

  /// Scan lines of a character, which decides how many rows there are.
  func setCharacterHeight(_ lines: UInt8) { crtc[0x09] = crtc[0x09] & 0xE0 | (lines &- 1) & 0x1F }

  func setColor(_ index: UInt8, _ color: VGAPalette.Color) { palette[index] = color }

  /// The cell is counted from B8000h.
  func setCursor(_ cell: Int) {
    crtc[0x0E] = UInt8(truncatingIfNeeded: cell >> 8)
    crtc[0x0F] = UInt8(truncatingIfNeeded: cell)
  }

  /// Scan lines and switch, as in CRTC registers 0Ah and 0Bh.
  func setCursorShape(start: UInt8, end: UInt8) {
    crtc[0x0A] = start
    crtc[0x0B] = end
  }

  // MARK: Device

  package func read(_ offset: UInt64, size: UInt8) -> UInt64 {
    switch offset {
    case 0x00: UInt64(attributes.index)
    case 0x01: UInt64(attributes.selected)
    case 0x04: UInt64(sequencer.index)
    case 0x05: UInt64(sequencer.selected)
    case 0x06: 0xFF
    case 0x07: UInt64(palette.state)
    case 0x08: UInt64(palette.writeIndex)
    case 0x09: UInt64(palette.readComponent())
    // The miscellaneous register is read at another port than written.
    case 0x0C: UInt64(miscellaneous)
    case 0x0E: UInt64(graphics.index)
    case 0x0F: UInt64(graphics.selected)
    case 0x14: UInt64(crtc.index)
    case 0x15: UInt64(crtc.selected)
    case 0x1A: readStatus()
    default: 0
    }
  }

  /// Input status 1: 400 lines of 70 frames a second, by virtual time.
  private func readStatus() -> UInt64 {
    attributeWantsData = false
    let inFrame = context.now % 14_268_000
    let isVertical = inFrame >= 12_711_000
    let isHorizontal = inFrame % 31_778 >= 25_422
    return (isVertical ? 0x08 : 0) | (isVertical || isHorizontal ? 0x01 : 0)
  }

  package func write(_ offset: UInt64, size: UInt8, value: UInt64) {
    let byte = UInt8(truncatingIfNeeded: value)
    switch offset {
    case 0x00:
      if attributeWantsData { attributes.selected = byte } else { attributes.index = byte & 31 }
      attributeWantsData.toggle()
    case 0x02: miscellaneous = byte
    case 0x04: sequencer.index = byte
    case 0x05: sequencer.selected = byte
    case 0x07: palette.startReading(at: byte)
    case 0x08: palette.startWriting(at: byte)
    case 0x09: palette.writeComponent(byte)
    case 0x0E: graphics.index = byte
    case 0x0F: graphics.selected = byte
    case 0x14: crtc.index = byte & 31
    case 0x15: crtc.selected = byte
    default: break
    }
  }

  package func registerName(_ offset: UInt64, write: Bool) -> String {
    switch offset {
    case 0x00, 0x01: "attribute controller"
    case 0x02: write ? "miscellaneous" : "input status 0"
    case 0x04, 0x05: "sequencer"
    case 0x06...0x09: "DAC"
    case 0x0C: "miscellaneous"
    case 0x0E, 0x0F: "graphics controller"
    case 0x14: "CRTC index"
    case 0x15: "CRTC data"
    case 0x1A: write ? "feature control" : "input status 1"
    default: ""
    }
  }

  /// 80x25 text, as a video BIOS leaves it.
  package func reset() {
    sequencer = IndexedRegisters(count: 8)
    graphics = IndexedRegisters(count: 16)
    attributes = IndexedRegisters(count: 32)
    crtc = IndexedRegisters(count: 32)
    program(.text)
    // Colour addresses (3D4h), RAM on.
    miscellaneous = 0x67
    setCursorShape(start: 0x0D, end: 0x0E)
    attributeWantsData = false
  }

  package func code(_ coder: inout StateCoder) {
    coder.code(&miscellaneous)
    sequencer.code(&coder)
    graphics.code(&coder)
    attributes.code(&coder)
    crtc.code(&coder)
    coder.code(&attributeWantsData)
    palette.code(&coder)
  }

  package var inspection: DeviceInspection {
    DeviceInspection(
      device: "VGA",
      rows: [
        ("mode", mode.description), ("cursor", cursor.map { "cell \($0)" } ?? "off"),
        ("start address", hex(UInt64(startAddress), digits: 4)),
      ])
  }
}

/// Registers behind one index and one data port. The count is a power of two; an index beyond it wraps.
private struct IndexedRegisters {
  var index: UInt8 = 0
  private var values: [UInt8]

  init(count: Int) { values = [UInt8](repeating: 0, count: count) }

  subscript(number: UInt8) -> UInt8 {
    get { values[Int(number) & (values.count - 1)] }
    set { values[Int(number) & (values.count - 1)] = newValue }
  }
  var selected: UInt8 {
    get { self[index] }
    set { self[index] = newValue }
  }

  mutating func code(_ coder: inout StateCoder) {
    coder.code(&index)
    coder.code(fixed: &values)
  }
}
