import VMCore
import X86

/// Hypercalls about the virtual processor: trap table, stacks, segment bases, timers, vcpu_info.
extension XenPlatform {
  /// set_trap_table: {u8 vector, u8 flags, u16 code segment, address} each, until an address is 0.
  func setTrapTable(_ a: HypercallArguments) throws(XenError) -> Int64 {
    guard a.first != 0 else {
      domain.traps = Array(repeating: TrapHandler(), count: 256)
      return 0
    }
    for index in 0..<257 as Range<UInt64> {
      let at = a.first &+ index &* 2 &* abi.wordSize
      let head: UInt32 = try read(at)
      let address = try readWord(at &+ abi.wordSize)
      if address == 0 { break }
      guard abi.isGuestAddress(address) else { throw .invalid }
      let selector = inGuestRing(UInt16(truncatingIfNeeded: head >> 16))
      domain.traps[Int(head & 0xFF)] = TrapHandler(
        address: address, selector: selector, flags: UInt8(truncatingIfNeeded: head >> 8))
    }
    return 0
  }

  /// A selector of the guest's kernel: its ring where the guest asks for an inner one.
  func inGuestRing(_ selector: UInt16) -> UInt16 {
    selector & 3 < UInt16(abi.kernelRing) ? selector & ~3 | UInt16(abi.kernelRing) : selector
  }

  func stackSwitch(_ a: HypercallArguments) -> Int64 {
    domain.kernelStackSelector = inGuestRing(UInt16(truncatingIfNeeded: a.first))
    domain.kernelStack = a.second
    return 0
  }

  /// The guest's kernel cannot write FS and GS bases itself. In kernel mode the program's GS base is the one that
  /// waits.
  func setSegmentBase(_ a: HypercallArguments, _ vcpu: any VCPU) throws(XenError) -> Int64 {
    guard !abi.is32Bit else { throw .noSuchCall }
    guard a.first <= 3 else { throw .invalid }
    var state = vcpu.state
    if a.first == 3 {
      let selector = UInt16(truncatingIfNeeded: a.second)
      let loaded = selector & ~3 == 0 ? Segments.null(selector) : segment(selector | 3, isCode: false, ring: 3)
      guard let loaded else { throw .invalid }
      let base = state[.gs].base
      state[.gs] = loaded
      state[.gs].base = base
      state.kernelGSBase = loaded.base
    } else {
      guard abi.isCanonical(a.second) else { throw .invalid }
      switch a.first {
      case 0: state[.fs].base = a.second
      case 1: state.kernelGSBase = a.second
      default: state[.gs].base = a.second
      }
    }
    vcpu.state = state
    return 0
  }

  func fpuTaskswitch(_ a: HypercallArguments, _ vcpu: any VCPU) -> Int64 {
    setTaskSwitched(a.first != 0, vcpu)
    return 0
  }

  /// CR0.TS, as the guest sees it.
  func setTaskSwitched(_ on: Bool, _ vcpu: any VCPU) {
    guard domain.isTaskSwitched != on else { return }
    domain.isTaskSwitched = on
    var state = vcpu.state
    state.cr0 = on ? state.cr0 | CR0.ts : state.cr0 & ~CR0.ts
    vcpu.state = state
  }

  func setDebugRegister(_ a: HypercallArguments, _ vcpu: any VCPU) throws(XenError) -> Int64 {
    let value = a.second
    switch a.first {
    case 0...3:
      guard value == 0 || abi.isGuestAddress(value) else { throw .perm }
    case 6: break
    case 7:
      guard value >> 32 == 0, value & 1 << 13 == 0 else { throw .invalid }
    default: throw .invalid
    }
    guard domain.debugRegisters[Int(a.first)] != value else { return 0 }
    domain.debugRegisters[Int(a.first)] = value
    var state = vcpu.state
    switch a.first {
    case 6: state.dr6 = value & 0xE00F | 0xFFFF_0FF0
    case 7: state.dr7 = value | 0x400
    default: state.dr[Int(a.first)] = value
    }
    vcpu.state = state
    return 0
  }

  // MARK: vcpu_op

