import VMCore
import X86

/// `run`: carries out the monitor's entry, drives the loop, and turns what stops it into exits.
extension InterpreterVCPU {
  /// The loop returns at least this often to look for `kick()`.
  private static var slice: Int64 { 1 << 14 }

  /// Exceptions delivered one after the other without an instruction retiring (handlers that fault at
  /// their first instruction) count as instructions after so many: time goes on and every limit is reached.
  private static var barrenLimit: Int { 16 }

  package func run(_ entry: VMEntry, limit: UInt64) -> VMExit {
    if c.pointee.quick.contains(.preemptionTimer) { startTimer() }
    let exit = runToExit(entry, limit: limit)
    if c.pointee.timerDeadline != .max { holdTimer(at: exit) }
    c.unloadMXCSR()
    return exit
  }

  private func runToExit(_ entry: VMEntry, limit: UInt64) -> VMExit {
    let start = c.retired
    c.pointee.windowRequested = entry.interruptWindow
    if entry.nmiWindow != c.pointee.nmiWindowRequested {
      c.pointee.nmiWindowRequested = entry.nmiWindow
      c.pointee.leaveSoon = entry.nmiWindow
    }
    stopsAfterDelivery = entry.stopsAfterDelivery
    asksPromptly = mayAskPromptly
    if let exit = carryOut(entry) { return exit }
    while true {
      if cache.hasDropped { cache.bury() }
      if takeKick() { return exit(.kicked, .kicked) }
      let now = c.retired
      let used = now &- start
      guard used < limit else { return exit(.budget, .budget) }
      var left = limit - used
      if c.pointee.trapPending || c.pointee.timerDeadline != .max {
        if let exit = ownEvent { return exit }
        left = min(left, c.pointee.timerDeadline &- virtualTime)
      }
      let isMonitor = c.pointee.vmx.vmxon != VMXState.none || c.pointee.vmx.heldInterrupt != nil
      if isMonitor || c.pointee.vmx.pendingDebug != 0 {
        if isNestedEventDue {
          if let exit = takeNestedEvent() { return exit }
          standStill()
          continue
        }
        left = min(left, c.untilPreemption)
        c.pointee.leaveSoon = c.waitsForWindow || c.pointee.nmiWindowRequested
      }
      guard case .active = c.pointee.activity else { return exit(.budget, .budget) }
      let stillBefore = standstill.count
      if c.pointee.nmiWindowRequested, canTakeNMI { return exit(.nmiWindow, .interruptWindow, cause: .window) }
      if windowOpen { return exit(.interruptWindow, .interruptWindow, cause: .window) }
      if needsAlone {
        if let exit = runAlone(checkBreakpoint: true) { return exit }
      } else {
        c.pointee.budget = Int64(min(left, UInt64(Self.slice)))
        c.pointee.horizon = now &+ UInt64(bitPattern: c.pointee.budget)
        if let exit = runBlocks() { return exit }
      }
      if c.retired == now, standstill.count == stillBefore { standStill() }
    }
  }

  /// An event was delivered, or nothing happened, without an instruction retiring.
  func standStill() {
    if standstill.note(at: c.retired, limit: Self.barrenLimit) {
      c.pointee.horizon &+= 1
      standstill.at = c.retired
    }
  }

  private var windowOpen: Bool { c.pointee.windowRequested && canTakeInterrupt }

  /// Something must be looked at after each instruction.
  private var needsAlone: Bool {
    let shadow = (c.pointee.windowRequested || c.pointee.nmiWindowRequested) && c.pointee.shadowAt == c.retired
    let trap = c.pointee.quick.contains(.monitorTrap) || c.pointee.vmx.pendingDebug != 0
    return c.pointee.rflags & RFLAGS.tf != 0 || c.pointee.dr7 & 0xFF != 0 || shadow || trap || c.looksAtBoundary
  }

  // MARK: Entry

