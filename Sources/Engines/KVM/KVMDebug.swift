import CHost
import VMCore
import X86

/// What a vCPU's debugger traps are made of: the processor's four debug registers, INT3 bytes in the guest's code
/// while it runs, and read-only pages.
struct KVMDebug {
  enum Slot: Equatable {
    case execution(UInt64)
    case data(WatchRange, size: UInt8)
    /// A handler of the guest's where faults of ring 3 are looked at (see `KVMRing3`).
    case handler(vector: UInt8, address: UInt64)
  }
  /// The traps changed since `slots` and `planted` were made.
  var isStale = false
  /// In the order of DR0 to DR3.
  var slots: [Slot] = []
  /// Handlers that are to be watched, as far as debug registers are left.
  var handlers: [(vector: UInt8, address: UInt64)] = []
  /// Linear addresses that get an INT3.
  var software: [UInt64] = []
  /// Watches that are kept by making their pages read-only.
  var watchedByPage: [WatchRange] = []
  /// INT3s that are in memory now: linear address, physical address, what was there.
  var planted: [(linear: UInt64, gpa: UInt64, byte: UInt8)] = []
  /// What KVM was told last.
  var control: UInt32 = 0
  var registers: [UInt64] = Array(repeating: 0, count: 8)

  func isPlanted(_ linear: UInt64) -> Bool { planted.contains { $0.linear == linear } }

  /// Divides traps among what there is.
  mutating func plan(_ traps: DebugTraps, _ traits: KVMTraits) {
    isStale = false
    slots = []
    software = []
    watchedByPage = []
    for watch in traps.watches {
      if let size = Self.size(of: watch), traits.contains(.dataWatchpoints), slots.count < 4 {
        slots.append(.data(watch, size: size))
      } else {
        watchedByPage.append(watch)
      }
    }
    for address in traps.execution.sorted() {
      if slots.count < 4 { slots.append(.execution(address)) } else { software.append(address) }
    }
    for (vector, address) in handlers where slots.count < 4 && !traps.execution.contains(address) {
      slots.append(.handler(vector: vector, address: address))
    }
  }

  /// The length of a watch a debug register can hold (SDM 3B 18.2.5); nil for others.
  private static func size(of watch: WatchRange) -> UInt8? {
    guard [1, 2, 4, 8].contains(watch.length), watch.address.value & (watch.length - 1) == 0 else { return nil }
    return UInt8(watch.length)
  }

  /// DR0 to DR3 and DR7 for the slots (SDM 3B 18.2.4).
  var debugRegisters: [UInt64] {
    var result = [UInt64](repeating: 0, count: 8)
    result[7] = 0x400
    for (index, slot) in slots.enumerated() {
      result[7] |= 2 << UInt64(2 * index)
      switch slot {
      case .execution(let address), .handler(_, let address): result[index] = address
      case .data(let watch, let size):
        result[index] = watch.address.value
        let kind: UInt64 = watch.onRead ? 3 : 1
        let length: UInt64 = size == 8 ? 2 : UInt64(size) - 1
        result[7] |= (kind | length << 2) << UInt64(16 + 4 * index)
      }
    }
    return result
  }
}

extension KVMVCPU {
  func setGuestDebug(_ control: UInt32, _ registers: [UInt64]? = nil) {
    let wanted = registers ?? debug.registers
    guard control != debug.control || wanted != debug.registers else { return }
    debug.control = control
    debug.registers = wanted
    _ = chost_kvm_guest_debug(cpu.fd, control, wanted)
  }

  /// Before the guest runs freely: debug registers, INT3s and read-only pages are put in place. An exit where the
  /// guest already stands at a breakpoint.
  @inline(__always)
  func armTraps() -> VMExit? {
    if !traits.contains(.syscallEntersRing0), cpu.isWhole { findHandlers() }
    if !debug.isStale, debug.slots.isEmpty, debug.software.isEmpty, debug.watchedByPage.isEmpty { return nil }
    return armSlowly()
  }

  private func armSlowly() -> VMExit? {
    if debug.isStale { debug.plan(traps, traits) }
    engine.setWatchedPages(of: self, watchedPages)
    let at = linear(cpu.regs.pointee.rip)
    if traps.execution.contains(at), open.kind != .breakpoint { return breakpointExit(at) }
    var control: UInt32 = 0
    if !debug.slots.isEmpty { control |= UInt32(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP) }
    if !debug.software.isEmpty { control |= UInt32(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP) }
    setGuestDebug(control, debug.slots.isEmpty ? nil : debug.debugRegisters)
    plant()
    return nil
  }

  /// After the guest ran: memory is as the guest left it.
  @inline(__always)
  func disarmTraps() {
    if !debug.planted.isEmpty { unplant() }
  }

