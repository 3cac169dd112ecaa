import VMCore

/// From the start of `ringside --headless` to its end with a guest of two instructions: more than to the
/// guest's first.
struct StartBench {
  private static let rounds = 20

  func finding() throws(VMError) -> Finding {
    let folder = try Host.makeTemporaryFolder()
    defer { Host.remove(folder: folder) }
    let image = "\(folder)/halt.bin"
    try Host.write([0xFA, 0xF4], to: image)  // CLI; HLT
    var times: [Double] = []
    var floor: [Double] = []
    for _ in 0..<Self.rounds {
      times.append(try Self.time([Emulator.ringsidePath, "--headless", "--mode", "real", image]))
      floor.append(try Self.time(["true"]))
    }
    let median = Statistics.median(times) ?? 0
    let target = 50e6
    return Finding(
      what: "start to end of a two-instruction guest", measured: Figure.time(median),
      peer: "longest \(Figure.time(times.max() ?? 0)); true(1) \(Figure.time(Statistics.median(floor) ?? 0))",
      target: Figure.time(target), isReached: median <= target)
  }

  private static func time(_ command: [String]) throws(VMError) -> Double {
    let start = HostClock.now()
    try Host.run(command, seconds: 10)
    return Double(HostClock.now() &- start)
  }
}
