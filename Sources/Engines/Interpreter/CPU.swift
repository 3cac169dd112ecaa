import VMCore
import X86

/// Why the execution of an instruction was given up before it had any effect (REP iterations and
/// completed accesses excepted). The details lie in `CPU`.
enum Stop: Error {
  /// A guest exception: `CPU.fault`.
  case fault
  /// The monitor is wanted: `CPU.exit`.
  case exit
  /// Run this instruction again by itself: it touches a watched range or its own block's code.
  case alone
  /// The guest's own monitor is wanted: `CPU.vmx.exit`.
  case vmExit
}

/// An exception to be delivered.
struct Fault {
  var vector: UInt8 = 0
  var hasErrorCode = false
  var errorCode: UInt32 = 0
  /// CR2 for #PF, DR6 bits for #DB.
  var linear: UInt64 = 0
  /// A #GP for a non-canonical address: #SS if the operand was on the stack.
  var nonCanonical = false
}

/// Indices into `CPU.r`, in quadwords.
enum Slot {
  static let rsp = 4
  /// Always zero: stands for a missing base, index or segment base.
  static let zero = 16
  /// An address or value computed by an earlier micro-op of the same instruction.
  static let temporary = 17
  static let fsBase = 18
  static let gsBase = 19
  /// Where `CPU.xmm` lies, in bytes.
  @inline(__always) static var xmmOffset: Int { 20 * 8 }
  /// From a vector register's lower half to its upper one, in bytes.
  @inline(__always) static var upperDistance: Int { 256 }
}

/// One software TLB, for supervisor or user: direct-mapped by linear page number, reads in its lower half and
/// writes in its upper one, so that buffers read and written in step do not lose entries to each other. An access
/// that begins on one page is looked up by the entry of its first byte and the tag of its last, and must miss:
/// neighbouring pages never share an entry.
enum TLB {
  static var entries: Int { 16384 }
  static var half: Int { entries / 2 }
  @inline(__always) static func index(_ linear: UInt64) -> Int {
    Int(truncatingIfNeeded: linear &>> 12) & (half - 1)
  }
  @inline(__always) static func writeIndex(_ linear: UInt64) -> Int { index(linear) | half }
  /// A tag that no address looked up at `index` has, not even the last byte of an access that reaches into the
  /// next page: the tag of a page that belongs to an entry half a table away.
  @inline(__always) static func never(_ index: Int) -> UInt64 {
    UInt64(truncatingIfNeeded: (index & (half - 1)) ^ (half / 2)) << 12
  }
}

/// One entry of the software TLB: 32 bytes.
struct TLBEntry {
  /// The linear page address where the access is allowed without further ado, else `TLB.never`.
  var tag: UInt64
  /// Host address of the page, for generated code.
  var host: UInt = 0
  /// Host address minus linear address.
  var addend: UInt = 0
  /// Guest-physical address of the page that linear address `host` - `addend` was last found to lead to by an access of
  /// the entry's kind, allowed or to be looked at each time; `noPage` where nothing is known.
  var page: UInt64 = TLBEntry.noPage

  /// Entry `index` of a table, where nothing is allowed.
  @inline(__always) init(none index: Int) { tag = TLB.never(index) }

  static var noPage: UInt64 { .max }
}

/// The processor's inner state, behind one raw pointer in the hot loop.
///
/// Invariant for the unsafe parts: allocated once by its `InterpreterVCPU`, freed with it, touched only
/// by the thread inside `run` or, between runs, by the session's thread.
struct CPU {
  /// RAX..R15 in encoding order, then the slots of `Slot`.
  var r = InlineArray<20, UInt64>(repeating: 0)
  /// XMM0..XMM15, low quadword first, at `Slot.xmmOffset`.
  var xmm = InlineArray<32, UInt64>(repeating: 0)
  /// The upper halves of YMM0..YMM15, `Slot.upperDistance` behind the lower ones.
  var ymmHigh = InlineArray<32, UInt64>(repeating: 0)
  /// A memory operand of a vector instruction that the TLB does not give one host address for.
  var vectorMemory = InlineArray<4, UInt64>(repeating: 0)

  /// RIP of the next instruction; inside a block valid only after `sync`.
  var rip: UInt64 = 0
  /// RFLAGS. While `flagClass` is not `.eager`, CF PF AF ZF SF OF here are stale.
  var rflags: UInt64 = 2
  var flagClass = FlagClass.eager
  var flagA: UInt64 = 0
  var flagResult: UInt64 = 0

