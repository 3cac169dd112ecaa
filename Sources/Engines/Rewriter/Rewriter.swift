import CHost
import VMCore

/// Turns warm blocks into host code and keeps it.
final class Rewriter {
  let buffer: CodeBuffer
  let offsets = HostOffsets()
  /// Entered with the CPU and the address of a block's code.
  private(set) var entry: UInt = 0
  // Offsets of the pieces all blocks share.
  private(set) var leaveAt = 0
  private(set) var calloutAt = 0
  private(set) var materializeAt = 0
  private(set) var readMSRAt = 0
  private var firstBlockAt = 0
  /// No block's code is longer.
  static let roomForBlock = 256 << 10
  private(set) var statistics = RewritingStatistics()
  /// The traces whose code begins in each segment of the buffer.
  private var residents = Array(repeating: [Resident](), count: CodeBuffer.segmentCount)
  /// Micro-ops of the writer's own, which work on saved flags: the carry alone, and CF and OF of the rotates.
  let flagOps: MicroOpPointer

  /// Blocks are rewritten even where nearly all of their instructions are callouts.
  private let isEager: Bool

  /// Keeps the code from what is not the guest's, if so configured.
  let hostGuard: HostGuard?
  /// One trace is to try to reach what is kept from it.
  private var trespasses: Bool

  init(_ configuration: EngineConfiguration) throws(VMError) {
    isEager = configuration.warmth <= 1
    buffer = try CodeBuffer()
    hostGuard = configuration.guarding == .none ? nil : try HostGuard.shared.get()
    trespasses = configuration.guarding == .trespassed
    hostGuard?.admit(buffer.executable, size: CodeBuffer.size, executable: true)
    flagOps = .allocate(capacity: 5)
    flagOps.initialize(to: MicroOp(.keepCarry))
    for kind in 0..<4 {
      var op = MicroOp(.rotateFlags)
      op.aux = UInt16(kind)
      (flagOps + 1 + kind).initialize(to: op)
    }
    emitShared()
  }

  deinit { flagOps.deallocate() }

  var isFull: Bool { buffer.used + Self.roomForBlock > buffer.end }
  /// Gives up the oldest code to make room for new. Only while none runs.
  func makeRoom(_ cache: BlockCache, warmth: Int64) {
    while isFull {
      let segment = buffer.widen(from: firstBlockAt)
      statistics.flushes += 1
      for resident in residents[segment] {
        // A block that was dropped meanwhile is not found, or another one is.
        let block = cache.find(gpa: resident.gpa, rip: resident.rip, context: resident.context)
        guard let block, block.pointee.host == buffer.address(resident.code.entry) else { continue }
        cache.cool(block, warmth: warmth)
      }
      residents[segment].removeAll(keepingCapacity: true)
    }
  }
  /// Forgets all code. Only while none runs and none is reachable.
  func empty() {
    buffer.clear(from: firstBlockAt)
    statistics.flushes += 1
    for segment in residents.indices { residents[segment].removeAll(keepingCapacity: true) }
  }

  /// How the code lies that is entered at this offset of the buffer.
  func code(at entry: Int) -> RewrittenCode? {
    guard entry >= 0, entry < CodeBuffer.size else { return nil }
    return residents[entry / CodeBuffer.segmentSize].last { $0.code.entry == entry }?.code
  }

  /// Host code of a trace and, by what it is found again, the block it is reached by.
  private struct Resident {
    let gpa: UInt64
    let rip: UInt64
    let context: UInt16
    let code: RewrittenCode
  }

  /// May `block` get code at all? If not, it is the interpreter's for good.
  func takes(_ block: BlockPointer) -> Bool {
    if isEager || block.isWorthRewriting { return true }
    block.pointee.ops.pointee.op = .nop
    return false
  }

  /// Makes the code of a trace, reached by its first block.
  func translate(_ trace: Trace) {
    let head = trace.head
    var writer = BlockWriter(self, trace)
    let start = buffer.used
    if trespasses {
      trespasses = false
      writer.trespass = UInt(bitPattern: flagOps)
    }
    let entry = writer.write()
    let code = RewrittenCode(entry: entry, straightEnd: writer.straightEnd, end: writer.asm.count, marks: writer.marks)
    residents[entry / CodeBuffer.segmentSize].append(
      Resident(gpa: head.pointee.gpa, rip: head.pointee.rip, context: head.pointee.context, code: code))
    buffer.used = (writer.asm.count + 15) & ~15
    head.pointee.host = buffer.address(entry)
    head.pointee.hostStampAt = trace.isFar ? start : 0
    head.pointee.hostCount = trace.total
    head.pointee.ops.pointee.op = .host
    head.setParts(trace.parts.dropFirst().map { $0.block })
    statistics.blocks += 1
    statistics.instructions += UInt64(trace.total)
    statistics.callouts += UInt64(writer.callouts)
    statistics.streams += UInt64(writer.streamCount)
    statistics.hostBytes += UInt64(buffer.used - start)
  }

