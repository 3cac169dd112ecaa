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
package final class InterpreterVCPU {
  package let index: Int
  let engine: InterpreterEngine
  let memory: GuestMemory
  let events: EventSink
  let c: CPUPointer
  /// Two TLBs of 256 entries: supervisor, then user.
  let tlbs: UnsafeMutablePointer<TLBEntry>
  /// Debugger's watches; pages they touch are never in the TLB for the watched direction.
  var watches: [WatchRange] = []
  /// True while one instruction runs by itself under `runAlone`: watches and own-code stores may go ahead.
  var alone = false
  /// Watch hit by the instruction now running alone.
  var watchHit: DebugCause?
  /// DR6 bits of guest data breakpoints hit by the instruction now running alone.
  var guestWatchHit: UInt64 = 0
  /// MMIO accesses of the present instruction that were answered, oldest first, and how many of them
  /// this execution has used up.
  var completed: [CompletedAccess] = []
  var completedUsed = 0

  init(index: Int, engine: InterpreterEngine) {
    self.index = index
    self.engine = engine
    memory = engine.memory
    events = engine.events
    tlbs = .allocate(capacity: 512)
    tlbs.initialize(repeating: TLBEntry(), count: 512)
    c = .allocate(capacity: 1)
    c.initialize(to: CPU(tlb: tlbs, owner: .passUnretained(self)))
  }

  deinit {
    c.deinitialize(count: 1)
    c.deallocate()
    tlbs.deinitialize(count: 512)
    tlbs.deallocate()
  }

  func tlb(user: Bool) -> UnsafeMutablePointer<TLBEntry> { user ? tlbs + 256 : tlbs }
}
