import Engines
import Testing
import VMCore
import X86

/// What every engine must do the same, over the registry: one table of engines, and what a test needs of the
/// engine and of the host under it.
enum Conformance {
  /// Every engine this host can run.
  static let engines: [String] = EngineRegistry.rows.filter { $0.unavailable == nil }.map(\.name)

  /// Modes a guest's code runs in.
  enum Mode: String, CaseIterable, Sendable {
    case real, protected, paged, long

    /// Of an address or a pushed word by default, in bytes.
    var wordSize: UInt64 {
      switch self {
      case .real: 2
      case .protected, .paged: 4
      case .long: 8
      }
    }
    var needs: [Need] { self == .paged ? [.paging32] : [] }
  }

  static func bench(_ engine: String, _ mode: Mode, needs: [Need] = [], vcpus: Int = 1) throws -> SystemBench {
    let bench = try SystemBench(engine: engine, vcpus: vcpus)
    for need in mode.needs + needs { try need.check(bench.engine) }
    enter(mode, bench)
    return bench
  }
  /// The same, or nil where the mode is not applicable: for one of several modes in a row of a table.
  static func applicableBench(_ engine: String, _ mode: Mode, cpu: CPUModel = .baseline) throws -> SystemBench? {
    let bench = try SystemBench(engine: engine, cpu: cpu)
    for need in mode.needs where need.missing(on: bench.engine) != nil { return nil }
    enter(mode, bench)
    return bench
  }
  private static func enter(_ mode: Mode, _ bench: SystemBench) {
    switch mode {
    case .real: bench.enterReal()
    case .protected: bench.enterProtected()
    case .paged: bench.enterPaged(.legacy, cpl: 0)
    case .long: bench.enterLong()
    }
  }
}

/// What a test asks of an engine, or of the host it runs on.
enum Need: Sendable, Equatable {
  case capability(EngineCapabilities)
  /// 32-bit paging.
  case paging32
  /// Interrupts and their windows come at the exact instruction.
  case preciseInterrupts
  /// Debug registers that watch data, or something as fine.
  case dataWatchpoints

  /// Ends the test case as not applicable, with the trait's name, where it is missing.
  func check(_ engine: any Engine) throws {
    guard let missing = missing(on: engine) else { return }
    print("not applicable on \(engine.name): trait \(missing)")
    try Test.cancel("not applicable: trait \(missing)")
  }

  private func trait(_ name: String, _ engine: any Engine) -> String? {
    engine.traits.contains { $0.name == name && !$0.holds } ? name : nil
  }

  /// The name of what is missing; nil where the engine has it.
  func missing(on engine: any Engine) -> String? {
    switch self {
    case .capability(let capability): engine.capabilities.contains(capability) ? nil : capability.name
    case .paging32: trait("paging32", engine)
    case .preciseInterrupts: trait("preciseInterrupts", engine)
    case .dataWatchpoints: trait("dataWatchpoints", engine)
    }
  }
}

extension SystemBench {
  /// The longest any test lets a guest run between two exits: instructions, or nanoseconds where an engine does
  /// not count them.
  static let patience: UInt64 = 400_000_000

  /// Puts code where the guest goes on and lets it run to its next exit.
  func execute(_ bytes: [UInt8], _ entry: VMEntry = .resume) -> VMExit {
    memory.write(GPA(linearRIP()), bytes)
    return vcpu.run(entry, limit: Self.patience)
  }
  func goOn(_ entry: VMEntry = .resume) -> VMExit { vcpu.run(entry, limit: Self.patience) }
  /// Carries out an entry and nothing else.
  func carryOut(_ action: VMEntry.Action, inject: InjectedEvent? = nil) -> VMExit {
    vcpu.run(VMEntry(action, inject: inject), limit: 0)
  }
  /// Makes a vector's handler (or all of them) end in HLT.
  func haltInHandlers() {
    for i in 0..<UInt64(256) { memory.write(GPA(Self.handlers + i * 16), [0xF4]) }
  }
}
