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

package struct DeviceInspection: Sendable {
  package var device: String
  package var rows: [(name: String, value: String)]
  package init(device: String, rows: [(name: String, value: String)]) {
    self.device = device
    self.rows = rows
  }
}
