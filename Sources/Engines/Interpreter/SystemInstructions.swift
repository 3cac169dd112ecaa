import VMCore
import X86

/// System instructions: `MicroOp.aux` of `Op.system` and `Op.systemEnd`.
enum SystemOp: UInt16 {
  // Segment registers. `imm` is the segment's index.
  case movToSegment, movToSegmentM, movFromSegment, movFromSegmentM, pushSegment, popSegment, loadFarPointer
  // Far transfers.
  case jumpFar, jumpFarM, callFar, callFarM, returnFar, interruptReturn
  case int, int3, int1, into
  // Descriptor tables.
  case sgdt, sidt, lgdt, lidt, sldt, sldtM, str, strM, lldt, lldtM, ltr, ltrM
  case smsw, smswM, lmsw, lmswM, clts
  case lar, larM, lsl, lslM, verr, verrM, verw, verwM, arpl, arplM
  // Control and debug registers. `imm` is the register's number.
  case movToCR, movFromCR, movToDR, movFromDR
  case invlpg, invd, wbinvd
  case rdmsr, wrmsr, rdtsc, rdtscp, rdpmc, cpuid
  case hlt, pause, cli, sti, clac, stac
  case pushf, popf
  // Ports. `imm` is the port, or -1 for DX.
  case `in`, out, ins, outs
  case syscall, sysret, sysenter, sysexit, swapgs
  case rdfsbase, rdgsbase, wrfsbase, wrgsbase
  /// `dst` is 1 for the REX.W formats.
  case xgetbv, xsetbv, xsave, xrstor
  // `M`: the operand that may lie in memory does. VMREAD: `src` is the encoding; VMWRITE, INVEPT, INVVPID:
  // `dst` is the encoding or type.
  case vmxon, vmxoff, vmclear, vmptrld, vmptrst, vmread, vmreadM, vmwrite, vmwriteM, vmlaunch, vmresume, vmcall
  case invept, invvpid
  /// UD0, UD1, UD2 and what CPUID denies.
  case undefined
}

extension UnsafeMutablePointer<CPU> {
  /// Executes one system instruction. Where it exits, the monitor may answer on the spot.
  func system(_ o: MicroOpPointer) throws(Stop) {
    do throws(Stop) {
      try systemInstruction(o)
    } catch {
      guard error == .exit else { throw error }
      if let stop = pointee.owner._withUnsafeGuaranteedRef({ $0.finishPromptly(o) }) { throw stop }
    }
  }

  /// The same, and where it exits, that is all.
  func systemInstruction(_ o: MicroOpPointer) throws(Stop) {
    guard let op = SystemOp(rawValue: o.pointee.aux) else { throw raise(.ud) }
    switch op {
    case .movToSegment, .movToSegmentM, .movFromSegment, .movFromSegmentM, .pushSegment, .popSegment,
      .loadFarPointer:
      try segmentInstruction(op, o)
    case .jumpFar, .jumpFarM, .callFar, .callFarM, .returnFar, .interruptReturn, .int, .int3, .int1, .into:
      try transferInstruction(op, o)
    case .sgdt, .sidt, .lgdt, .lidt: try tableInstruction(op, o)
    case .sldt, .sldtM, .str, .strM, .lldt, .lldtM, .ltr, .ltrM: try taskRegisterInstruction(op, o)
    case .smsw, .smswM, .lmsw, .lmswM, .clts: try statusWordInstruction(op, o)
    case .lar, .larM, .lsl, .lslM, .verr, .verrM, .verw, .verwM, .arpl, .arplM: try queryInstruction(op, o)
    case .movToCR: try writeControlRegister(Int(o.pointee.imm), o)
    case .movFromCR: try readControlRegister(Int(o.pointee.imm), o)
    case .movToDR: try writeDebugRegister(Int(o.pointee.imm), o)
    case .movFromDR: try readDebugRegister(Int(o.pointee.imm), o)
    case .invlpg, .invd, .wbinvd: try cacheInstruction(op, o)
    case .rdmsr: try readMSRInstruction(o)
    case .wrmsr: try writeMSRInstruction(o)
    case .rdtsc, .rdtscp, .rdpmc: try counterInstruction(op, o)
    case .cpuid: try cpuidInstruction()
    case .hlt, .pause: try waitInstruction(op)
    case .cli, .sti, .clac, .stac, .pushf, .popf: try flagInstruction(op, o)
    case .in, .out: try portInstruction(op, o)
    case .ins, .outs: try portStringInstruction(op, o)
    case .syscall, .sysret, .sysenter, .sysexit, .swapgs: try fastCall(op, o)
    case .rdfsbase, .rdgsbase, .wrfsbase, .wrgsbase: try baseInstruction(op, o)
    case .xgetbv, .xsetbv, .xsave, .xrstor: try extendedState(op, o)
    case .vmxon, .vmxoff, .vmclear, .vmptrld, .vmptrst, .vmread, .vmreadM, .vmwrite, .vmwriteM, .vmlaunch, .vmresume,
      .vmcall, .invept, .invvpid:
      try vmxInstruction(op, o)
    case .undefined: throw raise(.ud)
    }
  }

