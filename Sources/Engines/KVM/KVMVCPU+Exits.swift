import CHost
import VMCore
import X86

/// KVM's exits in the vocabulary every engine shares.
extension KVMVCPU {
  /// The exit KVM_RUN came back with; nil where the engine has dealt with it.
  func exitOfKVM() -> VMExit? {
    switch Int32(cpu.run.pointee.exit_reason) {
    case KVM_EXIT_IO: return ioExit()
    case KVM_EXIT_MMIO: return mmioExit()
    case KVM_EXIT_HLT: return hltExit()
    case KVM_EXIT_X86_RDMSR: return msrExit(write: false)
    case KVM_EXIT_X86_WRMSR: return msrExit(write: true)
    case KVM_EXIT_IRQ_WINDOW_OPEN: return canTakeInterrupt ? exit(.interruptWindow, .interruptWindow) : nil
    case KVM_EXIT_INTR: return nil
    case KVM_EXIT_SET_TPR: return nil
    case KVM_EXIT_DEBUG: return debugExit()
    case KVM_EXIT_SHUTDOWN: return shutdownExit()
    case KVM_EXIT_INTERNAL_ERROR: return internalError()
    case KVM_EXIT_FAIL_ENTRY:
      let reason = chost_kvm_entry_failure(cpu.run)
      return entryFailure(
        UInt32(truncatingIfNeeded: reason),
        "the processor refused to enter the guest (hardware reason \(String(reason, radix: 16))h)")
    case KVM_EXIT_UNKNOWN: return unknownExit(chost_kvm_hardware_reason(cpu.run), "an exit KVM does not know")
    default: return unknownExit(UInt64(cpu.run.pointee.exit_reason), "KVM exit \(cpu.run.pointee.exit_reason)")
    }
  }

  private func unknownExit(_ raw: UInt64, _ what: String) -> VMExit {
    failureSentence = "KVM left the guest for a reason this engine does not know: \(what); use --engine interpreter"
    return exit(.unknown, .unknown(raw: raw))
  }

  // MARK: ports

  @inline(__always)
  func ioExit() -> VMExit {
    let io = chost_kvm_io_exit(cpu.run)
    let found = findIO(io)
    open.kind = .io
    let rip = cpu.regs.pointee.rip
    open.isPast = found.isPast
    open.rip = found.isPast ? rip &- UInt64(found.length) : rip
    open.next = open.rip &+ UInt64(found.length)
    open.element = 0
    open.count = max(io.count, 1)
    return ioElement(io, found)
  }

  /// The exit of the element that is under way.
  @inline(__always)
  func ioElement(_ io: chost_kvm_io, _ found: KVMPortInstruction) -> VMExit {
    let value = io.write ? Self.value(io.data + Int(open.element) * Int(io.size), io.size) : 0
    return exit(
      .io,
      .io(
        port: io.port, size: io.size, write: io.write, string: found.isString, rep: found.isRepeated, value: value),
      rip: open.rip, length: found.length)
  }

  @inline(__always)
  private func findIO(_ io: chost_kvm_io) -> KVMPortInstruction {
    if let known = ports.find(cpu.regs.pointee.rip, io) {
      knownCode = known.code
      // What came along anyway says whether that is still so.
      if !cpu.isWhole || KVMCodeSegment(cpu.present) == known.code { return known }
      knownCode = nil
    }
    return findNewIO(io)
  }

  private func findNewIO(_ io: chost_kvm_io) -> KVMPortInstruction {
    let rip = cpu.regs.pointee.rip
    var found = decodeIO(io, rip)
    found.code = KVMCodeSegment(cpu.sync)
    ports.keep(found, rip, io)
    return found
  }

  private func decodeIO(_ io: chost_kvm_io, _ rip: UInt64) -> KVMPortInstruction {
    if io.write, ripIsPastOut {
      let length = lengthOfOut(before: rip, io.port, io.size)
      if length > 0 { return KVMPortInstruction(length: length, isPast: true) }
    }
    if let found = KVMPortInstruction(codeBytes(at: rip), isLong: mode == .long64), found.isOut == io.write {
      return found
    }
    let length = length(before: rip) { $0.isString && $0.mnemonic.hasPrefix(io.write ? "outs" : "ins") }
    return KVMPortInstruction(length: length, isOut: io.write, isString: length > 0, isPast: true)
  }

