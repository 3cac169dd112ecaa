import Console
import Foundation
import Session
import TerminalUI
import Testing
import VMCore

/// Anything a terminal can send, in any state: no crash, no answer that takes longer than 100 ms of this thread.
/// `RINGSIDE_CAMPAIGN` makes it 100,000 inputs.
struct FuzzTests {
  static let count = ProcessInfo.processInfo.environment["RINGSIDE_CAMPAIGN"] == nil ? 8_000 : 100_000

  @Test func `random keys, clicks, drags, pastes and sizes from 1x1 to 400x120 in all states`() throws {
    var source = InputSource(seed: 11)
    let snapshots = [
      try Fixture.realMode(), try Fixture.longModeUnmapped(), try Fixture.twoVCPUs(),
      SessionSnapshot(memory: try Fixture.memory(), vcpus: []),
    ]
    let phases: [SessionPhase] = [.created, .running, .paused, .idle, .ended(status: 3)]
    let desk = Desk(snapshots[0])
    var slowest: UInt64 = 0
    for step in 0..<Self.count {
      let event = source.next()
      if event == .resize { desk.terminal.size = source.size() }
      if step % 97 == 0 {
        let generation = desk.session.snapshot.generation
        desk.session.snapshot = snapshots[step / 97 % snapshots.count]
        desk.session.snapshot.generation = generation
        desk.session.publish { $0.phase = phases[step / 97 % phases.count] }
      }
      let before = CPUTime.now()
      _ = desk.model.handle(event)
      _ = desk.model.animate(UInt64(step) * 1_000_000)
      if step % 8 == 0 { desk.draw() }
      slowest = max(slowest, CPUTime.now() - before)
    }
    #expect(slowest < 100_000_000, "\(slowest / 1_000_000) ms")
    desk.press(GuestConsolePane.leaveKey, Key(.escape), Key(.escape))
    desk.terminal.size = Size(width: 80, height: 24)
    #expect(desk.rows.count >= 24)
  }

  @Test("the same with a real guest that runs, stops and faults", arguments: ["long-kernel", "triple-fault", "timer-keyboard"])
  func guests(_ guest: String) throws {
    var configuration = SessionConfiguration()
    configuration.guest = guest
    let session = try Session(configuration)
    session.start()
    defer { session.stop() }
    let model = ConsoleModel(
      session: RealFacade(session), theme: .plain, themes: ThemeLibrary(directories: [Fixture.themes]), layout: .standard)
    let terminal = MemoryTerminal(size: Size(width: 80, height: 24))
    var source = InputSource(seed: 23)
    var slowest: UInt64 = 0
    for step in 0..<(Self.count / 4) {
      let event = source.next()
      if event == .resize { terminal.size = source.size() }
      let before = CPUTime.now()
      _ = model.handle(event)
      model.update()
      if step % 8 == 0 {
        let buffer = CellBuffer(terminal.size)
        let cursor = model.draw(on: buffer, glyphs: terminal.glyphs)
        _ = terminal.present(buffer, theme: model.theme, cursor: cursor)
      }
      slowest = max(slowest, CPUTime.now() - before)
      if step % 50 == 0 { session.pause() }
    }
    #expect(slowest < 100_000_000, "\(slowest / 1_000_000) ms")
  }
}

/// A session as the console sees it (the program itself makes `Session` one).
final class RealFacade: SessionFacade {
  private let session: Session
  init(_ session: Session) { self.session = session }
  var snapshot: SessionSnapshot { session.snapshot }
  var changeDescriptor: Int32 { session.changeDescriptor }
  func acknowledgeChange() { session.acknowledgeChange() }
  func requestSnapshot() { session.requestSnapshot() }
  /// Commands that touch the host's files stay out of a fuzz run.
  func submit(_ line: String) {
    let hostile = ["trace", "source", "so", "symbol-file", "symbols", "dump", "save", "snap", "gdbserver", "reset", "restart"]
    guard !hostile.contains(where: { line.hasPrefix($0) }) else { return }
    session.submit(line)
  }
  func pause() { session.pause() }
  func typeToGuest(_ bytes: [UInt8]) { session.typeToGuest(bytes) }
  func completions(for line: String) -> [String] { session.completions(for: line) }
  var history: [String] { [] }
}

/// What a person with no mercy does.
struct InputSource {
  private var generator: Xorshift
  init(seed: UInt64) { generator = Xorshift(state: seed) }

  private static let codes: [KeyCode] = [
    .up, .down, .left, .right, .home, .end, .pageUp, .pageDown, .insert, .delete, .backspace, .tab, .backTab, .enter, .escape,
  ]
  private static let pastes = ["pasted \u{1B}[31m text\n", "info regs\nstep\n", String(repeating: "漢", count: 900), "\u{0}\u{7}", "break 7c1c if"]

  mutating func size() -> Size {
    Size(width: Int.random(in: 1...400, using: &generator), height: Int.random(in: 1...120, using: &generator))
  }

  mutating func next() -> InputEvent {
    switch Int.random(in: 0..<100, using: &generator) {
    case 0..<55: return .key(Key(Unicode.Scalar(UInt8.random(in: 0x20..<0x7F, using: &generator))))
    case 55..<77: return .key(Key(Self.codes[Int.random(in: 0..<Self.codes.count, using: &generator)]))
    case 77..<81: return .key(Key(.function(Int.random(in: 0...13, using: &generator))))
    case 81..<87: return .key(.control(Unicode.Scalar(UInt8.random(in: 0x60..<0x7F, using: &generator))))
    case 87..<89: return .paste(Self.pastes[Int.random(in: 0..<Self.pastes.count, using: &generator)])
    case 89..<98:
      let actions: [MouseEvent.Action] = [.press, .release, .drag, .drag, .wheelUp, .wheelDown]
      return .mouse(
        MouseEvent(
          actions[Int.random(in: 0..<6, using: &generator)], button: Int.random(in: 0...2, using: &generator),
          x: Int.random(in: 0..<420, using: &generator), y: Int.random(in: 0..<130, using: &generator)))
    default: return .resize
    }
  }
}
