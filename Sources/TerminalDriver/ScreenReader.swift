/// What a terminal shows after the bytes a program sent it: as much of ECMA-48 as full-screen programs use to place
/// text, with the styles it is in.
package struct ScreenReader: Sendable {
  /// How a cell looks: the codes of SGR that made it so.
  package struct Look: Hashable, Sendable {
    /// `31`, `38;5;110`; empty for the terminal's own.
    package var foreground = ""
    package var background = ""
    /// The codes 1 to 7 that are on, in order.
    package var attributes: [Int] = []
  }

  package struct Cell: Equatable, Sendable {
    /// NUL in the right half of a wide character.
    package var scalar: Unicode.Scalar = " "
    package var look = Look()
  }

  /// What not every terminal knows; a sequence outside of it is left out.
  package struct Abilities: OptionSet, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    package static let erasesInColor = Self(rawValue: 1)
    package static let erasesCharacters = Self(rawValue: 2)
    package static let repeats = Self(rawValue: 4)
    package static let moves = Self(rawValue: 8)
    package static let all: Self = [.erasesInColor, .erasesCharacters, .repeats, .moves]
  }

  package let width: Int
  package let height: Int
  private let knows: Abilities
  /// Sequences from behind the last column on that terminals understand in different ways.
  package private(set) var doubts = 0
  package private(set) var cells: [Cell]
  private var look = Look()
  /// What REP repeats: the character just written, nil after anything else. As tmux does, only ASCII.
  private var last: Unicode.Scalar?
  /// Columns a character takes, 1 or 2.
  private let columns: @Sendable (Unicode.Scalar) -> Int
  private var x = 0
  private var y = 0
  /// What DECSC kept.
  private var kept: (x: Int, y: Int, look: Look) = (0, 0, Look())
  private var pending: [UInt8] = []
  /// What came wrapped for the terminal behind GNU screen.
  private var passed: [UInt8] = []
  /// The program took the alternate screen and did not give it back.
  package private(set) var isAlternate = false
  /// Text the program put into the clipboard (OSC 52, base64), the newest last.
  package private(set) var clipboard: [String] = []

  package init(
    width: Int, height: Int, knows: Abilities = .all, columns: @escaping @Sendable (Unicode.Scalar) -> Int = { _ in 1 }
  ) {
    self.knows = knows
    self.width = max(width, 1)
    self.height = max(height, 1)
    self.columns = columns
    cells = Array(repeating: Cell(), count: self.width * self.height)
  }

  /// The rows, trailing blanks cut.
  package var rows: [String] { (0..<height).map { row($0) } }

  /// The same of one row.
  package func row(_ y: Int) -> String {
    var bytes: [UInt8] = []
    var length = 0
    for cell in cells[y * width..<(y + 1) * width] where cell.scalar != "\0" {
      bytes += UTF8.encode(cell.scalar) ?? UTF8.encodedReplacementCharacter
      if cell.scalar != " " { length = bytes.count }
    }
    return String(decoding: bytes[..<length], as: UTF8.self)
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
    case 0x1B:
      let done = escape()
      if done != nil { last = nil }
      return done
    case 0x0D: x = 0
    case 0x0A: y = min(y + 1, height - 1)
    case 0x08:
      if x == width { doubts += 1 }
      x = max(x - 1, 0)
    case 0x09:
      if x == width { doubts += 1 }
      x = max(min(x / 8 * 8 + 8, width - 1), x)
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
    last = scalar.isASCII ? scalar : nil
    let taken = columns(scalar)
    for column in x..<min(x + taken, width) { split(column) }
    if x < width { cells[y * width + x] = Cell(scalar: scalar, look: look) }
    if taken == 2, x + 1 < width { cells[y * width + x + 1] = Cell(scalar: "\0", look: look) }
    x = min(x + taken, width)
  }

  /// A wide character that loses a half is gone.
  private mutating func split(_ column: Int) {
    let index = y * width + column
    if cells[index].scalar == "\0", column > 0 { cells[index - 1].scalar = " " }
    if column + 1 < width, cells[index + 1].scalar == "\0" { cells[index + 1].scalar = " " }
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
    case UInt8(ascii: "M"):
      y = max(y - 1, 0)
      return 2
    case UInt8(ascii: "7"):
      kept = (x, y, look)
      return 2
    case UInt8(ascii: "8"):
      (x, y, look) = kept
      return 2
    default: return 2
    }
  }

  private mutating func control(_ parameters: ArraySlice<UInt8>, _ letter: UInt8) {
    let text = String(decoding: parameters, as: UTF8.self)
    let numbers = text.split(separator: ";", omittingEmptySubsequences: false).map { Int($0) ?? 0 }
    let first = numbers.first ?? 0
    if x == width, "CDXKb@P".utf8.contains(letter) || x > 0 && "LM".utf8.contains(letter) { doubts += 1 }
    switch letter {
    case UInt8(ascii: "H"):
      y = min(max(first, 1), height) - 1
      x = min(max(numbers.count > 1 ? numbers[1] : 1, 1), width) - 1
    case UInt8(ascii: "A"): y = max(y - max(first, 1), 0)
    case UInt8(ascii: "B"): y = min(y + max(first, 1), height - 1)
    case UInt8(ascii: "E"): (x, y) = (0, min(y + max(first, 1), height - 1))
    case UInt8(ascii: "F"): (x, y) = (0, max(y - max(first, 1), 0))
    case UInt8(ascii: "C"): x = min(x + max(first, 1), width - 1)
    case UInt8(ascii: "D"): x = max(min(x, width - 1) - max(first, 1), 0)
    case UInt8(ascii: "b") where knows.contains(.repeats):
      if let last { for _ in 0..<max(first, 1) { put(last) } }
    case UInt8(ascii: "m"): dress(numbers)
    case UInt8(ascii: "X") where knows.contains(.erasesCharacters): clear(from: y * width + x, to: min(y * width + x + max(first, 1), (y + 1) * width))
    case UInt8(ascii: "J"): clear(from: first == 2 ? 0 : y * width + x, to: cells.count)
    case UInt8(ascii: "K"): clear(from: y * width + x, to: (y + 1) * width)
    case UInt8(ascii: "L") where knows.contains(.moves): insert(width * max(first, 1), at: y * width, end: cells.count)
    case UInt8(ascii: "M") where knows.contains(.moves): delete(width * max(first, 1), at: y * width, end: cells.count)
    case UInt8(ascii: "@") where knows.contains(.moves): insert(max(first, 1), at: y * width + x, end: (y + 1) * width)
    case UInt8(ascii: "P") where knows.contains(.moves): delete(max(first, 1), at: y * width + x, end: (y + 1) * width)
    case UInt8(ascii: "h") where text == "?1049": isAlternate = true
    case UInt8(ascii: "l") where text == "?1049": isAlternate = false
    default: break
    }
  }

  private mutating func insert(_ count: Int, at place: Int, end: Int) {
    let count = min(count, end - place)
    cells.replaceSubrange(place..<end, with: Array(cells[place..<place + count]) + cells[place..<end - count])
    clear(from: place, to: place + count)
  }

  private mutating func delete(_ count: Int, at place: Int, end: Int) {
    let count = min(count, end - place)
    cells.replaceSubrange(place..<end, with: cells[place + count..<end] + Array(cells[end - count..<end]))
    clear(from: end - count, to: end)
  }

  /// Erases: what is left has the background that is set.
  private mutating func clear(from: Int, to: Int) {
    let blank = Cell(look: Look(background: knows.contains(.erasesInColor) ? look.background : ""))
    for index in min(from, cells.count)..<min(max(from, to), cells.count) { cells[index] = blank }
  }

  /// SGR.
  private mutating func dress(_ codes: [Int]) {
    var index = 0
    while index < codes.count {
      let code = codes[index]
      var text = String(code)
      if code == 38 || code == 48, index + 1 < codes.count {
        let length = codes[index + 1] == 5 ? 3 : 5
        text = codes[index..<min(index + length, codes.count)].map(String.init).joined(separator: ";")
        index += length - 1
      }
      index += 1
      switch code {
      case 0: look = Look()
      case 1...7: look.attributes = (look.attributes.filter { $0 != code } + [code]).sorted()
      case 22: look.attributes.removeAll { $0 < 3 }
      case 23...27: look.attributes.removeAll { $0 == code - 20 }
      case 30...38, 90...97: look.foreground = text
      case 39: look.foreground = ""
      case 40...48, 100...107: look.background = text
      case 49: look.background = ""
      default: break
      }
    }
  }
}
