import Engines
import Testing
import VMCore
import X86

private typealias B = SystemBench

/// Loops whose operands go on by equal distances, which the rewriter looks up once for many rounds: the interpreter says what
/// they do.
@Suite("Streams") struct StreamTests {
  private static let loops: [(loop: MappedLoop, streams: UInt64)] = [
    (MappedLoop("sums forward", [0x48, 0x03, 0x06, 0x48, 0x83, 0xC6, 8], rcx: 1500), 1),
    (MappedLoop("sums over a page's end that cuts an operand", [0x48, 0x03, 0x06, 0x48, 0x83, 0xC6, 8], rsi: 0x40F03, rcx: 900), 1),
    (MappedLoop("sums backward", [0x48, 0x03, 0x06, 0x48, 0x83, 0xEE, 8], rsi: 0x42FF8, rcx: 1200), 1),
    (MappedLoop("copies, the register moved between", [0x48, 0x8B, 0x06, 0x48, 0x83, 0xC6, 8, 0x48, 0x89, 0x86, 0xF8, 0x1F, 0, 0], rcx: 700), 2),
    (MappedLoop("copies by an index", [0x8A, 0x04, 0x1E, 0x88, 0x04, 0x1F, 0x48, 0xFF, 0xC3], rcx: 5000), 2),
    (MappedLoop("fills with large steps", [0x48, 0x89, 0x0F, 0x48, 0x81, 0xC7, 0, 1, 0, 0], rdi: 0x40000, rcx: 75), 1),
    (MappedLoop("adds with large steps over many pages", [0x48, 0x03, 0x06, 0x48, 0x81, 0xC6, 0xF8, 1, 0, 0], rsi: 0x40004, rcx: 48), 1),
    (MappedLoop("steps of 200 bytes, twice", [0x48, 0x03, 0x06, 0x30, 0x96, 0xC0, 0x10, 0, 0, 0x48, 0x81, 0xC6, 200, 0, 0, 0], rsi: 0x40001, rcx: 78), 2),
    (MappedLoop("an index times eight", [0x48, 0x01, 0x0C, 0xDE, 0x48, 0xFF, 0xC3], rcx: 1500), 1),
    (MappedLoop("three operands of one run", [0x48, 0x8B, 0x06, 0x48, 0x03, 0x46, 8, 0x48, 0x89, 0x46, 0x10, 0x48, 0x83, 0xC6, 0x18], rcx: 400), 2),
    (MappedLoop("an operand that stays", [0x49, 0x01, 0x08, 0x8A, 0x06, 0x48, 0xFF, 0xC6], rcx: 3000), 2),
    (MappedLoop("a 32-bit index", [0x8A, 0x04, 0x1E, 0x00, 0xC2, 0xFF, 0xC3], rcx: 4000), 1),
    (MappedLoop("a 32-bit index that wraps", [0x8A, 0x04, 0x1E, 0x00, 0xC2, 0xFF, 0xC3], rsi: 0x41000 &- 0xFFFF_FF00, rbx: 0xFFFF_FF00, rcx: 255), 1),
    (MappedLoop("a 32-bit index that goes down to 0", [0x8A, 0x04, 0x1E, 0x00, 0xC2, 0xFF, 0xCB], rbx: 300, rcx: 300), 1),
    (MappedLoop("flags from memory", [0x38, 0x1E, 0x48, 0x8D, 0x76, 1, 0x0F, 0x92, 0xC0, 0x48, 0x11, 0xC2], rcx: 2000), 1),
    (MappedLoop("counts that leave a carry from in front", [0xFF, 0x07], rcx: 900), 1),
    (MappedLoop("counts beside a carry", [0x48, 0x01, 0xD0, 0x48, 0xFF, 0x06, 0x48, 0x83, 0xD3, 0], rcx: 900), 1),
    (MappedLoop("vectors", [0xF3, 0x0F, 0x6F, 0x06, 0x66, 0x0F, 0xFE, 0xC8, 0xF3, 0x0F, 0x7F, 0x0F, 0x48, 0x83, 0xC6, 16, 0x48, 0x83, 0xC7, 16], rcx: 250), 2),
    (MappedLoop("aligned vectors", [0x66, 0x0F, 0x6F, 0x06, 0x48, 0x83, 0xC6, 16], rcx: 250), 1),
    (MappedLoop("off the mapped pages", [0x48, 0x03, 0x06, 0x48, 0x83, 0xC6, 8], rsi: 0x45800, rcx: 5000), 1),
    (MappedLoop("into a page that cannot be written", [0xC6, 0x07, 7, 0x48, 0xFF, 0xC7], rdi: 0x44E00, rcx: 5000), 1),
    (MappedLoop("a register that memory gives", [0x48, 0x8B, 0x36, 0x81, 0xE6, 0xF8, 0x0F, 0, 0, 0x48, 0x81, 0xC6, 0, 0, 4, 0], rcx: 200), 0),
    (MappedLoop("a chain with a call", [0x48, 0x03, 0x06, 0x50, 0x58], rcx: 200), 0),
    (MappedLoop("steps too large", [0x48, 0x89, 0x0F, 0x48, 0x81, 0xC7, 0x00, 4, 0, 0], rcx: 12), 0),
  ]

