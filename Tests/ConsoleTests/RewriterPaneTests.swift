import Console
import Debugger
import Session
import TerminalUI
import Testing
import VMCore
import X86

struct RewriterPaneTests {
  private func desk(
    _ pane: PaneID, width: Int = 160, _ change: (inout SessionSnapshot) -> Void = { _ in }
  ) throws -> Desk {
    var snapshot = try Fixture.realMode()
    change(&snapshot)
    let desk = Desk(snapshot, width: width, height: 50)
    desk.show(pane)
    desk.type("z")
    desk.draw()
    return desk
  }

  @Test func `the rewriter shares the digit of statistics, compare that of the log`() throws {
    let desk = Desk(try Fixture.realMode(), width: 120, height: 40)
    desk.type("9`")
    #expect(desk.model.focus == .rewriter)
    desk.type("0`")
    #expect(desk.model.focus == .comparison)
  }

  @Test func `a block stands beside its host form, with the kind of each instruction`() throws {
    let desk = try desk(.rewriter)
    let lines = desk.screen.split(separator: "\n")
    #expect(lines.contains { $0.contains("mov al, 4bh") && $0.contains("identity") && $0.components(separatedBy: "mov al, ").count == 3 })
    #expect(lines.contains { $0.contains("=>00007c16 out dx, al") && $0.contains("callout") && $0.contains("mov r13, ") })
    #expect(desk.screen.contains("next 0x7c17 chained") && desk.screen.contains("off the straight path"))
  }

  @Test func `m goes through totals, sites, what would be missed, and the policy`() throws {
    let desk = try desk(.rewriter)
    for text in ["x12.7", "OUT, OUTS, callout", "would have shown the machine's processor", "MOV to CR"] {
      desk.type("m")
      desk.draw()
      #expect(desk.screen.contains(text), "\(text)")
    }
    desk.type("m")
    desk.draw()
    #expect(desk.screen.contains("[block]"))
  }

  @Test func `b steps to the next block, and keys of compare ask for an engine`() throws {
    let desk = try desk(.rewriter)
    desk.type("b")
    desk.show(.comparison)
    desk.type("ri")
    #expect(desk.session.submitted == ["stepblock", "compare with rewriter", "compare with interpreter"])
  }

  @Test func `a session that rewrites nothing says so`() throws {
    let desk = try desk(.rewriter) {
      $0.rewriting = RewritingView()
      $0.rewriting.technique = "hvm"
      $0.rewriting.engine = "interpreter"
    }
    #expect(desk.screen.contains("nothing is rewritten here: technique hvm on engine interpreter"))
    let empty = try self.desk(.comparison) { $0.comparison = nil }
    #expect(empty.screen.contains("nothing was compared yet"))
  }

  @Test func `a divergence names the instruction and shows both states`() throws {
    let desk = try desk(.comparison)
    #expect(desk.screen.contains("part with instruction 16654588 at 0x7c14: mov al, 4bh"))
    #expect(desk.screen.contains("+CF"))
    #expect(desk.screen.contains("in cache"))
  }

  @Test func `a watch typed behind its key keeps the blank before its length`() throws {
    let desk = Desk(try Fixture.realMode())
    desk.type("w$rsp-4 4\n")
    #expect(desk.session.submitted == ["watch w $rsp-4 4"])
  }

  @Test("the words of rewriting are explained", arguments: ["identity", "rewritten", "in-cache", "interpreted", "chained"])
  func explained(_ word: String) {
    #expect(ExplainCatalogue.entry(word: word, context: ["rewriting"])?.name == "rewriting.\(word)")
  }
}
