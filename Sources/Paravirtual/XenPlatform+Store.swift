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

  private static let headerSize: UInt32 = 16
  private var ring: GPA { GPA(domain.storeFrame << 12) }
  private func counter(_ offset: UInt64) -> UInt32 { memory.load(ring + offset, as: UInt32.self) ?? 0 }

  /// Answers whole requests until none is left.
  func serviceStore() {
    var didAnything = false
    while let (header, payload) = takeRequest() {
      didAnything = true
      guard answer(header, payload) else { break }
    }
    if didAnything { raise(Int(DomainBuilder.storePort)) }
  }

  private func takeRequest() -> (Header, [UInt8])? {
    let consumer = counter(Ring.requestConsumer)
    let waiting = counter(Ring.requestProducer) &- consumer
    guard waiting >= Self.headerSize, waiting <= Ring.size else { return nil }
    func byte(_ offset: UInt32) -> UInt8 {
      memory.load(ring + UInt64((consumer &+ offset) & (Ring.size - 1)), as: UInt8.self) ?? 0
    }
    func word(_ offset: UInt32) -> UInt32 {
      (0..<4 as Range<UInt32>).reduce(0) { $0 | UInt32(byte(offset + $1)) << ($1 * 8) }
    }
    let header = Header(type: word(0), id: word(4), transaction: word(8), length: word(12))
    guard header.length <= Ring.size - Self.headerSize, waiting >= Self.headerSize + header.length else { return nil }
    let payload = (0..<header.length).map { byte(Self.headerSize + $0) }
    memory.store(ring + Ring.requestConsumer, consumer &+ Self.headerSize &+ header.length)
    return (header, payload)
  }

  /// False where the ring has no room for the answer.
  private func answer(_ header: Header, _ payload: [UInt8]) -> Bool {
    let words = payload.split(separator: 0, omittingEmptySubsequences: false).map { String(decoding: $0, as: UTF8.self) }
    let path = StoreTree.absolute(words.first ?? "")
    func reply(_ text: String) -> Bool { respond(header, Array(text.utf8)) }
    func done() -> Bool { respond(header, Array("OK\0".utf8)) }
    func fail(_ name: String) -> Bool {
      var error = header
      error.type = Message.error.rawValue
      return respond(error, Array(name.utf8) + [0])
    }
    switch Message(rawValue: header.type) {
    case .directory:
      guard domain.store.value(path) != nil else { return fail("ENOENT") }
      return reply(domain.store.children(path).map { $0 + "\0" }.joined())
    case .read: return domain.store.value(path).map(reply) ?? fail("ENOENT")
    case .permissions: return domain.store.value(path) == nil ? fail("ENOENT") : reply("n\(XenABI.domain)\0")
    case .domainPath: return reply(StoreTree.home + "\0")
    case .transactionStart: return reply("1\0")
    case .transactionEnd, .setPermissions: return done()
    case .watch:
      guard words.count >= 2, domain.storeWatches.count < 128 else { return fail("EINVAL") }
      let watch = StoreWatch(path: words[0], token: words[1])
      domain.storeWatches.append(watch)
      return done() && tell(watch, words[0])
    case .unwatch:
      domain.storeWatches.removeAll { words.count >= 2 && $0.path == words[0] && $0.token == words[1] }
      return done()
    case .write, .makeDirectory:
      let value = payload.firstIndex(of: 0).map { String(decoding: payload[($0 + 1)...], as: UTF8.self) } ?? ""
      guard domain.store.write(path, value) else { return fail("ENOSPC") }
      return done() && tellWatchers(path)
    case .remove: return domain.store.remove(path) ? done() && tellWatchers(path) : fail("ENOENT")
    case .watchEvent, .error, nil: return fail("ENOSYS")
    }
  }

  private func respond(_ header: Header, _ payload: [UInt8]) -> Bool {
    let producer = counter(Ring.responseProducer)
    let used = producer &- counter(Ring.responseConsumer)
    var bytes: [UInt8] = []
    for word in [header.type, header.id, header.transaction, UInt32(payload.count)] {
      withUnsafeBytes(of: word.littleEndian) { bytes += Array($0) }
    }
    bytes += payload
    guard used <= Ring.size, UInt32(bytes.count) <= Ring.size - used else { return false }
    for (index, byte) in bytes.enumerated() {
      let place = UInt64((producer &+ UInt32(index)) & (Ring.size - 1))
      memory.store(ring + (Ring.responses + place), byte)
    }
    memory.store(ring + Ring.responseProducer, producer &+ UInt32(bytes.count))
    return true
  }

  private func tell(_ watch: StoreWatch, _ path: String) -> Bool {
    let header = Header(type: Message.watchEvent.rawValue, id: 0, transaction: 0, length: 0)
    return respond(header, Array("\(path)\0\(watch.token)\0".utf8))
  }

  private func tellWatchers(_ path: String) -> Bool {
    for watch in domain.storeWatches {
      let watched = StoreTree.absolute(watch.path)
      guard path == watched || path.hasPrefix(watched + "/") else { continue }
      let isRelative = !watch.path.hasPrefix("/")
      let shown = isRelative ? String(path.dropFirst(StoreTree.home.count + 1)) : path
      guard tell(watch, shown) else { return false }
    }
    return true
  }

  /// Asks the guest to shut down in good order: "poweroff" or "reboot" in control/shutdown.
  package func askForShutdown(_ how: String) {
    let path = StoreTree.absolute("control/shutdown")
    guard domain.store.write(path, how), tellWatchers(path) else { return }
    raise(Int(DomainBuilder.storePort))
  }
}
