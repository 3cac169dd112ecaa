import Debugger
import Engines
import Session
import Testing
import VMCore

/// The same work by three techniques: who needs the monitor for what, and that text and data say the same.
@Suite("Techniques side by side") struct TechniquesTests {
  private static func report(_ engine: String, append: String = "ops:50") -> TechniquesReport {
    var configuration = SessionConfiguration()
    configuration.guest = "teaching"
    configuration.append = append
    return Techniques(configuration, choices: Technique.allCases.map { TechniqueChoice($0, engine) }).run()
  }

  /// What a technique catches of an operation, with the count for each time.
  private static func caught(_ report: TechniquesReport, _ technique: Technique, _ operation: String) -> [String: Int] {
    let run = report.runs.first { $0.choice.technique == technique }
    guard let operation = run?.operation(operation) else { return ["none": 0] }
    var result: [String: Int] = [:]
    for (kind, tally) in operation.counts.kinds where tally.count >= operation.times {
      result["\(kind.name) \(kind.treatment.rawValue)"] = Int(operation.each(tally.count).rounded())
    }
    return result
  }

  @Test func `a guest that is not there is said not to be once`() {
    let report = Techniques(SessionConfiguration(), guests: ["nosuch"]).run()
    #expect(report.rows().lines.count == 1 && report.rows().lines[0].hasPrefix("nosuch: no such file or sample"))
  }

  @Test func `a guest that is trusted says the same as one that is checked`() {
    var configuration = SessionConfiguration()
    configuration.guest = "teaching"
    configuration.append = "ops:5"
    configuration.isTrusting = true
    let report = Techniques(configuration, choices: [Technique.hvm, .pv].map { TechniqueChoice($0, "interpreter") }).run()
    #expect(report.isSame && report.runs.allSatisfy { $0.end == "shut down" && $0.refusal == nil })
  }

  @Test("whoever watches ends a long run in its midst", arguments: ["interpreter", "rewriter", "kvm"].filter { $0 != "kvm" || !EngineRegistry.traits(of: $0).isEmpty })
  func ended(engine: String) {
    var configuration = SessionConfiguration()
    configuration.guest = "teaching"
    configuration.append = "ops:100000"
    var plan = Techniques(configuration, choices: [Technique.hvm, .rewrite].map { TechniqueChoice($0, engine) })
    var asked: [UInt64] = []
    plan.goesOn = {
      asked.append($1)
      return asked.count < 2
    }
    let report = plan.run()
    #expect(report.runs.map(\.end) == ["paused"] && asked.count == 3)
  }

  @Test("each operation needs the monitor where its technique says so", arguments: ["interpreter", "rewriter"])
  func operations(engine: String) {
    let report = Self.report(engine)
    #expect(report.isSame && report.runs.allSatisfy { $0.end == "shut down" })
    #expect(report.operationNames == ["in", "cr8wr", "callret", "pgfault", "divzero", "ptemod", "syscall"])
    let expected: [(String, [Technique: [String: Int]])] = [
      ("in", [.hvm: ["IN, INS exit": 1], .rewrite: ["IN, INS callout": 1], .pv: ["#GP emulated": 1]]),
      ("cr8wr", [.hvm: ["MOV to CR exit": 1], .rewrite: ["MOV to CR callout": 1], .pv: [:]]),
      ("callret", [.hvm: [:], .rewrite: [:], .pv: [:]]),
      ("divzero", [.hvm: [:], .rewrite: ["IRET callout": 1], .pv: ["#DE bounce": 1, "iret hypercall": 1]]),
      ("ptemod", [.hvm: [:], .rewrite: ["INVLPG callout": 1], .pv: ["mmu_update hypercall": 1, "mmuext_op hypercall": 1]]),
      ("pgfault", [
        .hvm: [:], .rewrite: ["INVLPG callout": 1, "IRET callout": 1, "MOV from CR callout": 1],
        .pv: ["#PF bounce": 1, "iret hypercall": 1, "mmu_update hypercall": 2, "mmuext_op hypercall": 1],
      ]),
      ("syscall", [
        .hvm: [:], .rewrite: ["SYSCALL, SYSENTER callout": 1, "SYSRET, SYSEXIT callout": 1],
        .pv: ["SYSCALL, SYSENTER bounce": 1, "iret hypercall": 1],
      ]),
    ]
    for (operation, byTechnique) in expected {
      for (technique, kinds) in byTechnique {
        #expect(Self.caught(report, technique, operation) == kinds, "\(operation) by \(technique.rawValue)")
      }
    }
  }

