import Console
import Debugger
import Glibc
import Session
import TerminalUI
import Testing
import VMCore
import X86

/// The fifteen mistakes: those that are in what commands answer.
@Suite("Peers' mistakes, in commands") struct PeersMistakesSessionTests {
  static func session(_ guest: String = "hello-real") throws -> Session {
    var configuration = SessionConfiguration()
    configuration.guest = guest
    return try Session(configuration)
  }

  static let hasKVM = (try? { () throws -> Bool in
    var configuration = SessionConfiguration()
    configuration.guest = "hello-real"
    configuration.engine = "kvm"
    return try Session(configuration).currentSnapshot().engine == "kvm"
  }()) ?? false

  @Test func `mistake 5, a key hangs the program: every key in every pane in every state answers at once`() throws {
    let codes: [KeyCode] = [.up, .down, .left, .right, .home, .end, .pageUp, .pageDown, .insert, .delete, .backspace, .tab, .backTab, .enter, .escape]
    let keys = (0x20..<0x7F).map { Key(Unicode.Scalar(UInt8($0))) } + codes.map { Key($0) } + (1...12).map { Key(.function($0)) }
      + (0x61...0x7A).map { Key.control(Unicode.Scalar(UInt8($0))) }
    for phase in [SessionPhase.created, .running, .paused, .idle, .ended(status: 1)] {
      var snapshot = try Fixture.realMode()
      snapshot.phase = phase
      for pane in PaneID.allCases where !pane.isFrame {
        let desk = Desk(snapshot)
        for key in keys {
          desk.model.show(pane)
          let before = CPUTime.now()
          desk.press(key)
          desk.draw()
          #expect(CPUTime.now() - before < 100_000_000, "\(key.name) in \(pane), \(phase)")
          if desk.model.mode != .panes { desk.press(GuestConsolePane.leaveKey, Key(.escape), Key(.escape)) }
        }
      }
    }
  }

  @Test("mistake 6, 'syntax error': an unknown word gives the nearest command and its usage", arguments: [
    ("brek 7c1c", "break", "usage: break"), ("help bp", "bp", ""), ("stepp", "step", "usage: step"), 
    ("info rges", "regs", "usage: info TOPIC"), ("explain cr0.pgg", "cr0.pg", "usage: explain"),
  ])
  func unknown(_ line: String, _ nearest: String, _ usage: String) throws {
    let result = try Self.session().perform(line)
    guard result.failed else { return }
    #expect(result.lines.joined(separator: "\n").contains(nearest), "\(result.lines)")
    #expect(usage.isEmpty || result.lines.contains { $0.hasPrefix(usage) }, "\(result.lines)")
    #expect(!result.lines[0].contains("syntax error"))
  }

  @Test("mistake 7, only one name of the instruction pointer is known", arguments: ["rip", "eip", "ip", "$rip", "pc", "cs:ip"])
  func instructionPointer(_ name: String) throws {
    let session = try Self.session()
    if name == "cs:ip" {
      #expect(session.perform("info regs").lines.joined(separator: "\n").contains("rip 0000:7c00"))
    } else {
      #expect(session.perform("print \(name)").lines.joined().lowercased().contains("7c00"), "\(name)")
    }
    #expect(session.perform("info idt").lines.count >= 16)
  }

