import VMCore
import X86

/// What IRET from 64-bit code to 64-bit code made of its selectors: all its checks of them but where RIP leads depend on
/// nothing else, and give the same again.
struct ReturnMemo {
  var code = SegmentState()
  var stack = SegmentState()
  /// The descriptors in the GDT; that of a null SS does not count.
  var codeDescriptor: UInt64 = 0
  var stackDescriptor: UInt64 = 0
  /// CPL before; one that there is not where nothing is remembered.
  var cpl: UInt8 = 0xFF
}

extension UnsafeMutablePointer<CPU> {
  /// Remembers a return that is about to be made.
  func remember(_ d: Descriptor, _ stack: SegmentState) {
    let index = rpl(d.selector) == 0 ? 0 : 1
    guard d.selector & 4 == 0, stack.selector & 4 == 0 else { return }
    guard let ss = isNull(stack.selector) ? 0 : rawDescriptor(stack.selector) else { return }
    pointee.returns[index] = ReturnMemo(
      code: d.state(rpl: rpl(d.selector)), stack: stack, codeDescriptor: d.raw, stackDescriptor: ss, cpl: pointee.cpl)
  }

  /// IRETQ where everything is as at the last one to the same ring; false, with nothing done, where something is not.
  func returnAgain(size: Int) -> Bool {
    guard size == 8, isLong64, pointee.rflags & (RFLAGS.nt | RFLAGS.vm) == 0, !pointee.nmiBlocked else { return false }
    guard let frame = reached(self[slot: Slot.rsp], 40, Access(privilege: privilege)) else { return false }
    let rip = frame.loadUnaligned(as: UInt64.self)
    let cs = frame.loadUnaligned(fromByteOffset: 8, as: UInt16.self)
    let ss = frame.loadUnaligned(fromByteOffset: 32, as: UInt16.self)
    let index = rpl(cs) == 0 ? 0 : 1
    guard pointee.returns[index].cpl == pointee.cpl, isCanonical(rip) else { return false }
    guard pointee.returns[index].code.selector == cs, pointee.returns[index].stack.selector == ss else { return false }
    guard rawDescriptor(cs) == pointee.returns[index].codeDescriptor else { return false }
    guard isNull(ss) || rawDescriptor(ss) == pointee.returns[index].stackDescriptor else { return false }
    mergeFlags(frame.loadUnaligned(fromByteOffset: 16, as: UInt64.self), changeableFlags(size: 8))
    self[slot: Slot.rsp] = frame.loadUnaligned(fromByteOffset: 24, as: UInt64.self)
    pointee.segments[2] = pointee.returns[index].stack
    pointee.segments[1] = pointee.returns[index].code
    pointee.rip = rip
    dropInnerSegments(rpl(cs))
    if rpl(cs) != pointee.cpl {
      pointee.cpl = rpl(cs)
      updateContext()
    }
    return true
  }

  /// A descriptor of the GDT, where the TLB has it.
  private func rawDescriptor(_ selector: UInt16) -> UInt64? {
    guard selector & 4 == 0, let address = descriptorAddress(selector) else { return nil }
    return reached(address, 8, Access(privilege: .implicit))?.loadUnaligned(as: UInt64.self)
  }
}
