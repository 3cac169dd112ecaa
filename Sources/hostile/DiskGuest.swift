import Machine
import VMCore

/// A driver of virtio devices that keeps no rule: a program of stores to their registers and to its own rings, over and
/// over. About half of what it asks for could be a request, so that the devices do get to work.
struct DiskGuest {
  private static let descriptors: UInt64 = 0x2_0000
  private static let available: UInt64 = 0x2_2000
  private static let used: UInt64 = 0x2_3000
  private static let header: UInt64 = 0x2_4000
  private static let data: UInt64 = 0x3_0000
  private static let ringSize: UInt64 = 16

  private enum Register {
    static let driverFeatures: UInt64 = 0x20
    static let driverFeaturesSelect: UInt64 = 0x24
    static let queueSelect: UInt64 = 0x30
    static let queueSize: UInt64 = 0x38
    static let queueReady: UInt64 = 0x44
    static let queueNotify: UInt64 = 0x50
    static let status: UInt64 = 0x70
    /// Low words of the rings' addresses, in the order of `rings`.
    static let areas: [UInt64] = [0x80, 0x90, 0xA0]
  }
  private static let rings = [descriptors, available, used]
  /// What fits between the program's first byte and its stack.
  private static let room = 0x5800

  private var code: [UInt8] = []
  private var index: UInt64 = 0

  /// Machine code of 32 bits for `GuestTables.program`.
  static func program(_ random: inout Random) -> [UInt8] {
    var guest = DiskGuest()
    guest.start(slot: 2, &random)
    while guest.code.count < room { guest.act(&random) }
    let back = UInt32(truncatingIfNeeded: -(guest.code.count + 5))
    return guest.code + [0xE9] + bytes(back)
  }

  // MARK: Instructions

  private static func bytes(_ word: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }

  /// MOV DWORD [address], value.
  private mutating func store(_ address: UInt64, _ value: UInt64) {
    code += [0xC7, 0x05] + Self.bytes(UInt32(truncatingIfNeeded: address)) + Self.bytes(UInt32(truncatingIfNeeded: value))
  }

  /// MOV EAX, [address].
  private mutating func load(_ address: UInt64) { code += [0xA1] + Self.bytes(UInt32(truncatingIfNeeded: address)) }

  // MARK: What a driver does

  private mutating func act(_ random: inout Random) {
    let slot = random.one(in: 4) ? random.below(4) : 2
    let base = VirtioSlot(slot).base.value
    switch random.below(12) {
    case 0: start(slot: slot, &random)
    case 1: store(base + UInt64(random.below(0x140)), random.edgy())
    case 2: store(base + UInt64(random.below(0x50)) * 4, random.edgy())
    case 3: load(base + UInt64(random.below(0x1000)))
    case 4: describe(random.below(16), &random)
    case 5: store(random.pick(Self.rings) + UInt64(random.below(64)), random.edgy())
    case 6: store(base + Register.status, random.pick([0, 1, 4, 11, 15, 64, 0x80]))
    case 7: notify(base, head: UInt64(random.below(20)), queue: UInt64(random.below(3)))
    default: request(base, &random)
    }
  }

  /// From reset to DRIVER_OK, now and then with one step wrong.
  private mutating func start(slot: Int, _ random: inout Random) {
    let base = VirtioSlot(slot).base.value
    var steps: [(UInt64, UInt64)] = [
      (Register.status, 0), (Register.status, 3), (Register.driverFeaturesSelect, 1), (Register.driverFeatures, 1),
      (Register.status, 11), (Register.queueSelect, slot == 0 ? UInt64(random.below(2)) : 0), (Register.queueSize, Self.ringSize),
    ]
    for (area, ring) in zip(Register.areas, Self.rings) { steps += [(area, ring), (area + 4, 0)] }
    steps += [(Register.queueReady, 1), (Register.status, 15)]
    if random.one(in: 8) { steps[random.below(steps.count)].1 = random.edgy() }
    store(Self.available, 0)
    index = 0
    for (register, value) in steps { store(base + register, value) }
  }

  /// One descriptor, with an address near a border and any flags.
  private mutating func describe(_ number: Int, _ random: inout Random) {
    let places = [Self.data, Self.descriptors, Self.used, Self.available, 0x1F_FFF0, 0xA_0000, VirtioSlot(2).base.value, random.edgy()]
    let length = random.one(in: 3) ? random.edgy() : UInt64(random.below(4096))
    put(number, random.pick(places), length, flags: UInt64(random.below(8)), next: UInt64(random.below(18)))
  }

  private mutating func put(_ number: Int, _ address: UInt64, _ length: UInt64, flags: UInt64, next: UInt64) {
    let at = Self.descriptors + UInt64(number) * 16
    store(at, address)
    store(at + 4, address >> 32)
    store(at + 8, length)
    store(at + 12, flags | next << 16)
  }

  /// A block request of header, data and status, one of its parts wrong in a third of the cases.
  private mutating func request(_ base: UInt64, _ random: inout Random) {
    let type = random.pick([0, 1, 1, 4, 8, random.edgy()] as [UInt64])
    store(Self.header, type)
    store(Self.header + 8, random.one(in: 3) ? random.edgy() : UInt64(random.below(130)))
    store(Self.header + 12, random.one(in: 16) ? random.edgy() : 0)
    put(0, Self.header, 16, flags: 1, next: 1)
    let sizes: [UInt64] = [512, 1024, 4096, 0x1_0000, 500, 0]
    put(1, Self.data, random.pick(sizes), flags: type == 1 ? 1 : 3, next: 2)
    put(2, Self.header + 16, 1, flags: 2, next: 0)
    if random.one(in: 3) { describe(random.below(3), &random) }
    notify(base, head: 0, queue: 0)
  }

  private mutating func notify(_ base: UInt64, head: UInt64, queue: UInt64) {
    // Two entries of the ring at once: it does not matter which of them comes.
    store(Self.available + 4 + (index % Self.ringSize) / 2 * 4, head | head << 16)
    index += 1
    store(Self.available, index << 16)
    store(base + Register.queueNotify, queue)
  }
}