  /// Instructions still allowed before `run` must return; may run negative only inside the loop.
  var budget: Int64 = 0
  /// The TLB in force (supervisor or user), 256 entries.
  var tlb: UnsafeMutablePointer<TLBEntry>
  /// All ones in 64-bit code, FFFFFFFFh else: linear addresses are cut to it.
  var addressMask: UInt64 = 0xFFFF_FFFF
  /// What jump cache entries and block links, which know RIP but no segment, must match: the generation
  /// of mappings and code in the upper 16 bits, CS's base (0 in 64-bit mode) in the next 32, `Context` in
  /// the low 16.
  var stamp: UInt64 = 0

  /// ES CS SS DS FS GS LDTR TR. FS and GS bases are also in `r[Slot.fsBase]`, `r[Slot.gsBase]`
  /// (in 64-bit mode those, elsewhere these count; `setSegment` keeps both).
  var segments = InlineArray<8, SegmentState>(repeating: SegmentState())
  var gdtr = TableRegister()
  var idtr = TableRegister(base: 0, limit: 0x3FF)
  var cr0: UInt64 = CR0.et
  var cr2: UInt64 = 0
  var cr3: UInt64 = 0
  var cr4: UInt64 = 0
  var cr8: UInt64 = 0
  var dr = InlineArray<4, UInt64>(repeating: 0)
  var dr6: UInt64 = 0xFFFF_0FF0
  var dr7: UInt64 = 0x400
  var efer: UInt64 = 0
  var star: UInt64 = 0
  var lstar: UInt64 = 0
  var cstar: UInt64 = 0
  var sfmask: UInt64 = 0
  var kernelGSBase: UInt64 = 0
  var sysenterCS: UInt64 = 0
  var sysenterESP: UInt64 = 0
  var sysenterEIP: UInt64 = 0
  var pat: UInt64 = 0x0007_0406_0007_0406
  var tscAux: UInt64 = 0
  var xcr0: UInt64 = 1
  var tscOffset: UInt64 = 0
  var cpl: UInt8 = 0
  /// Ring 3 runs with CR0.AM and RFLAGS.AC: see `updateAlignmentChecks`.
  var checksAlignment = false
  var activity = ActivityState.active
  /// Set by STI, MOV SS and POP SS; the loop turns it into `shadowAt`.
  var interruptShadow = false
  /// The shadow is, or was last, that of MOV SS or POP SS.
  var shadowIsMOVSS = false
  var nmiBlocked = false

  // x87: physical registers R0..R7 (not stack order); TOP in `fpuTop`.
  var fpuSignificand = InlineArray<8, UInt64>(repeating: 0)
  var fpuSignExponent = InlineArray<8, UInt16>(repeating: 0)
  var fpuControl: UInt16 = 0x37F
  /// Status word without TOP.
  var fpuStatus: UInt16 = 0
  var fpuTop: UInt8 = 0
  /// Two bits a physical register, 3 = empty.
  var fpuTag: UInt16 = 0xFFFF
  var fpuOpcode: UInt16 = 0
  var fpuInstructionPointer: UInt64 = 0
  var fpuDataPointer: UInt64 = 0
  /// While `mxcsrLoaded`, the host has it, and more flags may have gathered there than here.
  var mxcsr: UInt32 = 0x1F80
  var mxcsrLoaded = false
  /// Elements of REP instructions since `kick()` was last looked for.
  var stringElements: UInt64 = 0

  var paging = PagingState()
  var vmx = VMXState()
  /// IA32_MISC_ENABLE as the guest wrote it.
  var miscEnable: UInt64 = MSRDefaults.miscEnable
  /// IA32_DEBUGCTL: LBR, with no records to keep, and BTF.
  var debugControl: UInt64 = 0

