import VMCore

/// What a block back end needs of a disk: offsets and counts are in bytes, false where the host failed.
package protocol XenDisk: AnyObject {
  var sectorCount: UInt64 { get }
  var isReadOnly: Bool { get }
  func read(at offset: UInt64, into buffers: [UnsafeMutableRawBufferPointer]) -> Bool
  func write(at offset: UInt64, from buffers: [UnsafeRawBufferPointer]) -> Bool
  /// What was written before is safe when this comes back.
  func flush() -> Bool
  /// The disk's part of a snapshot.
  func code(_ coder: inout StateCoder)
}

/// The back end's side of a connection.
struct BlockState: Equatable {
  var isConnected = false
  /// The grant reference of the ring's page, the guest's port, and whether it said "x86_32-abi".
  var reference: UInt32 = 0
  var port: UInt32 = 0
  var is32Bit = false
  /// The first request not taken, and responses given.
  var consumer: UInt32 = 0
  var produced: UInt32 = 0
  var requestCount: UInt64 = 0

  mutating func code(_ coder: inout StateCoder) {
    coder.code(&isConnected)
    for path in [\BlockState.reference, \.port, \.consumer, \.produced] { coder.code(&self[keyPath: path]) }
    coder.code(&is32Bit)
    coder.code(&requestCount)
  }
}

/// A block device over xenbus (Xen public/io/blkif.h): nodes in xenstore, a ring in a page that the guest grants, an
/// event channel. Requests are done within the call that announces them.
extension XenPlatform {
  /// xvda.
  private static let device = "51712"
  private static let frontPath = "device/vbd/\(device)"
  private static let backPath = "/local/domain/0/backend/vbd/\(XenABI.domain)/\(device)"
  /// XenbusState.
  private enum BusState {
    static let initializing = "1"
    static let initWait = "2"
    static let initialized = "3"
    static let connected = "4"
    static let closing = "5"
    static let closed = "6"
  }
  /// VDISK_READONLY.
  private static let readOnlyFlag = 4

  /// What xenstore says before anybody is connected.
  func announceDisk() {
    guard let disk else { return }
    let front = StoreTree.absolute(Self.frontPath)
    let nodes = [
      ("device/vbd", ""), (Self.frontPath, ""), ("\(Self.frontPath)/backend", Self.backPath),
      ("\(Self.frontPath)/backend-id", "0"), ("\(Self.frontPath)/virtual-device", Self.device),
      ("\(Self.frontPath)/device-type", "disk"), ("\(Self.frontPath)/state", BusState.initializing),
      (Self.backPath, ""), ("\(Self.backPath)/frontend", front), ("\(Self.backPath)/frontend-id", "\(XenABI.domain)"),
      ("\(Self.backPath)/online", "1"), ("\(Self.backPath)/mode", disk.isReadOnly ? "r" : "w"),
      ("\(Self.backPath)/feature-flush-cache", "1"), ("\(Self.backPath)/feature-barrier", "0"),
      ("\(Self.backPath)/feature-persistent", "0"), ("\(Self.backPath)/max-ring-page-order", "0"),
      ("\(Self.backPath)/sectors", "\(disk.sectorCount)"), ("\(Self.backPath)/sector-size", "512"),
      ("\(Self.backPath)/info", "\(disk.isReadOnly ? Self.readOnlyFlag : 0)"),
      ("\(Self.backPath)/state", BusState.initWait),
    ]
    for (path, value) in nodes { _ = domain.store.write(StoreTree.absolute(path), value) }
  }

  /// The guest wrote to xenstore: its front end may have taken a step.
  func diskFrontEndWrote(_ path: String) {
    guard disk != nil, path == StoreTree.absolute("\(Self.frontPath)/state") else { return }
    switch domain.store.value(path) {
    case BusState.initialized where !domain.block.isConnected: connectDisk()
    case BusState.closing: disconnectDisk(BusState.closing)
    case BusState.closed: disconnectDisk(BusState.closed)
    case BusState.initializing: disconnectDisk(BusState.initWait)
    default: break
    }
  }

  private func frontEndValue(_ name: String) -> String? {
    domain.store.value(StoreTree.absolute("\(Self.frontPath)/\(name)"))
  }

  private func setBackEnd(_ state: String) {
    let path = "\(Self.backPath)/state"
    guard domain.store.value(path) != state, domain.store.write(path, state) else { return }
    tellWatchers(path)
  }

  private func connectDisk() {
    guard let reference = frontEndValue("ring-ref").flatMap({ UInt32($0) }),
      let port = frontEndValue("event-channel").flatMap({ UInt32($0) }), port < UInt32(Self.portCount),
      binding(Int(port)) == .unbound, grantedFrame(reference, write: true) != nil
    else { return disconnectDisk(BusState.closing) }
    let dialect = frontEndValue("protocol") ?? (abi.is32Bit ? "x86_32-abi" : "x86_64-abi")
    domain.ports[Int(port)] = PortBinding.disk.rawValue
    domain.block = BlockState(
      isConnected: true, reference: reference, port: port, is32Bit: dialect == "x86_32-abi",
      requestCount: domain.block.requestCount)
    setBackEnd(BusState.connected)
  }

