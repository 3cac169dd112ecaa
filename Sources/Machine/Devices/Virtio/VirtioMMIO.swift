import VMCore

/// What stands behind a virtio transport.
protocol VirtioFunction: AnyObject {
  /// "virtio-blk".
  var name: String { get }
  /// Virtio 1.2, chapter 5.
  var deviceID: UInt32 { get }
  /// Besides VIRTIO_F_VERSION_1 and VIRTIO_F_INDIRECT_DESC.
  var features: UInt64 { get }
  var queueCount: Int { get }
  /// Bytes of buffers after which the rest of a queue waits for another turn.
  var turnSize: Int { get }
  /// A byte of the configuration space; 0 beyond it.
  func configuration(_ offset: Int) -> UInt8
  /// Serves one request of a queue; the bytes written to its buffers, or nil to leave it and all behind it for later.
  func serve(_ chain: VirtioChain, queue: Int) throws(Virtqueue.Malformation) -> UInt32?
  func reset()
  func code(_ coder: inout StateCoder)
  var rows: [(name: String, value: String)] { get }
}

/// A virtio device on memory-mapped registers (virtio 1.2, 4.2, version 2). Requests are carried out while the driver's
/// notification is: what a device does is done at that instruction, in every run. What would keep everybody waiting is
/// done in turns, a little virtual time apart.
///
/// A driver that breaks the rings' rules finds its device in need of a reset (2.1.2), and the reason in the inspection.
final class VirtioMMIO: TimedDevice {
  let name: String
  private let function: any VirtioFunction
  private let context: DeviceContext
  private let memory: GuestMemory
  private let line: InterruptLine
  private var queues: [Virtqueue]
  private var status: UInt32 = 0
  private var interrupts: UInt32 = 0
  private var selectedQueue: UInt32 = 0
  private var deviceWord: UInt32 = 0
  private var driverWord: UInt32 = 0
  private var driverFeatures: UInt64 = 0
  private var complaint = ""
  /// Queues with requests left for another turn, a bit each, and when that is.
  private var postponed: UInt32 = 0
  private(set) var deadline = Deadline.never { didSet { context.timersChanged = true } }
  /// Between two turns, ns.
  private static let pause: UInt64 = 50_000

  private enum Register {
    static let magic: UInt64 = 0x000
    static let version: UInt64 = 0x004
    static let deviceID: UInt64 = 0x008
    static let vendorID: UInt64 = 0x00C
    static let deviceFeatures: UInt64 = 0x010
    static let deviceFeaturesSelect: UInt64 = 0x014
    static let driverFeatures: UInt64 = 0x020
    static let driverFeaturesSelect: UInt64 = 0x024
    static let queueSelect: UInt64 = 0x030
    static let queueSizeMaximum: UInt64 = 0x034
    static let queueSize: UInt64 = 0x038
    static let queueReady: UInt64 = 0x044
    static let queueNotify: UInt64 = 0x050
    static let interruptStatus: UInt64 = 0x060
    static let interruptAcknowledge: UInt64 = 0x064
    static let status: UInt64 = 0x070
    static let descriptors: UInt64 = 0x080
    static let driverArea: UInt64 = 0x090
    static let deviceArea: UInt64 = 0x0A0
    static let configurationGeneration: UInt64 = 0x0FC
    static let configuration: UInt64 = 0x100
  }
  private enum Status {
    static let featuresOK: UInt32 = 8
    static let driverOK: UInt32 = 4
    static let needsReset: UInt32 = 64
  }
  private static let version1: UInt64 = 1 << 32
  private static let indirect: UInt64 = 1 << 28
  private static let usedBuffer: UInt32 = 1
  private static let configurationChange: UInt32 = 2

  init(_ function: any VirtioFunction, context: DeviceContext, memory: GuestMemory, line: InterruptLine) {
    self.function = function
    name = function.name
    self.context = context
    self.memory = memory
    self.line = line
    queues = Array(repeating: Virtqueue(), count: function.queueCount)
  }

  private var features: UInt64 { function.features | Self.version1 | Self.indirect }
  private var isRunning: Bool { status & (Status.driverOK | Status.needsReset) == Status.driverOK }