  /// Does what the monitor decided about the last exit; an exit if that led to one.
  func carryOut(_ entry: VMEntry) -> VMExit? {
    let open = afterExit
    afterExit = .nothing
    switch (open, entry.action) {
    case (.breakpoint, .resume), (.breakpoint, .emulate), (.breakpoint, .complete):
      if let event = entry.inject { return inject(event) }
      return c.pointee.activity == .active ? runAlone(checkBreakpoint: false) : nil
    case (.instruction(let length), .emulate):
      if finishHalt(length) { break }
      if c.pointee.exit.isCallout { c.pointee.calledOut = true } else { c.pointee.emulating = true }
      return runAlone(checkBreakpoint: false)
    case (.instruction(let length), .complete(let value)):
      if finishPort(value, length) { break }
      complete(value)
      return runAlone(checkBreakpoint: false)
    case (.instruction(let length), .skip):
      c.pointee.rip = (c.pointee.rip &+ UInt64(length)) & c.pointee.addressMask
      c.pointee.horizon &+= 1
      settle()
      if let exit = monitorTrap() { return exit }
    case (_, .retire(let rip)):
      c.pointee.rip = rip
      c.pointee.horizon &+= 1
      settle()
      if let exit = monitorTrap() { return exit }
    case (.delivery(let fault), .emulate), (.delivery(let fault), .complete):
      c.pointee.emulating = true
      if let exit = delivered(fault) { return exit }
    case (.injection(let event), .emulate), (.injection(let event), .complete):
      c.pointee.emulating = true
      if let exit = inject(event) { return exit }
      settle()
    case (_, .fault(let vector, let errorCode)):
      settle()
      let fault = Fault(vector: vector, hasErrorCode: errorCode != nil, errorCode: errorCode ?? 0)
      if let exit = delivered(fault) { return exit }
    default:
      settle()
    }
    return entry.inject.flatMap(inject)
  }

  func complete(_ value: UInt64) {
    if case .mmio(let gpa, _, let size, let write, _) = c.pointee.exit.words.value {
      completed.append(CompletedAccess(gpa: gpa.value, size: size, write: write, value: value))
    } else {
      c.pointee.hasAnswer = true
      c.pointee.answer = value
    }
  }

  /// Finishes an IN or OUT that was answered, where nothing else happens at its end; false where it must be
  /// executed for that.
  @inline(__always)
  private func finishPort(_ value: UInt64, _ length: UInt8) -> Bool {
    guard endsPlainly, putPort(value) else { return false }
    retire(length)
    return true
  }

  /// The same for HLT.
  @inline(__always)
  private func finishHalt(_ length: UInt8) -> Bool {
    guard c.pointee.exit.words.tag == .hlt, endsPlainly else { return false }
    retire(length)
    c.pointee.activity = .halted
    return true
  }

  /// Nothing happens at the end of the present instruction beyond what it does itself.
  @inline(__always)
  private var endsPlainly: Bool {
    c.pointee.rflags & RFLAGS.tf == 0 && c.pointee.dr7 & 0xFF == 0 && !c.isNonRoot
      && !c.pointee.quick.contains(.monitorTrap) && !c.pointee.watching && c.pointee.vmx.pendingDebug == 0
  }

  /// The instruction at RIP is over.
  @inline(__always)
  private func retire(_ length: UInt8) {
    c.pointee.rip = (c.pointee.rip &+ UInt64(length)) & c.pointee.addressMask
    c.pointee.rflags &= ~RFLAGS.rf
    c.pointee.horizon &+= 1
    settle()
  }

  /// Gives an IN what its port gave; false where the exit is not that of an IN or OUT.
  @inline(__always)
  func putPort(_ value: UInt64) -> Bool {
    guard let port = c.pointee.exit.words.port, !c.pointee.exit.words.isString else { return false }
    if port.write { return true }
    let bits = UInt64(port.size) &* 8
    c.setSized(0, UInt8(truncatingIfNeeded: port.size.trailingZeroBitCount), value & ((1 << bits) &- 1))
    return true
  }

