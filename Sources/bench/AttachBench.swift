import Glibc
import Session
import TerminalDriver
import VMCore

/// What it costs to watch a guest: Linux's boot in the console on a terminal, beside the same boot with `--headless`.
/// Whole processes, in turns.
struct AttachBench {
  private static let rounds = 5
  private static let engine = ["--engine", "rewriter", "--append", "quiet"]

  /// Nothing where Samples/linux/fetch.sh has not made the images (BENCH_LINUX names another folder of them).
  func findings() throws(VMError) -> [Finding] {
    let given = getenv("BENCH_LINUX").map { String(cString: $0) }
    guard let folder = given ?? SampleLibrary.folder("Samples").map({ "\($0)/linux/image" }),
      Host.exists("\(folder)/vmlinuz"), Host.exists("\(folder)/initrd.gz")
    else { return [] }
    let guest = ["\(folder)/vmlinuz", "--initrd", "\(folder)/initrd.gz"] + Self.engine
    var (cost, time, seconds, shares): ([Double], [Double], [Double], [Double]) = ([], [], [], [])
    for _ in 0..<Self.rounds {
      let alone = try measure { () throws(VMError) in try Self.alone(guest) }
      let watched = try measure { () throws(VMError) in shares.append(try Self.watched(guest)) }
      cost.append((watched.processor / alone.processor - 1) * 100)
      time.append((watched.elapsed / alone.elapsed - 1) * 100)
      seconds.append(alone.processor / 1e9)
    }
    func median(_ values: [Double]) -> Double { Statistics.median(values) ?? 0 }
    let more = median(cost)
    return [
      Finding(
        what: "Linux boot watched, processor time more than alone", measured: "\(Figure.number(more)) %",
        peer: "rounds \(cost.map { Figure.number($0) }.joined(separator: ", ")); elapsed \(Figure.number(median(time))) %; "
          + "alone \(Figure.number(median(seconds))) s; the console's thread \(Figure.number(median(shares))) %",
        target: "5 %", isReached: more < 5)
    ]
  }

  /// Nanoseconds by the clock, and of processor time of the children that ended meanwhile.
  private func measure(_ run: () throws(VMError) -> Void) throws(VMError) -> (elapsed: Double, processor: Double) {
    let (start, before) = (HostClock.now(), Self.processorTime())
    try run()
    return (Double(HostClock.now() &- start), Self.processorTime() - before)
  }

  private static func processorTime() -> Double {
    var usage = rusage()
    getrusage(RUSAGE_CHILDREN.rawValue, &usage)
    let seconds = Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
    return seconds * 1e9 + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e3
  }

  private static func alone(_ guest: [String]) throws(VMError) {
    try Host.run([Emulator.ringsidePath, "--headless", "--no-progress"] + guest, seconds: 120)
  }

  /// Per cent of the processor time that the console's thread used while the guest ran.
  private static func watched(_ guest: [String]) throws(VMError) -> Double {
    let program = try ConsoleBench.start(guest, width: 120, height: 40)
    let (all, own) = (program.cpuTime, program.firstThreadTime)
    program.type("c")
    guard program.waitFor("ENDED", milliseconds: 120_000) else { throw VMError(.unavailable, "the guest did not end") }
    let share = Double(program.firstThreadTime - own) / Double(max(program.cpuTime - all, 1)) * 100
    program.type("q")
    _ = program.waitForEnd()
    return share
  }
}
