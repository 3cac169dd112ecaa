import Debugger
import VMCore

/// Checkpoints: whole-machine snapshots in memory, from which going back in time starts.
extension SessionCore {
  /// The run is at a place where one is due.
  func checkpointIsDue() {
    let start = ExitCosts.now()
    if let checkpoint = makeCheckpoint() {
      checkpoints.add(checkpoint) { pageSaver.budget.bytes }
    }
    let now = ExitCosts.now()
    checkpoints.schedule(after: control.retired, cost: now &- start, now: now)
    control.checkpointAt = isReplaying || !canCheckpoint ? .max : checkpoints.due
  }

  /// Engines that can be set to an earlier count, and give the same run from there.
  var canCheckpoint: Bool {
    recorded == nil && machine.engine.capabilities.isSuperset(of: [.deterministic, .instructionBudget])
  }

  /// The machine as it stands; nil where a vCPU is in the middle of something, or memory has no room for it.
  func makeCheckpoint() -> Checkpoint? {
    guard canCheckpoint, control.lanes.all.allSatisfy({ $0.action == .resume && $0.injection == nil }) else { return nil }
    guard let pages = pageSaver.save(machine.memory) else { return nil }
    takeSlack()
    return Checkpoint(
      retired: control.retired, time: control.time, current: control.current, turn: control.turn, lanes: control.lanes.all,
      states: control.vcpus.map(\.state), clocks: control.vcpus.map { ($0.instructionCount, $0.virtualTime) },
      platform: machine.platform.snapshot(), costs: control.costs, exitStates: control.exitStates, tallies: stream.present,
      console: console, siteCounts: machine.inspection?.siteCounts ?? [], inputs: script.inputs.count, pages: pages)
  }

  /// Puts the machine where a checkpoint says; false, with the guest at its start, where the engine cannot.
  func restore(_ checkpoint: Checkpoint) throws(VMError) -> Bool {
    try machine.platform.restore(checkpoint.platform)
    _ = machine.platform.takeConsoleOutput()
    machine.memory.clear()
    for (page, saved) in checkpoint.pages {
      saved.bytes.withUnsafeBytes { _ = machine.memory.write(GPA(page << 12), $0) }
    }
    pageSaver.resume(checkpoint.pages, machine.memory)
    control.startOver(checkpoint.states)
    for (index, vcpu) in control.vcpus.enumerated() {
      guard vcpu.setClock(instructions: checkpoint.clocks[index].instructions, time: checkpoint.clocks[index].time) else {
        try startOver()
        return false
      }
      vcpu.state = checkpoint.states[index]
    }
    control.lanes.all = checkpoint.lanes
    (control.retired, control.time, control.current) = (checkpoint.retired, checkpoint.time, checkpoint.current)
    control.turn = checkpoint.turn
    (control.costs, control.exitStates) = (checkpoint.costs, checkpoint.exitStates)
    stream.replace(checkpoint.tallies)
    console = checkpoint.console
    machine.inspection?.siteCounts = checkpoint.siteCounts
    return true
  }

  // MARK: commands

  func listCheckpoints() -> CommandResult {
    let all = checkpoints.all
    let held = Recording.bytes(UInt64(pageSaver.budget.bytes + all.count * Checkpoint.overhead))
    let limit = Recording.bytes(UInt64(CheckpointBudget.limit))
    var lines = [
      all.isEmpty
        ? "no checkpoints yet: the first comes after \(checkpoints.due) instructions"
        : "\(all.count) checkpoints, \(held) of at most \(limit); going back starts at the nearest before"
    ]
    lines += all.enumerated().map { index, one in
      "  \(Column.right(String(one.retired), 16)) instructions  \(Column.right(String(one.pages.count), 6)) pages"
    }
    return CommandResult(
      lines,
      json: .members(
        ("bytes", .number(UInt64(pageSaver.budget.bytes))),
        ("checkpoints", .array(all.map {
          .members(("instructions", .number($0.retired)), ("time", .number($0.time)), ("pages", .number(UInt64($0.pages.count))))
        }))))
  }

  func saveSnapshot(_ name: String) -> CommandResult {
    guard canCheckpoint else { return CommandResult([whyNoCheckpoint], failed: true) }
    guard let checkpoint = makeCheckpoint() else {
      return CommandResult(["a vCPU is in the middle of an exit here: step once and save again"], failed: true)
    }
    snapshots[name] = checkpoint
    return CommandResult(
      "saved as \(name): instruction \(checkpoint.retired), \(checkpoint.pages.count) pages",
      json: .members(("name", .string(name)), ("instructions", .number(checkpoint.retired))))
  }

  var whyNoCheckpoint: String { "the \(machine.engine.name) engine cannot be put back: it has no snapshots" }

  func loadSnapshot(_ name: String, usage: String) throws(CommandError) -> CommandResult {
    guard let checkpoint = snapshots[name] else {
      throw CommandError(
        typed: name, expected: snapshots.isEmpty ? "nothing was saved yet" : "no snapshot has this name",
        nearest: NearestName.find(name, in: snapshots.keys.sorted()), usage: usage)
    }
    do throws(VMError) {
      guard try restore(checkpoint) else { return CommandResult([whyNoCheckpoint], failed: true) }
    } catch {
      throw CommandError(typed: name, expected: error.description, usage: usage)
    }
    // An exit the guest stood at is made again by its instruction, which does not stop a second time.
    control.restartInstruction()
    script.keep(checkpoint.inputs)
    checkpoints.forget(after: control.retired)
    noteJump("the snapshot \(name) was loaded: instruction \(control.retired)")
    settle(.wentBack)
    return answerToStop()
  }

  func listSnapshots() -> CommandResult {
    let all = snapshots.sorted { $0.key < $1.key }
    return CommandResult(
      all.isEmpty ? ["nothing was saved yet"] : all.map { "\($0.key): instruction \($0.value.retired), \($0.value.pages.count) pages" },
      json: .object(all.map { .init($0.key, .number($0.value.retired)) }))
  }

  /// The guest is elsewhere without having run there: recordings say so and count on.
  func noteJump(_ text: String) {
    stream.drain()
    stream.recording?.note(text)
    stream.recording?.renumber(exits: stream.exitCount)
    stream.recorder?.note(text, at: control.retired)
  }
}
