import VMCore
import X86

/// The services about the machine itself: INT 11h, 12h, 14h, 15h but its wait, and 1Ah.
struct BIOSSystem {
  private static let unsupported: UInt8 = 0x86

  let memory: GuestMemory
  unowned let ports: PortBus
  let map: MemoryMap
  /// Asks for an orderly power-off.
  let powerOff: () -> Void

  // MARK: INT 14h

  /// The first serial port, by its registers (AL line parameters as the 8250 BIOS took them).
  func serial(_ call: BIOSCall) {
    let port: UInt16 = 0x3F8
    func status() -> UInt8 { UInt8(truncatingIfNeeded: ports.read(port + 5, size: 1)) }
    func modem() -> UInt8 { UInt8(truncatingIfNeeded: ports.read(port + 6, size: 1)) }
    guard call.dx == 0 else {
      call.ah = 0x80
      return
    }
    switch call.ah {
    case 0x00:
      let divisors: [UInt16] = [1047, 768, 384, 192, 96, 48, 24, 12]
      let divisor = divisors[Int(call.al >> 5)]
      ports.write(port + 3, size: 1, value: 0x80)
      ports.write(port, size: 1, value: UInt64(divisor & 0xFF))
      ports.write(port + 1, size: 1, value: UInt64(divisor >> 8))
      ports.write(port + 3, size: 1, value: UInt64(call.al & 0x1F))
      ports.write(port + 1, size: 1, value: 0)
      call.ax = BIOSCall.word(high: status(), low: modem())
    case 0x01:
      ports.write(port, size: 1, value: UInt64(call.al))
      call.ah = status() & 0x7F
    case 0x02:
      guard status() & 1 != 0 else {
        call.ah = 0x80
        return
      }
      call.ax = BIOSCall.word(high: 0, low: UInt8(truncatingIfNeeded: ports.read(port, size: 1)))
    case 0x03: call.ax = BIOSCall.word(high: status(), low: modem())
    default: call.ah = 0x80
    }
  }

  // MARK: INT 15h

  func serve(_ call: BIOSCall) {
    switch call.ah {
    case 0x24: gateA20(call)
    case 0x53: powerManagement(call)
    case 0x87: moveBlock(call)
    case 0x88:
      call.ax = UInt16(min(map.upperKiB, 0xFC00))
      call.setFlag(RFLAGS.cf, false)
    case 0xE8 where call.al == 0x01: extendedSize(call)
    case 0xE8 where call.al == 0x20: mapEntry(call)
    default: call.fail(Self.unsupported)
    }
  }

  /// AX=2400h to 2403h: the gate is open and stays so.
  private func gateA20(_ call: BIOSCall) {
    switch call.al {
    case 0x00, 0x01: break
    case 0x02: call.al = 1
    // By keyboard controller and by port 92h.
    case 0x03: call.bx = 3
    default:
      call.fail(Self.unsupported)
      return
    }
    call.succeed()
  }

  /// As much of APM 1.2 as turning the machine off takes.
  private func powerManagement(_ call: BIOSCall) {
    switch call.al {
    case 0x00:
      call.ax = 0x0102
      call.bx = 0x504D
      call.cx = 0
      call.setFlag(RFLAGS.cf, false)
    case 0x01, 0x04, 0x08, 0x0D, 0x0F: call.succeed()
    case 0x0E:
      call.ax = 0x0102
      call.setFlag(RFLAGS.cf, false)
    case 0x07 where call.bx == 1 && call.cx == 3:
      call.succeed()
      powerOff()
    default: call.fail(Self.unsupported)
    }
  }

  /// AH=87h: CX words between the descriptors at ES:SI+10h and +18h (base in bytes 2...4 and 7).
  private func moveBlock(_ call: BIOSCall) {
    guard let table = call.read(call.linear(.es, call.si), count: 0x20) else {
      call.fail(1)
      return
    }
    func base(_ at: Int) -> UInt64 {
      let low = UInt64(table[at + 2]) | UInt64(table[at + 3]) << 8
      return low | UInt64(table[at + 4]) << 16 | UInt64(table[at + 7]) << 24
    }
    let count = Int(call.cx) * 2
    var block = [UInt8](repeating: 0, count: count)
    guard count <= 0x10000, block.withUnsafeMutableBytes({ memory.read(GPA(base(0x10)), into: $0) }),
      memory.write(GPA(base(0x18)), block)
    else {
      call.fail(1)
      return
    }
    call.succeed()
    call.setFlag(RFLAGS.zf, true)
  }

