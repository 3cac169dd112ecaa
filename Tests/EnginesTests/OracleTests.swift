import COracle
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// Random instruction sequences on the interpreter and on the host's own processor. `RINGSIDE_CAMPAIGN` is
/// the number of cases of the largest run, `RINGSIDE_SEED` the seed (0 unless given), `RINGSIDE_FOCUS` the one kind to run (any, x87 or
/// vector), `RINGSIDE_ENGINE` the one engine; case numbers and seed make a difference seen here seen again.
@Suite(.serialized)
struct OracleTests {
  private static func setting(_ name: String) -> Int? { getenv(name).flatMap { Int(String(cString: $0)) } }

  @Test(arguments: OracleGenerator.Focus.allCases, ["interpreter", "rewriter"])
  func `random instruction sequences do what the host's processor does`(
    _ focus: OracleGenerator.Focus, _ engine: String
  ) throws {
    if let chosen = getenv("RINGSIDE_FOCUS").map({ String(cString: $0) }), chosen != focus.rawValue { return }
    if let chosen = getenv("RINGSIDE_ENGINE").map({ String(cString: $0) }), chosen != engine { return }
    let share = (focus == .any ? 1 : 2) * (engine == "rewriter" ? 4 : 1)
    let wanted = (Self.setting("RINGSIDE_CAMPAIGN") ?? 20_000) / share
    let seed = UInt64(Self.setting("RINGSIDE_SEED") ?? 0)
    let cases = try #require(coracle_cases(), "no child could be started for the oracle (errno \(errno))")
    defer { coracle_close() }
    let machine = try OracleMachine(engine: engine)
    var generator = OracleGenerator(seed: seed, focus: focus)
    var campaign = OracleCampaign()
    while campaign.compared + campaign.discarded < wanted {
      let batch = (0..<CORACLE_CASES).map { _ in generator.next() }
      for (i, c) in batch.enumerated() { c.place(at: i, cases) }
      let result = coracle_run(Int32(batch.count))
      #expect(result == 0, "the oracle's child ended (\(result)) at case \(campaign.number)")
      for (i, c) in batch.enumerated() { campaign.judge(c, native: cases[i], data: OracleCase.nativeData(i), machine) }
    }
    print("\(focus), \(engine): \(campaign.summary)")
    #expect(campaign.differing == 0, "\(campaign.report)")
  }
}

extension OracleCase {
  /// Hands the case to the oracle as number `i` of its batch.
  func place(at i: Int, _ cases: UnsafeMutablePointer<coracle_case>) {
    cases[i] = initial
    let target = UnsafeMutableRawBufferPointer(start: coracle_data(Int32(i)), count: Int(CORACLE_DATA_BYTES))
    data.withUnsafeBytes { target.copyMemory(from: $0) }
  }
  /// The data area the processor left.
  static func nativeData(_ i: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: coracle_data(Int32(i)), count: CORACLE_DATA_BYTES)
  }
}

/// Counts and the first differences of a run.
struct OracleCampaign {
  private(set) var number = 0
  private(set) var compared = 0
  private(set) var discarded = 0
  private(set) var differing = 0
  private var faults = 0
  private(set) var report = ""
  /// One report for each sequence of mnemonics, so that one cause does not hide the others.
  private var seen: [String: Int] = [:]

  mutating func judge(_ c: OracleCase, native: coracle_case, data: UnsafeRawBufferPointer, _ machine: OracleMachine) {
    defer { number += 1 }
    // Killed with the child, or looping.
    guard native.ran == 1, native.vector != 255 else {
      discarded += 1
      return
    }
    let (ours, ourData) = machine.run(c)
    // MASKMOVx may fault for bytes its mask leaves out; how far a gather comes before a fault is its own affair.
    let isMasked = c.contains("maskmov", "gather") && (native.vector != 3 || ours.vector != 3)
    // An indirect transfer may land between instructions, in what nobody chose to run.
    let isLost = c.contains("ret", "call", "jmp") && native.vector != 14
    // AMD's MXCSR has a bit 17 (MM), which Intel's, and the embedded processor's, refuses with #GP.
    let isOtherMXCSR = native.mxcsr >> 16 != 0
    if ours.vector == 255 || isMasked || isLost || isOtherMXCSR {
      discarded += 1
      return
    }
    compared += 1
    if native.vector != 3 { faults += 1 }
    let lines = OracleComparison.differences(
      c, native: native, nativeData: data, ours: ours, ourData: ourData)
    guard !lines.isEmpty else { return }
    differing += 1
    let key = c.disassembly.map { String($0.prefix { $0 != " " }) }.joined(separator: ",")
    seen[key, default: 0] += 1
    if seen[key] == 1 && seen.count <= 40 {
      report += OracleComparison.report(number: number, c, native: native, lines: lines)
    }
  }

  var summary: String {
    "oracle: \(compared) compared (\(faults) ended by a fault), \(discarded) discarded, \(differing) differ"
  }
}