  /// Puts INT3s where debug registers do not reach.
  func plant() {
    guard !debug.software.isEmpty, debug.planted.isEmpty else { return }
    let space = space
    for address in debug.software {
      guard let gpa = space.translate(address), let page = memory.hostPage(GPA(gpa)), page.writable else { continue }
      let byte = page.host + Int(gpa & 4095)
      debug.planted.append((address, gpa, byte.load(as: UInt8.self)))
      byte.storeBytes(of: 0xCC, as: UInt8.self)
    }
  }

  /// A byte the guest has written over meanwhile stays the guest's.
  private func unplant() {
    for (_, gpa, original) in debug.planted.reversed() {
      guard let page = memory.hostPage(GPA(gpa)) else { continue }
      let byte = page.host + Int(gpa & 4095)
      if byte.load(as: UInt8.self) == 0xCC { byte.storeBytes(of: original, as: UInt8.self) }
    }
    debug.planted.removeAll()
  }

  // MARK: read-only pages

  /// Numbers of the pages under the watches that are kept by them.
  private var watchedPages: Set<UInt64> {
    var pages = Set<UInt64>()
    let space = space
    for watch in debug.watchedByPage where watch.onWrite {
      var at = watch.address.value & ~4095
      while at < watch.address.value &+ watch.length, pages.count < 1024 {
        if let gpa = space.translate(at) { pages.insert(gpa >> 12) }
        at &+= 4096
      }
    }
    return pages
  }

  /// A store into memory the kernel may not write: ROM ignores it, a watched page takes it from here. The exit
  /// of a watch that was touched.
  func storeToReadOnly(_ access: chost_kvm_mmio) -> VMExit? {
    let size = UInt8(truncatingIfNeeded: access.size)
    guard let page = memory.hostPage(GPA(access.gpa)), page.writable else { return nil }
    let offset = Int(access.gpa & 4095)
    guard offset + Int(size) <= 4096 else { return nil }
    (page.host + offset).copyMemory(from: access.data, byteCount: Int(size))
    engine.noteWrite(access.gpa)
    guard let cause = cause(of: access.gpa, size) else { return nil }
    let rip = cpu.regs.pointee.rip
    let length = lengthOfStore(before: rip, access.gpa, size)
    open = KVMOpenExit()
    if cpu.finishInstruction() == 0, let exit = exitOfKVM() { return exit }
    instructionCount &+= 1
    return exit(.debug, .debug(cause), rip: rip &- UInt64(length))
  }

  private func cause(of gpa: UInt64, _ size: UInt8) -> DebugCause? {
    let space = space
    for watch in debug.watchedByPage where watch.onWrite {
      var at = watch.address.value
      let end = at &+ watch.length
      while at < end {
        let stop = min((at | 4095) &+ 1, end)
        if let first = space.translate(at), gpa < first + (stop - at), first < gpa + UInt64(size) {
          return .data(GVA(at &+ gpa &- first), size: size, write: true)
        }
        at = stop
      }
    }
    return nil
  }

  // MARK: exits

  /// A debug register saw an access behind which the guest stands now. One for reads sees writes too.
  private func watchExit(_ watch: WatchRange, _ size: UInt8) -> VMExit? {
    let rip = cpu.regs.pointee.rip
    var access = (at: watch.address.value, size: size, write: watch.onWrite)
    let end = watch.address.value &+ watch.length
    let length = length(before: rip) { found in
      for operand in found.memory where operand.size > 0 && operand.size <= 64 {
        let at = address(of: operand, in: found)
        guard at < end, watch.address.value < at &+ UInt64(operand.size) else { continue }
        access = (at, UInt8(operand.size), operand.writes)
        return true
      }
      return false
    }
    if length > 0, !(access.write ? watch.onWrite : watch.onRead) { return nil }
    return exit(
      .debug, .debug(.data(GVA(access.at), size: access.size, write: access.write)), rip: rip &- UInt64(length))
  }

  func breakpointExit(_ linear: UInt64) -> VMExit {
    let result = exit(.debug, .debug(.execution(GVA(linear))))
    open = KVMOpenExit()
    open.kind = .breakpoint
    return result
  }

  /// KVM_EXIT_DEBUG while the guest runs freely.
  func debugExit() -> VMExit? {
    let rip = cpu.regs.pointee.rip
    if chost_kvm_debug_exception(cpu.run) == UInt32(Exception.bp.rawValue) {
      if debug.isPlanted(linear(rip)) { return breakpointExit(linear(rip)) }
      // The guest's own INT3.
      return byCompanionAmidst()
    }
    let dr6 = chost_kvm_debug_dr6(cpu.run)
    for (index, slot) in debug.slots.enumerated() where dr6 >> UInt64(index) & 1 != 0 {
      switch slot {
      case .execution: return breakpointExit(linear(rip))
      case .handler(let vector, let address): return linear(rip) == address ? review(vector) : nil
      case .data(let watch, let size): return watchExit(watch, size)
      }
    }
    return nil
  }
}
