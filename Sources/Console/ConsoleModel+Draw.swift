import Session
import TerminalUI

extension ConsoleModel {
  /// Draws the whole console and gives the cursor's place, nil where none is shown.
  package func draw(on buffer: CellBuffer, glyphs: Glyphs) -> Position? {
    screen = buffer.size
    frame = buffer
    buffer.clear()
    let canvas = Canvas(buffer, glyphs: glyphs)
    let least = ConsoleLayout.minimum
    guard screen.width >= least.width, screen.height >= least.height else {
      drawTooSmall(canvas, least)
      return nil
    }
    if mode == .help {
      help.draw(on: canvas)
      return nil
    }
    settleFocus()
    if isQuiet && snapshot.isLive {
      drawQuiet(canvas)
    } else if let zoomed {
      drawZoomed(zoomed, canvas)
    } else {
      for placement in placements { draw(placement, canvas) }
      for separator in arrangement.separators { canvas.part(separator).verticalLine(x: 0) }
    }
    drawLessonMark(canvas)
    drawNote(canvas)
    return drawFrame(canvas)
  }

  private func drawTooSmall(_ canvas: Canvas, _ least: Size) {
    let text =
      "terminal too small: \(least.width)x\(least.height) needed, now \(screen.width)x\(screen.height)"
    for (y, line) in Format.wrap(text, width: max(canvas.width, 1)).enumerated() { canvas.text(line, x: 0, y: y, .error) }
  }

  /// Everything between the status line and the stop sentence.
  var zoomRegion: Region {
    let below = [PaneID.stop, .command, .help].compactMap { arrangement.placement(of: $0)?.content.height }.reduce(0, +)
    return Region(x: 0, y: 1, width: screen.width, height: max(screen.height - 1 - below, 1))
  }

  private func drawQuiet(_ canvas: Canvas) {
    canvas.part(zoomRegion).text("running without drawing; Space pauses", x: 2, y: 1, .dim)
  }

  private func drawZoomed(_ pane: PaneID, _ canvas: Canvas) {
    drawTitle([pane], front: pane, canvas.part(zoomRegion.row(0)))
    render(pane, canvas.part(zoomRegion.dropTop(1)))
  }

  /// The explanation, over the lower part of the panes, or the upper where what it explains is below.
  private func drawNote(_ canvas: Canvas) {
    guard !note.isEmpty else { return }
    if let probe { canvas.part(probe).highlight(.match) }
    let lines = note.flatMap { Format.wrap($0, width: max(canvas.width - 4, 1)) }
    let height = min(lines.count + 1, zoomRegion.height)
    let isBelow = (probe?.y ?? 0) >= zoomRegion.endY - height
    let box = canvas.inner(y: isBelow ? zoomRegion.y : zoomRegion.endY - height, height: height)
    box.fill(.overlay)
    box.fitted(" Explain (arrows point elsewhere, y copies, any other key goes on)", x: 0, y: 0, .titleFocused)
    for (y, line) in lines.prefix(height - 1).enumerated() { box.fitted(line, x: 2, y: y + 1, .overlay) }
  }

  private func draw(_ placement: LayoutPlacement<PaneID>, _ canvas: Canvas) {
    let pane = front(of: placement)
    guard !pane.isFrame else { return }
    drawTitle(placement.panes, front: pane, canvas.part(placement.title))
    render(pane, canvas.part(placement.content))
  }

  private func render(_ pane: PaneID, _ canvas: Canvas) {
    panes[pane]?.render(snapshot, on: canvas, focused: pane == focus)
    guard pane == .code, canvas.height != codeHeight else { return }
    // In another height the next instruction may have been cut off: it comes back unless something else is looked at.
    codeHeight = canvas.height
    guard code.cursorAddress(snapshot) == snapshot.vcpu.rip else { return }
    code.stopped(snapshot)
    canvas.fill()
    code.render(snapshot, on: canvas, focused: pane == focus)
  }

  // MARK: titles and tabs

  private struct Tab {
    var pane: PaneID
    var text: String
    var x: Int
  }

  /// The tabs of a title row; where not all fit, those that let the front one be seen.
  private func tabs(_ panes: [PaneID], front: PaneID, width: Int) -> [Tab] {
    func name(_ pane: PaneID) -> String { "\(pane.digit.map(String.init) ?? "")\(pane.tabName)" }
    var shown = representatives(panes)[...]
    func end() -> Int {
      shown.prefix { $0 != front }.reduce(1) { $0 + name($1).utf8.count + 2 } + name(front).utf8.count + 1
    }
    while shown.first != front, shown.contains(front), end() > width { shown.removeFirst() }
    var x = 1
    return shown.map { pane in
      defer { x += name(pane).utf8.count + 2 }
      return Tab(pane: pane, text: name(pane), x: x)
    }
  }

