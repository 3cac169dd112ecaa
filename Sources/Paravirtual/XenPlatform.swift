import VMCore
import X86

/// Xen's paravirtual ABI under a guest that was ported to it: in place of a machine, hypercalls, event channels and
/// shared pages. The guest's kernel runs in ring 3 like its programs, or in 32 bits in ring 1; what would enter ring 0
/// exits, and is a hypercall, an instruction to emulate, or a trap to hand back. `GuestABI` says what the two differ in.
package final class XenPlatform: Platform {
  package let memory: GuestMemory
  package let builder: DomainBuilder
  package let abi: GuestABI
  package let tables: PageTables
  /// What the guest has as xvda; nil: no disk.
  let disk: (any XenDisk)?
  package let events: EventSink
  var domain = DomainState()
  /// Nothing of the page tables is checked: what isolation costs.
  package var isTrusting: Bool {
    get { tables.isTrusting }
    set { tables.isTrusting = newValue }
  }
  /// Hypercalls are kept with what they point at, for somebody who looks.
  package var keepsCalls = false
  var calls = CallLog()
  var output: [UInt8] = []
  private var requests: [PlatformRequest] = []
  /// The exit being handled: stamped on events.
  var rip: UInt64 = 0
  /// What the present hypercall has done and may still do.
  var work = HypercallWork()
  /// Linear pages whose translations the present hypercall made stale.
  var stalePages: [UInt64] = []

  /// The controls a processor needs under this platform.
  package static let controls: ExitControls = {
    var controls = ExitControls.standard
    controls.isDeprivileged = true
    return controls
  }()

  /// Puts the domain into memory. Throws `VMError(.image)` where it does not fit.
  package init(builder: DomainBuilder, events: EventSink, isTrusting: Bool = false, disk: (any XenDisk)? = nil) throws(VMError) {
    self.builder = builder
    self.events = events
    abi = builder.abi
    self.disk = disk
    memory = builder.memory
    tables = PageTables(memory: builder.memory, layout: builder.machine)
    tables.isTrusting = isTrusting
    builder.load()
    try begin()
  }

  /// The domain's state before its first instruction; memory holds what the builder put there.
  private func begin() throws(VMError) {
    tables.reset()
    domain = DomainState()
    let root = builder.rootFrame
    domain.kernelRoot = root
    domain.kernelStackSelector = abi.kernelData
    domain.vcpuInfo = builder.machine.sharedInfo << 12
    domain.cr4 = CR4.pae | CR4.osfxsr | CR4.osxmmexcpt
    domain.consoleFrame = builder.machine.machineFrame(builder.layout.consoleRing)
    domain.storeFrame = builder.machine.machineFrame(builder.layout.storeRing)
    domain.ports[Int(DomainBuilder.storePort)] = PortBinding.store.rawValue
    domain.ports[Int(DomainBuilder.consolePort)] = PortBinding.console.rawValue
    domain.store = StoreTree(memory: builder.layout.pageCount * 4)
    announceDisk()
    do throws(XenError) {
      try tables.pin(root, as: abi.rootType)
      try tables.take(root, as: abi.rootType)
      // The rings stay writable: the monitor writes there.
      try tables.take(domain.consoleFrame, as: .writable)
      try tables.take(domain.storeFrame, as: .writable)
    } catch {
      throw VMError(.image, "the domain's first page tables do not keep the rules (\(error))")
    }
    writeTime()
  }

  // MARK: Exits

  package func handle(_ exit: VMExit, on vcpu: any VCPU) -> VMEntry.Action {
    rip = exit.rip
    noteRing(of: vcpu)
    advance(to: vcpu.virtualTime)
    let action = answer(exit, on: vcpu)
    forgetStale(on: vcpu)
    return action
  }

  /// A 32-bit guest goes between its rings by itself: IRET from ring 1 needs no monitor.
  func noteRing(of vcpu: any VCPU) {
    if abi.is32Bit { domain.isKernel = ring(of: vcpu) == abi.kernelRing }
  }

  func ring(of vcpu: any VCPU) -> UInt8 {
    var registers = RegisterCapture()
    vcpu.capture(into: &registers)
    return UInt8(registers.csSelector & 3)
  }

  private func answer(_ exit: VMExit, on vcpu: any VCPU) -> VMEntry.Action {
    if let number = exit.words.hypercall {
      guard exit.reason == .syscall, !abi.is32Bit else { return .fault(Exception.ud.rawValue, errorCode: nil) }
      return domain.isKernel ? hypercall(number, exit, vcpu) : systemCall(exit, vcpu)
    }
    switch exit.qualification {
    case .exception(let vector, let errorCode, let linear):
      return self.exception(vector, errorCode, linear, vcpu)
    case .softwareInterrupt(XenABI.hypercallVector) where abi.is32Bit && domain.isKernel:
      return hypercall(vcpu.gpr(.rax) & 0xFFFF_FFFF, exit, vcpu)
    case .softwareInterrupt(let vector): return softwareInterrupt(vector, exit, vcpu)
    case .cpuid(let leaf, let subleaf):
      setCPUID(leaf: leaf, subleaf: subleaf, on: vcpu)
      return .skip
    case .unknownInstruction: return self.exception(Exception.ud.rawValue, nil, 0, vcpu)
    case .mmio(_, _, _, let write, _): return .complete(write ? 0 : .max)
    case .io(_, let size, let write, _, _, _):
      let bits = UInt64(size) * 8
      return .complete(write ? 0 : (1 << bits) - 1)
    default: return .resume
    }
  }

  /// Lets the engine forget what a hypercall made stale.
  private func forgetStale(on vcpu: any VCPU) {
    if tables.needsRootReload {
      tables.needsRootReload = false
      vcpu.state.cr3 = root << 12
    }
    if tables.needsFlush {
      tables.needsFlush = false
      stalePages.removeAll(keepingCapacity: true)
      vcpu.forgetTranslations(of: nil)
    } else if !stalePages.isEmpty {
      for page in stalePages { vcpu.forgetTranslations(of: GVA(page)) }
      stalePages.removeAll(keepingCapacity: true)
    }
  }

  /// The domain broke a rule there is no error number for: it ends, and the session says why.
  func crash(_ why: String) {
    guard !domain.hasCrashed else { return }
    domain.hasCrashed = true
    requests.append(.crash("the domain crashed: \(why)"))
  }

  func request(_ request: PlatformRequest) { requests.append(request) }

  func emit(_ kind: EventKind, a: UInt32 = 0, b: UInt64 = 0, c: UInt64 = 0, d: UInt64 = 0, flags: UInt8 = 0) {
    events.emit(Event(kind, rip: rip, a: a, b: b, c: c, d: d, flags: flags))
  }

  // MARK: Platform

  package func interruptPending(vcpu: Int) -> Bool {
    guard let page = memory.hostPage(GPA(domain.vcpuInfo)) else { return false }
    let offset = Int(domain.vcpuInfo & 4095)
    let word = page.host.loadUnaligned(fromByteOffset: offset, as: UInt16.self)
    return word & 0xFF != 0 && word >> 8 == 0 && !domain.hasCrashed
  }

  package func acknowledgeInterrupt(vcpu: Int) -> Vector? { nil }

  package var hasRequests: Bool { !requests.isEmpty }
  package func takeRequests() -> [PlatformRequest] {
    if requests.isEmpty { return [] }
    defer { requests.removeAll(keepingCapacity: true) }
    return requests
  }

  package func takeConsoleOutput() -> [UInt8] {
    if output.isEmpty { return [] }
    defer { output.removeAll(keepingCapacity: true) }
    return output
  }

  package func keyboardInput(_ scanCodes: [UInt8]) {}

  package func reset() {
    requests.removeAll()
    domain = DomainState()
  }

  /// Builds the domain again, in memory that is cleared first; gives the state to enter it in.
  package func rebuild() throws(VMError) -> VCPUState {
    memory.clear()
    builder.load()
    try begin()
    return builder.initialState()
  }

  private static let snapshotMagic: UInt64 = 0x0002_0000_5650_5352

  package func snapshot() -> [UInt8] {
    var coder = StateCoder()
    var magic = Self.snapshotMagic
    coder.code(&magic)
    var copy = domain
    copy.code(&coder)
    var words = packedFrames
    coder.code(&words)
    var costs = tables.costs
    costs.code(&coder)
    disk?.code(&coder)
    return coder.bytes
  }

  package func restore(_ snapshot: [UInt8]) throws(VMError) {
    var coder = StateCoder(restoring: snapshot)
    var magic: UInt64 = 0
    coder.code(&magic)
    var state = DomainState()
    var words: [UInt64] = []
    var costs = IsolationCosts()
    if magic == Self.snapshotMagic {
      state.code(&coder)
      coder.code(&words)
      costs.code(&coder)
      if !coder.failed { disk?.code(&coder) }
    }
    guard magic == Self.snapshotMagic, coder.isComplete, let frames = unpacked(words) else {
      throw VMError(
        .session, "platform snapshot: \(snapshot.count) bytes do not describe this domain",
        remedy: "restore it into a VM with the same memory")
    }
    domain = state
    tables.frames = frames
    tables.costs = costs
    tables.needsFlush = true
  }

  /// Runs of equal frames: how many, and their word.
  private var packedFrames: [UInt64] {
    var words: [UInt64] = []
    for frame in tables.frames {
      let word = frame.word
      if words.last == word {
        words[words.count - 2] += 1
      } else {
        words += [1, word]
      }
    }
    return words
  }

  private func unpacked(_ words: [UInt64]) -> [Frame]? {
    guard words.count % 2 == 0 else { return nil }
    var frames: [Frame] = []
    for at in stride(from: 0, to: words.count, by: 2) {
      guard words[at] <= UInt64(tables.frames.count - frames.count) else { return nil }
      var frame = Frame()
      frame.word = words[at + 1]
      frames += Array(repeating: frame, count: Int(words[at]))
    }
    return frames.count == tables.frames.count ? frames : nil
  }
}
