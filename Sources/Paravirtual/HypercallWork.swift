import VMCore
import X86

/// The part of a hypercall that another turn does: its first two arguments, what is still to be done and how much.
struct HypercallRest: Equatable {
  var first: UInt64
  var second: UInt64
}

/// What a hypercall may do in one exit. A guest may ask for a million operations at once, each of which walks through
/// tables: what is more than a turn's worth is done when the same instruction is made again, with the arguments of the
/// rest, as under Xen. So the guest can be paused, and others have their turn, in between.
struct HypercallWork {
  /// MMU_UPDATE_PREEMPTED in a count: `done` holds what came before.
  static let continued: UInt64 = 1 << 31
  static let countMask: UInt64 = continued - 1
  /// Operations of mmu_update, mmuext_op and multicall, and entries and references looked at.
  private static let mostOperations = 1024
  private static let mostChecks: UInt64 = 1 << 18

  private var operations = 0
  private var checksBefore: UInt64 = 0
  /// Set where the call is to be made again for the rest.
  var rest: HypercallRest?

  mutating func begin(_ costs: IsolationCosts) {
    operations = 0
    checksBefore = costs.checks
    rest = nil
  }

  /// Counts one more operation; false where it has to wait. The first of a call never does.
  mutating func goesOn(_ costs: IsolationCosts, isFirst: Bool) -> Bool {
    guard isFirst || operations < Self.mostOperations && costs.checks &- checksBefore < Self.mostChecks else { return false }
    operations += 1
    return true
  }

  /// Leaves `count` operations from `address` on; gives the result nobody sees.
  mutating func leave(_ address: UInt64, _ count: UInt64) -> Int64 {
    rest = HypercallRest(first: address, second: count | Self.continued)
    return 0
  }

  mutating func takeRest() -> HypercallRest? {
    guard rest != nil else { return nil }
    defer { rest = nil }
    return rest
  }
}

extension IsolationCosts {
  /// All that takes time besides the updates themselves.
  var checks: UInt64 { references &+ entries }
}

extension XenPlatform {
  /// The guest stands at its hypercall again, which asks for the rest.
  func makeAgain(_ rest: HypercallRest, _ vcpu: any VCPU) -> VMEntry.Action {
    vcpu.setGPR(abi.is32Bit ? .rbx : .rdi, rest.first)
    vcpu.setGPR(abi.is32Bit ? .rcx : .rsi, rest.second)
    return .resume
  }
}
