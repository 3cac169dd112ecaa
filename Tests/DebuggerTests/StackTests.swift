import Debugger
import Testing
import VMCore
import X86

@Suite("Stack and backtrace")
struct StackTests {
  static let symbols = SymbolTable([
    Symbol(name: "main", address: 0x7000, size: 0x100), Symbol(name: "outer", address: 0x7100, size: 0x100),
    Symbol(name: "inner", address: 0x7200, size: 0x100),
  ])

  /// main calls outer at 7010, outer calls inner at 7110; both keep frames.
  private func framed() throws -> Guest {
    var guest = try Guest.long()
    guest.memory.write(GPA(0x700B), [0xE8, 0xF0, 0, 0, 0])
    guest.memory.write(GPA(0x710B), [0xE8, 0xF0, 0, 0, 0])
    guest.memory.write(GPA(0x7200), [0x55, 0x48, 0x89, 0xE5, 0x90, 0x90, 0x5D, 0xC3])
    guest.memory.store(GPA(0x9000), UInt64(0x9020))
    guest.memory.store(GPA(0x9008), UInt64(0x7110))
    guest.memory.store(GPA(0x9020), UInt64(0))
    guest.memory.store(GPA(0x9028), UInt64(0x7010))
    guest.state.rip = 0x7205
    guest.state[.rsp] = 0x9000
    guest.state[.rbp] = 0x9000
    return guest
  }

  private func places(_ guest: Guest) -> [String] {
    Backtrace.frames(guest.state, guest.memory, symbols: Self.symbols).map {
      ($0.place ?? "?") + ($0.source == .guess ? "?" : "")
    }
  }

  @Test("the frame chain leads to the outermost caller")
  func chain() throws {
    let guest = try framed()
    #expect(places(guest) == ["inner+5", "outer+10", "main+10"])
    let frames = Backtrace.frames(guest.state, guest.memory, symbols: Self.symbols)
    #expect(frames[1].text == "#1 00007110 outer+10" && frames[1].slot == GVA(0x9008))
    #expect(Backtrace.frames(guest.state, guest.memory, maximumFrames: 2).count == 2)
  }

  @Test(
    "no caller is lost before the frame is built",
    arguments: [(0x7200, 0x9008, 0x9020), (0x7201, 0x9000, 0x9020), (0x7207, 0x9008, 0x9020)])
  func prologue(_ rip: UInt64, _ rsp: UInt64, _ rbp: UInt64) throws {
    var guest = try framed()
    guest.state.rip = rip
    guest.state[.rsp] = rsp
    guest.state[.rbp] = rbp
    #expect(places(guest).dropFirst() == ["outer+10", "main+10"])
  }

  @Test("without frames return addresses are found on the stack")
  func guess() throws {
    var guest = try framed()
    guest.state[.rbp] = 0
    guest.state[.rsp] = 0x8FF0
    #expect(places(guest) == ["inner+5", "outer+10?", "main+10?"])
  }

  @Test("real mode: near and far calls")
  func real() throws {
    var guest = try Guest.real(ip: 0x7205, sp: 0x6000)
    guest.memory.write(GPA(0x7C0B), [0xE8, 0x0E, 0x00])
    guest.memory.write(GPA(0x1_2000), [0x9A, 0x05, 0x72, 0x00, 0x00])
    guest.memory.store(GPA(0x6002), UInt16(0x7C0E))
    guest.memory.store(GPA(0x6006), UInt16(0x2005))
    guest.memory.store(GPA(0x6008), UInt16(0x1000))
    guest.state[.rbp] = 0xFFF0
    let frames = Backtrace.frames(guest.state, guest.memory)
    #expect(frames.map(\.linear.value) == [0x7205, 0x7C0E, 0x12005])
  }

  @Test("rows with notes")
  func rows() throws {
    let guest = try framed()
    let rows = StackView.rows(guest.state, guest.memory, symbols: Self.symbols, count: 6)
    #expect(rows[0].isTop && rows[0].isFrame && rows[0].note == "-> stack+20")
    #expect(rows[1].note == "outer+10 (return)" && rows[1].value == 0x7110 && rows[1].offset == 0x9008)
    #expect(rows[2].note.isEmpty && !rows[2].isTop)
  }

  @Test("the stack pointer is as wide as SS says, and wraps")
  func width() throws {
    var guest = try Guest.real(sp: 0xFFFE)
    guest.state[.rsp] |= 0xABCD_0000
    let rows = StackView.rows(guest.state, guest.memory, count: 2)
    #expect(rows.map(\.offset) == [0xFFFE, 0])
  }

  @Test("5,000 random stacks are traced to an end")
  func fuzz() throws {
    var random = SplitMix(seed: 7)
    let long = try Guest.long()
    let real = try Guest.real()
    for round in 0..<5000 {
      var guest = round & 1 == 0 ? long : real
      guest.memory.write(GPA(0x7000 + random.next() % 0x1000), random.bytes(64))
      guest.state.rip = 0x7000 + random.next() % 0x1000
      guest.state[.rsp] = random.next() & 3 == 0 ? random.next() : 0x7000 + random.next() % 0x1000
      guest.state[.rbp] = random.next() & 3 == 0 ? random.next() : 0x7000 + random.next() % 0x1000
      #expect(Backtrace.frames(guest.state, guest.memory, symbols: Self.symbols).count <= 64)
      _ = StackView.rows(guest.state, guest.memory, symbols: Self.symbols, count: 8)
    }
  }
}
