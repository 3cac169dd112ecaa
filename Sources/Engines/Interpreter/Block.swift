import VMCore

/// A run of decoded instructions that ends with a control transfer, a change of context, the end of its
/// page, or for want of room. Lives in manually managed memory owned by `BlockCache`.
struct Block {
  var ops: MicroOpPointer
  /// Micro-ops allocated.
  var capacity: Int
  /// Instructions.
  var count: Int64
  /// RIP of its first instruction, and after its last.
  var rip: UInt64
  var endRIP: UInt64
  /// Where a direct transfer at its end goes; fall-through is `endRIP`.
  var takenRIP: UInt64 = 0
  /// Guest-physical address of the first byte and length in bytes.
  var gpa: UInt64
  var length: UInt64
  /// Page of the bytes that lie on a second page, else `Block.noPage`.
  var secondPage: UInt64 = Block.noPage
  var context: UInt16
  /// Links to where it goes, trusted while their stamp is the CPU's.
  var fallStamp: UInt64 = .max
  var takenStamp: UInt64 = .max
  var fall: BlockPointer?
  var taken: BlockPointer?
  var nextInBucket: BlockPointer?
  /// Address of its host code, 0 if there is none; and the instructions of all that this is the code of.
  var host: UInt = 0
  var hostCount: Int64 = 0
  /// Where in the code buffer the stamp is that code of several pages is trusted under; 0 for code of one.
  var hostStampAt = 0
  /// The ways out of that code, if it has any, and those that lead to it.
  var edges: UnsafeMutablePointer<HostEdge>?
  var edgeCount = 0
  var edgesIn: UnsafeMutablePointer<HostEdge>?
  /// Bytes of the other blocks that this is the code of.
  var parts: UnsafeMutablePointer<BlockPart>?
  var partCount = 0
  /// Accesses in that code that may be turned into callouts.
  var sites: UnsafeMutablePointer<HostSite>?

  static let noPage = UInt64.max
  /// `count` of a block that was dropped: no budget reaches to its end, so that a link that still leads there is given up
  /// by whoever would follow it.
  static let unreachable = Int64.max

  func overlaps(_ from: UInt64, _ size: UInt64) -> Bool {
    if let parts {
      for i in 0..<partCount where from < parts[i].gpa + parts[i].length && from + size > parts[i].gpa { return true }
    }
    let firstPart = secondPage == Block.noPage ? length : 4096 - (gpa & 4095)
    if from < gpa + firstPart && from + size > gpa { return true }
    guard secondPage != Block.noPage else { return false }
    return from < secondPage + (length - firstPart) && from + size > secondPage
  }
}

/// Guest code of another block, on one page.
struct BlockPart {
  var rip: UInt64
  var gpa: UInt64
  var length: UInt64
}

typealias BlockPointer = UnsafeMutablePointer<Block>

extension BlockPointer {
  /// Its host code is that of these blocks too: it goes when one of them does.
  func setParts(_ blocks: [BlockPointer]) {
    guard !blocks.isEmpty else { return }
    let parts = UnsafeMutablePointer<BlockPart>.allocate(capacity: blocks.count)
    for (index, block) in blocks.enumerated() {
      (parts + index).initialize(to: BlockPart(rip: block.pointee.rip, gpa: block.pointee.gpa, length: block.pointee.length))
    }
    pointee.parts = parts
    pointee.partCount = blocks.count
  }

  fileprivate func releaseHostCode() {
    pointee.edges?.deallocate()
    pointee.parts?.deallocate()
    (pointee.edges, pointee.edgeCount, pointee.parts, pointee.partCount) = (nil, 0, nil, 0)
    while let site = pointee.sites {
      pointee.sites = site.pointee.next
      site.deallocate()
    }
    (pointee.host, pointee.hostCount, pointee.hostStampAt) = (0, 0, 0)
  }

  /// Do all blocks that this is the code of end below CS's limit?
  func partsLie(within limit: UInt64) -> Bool {
    guard let parts = pointee.parts else { return true }
    for i in 0..<pointee.partCount where parts[i].rip &+ parts[i].length &- 1 > limit { return false }
    return true
  }

