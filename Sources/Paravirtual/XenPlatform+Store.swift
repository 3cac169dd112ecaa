import VMCore

/// Xenstore over its ring (Xen public/io/xs_wire.h): requests are answered at once, as far as the ring has room.
extension XenPlatform {
  private enum Ring {
    static let size: UInt32 = 1024
    static let responses: UInt64 = 1024
    static let requestConsumer: UInt64 = 2048
    static let requestProducer: UInt64 = 2052
    static let responseConsumer: UInt64 = 2056
    static let responseProducer: UInt64 = 2060
  }

  private enum Message: UInt32 {
    case directory = 1, read = 2, permissions = 3, watch = 4, unwatch = 5, transactionStart = 6, transactionEnd = 7
    case domainPath = 10, write = 11, makeDirectory = 12, remove = 13, setPermissions = 14, watchEvent = 15, error = 16
  }

  private struct Header {
    var type: UInt32
    var id: UInt32
    var transaction: UInt32
    var length: UInt32
  }

  private static let headerSize = 16
  private var ring: GPA { GPA(domain.storeFrame << 12) }
  private func counter(_ offset: UInt64) -> UInt32 { memory.load(ring + offset, as: UInt32.self) ?? 0 }

  /// A guest that does not read its answers gets no more of them.
  private static let mostWaiting = 1 << 14
  private static let longestRequest = 4096

  /// Takes what the guest wrote, answers whole requests, and gives it what there is room for. Bytes are taken at once,
  /// for the guest speaks up only when the ring was empty.
  func serviceStore() {
    let taken = takeBytes()
    while domain.storeOutput.count < Self.mostWaiting, let (header, payload) = takeRequest() { answer(header, payload) }
    let given = giveBytes()
    if taken || given { raise(Int(DomainBuilder.storePort)) }
  }

  private func takeBytes() -> Bool {
    let consumer = counter(Ring.requestConsumer)
    let producer = counter(Ring.requestProducer)
    let count = min(producer &- consumer, Ring.size)
    guard count > 0, domain.storeInput.count < 2 * Self.longestRequest else { return false }
    for offset in 0..<count {
      let place = UInt64((consumer &+ offset) & (Ring.size - 1))
      domain.storeInput.append(memory.load(ring + place, as: UInt8.self) ?? 0)
    }
    memory.store(ring + Ring.requestConsumer, producer)
    return true
  }

  private func takeRequest() -> (Header, [UInt8])? {
    let input = domain.storeInput
    guard input.count >= Self.headerSize else { return nil }
    func word(_ at: Int) -> UInt32 { (0..<4).reduce(0) { $0 | UInt32(input[at + $1]) << UInt32(8 * $1) } }
    let header = Header(type: word(0), id: word(4), transaction: word(8), length: word(12))
    guard header.length <= UInt32(Self.longestRequest) else {
      // No request is as long: what follows cannot be told apart either.
      domain.storeInput = []
      return nil
    }
    let end = Self.headerSize + Int(header.length)
    guard input.count >= end else { return nil }
    domain.storeInput.removeFirst(end)
    return (header, Array(input[Self.headerSize..<end]))
  }

  private func giveBytes() -> Bool {
    var producer = counter(Ring.responseProducer)
    let used = producer &- counter(Ring.responseConsumer)
    guard used < Ring.size, !domain.storeOutput.isEmpty else { return false }
    let bytes = domain.storeOutput.prefix(Int(Ring.size - used))
    for byte in bytes {
      memory.store(ring + (Ring.responses + UInt64(producer & (Ring.size - 1))), byte)
      producer &+= 1
    }
    memory.store(ring + Ring.responseProducer, producer)
    domain.storeOutput.removeFirst(bytes.count)
    return true
  }

  private func answer(_ header: Header, _ payload: [UInt8]) {
    let words = payload.split(separator: UInt8(0), omittingEmptySubsequences: false).map {
      String(decoding: $0, as: UTF8.self)
    }
    let path = StoreTree.absolute(words.first ?? "")
    func reply(_ text: String) { respond(header, text) }
    func done() { respond(header, "OK\0") }
    func fail(_ name: String) {
      var error = header
      error.type = Message.error.rawValue
      respond(error, name + "\0")
    }
    switch Message(rawValue: header.type) {
    case .directory where domain.store.value(path) != nil:
      reply(domain.store.children(path).map { $0 + "\0" }.joined())
    case .read where domain.store.value(path) != nil: reply(domain.store.value(path) ?? "")
    case .permissions where domain.store.value(path) != nil: reply("n\(XenABI.domain)\0")
    case .directory, .read, .permissions: fail("ENOENT")
    case .domainPath: reply(StoreTree.home + "\0")
    case .transactionStart: reply("1\0")
    case .transactionEnd, .setPermissions: done()
    case .watch:
      guard words.count >= 2, domain.storeWatches.count < 128 else { return fail("EINVAL") }
      let watch = StoreWatch(path: words[0], token: words[1])
      domain.storeWatches.append(watch)
      done()
      tell(watch, words[0])
    case .unwatch:
      domain.storeWatches.removeAll { words.count >= 2 && $0.path == words[0] && $0.token == words[1] }
      done()
    case .write, .makeDirectory:
      let value = payload.firstIndex(of: 0).map { String(decoding: payload[($0 + 1)...], as: UTF8.self) } ?? ""
      guard domain.store.write(path, value) else { return fail("ENOSPC") }
      done()
      tellWatchers(path)
      diskFrontEndWrote(path)
    case .remove:
      guard domain.store.remove(path) else { return fail("ENOENT") }
      done()
      tellWatchers(path)
    case .watchEvent, .error, nil: fail("ENOSYS")
    }
  }

  private func respond(_ header: Header, _ text: String) {
    let payload = Array(text.utf8)
    for word in [header.type, header.id, header.transaction, UInt32(payload.count)] {
      withUnsafeBytes(of: word.littleEndian) { domain.storeOutput += Array($0) }
    }
    domain.storeOutput += payload
  }

  private func tell(_ watch: StoreWatch, _ path: String) {
    respond(
      Header(type: Message.watchEvent.rawValue, id: 0, transaction: 0, length: 0), "\(path)\0\(watch.token)\0")
  }

  func tellWatchers(_ path: String) {
    for watch in domain.storeWatches {
      let watched = StoreTree.absolute(watch.path)
      guard path == watched || path.hasPrefix(watched + "/") else { continue }
      let isRelative = !watch.path.hasPrefix("/")
      tell(watch, isRelative ? String(path.dropFirst(StoreTree.home.count + 1)) : path)
    }
  }

  /// The guest listens for `askForShutdown`.
  package var isShutdownWatched: Bool {
    let path = StoreTree.absolute("control/shutdown")
    return domain.storeWatches.contains { StoreTree.absolute($0.path) == path }
  }

  /// Asks the guest to shut down in good order: "poweroff" or "reboot" in control/shutdown.
  package func askForShutdown(_ how: String) {
    let path = StoreTree.absolute("control/shutdown")
    guard domain.store.write(path, how) else { return }
    tellWatchers(path)
    if giveBytes() { raise(Int(DomainBuilder.storePort)) }
  }
}
