import CHost
import VMCore
import X86

/// The embedded software processor: decodes guest code once into micro-ops and interprets them.
package final class InterpreterEngine: Engine {
  package let name: String
  package let memory: GuestMemory
  let events: EventSink
  let configuration: EngineConfiguration
  let cache: BlockCache
  /// Each vCPU counts its generations by steps so wide, from its own number on: links and host code are everybody's,
  /// and a stamp says whose mappings they were made under. A power of two.
  let generationStep: UInt64
  var builder: BlockBuilder
  let sites = SensitiveSites()
  /// Makes host code of warm blocks; nil where everything is interpreted.
  let rewriter: Rewriter?
  private(set) var processors: [InterpreterVCPU] = []
  /// Instructions executed by the interpreter's loop and in host code, for `RewritingTotals`.
  var interpreted: UInt64 = 0
  var cached: UInt64 = 0
  private(set) var invalidations: UInt64 = 0
  var tally = RewritingTally()

  package convenience init(
    memory: GuestMemory, events: EventSink, configuration: EngineConfiguration
  ) throws(VMError) {
    try self.init(memory: memory, events: events, configuration: configuration, rewriter: nil)
  }

  init(memory: GuestMemory, events: EventSink, configuration: EngineConfiguration, rewriter: Rewriter?) throws(VMError) {
    try configuration.cpu.requireHost()
    chost_float_begin()
    name = rewriter == nil ? "interpreter" : "rewriter"
    self.rewriter = rewriter
    let features = configuration.cpu.features
    let forms = features.isDisjoint(with: .vector) ? nil : try HostForms()
    builder = BlockBuilder(
      features: features, forms: forms, warmth: rewriter == nil ? 0 : Int64(configuration.warmth), sites: sites)
    self.memory = memory
    self.events = events
    self.configuration = configuration
    var step: UInt64 = 1
    while step < UInt64(max(configuration.vcpuCount, 1)) { step <<= 1 }
    generationStep = step
    cache = BlockCache(memory: memory)
    processors = (0..<max(configuration.vcpuCount, 1)).map { InterpreterVCPU(index: $0, engine: self) }
    admitMemory()
    memory.onExternalWrite = { [weak self] address, size in self?.externalWrite(address.value, size) }
    memory.onLayoutChange = { [weak self] in
      guard let self else { return }
      admitMemory()
      for processor in processors { processor.refreshMaps() }
      flushEverything()
    }
  }

  /// Lets guarded code reach the guest's memory.
  private func admitMemory() {
    guard let hostGuard = rewriter?.hostGuard else { return }
    for slot in memory.slots { hostGuard.admit(slot.host, size: Int(slot.size)) }
  }

  package var capabilities: EngineCapabilities {
    [
      .instructionBudget, .deterministic, .singleStep, .unlimitedBreakpoints, .memoryWatch, .exceptionExits,
      .multipleVCPUs, .instructionExits,
    ]
  }
  package var vcpus: [any VCPU] { processors }

  /// Every instruction is decoded by Zydis, also those that have a shorter way to the same micro-ops: for comparing the
  /// two ways. Only before the first instruction.
  package var decodesAtLength: Bool {
    get { !builder.hasQuickWay }
    set { builder.hasQuickWay = !newValue }
  }

  /// True where a store to this guest-physical page must look for decoded code.
  func hasCode(page: UInt64) -> Bool { cache.hasCode(page: page) }

  /// True where these bytes are decoded code (perhaps of the block now executing).
  func overlapsCode(_ gpa: UInt64, _ size: Int) -> Bool { cache.overlaps(gpa, UInt64(size)) }

  /// Drops decoded code that overlaps the bytes about to be stored (on one page).
  func invalidateCode(_ gpa: UInt64, _ size: Int) {
    guard cache.hasCode(page: gpa & ~4095), cache.drop(gpa, UInt64(size)) else { return }
    events.emit(Event(.codeInvalidated, b: gpa & ~4095))
    invalidations += 1
    if cache.isCrowded { bumpGenerations() }
  }

  /// Nothing found by address up to now is trusted unseen by any vCPU.
  func bumpGenerations() {
    for processor in processors { processor.c.bumpGeneration() }
    cache.release()
  }

  /// Drops decoded code that can no longer be what lies at this guest-physical address.
  func dropCode(at gpa: UInt64) {
    if cache.drop(gpa, 1), cache.isCrowded { bumpGenerations() }
  }

  private func externalWrite(_ gpa: UInt64, _ size: UInt64) {
    var page = gpa & ~4095
    while page < gpa &+ size {
      let from = max(page, gpa)
      let to = min(page &+ 4096, gpa &+ size)
      if cache.hasCode(page: page), cache.drop(from, to - from) {
        invalidations += 1
        if cache.isCrowded { bumpGenerations() }
      }
      page &+= 4096
    }
  }

  /// Decodes by `policy` from now on.
  func obey(_ policy: RewritingPolicy) {
    let new = policy.isEmpty ? nil : policy
    guard builder.policy != new else { return }
    builder.policy = new
    flushEverything()
  }

  /// Drops all decoded code and every cached translation.
  func flushEverything() {
    cache.dropAll()
    for processor in processors { processor.flushTLB() }
    bumpGenerations()
  }

  /// Makes sure that no link or jump cache entry made up to now is trusted again.
  func forgetStamps() {
    cache.dropAll()
    for processor in processors { processor.clearJumpCache() }
  }

  /// Takes over a block just built for `builder`; stores to its pages come by the slow path from now on.
  func adopt(_ block: BlockPointer) {
    if cache.blockCount >= BlockCache.blockLimit, cache.makeRoom() { bumpGenerations() }
    guard cache.insert(block) else { return }
    for processor in processors {
      processor.forbidWrites(page: block.pointee.gpa & ~4095)
      if block.pointee.secondPage != Block.noPage { processor.forbidWrites(page: block.pointee.secondPage) }
    }
  }
}
