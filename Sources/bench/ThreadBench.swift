import Glibc
import Session
import VMCore

/// What a console asks of a guest that runs on a thread of its own.
struct ThreadBench {
  let guest: String

  /// Where pauses are tried: in registers, in exits, and in instructions that each run long.
  static let pauseKernels = ["intloop:1000000000", "out:1000000000", "repmovs:1000000"]
  /// What a console costs: without exits and with nothing but exits.
  static let attachedKernels = ["intloop:1000000000", "out:1000000000"]

  private func makeSession(_ words: String) throws(VMError) -> Session {
    let session = try Session(.benchGuest(guest, words: words))
    session.start()
    return session
  }

  private static func name(_ words: String) -> Substring { words.prefix { $0 != ":" } }

  // MARK: pause

  private static let pauseCount = 50
  /// ns after which no further pause is tried.
  private static let enough: UInt64 = 10_000_000_000

  /// From `pause()` to the snapshot of the stopped guest.
  func pauses(_ words: String) throws(VMError) -> Finding {
    let session = try makeSession(words)
    var times: [Double] = []
    let begin = HostClock.now()
    for turn in 0..<Self.pauseCount {
      session.submit("continue")
      try session.await("the guest to run", asking: true) { $0.phase == .running }
      usleep(5_000 + UInt32(turn) * 137)
      let start = HostClock.now()
      session.pause()
      do throws(VMError) {
        try session.await("the guest to pause", asking: false) { $0.phase == .paused }
      } catch {
        // Ending the session would wait for the guest too, so it stays until this process ends.
        _ = Unmanaged.passRetained(session)
        throw VMError(.session, "\(Self.name(words)): \(error.message)")
      }
      times.append(Double(HostClock.now() &- start))
      if HostClock.now() &- begin > Self.enough { break }
    }
    session.stop()
    let longest = times.max() ?? 0
    let target = 50e6
    return Finding(
      what: "pause in \(Self.name(words)), longest of \(times.count)", measured: Figure.time(longest),
      peer: "median \(Figure.time(Statistics.median(times) ?? 0))", target: Figure.time(target),
      isReached: longest <= target)
  }

  // MARK: attached console

  private static let rounds = 5
  /// How long one measurement takes, about, ns of processor time.
  private static let duration = 500e6

  /// Processor time of this process for the same stretch of guest instructions, with and without a consumer
  /// of 30 snapshots a second.
  func attached(_ words: String) throws(VMError) -> Finding {
    let session = try makeSession(words)
    defer { session.stop() }
    _ = try run(session, instructions: 3_000_000, consumes: false)
    let probe: UInt64 = 5_000_000
    let speed = Double(probe) / (try run(session, instructions: probe, consumes: false))
    let instructions = UInt64(max(speed * Self.duration, 1_000_000))
    var alone: [Double] = []
    var watched: [Double] = []
    for _ in 0..<Self.rounds {
      alone.append(try run(session, instructions: instructions, consumes: false))
      watched.append(try run(session, instructions: instructions, consumes: true))
    }
    let base = Statistics.median(alone) ?? 1
    let cost = ((Statistics.median(watched) ?? base) / base - 1) * 100
    let mips = Double(instructions) * 1000 / base
    return Finding(
      what: "attached console in \(Self.name(words)), 30 snapshots/s",
      measured: "\(cost < 0 ? "-" : "")\(Figure.number(abs(cost))) %",
      peer: "alone \(Figure.number(mips)) M instructions/s", target: "5 %", isReached: cost < 5)
  }

  /// ns of processor time for so many instructions.
  private func run(_ session: Session, instructions: UInt64, consumes: Bool) throws(VMError) -> Double {
    let goal = session.snapshot.instructionCount + instructions
    session.acknowledgeChange()
    let start = HostClock.ownCPUTime()
    session.submit("step \(instructions)")
    try session.await("the guest to go on", asking: consumes) { $0.phase != .running && $0.instructionCount >= goal }
    return Double(HostClock.ownCPUTime() &- start)
  }
}

extension Session {
  /// Takes snapshots as a console does until the guest has ended.
  func awaitEnd() throws(VMError) {
    let end = HostClock.now() + Self.patience
    while true {
      acknowledgeChange()
      if case .ended = snapshot.phase { return }
      guard HostClock.now() < end else { throw VMError(.session, "waited 30 s for the guest's end") }
      requestSnapshot()
      var poll = pollfd(fd: changeDescriptor, events: Int16(POLLIN), revents: 0)
      _ = Glibc.poll(&poll, 1, Self.interval)
      if snapshot.phase == .running { usleep(UInt32(Self.interval) * 1000) }
    }
  }

  /// Milliseconds between two looks of a console.
  private static let interval: Int32 = 33
  private static let patience: UInt64 = 30_000_000_000

  /// Waits for a snapshot that `holds` is true of. With `asking`, it asks for one 30 times a second as a
  /// console does, else it waits for those that come unasked.
  func await(_ what: String, asking: Bool, _ holds: (SessionSnapshot) -> Bool) throws(VMError) {
    let end = HostClock.now() + Self.patience
    while true {
      acknowledgeChange()
      let now = snapshot
      if holds(now) { return }
      if case .ended = now.phase { throw VMError(.session, "waiting for \(what): \(now.stopSentence)") }
      guard HostClock.now() < end else { throw VMError(.session, "waited 30 s for \(what)") }
      if asking { requestSnapshot() }
      var poll = pollfd(fd: changeDescriptor, events: Int16(POLLIN), revents: 0)
      _ = Glibc.poll(&poll, 1, Self.interval)
      if asking, snapshot.phase == .running { usleep(UInt32(Self.interval) * 1000) }
    }
  }
}