  /// The present instruction is over: nothing allowed or answered for it counts for the next.
  @inline(__always)
  func settle() {
    c.pointee.emulating = false
    c.pointee.calledOut = false
    c.pointee.hasAnswer = false
    if !completed.isEmpty { completed.removeAll(keepingCapacity: true) }
    completedUsed = 0
  }

  func inject(_ event: InjectedEvent) -> VMExit? {
    switch event {
    case .externalInterrupt(let vector):
      if let exit = c.arrivalExit(vector: vector, isNMI: false) { return leaveNested(exit) }
    case .nmi:
      if let exit = c.arrivalExit(vector: 2, isNMI: true) { return leaveNested(exit) }
    case .exception: break
    }
    if c.pointee.activity == .halted { c.pointee.activity = .active }
    do throws(Stop) {
      switch event {
      case .externalInterrupt(let vector): try c.interrupt(vector: vector, errorCode: nil, kind: .external)
      case .nmi: try c.interrupt(vector: 2, errorCode: nil, kind: .nmi)
      case .exception(let vector, let errorCode):
        return deliver(Fault(vector: vector, hasErrorCode: errorCode != nil, errorCode: errorCode ?? 0))
      }
    } catch {
      guard error == .exit, c.pointee.exit.words.tag == .taskSwitch else { return stopped(error) }
      let result = exit(.taskSwitch, c.pointee.exit.words, cause: c.pointee.exit.cause)
      afterExit = .injection(event)
      return result
    }
    noteTrap()
    return nil
  }

  // MARK: Execution

  @inline(__always)
  private func runBlocks() -> VMExit? {
    let end: LoopEnd
    let start = c.pointee.budget
    do throws(Stop) {
      let block = try lookup()
      c.pointee.budget &-= block.pointee.count
      if c.pointee.budget < 0 {
        c.pointee.budget &+= block.pointee.count
        return runAlone(checkBreakpoint: true)
      }
      end = block.pointee.ops.pointee.op == .host ? .host(block) : goOnBehindAccesses(c.execute(block, at: block.pointee.ops))
    } catch {
      c.pointee.stopLength = 0
      c.pointee.stopOnStack = false
      return stopped(error)
    }
    let between = c.pointee.budget
    let last = engine.rewriter == nil ? end : rewritten(end)
    engine.interpreted &+= UInt64(bitPattern: start &- between)
    engine.cached &+= UInt64(bitPattern: between &- c.pointee.budget)
    switch last {
    case .stop(let stop): return stopped(stop)
    default: return nil
    }
  }

