import VMCore

/// The registers of a VGA in text mode (IBM VGA technical reference): the CRT controller's cursor and
/// start address and the status that shows retrace. The screen itself is plain RAM at B8000h. The
/// other registers are kept and read back so that mode setting code goes through.
/// Offsets are ports minus 3C0h.
package final class VGAText: Device {
  package let name = "vga"
  package static let screen = GPA(0xB8000)
  package static let columns = 80
  package static let rows = 25

  private let context: DeviceContext
  private var registers = [UInt8](repeating: 0, count: 32)
  private var crtcIndex: UInt8 = 0
  private var crtc = [UInt8](repeating: 0, count: 32)
  /// The attribute controller's port takes an index first, then data; reading 3DAh starts over.
  private var attributeWantsData = false

  package init(context: DeviceContext) {
    self.context = context
    reset()
  }

  /// First character cell of the screen, counted in cells from B8000h.
  package var startAddress: Int { Int(crtc[0x0C]) << 8 | Int(crtc[0x0D]) }
  /// The cursor's cell, counted from B8000h; nil while it is switched off.
  package var cursor: Int? {
    crtc[0x0A] & 0x20 != 0 ? nil : Int(crtc[0x0E]) << 8 | Int(crtc[0x0F])
  }

  /// Moves the cursor, as a video BIOS does: cell counted from B8000h, scan lines and switch as in CRTC
  /// registers 0Ah and 0Bh where given.
  package func setCursor(_ cell: Int, shape: (start: UInt8, end: UInt8)? = nil) {
    crtc[0x0E] = UInt8(truncatingIfNeeded: cell >> 8)
    crtc[0x0F] = UInt8(truncatingIfNeeded: cell)
    if let shape {
      crtc[0x0A] = shape.start
      crtc[0x0B] = shape.end
    }
  }

  package func read(_ offset: UInt64, size: UInt8) -> UInt64 {
    switch offset {
    case 0x14: UInt64(crtcIndex)
    case 0x15: UInt64(crtc[Int(crtcIndex)])
    case 0x1A: readStatus()
    // The feature and miscellaneous registers are read at other ports than written.
    case 0x0C: UInt64(registers[0x02])
    default: UInt64(registers[Int(offset & 31)])
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
    case 0x14: crtcIndex = byte & 31
    case 0x15: crtc[Int(crtcIndex)] = byte
    case 0x00: attributeWantsData.toggle()
    default: registers[Int(offset & 31)] = byte
    }
  }

  package func registerName(_ offset: UInt64, write: Bool) -> String {
    switch offset {
    case 0x00, 0x01: "attribute controller"
    case 0x02: write ? "miscellaneous" : "input status 0"
    case 0x04, 0x05: "sequencer"
    case 0x06...0x09: "DAC"
    case 0x0E, 0x0F: "graphics controller"
    case 0x14: "CRTC index"
    case 0x15: "CRTC data"
    case 0x1A: write ? "feature control" : "input status 1"
    default: ""
    }
  }

  package func reset() {
    registers = [UInt8](repeating: 0, count: 32)
    // Colour addresses (3D4h), RAM on.
    registers[0x02] = 0x67
    crtc = [UInt8](repeating: 0, count: 32)
    crtc[0x0A] = 0x0D
    crtc[0x0B] = 0x0E
    crtcIndex = 0
    attributeWantsData = false
  }

  package func code(_ coder: inout StateCoder) {
    coder.code(fixed: &registers)
    coder.code(&crtcIndex)
    crtcIndex &= 31
    coder.code(fixed: &crtc)
    coder.code(&attributeWantsData)
  }

  package var inspection: DeviceInspection {
    DeviceInspection(
      device: "VGA text",
      rows: [
        ("cursor", cursor.map { "cell \($0)" } ?? "off"), ("start address", hex(UInt64(startAddress), digits: 4)),
      ])
  }
}
