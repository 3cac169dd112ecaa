import Machine
import VMCore
import X86

/// A processor that executes nothing: registers a test sets and services change.
final class IdleVCPU: VCPU {
  let index = 0
  var state = VCPUState()
  var instructionCount: UInt64 = 0
  var virtualTime: UInt64 = 0
  var controls = ExitControls.standard
  var traps = DebugTraps()
  var canTakeInterrupt = false

  func run(_ entry: VMEntry, limit: UInt64) -> VMExit {
    VMExit(vcpu: 0, reason: .budget, qualification: .budget, rip: state.rip, instructionLength: 0, instructionCount: 0)
  }
  func kick() {}
  func restartClock() {}
  func idle(until time: UInt64) { virtualTime = max(virtualTime, time) }
  func gpr(_ register: GPR) -> UInt64 { state[register] }
  func setGPR(_ register: GPR, _ value: UInt64) { state[register] = value }
  func cpuid(leaf: UInt32, subleaf: UInt32) -> CPUIDResult { CPUIDResult() }
  func translate(_ address: GVA) -> GPA? { GPA(address.value) }
}

/// A PC with a BIOS, and its services called one at a time.
final class BIOSBench {
  let memory: GuestMemory
  let pc: PC
  let vcpu = IdleVCPU()
  let loaded: LoadedGuest
  private let events: EventSink

  /// Boots `image`; the disk, if any, is the first hard disk or the one after the boot disk.
  init(_ image: [UInt8] = bootImage(), disk: [UInt8]? = nil, ramSize: UInt64 = 32 << 20) throws {
    memory = try GuestMemory(ramSize: ramSize)
    let request = LoadRequest(
      name: "b", bytes: image, memory: memory, disk: disk.map { Disk(MemoryFile($0)) })
    loaded = try ImageLoader.load(request)
    events = EventSink(capacity: 1 << 12)
    pc = PC(memory: memory, configuration: PCConfiguration(ramSize: ramSize), events: events)
    loaded.attach(to: pc)
    vcpu.state = loaded.state
  }

  /// What a service left behind.
  struct Answer {
    var action: VMEntry.Action
    var carry: Bool
    var zero: Bool
    var ax: UInt16
    var ah: UInt8 { UInt8(ax >> 8) }
    var al: UInt8 { UInt8(ax & 0xFF) }
  }

  /// Calls INT `vector` with these registers; carry and zero are clear before.
  @discardableResult
  func call(
    _ vector: UInt8, ax: UInt64 = 0, bx: UInt64? = nil, cx: UInt64? = nil, dx: UInt64? = nil, si: UInt64? = nil,
    di: UInt64? = nil, bp: UInt64? = nil, flags: UInt16 = 0x202
  ) -> Answer {
    vcpu.state[.rax] = ax
    let given: [(GPR, UInt64?)] = [(.rbx, bx), (.rcx, cx), (.rdx, dx), (.rsi, si), (.rdi, di), (.rbp, bp)]
    for (register, value) in given { if let value { vcpu.state[register] = value } }
    let stack: UInt64 = 0x7BFA
    memory.store(GPA(stack), UInt16(0x7C10))
    memory.store(GPA(stack + 2), UInt16(0))
    memory.store(GPA(stack + 4), flags)
    vcpu.state[.rsp] = stack
    vcpu.state[.cs] = SegmentState(selector: 0xF000, base: 0xF0000, access: 0x9B)
    vcpu.state.rip = 0xF000 + UInt64(vector) * 4
    let action = out(0xB2, rip: vcpu.state.rip)
    let after: UInt16 = memory.load(GPA(stack + 4)) ?? 0
    return Answer(
      action: action, carry: after & 1 != 0, zero: after & 0x40 != 0, ax: UInt16(truncatingIfNeeded: vcpu.state[.rax]))
  }

  func out(_ port: UInt16, rip: UInt64) -> VMEntry.Action {
    let exit = VMExit(
      vcpu: 0, reason: .io,
      qualification: .io(port: port, size: 1, write: true, string: false, rep: false, value: vcpu.state[.rax] & 0xFF),
      rip: rip, instructionLength: 2, instructionCount: 0)
    return pc.handle(exit, on: vcpu)
  }

  func word(_ register: GPR) -> UInt16 { UInt16(truncatingIfNeeded: vcpu.state[register]) }
  func u16(_ address: UInt64) -> UInt16 { memory.load(GPA(address)) ?? 0xFFFF }
  func u8(_ address: UInt64) -> UInt8 { memory.load(GPA(address)) ?? 0xFF }
  var console: String { String(decoding: pc.takeConsoleOutput(), as: UTF8.self) }
  /// A row of the text screen without its trailing blanks.
  func row(_ row: Int) -> String {
    let cells = memory.bytes(0xB8000 + UInt64(row * 160), 160)
    let text = String(decoding: stride(from: 0, to: 160, by: 2).map { cells[$0] }, as: UTF8.self)
    return String(text.reversed().drop { $0 == " " }.reversed())
  }
  /// Types on the keyboard as INT 09h sees it, byte by byte.
  func receive(_ codes: [UInt8]) { for code in codes { call(0x09, ax: UInt64(code)) } }
  func teletype(_ text: String) { for byte in text.utf8 { call(0x10, ax: 0x0E00 | UInt64(byte)) } }
}
