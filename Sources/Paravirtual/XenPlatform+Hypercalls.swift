import VMCore
import X86

/// Up to five arguments. 64 bits: RDI, RSI, RDX, R10, R8; 32 bits: EBX, ECX, EDX, ESI, EDI (no call has a sixth, which
/// EBP would hold).
struct HypercallArguments {
  var values: (UInt64, UInt64, UInt64, UInt64, UInt64)
  var first: UInt64 { values.0 }
  var second: UInt64 { values.1 }
  var third: UInt64 { values.2 }
  var fourth: UInt64 { values.3 }

  init(_ vcpu: __shared any VCPU, _ abi: GuestABI) {
    if !abi.is32Bit, let r = vcpu.generalRegisters {
      values = (r[7], r[6], r[2], r[10], r[8])
      return
    }
    guard abi.is32Bit else {
      values = (vcpu.gpr(.rdi), vcpu.gpr(.rsi), vcpu.gpr(.rdx), vcpu.gpr(.r10), vcpu.gpr(.r8))
      return
    }
    func half(_ register: GPR) -> UInt64 { vcpu.gpr(register) & 0xFFFF_FFFF }
    values = (half(.rbx), half(.rcx), half(.rdx), half(.rsi), half(.rdi))
  }

  init(_ words: [UInt64]) {
    func word(_ index: Int) -> UInt64 { index < words.count ? words[index] : 0 }
    values = (word(0), word(1), word(2), word(3), word(4))
  }

  /// As a 64-bit guest gives them: a number that takes two arguments of a 32-bit guest, low half first, is one.
  func joined(for number: UInt64, _ abi: GuestABI) -> HypercallArguments {
    guard abi.is32Bit else { return self }
    switch HypercallNumber(rawValue: number) {
    case .updateVAMapping: return HypercallArguments([first, second | third << 32, fourth])
    case .updateDescriptor: return HypercallArguments([first | second << 32, third | fourth << 32])
    case .setTimerOp: return HypercallArguments([first | second << 32])
    default: return self
    }
  }
}

/// Hypercalls: SYSCALL from a 64-bit guest's kernel, INT 82h from a 32-bit one's; number and result in RAX (EAX).
extension XenPlatform {
  /// What an exit asks for, for breakpoints and names; nil where it is no hypercall.
  package func hypercallCode(of exit: VMExit, on vcpu: any VCPU) -> UInt32? {
    if let number = exit.words.hypercall {
      guard exit.reason == .syscall, !abi.is32Bit, domain.isKernel else { return nil }
      return Self.code(number, vcpu.gpr(.rdi))
    }
    guard exit.words.tag == .softwareInterrupt, exit.qualification == .softwareInterrupt(vector: XenABI.hypercallVector),
      abi.is32Bit, ring(of: vcpu) == abi.kernelRing
    else { return nil }
    return Self.code(vcpu.gpr(.rax) & 0xFFFF_FFFF, vcpu.gpr(.rbx) & 0xFFFF_FFFF)
  }

  /// Its arguments as the ABI's tables have them; none where it is no hypercall.
  package func hypercallArguments(of exit: VMExit, on vcpu: any VCPU) -> [UInt64] {
    guard hypercallCode(of: exit, on: vcpu) != nil else { return [] }
    let values = HypercallArguments(vcpu, abi).joined(for: vcpu.gpr(.rax) & 0xFFFF_FFFF, abi).values
    return [values.0, values.1, values.2, values.3, values.4]
  }

  /// What is done about an exit: told before it is done, as far as it can be. An instruction of those that are emulated
  /// may still turn out to ask for what the guest has not, and be bounced.
  package enum Service: Sendable { case hypercall, bounce, emulation }

  package func service(of exit: VMExit, on vcpu: any VCPU) -> Service? {
    if hypercallCode(of: exit, on: vcpu) != nil { return .hypercall }
    rip = exit.rip
    noteRing(of: vcpu)
    switch exit.qualification {
    case .hypercall, .softwareInterrupt: return .bounce
    case .exception(let vector, let code, let linear):
      return isEmulated(vector, code ?? 0, linear, vcpu) ? .emulation : .bounce
    case .cpuid: return .emulation
    default: return nil
    }
  }

  func hypercall(_ number: UInt64, _ exit: VMExit, _ vcpu: any VCPU) -> VMEntry.Action {
    var arguments = HypercallArguments(vcpu, abi)
    if abi.is32Bit { arguments = arguments.joined(for: number, abi) }
    domain.hypercallCount &+= 1
    let next = exit.rip &+ UInt64(exit.instructionLength)
    if number == HypercallNumber.iret.rawValue {
      note(number, arguments, 0)
      return iret(vcpu)
    }
    work.begin(tables.costs)
    // A multicall may change the address space its own return address is in; RIP stays.
    let result = perform(number, arguments, vcpu)
    if let rest = work.takeRest() { return makeAgain(rest, vcpu) }
    note(number, arguments, result)
    guard !abi.is32Bit else {
      vcpu.setGPR(.rax, UInt64(UInt32(truncatingIfNeeded: result)))
      return .retire(rip: next & 0xFFFF_FFFF)
    }
    finish(UInt64(bitPattern: result), next, vcpu)
    return .retire(rip: next)
  }