  /// Runs the instruction at RIP by itself, then looks at single-step traps and watches.
  private func runAlone(checkBreakpoint: Bool) -> VMExit? {
    if checkBreakpoint, atBreakpoint { return breakpointExit() }
    if let exit = guestInstructionBreakpoint() { return exit.exit }
    let base = c.retired
    c.pointee.budget = 1
    c.pointee.horizon = base &+ 1
    let wasNonRoot = c.isNonRoot
    let trapFlag = c.pointee.rflags & RFLAGS.tf != 0
    let resumeFlag = c.pointee.rflags & RFLAGS.rf
    let rip = c.pointee.rip
    c.pointee.alone = true
    watchHit = nil
    guestWatchHit = 0
    completedUsed = 0
    c.pointee.endsStep = false
    var stop: Stop?
    var next = rip
    // What the monitor carries out is no instruction of the guest's: the trap flag waits for the next.
    let isMonitors = c.pointee.emulating || c.pointee.hasAnswer || !completed.isEmpty
    let stamp = c.pointee.stamp
    c.pointee.stamp |= UInt64(Context.aloneBit)
    do throws(Stop) {
      let block = try lookup()
      next = rip &+ block.pointee.length
      c.pointee.budget = 0
      if case .stop(let why) = c.execute(block, at: block.pointee.ops) { stop = why }
    } catch {
      stop = error
      c.pointee.stopLength = 0
      c.pointee.stopOnStack = false
    }
    // Most instructions leave the context as it was.
    if c.pointee.stamp == stamp | UInt64(Context.aloneBit) { c.pointee.stamp = stamp } else { c.updateContext() }
    c.pointee.alone = false
    if let stop {
      if let exit = stopped(stop) { return exit }
      // The monitor trap flag counts a fault's delivery as an instruction.
      guard stop == .fault else { return nil }
      return wasNonRoot ? monitorTrap() : nil
    }
    if c.pointee.interruptShadow { c.noteShadow() }
    settle()
    // RF lasts one instruction; IRET may have set it for the next.
    c.pointee.rflags &= ~resumeFlag
    var debug = guestWatchHit
    // A MOV SS or POP SS puts data traps off by one instruction, and its own single step goes; VM entry drops both.
    let isShadowed = c.pointee.shadowAt == c.retired && c.pointee.shadowIsMOVSS
    if wasNonRoot == c.isNonRoot {
      if isShadowed {
        if debug != 0 { c.pointee.vmx.pendingDebug |= debug | 1 << 12 }
        debug = 0
      } else {
        debug |= c.pointee.vmx.pendingDebug & 0xF
        c.pointee.vmx.pendingDebug = 0
        let isStep = c.pointee.debugControl & DebugControl.btf == 0 || c.pointee.rip != next & c.pointee.addressMask
        if trapFlag && isStep && !c.pointee.endsStep { debug |= 1 << 14 }
      }
    }
    let hit = watchHit
    if !isMonitors { noteTrap() }
    if wasNonRoot, c.isNonRoot, c.pointee.vmx.controls.has(.monitorTrapFlag) { return monitorTrap(pending: debug) }
    if debug != 0, c.pointee.trapPending {
      // The exit comes first; the trap waits in the VMCS (SDM 3C 26.5.2).
      c.pointee.vmx.pendingDebug = debug
    } else if debug != 0, let exit = deliver(Fault(vector: Exception.db.rawValue, linear: debug)) { return exit }
    if let hit { return exit(.debug, .debug(hit), rip: rip) }
    return nil
  }

  private var linearRIP: UInt64 {
    if c.isLong64 { return c.pointee.rip }
    return (c.pointee.segments[1].base &+ c.pointee.rip) & 0xFFFF_FFFF
  }

  private var atBreakpoint: Bool { !traps.execution.isEmpty && traps.execution.contains(linearRIP) }

  private func breakpointExit() -> VMExit {
    let result = exit(.debug, .debug(.execution(GVA(linearRIP))))
    afterExit = .breakpoint
    return result
  }

  /// #DB for DR0..DR3 set on the instruction at RIP (SDM 3B 18.3.1.1), unless RF is set or the instruction before was
  /// MOV or POP SS (SDM 3A 6.8.3).
  private func guestInstructionBreakpoint() -> (exit: VMExit?, hit: Bool)? {
    guard c.pointee.dr7 & 0xFF != 0, c.pointee.rflags & RFLAGS.rf == 0 else { return nil }
    if c.pointee.shadowAt == c.retired && c.pointee.shadowIsMOVSS { return nil }
    var bits: UInt64 = 0
    for i in 0..<4 {
      let enabled = c.pointee.dr7 >> UInt64(i * 2) & 3 != 0
      let kind = c.pointee.dr7 >> UInt64(16 + i * 4) & 0xF
      if enabled && kind == 0 && c.pointee.dr[i] == linearRIP { bits |= 1 << UInt64(i) }
    }
    guard bits != 0 else { return nil }
    return (deliver(Fault(vector: Exception.db.rawValue, linear: bits)), true)
  }

