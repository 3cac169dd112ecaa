import VMCore

/// The console ring (Xen public/io/console.h): 1,024 bytes in, 2,048 bytes out, and their counters.
extension XenPlatform {
  private enum Ring {
    static let inSize: UInt32 = 1024
    static let outStart: UInt64 = 1024
    static let outSize: UInt32 = 2048
    static let inConsumer: UInt64 = 3072
    static let inProducer: UInt64 = 3076
    static let outConsumer: UInt64 = 3080
    static let outProducer: UInt64 = 3084
  }

  private var ring: GPA { GPA(domain.consoleFrame << 12) }
  private func counter(_ offset: UInt64) -> UInt32 { memory.load(ring + offset, as: UInt32.self) ?? 0 }

  /// Takes out what the guest said, puts in what was typed, and tells the guest where something changed.
  func serviceConsole() {
    let taken = takeOutput()
    let given = giveInput()
    if taken || given { raise(Int(DomainBuilder.consolePort)) }
  }

  private func takeOutput() -> Bool {
    var consumer = counter(Ring.outConsumer)
    let producer = counter(Ring.outProducer)
    // A guest that lies about its counters gets at most one ring's worth.
    let count = min(producer &- consumer, Ring.outSize)
    guard count > 0 else { return false }
    for _ in 0..<count {
      let place = Ring.outStart + UInt64(consumer & (Ring.outSize - 1))
      let byte = memory.load(ring + place, as: UInt8.self) ?? 0
      output.append(byte)
      emit(.output, a: UInt32(byte))
      consumer &+= 1
    }
    memory.store(ring + Ring.outConsumer, producer)
    return true
  }

  private func giveInput() -> Bool {
    guard !domain.typed.isEmpty else { return false }
    var producer = counter(Ring.inProducer)
    let waiting = producer &- counter(Ring.inConsumer)
    guard waiting < Ring.inSize else { return false }
    let bytes = domain.typed.prefix(Int(Ring.inSize - waiting))
    for byte in bytes {
      memory.store(ring + UInt64(producer & (Ring.inSize - 1)), byte)
      producer &+= 1
    }
    memory.store(ring + Ring.inProducer, producer)
    domain.typed.removeFirst(bytes.count)
    return true
  }

  package func consoleInput(_ bytes: [UInt8]) {
    for byte in bytes { emit(.input, a: UInt32(byte), b: 0) }
    domain.typed += bytes
    if giveInput() { raise(Int(DomainBuilder.consolePort)) }
  }
}
