import VMCore

/// What a machine frame is used for at present. A frame has one type at a time, and changes it only while
/// nothing refers to it in the old one.
package enum FrameType: UInt8, CaseIterable, Sendable {
  case none, writable, l1, l2, l3, l4
  /// A page of the guest's GDT or LDT.
  case descriptors
  /// The L2 table behind the fourth entry of a 32-bit guest's L3, whose last entries are the monitor's.
  case l2Top

  /// The page-table level: 1 to 4; 0 for the rest.
  package var level: Int {
    switch self {
    case .none, .writable, .descriptors: 0
    case .l1: 1
    case .l2, .l2Top: 2
    case .l3: 3
    case .l4: 4
    }
  }

  package var name: String {
    switch self {
    case .none: "none"
    case .writable: "writable"
    case .l1: "L1 table"
    case .l2: "L2 table"
    case .l3: "L3 table"
    case .l4: "L4 table"
    case .descriptors: "descriptor page"
    case .l2Top: "L2 table with the monitor's slots"
    }
  }
}

/// What keeping a domain from what is not its own has cost: work that a trusting monitor leaves undone, but for the
/// updates.
package struct IsolationCosts: Equatable, Sendable {
  /// Entries changed one by one.
  package var updates: UInt64 = 0
  /// References to frames that were checked and counted.
  package var references: UInt64 = 0
  /// Tables validated whole, and the entries looked at for that.
  package var tables: UInt64 = 0
  package var entries: UInt64 = 0

  mutating func code(_ coder: inout StateCoder) {
    coder.code(&updates)
    coder.code(&references)
    coder.code(&tables)
    coder.code(&entries)
  }
}

package enum FrameOwner: UInt8, Sendable {
  case monitor, domain
  /// The monitor's, lent to the domain to read and write: shared_info, the grant table.
  case shared
}

/// One machine frame: whose it is, and what keeps its type.
package struct Frame: Equatable, Sendable {
  package var owner = FrameOwner.monitor
  package var type = FrameType.none
  package var isPinned = false
  /// References that need the type: writable mappings, table entries, roots in use, pins.
  package var count: UInt32 = 0

  /// Packed for a snapshot.
  var word: UInt64 {
    get {
      let flags = UInt64(owner.rawValue) | UInt64(type.rawValue) << 8 | (isPinned ? 1 << 16 : 0)
      return flags | UInt64(count) << 32
    }
    set {
      owner = FrameOwner(rawValue: UInt8(truncatingIfNeeded: newValue)) ?? .monitor
      type = FrameType(rawValue: UInt8(truncatingIfNeeded: newValue >> 8)) ?? .none
      isPinned = newValue >> 16 & 1 != 0
      count = UInt32(truncatingIfNeeded: newValue >> 32)
    }
  }
}

/// Where machine frames lie: the monitor's first, then the domain's in chunks of 2 MiB in descending order, so
/// that no pseudo-physical frame number equals its machine frame number.
package struct MachineLayout: Equatable, Sendable {
  package let abi: GuestABI
  /// Frames of the domain, a multiple of 512.
  package let pageCount: UInt64
  /// The first frame of the domain.
  package let firstDomainFrame: UInt64
  /// All machine frames.
  package var frameCount: UInt64 { firstDomainFrame + pageCount }

  // The monitor's frames.
  let perDomainL3: UInt64 = 1
  let perDomainL2: UInt64 = 2
  let perDomainL1: UInt64 = 3
  let reservedGDT: UInt64 = 4
  let zeroPage: UInt64 = 5
  package let sharedInfo: UInt64 = 6
  package let grantTable: UInt64 = 7
  package static let grantFrames: UInt64 = 4
  package let machineL3: UInt64 = 11
  let machineL2: UInt64 = 12
  package let machineL1: UInt64 = 13
  /// Frames of the machine-to-physical table.
  let machinePages: UInt64
  let firstMachinePage: UInt64

  static let chunk: UInt64 = 512
  /// RAM lies in one piece up to here.
  package static let mostMemory = GuestMemory.holeStart - (8 << 20)
  package static let leastMemory: UInt64 = 16 << 20

  /// For a domain of `memory` bytes, cut to 2 MiB.
  package init(memory: UInt64, abi: GuestABI = .x86_64) {
    self.abi = abi
    pageCount = memory >> 21 * Self.chunk
    let chunks = pageCount / Self.chunk
    // Room for a table of all frames, generously.
    let bytes = (pageCount + 8 * Self.chunk) * 8
    let tables = 1 + bytes >> 12
    let needed = 24 + tables + tables / 512
    var own = (needed + Self.chunk - 1) / Self.chunk
    if own & 1 != chunks & 1 { own += 1 }
    firstDomainFrame = own * Self.chunk
    machinePages = ((own * Self.chunk + pageCount) * abi.wordSize + 4095) >> 12
    firstMachinePage = machineL1 + (machinePages + 511) / 512
  }

  package func machineFrame(_ pfn: UInt64) -> UInt64 {
    let last = pageCount / Self.chunk - 1
    return firstDomainFrame + (last - pfn / Self.chunk) * Self.chunk + pfn % Self.chunk
  }

  /// The domain's own number for a machine frame; nil for the monitor's.
  package func pseudoFrame(_ mfn: UInt64) -> UInt64? {
    guard mfn >= firstDomainFrame, mfn < frameCount else { return nil }
    let place = mfn - firstDomainFrame
    let last = pageCount / Self.chunk - 1
    return (last - place / Self.chunk) * Self.chunk + place % Self.chunk
  }

  /// The monitor's frames that the domain may map and write.
  package var sharedFrames: [UInt64] { [sharedInfo] + (0..<Self.grantFrames).map { grantTable + $0 } }

  /// What stands in a slot of the monitor's in an L4, or in a 32-bit guest's last L2.
  func reservedEntry(_ index: Int) -> UInt64 {
    let flags = XenABI.present | XenABI.writable | XenABI.accessed | XenABI.dirty
    guard abi.is32Bit else {
      switch index {
      case XenABI.firstReservedSlot: return machineL3 << 12 | flags | XenABI.user
      case XenABI.perDomainSlot: return perDomainL3 << 12 | flags
      default: return 0
      }
    }
    let table = UInt64(index - XenABI.firstReservedL2Slot)
    if table < firstMachinePage - machineL1 { return (machineL1 + table) << 12 | flags }
    return index == XenABI.perDomainL2Slot ? perDomainL1 << 12 | flags : 0
  }
}
