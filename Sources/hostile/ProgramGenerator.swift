import Machine

/// Random programs: bytes without sense, openings of instructions worth meeting often, and small sequences that
/// set devices and the processor's own timers going.
struct ProgramGenerator {
  let bits: Int
  private(set) var code: [UInt8] = []

  /// A program of up to half a kilobyte that begins again at its end.
  static func program(bits: Int, _ random: inout Random) -> [UInt8] {
    var generator = ProgramGenerator(bits: bits)
    let length = 32 + random.below(400)
    while generator.code.count < length { generator.addPiece(&random) }
    return generator.closed()
  }

  private init(bits: Int) { self.bits = bits }

  /// First bytes of instructions that reach far into a processor: port I/O, HLT, STI, far transfers, descriptor
  /// tables and control registers, strings, LOCK and REP, x87, SSE.
  private static let openings: [[UInt8]] = [
    [0xE6], [0xE4], [0xEE], [0xEC], [0xEF], [0xED], [0xF4], [0xFB], [0xFA], [0xCD], [0xCC], [0xCE], [0xF1], [0xCF],
    [0x48, 0xCF], [0x66, 0xCF], [0xEA], [0x9A], [0xCB], [0xCA], [0xFF], [0xFF, 0x1C], [0xFF, 0x2C], [0xFE], [0x8E],
    [0x8C], [0x0F, 0x00], [0x0F, 0x01], [0x0F, 0x02], [0x0F, 0x03], [0x0F, 0x05], [0x0F, 0x06], [0x0F, 0x07],
    [0x0F, 0x08], [0x0F, 0x09], [0x0F, 0x20], [0x0F, 0x21], [0x0F, 0x22], [0x0F, 0x23], [0x0F, 0x30], [0x0F, 0x31],
    [0x0F, 0x32], [0x0F, 0x33], [0x0F, 0x34], [0x0F, 0x35], [0x0F, 0xA2], [0x0F, 0xAA], [0x0F, 0xAE], [0x0F, 0xB2],
    [0x0F, 0xB4], [0x0F, 0xC7], [0x0F, 0x58], [0x66, 0x0F, 0x6F], [0xF3, 0x0F, 0x10], [0xF2, 0x0F, 0x2D], [0xF3, 0xA4],
    [0xF3, 0xA5], [0xF3, 0xAB], [0xF2, 0xAE], [0xF3, 0xA6], [0xF3, 0x6C], [0xF3, 0x6F], [0x6C], [0x6E], [0xF0], [0x66],
    [0x67], [0x48], [0x64], [0x2E], [0xD8], [0xD9], [0xDB], [0xDD], [0xDF], [0x9B], [0xC8], [0xC9], [0x60], [0x61],
    [0x9C], [0x9D], [0x50], [0x58], [0x1F], [0x07], [0x17], [0x62], [0x63], [0xC4], [0xC5], [0xD7], [0xE0], [0xE2],
    [0xE3], [0x70], [0x74], [0xE8], [0xE9], [0xEB], [0xF6], [0xF7], [0xC0], [0xD3], [0x0F, 0xA3], [0x0F, 0xBA],
    [0x0F, 0xC8], [0x0F, 0xFF], [0x0F, 0x0B], [0x0F, 0x38], [0x0F, 0x3A], [0xA4], [0xAA], [0x27], [0x37], [0xD4],
  ]

  private mutating func addPiece(_ random: inout Random) {
    switch random.below(16) {
    case 0..<7: addNoise(&random, opening: true)
    case 7..<10: addNoise(&random, opening: false)
    case 10: addPortAccess(&random)
    case 11: addTimers(&random)
    case 12: addAPIC(&random)
    case 13: addMSRAccess(&random)
    case 14: addHypercall(&random)
    default: addDeviceWrites(&random)
    }
  }

  private mutating func addNoise(_ random: inout Random, opening: Bool) {
    if opening { code += random.pick(Self.openings) }
    for _ in 0..<(1 + random.below(5)) { code.append(random.byte()) }
  }

  /// A jump back to the first byte.
  private func closed() -> [UInt8] {
    let size = bits == 16 ? 2 : 4
    let back = -(code.count + 1 + size)
    return code + [0xE9] + Self.little(UInt64(bitPattern: Int64(back)), size)
  }

  // MARK: words of machine code

  private static func little(_ value: UInt64, _ size: Int) -> [UInt8] {
    (0..<size).map { UInt8(truncatingIfNeeded: value >> UInt64($0 * 8)) }
  }
  private var small: [UInt8] { bits == 16 ? [] : [0x66] }
  private var wide: [UInt8] { bits == 16 ? [0x66] : [] }
  /// Makes a direct address 32 bits wide.
  private var direct: [UInt8] { bits == 32 ? [] : [0x67] }

  private mutating func setDX(_ port: UInt16) { code += small + [0xBA] + Self.little(UInt64(port), 2) }
  /// `MOV r32, imm32`: 0 EAX, 1 ECX, 2 EDX, 3 EBX.
  private mutating func set(_ register: UInt8, _ value: UInt64) {
    code += wide + [0xB8 + register] + Self.little(value, 4)
  }
  private mutating func out(_ port: UInt16, _ value: UInt8) {
    if port < 0x100 {
      code += [0xB0, value, 0xE6, UInt8(port)]
    } else {
      code += [0xB0, value]
      setDX(port)
      code.append(0xEE)
    }
  }
  private mutating func store(_ address: UInt64, _ value: UInt64) {
    set(0, value)
    code += direct + wide + [0xA3] + Self.little(address, 4)
  }

