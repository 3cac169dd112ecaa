/// The registers that decide what is shown, by the names of the VGA technical reference: sequencer 4, CRTC 1, 7, 9
/// and 12h, graphics controller 5 and 6.
struct VGARegisters {
  var memoryMode: UInt8
  var horizontalEnd: UInt8
  var overflow: UInt8
  var maximumScanLine: UInt8
  var verticalEnd: UInt8
  var graphicsMode: UInt8
  var graphicsMiscellaneous: UInt8
}

/// What a VGA shows.
package enum VGAMode: Equatable, Sendable, CustomStringConvertible {
  /// Cells of character and attribute from B8000h.
  case text(columns: Int, rows: Int)
  /// A byte a pixel from A0000h: mode 13h.
  case bytes(width: Int, height: Int)
  /// 2 or 1 bits a pixel from B8000h, odd lines 8 KiB behind even ones: modes 4 and 6.
  case interleaved(width: Int, height: Int, bits: Int)
  /// Four planes behind A0000h, which are not modelled.
  case planes(width: Int, height: Int)

  init(_ registers: VGARegisters) {
    let lines = Int(registers.verticalEnd) | Int(registers.overflow & 0x02) << 7 | Int(registers.overflow & 0x40) << 3
    let lineHeight = Int(registers.maximumScanLine & 0x1F) + 1
    let columns = Int(registers.horizontalEnd) + 1
    let height = (lines + 1) / (registers.maximumScanLine & 0x80 != 0 ? 2 : 1)
    guard registers.graphicsMiscellaneous & 1 != 0 else {
      self = .text(columns: min(columns, 132), rows: min(max((lines + 1) / lineHeight, 1), 60))
      return
    }
    let isByte = registers.graphicsMode & 0x40 != 0
    let atColorText = registers.graphicsMiscellaneous & 0x0C == 0x0C
    if isByte && registers.memoryMode & 0x08 != 0 {
      self = .bytes(width: 320, height: 200)
    } else if atColorText && !isByte {
      let isFourColor = registers.graphicsMode & 0x20 != 0
      self = .interleaved(width: isFourColor ? 320 : 640, height: 200, bits: isFourColor ? 2 : 1)
    } else {
      self = .planes(width: columns * (isByte ? 4 : 8), height: max(height / (isByte ? lineHeight : 1), 1))
    }
  }

  package var description: String {
    switch self {
    case .text(let columns, let rows): "text, \(columns)x\(rows)"
    case .bytes(let width, let height): "graphics, \(width)x\(height) in 256 colours"
    case .interleaved(let width, let height, let bits): "graphics, \(width)x\(height) in \(1 << bits) colours"
    case .planes(let width, let height): "graphics, \(width)x\(height) by planes, which are not shown"
    }
  }
}

/// A mode of INT 10h: registers, and what the values of pixels or attributes stand for.
struct BIOSMode {
  var registers: VGARegisters
  var attributes: [UInt8] = [0, 1, 2, 3, 4, 5, 0x14, 7, 0x38, 0x39, 0x3A, 0x3B, 0x3C, 0x3D, 0x3E, 0x3F]
  /// Of the BIOS data area: characters in a row, bytes of a page.
  var columns = 80
  var pageSize: UInt16

  static let text = BIOSMode(
    registers: VGARegisters(
      memoryMode: 0x02, horizontalEnd: 0x4F, overflow: 0x1F, maximumScanLine: 0x4F, verticalEnd: 0x8F,
      graphicsMode: 0x10, graphicsMiscellaneous: 0x0E), pageSize: 0x1000)

  /// The mode of a number; nil where a VGA has none.
  static func numbered(_ number: UInt8) -> BIOSMode? {
    var mode = text
    switch number {
    case 0x00, 0x01:
      mode.registers.horizontalEnd = 0x27
      mode.columns = 40
      mode.pageSize = 0x800
    case 0x02, 0x03, 0x07: break
    case 0x04, 0x05: mode.become(0x02, 0x27, 0xC1, 0x30, 0x0F, [0, 0x13, 0x15, 0x17], 0x4000)
    case 0x06: mode.become(0x06, 0x4F, 0xC1, 0x00, 0x0D, [0, 0x17], 0x4000)
    case 0x0D: mode.become(0x06, 0x27, 0xC0, 0x00, 0x05, [], 0x2000)
    case 0x0E: mode.become(0x06, 0x4F, 0xC0, 0x00, 0x05, [], 0x4000)
    case 0x0F, 0x10:
      mode.become(0x06, 0x4F, 0x40, 0x00, 0x05, [], 0x8000)
      mode.registers.verticalEnd = 0x5D
    case 0x11, 0x12:
      mode.become(0x06, 0x4F, 0x40, 0x00, 0x05, [], 0xA000)
      mode.registers.overflow = 0x3E
      mode.registers.verticalEnd = 0xDF
    case 0x13:
      mode.become(0x0E, 0x4F, 0x41, 0x40, 0x05, [UInt8](0..<16), 0x2000)
      mode.columns = 40
    default: return nil
    }
    return mode
  }

  private mutating func become(
    _ memoryMode: UInt8, _ horizontalEnd: UInt8, _ maximumScanLine: UInt8, _ graphicsMode: UInt8,
    _ miscellaneous: UInt8, _ attributes: [UInt8], _ pageSize: UInt16
  ) {
    registers.memoryMode = memoryMode
    registers.horizontalEnd = horizontalEnd
    registers.maximumScanLine = maximumScanLine
    registers.graphicsMode = graphicsMode
    registers.graphicsMiscellaneous = miscellaneous
    if !attributes.isEmpty { self.attributes = attributes }
    columns = horizontalEnd == 0x27 ? 40 : 80
    self.pageSize = pageSize
  }
}
