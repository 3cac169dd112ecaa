import X86

/// Blocks that are executed one after the other more often than not, and get host code together. The mapping that led
/// to the first holds for all that lie on its page; code of several pages is entered only under a stamp under which
/// the others were looked at.
///
/// The whole is charged to the budget when it is entered; a way out in the middle gives back what it does not reach.
struct Trace {
  /// How a block goes on to the next one.
  enum Onward { case fall, taken, returning }
  struct Part {
    let block: BlockPointer
    /// Instructions charged ahead while this block runs.
    var excess: Int32 = 0
    /// nil for the last one, unless the trace begins again there.
    var onward: Onward?
  }
  private(set) var parts: [Part]
  /// The last block leads to the first one.
  private(set) var loops = false
  /// Instructions in all.
  private(set) var total: Int64 = 0
  /// Some part lies on another page than the first.
  private(set) var isFar = false
  /// The processor's stamp when it was followed.
  let stamp: UInt64

  static let partLimit = 12
  static let opLimit = 160

  var head: BlockPointer { parts[0].block }

  /// Follows what was executed most from `head` on. `warmth` is how often a block is executed before it gets code.
  init(from head: BlockPointer, _ c: CPUPointer, warmth: Int64) {
    parts = [Part(block: head)]
    stamp = c.pointee.stamp
    var ops = head.pointee.capacity
    var returns: [UInt64] = []
    let canGrow = head.pointee.secondPage == Block.noPage
    while canGrow, let last = parts.last?.block {
      guard let (next, onward) = Self.successor(of: last, head: head, c, warmth, &returns) else { break }
      if next == head {
        parts[parts.count - 1].onward = onward
        loops = true
        break
      }
      ops += next.pointee.capacity
      guard parts.count < Self.partLimit, ops <= Self.opLimit, !parts.contains(where: { $0.block == next }) else { break }
      parts[parts.count - 1].onward = onward
      parts.append(Part(block: next))
    }
    isFar = parts.contains { $0.block.pointee.gpa >> 12 != head.pointee.gpa >> 12 }
    total = parts.reduce(0) { $0 + $1.block.pointee.count }
    var left = total
    for index in parts.indices {
      left -= parts[index].block.pointee.count
      parts[index].excess = Int32(truncatingIfNeeded: left)
    }
  }

  private static func successor(
    of block: BlockPointer, head: BlockPointer, _ c: CPUPointer, _ warmth: Int64, _ returns: inout [UInt64]
  ) -> (BlockPointer, Onward)? {
    let last = block.pointee.ops + (block.pointee.capacity - 1)
    func known(_ rip: UInt64) -> BlockPointer? { c.known(rip).flatMap { fits($0, head, c) ? $0 : nil } }
    switch last.pointee.op {
    case .next: return known(block.pointee.endRIP).map { ($0, .fall) }
    case .jmp: return known(block.pointee.takenRIP).map { ($0, .taken) }
    case .call64, .call32:
      guard let next = known(block.pointee.takenRIP) else { return nil }
      returns.append(block.pointee.endRIP)
      return (next, .taken)
    case .ret64, .ret32:
      return returns.popLast().flatMap(known).map { ($0, .returning) }
    case .systemEnd:
      let popsQuickly = last.pointee.aux == SystemOp.popf.rawValue && last.pointee.sizeLog2 == 3
      guard popsQuickly || last.pointee.aux == SystemOp.sti.rawValue else { return nil }
      return known(block.pointee.endRIP).map { ($0, .fall) }
    case .jcc, .decJnz32, .decJnz64: break
    default: guard last.pointee.comparesAndJumps else { return nil }
    }
    let fall = known(block.pointee.endRIP)
    let taken = known(block.pointee.takenRIP)
    if taken == head { return (head, .taken) }
    if fall == head { return (head, .fall) }
    let cold = (fall.map { $0.executionsLeft } ?? warmth + 1, taken.map { $0.executionsLeft } ?? warmth + 1)
    let isBackward = block.pointee.takenRIP < block.pointee.rip
    let prefersTaken = cold.1 < cold.0 || cold.1 == cold.0 && isBackward
    guard min(cold.0, cold.1) * 2 <= warmth else { return nil }
    return prefersTaken ? taken.map { ($0, .taken) } : fall.map { ($0, .fall) }
  }

  /// May `block` be in a trace that begins with `head`?
  private static func fits(_ block: BlockPointer, _ head: BlockPointer, _ c: CPUPointer) -> Bool {
    let samePage = block.pointee.gpa >> 12 == head.pointee.gpa >> 12
    let sameMapping = block.pointee.rip &- head.pointee.rip == block.pointee.gpa &- head.pointee.gpa
    let first = block.pointee.ops.pointee.op
    guard block.pointee.secondPage == Block.noPage, block.pointee.context == head.pointee.context else { return false }
    guard first == .warm || first == .host else { return false }
    return samePage ? sameMapping : c.pointee.vmx.eptPointer == 0
  }
}

extension BlockPointer {
  /// Executions before this block gets host code.
  fileprivate var executionsLeft: Int64 { pointee.ops.pointee.op == .warm ? pointee.ops.pointee.imm : 0 }

  /// Micro-ops without the one that counts executions.
  var body: UnsafeMutableBufferPointer<MicroOp> {
    UnsafeMutableBufferPointer(start: pointee.ops + 1, count: pointee.capacity - 1)
  }

  /// False where most of the work would be callouts.
  var isWorthRewriting: Bool {
    var callouts = 0
    for op in body where !op.isRewritten { callouts += 1 }
    return callouts * 2 <= body.count
  }
}

extension UnsafeMutablePointer<CPU> {
  /// Do all parts of `block` still lie where they did, as fetching them one by one would find without changing
  /// anything?
  func stillMaps(_ block: BlockPointer) -> Bool {
    guard let parts = block.pointee.parts, pointee.vmx.eptPointer == 0 else { return false }
    let base = isLong64 ? 0 : pointee.segments[1].base
    for i in 0..<block.pointee.partCount where parts[i].gpa >> 12 != block.pointee.gpa >> 12 {
      let linear = isLong64 ? parts[i].rip : (base &+ parts[i].rip) & 0xFFFF_FFFF
      if isLong64, !AddressWidth.isCanonical(linear) { return false }
      let walk = readPageTables(linear)
      guard walk.outcome == .mapped, walk.gpa == parts[i].gpa, walk.accessed else { return false }
      guard pointee.cr0 & CR0.pg == 0 || allows(walk, Access(privilege: privilege, fetch: true)) else { return false }
      pointee.paging.noteCode(linear, large: walk.large, huge: walk.huge, global: walk.global)
    }
    return true
  }

  /// The block at `rip` if the jump cache knows it.
  fileprivate func known(_ rip: UInt64) -> BlockPointer? {
    let entry = pointee.jumpCache + JumpEntry.index(rip)
    return entry.pointee.rip == rip && entry.pointee.stamp == pointee.stamp ? entry.pointee.block : nil
  }
}
