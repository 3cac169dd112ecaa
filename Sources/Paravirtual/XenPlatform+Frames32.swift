import VMCore
import X86

/// Frames of a 32-bit guest, whose kernel is in ring 1: those of the processor, but for the event mask beside CS.
extension XenPlatform {
  /// The frame, low to high: error code, EIP, CS with the event mask in byte 2, EFLAGS with IF as the mask has it, and
  /// from another ring ESP and SS. Data segments stay as they are.
  func enter32(_ bounce: Bounce, _ state: inout VCPUState) -> Bool {
    let mask = upcallMask
    let isSameRing = domain.isKernel
    let selector = isSameRing ? state[.ss].selector : domain.kernelStackSelector
    let top = isSameRing ? state[.rsp] : domain.kernelStack
    guard let code = segment(inGuestRing(bounce.selector), isCode: true, ring: abi.kernelRing),
      let stack = segment(inGuestRing(selector), isCode: false, ring: abi.kernelRing)
    else {
      crash("no segments for a handler: CS \(hex(UInt64(bounce.selector))), SS \(hex(UInt64(selector)))")
      return false
    }
    var flags = state.rflags & ~(RFLAGS.interruptEnable | RFLAGS.iopl)
    if mask == 0 { flags |= RFLAGS.interruptEnable }
    var words = bounce.errorCode.map { [UInt64($0)] } ?? []
    words += [state.rip, UInt64(state[.cs].selector) | UInt64(mask) << 16, flags]
    if !isSameRing { words += [state[.rsp], UInt64(state[.ss].selector)] }
    let frame = (top &- UInt64(words.count * 4)) & 0xFFFF_FFFF
    do throws(XenError) {
      for (index, word) in words.enumerated() {
        try write(linear(stack, frame &+ UInt64(index * 4)), UInt32(truncatingIfNeeded: word))
      }
    } catch {
      crash("no stack for a trap's frame at \(hex(frame)), from \(hex(state.rip))")
      return false
    }
    domain.isKernel = true
    state[.rsp] = frame
    state[.cs] = code
    state[.ss] = stack
    finishBounce(bounce, &state)
    return true
  }

  private func linear(_ segment: SegmentState, _ offset: UInt64) -> UInt64 { (segment.base &+ offset) & 0xFFFF_FFFF }

  /// The frame at ESP: EAX, EIP, CS, EFLAGS, and to an outer ring ESP and SS. IF says whether events are masked.
  func iret32(_ vcpu: any VCPU) -> VMEntry.Action {
    var state = vcpu.state
    let frame = state[.rsp]
    let stack = state[.ss]
    func word(_ index: UInt64) throws(XenError) -> UInt64 {
      UInt64(try read(linear(stack, frame &+ index * 4), as: UInt32.self))
    }
    do throws(XenError) {
      let selector = UInt16(truncatingIfNeeded: try word(2))
      let ring = UInt8(selector & 3)
      guard ring >= abi.kernelRing, let code = segment(selector, isCode: true, ring: ring) else {
        throw .invalid
      }
      state[.rsp] = (frame &+ 16) & 0xFFFF_FFFF
      if ring > abi.kernelRing {
        let outer = UInt16(truncatingIfNeeded: try word(5))
        guard outer & 3 == UInt16(ring), let segment = segment(outer, isCode: false, ring: ring) else { throw .invalid }
        state[.rsp] = try word(4)
        state[.ss] = segment
        dropInnerSegments(ring, &state)
      }
      let flags = try word(3)
      state[.rax] = try word(0)
      state.rip = try word(1)
      state[.cs] = code
      state.rflags = Self.guestFlags(flags)
      upcallMask = flags & RFLAGS.interruptEnable == 0 ? 1 : 0
    } catch {
      crash(error == .fault ? "no IRET frame at \(hex(frame))" : "an IRET frame at \(hex(frame)) with segments that cannot be")
      return .resume
    }
    vcpu.state = state
    return .retire(rip: state.rip)
  }

  /// Data segments of an inner ring become null on the way out (SDM 3A 5.8.6).
  private func dropInnerSegments(_ ring: UInt8, _ state: inout VCPUState) {
    for name in [SegmentName.ds, .es, .fs, .gs] where !state[name].unusable && state[name].dpl < ring {
      state[name] = Segments.null()
    }
  }
}