  @Test func `mistake 8, a register on the screen cannot be set: each is set, or the refusal says why`() throws {
    let session = try Self.session()
    for name in RegisterNames.all {
      let result = session.perform("set $\(name)=1")
      if result.failed { #expect(result.lines[0].count > 20 && !result.lines[0].contains("syntax"), "\(name): \(result.lines)") }
    }
    for name in ["rax", "eflags", "cr0", "cs", "dr7", "efer", "xmm3", "st2", "mxcsr", "zf"] {
      #expect(!(try Self.session().perform("set $\(name)=0").failed), "\(name)")
    }
  }

  @Test func `mistake 9, only the last breakpoint can be deleted: any order will do`() throws {
    let session = try Self.session()
    for address in ["7c00", "7c10", "7c20", "7c30"] { #expect(!session.perform("break \(address)").failed) }
    for number in [2, 4, 1, 3] {
      #expect(!session.perform("delete \(number)").failed)
      #expect(!session.currentSnapshot().breakpoints.contains { $0.number == number })
    }
    #expect(session.currentSnapshot().breakpoints.isEmpty)
  }

  @Test func `mistake 10, watchpoints only at start: one set in the middle stops the guest`() throws {
    let session = try Self.session("protected-fault")
    _ = session.perform("step 20")
    #expect(!session.perform("watch w $rsp-2 2").failed || !session.perform("watch w 7000 16").failed)
    #expect(session.currentSnapshot().breakpoints.count == 1)
  }

  @Test(.enabled(if: hasKVM, "no KVM engine yet")) func `mistake 12, exit statistics are zero on KVM`() throws {
    var configuration = SessionConfiguration()
    configuration.guest = "hello-real"
    configuration.engine = "kvm"
    let session = try Session(configuration)
    _ = session.perform("continue")
    #expect(session.currentSnapshot().reasons.contains { $0.count > 0 })
  }

  @Test(.enabled(if: hasKVM, "no KVM engine yet")) func `mistake 13, a breakpoint in real mode on KVM stops elsewhere`() throws {
    var configuration = SessionConfiguration()
    configuration.guest = "hello-real"
    configuration.engine = "kvm"
    let session = try Session(configuration)
    // Behind the far jump the boot sector begins with.
    let target = session.currentSnapshot().vcpus[0].rip + 5
    _ = session.perform("break \(String(target, radix: 16))")
    _ = session.perform("continue")
    #expect(session.currentSnapshot().vcpus[0].linearRIP.value == target)
  }

  @Test("mistake 14, Tab completes nothing: commands, registers, symbols, reasons, hypercalls, files", arguments: [
    ("cont", "continue"), ("set $ra", "$rax"), ("print cr", "cr0"), ("be cp", "cpuid"), ("bh console", "console_write"),
    ("break log", "log_write"), ("source /etc/host", "/etc/hostname"), ("info ex", "exits"), ("explain cr0.p", "cr0.pg"),
    ("help bre", "break"), ("sx h", "hlt"), ("until log", "log_write"), ("symbol-file /et", "/etc/"),
  ])
  func completion(_ line: String, _ expected: String) throws {
    let found = try Self.session("long-kernel").completions(for: line)
    #expect(found.contains { $0.hasPrefix(expected) }, "\(line): \(found.prefix(5))")
  }

  @Test func `mistake 15, screens have no batch equivalent: every pane's numbers are those of a command`() throws {
    let session = try Self.session("long-kernel")
    _ = session.perform("30e")
    let snapshot = session.currentSnapshot()
    let regs = session.perform("info regs").lines.joined(separator: "\n")
    for gpr in GPR.allCases { #expect(regs.contains(Format.hex(snapshot.vcpus[0][gpr])), "\(gpr.name)") }
    let stats = session.perform("info stats")
    #expect(stats.lines[0].hasPrefix("\(snapshot.exitCount) exits in \(snapshot.instructionCount) instructions"))
    for row in snapshot.reasons { #expect(stats.json["reasons"]?[row.reason.name] == .number(row.count)) }
    let exits = session.perform("info exits 1000").lines.joined(separator: "\n")
    for record in snapshot.exits { #expect(exits.contains("#\(record.sequence) ") && exits.contains(record.detail)) }
    let calls = session.perform("info hypercalls 1000").lines.joined(separator: "\n")
    for record in snapshot.hypercalls { #expect(calls.contains(record.text)) }
    let devices = session.perform("info devices").lines
    for device in snapshot.devices {
      for row in device.rows { #expect(devices.contains("  \(row.name): \(row.value)"), "\(device.device) \(row.name)") }
    }
    #expect(session.perform("info console").lines == snapshot.guestConsole || snapshot.guestConsole.isEmpty)
    #expect(session.perform("info engine").lines[0].contains(snapshot.engine))
    #expect(session.perform("info screen").lines.count == snapshot.screen?.rows)
  }
}

struct ExplainedScreenTests {
  @Test("every row of every device of every kind of guest has an explanation", arguments: ["long-kernel", "hello-real", "mmio-device"])
  func devices(_ guest: String) throws {
    let session = try PeersMistakesSessionTests.session(guest)
    _ = session.perform("20e")
    for device in session.currentSnapshot().devices {
      let heading = device.device.split(separator: " ").map(String.init)
      for row in device.rows {
        let words = row.name.split(separator: " ").map(String.init)
        let isKnown = words.indices.contains { index in
          ExplainCatalogue.entry(word: words[index], context: words[..<index].reversed() + heading) != nil
        }
        let joined = ExplainCatalogue.entry(joined: words.prefix(2).joined(), context: heading)
        #expect(isKnown || joined != nil, "\(device.device): \(row.name)")
      }
    }
  }

  @Test func `every register word the registers pane shows has an explanation`() throws {
    let desk = Desk(try Fixture.realMode(), width: 120, height: 60)
    desk.press(Key(.function(2)), Key("z"))
    let screen = desk.screen
    let numbers = Set("0123456789abcdef:*=")
    let known = Set((RFLAGS.bits + CR0.bits + CR4.bits + EFER.bits).map(\.name))
    var context: [String] = []
    for row in screen.split(separator: "\n").dropFirst(2).dropLast(4) {
      for word in row.split(separator: " ").map(String.init) where !word.allSatisfy(numbers.contains) || word == "af" || word == "de" {
        defer { context.insert(word, at: 0) }
        let isName = word.contains(where: \.isUppercase) || known.contains(word)
        guard word.contains(where: \.isLetter), isName else { continue }
        let isValue = word.hasPrefix("b=") || word.hasPrefix("l=") || word.contains(":")
        #expect(isValue || ExplainCatalogue.entry(word: word, context: Array(context.prefix(60))) != nil, "\(word)")
      }
    }
  }
}

/// Time this thread computed, in nanoseconds: what others do on the machine does not count.
enum CPUTime {
  static func now() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}
