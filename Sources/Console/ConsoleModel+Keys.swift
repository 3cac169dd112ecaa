import Debugger
import Session
import TerminalUI
import VMCore
import X86

extension ConsoleModel {
  /// Takes one input and says what the main loop has to do. No input is swallowed: what means nothing is
  /// answered with a remark.
  package func handle(_ event: InputEvent) -> Request {
    switch event {
    case .key(let key): return handle(key)
    case .paste(let text):
      paste(text)
      return .none
    case .mouse(let mouse):
      handle(mouse)
      return .none
    case .resize, .resume:
      // What was pointed at is elsewhere now.
      note = []
      probe = nil
      return .redraw
    case .suspend: return .suspend
    case .terminate, .hangup: return .quit
    }
  }

  private func handle(_ key: Key) -> Request {
    // The screen drawn again shows what it showed: nothing else comes of the key.
    if mode != .guest, key.typed == nil, keys.binding(for: key)?.action == .redraw { return .redraw }
    remark = nil
    if !note.isEmpty, mode == .panes, let request = handleWhileExplaining(key) { return request }
    note = []
    probe = nil
    switch mode {
    case .panes: return handleInPanes(key)
    case .command: return handleInCommand(key)
    case .find, .goTo: return handleQuestion(key)
    case .guest:
      handleForGuest(key)
      return .none
    case .help:
      handleInHelp(key)
      return .none
    case .confirmQuit:
      mode = .panes
      return key.typed == "q" || key.typed == "y" || key.code == .enter ? .quit : .none
    }
  }

  private func handleForGuest(_ key: Key) {
    if key == GuestConsolePane.leaveKey {
      mode = .panes
      return
    }
    let bytes = key.bytes
    if bytes.isEmpty { say("this key has no bytes a serial console knows") } else { session.typeToGuest(bytes) }
  }

  private func handleInHelp(_ key: Key) {
    switch key.code {
    case .up: help.scroll(-1, width: screen.width, height: screen.height)
    case .down: help.scroll(1, width: screen.width, height: screen.height)
    case .pageUp: help.scroll(-10, width: screen.width, height: screen.height)
    case .pageDown: help.scroll(10, width: screen.width, height: screen.height)
    default: mode = .panes
    }
  }

  /// Pasted text: several lines on the command line are that many commands, of which the last waits for Enter.
  private func paste(_ text: String) {
    remark = nil
    switch mode {
    case .guest: session.typeToGuest(Array(text.utf8))
    case .command:
      let lines = text.split(omittingEmptySubsequences: false) { $0 == "\n" || $0 == "\r" || $0 == "\r\n" }
      for line in lines.dropLast() {
        commandLine.insert(String(line))
        _ = handleInCommand(Key(.enter))
        if mode == .panes { beginCommand("") }
      }
      commandLine.insert(lines.last.map(String.init) ?? "")
    case .find, .goTo: question.insert(text)
    default: say("paste goes to the command line (:) or to the guest (Enter in its console)")
    }
  }

  // MARK: lines

  private func handleInCommand(_ key: Key) -> Request {
    switch commandLine.handle(key) {
    case .submitted(let line):
      mode = .panes
      guard line.contains(where: { $0 != " " }) else { return repeatLine() }
      commandLine.remember(line)
      return submitTyped(line)
    case .cancelled: mode = .panes
    case .wantsCompletion: complete()
    case .ignored: say("no such key on the command line; Esc leaves it")
    case .edited: break
    }
    return .none
  }

  /// An empty line repeats the last command, as in gdb: the session's by the session, which knows where `x` ended.
  private func repeatLine() -> Request {
    guard let last = commandLine.history.last else { return .none }
    if isOwn(last) || !hasSubmitted { return submitTyped(last) }
    submit("")
    return .none
  }

  private func complete() {
    let line = commandLine.beforeCursor
    let candidates = ownCompletions(line) ?? session.completions(for: line)
    guard !candidates.isEmpty else {
      say("nothing completes this")
      return
    }
    let open = commandLine.complete(candidates)
    if !open.isEmpty { say(open.joined(separator: "  ")) }
  }

  private func handleQuestion(_ key: Key) -> Request {
    switch question.handle(key) {
    case .submitted(let text):
      let asked = mode
      mode = .panes
      if asked == .find { search(text.isEmpty ? lastSearch ?? "" : text, backward: false) } else { goTo(text) }
      if !text.isEmpty { question.remember(text) }
    case .cancelled: mode = .panes
    case .wantsCompletion:
      let open = question.complete(session.completions(for: "print " + question.beforeCursor))
      if !open.isEmpty { say(open.joined(separator: "  ")) }
    case .ignored: say("no such key here; Esc leaves")
    case .edited: break
    }
    return .none
  }

  private func search(_ text: String, backward: Bool) {
    guard !text.isEmpty else { return }
    lastSearch = text
    if snapshot.replay != nil, focus.digit == 1 {
      perform("search \(backward ? "back " : "")\(text)")
      return
    }
    guard let pane = focusedPane else { return }
    if !pane.find(text, backward: backward, snapshot) { say("'\(text)' is not in this pane\(pane.searchLimit)") }
  }

