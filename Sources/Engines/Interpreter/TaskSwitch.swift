import VMCore
import X86

/// What starts a task switch (SDM 3A 7.3); the raw value is the VMX exit's source code.
enum TaskSwitchSource: UInt8 {
  case call = 0, interruptReturn = 1, jump = 2, interrupt = 3

  /// The old task stays busy and is linked to.
  var nests: Bool { self == .call || self == .interrupt }
}

/// Field offsets of a 32-bit and a 16-bit TSS (SDM 3A 7.2.1, 7.6).
private struct TSSLayout {
  let wide: Bool
  init(access: UInt32) { wide = access & 8 != 0 }

  var minimumLimit: UInt32 { wide ? 0x67 : 0x2B }
  var width: Int { wide ? 4 : 2 }
  var cr3: UInt64 { 28 }
  var rip: UInt64 { wide ? 32 : 14 }
  var flags: UInt64 { wide ? 36 : 16 }
  func gpr(_ index: Int) -> UInt64 { wide ? 40 + 4 * UInt64(index) : 18 + 2 * UInt64(index) }
  /// ES CS SS DS, and with 32 bits FS GS.
  func segment(_ index: Int) -> UInt64 { wide ? 72 + 4 * UInt64(index) : 34 + 2 * UInt64(index) }
  var segmentCount: Int { wide ? 6 : 4 }
  var ldt: UInt64 { wide ? 96 : 42 }
  var trap: UInt64 { 100 }
}

/// What a task switch takes from the new TSS.
private struct TaskImage {
  var cr3: UInt64 = 0
  var rip: UInt64 = 0
  var flags: UInt64 = 0
  var gpr = InlineArray<8, UInt64>(repeating: 0)
  var segments = InlineArray<6, UInt16>(repeating: 0)
  var ldt: UInt16 = 0
  var trap = false
}

extension UnsafeMutablePointer<CPU> {
  /// Switches to the task of a TSS selector. Everything that can be checked is checked before the first
  /// change; what fails afterwards belongs to the new task, so it is delivered there: from an interrupt it
  /// is thrown, for `deliver` to combine; from an instruction it is delivered here.
  func switchTask(_ selector: UInt16, _ source: TaskSwitchSource, errorCode: UInt32? = nil) throws(Stop) {
    // What is wrong with the new task faults before the monitor is asked (SDM 3C 26.4.2).
    if isNonRoot || exits(on: .always) { _ = try newTask(selector, source) }
    try intercept(.taskSwitch, .taskSwitch, VMXFormat.taskSwitch(selector: selector, source: source.rawValue))
    if exits(on: .always) {
      throw leave(.taskSwitch, .taskSwitch(selector: selector, source: source.rawValue), .always)
    }
    // Once committed it cannot be tried again, so nothing may ask for that half-way.
    guard pointee.alone else { throw .alone }
    let (d, state) = try newTask(selector, source)
    let layout = TSSLayout(access: state.access)
    let image = try readTask(state.base, layout)
    try saveTask(source)
    try linkTask(d, state, source)
    loadRegisters(image, layout, state, source)
    do throws(Stop) {
      try loadTaskSegments(image)
      try finishTask(image, layout, errorCode)
    } catch {
      guard error == .fault, source != .interrupt else { throw error }
      try deliver(pointee.fault)
    }
  }

  /// Checks of the new TSS descriptor (SDM 3A table 7-1).
  private func newTask(_ selector: UInt16, _ source: TaskSwitchSource) throws(Stop) -> (Descriptor, SegmentState) {
    let returning = source == .interruptReturn
    let exception: Exception = returning ? .ts : .gp
    guard !isNull(selector), selector & 4 == 0 else { throw raise(exception, UInt32(selector & 0xFFFC)) }
    let d = try readDescriptor(selector, exception)
    let kind = d.type & ~SystemType.busy
    let busy = d.type & SystemType.busy != 0
    guard !d.isCodeOrData, kind == SystemType.tss16 || kind == SystemType.tss32, busy == returning else {
      throw raise(exception, d.errorCode)
    }
    guard d.present else { throw raise(.np, d.errorCode) }
    let state = d.state(rpl: rpl(selector))
    guard state.limit >= TSSLayout(access: state.access).minimumLimit else { throw raise(.ts, d.errorCode) }
    return (d, state)
  }

  private func readTask(_ base: UInt64, _ layout: TSSLayout) throws(Stop) -> TaskImage {
    var image = TaskImage()
    let width = layout.width
    if layout.wide {
      image.cr3 = try systemLoad(base &+ layout.cr3, 4)
      image.trap = try systemLoad(base &+ layout.trap, 1) & 1 != 0
    }
    image.rip = try systemLoad(base &+ layout.rip, width)
    image.flags = try systemLoad(base &+ layout.flags, width)
    for i in 0..<8 { image.gpr[i] = try systemLoad(base &+ layout.gpr(i), width) }
    for i in 0..<layout.segmentCount {
      image.segments[i] = UInt16(truncatingIfNeeded: try systemLoad(base &+ layout.segment(i), 2))
    }
    image.ldt = UInt16(truncatingIfNeeded: try systemLoad(base &+ layout.ldt, 2))
    return image
  }