  /// The block at RIP: known, or built now.
  private func lookup() throws(Stop) -> BlockPointer {
    let rip = c.pointee.rip
    let slot = jumpCache(rip)
    if slot.pointee.rip == rip, slot.pointee.stamp == c.pointee.stamp, let block = slot.pointee.block { return block }
    let long = c.isLong64
    let cs = c.pointee.segments[1]
    if !long && rip > UInt64(cs.limit) { throw c.raise(.gp, 0) }
    let linear = long ? rip : (cs.base &+ rip) & 0xFFFF_FFFF
    let gpa = try c.fetchAddress(linear)
    let context = c.context
    if let block = engine.cache.find(gpa: gpa, rip: rip, context: context.bits), try stillWhole(block, linear) {
      slot.pointee = JumpEntry(stamp: c.pointee.stamp, block)
      return block
    }
    // Whatever computes with floating point from here on (a dictionary that grows does) is no instruction of the guest's.
    c.unloadMXCSR()
    let room = long ? UInt64.max : UInt64(cs.limit) &- rip &+ 1
    let block = try engine.builder.build(
      context: context, rip: rip, gpa: gpa, room: room, memory: memory,
      breakpoints: { [traps] at in
        traps.execution.contains(long ? at : (cs.base &+ at) & 0xFFFF_FFFF)
      },
      secondPage: { () throws(Stop) -> UInt64 in
        try self.c.translateFetch(((linear & ~4095) &+ 4096) & self.c.pointee.addressMask)
      },
      raise: { self.c.raise($0, $1) })
    engine.adopt(block)
    slot.pointee = JumpEntry(stamp: c.pointee.stamp, block)
    return block
  }

  /// Where the block at `rip` is remembered.
  private func jumpCache(_ rip: UInt64) -> UnsafeMutablePointer<JumpEntry> {
    let index = JumpEntry.index(rip)
    let isAlone = c.pointee.stamp & UInt64(Context.aloneBit) != 0
    return c.pointee.jumpCache + (isAlone ? JumpEntry.apart(index) : index)
  }

  /// Does a block that reaches into a second page still find the same one there, and lie in CS's limit?
  private func stillWhole(_ block: BlockPointer, _ linear: UInt64) throws(Stop) -> Bool {
    if !c.isLong64, block.pointee.rip &+ block.pointee.length &- 1 > UInt64(c.pointee.segments[1].limit) {
      engine.dropCode(at: block.pointee.gpa)
      return false
    }
    if !c.isLong64, !block.partsLie(within: UInt64(c.pointee.segments[1].limit)) {
      engine.dropCode(at: block.pointee.gpa)
      return false
    }
    guard block.pointee.secondPage != Block.noPage else { return true }
    let page = try c.translateFetch(((linear & ~4095) &+ 4096) & c.pointee.addressMask)
    if page == block.pointee.secondPage { return true }
    engine.dropCode(at: block.pointee.gpa)
    return false
  }

  // MARK: Stops

  /// Answers a given-up instruction: delivers its fault, runs it alone, or exits.
  func stopped(_ stop: Stop) -> VMExit? {
    switch stop {
    case .fault:
      if let prompt = promptAnswer { return finish(prompt) }
      return delivered(presentFault)
    case .alone:
      return runAlone(checkBreakpoint: false)
    case .exit:
      return exitOfInstruction()
    case .vmExit:
      return leaveNested() ?? (stopsAfterDelivery ? exit(.debug, .debug(.step)) : nil)
    }
  }

  /// Delivers an exception, and exits behind that where somebody steps.
  private func delivered(_ fault: Fault) -> VMExit? {
    deliver(fault) ?? (stopsAfterDelivery ? exit(.debug, .debug(.step)) : nil)
  }

