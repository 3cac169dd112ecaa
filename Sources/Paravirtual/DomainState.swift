import VMCore
import X86

/// A handler the guest registered.
struct Callback: Equatable {
  /// 0: none.
  var address: UInt64 = 0
  /// Events stay masked while it runs.
  var masksEvents = false
  /// A 32-bit guest's code segment.
  var selector: UInt16 = 0
}

/// One entry of the guest's trap table.
struct TrapHandler: Equatable {
  var address: UInt64 = 0
  var selector: UInt16 = 0
  /// 1:0 the ring that may call it by INT n; bit 2: events are masked while it runs.
  var flags: UInt8 = 0

  var ring: UInt8 { flags & 3 }
  var masksEvents: Bool { flags & 4 != 0 }
}

/// What an event channel's port is bound to.
enum PortBinding: UInt8 {
  case closed, unbound, console, store, virq, ipi, disk
}

/// Everything the monitor keeps of the domain besides its memory and page types: with them, a snapshot.
struct DomainState: Equatable {
  /// The guest's kernel runs, not one of its programs.
  var isKernel = true
  /// Machine frames of the L4 tables in use; the user's is 0 where there is none.
  var kernelRoot: UInt64 = 0
  var userRoot: UInt64 = 0
  /// Stack for traps from programs (stack_switch).
  var kernelStackSelector: UInt16 = 0
  var kernelStack: UInt64 = 0
  var traps = [TrapHandler](repeating: TrapHandler(), count: 256)
  var event = Callback()
  var failsafe = Callback()
  var syscall = Callback()
  var sysenter = Callback()
  var nmi = Callback()
  /// Machine frames of the guest's GDT, in order.
  var gdtFrames: [UInt64] = []
  var gdtEntries: UInt64 = 0
  /// Machine frames of its LDT, in order.
  var ldtFrames: [UInt64] = []
  var iopl: UInt64 = 0
  /// The vm_assist bits that are on.
  var assists: UInt64 = 0
  /// CR4 as the guest reads it.
  var cr4: UInt64 = 0
  var debugRegisters = [UInt64](repeating: 0, count: 8)
  /// FPU use traps until the guest has dealt with it (fpu_taskswitch).
  var isTaskSwitched = false
  /// Machine address of vcpu_info.
  var vcpuInfo: UInt64 = 0
  /// Where the guest wants its run state, by its own address; 0: nowhere.
  var runstate: UInt64 = 0
  /// What each port is bound to, and the virtual interrupt's number.
  var ports = [UInt8](repeating: 0, count: 64)
  var interrupts = [UInt8](repeating: 0, count: 64)
  var fifo = FIFOState()
  /// Frames of the grant table the guest has set up.
  var grantFrames: UInt64 = 0
  var block = BlockState()
  /// Virtual time of the one-shot timer; `max` while it stands.
  var singleshot = UInt64.max
  /// Interval and next time of the periodic timer; 0 while it stands.
  var period: UInt64 = 0
  var nextPeriod = UInt64.max
  /// Machine frames of the rings.
  var consoleFrame: UInt64 = 0
  var storeFrame: UInt64 = 0
  /// Typed, and no room for it in the ring yet.
  var typed: [UInt8] = []
  /// What the guest said by console_io, newest last.
  var log: [UInt8] = []
  var storeWatches: [StoreWatch] = []
  var store = StoreTree()
  /// Bytes of a request that is not whole yet, and answers there was no room for.
  var storeInput: [UInt8] = []
  var storeOutput: [UInt8] = []
  /// The present moment, ns.
  var now: UInt64 = 0
  /// Hypercalls, events delivered and instructions emulated so far.
  var hypercallCount: UInt64 = 0
  var upcallCount: UInt64 = 0
  /// Hypercalls with those inside of multicalls, each an event.
  var notedCount: UInt64 = 0
  var emulatedCount: UInt64 = 0
  /// Traps handed to the guest, by vector.
  var bounceCounts = [UInt64](repeating: 0, count: 32)
  var hasCrashed = false

  mutating func code(_ coder: inout StateCoder) {
    coder.code(&isKernel)
    coder.code(&kernelRoot)
    coder.code(&userRoot)
    coder.code(&kernelStackSelector)
    coder.code(&kernelStack)
    for index in traps.indices {
      coder.code(&traps[index].address)
      coder.code(&traps[index].selector)
      coder.code(&traps[index].flags)
    }
    code(&event, &coder)
    code(&failsafe, &coder)
    code(&syscall, &coder)
    code(&sysenter, &coder)
    code(&nmi, &coder)
    coder.code(&gdtFrames)
    coder.code(&ldtFrames)
    for path in [\DomainState.gdtEntries, \.iopl, \.assists, \.cr4, \.vcpuInfo, \.runstate, \.singleshot, \.period] {
      coder.code(&self[keyPath: path])
    }
    coder.code(&debugRegisters)
    coder.code(&isTaskSwitched)
    coder.code(fixed: &ports)
    coder.code(fixed: &interrupts)
    fifo.code(&coder)
    for path in [\DomainState.nextPeriod, \.consoleFrame, \.storeFrame, \.now, \.hypercallCount, \.upcallCount, \.notedCount] {
      coder.code(&self[keyPath: path])
    }
    coder.code(&emulatedCount)
    coder.code(&grantFrames)
    block.code(&coder)
    coder.code(&typed)
    coder.code(&log)
    coder.code(&storeInput)
    coder.code(&storeOutput)
    coder.code(fixed: &bounceCounts)
    coder.code(&hasCrashed)
    StoreWatch.code(&storeWatches, &coder)
    store.code(&coder)
  }

  private func code(_ callback: inout Callback, _ coder: inout StateCoder) {
    coder.code(&callback.address)
    coder.code(&callback.masksEvents)
    coder.code(&callback.selector)
  }
}
