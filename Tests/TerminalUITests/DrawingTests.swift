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

struct ClipboardTests {
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
