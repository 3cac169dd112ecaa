import CHost
import Glibc
import Synchronization
import VMCore

/// One vCPU of the kernel: its descriptor, its kvm_run page, and the way into and out of KVM_RUN.
///
/// Invariants of the unsafe parts: the page is mapped from `init` to `deinit`; between two runs it belongs to
/// the thread that called last, during a run to the kernel, but for `immediate_exit`, which `interrupt` may set
/// from anywhere.
final class KVMProcessor {
  static let registers = Int32(KVM_SYNC_X86_REGS)
  static let systemRegisters = Int32(KVM_SYNC_X86_SREGS)
  static let events = Int32(KVM_SYNC_X86_EVENTS)
  static let allRegisters = registers | systemRegisters | events

  let fd: Int32
  let run: UnsafeMutablePointer<kvm_run>
  /// General registers, RIP and flags after the last run, and what is to be there at the next one.
  let regs: UnsafeMutablePointer<kvm_regs>
  private let page: UnsafeMutablePointer<kvm_sync_regs>
  /// System registers and events in `page` are those after the last run.
  private(set) var isWhole = true
  /// Runs that are still to bring everything: somebody looked not long ago. A processor's own registers are
  /// slow to read, so they come only where they are wanted.
  private var wholeRuns = 0
  private var runs: UInt64 = 0
  private let host: KVMHost
  /// Which of them are to be loaded into the vCPU before it runs.
  private(set) var dirty: Int32 = 0
  private var alarm = KVMAlarm()
  /// The thread that is in `run`; 0 for none.
  private let thread = Atomic<Int32>(0)

  init(host: KVMHost, vm: Int32, index: Int) throws(VMError) {
    self.host = host
    let made = chost_kvm_create_vcpu(vm, UInt(index))
    if made < 0 { throw KVMHost.failure("make vCPU \(index)", made) }
    guard let page = chost_kvm_map_run(made, host.runSize) else {
      close(made)
      throw KVMHost.failure("map the run page of vCPU \(index)", -errno)
    }
    fd = made
    run = page
    self.page = chost_kvm_sync(page)
    regs = UnsafeMutableRawPointer(self.page).assumingMemoryBound(to: kvm_regs.self)
    _ = chost_kvm_signal()
    load()
  }

  deinit {
    alarm.delete()
    chost_kvm_unmap_run(run, host.runSize)
    close(fd)
  }

  /// All registers after the last run, and what is to be there at the next one.
  var sync: UnsafeMutablePointer<kvm_sync_regs> {
    @inline(__always) get {
      if !isWhole { loadRest() }
      wholeRuns = Self.interest
      return page
    }
  }
  /// The same without interest in more of them: general registers, and the rest as of when `isWhole` was so last.
  var present: UnsafePointer<kvm_sync_regs> { UnsafePointer(page) }
  /// For how many runs somebody's interest lasts.
  private static let interest = 64
  /// Everything comes every so many runs.
  private static let wholeInterval: UInt64 = 16

  /// Takes the registers out of the vCPU.
  private func load() {
    _ = chost_kvm_get_regs(fd, &page.pointee.regs)
    loadRest()
  }

  private func loadRest() {
    _ = chost_kvm_get_sregs(fd, &page.pointee.sregs)
    _ = chost_kvm_get_events(fd, &page.pointee.events)
    isWhole = true
  }

  /// These parts of `sync` were changed.
  @inline(__always)
  func changed(_ parts: Int32) { dirty |= parts }

  // MARK: KVM_RUN

  /// From here to `rest` this thread is the one to be called out of KVM_RUN.
  @inline(__always)
  func attach() {
    thread.store(chost_kvm_thread(), ordering: .releasing)
    chost_kvm_attach(run)
  }

  /// From here on a kick or the alarm ends a run that begins.
  @inline(__always)
  func prepare() {
    // Whoever asks this thread to leave while it is clear is not forgotten.
    if run.pointee.immediate_exit != 0 { chost_kvm_clear(run) }
  }

  @inline(__always)
  func rest() {
    chost_kvm_rest()
    thread.store(0, ordering: .releasing)
  }

  /// Sees to it that a run ends at `deadline` (CLOCK_MONOTONIC), or earlier without a reason.
  @inline(__always)
  func setAlarm(_ deadline: UInt64, now: UInt64) {
    alarm.set(deadline, now: now, of: thread.load(ordering: .relaxed))
  }

  /// KVM_RUN: 0, or -errno.
  @inline(__always)
  func enter() -> Int32 {
    guard host.hasSyncRegs else { return enterWithCalls() }
    runs &+= 1
    isWhole = wholeRuns > 0 || runs % Self.wholeInterval == 0
    if wholeRuns > 0 { wholeRuns -= 1 }
    run.pointee.kvm_valid_regs = UInt64(isWhole ? Self.allRegisters : Self.registers)
    run.pointee.kvm_dirty_regs = UInt64(dirty)
    dirty = 0
    return chost_kvm_run(fd)
  }

  private func enterWithCalls() -> Int32 {
    if let failure = storeByCalls() { return failure }
    let result = chost_kvm_run(fd)
    load()
    return result
  }

  /// Loads what is dirty into the vCPU without running it; the failure, if there is one.
  private func storeByCalls() -> Int32? {
    defer { dirty = 0 }
    if dirty & Self.registers != 0 {
      let result = chost_kvm_set_regs(fd, &page.pointee.regs)
      if result < 0 { return result }
    }
    if dirty & Self.systemRegisters != 0 {
      let result = chost_kvm_set_sregs(fd, &page.pointee.sregs)
      if result < 0 { return result }
    }
    if dirty & Self.events != 0 {
      let result = chost_kvm_set_events(fd, &page.pointee.events)
      if result < 0 { return result }
    }
    return nil
  }

  /// Lets KVM finish the instruction it exited for, and nothing else: 0 if that led to another exit.
  func finishInstruction() -> Int32 {
    run.pointee.immediate_exit = 1
    return enter()
  }

  /// Ends a run under way on another thread.
  func interrupt() { chost_kvm_interrupt(run, thread.load(ordering: .acquiring)) }
}

/// A timer that takes its thread out of KVM_RUN. It is set again only where it would ring too late: one that
/// rings too early costs a look at the clock, setting it costs a system call.
struct KVMAlarm {
  private var timer: UInt?
  private var thread: Int32 = 0
  private var rings: UInt64 = 0

  @inline(__always)
  mutating func set(_ deadline: UInt64, now: UInt64, of mine: Int32) {
    if rings > now && rings <= deadline && thread == mine { return }
    arm(deadline, mine)
  }

  private mutating func arm(_ deadline: UInt64, _ mine: Int32) {
    if thread != mine {
      delete()
      var made: UInt = 0
      guard chost_kvm_timer_create(&made) == 0 else { return }
      timer = made
      thread = mine
    }
    guard let timer, chost_kvm_timer_set(timer, deadline) == 0 else { return }
    rings = deadline
  }

  mutating func delete() {
    if let timer { chost_kvm_timer_delete(timer) }
    timer = nil
    thread = 0
    rings = 0
  }
}

/// Nanoseconds of CLOCK_MONOTONIC: the time of a guest that the host's processor runs.
enum HostTime {
  @inline(__always)
  static func now() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(bitPattern: Int64(time.tv_sec)) &* 1_000_000_000 &+ UInt64(bitPattern: Int64(time.tv_nsec))
  }
}
