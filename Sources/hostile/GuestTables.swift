import VMCore
import X86

/// What stands in memory before a random program starts: descriptors, gates, a task, page tables, and handlers that
/// throw the guest back into its program. All below 64 KiB but the page tables, so that 16-bit code reaches it.
struct GuestTables {
  static let gdt: UInt64 = 0x1000
  static let idt: UInt64 = 0x2000
  static let tss: UInt64 = 0x3000
  static let handlers: UInt64 = 0x6000
  static let program: UInt64 = 0x8000
  static let userStack: UInt64 = 0xE000
  static let stack: UInt64 = 0xF000
  static let pages: UInt64 = 0x1_0000
  /// Variants of the handler; a vector uses the one of its low bits.
  static let handlerCount: UInt64 = 16
  static let handlerSize: UInt64 = 64

  enum Selector {
    static let code16: UInt16 = 0x08
    static let data16: UInt16 = 0x10
    static let code32: UInt16 = 0x18
    static let data32: UInt16 = 0x20
    static let code64: UInt16 = 0x28
    static let task: UInt16 = 0x58
    static let callGate: UInt16 = 0x68
    static let otherTask: UInt16 = 0x78
    /// From a ring-0 selector of code or data to its twin of ring 3.
    static let user: UInt16 = 0x28 | 3
  }

  let mode: GuestMode
  let memory: GuestMemory
  /// The processor at the program's first byte, interrupts off, general registers zero.
  private(set) var state = VCPUState()

  init(_ mode: GuestMode, in memory: GuestMemory) {
    self.mode = mode
    self.memory = memory
    state = initialState
  }

  /// Writes everything; `random` chooses where handlers return to and dents the tables in half of the cases.
  func install(_ random: inout Random) {
    installDescriptors()
    installTasks(&random)
    installGates(&random)
    for variant in 0..<Self.handlerCount {
      memory.write(GPA(Self.handlers + variant * Self.handlerSize), handler(&random))
    }
    if mode.paging != .none { memory.write(GPA(Self.pages), Self.pageTables) }
    if random.one(in: 2) { dent(&random) }
  }

  private func dent(_ random: inout Random) {
    let areas: [(base: UInt64, size: Int)] = [
      (Self.gdt, 0x90), (Self.idt, 0x1000), (Self.tss, 0x80), (Self.pages, 0x8000), (0, 0x400),
    ]
    for _ in 0..<(1 + random.below(8)) {
      let area = random.pick(areas)
      memory.store(GPA(area.base + UInt64(random.below(area.size))), random.byte())
    }
  }

  // MARK: descriptors (SDM 3A 3.4.5, 5.8.3, 8.2.2)

  private func installDescriptors() {
    var entries: [UInt64] = [0]
    for ring: UInt64 in [0, 3] {
      let rights = ring << 45
      for flat: UInt64 in [
        0x0000_9B00_0000_FFFF, 0x0000_9300_0000_FFFF, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x00AF_9B00_0000_FFFF,
      ] { entries.append(flat | rights) }
    }
    entries += [Self.system(base: Self.tss, limit: 0x2068, type: 0x8B), 0]
    let gate = UInt64(codeSelector) << 16 | Self.handlers & 0xFFFF
    entries += [gate | (mode.hasSmallHandlers ? 0xE400 : 0xEC00) << 32 | (Self.handlers >> 16) << 48, 0]
    entries += [Self.system(base: 0x5200, limit: 0x67, type: 0xE9), 0, 0x0000_8200_0000_0000]
    for (index, entry) in entries.enumerated() { memory.store(GPA(Self.gdt + UInt64(index * 8)), entry) }
  }

  private static func system(base: UInt64, limit: UInt64, type: UInt64) -> UInt64 {
    let low = base & 0xFF_FFFF
    return limit & 0xFFFF | low << 16 | type << 40 | (base >> 24) << 56
  }

  /// The code segment handlers run in.
  private var codeSelector: UInt16 {
    mode.isLong ? Selector.code64 : mode.hasSmallHandlers ? Selector.code16 : Selector.code32
  }

