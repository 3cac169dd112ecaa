import X86

/// The registers an instruction works on, taken cheaply: a few cache lines without allocation, so that they
/// can be had at every exit.
package struct RegisterCapture: Sendable {
  /// In the order of `GPR`.
  package var gpr = InlineArray<16, UInt64>(repeating: 0)
  package var rip: UInt64 = 0
  package var rflags: UInt64 = 0
  package var csBase: UInt64 = 0
  package var csSelector: UInt16 = 0
  package var mode = ProcessorMode.real16
  package init() {}

  package init(_ state: VCPUState) {
    for index in 0..<16 { gpr[index] = state.gpr[index] }
    rip = state.rip
    rflags = state.rflags
    csBase = state[.cs].base
    csSelector = state[.cs].selector
    mode = state.mode
  }

  package subscript(_ register: GPR) -> UInt64 {
    get { gpr[Int(register.rawValue)] }
    set { gpr[Int(register.rawValue)] = newValue }
  }

  /// Linear address of the next instruction.
  package var linearRIP: GVA { mode == .long64 ? GVA(rip) : GVA((csBase &+ rip) & 0xFFFF_FFFF) }
}

extension RegisterCapture: Equatable {
  package static func == (a: RegisterCapture, b: RegisterCapture) -> Bool {
    for index in 0..<16 where a.gpr[index] != b.gpr[index] { return false }
    return a.rip == b.rip && a.rflags == b.rflags && a.csBase == b.csBase && a.csSelector == b.csSelector
      && a.mode == b.mode
  }
}

extension VCPU {
  /// For vCPUs that have nothing cheaper.
  package func capture(into capture: inout RegisterCapture) { capture = RegisterCapture(state) }
}