  /// AX=E801h: KiB from 1 to 16 MiB, then 64 KiB blocks above.
  private func extendedSize(_ call: BIOSCall) {
    let below = UInt16(min(map.upperKiB, 0x3C00))
    let above = UInt16(map.lowEnd > 16 << 20 ? (map.lowEnd - (16 << 20)) >> 16 : 0)
    call.ax = below
    call.bx = above
    call.cx = below
    call.dx = above
    call.setFlag(RFLAGS.cf, false)
  }

  /// AX=E820h: entry EBX of the memory map at ES:DI (ACPI 6.4 15.1).
  private func mapEntry(_ call: BIOSCall) {
    let index = Int(call.extended(.rbx))
    let signature: UInt32 = 0x534D_4150
    guard call.extended(.rdx) == signature, call.extended(.rcx) >= 20, index < map.entries.count else {
      call.fail(Self.unsupported)
      return
    }
    let entry = map.entries[index]
    var bytes: [UInt8] = []
    withUnsafeBytes(of: entry.base.littleEndian) { bytes.append(contentsOf: $0) }
    withUnsafeBytes(of: entry.length.littleEndian) { bytes.append(contentsOf: $0) }
    withUnsafeBytes(of: entry.type.littleEndian) { bytes.append(contentsOf: $0) }
    guard call.write(call.linear(.es, call.di), bytes) else {
      call.fail(Self.unsupported)
      return
    }
    call.setExtended(.rax, signature)
    call.setExtended(.rcx, UInt32(bytes.count))
    call.setExtended(.rbx, index + 1 < map.entries.count ? UInt32(index + 1) : 0)
    call.setFlag(RFLAGS.cf, false)
  }

  // MARK: INT 1Ah

  func time(_ call: BIOSCall) {
    switch call.ah {
    case 0x00:
      let ticks = memory.load(GPA(BIOSData.ticks), as: UInt32.self) ?? 0
      call.cx = UInt16(ticks >> 16)
      call.dx = UInt16(ticks & 0xFFFF)
      call.al = memory.byte(BIOSData.midnight)
      memory.store(GPA(BIOSData.midnight), UInt8(0))
    case 0x01:
      memory.store(GPA(BIOSData.ticks), UInt32(call.cx) << 16 | UInt32(call.dx))
      memory.store(GPA(BIOSData.midnight), UInt8(0))
    case 0x02:
      call.cx = BIOSCall.word(high: clock(0x04), low: clock(0x02))
      call.dx = BIOSCall.word(high: clock(0x00), low: 0)
      call.succeed()
    case 0x03:
      setClock([(0x04, call.ch), (0x02, call.cl), (0x00, call.dh)])
      call.succeed()
    case 0x04:
      call.cx = BIOSCall.word(high: clock(0x32), low: clock(0x09))
      call.dx = BIOSCall.word(high: clock(0x08), low: clock(0x07))
      call.succeed()
    case 0x05:
      setClock([(0x32, call.ch), (0x09, call.cl), (0x08, call.dh), (0x07, call.dl)])
      call.succeed()
    default: call.setFlag(RFLAGS.cf, true)
    }
  }

  /// A register of the real-time clock, BCD as the BIOS gives it on.
  private func clock(_ register: UInt8) -> UInt8 {
    ports.write(0x70, size: 1, value: UInt64(register))
    return UInt8(truncatingIfNeeded: ports.read(0x71, size: 1))
  }

  private func setClock(_ values: [(register: UInt8, value: UInt8)]) {
    for (register, value) in values {
      ports.write(0x70, size: 1, value: UInt64(register))
      ports.write(0x71, size: 1, value: UInt64(value))
    }
  }
}