  /// Of the panes that share a digit, the one brought up last: the others are behind the digit.
  private func representatives(_ panes: [PaneID]) -> [PaneID] {
    let order = panes.sorted { ($0.place, $0.rawValue) < ($1.place, $1.rawValue) }
    var seen: Set<Int> = []
    return order.compactMap { pane in
      guard let digit = pane.digit else { return pane }
      guard seen.insert(digit).inserted else { return nil }
      let group = order.filter { $0.digit == digit }
      return fronts.last { group.contains($0) } ?? group.first
    }
  }

  private func drawTitle(_ members: [PaneID], front: PaneID, _ canvas: Canvas) {
    let hasKeys = front == focus
    canvas.horizontalLine(y: 0)
    var x = 1
    var gap = " "
    if members.count > 1 {
      for tab in tabs(members, front: front, width: canvas.width) {
        let role: StyleRole = tab.pane != front ? .tab : hasKeys ? .titleFocused : .tabActive
        let text = tab.pane == front ? "[\(tab.text)]" : " \(tab.text) "
        canvas.text(text, x: tab.x - 1, y: 0, role)
        x = tab.x + tab.text.utf8.count + 1
        // A tab that is not in front ends in a space of its own.
        gap = tab.pane == front ? " " : ""
      }
    }
    let title = titleText(front)
    let tabTitle = members.count > 1 && title == front.tabName ? "" : title
    guard !tabTitle.isEmpty else { return }
    let digit = members.count == 1 ? front.digit.map { "\($0) " } ?? "" : ""
    let role: StyleRole =
      front == .console && mode == .guest ? .guestFocused : members.count == 1 && hasKeys ? .titleFocused : .title
    let text = Format.showingBrackets("\(gap)\(digit)\(tabTitle) ", width: canvas.width - x)
    canvas.fitted(text, x: x, y: 0, .title)
    canvas.text(Format.name(ofTitle: text), x: x, y: 0, role, limit: canvas.width - x - 1)
  }

  private func titleText(_ pane: PaneID) -> String {
    if pane == .console && mode == .guest {
      return "Guest console: keys go to the guest; \(GuestConsolePane.leaveName) leaves"
    }
    return panes[pane]?.title(snapshot) ?? ""
  }

  /// The tab under a click in a title row.
  func tab(x: Int, y: Int) -> PaneID? {
    guard let placement = placements.first(where: { $0.title.contains(x: x, y: y) }) else { return nil }
    let tabs = tabs(placement.panes, front: front(of: placement), width: placement.title.width)
    let column = x - placement.title.x
    return tabs.first { $0.x - 1 <= column && column <= $0.x + $0.text.utf8.count }?.pane
  }

  // MARK: status, stop sentence, command line, keys

  private func drawFrame(_ canvas: Canvas) -> Position? {
    func row(_ pane: PaneID) -> Canvas? { arrangement.placement(of: pane).map { canvas.part($0.content) } }
    if let status = row(.status) {
      StatusLine.draw(
        snapshot, count: pendingCount, quiet: isQuiet && snapshot.isLive, animation: animation.speed, on: status)
    }
    if let help = row(.help) { drawKeys(help) }
    guard let command = row(.command) else { return nil }
    let words = wordsInTwoRows(width: command.width - 2)
    if let stop = row(.stop) { drawStop(stop, words) }
    if let words {
      command.fitted(words.lines.dropFirst().joined(separator: " "), x: 1, y: 0, words.role)
      return nil
    }
    return drawCommandLine(command, row: command.region.y)
  }

  /// What was said last, if one row is too short for it: then it begins in the stop sentence's second one.
  private func wordsInTwoRows(width: Int) -> (lines: [String], role: StyleRole)? {
    guard mode == .panes, (arrangement.placement(of: .stop)?.content.height ?? 0) > 1 else { return nil }
    let words = remark.map { (text: $0, role: StyleRole.notice) } ?? newestAnswer
    guard let words else { return nil }
    let lines = Format.wrap(words.text, width: max(width, 1))
    return lines.count > 1 ? (lines, words.role) : nil
  }