  /// Is its host code that of `block` too?
  fileprivate func isMade(of block: BlockPointer) -> Bool {
    guard self != block, let parts = pointee.parts else { return false }
    for i in 0..<pointee.partCount where parts[i].gpa == block.pointee.gpa && parts[i].rip == block.pointee.rip {
      return true
    }
    return false
  }

  /// Where it is found under a second page. Not where that is its first again: a guest may map one page at two
  /// addresses that follow each other.
  fileprivate var furtherPage: UInt64? {
    let second = pointee.secondPage
    return second == Block.noPage || second == pointee.gpa & ~4095 ? nil : second
  }

  /// Pages of its parts that are not its own.
  fileprivate var otherPages: [UInt64] {
    guard let parts = pointee.parts else { return [] }
    var pages: [UInt64] = []
    for i in 0..<pointee.partCount {
      let page = parts[i].gpa & ~4095
      if page != pointee.gpa & ~4095, page != pointee.secondPage, !pages.contains(page) { pages.append(page) }
    }
    return pages
  }
}

/// All decoded code of a VM, found by physical address, RIP and context; dropped page-wise when its bytes
/// change.
final class BlockCache {
  private static let bucketBits: UInt64 = 17
  private static let bucketCount = 1 << Int(bucketBits)
  private let buckets: UnsafeMutablePointer<BlockPointer?>
  /// Blocks with bytes on a page, by page address.
  private var byPage: [UInt64: [BlockPointer]] = [:]
  /// Where `makeRoom` goes on.
  private var victim: UInt64 = 0
  /// Dropped blocks that links may still lead to; and those no link leads to since all stamps changed, which may still
  /// be executing and are freed when no vCPU is inside the loop.
  private var dropped: [BlockPointer] = []
  private var graveyard: [BlockPointer] = []
  /// So many dropped blocks may wait for that.
  private static let droppedLimit = 1 << 12
  /// There are so many dropped blocks that all stamps should change.
  var isCrowded: Bool { dropped.count >= Self.droppedLimit }
  /// There is something to `bury`.
  @inline(__always) var hasDropped: Bool { !graveyard.isEmpty }
  /// Of every vCPU: they forget what is dropped.
  private var jumpCaches: [UnsafeMutablePointer<JumpEntry>] = []
  /// One byte a page of guest-physical memory below `trackedLimit`: does decoded code lie there?
  let pageFlags: UnsafeMutablePointer<UInt8>
  let trackedPages: UInt64
  /// Of the same pages, which of their 256 pieces of 16 bytes blocks have had bytes in since the page had none last, a bit
  /// each: most stores beside code go where never was any.
  private let coverage: UnsafeMutablePointer<UInt64>
  private(set) var blockCount = 0
  static let blockLimit = 1 << 17

  init(memory: GuestMemory) {
    buckets = .allocate(capacity: Self.bucketCount)
    buckets.initialize(repeating: nil, count: Self.bucketCount)
    let top = memory.slots.filter { $0.kind == .ram }.map(\.end).max() ?? 0
    trackedPages = top >> 12
    pageFlags = .allocate(capacity: Int(trackedPages) + 1)
    pageFlags.initialize(repeating: 0, count: Int(trackedPages) + 1)
    coverage = .allocate(capacity: 4 * (Int(trackedPages) + 1))
    coverage.initialize(repeating: 0, count: 4 * (Int(trackedPages) + 1))
  }

  deinit {
    for index in 0..<Self.bucketCount {
      var at = buckets[index]
      while let block = at {
        at = block.pointee.nextInBucket
        free(block)
      }
    }
    for block in graveyard + dropped { free(block) }
    buckets.deallocate()
    pageFlags.deallocate()
    coverage.deallocate()
  }

  /// A vCPU's: it is told of everything that is dropped from now on.
  func inform(_ jumpCache: UnsafeMutablePointer<JumpEntry>) { jumpCaches.append(jumpCache) }

  private func bucket(_ gpa: UInt64, _ rip: UInt64, _ context: UInt16) -> Int {
    let mixed = (gpa ^ (rip >> 12) ^ UInt64(context) << 8) &* 0x9E37_79B9_7F4A_7C15
    return Int(truncatingIfNeeded: mixed >> (64 - Self.bucketBits))
  }

  func find(gpa: UInt64, rip: UInt64, context: UInt16) -> BlockPointer? {
    var at = buckets[bucket(gpa, rip, context)]
    while let block = at {
      if block.pointee.gpa == gpa, block.pointee.rip == rip, block.pointee.context == context { return block }
      at = block.pointee.nextInBucket
    }
    return nil
  }

