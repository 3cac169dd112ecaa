import Debugger
import Session
import TerminalUI
import VMCore
import X86

/// The console without a terminal: what is shown and what keys mean. Everything the person sees follows
/// from this and the newest snapshot, so tests drive it alone.
package final class ConsoleModel {
  /// Who gets the keys.
  package enum Mode: Equatable, Sendable {
    case panes
    case command
    /// A search text is being typed.
    case find
    /// An address, symbol or number is being typed.
    case goTo
    /// Keys go to the guest until Ctrl-].
    case guest
    case help
    /// "Quit while the guest runs?"
    case confirmQuit
  }

  /// What the main loop has to do about an input.
  package enum Request: Equatable, Sendable {
    case none, quit, redraw, suspend
    /// Put the text into the terminal's clipboard.
    case copy(String)
  }

  package private(set) var session: any SessionFacade
  /// The session that was left for a lesson.
  var outer: (any SessionFacade)?
  let lessonDoor: LessonDoor
  package private(set) var snapshot: SessionSnapshot
  package internal(set) var mode = Mode.panes
  package internal(set) var focus = PaneID.code
  package internal(set) var zoomed: PaneID?
  package internal(set) var layout: ConsoleLayout
  package internal(set) var theme: Theme
  let themes: ThemeLibrary
  /// Layouts of one's own, and where they are kept.
  let layouts: LayoutLibrary
  let keys: KeyMap
  package internal(set) var animation: Animation
  /// What the mouse holds while it drags.
  var drag: Border?
  /// The screen as drawn last, for what is pointed at and copied.
  var frame: CellBuffer?
  /// The word `?` points at.
  package internal(set) var probe: Region?

  let code = CodePane()
  let exits = ExitsPane()
  let reasons = ReasonsPane()
  let hypercalls = HypercallsPane()
  let memory = MemoryPane()
  let paging: PagingPane
  let panes: [PaneID: any Pane]
  /// Panes brought to the front of their tabs, the newest last.
  var fronts: [PaneID] = []

  var commandLine: LineEditor
  /// For what is typed after `/` and `g`.
  var question = LineEditor()
  var lastSearch: String?
  var help: HelpOverlay
  /// A number being typed, and what the view was before it.
  var pendingCount: Int?
  /// When its last digit was typed.
  var countTime: UInt64 = 0
  /// When the input now handled came; nanoseconds of a clock that never goes back. Whoever has none leaves it 0.
  package var now: UInt64 = 0
  var viewBeforeCount: (focus: PaneID, fronts: [PaneID], zoomed: PaneID?)?
  /// Draw nothing but the status while the guest runs.
  package internal(set) var isQuiet = false
  /// A line of the console's own, until the next key.
  package internal(set) var remark: String?
  /// Lines about what is under the cursor, until the next key.
  package internal(set) var note: [String] = []
  private var messagesSeen: UInt64
  private var typedCommand = false
  /// A command went to the session: it has one to repeat.
  private(set) var hasSubmitted = false
  var screen = Size(width: 80, height: 24)
  private var solved: Solved?
  /// Generations of sessions before this one.
  private var elapsed: UInt64 = 0
  var codeHeight = 0

  package init(
    session: any SessionFacade, theme: Theme, themes: ThemeLibrary, layout: ConsoleLayout,
    layouts: LayoutLibrary = LayoutLibrary(directory: nil), keys: KeyMap = .standard, speeds: [Int] = Animation.usual,
    lessons: LessonDoor = .closed
  ) {
    self.session = session
    lessonDoor = lessons
    self.theme = theme
    self.themes = themes
    self.layout = layout
    self.layouts = layouts
    self.keys = keys
    help = HelpOverlay(keys)
    animation = Animation(speeds: speeds)
    snapshot = session.snapshot
    commandLine = LineEditor(history: session.history)
    messagesSeen = snapshot.messages.last?.number ?? 0
    paging = PagingPane(code: code, memory: memory)
    let all: [any Pane] = [
      code, RegistersPane(), SecondRegistersPane(), exits, AnatomyPane(exits: exits), EventsPane(), reasons, memory,
      hypercalls,
      BreakpointsPane(), DisplaysPane(), TablesPane(paging: paging), paging, StackPane(), InterruptsPane(), DevicesPane(),
      CapabilitiesPane(), ScreenPane(), VMCSPane(), RewriterPane(), XenPane(), ComparisonPane(), TechniquesPane(),
      MessagesPane(), GuestConsolePane(), LessonPane(),
    ]
    panes = Dictionary(uniqueKeysWithValues: all.map { ($0.id, $0) })
    for pane in all { pane.stopped(snapshot) }
    followLesson(from: nil)
  }

  /// Another session takes the place of this one.
  func adopt(_ other: any SessionFacade) {
    elapsed = snapshot.generation &+ 1
    session = other
    snapshot = newest
    messagesSeen = snapshot.messages.last?.number ?? 0
    animation.stop()
    mode = .panes
    for pane in panes.values { pane.stopped(snapshot) }
    followLesson(from: nil)
  }

  /// The session's newest snapshot; its generation is of no other session's.
  private var newest: SessionSnapshot {
    var newest = session.snapshot
    newest.generation &+= elapsed
    return newest
  }

  /// Takes the session's newest snapshot; true if there was a new one.
  @discardableResult
  package func update() -> Bool {
    let new = newest
    guard new.generation != snapshot.generation else { return false }
    let wasRunning = snapshot.isLive
    let moved = new.instructionCount != snapshot.instructionCount || new.vcpu.rip != snapshot.vcpu.rip
    let lessonBefore = snapshot.lesson
    snapshot = new
    followLesson(from: lessonBefore)
    if !new.isLive {
      if wasRunning || moved { for pane in panes.values { pane.stopped(new) } }
      isQuiet = false
      animation.stopped(new)
      if mode == .confirmQuit { mode = .panes }
    }
    showAnswers()
    return true
  }

  /// Brings the log to the front when a typed command was answered at length.
  private func showAnswers() {
    let fresh = snapshot.messages.filter { $0.number > messagesSeen && $0.kind != .command }
    guard let last = snapshot.messages.last else { return }
    messagesSeen = last.number
    guard typedCommand, !fresh.isEmpty else { return }
    typedCommand = false
    if let pane = paneOfAnswer(fresh) { return bringUp(pane, takesFocus: false) }
    let lines = fresh.reduce(0) { $0 + $1.text.split(separator: "\n", omittingEmptySubsequences: false).count }
    if lines > 1 { bringUp(.messages, takesFocus: false) }
  }

  /// The pane in which the answer to the last command can be looked at better than in the log.
  private func paneOfAnswer(_ fresh: [ConsoleMessage]) -> PaneID? {
    guard !fresh.contains(where: { $0.kind == .error }), let line = snapshot.messages.last(where: { $0.kind == .command })?.text
    else { return nil }
    let panes: [String: PaneID] = ["compare": .comparison, "techniques": .techniques, "display": .displays]
    let word = line.prefix { $0 != " " && $0 != "/" }
    return CommandTable.find(String(word)).flatMap { panes[$0.name] }
  }

  func perform(_ line: String) { session.submitKey(line) }

  /// A line the person typed or a settings file holds.
  func submit(_ line: String) {
    (typedCommand, hasSubmitted) = (true, true)
    session.submit(line)
  }

  func say(_ text: String) { remark = text }

  /// A remark before the first key: what was wrong in the settings.
  package func greet(_ text: String) { remark = text }

  func wantQuit() -> Request {
    guard snapshot.isLive else { return .quit }
    mode = .confirmQuit
    return .none
  }

  /// The panes on the screen at the moment, in reading order; tabs behind others are not.
  package var visiblePanes: [PaneID] {
    if let zoomed { return [zoomed] }
    return placements.map { front(of: $0) }.filter { !$0.isFrame }
  }

  var placements: [LayoutPlacement<PaneID>] { arrangement.placements }

  /// Where everything is; worked out again only when something it depends on changed.
  var arrangement: LayoutResult<PaneID> {
    let vcpus = snapshot.vcpus.count
    let teaches = snapshot.lesson != nil
    if let known = solved, known.layout == layout, known.size == screen, known.vcpus == vcpus, known.teaches == teaches {
      return known.result
    }
    let region = Region(x: 0, y: 0, width: screen.width, height: screen.height)
    let result = LayoutSolver.solve(layout.tree(vcpus: vcpus, teaches: teaches), in: region)
    solved = Solved(layout: layout, size: screen, vcpus: vcpus, teaches: teaches, result: result)
    return result
  }

  private struct Solved {
    var layout: ConsoleLayout
    var size: Size
    var vcpus: Int
    var teaches: Bool
    var result: LayoutResult<PaneID>
  }

  /// Of a place with tabs, the pane in front: the one brought up last.
  func front(of placement: LayoutPlacement<PaneID>) -> PaneID {
    fronts.last { placement.panes.contains($0) } ?? placement.panes.first ?? .code
  }

  /// Shows a pane, in front of its tabs if it has to be, and gives it the keys.
  func bringUp(_ pane: PaneID, takesFocus: Bool = true) {
    fronts.removeAll { $0 == pane }
    fronts.append(pane)
    if takesFocus {
      focus = pane
      if zoomed != nil { zoomed = pane }
    }
  }

  /// Brings a pane up from outside (what a picture or a test wants to see).
  package func show(_ pane: PaneID) { bringUp(pane) }

  /// Keeps the focus on something visible.
  func settleFocus() {
    let visible = visiblePanes
    if !visible.contains(focus), let first = visible.first { focus = first }
  }

  var focusedPane: (any Pane)? { panes[focus] }
}
