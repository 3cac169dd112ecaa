import Testing
import bench

@Suite struct GuestRunTests {
  @Test(
    "a guest's lines are told apart",
    arguments: [
      ("bench start", GuestLine.start(guest: "bench")),
      ("nanobench64 start", .start(guest: "nanobench64")),
      ("> intloop 2000000", .begin(name: "intloop", count: 2_000_000)),
      ("sieve 2 39693140 0x00000000000132a2", .result(name: "sieve", count: 2, checksum: 0x132a2)),
      ("sieve 4 1 14069", .result(name: "sieve", count: 4, checksum: 0x14069)),
      ("bench end", .end), ("? word", .other), ("", .other), ("a b c d", .other),
    ])
  func lines(_ text: String, _ line: GuestLine) { #expect(GuestLine(text) == line) }

  private func run(_ lines: [(String, UInt64)]) -> GuestRun {
    var run = GuestRun()
    for (text, time) in lines { run.take(GuestLine(text), first: time, last: time) }
    return run
  }

  @Test func `a test costs the processor time between its two lines`() {
    let run = run([
      ("bench start", 5), ("> fib 60", 100), ("fib 60 1 0x1a6d", 700), ("> fib 60", 900), ("fib 60 1 0x1a6d", 1700),
      ("bench end", 1800),
    ])
    #expect(run.isComplete && run.complaints.isEmpty)
    #expect(run.results.map(\.nanoseconds) == [600, 800])
    #expect(run.costs.map(\.name) == ["fib"])
    #expect(run.costs.map(\.nanoseconds) == [1400.0 / 120])
  }

  @Test func `the time a line takes to be printed is no test's`() {
    var run = GuestRun()
    run.take(.begin(name: "fib", count: 60), first: 100, last: 150)
    run.take(.result(name: "fib", count: 60, checksum: 0x1a6d), first: 250, last: 400)
    #expect(run.results.map(\.nanoseconds) == [100])
  }

  @Test(
    "a wrong checksum is a complaint",
    arguments: [
      ("bench", "fib 60 1 0x1a6d", 0), ("bench", "fib 60 1 0x1a6e", 1), ("bench", "fib 7 1 0x1a6e", 1),
      ("bench", "intloop 7 1 0x1", 0), ("bench", "intloop 2000000 1 0x1", 1), ("unknown", "fib 60 1 0x1", 0),
      ("nanobench32", "fib 20 1 0x452f", 0), ("nanobench64", "fib 20 1 0x1a6d", 1),
    ])
  func checksum(_ guest: String, _ line: String, _ complaints: Int) {
    #expect(run([("\(guest) start", 0), (line, 1)]).complaints.count == complaints)
  }

  @Test func `a plan lets tests count as high as it takes, and as another plan says`() {
    let run = run([
      ("bench start", 0), ("> in 100000", 0), ("in 100000 1 0", 2_000_000), ("> intloop 2000000", 2_000_000),
      ("intloop 2000000 1 0xc3850f01ec068f96", 102_000_000), ("> sieve 2", 200_000_000),
      ("sieve 2 1 132a2", 900_000_000),
    ])
    let plan = Plan(after: run)
    #expect(plan.words == "in:11000000 intloop:6000000 sieve:2")
    #expect(Plan(after: run, lasting: 1_400_000_000).words == "in:70000000 intloop:28000000 sieve:4")
    let native = Plan(after: self.run([("> sieve 2", 0), ("sieve 2 1 132a2", 10_000_000)]))
    #expect(plan.agreeing(with: native).words == "in:11000000 intloop:6000000 sieve:44")
  }

  @Test func `a count in a plan stays in what a guest can count`() {
    #expect(Plan(after: run([("> vga 1000000000", 0), ("vga 1000000000 1 0", 1)])).words == "vga:2147483648")
  }
}

@Suite struct FigureTests {
  @Test("times have three digits", arguments: [(1.234, "1.23 ns"), (56.78, "56.8 ns"), (12_345, "12.3 us"), (2.5e9, "2.50 s")])
  func times(_ nanoseconds: Double, _ text: String) { #expect(Figure.time(nanoseconds) == text) }

  @Test func `medians and means`() {
    #expect(Statistics.median([3, 1, 2]) == 2)
    #expect(Statistics.median([4, 1, 2, 3]) == 2.5)
    #expect(Statistics.median([]) == nil)
    #expect(Statistics.geometricMean([2, 8]).map { ($0 * 1000).rounded() } == 4000)
    #expect(Statistics.geometricMean([1, 0]) == nil)
  }

  @Test func `a table lines up its columns`() {
    var table = Table(["test", "time"])
    table.add(["intloop", "1 ns"])
    #expect(table.lines == ["test     time", "intloop  1 ns"])
  }
}
