import VMCore
import X86

/// Traps handed to the guest, and its way back: frames, the two address spaces, and the GS bases swapped with them.
extension XenPlatform {
  /// What a bounce frame says besides the interrupted registers.
  struct Bounce {
    var handler: UInt64
    /// A 32-bit guest's code segment.
    var selector: UInt16 = 0
    var masksEvents: Bool
    var errorCode: UInt32?
  }

  // MARK: Exits that are traps

  func exception(
    _ vector: Vector, _ errorCode: UInt32?, _ linear: UInt64, _ vcpu: any VCPU
  ) -> VMEntry.Action {
    switch Exception(rawValue: vector) {
    case .ud:
      if let action = forcedInvalid(vcpu) { return action }
    case .gp:
      if let code = errorCode, code & 0xFFFF == 0, domain.isKernel, let action = emulatePrivileged(vcpu) {
        return action
      }
    case .pf:
      if let action = pageTableWrite(errorCode ?? 0, linear, vcpu) { return action }
      return pageFault(errorCode ?? 0, linear, vcpu)
    case .nm: setTaskSwitched(false, vcpu)
    case .db: domain.debugRegisters[6] |= linear & 0xE00F
    default: break
    }
    return bounce(vector, errorCode, vcpu)
  }

  /// CR2 goes by vcpu_info; to the guest its kernel is no user.
  private func pageFault(_ code: UInt32, _ linear: UInt64, _ vcpu: any VCPU) -> VMEntry.Action {
    storeWord(GPA(domain.vcpuInfo + abi.vcpuInfo.cr2), linear)
    let user = domain.isKernel ? 0 : PageFaultError.user
    return bounce(Exception.pf.rawValue, code & ~PageFaultError.user | user, vcpu)
  }

  /// INT n: through the trap table where the guest lets this ring call it, else #GP as from a gate of ring 0. Its
  /// kernel needs a handler of any ring but 0.
  func softwareInterrupt(_ vector: Vector, _ exit: VMExit, _ vcpu: any VCPU) -> VMEntry.Action {
    let handler = domain.traps[Int(vector)]
    let isTrap = vector == Exception.bp.rawValue || vector == Exception.of.rawValue
    guard isTrap || handler.address != 0 && handler.ring >= (domain.isKernel ? 1 : 3) else {
      return bounce(Exception.gp.rawValue, UInt32(vector) << 3 | 2, vcpu)
    }
    var state = vcpu.state
    state.rip = exit.rip &+ UInt64(exit.instructionLength)
    guard handTrap(vector, nil, &state) else { return .resume }
    vcpu.state = state
    return .retire(rip: state.rip)
  }

  /// SYSCALL of a program.
  func systemCall(_ exit: VMExit, _ vcpu: any VCPU) -> VMEntry.Action {
    guard domain.syscall.address != 0 else {
      return bounce(Exception.ud.rawValue, nil, vcpu)
    }
    var state = vcpu.state
    state.rip = exit.rip &+ UInt64(exit.instructionLength)
    state[.rcx] = state.rip
    state[.r11] = state.rflags
    let syscall = domain.syscall
    guard enter(Bounce(handler: syscall.address, masksEvents: syscall.masksEvents), &state) else { return .resume }
    vcpu.state = state
    return .retire(rip: state.rip)
  }

  /// Hands a fault to the guest: it starts its handler in place of the instruction.
  func bounce(_ vector: Vector, _ errorCode: UInt32?, _ vcpu: any VCPU) -> VMEntry.Action {
    var state = vcpu.state
    if handTrap(vector, errorCode, &state) { vcpu.state = state }
    return .resume
  }

  private func handTrap(_ vector: Vector, _ errorCode: UInt32?, _ state: inout VCPUState) -> Bool {
    let handler = domain.traps[Int(vector)]
    guard handler.address != 0 else {
      let name = Exception(rawValue: vector)?.mnemonic ?? "trap \(vector)"
      crash("\(name) at \(hex(state.rip)), and the guest has no handler for it")
      return false
    }
    let pushesCode = Exception(rawValue: vector)?.pushesErrorCode ?? false
    emit(.exception, a: UInt32(vector), b: errorCode.map { UInt64($0) } ?? .max, c: state.cr2)
    if vector < 32 { domain.bounceCounts[Int(vector)] &+= 1 }
    let bounce = Bounce(
      handler: handler.address, selector: handler.selector, masksEvents: handler.masksEvents,
      errorCode: pushesCode ? errorCode ?? 0 : nil)
    return enter(bounce, &state)
  }

