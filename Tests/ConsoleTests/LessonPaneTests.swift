import Console
import Debugger
import Session
import TerminalUI
import Testing
import VMCore

/// A lesson in the console: keys, what is brought up and pointed at, and the screen at every size.
@Suite("The lesson's page") struct LessonPaneTests {
  /// A session that carries commands out at once.
  final class Performing: SessionFacade {
    let session: Session
    var submitted: [String] = []
    private var published: SessionSnapshot
    var snapshot: SessionSnapshot { published }
    var history: [String] { [] }
    var changeDescriptor: Int32 { -1 }
    private var generation: UInt64 = 1_000

    init(_ session: Session) {
      self.session = session
      published = session.currentSnapshot()
    }

    func acknowledgeChange() {}
    func requestSnapshot() {}
    func submit(_ line: String) {
      submitted.append(line)
      _ = session.perform(line)
      published = session.currentSnapshot()
      generation += 1
      published.generation = generation
    }
    func pause() {}
    func typeToGuest(_ bytes: [UInt8]) {}
    func completions(for line: String) -> [String] { session.completions(for: line) }
  }

  /// A console over a lesson.
  final class Room {
    let facade: Performing
    let model: ConsoleModel
    let terminal: MemoryTerminal

    init(_ name: String, _ width: Int = 120, _ height: Int = 40, door: LessonDoor = .closed) throws {
      let lesson = try LessonLibrary.lesson(name)
      facade = Performing(try Session(lesson: lesson, lesson.configuration))
      model = ConsoleModel(
        session: facade, theme: .plain, themes: ThemeLibrary(directories: []), layout: .standard, lessons: door)
      terminal = MemoryTerminal(size: Size(width: width, height: height), glyphs: .ascii)
    }

    func press(_ keys: Key...) {
      for key in keys { _ = model.handle(.key(key)) }
      model.update()
    }

    func type(_ text: String) {
      for scalar in text.unicodeScalars { press(scalar == "\n" ? Key(.enter) : Key(scalar)) }
    }

    var screen: String {
      let buffer = CellBuffer(terminal.size)
      let cursor = model.draw(on: buffer, glyphs: terminal.glyphs)
      _ = terminal.present(buffer, theme: model.theme, cursor: cursor)
      return terminal.text
    }

    var lesson: LessonView? { model.snapshot.lesson }
  }

  @Test("the screen of a lesson: a text, a question, an answer", arguments: GoldenTests.sizes)
  func screens(_ width: Int, _ height: Int) throws {
    let room = try Room("rings", width, height)
    // What stands below the page names the file, by a path that differs from checkout to checkout.
    let rows = room.screen.split(separator: "\n", omittingEmptySubsequences: false)
    let page = rows.drop { !$0.contains("Lesson: ") }.prefix { !$0.contains("Loaded ") }
    expectGolden(page.joined(separator: "\n"), "lesson-text-\(width)x\(height)")
    room.type("n")
    expectGolden(room.screen, "lesson-question-\(width)x\(height)")
    room.type("2")
    expectGolden(room.screen, "lesson-answer-\(width)x\(height)")
  }

  @Test func `digits answer, h hints, p goes back, n goes on, and the score counts first answers`() throws {
    let room = try Room("rings")
    #expect(room.model.focus == .lesson)
    room.type("n")
    #expect(room.lesson?.run.stage == .asking)
    room.type("h")
    #expect(room.screen.contains("Hint: "))
    room.type("2")
    #expect(room.screen.contains("No, not '1: POPF cannot change it'."))
    #expect(room.screen.contains("Stepped to"))
    room.type("p1")
    #expect(room.screen.contains("Right: 0: interrupts are off."))
    #expect(room.lesson?.run.rightCount == 0)
    room.type("n3")
    #expect(room.lesson?.run.rightCount == 1)
    room.type("9")
    #expect(room.model.focus == .reasons, "with nothing asked a digit brings up its pane")
    room.type("l")
    #expect(room.model.focus == .lesson)
  }

  @Test func `a second try at a question leads nowhere, and what belongs together is one paragraph`() throws {
    let room = try Room("rings", 80, 24)
    room.type(":lesson step 2\n21")
    #expect(room.model.focus == .lesson && room.screen.contains("this is answered"))
    room.type(":lesson step 8\na32\n")
    #expect(room.screen.contains("change the code before it runs (the lesson"), "\(room.screen)")
  }

  @Test func `Enter reads on where there is more, then goes on`() throws {
    let room = try Room("rings", 80, 24)
    _ = room.screen
    for _ in 0..<20 where room.lesson?.run.index == 0 {
      room.press(Key(.enter))
      _ = room.screen
    }
    #expect(room.lesson?.run.index == 1)
  }

  @Test func `the guest is driven from the page, and r brings it back`() throws {
    let room = try Room("rings")
    room.type("n")
    let there = room.model.snapshot.vcpu
    room.type("s")
    #expect(room.facade.submitted.last == "step" && room.model.snapshot.vcpu != there)
    #expect(room.screen.contains("driven on from here"))
    room.type("r")
    #expect(room.model.snapshot.vcpu == there && !room.screen.contains("driven on"))
  }

