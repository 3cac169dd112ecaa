import Paravirtual
import VMCore
import X86

/// A vCPU that executes nothing: what the platform may ask of one.
final class StillVCPU: VCPU {
  let index = 0
  var state = VCPUState()
  var instructionCount: UInt64 = 0
  var virtualTime: UInt64 = 0
  var controls = XenPlatform.controls
  var traps = DebugTraps()
  var canTakeInterrupt = true
  func run(_ entry: VMEntry, limit: UInt64) -> VMExit {
    VMExit(vcpu: 0, reason: .budget, qualification: .budget, rip: state.rip, instructionLength: 0, instructionCount: 0)
  }
  func kick() {}
  func restartClock() {}
  func idle(until time: UInt64) { virtualTime = max(virtualTime, time) }
  func gpr(_ register: GPR) -> UInt64 { state[register] }
  func setGPR(_ register: GPR, _ value: UInt64) { state[register] = value }
  func cpuid(leaf: UInt32, subleaf: UInt32) -> CPUIDResult {
    leaf == 1 ? CPUIDResult(eax: 0x106A5, ebx: 0x0801_0800, ecx: .max, edx: .max) : CPUIDResult()
  }
  func translate(_ address: GVA) -> GPA? { nil }
}

/// A domain of 16 MiB with a kernel of nothing, and its calls.
struct XenBench {
  static let base: UInt64 = 0xFFFF_FFFF_8000_0000
  static let memorySize: UInt64 = 16 << 20
  /// The kernel's first frame, and its first byte's address.
  static let kernelFrame: UInt64 = 0x100
  static let entry = base + kernelFrame << 12

  let abi: GuestABI
  /// What the frames are mapped from on, and the first instruction.
  let base: UInt64
  var start: UInt64 { base + Self.kernelFrame << 12 }
  let memory: GuestMemory
  let events = EventSink(capacity: 1 << 12)
  let xen: XenPlatform
  let vcpu = StillVCPU()

  init(
    code: [UInt8] = [0xF4], module: [UInt8] = [], commandLine: String = "hello", isTrusting: Bool = false,
    abi: GuestABI = .x86_64, disk: (any XenDisk)? = nil
  ) throws {
    self.abi = abi
    base = abi.is32Bit ? 0xC000_0000 : Self.base
    let machine = MachineLayout(memory: Self.memorySize, abi: abi)
    memory = try GuestMemory(ramSize: machine.frameCount << 12)
    let kernel = try PVKernel(abi.is32Bit ? Self.image32(code: code) : Self.image(code: code), name: "test")
    let builder = try DomainBuilder(
      kernel: kernel, module: module, commandLine: commandLine, memory: memory, machine: machine)
    events.onFull = { $0.consume { _ in } }
    xen = try XenPlatform(builder: builder, events: events, isTrusting: isTrusting, disk: disk)
    vcpu.state = builder.initialState()
  }

  // MARK: An ELF kernel

  static func image(code: [UInt8], entry: UInt64 = entry, hasNotes: Bool = true) -> [UInt8] {
    let notes = hasNotes ? note(1, entry) + note(3, base) + note(4, 0) + note(15, 0x80_0000_0000) + note(16, 1) : []
    let codeAt: UInt64 = 0x1000
    var bytes: [UInt8] = [0x7F, 0x45, 0x4C, 0x46, 2, 1, 1] + Array(repeating: 0, count: 9)
    bytes += words16(2, 62) + words32(1) + words64(entry, 64, 0) + words32(0) + words16(64, 56, 2, 0, 0, 0)
    bytes += words32(1, 7) + words64(codeAt, entry, kernelFrame << 12, UInt64(code.count), 0x8000, 0x1000)
    bytes += words32(4, 4) + words64(0x200, 0, 0, UInt64(notes.count), UInt64(notes.count), 4)
    bytes += Array(repeating: 0, count: 0x200 - bytes.count)
    bytes += notes
    bytes += Array(repeating: 0, count: Int(codeAt) - bytes.count)
    return bytes + code
  }

  /// The same as an ELF32 file for i386, with a hypercall page behind the code.
  static func image32(code: [UInt8], notes given: [UInt8]? = nil) -> [UInt8] {
    let base: UInt32 = 0xC000_0000
    let entry = base + UInt32(kernelFrame) << 12
    let notes = given ?? note(1, UInt64(entry)) + note(2, UInt64(entry) + 0x1000) + note(3, UInt64(base)) + note(4, 0)
    let codeAt: UInt32 = 0x1000
    var bytes: [UInt8] = [0x7F, 0x45, 0x4C, 0x46, 1, 1, 1] + Array(repeating: 0, count: 9)
    bytes += words16(2, 3) + words32(1, entry, 52, 0, 0) + words16(52, 32, 2, 0, 0, 0)
    bytes += words32(1, codeAt, entry, entry - base, UInt32(code.count), 0x8000, 7, 0x1000)
    bytes += words32(4, 0x200, 0, 0, UInt32(notes.count), UInt32(notes.count), 4, 4)
    bytes += Array(repeating: 0, count: 0x200 - bytes.count)
    bytes += notes
    bytes += Array(repeating: 0, count: Int(codeAt) - bytes.count)
    return bytes + code
  }

