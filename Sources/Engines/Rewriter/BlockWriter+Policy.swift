/// The policy's micro-ops in translated code.
extension MicroOp {
  /// A policy's micro-op that only counts.
  var isCounter: Bool { op == .sensitive && aux >> 8 == SensitiveForm.counted.rawValue }
}

extension BlockWriter {
  /// Counts a sensitive instruction without touching flags; false for one that leaves for the monitor. Nothing that the
  /// monitor handed back is executed here, so each execution counts.
  mutating func emitCounter(_ o: MicroOpPointer) -> Bool {
    guard o.pointee.isCounter else { return false }
    let (a, b) = (Self.a, Self.b)
    asm.load(a, UInt64(bitPattern: o.pointee.imm))
    asm.move(b, .memory(a), size: 8)
    asm.lea(b, .memory(b, displacement: 1), size: 8)
    asm.move(.memory(a), b, size: 8)
    return true
  }
}