  @Test func `a typed answer goes by the command line, where reasons complete`() throws {
    let room = try Room("rings")
    room.type(":lesson step 7\na")
    #expect(room.model.mode == .command && room.screen.contains(":lesson answer"))
    room.type("cpuid\n")
    #expect(room.screen.contains("Right: cpuid."))
  }

  @Test func `a digit begins the answer where a number is asked for, and reasons are completed`() throws {
    let room = try Room("rings")
    room.type(":lesson step 5\n3")
    #expect(room.model.mode == .command && room.screen.contains(":lesson answer 3"))
    room.type("\n")
    #expect(room.screen.contains("Right: 3."))
    room.type(":lesson step 7\nacpu")
    room.press(Key(.tab))
    #expect(room.screen.contains(":lesson answer cpuid"))
  }

  @Test func `a long title leaves step and score to be seen, and no hint is offered where none is left`() throws {
    let room = try Room("rewriting", 80, 24)
    room.type("n")
    #expect(room.screen.contains("Lesson: step 2 of 8, 0 of 7 right  Rewriting"), "\(room.screen)")
    #expect(room.screen.contains("h hint"))
    room.type("h")
    #expect(room.screen.contains("Hint: ") && !room.screen.contains("h hint"))
  }

  @Test func `a lesson begun in the console has its own session, and leaving it brings the other back`() throws {
    var opened = 0
    let door = LessonDoor(names: { LessonLibrary.names }) { name in
      do throws(VMError) {
        let lesson = try LessonLibrary.lesson(name)
        opened += 1
        return .success(Performing(try Session(lesson: lesson, lesson.configuration)))
      } catch {
        return .failure(error)
      }
    }
    let fake = FakeSession(try Fixture.realMode())
    let model = ConsoleModel(
      session: fake, theme: .plain, themes: ThemeLibrary(directories: []), layout: .standard, lessons: door)
    func type(_ text: String) {
      for scalar in text.unicodeScalars { _ = model.handle(.key(scalar == "\n" ? Key(.enter) : Key(scalar))) }
      model.update()
    }
    let before = model.snapshot
    type(":lesson nonesuch\n")
    #expect(model.remark?.contains("no such lesson") == true && opened == 0)
    type(":lesson vmcs\n")
    #expect(opened == 1 && model.snapshot.lesson?.run.lesson.name == "vmcs" && model.focus == .lesson)
    #expect(model.snapshot.generation > before.generation)
    type("n")
    #expect(model.snapshot.lesson?.run.index == 1)
    type("q")
    #expect(model.snapshot.lesson == nil && model.snapshot.guestName == before.guestName)
    #expect(fake.submitted.isEmpty, "the other session heard nothing of all this")
    fake.publish { $0.phase = .running }
    model.update()
    type(":lesson vmcs\n")
    #expect(opened == 1 && model.remark?.contains("pause first") == true)
  }

  @Test func `every pane a lesson may show is one`() {
    for name in Lesson.paneNames { #expect(PaneID(lessonName: name) != nil, "\(name)") }
  }

  @Test("the pane a step speaks of is on the screen, and what it points at where there is room", arguments: LessonLibrary.names, [(80, 24), (120, 40)])
  func marks(_ name: String, _ size: (Int, Int)) throws {
    let room = try Room(name, size.0, size.1)
    for index in 0..<(room.lesson?.run.lesson.steps.count ?? 0) {
      room.facade.submit("lesson step \(index + 1)")
      room.model.update()
      let step = try #require(room.lesson?.run.step)
      guard let pane = step.pane.flatMap(PaneID.init(lessonName:)) else { continue }
      _ = room.screen
      #expect(room.model.visiblePanes.contains(pane), "\(name), '\(step.title)'")
      guard let mark = step.mark, size.0 >= 120 else { continue }
      #expect(room.isMarked(mark, pane), "\(name), '\(step.title)': '\(mark)' is not in \(pane) at \(size.0)x\(size.1)")
    }
  }

  @Test("keys of all kinds in any state of a lesson harm nothing", arguments: LessonLibrary.names)
  func fuzz(_ name: String) throws {
    let room = try Room(name, 80, 24)
    var seed: UInt64 = 42
    let keys: [Key] = "nphr12349adsi`zlLm.?".unicodeScalars.map { Key($0) } + [Key(.enter), Key(.up), Key(.down), Key(.pageDown), Key(.end), Key(.tab), Key(.escape)]
    for _ in 0..<150 {
      seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      room.press(keys[Int(seed >> 33) % keys.count])
      if seed >> 60 == 0 { _ = room.screen }
    }
    #expect(room.screen.contains("Lesson:") || room.model.zoomed != nil)
  }
}

extension LessonPaneTests.Room {
  func isMarked(_ mark: String, _ pane: PaneID) -> Bool {
    let region = model.contentRegion(of: pane)
    return !model.markedPlaces(mark, in: region).isEmpty
  }
}
