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
    Case(
      call: .memoryOp, arguments: [6, .max], words: [0x12340, 8, 1 | 2 << 32, 0x7FF0], narrow: [0x12340, 8, 1, 2, 0x7FF0],
      line: "extent_start 12340h, nr_extents 8, extent_order 1, mem_flags 2, domid self"),
    Case(
      call: .memoryOp, arguments: [11, .max], words: [0x1000, 1, 0, 0x7FF0, 0x2000, 2, 0, 0x7FF0, 3],
      narrow: [0x1000, 1, 0, 0, 0x7FF0, 0x2000, 2, 0, 0, 0x7FF0, 3],
      line: "in.extent_start 1000h, in.nr_extents 1, in.extent_order 0, in.mem_flags 0, in.domid self, "
        + "out.extent_start 2000h, out.nr_extents 2, out.extent_order 0, out.mem_flags 0, out.domid self, nr_exchanged 3"),
    Case(
      call: .memoryOp, arguments: [13, .max], words: [0, 4, 0x2000], narrow: [0, 4, 0x2000],
      line: "domid 0, nr_entries 4, buffer 2000h"),
    Case(
      call: .memoryOp, arguments: [28, .max], words: [1 | 1 << 16, 4, 7, 0x3000], narrow: [1 | 1 << 16, 0, 4, 0, 7, 0, 0x3000],
      line: "domid 1, type 1, id 0, nr_frames 4, pad 0, frame 7, frame_list 3000h"),
    Case(
      call: .grantTableOp, arguments: [0, .max, 1], words: [0x12340, 2 | 8 << 32, 0xFFFD << 16 | 5 << 32, 0],
      narrow: [0x12340, 0, 2, 8, 0xFFFD << 16, 5, 0, 0],
      line: "host_addr 12340h, flags 2, ref 8, dom 0, status bad_gntref, handle 5, dev_bus_addr 0"),
    Case(
      call: .grantTableOp, arguments: [4, .max, 1], words: [0x1F2, 3 | 9 << 32, 0xFFF7], narrow: [0x1F2, 3, 9, 0xFFF7],
      line: "mfn 1f2h, domid 3, ref 9, status bad_page"),
    Case(
      call: .grantTableOp, arguments: [5, .max, 1], words: [7, 0x7FF0 | 64 << 16, 0x1F2, 128 << 16, 512 | 1 << 16],
      narrow: [7, 0x7FF0 | 64 << 16, 0x1F2, 128 << 16, 512 | 1 << 16, 0],
      line: "source.u 7, source.domid self, source.offset 64, dest.u 1f2h, dest.domid 0, dest.offset 128, len 512, "
        + "flags 1, status okay"),
    Case(
      call: .grantTableOp, arguments: [9, .max, 1], words: [2 | 0x7FF0 << 32, 0x4000], narrow: [2, 0x7FF0, 0x4000],
      line: "nr_frames 2, dom self, status okay, frame_list 4000h"),
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

  @Test("an operation's own status counts as an error, and elements beyond those kept are counted", arguments: [GuestABI.x86_64, .x86_32p])
  func grantOperations(_ abi: GuestABI) throws {
    let bench = try XenBench(abi: abi)
    bench.xen.keepsCalls = true
    let pointer = bench.address(0x20)
    for index in 0..<5 as Range<UInt64> { bench.put(pointer + index * 24, 0x1000, 0, 1 | (index == 1 ? 0xFFFC << 32 : 0)) }
    bench.call(.grantTableOp, 1, pointer, 5)
    let call = try #require((0..<50 as Range<UInt64>).compactMap { bench.xen.loggedCall($0) }.last)
    let lines = CallWords.structures(call)
    #expect(lines.count == 5 && lines[4] == "and 1 more" && lines[1].hasSuffix("status bad_handle") && lines[0].hasSuffix("status okay"))
    #expect(CallWords.hasFailure(call))
    bench.call(.grantTableOp, 1, pointer, 1)
    #expect(!CallWords.hasFailure(try #require(bench.xen.loggedCall(1))))
  }

  @Test("a call whose first argument chooses an operation is known as such", arguments: HypercallNumber.allCases)
  func command(_ call: HypercallNumber) {
    // set_segment_base has one too, by another name.
    #expect(call.hasCommand == (call.argumentNames.first == "command" || call == .setSegmentBase))
  }
}