  // MARK: Registers

  func read(_ offset: UInt64, size: UInt8) -> UInt64 {
    if offset >= Register.configuration {
      let first = Int(offset - Register.configuration)
      return (0..<Int(size)).reduce(UInt64(0)) { $0 | UInt64(function.configuration(first + $1)) << UInt64(8 * $1) }
    }
    // The registers are read and written whole (4.2.2).
    guard size == 4 else { return 0 }
    switch offset {
    case Register.magic: return 0x7472_6976
    case Register.version: return 2
    case Register.deviceID: return UInt64(function.deviceID)
    case Register.vendorID: return 0x5347_4E52
    case Register.deviceFeatures: return deviceWord < 2 ? features >> (UInt64(deviceWord) &* 32) & 0xFFFF_FFFF : 0
    case Register.queueSizeMaximum: return selected == nil ? 0 : UInt64(Virtqueue.maximumSize)
    case Register.queueReady: return selected.map { queues[$0].isReady ? 1 : 0 } ?? 0
    case Register.interruptStatus: return UInt64(interrupts)
    case Register.status: return UInt64(status)
    default: return 0
    }
  }

  private var selected: Int? { selectedQueue < UInt32(queues.count) ? Int(selectedQueue) : nil }

  func write(_ offset: UInt64, size: UInt8, value: UInt64) {
    guard size == 4 else { return }
    let word = UInt32(truncatingIfNeeded: value)
    switch offset {
    case Register.deviceFeaturesSelect: deviceWord = word
    case Register.driverFeaturesSelect: driverWord = word
    case Register.driverFeatures: setDriverFeatures(word)
    case Register.queueSelect: selectedQueue = word
    case Register.queueNotify: notify(word)
    case Register.interruptAcknowledge: clear(word)
    case Register.status: setStatus(word)
    default: if let selected { setQueue(selected, offset, word) }
    }
  }

  private func setDriverFeatures(_ word: UInt32) {
    guard driverWord < 2, status & Status.featuresOK == 0 else { return }
    let shift = UInt64(driverWord) &* 32
    driverFeatures = driverFeatures & ~(0xFFFF_FFFF << shift) | UInt64(word) << shift
  }

  private func setQueue(_ index: Int, _ offset: UInt64, _ word: UInt32) {
    // A ready queue stays as it is (4.2.2.2).
    guard !queues[index].isReady else {
      if offset == Register.queueReady, word & 1 == 0 { queues[index] = Virtqueue() }
      return
    }
    func half(_ address: inout UInt64, _ isHigh: Bool) {
      address = isHigh ? address & 0xFFFF_FFFF | UInt64(word) << 32 : address & ~0xFFFF_FFFF | UInt64(word)
    }
    switch offset {
    case Register.queueSize: if word > 0, word <= UInt32(Virtqueue.maximumSize) { queues[index].size = UInt16(word) }
    case Register.queueReady: queues[index].isReady = word & 1 != 0 && queues[index].size > 0
    case Register.descriptors, Register.descriptors + 4: half(&queues[index].descriptors, offset & 4 != 0)
    case Register.driverArea, Register.driverArea + 4: half(&queues[index].driverArea, offset & 4 != 0)
    case Register.deviceArea, Register.deviceArea + 4: half(&queues[index].deviceArea, offset & 4 != 0)
    default: break
    }
  }

  private func setStatus(_ word: UInt32) {
    guard word != 0 else { return reset() }
    var new = word & 0xFF | status & Status.needsReset
    // What the device does not offer, and a driver of before version 1, are not accepted (3.1.1).
    let isAccepted = driverFeatures & ~features == 0 && driverFeatures & Self.version1 != 0
    if new & Status.featuresOK != 0, !isAccepted { new &= ~Status.featuresOK }
    status = new
    if isRunning { for index in queues.indices { serve(index) } }
  }

  // MARK: Requests

  private func notify(_ word: UInt32) {
    guard word < UInt32(queues.count) else { return }
    serve(Int(word))
  }

