import Testing

/// PUSHes and POPs in a row, for which the rewriter looks the stack up once: the interpreter says what they do.
@Suite("Runs on the stack") struct StackRunTests {
  /// JMP over; f: PUSH RBX; PUSH RBP; PUSH R12; ADD RAX, RCX; POP R12; POP RBP; POP RBX; RET; over: CALL f
  private static let call: [UInt8] = [
    0xEB, 12, 0x53, 0x55, 0x41, 0x54, 0x48, 0x01, 0xC8, 0x41, 0x5C, 0x5D, 0x5B, 0xC3, 0xE8, 0xEF, 0xFF, 0xFF, 0xFF,
  ]
  /// CMP RCX, 1; LEA RAX, [RIP + distance]; MOV RDX, 8000000000000000h; CMOVZ RAX, RDX: an address that is bad in the last
  /// round.
  private static func address(_ distance: UInt8) -> [UInt8] {
    [0x48, 0x83, 0xF9, 1, 0x48, 0x8D, 0x05, distance, 0, 0, 0, 0x48, 0xBA, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x48, 0x0F, 0x44, 0xC2]
  }

  private static let loops: [MappedLoop] = [
    MappedLoop("pushes and pops", [0x50, 0x53, 0x41, 0x54, 0x68, 1, 2, 3, 0x84, 0x41, 0x5D, 0x5A, 0x5D, 0x5E]),
    MappedLoop("down over pages to one that is not there", [0x50, 0x53, 0x52, 0x5A], rcx: 5000, rsp: 0x43010),
    MappedLoop("down, not aligned", [0x50, 0x53, 0x52, 0x5A], rcx: 5000, rsp: 0x41004),
    MappedLoop("up to a page that is not there", [0x58, 0x5B, 0x5A], rcx: 5000, rsp: 0x45100),
    MappedLoop("down into a page that cannot be written", [0x58, 0x5A, 0x5A, 0x52, 0x50], rcx: 5000, rsp: 0x44000),
    MappedLoop("of RSP itself", [0x50, 0x54, 0x53, 0x5B, 0x5A, 0x58]),
    MappedLoop("flags that pops would change", [0x50, 0x53, 0x48, 0x39, 0xD8, 0x58, 0x5B, 0x48, 0x83, 0xD2, 0], rbx: 77),
    MappedLoop("flags that nobody sees", [0x50, 0x53, 0x48, 0x39, 0xD8, 0x58, 0x5B, 0x48, 0x01, 0xC2], rbx: 77),
    MappedLoop("flags of the stack pointer", [0x48, 0x83, 0xEC, 8, 0x50, 0x53, 0x48, 0x83, 0xD2, 0, 0x5B, 0x58, 0x5F]),
    MappedLoop("calls", call),
    MappedLoop("calls over a page's end", call, rsp: 0x42018),
    MappedLoop("calls whose return address lies on the next page", call, rsp: 0x42008),
    MappedLoop(
      "RET that takes more", [0xEB, 7, 0x53, 0x55, 0x5D, 0x5B, 0xC2, 8, 0, 0x50, 0xE8, 0xF3, 0xFF, 0xFF, 0xFF]),
    MappedLoop("RET to a bad address", address(20) + [0x50, 0x53, 0x55, 0x5D, 0x5B, 0xC3]),
    MappedLoop("RET alone to a bad address", address(16) + [0x50, 0xC3]),
    MappedLoop("JMP to a bad address", address(16) + [0xFF, 0xE0]),
  ]

  @Test(arguments: loops) func `a run does what its instructions do one by one`(_ loop: MappedLoop) throws {
    for slice: UInt64 in [1_000_000, 331, 10] {
      let one = try loop.run(on: "interpreter", slice: slice).0
      let other = try loop.run(on: "rewriter", slice: slice).0
      #expect(one == other, "slices of \(slice)")
    }
  }
}
