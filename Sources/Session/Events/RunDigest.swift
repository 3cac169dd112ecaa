import CXXHash
import VMCore
import X86

/// XXH3-128 over what a run did: the events that belong to the guest, and the state it ended in.
///
/// Left out is what depends on who watches: sequence numbers, stops, entries, exits that only a
/// debugger's controls cause, and how an engine keeps decoded code. So equal guests with equal input
/// have equal digests, paused or not, drawn or not.
///
/// Invariant for the unsafe parts: `state` is made in `init` and freed in `deinit`, and so is `words`, which holds
/// `batch` events' words.
package final class RunDigest {
  private let state: OpaquePointer?
  /// What goes into the hash together: a hash of many bytes at once costs a fraction of one for each event.
  private let words = UnsafeMutablePointer<UInt64>.allocate(capacity: RunDigest.batch * RunDigest.wordsOfEvent)
  private static let batch = 128
  private static let wordsOfEvent = 7
  /// Events that went in.
  package private(set) var count: UInt64 = 0

  package init() {
    state = XXH3_createState()
    precondition(state != nil, "there are a few hundred bytes of memory for a hash state")
    XXH3_128bits_reset(state)
  }

  private init(copying other: RunDigest) {
    state = XXH3_createState()
    precondition(state != nil, "there are a few hundred bytes of memory for a hash state")
    XXH3_copyState(state, other.state)
    count = other.count
  }

  package func copied() -> RunDigest { RunDigest(copying: self) }

  deinit {
    XXH3_freeState(state)
    words.deallocate()
  }

  /// Takes an event in if it belongs to the guest.
  package func add(_ event: Event) {
    withUnsafePointer(to: event) { add(UnsafeBufferPointer(start: $0, count: 1)) }
  }

  /// Takes those in that belong to the guest, in order.
  package func add(_ events: UnsafeBufferPointer<Event>) {
    guard let first = events.baseAddress else { return }
    var waiting = 0
    for index in 0..<events.count {
      guard Self.put(first + index, at: words + waiting &* Self.wordsOfEvent) else { continue }
      waiting &+= 1
      if waiting == Self.batch { hash(&waiting) }
    }
    hash(&waiting)
  }

  private func hash(_ waiting: inout Int) {
    guard waiting > 0 else { return }
    XXH3_128bits_update(state, words, waiting * Self.wordsOfEvent * 8)
    count &+= UInt64(waiting)
    waiting = 0
  }

  /// Writes the words of an event; false if it is none of the guest's.
  @inline(__always)
  private static func put(_ source: UnsafePointer<Event>, at words: UnsafeMutablePointer<UInt64>) -> Bool {
    var time = source.pointee.time
    var rip = source.pointee.rip
    var a = source.pointee.a
    switch source.pointee.kind {
    case .exit:
      // A rewriter's callout counts as the exit that VT-x would have had in its place.
      if a & 0xFFFF == UInt32(ExitReason.callout.rawValue), let exit = source.pointee.vmExit {
        a = a & ~0xFFFF | UInt32(exit.architecturalReason.rawValue)
      }
      if !isGuests(UInt16(truncatingIfNeeded: a)) { return false }
    case .exception, .softwareInterrupt, .unknownInstruction, .nested: time = 0
    // The engine's, of a guest monitor's injection, carry an address and the time of whatever exited last.
    case .interrupt where rip != 0: time = 0
    case .entry, .stop, .go, .codeInvalidated, .controls, .codeSegment: return false
    // A timer raises its line at its own time: the address is that of whatever exited last.
    case .interruptLine: rip = 0
    default: break
    }
    let kind = UInt64(source.pointee.kind.rawValue) << 32
    let place = UInt64(source.pointee.vcpu) << 48 | UInt64(source.pointee.flags) << 56
    words[0] = (UInt64(a) | kind | place).littleEndian
    words[1] = time.littleEndian
    words[2] = source.pointee.count.littleEndian
    words[3] = rip.littleEndian
    words[4] = source.pointee.b.littleEndian
    words[5] = source.pointee.c.littleEndian
    words[6] = source.pointee.d.littleEndian
    return true
  }

  /// Exits that happen with or without a debugger, by the number of their reason.
  @inline(__always)
  private static func isGuests(_ reason: UInt16) -> Bool {
    switch reason {
    case ExitReason.io.rawValue, ExitReason.eptViolation.rawValue, ExitReason.cpuid.rawValue, ExitReason.hlt.rawValue,
      ExitReason.tripleFault.rawValue, ExitReason.vmcall.rawValue, ExitReason.unknownInstruction.rawValue,
      ExitReason.syscall.rawValue:
      true
    default: false
    }
  }

  /// 32 hexadecimal digits for the events so far and this final state. Can be asked again later.
  package func finish(states: [VCPUState], memory: GuestMemory, instructions: UInt64) -> String {
    let copy = RunDigest(copying: self)
    copy.add(words: [instructions])
    for state in states { copy.add(words: Self.words(of: state)) }
    for slot in memory.slots where slot.kind == .ram {
      copy.add(words: [slot.base.value, slot.size])
      guard let host = UnsafeRawPointer(bitPattern: slot.host) else { continue }
      XXH3_128bits_update(copy.state, host, Int(slot.size))
    }
    let hash = XXH3_128bits_digest(copy.state)
    return Self.hex(hash.high64) + Self.hex(hash.low64)
  }

  private func add(words: [UInt64]) {
    words.map(\.littleEndian).withUnsafeBytes { _ = XXH3_128bits_update(state, $0.baseAddress, $0.count) }
  }

  private static func hex(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }

  private static func words(of state: VCPUState) -> [UInt64] {
    var words = state.gpr
    words += [state.rip, state.rflags, state.cr0, state.cr2, state.cr3, state.cr4, state.cr8]
    words += state.dr
    words += [state.dr6, state.dr7, state.efer, state.star, state.lstar, state.cstar, state.sfmask]
    words += [state.kernelGSBase, state.sysenterCS, state.sysenterESP, state.sysenterEIP, state.pat, state.tscAux]
    words += [state.gdtr.base, UInt64(state.gdtr.limit), state.idtr.base, UInt64(state.idtr.limit)]
    for segment in state.segments {
      words += [UInt64(segment.selector), segment.base, UInt64(segment.limit), UInt64(segment.access)]
    }
    words += [UInt64(state.fpu.control), UInt64(state.fpu.status), UInt64(state.fpu.tag), UInt64(state.fpu.mxcsr)]
    words += state.fpu.significand
    words += state.fpu.signExponent.map { UInt64($0) }
    words += state.fpu.xmm
    // Where there is no AVX there are no upper halves.
    if state.xcr0 & 4 != 0 { words += [state.xcr0] + state.fpu.ymmHigh }
    words.append(UInt64(state.activity.rawValue))
    return words
  }
}
