import Synchronization
import VMCore
import X86

/// One access to memory-mapped I/O that the monitor has already answered for the instruction under way.
struct CompletedAccess {
  var gpa: UInt64
  var size: UInt8
  var write: Bool
  var value: UInt64
}

/// A vCPU of the embedded processor: a software x86-64.
package final class InterpreterVCPU: VCPU {
  package let index: Int
  /// The engine owns its vCPUs and outlives them.
  unowned(unsafe) let engine: InterpreterEngine
  /// The engine's.
  unowned(unsafe) let cache: BlockCache
  let memory: GuestMemory
  let events: EventSink
  let c: CPUPointer
  /// Two TLBs: supervisor's, then user's.
  let tlbs: UnsafeMutablePointer<TLBEntry>
  private let jumpCache: UnsafeMutablePointer<JumpEntry>
  /// Holds the stack of generated code, `CPU`, the TLBs and the jump cache, in this order (`HostLayout`).
  let region: UnsafeMutableRawPointer
  /// How a micro-op ended that generated code had carried out.
  var hostStop = LoopEnd.done
  /// What makes the guest exit.
  var ownControls = ExitControls.standard
  private let bitmaps: UnsafeMutablePointer<UInt8>
  private let kickRequest = Atomic<Bool>(false)

  /// Debugger's watches; pages they touch are never in the TLB for the watched direction.
  var watches: [WatchRange] = [] { didSet { c.pointee.watching = !watches.isEmpty } }
  /// Watch hit by the instruction now running alone.
  var watchHit: DebugCause?
  /// DR6 bits of guest data breakpoints hit by the instruction now running alone.
  var guestWatchHit: UInt64 = 0
  /// MMIO accesses of the present instruction that were answered, oldest first, and how many of them
  /// this execution has used up.
  var completed: [CompletedAccess] = []
  var completedUsed = 0
  /// What the driver must still do about the exit it returned last.
  var afterExit = AfterExit.nothing
  package var monitor: ExitMonitor?
  /// Exits of the present run may be answered in its midst.
  var asksPromptly = false
  /// What the monitor answered to an exit that the loop or generated code had to be left for all the same.
  var promptAnswer: (answer: PromptAnswer, rip: UInt64)?
  /// What made the last exit.
  package internal(set) var exitCause: VMXCause?
  /// `VMEntry.stopsAfterDelivery` of the present run.
  var stopsAfterDelivery = false
  /// Deliveries and the like without an instruction retiring.
  var standstill = Standstill()
  /// Why the guest's last VM entry was refused: a field of its VMCS and the rule it breaks.
  package internal(set) var lastEntryFailure: String?

  /// What the last exit left open.
  enum AfterExit {
    case nothing
    /// An instruction waits at RIP; its length.
    case instruction(length: UInt8)
    /// An exception waits to be delivered.
    case delivery(Fault)
    /// An event to be injected waits: its task gate's switch is the monitor's to allow.
    case injection(InjectedEvent)
    /// A breakpoint at this RIP was reported: the instruction there runs without stopping again.
    case breakpoint
  }

  init(index: Int, engine: InterpreterEngine) {
    self.index = index
    self.engine = engine
    cache = engine.cache
    memory = engine.memory
    events = engine.events
    region = HostLayout.allocate()
    engine.rewriter?.hostGuard?.admit(UInt(bitPattern: region), size: HostLayout.size)
    tlbs = (region + HostLayout.stackSize + HostLayout.tlbOffset).bindMemory(
      to: TLBEntry.self, capacity: 2 * TLB.entries)
    for i in 0..<2 * TLB.entries { (tlbs + i).initialize(to: TLBEntry(none: i)) }
    jumpCache = (region + HostLayout.stackSize + HostLayout.jumpOffset).bindMemory(
      to: JumpEntry.self, capacity: JumpEntry.count)
    jumpCache.initialize(repeating: JumpEntry(), count: JumpEntry.count)
    cache.inform(jumpCache)
    c = (region + HostLayout.stackSize).bindMemory(to: CPU.self, capacity: 1)
    bitmaps = .allocate(capacity: VMCSBitmaps.size)
    bitmaps.initialize(repeating: 0xFF, count: VMCSBitmaps.size)
    ownControls.bitmaps.copy(to: bitmaps)
    c.initialize(
      to: CPU(
        tlbs: tlbs, jumpCache: jumpCache, cache: engine.cache, memory: engine.memory, bitmaps: bitmaps,
        owner: .passUnretained(self)))
    c.pointee.stamp = UInt64(index) << 48
    state = VCPUState()
    if index > 0 { c.pointee.activity = .waitForSIPI }
  }

  deinit {
    c.pointee.singleOp.deallocate()
    c.deinitialize(count: 1)
    bitmaps.deallocate()
    tlbs.deinitialize(count: 2 * TLB.entries)
    jumpCache.deinitialize(count: JumpEntry.count)
    HostLayout.deallocate(region)
  }

  /// Takes over guest memory's layout after it changed.
  func refreshMaps() {
    c.pointee.pageMap = memory.pageMap
    c.pointee.pageMapCount = memory.pageMapCount
  }

  /// Empties both TLBs.
  func flushTLB() {
    for i in 0..<2 * TLB.entries { tlbs[i] = TLBEntry(none: i) }
  }

  func clearJumpCache() {
    for i in 0..<JumpEntry.count { jumpCache[i] = JumpEntry() }
  }

  /// No store to this guest-physical page goes unseen from now on.
  func forbidWrites(page: UInt64) {
    for word in 0..<2 * TLB.entries / 64 where word * 64 & TLB.half != 0 {
      var bits = c.pointee.paging.filled[word]
      while bits != 0 {
        let index = word * 64 + bits.trailingZeroBitCount
        if tlbs[index].page == page { tlbs[index].tag = TLB.never(index) }
        bits &= bits &- 1
      }
    }
  }

  // MARK: Kicks

  package func kick() { kickRequest.store(true, ordering: .releasing) }

  /// True once for each `kick()`.
  func takeKick() -> Bool {
    guard kickRequest.load(ordering: .relaxed) else { return false }
    return kickRequest.exchange(false, ordering: .acquiring)
  }

  // MARK: Access from outside

  /// The accesses the present instruction has carried out with answers of the monitor are over for good.
  func forgetUsedAnswers() {
    guard completedUsed > 0 else { return }
    completed.removeFirst(completedUsed)
    completedUsed = 0
  }

  package var instructionCount: UInt64 { c.retired }
  package var virtualTime: UInt64 { c.retired &+ c.pointee.slept }

  package func restartClock() {
    c.pointee.budget = 0
    c.pointee.horizon = 0
    c.pointee.slept = 0
    standstill = Standstill()
    stopTimer()
  }

  package func setClock(instructions: UInt64, time: UInt64) -> Bool {
    c.pointee.budget = 0
    c.pointee.horizon = instructions
    c.pointee.slept = time &- instructions
    standstill = Standstill()
    return true
  }

  package func idle(until time: UInt64) {
    let now = virtualTime
    if time > now { c.pointee.slept &+= time - now }
  }

  package var canTakeInterrupt: Bool {
    let exits = c.interruptsExit
    guard exits || c.pointee.rflags & RFLAGS.interruptEnable != 0, isBetweenEvents else { return false }
    return exits || c.pointee.shadowAt != c.retired
  }

  package var canTakeNMI: Bool {
    // Blocking of virtual NMIs is the guest's of a guest alone, whose monitor gets every NMI.
    let isVirtual = c.isNonRoot && c.pointee.vmx.controls.has(.virtualNMIs)
    guard isVirtual || !c.pointee.nmiBlocked, isBetweenEvents else { return false }
    return c.pointee.shadowAt != c.retired
  }

  /// The last instruction or delivery is complete, and no other waits to be taken first.
  private var isBetweenEvents: Bool {
    if c.pointee.vmx.injection != 0 || c.pointee.vmx.pendingDebug != 0 || c.pointee.vmx.heldInterrupt != nil {
      return false
    }
    let waiting = c.pointee.activity == .active || c.pointee.activity == .halted
    if c.pointee.trapPending && c.pointee.activity == .active { return false }
    switch afterExit {
    case .delivery, .injection: return false
    default: break
    }
    if case .instruction = afterExit { return false }
    return waiting && completed.isEmpty
  }

  package var generalRegisters: UnsafeMutablePointer<UInt64>? { c.file.assumingMemoryBound(to: UInt64.self) }
  package func gpr(_ register: GPR) -> UInt64 { c[slot: Int(register.rawValue)] }
  package func setGPR(_ register: GPR, _ value: UInt64) { c[slot: Int(register.rawValue)] = value }

  package var activity: ActivityState {
    get { c.pointee.activity }
    set { c.pointee.activity = newValue }
  }

  package var traps = DebugTraps() {
    didSet {
      guard traps != oldValue else { return }
      watches = traps.watches
      engine.flushEverything()
    }
  }

  package func translate(_ address: GVA) -> GPA? { c.translateQuietly(address.value).map { GPA($0) } }

  package func forgetTranslations(of page: GVA?) {
    if let page { c.flushPage(page.value) } else { c.flushTLB(keepGlobal: false) }
    c.bumpGeneration()
  }

  package func cpuid(leaf: UInt32, subleaf: UInt32) -> CPUIDResult {
    c.cpuid(leaf: leaf, subleaf: subleaf)
  }
}

/// How often something happened at one count of instructions.
struct Standstill {
  /// The count of instructions at which it happened last.
  var at = UInt64.max
  private var times = 0
  private(set) var count: UInt64 = 0

  /// True where it was more than `limit` times.
  mutating func note(at now: UInt64, limit: Int) -> Bool {
    count &+= 1
    times = now == at ? times + 1 : 0
    at = now
    return times > limit
  }
}

extension UnsafeMutablePointer<CPU> {
  /// Instructions retired so far; exact outside the loop.
  var retired: UInt64 { pointee.horizon &- UInt64(bitPattern: pointee.budget) }

  /// Instructions retired before the one `o` belongs to, inside the loop.
  func instructionsRetired(before o: MicroOpPointer) -> UInt64 {
    retired &- UInt64(o.pointee.remaining)
  }

  /// Turns the mark an instruction left into the count at which the interrupt shadow holds.
  func noteShadow() {
    pointee.interruptShadow = false
    pointee.shadowAt = retired
  }
}
