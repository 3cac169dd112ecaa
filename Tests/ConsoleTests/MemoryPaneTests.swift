import Console
import Session
import TerminalUI
import Testing
import VMCore
import X86

struct MemoryPaneTests {
  private func desk(_ address: String = "7d00") throws -> Desk {
    let desk = Desk(try Fixture.realMode(), width: 120, height: 40)
    desk.type("3z")
    desk.draw()
    desk.type("g\(address)\n")
    return desk
  }

  @Test func `hex digits change bytes, u takes them back`() throws {
    let desk = try desk()
    desk.type("x")
    #expect(desk.screen.contains("EDIT"))
    desk.type("4")
    #expect(desk.screen.contains("4_"))
    desk.type("1be")
    #expect(desk.session.submitted == ["set pbyte[0x7d00]=0x41", "set pbyte[0x7d01]=0xbe"])
    desk.type("uu")
    #expect(desk.session.submitted.suffix(2) == ["set pbyte[0x7d01]=0x69", "set pbyte[0x7d00]=0x52"])
    desk.type("u")
    #expect(desk.screen.contains("nothing to take back"))
    #expect(desk.session.submitted.count == 4)
  }

  @Test("where its page is mapped away it goes on to the instruction pointer, unless somebody placed it", arguments: [
    (false, "00100020"), (true, "00004000"),
  ])
  func mappedAway(_ isPlaced: Bool, _ begin: String) throws {
    let desk = Desk(try Fixture.longMode(), width: 120, height: 40)
    desk.session.publish { $0.vcpus[0].rip = 0x4000 }
    desk.type("3z")
    desk.draw()
    if isPlaced { desk.type("g4000\n") }
    #expect(desk.screen.contains(" 00004000 "))
    desk.session.publish { snapshot in
      snapshot.memory.store(GPA(0x13020), 0 as UInt64)
      snapshot.vcpus[0].rip = 0x10_0024
    }
    desk.draw()
    #expect(desk.screen.split(separator: "\n").contains { $0.hasPrefix(" \(begin) ") }, "\(desk.screen)")
  }

  @Test func `no key does anything else while bytes are edited, and Esc ends it`() throws {
    let desk = try desk()
    desk.type("x")
    desk.type("qzs")
    #expect(desk.session.submitted.isEmpty)
    #expect(desk.screen.contains("Esc ends editing"))
    desk.press(Key(.escape))
    desk.type("s")
    #expect(desk.session.submitted == ["step"])
  }

  @Test func `a running guest's memory is not edited`() throws {
    let desk = try desk()
    desk.session.publish { $0.phase = .running }
    desk.draw()
    desk.type("x")
    #expect(desk.screen.contains("pause first"))
    #expect(!desk.screen.contains("EDIT"))
  }

  @Test("search by bytes, text and value", arguments: [
    ("hex:61 79 73", 0x7D0A), ("61 79 73", 0x7D0A), ("text:says", 0x7D09), ("SAYS", 0x7D09), ("value:0x79617320", 0x7D08),
    ("value:31073", 0x7D0A), ("\"says\"", 0x7D09),
  ])
  func search(_ text: String, _ place: UInt64) throws {
    let desk = try desk("7c00")
    desk.type("/\(text)\n")
    #expect(desk.screen.contains("at \(Format.hex(place))h"))
  }

  @Test func `a search goes on at the other end`() throws {
    let desk = try desk("7e00")
    desk.type("/says\n")
    #expect(desk.screen.contains("at 7d09h"))
    desk.type("/\"SAYS\"\n")
    #expect(desk.screen.contains("'\"SAYS\"' is not in this pane, 2 MiB either way"))
  }

  @Test func `what is not there is said not to be`() throws {
    let desk = try desk()
    desk.type("/hex:de ad be ef 01 02\n")
    #expect(desk.screen.contains("is not in this pane"))
  }

  @Test func `m goes through linear, physical and host addresses and back`() throws {
    let desk = try desk()
    desk.type("m")
    #expect(desk.screen.contains("Memory GPA"))
    #expect(desk.screen.contains("HVA"))
    desk.type("m")
    #expect(desk.screen.contains("Memory HVA"))
    #expect(desk.screen.contains("Ringside says he"))
    #expect(desk.screen.contains("GPA 7d00h"))
    desk.type("m")
    #expect(desk.screen.contains("Memory GVA"))
    #expect(desk.screen.contains("at 7d00h"))
  }

  @Test func `pointers are followed and Esc comes back`() throws {
    let desk = try desk("7c06")
    desk.press(Key(.enter))
    #expect(desk.screen.contains("at 7c00h"))
    desk.press(Key(.escape))
    #expect(desk.screen.contains("at 7c06h"))
  }

  @Test func `marks are set, visited and removed`() throws {
    let desk = try desk()
    desk.type("M")
    desk.type("g7c00\n")
    desk.type("M'")
    #expect(desk.screen.contains("at 7d00h"))
    desk.type("'")
    #expect(desk.screen.contains("at 7c00h"))
    desk.type("M")
    #expect(desk.screen.contains("removed"))
  }

  @Test func `bytes that cannot be read are question marks`() throws {
    let desk = Desk(try Fixture.longMode(), width: 120, height: 40)
    desk.type("3z")
    desk.draw()
    desk.type("g3000\n")
    #expect(desk.screen.contains("00003000  ?? ?? ?? ??"))
    #expect(desk.screen.contains("(not mapped)"))
  }

  @Test func `the last write is followed from step to step`() throws {
    let desk = Desk(try Fixture.longMode(), width: 120, height: 40)
    desk.type("3z")
    desk.draw()
    desk.type("W")
    #expect(desk.screen.contains("more than one instruction") || desk.screen.contains("nothing was stepped"))
    desk.session.publish { snapshot in
      // PUSH RBP at 100020 was executed.
      snapshot.previous = snapshot.vcpus
      snapshot.previous[0].rip = 0x10_0020
      snapshot.previous[0][.rsp] = 0x9FD8
      snapshot.vcpus[0].rip = 0x10_0021
      snapshot.instructionCount += 1
    }
    #expect(desk.screen.contains("at 9fd0h"))
    #expect(desk.screen.contains("written"))
  }
}