  private func disconnectDisk(_ state: String) {
    if domain.block.isConnected, binding(Int(domain.block.port)) == .disk {
      domain.ports[Int(domain.block.port)] = PortBinding.unbound.rawValue
    }
    domain.block.isConnected = false
    setBackEnd(state)
  }

  // MARK: The ring

  /// Does what the ring asks for, as far as it has not been done.
  func serviceDisk() {
    guard domain.block.isConnected else { return }
    guard let page = grantedFrame(domain.block.reference, write: true) else { return disconnectDisk(BusState.closing) }
    let ring = BlockRing(is32Bit: domain.block.is32Bit)
    let producer = memory.load(page + BlockRing.Counter.requestProducer, as: UInt32.self) ?? 0
    let waiting = producer &- domain.block.consumer
    // More than the ring holds is no request.
    guard waiting <= BlockRing.slots else { return disconnectDisk(BusState.closing) }
    let before = domain.block.produced
    for _ in 0..<waiting {
      let at = page + ring.slot(domain.block.consumer)
      domain.block.consumer &+= 1
      let bytes = memory.readBytes(at, count: ring.requestSize).map { $0 ?? 0 }
      guard let request = ring.request(bytes) else { return disconnectDisk(BusState.closing) }
      let answer = ring.response(to: request, perform(request))
      memory.write(page + ring.slot(domain.block.produced), answer)
      domain.block.produced &+= 1
    }
    finish(page, before)
  }

  /// Shows the responses, and tells the guest where it asked to be told.
  private func finish(_ page: GPA, _ before: UInt32) {
    let produced = domain.block.produced
    memory.store(page + BlockRing.Counter.requestEvent, domain.block.consumer &+ 1)
    guard produced != before else { return }
    memory.store(page + BlockRing.Counter.responseProducer, produced)
    let wanted = memory.load(page + BlockRing.Counter.responseEvent, as: UInt32.self) ?? 0
    if produced &- wanted < produced &- before { raise(Int(domain.block.port)) }
  }

  /// Sectors of a request's segments, in order; nil where a segment cannot be.
  private func pieces(_ request: BlockRing.Request, write: Bool) -> [(place: GPA, count: Int)]? {
    var pieces: [(place: GPA, count: Int)] = []
    for segment in request.segments {
      guard segment.first <= segment.last, UInt64(segment.last) < BlockRing.sectorsPerPage,
        let page = grantedFrame(segment.reference, write: write)
      else { return nil }
      pieces.append((page + UInt64(segment.first) * 512, (Int(segment.last) - Int(segment.first) + 1) * 512))
    }
    return pieces
  }

  private func perform(_ request: BlockRing.Request) -> Int16 {
    guard let disk else { return BlockRing.Status.error }
    domain.block.requestCount &+= 1
    switch request.operation {
    case BlockRing.Operation.flush:
      // It may carry data to be written before.
      guard request.segments.isEmpty || write(request, disk) else { return BlockRing.Status.error }
      return disk.flush() ? BlockRing.Status.okay : BlockRing.Status.error
    case BlockRing.Operation.read: return read(request, disk) ? BlockRing.Status.okay : BlockRing.Status.error
    case BlockRing.Operation.write: return write(request, disk) ? BlockRing.Status.okay : BlockRing.Status.error
    default: return BlockRing.Status.notSupported
    }
  }

  private func offset(_ request: BlockRing.Request, _ count: Int, _ disk: any XenDisk) -> UInt64? {
    let sectors = UInt64(count / 512)
    guard request.sector <= disk.sectorCount, sectors <= disk.sectorCount - request.sector else { return nil }
    return request.sector * 512
  }

  private func read(_ request: BlockRing.Request, _ disk: any XenDisk) -> Bool {
    guard let pieces = pieces(request, write: true) else { return false }
    var bytes = [UInt8](repeating: 0, count: pieces.reduce(0) { $0 + $1.count })
    guard let offset = offset(request, bytes.count, disk),
      bytes.withUnsafeMutableBytes({ disk.read(at: offset, into: [$0]) })
    else { return false }
    var done = 0
    for piece in pieces {
      memory.write(piece.place, Array(bytes[done..<done + piece.count]))
      done += piece.count
    }
    return true
  }

  private func write(_ request: BlockRing.Request, _ disk: any XenDisk) -> Bool {
    guard !disk.isReadOnly, let pieces = pieces(request, write: false) else { return false }
    let bytes = pieces.flatMap { memory.readBytes($0.place, count: $0.count).map { $0 ?? 0 } }
    guard let offset = offset(request, bytes.count, disk) else { return false }
    return bytes.withUnsafeBytes { disk.write(at: offset, from: [$0]) }
  }
}
