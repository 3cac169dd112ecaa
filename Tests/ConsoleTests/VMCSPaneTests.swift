import Console
import Debugger
import Session
import TerminalUI
import Testing
import VMCore
import X86

struct VMCSPaneTests {
  private func desk(_ change: (inout SessionSnapshot) -> Void = { _ in }) throws -> Desk {
    var snapshot = try Fixture.realMode()
    change(&snapshot)
    let desk = Desk(snapshot, width: 200, height: 60)
    desk.show(.vmcs)
    desk.type("z")
    desk.draw()
    return desk
  }

  @Test func `it shares the digit of the exits`() throws {
    let desk = Desk(try Fixture.realMode(), width: 120, height: 40)
    desk.type("1```")
    #expect(desk.model.focus == .vmcs)
  }

  @Test("the areas go round by arrows and m") func areas() throws {
    let desk = try desk()
    #expect(desk.screen.contains("[controls]"))
    desk.press(Key(.right))
    desk.draw()
    #expect(desk.screen.contains("[exit information]") && desk.screen.contains("VM-exit instruction length"))
    desk.type("m")
    desk.draw()
    #expect(desk.screen.contains("[bitmaps]"))
    desk.press(Key(.right))
    desk.draw()
    #expect(desk.screen.contains("guest CR0"))
    desk.press(Key(.right))
    desk.draw()
    #expect(desk.screen.contains("not used: the monitor runs outside the modelled processor"))
  }

  @Test("Space and Enter turn the bit under the cursor round") func toggle() throws {
    let desk = try desk()
    // HLT exiting: the third bit of the second word.
    desk.type("/HLT exiting\n ")
    #expect(desk.session.submitted == ["vmcs set hlt-exiting off"])
    desk.press(Key(.enter))
    #expect(desk.session.submitted.count == 2)
    desk.type("/interrupt-window\n ")
    #expect(desk.session.submitted.count == 2 && desk.screen.contains("run control's own"))
  }

  @Test("the bit that made the last exit is marked, and a dot goes there") func why() throws {
    let desk = try desk {
      let last = $0.exits.count - 1
      $0.exits[last].states?.cause = .ioBitmap(port: 0x3F8)
      $0.ports = [NamedPort(port: 0x3F8, name: "COM1 THR"), NamedPort(port: 0x3F9, name: "COM1 IER")]
    }
    #expect(desk.screen.contains("why exit #1842: I/O bitmap A, the bit of port 3f8h, is 1"))
    desk.type(".")
    desk.draw()
    #expect(desk.screen.contains("03f8       COM1 THR") && desk.screen.contains("<- exit #1842"))
    desk.type(" ")
    #expect(desk.session.submitted == ["vmcs set port 3f8-3f8 off"])
  }

  @Test("presets ask for a letter, U takes back") func presets() throws {
    let desk = try desk()
    desk.type("p")
    desk.draw()
    #expect(desk.screen.contains("m minimal"))
    desk.type("wU")
    #expect(desk.session.submitted == ["vmcs preset shadow", "vmcs undo"])
    desk.type("px")
    #expect(desk.session.submitted.count == 2)
  }

  @Test("what a debugger asked for is shown as such") func askers() throws {
    let desk = try desk {
      var controls = $0.vmcs.base
      controls.vmcs[.pauseExiting] = true
      controls.wishes.softwareInterrupts = true
      $0.vmcs.effective = controls
      $0.vmcs.askers = [VMCSAsker(name: "breakpoint 3", controls: controls)]
    }
    desk.type("/PAUSE exiting\n")
    #expect(desk.screen.contains("asked for by breakpoint 3"))
    desk.type("/INT n, INT3\n")
    #expect(desk.screen.contains("INT n, INT3, INTO, INT1: asked for by breakpoint 3"))
  }

  @Test("an engine whose bits are fixed says why") func fixed() throws {
    let desk = try desk { $0.vmcs.whyFixed = "the kernel's VMCS cannot be reached" }
    #expect(desk.screen.contains("cannot be changed: the kernel's VMCS cannot be reached"))
    desk.type("/HLT exiting\n ")
    #expect(desk.session.submitted.isEmpty && desk.screen.contains("cannot be reached"))
  }

  @Test("a guest monitor's own VMCS is shown from its memory, and not changed") func guests() throws {
    let desk = try desk {
      $0.vcpus[0].vmx.vmxon = 0x5000
      $0.vcpus[0].vmx.current = 0x6000
      $0.memory.store(GPA(0x6000 + UInt64(VMCSLayout.offset(.primaryControls))), UInt64(1 << 7))
    }
    desk.type("o")
    desk.draw()
    #expect(desk.screen.contains("VMCS of the guest's guest") && desk.screen.contains("at 0x6000"))
    desk.type("/HLT exiting\n")
    desk.draw()
    #expect(desk.screen.contains("[x] bit 7"))
    desk.type(" ")
    #expect(desk.session.submitted.isEmpty)
    let plain = try self.desk()
    plain.type("o")
    plain.draw()
    #expect(plain.screen.contains("no current VMCS"))
  }

  @Test("every field and bit has an explanation") func explained() throws {
    let desk = try desk()
    desk.type("/HLT exiting\n?")
    desk.draw()
    #expect(desk.screen.contains("On: HLT exits (reason 12)"))
    for bit in VMXControlBit.all { #expect(ExplainCatalogue.entry(ExplainVMCS.name(bit)) != nil, "\(bit.name)") }
    for field in VMCSField.allCases {
      #expect(ExplainCatalogue.entry(ExplainVMCS.name(field)) != nil, "\(field.sdmName)")
    }
  }
}
