import Glibc
import Testing

/// Runs the built program from shell text, as a person types it, with pipes and all.
enum Shell {
  struct Result {
    var status: Int32
    var output: String
    var errors: String
  }

  /// The program lies beside the test bundle.
  static var path: String {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
    let own = String(decoding: buffer.prefix(max(count, 0)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let source = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    let beside = own.split(separator: "/").dropLast().joined(separator: "/")
    let candidates = ["/\(beside)/ringside", "/\(source)/.build/release/ringside", "/\(source)/.build/debug/ringside"]
    return candidates.first { access($0, X_OK) == 0 } ?? "ringside"
  }

  /// Runs it through the shell, with at most 20 seconds. `arguments` is shell text.
  static func run(_ arguments: String, input: String = "</dev/null") -> Result {
    var name = Array("/tmp/ringside-test-XXXXXX".utf8CString)
    close(mkstemp(&name))
    let errors = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { unlink(errors) }
    guard let pipe = popen("{ timeout 20 '\(path)' \(arguments) ; } \(input) 2>\(errors)", "r") else {
      return Result(status: -1, output: "", errors: "popen failed")
    }
    let output = text(pipe)
    let status = pclose(pipe) >> 8 & 0xFF
    guard let file = fopen(errors, "r") else { return Result(status: status, output: output, errors: "") }
    defer { fclose(file) }
    return Result(status: status, output: output, errors: text(file))
  }

  private static func text(_ file: UnsafeMutablePointer<FILE>) -> String {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = fread(&chunk, 1, chunk.count, file)
      if count == 0 { break }
      bytes += chunk.prefix(count)
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

@Suite("The command line")
struct InvocationTests {
  static let mistakes: [(String, String)] = [
    ("--bogus", "Unknown option"), ("--headless hello-reel", "did you mean hello-real?"),
    ("--headless /nonexistent/kernel", "no such file"), ("--headless --engine nosuch --limit 5 hello-real", "expected auto"),
    ("--headless --technique rewrite --engine kvm hello-real", "cannot call out"),
    ("compare hello-real", "--with"), ("compare hello-real --with kvm", "does not count instructions"),
    ("compare hello-real --with rewriter --with interpreter --with rewriter", "stands twice"),
    ("compare nosuch --with rewriter", "nosuch"),
    ("--headless --technique pv --cpus 2 hello-real", "expected 1"), ("--headless --technique pv --engine kvm hello-real", "expected interpreter"),
    ("--headless --engine nosuch hello-real", "expected auto"),
    ("--headless --cpus 0 hello-real", "expected 1 to 64"), ("--headless --memory 0 hello-real", "--memory"),
    ("--headless --mode weird hello-real", "--mode"), ("--headless --limit x hello-real", "--limit"),
    ("--headless --commands /nonexistent hello-real", "no such text file"), ("hello-real", "needs a terminal"),
    ("--headless --events /nonexistent/x hello-real", "cannot be written"), ("--headless /etc/passwd", "passwd"),
    ("--headless hello-real -c stepp", "did you mean 'step'?"),
    ("--headless long-kernel --initrd /nonexistent", "--initrd /nonexistent: No such file"),
    ("--headless long-kernel --symbols /nonexistent", "--symbols /nonexistent: No such file"),
    ("--headless long-kernel --memory 5", "1M to 1T"), ("compare long-kernel --with zz", "--with zz: expected interpreter or rewriter"),
  ]

  @Test(arguments: mistakes)
  func `tells what was typed wrong in a line, with status 2`(arguments: String, expected: String) {
    let result = Shell.run(arguments)
    #expect(result.status == 2)
    #expect(result.errors.contains(expected), "\(result.errors)")
    #expect(result.output.isEmpty)
  }

  @Test func `version and help go to standard output`() {
    #expect(Shell.run("--version").output.hasPrefix("ringside 0.1"))
    let help = Shell.run("--help")
    #expect(help.status == 0 && help.output.contains("USAGE"))
  }

  @Test func `the limit is exact and ends with 124`() {
    for limit in [1, 2, 1000, 12_345] {
      let result = Shell.run("--headless --limit \(limit) long-kernel -c c -c 'info stats' --json")
      #expect(result.status == 124)
      #expect(result.output.contains("\"instructions\":\(limit),"), "\(limit)")
    }
  }

  @Test func `commands answer on standard output, as JSON line by line`() {
    let text = Shell.run("hello-real -c step -c 'print 6*7'")
    #expect(text.output.contains("42 = 0x2a"))
    let json = Shell.run("hello-real --json -c step -c 'print 6*7'")
    let lines = json.output.split(separator: "\n")
    #expect(lines.count == 2)
    #expect(lines.last == #"{"command":"print 6*7","answer":{"value":"0x2a","decimal":42,"text":"6*7"}}"#)
  }

  @Test func `a run has the same digest paused or not`() {
    let whole = Shell.run("hello-real --json --digest -c c").output.split(separator: "\n").last
    let stopped = Shell.run(
      "hello-real --json --digest -c 'step 20' -c e -c e -c n -c 'break 7c20 if 0' -c c"
    ).output.split(separator: "\n").last
    #expect(whole != nil && whole == stopped)
  }

  @Test func `compare ends with 0 where two engines agree, and has a table`() {
    let result = Shell.run("compare long-kernel --with interpreter --with rewriter --technique rewrite --every 5000")
    #expect(result.status == 0 && result.output.hasPrefix("no difference in "), "\(result.output)\(result.errors)")
    for word in ["SWAPGS", "in cache", "OUT, OUTS", "million a second"] { #expect(result.output.contains(word), "\(word)") }
    let json = Shell.run("compare hello-real --with rewriter --cpu x86-64-v2 --max-instructions 500 --json")
    #expect(json.status == 0 && json.output.hasPrefix("{\"equal\":true,"))
  }

  @Test func `a rewritten guest has the digest it has under VT-x`() {
    let runs = ["", "--engine rewriter", "--technique rewrite", "--technique rewrite --engine interpreter"].map {
      Shell.run("--headless --digest \($0) long-kernel").errors
    }
    #expect(Set(runs).count == 1 && runs[0].hasPrefix("digest "))
  }

  @Test func `a triple fault ends with 70`() {
    let result = Shell.run("--headless triple-fault")
    #expect(result.status == 70)
    #expect(result.errors.contains("Triple fault at"))
  }

  @Test func `a breakpoint on data is set, with a warning`() {
    let data = Shell.run("long-kernel -c 'break gdt_pointer' -c 'info bp'").output.split(separator: "\n")
    #expect(data.count == 3)
    #expect(data[1] == "warning: gdt_pointer is data, not code; 'watch rw gdt_pointer' stops where it is read or written")
    #expect(!Shell.run("long-kernel -c 'break main' -c 'break 100018'").output.contains("warning"))
    #expect(Shell.run("long-kernel --json -c 'break gdt_pointer'").output.contains("\"warning\":"))
  }

  @Test func `techniques runs a sample by each, as text and as JSON`() {
    let table = Shell.run("techniques teaching --with hvm --with rewrite --with pv --append ops:10")
    #expect(table.status == 0 && table.output.contains("says the same") && table.output.contains("mmu_update"))
    let json = Shell.run("techniques teaching --with pv/interpreter --append ops:10 --json").output
    #expect(json.hasPrefix("{\"guest\":\"teaching\"") && json.contains("\"name\":\"syscall\",\"times\":10"))
    #expect(Shell.run("techniques teaching --with vmx").status == 2)
  }

  @Test func `doctor, engines, samples and themes list what is there`() {
    #expect(Shell.run("doctor").output.contains("samples"))
    let engines = Shell.run("engines").output
    #expect(engines.contains("million instructions a second") && engines.contains("a 64-bit loop of loads, stores"))
    let samples = Shell.run("samples").output.split(separator: "\n").map { $0.prefix { $0 != " " } }
    #expect(samples.starts(with: ["long-kernel", "hello-real"]), "the first to try stands first")
    #expect(Shell.run("samples mmio-device").output.contains("APIC timer"))
    #expect(Shell.run("samples mmio-devise").errors.contains("did you mean mmio-device?"))
    #expect(Shell.run("themes").output.contains("dark"))
  }
}

@Suite("Samples")
struct SampleTests {
  @Test(arguments: [
    ("hello-real", Int32(1)), ("protected-fault", 0), ("long-kernel", 0), ("timer-keyboard", 0), ("hypercalls", 0),
    ("mmio-device", 0), ("triple-fault", 70), ("self-modifying", 0), ("sensitive-parade", 0),
    ("tiny-hypervisor", 0), ("teaching", 0), ("teaching32", 0), ("ring-one", 0),
  ])
  func `print what they promise and end with their status`(name: String, status: Int32) {
    let folder = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    let result = Shell.run("--headless \(name) | cmp - /\(folder)/Samples/\(name)/expected.txt", input: "</dev/null")
    #expect(result.status == 0, "\(result.output)")
    #expect(Shell.run("--headless \(name)").status == status)
  }
}
