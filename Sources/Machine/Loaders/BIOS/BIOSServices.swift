import VMCore
import X86

/// The BIOS behind a boot sector: answers the stubs of `BIOSROM`, and leaves the PC's devices as a BIOS
/// leaves them. A device of the PC as far as reset, snapshots and display go.
package final class BIOSServices: Device {
  static let deviceName = "bios"
  package let name = BIOSServices.deviceName
  private let configuration: BIOSConfiguration
  private unowned let pc: PC
  private let video: BIOSVideo
  private let keyboard: BIOSKeyboard
  private let system: BIOSSystem
  private var disk: BIOSDisk
  /// Virtual time in ns at which the INT 15h AH=86h under way ends; nil when none is.
  private var waitEnd: UInt64?
  private var calls: UInt64 = 0
  private var lastVector: UInt8 = 0

  /// Takes the service port, fills the vector table and the data area and programs the devices.
  package init(_ configuration: BIOSConfiguration, on pc: PC) {
    self.configuration = configuration
    self.pc = pc
    let memory = pc.memory
    let context = pc.context
    video = BIOSVideo(memory: memory, vga: pc.vga, console: { context.writeConsole($0) })
    keyboard = BIOSKeyboard(memory: memory)
    system = BIOSSystem(
      memory: memory, ports: pc.ports, map: MemoryMap(ramSize: configuration.ramSize),
      powerOff: { context.request(.shutdown) })
    disk = BIOSDisk(memory: memory, configuration)
    pc.ports.claim(BIOSROM.servicePort, name: name) { [self] exit, vcpu in handle(exit, on: vcpu) }
    pc.keyboard.isHeld = { [keyboard] in keyboard.isFull }
    pc.typesOnKeyboard = true
    // Systems loaded by INT 13h go on with a driver of their own.
    let hardDisks = disk.drives.filter { $0.number >= 0x80 }
    if !hardDisks.isEmpty { pc.addATA(hardDisks, ownsContents: false) }
    programDevices()
  }

  /// The PIC pair at vectors 08h and 70h, the timer at 18.2 Hz, the keyboard's interrupt on.
  private func programDevices() {
    let writes: [(port: UInt16, value: UInt8)] = [
      // PIC: ICW1...ICW4, then masks: timer, keyboard, cascade, floppy; RTC, mouse, coprocessor, disk.
      (0x20, 0x11), (0x21, 0x08), (0x21, 0x04), (0x21, 0x01), (0xA0, 0x11), (0xA1, 0x70), (0xA1, 0x02), (0xA1, 0x01),
      (0x21, 0xB8), (0xA1, 0x8E),
      // PIT channel 0: mode 3, divisor 65,536.
      (0x43, 0x36), (0x40, 0x00), (0x40, 0x00),
      // Keyboard controller: keyboard on, its interrupt on, codes of set 1, no mouse.
      (0x64, 0xAE), (0x64, 0x60), (0x60, 0x65),
    ]
    for (port, value) in writes { pc.ports.write(port, size: 1, value: UInt64(value)) }
  }

  // MARK: Services

  /// "bios int 13h" for the exit of a stub at this offset in segment F000h, "bios" for any other.
  static func serviceName(at offset: UInt64) -> String {
    guard let vector = BIOSROM.vector(at: offset) else { return deviceName }
    return "\(deviceName) int \(hex(UInt64(vector)))h"
  }

  private func handle(_ exit: VMExit, on vcpu: any VCPU) -> VMEntry.Action {
    guard case .io(_, _, true, _, _, _) = exit.qualification else { return .complete(0xFF) }
    let call = BIOSCall(vcpu, memory: pc.memory)
    guard call.state[.cs].base == BIOSROM.base, let vector = BIOSROM.vector(at: exit.rip) else { return .complete(0) }
    calls &+= 1
    lastVector = vector
    switch vector {
    case 0x09: keyboard.receive(call.al)
    case 0x10: video.serve(call)
    case 0x11: call.ax = pc.memory.word(BIOSData.equipment)
    case 0x12: call.ax = pc.memory.word(BIOSData.memorySize)
    case 0x13: disk.serve(call)
    case 0x14: system.serial(call)
    case 0x15 where call.ah == 0x86: return wait(call)
    case 0x15: system.serve(call)
    case 0x16:
      keyboard.serve(call)
      pc.keyboard.resume()
    case 0x18: say("No bootable device.\r\n")
    case 0x1A: system.time(call)
    default: break
    }
    return .complete(0)
  }

  /// AH=86h: waits CX:DX microseconds. The stub's OUT is started again, with interrupts on, each time the
  /// next timer of a device comes up, so that the guest's own interrupts go on meanwhile.
  private func wait(_ call: BIOSCall) -> VMEntry.Action {
    let now = call.vcpu.virtualTime
    let microseconds = UInt64(call.cx) << 16 | UInt64(call.dx)
    let end = waitEnd ?? (now &+ microseconds &* 1000)
    guard now < end else {
      waitEnd = nil
      call.succeed()
      return .complete(0)
    }
    waitEnd = end
    // At least a millisecond at a time: a guest's very fast timer must not make the wait endless.
    let step = max(pc.nextDeadline ?? end, now &+ 1_000_000)
    call.vcpu.idle(until: min(step, end))
    return .resume
  }

  private func say(_ text: String) {
    for byte in text.utf8 { pc.writeConsole(byte) }
  }

  // MARK: Device

  package func read(_ offset: UInt64, size: UInt8) -> UInt64 { 0xFF }
  package func write(_ offset: UInt64, size: UInt8, value: UInt64) {}
  package func registerName(_ offset: UInt64, write: Bool) -> String { "service" }

  /// Forgets what was written to the drives and starts the devices anew.
  package func reset() {
    disk.reset()
    waitEnd = nil
    calls = 0
    lastVector = 0
    programDevices()
  }

  package func code(_ coder: inout StateCoder) {
    var end = waitEnd ?? .max
    coder.code(&end)
    waitEnd = end == .max ? nil : end
    coder.code(&calls)
    coder.code(&lastVector)
    disk.code(&coder)
  }

  package var inspection: DeviceInspection {
    var rows: [(name: String, value: String)] = [
      ("calls", String(calls)), ("last call", calls == 0 ? "none" : "INT \(hex(UInt64(lastVector)))h"),
    ]
    for drive in disk.drives {
      let geometry = drive.geometry
      let shape = "\(geometry.cylinders)/\(geometry.heads)/\(geometry.sectors)"
      rows.append(("drive \(hex(UInt64(drive.number)))h", "\(shape), \(drive.writtenSectors) sectors written"))
    }
    return DeviceInspection(device: name, rows: rows)
  }
}
