import Testing
import VMCore
import X86

/// One page of memory at two linear addresses that follow each other: an instruction that crosses from the first to
/// the second has all its bytes on one page.
@Suite struct FoldedPageTests {
  @Test(arguments: ["interpreter", "rewriter"])
  func `code that crosses from a page into the same page is given up once when it is written over`(_ engine: String) throws {
    let bench = try SystemBench(engine: engine)
    bench.enterLong()
    for linear in [UInt64(0x50000), 0x51000] { bench.setPage(.long, linear, 0x60007) }
    // mov eax, ..030201h, whose last byte is the page's first; mov byte [60000h], bl.
    bench.memory.write(GPA(0x60FFC), [0xB8, 0x01, 0x02, 0x03])
    bench.memory.write(GPA(0x60000), [0x00, 0x88, 0x1C, 0x25, 0x00, 0x00, 0x06, 0x00])
    for turn in UInt64(0)..<200 {
      bench.change {
        $0.rip = 0x50FFC
        $0[.rbx] = turn &+ 1 & 0xFF
      }
      let exit = bench.vcpu.run(.resume, limit: 2)
      #expect(exit.reason == .budget)
      #expect(bench.state[.rax] == (turn & 0xFF) << 24 | 0x030201)
    }
  }
}