  var fault = Fault()
  var exit = PendingExit()
  /// Instructions retired = `horizon - budget`, outside the loop and at block ends.
  var horizon: UInt64 = 0
  /// Value of the retired count at which the shadow of STI or MOV SS still holds.
  var shadowAt: UInt64 = .max
  /// The monitor wants an exit as soon as an external interrupt can be taken.
  var windowRequested = false
  /// The same as soon as an NMI can be taken.
  var nmiWindowRequested = false
  /// The loop should return at the next system instruction's end.
  var leaveSoon = false
  /// Of the instruction the loop was left at by `Stop`: its length, and whether it addresses the stack.
  var stopLength: UInt8 = 0
  var stopOnStack = false
  var jumpCache: UnsafeMutablePointer<JumpEntry>
  /// Virtual time minus retired instructions.
  var slept: UInt64 = 0
  /// Our own monitor's controls, taken apart so that they are asked without a reference being counted.
  var ownVMCS = ExitControls.standard.vmcs
  var wishes = DebuggerWishes()
  /// I/O bitmaps A and B and the MSR bitmap; the vCPU's, like the TLBs.
  var ownBitmaps: UnsafeMutablePointer<UInt8>
  var ownTSCOffset: UInt64 = 0
  /// What of the controls is on.
  var quick = QuickExits(.standard)
  /// The instruction under way was a software interrupt: its handler begins with TF clear, and no trap follows.
  var endsStep = false
  /// The monitor trap flag's exit comes before the next instruction.
  var trapPending = false
  /// Virtual time at which the VMX-preemption timer of our own guest runs out; `max` while it stands.
  var timerDeadline = UInt64.max
  /// What "save VMX-preemption timer value" kept of it, ns.
  var timerLeft: UInt64?
  /// This instruction was allowed by `VMEntry.emulate`: it does not exit by the controls again.
  var emulating = false
  /// This instruction was called out by the policy and handed back: it does not call out again.
  var calledOut = false
  /// A policy is in force: sensitive instructions exit as callouts.
  var rewrites = false
  /// An answer given by `VMEntry.complete` waits to be taken by the instruction that asked.
  var hasAnswer = false
  var answer: UInt64 = 0
  /// The vCPU object, for slow paths that need more than lies here.
  var owner: Unmanaged<InterpreterVCPU>

  // What slow paths need of guest memory and of the engine, so that they touch no object
  // (`InterpreterVCPU.refreshMaps` fills them).
  var pageMap: UnsafeMutablePointer<UInt>
  var pageMapCount: UInt64 = 0
  var codeFlags: UnsafeMutablePointer<UInt8>
  var codeFlagCount: UInt64 = 0
  /// Supervisor TLB, then user TLB.
  var tlbs: UnsafeMutablePointer<TLBEntry>
  /// One instruction runs by itself: watches and stores into code may go ahead.
  var alone = false
  /// The debugger watches some range.
  var watching = false
  // Of generated code: the operand that flags not yet worked out depend on (`FlagRecipe`), the host's stack pointer
  // before it, and what it or the loop left off at (`HostEnd`).
  var flagOperand: UInt64 = 0
  /// What a rotate left whose CF and OF are being worked out; the flags before it may still wait for `flagOperand`.
  var rotated: UInt64 = 0
  /// Accesses that the TLB did not answer.
  var slowAccesses: UInt64 = 0
  /// The access whose slow way is taken (`HostSite`), 0 if it is none of those.
  var hostSite: UInt = 0
  var hostStack: UInt64 = 0
  var hostOp: UInt = 0
  var hostBlock: UInt = 0
  /// What generated code of one instruction puts aside.
  var spare: UInt64 = 0
  /// Of a loop whose operands were looked up for several rounds (`Streams`): what the budget may go down to, and what is added
  /// to the register of each (`Streams.limit` of them).
  var streamsEnd: Int64 = 0
  var streams = InlineArray<6, UInt64>(repeating: 0)
  /// The last returns by IRET from 64-bit code to it, to ring 0 and to an outer one.
  var returns = InlineArray<2, ReturnMemo>(repeating: ReturnMemo())
  /// Pages that code was fetched from lately, by page number.
  var fetches = InlineArray<64, FetchEntry>(repeating: FetchEntry())
  /// Room for a micro-op that is carried out by itself, and what ends it.
  let singleOp: MicroOpPointer

