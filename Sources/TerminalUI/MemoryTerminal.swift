/// A terminal that is only cells: what tests draw on and read back.
package final class MemoryTerminal: Terminal {
  package var size: Size
  package let glyphs: Glyphs
  package let depth: ColorDepth
  /// Handed out one batch a call by `events`.
  package var input: [[InputEvent]]
  package private(set) var shown: CellBuffer
  package private(set) var cursor: Position?
  package private(set) var frames = 0
  package private(set) var suspensions = 0
  package private(set) var closed = false
  package private(set) var copied: [String] = []
  private var known = false
  private var memory = FrameEncoder.Memory()

  package init(
    size: Size, glyphs: Glyphs = .ascii, depth: ColorDepth = .trueColor, input: [[InputEvent]] = []
  ) {
    self.size = size
    self.glyphs = glyphs
    self.depth = depth
    self.input = input
    shown = CellBuffer(size)
  }

  package func present(_ buffer: CellBuffer, theme: Theme, cursor: Position?) -> Int {
    let sent = FrameEncoder(depth: depth).encode(
      from: known && shown.size == buffer.size ? shown : nil, to: buffer, theme: theme, cursor: cursor, memory: &memory)
    shown.copy(from: buffer)
    known = true
    self.cursor = cursor
    frames += 1
    return sent.count
  }

  package func invalidate() { known = false }

  package func events(wake: Int32?, milliseconds: Int32) -> [InputEvent] {
    guard !input.isEmpty else { return [.hangup] }
    return input.removeFirst()
  }

  package func copy(_ text: String) { copied.append(text) }
  package func suspend() { suspensions += 1 }
  package func close() { closed = true }

  /// The screen as lines of text, trailing blanks cut.
  package var text: String {
    (0..<shown.size.height).map { shown.text(row: $0) + "\n" }.joined()
  }
}