  // MARK: Events

  /// The vector a paravirtual upcall is shown under: the one Xen gives it where a guest has an IDT.
  package static let upcallVector: Vector = 0xF3

  package func deliverInterrupt(to vcpu: any VCPU) -> Vector? {
    var state = vcpu.state
    rip = state.rip
    if abi.is32Bit { domain.isKernel = state.cpl == abi.kernelRing }
    guard domain.event.address != 0 else {
      crash("an event waits at \(hex(state.rip)), and the guest has no callback for it")
      return Self.upcallVector
    }
    domain.upcallCount &+= 1
    let bounce = Bounce(handler: domain.event.address, selector: domain.event.selector, masksEvents: true)
    if enter(bounce, &state) { vcpu.state = state }
    forgetStaleAfterUpcall(vcpu)
    return Self.upcallVector
  }

  private func forgetStaleAfterUpcall(_ vcpu: any VCPU) {
    guard tables.needsFlush else { return }
    tables.needsFlush = false
    vcpu.forgetTranslations(of: nil)
  }

  var upcallMask: UInt8 {
    get { memory.load(GPA(domain.vcpuInfo + VCPUInfo.upcallMask), as: UInt8.self) ?? 1 }
    set { memory.store(GPA(domain.vcpuInfo + VCPUInfo.upcallMask), newValue) }
  }

  // MARK: The bounce

  /// Pushes a bounce frame on the kernel's stack and goes to `handler` in kernel mode.
  func enter(_ bounce: Bounce, _ state: inout VCPUState) -> Bool {
    abi.is32Bit ? enter32(bounce, &state) : enter64(bounce, &state)
  }

  /// The frame, low to high: RCX, R11, error code, RIP, CS with the event mask in byte 4, RFLAGS, RSP, SS.
  private func enter64(_ bounce: Bounce, _ state: inout VCPUState) -> Bool {
    let mask = upcallMask
    var selector = UInt64(state[.cs].selector)
    var stack = state[.rsp]
    if domain.isKernel {
      selector &= ~3
    } else {
      selector |= 3
      stack = domain.kernelStack
    }
    var flags = state.rflags & ~(RFLAGS.interruptEnable | RFLAGS.iopl)
    if mask == 0 { flags |= RFLAGS.interruptEnable }
    var words = [state[.rcx], state[.r11]]
    if let code = bounce.errorCode { words.append(UInt64(code)) }
    words += [state.rip, selector | UInt64(mask) << 32, flags, state[.rsp], UInt64(state[.ss].selector)]
    if !domain.isKernel { toggle(&state) }
    let top = stack & ~15
    let frame = top &- UInt64(words.count * 8)
    do throws(XenError) {
      try write(frame, words.flatMap { word in withUnsafeBytes(of: word.littleEndian) { Array($0) } })
    } catch {
      crash("no stack for a trap's frame at \(hex(frame)), from \(hex(state.rip))")
      return false
    }
    state[.rsp] = frame
    state[.cs] = Segments.kernelCode(abi)
    state[.ss] = Segments.kernelData(abi)
    finishBounce(bounce, &state)
    return true
  }

  func finishBounce(_ bounce: Bounce, _ state: inout VCPUState) {
    state.rip = bounce.handler
    state.rflags &= ~(RFLAGS.tf | RFLAGS.nt | RFLAGS.rf | RFLAGS.ac | RFLAGS.vm | RFLAGS.iopl)
    state.interruptShadow = false
    if bounce.masksEvents { upcallMask = 1 }
  }

  /// Between the guest's kernel and its programs: the other L4 table, and the other GS base.
  private func toggle(_ state: inout VCPUState) {
    domain.isKernel.toggle()
    let base = state[.gs].base
    state[.gs].base = state.kernelGSBase
    state.kernelGSBase = base
    state.cr3 = root << 12
  }