  func hasCode(page: UInt64) -> Bool {
    let number = page >> 12
    return number < trackedPages && pageFlags[Int(number)] != 0
  }

  /// Takes over a new block. True if a page now holds code that held none before: write permission for it
  /// must leave every TLB.
  func insert(_ block: BlockPointer) -> Bool {
    let index = bucket(block.pointee.gpa, block.pointee.rip, block.pointee.context)
    block.pointee.nextInBucket = buckets[index]
    buckets[index] = block
    blockCount += 1
    var fresh = mark(block.pointee.gpa & ~4095, block)
    if let page = block.furtherPage, mark(page, block) { fresh = true }
    let first = min(block.pointee.length, 4096 - (block.pointee.gpa & 4095))
    cover(block.pointee.gpa, first)
    if block.pointee.secondPage != Block.noPage { cover(block.pointee.secondPage, block.pointee.length - first) }
    return fresh
  }

  /// Hands every word of `coverage` that these bytes of one page touch, with their pieces in it.
  private func forEachPiece(_ gpa: UInt64, _ size: UInt64, _ body: (UnsafeMutablePointer<UInt64>, UInt64) -> Void) {
    guard gpa >> 12 < trackedPages, size > 0 else { return }
    let last = (gpa &+ size &- 1) >> 4
    var piece = gpa >> 4
    while piece <= last {
      let end = min(last, piece | 63)
      body(coverage + Int(piece >> 6), (~0 << (piece & 63)) & (~0 >> (63 - (end & 63))))
      piece = end + 1
    }
  }
  private func cover(_ gpa: UInt64, _ size: UInt64) { forEachPiece(gpa, size) { $0.pointee |= $1 } }
  /// False where no block overlaps these bytes of one page.
  private func mayOverlap(_ gpa: UInt64, _ size: UInt64) -> Bool {
    guard gpa >> 12 < trackedPages else { return true }
    var isCovered = false
    forEachPiece(gpa, size) { if $0.pointee & $1 != 0 { isCovered = true } }
    return isCovered
  }

  /// The block in whose bytes on its first page an address lies, of those of a context the one that begins nearest.
  func containing(_ gpa: UInt64, context: UInt16) -> BlockPointer? {
    (byPage[gpa & ~4095] ?? []).filter {
      $0.pointee.context == context && $0.pointee.gpa <= gpa && gpa < $0.pointee.gpa + $0.pointee.length
    }.max { $0.pointee.gpa < $1.pointee.gpa }
  }

  /// The sum of what `weight` gives for every block.
  func count(_ weight: (BlockPointer) -> Int) -> Int {
    var sum = 0
    for index in 0..<Self.bucketCount {
      var at = buckets[index]
      while let block = at {
        sum += weight(block)
        at = block.pointee.nextInBucket
      }
    }
    return sum
  }

  /// Has `block`, whose code is that of its parts now, dropped with any of them.
  func spread(_ block: BlockPointer) {
    for page in block.otherPages { _ = mark(page, block) }
  }

  private func mark(_ page: UInt64, _ block: BlockPointer) -> Bool {
    byPage[page, default: []].append(block)
    let number = page >> 12
    guard number < trackedPages, pageFlags[Int(number)] == 0 else { return false }
    pageFlags[Int(number)] = 1
    return true
  }

  /// Does any block overlap these bytes?
  func overlaps(_ gpa: UInt64, _ size: UInt64) -> Bool {
    mayOverlap(gpa, size) && (byPage[gpa & ~4095] ?? []).contains { $0.pointee.overlaps(gpa, size) }
  }

  /// Drops every block that overlaps these bytes of one page; true if there was one.
  func drop(_ gpa: UInt64, _ size: UInt64) -> Bool {
    let page = gpa & ~4095
    guard mayOverlap(gpa, size), let blocks = byPage[page] else { return false }
    let isWholePage = size == 4096
    var doomed = isWholePage ? blocks : blocks.filter { $0.pointee.overlaps(gpa, size) }
    // Host code refers to the blocks it is made of: with one of them goes all code it is part of.
    var index = 0
    while index < doomed.count {
      let part = doomed[index]
      index += 1
      let home = part.pointee.gpa & ~4095
      // A library's page has thousands of blocks, one for each address a process had it at: they are not looked at
      // again for each of them.
      if isWholePage, home == page { continue }
      for block in byPage[home] ?? [] where block.isMade(of: part) && !doomed.contains(block) { doomed.append(block) }
    }
    if isWholePage { byPage[page] = [] }
    for block in doomed { drop(block) }
    return !doomed.isEmpty
  }