  /// RAX has the result, RCX and R11 what SYSCALL leaves there.
  @inline(__always)
  private func finish(_ result: UInt64, _ next: UInt64, _ vcpu: any VCPU) {
    let flags = RFLAGS.fixed1 | RFLAGS.interruptEnable
    if let r = vcpu.generalRegisters {
      (r[0], r[1], r[11]) = (result, next, flags)
    } else {
      vcpu.setGPR(.rax, result)
      vcpu.setGPR(.rcx, next)
      vcpu.setGPR(.r11, flags)
    }
  }

  /// The event: number in 7:0, its operation plus one in 31:8.
  func note(_ number: UInt64, _ arguments: HypercallArguments, _ result: Int64, inner: Bool = false) {
    log(number, arguments, inner: inner)
    emit(
      .hypercall, a: Self.code(number, arguments.first), b: UInt64(bitPattern: result), c: arguments.first,
      d: arguments.second, flags: inner ? 1 : 0)
  }

  /// One number for a call and its operation: what breakpoints and names go by.
  package static func code(_ number: UInt64, _ command: UInt64) -> UInt32 {
    let low = UInt32(truncatingIfNeeded: min(number, 0xFF))
    guard let call = HypercallNumber(rawValue: number), call.hasCommand, command < 0xFFFF else { return low }
    return low | UInt32(command + 1) << 8
  }

  func perform(_ number: UInt64, _ arguments: HypercallArguments, _ vcpu: any VCPU) -> Int64 {
    guard let call = HypercallNumber(rawValue: number) else { return XenError.noSuchCall.rawValue }
    do throws(XenError) {
      return try dispatch(call, arguments, vcpu)
    } catch {
      return error.rawValue
    }
  }

  private func dispatch(
    _ call: HypercallNumber, _ a: HypercallArguments, _ vcpu: any VCPU
  ) throws(XenError) -> Int64 {
    switch call {
    case .mmuUpdate: return try mmuUpdate(a, vcpu)
    case .mmuextOp: return try mmuExtended(a, vcpu)
    case .updateVAMapping: return try updateVAMapping(a, vcpu)
    case .multicall: return try multicall(a, vcpu)
    case .eventChannelOp: return try eventChannelOp(a)
    case .schedOp: return try schedOp(a, vcpu)
    case .vcpuOp: return try vcpuOp(a)
    case .xenVersion: return try xenVersion(a)
    case .memoryOp: return try memoryOp(a)
    case .consoleIO: return try consoleIO(a)
    case .setTrapTable: return try setTrapTable(a)
    case .setGDT: return try setGDT(a)
    case .updateDescriptor: return try updateDescriptor(a)
    case .stackSwitch: return stackSwitch(a)
    case .setSegmentBase: return try setSegmentBase(a, vcpu)
    case .fpuTaskswitch: return fpuTaskswitch(a, vcpu)
    case .setDebugreg: return try setDebugRegister(a, vcpu)
    case .getDebugreg: return Int64(bitPattern: a.first < 8 ? domain.debugRegisters[Int(a.first)] : 0)
    case .setTimerOp: return setTimer(a)
    case .vmAssist: return try vmAssist(a)
    case .callbackOp: return try callbackOp(a)
    case .setCallbacks: return try setCallbacks(a)
    case .physdevOp: return try physdevOp(a)
    case .xenpmuOp: throw .notSupported
    case .grantTableOp: return try grantTableOp(a)
    case .hvmOp, .updateVAMappingOtherDomain, .iret: throw .noSuchCall
    }
  }

  // MARK: multicall

  /// Entries of {op, result, six arguments}, a word each: each is a hypercall, but none a multicall or IRET.
  private func multicall(_ a: HypercallArguments, _ vcpu: any VCPU) throws(XenError) -> Int64 {
    guard a.second <= 1 << 16 else { throw .invalid }
    let size = abi.wordSize
    for index in 0..<a.second {
      let at = a.first &+ index &* 8 &* size
      guard work.goesOn(tables.costs, isFirst: index == 0) else {
        work.rest = HypercallRest(first: at, second: a.second - index)
        return 0
      }
      var words: [UInt64] = []
      for word in 0..<7 as Range<UInt64> { words.append(try readWord(at &+ word &* size)) }
      let arguments = HypercallArguments(Array(words[2...])).joined(for: words[0], abi)
      let isNested = words[0] == HypercallNumber.multicall.rawValue || words[0] == HypercallNumber.iret.rawValue
      let result = isNested ? XenError.noSuchCall.rawValue : perform(words[0], arguments, vcpu)
      if let rest = work.takeRest() {
        try writeWord(at &+ 2 &* size, rest.first)
        try writeWord(at &+ 3 &* size, rest.second)
        work.rest = HypercallRest(first: at, second: a.second - index)
        return 0
      }
      note(words[0], arguments, result, inner: true)
      try writeWord(at &+ size, UInt64(bitPattern: result))
    }
    return 0
  }

