import VMCore
import X86

/// Which machine stands around the processor.
package enum PCModel: String, Sendable, CaseIterable {
  /// A PC with local APICs, IOAPIC, keyboard, screen and the ports of emulators.
  case pc
  /// The least that Linux boots on: PIC pair, PIT, one serial port, the clock, and a way to reset.
  case p0
  /// What a system without a past finds: local APICs and IOAPIC, hardware-reduced ACPI, one serial port, the clock,
  /// virtio devices; no PIC, PIT or keyboard controller.
  case p1
}

/// What a PC is made of.
package struct PCConfiguration: Equatable, Sendable {
  /// In bytes; reported to the guest through CMOS.
  package var ramSize: UInt64
  /// 1...254, the APIC ids there are.
  package var vcpuCount: Int
  /// Local APICs and the IOAPIC; without them only the PIC pair delivers interrupts.
  package var hasLocalAPIC: Bool
  package var model: PCModel

  package init(ramSize: UInt64, vcpuCount: Int = 1, hasLocalAPIC: Bool = true, model: PCModel = .pc) {
    self.ramSize = ramSize
    self.vcpuCount = vcpuCount
    self.hasLocalAPIC = hasLocalAPIC && model != .p0
    self.model = model
  }
}

/// A PC: buses, interrupt controllers, timers and the devices around a processor. Turns exits into
/// entry actions; uses neither the host's clock nor anything random.
package final class PC: Platform {
  package let configuration: PCConfiguration
  package let memory: GuestMemory
  package let context: DeviceContext
  /// Port space: loaders and firmware services claim their ports here.
  package let ports: PortBus
  package let mmio: MMIOBus
  package let router: InterruptRouter
  package let serial: Serial16550
  package let pic: PIC8259A
  package let pit: PIT8254
  package let rtc: RTC
  package let keyboard: PS2
  package let vga: VGA
  /// One for each vCPU, by index; none without APICs.
  package var locals: [LocalAPIC] { apicBus.locals }
  package let ioapic: IOAPIC?
  /// What tells firmware and test programs of the machine; on a PC alone.
  let firmwareConfig: FirmwareConfig?
  /// Text for the guest's console is typed on its keyboard as well: a guest with a BIOS reads that one.
  package var typesOnKeyboard = false
  /// The virtio console, on a machine that has one.
  var console: VirtioConsolePort?
  /// The disk whose contents belong to the machine's state.
  package var disk: Disk?
  private let apicBus: APICBus
  private var knownDeadline = Deadline.never
  /// Devices made part of the PC that have a time of their own.
  private var addedTimers: [any TimedDevice] = []
  /// Everything that is reset, saved and shown, in this order. The interrupt controllers come last, so
  /// that a reset leaves them without requests.
  private var devices: [any Device]

  package init(memory: GuestMemory, configuration: PCConfiguration, events: EventSink) {
    precondition((1...254).contains(configuration.vcpuCount), "every vCPU has an APIC id from 0 to 253")
    self.configuration = configuration
    self.memory = memory
    let context = DeviceContext(events: events)
    let router = InterruptRouter(context: context)
    self.context = context
    self.router = router
    ports = PortBus(context: context)
    mmio = MMIOBus(context: context)
    serial = Serial16550(context: context, line: InterruptLine(gsi: 4, router: router), transmit: { context.writeConsole($0) })
    pit = PIT8254(context: context, line: InterruptLine(gsi: 0, router: router))
    rtc = RTC(context: context, line: InterruptLine(gsi: 8, router: router), ramSize: configuration.ramSize)
    keyboard = PS2(context: context, line: InterruptLine(gsi: 1, router: router))
    vga = VGA(context: context)
    pic = PIC8259A(context: context)
    apicBus = APICBus(context: context)
    var devices: [any Device] = configuration.model == .p1 ? [serial, rtc] : [serial, pit, rtc]
    let small = SmallDevices(context: context)
    firmwareConfig = configuration.model == .pc ? FirmwareConfig(configuration) : nil
    switch configuration.model {
    case .pc: devices += [keyboard, vga] + small.all
    case .p0: devices += [small.post, small.reset] as [any Device]
    case .p1: devices += [small.post, small.sleep] as [any Device]
    }
    if let firmwareConfig { devices.append(firmwareConfig) }
    let testDevice = TestDevice(router: router)
    if configuration.model == .pc { devices.append(testDevice) }
    if configuration.model != .p1 { devices.append(pic) }
    if configuration.hasLocalAPIC {
      ioapic = IOAPIC(bus: apicBus)
      for index in 0..<configuration.vcpuCount {
        apicBus.locals.append(LocalAPIC(index: index, context: context, bus: apicBus))
      }
    } else {
      ioapic = nil
    }
    if let ioapic { devices.append(ioapic) }
    devices += apicBus.locals as [any Device]
    self.devices = devices
    wire()
    claimCommonPorts(small)
    if configuration.model != .p1 { claimOldTimerAndPICs() }
    switch configuration.model {
    case .pc:
      claimPorts(small)
      claim(testDevice)
    case .p1: ports.claim(SleepPorts.ports, small.sleep, label: "ACPI")
    case .p0:
      ports.claim(0x60...0x60, small.reset, label: "reset")
      ports.claim(0x64...0x64, small.reset, offset: 1, label: "reset")
    }
  }

  /// The PC owns everything on its wires, which lives as long as they do: no reference is counted along them.
  private func wire() {
    if configuration.model != .p1 { router.pic = { [unowned(unsafe) pic] line, level in pic.set(line, level) } }
    guard let ioapic else { return }
    router.ioapic = { [unowned(unsafe) ioapic] pin, level in ioapic.set(pin, level) }
    apicBus.onEOI = { [unowned(unsafe) ioapic] vector in ioapic.endOfInterrupt(vector) }
    pic.onOutput = { [unowned(unsafe) apicBus] level in apicBus.locals.first?.lint0(level) }
    mmio.claim(IOAPIC.base, size: 0x1000, ioapic, label: "IOAPIC")
  }

  private func claimOldTimerAndPICs() {
    ports.claim(0x20...0x21, pic, label: "")
    ports.claim(0xA0...0xA1, pic, offset: 2, label: "")
    ports.claim(0x4D0...0x4D1, pic, offset: 4, label: "")
    ports.claim(0x40...0x43, pit, label: "PIT")
    ports.claim(0x61...0x61, pit, offset: 4, label: "PIT")
  }

  /// What all machines have.
  private func claimCommonPorts(_ small: SmallDevices) {
    ports.claim(0x70...0x71, rtc, label: "CMOS")
    ports.claim(0x80...0x80, small.post, label: "POST")
    ports.claim(0x3F8...0x3FF, serial, label: "COM1")
    // No PCI, which everybody looks for.
    ports.claimSilent(0xCF8...0xCFF, name: "pci")
    let doorbell = Doorbell(context: context, memory: memory)
    ports.claim(HypercallABI.port, name: "doorbell") { exit, vcpu in doorbell.ring(exit, on: vcpu) }
  }

  /// A cycle of the ISA bus, ns: eight clocks of 8.33 MHz.
  private static let oldBusCycle: UInt64 = 960

  /// The rest of the PC's port map.
  private func claimPorts(_ small: SmallDevices) {
    // Programs measure time by reading it over and over: as slow as on a PC's old bus, that is a thousand reads for a
    // millisecond.
    ports.claim(0x61...0x61, pit, offset: 4, label: "PIT", readTime: Self.oldBusCycle)
    ports.claim(0x60...0x60, keyboard, label: "PS/2")
    ports.claim(0x64...0x64, keyboard, offset: 1, label: "PS/2")
    ports.claim(0x92...0x92, keyboard, offset: 2, label: "")
    ports.claim(0x190...0x190, small.post, offset: 1, label: "POST")
    ports.claim(0xE0...0xE3, small.echo, width: 4, label: "echo")
    ports.claim(0xE9...0xE9, small.debug, label: "debug port")
    ports.claim(0xF4...0xF7, small.power, width: 4, label: "power")
    ports.claim(0x3C0...0x3CF, vga, label: "VGA")
    ports.claim(0x3D4...0x3D5, vga, offset: 0x14, label: "VGA")
    ports.claim(0x3DA...0x3DA, vga, offset: 0x1A, label: "VGA")
    ports.claim(0x604...0x605, small.power, offset: 6, width: 2, label: "ACPI")
    ports.claim(0x8900...0x8900, small.power, offset: 8, label: "power")
    ports.claim(0xCF9...0xCF9, small.power, offset: 4, label: "power")
    if let firmwareConfig { ports.claim(0x510...0x511, firmwareConfig, width: 2, label: "fw_cfg") }
  }

  private func claim(_ device: TestDevice) {
    mmio.claim(TestDevice.memory, size: TestDevice.memorySize, device, label: "test")
    ports.claim(TestDevice.lines, device, offset: TestDevice.linesOffset, width: 4, label: "test")
    ports.claim(TestDevice.flush, device, offset: TestDevice.flushOffset, width: 4, label: "test")
  }

  func local(_ vcpu: Int) -> LocalAPIC? { vcpu < apicBus.locals.count ? apicBus.locals[vcpu] : nil }

  func isLocalAPIC(_ gpa: GPA, vcpu: Int) -> Bool { local(vcpu)?.page == gpa.value & ~0xFFF }

  /// Makes a device part of the PC: from then on it is reset, saved, restored and shown with the rest.
  package func add(_ device: any Device) {
    devices.append(device)
    if let timer = device as? any TimedDevice { addedTimers.append(timer) }
  }

  /// Puts one or two disks on the first ATA channel.
  func addATA(_ drives: [BIOSDrive], ownsContents: Bool) {
    let channel = ATAChannel(drives, line: InterruptLine(gsi: 14, router: router), ownsContents: ownsContents)
    channel.attach(to: ports)
    add(channel)
  }

  /// Writes a byte to the guest's console, as if the guest had sent it to COM1.
  package func writeConsole(_ byte: UInt8) { context.writeConsole(byte) }

  // MARK: Exits

  package func handle(_ exit: VMExit, on vcpu: any VCPU) -> VMEntry.Action {
    context.vcpu = exit.vcpu
    context.rip = exit.rip
    advance(to: vcpu.virtualTime)
    if let access = exit.words.port {
      return ports.handle(exit, port: access.number, size: access.size, write: access.write, value: access.value, on: vcpu)
    }
    switch exit.qualification {
    case .mmio(let gpa, _, let size, let write, let value):
      return access(gpa, size: size, write: write, value: value, on: vcpu)
    case .cpuid(let leaf, let subleaf): return cpuid(leaf: leaf, subleaf: subleaf, on: vcpu)
    case .msr(let index, let write, let value): return msr(index, write: write, value: value, on: vcpu)
    case .cr(8, let access, _, let value): return cr8(access, value: value, on: vcpu)
    case .unknownInstruction: return .fault(Exception.ud.rawValue, errorCode: nil)
    case .none where exit.reason == .initSignal:
      context.request(.initialize(vcpu: vcpu.index))
      return .resume
    // Nothing to carry out: the vCPU stopped between instructions.
    case .interruptWindow, .debug, .tripleFault, .budget, .kicked, .entryFailure, .externalInterrupt: return .resume
    default:
      let isBoundary = exit.reason == .monitorTrap || exit.reason == .preemptionTimer
      return isBoundary ? .resume : .emulate
    }
  }

  private func access(_ gpa: GPA, size: UInt8, write: Bool, value: UInt64, on vcpu: any VCPU) -> VMEntry.Action {
    if isLocalAPIC(gpa, vcpu: vcpu.index), let local = local(vcpu.index) {
      let offset = gpa.value & 0xFFF
      if !write { return .complete(local.read(offset, size: size) & PortBus.ones(size)) }
      local.write(offset, size: size, value: value & PortBus.ones(size))
      return .complete(0)
    }
    if !write { return .complete(mmio.read(gpa, size: size)) }
    mmio.write(gpa, size: size, value: value)
    return .complete(0)
  }

  // MARK: Time

  /// Fires what is due in the order of time; of several at one moment, the first of serial port, PIT,
  /// clock, local APICs by number and what was added.
  package func advance(to time: UInt64) {
    let time = min(time, Deadline.horizon)
    guard earliestDeadline <= time else { return context.move(to: time) }
    while let timer = earliestTimer, timer.deadline <= time {
      context.move(to: timer.deadline)
      timer.fire(upTo: time)
    }
    context.move(to: time)
  }

  private var earliestTimer: (any TimedDevice)? {
    let next = earliestDeadline
    if next == Deadline.never { return nil }
    if serial.deadline == next { return serial }
    if pit.deadline == next { return pit }
    if rtc.deadline == next { return rtc }
    return apicBus.locals.first { $0.deadline == next } ?? addedTimers.first { $0.deadline == next }
  }

  /// The least of all timers' deadlines: worked out again where one of them may have changed.
  private var earliestDeadline: UInt64 {
    if context.timersChanged {
      context.timersChanged = false
      knownDeadline = leastDeadline
    }
    return knownDeadline
  }

  private var leastDeadline: UInt64 {
    var result = min(serial.deadline, pit.deadline, rtc.deadline)
    for local in apicBus.locals { result = min(result, local.deadline) }
    for timer in addedTimers { result = min(result, timer.deadline) }
    return result
  }

  package var nextDeadline: UInt64? {
    let next = earliestDeadline
    return next == Deadline.never ? nil : next
  }

  // MARK: Interrupts

  package func interruptPending(vcpu: Int) -> Bool {
    if let local = local(vcpu), local.hasInterrupt { return true }
    return pic.output && takesPIC(vcpu)
  }

  /// The PIC's output reaches this vCPU: by LINT0 on the first, or by the IOAPIC's pin 0.
  private func takesPIC(_ vcpu: Int) -> Bool {
    guard let local = local(vcpu) else { return vcpu == 0 }
    if vcpu == 0, local.passesPIC { return true }
    return ioapic?.passesPIC(to: local) ?? false
  }

  package func acknowledgeInterrupt(vcpu: Int) -> Vector? {
    context.vcpu = UInt8(truncatingIfNeeded: vcpu)
    if let vector = local(vcpu)?.acknowledge() { return vector }
    return pic.output && takesPIC(vcpu) ? pic.acknowledge() : nil
  }

  // MARK: The outside

  package var hasRequests: Bool { context.hasRequests }
  package func takeRequests() -> [PlatformRequest] { context.takeRequests() }
  package func takeConsoleOutput() -> [UInt8] { context.takeConsoleOutput() }

  package func consoleInput(_ bytes: [UInt8]) {
    for byte in bytes { context.emit(.input, a: UInt32(byte), b: 0) }
    if let console, context.speaksByVirtio { return console.type(bytes) }
    serial.receive(bytes)
    if typesOnKeyboard { keyboard.type(bytes) }
  }

  package func keyboardInput(_ scanCodes: [UInt8]) {
    for code in scanCodes { context.emit(.input, a: UInt32(code), b: 1) }
    keyboard.press(scanCodes)
  }

  /// Power-on state of everything; virtual time goes on, and console output not yet taken stays.
  package func reset() {
    (context.vcpu, context.rip) = (0, 0)
    context.dropRequests()
    router.reset()
    for device in devices { device.reset() }
  }

  // MARK: Snapshot and display

  /// "RSPC" and the version of the layout.
  private static let snapshotMagic: UInt64 = 0x0002_0000_4350_5352

  /// Typed bytes the guest has not read wait inside the devices and are part of it. Requests and
  /// console output are not: they are taken before a snapshot is made.
  package func snapshot() -> [UInt8] {
    var coder = StateCoder()
    var magic = Self.snapshotMagic
    coder.code(&magic)
    code(&coder)
    return coder.bytes
  }

  private func code(_ coder: inout StateCoder) {
    var count = UInt32(devices.count)
    coder.code(&count)
    context.code(&coder)
    router.code(&coder)
    for device in devices { device.code(&coder) }
  }

  /// Refused, with nothing changed, where the bytes are not a snapshot of a PC of this configuration.
  package func restore(_ snapshot: [UInt8]) throws(VMError) {
    let before = self.snapshot()
    var coder = StateCoder(restoring: snapshot)
    var magic: UInt64 = 0
    coder.code(&magic)
    if magic == Self.snapshotMagic { code(&coder) }
    guard magic == Self.snapshotMagic, coder.isComplete else {
      var undo = StateCoder(restoring: before)
      undo.code(&magic)
      code(&undo)
      if let why = disk?.refusal { throw VMError(.session, why, remedy: "start again with reset") }
      throw VMError(
        .session, "device snapshot: \(snapshot.count) bytes do not describe this PC; expected \(devices.count) devices",
        remedy: "restore it into a VM with the same memory, processors and devices")
    }
  }

  package var inspection: [DeviceInspection] { devices.map(\.inspection) }
}

/// The devices without much in them.
struct SmallDevices {
  let debug: DebugPort
  let power: PowerPorts
  let echo = EchoPort()
  let post = POSTPorts()
  let reset: ResetPort
  let sleep: SleepPorts
  var all: [any Device] { [post, debug, echo, power] }

  init(context: DeviceContext) {
    debug = DebugPort(context: context)
    power = PowerPorts(context: context)
    reset = ResetPort(context: context)
    sleep = SleepPorts(context: context)
  }
}
