import Debugger
import Testing
import VMCore
import X86

@Suite("Code listings")
struct CodeTests {
  /// mov dx, 3f8h; mov al, 4bh; out dx, al; cpuid; hlt; jmp $-1; push ax; ret
  static let boot: [UInt8] = [0xBA, 0xF8, 3, 0xB0, 0x4B, 0xEE, 0x0F, 0xA2, 0xF4, 0xEB, 0xFD, 0x50, 0xC3]

  private func boot(_ symbols: [Symbol] = []) throws -> (Guest, Disassembly) {
    let guest = try Guest.real()
    guest.memory.write(GPA(0x7C00), Self.boot)
    return (guest, Disassembly(state: guest.state, memory: guest.memory, symbols: SymbolTable(symbols)))
  }

  @Test("forward, with labels, places and gutter")
  func forward() throws {
    let (_, code) = try boot([
      Symbol(name: "start", address: 0x7C00, size: 9), Symbol(name: "idle", address: 0x7C08, size: 0),
    ])
    let lines = code.forward(from: 0x7C00, count: 6)
    #expect(lines.map(\.instruction.text) == ["mov dx, 3f8h", "mov al, 4bh", "out dx, al", "cpuid", "hlt", "jmp idle"])
    #expect(String(lines.map(\.gutter)) == "  PSP ")
    #expect(lines.map(\.labels) == [["start"], [], [], [], ["idle"], []])
    #expect(lines[2].place == "start+5" && lines[2].addressText == "7c05" && lines[0].bytesText == "baf803")
  }

  @Test("backward from a symbol")
  func backwardSymbol() throws {
    let (_, code) = try boot([Symbol(name: "start", address: 0x7C00, size: 0)])
    #expect(code.backward(from: 0x7C08, count: 4).map(\.address) == [0x7C00, 0x7C03, 0x7C05, 0x7C06])
    #expect(code.backward(from: 0x7C08, count: 2).map(\.address) == [0x7C05, 0x7C06])
  }

  @Test("backward by what most starts agree on")
  func backwardGuess() throws {
    let (_, code) = try boot()
    #expect(code.backward(from: 0x7C0C, count: 4).map(\.address) == [0x7C06, 0x7C08, 0x7C09, 0x7C0B])
    let (lines, index) = code.around(0x7C08, before: 3, after: 2)
    #expect(lines[index].address == 0x7C08 && lines.count == index + 2)
    #expect(code.backward(from: 0, count: 5).isEmpty)
  }

  @Test("listings meet the address they were asked for, on random bytes")
  func fuzz() throws {
    var random = SplitMix(seed: 6)
    for round in 0..<1000 {
      let guest = round & 1 == 0 ? try Guest.long() : try Guest.real(ip: random.next() & 0xFFFF)
      guest.memory.write(GPA(0x7C00), random.bytes(256))
      let code = Disassembly(state: guest.state, memory: guest.memory)
      let address = 0x7C00 + random.next() % 256
      var next = address
      for line in code.backward(from: address, count: 8).reversed() {
        #expect(line.instruction.next == next)
        next = line.address
      }
      _ = code.forward(from: random.next(), count: 4)
      _ = code.around(random.next(), before: 4, after: 2)
    }
  }

  @Test("code that is not there is bad, not fatal")
  func unreadable() throws {
    let guest = try Guest.long()
    let line = Disassembly(state: guest.state, memory: guest.memory).line(at: 0x7FFF_0000_0000)
    #expect(line.isUnreadable && line.instruction.isBad)
  }

  @Test(
    "what the next instruction touches",
    arguments: [
      ([0xA1, 0x00, 0x05], ["reads ds:0500 <counter> = 2211"]),
      ([0x89, 0x07], ["writes ds:0500 <counter> (now 2211)"]),
      ([0x50], ["writes ss:7bfe (now 0000)"]), ([0xC3], ["reads ss:7c00 = 0000"]),
      ([0xFF, 0x06, 0x00, 0x05], ["changes ds:0500 <counter> = 2211"]),
      ([0xA4], ["reads ds:0502 <counter+2> = 33", "writes es:0010 (now 00)"]), ([0x90], []),
    ] as [([UInt8], [String])])
  func touches(_ bytes: [UInt8], _ texts: [String]) throws {
    var guest = try Guest.real()
    guest.memory.write(GPA(0x500), [0x11, 0x22, 0x33])
    guest.state[.rbx] = 0x500
    guest.state[.rsi] = 0x502
    guest.state[.rdi] = 0x10
    let symbols = SymbolTable([Symbol(name: "counter", address: 0x500, size: 8)])
    let instruction = InstructionDecoder.decode(bytes, at: 0x7C00, mode: .real16)
    let found = NextTouch.all(of: instruction, state: guest.state, memory: guest.memory)
    #expect(found.map { $0.text(symbols: symbols) } == texts)
  }

  @Test("RIP-relative and unmapped operands")
  func longTouches() throws {
    var guest = try Guest.long()
    let relative = InstructionDecoder.decode([0x48, 0x8B, 0x05, 0x10, 0, 0, 0], at: 0x1000, mode: .long64)
    let touch = try #require(NextTouch.all(of: relative, state: guest.state, memory: guest.memory).first)
    #expect(touch.linear == GVA(0x1017) && touch.offset == relative.ripTarget)
    guest.state[.rax] = 0x7FFF_0000_0000
    let store = InstructionDecoder.decode([0x48, 0x89, 0x00], at: 0x1000, mode: .long64)
    let missing = NextTouch.all(of: store, state: guest.state, memory: guest.memory)
    #expect(missing.map { $0.text() } == ["writes ds:00007fff00000000 (not mapped)"])
  }

  @Test("each technique has its say on every sensitive operation", arguments: SensitivityAdvice.cases)
  func advice(_ bytes: [UInt8], _ exit: ExitReason?, _ word: String) {
    let instruction = InstructionDecoder.decode(bytes, at: 0, mode: .long64)
    let advice = CodeAdvice.explain(instruction)
    #expect(advice.lines.count == 4 && advice.lines.joined().contains(word))
    #expect(CodeAdvice.exit(of: instruction, controls: .standard) == exit)
  }

  @Test("an innocent instruction needs no catching")
  func innocent() {
    let advice = CodeAdvice.explain(InstructionDecoder.decode([0x01, 0xC8], at: 0, mode: .long64))
    #expect(advice.lines == ["add eax, ecx: innocuous: runs as it is under every technique"])
  }
}

enum SensitivityAdvice {
  static let cases: [([UInt8], ExitReason?, String)] = [
    ([0xEE], .io, "I/O bitmap"), ([0x0F, 0xA2], .cpuid, "exit 10"), ([0xF4], .hlt, "SCHEDOP_block"),
    ([0x9D], nil, "takes IF"), ([0x0F, 0x22, 0xD8], nil, "NEW_BASEPTR"),
    ([0x44, 0x0F, 0x22, 0xC0], .crAccess, "exit 28"),
    ([0x0F, 0x30], nil, "MSR bitmap"), ([0x0F, 0x01, 0xC1], .vmcall, "hypercall"),
    ([0x48, 0xCF], nil, "iret hypercall"),
  ]
}