  func vcpuOp(_ a: HypercallArguments) throws(XenError) -> Int64 {
    guard a.second == 0 else { throw .noEntry }
    switch a.first {
    case 3: return 1
    case 4: try writeRunstate(at: a.third)
    case 5:
      let address = try readWord(a.third)
      try writeRunstate(at: address)
      domain.runstate = address
    case 6:
      let period: UInt64 = try read(a.third)
      guard period >= 1_000_000, period < XenABI.horizon else { throw .invalid }
      domain.period = period
      domain.nextPeriod = domain.now &+ period
    case 7:
      domain.period = 0
      domain.nextPeriod = .max
    case 8:
      let deadline: UInt64 = try read(a.third)
      let flags: UInt32 = try read(a.third &+ 8)
      guard flags & XenABI.future == 0 || deadline >= domain.now else { throw .time }
      startSingleshot(deadline)
    case 9: domain.singleshot = .max
    case 10: try registerVCPUInfo(a.third)
    default: throw .noSuchCall
    }
    return 0
  }

  private func startSingleshot(_ deadline: UInt64) {
    domain.singleshot = deadline < XenABI.horizon ? deadline : .max
    emit(.timer, a: 0, b: deadline > domain.now ? deadline - domain.now : 0)
    advance(to: domain.now)
  }

  /// set_timer_op: the same by an older door; 0 stops it.
  func setTimer(_ a: HypercallArguments) -> Int64 {
    if a.first == 0 { domain.singleshot = .max } else { startSingleshot(a.first) }
    return 0
  }

  /// vcpu_runstate_info: running since the beginning.
  private func writeRunstate(at address: UInt64) throws(XenError) {
    // {state, entered, times by state}: 64-bit numbers lie at multiples of a word.
    let entered = Int(abi.wordSize)
    var bytes = [UInt8](repeating: 0, count: entered + 40)
    withUnsafeBytes(of: domain.now.littleEndian) { bytes.replaceSubrange(entered + 8..<entered + 16, with: $0) }
    try write(address, bytes)
  }

  /// {frame, offset}: from now on mask, pending bits and time live there.
  private func registerVCPUInfo(_ address: UInt64) throws(XenError) {
    let mfn: UInt64 = try read(address)
    let offset: UInt32 = try read(address &+ 8)
    guard UInt64(offset) + VCPUInfo.size <= XenABI.pageSize, offset & 7 == 0 else { throw .invalid }
    guard domain.vcpuInfo >> 12 == tables.layout.sharedInfo else { throw .invalid }
    guard let frame = tables.frame(mfn), frame.owner == .domain else { throw .invalid }
    try tables.take(mfn, as: .writable)
    let place = GPA(mfn << 12 + UInt64(offset))
    let old = memory.readBytes(GPA(domain.vcpuInfo), count: Int(VCPUInfo.size)).map { $0 ?? 0 }
    memory.write(place, old)
    domain.vcpuInfo = place.value
    // Whatever was raised meanwhile is not lost: all of it is looked at once.
    storeWord(place + abi.vcpuInfo.pendingSelector, .max)
    memory.store(place + VCPUInfo.upcallPending, UInt8(1))
    writeTime()
  }

  // MARK: Time

  /// vcpu_time_info: ns since the start are the TSC, which runs at 1 GHz on virtual time.
  func writeTime() {
    let place = GPA(domain.vcpuInfo + VCPUInfo.time)
    memory.store(place, UInt32(2))
    memory.store(place + 8, UInt64(0))
    memory.store(place + 16, UInt64(0))
    // ns = ticks << 1 * 2^31 >> 32.
    memory.store(place + 24, UInt32(0x8000_0000))
    memory.store(place + 28, UInt8(1))
    // Without PVCLOCK_TSC_STABLE_BIT, as Xen sets it only where the guest may map the page of a vDSO clock.
    memory.store(place + 29, UInt8(0))
  }

  package func advance(to time: UInt64) {
    domain.now = max(domain.now, time)
    if domain.singleshot <= domain.now {
      domain.singleshot = .max
      raise(virtualInterrupt: 0)
    }
    if domain.nextPeriod <= domain.now, domain.period > 0 {
      let late = (domain.now - domain.nextPeriod) / domain.period
      domain.nextPeriod &+= (late &+ 1) &* domain.period
      raise(virtualInterrupt: 0)
    }
  }

  package var nextDeadline: UInt64? {
    let next = min(domain.singleshot, domain.nextPeriod)
    return next == .max ? nil : next
  }
}