  // MARK: sequences

  private static let ports: [UInt16] = [
    0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x40, 0x41, 0x42, 0x43, 0x61, 0x60, 0x64, 0x92, 0x70, 0x71, 0x80, 0xE9, 0xE0, 0x190,
    0x3C0, 0x3C4, 0x3D4, 0x3D5, 0x3DA, 0x3F8, 0x3F9, 0x3FA, 0x3FB, 0x3FC, 0x3FD, 0x3FE, 0x3FF, 0xCF8, 0xCFC, 0x510,
    0xB2, 0x4852,
  ]

  /// One access of any width, sometimes a string of them, to a device's port or anywhere.
  private mutating func addPortAccess(_ random: inout Random) {
    setDX(random.one(in: 4) ? UInt16(truncatingIfNeeded: random.next()) : random.pick(Self.ports))
    if random.one(in: 3) { set(1, UInt64(random.below(64))) }
    if random.one(in: 4) { code.append(0xF3) }
    if random.one(in: 3) { code.append(0x66) }
    code.append(random.pick([0xEC, 0xED, 0xEE, 0xEF, 0xEE, 0xEF, 0x6C, 0x6D, 0x6E, 0x6F]))
  }

  /// PIC pair on, PIT, clock or serial interrupts going, interrupts on, sometimes a halt.
  private mutating func addTimers(_ random: inout Random) {
    let vector = random.pick([0x08, 0x20, 0x28, 0x70, random.byte()])
    for (port, value) in [(0x20, 0x11), (0x21, vector), (0x21, 4), (0x21, random.pick([1, 3, 0x11])), (0x21, 0)] {
      out(UInt16(port), value)
    }
    if random.one(in: 2) { for value: UInt8 in [0x11, 0x70, 2, 1, 0] { out(value == 0x11 ? 0xA0 : 0xA1, value) } }
    switch random.below(3) {
    case 0:
      out(0x43, random.pick([0x30, 0x34, 0x36, 0x38, 0x32, 0x3A]))
      out(0x40, random.byte())
      out(0x40, UInt8(random.below(4)))
    case 1:
      out(0x70, 0x0A)
      out(0x71, 0x20 | UInt8(random.below(16)))
      out(0x70, 0x0B)
      out(0x71, random.byte() | 0x40)
    default:
      out(0x3F9, random.byte() & 0x0F)
      out(0x3FC, random.byte() | 0x08)
      out(0x3FA, random.byte())
    }
    code.append(0xFB)
    if random.one(in: 2) { code.append(0xF4) }
  }

  /// Registers of the local APIC or an IOAPIC entry: timers, interrupts to oneself and others.
  private mutating func addAPIC(_ random: inout Random) {
    let local: UInt64 = 0xFEE0_0000
    switch random.below(4) {
    case 0:
      store(local + 0xF0, 0x1FF)
      store(local + 0x320, random.next() & 0x7_00FF)
      store(local + 0x3E0, UInt64(random.below(16)))
      store(local + 0x380, UInt64(random.below(20_000)))
    case 1: store(local + UInt64(random.below(0x40)) * 16, random.edgy())
    case 2:
      store(local + 0x310, random.next() & 0x0300_0000)
      store(local + 0x300, random.next() & 0xC_CFFF)
    default:
      store(0xFEC0_0000, UInt64(random.below(0x40)))
      store(0xFEC0_0010, random.edgy())
    }
  }

  private static let msrs: [UInt64] = [
    0x10, 0x1B, 0x174, 0x175, 0x176, 0x179, 0x17A, 0x1A0, 0x277, 0x2FF, 0x802, 0x80B, 0x80F, 0x830, 0x832, 0x838,
    0xC000_0080, 0xC000_0081, 0xC000_0082, 0xC000_0084, 0xC000_0100, 0xC000_0101, 0xC000_0102, 0xC000_0103, 0x6E0,
  ]
  private mutating func addMSRAccess(_ random: inout Random) {
    set(1, random.one(in: 6) ? random.next() : random.pick(Self.msrs))
    set(0, random.edgy())
    set(2, random.one(in: 2) ? 0 : random.edgy())
    code += random.one(in: 2) ? [0x0F, 0x30] : [0x0F, 0x32]
  }

  private mutating func addHypercall(_ random: inout Random) {
    // Not every one of them a shutdown.
    let number = random.pick([0, 1, 1, 2, 4, 5, 6, random.edgy(), 3])
    set(0, random.one(in: 4) || number != 3 ? number : 2)
    set(3, random.edgy())
    set(1, random.edgy())
    setDX(HypercallABI.port)
    code += wide + [0xEF]
  }

  private mutating func addDeviceWrites(_ random: inout Random) {
    for _ in 0..<(1 + random.below(4)) { out(random.pick(Self.ports), random.byte()) }
  }
}
