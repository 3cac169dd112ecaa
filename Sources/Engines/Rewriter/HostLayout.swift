import Glibc

/// Where the guest's state is while generated code runs: most general registers in host registers, the rest in
/// `CPU`, which RSP points to. The stack lies right below, so that calls and signals find room.
enum HostLayout {
  /// The host register that holds a guest register; nil for those that stay in memory.
  static func home(_ slot: Int) -> HostRegister? {
    switch slot {
    case Slot.rsp: .r12
    case 0...11: HostRegister(UInt8(slot))
    default: nil
    }
  }
  static let mapped = Array(0...11)

  /// Free for the code of one instruction.
  static let a = HostRegister.r13, b = HostRegister.r14
  /// Instructions still allowed, less those charged ahead (`Trace`).
  static let budget = HostRegister.r15

  /// Bytes of stack below `CPU`, for what generated code calls.
  static let stackSize = 256 << 10
  /// Of the two TLBs from `CPU` on.
  static let tlbOffset = (MemoryLayout<CPU>.size + 63) & ~63
  /// Of everything: stack, `CPU`, TLBs.
  static let size = (stackSize + tlbOffset + 2 * TLB.entries * MemoryLayout<TLBEntry>.stride + 4095) & ~4095

  /// Memory for all of it, with a page below that nobody may touch.
  static func allocate() -> UnsafeMutableRawPointer {
    let all = mmap(nil, guardSize + size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let all, all != MAP_FAILED, mprotect(all + guardSize, size, PROT_READ | PROT_WRITE) == 0 else {
      preconditionFailure("the host has memory for a processor's state")
    }
    return all + guardSize
  }
  static func deallocate(_ region: UnsafeMutableRawPointer) { munmap(region - guardSize, guardSize + size) }
  private static let guardSize = 4096

  static func register(_ slot: Int, pushed: Int32 = 0) -> HostOperand {
    .memory(.rsp, displacement: Int32(slot * 8) + pushed)
  }
}

/// Offsets into `CPU` and other structures that generated code touches.
struct HostOffsets {
  let budget, rip, rflags, stamp, jumpCache, flagClass, flagA, flagResult, flagOperand, hostStack, hostOp, hostBlock: Int32
  let cr0, cr4, mxcsrLoaded: Int32
  let blockHost, blockHostCount: Int32

  init() {
    func cpu(_ path: PartialKeyPath<CPU>) -> Int32 { Int32(MemoryLayout<CPU>.offset(of: path) ?? 0) }
    func block(_ path: PartialKeyPath<Block>) -> Int32 { Int32(MemoryLayout<Block>.offset(of: path) ?? 0) }
    budget = cpu(\.budget)
    rip = cpu(\.rip)
    rflags = cpu(\.rflags)
    stamp = cpu(\.stamp)
    jumpCache = cpu(\.jumpCache)
    flagClass = cpu(\.flagClass)
    flagA = cpu(\.flagA)
    flagResult = cpu(\.flagResult)
    flagOperand = cpu(\.flagOperand)
    hostStack = cpu(\.hostStack)
    hostOp = cpu(\.hostOp)
    hostBlock = cpu(\.hostBlock)
    cr0 = cpu(\.cr0)
    cr4 = cpu(\.cr4)
    mxcsrLoaded = cpu(\.mxcsrLoaded)
    blockHost = block(\.host)
    blockHostCount = block(\.hostCount)
  }

  func field(_ offset: Int32) -> HostOperand { .memory(.rsp, displacement: offset) }
}

/// Why generated code returned.
enum HostEnd: UInt64 {
  /// The next block is not known or the budget does not reach: go on at `CPU.rip`.
  case find = 0
  /// An instruction carried out by the interpreter stopped; the vCPU's `hostStop` says how.
  case stop = 1
  /// Go on in the interpreter with `CPU.hostOp` of `CPU.hostBlock`.
  case interpret = 2
  /// The edge in `CPU.hostOp` leads to a block that may have code by now.
  case link = 3
  /// The trace of `CPU.hostBlock` lies on pages whose mapping may have changed since it was looked at.
  case stale = 4
}

/// A way out of generated code, by a direct transfer at the end of `block`.
struct HostEdge {
  var block: BlockPointer
  var isTaken: Bool
  /// Instructions charged ahead that this way out does not reach: they go off the charge of what comes next.
  var excess: Int32 = 0
  /// Offsets in the code buffer: of the stamp that the CPU's must equal, of the count of instructions that is
  /// charged, of the end of the jump.
  var stampAt = 0
  var countAt = 0
  var jumpEnd = 0
}
