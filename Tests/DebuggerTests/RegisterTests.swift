import Debugger
import Testing
import VMCore
import X86

@Suite("Registers by name")
struct RegisterTests {
  @Test("every register that can be set reads back", arguments: RegisterNames.all)
  func roundTrip(_ name: String) throws {
    let guest = try Guest.real()
    var state = guest.state
    let register = try #require(RegisterNames.lookup(name))
    guard register != .system(.cpl), register != .segment(.ldtr), register != .segment(.tr) else { return }
    // A one in the lowest bit: also a legal value of flags, whose bit 0 is CF.
    try state.write(register, 1, memory: guest.memory)
    #expect(state.read(register) & 1 == 1)
  }

  @Test("a YMM register is shown whole, over its XMM register, and set whole")
  func upperHalves() throws {
    var state = VCPUState()
    (state.fpu.xmm[6], state.fpu.xmm[7]) = (1, 2)
    (state.fpu.ymmHigh[6], state.fpu.ymmHigh[7]) = (3, 4)
    let register = try #require(RegisterNames.lookup("$ymm3"))
    let digits = [4, 3, 2, 1].map { String(repeating: "0", count: 15) + "\($0)" }.joined()
    #expect(RegisterDescription.value(register, state) == digits)
    try state.write(register, 9)
    #expect(Array(state.fpu.ymmHigh[6...7]) == [0, 0] && Array(state.fpu.xmm[6...7]) == [9, 0])
    let plain = RegisterReport(state).sse(.qwords)
    state.xcr0 = 7
    #expect(RegisterReport(state).sse(.qwords).count == plain.count + 16)
  }

  @Test("a part leaves the rest alone")
  func parts() throws {
    var state = VCPUState()
    state[.rax] = 0x1122_3344_5566_7788
    try state.write(.gpr(.rax, .high8), 0xAA)
    #expect(state[.rax] == 0x1122_3344_5566_AA88)
    try state.write(.gpr(.rax, .dword), 1)
    #expect(state[.rax] == 0x1122_3344_0000_0001)
  }

  @Test("refusals say why")
  func refusals() throws {
    var guest = try Guest.protected()
    guest.state.gdtr = TableRegister(base: 0x800, limit: 0xF)
    func refusal(_ name: String, _ value: UInt64) throws -> String {
      var state = guest.state
      let register = try #require(RegisterNames.lookup(name))
      do {
        try state.write(register, value, memory: guest.memory)
        return ""
      } catch let error {
        return error.message
      }
    }
    #expect(try refusal("al", 256) == "al holds 8 bits; 0x100 does not fit")
    #expect(try refusal("cpl", 1) == "cpl follows from cs, ss, cr0 and rflags; set those")
    #expect(try refusal("ds", 0x10) == "ds cannot hold 0x10: outside the table")
    #expect(try refusal("ds", 8) == "ds cannot hold 0x8: its descriptor is none, not present")
    #expect(try refusal("ds", 0) == "")
  }

  @Test("real mode derives the base from the selector")
  func realSegment() throws {
    var guest = try Guest.real()
    try guest.state.write(.segment(.ds), 0x1234)
    #expect(guest.state[.ds].base == 0x12340)
  }

  @Test("reserved flags stay as they are")
  func flags() throws {
    var state = VCPUState()
    try state.write(.flags(bits: 64), .max)
    #expect(state.rflags == 0x3F_7FD7)
    try state.write(.flags(bits: 64), 0)
    #expect(state.rflags == 2)
  }

  @Test("bits by name, upper case where set")
  func descriptions() throws {
    #expect(RegisterDescription.bits(CR0.et, CR0.bits) == "pg cd nw am wp ne ET ts em mp pe")
    #expect(RegisterDescription.flags(0x46) == "nt IOPL0 of df if tf sf ZF af PF cf")
    #expect(RegisterDescription.compactFlags(0x246) == "[--I--Z-P-]")
    #expect(RegisterDescription.setBits(CR0.pe | CR0.pg, CR0.bits) == "PG PE")
    #expect(RegisterDescription.setBits(0, CR4.bits) == "none")
    #expect(RegisterDescription.flagsInWords(0x1) == ["CF carry"])
    let guest = try Guest.real()
    #expect(RegisterDescription.segment(.cs, guest.state) == "CS 0000 base 00000000 limit ffff 16-bit code R/X A DPL0")
    #expect(RegisterDescription.shortSegment(.ds, guest.state) == "DS 0000 b=00000000 l=ffff 16w")
    #expect(RegisterDescription.instructionPointer(guest.state) == "0000:7c00")
    #expect(RegisterDescription.instructionPointer(try Guest.long().state) == "0000000000100000")
    #expect(RegisterDescription.value(.xmm(0), guest.state) == String(repeating: "0", count: 32))
  }
}