  @inline(__always)
  static func value(_ bytes: UnsafePointer<UInt8>, _ size: UInt8) -> UInt64 {
    let raw = UnsafeRawPointer(bytes)
    switch size {
    case 1: return UInt64(bytes[0])
    case 2: return UInt64(raw.loadUnaligned(as: UInt16.self))
    case 4: return UInt64(raw.loadUnaligned(as: UInt32.self))
    default: return (0..<Int(min(size, 8))).reduce(0) { $0 | UInt64(bytes[$1]) << UInt64(8 * $1) }
    }
  }

  static func put(_ value: UInt64, into bytes: UnsafeMutablePointer<UInt8>, _ size: UInt8) {
    for i in 0..<Int(min(size, 8)) { bytes[i] = UInt8(truncatingIfNeeded: value >> UInt64(8 * i)) }
  }

  // MARK: memory

  private func mmioExit() -> VMExit? {
    let access = chost_kvm_mmio_exit(cpu.run)
    let size = UInt8(truncatingIfNeeded: access.size)
    if access.write, memory.hostPage(GPA(access.gpa)) != nil { return storeToReadOnly(access) }
    let rip = cpu.regs.pointee.rip
    var length: UInt8
    var linearAddress: UInt64 = 0
    if access.write {
      length = lengthOfStore(before: rip, access.gpa, size)
    } else {
      length = self.length(at: rip)
    }
    open.kind = .mmio
    open.isPast = false
    open.rip = access.write ? rip &- UInt64(length) : rip
    open.next = open.rip &+ UInt64(length)
    let found = instruction(at: open.rip)
    for operand in found.memory {
      let address = address(of: operand, in: found)
      if let gpa = space.translate(address), gpa >> 12 == access.gpa >> 12 {
        linearAddress = address & ~4095 | access.gpa & 4095
      }
    }
    let value = access.write ? Self.value(access.data, size) : 0
    return exit(
      .eptViolation,
      .mmio(gpa: GPA(access.gpa), linear: GVA(linearAddress), size: size, write: access.write, value: value),
      rip: open.rip, length: length)
  }

  // MARK: MSRs, HLT

  private func msrExit(write: Bool) -> VMExit {
    let index = chost_kvm_msr_index(cpu.run)
    open.kind = .msr
    open.isPast = false
    open.rip = cpu.regs.pointee.rip
    let length = length(at: open.rip)
    open.next = open.rip &+ UInt64(length)
    let value = write ? chost_kvm_msr_data(cpu.run) : 0
    return exit(
      write ? .wrmsr : .rdmsr, .msr(index: index, write: write, value: value), rip: open.rip, length: length)
  }

  private func hltExit() -> VMExit {
    let next = cpu.regs.pointee.rip
    guard controls.vmcs.has(.hltExiting) else {
      activity = .halted
      instructionCount &+= 1
      return exit(.budget, .budget)
    }
    return hltExit(at: next &- 1, isPast: true)
  }

  func hltExit(at rip: UInt64, isPast: Bool) -> VMExit {
    open.kind = .hlt
    open.isPast = isPast
    open.rip = rip
    open.next = rip &+ 1
    return exit(.hlt, .hlt, rip: rip, length: 1)
  }

  // MARK: the guest's end

  private func shutdownExit() -> VMExit {
    if enteredWithPaging32 || Self.hasPaging32(cpu.sync.pointee.sregs) || turnsOnPaging, !traits.contains(.paging32) {
      failureSentence =
        "The guest turned on 32-bit paging, which this host's KVM cannot run (trait paging32); use --engine interpreter"
      activity = .shutdown
      return exit(.unknown, .unknown(raw: UInt64(KVM_EXIT_SHUTDOWN)))
    }
    activity = .shutdown
    return exit(.tripleFault, .tripleFault)
  }

  @inline(__always)
  func notePaging32() {
    guard !traits.contains(.paging32), cpu.isWhole else { return }
    enteredWithPaging32 = Self.hasPaging32(cpu.present.pointee.sregs)
  }
  private static func hasPaging32(_ system: kvm_sregs) -> Bool {
    system.cr0 & CR0.pg != 0 && system.efer & EFER.lma == 0
  }

  /// The guest stands at the MOV to CR0 that was to turn on paging without long mode.
  private var turnsOnPaging: Bool {
    guard cpu.sync.pointee.sregs.efer & EFER.lme == 0 else { return false }
    let code = codeBytes(at: cpu.regs.pointee.rip, count: 3)
    guard code.count == 3, code[0] == 0x0F, code[1] == 0x22, code[2] & 0x38 == 0 else { return false }
    return GPR(rawValue: code[2] & 7).map { gpr($0) & CR0.pg != 0 } ?? false
  }