  /// #GP(0) outside ring 0.
  func requireRing0() throws(Stop) {
    if pointee.cpl != 0 { throw raise(.gp, 0) }
  }

  /// #UD in real and virtual-8086 mode.
  func requireProtected() throws(Stop) {
    if !isProtected { throw raise(.ud) }
  }

  /// #GP(0) for the instructions UMIP hides from programs.
  func requireNoUMIP() throws(Stop) {
    if pointee.cpl > 0 && pointee.cr4 & CR4.umip != 0 { throw raise(.gp, 0) }
  }

  // MARK: Segment registers

  private func segmentInstruction(_ op: SystemOp, _ o: MicroOpPointer) throws(Stop) {
    let index = Int(o.pointee.imm)
    let size = 1 << Int(o.pointee.sizeLog2)
    switch op {
    case .movToSegment:
      try loadSegment(index, get(o.pointee.src))
      if index == 2 { shadowOfMOVSS() }
    case .movToSegmentM:
      try loadSegment(index, try load(address(o)))
      if index == 2 { shadowOfMOVSS() }
    case .movFromSegment:
      setSized(o.pointee.dst, o.pointee.sizeLog2, UInt64(pointee.segments[index].selector))
    case .movFromSegmentM: try store(address(o), pointee.segments[index].selector)
    case .pushSegment:
      var stack = currentStack()
      try pushSelector(&stack, size, pointee.segments[index].selector)
      commitStack(stack)
    case .popSegment:
      var stack = currentStack()
      // Only the selector is read, whatever the operand size.
      let selector = UInt16(truncatingIfNeeded: try pop(&stack, 2))
      release(&stack, UInt64(size - 2))
      try loadSegment(index, selector)
      // The pointer moves by the width of the old stack.
      commitStack(stack)
      if index == 2 { shadowOfMOVSS() }
    default:
      let at = address(o)
      let offset = try readLinear(at, size, privilege)
      let next = (at &+ UInt64(size)) & pointee.addressMask
      let selector = UInt16(truncatingIfNeeded: try readLinear(next, 2, privilege))
      try loadSegment(index, selector)
      setSized(o.pointee.dst, o.pointee.sizeLog2, offset)
    }
  }

  /// PUSH of a segment register moves the pointer by the operand size but, with 32 bits, writes only the
  /// selector (SDM 2B PUSH).
  private func pushSelector(_ s: inout StackCursor, _ size: Int, _ selector: UInt16) throws(Stop) {
    if size == 4 {
      var probe = s
      probe.pointer = s.pointer & ~s.mask | (s.pointer &- 2) & s.mask
      try push(&probe, 2, UInt64(selector))
      s.pointer = probe.pointer
    } else {
      try push(&s, size, UInt64(selector))
    }
  }

  /// Interrupts and debug traps wait for one instruction.
  private func shadowOfMOVSS() {
    pointee.interruptShadow = true
    pointee.shadowIsMOVSS = true
  }

  // MARK: Far transfers and software interrupts

  private func transferInstruction(_ op: SystemOp, _ o: MicroOpPointer) throws(Stop) {
    let size = 1 << Int(o.pointee.sizeLog2)
    switch op {
    case .jumpFar, .callFar:
      let selector = UInt16(truncatingIfNeeded: o.pointee.imm)
      try farTransfer(selector, UInt64(bitPattern: o.pointee.disp), size: size, call: op == .callFar)
    case .jumpFarM, .callFarM:
      let at = address(o)
      let offset = try readLinear(at, size, privilege)
      let next = (at &+ UInt64(size)) & pointee.addressMask
      let selector = UInt16(truncatingIfNeeded: try readLinear(next, 2, privilege))
      try farTransfer(selector, offset, size: size, call: op == .callFarM)
    case .returnFar: try farReturn(size: size, extra: UInt64(o.pointee.imm & 0xFFFF))
    case .interruptReturn: try interruptReturn(size: size)
    case .int: try softwareInterrupt(UInt8(truncatingIfNeeded: o.pointee.imm), .softwareInterrupt)
    case .int3: try softwareInterrupt(3, .softwareException)
    case .int1: try softwareInterrupt(1, .privilegedSoftwareException)
    default:
      if of { try softwareInterrupt(4, .softwareException) }
    }
  }

  private func softwareInterrupt(_ vector: UInt8, _ kind: InterruptKind) throws(Stop) {
    if takeAnswer() != nil { return }
    if exits(on: .softwareInterrupts) {
      let cause: VMXCause = pointee.wishes.softwareInterrupts ? .debugger : .always
      throw leave(.softwareInterrupt, .softwareInterrupt(vector: vector), cause)
    }
    if kind != .softwareInterrupt { try offerException(vector, nil, linear: 0) }
    if kind != .softwareInterrupt { try interceptException(vector, nil, kind) }
    try interrupt(vector: vector, kind: kind)
    pointee.endsStep = true
    // INT1 is a #DB itself: one that a MOV SS held back becomes part of it.
    guard kind == .privilegedSoftwareException else { return }
    pointee.dr6 |= pointee.vmx.pendingDebug & 0xF
    pointee.vmx.pendingDebug = 0
    pointee.dr7 &= ~(1 << 13)
  }

