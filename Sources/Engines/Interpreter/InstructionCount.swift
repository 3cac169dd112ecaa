extension UnsafeMutablePointer<CPU> {
  /// Instructions this vCPU has retired before the one a micro-op belongs to.
  func instructionsRetired(before o: MicroOpPointer) -> UInt64 { pointee.retired &+ UInt64(o.pointee.ordinal) }
}
