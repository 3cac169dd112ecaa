import Debugger
import VMCore

/// An exit's operands by the names that conditions use.
enum EventFields {
  static func value(of field: EventField, in exit: VMExit, time: UInt64) -> UInt64? {
    switch field {
    case .reason: return UInt64(exit.reason.rawValue)
    case .icount: return exit.instructionCount
    case .time: return time
    default: break
    }
    switch exit.qualification {
    case .io(let port, let size, let write, _, _, let value):
      return [.port: UInt64(port), .size: UInt64(size), .write: write ? 1 : 0, .value: value][field]
    case .mmio(let gpa, let linear, let size, let write, let value):
      return [
        .gpa: gpa.value, .gva: linear.value, .size: UInt64(size), .write: write ? 1 : 0, .value: value,
      ][field]
    case .msr(let index, let write, let value):
      return [.msr: UInt64(index), .write: write ? 1 : 0, .value: value][field]
    case .cpuid(let leaf, _): return field == .leaf ? UInt64(leaf) : nil
    case .cr(let number, let access, _, let value):
      return [.cr: UInt64(number), .write: access == .read ? 0 : 1, .value: value][field]
    case .exception(let vector, let errorCode, let linear):
      return [.vector: UInt64(vector), .error: UInt64(errorCode ?? 0), .gva: linear][field]
    case .softwareInterrupt(let vector), .externalInterrupt(let vector):
      return field == .vector ? UInt64(vector) : nil
    case .hypercall(let number): return field == .nr ? number : nil
    case .debug(.data(let address, let size, let write)):
      return [.gva: address.value, .size: UInt64(size), .write: write ? 1 : 0][field]
    default: return nil
    }
  }
}
