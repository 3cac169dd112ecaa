import VMCore
import X86

/// CLI, STI, CLAC, STAC, PUSHF and POPF. Virtual interrupts (CR4.VME, CR4.PVI) are not advertised, so
/// IOPL alone decides.
extension UnsafeMutablePointer<CPU> {
  func flagInstruction(_ op: SystemOp, _ o: MicroOpPointer) throws(Stop) {
    let size = 1 << Int(o.pointee.sizeLog2)
    switch op {
    case .cli:
      try requireIOPL()
      pointee.rflags &= ~RFLAGS.interruptEnable
    case .sti:
      try requireIOPL()
      if pointee.rflags & RFLAGS.interruptEnable == 0 {
        pointee.interruptShadow = true
        pointee.shadowIsMOVSS = false
      }
      pointee.rflags |= RFLAGS.interruptEnable
    case .clac, .stac:
      guard pointee.cpl == 0 else { throw raise(.ud) }
      let flags = materializeFlags()
      writeFlags(op == .stac ? flags | RFLAGS.ac : flags & ~RFLAGS.ac)
    case .pushf:
      try requireV86IOPL()
      var stack = currentStack()
      let image = materializeFlags() & ~(RFLAGS.vm | RFLAGS.rf)
      try push(&stack, size, image)
      commitStack(stack)
    default:
      try requireV86IOPL()
      var stack = currentStack()
      let image = try pop(&stack, size)
      commitStack(stack)
      let mask = changeableFlags(size: size)
      let merged = materializeFlags() & ~mask | image & mask
      writeFlags(merged & ~RFLAGS.rf)
    }
  }

  /// CLI and STI: CPL must not exceed IOPL (SDM 2A CLI).
  private func requireIOPL() throws(Stop) {
    guard pointee.cr0 & CR0.pe != 0 else { return }
    if UInt64(pointee.cpl) > pointee.rflags >> 12 & 3 { throw raise(.gp, 0) }
  }

  /// Virtual-8086 mode: PUSHF and POPF need IOPL 3.
  private func requireV86IOPL() throws(Stop) {
    if pointee.rflags & RFLAGS.vm != 0 && pointee.rflags & RFLAGS.iopl != RFLAGS.iopl { throw raise(.gp, 0) }
  }
}
