import VMCore
import X86

/// A vCPU's state as a row of numbers and back: one list of its fields for both directions.
struct StateWords {
  private(set) var words: [UInt64] = []
  private var position = 0
  private let isReading: Bool

  init(_ state: VCPUState) {
    isReading = false
    words.reserveCapacity(200)
    var state = state
    pass(&state)
  }

  /// Numbers a state is made of.
  static let count = StateWords(VCPUState()).words.count

  /// The state these numbers mean; nil if they mean none.
  static func state(_ words: [UInt64]) -> VCPUState? {
    guard words.count == count else { return nil }
    var reader = StateWords(reading: words)
    var state = VCPUState()
    reader.pass(&state)
    return state
  }

  private init(reading words: [UInt64]) {
    self.words = words
    isReading = true
  }

  private mutating func pass<T: FixedWidthInteger & UnsignedInteger>(_ value: inout T) {
    if isReading {
      value = T(truncatingIfNeeded: words[position])
      position += 1
    } else {
      words.append(UInt64(value))
    }
  }

  private mutating func pass(_ value: inout Bool) {
    var number: UInt8 = value ? 1 : 0
    pass(&number)
    value = number != 0
  }

  private mutating func pass(_ value: inout UInt64?) {
    var isThere = value != nil
    var number = value ?? 0
    pass(&isThere)
    pass(&number)
    value = isThere ? number : nil
  }

  private mutating func pass<T: FixedWidthInteger & UnsignedInteger>(_ values: inout [T]) {
    for index in values.indices { pass(&values[index]) }
  }

  private mutating func pass(_ table: inout TableRegister) {
    pass(&table.base)
    pass(&table.limit)
  }

  private mutating func pass(_ s: inout VCPUState) {
    pass(&s.gpr)
    pass(&s.rip)
    pass(&s.rflags)
    for index in s.segments.indices {
      pass(&s.segments[index].selector)
      pass(&s.segments[index].base)
      pass(&s.segments[index].limit)
      pass(&s.segments[index].access)
    }
    pass(&s.gdtr)
    pass(&s.idtr)
    for path in Self.systemFields { pass(&s[keyPath: path]) }
    pass(&s.dr)
    pass(&s.fpu)
    var activity = s.activity.rawValue
    pass(&activity)
    s.activity = ActivityState(rawValue: activity) ?? .active
    pass(&s.interruptShadow)
    pass(&s.shadowIsMOVSS)
    pass(&s.nmiBlocked)
    pass(&s.vmx)
  }

  private nonisolated(unsafe) static let systemFields: [WritableKeyPath<VCPUState, UInt64>] = [
    \.cr0, \.cr2, \.cr3, \.cr4, \.cr8, \.dr6, \.dr7, \.efer, \.star, \.lstar, \.cstar, \.sfmask, \.kernelGSBase,
    \.sysenterCS, \.sysenterESP, \.sysenterEIP, \.pat, \.tscAux, \.debugControl, \.xcr0, \.tscOffset,
  ]

  private mutating func pass(_ f: inout FPUState) {
    pass(&f.control)
    pass(&f.status)
    pass(&f.tag)
    pass(&f.opcode)
    pass(&f.instructionPointer)
    pass(&f.dataPointer)
    pass(&f.significand)
    pass(&f.signExponent)
    pass(&f.mxcsr)
    pass(&f.xmm)
    pass(&f.ymmHigh)
  }

  private mutating func pass(_ v: inout VMXOperation) {
    pass(&v.vmxon)
    pass(&v.current)
    pass(&v.isNonRoot)
    pass(&v.injection)
    pass(&v.injectionErrorCode)
    pass(&v.injectionLength)
    var held = v.heldInterrupt.map { UInt64($0) }
    pass(&held)
    v.heldInterrupt = held.map { Vector(truncatingIfNeeded: $0) }
    pass(&v.preemptionDeadline)
    pass(&v.addedTSCOffset)
    pass(&v.pendingDebug)
    pass(&v.isTPRBelowThreshold)
    pass(&v.isInitPending)
  }
}
