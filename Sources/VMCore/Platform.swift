import X86

/// What a guest or device asks of the one who owns the VM.
package enum PlatformRequest: Equatable, Sendable {
  /// Orderly power-off.
  case shutdown
  /// The exit port F4h: the process status, `value*2+1`.
  case exit(status: Int32)
  /// Reset by port 64h, CF9h or ACPI.
  case reset
  /// INIT to a vCPU (APIC id = index).
  case initialize(vcpu: Int)
  /// SIPI: start at vector*4096 in real mode.
  case startup(vcpu: Int, vector: UInt8)
  case nmi(vcpu: Int)
  /// The vCPU sleeps behind the present exit until an interrupt waits for it.
  case block(vcpu: Int)
  /// The platform cannot let the guest go on: why, in one sentence.
  case crash(String)
  /// The hypercall "yield".
  case yield
}

/// What the guest finds under it: a PC, or Xen's ABI. Called only from the thread that runs the vCPUs.
package protocol Platform: AnyObject {
  /// Deals with an exit by its device or service.
  func handle(_ exit: VMExit, on vcpu: any VCPU) -> VMEntry.Action
  /// Lets timers fire up to this virtual time in nanoseconds.
  func advance(to time: UInt64)
  /// The virtual time of the next timer event, or nil if none is due.
  var nextDeadline: UInt64? { get }
  /// An interrupt wants to be delivered to this vCPU (not yet acknowledged).
  func interruptPending(vcpu: Int) -> Bool
  /// Acknowledges the highest pending interrupt and gives its vector; nil if it went away.
  func acknowledgeInterrupt(vcpu: Int) -> Vector?
  /// Delivers what is pending by itself, by changing the vCPU's state, and gives the vector it is shown under;
  /// nil where interrupts are the processor's to deliver.
  func deliverInterrupt(to vcpu: any VCPU) -> Vector?
  /// Whether `takeRequests` would give any: asked at every exit.
  var hasRequests: Bool { get }
  /// Requests since the last call, in order; empties the queue.
  func takeRequests() -> [PlatformRequest]
  /// Bytes typed by the person, for the guest's console (serial port).
  func consoleInput(_ bytes: [UInt8])
  /// A key pressed, as PS/2 set-1 scan codes.
  func keyboardInput(_ scanCodes: [UInt8])
  /// Bytes the guest wrote to its console since the last call; empties the buffer.
  func takeConsoleOutput() -> [UInt8]
  /// Opaque, complete device state: what `restore` takes.
  func snapshot() -> [UInt8]
  func restore(_ snapshot: [UInt8]) throws(VMError)
  /// Puts all devices in their power-on state.
  func reset()
  /// Device state for display: one section a device, name and value lines.
  var inspection: [DeviceInspection] { get }
}

extension Platform {
  package var hasRequests: Bool { true }
  package func deliverInterrupt(to vcpu: any VCPU) -> Vector? { nil }
}

package struct DeviceInspection: Sendable {
  /// What the device is for, so that a console can show those that belong together in one place.
  package enum Role: Sendable { case interruptController, timer, other }
  package var device: String
  package var rows: [(name: String, value: String)]
  package var role: Role
  /// Registers with a bit for each line or vector, bit by bit.
  package var bitmaps: [InspectionBitmap]

  package init(
    device: String, rows: [(name: String, value: String)], role: Role = .other, bitmaps: [InspectionBitmap] = []
  ) {
    self.device = device
    self.rows = rows
    self.role = role
    self.bitmaps = bitmaps
  }
}

/// A register of an interrupt controller with a bit for each line or vector.
package struct InspectionBitmap: Equatable, Sendable {
  /// "IRR".
  package var name: String
  package var bits: VectorSet
  /// 8, 16, 24 or 256.
  package var count: Int
  /// What each bit stands for, from bit 0 on; empty where the bits are vectors.
  package var lines: [String]

  package init(_ name: String, bits: VectorSet, count: Int = 256, lines: [String] = []) {
    self.name = name
    self.bits = bits
    self.count = count
    self.lines = lines
  }

  package init(_ name: String, word: UInt64, count: Int, lines: [String] = []) {
    var set = VectorSet()
    set.words.0 = word
    self.init(name, bits: set, count: count, lines: lines)
  }
}
