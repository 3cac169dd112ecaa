import VMCore
import X86

extension ExitControls {
  /// Makes the engine exit for what `cause` waits for, where it would not by itself.
  package mutating func require(_ cause: BreakpointCause) {
    switch cause {
    case .execution, .data, .port: break
    case .msr: instructions.insert(.allMSRs)
    case .controlRegister(let number, _): require(controlRegister: number)
    case .vector(let vector):
      if let vector { exceptions[vector] = true } else { exceptions = .all }
      instructions.insert(.softwareInterrupts)
    case .reason(let reason): require(reason)
    case .hypercall: break
    }
  }

  private mutating func require(controlRegister number: UInt8?) {
    switch number {
    case 0: instructions.insert(.cr0)
    case 3: instructions.insert(.cr3)
    case 4: instructions.insert(.cr4)
    case 8: instructions.insert(.cr8)
    default: instructions.formUnion([.cr0, .cr3, .cr4, .cr8])
    }
  }

  /// Makes exits of `reason` happen wherever the controls can choose.
  package mutating func require(_ reason: ExitReason) {
    switch reason {
    case .exception: exceptions = .all
    case .softwareInterrupt: instructions.insert(.softwareInterrupts)
    case .cpuid: instructions.insert(.cpuid)
    case .hlt: instructions.insert(.hlt)
    case .rdtsc, .rdtscp: instructions.insert(.rdtsc)
    case .rdpmc: instructions.insert(.rdpmc)
    case .rdmsr, .wrmsr: instructions.insert(.allMSRs)
    case .crAccess: require(controlRegister: nil)
    case .drAccess: instructions.insert(.dr)
    case .gdtrIdtrAccess, .ldtrTrAccess: instructions.insert(.descriptorTables)
    case .invlpg: instructions.insert(.invlpg)
    case .pause: instructions.insert(.pause)
    case .wbinvd, .invd: instructions.insert(.wbinvd)
    case .taskSwitch: instructions.insert(.taskSwitch)
    default: break
    }
  }
}