  static func note(_ type: UInt32, _ value: UInt64) -> [UInt8] {
    words32(4, 8, type) + Array("Xen\0".utf8) + words64(value)
  }
  private static func words16(_ values: UInt16...) -> [UInt8] { values.flatMap { littleEndian($0) } }
  private static func words32(_ values: UInt32...) -> [UInt8] { values.flatMap { littleEndian($0) } }
  private static func words64(_ values: UInt64...) -> [UInt8] { values.flatMap { littleEndian($0) } }
  static func littleEndian<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
  }

  // MARK: Guest memory

  var layout: DomainLayout { xen.builder.layout }
  func address(_ pfn: UInt64) -> UInt64 { base + pfn << 12 }
  func machine(_ pfn: UInt64) -> UInt64 { xen.tables.layout.machineFrame(pfn) }
  /// Machine address behind an address of the first mapping.
  func place(_ address: UInt64) -> GPA {
    let offset = address - base
    return GPA(machine(offset >> 12) << 12 | offset & 4095)
  }
  func put(_ address: UInt64, _ words: UInt64...) {
    for (index, word) in words.enumerated() { memory.store(place(address + UInt64(index) * 8), word) }
  }
  /// The guest's words, of its own size.
  func putWords(_ address: UInt64, _ words: [UInt64]) {
    for (index, word) in words.enumerated() {
      let at = place(address + UInt64(index) * abi.wordSize)
      if abi.is32Bit { memory.store(at, UInt32(truncatingIfNeeded: word)) } else { memory.store(at, word) }
    }
  }
  func getWord(_ address: UInt64) -> UInt64 {
    abi.is32Bit ? UInt64(memory.load(place(address), as: UInt32.self) ?? 0) : get(address)
  }
  func get(_ address: UInt64) -> UInt64 { memory.load(place(address), as: UInt64.self) ?? 0 }
  func entry(_ table: UInt64, _ index: UInt64) -> UInt64 {
    memory.load(GPA(table << 12 + index * 8), as: UInt64.self) ?? 0
  }
  /// The L1 table of the first mapping that maps a frame.
  func l1(of pfn: UInt64) -> UInt64 { machine(layout.pageTables + layout.upperTables + pfn / 512) }

  // MARK: Calls

  @discardableResult
  func call(_ number: HypercallNumber, _ arguments: UInt64...) -> Int64 {
    call(number.rawValue, arguments)
  }

  @discardableResult
  func call(_ number: UInt64, _ arguments: [UInt64]) -> Int64 {
    let registers: [GPR] = abi.is32Bit ? [.rbx, .rcx, .rdx, .rsi, .rdi] : [.rdi, .rsi, .rdx, .r10, .r8]
    vcpu.state[.rax] = number
    for (register, value) in zip(registers, arguments) { vcpu.state[register] = value }
    guard !abi.is32Bit else {
      apply(xen.handle(exit(.softwareInterrupt, .softwareInterrupt(vector: 0x82), length: 2), on: vcpu))
      return Int64(Int32(truncatingIfNeeded: vcpu.state[.rax]))
    }
    apply(xen.handle(exit(.syscall, .hypercall(number: number), length: 2), on: vcpu))
    return Int64(bitPattern: vcpu.state[.rax])
  }

  func exit(_ reason: ExitReason, _ qualification: ExitQualification, length: UInt8 = 0) -> VMExit {
    VMExit(
      vcpu: 0, reason: reason, qualification: qualification, rip: vcpu.state.rip, instructionLength: length,
      instructionCount: 0)
  }

  @discardableResult
  func raise(_ exception: Exception, code: UInt32? = nil, linear: UInt64 = 0) -> VMEntry.Action {
    let action = xen.handle(
      exit(.exception, .exception(vector: exception.rawValue, errorCode: code, linear: linear)), on: vcpu)
    apply(action)
    return action
  }

  private func apply(_ action: VMEntry.Action) {
    if case .retire(let rip) = action { vcpu.state.rip = rip }
    if case .skip = action { vcpu.state.rip &+= 2 }
  }

  /// update_va_mapping of a page of the first mapping.
  @discardableResult
  func map(_ pfn: UInt64, _ entry: UInt64) -> Int64 {
    abi.is32Bit
      ? call(.updateVAMapping, address(pfn), entry & 0xFFFF_FFFF, entry >> 32, 0)
      : call(.updateVAMapping, address(pfn), entry, 0)
  }

  /// mmuext_op with one operation.
  @discardableResult
  func extended(_ op: MMUExtendedOp, _ argument: UInt64, _ second: UInt64 = 0) -> Int64 {
    let at = address(0x20)
    putWords(at, [UInt64(op.rawValue), argument, second])
    return call(.mmuextOp, at, 1, 0, 0x7FF0)
  }

  /// mmu_update with one request.
  @discardableResult
  func update(_ target: UInt64, _ value: UInt64) -> Int64 {
    let at = address(0x21)
    put(at, target, value)
    return call(.mmuUpdate, at, 1, 0, 0x7FF0)
  }

  /// The newest crash the platform asked for; nil for none.
  func takeCrash() -> String? {
    for case .crash(let why) in xen.takeRequests() { return why }
    return nil
  }

  /// A trap table with one handler.
  func setTrap(_ exception: Exception, _ handler: UInt64, flags: UInt64 = 0) {
    let at = address(0x22)
    putWords(at, [UInt64(exception.rawValue) | flags << 8 | UInt64(abi.kernelCode) << 16, handler, 0, 0])
    call(.setTrapTable, at)
  }
}