  @Test(arguments: loops) func `rounds that look nothing up do what the interpreter does`(_ it: (loop: MappedLoop, streams: UInt64)) throws {
    for slice: UInt64 in [1_000_000, 977, 64] {
      let (one, _) = try it.loop.run(on: "interpreter", slice: slice)
      let (other, streams) = try it.loop.run(on: "rewriter", slice: slice)
      #expect(one == other, "\(it.loop.name), slices of \(slice)")
      if slice > 1000 { #expect(streams == it.streams, "\(it.loop.name)") }
    }
  }

  /// In flat 32-bit code: MOV AL, [ESI]; MOV [EDI], AL; INC ESI; INC EDI; DEC ECX; JNZ; HLT. EDI runs into the loop itself.
  @Test func `a loop that writes over its own code is seen doing so`() throws {
    let code: [UInt8] = [0x8A, 0x06, 0x88, 0x07, 0x46, 0x47, 0x49, 0x75, 0xF7, 0xF4]
    let ends = try ["interpreter", "rewriter"].map { name in
      let (engine, memory) = try FlatMachine.make(code, warmth: 2, engine: name)
      memory.write(GPA(0x2000), Array(repeating: 0x90, count: 0xE00) + code + Array(repeating: 0xF4, count: 64))
      var state = engine.vcpus[0].state
      (state[.rsi], state[.rdi], state[.rcx]) = (0x2000, FlatMachine.start - 0xE00, 0xE20)
      engine.vcpus[0].state = state
      let exit = engine.vcpus[0].run(.resume, limit: 100_000)
      return (engine.vcpus[0].state, engine.vcpus[0].instructionCount, exit.reason)
    }
    #expect(ends[0] == ends[1])
    #expect(ends[0].2 == .hlt)
  }

  @Test(arguments: ["interpreter", "rewriter"]) func `a watch on a page in the middle of a stream is hit`(_ engine: String) throws {
    let b = try SystemBench(engine: engine)
    b.enterLong()
    b.change { ($0[.rsi], $0[.rcx]) = (0x40000, 2000) }
    b.memory.write(GPA(B.code), MappedLoop.rounds([0x48, 0x03, 0x06, 0x48, 0x83, 0xC6, 8]) + [0xF4])
    _ = b.vcpu.run(.resume, limit: 1000)
    b.vcpu.traps.watches = [WatchRange(address: GVA(0x42010), length: 8, onRead: true, onWrite: false)]
    let exit = b.vcpu.run(.resume, limit: 100_000)
    #expect(exit.reason == .debug)
    #expect(b.state[.rsi] == 0x42010)
  }
}
