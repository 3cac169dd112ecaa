import VMCore

/// A source of numbers (virtio 1.2, 5.4) that look random and are the same in every run: nothing here may differ from
/// one run to the next. No secret of the guest's is safe with them.
final class VirtioEntropy: VirtioFunction {
  let name = "virtio-rng"
  let deviceID: UInt32 = 4
  let features: UInt64 = 0
  let queueCount = 1
  let turnSize = 1 << 20
  private let memory: GuestMemory
  private static let seed: UInt64 = 0x5249_4E47_5349_4445
  private var state = VirtioEntropy.seed
  private var given: UInt64 = 0
  /// The most that one request gets, however large its buffers.
  private static let most = 1 << 16

  init(memory: GuestMemory) { self.memory = memory }

  func configuration(_ offset: Int) -> UInt8 { 0 }

  func serve(_ chain: VirtioChain, queue: Int) throws(Virtqueue.Malformation) -> UInt32? {
    let count = min(chain.writableSize, Self.most)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + 8)
    while bytes.count < count { withUnsafeBytes(of: next().littleEndian) { bytes.append(contentsOf: $0) } }
    let written = chain.writable.put(Array(bytes.prefix(count)), memory)
    given += UInt64(written)
    return UInt32(truncatingIfNeeded: written)
  }

  /// SplitMix64 (Steele, Lea and Flood, 2014).
  private func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
  }

  /// The sequence goes on over a reset.
  func reset() {}

  func code(_ coder: inout StateCoder) {
    coder.code(&state)
    coder.code(&given)
  }

  var rows: [(name: String, value: String)] { [("bytes given", "\(given)")] }
}
