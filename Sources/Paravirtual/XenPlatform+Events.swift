import VMCore

/// Event channels, by the two-level ABI until the guest asks for queues, and the scheduler's hypercalls.
extension XenPlatform {
  static let portCount = 64

  private var sharedInfo: GPA { GPA(tables.layout.sharedInfo << 12) }

  func binding(_ port: Int) -> PortBinding {
    guard domain.ports.indices.contains(port) else { return .closed }
    return PortBinding(rawValue: domain.ports[port]) ?? .closed
  }

  /// Where a port's bit of a bitmap is: bytes are in the same order whatever the guest's words.
  private func bit(_ port: Int, of bitmap: UInt64) -> (place: GPA, mask: UInt8) {
    (sharedInfo + (bitmap + UInt64(port / 8)), 1 << UInt8(port & 7))
  }
  private func isSet(_ port: Int, in bitmap: UInt64) -> Bool {
    let bit = bit(port, of: bitmap)
    return (memory.load(bit.place, as: UInt8.self) ?? 0) & bit.mask != 0
  }
  private func set(_ port: Int, in bitmap: UInt64, to isOn: Bool) {
    let bit = bit(port, of: bitmap)
    let byte = memory.load(bit.place, as: UInt8.self) ?? 0
    memory.store(bit.place, isOn ? byte | bit.mask : byte & ~bit.mask)
  }

  /// Sets a port's pending bit and, where it is news and not masked, asks for an upcall.
  func raise(_ port: Int) {
    if usesFIFO { return raiseFIFO(port) }
    guard !isPendingInBitmap(port) else { return }
    set(port, in: abi.sharedInfo.pending, to: true)
    if !isSet(port, in: abi.sharedInfo.mask) { select(port) }
  }

  func isPendingInBitmap(_ port: Int) -> Bool { isSet(port, in: abi.sharedInfo.pending) }

  private func select(_ port: Int) {
    let place = GPA(domain.vcpuInfo)
    let selector = place + abi.vcpuInfo.pendingSelector
    let word = UInt64(port) / (abi.wordSize * 8)
    storeWord(selector, loadWord(selector) | 1 << word)
    memory.store(place + VCPUInfo.upcallPending, UInt8(1))
    emit(.interruptLine, a: UInt32(port), b: 1)
  }

  func raise(virtualInterrupt number: UInt8) {
    for port in 0..<Self.portCount where binding(port) == .virq && domain.interrupts[port] == number { raise(port) }
  }

  private func freePort() throws(XenError) -> Int {
    guard let port = (1..<Self.portCount).first(where: { binding($0) == .closed }) else { throw .noSpace }
    return port
  }

  private func bind(_ binding: PortBinding, _ number: UInt8 = 0) throws(XenError) -> UInt32 {
    let port = try freePort()
    domain.ports[port] = binding.rawValue
    domain.interrupts[port] = number
    return UInt32(port)
  }

  // MARK: event_channel_op

  func eventChannelOp(_ a: HypercallArguments) throws(XenError) -> Int64 {
    let at = a.second
    switch a.first {
    case 0: throw .noSuchDomain
    case 1:
      let number: UInt32 = try read(at)
      let vcpu: UInt32 = try read(at &+ 4)
      guard number < 24 else { throw .invalid }
      guard vcpu == 0 else { throw .noEntry }
      let isBound = (0..<Self.portCount).contains { binding($0) == .virq && domain.interrupts[$0] == UInt8(number) }
      guard !isBound else { throw .exists }
      try write(at &+ 8, try bind(.virq, UInt8(number)))
    case 2: throw .perm
    case 3: try close(try port(at))
    case 4: try send(try port(at))
    case 5: try status(at)
    case 6: try write(at &+ 4, try bind(.unbound))
    case 7:
      let vcpu: UInt32 = try read(at)
      guard vcpu == 0 else { throw .noEntry }
      try write(at &+ 4, try bind(.ipi))
    case 8:
      _ = try port(at)
      let vcpu: UInt32 = try read(at &+ 4)
      guard vcpu == 0 else { throw .noEntry }
    case 9:
      let port = try port(at)
      unmask(port)
    case 11: try initializeControl(at)
    case 12: try expandArray(at)
    case 13: try setPriority(at, port: try port(at))
    case 10: for port in 0..<Self.portCount where binding(port) != .closed { try close(port) }
    default: throw .noSuchCall
    }
    return 0
  }