  /// The sentence why the session is where it is; a remark of the console takes its second row.
  private func drawStop(_ canvas: Canvas, _ words: (lines: [String], role: StyleRole)?) {
    let sentence = snapshot.isRunning && snapshot.stopSentence.isEmpty ? "the guest runs" : snapshot.stopSentence
    let lines = Format.wrap(sentence, width: max(canvas.width - 2, 1))
    guard canvas.height > 1 else {
      canvas.fitted(remark ?? sentence, x: 1, y: 0, remark == nil ? .stop : .notice)
      return
    }
    canvas.fitted(lines.first ?? "", x: 1, y: 0, .stop)
    if let words {
      canvas.fitted(words.lines[0], x: 1, y: 1, words.role)
    } else if let remark {
      canvas.fitted(remark, x: 1, y: 1, .notice)
    } else if snapshot.isLive {
      canvas.fitted(progress, x: 1, y: 1, .dim)
    } else {
      canvas.fitted(lines.dropFirst().joined(separator: " "), x: 1, y: 1, .stop)
    }
  }

  /// How far a guest has come that runs for long: the function it is in, and the last line it wrote.
  private var progress: String {
    let place = snapshot.symbols.place(of: snapshot.vcpu.linearRIP.value).map { "in \($0.symbol.name.prefix(32))" }
    let line = snapshot.guestConsole.last { !$0.isEmpty }
    return [place, line].compactMap { $0 }.joined(separator: ": ")
  }

  /// The newest answer, where no line is being typed.
  private func drawAnswer(_ canvas: Canvas) {
    guard let answer = newestAnswer else {
      let isUntouched = !snapshot.messages.contains { $0.kind == .command }
      if isUntouched { canvas.fitted("press : for a command, F1 for the keys", x: 1, y: 0, .dim) }
      return
    }
    canvas.fitted(answer.text, x: 1, y: 0, answer.role)
  }

  /// The first line of the newest answer.
  private var newestAnswer: (text: String, role: StyleRole)? {
    // Of a refusal the fault is shown, not the usage line after it. What has no answer yet has not that of before.
    let parts = snapshot.messages.split(omittingEmptySubsequences: false) { $0.kind == .command }
    var answers = parts.last ?? []
    // What a lesson answers stands on its page.
    if snapshot.lesson != nil, isOfLesson { answers = answers.filter { $0.kind == .error } }
    answers = answers.filter { !isOnScreen($0.text) }
    if answers.count > 1, visiblePanes.contains(.messages), !answers.contains(where: { $0.kind == .error }) { return nil }
    guard let message = answers.first(where: { $0.kind == .error }) ?? answers.last else { return nil }
    let lines = message.text.split(separator: "\n")
    let more = lines.count > 1 ? "  (0: all \(lines.count) lines)" : ""
    let role: StyleRole = message.kind == .error ? .error : message.kind == .notice ? .notice : .dim
    return ((lines.first.map(String.init) ?? "") + more, role)
  }

  /// What a stop says is not said twice: the sentence stands above, and the next instruction in the code pane.
  private func isOnScreen(_ answer: String) -> Bool {
    answer == snapshot.stopSentence || answer.hasPrefix("=> ") && visiblePanes.contains(.code)
  }

  private var isOfLesson: Bool {
    snapshot.messages.last { $0.kind == .command }?.text.hasPrefix("lesson") == true
  }

  private func drawCommandLine(_ canvas: Canvas, row: Int) -> Position? {
    let (prompt, editor): (String, LineEditor?) =
      switch mode {
      case .command: (":", commandLine)
      case .find: ("find: ", question)
      case .goTo: ("go to: ", question)
      case .guest: ("keys go to the guest; \(GuestConsolePane.leaveName) comes back", nil)
      case .confirmQuit: ("the guest is running: q again quits, any other key stays", nil)
      case .panes, .help: ("", nil)
      }
    guard let editor else {
      if prompt.isEmpty {
        drawAnswer(canvas)
      } else {
        canvas.fitted(prompt, x: 1, y: 0, .prompt)
      }
      return nil
    }
    let start = canvas.text(prompt, x: 1, y: 0, .prompt)
    let window = editor.window(width: canvas.width - start - 1)
    canvas.text(window.text, x: start, y: 0, .command, limit: canvas.width - start - 1)
    return Position(x: start + window.cursor, y: row)
  }

  /// As many keys as fit, the most needed first, in a fixed order.
  private func drawKeys(_ canvas: Canvas) {
    canvas.fill(.help)
    let entries = keys.bindings.compactMap { binding in
      binding.keys.isEmpty ? nil : binding.line.map { (key: binding.keys[0].name, $0.word, $0.order) }
    }.sorted { $0.2 < $1.2 }
    var x = 1
    for (key, word, _) in entries {
      let width = key.utf8.count + 1 + word.utf8.count
      guard x + width < canvas.width else { continue }
      let end = canvas.text(key, x: x, y: 0, .helpKey)
      x = canvas.text(word, x: end + 1, y: 0, .help) + 2
    }
  }
}
