import VMCore
import X86

/// A debugger's wishes put into a VMCS's controls: bits where the VMCS has them, `wishes` for the rest.
extension ExitControls {
  /// Makes the engine exit for what `cause` waits for, where it would not by itself.
  package mutating func require(_ cause: BreakpointCause) {
    switch cause {
    case .execution, .data: break
    case .port(let port, _): require(port: port)
    case .msr(let index, let kinds): require(msr: index, kinds)
    case .controlRegister(let number, _): require(controlRegister: number)
    case .vector(let vector):
      if let vector { wishes.vectors[vector] = true } else { wishes.vectors = .all }
      wishes.softwareInterrupts = true
    case .reason(let reason): require(reason)
    case .hypercall: require(port: nil)
    }
  }

  /// With a rewriting policy in force (`base`) every sensitive instruction exits: of what a debugger asks for in
  /// addition only exceptions are left.
  package func obeying(_ base: ExitControls) -> ExitControls {
    var controls = base
    controls.wishes.vectors = wishes.vectors
    return controls
  }

  private mutating func require(port: UInt16?) {
    guard vmcs.has(.useIOBitmaps) else {
      vmcs[.unconditionalIOExiting] = true
      return
    }
    if let port { bitmaps[port: port] = true } else { bitmaps.setAllPorts(true) }
  }

  private mutating func require(msr index: UInt32?, _ kinds: AccessKinds) {
    guard vmcs.has(.useMSRBitmaps) else { return }
    guard let index else {
      vmcs[.useMSRBitmaps] = false
      return
    }
    if kinds.contains(.read) { bitmaps.set(msr: index, write: false, true) }
    if kinds.contains(.write) { bitmaps.set(msr: index, write: true, true) }
  }

  private mutating func require(controlRegister number: UInt8?) {
    switch number {
    case 0, 4: wishes.controlRegisters |= 1 << UInt16(number ?? 0)
    case 3: for bit in [VMXControlBit.cr3LoadExiting, .cr3StoreExiting] { vmcs[bit] = true }
    case 8: for bit in [VMXControlBit.cr8LoadExiting, .cr8StoreExiting] { vmcs[bit] = true }
    case nil: for each in [UInt8(0), 3, 4, 8] { require(controlRegister: each) }
    default: break
    }
    // A target value does not exit: a breakpoint wants to see it as well.
    if number == 3 { vmcs.cr3Targets = [] }
  }

  /// Makes exits of `reason` happen wherever the controls can choose.
  package mutating func require(_ reason: ExitReason) {
    switch reason {
    case .exception: wishes.vectors = .all
    case .softwareInterrupt: wishes.softwareInterrupts = true
    case .io: require(port: nil)
    case .rdmsr, .wrmsr: require(msr: nil, .both)
    case .crAccess: require(controlRegister: nil)
    default: if let bit = Self.bit(for: reason) { vmcs[bit] = true }
    }
  }

  /// The control bit that makes a reason happen, where it is one.
  package static func bit(for reason: ExitReason) -> VMXControlBit? {
    switch reason {
    case .hlt: .hltExiting
    case .rdtsc, .rdtscp: .rdtscExiting
    case .rdpmc: .rdpmcExiting
    case .drAccess: .movDRExiting
    case .gdtrIdtrAccess, .ldtrTrAccess: .descriptorTableExiting
    case .invlpg: .invlpgExiting
    case .pause: .pauseExiting
    case .wbinvd: .wbinvdExiting
    case .monitorTrap: .monitorTrapFlag
    default: nil
    }
  }
}
