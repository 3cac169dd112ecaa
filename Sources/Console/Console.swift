import Glibc
import Session
import TerminalUI

/// The console on a terminal: the loop between keys, snapshots and frames.
package final class Console {
  private let model: ConsoleModel
  private let terminal: any Terminal
  private var session: any SessionFacade { model.session }
  private var buffer: CellBuffer
  private var needsDraw = true
  /// Input came since the last frame: the answer does not wait for the guest's next frame.
  private var isAsked = false
  private var lastDraw: UInt64 = 0
  /// When the person last wanted something.
  private var lastInput: UInt64 = 0
  /// Processor time a frame takes, and what the process had used of it after the last.
  private var frameCost: UInt64 = 0
  private var usedAtDraw: UInt64 = 0
  /// Bytes sent to the terminal so far.
  package private(set) var bytesSent = 0

  /// At most 30 frames a second while the guest runs; an answer to a key waits no longer than this.
  private static let runningInterval: UInt64 = 33_000_000
  private static let keyInterval: UInt64 = 4_000_000
  /// Frames nobody waits for take at most one part in so many of the processor time the guest gets, but come this often.
  private static let guestShare: UInt64 = 25
  private static let longestInterval: UInt64 = 100_000_000
  /// How long after an input the person waits for what the guest makes of it.
  private static let attention: UInt64 = 500_000_000

  package init(model: ConsoleModel, terminal: any Terminal) {
    self.model = model
    self.terminal = terminal
    buffer = CellBuffer(terminal.size)
  }

  /// Opens the console on this terminal and returns when the person quits.
  ///
  /// The result is the status for the process: 0 after `q`, 128 plus the signal's number where one ended
  /// it, 2 where the console cannot open (one line on standard error says why).
  ///
  /// A theme or layout asked for on the command line must be good; what settings say and cannot be is told
  /// in the console and left out.
  package static func run(
    session: any SessionFacade, theme: String?, layout: String?, themeDirectories: [String],
    environment: [String: String], settings: Settings = Settings(), complaints: [String] = [],
    lessons: LessonDoor = .closed
  ) -> Int32 {
    func refuse(_ line: String) -> Int32 {
      let bytes = Array("ringside: \(line)\n".utf8)
      _ = write(STDERR_FILENO, bytes, bytes.count)
      return 2
    }
    let folders = UserFolders(environment: environment)
    let themes = ThemeLibrary(directories: [folders.themes].compactMap { $0 } + themeDirectories)
    let layouts = LayoutLibrary(directory: folders.layouts)
    var complaints = complaints
    let chosenTheme: Theme
    let chosenLayout: ConsoleLayout
    do throws(ThemeError) {
      let chosen = try choose(theme, settings.theme, &complaints) { name throws(ThemeError) in try themes.load(name) }
      if let chosen {
        chosenTheme = chosen
      } else {
        chosenTheme = try themes.load(themes.names.contains("dark") ? "dark" : "plain")
      }
    } catch {
      return refuse(error.description)
    }
    do throws(SettingsError) {
      let chosen = try choose(layout, settings.layout, &complaints) { name throws(SettingsError) in try layouts.load(name) }
      chosenLayout = chosen ?? .standard
    } catch {
      return refuse(error.description)
    }
    do throws(TerminalError) {
      let terminal = try CursesTerminal(environment: environment, mouse: settings.mouse, unicode: settings.unicode)
      defer { terminal.close() }
      let model = ConsoleModel(
        session: session, theme: chosenTheme, themes: themes, layout: chosenLayout, layouts: layouts,
        keys: settings.keys, speeds: settings.speeds, lessons: lessons)
      if let first = complaints.first {
        model.greet(complaints.count > 1 ? "\(first) (and \(complaints.count - 1) more: ringside doctor)" : first)
      }
      for alias in settings.aliases { session.submitKey("alias \(alias.name) \(alias.command)") }
      for command in settings.startup { session.submitKey(command) }
      return Console(model: model, terminal: terminal).run()
    } catch {
      return refuse(error.description)
    }
  }

  /// What was asked for, else what the settings say; a fault of the settings becomes a complaint.
  private static func choose<Chosen, Fault: Error & CustomStringConvertible>(
    _ asked: String?, _ setting: String?, _ complaints: inout [String], _ load: (String) throws(Fault) -> Chosen
  ) throws(Fault) -> Chosen? {
    if let asked { return try load(asked) }
    guard let setting else { return nil }
    do throws(Fault) {
      return try load(setting)
    } catch {
      complaints.append(error.description)
      return nil
    }
  }

  /// Runs until the person quits, the terminal goes away or a signal asks to end.
  package func run() -> Int32 {
    while true {
      if let status = turn() { return status }
    }
  }

  /// One turn of the loop: draw what is due, wait, take input and snapshots. A status ends the loop.
  package func turn() -> Int32? {
    drawIfDue()
    for event in terminal.events(wake: session.changeDescriptor, milliseconds: patience()) {
      needsDraw = true
      isAsked = true
      lastInput = Self.now()
      model.now = lastInput
      switch model.handle(event) {
      case .none: break
      case .quit: return status(of: event)
      case .redraw: terminal.invalidate()
      case .suspend:
        terminal.suspend()
        terminal.invalidate()
      case .copy(let text): terminal.copy(text)
      }
    }
    session.acknowledgeChange()
    if model.update() { needsDraw = true }
    return nil
  }

  private func status(of event: InputEvent) -> Int32 {
    switch event {
    case .terminate(let signal): 128 + signal
    case .hangup: 128 + SIGHUP
    default: 0
    }
  }

  /// When the next frame is due, as far as that is known now.
  private func nextFrame(_ now: UInt64) -> UInt64 {
    guard model.snapshot.isRunning, !isAsked else { return lastDraw + Self.keyInterval }
    let soonest = lastDraw + Self.runningInterval
    guard now >= soonest, now < lastDraw + Self.longestInterval, now - lastInput > Self.attention else { return soonest }
    let used = Self.time(CLOCK_PROCESS_CPUTIME_ID) &- usedAtDraw
    return used >= frameCost * Self.guestShare ? soonest : now + Self.keyInterval
  }

  /// Milliseconds to wait for input: until the next frame or step is due, or without end.
  private func patience() -> Int32 {
    let now = Self.now()
    var due: UInt64?
    if needsDraw || model.snapshot.isRunning || !session.hasAnswered { due = nextFrame(now) }
    if let step = model.animate(now) { due = min(due ?? .max, step) }
    guard let due else { return -1 }
    return due <= now ? (needsDraw ? 0 : 33) : Int32(min(due - now, 1_000_000_000) / 1_000_000) + 1
  }

  /// A command takes so long that it is to be seen that the guest runs.
  private func isOverdue(_ now: UInt64) -> Bool { !session.hasAnswered && now &- lastInput > Self.runningInterval }

  private func drawIfDue() {
    let now = Self.now()
    let isDue = nextFrame(now) <= now
    if isDue, model.snapshot.isRunning || isOverdue(now) { session.requestSnapshot() }
    guard needsDraw, isDue || lastDraw == 0 else { return }
    let start = Self.time(CLOCK_THREAD_CPUTIME_ID)
    if buffer.size != terminal.size { buffer = CellBuffer(terminal.size) }
    let cursor = model.draw(on: buffer, glyphs: terminal.glyphs)
    bytesSent += terminal.present(buffer, theme: model.theme, cursor: cursor)
    lastDraw = now
    needsDraw = false
    isAsked = false
    frameCost = (frameCost * 3 + Self.time(CLOCK_THREAD_CPUTIME_ID) &- start) / 4
    usedAtDraw = Self.time(CLOCK_PROCESS_CPUTIME_ID)
  }

  private static func now() -> UInt64 { time(CLOCK_MONOTONIC) }

  private static func time(_ clock: clockid_t) -> UInt64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}
