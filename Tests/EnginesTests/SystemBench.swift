import Engines
import Testing
import VMCore
import X86

/// One vCPU with tables in low memory, for tests of system behaviour one instruction at a time.
///
/// Map: GDT 1000h, IDT 2000h, TSS 3000h and 3800h, LDT 4000h, ring 3 stack below 6000h, ring 0 stack below
/// 7000h, code 8000h, handlers from 9000h (16 bytes a vector, NOPs), page tables 10000h to 14FFFh.
final class SystemBench {
  let memory: GuestMemory
  let events = EventSink(capacity: 1024)
  let engine: any Engine
  let vcpu: any VCPU

  static let gdt: UInt64 = 0x1000
  static let idt: UInt64 = 0x2000
  static let tss: UInt64 = 0x3000
  static let otherTSS: UInt64 = 0x3800
  static let code: UInt64 = 0x8000
  static let handlers: UInt64 = 0x9000
  static let innerStack: UInt64 = 0x7000
  static let outerStack: UInt64 = 0x6000

  // Selectors of the standard GDT.
  static let code0: UInt16 = 0x08, data0: UInt16 = 0x10, code3: UInt16 = 0x1B, data3: UInt16 = 0x23
  static let taskState: UInt16 = 0x28, otherTask: UInt16 = 0x38
  /// Free for tests: entries from here on.
  static let free: UInt16 = 0x48

  /// A machine of its own on the engine of this name.
  init(engine name: String = "interpreter", vcpus: Int = 1, cpu: CPUModel = .baseline) throws {
    memory = try GuestMemory(ramSize: 4 << 20)
    engine = try EngineRegistry.makeEngine(
      named: name, memory: memory, events: events, configuration: EngineConfiguration(vcpuCount: vcpus, cpu: cpu))
    vcpu = engine.vcpus[0]
    for i in 0..<UInt64(0x1000) { memory.store(GPA(Self.handlers + i), UInt8(0x90)) }
  }

  // MARK: Memory

  func put<T: FixedWidthInteger>(_ address: UInt64, _ value: T) { memory.store(GPA(address), value) }
  func get<T: FixedWidthInteger>(_ address: UInt64, as type: T.Type = T.self) -> T {
    memory.load(GPA(address), as: T.self) ?? 0
  }

  /// A code or data descriptor; `flags` is the nibble G, D/B, L, AVL.
  func segment(_ selector: UInt16, base: UInt64 = 0, limit: UInt64 = 0xFFFFF, access: UInt64, flags: UInt64 = 0xC) {
    var raw = limit & 0xFFFF | (base & 0xFF_FFFF) << 16
    raw |= access << 40 | (limit >> 16 & 0xF) << 48
    raw |= flags << 52 | (base >> 24 & 0xFF) << 56
    put(Self.gdt + UInt64(selector & 0xFFF8), raw)
  }

  func gateWord(_ selector: UInt16, _ offset: UInt64, access: UInt64, low: UInt64 = 0) -> UInt64 {
    let target = offset & 0xFFFF | UInt64(selector) << 16
    return target | low << 32 | access << 40 | (offset >> 16 & 0xFFFF) << 48
  }
  /// A call or task gate in the GDT.
  func gate(_ at: UInt16, to selector: UInt16, _ offset: UInt64, access: UInt64, parameters: UInt64 = 0) {
    put(Self.gdt + UInt64(at & 0xFFF8), gateWord(selector, offset, access: access, low: parameters))
  }
  /// An IDT entry of 8 bytes, by default to the vector's own handler.
  func vector(_ number: Int, access: UInt64 = 0x8E, selector: UInt16 = SystemBench.code0, offset: UInt64? = nil) {
    let target = offset ?? Self.handlers + UInt64(number) * 16
    put(Self.idt + UInt64(number) * 8, gateWord(selector, target, access: access))
  }
  /// An IDT entry of 16 bytes.
  func longVector(_ number: Int, access: UInt64 = 0x8E, selector: UInt16 = SystemBench.code0, ist: UInt64 = 0) {
    let target = Self.handlers + UInt64(number) * 16
    put(Self.idt + UInt64(number) * 16, gateWord(selector, target, access: access, low: ist))
    put(Self.idt + UInt64(number) * 16 + 8, UInt64(0))
  }