  /// Delivers an exception through the guest's tables; an exit if the monitor wants to see it first, or
  /// the guest shut down.
  func deliver(_ fault: Fault) -> VMExit? {
    completedUsed = 0
    do throws(Stop) {
      try c.deliver(fault)
    } catch {
      guard error == .exit else { return stopped(error) }
      if isOfDelivery(c.pointee.exit.words.tag) {
        let result = exit(c.pointee.exit.reason, c.pointee.exit.words, cause: c.pointee.exit.cause)
        afterExit = .delivery(fault)
        return answered(result)
      }
      return exitOfInstruction()
    }
    settle()
    standStill()
    noteTrap()
    return nil
  }

  /// The exception of the instruction just given up.
  var presentFault: Fault {
    var fault = c.pointee.fault
    if fault.nonCanonical && c.pointee.stopOnStack { fault.vector = Exception.ss.rawValue }
    return fault
  }

  /// The exit is that of an event on its way to the guest, not of the instruction at RIP.
  private func isOfDelivery(_ tag: QualificationTag) -> Bool { tag == .exception || tag == .taskSwitch }

  @inline(__always)
  private func exitOfInstruction() -> VMExit? {
    if let prompt = promptAnswer { return finish(prompt) }
    var pending = c.pointee.exit
    let length = c.pointee.stopLength
    if pending.words.tag == .unknownInstruction {
      pending.words = QualificationWords(.unknownInstruction(bytes: bytesAtRIP(), length: length))
      c.unloadMXCSR()
      events.emit(Event(.unknownInstruction, vcpu: UInt8(index), rip: c.pointee.rip, b: bytesAtRIP()))
    }
    if case .tripleFault = pending.reason {
      if c.isNonRoot {
        _ = c.vmExit(VMXExit(reason: .tripleFault))
        return leaveNested()
      }
      c.pointee.activity = .shutdown
    }
    var result = exit(pending.reason, pending.words, length: length, cause: pending.cause)
    result.isDirect = pending.isDirect
    switch pending.words.tag {
    case .debug: afterExit = .breakpoint
    case .tripleFault, .kicked: afterExit = .nothing
    default: afterExit = .instruction(length: length)
    }
    return answered(result)
  }

  private func bytesAtRIP() -> UInt64 {
    codeBytes(8).enumerated().reduce(0) { $0 | UInt64($1.element) << UInt64($1.offset * 8) }
  }

  /// At most `count` bytes of code from RIP on, fewer where nothing is mapped.
  func codeBytes(_ count: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    for i in 0..<count {
      guard let gpa = c.translateQuietly(linearRIP &+ UInt64(i)) else { break }
      bytes.append(memory.load(GPA(gpa), as: UInt8.self) ?? 0)
    }
    return bytes
  }

  @inline(__always)
  func exit(
    _ reason: ExitReason, _ qualification: ExitQualification, length: UInt8 = 0, rip: UInt64? = nil,
    cause: VMXCause? = nil
  ) -> VMExit {
    exit(reason, QualificationWords(qualification), length: length, rip: rip, cause: cause)
  }

  func exit(
    _ reason: ExitReason, _ words: QualificationWords, length: UInt8 = 0, rip: UInt64? = nil, cause: VMXCause?
  ) -> VMExit {
    exitCause = cause
    return VMExit(
      vcpu: UInt8(truncatingIfNeeded: index), reason: reason, words: words,
      rip: rip ?? c.pointee.rip, instructionLength: length, instructionCount: c.retired)
  }
}

extension UnsafeMutablePointer<CPU> {
  /// The micro-op before a breakpoint's instruction: always stops; the driver runs the instruction alone
  /// when it goes on.
  func stopBeforeInstruction(_ block: BlockPointer) throws(Stop) {
    let cs = pointee.segments[1]
    let linear = isLong64 ? block.pointee.rip : (cs.base &+ block.pointee.rip) & 0xFFFF_FFFF
    throw leave(.debug, .debug(.execution(GVA(linear))))
  }
}