  private func goTo(_ text: String) {
    guard !text.isEmpty, let pane = focusedPane else { return }
    if snapshot.replay != nil, focus.digit == 1 || text.hasPrefix("#") {
      perform(focus == .events && !text.hasPrefix("#") ? "goto event \(text)" : "goto \(text)")
      return
    }
    if let complaint = pane.goTo(text, snapshot) { say(complaint) }
  }

  // MARK: panes

  private func handleInPanes(_ key: Key) -> Request {
    if let pane = focusedPane, pane.takesText {
      carryOut(pane.handle(key, snapshot))
      return .none
    }
    forgetOldCount()
    if let digit = key.typed.flatMap({ $0.properties.numericType == .decimal ? Int(String($0)) : nil }),
      focusedPane?.takesDigit(digit, snapshot) != true
    {
      takeDigit(digit)
      return .none
    }
    let count = pendingCount
    pendingCount = nil
    let before = viewBeforeCount
    viewBeforeCount = nil
    if let binding = keys.binding(for: key), count != nil, binding.takesCount {
      // The digits were a count, not a pane: put the view back.
      if let before { (focus, fronts, zoomed) = before }
      return act(binding.action, count: count ?? 1)
    }
    if key.typed == "n", lastSearch != nil, focus != .code, focus != .registers, focus != .lesson {
      search(lastSearch ?? "", backward: false)
      return .none
    }
    if let pane = focusedPane {
      let response = pane.handle(key, snapshot)
      if response != .ignored {
        carryOut(response)
        return .none
      }
    }
    guard let binding = keys.binding(for: key) else {
      say("this key does nothing here (\(key.name)); F1 shows the keys")
      return .none
    }
    return act(binding.action, count: 1)
  }

  /// A pane brought up by its digit and looked at for a while is no count for what is typed then.
  private func forgetOldCount() {
    guard pendingCount != nil, now &- countTime > Self.countPatience else { return }
    pendingCount = nil
    viewBeforeCount = nil
  }
  private static let countPatience: UInt64 = 2_000_000_000

  /// A digit brings up its pane at once, and is the beginning of a count should one follow.
  private func takeDigit(_ digit: Int) {
    if viewBeforeCount == nil { viewBeforeCount = (focus, fronts, zoomed) }
    countTime = now
    let isFirst = pendingCount == nil
    let count = (pendingCount ?? 0) * 10 + digit
    pendingCount = min(count, 1_000_000)
    let group = PaneID.group(digit)
    if isFirst, let pane = nextOfGroup(group) {
      bringUp(pane)
    } else if let before = viewBeforeCount {
      (focus, fronts, zoomed) = before
    }
  }

  /// The pane of a digit's group that was in front last; the one behind it where that has the keys already.
  private func nextOfGroup(_ group: [PaneID]) -> PaneID? {
    let front = group.contains(focus) ? focus : fronts.last { group.contains($0) }
    guard let front, let index = group.firstIndex(of: front) else { return group.first }
    return front == focus ? group[(index + 1) % group.count] : front
  }

  /// The next pane with the digit of the focused one.
  private func showNeighbour() {
    guard let digit = focus.digit, PaneID.group(digit).count > 1 else {
      say("no other pane shares this one's digit")
      return
    }
    if let next = nextOfGroup(PaneID.group(digit)) { bringUp(next) }
  }

  private func carryOut(_ response: PaneResponse) {
    switch response {
    case .ignored, .handled: break
    case .perform(let line): perform(line)
    case .focus(let pane): bringUp(pane)
    case .typeToGuest: mode = .guest
    case .typeCommand(let text): beginCommand(text)
    case .leaveLesson: leaveLesson()
    case .say(let text): say(text)
    case .show(let address, let pane):
      if pane == .code { code.go(to: address, snapshot) } else { memory.go(toLinear: address) }
      showPlace(pane)
    case .showPhysical(let address):
      memory.go(toPhysical: address)
      showPlace(.memory)
    case .openExit(let ordinal):
      exits.select(ordinal)
      bringUp(.anatomy)
    case .walk(let address):
      paging.show(address)
      bringUp(.paging)
    }
  }

  /// Brings up a pane that was told to show something, without taking the keys where it is visible anyway.
  private func showPlace(_ pane: PaneID) {
    if !visiblePanes.contains(pane) { bringUp(pane) }
  }

  private func act(_ action: ConsoleAction, count: Int) -> Request {
    if action.runsGuest { animation.stop() }
    let times = count > 1 ? " \(count)" : ""
    switch action {
    case .step: perform("step\(times)")
    case .stepBack: perform("rsi\(times)")
    case .over: perform("next\(times)")
    case .out: perform("finish")
    case .toCursor: perform("until 0x\(Format.hex(code.cursorLinear(snapshot)))")
    case .nextExit: perform("exit\(times)")
    case .nextExitOfReason: nextExitOfReason(times)
    case .nextInterrupt: perform("interrupt\(times)")
    case .nextHypercall: perform("hypercall\(times)")
    case .run: perform("continue\(times)")
    case .runWithoutDrawing:
      isQuiet = true
      perform("continue")
    case .animate: animate()
    case .pause: pause()
    case .toggleBreakpoint: toggleBreakpoint()
    case .listBreakpoints: bringUp(.breakpoints)
    case .watch: beginCommand("watch w ")
    default: return look(action, count: count)
    }
    return .none
  }

