import VMCore

/// What the FIFO event ABI keeps besides the guest's own pages.
struct FIFOState: Equatable {
  /// Machine address of the control block; 0 while the two-level ABI is in force.
  var control: UInt64 = 0
  /// Machine frames of the event array, 1,024 words each.
  var pages: [UInt64] = []
  /// The last port of each priority's queue; 0 for none.
  var tails = [UInt32](repeating: 0, count: 16)
  /// By port.
  var priorities = [UInt8](repeating: 7, count: XenPlatform.portCount)
  /// Raised before there was a word for them, by port.
  var waiting = [UInt8](repeating: 0, count: XenPlatform.portCount)

  mutating func code(_ coder: inout StateCoder) {
    coder.code(&control)
    coder.code(&pages)
    coder.code(fixed: &tails)
    coder.code(fixed: &priorities)
    coder.code(fixed: &waiting)
  }
}

/// Event channels by the FIFO ABI (Xen public/event_channel.h): a word for each port, linked into sixteen queues by
/// priority.
extension XenPlatform {
  private enum Word {
    static let pending: UInt32 = 1 << 31
    static let masked: UInt32 = 1 << 30
    static let linked: UInt32 = 1 << 29
    static let linkBits: UInt32 = 17
    static let link: UInt32 = (1 << linkBits) - 1
  }
  private enum Control {
    static let ready: UInt64 = 0
    static let heads: UInt64 = 8
    static let size: UInt64 = 72
  }
  private static let wordsPerPage = 1024
  private static let mostPages = 128

  var usesFIFO: Bool { domain.fifo.control != 0 }

  private func place(_ port: Int) -> GPA? {
    let page = port / Self.wordsPerPage
    guard page < domain.fifo.pages.count else { return nil }
    return GPA(domain.fifo.pages[page] << 12 + UInt64(port % Self.wordsPerPage) * 4)
  }

  // MARK: event_channel_op

  /// init_control: {frame, offset, vCPU; link bits out}.
  func initializeControl(_ at: UInt64) throws(XenError) {
    let mfn: UInt64 = try read(at)
    let offset: UInt32 = try read(at &+ 8)
    let vcpu: UInt32 = try read(at &+ 12)
    guard vcpu == 0 else { throw .noEntry }
    guard offset & 7 == 0, UInt64(offset) + Control.size <= XenABI.pageSize else { throw .invalid }
    guard !usesFIFO, let frame = tables.frame(mfn), frame.owner == .domain else { throw .invalid }
    try write(at &+ 16, UInt8(Word.linkBits))
    try tables.take(mfn, as: .writable)
    for port in 0..<Self.portCount where isPendingInBitmap(port) { domain.fifo.waiting[port] = 1 }
    domain.fifo.control = mfn << 12 + UInt64(offset)
  }

  /// expand_array: one more page of words.
  func expandArray(_ at: UInt64) throws(XenError) {
    let mfn: UInt64 = try read(at)
    guard usesFIFO, let frame = tables.frame(mfn), frame.owner == .domain else { throw .invalid }
    guard domain.fifo.pages.count < Self.mostPages else { throw .noSpace }
    try tables.take(mfn, as: .writable)
    domain.fifo.pages.append(mfn)
    for port in 0..<Self.portCount where domain.fifo.waiting[port] != 0 && place(port) != nil {
      domain.fifo.waiting[port] = 0
      raiseFIFO(port)
    }
  }

  /// set_priority: {port, priority}.
  func setPriority(_ at: UInt64, port: Int) throws(XenError) {
    let priority: UInt32 = try read(at &+ 4)
    guard usesFIFO else { throw .noSuchCall }
    guard priority < 16 else { throw .invalid }
    domain.fifo.priorities[port] = UInt8(priority)
  }

  // MARK: Raising

  func isPending(_ port: Int) -> Bool {
    guard usesFIFO else { return isPendingInBitmap(port) }
    guard let place = place(port) else { return domain.fifo.waiting[port] != 0 }
    return (memory.load(place, as: UInt32.self) ?? 0) & Word.pending != 0
  }

  func raiseFIFO(_ port: Int) {
    guard let place = place(port) else {
      domain.fifo.waiting[port] = 1
      return
    }
    let word = (memory.load(place, as: UInt32.self) ?? 0) | Word.pending
    memory.store(place, word)
    guard word & (Word.masked | Word.linked) == 0 else { return }
    memory.store(place, word & ~Word.link | Word.linked)
    let priority = Int(domain.fifo.priorities[port])
    let isBehind = append(port, to: Int(domain.fifo.tails[priority]))
    domain.fifo.tails[priority] = UInt32(port)
    guard !isBehind else { return }
    memory.store(GPA(domain.fifo.control + Control.heads + UInt64(priority) * 4), UInt32(port))
    let ready = memory.load(GPA(domain.fifo.control + Control.ready), as: UInt32.self) ?? 0
    guard ready >> UInt32(priority) & 1 == 0 else { return }
    memory.store(GPA(domain.fifo.control + Control.ready), ready | 1 << UInt32(priority))
    memory.store(GPA(domain.vcpuInfo + VCPUInfo.upcallPending), UInt8(1))
    emit(.interruptLine, a: UInt32(port), b: 1)
  }

  /// Links a port behind the tail of its queue; false where the guest has taken the tail off already.
  private func append(_ port: Int, to tail: Int) -> Bool {
    guard tail != 0, tail != port, let place = place(tail), let word = memory.load(place, as: UInt32.self),
      word & Word.linked != 0
    else { return false }
    memory.store(place, word & ~Word.link | UInt32(port))
    return true
  }

  func unmaskFIFO(_ port: Int) {
    guard let place = place(port), let word = memory.load(place, as: UInt32.self) else { return }
    memory.store(place, word & ~Word.masked)
    if word & Word.pending != 0 { raiseFIFO(port) }
  }

  func clearFIFO(_ port: Int) {
    domain.fifo.waiting[port] = 0
    guard let place = place(port), let word = memory.load(place, as: UInt32.self) else { return }
    memory.store(place, word & ~Word.pending)
  }
}