  private func installTasks(_ random: inout Random) {
    for base in [Self.tss, 0x5200] {
      if mode.isLong {
        for slot: UInt64 in [0x04, 0x0C, 0x14] { memory.store(GPA(base + slot), Self.stack) }
        for list: UInt64 in 0..<7 { memory.store(GPA(base + 0x24 + list * 8), UInt64(0xD000)) }
      } else {
        for ring: UInt64 in 0..<3 {
          memory.store(GPA(base + 4 + ring * 8), UInt32(Self.stack))
          memory.store(GPA(base + 8 + ring * 8), UInt32(Selector.data32))
        }
        memory.store(GPA(base + 0x20), UInt32(Self.program))
        memory.store(GPA(base + 0x38), UInt32(Self.stack))
        for segment: UInt64 in [0x48, 0x50, 0x54, 0x58, 0x5C] { memory.store(GPA(base + segment), UInt32(Selector.data32)) }
        memory.store(GPA(base + 0x4C), UInt32(Selector.code32))
      }
      memory.store(GPA(base + 0x66), UInt16(random.one(in: 2) ? 0x68 : 0xFFFF))
    }
    memory.store(GPA(Self.tss + 0x2068), UInt8(0xFF))
  }

  // MARK: gates (SDM 3A 6.11, 6.14.1; 21.1.4 for real mode)

  private func installGates(_ random: inout Random) {
    for vector: UInt64 in 0..<256 {
      let offset = Self.handlers + (vector & (Self.handlerCount - 1)) * Self.handlerSize
      if mode.code == .real {
        memory.store(GPA(vector * 4), UInt32(offset))
        continue
      }
      let type: UInt64 = (mode.hasSmallHandlers ? 6 : 0xE) | (random.one(in: 3) ? 1 : 0)
      let privilege: UInt64 = random.one(in: 2) ? 3 : 0
      let list: UInt64 = mode.isLong && random.one(in: 4) ? UInt64(random.below(8)) : 0
      let rights = (0x80 | privilege << 5 | type) << 8 | list
      let gate = offset & 0xFFFF | UInt64(codeSelector) << 16 | rights << 32 | (offset >> 16) << 48
      let size: UInt64 = mode.isLong ? 16 : 8
      memory.store(GPA(Self.idt + vector * size), gate)
    }
  }

  // MARK: handlers

  /// Ends interrupts at the PIC pair and returns to a random place of the program in its own mode.
  private func handler(_ random: inout Random) -> [UInt8] {
    var code: [UInt8] = [0xB0, 0x20, 0xE6, 0x20, 0xE6, 0xA0]  // mov al, 20h; out 20h, al; out 0A0h, al
    let target = Self.program + UInt64(random.below(400))
    var flags: UInt64 = 0x0002
    if !random.one(in: 4) { flags |= RFLAGS.interruptEnable }
    if random.one(in: 2) { flags |= RFLAGS.iopl }
    if random.one(in: 8) { flags |= RFLAGS.tf }
    if mode.hasSmallHandlers {
      code += [0xBC, 0x00, 0xF0]  // mov sp, 0F000h
      if mode.ring == 3 { code += push(UInt64(state[.ss].selector)) + push(Self.userStack) }
      code += push(flags) + push(UInt64(state[.cs].selector)) + push(target - state[.cs].base)
      return code + [0xCF]
    }
    code += mode.isLong ? [0x48, 0xC7, 0xC4] : [0xBC]  // mov rsp, imm32; mov esp, imm32
    code += [0x00, 0xF0, 0x00, 0x00]
    if mode.code == .virtual8086 {
      flags |= RFLAGS.vm
      code += push(0) + push(0) + push(0) + push(0)
    }
    let stackSelector = mode.code == .virtual8086 ? 0 : state[.ss].selector
    if mode.isLong || mode.ring == 3 {
      code += push(UInt64(stackSelector)) + push(mode.ring == 3 ? Self.userStack : Self.stack)
    }
    code += push(flags) + push(UInt64(state[.cs].selector)) + push(target - state[.cs].base)
    return code + (mode.isLong ? [0x48, 0xCF] : [0xCF])
  }

  private func push(_ value: UInt64) -> [UInt8] {
    let size: UInt64 = mode.hasSmallHandlers ? 2 : 4
    return [0x68] + (0..<size).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
  }

  // MARK: the processor