  /// Writes the outgoing task's registers into its TSS.
  private func saveTask(_ source: TaskSwitchSource) throws(Stop) {
    let tr = pointee.segments[7]
    let layout = TSSLayout(access: tr.access)
    let width = layout.width
    try systemProbe(tr.base, 1)
    try systemProbe(tr.base &+ UInt64(layout.minimumLimit), 1)
    var flags = materializeFlags()
    if source == .interruptReturn { flags &= ~RFLAGS.nt }
    try systemStore(tr.base &+ layout.rip, width, pointee.rip)
    try systemStore(tr.base &+ layout.flags, width, flags)
    for i in 0..<8 { try systemStore(tr.base &+ layout.gpr(i), width, self[slot: i]) }
    for i in 0..<layout.segmentCount {
      try systemStore(tr.base &+ layout.segment(i), 2, UInt64(pointee.segments[i].selector))
    }
  }

  /// Busy bits and the back link.
  private func linkTask(_ d: Descriptor, _ state: SegmentState, _ source: TaskSwitchSource) throws(Stop) {
    let tr = pointee.segments[7]
    if !source.nests, let old = descriptorAddress(tr.selector & ~7) {
      let type = try systemLoad(old &+ 5, 1)
      try systemStore(old &+ 5, 1, type & ~UInt64(SystemType.busy))
    }
    if source.nests { try systemStore(state.base, 2, UInt64(tr.selector)) }
    if source != .interruptReturn {
      let type = try systemLoad(d.address &+ 5, 1)
      try systemStore(d.address &+ 5, 1, type | UInt64(SystemType.busy))
    }
  }

  /// From here on the new task runs, with selectors loaded but nothing behind them yet.
  private func loadRegisters(
    _ image: TaskImage, _ layout: TSSLayout, _ state: SegmentState, _ source: TaskSwitchSource
  ) {
    var tr = state
    tr.access |= UInt32(SystemType.busy)
    setSegment(7, tr)
    pointee.cr0 |= CR0.ts
    // Local breakpoints end with their task (SDM 3B 17.2.4).
    pointee.dr7 &= ~0x155
    if layout.wide && pointee.cr0 & CR0.pg != 0 {
      pointee.cr3 = image.cr3
      if pointee.cr4 & CR4.pae != 0 { _ = try? loadPDPTEs(from: image.cr3) }
      flushTLB(keepGlobal: true)
    }
    bumpGeneration()
    pointee.rip = image.rip
    materializeFlags()
    writeFlags(source.nests ? image.flags | RFLAGS.nt : image.flags)
    for i in 0..<8 {
      self[slot: i] = layout.wide ? image.gpr[i] : self[slot: i] & 0xFFFF_0000 | image.gpr[i]
    }
    setSegment(6, nullSegment(image.ldt))
    for i in 0..<6 { setSegment(i, nullSegment(image.segments[i])) }
    pointee.cpl = pointee.rflags & RFLAGS.vm != 0 ? 3 : rpl(image.segments[1])
    updateContext()
  }

  /// Descriptors of the new task; faults are the new task's own (#TS, #NP, #SS).
  private func loadTaskSegments(_ image: TaskImage) throws(Stop) {
    setSegment(6, try ldtSegment(image.ldt, .ts))
    if pointee.rflags & RFLAGS.vm != 0 {
      for i in 0..<6 { loadRealSegment(i, image.segments[i]) }
      return
    }
    let selector = image.segments[1]
    let cpl = rpl(selector)
    guard !isNull(selector) else { throw raise(.ts, UInt32(selector & 0xFFFC)) }
    var code = try readDescriptor(selector, .ts)
    let level = code.isConforming ? code.dpl <= cpl : code.dpl == cpl
    guard code.isCode, level else { throw raise(.ts, code.errorCode) }
    guard code.present else { throw raise(.np, code.errorCode) }
    try markAccessed(&code)
    setSegment(1, code.state(rpl: cpl))
    updateContext()
    setSegment(2, try stackSegment(image.segments[2], cpl: cpl, .ts, .ss))
    for i in [0, 3, 4, 5] { setSegment(i, try dataSegment(image.segments[i], cpl: cpl, .ts)) }
    updateContext()
  }

  /// The error code goes onto the new stack; the debug trap of the T bit comes last.
  private func finishTask(_ image: TaskImage, _ layout: TSSLayout, _ errorCode: UInt32?) throws(Stop) {
    if let errorCode {
      var stack = currentStack()
      try push(&stack, layout.width, UInt64(errorCode))
      commitStack(stack)
    }
    guard pointee.rip <= UInt64(pointee.segments[1].limit) else { throw raise(.gp, 0) }
    if image.trap { throw raise(.db, linear: 1 << 15) }
  }
}
