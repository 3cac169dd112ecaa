import Engines
import Testing
import VMCore
import X86

/// Tests of the KVM engine, and what they need of the host.
enum KVMHere {
  static let refusal: VMError? = EngineRegistry.rows.first { $0.name == "kvm" }?.refusal
  static var isUsable: Bool { refusal == nil }
  static var engines: [String] { isUsable ? ["kvm"] : [] }
  static let traits: KVMTraits = KVMFindings.shared.traits

  /// Ends the test as not applicable where the host lacks a trait.
  static func need(_ trait: KVMTraits) throws {
    guard !traits.isSuperset(of: trait) else { return }
    print("not applicable on kvm: trait \(trait.name)")
    try Test.cancel("not applicable: trait \(trait.name)")
  }

  static func bench(vcpus: Int = 1) throws -> SystemBench {
    let bench = try SystemBench(engine: "kvm", vcpus: vcpus)
    bench.enterLong()
    return bench
  }
}

extension Trait where Self == ConditionTrait {
  static var needsKVM: Self { .enabled(if: KVMHere.isUsable, "no usable /dev/kvm: \(KVMHere.refusal?.message ?? "")") }
}
