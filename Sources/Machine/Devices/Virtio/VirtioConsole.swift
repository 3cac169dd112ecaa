import VMCore

/// A console with one port (virtio 1.2, 5.3): queue 0 takes what is typed, queue 1 gives what the guest says.
final class VirtioConsole: VirtioFunction {
  let name = "virtio-console"
  let deviceID: UInt32 = 3
  let features: UInt64 = 0
  let queueCount = 2
  let turnSize = 64 << 10
  private let context: DeviceContext
  private let memory: GuestMemory
  private var typed: [UInt8] = []
  private var sent: UInt64 = 0
  /// The most that one request says, however large its buffers.
  private static let most = 1 << 20

  init(context: DeviceContext, memory: GuestMemory) {
    self.context = context
    self.memory = memory
  }

  func configuration(_ offset: Int) -> UInt8 { 0 }

  func type(_ bytes: [UInt8]) { typed += bytes }

  func serve(_ chain: VirtioChain, queue: Int) throws(Virtqueue.Malformation) -> UInt32? {
    if queue == 0 {
      guard !typed.isEmpty else { return nil }
      let count = chain.writable.put(typed, memory)
      typed.removeFirst(count)
      return UInt32(truncatingIfNeeded: count)
    }
    let bytes = chain.readable.part(0..<min(chain.readableSize, Self.most)).bytes(memory)
    for byte in bytes { context.writeConsole(byte, isVirtio: true) }
    sent += UInt64(bytes.count)
    return 0
  }

  func reset() { typed = [] }

  func code(_ coder: inout StateCoder) {
    coder.code(&typed)
    coder.code(&sent)
  }

  var rows: [(name: String, value: String)] { [("bytes said", "\(sent)"), ("typed ahead", "\(typed.count)")] }
}