  @Test func `counts do not depend on the engine`() {
    let (a, b) = (Self.report("interpreter"), Self.report("rewriter"))
    for (x, y) in zip(a.runs, b.runs) {
      #expect(x.total.instructions == y.total.instructions && x.console == y.console && x.missed == y.missed)
      #expect(x.total.kinds.mapValues(\.count) == y.total.kinds.mapValues(\.count))
    }
    #expect((a.runs[1].missed ?? [:]).values.reduce(0, +) > 50)
    #expect(a.runs[0].missed == nil && a.runs[2].missed == nil)
  }

  @Test func `text and JSON have the same numbers`() {
    let report = Self.report("rewriter")
    let lines = report.rows().lines
    guard case .array(let runs)? = report.json["runs"] else {
      Issue.record("no runs in \(report.json.text)")
      return
    }
    func numbers(_ name: String) -> [String] {
      runs.compactMap { run -> String? in
        guard case .number(let value)? = run["total"]?[name] else { return nil }
        return "\(value)"
      }
    }
    for (title, name) in [("guest instructions", "instructions"), ("times in the monitor", "entries")] {
      let line = lines.first { $0.hasPrefix(title) } ?? ""
      let shown = line.dropFirst(title.count).split(separator: " ").map { String($0) }
      #expect(shown == numbers(name) && shown.count == 3)
    }
    for case .array(let kinds)? in runs.map({ $0["total"]?["caught"] }) {
      for kind in kinds {
        guard case .string(let what)? = kind["what"], case .number(let count)? = kind["count"] else { continue }
        #expect(lines.contains { $0.hasPrefix(String(what.prefix(26))) && $0.contains("\(count) ") }, "\(what) \(count)")
      }
    }
  }

  @Test func `a narrow table has fewer columns, and the same cells`() {
    let report = Self.report("rewriter")
    let narrow = report.rows(width: 78)
    #expect(narrow.allSatisfy { !$0.text.contains("hvm/rewriter") || !$0.text.contains("pv/rewriter") })
    let words = { (rows: [ReportRow]) in Set(rows.flatMap { $0.text.split(separator: " ").map { String($0) } }) }
    #expect(words(report.rows()).subtracting(words(narrow)).isEmpty)
  }

  @Test func `what a technique cannot run is said, with why`() {
    var configuration = SessionConfiguration()
    configuration.guest = "hello-real"
    let report = Techniques(configuration, choices: [TechniqueChoice(.hvm, "interpreter"), TechniqueChoice(.pv, "interpreter")]).run()
    #expect(report.runs[0].refusal == nil && report.runs[1].refusal != nil && report.isSame)
    #expect(report.rows().lines.contains { $0.hasPrefix("pv/interpreter: ") })
    configuration.guest = "ring-one"
    let ported = Techniques(configuration, choices: [TechniqueChoice(.hvm, "interpreter"), TechniqueChoice(.pv, "interpreter")]).run()
    #expect(ported.runs[0].refusal == "ring-one is made for the technique pv alone" && ported.runs[1].refusal == nil)
    #expect(TechniqueChoice("pv") == TechniqueChoice(.pv, "rewriter") && TechniqueChoice("hvm/bochs") == nil && TechniqueChoice("") == nil)
  }

  @Test func `of several files each technique takes the first it can run`() throws {
    let folder = try #require(SampleLibrary.folder("Samples")) + "/teaching"
    var configuration = SessionConfiguration()
    configuration.append = "ops:1"
    let report = Techniques(
      configuration, guests: ["\(folder)/teaching-hvm64.elf", "\(folder)/teaching-pv64.elf"],
      choices: [TechniqueChoice(.hvm, "interpreter"), TechniqueChoice(.pv, "interpreter")]
    ).run()
    #expect(report.isSame && report.runs.allSatisfy { $0.refusal == nil })
  }

  @Test func `the command answers for the present guest and leaves it where it is`() throws {
    var configuration = SessionConfiguration()
    configuration.guest = "teaching"
    configuration.append = "ops:5"
    let session = try Session(configuration)
    _ = session.perform("step 10")
    let before = session.currentSnapshot()
    let result = session.perform("techniques hvm rewrite pv/interpreter")
    #expect(!result.failed && result.lines.last == "teaching says the same 219 bytes under 3 techniques")
    #expect(session.currentSnapshot().techniques?.runs.count == 3)
    #expect(session.currentSnapshot().instructionCount == before.instructionCount)
    #expect(session.perform("techniques vmx").lines.first?.contains("hvm, rewrite or pv was expected") == true)
  }
}
