import TerminalUI
import Testing

struct DrawingTests {
  @Test func `what falls outside is cut, on every side`() {
    let buffer = CellBuffer(Size(width: 10, height: 3))
    let canvas = Canvas(buffer, Region(x: 2, y: 1, width: 4, height: 1))
    canvas.text("abcdefgh", x: -2, y: 0)
    canvas.text("no", x: 0, y: 1)
    canvas.text("no", x: 0, y: -1)
    #expect((0..<3).map { buffer.text(row: $0) } == ["", "  cdef", ""])
  }

  @Test func `a wide character takes two columns and never half a one`() {
    let buffer = CellBuffer(Size(width: 5, height: 1))
    let canvas = Canvas(buffer)
    canvas.text("a漢字", x: 0, y: 0)
    #expect(buffer.text(row: 0) == "a漢字")
    #expect(buffer[1, 0].width == 2)
    #expect(buffer[2, 0].width == 0)
    canvas.text("x", x: 2, y: 0)
    #expect(buffer.text(row: 0) == "a x字")
    buffer.put(Cell(0x6F22, width: 2), x: 4, y: 0)
    #expect(buffer[4, 0].width == 1)
  }

  @Test func `a combining mark joins the character before it`() {
    let buffer = CellBuffer(Size(width: 5, height: 1))
    #expect(Canvas(buffer).text("e\u{301}x", x: 0, y: 0) == 2)
    #expect(buffer.text(row: 0) == "e\u{301}x")
  }

  @Test func `control characters never reach the terminal`() {
    let buffer = CellBuffer(Size(width: 12, height: 1))
    Canvas(buffer).text("a\u{1B}[31m\u{7}\u{9B}\u{202E}b", x: 0, y: 0)
    #expect(buffer.text(row: 0) == "a.[31m..b")
  }

  @Test func `cut text says that it is cut`() {
    let buffer = CellBuffer(Size(width: 6, height: 1))
    Canvas(buffer).fitted("abcdefgh", x: 0, y: 0)
    #expect(buffer.text(row: 0) == "abcde~")
  }

  @Test(arguments: [(0.0, 0), (0.001, 1), (0.5, 5), (1.0, 10), (7.0, 10)])
  func `a bar is as long as its share`(_ share: Double, _ length: Int) {
    let buffer = CellBuffer(Size(width: 10, height: 1))
    Canvas(buffer).bar(share, x: 0, y: 0, columns: 10)
    #expect(buffer.text(row: 0).count == length)
  }

  @Test func `an empty buffer takes everything and shows nothing`() {
    let buffer = CellBuffer(Size(width: 0, height: 0))
    let canvas = Canvas(buffer)
    canvas.text("x", x: 0, y: 0)
    canvas.fill()
    canvas.horizontalLine(y: 0)
    canvas.bar(1, x: 0, y: 0, columns: 3)
    canvas.lay(.selection, row: 0)
    #expect(buffer.cells.isEmpty)
  }
}

struct FrameEncoderTests {
  private let encoder = FrameEncoder(depth: .sixteen)

  private func frames(_ draw: (Canvas) -> Void) -> String {
    let old = CellBuffer(Size(width: 20, height: 4))
    Canvas(old).text("the same every time", x: 0, y: 0)
    let new = CellBuffer(old.size)
    new.copy(from: old)
    draw(Canvas(new))
    return String(decoding: encoder.encode(from: old, to: new, theme: .plain, cursor: nil), as: UTF8.self)
  }

  @Test func `nothing changed sends nothing`() { #expect(frames { _ in } == "") }

  @Test func `one changed cell sends its place and itself`() {
    #expect(frames { $0.text("S", x: 4, y: 0) } == "\u{1B}[1;5H\u{1B}[mS\u{1B}[m")
  }

  @Test func `near changes in a row share a movement`() {
    let sent = frames {
      $0.text("X", x: 4, y: 0)
      $0.text("Y", x: 6, y: 0)
    }
    #expect(sent == "\u{1B}[1;5H\u{1B}[mXaY\u{1B}[m")
  }

  @Test func `a changed role is sent even where the text is the same`() {
    #expect(frames { $0.text("the", x: 0, y: 0, .changed) } == "\u{1B}[1H\u{1B}[;1mthe\u{1B}[m")
  }

  @Test func `changed cells cost at most one and a half of themselves in plain text`() {
    let old = CellBuffer(Size(width: 80, height: 24))
    let new = CellBuffer(old.size)
    for row in 0..<24 { Canvas(new).text(String(repeating: "x", count: 80), x: 0, y: row) }
    let sent = encoder.encode(from: old, to: new, theme: .plain, cursor: nil).count
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
    let sent = String(decoding: able.encode(from: old, to: new, theme: .plain, cursor: nil), as: UTF8.self)
    #expect(sent == "\u{1B}[1H\u{1B}[mab\u{1B}[K\n\u{1B}[20X\u{1B}[m")
    let plain = String(decoding: encoder.encode(from: old, to: new, theme: .plain, cursor: nil), as: UTF8.self)
    #expect(plain.contains(String(repeating: " ", count: 20)) && plain.contains("\u{1B}[K"))
  }

  @Test func `a role that looks the same and a blank in another colour are not sent`() {
    #expect(frames { $0.text("the", x: 0, y: 0, .value) } == "")
    let old = CellBuffer(Size(width: 20, height: 1))
    let new = CellBuffer(old.size)
    Canvas(new).text("    ", x: 0, y: 0, .changed)
    #expect(encoder.encode(from: old, to: new, theme: .plain, cursor: nil).isEmpty)
  }

  @Test func `GNU screen gets the clipboard in wrapped pieces, others as it is`() {
    let text = String(repeating: "copied ", count: 100)
    let plain = Clipboard.sequence(text)
    let wrapped = Clipboard.sequence(text, throughScreen: true)
    let pieces = String(decoding: wrapped, as: UTF8.self).split(separator: "\u{1B}\\")
    #expect(pieces.count > 1 && pieces.allSatisfy { $0.hasPrefix("\u{1B}P") && $0.utf8.count < 256 })
    #expect(pieces.map { $0.dropFirst(2) }.joined() == String(decoding: plain, as: UTF8.self))
    #expect(Clipboard.goesThroughScreen(["TERM": "screen-256color"]) && Clipboard.goesThroughScreen(["TERM": "xterm", "STY": "1.a"]))
    #expect(!Clipboard.goesThroughScreen(["TERM": "screen-256color", "TMUX": "/tmp/x"]) && !Clipboard.goesThroughScreen(["TERM": "xterm"]))
  }
}