  /// Trusts the code of `block` under this stamp.
  func approve(_ block: BlockPointer, stamp: UInt64) { buffer.store(stamp, at: block.pointee.hostStampAt) }

  /// The access goes its slow way at once from now on.
  func makeCallout(_ site: HostSite) {
    // Neighbouring code is entered at its own first byte only: five bytes of the way to the TLB are free.
    var asm = Assembler(buffer.writable, at: site.start)
    asm.jump(to: site.uncountedWay)
    statistics.adaptive += 1
  }

  /// Lets `edge` lead to `next`, while the CPU's stamp stays what it is and `next` keeps its code.
  func link(_ edge: UnsafeMutablePointer<HostEdge>, to next: BlockPointer, stamp: UInt64) {
    edge.lead(to: next)
    let edge = edge.pointee
    buffer.store(Int32(truncatingIfNeeded: next.pointee.hostCount) &- edge.excess, at: edge.countAt)
    let distance = Int(bitPattern: next.pointee.host &- buffer.address(edge.jumpEnd))
    buffer.store(Int32(truncatingIfNeeded: distance), at: edge.jumpEnd - 4)
    buffer.store(stamp, at: edge.stampAt)
  }

  // MARK: What all blocks share

  private func emitShared() {
    var asm = Assembler(buffer.writable, at: 0)
    let saved: [HostRegister] = [.rbx, .rbp, .r12, .r13, .r14, .r15]
    entry = buffer.address(asm.count)
    for register in saved { asm.push(register) }
    asm.move(.memory(.rdi, displacement: offsets.hostStack), .rsp, size: 8)
    asm.move(.rsp, .register(.rdi), size: 8)
    asm.move(HostLayout.a, .register(.rsi), size: 8)
    if let hostGuard { hostGuard.write(hostGuard.inside, &asm) }
    reload(&asm)
    asm.jump(.register(HostLayout.a))

    // With the reason in `a`.
    leaveAt = asm.count
    spill(&asm)
    let leaveSpilled = asm.count
    if let hostGuard { hostGuard.write(hostGuard.outside, &asm) }
    asm.move(.rax, .register(HostLayout.a), size: 8)
    asm.move(.rsp, offsets.field(offsets.hostStack), size: 8)
    for register in saved.reversed() { asm.pop(register) }
    asm.ret()

    // Called with the micro-op in `a` and the block in `b`; leaves for the reason the call gives, if any.
    calloutAt = asm.count
    spill(&asm, pushed: 8)
    if let hostGuard { hostGuard.write(hostGuard.outside, &asm) }
    asm.lea(.rdi, .memory(.rsp, displacement: 8), size: 8)
    asm.move(.rsi, .register(HostLayout.b), size: 8)
    asm.move(.rdx, .register(HostLayout.a), size: 8)
    asm.alu(5, .register(.rsp), 8, size: 8)
    asm.load(.rax, UInt64(UInt(bitPattern: unsafeBitCast(hostCallout, to: UnsafeRawPointer.self))))
    asm.call(.register(.rax))
    asm.alu(0, .register(.rsp), 8, size: 8)
    asm.test(.register(.rax), .rax, size: 4)
    let leaves = asm.jumpAhead(5)
    if let hostGuard { hostGuard.write(hostGuard.inside, &asm) }
    reload(&asm, pushed: 8)
    asm.ret()
    asm.land(leaves)
    asm.alu(7, .register(.rax), Int32(HostEnd.onward.rawValue), size: 4)
    let onward = asm.jumpAhead(4)
    asm.alu(0, .register(.rsp), 8, size: 8)
    asm.move(HostLayout.a, .register(.rax), size: 8)
    asm.jump(to: leaveSpilled)
    asm.land(onward)
    if let hostGuard { hostGuard.write(hostGuard.inside, &asm) }
    reload(&asm, pushed: 8)
    asm.alu(0, .register(.rsp), 8, size: 8)
    asm.move(HostLayout.b, offsets.field(offsets.rip), size: 8)
    asm.land(asm.dispatch(offsets))
    asm.load(HostLayout.a, HostEnd.find.rawValue)
    asm.jump(to: leaveAt)
    materializeAt = asm.materializer(offsets)
    readMSRAt = asm.readerOfMSRs(offsets)
    firstBlockAt = (asm.count + 63) & ~63
    buffer.used = firstBlockAt
  }

  private func spill(_ asm: inout Assembler, pushed: Int32 = 0) {
    for slot in HostLayout.mapped {
      guard let home = HostLayout.home(slot) else { continue }
      asm.move(HostLayout.register(slot, pushed: pushed), home, size: 8)
    }
    asm.move(.memory(.rsp, displacement: offsets.budget + pushed), HostLayout.budget, size: 8)
  }
  private func reload(_ asm: inout Assembler, pushed: Int32 = 0) {
    for slot in HostLayout.mapped {
      guard let home = HostLayout.home(slot) else { continue }
      asm.move(home, HostLayout.register(slot, pushed: pushed), size: 8)
    }
    asm.move(HostLayout.budget, .memory(.rsp, displacement: offsets.budget + pushed), size: 8)
  }
}
