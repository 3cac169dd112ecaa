import CHost
import X86

/// What of the host's x87 unit an instruction without stack or unmasked faults needs: two operands and the control
/// word. Laid out as `chost_x87_quick` has it, with room for a memory operand behind.
private typealias X87Frame = InlineArray<8, UInt64>

/// x87 instructions that cost no whole state: those on one or two full registers with every exception masked, which is
/// how programs have it. Each gives false where more is to be done, and nothing has happened.
extension UnsafeMutablePointer<CPU> {
  private var masksEverything: Bool { pointee.fpuControl & X87Status.exceptions == X87Status.exceptions }

  /// ST(0), and ST(i) where `src` names it.
  func quickRegister(_ o: MicroOpPointer) -> Bool {
    let top = Int(pointee.fpuTop)
    let other = (top + Int(o.pointee.src)) & 7
    guard masksEverything, !isEmpty(physical: top), !isEmpty(physical: other) else { return false }
    var frame = X87Frame(repeating: 0)
    compute(X87Detail(o.pointee.imm), &frame, top, other)
    return true
  }

  /// ST(0) and a memory operand.
  func quickMemory(_ o: MicroOpPointer) throws(Stop) -> Bool {
    let top = Int(pointee.fpuTop)
    guard masksEverything, !isEmpty(physical: top) else { return false }
    let detail = X87Detail(o.pointee.imm)
    let at = address(o)
    var frame = X87Frame(repeating: 0)
    frame[5] = try narrowLoad(at, UInt8(detail.bytes))
    compute(detail, &frame, top, top)
    recordData(at, detail)
    return true
  }

  /// Pushes a memory operand.
  func quickPush(_ o: MicroOpPointer) throws(Stop) -> Bool {
    let new = Int((pointee.fpuTop &- 1) & 7)
    guard masksEverything, isEmpty(physical: new) else { return false }
    let detail = X87Detail(o.pointee.imm)
    let at = address(o)
    var frame = X87Frame(repeating: 0)
    frame[5] = try narrowLoad(at, UInt8(min(detail.bytes, 8)))
    if detail.bytes == 10 { frame[6] = UInt64(try load(offset(at, 8), as: UInt16.self)) }
    runQuick(detail, &frame)
    pointee.fpuTop = UInt8(new)
    setFull(physical: new)
    takeQuick(frame, 0, into: new)
    recordData(at, detail)
    return true
  }

  /// ST(0) into memory.
  func quickStore(_ o: MicroOpPointer) throws(Stop) -> Bool {
    let top = Int(pointee.fpuTop)
    guard masksEverything, !isEmpty(physical: top) else { return false }
    let detail = X87Detail(o.pointee.imm)
    let at = address(o)
    let low = min(detail.bytes, 8)
    try probeWrite(at, low)
    if detail.bytes == 10 { try probeWrite(offset(at, 8), 2) }
    var frame = X87Frame(repeating: 0)
    fillQuick(&frame, 0, top)
    // What is stored must not change the state before memory has taken it.
    let status = pointee.fpuStatus
    runQuick(detail, &frame)
    do {
      if detail.bytes == 10 { try store(offset(at, 8), UInt16(truncatingIfNeeded: frame[6])) }
      try storeSized(at, frame[5], bytes: low)
    } catch {
      pointee.fpuStatus = status
      throw error
    }
    if detail.pops { popQuick() }
    recordData(at, detail)
    return true
  }

  private func compute(_ detail: X87Detail, _ frame: inout X87Frame, _ top: Int, _ other: Int) {
    fillQuick(&frame, 0, top)
    fillQuick(&frame, 2, other)
    runQuick(detail, &frame)
    switch detail.target {
    case .none: break
    case .top: takeQuick(frame, 0, into: top)
    case .other: takeQuick(frame, 2, into: other)
    }
    if detail.pops { popQuick() }
  }

  private func fillQuick(_ frame: inout X87Frame, _ place: Int, _ register: Int) {
    frame[place] = pointee.fpuSignificand[register]
    frame[place + 1] = UInt64(pointee.fpuSignExponent[register])
  }
  private func takeQuick(_ frame: X87Frame, _ place: Int, into register: Int) {
    pointee.fpuSignificand[register] = frame[place]
    pointee.fpuSignExponent[register] = UInt16(truncatingIfNeeded: frame[place + 1])
  }
  private func popQuick() {
    pointee.fpuTag |= 3 << (UInt16(pointee.fpuTop) * 2)
    pointee.fpuTop = (pointee.fpuTop &+ 1) & 7
  }

  /// Comparisons set all condition bits, the others C1.
  private func runQuick(_ detail: X87Detail, _ frame: inout X87Frame) {
    frame[4] = UInt64(pointee.fpuControl)
    withUnsafeMutableBytes(of: &frame) { bytes in
      guard let base = bytes.baseAddress else { return }
      chost_x87_quick(detail.quickStub, base, base + 40)
    }
    let status = UInt16(truncatingIfNeeded: frame[4] >> 16)
    let conditions: UInt16 = detail.compares ? X87Status.conditions : X87Status.c1
    pointee.fpuStatus = pointee.fpuStatus & ~conditions | status & (conditions | X87Status.exceptions)
  }
}