  /// Drops all code of some pages, in turn, so that there is room for more blocks: few of them, so that it never takes
  /// long. True where no stamp is to be trusted after it.
  func makeRoom() -> Bool {
    let goal = Self.blockLimit - Self.blockLimit / 512
    for _ in 0..<trackedPages where blockCount > goal {
      victim = victim + 1 < trackedPages ? victim + 1 : 0
      if pageFlags[Int(victim)] != 0 { _ = drop(victim << 12, 4096) }
    }
    // The rest lies where no stores are looked for.
    guard blockCount > goal else { return isCrowded }
    dropAll()
    return true
  }

  /// Takes a block's host code away: it counts its executions again.
  func cool(_ block: BlockPointer, warmth: Int64) {
    for page in block.otherPages { unmark(page, block) }
    block.cutEdges()
    block.releaseHostCode()
    forget(block)
    block.pointee.ops.pointee.op = .warm
    block.pointee.ops.pointee.imm = warmth
  }

  private func drop(_ block: BlockPointer) {
    let index = bucket(block.pointee.gpa, block.pointee.rip, block.pointee.context)
    if buckets[index] == block {
      buckets[index] = block.pointee.nextInBucket
    } else {
      var at = buckets[index]
      while let previous = at, previous.pointee.nextInBucket != block { at = previous.pointee.nextInBucket }
      at?.pointee.nextInBucket = block.pointee.nextInBucket
    }
    unmark(block.pointee.gpa & ~4095, block)
    if let page = block.furtherPage { unmark(page, block) }
    for page in block.otherPages { unmark(page, block) }
    forget(block)
    bequeath(block)
    blockCount -= 1
  }

  /// Takes it out of all jump caches.
  private func forget(_ block: BlockPointer) {
    for jumpCache in jumpCaches {
      let index = JumpEntry.index(block.pointee.rip)
      for entry in [jumpCache + index, jumpCache + JumpEntry.apart(index)] where entry.pointee.block == block {
        entry.pointee = JumpEntry()
      }
    }
  }

  private func unmark(_ page: UInt64, _ block: BlockPointer) {
    byPage[page]?.removeAll { $0 == block }
    guard byPage[page]?.isEmpty ?? true else { return }
    byPage[page] = nil
    if page >> 12 < trackedPages { forgetPage(page >> 12) }
  }
  private func forgetPage(_ number: UInt64) {
    pageFlags[Int(number)] = 0
    (coverage + 4 * Int(number)).update(repeating: 0, count: 4)
  }

  /// Drops everything. No stamp is to be trusted after it.
  func dropAll() {
    for index in 0..<Self.bucketCount {
      var at = buckets[index]
      while let block = at {
        at = block.pointee.nextInBucket
        bequeath(block)
      }
      buckets[index] = nil
    }
    for page in byPage.keys where page >> 12 < trackedPages { forgetPage(page >> 12) }
    byPage = [:]
    blockCount = 0
  }

  private func bequeath(_ block: BlockPointer) {
    block.pointee.fallStamp = .max
    block.pointee.takenStamp = .max
    block.pointee.count = Block.unreachable
    block.cutEdges()
    dropped.append(block)
  }

  /// Call after every vCPU's generation has changed: no link leads to a dropped block any more.
  func release() {
    graveyard += dropped
    dropped.removeAll(keepingCapacity: true)
  }

  /// Frees dropped blocks, few of them where there are few, so that it never takes long, and a share of many, so that
  /// they never become more and more. Only while no loop holds a block.
  func bury() {
    guard !graveyard.isEmpty else { return }
    for _ in 0..<min(graveyard.count, max(512, graveyard.count / 8)) { free(graveyard.removeLast()) }
  }

  private func free(_ block: BlockPointer) {
    block.pointee.ops.deallocate()
    block.releaseHostCode()
    block.deallocate()
  }
}
