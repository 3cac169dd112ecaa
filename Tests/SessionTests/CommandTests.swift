import Debugger
import Session
import Testing
import VMCore
import X86

@Suite("Commands")
struct CommandTests {
  static func session() throws -> Session {
    try Scripted([
      0x1002: Scripted.out(0x3F8, 0x4B), 0x1004: .exits(.cpuid, .cpuid(leaf: 1, subleaf: 0)),
      0x1006: Scripted.out(0x3F8, 0x41), 0x1008: .jump(0x1000),
    ]).session { $0.limit = 1_000_000 }
  }

  @Test(arguments: [
    ("stepp", "step"), ("contineu", "continue"), ("brek", "break"), ("info rges", "regs"), ("be cpiud", "cpuid"),
    ("help brak", "break"), ("set raxx=1", "rax"), ("sx hlt stpo", "stop"), ("bi #pff", "#pf"),
  ])
  func `name the nearest thing when something is typed wrong`(line: String, nearest: String) throws {
    let result = try Self.session().perform(line)
    #expect(result.failed)
    #expect(result.lines[0].contains("did you mean '\(nearest)'?"), "\(result.lines)")
  }

  @Test(arguments: [
    "break", "watch", "delete 9", "ignore 1", "condition 7 1", "bp", "x/3q 0", "set", "set rax", "set rax=", "limit x",
    "source", "source /nonexistent", "alias a nosuch", "send", "send \"abc", "key nosuchkey", "vcpu 9", "trace", "trace start",
    "step 0", "step x", "print 1/0", "print (", "be", "bh nothing", "bcr 5", "watch w 0 0", "info nosuch", "break 1 zz",
  ])
  func `refuse what they cannot use with a sentence`(line: String) throws {
    let result = try Self.session().perform(line)
    if line != "break" && line != "delete 9x" { #expect(result.failed, "\(line): \(result.lines)") }
    #expect(!result.lines.isEmpty)
  }

  /// What is wrong, and what to do about it: in a line that two rows of a small screen hold.
  @Test("say what was wrong in words that fit it", arguments: [
    ("info foo", "'foo': no such topic ('info' lists them)"),
    ("break start do", "'do': commands in quotes were expected after it"),
    ("break start do \"foo\"", "'foo': no such command"), ("break start if al=5", "'=5': a comparison is written =="),
    ("be foo", "no such exit reason ('help be' lists them)"), ("be io prt==1", "did you mean 'port'?"),
    ("vmcs set hlt-exiting maybe", "'maybe': on or off was expected"), ("limit x", "'x': a number of instructions, or none, was expected"),
    ("limit 5 x", "'x': a number of instructions"), ("symbols", "a file name is missing"), ("symbols nosuch", "nosuch: No such file"),
    ("alias nosuch", "'nosuch': no such alias ('alias' lists them)"), ("vcpu 9", "there is only vCPU 0"),
    ("delete 7", "'7': there is no breakpoint of that number"), ("quit now", "'now': nothing more was expected here"),
    ("rc 5", "'5': nothing more was expected here"), ("info mem x", "'x': nothing more was expected here"),
    ("info stats x", "'x': nothing more was expected here"), ("goto 5", "a guest goes back by 'rsi N'"),
    ("theme nosuch", "that is the console's"), ("gdbserver 1234", "gdb cannot be attached"), ("help foo", "('help' lists them)"),
    ("print \"abc\"", "which a text in quotes is not"), ("break 99999999999999999999999", "does not fit into 64 bits"),
    (String(repeating: "A", count: 500), "AAA…': no such command"), ("break " + String(repeating: "x", count: 500), "unknown name"),
  ])
  func clear(line: String, words: String) throws {
    let result = try Self.session().perform(line)
    #expect(result.failed)
    #expect(result.lines[0].contains(words), "\(result.lines)")
    #expect(result.lines[0].count <= 2 * 78, "\(result.lines[0].count)")
    let path = line.split(separator: " ").last.map(String.init) ?? ""
    if line.hasPrefix("symbols ") { #expect(!result.lines[0].contains("'\(path)': \(path):")) }
  }

  @Test func `info alone lists its topics, and help of a command that takes reasons lists these`() throws {
    let session = try Self.session()
    let topics = session.perform("info")
    #expect(!topics.failed)
    for topic in ["regs", "exits", "xen", "screen"] { #expect(topics.lines.contains { $0.hasPrefix("  info \(topic)  ") }, "\(topic)") }
    for command in ["be", "sx"] {
      #expect(session.perform("help \(command)").lines.contains { $0.hasPrefix("reasons: ") && $0.contains("cpuid, ") }, "\(command)")
    }
    #expect(session.perform("alias").lines == ["there is no alias; 'alias NAME COMMAND' makes one"])
    #expect(session.perform("x/99999999xb 0").lines.last == "... the first 65536")
    #expect(session.perform("find 0x1000, 0x2000, \"nonesuch\"").lines == ["found nowhere"])
  }

  @Test func `words of a topic are the topic's`() throws {
    let session = try Self.session()
    #expect(session.perform("regs rax").lines == session.perform("info regs rax").lines)
    #expect(session.perform("info symbol start").lines == session.perform("symbol start").lines)
  }

  @Test func `step, exit and continue say where the guest is`() throws {
    let session = try Self.session()
    #expect(session.perform("step").lines[0] == "Stepped to 0000:1001 <start+1>.")
    let exit = session.perform("e")
    #expect(exit.lines[0] == "VM exit #0 (io): out 3f8h <- 4b 'K', at 0000:1002 <start+2>.")
    #expect(exit.json["stop"] == .string("exit"))
    #expect(exit.json["icount"] == .number(2))
    #expect(session.perform("3e").json["rip"] == .hex(0x1002))
    #expect(session.perform("exit cpuid").json["rip"] == .hex(0x1004))
  }

  @Test("the length of a watch stands apart from its address", arguments: [
    ("watch w $rsp-4 4", "watch w 7ffc/4"), ("watch w $rsp-4", "watch w 7ffc/1"), ("watch rw $rsp 8", "watch rw 8000/8"),
    ("watch r 2000 16", "watch r 2000/16"), ("watch w start + 2 2 if $rax==1", "watch w 1002/2"),
  ])
  func watchLength(line: String, what: String) throws {
    let result = try Self.session().perform(line)
    #expect(!result.failed && result.lines[0].contains(what), "\(result.lines)")
  }

  @Test func `an empty line repeats`() throws {
    let session = try Self.session()
    _ = session.perform("step")
    #expect(session.perform("").json["icount"] == .number(2))
  }

  @Test func `a condition, a hit count and an action work together`() throws {
    let session = try Self.session()
    #expect(!session.perform("be io port==0x3f8 if value==0x41 hits>=2 do \"print rip\"").failed)
    let stop = session.perform("continue")
    #expect(stop.json["stop"] == .string("breakpoint"))
    #expect(stop.json["icount"] == .number(15))
    #expect(stop.lines[0].hasPrefix("4102"))
    #expect(session.perform("info bp").lines[0] == "1+ exit io if (port==0x3f8) && (value==0x41) x2/2 do \"print rip\"")
  }

  @Test func `an action that continues does not stop`() throws {
    let session = try Self.session()
    _ = session.perform("limit 100")
    _ = session.perform("break 1002 do \"print 7; continue\"")
    let stop = session.perform("c")
    #expect(stop.json["stop"] == .string("limit"))
    #expect(stop.lines.filter { $0.hasPrefix("7 = ") }.count == 11)
  }

  @Test func `every register that is shown can be set`() throws {
    let session = try Self.session()
    for (line, name, value) in [
      ("set $rax=0x1234", "rax", "0x1234"), ("set al=0xff", "al", "0xff"), ("set rflags=0x246", "rflags", "0x246"),
      ("set zf=1", "zf", "0x1"), ("set cr0=0x10", "cr0", "0x10"), ("set ip=0x1005", "ip", "0x1005"),
    ] {
      let result = session.perform(line)
      #expect(result.json[name] == .string(value), "\(line): \(result.lines)")
    }
  }

  @Test func `registers changed at an exit do not make it stop twice`() throws {
    let session = try Self.session()
    _ = session.perform("be io if value==0x4b")
    #expect(session.perform("c").json["icount"] == .number(2))
    _ = session.perform("set $rax=5")
    #expect(session.perform("c").json["icount"] == .number(11))
  }

  @Test func `memory is shown and changed`() throws {
    let session = try Self.session()
    #expect(!session.perform("set dword[0x2000]=0x64636261").failed)
    #expect(session.perform("x/4xb 2000").lines == ["0x2000: 61 62 63 64"])
    #expect(session.perform("x/1xw 2000").json == .array([.string("0x64636261")]))
    #expect(session.perform("xp/2c 2000").lines == ["0x2000: a b"])
    #expect(session.perform("x/2i 1000").lines.count >= 2)
  }

  @Test(arguments: ["regs", "sregs", "cr", "msr", "fpu", "gdt", "ldt", "idt", "tss", "stack", "exits", "hypercalls", "bp",
    "stats", "events", "engine", "devices", "symbols", "mem", "vcpus", "status", "screen", "console"])
  func `info answers in text and in JSON`(topic: String) throws {
    let session = try Self.session()
    _ = session.perform("step 20")
    let result = session.perform("info \(topic)")
    #expect(!result.failed && !result.lines.isEmpty)
    #expect(result.json != .null)
  }

  @Test func `statistics count what happened`() throws {
    let session = try Self.session()
    _ = session.perform("step 90")
    let json = session.perform("info stats").json
    #expect(json["exits"] == .number(30))
    #expect(json["reasons"]?["io"] == .number(20))
    #expect(json["reasons"]?["cpuid"] == .number(10))
  }

  @Test func `there is nothing to finish before the first instruction`() throws {
    let session = try Self.session()
    let refused = session.perform("finish")
    #expect(refused.failed && refused.lines[0].contains("there is nothing to finish"), "\(refused.lines)")
    #expect(session.currentSnapshot().instructionCount == 0)
    _ = session.perform("step")
    #expect(!session.perform("finish").lines[0].contains("nothing to finish"))
  }

  @Test func `events are told in words, and as data where that is asked for`() throws {
    let session = try Self.session()
    _ = session.perform("step 20")
    let result = session.perform("info events 8")
    #expect(result.lines.count == 8 && !result.lines.contains { $0.contains("{") || $0.contains("\"") }, "\(result.lines)")
    #expect(result.lines.contains { $0.contains("IO out 3f8h") })
    #expect(result.json.text.contains("\"kind\":"))
    #expect(result.lines == session.perform("events 8").lines)
    #expect(session.perform("info events 8 exits").lines.allSatisfy { $0.contains("exit") || $0.contains("entry") })
  }

  @Test func `one byte is no bytes, and what was loaded stands behind where the guest is`() throws {
    let session = try Self.session()
    #expect(session.perform("set byte[0x2000]=1").lines == ["1 byte at 0x2000 = 0x1"])
    #expect(session.perform("set word[0x2000]=1").lines == ["2 bytes at 0x2000 = 0x1"])
    let sentence = session.currentSnapshot().stopSentence
    #expect(sentence.hasPrefix("Loaded ") && sentence.contains(", stopped before its first instruction at "), "\(sentence)")
  }

  @Test func `every command has help, and its own name finds it`() {
    for command in CommandTable.all {
      #expect(!command.help.isEmpty)
      #expect(CommandTable.find(command.name)?.name == command.name)
    }
  }

  @Test(arguments: [
    ("st", "step"), ("be cpu", "cpuid"), ("break lo", "loop"), ("print ra", "rax"), ("info st", "stats"),
    ("help con", "condition"), ("print 1+sta", "1+start"),
  ])
  func `completion offers commands, reasons, symbols and registers`(line: String, expected: String) throws {
    #expect(try Self.session().completions(for: line).contains(expected))
  }

  @Test func `random lines never crash`() throws {
    let session = try Self.session()
    _ = session.perform("limit 100000")
    var seed: UInt64 = 42
    func next(_ bound: Int) -> Int {
      seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(seed >> 33) % bound
    }
    let words = CommandTable.names.filter { !["source", "so", "trace", "symbols", "symbol-file"].contains($0) }
      + ["$rax", "0x10", "1", "=", "[", "]", "\"", "if", "hits", "once", "do", "(", "*", "io", "hlt", "/8xb", "rax=5", "all", "-1", "#", "\\x"]
    for _ in 0..<5000 {
      let line = (0..<next(5) + 1).map { _ in words[next(words.count)] }.joined(separator: next(4) == 0 ? "" : " ")
      _ = session.perform(line)
    }
  }
}