  // MARK: Modes

  /// Real mode at 0000:8000, with an interrupt vector table that sends every vector to its handler.
  func enterReal() {
    for i in 0..<UInt64(256) { put(i * 4, UInt32(0x0900_0000 | UInt32(i * 16))) }
    var s = VCPUState()
    for name in [SegmentName.cs, .ds, .es, .ss, .fs, .gs] {
      s[name] = SegmentState(selector: 0, base: 0, access: name == .cs ? 0x9B : 0x93)
    }
    s.cr0 = CR0.et
    s[.rsp] = Self.innerStack
    s.rip = Self.code
    vcpu.state = s
  }

  /// Flat 32-bit protected mode without paging, with a 32-bit TSS and an IDT that sends every exception to
  /// its handler in ring 0.
  func enterProtected(cpl: UInt8 = 0) {
    segment(Self.code0, access: 0x9B)
    segment(Self.data0, access: 0x93)
    segment(Self.code3, access: 0xFB)
    segment(Self.data3, access: 0xF3)
    segment(Self.taskState, base: Self.tss, limit: 0x67, access: 0x8B, flags: 0)
    segment(Self.otherTask, base: Self.otherTSS, limit: 0x67, access: 0x89, flags: 0)
    put(Self.tss + 4, UInt32(Self.innerStack))
    put(Self.tss + 8, UInt32(Self.data0))
    // The I/O bitmap lies beyond the limit: no port is open.
    put(Self.tss + 102, UInt16(0x68))
    for i in 0..<32 { vector(i) }
    var s = VCPUState()
    s.cr0 = CR0.pe | CR0.et | CR0.ne
    s.gdtr = TableRegister(base: Self.gdt, limit: 0x3FF)
    s.idtr = TableRegister(base: Self.idt, limit: 0x7FF)
    let ring3 = cpl == 3
    let dpl = UInt32(cpl) << 5
    s[.cs] = SegmentState(selector: ring3 ? Self.code3 : Self.code0, limit: .max, access: 0xC09B | dpl)
    for name in [SegmentName.ds, .es, .ss, .fs, .gs] {
      s[name] = SegmentState(selector: ring3 ? Self.data3 : Self.data0, limit: .max, access: 0xC093 | dpl)
    }
    s[.ldtr] = SegmentState(limit: 0, access: 0x1_0082)
    s[.tr] = SegmentState(selector: Self.taskState, base: Self.tss, limit: 0x67, access: 0x8B)
    s[.rsp] = ring3 ? Self.outerStack : Self.innerStack
    s.rip = Self.code
    vcpu.state = s
  }

  /// 64-bit mode with identity-mapped memory.
  func enterLong(cpl: UInt8 = 0) {
    enterProtected(cpl: cpl)
    buildTables(.long)
    segment(Self.code0, access: 0x9B, flags: 0xA)
    segment(Self.code3, access: 0xFB, flags: 0xA)
    segment(Self.otherTask, access: 0)
    put(Self.gdt + UInt64(Self.taskState) + 8, UInt64(0))
    put(Self.tss + 4, Self.innerStack)
    for i in 0..<32 { longVector(i) }
    change {
      $0.cr0 |= CR0.pg
      $0.cr4 |= CR4.pae
      $0.cr3 = 0x10000
      $0.efer |= EFER.lme | EFER.lma | EFER.nxe | EFER.sce
      $0.idtr.limit = 0xFFF
      $0[.cs].access = 0xA09B | UInt32(cpl) << 5
    }
  }

  enum Format: Sendable, CaseIterable { case legacy, pae, long }