  init(
    tlbs: UnsafeMutablePointer<TLBEntry>, jumpCache: UnsafeMutablePointer<JumpEntry>, cache: BlockCache,
    memory: GuestMemory, bitmaps: UnsafeMutablePointer<UInt8>, owner: Unmanaged<InterpreterVCPU>
  ) {
    precondition(MemoryLayout<CPU>.offset(of: \CPU.xmm) == Slot.xmmOffset, "XMM registers follow the others")
    precondition(
      MemoryLayout<CPU>.offset(of: \CPU.ymmHigh) == Slot.xmmOffset + Slot.upperDistance, "their upper halves follow them")
    tlb = tlbs
    self.tlbs = tlbs
    singleOp = .allocate(capacity: 2)
    singleOp.initialize(repeating: MicroOp(.done), count: 2)
    pageMap = memory.pageMap
    pageMapCount = memory.pageMapCount
    codeFlags = cache.pageFlags
    codeFlagCount = cache.trackedPages
    self.jumpCache = jumpCache
    ownBitmaps = bitmaps
    self.owner = owner
  }
}

typealias CPUPointer = UnsafeMutablePointer<CPU>

/// A page that code was fetched from: trusted, as entries of the jump cache are, under its stamp.
struct FetchEntry {
  /// Linear page address.
  var page: UInt64 = 0
  var stamp: UInt64 = .max
  /// Guest-physical page address.
  var gpa: UInt64 = 0
}

/// The exit an instruction asks for when it throws `Stop.exit`.
struct PendingExit {
  var reason = ExitReason.unknown
  var words = QualificationWords(ExitQualification.none)
  var cause: VMXCause?
  /// The access goes straight to the device.
  var isDirect = false
  /// Made by the policy's own micro-op, before the instruction looked at anything.
  var isCallout = false
}

extension UnsafeMutablePointer<TLBEntry> {
  /// Knows nothing any more.
  @inline(__always) func forget(_ index: Int) {
    pointee.tag = TLB.never(index)
    pointee.page = TLBEntry.noPage
  }
}

extension UnsafeMutablePointer<CPU> {
  /// The register file as bytes: operands are byte offsets, so that AH is RAX's offset plus one.
  @inline(__always) var file: UnsafeMutableRawPointer { UnsafeMutableRawPointer(self) }

  @inline(__always) func get<T: FixedWidthInteger>(_ offset: UInt8, as type: T.Type = T.self) -> T {
    file.loadUnaligned(fromByteOffset: Int(offset), as: T.self)
  }
  /// Writes a register of 8, 16 or 64 bits; 32-bit writes clear the upper half.
  @inline(__always) func set<T: FixedWidthInteger>(_ offset: UInt8, _ value: T) {
    if T.bitWidth == 32 {
      let cut = UInt32(truncatingIfNeeded: value)
      file.storeBytes(of: UInt64(cut), toByteOffset: Int(offset), as: UInt64.self)
    } else {
      file.storeBytes(of: value, toByteOffset: Int(offset), as: T.self)
    }
  }
  /// Register by slot number.
  @inline(__always) subscript(slot slot: Int) -> UInt64 {
    get { file.load(fromByteOffset: slot &* 8, as: UInt64.self) }
    nonmutating set { file.storeBytes(of: newValue, toByteOffset: slot &* 8, as: UInt64.self) }
  }

  /// Raises an exception: `throw c.raise(.gp, 0)`.
  func raise(_ exception: Exception, _ errorCode: UInt32? = nil, linear: UInt64 = 0) -> Stop {
    pointee.fault = Fault(
      vector: exception.rawValue, hasErrorCode: errorCode != nil, errorCode: errorCode ?? 0, linear: linear)
    return .fault
  }

  /// The monitor's answer to the exit this instruction asked for before, if there is one.
  func takeAnswer() -> UInt64? {
    guard pointee.hasAnswer else { return nil }
    pointee.hasAnswer = false
    return pointee.answer
  }

  var mode: ProcessorMode {
    if pointee.cr0 & CR0.pe == 0 { return .real16 }
    if pointee.rflags & RFLAGS.vm != 0 { return .virtual8086 }
    let access = pointee.segments[1].access
    if pointee.efer & EFER.lma != 0 {
      if access & 0x2000 != 0 { return .long64 }
      return access & 0x4000 != 0 ? .compatibility32 : .compatibility16
    }
    return access & 0x4000 != 0 ? .protected32 : .protected16
  }
  var isLong64: Bool { pointee.efer & EFER.lma != 0 && pointee.segments[1].access & 0x2000 != 0 }
  var isProtected: Bool { pointee.cr0 & CR0.pe != 0 && pointee.rflags & RFLAGS.vm == 0 }
}
