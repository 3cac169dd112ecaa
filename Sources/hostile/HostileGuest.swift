import Machine
import Session
import VMCore
import X86

/// What a campaign is made of: every kind of guest, made again from a seed and a number.
package enum GuestKind: Sendable, CustomStringConvertible {
  case program(GuestMode)
  case image
  /// A monitor in VMX operation with a guest of its own.
  case nested
  /// A driver that breaks the rules of the virtio devices, on a disk of any size.
  case disk

  package static let all: [GuestKind] = GuestMode.all.map { .program($0) } + [.image, .nested, .disk]

  package var description: String {
    switch self {
    case .program(let mode): mode.description
    case .image: "images"
    case .nested: "nested"
    case .disk: "disks"
    }
  }
}

/// Makes hostile guests. Equal seeds, kinds and numbers make equal guests.
package struct GuestMaker: Sendable {
  package let seed: UInt64
  /// Instructions a guest may retire.
  package let limit: UInt64
  /// The engine the guests run on. One that counts no instructions has no limit: the watchdog pauses its guests.
  package let engine: String
  /// Programs get random controls and bitmaps in their VMCS, where the engine lets them be set.
  package let hasControls: Bool
  private let images: ImageMutator
  private static let programMemory: UInt64 = 2 << 20
  private static let imageMemory: UInt64 = 32 << 20

  package init(seed: UInt64, limit: UInt64, engine: String = "interpreter", hasControls: Bool = false) throws(VMError) {
    self.seed = seed
    self.limit = limit
    self.engine = engine
    self.hasControls = hasControls && engine != "kvm"
    images = try ImageMutator()
  }

  /// Numbers that depend on the case alone.
  package func random(_ kind: GuestKind, _ number: Int) -> Random {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in "\(kind)".utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    var mixer = Random(seed ^ hash)
    return Random(mixer.next() &+ UInt64(number) &* 0x9E37_79B9)
  }

  /// The guest in a session before its first instruction. Throws what a loader has to say about a broken image.
  package func session(_ kind: GuestKind, _ number: Int) throws(VMError) -> Session {
    var random = random(kind, number)
    switch kind {
    case .program(let mode): return try program(mode, &random)
    case .image: return try image(number, &random)
    case .nested: return try nested(&random)
    case .disk: return try disk(number, &random)
    }
  }

  private func nested(_ random: inout Random) throws(VMError) -> Session {
    let memory = try GuestMemory(ramSize: Self.programMemory)
    var state = NestedGuest(in: memory, &random).state
    for register in state.gpr.indices where register != Int(GPR.rsp.rawValue) {
      state.gpr[register] = random.one(in: 3) ? random.edgy() : UInt64(random.below(0x1_0000))
    }
    let machine = try VirtualMachine.assemble(name: "nested", memory: memory, cpus: 1, state: state, engine: engine)
    return Session(configuration, machine: machine.machine)
  }

  /// With the engine, and its limit where there is one.
  private var configuration: SessionConfiguration {
    var configuration = SessionConfiguration()
    configuration.engine = engine
    configuration.limit = bound
    return configuration
  }
  private var bound: UInt64? { countsInstructions ? limit : nil }
  package var countsInstructions: Bool { engine != "kvm" }

  // MARK: programs

  private func program(_ mode: GuestMode, _ random: inout Random) throws(VMError) -> Session {
    let memory = try GuestMemory(ramSize: Self.programMemory)
    let tables = GuestTables(mode, in: memory)
    tables.install(&random)
    memory.write(GPA(GuestTables.program), ProgramGenerator.program(bits: mode.bits, &random))
    var state = tables.state
    scatter(&state, &random)
    var configuration = configuration
    configuration.cpus = random.one(in: 8) ? 2 : 1
    let machine = try VirtualMachine.assemble(
      name: mode.description, memory: memory, cpus: configuration.vcpuCount, state: state, engine: engine)
    let session = Session(configuration, machine: machine.machine)
    if hasControls {
      for change in ControlGenerator.changes(&random) {
        let command = VMCSCommandLine.set(change)
        if session.perform(command).failed { throw VMError(.session, "refused: \(command)") }
      }
    }
    return session
  }

  /// Registers near and far, flags, and what the guest may use.
  func scatter(_ state: inout VCPUState, _ random: inout Random) {
    for register in state.gpr.indices where register != Int(GPR.rsp.rawValue) {
      state.gpr[register] = random.one(in: 3) ? random.edgy() : UInt64(random.below(0x1_0000))
    }
    if state.mode != .long64 { for register in state.gpr.indices { state.gpr[register] &= 0xFFFF_FFFF } }
    if random.one(in: 2) { state.rflags |= RFLAGS.interruptEnable }
    if random.one(in: 2) { state.rflags |= RFLAGS.iopl }
    if random.one(in: 16) { state.rflags |= RFLAGS.tf }
    if random.one(in: 4) { state.dr7 = random.next() & 0xFFFF_03FF | 0x400 }
    for index in state.dr.indices { state.dr[index] = UInt64(random.below(0x1_0000)) }
    if !random.one(in: 4) { state.cr4 |= CR4.osfxsr | CR4.osxmmexcpt }
    if random.one(in: 4) { state.cr4 |= random.next() & (CR4.smep | CR4.smap | CR4.umip | CR4.pge | CR4.de | CR4.tsd | CR4.vme) }
    if random.one(in: 4) { state.cr0 |= random.next() & (CR0.wp | CR0.am | CR0.ts | CR0.em | CR0.mp | CR0.ne) }
    state.fpu.mxcsr = random.one(in: 2) ? 0x1F80 : UInt32(truncatingIfNeeded: random.next()) & 0xFFFF
  }

  // MARK: disks

  private func disk(_ number: Int, _ random: inout Random) throws(VMError) -> Session {
    let memory = try GuestMemory(ramSize: Self.programMemory)
    let mode = GuestMode(code: .protected32, paging: .none, ring: 0)
    let tables = GuestTables(mode, in: memory)
    tables.install(&random)
    memory.write(GPA(GuestTables.program), DiskGuest.program(&random))
    let content = (0..<(1 + random.below(0x1_0000))).map { _ in random.byte() }
    let file = try TemporaryFile(content, name: "\(seed)-\(number)-disk")
    let image = try HostDisk(DiskChoice(random.one(in: 4) ? file.path + ",ro" : file.path))
    var configuration = configuration
    configuration.cpus = random.one(in: 8) ? 2 : 1
    let (machine, pc) = try VirtualMachine.assemble(
      name: "disks", memory: memory, cpus: configuration.vcpuCount, state: tables.state, engine: engine, model: .p1)
    VirtioDevices.attach(to: pc, disk: Disk(image, isTemporary: random.one(in: 4)))
    return Session(configuration, machine: machine)
  }

  // MARK: images

  private func image(_ number: Int, _ random: inout Random) throws(VMError) -> Session {
    let guest = images.mutated(&random)
    var configuration = guest.configuration
    let file = try TemporaryFile(guest.bytes, name: "\(seed)-\(number)")
    configuration.guest = file.path
    configuration.memory = Self.imageMemory
    configuration.engine = engine
    configuration.limit = bound
    switch random.below(16) {
    case 0:
      let padding = [UInt8](repeating: 0xFF, count: -guest.bytes.count & 4095)
      let rom = try TemporaryFile(guest.bytes + padding, name: "\(seed)-\(number)-rom")
      var firmware = SessionConfiguration()
      firmware.firmware = rom.path
      firmware.memory = Self.imageMemory
      firmware.engine = engine
      firmware.limit = bound
      return try Session(firmware)
    case 1: configuration.initrd = file.path
    case 2: configuration.disk = file.path
    case 3:
      configuration.mode = random.pick(StartMode.allCases)
      configuration.append = nil
    case 4: configuration.entry = random.edgy()
    default: break
    }
    return try Session(configuration)
  }
}
