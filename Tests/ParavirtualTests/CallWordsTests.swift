import Paravirtual
import Testing
import VMCore

/// What a call pointed at is told in the same words for both ABIs, whose structures differ in the length of their words.
@Suite("Hypercalls in words") struct CallWordsTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var call: HypercallNumber
    var arguments: [UInt64]
    /// What lies at the pointer, which stands for `.max` among the arguments.
    var words: [UInt64]
    /// A 32-bit guest's, where it has other words.
    var narrow: [UInt64]?
    var line: String
    var testDescription: String { "\(call)" }
  }

  static let cases = [
    Case(call: .mmuextOp, arguments: [.max, 1, 0, 0x7FF0], words: [7, 0x5000, 0], line: "invalidate 5000h"),
    Case(
      call: .setTrapTable, arguments: [.max], words: [14 | 4 << 8 | 0xE019 << 16, 0x12340, 0, 0],
      line: "#PF -> 12340h, ring 0, events masked"),
    Case(call: .setGDT, arguments: [.max, 1], words: [0x1F2], line: "frame: mfn 1f2h"),
    Case(
      call: .callbackOp, arguments: [0, .max], words: [1 << 16, 0x12340], narrow: [1 << 16, 0xE019, 0x12340],
      line: "event -> 12340h, events masked"),
    Case(call: .vcpuOp, arguments: [5, 0, .max], words: [0x12340], line: "run state at 12340h"),
    Case(call: .physdevOp, arguments: [6, .max], words: [1], line: "iopl 1"),
  ]

  @Test("the same words for both ABIs", arguments: cases, [GuestABI.x86_64, .x86_32p])
  func sameWords(_ row: Case, _ abi: GuestABI) throws {
    let bench = try XenBench(abi: abi)
    bench.xen.keepsCalls = true
    let pointer = bench.address(0x20)
    bench.putWords(pointer, abi == .x86_32p ? row.narrow ?? row.words : row.words)
    bench.call(row.call.rawValue, row.arguments.map { $0 == .max ? pointer : $0 })
    let call = try #require((0..<50 as Range<UInt64>).compactMap { bench.xen.loggedCall($0) }.last)
    #expect(call.number == row.call.rawValue)
    #expect(CallWords.structures(call).first == row.line)
  }

  @Test func `set_callbacks of a 32-bit guest has a segment before each address`() throws {
    let bench = try XenBench(abi: .x86_32p)
    bench.xen.keepsCalls = true
    bench.call(.setCallbacks, 0xE019, 0x1000, 0xE019, 0x2000)
    let call = try #require((0..<50 as Range<UInt64>).compactMap { bench.xen.loggedCall($0) }.last)
    #expect(CallWords.arguments(call).map(\.name) == ["event_cs", "event", "failsafe_cs", "failsafe"])
  }
}