  /// Serves what the driver has made available; also called when a device has something for a queue that waits.
  func serve(_ index: Int) {
    guard isRunning else { return }
    var wantsInterrupt = false
    var room = function.turnSize
    do throws(Virtqueue.Malformation) {
      var queue = queues[index]
      // No driver makes more available than a queue holds, while it stands at its notification.
      for _ in 0..<queue.size {
        guard room > 0 else {
          postpone(index)
          break
        }
        var taken = queue
        guard let chain = try taken.take(memory), let written = try function.serve(chain, queue: index) else { break }
        queue = taken
        room -= chain.readableSize + chain.writableSize
        if try queue.give(chain, written: written, memory) { wantsInterrupt = true }
      }
      queues[index] = queue
    } catch {
      complaint = "queue \(index): \(error.text)"
      status |= Status.needsReset
      raise(Self.configurationChange)
    }
    if wantsInterrupt { raise(Self.usedBuffer) }
  }

  private func postpone(_ index: Int) {
    postponed |= 1 << UInt32(index)
    deadline = Deadline.after(context.now, Self.pause)
  }

  func fire(upTo time: UInt64) {
    guard deadline <= time else { return }
    let waiting = postponed
    (postponed, deadline) = (0, Deadline.never)
    for index in queues.indices where waiting >> UInt32(index) & 1 != 0 { serve(index) }
  }

  private func raise(_ bit: UInt32) {
    interrupts |= bit
    line.set(true)
  }

  private func clear(_ word: UInt32) {
    interrupts &= ~word
    if interrupts == 0 { line.set(false) }
  }

  // MARK: Reset, snapshot and display

  func reset() {
    queues = Array(repeating: Virtqueue(), count: queues.count)
    (status, selectedQueue, deviceWord, driverWord, driverFeatures) = (0, 0, 0, 0, 0)
    (postponed, deadline) = (0, Deadline.never)
    complaint = ""
    clear(.max)
    function.reset()
  }

  func code(_ coder: inout StateCoder) {
    for index in queues.indices { queues[index].code(&coder) }
    coder.code(&status)
    coder.code(&interrupts)
    coder.code(&selectedQueue)
    coder.code(&deviceWord)
    coder.code(&driverWord)
    coder.code(&driverFeatures)
    var text = Array(complaint.utf8)
    coder.code(&text)
    complaint = String(decoding: text, as: UTF8.self)
    coder.code(&postponed)
    coder.code(&deadline)
    function.code(&coder)
  }

  func registerName(_ offset: UInt64, write: Bool) -> String {
    switch offset {
    case Register.magic: "MagicValue"
    case Register.version: "Version"
    case Register.deviceID: "DeviceID"
    case Register.vendorID: "VendorID"
    case Register.deviceFeatures: "DeviceFeatures"
    case Register.deviceFeaturesSelect: "DeviceFeaturesSel"
    case Register.driverFeatures: "DriverFeatures"
    case Register.driverFeaturesSelect: "DriverFeaturesSel"
    case Register.queueSelect: "QueueSel"
    case Register.queueSizeMaximum: "QueueNumMax"
    case Register.queueSize: "QueueNum"
    case Register.queueReady: "QueueReady"
    case Register.queueNotify: "QueueNotify"
    case Register.interruptStatus: "InterruptStatus"
    case Register.interruptAcknowledge: "InterruptACK"
    case Register.status: "Status"
    case Register.descriptors, Register.descriptors + 4: "QueueDesc"
    case Register.driverArea, Register.driverArea + 4: "QueueDriver"
    case Register.deviceArea, Register.deviceArea + 4: "QueueDevice"
    case Register.configurationGeneration: "ConfigGeneration"
    case Register.configuration...: "Config"
    default: "reserved"
    }
  }

  var inspection: DeviceInspection {
    var rows: [(name: String, value: String)] = [
      ("status", hex(UInt64(status))), ("features", hex(driverFeatures, digits: 16)), ("interrupts", hex(UInt64(interrupts))),
    ]
    if !complaint.isEmpty { rows.append(("needs reset", complaint)) }
    for (index, queue) in queues.enumerated() {
      rows.append(("queue \(index)", queue.isReady ? "\(queue.size) descriptors at \(hex(queue.descriptors))" : "not ready"))
    }
    return DeviceInspection(device: name, rows: rows + function.rows)
  }
}