  // MARK: IRET

  func iret(_ vcpu: any VCPU) -> VMEntry.Action { abi.is32Bit ? iret32(vcpu) : iret64(vcpu) }

  /// The frame at RSP: RAX, R11, RCX, flags, RIP, CS, RFLAGS, RSP, SS.
  private func iret64(_ vcpu: any VCPU) -> VMEntry.Action {
    var state = vcpu.state
    var words: [UInt64] = []
    do throws(XenError) {
      for index in 0..<9 as Range<UInt64> { words.append(try read(state[.rsp] &+ index * 8)) }
    } catch {
      crash("no IRET frame at \(hex(state[.rsp]))")
      return .resume
    }
    let (code, stack) = (UInt16(truncatingIfNeeded: words[5]) | 3, UInt16(truncatingIfNeeded: words[8]) | 3)
    let returnsToUser = words[5] & 3 == 3
    guard let cs = segment(code, isCode: true, ring: 3), let ss = segment(stack, isCode: false, ring: 3) else {
      crash("an IRET frame with CS \(hex(words[5])) and SS \(hex(words[8]))")
      return .resume
    }
    guard !returnsToUser || domain.userRoot != 0 else {
      crash("IRET to a program at \(hex(words[4])) without page tables for programs")
      return .resume
    }
    guard !cs.long || abi.isCanonical(words[4]) else {
      crash("an IRET frame with RIP \(hex(words[4]))")
      return .resume
    }
    if returnsToUser { toggle(&state) }
    state[.rax] = words[0]
    let isSyscall = words[3] & XenABI.inSyscall != 0
    state[.r11] = isSyscall ? words[6] : words[1]
    state[.rcx] = isSyscall ? words[4] : words[2]
    state.rip = cs.long ? words[4] : words[4] & 0xFFFF_FFFF
    state[.cs] = cs
    state[.ss] = ss
    state.rflags = Self.guestFlags(words[6])
    state[.rsp] = words[7]
    upcallMask = words[6] & RFLAGS.interruptEnable == 0 ? 1 : 0
    vcpu.state = state
    return .retire(rip: state.rip)
  }

  /// Flags from a frame of the guest's: the real IF is on, and IOPL, VM, VIF and VIP are nobody's.
  static func guestFlags(_ flags: UInt64) -> UInt64 {
    let kept = RFLAGS.iopl | RFLAGS.vm | RFLAGS.vif | RFLAGS.vip
    return flags & 0x3F_7FD7 & ~kept | RFLAGS.interruptEnable | RFLAGS.fixed1
  }

  /// A descriptor of the guest's GDT or LDT, or of the monitor's page of the GDT, as IRET to `ring` would load it; nil
  /// where it would fault.
  func segment(_ selector: UInt16, isCode: Bool, ring: UInt8) -> SegmentState? {
    if !isCode, selector & ~3 == 0 { return abi.is32Bit ? nil : Segments.null(selector) }
    guard let descriptor = descriptor(selector) else { return nil }
    let state = Segments.state(selector, descriptor)
    guard state.present, state.isCodeOrData, state.dpl == ring else { return nil }
    let isExecutable = state.type & 8 != 0
    guard isExecutable == isCode, isCode || state.type & 2 != 0 else { return nil }
    // Long and 32-bit code at once is reserved.
    guard !isCode || !(state.long && (state.big || abi.is32Bit)) else { return nil }
    var accessed = state
    accessed.access |= 1
    return accessed
  }

  private func descriptor(_ selector: UInt16) -> UInt64? {
    let index = Int(selector >> 3)
    let page = index / 512
    if selector & 4 != 0 {
      return page < domain.ldtFrames.count ? tables.entry(domain.ldtFrames[page], index % 512) : nil
    }
    if page == XenABI.reservedGDTPage { return tables.entry(tables.layout.reservedGDT, index % 512) }
    guard page < domain.gdtFrames.count else { return nil }
    return tables.entry(domain.gdtFrames[page], index % 512)
  }

  func hex(_ value: UInt64) -> String { String(value, radix: 16) + "h" }
}
