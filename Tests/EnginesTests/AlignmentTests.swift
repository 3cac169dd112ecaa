import Engines
import Testing
import VMCore
import X86

/// #AC: ring 3 with CR0.AM and RFLAGS.AC (SDM 3A 6.15, vector 17).
@Suite("Alignment checks") struct AlignmentTests {
  static let engines = ["interpreter", "rewriter"]

  struct Row: Sendable {
    var cpl: UInt8 = 3
    var am = true
    var ac = true
    var code: [UInt8]
    var isRefused: Bool
  }

  /// MOV AL, AX, EAX or RAX from an absolute address, and to it.
  private static func load(_ address: UInt64, _ prefix: [UInt8] = [], byte: Bool = false) -> [UInt8] {
    prefix + [byte ? 0x8A : 0x8B, 0x04, 0x25] + le32(address)
  }
  static let rows: [Row] = [
    Row(code: load(0x5001), isRefused: true),
    Row(code: load(0x5002), isRefused: true),
    Row(code: load(0x5004), isRefused: false),
    Row(code: load(0x5004, [0x48]), isRefused: true),
    Row(code: load(0x5001, [0x66]), isRefused: true),
    Row(code: load(0x5002, [0x66]), isRefused: false),
    Row(code: load(0x5001, byte: true), isRefused: false),
    Row(code: load(0x5FFE), isRefused: true),
    Row(code: [0x89, 0x04, 0x25] + le32(0x5001), isRefused: true),
    Row(code: [0x01, 0x04, 0x25] + le32(0x5001), isRefused: true),
    Row(cpl: 0, code: load(0x5001), isRefused: false),
    Row(am: false, code: load(0x5001), isRefused: false),
    Row(ac: false, code: load(0x5001), isRefused: false),
  ]

  @Test(arguments: engines, rows)
  func `an access of the program's to no multiple of its size`(engine: String, row: Row) throws {
    let b = try SystemBench(engine: engine)
    b.enterLong(cpl: row.cpl)
    b.change {
      if row.am { $0.cr0 |= CR0.am }
      if row.ac { $0.rflags |= RFLAGS.ac }
    }
    b.step(row.code)
    #expect(b.delivered() == (row.isRefused ? [Seen(17, 0)] : []))
  }

  @Test(arguments: engines) func `POPF turns the check on for pages used before, and the kernel is not checked`(engine: String) throws {
    let b = try SystemBench(engine: engine)
    b.enterLong(cpl: 3)
    b.change { $0.cr0 |= CR0.am }
    let load = Self.load(0x5001)
    b.memory.write(GPA(b.linearRIP()), load + [0x68, 0x02, 0x00, 0x04, 0x00, 0x9D] + load)
    _ = b.vcpu.run(.resume, limit: 4)
    #expect(b.delivered() == [Seen(17, 0)])
    #expect(b.state.cpl == 0)
    b.step(load)
    #expect(b.delivered() == [])
  }
}