  /// What KVM could not execute, the embedded processor does (Documentation/virt/kvm/api.rst,
  /// KVM_CAP_EXIT_ON_EMULATION_FAILURE).
  private func internalError() -> VMExit? {
    guard chost_kvm_suberror(cpu.run) == UInt32(KVM_INTERNAL_ERROR_EMULATION) else {
      return unknownExit(UInt64(chost_kvm_suberror(cpu.run)), "internal error \(chost_kvm_suberror(cpu.run))")
    }
    let at = linear(cpu.regs.pointee.rip)
    if debug.isPlanted(at) { return breakpointExit(at) }
    return byCompanionAmidst()
  }

  // MARK: CR8

  /// The guest changed its task priority: the platform, whose local APIC it is, hears of it before anything else.
  @inline(__always)
  func withTaskPriority(_ exit: VMExit) -> VMExit {
    cpu.run.pointee.cr8 == knownCR8 || open.kind == .companion ? exit : behindTaskPriority(exit)
  }

  private func behindTaskPriority(_ exit: VMExit) -> VMExit {
    let found = open
    let first = taskPriorityExit()
    waiting = (exit, found)
    return first
  }

  func taskPriorityExit() -> VMExit {
    knownCR8 = cpu.run.pointee.cr8
    open = KVMOpenExit()
    open.kind = .taskPriority
    return exit(.crAccess, .cr(number: 8, access: .write, gpr: 0, value: knownCR8))
  }
}

/// The IN and OUT instructions that exited last, by instruction pointer: an exit that looks the same came from the
/// same one, and its code need not be read again.
struct KVMPortCache {
  private struct Entry {
    var rip = UInt64.max
    var port: UInt16 = 0
    var size: UInt8 = 0
    var write = false
    var found = KVMPortInstruction(length: 0, isPast: false)
  }
  private var entries = InlineArray<16, Entry>(repeating: Entry())

  @inline(__always)
  func find(_ rip: UInt64, _ io: chost_kvm_io) -> KVMPortInstruction? {
    let entry = entries[Int(truncatingIfNeeded: rip & 15)]
    let isSame = entry.rip == rip && entry.port == io.port && entry.size == io.size && entry.write == io.write
    return isSame && io.count == 1 ? entry.found : nil
  }

  /// String instructions and what was not found are looked at each time.
  mutating func keep(_ found: KVMPortInstruction, _ rip: UInt64, _ io: chost_kvm_io) {
    guard found.length > 0, !found.isString else { return }
    entries[Int(truncatingIfNeeded: rip & 15)] = Entry(
      rip: rip, port: io.port, size: io.size, write: io.write, found: found)
  }

  mutating func forget() { self = KVMPortCache() }
}

/// An IN, OUT, INS or OUTS, as far as an exit tells about it.
struct KVMPortInstruction {
  var length: UInt8 = 0
  var isOut = true
  var isString = false
  var isRepeated = false
  var isPast = false
  var code = KVMCodeSegment()

  init(length: UInt8, isOut: Bool = true, isString: Bool = false, isPast: Bool) {
    self.length = length
    self.isOut = isOut
    self.isString = isString
    self.isPast = isPast
  }

  /// The instruction that begins with `code`; nil if it is another one.
  init?(_ code: [UInt8], isLong: Bool) {
    for (index, byte) in code.enumerated() {
      switch byte {
      case 0xF2, 0xF3: isRepeated = true
      case 0x66, 0x67, 0x2E, 0x36, 0x3E, 0x26, 0x64, 0x65: break
      case 0x40...0x4F where isLong: break
      case 0xE4...0xE7, 0xEC...0xEF:
        isOut = byte & 2 != 0
        length = UInt8(index + (byte & 8 == 0 ? 2 : 1))
        isRepeated = false
        return
      case 0x6C...0x6F:
        isOut = byte & 2 != 0
        isString = true
        length = UInt8(index + 1)
        return
      default: return nil
      }
    }
    return nil
  }
}

/// What of the code segment an exit tells.
struct KVMCodeSegment: Equatable {
  var base: UInt64 = 0
  var selector: UInt16 = 0
  var mode = ProcessorMode.real16
  /// What is added to RIP for a linear address: 0 in 64-bit code.
  private(set) var offset: UInt64 = 0

  init() {}

  init(_ page: UnsafePointer<kvm_sync_regs>) {
    base = page.pointee.sregs.cs.base
    selector = page.pointee.sregs.cs.selector
    mode = KVMRegisters.mode(page)
    offset = mode == .long64 ? 0 : base
  }
}
