import CHost
import Glibc
import VMCore

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
  /// The host has BMI2.
  static let hasRORX = chost_features() & CHOST_BMI2.rawValue != 0
  /// Instructions still allowed, less those charged ahead (`Trace`).
  static let budget = HostRegister.r15

  /// Bytes of stack below `CPU`, for what generated code calls.
  static let stackSize = 256 << 10
  /// Of the two TLBs from `CPU` on.
  static let tlbOffset = (MemoryLayout<CPU>.size + 63) & ~63
  /// Of the jump cache from `CPU` on.
  static let jumpOffset = tlbOffset + 2 * TLB.entries * MemoryLayout<TLBEntry>.stride
  /// Of everything: stack, `CPU`, TLBs, jump cache.
  static let size = (stackSize + jumpOffset + JumpEntry.count * MemoryLayout<JumpEntry>.stride + 4095) & ~4095

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
  let budget, rip, rflags, stamp, flagClass, flagA, flagResult, flagOperand, rotated, hostStack, hostOp, hostBlock, spare: Int32
  let cr0, cr4, xcr0, mxcsrLoaded, hostSite, horizon, shadowAt, shadowIsMOVSS, windowRequested, leaveSoon: Int32
  let kernelGSBase, gsSegmentBase, quick, nonRoot, slept, tscOffset, ownTSCOffset, cr2, cr3: Int32
  let efer, star, lstar, cstar, sfmask, tscAux, sysenterCS, sysenterESP, sysenterEIP, cpl, tlb, tlbs: Int32
  let streamsEnd: Int32
  private let segments, streams: Int32
  let gdtrBase, gdtrLimit, idtrBase, idtrLimit: Int32
  let jumpHost, jumpCount: Int32

  init() {
    func cpu(_ path: PartialKeyPath<CPU>) -> Int32 { Int32(MemoryLayout<CPU>.offset(of: path) ?? 0) }
    func jump(_ path: PartialKeyPath<JumpEntry>) -> Int32 {
      Int32(HostLayout.jumpOffset + (MemoryLayout<JumpEntry>.offset(of: path) ?? 0))
    }
    budget = cpu(\.budget)
    rip = cpu(\.rip)
    rflags = cpu(\.rflags)
    stamp = cpu(\.stamp)
    flagClass = cpu(\.flagClass)
    flagA = cpu(\.flagA)
    flagResult = cpu(\.flagResult)
    flagOperand = cpu(\.flagOperand)
    rotated = cpu(\.rotated)
    hostStack = cpu(\.hostStack)
    hostOp = cpu(\.hostOp)
    hostBlock = cpu(\.hostBlock)
    spare = cpu(\.spare)
    cr0 = cpu(\.cr0)
    cr4 = cpu(\.cr4)
    xcr0 = cpu(\.xcr0)
    mxcsrLoaded = cpu(\.mxcsrLoaded)
    hostSite = cpu(\.hostSite)
    horizon = cpu(\.horizon)
    shadowAt = cpu(\.shadowAt)
    shadowIsMOVSS = cpu(\.shadowIsMOVSS)
    windowRequested = cpu(\.windowRequested)
    leaveSoon = cpu(\.leaveSoon)
    kernelGSBase = cpu(\.kernelGSBase)
    let base = Int32(MemoryLayout<SegmentState>.offset(of: \.base) ?? 0)
    gsSegmentBase = cpu(\.segments) + 5 * Int32(MemoryLayout<SegmentState>.stride) + base
    quick = cpu(\.quick)
    (efer, star, lstar, cstar, sfmask) = (cpu(\.efer), cpu(\.star), cpu(\.lstar), cpu(\.cstar), cpu(\.sfmask))
    tscAux = cpu(\.tscAux)
    (sysenterCS, sysenterESP, sysenterEIP) = (cpu(\.sysenterCS), cpu(\.sysenterESP), cpu(\.sysenterEIP))
    (cpl, tlb, tlbs) = (cpu(\.cpl), cpu(\.tlb), cpu(\.tlbs))
    segments = cpu(\.segments)
    nonRoot = cpu(\.vmx) + Int32(MemoryLayout<VMXState>.offset(of: \.nonRoot) ?? 0)
    slept = cpu(\.slept)
    tscOffset = cpu(\.tscOffset)
    ownTSCOffset = cpu(\.ownTSCOffset)
    cr2 = cpu(\.cr2)
    cr3 = cpu(\.cr3)
    let tableBase = Int32(MemoryLayout<TableRegister>.offset(of: \.base) ?? 0)
    let tableLimit = Int32(MemoryLayout<TableRegister>.offset(of: \.limit) ?? 0)
    (gdtrBase, gdtrLimit) = (cpu(\.gdtr) + tableBase, cpu(\.gdtr) + tableLimit)
    (idtrBase, idtrLimit) = (cpu(\.idtr) + tableBase, cpu(\.idtr) + tableLimit)
    (streamsEnd, streams) = (cpu(\.streamsEnd), cpu(\.streams))
    jumpHost = jump(\.host)
    jumpCount = jump(\.hostCount)
  }

  /// Of a part of a segment register, in the order of `CPU.segments`.
  func segment(_ index: Int, _ part: PartialKeyPath<SegmentState>) -> Int32 {
    segments + Int32(index * MemoryLayout<SegmentState>.stride + (MemoryLayout<SegmentState>.offset(of: part) ?? 0))
  }

  /// Of what is added to the register of stream `index`.
  func stream(_ index: Int) -> HostOperand { .memory(.rsp, displacement: streams + Int32(index * 8)) }

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
  /// Of a callout alone: a fault was delivered, go on at `CPU.rip`. Generated code does that by itself.
  case onward = 5
}

/// A plain load or store in generated code. While it goes by the TLB its slow way counts here how often that did not
/// help: at MMIO and on pages whose stores are watched it never does. Then it is made a callout for good.
struct HostSite {
  /// Offsets in the code buffer of its first byte, and of its slow way behind what asks for it to be counted.
  var start: Int
  var uncountedWay = 0
  var misses: UInt32 = 0
  var next: UnsafeMutablePointer<HostSite>?

  /// So often the slow way must have been taken in vain.
  static let patience = 16
  var isCallout: Bool { misses >= Self.patience }
}
