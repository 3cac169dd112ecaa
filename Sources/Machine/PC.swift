import VMCore
import X86

/// What a PC is made of.
package struct PCConfiguration: Equatable, Sendable {
  /// In bytes; reported to the guest through CMOS.
  package var ramSize: UInt64
  package var vcpuCount: Int
  /// Local APICs and the IOAPIC; without them only the PIC pair delivers interrupts.
  package var hasLocalAPIC: Bool

  package init(ramSize: UInt64, vcpuCount: Int = 1, hasLocalAPIC: Bool = true) {
    self.ramSize = ramSize
    self.vcpuCount = vcpuCount
    self.hasLocalAPIC = hasLocalAPIC
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
  /// Everything that is reset, saved and shown, in this order.
  private var devices: [any Device] = []
  private var timers: [any TimedDevice] = []

  package init(memory: GuestMemory, configuration: PCConfiguration, events: EventSink) {
    self.configuration = configuration
    self.memory = memory
    context = DeviceContext(events: events)
    ports = PortBus(context: context)
    mmio = MMIOBus(context: context)
    router = InterruptRouter(context: context)
  }

  /// Writes a byte to the guest's console, as if the guest had sent it to COM1.
  package func writeConsole(_ byte: UInt8) { context.writeConsole(byte) }

  // MARK: Platform

  package func handle(_ exit: VMExit, on vcpu: any VCPU) -> VMEntry.Action {
    context.vcpu = exit.vcpu
    context.rip = exit.rip
    advance(to: vcpu.virtualTime)
    switch exit.qualification {
    case .io(let port, let size, let write, _, _, let value):
      return ports.handle(exit, port: port, size: size, write: write, value: value, on: vcpu)
    case .mmio(let gpa, _, let size, let write, let value):
      if write {
        mmio.write(gpa, size: size, value: value)
        return .complete(0)
      }
      return .complete(mmio.read(gpa, size: size))
    default:
      return .emulate
    }
  }

  package func advance(to time: UInt64) {
    context.move(to: time)
  }

  package var nextDeadline: UInt64? { nil }
  package func interruptPending(vcpu: Int) -> Bool { false }
  package func acknowledgeInterrupt(vcpu: Int) -> Vector? { nil }
  package func takeRequests() -> [PlatformRequest] { context.takeRequests() }
  package func consoleInput(_ bytes: [UInt8]) {}
  package func keyboardInput(_ scanCodes: [UInt8]) {}
  package func takeConsoleOutput() -> [UInt8] { context.takeConsoleOutput() }
  package func snapshot() -> [UInt8] { [] }
  package func restore(_ snapshot: [UInt8]) throws(VMError) {}
  package func reset() { for device in devices { device.reset() } }
  package var inspection: [DeviceInspection] { devices.map(\.inspection) }
}
