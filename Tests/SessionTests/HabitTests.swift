import Debugger
import Session
import Testing
import VMCore

/// What fingers type that lived in gdb, pwndbg, Bochs or WinDbg.
@Suite("Habits of other debuggers")
struct HabitTests {
  private static func session(_ guest: String = "long-kernel", _ commands: String...) throws -> Session {
    var configuration = SessionConfiguration()
    configuration.guest = guest
    let session = try Session(configuration)
    for command in commands { #expect(!session.perform(command).failed, "\(command)") }
    return session
  }

  @Test func `what is loaded is named by its last part`() throws {
    let sentence = try Self.session().currentSnapshot().stopSentence
    #expect(sentence.hasPrefix("Loaded long-kernel.elf, stopped before its first instruction at 1002d7 <start>: Multiboot kernel"), "\(sentence)")
  }

  @Test func `a screen's coloured blanks are seen in text`() {
    var cells = [UInt16](repeating: 0x1720, count: 80 * 25)
    for column in 2..<5 { cells[80 + column] = 0x4720 }
    cells[81] = 0x1741
    let lines = TextScreen(cells, cursor: nil).lines
    #expect(lines[0].isEmpty)
    #expect(lines[1] == " A###")
  }

  @Test("answer as there", arguments: [
    ("p/x $pc", "0x100c3d"), ("p/x $sp", "0x106fa8"), ("p/c 65", "65 'A'"), ("p/x *(unsigned int *)$rsp", "0x100e06"),
    ("p/x {char}0x100e06", "0x43"), ("p/x (short)0x12345678", "0x5678"), ("p/a log_write", "0x100c23 <log_write>"),
    ("b *0x1000b7", "breakpoint 1: exec 1000b7"), ("tb *log_write", "exec 100c23 <log_write>"), ("hbreak log_write", "exec 100c23"),
    ("watch *(int *)0x9efa0", "watch w 9efa0/4"), ("watch word[0x9efa0]", "watch w 9efa0/2"), ("rwatch 0x9efa0", "watch r 9efa0/1"),
    ("awatch *0x9efa0", "watch rw 9efa0/8"), ("set *(int *)0x9efa0 = 7", "4 bytes at 0x9efa0 = 0x7"),
    ("set {char}0x9efa0 = 7", "1 byte at 0x9efa0"), ("set pword[0x9efa0]=7", "2 bytes at 0x9efa0"),
    ("i r rax", "rax 0000000000000001"), ("info symbol 0x1000b7", "report_cpuid+1b"), ("info eflags", "IOPL0"),
    ("x/2s 0x100e06", "\"CPUID: long-mode"), ("tele", "sp=>    +0  00106fa8  0000000000100e06"), ("stack 2", "CPUID: long-mode"),
    ("hexdump 100e06 8", "43 50 55 49 44 3a 20 6c"), ("dd $rsp 2", "00100e06 00000000"), ("list", "out dx, eax"),
    ("find \"CPUID: long\"", "00100e06"), ("find 0x100000, +0x2000, 0x43, \"PUID\"", "00100e06"), ("find 100000, 102000, 43 50 55 49 44", "00100e06"),
    ("context", "rip "), ("nextret", "ret"), ("nextcall", "call screen_putc"), ("fin", "pop rcx"), ("info cpu", "cr0"), ("info pit", "counter 0"),
    ("info gdt 1", "0008"), ("info msr efer", "EFER"), ("info msr c0000080", "EFER"),
  ])
  func answers(_ line: String, _ expected: String) throws {
    let result = try Self.session("long-kernel", "9e").perform(line)
    #expect(!result.failed && result.lines.joined(separator: "\n").contains(expected), "\(line): \(result.lines)")
  }

  @Test("what is no command here is answered with what is", arguments: [
    ("frame 1", "backtrace"), ("handle SIGINT", "sx REASON"), ("checkpoint", "snap save"), ("kill", "reset"), ("rdmsr 10", "info msr"),
  ])
  func advice(_ line: String, _ expected: String) throws {
    let result = try Self.session().perform(line)
    #expect(result.failed && result.lines[0].contains(expected), "\(result.lines)")
  }

  @Test func `display is shown at every stop until it is taken back`() throws {
    let session = try Self.session("long-kernel", "display $rip", "display/2i $pc")
    let stop = session.perform("step")
    #expect(stop.lines.contains { $0.hasPrefix("1: $rip = ") })
    #expect(stop.lines.contains("2: x/2i $pc"))
    #expect(session.currentSnapshot().displayed.map(\.number) == [1, 2])
    #expect(!session.perform("undisplay 1").failed)
    #expect(!session.perform("step").lines.contains { $0.hasPrefix("1: ") })
    #expect(session.perform("display nosuchname").failed)
    #expect(session.perform("undisplay 9").failed)
  }

  @Test func `an empty line goes on where x ended, and begins anew at the next stop`() throws {
    let session = try Self.session("long-kernel", "9e", "x/2xb 100e06")
    #expect(session.perform("").lines[0].hasSuffix(": 55 49"))
    #expect(session.perform("").lines[0].hasSuffix(": 44 3a"))
    _ = session.perform("step")
    #expect(session.perform("x/1i").lines[0].hasPrefix("=>"))
  }

  @Test func `continue N stops at the N-th breakpoint, and commands changes what one does`() throws {
    let session = try Self.session("long-kernel", "break log_write", "c 3")
    #expect(session.currentSnapshot().breakpoints[0].hits == 3)
    #expect(!session.perform("commands 1 \"print 6*7; continue\"").failed)
    _ = session.perform("break report_cpuid")
    #expect(session.currentSnapshot().breakpoints[0].action == "print 6*7; continue")
    #expect(!session.perform("clear log_write").failed)
    #expect(session.currentSnapshot().breakpoints.map(\.number) == [2])
  }

  @Test func `until leaves a loop, jump goes on from elsewhere`() throws {
    let session = try Self.session("long-kernel", "9e", "until log_write+2f")
    let loop = session.currentSnapshot().vcpus[0]
    #expect(session.perform("x/1i").lines[0].contains("loop "))
    #expect(!session.perform("until").failed)
    let after = session.currentSnapshot().vcpus[0]
    #expect(after.rip > loop.rip && after[.rcx] == 0)
    _ = session.perform("break log_write")
    #expect(session.perform("jump *log_text").lines[0].hasPrefix("Breakpoint"))
  }

  @Test func `rn goes back over a call, rf to the caller`() throws {
    let session = try Self.session("long-kernel", "9e", "break screen_putc", "c")
    let inside = session.currentSnapshot()
    #expect(!session.perform("rf").failed)
    let caller = session.currentSnapshot()
    #expect(caller.instructionCount == inside.instructionCount - 1)
    let call = caller.vcpus[0].rip
    _ = session.perform("delete")
    #expect(session.perform("next").lines[0].hasPrefix("Stepped to"))
    #expect(session.currentSnapshot().instructionCount > inside.instructionCount)
    #expect(!session.perform("rn").failed)
    #expect(session.currentSnapshot().vcpus[0].rip == call)
    #expect(session.currentSnapshot().instructionCount == caller.instructionCount)
  }

  @Test("Tab completes what a command takes", arguments: [
    ("bm ia32_e", "IA32_EFER"), ("bi #p", "#pf"), ("sx hlt ", "stop"), ("info vmcs gu", "guest"), ("info regs ra", "rax"),
    ("break main ", "if"), ("break main if hi", "hits"), ("be io po", "port"), ("bcr c", "cr3"), ("compare with re", "rewriter"),
    ("key es", "esc"), ("bh an", "any"),
  ])
  func completion(_ line: String, _ expected: String) throws {
    let found = try Self.session().completions(for: line)
    #expect(found.contains(expected), "\(line): \(found.prefix(8))")
  }
}
