import Glibc
import Session
import TerminalUI

/// The console on a terminal: the loop between keys, snapshots and frames.
package final class Console {
  private let model: ConsoleModel
  private let terminal: any Terminal
  private let session: any SessionFacade
  private var buffer: CellBuffer
  private var needsDraw = true
  private var lastDraw: UInt64 = 0
  /// Bytes sent to the terminal so far.
  package private(set) var bytesSent = 0

  /// At most 30 frames a second while the guest runs; an answer to a key waits no longer than this.
  private static let runningInterval: UInt64 = 33_000_000
  private static let keyInterval: UInt64 = 8_000_000

  package init(model: ConsoleModel, terminal: any Terminal) {
    self.model = model
    self.terminal = terminal
    session = model.session
    buffer = CellBuffer(terminal.size)
  }

  /// Opens the console on this terminal and returns when the person quits.
  ///
  /// The result is the status for the process: 0 after `q`, 128 plus the signal's number where one ended
  /// it, 2 where the console cannot open (one line on standard error says why).
  package static func run(
    session: any SessionFacade, theme: String?, layout: String?, themeDirectories: [String],
    environment: [String: String]
  ) -> Int32 {
    func refuse(_ line: String) -> Int32 {
      let bytes = Array("ringside: \(line)\n".utf8)
      _ = write(STDERR_FILENO, bytes, bytes.count)
      return 2
    }
    let themes = ThemeLibrary(directories: themeDirectories)
    let chosenTheme: Theme
    do throws(ThemeError) {
      let hasDefault = themes.names.contains("dark")
      chosenTheme = try themes.load(theme ?? (hasDefault ? "dark" : "plain"))
    } catch {
      return refuse(error.description)
    }
    guard let chosenLayout = ConsoleLayout(rawValue: layout ?? ConsoleLayout.standard.rawValue) else {
      let names = ConsoleLayout.allCases.map(\.rawValue).joined(separator: ", ")
      return refuse("no layout '\(layout ?? "")'; there are \(names)")
    }
    do throws(TerminalError) {
      let terminal = try CursesTerminal(environment: environment)
      defer { terminal.close() }
      let model = ConsoleModel(session: session, theme: chosenTheme, themes: themes, layout: chosenLayout)
      return Console(model: model, terminal: terminal).run()
    } catch {
      return refuse(error.description)
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
      switch model.handle(event) {
      case .none: break
      case .quit: return status(of: event)
      case .redraw: terminal.invalidate()
      case .suspend:
        terminal.suspend()
        terminal.invalidate()
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

  private var interval: UInt64 { model.snapshot.isRunning ? Self.runningInterval : Self.keyInterval }

  /// Milliseconds to wait for input: until the next frame is due, or without end.
  private func patience() -> Int32 {
    let isRunning = model.snapshot.isRunning
    guard needsDraw || isRunning else { return -1 }
    let due = lastDraw + interval
    let now = Self.now()
    return due <= now ? (needsDraw ? 0 : 33) : Int32((due - now) / 1_000_000) + 1
  }

  private func drawIfDue() {
    let now = Self.now()
    if model.snapshot.isRunning && now >= lastDraw + Self.runningInterval { session.requestSnapshot() }
    guard needsDraw, now >= lastDraw + interval || lastDraw == 0 else { return }
    if buffer.size != terminal.size { buffer = CellBuffer(terminal.size) }
    let cursor = model.draw(on: buffer, glyphs: terminal.glyphs)
    bytesSent += terminal.present(buffer, theme: model.theme, cursor: cursor)
    lastDraw = now
    needsDraw = false
  }

  private static func now() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}
