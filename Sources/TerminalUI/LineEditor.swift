/// One line being typed: movement, kill and yank, history and completion, as readline users expect.
/// Holds grapheme clusters, so that a cursor never stands inside a character.
package struct LineEditor: Sendable {
  package enum Outcome: Equatable, Sendable {
    /// Not a key for a line.
    case ignored
    case edited
    /// Enter: the line as typed; the editor is empty again.
    case submitted(String)
    /// Escape or ^C: the editor is empty again.
    case cancelled
    /// Tab: ask for candidates and hand them to `complete`.
    case wantsCompletion
  }

  package private(set) var characters: [Character] = []
  /// 0...count.
  package private(set) var cursor = 0
  /// Oldest first.
  package private(set) var history: [String] = []
  private var historyIndex: Int?
  private var draft: [Character] = []
  private var killed: [Character] = []

  package static let longestLine = 4096
  package static let longestHistory = 1000

  package init(history: [String] = []) { self.history = history }

  package var text: String { String(characters) }

  package mutating func set(_ text: String) {
    characters = Array(text.prefix(Self.longestLine))
    cursor = characters.count
    historyIndex = nil
  }

  /// Remembers a line; one equal to the newest is not kept twice.
  package mutating func remember(_ line: String) {
    guard !line.isEmpty, history.last != line else { return }
    history.append(line)
    if history.count > Self.longestHistory { history.removeFirst(history.count - Self.longestHistory) }
  }

  package mutating func insert(_ text: String) {
    let clean = text.unicodeScalars.filter { $0.value >= 0x20 && $0.value != 0x7F }
    var view = String.UnicodeScalarView()
    view.append(contentsOf: clean)
    // A combining mark typed after a character joins it: splice as text, not as characters.
    let before = String(characters[..<cursor]) + String(view)
    let after = characters[cursor...]
    let joined = Array(before)
    guard joined.count + after.count <= Self.longestLine else { return }
    characters = joined + after
    cursor = joined.count
  }

  package mutating func handle(_ key: Key) -> Outcome {
    if let scalar = key.typed {
      insert(String(scalar))
      return .edited
    }
    if key.modifiers == .control, case .character(let scalar) = key.code { return control(scalar) }
    if key.modifiers == .alt, case .character(let scalar) = key.code { return alt(scalar) }
    let byWord = !key.modifiers.isDisjoint(with: [.control, .alt])
    switch key.code {
    case .left: cursor = byWord ? wordStart : max(cursor - 1, 0)
    case .right: cursor = byWord ? wordEnd : min(cursor + 1, characters.count)
    case .home: cursor = 0
    case .end: cursor = characters.count
    case .backspace: if byWord { kill(wordStart..<cursor) } else { remove(cursor - 1) }
    case .delete: remove(cursor)
    case .up: recall(-1)
    case .down: recall(1)
    case .tab: return .wantsCompletion
    case .enter: return .submitted(take())
    case .escape:
      _ = take()
      return .cancelled
    default: return .ignored
    }
    return .edited
  }

  private mutating func control(_ scalar: Unicode.Scalar) -> Outcome {
    switch scalar {
    case "a": cursor = 0
    case "e": cursor = characters.count
    case "b": cursor = max(cursor - 1, 0)
    case "f": cursor = min(cursor + 1, characters.count)
    case "d": remove(cursor)
    case "h": remove(cursor - 1)
    case "k": kill(cursor..<characters.count)
    case "u": kill(0..<cursor)
    case "w": kill(spaceStart..<cursor)
    case "y":
      characters.insert(contentsOf: killed.prefix(Self.longestLine - characters.count), at: cursor)
      cursor = min(cursor + killed.count, characters.count)
    case "t":
      guard cursor > 0, characters.count > 1 else { return .edited }
      let at = min(cursor, characters.count - 1)
      characters.swapAt(at - 1, at)
      cursor = at + 1
    case "p": recall(-1)
    case "n": recall(1)
    case "c", "g":
      _ = take()
      return .cancelled
    default: return .ignored
    }
    return .edited
  }

  private mutating func alt(_ scalar: Unicode.Scalar) -> Outcome {
    switch scalar {
    case "b": cursor = wordStart
    case "f": cursor = wordEnd
    case "d": kill(cursor..<wordEnd)
    default: return .ignored
    }
    return .edited
  }

  private mutating func take() -> String {
    let line = text
    characters = []
    cursor = 0
    historyIndex = nil
    draft = []
    return line
  }

  private mutating func remove(_ index: Int) {
    guard characters.indices.contains(index) else { return }
    characters.remove(at: index)
    if index < cursor { cursor -= 1 }
  }

  private mutating func kill(_ range: Range<Int>) {
    guard !range.isEmpty else { return }
    killed = Array(characters[range])
    characters.removeSubrange(range)
    cursor = range.lowerBound
  }

  private mutating func recall(_ direction: Int) {
    guard !history.isEmpty else { return }
    if historyIndex == nil { draft = characters }
    let index = (historyIndex ?? history.count) + direction
    guard index >= 0 else { return }
    if index >= history.count {
      historyIndex = nil
      characters = draft
    } else {
      historyIndex = index
      characters = Array(history[index])
    }
    cursor = characters.count
  }

  private func isWord(_ index: Int) -> Bool {
    let character = characters[index]
    return character.isLetter || character.isNumber || character == "_"
  }

  private var wordStart: Int {
    var at = cursor
    while at > 0, !isWord(at - 1) { at -= 1 }
    while at > 0, isWord(at - 1) { at -= 1 }
    return at
  }

  private var wordEnd: Int {
    var at = cursor
    while at < characters.count, !isWord(at) { at += 1 }
    while at < characters.count, isWord(at) { at += 1 }
    return at
  }

  private var spaceStart: Int {
    var at = cursor
    while at > 0, characters[at - 1] == " " { at -= 1 }
    while at > 0, characters[at - 1] != " " { at -= 1 }
    return at
  }

  /// The part of the line before the cursor, which is what completion looks at.
  package var beforeCursor: String { String(characters[..<cursor]) }

  /// Replaces the word before the cursor by what all candidates have in common. One candidate is
  /// finished with a space, a folder without. Returns the candidates still open.
  package mutating func complete(_ candidates: [String]) -> [String] {
    guard let first = candidates.first else { return [] }
    var common = Array(first)
    for candidate in candidates.dropFirst() {
      let other = Array(candidate)
      var length = 0
      while length < common.count, length < other.count, common[length] == other[length] { length += 1 }
      common.removeLast(common.count - length)
    }
    var start = cursor
    while start > 0, characters[start - 1] != " " { start -= 1 }
    let typed = characters[start..<cursor]
    guard common.count >= typed.count else { return candidates }
    let isFolder = common.last == "/"
    if candidates.count == 1, !isFolder, cursor == characters.count || characters[cursor] != " " { common.append(" ") }
    guard characters.count - typed.count + common.count <= Self.longestLine else { return candidates }
    characters.replaceSubrange(start..<cursor, with: common)
    cursor = start + common.count
    return candidates.count == 1 ? [] : candidates
  }

  /// The part of the line to show in `width` columns, and the cursor's column in it.
  package func window(width: Int) -> (text: String, cursor: Int) {
    guard width > 0 else { return ("", 0) }
    let widths = characters.map { CharacterWidth.of(String($0)) }
    var start = 0
    var column = widths[..<cursor].reduce(0, +)
    while column >= width, start < cursor {
      column -= widths[start]
      start += 1
    }
    return (String(characters[start...]), column)
  }
}
