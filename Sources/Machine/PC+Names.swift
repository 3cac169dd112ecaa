import VMCore
import X86

/// Names for display: who deals with an exit, and what stands at a port or address.
extension PC {
  /// The device or service that answers an exit: "uart16550", "pic", "doorbell", "bios int 10h"; "" where nobody does.
  package func handlerName(for exit: VMExit) -> String {
    switch exit.qualification {
    case .io(let port, _, _, _, _, _):
      let name = ports.handlerName(port)
      return name == BIOSServices.deviceName ? BIOSServices.serviceName(at: exit.rip) : name
    case .mmio(let gpa, _, _, _, _):
      return isLocalAPIC(gpa, vcpu: Int(exit.vcpu)) ? "lapic" : mmio.handlerName(gpa)
    case .cpuid: return "cpuid"
    case .msr(let index, _, _): return Self.isAPIC(msr: index) ? "lapic" : "msr"
    case .cr(let number, _, _, _): return number == 8 ? "lapic" : ""
    case .hypercall: return "doorbell"
    default: return ""
    }
  }

  /// What is at a port: "COM1 THR", "PIC1 command"; nil where nothing is. Which UART register it is may
  /// depend on the moment (the divisor latch).
  package func portName(_ port: UInt16, write: Bool = false) -> String? {
    ports.registerName(port, write: write) ?? Self.emptyPorts(port)
  }

  /// Places where a PC may have something and this one has not.
  private static func emptyPorts(_ port: UInt16) -> String? {
    switch port {
    case 0x2F8...0x2FF: "COM2"
    case 0x3E8...0x3EF: "COM3"
    case 0x2E8...0x2EF: "COM4"
    case 0x378...0x37A: "LPT1"
    case 0x1F0...0x1F7, 0x3F6: "IDE"
    case 0x3F0...0x3F5, 0x3F7: "floppy controller"
    case 0x402: "firmware debug port"
    default: nil
    }
  }

  /// What is at a guest-physical address: "LAPIC EOI", "IOAPIC IOWIN"; nil where nothing is.
  package func mmioName(_ gpa: GPA, write: Bool = false, vcpu: Int = 0) -> String? {
    if isLocalAPIC(gpa, vcpu: vcpu) {
      return "LAPIC \(LocalAPIC.name(ofRegister: Int(gpa.value >> 4 & 0xFF)))"
    }
    return mmio.registerName(gpa, write: write)
  }
}