  private var initialState: VCPUState {
    var state = VCPUState()
    state.cr0 = CR0.et
    if mode.code == .real {
      for name in [SegmentName.es, .ss, .ds, .fs, .gs] { state[name] = SegmentState() }
      state[.cs] = SegmentState(selector: UInt16(Self.program >> 4), base: Self.program, access: 0x9B)
      state.rip = 0
      state[.rsp] = Self.stack
      return state
    }
    state.cr0 |= CR0.pe
    state.gdtr = TableRegister(base: Self.gdt, limit: 0x8F)
    state.idtr = TableRegister(base: Self.idt, limit: mode.isLong ? 0xFFF : 0x7FF)
    state[.tr] = SegmentState(selector: Selector.task, base: Self.tss, limit: 0x2068, access: 0x8B)
    state[.rsp] = mode.ring == 3 ? Self.userStack : Self.stack
    setSegments(&state)
    setPaging(&state)
    return state
  }

  private func setSegments(_ state: inout VCPUState) {
    if mode.code == .virtual8086 {
      for name in [SegmentName.es, .cs, .ss, .ds, .fs, .gs] { state[name] = SegmentState(access: 0xF3) }
      state[.cs] = SegmentState(selector: UInt16(Self.program >> 4), base: Self.program, access: 0xF3)
      state.rip = 0
      state.rflags |= RFLAGS.vm
      return
    }
    let rank: UInt32 = mode.ring == 3 ? 0x60 : 0
    let user: UInt16 = mode.ring == 3 ? Selector.user : 0
    let code: SegmentState
    switch mode.bits {
    case 16: code = SegmentState(selector: Selector.code16 + user, limit: 0xFFFF, access: 0x9B | rank)
    case 32: code = SegmentState(selector: Selector.code32 + user, limit: .max, access: 0xC09B | rank)
    default: code = SegmentState(selector: Selector.code64 + user, limit: .max, access: 0xA09B | rank)
    }
    state[.cs] = code
    for name in [SegmentName.es, .ss, .ds, .fs, .gs] {
      state[name] = SegmentState(selector: Selector.data32 + user, limit: .max, access: 0xC093 | rank)
    }
    if mode.bits == 16 { state[.ss] = SegmentState(selector: Selector.data16 + user, access: 0x93 | rank) }
    state.rip = Self.program
  }

  private func setPaging(_ state: inout VCPUState) {
    guard mode.paging != .none else { return }
    state.cr0 |= CR0.pg
    state.cr4 |= CR4.pse
    switch mode.paging {
    case .none, .bits32: state.cr3 = Self.pages
    case .pae:
      state.cr4 |= CR4.pae
      state.cr3 = Self.pages + 0x2000
    case .level4:
      state.cr4 |= CR4.pae
      state.efer = EFER.lme | EFER.lma | EFER.sce | EFER.nxe
      state.cr3 = Self.pages + 0x6000
    }
  }

  // MARK: page tables (SDM 3A 4.3 to 4.5)

  /// Three sets of tables, from `pages` on: the first 2 or 4 MiB mapped to themselves for everybody, page by page, and
  /// the interrupt controllers by large pages.
  private static let pageTables: [UInt8] = {
    var image = [UInt8](repeating: 0, count: 0x8000)
    func put(_ offset: UInt64, _ value: UInt64, _ size: Int) {
      for index in 0..<size { image[Int(offset) + index] = UInt8(truncatingIfNeeded: value >> UInt64(index * 8)) }
    }
    let open: UInt64 = 7
    put(0x0000, pages + 0x1000 | open, 4)
    put(0x0000 + 0x3FB * 4, 0xFEC0_0000 | 0x97, 4)
    for page in 0..<UInt64(1024) { put(0x1000 + page * 4, page << 12 | open, 4) }
    put(0x2000, pages + 0x3000 | 1, 8)
    put(0x2000 + 3 * 8, pages + 0x5000 | 1, 8)
    put(0x3000, pages + 0x4000 | open, 8)
    for page in 0..<UInt64(512) { put(0x4000 + page * 8, page << 12 | open, 8) }
    put(0x5000 + 0x1F6 * 8, 0xFEC0_0000 | 0x97, 8)
    put(0x5000 + 0x1F7 * 8, 0xFEE0_0000 | 0x97, 8)
    put(0x6000, pages + 0x7000 | open, 8)
    put(0x7000, pages + 0x3000 | open, 8)
    put(0x7000 + 3 * 8, pages + 0x5000 | open, 8)
    return image
  }()
}