  // MARK: xen_version, memory_op, console_io

  private func xenVersion(_ a: HypercallArguments) throws(XenError) -> Int64 {
    switch a.first {
    case 0: return Int64(XenABI.version)
    case 1: try writeText(".0", size: 16, at: a.second)
    case 3: try writeText(abi.magic, size: 1024, at: a.second)
    case 5: try writeWord(a.second, abi.reservedStart)
    case 6:
      // Features 4 to 7: tables above 4 GiB, preserving accessed and dirty bits, and what every x86 guest has.
      let index: UInt32 = try read(a.second)
      try write(a.second &+ 4, index == 0 ? UInt32(0xF0) : 0)
    case 7: return Int64(XenABI.pageSize)
    default: throw .noSuchCall
    }
    return 0
  }

  private func writeText(_ text: String, size: Int, at address: UInt64) throws(XenError) {
    var bytes = Array(text.utf8)
    bytes += Array(repeating: 0, count: size - bytes.count)
    try write(address, bytes)
  }

  private func memoryOp(_ a: HypercallArguments) throws(XenError) -> Int64 {
    let machine = tables.layout
    switch a.first {
    case 2: return Int64(machine.frameCount - 1)
    case 3, 4: return Int64(machine.pageCount)
    case 9:
      let room: UInt32 = try read(a.second)
      let buffer = try readWord(a.second &+ abi.wordSize)
      guard room > 0 else { throw .invalid }
      try write(buffer, 0 as UInt64)
      try write(buffer &+ 8, machine.pageCount << 12)
      try write(buffer &+ 16, UInt32(1))
      try write(a.second, UInt32(1))
      return 0
    case 12:
      let words = [abi.machineToPhysical, abi.machineToPhysicalEnd, machine.frameCount - 1]
      for (index, word) in words.enumerated() { try writeWord(a.second &+ UInt64(index) * abi.wordSize, word) }
      return 0
    default: throw .noSuchCall
    }
  }

  /// Most kept of what a guest says by console_io.
  private static let logSize = 1 << 14

  /// Kept, but refused as a release build of Xen refuses it: the guest then uses its console ring.
  private func consoleIO(_ a: HypercallArguments) throws(XenError) -> Int64 {
    guard a.first == 0 else { throw .perm }
    let bytes = try read(a.third, count: Int(min(a.second & 0x7FFF_FFFF, 4096)))
    domain.log += bytes
    if domain.log.count > Self.logSize { domain.log.removeFirst(domain.log.count - Self.logSize) }
    throw .perm
  }

  // MARK: Small ones

  private func vmAssist(_ a: HypercallArguments) throws(XenError) -> Int64 {
    guard a.first <= 1 else { throw .noSuchCall }
    guard a.second <= 5, a.second != 4 else { throw .invalid }
    if a.first == 0 { domain.assists |= 1 << a.second } else { domain.assists &= ~(1 << a.second) }
    return 0
  }

  private func physdevOp(_ a: HypercallArguments) throws(XenError) -> Int64 {
    guard a.first == 6 else { throw .noSuchCall }
    let iopl: UInt32 = try read(a.second)
    guard iopl <= 3 else { throw .invalid }
    domain.iopl = UInt64(iopl)
    return 0
  }

  /// Event and failsafe handler; a 32-bit guest gives each with its code segment before it, a 64-bit one SYSCALL's too.
  private func setCallbacks(_ a: HypercallArguments) throws(XenError) -> Int64 {
    let handlers = abi.is32Bit ? [a.second, a.fourth] : [a.first, a.second, a.third]
    guard handlers.allSatisfy({ abi.isGuestAddress($0) }) else { throw .invalid }
    guard abi.is32Bit else {
      domain.event.address = a.first
      domain.failsafe.address = a.second
      domain.syscall.address = a.third
      return 0
    }
    domain.event = Callback(address: a.second, masksEvents: true, selector: UInt16(truncatingIfNeeded: a.first))
    domain.failsafe = Callback(address: a.fourth, masksEvents: true, selector: UInt16(truncatingIfNeeded: a.third))
    return 0
  }

  /// {u16 type, u16 flags, address}; a 32-bit guest's address is {code segment, offset}.
  private func callbackOp(_ a: HypercallArguments) throws(XenError) -> Int64 {
    guard a.first <= 1 else { throw .noSuchCall }
    let head: UInt32 = try read(a.second)
    var callback = Callback()
    if a.first == 0 {
      callback.address = try readWord(a.second &+ 8)
      callback.masksEvents = head >> 16 & 1 != 0
      if abi.is32Bit { callback.selector = try read(a.second &+ 4) }
      guard abi.isGuestAddress(callback.address) else { throw .invalid }
    }
    switch head & 0xFFFF {
    case 0 where a.first == 0: domain.event = callback
    case 1 where a.first == 0: domain.failsafe = callback
    case 2 where a.first == 0 && !abi.is32Bit: domain.syscall = callback
    case 4: domain.nmi = callback
    case 5 where a.first == 0: domain.sysenter = callback
    case 7 where a.first == 0: break
    default: throw .invalid
    }
    return 0
  }
}