  private func port(_ at: UInt64) throws(XenError) -> Int {
    let port: UInt32 = try read(at)
    guard port < UInt32(Self.portCount), binding(Int(port)) != .closed else { throw .invalid }
    return Int(port)
  }

  private func close(_ port: Int) throws(XenError) {
    if binding(port) == .disk { domain.block.isConnected = false }
    domain.ports[port] = PortBinding.closed.rawValue
    domain.interrupts[port] = 0
    if usesFIFO { return clearFIFO(port) }
    set(port, in: abi.sharedInfo.pending, to: false)
  }

  private func send(_ port: Int) throws(XenError) {
    switch binding(port) {
    case .console: serviceConsole()
    case .store: serviceStore()
    case .disk: serviceDisk()
    case .ipi: raise(port)
    case .unbound: break
    case .virq, .closed: throw .invalid
    }
  }

  /// {u16 domain, u32 port; u32 status, u32 vcpu, ...}.
  private func status(_ at: UInt64) throws(XenError) {
    let port: UInt32 = try read(at &+ 4)
    guard port < UInt32(Self.portCount) else { throw .invalid }
    let kinds: [PortBinding: UInt32] = [.closed: 0, .unbound: 1, .console: 2, .store: 2, .disk: 2, .virq: 4, .ipi: 5]
    try write(at &+ 8, kinds[binding(Int(port))] ?? 0)
    try write(at &+ 12, UInt32(0))
    try write(at &+ 16, UInt32(domain.interrupts[Int(port)]))
  }

  private func unmask(_ port: Int) {
    if usesFIFO { return unmaskFIFO(port) }
    let wasMasked = isSet(port, in: abi.sharedInfo.mask)
    set(port, in: abi.sharedInfo.mask, to: false)
    if wasMasked, isPendingInBitmap(port) { select(port) }
  }

  // MARK: sched_op

  func schedOp(_ a: HypercallArguments, _ vcpu: any VCPU) throws(XenError) -> Int64 {
    switch a.first {
    case 0: serviceConsole()
    case 1:
      upcallMask = 0
      let isPending = memory.load(GPA(domain.vcpuInfo + VCPUInfo.upcallPending), as: UInt8.self) ?? 0
      if isPending == 0 { request(.block(vcpu: 0)) }
    case 2:
      let reason: UInt32 = try read(a.second)
      shutDown(reason)
    case 3: try poll(a.second, vcpu)
    default: throw .noSuchCall
    }
    return 0
  }

  private static let mostPolled: UInt32 = 128

  /// sched_op.poll, {ports, u32 count, u64 deadline}: time passes until one of the ports may be pending, whether or not
  /// events are masked. It returns early where something else happens, as the guest has to expect anyway.
  private func poll(_ at: UInt64, _ vcpu: any VCPU) throws(XenError) {
    let list = try readWord(at)
    let count: UInt32 = try read(at &+ abi.wordSize)
    let deadline: UInt64 = try read(at &+ 2 &* abi.wordSize)
    guard count <= Self.mostPolled else { throw .invalid }
    serviceConsole()
    for index in 0..<UInt64(count) {
      let port: UInt32 = try read(list &+ index * 4)
      guard port < UInt32(Self.portCount) else { throw .invalid }
      if isPending(Int(port)) { return }
    }
    let next = min(deadline == 0 ? .max : deadline, nextDeadline ?? .max)
    guard next < XenABI.horizon, next > domain.now else { return }
    vcpu.idle(until: next)
    advance(to: vcpu.virtualTime)
  }

  /// SHUTDOWN_poweroff, reboot, suspend, crash.
  private func shutDown(_ reason: UInt32) {
    serviceConsole()
    switch reason {
    case 0: request(.shutdown)
    case 1: request(.reset)
    case 3: crash("the guest says so itself, at \(hex(rip))")
    default: crash("the guest asks for shutdown reason \(reason), which is not offered")
    }
  }
}