  // MARK: HLT, PAUSE, INVLPG, WBINVD, CPUID, counters

  private func waitInstruction(_ op: SystemOp) throws(Stop) {
    if op == .pause {
      try intercept(.pause, .pause)
      _ = try offer(.pause, .pause, .pause, .none)
      return
    }
    try requireRing0()
    try intercept(.hlt, .hlt)
    if try offer(.hlt, .hlt, .hlt, .hlt) { return }
    pointee.activity = .halted
  }

  private func cacheInstruction(_ op: SystemOp, _ o: MicroOpPointer) throws(Stop) {
    try requireRing0()
    switch op {
    case .invlpg:
      let linear = address(o)
      try intercept(.invlpg, .invlpg, linear)
      if try offer(.invlpg, .invlpg, .invlpg, .invlpg(GVA(linear))) { return }
      guard !isLong64 || AddressWidth.isCanonical(linear) else { return }
      flushPage(linear)
      if pointee.paging.mayHaveCode(linear) { bumpGeneration() }
    case .invd:
      try intercept(.invd, .invd)
      _ = try offer(.always, .invd, .invd, .none)
    default:
      try intercept(.wbinvd, .wbinvd)
      _ = try offer(.wbinvd, .wbinvd, .wbinvd, .none)
    }
  }

  private func cpuidInstruction() throws(Stop) {
    let leaf: UInt32 = get(0)
    let subleaf: UInt32 = get(8)
    try intercept(.cpuid, .cpuid)
    if try offer(.always, .cpuid, .cpuid, .cpuid(leaf: leaf, subleaf: subleaf)) { return }
    let result = cpuid(leaf: leaf, subleaf: subleaf)
    set(0, result.eax)
    set(24, result.ebx)
    set(8, result.ecx)
    set(16, result.edx)
  }

  /// What CPUID returns on this vCPU.
  func cpuid(leaf: UInt32, subleaf: UInt32) -> CPUIDResult {
    let owner = vcpu
    return EmbeddedCPUID.result(
      leaf: leaf, subleaf: subleaf, apicID: UInt32(truncatingIfNeeded: owner.index),
      processors: owner.engine.configuration.vcpuCount, model: owner.engine.configuration.cpu,
      osxsave: pointee.cr4 & CR4.osxsave != 0, xcr0: pointee.xcr0)
  }

  /// Virtual time in nanoseconds at an instruction; the TSC counts it.
  func virtualTime(_ o: MicroOpPointer) -> UInt64 { instructionsRetired(before: o) &+ pointee.slept }

  private func counterInstruction(_ op: SystemOp, _ o: MicroOpPointer) throws(Stop) {
    if op == .rdpmc {
      if pointee.cpl > 0 && isProtectedOrV86 && pointee.cr4 & CR4.pce == 0 { throw raise(.gp, 0) }
      try intercept(.rdpmc, .rdpmc)
      guard let answer = takeAnswer() else {
        if exits(on: .rdpmc), let cause = monitorCause(.rdpmc) { throw leave(.rdpmc, .none, cause) }
        // There are no performance counters: every index is one too many.
        throw raise(.gp, 0)
      }
      setPair(answer)
      return
    }
    if op == .rdtscp {
      if isNonRoot && !pointee.vmx.controls.has(.enableRDTSCP) { throw raise(.ud) }
      if !pointee.ownVMCS.has(.enableRDTSCP) { throw raise(.ud) }
    }
    if pointee.cpl > 0 && pointee.cr4 & CR4.tsd != 0 { throw raise(.gp, 0) }
    try intercept(op == .rdtscp ? .rdtscp : .rdtsc, op == .rdtscp ? .rdtscp : .rdtsc)
    let reason: ExitReason = op == .rdtscp ? .rdtscp : .rdtsc
    if let answer = takeAnswer() {
      setPair(answer)
    } else {
      if exits(on: .rdtsc), let cause = monitorCause(.rdtsc) { throw leave(reason, .none, cause) }
      setPair(virtualTime(o) &+ pointee.tscOffset &+ monitorTSCOffset)
    }
    if op == .rdtscp { set(8, UInt32(truncatingIfNeeded: pointee.tscAux)) }
  }

  private var isProtectedOrV86: Bool { pointee.cr0 & CR0.pe != 0 }

  /// EDX:EAX.
  func setPair(_ value: UInt64) {
    set(0, UInt32(truncatingIfNeeded: value))
    set(16, UInt32(truncatingIfNeeded: value >> 32))
  }
  /// EDX:EAX.
  var pair: UInt64 { UInt64(get(0, as: UInt32.self)) | UInt64(get(16, as: UInt32.self)) << 32 }
}