  /// Identity-maps the first 2 MiB with 4 KiB pages of the given leaf flags.
  func buildTables(_ format: Format, leaf: UInt64 = 7) {
    put(0x10000, UInt64(0x11007))
    for i in 0..<UInt64(4) { put(0x11000 + i * 8, i == 0 ? UInt64(format == .long ? 0x12007 : 0x12001) : 0) }
    if format == .legacy { put(0x12000, UInt32(0x13007)) } else { put(0x12000, UInt64(0x13007)) }
    for i in 0..<UInt64(512) { setPage(format, i << 12, i << 12 | leaf) }
  }
  func setPage(_ format: Format, _ linear: UInt64, _ entry: UInt64) {
    let index = linear >> 12
    if format == .legacy {
      put(0x13000 + index * 4, UInt32(truncatingIfNeeded: entry))
    } else {
      put(0x13000 + index * 8, entry)
    }
  }
  func page(_ format: Format, _ linear: UInt64) -> UInt64 {
    let index = linear >> 12
    return format == .legacy ? UInt64(get(0x13000 + index * 4, as: UInt32.self)) : get(0x13000 + index * 8)
  }
  /// Turns on paging of a format in 32-bit protected mode, or enters long mode.
  func enterPaged(_ format: Format, cpl: UInt8, leaf: UInt64 = 7) {
    if format == .long { enterLong(cpl: cpl) } else { enterProtected(cpl: cpl) }
    buildTables(format, leaf: leaf)
    change {
      $0.cr0 |= CR0.pg | CR0.wp
      switch format {
      case .legacy: $0.cr3 = 0x12000
      case .pae:
        $0.cr3 = 0x11000
        $0.cr4 |= CR4.pae
        $0.efer |= EFER.nxe
      case .long: break
      }
    }
  }

  // MARK: Running

  var state: VCPUState { vcpu.state }
  func change(_ body: (inout VCPUState) -> Void) {
    var s = vcpu.state
    body(&s)
    vcpu.state = s
  }
  func linearRIP() -> UInt64 { vcpu.state.linearRIP.value }

  /// Puts code at RIP (identity-mapped) and executes one instruction.
  @discardableResult
  func step(_ bytes: [UInt8], _ entry: VMEntry = .resume) -> VMExit {
    memory.write(GPA(linearRIP()), bytes)
    let exit = vcpu.run(entry, limit: 1)
    // A task switch always exits; the monitor lets it happen.
    return exit.reason == .taskSwitch ? vcpu.run(VMEntry(.emulate), limit: 1) : exit
  }

  /// The exception one instruction raises, seen by the monitor before it is delivered.
  func fault(_ bytes: [UInt8]) -> Seen? {
    vcpu.controls.wishes.vectors = .all
    defer { vcpu.controls.wishes.vectors = .none }
    let exit = step(bytes)
    guard case .exception(let vector, let code, let linear) = exit.qualification else { return nil }
    return Seen(vector, code, linear)
  }

  /// Exceptions delivered so far, oldest first; forgets them.
  func delivered() -> [Seen] {
    var result: [Seen] = []
    events.consume { run in
      for e in run where e.kind == .exception {
        result.append(Seen(UInt8(e.a), e.b == .max ? nil : UInt32(truncatingIfNeeded: e.b), e.c))
      }
    }
    return result
  }

  /// Words on the stack, top first.
  func stack<T: FixedWidthInteger>(_ count: Int, as type: T.Type = T.self) -> [T] {
    let s = state
    let top = s.mode == .long64 ? s[.rsp] : (s[.ss].base + s[.rsp]) & 0xFFFF_FFFF
    return (0..<UInt64(count)).map { get(top + $0 * UInt64(T.bitWidth / 8)) }
  }
}

/// An exception as the monitor or the event stream shows it.
struct Seen: Equatable, CustomStringConvertible {
  var vector: UInt8
  var code: UInt32?
  var linear: UInt64
  init(_ vector: UInt8, _ code: UInt32? = nil, _ linear: UInt64 = 0) {
    self.vector = vector
    self.code = code
    self.linear = linear
  }
  var description: String {
    let name = Exception(rawValue: vector)?.mnemonic ?? "\(vector)"
    return "\(name)(\(code.map { String($0, radix: 16) } ?? "-")) at \(String(linear, radix: 16))"
  }
}

func gp(_ code: UInt32) -> Seen { Seen(13, code) }
func np(_ code: UInt32) -> Seen { Seen(11, code) }
func ss(_ code: UInt32) -> Seen { Seen(12, code) }
func ts(_ code: UInt32) -> Seen { Seen(10, code) }
let ud = Seen(6)

func le32(_ value: UInt64) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * UInt64($0))) } }
