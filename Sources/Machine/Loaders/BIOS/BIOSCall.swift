import VMCore
import X86

/// One call of a BIOS service: the caller's registers, memory by segment and offset, and the flags its
/// IRET will pop. Everything the guest gives is taken modulo its width; memory that is not there reads nil.
struct BIOSCall {
  let vcpu: any VCPU
  let memory: GuestMemory
  /// The processor at the stub's OUT.
  let state: VCPUState

  init(_ vcpu: any VCPU, memory: GuestMemory) {
    self.vcpu = vcpu
    self.memory = memory
    state = vcpu.state
  }

  // MARK: Registers

  private func word(_ register: GPR) -> UInt16 { UInt16(truncatingIfNeeded: vcpu.gpr(register)) }
  private func setWord(_ register: GPR, _ value: UInt16) {
    vcpu.setGPR(register, vcpu.gpr(register) & ~0xFFFF | UInt64(value))
  }
  /// The 32-bit register; writing it clears nothing above.
  func extended(_ register: GPR) -> UInt32 { UInt32(truncatingIfNeeded: vcpu.gpr(register)) }
  func setExtended(_ register: GPR, _ value: UInt32) {
    vcpu.setGPR(register, vcpu.gpr(register) & ~0xFFFF_FFFF | UInt64(value))
  }

  var ax: UInt16 {
    get { word(.rax) }
    nonmutating set { setWord(.rax, newValue) }
  }
  var bx: UInt16 {
    get { word(.rbx) }
    nonmutating set { setWord(.rbx, newValue) }
  }
  var cx: UInt16 {
    get { word(.rcx) }
    nonmutating set { setWord(.rcx, newValue) }
  }
  var dx: UInt16 {
    get { word(.rdx) }
    nonmutating set { setWord(.rdx, newValue) }
  }
  var si: UInt16 { word(.rsi) }
  var di: UInt16 { word(.rdi) }
  var bp: UInt16 { word(.rbp) }
  var al: UInt8 {
    get { UInt8(ax & 0xFF) }
    nonmutating set { ax = ax & 0xFF00 | UInt16(newValue) }
  }
  var ah: UInt8 {
    get { UInt8(ax >> 8) }
    nonmutating set { ax = ax & 0xFF | UInt16(newValue) << 8 }
  }
  var bl: UInt8 { UInt8(bx & 0xFF) }
  var bh: UInt8 { UInt8(bx >> 8) }
  var cl: UInt8 { UInt8(cx & 0xFF) }
  var ch: UInt8 { UInt8(cx >> 8) }
  var dl: UInt8 { UInt8(dx & 0xFF) }
  var dh: UInt8 { UInt8(dx >> 8) }

  /// Two bytes as a word.
  static func word(high: UInt8, low: UInt8) -> UInt16 { UInt16(high) << 8 | UInt16(low) }

  // MARK: Memory

  /// Linear address of `offset` in a segment.
  func linear(_ segment: SegmentName, _ offset: UInt16) -> UInt64 { state[segment].base &+ UInt64(offset) }

  /// Up to `count` bytes from a linear address; nil where some have no memory.
  func read(_ linear: UInt64, count: Int) -> [UInt8]? {
    var result = [UInt8](repeating: 0, count: count)
    let complete = result.withUnsafeMutableBytes { buffer in
      forEachPiece(linear, count) { address, piece in
        memory.read(address, into: UnsafeMutableRawBufferPointer(rebasing: buffer[piece]))
      }
    }
    return complete ? result : nil
  }

  /// False where some bytes have no memory or lie in ROM; those before them were written.
  @discardableResult
  func write(_ linear: UInt64, _ bytes: [UInt8]) -> Bool {
    bytes.withUnsafeBytes { buffer in
      forEachPiece(linear, buffer.count) { address, piece in
        memory.write(address, UnsafeRawBufferPointer(rebasing: buffer[piece]))
      }
    }
  }

  private func forEachPiece(_ linear: UInt64, _ count: Int, _ body: (GPA, Range<Int>) -> Bool) -> Bool {
    var offset = 0
    while offset < count {
      let at = (linear &+ UInt64(offset)) & 0xFFFF_FFFF
      let piece = min(count - offset, 4096 - Int(at & 0xFFF))
      guard let address = vcpu.translate(GVA(at)), body(address, offset..<offset + piece) else { return false }
      offset += piece
    }
    return true
  }

  // MARK: Flags

  /// Changes a flag in the FLAGS word on the caller's stack, above the return IP and CS.
  func setFlag(_ flag: UInt64, _ on: Bool) {
    let stack = UInt16(truncatingIfNeeded: vcpu.gpr(.rsp)) &+ 4
    let at = linear(.ss, stack)
    guard let bytes = read(at, count: 2) else { return }
    let old = BIOSCall.word(high: bytes[1], low: bytes[0])
    let bit = UInt16(truncatingIfNeeded: flag)
    let new = on ? old | bit : old & ~bit
    write(at, [UInt8(new & 0xFF), UInt8(new >> 8)])
  }

  /// AH = 0, CF clear.
  func succeed() {
    ah = 0
    setFlag(RFLAGS.cf, false)
  }
  /// AH = the error's number, CF set.
  func fail(_ error: UInt8) {
    ah = error
    setFlag(RFLAGS.cf, true)
  }
}

/// The BIOS data area's fields by address. It is RAM in every guest that has a BIOS, so reading cannot fail;
/// what the guest writes there is believed only as far as it goes.
extension GuestMemory {
  func byte(_ address: UInt64) -> UInt8 { load(GPA(address)) ?? 0 }
  func word(_ address: UInt64) -> UInt16 { load(GPA(address)) ?? 0 }
}
