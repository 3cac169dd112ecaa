/// What a terminal shows after the bytes a program sent it: as much of ECMA-48 as full-screen programs use to place
/// text. Colours are not kept.
package struct ScreenReader: Sendable {
  package let width: Int
  package let height: Int
  private var cells: [Unicode.Scalar]
  private var x = 0
  private var y = 0
  private var pending: [UInt8] = []
  /// What came wrapped for the terminal behind GNU screen.
  private var passed: [UInt8] = []
  /// The program took the alternate screen and did not give it back.
  package private(set) var isAlternate = false
  /// Text the program put into the clipboard (OSC 52, base64), the newest last.
  package private(set) var clipboard: [String] = []

  package init(width: Int, height: Int) {
    self.width = max(width, 1)
    self.height = max(height, 1)
    cells = Array(repeating: " ", count: self.width * self.height)
  }

  /// The rows, trailing blanks cut.
  package var rows: [String] {
    (0..<height).map { row in
      var view = String.UnicodeScalarView()
      view.append(contentsOf: cells[row * width..<(row + 1) * width])
      var text = String(view)
      while text.last == " " { text.removeLast() }
      return text
    }
  }

  package var text: String { rows.joined(separator: "\n") }

  package mutating func feed(_ bytes: some Sequence<UInt8>) {
    for byte in bytes {
      pending.append(byte)
      if let done = step() { pending.removeFirst(done) }
      if pending.count > 100_000 { pending = [] }
    }
  }

  /// Takes one whole item from the front of `pending`; its length, nil if it is not whole yet.
  private mutating func step() -> Int? {
    guard let first = pending.first else { return nil }
    switch first {
    case 0x1B: return escape()
    case 0x0D: x = 0
    case 0x0A: y = min(y + 1, height - 1)
    case 0x08: x = max(x - 1, 0)
    case 0..<0x20, 0x7F: break
    case 0x20..<0x7F: put(Unicode.Scalar(first))
    default: return utf8(first)
    }
    return 1
  }

  private mutating func utf8(_ lead: UInt8) -> Int? {
    let length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1
    guard pending.count >= length else { return nil }
    if let scalar = String(decoding: pending.prefix(length), as: UTF8.self).unicodeScalars.first { put(scalar) }
    return length
  }

  private mutating func put(_ scalar: Unicode.Scalar) {
    if x < width, y < height { cells[y * width + x] = scalar }
    x = min(x + 1, width)
  }

  private mutating func escape() -> Int? {
    guard pending.count > 1 else { return nil }
    switch pending[1] {
    case UInt8(ascii: "["):
      guard pending.count > 2, let last = pending.last, (0x40..<0x7F).contains(last) else { return nil }
      control(pending[2..<pending.count - 1], last)
      return pending.count
    case UInt8(ascii: "P"):
      // GNU screen hands on what stands between: here the terminal behind it is this one.
      guard pending.count > 3, pending.suffix(2) == [0x1B, 0x5C] else { return nil }
      let inner = pending[2..<pending.count - 2]
      passed += inner
      if passed.starts(with: Array("\u{1B}]52;c;".utf8)), let end = passed.firstIndex(of: 0x07) {
        clipboard.append(String(decoding: passed[7..<end], as: UTF8.self))
        passed = []
      }
      return pending.count
    case UInt8(ascii: "]"):
      guard pending.last == 0x07 || pending.suffix(2) == [0x1B, 0x5C] else { return nil }
      let text = String(decoding: pending.dropFirst(2), as: UTF8.self)
      if text.hasPrefix("52;c;") { clipboard.append(String(text.dropFirst(5).prefix { $0 != "\u{7}" && $0 != "\u{1B}" })) }
      return pending.count
    case UInt8(ascii: "("), UInt8(ascii: ")"): return pending.count > 2 ? 3 : nil
    default: return 2
    }
  }

  private mutating func control(_ parameters: ArraySlice<UInt8>, _ letter: UInt8) {
    let text = String(decoding: parameters, as: UTF8.self)
    let numbers = text.split(separator: ";", omittingEmptySubsequences: false).map { Int($0) ?? 0 }
    let first = numbers.first ?? 0
    switch letter {
    case UInt8(ascii: "H"):
      y = min(max(first, 1), height) - 1
      x = min(max(numbers.count > 1 ? numbers[1] : 1, 1), width) - 1
    case UInt8(ascii: "C"): x = min(x + max(first, 1), width - 1)
    case UInt8(ascii: "X"): clear(from: y * width + x, to: min(y * width + x + max(first, 1), (y + 1) * width))
    case UInt8(ascii: "J"): clear(from: first == 2 ? 0 : y * width + x, to: cells.count)
    case UInt8(ascii: "K"): clear(from: y * width + x, to: (y + 1) * width)
    case UInt8(ascii: "h") where text == "?1049": isAlternate = true
    case UInt8(ascii: "l") where text == "?1049": isAlternate = false
    default: break
    }
  }

  private mutating func clear(from: Int, to: Int) { for index in min(from, cells.count)..<min(max(from, to), cells.count) { cells[index] = " " } }
}