  private func look(_ action: ConsoleAction, count: Int) -> Request {
    if snapshot.replay != nil, let command = Self.replayCommand(action, count: count) {
      perform(command)
      return .none
    }
    let sequences = exits.identities(snapshot)
    switch action {
    case .exitBack(let step): showExit { exits.move(-step * count, sequences) }
    case .exitForward(let step): showExit { exits.move(step * count, sequences) }
    case .firstExit: showExit { exits.select(sequences.first) }
    case .lastExit: showExit { exits.select(nil) }
    case .find: ask(.find)
    case .findNext: search(lastSearch ?? "", backward: false)
    case .findPrevious: search(lastSearch ?? "", backward: true)
    case .goTo: ask(.goTo)
    case .toInstructionPointer:
      if !visiblePanes.contains(.code) { bringUp(.code) }
      code.returnToInstructionPointer(snapshot)
    case .focusNext: moveFocus(1)
    case .focusPrevious: moveFocus(-1)
    case .zoom: zoomed = zoomed == nil ? focus : nil
    case .nextLayout: nextLayout()
    case .focusRegisters: bringUp(.registers)
    case .nextVCPU: nextVCPU()
    case .neighbour: showNeighbour()
    case .explain: explain()
    case .copy: return copy()
    case .help:
      mode = .help
      help.first = 0
    case .command: beginCommand("")
    case .lesson: showLesson()
    case .redraw: return .redraw
    case .suspend: return .suspend
    case .quit: return wantQuit()
    case .leave: leave()
    default: break
    }
    return .none
  }

  /// In a recording the whole machine goes where a live session only looks.
  private static func replayCommand(_ action: ConsoleAction, count: Int) -> String? {
    switch action {
    case .exitBack(let step): "goto -\(step * count)"
    case .exitForward(let step): "goto +\(step * count)"
    case .firstExit: "goto first"
    case .lastExit: "goto last"
    default: nil
    }
  }

  private func showExit(_ move: () -> Void) {
    move()
    if !visiblePanes.contains(.anatomy) { bringUp(.exits, takesFocus: false) }
    guard exits.isLookingBack, let index = exits.currentIndex(exits.identities(snapshot)) else { return }
    say("looking back at #\(snapshot.exits[index].sequence): registers and memory stay those of now")
  }

  private func nextExitOfReason(_ times: String) {
    let reason = focus == .reasons ? reasons.currentReason(snapshot) : exits.currentReason(snapshot)
    guard let reason else {
      say("no exit has a reason to look for yet; e goes to the next exit of any")
      return
    }
    perform("exit\(times) \(reason.name)")
  }

  private func nextVCPU() {
    let count = snapshot.vcpus.count
    if count > 1 { perform("vcpu \((snapshot.currentVCPU + 1) % count)") } else { say("this guest has one vCPU") }
  }

  /// Takes the animation's next step when it is due; the time to ask again, nil where it is off.
  package func animate(_ now: UInt64) -> UInt64? {
    guard !snapshot.isLive, let tick = animation.tick(now) else { return nil }
    if tick.steps { perform("step") }
    return tick.next
  }

  private func animate() {
    if snapshot.isLive && !animation.isOn {
      say("the guest is running; pause first (Space)")
    } else if !animation.faster() {
      say("animation: flat out; Space pauses")
      perform("continue")
    } else {
      say(animation.text ?? "")
    }
  }

  private func pause() {
    if animation.stop() {
      say("animation stopped")
      if snapshot.isRunning { session.pause() }
      return
    }
    if snapshot.isLive || !session.hasAnswered { return session.pause() }
    if case .ended = snapshot.phase { return say("the guest has ended; :reset loads it again") }
    say("already stopped; c runs, s steps, e runs to the next exit")
  }

  private func toggleBreakpoint() {
    let address = code.cursorLinear(snapshot)
    if let there = snapshot.executionBreakpoint(at: address) {
      perform("delete \(there.number)")
    } else {
      perform("break 0x\(Format.hex(address))")
    }
  }

  func beginCommand(_ text: String) {
    mode = .command
    commandLine.set(text)
  }

  private func ask(_ what: Mode) {
    mode = what
    question.set("")
  }

  private func moveFocus(_ direction: Int) {
    let visible = visiblePanes
    guard let index = visible.firstIndex(of: focus) else {
      focus = visible.first ?? .code
      return
    }
    focus = visible[(index + direction + visible.count) % visible.count]
  }

  private func leave() {
    if zoomed != nil { zoomed = nil } else { lastSearch = nil }
  }
}
