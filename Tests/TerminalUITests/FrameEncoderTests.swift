import Testing

import TerminalUI

struct FrameEncoderTests {
  private let encoder = FrameEncoder(depth: .sixteen)

  private func frames(_ draw: (Canvas) -> Void) -> String {
    let old = CellBuffer(Size(width: 20, height: 4))
    Canvas(old).text("the same every time", x: 0, y: 0)
    let new = CellBuffer(old.size)
    new.copy(from: old)
    draw(Canvas(new))
    return String(decoding: encoder.sent(from: old, to: new), as: UTF8.self)
  }

  @Test func `nothing changed sends nothing`() { #expect(frames { _ in } == "") }

  @Test func `one changed cell sends its place and itself`() {
    #expect(frames { $0.text("S", x: 4, y: 0) } == "\u{1B}[1;5H\u{1B}[mS")
  }

  @Test func `near changes in a row share a movement`() {
    let sent = frames {
      $0.text("X", x: 4, y: 0)
      $0.text("Y", x: 6, y: 0)
    }
    #expect(sent == "\u{1B}[1;5H\u{1B}[mXaY")
  }

  @Test func `a changed role is sent even where the text is the same`() {
    #expect(frames { $0.text("the", x: 0, y: 0, .changed) } == "\u{1B}[1H\u{1B}[;1mthe")
  }

  @Test func `changed cells cost at most one and a half of themselves in plain text`() {
    let old = CellBuffer(Size(width: 80, height: 24))
    let new = CellBuffer(old.size)
    for row in 0..<24 { Canvas(new).text(String(repeating: "x", count: 80), x: 0, y: row) }
    let sent = encoder.sent(from: old, to: new).count
    #expect(sent < 80 * 24 * 3 / 2)
  }

  @Test func `blanks to the end of a row are erased, within it where the terminal can`() {
    let old = CellBuffer(Size(width: 40, height: 3))
    for row in 0..<3 { Canvas(old).text(String(repeating: "x", count: 40), x: 0, y: row) }
    let new = CellBuffer(old.size)
    Canvas(new).text("ab", x: 0, y: 0)
    Canvas(new).text("xx" + String(repeating: " ", count: 20) + String(repeating: "x", count: 18), x: 0, y: 1)
    Canvas(new).text(String(repeating: "x", count: 40), x: 0, y: 2)
    let able = FrameEncoder(depth: .sixteen, abilities: [.erasesCharacters, .erasesInColor, .staysInRow])
    let sent = String(decoding: able.sent(from: old, to: new), as: UTF8.self)
    #expect(sent == "\u{1B}[1H\u{1B}[mab\u{1B}[K\n\u{1B}[20X")
    let plain = String(decoding: encoder.sent(from: old, to: new), as: UTF8.self)
    #expect(plain.contains(String(repeating: " ", count: 20)) && plain.contains("\u{1B}[K"))
  }

  @Test func `a role that looks the same and a blank in another colour are not sent`() {
    #expect(frames { $0.text("the", x: 0, y: 0, .value) } == "")
    let old = CellBuffer(Size(width: 20, height: 1))
    let new = CellBuffer(old.size)
    Canvas(new).text("    ", x: 0, y: 0, .changed)
    #expect(encoder.sent(from: old, to: new).isEmpty)
  }

  @Test func `a style is switched to once for all it draws, and kept for the next frame`() {
    let old = CellBuffer(Size(width: 30, height: 8))
    let new = CellBuffer(old.size)
    for row in 0..<8 {
      Canvas(new).text("word", x: 2, y: row)
      Canvas(new).text("changed", x: 10, y: row, .changed)
    }
    var memory = FrameEncoder.Memory()
    let sent = String(
      decoding: encoder.encode(from: old, to: new, theme: .plain, cursor: nil, memory: &memory), as: UTF8.self)
    #expect(sent.split(separator: "\u{1B}[").filter { $0.contains("m") && !$0.hasPrefix("m") }.count <= 4)
    #expect(memory.style?.attributes == .bold || memory.style?.attributes == [])
    let next = CellBuffer(old.size)
    next.copy(from: new)
    Canvas(next).text("x", x: 0, y: 0, memory.style?.attributes == .bold ? .changed : .text)
    #expect(encoder.encode(from: new, to: next, theme: .plain, cursor: nil, memory: &memory) == Array("\u{1B}[1Hx".utf8))
  }

  /// Ten rows of a list, of which the first so many are past the top.
  private func list(_ first: Int) -> CellBuffer {
    let buffer = CellBuffer(Size(width: 40, height: 14))
    for row in 0..<10 { Canvas(buffer).text("row \(first + row), and \((first + row) * 7919)", x: 0, y: row + 2) }
    Canvas(buffer).text("what stands below stays", x: 0, y: 12)
    return buffer
  }

  @Test func `a list that scrolled is moved, and only its new row sent`() {
    let able = FrameEncoder(depth: .sixteen, abilities: .movesRows)
    let up = String(decoding: able.sent(from: list(20), to: list(21)), as: UTF8.self)
    #expect(up == "\u{1B}[3H\u{1B}[M\u{1B}[9B\u{1B}[L\u{1B}[mrow 30, and 237570\u{1B}[K")
    let down = String(decoding: able.sent(from: list(21), to: list(20)), as: UTF8.self)
    #expect(down == "\u{1B}[12H\u{1B}[M\u{1B}[3H\u{1B}[L\u{1B}[mrow 20, and 158380\u{1B}[K")
    #expect(encoder.sent(from: list(20), to: list(21)).count > up.utf8.count)
  }

  @Test func `the rest of a line that got longer or shorter is moved`() {
    func line(_ word: String) -> CellBuffer {
      let buffer = CellBuffer(Size(width: 60, height: 1))
      Canvas(buffer).text("status \(word) and much that stays as it is", x: 0, y: 0)
      return buffer
    }
    let able = FrameEncoder(depth: .sixteen, abilities: .movesColumns)
    #expect(String(decoding: able.sent(from: line("on"), to: line("gone")), as: UTF8.self) == "\u{1B}[1;8H\u{1B}[2@\u{1B}[mgone")
    let shorter = able.sent(from: line("gone"), to: line("on"))
    #expect(String(decoding: shorter, as: UTF8.self).contains("\u{1B}[2P") && shorter.count < encoder.sent(from: line("gone"), to: line("on")).count)
  }

  @Test func `the terminal keeps the style most is drawn in`() {
    let able = FrameEncoder(depth: .sixteen, abilities: .keepsPen)
    let buffers = (0..<3).map { number in
      let buffer = CellBuffer(Size(width: 40, height: 4))
      Canvas(buffer).text("value \(number)", x: 0, y: 0)
      Canvas(buffer).text("changed \(number)", x: 0, y: 3, .changed)
      return buffer
    }
    var memory = FrameEncoder.Memory()
    let sent = [nil, 0, 1].enumerated().map { index, old in
      let bytes = able.encode(from: old.map { buffers[$0] }, to: buffers[index], theme: .plain, cursor: nil, memory: &memory)
      return String(decoding: bytes, as: UTF8.self)
    }
    #expect(sent[0].contains("\u{1B}7") && !sent[1].contains("\u{1B}7"))
    #expect(sent[1].contains("\u{1B}8") || sent[2].contains("\u{1B}8"))
  }

  @Test func `the terminal goes back to where text changes in every frame`() {
    let able = FrameEncoder(depth: .sixteen, abilities: [.keepsPen, .staysInRow])
    var memory = FrameEncoder.Memory()
    var old: CellBuffer?
    var sent: [String] = []
    for number in 0..<12 {
      let buffer = CellBuffer(Size(width: 60, height: 8))
      Canvas(buffer).text("a title", x: 0, y: 0)
      Canvas(buffer).text("count \(100 + number)", x: 40, y: 5)
      Canvas(buffer).text("changed \(number % 10)", x: 3, y: 7, .changed)
      let bytes = able.encode(from: old, to: buffer, theme: .plain, cursor: nil, memory: &memory)
      sent.append(String(decoding: bytes, as: UTF8.self))
      old = buffer
    }
    // ESC 8, back over the digit, and the digit.
    #expect(sent.last?.contains("\u{1B}8\u{8}1") == true, "\(sent.map(\.debugDescription))")
    #expect(sent.suffix(4).allSatisfy { !$0.contains("\u{1B}7") })
  }

  @Test("along a row by tab stops where that is shorter, to the one before or the one behind", arguments: [
    (24, "\t\t\t"), (23, "\t\t\t\u{8}"), (14, "\t\t\u{8}\u{8}"), (26, "\u{1B}[25C"), (39, "\u{1B}[38C"),
  ])
  func tabs(_ column: Int, _ way: String) {
    let old = CellBuffer(Size(width: 40, height: 2))
    let new = CellBuffer(old.size)
    Canvas(new).text("a", x: 0, y: 0)
    Canvas(new).text("b", x: column, y: 1)
    let able = FrameEncoder(depth: .sixteen, abilities: [.tabs, .staysInRow])
    #expect(String(decoding: able.sent(from: old, to: new), as: UTF8.self) == "\u{1B}[1H\u{1B}[ma\n\(way)b")
  }

  @Test func `a character many times over is sent once where the terminal can repeat it`() {
    let old = CellBuffer(Size(width: 40, height: 1))
    let new = CellBuffer(old.size)
    Canvas(new).text(String(repeating: "0", count: 16), x: 0, y: 0)
    let able = FrameEncoder(depth: .sixteen, abilities: .repeats)
    #expect(String(decoding: able.sent(from: old, to: new), as: UTF8.self) == "\u{1B}[1H\u{1B}[m0\u{1B}[15b")
  }
}

extension FrameEncoder {
  /// What is sent to a terminal of which nothing but the old screen is known.
  func sent(from old: CellBuffer?, to new: CellBuffer) -> [UInt8] {
    var memory = FrameEncoder.Memory()
    return encode(from: old, to: new, theme: .plain, cursor: nil, memory: &memory)
  }
}

