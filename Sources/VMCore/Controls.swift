import X86

/// A set of 256 vectors.
package struct VectorSet: Equatable, Sendable {
  package var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
  package init() {}
  package static let none = VectorSet()
  package static let all: VectorSet = {
    var set = VectorSet()
    set.words = (.max, .max, .max, .max)
    return set
  }()
  package var isEmpty: Bool { words.0 | words.1 | words.2 | words.3 == 0 }
  package subscript(_ vector: Vector) -> Bool {
    get {
      let bit = UInt64(1) << UInt64(vector & 63)
      switch vector >> 6 {
      case 0: return words.0 & bit != 0
      case 1: return words.1 & bit != 0
      case 2: return words.2 & bit != 0
      default: return words.3 & bit != 0
      }
    }
    set {
      let bit = UInt64(1) << UInt64(vector & 63)
      func put(_ word: inout UInt64) { word = newValue ? word | bit : word & ~bit }
      switch vector >> 6 {
      case 0: put(&words.0)
      case 1: put(&words.1)
      case 2: put(&words.2)
      default: put(&words.3)
      }
    }
  }
  package static func == (a: VectorSet, b: VectorSet) -> Bool { a.words == b.words }
}

/// What makes the guest exit: the monitor's side of a VMCS, in the vocabulary every engine shares.
/// Port I/O, memory without RAM behind it, triple faults and unknown instructions always exit.
package struct ExitControls: Equatable, Sendable {
  package struct Instructions: OptionSet, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }
    package static let hlt = Self(rawValue: 1 << 0)
    package static let cpuid = Self(rawValue: 1 << 1)
    package static let rdtsc = Self(rawValue: 1 << 2)
    /// MSRs that belong to the platform (the local APIC's) exit always; with this bit all do.
    package static let allMSRs = Self(rawValue: 1 << 3)
    package static let cr0 = Self(rawValue: 1 << 4)
    package static let cr3 = Self(rawValue: 1 << 5)
    package static let cr4 = Self(rawValue: 1 << 6)
    package static let cr8 = Self(rawValue: 1 << 7)
    package static let dr = Self(rawValue: 1 << 8)
    package static let descriptorTables = Self(rawValue: 1 << 9)
    package static let invlpg = Self(rawValue: 1 << 10)
    package static let pause = Self(rawValue: 1 << 11)
    package static let wbinvd = Self(rawValue: 1 << 12)
    package static let taskSwitch = Self(rawValue: 1 << 13)
    package static let softwareInterrupts = Self(rawValue: 1 << 14)
    package static let rdpmc = Self(rawValue: 1 << 15)
  }
  package var instructions: Instructions
  /// Exceptions that exit before they are delivered.
  package var exceptions: VectorSet

  package init(instructions: Instructions = [.hlt, .cpuid, .cr8], exceptions: VectorSet = .none) {
    self.instructions = instructions
    self.exceptions = exceptions
  }
  /// The teaching default: HLT, CPUID, CR8, foreign MSRs and I/O exit; the rest runs.
  package static let standard = ExitControls()
}

/// A range of linear addresses whose reads or writes stop the vCPU.
package struct WatchRange: Equatable, Sendable {
  package var address: GVA
  /// In bytes, at least 1.
  package var length: UInt64
  package var onRead: Bool
  package var onWrite: Bool
  package init(address: GVA, length: UInt64, onRead: Bool, onWrite: Bool) {
    self.address = address
    self.length = length
    self.onRead = onRead
    self.onWrite = onWrite
  }
}

/// Where a debugger wants the vCPU to stop. Independent of the guest's own debug registers.
package struct DebugTraps: Equatable, Sendable {
  /// Linear addresses: exit with `.debug(.execution)` before the instruction there.
  package var execution: Set<UInt64> = []
  package var watches: [WatchRange] = []
  package init() {}
}
