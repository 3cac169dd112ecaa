/// A position on the screen.
package struct Position: Hashable, Sendable {
  package var x: Int
  package var y: Int
  package init(x: Int, y: Int) {
    self.x = x
    self.y = y
  }
}

/// What a screen is shown on and keys come from. Belongs to one thread.
package protocol Terminal: AnyObject {
  var size: Size { get }
  var glyphs: Glyphs { get }
  var depth: ColorDepth { get }
  /// Shows the buffer; only what differs from the last one is sent. Gives the number of bytes sent.
  @discardableResult
  func present(_ buffer: CellBuffer, theme: Theme, cursor: Position?) -> Int
  /// Forgets what the screen shows: the next `present` sends everything.
  func invalidate()
  /// Input that came within `milliseconds` (-1 waits without end), or nothing as soon as `wake`, a
  /// descriptor, can be read.
  func events(wake: Int32?, milliseconds: Int32) -> [InputEvent]
  /// Puts a text into the terminal's clipboard (OSC 52), where it has one.
  func copy(_ text: String)
  /// Gives the terminal back, stops the program as ^Z does, and takes the terminal again afterwards.
  func suspend()
  /// Gives the terminal back for good.
  func close()
}
