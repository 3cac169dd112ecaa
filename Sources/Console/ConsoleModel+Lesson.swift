import Session
import TerminalUI
import VMCore

/// The way to lessons: their names, and a session about one.
package struct LessonDoor {
  package var names: () -> [String]
  package var open: (String) -> Result<any SessionFacade, VMError>

  package init(names: @escaping () -> [String], open: @escaping (String) -> Result<any SessionFacade, VMError>) {
    self.names = names
    self.open = open
  }

  /// Leads to no lesson.
  package static var closed: LessonDoor {
    LessonDoor(names: { [] }, open: { .failure(VMError(.usage, "\($0): no such lesson")) })
  }
}

/// A lesson has a guest of its own: its session takes the place of the present one, which comes back afterwards.
extension ConsoleModel {
  /// `lesson NAME` begins one; all else about lessons is the session's.
  func chooseLesson(_ line: String, _ word: String?) {
    guard let word else {
      if snapshot.lesson != nil { bringUp(.lesson) } else { say("lessons: \(lessonDoor.names().joined(separator: ", "))") }
      return
    }
    if word == "leave" { return leaveLesson() }
    if snapshot.lesson != nil, !lessonDoor.names().contains(word), !word.contains(".") { return perform(line) }
    guard !snapshot.isLive else { return say("the guest is running; pause first (Space)") }
    switch lessonDoor.open(word) {
    case .success(let opened):
      if snapshot.lesson == nil { outer = session }
      adopt(opened)
    case .failure(let error): say(error.description)
    }
  }

  /// Gives the lesson's page the keys.
  func showLesson() {
    if snapshot.lesson != nil { bringUp(.lesson) } else { chooseLesson("", nil) }
  }

  func leaveLesson() {
    guard snapshot.lesson != nil else { return say("no lesson is under way") }
    guard !snapshot.isLive else { return say("the guest is running; pause first (Space)") }
    guard let before = outer else { return perform("lesson leave") }
    outer = nil
    adopt(before)
  }

  /// After each snapshot: what a new step wants seen is brought up, and the lesson has the keys.
  func followLesson(from before: LessonView?) {
    guard let lesson = snapshot.lesson else { return }
    let isNew = before.map { $0.run.index != lesson.run.index || $0.run.lesson != lesson.run.lesson } ?? true
    guard isNew else { return }
    zoomed = nil
    if let pane = lesson.run.step.pane.flatMap(PaneID.init(lessonName:)) { bringUp(pane, takesFocus: false) }
    focus = .lesson
  }

  /// What the lesson points at, in the pane it speaks of.
  func drawLessonMark(_ canvas: Canvas) {
    guard let step = snapshot.lesson?.run.step, let mark = step.mark, zoomed == nil,
      let pane = step.pane.flatMap(PaneID.init(lessonName:)), visiblePanes.contains(pane)
    else { return }
    for place in markedPlaces(mark, in: contentRegion(of: pane)) { canvas.part(place).highlight(.match) }
  }

  /// Where a text stands in a region of the screen, once in each row.
  package func markedPlaces(_ mark: String, in region: Region) -> [Region] {
    guard let frame else { return [] }
    let wanted = mark.lowercased().unicodeScalars.map(\.value)
    return (region.y..<max(region.endY, region.y)).compactMap { (y: Int) -> Region? in
      let row = (region.x..<region.endX).map { frame[$0, y].scalar }.map { (0x41...0x5A).contains($0) ? $0 | 0x20 : $0 }
      guard wanted.count <= row.count, !wanted.isEmpty else { return nil }
      let at = (0...(row.count - wanted.count)).first { row[$0..<($0 + wanted.count)].elementsEqual(wanted) }
      return at.map { Region(x: region.x + $0, y: y, width: wanted.count, height: 1) }
    }
  }
}

extension PaneID {
  /// The pane a lesson means by a name of `Lesson.paneNames`.
  package init?(lessonName name: String) {
    let all: [String: PaneID] = [
      "code": .code, "registers": .registers, "exits": .exits, "anatomy": .anatomy, "events": .events, "vmcs": .vmcs,
      "hypercalls": .hypercalls, "memory": .memory, "breakpoints": .breakpoints, "tables": .tables, "xen": .xen,
      "interrupts": .interrupts, "devices": .devices, "paging": .paging, "stack": .stack, "console": .console,
      "screen": .screen, "statistics": .reasons, "rewriter": .rewriter, "log": .messages,
    ]
    guard let pane = all[name] else { return nil }
    self = pane
  }
}
