import X86

/// What an engine that rewrites guest code, or obeys its policy, lets a debugger see. Only while no vCPU runs.
package protocol RewritingInspection: AnyObject {
  /// What was made of the guest's code so far; nil where nothing ever is.
  var rewritingTotals: RewritingTotals? { get }
  /// Where sensitive instructions were met while a policy was in force, in the order they were first decoded.
  var sensitiveSites: [SensitiveSite] { get }
  /// Executions by site, in the order of `sensitiveSites`: set when the guest goes back in time.
  var siteCounts: [UInt64] { get set }
  /// The block that would be executed next on a vCPU, as far as it is known; nil where it was never decoded.
  func block(at rip: UInt64, vcpu: Int) -> RewrittenBlock?
}

/// What a rewriting engine has made of the guest's code, since its creation.
package struct RewritingTotals: Equatable, Sendable {
  /// Blocks that got host code, and their bytes before and after.
  package var blocks: UInt64 = 0
  package var guestBytes: UInt64 = 0
  package var hostBytes: UInt64 = 0
  /// Instructions of these blocks, by what was made of them.
  package var kinds: [RewritingKind: UInt64] = [:]
  /// Blocks left to the interpreter for good: most of them would call out.
  package var refused: UInt64 = 0
  /// Times decoded code was dropped because its bytes changed.
  package var invalidations: UInt64 = 0
  /// Times the oldest part of the cache was given up because it was full, or all of it dropped.
  package var flushes: UInt64 = 0
  /// Loads and stores made direct callouts because they kept ending in the slow path.
  package var adaptive: UInt64 = 0
  /// Memory operands of loops whose page is looked up once for all rounds that stay on it.
  package var streams: UInt64 = 0
  /// Instructions executed by the interpreter and in the code cache, to within a block each time one gives over to
  /// the other.
  package var interpreted: UInt64 = 0
  package var cached: UInt64 = 0
  /// Loads and stores of code in the cache that went the interpreter's way: the TLB did not have their page, or it is a
  /// device's or watched. Those that the TLB answers are not counted.
  package var slowAccesses: UInt64 = 0
  /// Bytes of the code cache in use, and all there are.
  package var used: UInt64 = 0
  package var size: UInt64 = 0
  package init() {}

  /// Instructions of rewritten blocks.
  package var instructions: UInt64 { kinds.values.reduce(0, +) }
  /// 0...1 of the rewritten instructions.
  package func share(_ kind: RewritingKind) -> Double {
    instructions == 0 ? 0 : Double(kinds[kind] ?? 0) / Double(instructions)
  }
  /// Host bytes for one guest byte.
  package var expansion: Double { guestBytes == 0 ? 0 : Double(hostBytes) / Double(guestBytes) }
  /// Instructions executed in the cache for one access that went the slow way; 0 where none did.
  package var instructionsPerSlowAccess: UInt64 { slowAccesses == 0 ? 0 : cached / slowAccesses }
  /// 0...1 of all instructions executed.
  package var interpretedShare: Double {
    let all = interpreted + cached
    return all == 0 ? 0 : Double(interpreted) / Double(all)
  }
}

/// What is made of a guest instruction.
package enum RewritingKind: UInt8, CaseIterable, Sendable {
  /// The host executes the same operation on registers.
  case identity
  /// The same with another form: memory through the software TLB, transfers chained from block to block.
  case rewritten
  /// A sensitive instruction as a sequence of its own in the code cache.
  case inCache
  /// A sensitive instruction that leaves for the monitor's emulation.
  case callout
  /// Executed by the interpreter: no host form is known.
  case interpreted

  package var name: String {
    switch self {
    case .identity: "identity"
    case .rewritten: "rewritten"
    case .inCache: "in-cache"
    case .callout: "callout"
    case .interpreted: "interpreted"
    }
  }
}

/// A place in the guest's code where a sensitive instruction was met.
package struct SensitiveSite: Equatable, Sendable {
  /// Offset in CS.
  package var rip: UInt64
  package var gpa: GPA
  /// The ring it was decoded for.
  package var cpl: UInt8
  package var operation: SensitiveOperation
  package var treatment: RewritingPolicy.Treatment
  package var count: UInt64
  package init(
    rip: UInt64, gpa: GPA, cpl: UInt8, operation: SensitiveOperation, treatment: RewritingPolicy.Treatment, count: UInt64
  ) {
    self.rip = rip
    self.gpa = gpa
    self.cpl = cpl
    self.operation = operation
    self.treatment = treatment
    self.count = count
  }
}

/// A block of guest code and what became of it.
package struct RewrittenBlock: Equatable, Sendable {
  package enum Status: Equatable, Sendable {
    /// Interpreted; so many more executions until it is rewritten.
    case cold(left: UInt64)
    /// Interpreted for good: most of it would call out.
    case refused
    /// The engine interprets everything.
    case interpreted
    /// Host code at this address.
    case rewritten(address: UInt64)
  }
  package struct Instruction: Equatable, Sendable {
    /// Offset in CS.
    package var rip: UInt64
    package var length: UInt64
    package var kind: RewritingKind
    package init(rip: UInt64, length: UInt64, kind: RewritingKind) {
      self.rip = rip
      self.length = length
      self.kind = kind
    }
  }
  package struct Exit: Equatable, Sendable {
    package var isTaken: Bool
    package var target: UInt64
    package var isChained: Bool
    package init(isTaken: Bool, target: UInt64, isChained: Bool) {
      self.isTaken = isTaken
      self.target = target
      self.isChained = isChained
    }
  }
  package var rip: UInt64
  package var gpa: GPA
  package var length: UInt64
  package var status: Status
  /// In the order of their host code, which may go on into other blocks and through a loop's body twice; without any,
  /// those of the block.
  package var instructions: [Instruction] = []
  /// Its host code; empty without.
  package var host: [UInt8] = []
  /// Where in `host` each instruction's code begins, ascending; empty without.
  package var starts: [Int] = []
  /// Places in `host` of eight bytes that are no code: stamps that chains are trusted under. Ascending.
  package var stamps: [Int] = []
  /// Where in `host` the pieces off the straight path begin; nil where there are none, or that is not known.
  package var straightEnd: Int?
  /// Direct ways out, the taken one first.
  package var exits: [Exit] = []
  /// Direct ways in from other blocks.
  package var chainsIn = 0

  package init(rip: UInt64, gpa: GPA, length: UInt64, status: Status) {
    self.rip = rip
    self.gpa = gpa
    self.length = length
    self.status = status
  }
}
