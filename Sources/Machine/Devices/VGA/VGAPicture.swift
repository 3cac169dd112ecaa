import VMCore

/// What a VGA shows, as cells a terminal can show: text as it is, graphics in blocks of pixels, two in a cell.
package struct VGAPicture {
  package var columns: Int
  package var rows: Int
  /// Character of code page 437 and attribute, row by row.
  package var cells: [UInt16]
  /// Cell of the cursor, counted from the start of video memory.
  package var cursor: Int?
}

extension VGA {
  /// Graphics are shown in this many cells, whatever their resolution.
  private static let columns = 80
  private static let rows = 25
  static let textMemory = GPA(0xB8000)
  static let byteMemory = GPA(0xA0000)
  /// Half a cell in the foreground's colour: its upper and its lower half, and the whole.
  private enum Block {
    static let upper: UInt16 = 0xDF
    static let lower: UInt16 = 0xDC
    static let full: UInt16 = 0xDB
  }

  package func picture(of memory: GuestMemory) -> VGAPicture {
    if case .text(let columns, let rows) = mode { return text(memory, columns, rows) }
    guard let layout = PixelLayout(mode) else { return sentence(mode.description) }
    let isByte = layout.bits == 8
    let pixels = PixelMemory(memory, layout, start: startAddress * (isByte ? 4 : 2))
    return blocks(pixels, isByte ? nearest : (0...UInt8.max).map { color(ofPixel: $0) })
  }

  private func text(_ memory: GuestMemory, _ columns: Int, _ rows: Int) -> VGAPicture {
    let bytes = memory.videoBytes(Self.textMemory, count: 0x8000)
    let cells = (0..<columns * rows).map { index in
      let at = (startAddress + index) * 2 & 0x7FFE
      return UInt16(bytes[at]) | UInt16(bytes[at + 1]) << 8
    }
    return VGAPicture(columns: columns, rows: rows, cells: cells, cursor: cursor)
  }

  private func sentence(_ text: String) -> VGAPicture {
    var cells = [UInt16](repeating: 0x0720, count: Self.columns * Self.rows)
    let first = (Self.rows / 2 * Self.columns) + max(Self.columns - text.utf8.count, 0) / 2
    for (index, byte) in text.utf8.prefix(Self.columns).enumerated() { cells[first + index] = 0x0700 | UInt16(byte) }
    return VGAPicture(columns: Self.columns, rows: Self.rows, cells: cells, cursor: nil)
  }

  // MARK: Graphics

  private func blocks(_ pixels: PixelMemory, _ colors: [UInt8]) -> VGAPicture {
    let across = pixels.layout.width / Self.columns
    let down = pixels.layout.height / (2 * Self.rows)
    func color(_ column: Int, _ half: Int) -> UInt8 {
      var counts = [Int](repeating: 0, count: 16)
      for y in half * down..<(half + 1) * down {
        for x in column * across..<(column + 1) * across { counts[Int(colors[Int(pixels[x, y])])] += 1 }
      }
      return Self.prevailing(counts)
    }
    let cells = (0..<Self.rows * Self.columns).map { index in
      let (row, column) = (index / Self.columns, index % Self.columns)
      return Self.cell(upper: color(column, row * 2), lower: color(column, row * 2 + 1))
    }
    return VGAPicture(columns: Self.columns, rows: Self.rows, cells: cells, cursor: nil)
  }

  /// The commonest colour but black, if it fills a quarter: thin figures on black stay visible.
  private static func prevailing(_ counts: [Int]) -> UInt8 {
    var best = 1
    for color in 2..<counts.count where counts[color] > counts[best] { best = color }
    return counts[best] * 4 >= counts.reduce(0, +) ? UInt8(best) : 0
  }

  /// Backgrounds have eight colours: the brighter half is the foreground.
  private static func cell(upper: UInt8, lower: UInt8) -> UInt16 {
    guard upper != lower else { return upper == 0 ? 0x0720 : UInt16(upper) << 8 | Block.full }
    let isUpper = upper & 8 != 0 || lower & 8 == 0
    let (front, back) = isUpper ? (upper, lower) : (lower, upper)
    return UInt16(front | (back & 7) << 4) << 8 | (isUpper ? Block.upper : Block.lower)
  }

  /// For each colour of the palette the nearest of CGA's.
  private var nearest: [UInt8] {
    (0...UInt8.max).map { index in
      let color = palette[index]
      func distance(_ other: VGAPalette.Color) -> Int {
        let red = Int(color.red) - Int(other.red)
        let green = Int(color.green) - Int(other.green)
        let blue = Int(color.blue) - Int(other.blue)
        return red * red + green * green + blue * blue
      }
      let ranked = VGAPalette.cga.enumerated().min { distance($0.element) < distance($1.element) }
      return UInt8(ranked?.offset ?? 0)
    }
  }
}

/// The pixels of a mode that is no text and no planes, as they are in memory now.
private struct PixelMemory {
  let layout: PixelLayout
  private let bytes: [UInt8]
  private let start: Int

  init(_ memory: GuestMemory, _ layout: PixelLayout, start: Int) {
    self.layout = layout
    bytes = memory.videoBytes(layout.base, count: layout.size)
    self.start = start
  }

  subscript(x: Int, y: Int) -> UInt8 {
    let place = layout.place(x: x, y: y)
    let byte = bytes[(start + place.offset) & (layout.size - 1)]
    return byte >> place.shift & layout.mask
  }
}

/// Where the pixels of a mode are.
struct PixelLayout {
  let width: Int
  let height: Int
  let bits: Int
  let isInterleaved: Bool

  /// Nil for text and planes.
  init?(_ mode: VGAMode) {
    switch mode {
    case .bytes(let width, let height): (self.width, self.height, bits, isInterleaved) = (width, height, 8, false)
    case .interleaved(let width, let height, let bits):
      (self.width, self.height, self.bits, isInterleaved) = (width, height, bits, true)
    case .text, .planes: return nil
    }
  }

  var base: GPA { isInterleaved ? VGA.textMemory : VGA.byteMemory }
  /// Bytes, a power of two.
  var size: Int { isInterleaved ? 0x4000 : 0x10000 }
  var mask: UInt8 { UInt8(truncatingIfNeeded: (1 << bits) - 1) }

  /// The byte of a pixel counted from `base`, and how far its lowest bit is from that of the byte.
  func place(x: Int, y: Int) -> (offset: Int, shift: Int) {
    let perByte = 8 / bits
    let line = isInterleaved ? (y & 1) * 0x2000 + (y >> 1) * (width / perByte) : y * width
    return (line + x / perByte, (perByte - 1 - x % perByte) * bits)
  }
}

extension GuestMemory {
  /// Video memory is RAM in every PC; zeros where it is not.
  fileprivate func videoBytes(_ address: GPA, count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    _ = bytes.withUnsafeMutableBytes { read(address, into: $0) }
    return bytes
  }
}
