import VMCore

/// The BIOS a boot sector finds: real code in segment F000h, so that every service shows as what it is.
///
/// Each vector has a stub of `OUT B2h, AL; IRET`; the monitor knows the service by where the OUT stands
/// and changes flags in the FLAGS word that the IRET pops. Interrupt handlers, waiting for a key and
/// rebooting are written out in machine code.
package enum BIOSROM {
  /// Guest-physical address of the ROM, which ends at 1 MiB.
  static let base: UInt64 = 0xF0000
  static let segment: UInt16 = 0xF000
  /// The port a PC's firmware sends its own commands to (the chipset's SMI command port).
  package static let servicePort: UInt16 = 0xB2
  /// End of the vector table and the BIOS data area.
  static let dataEnd: UInt64 = 0x500

  /// Offsets in the segment.
  private enum At {
    static let timer: UInt16 = 0xE000
    static let keyboard: UInt16 = 0xE040
    static let waitForKey: UInt16 = 0xE060
    static let system: UInt16 = 0xE090
    static let noBoot: UInt16 = 0xE0A0
    static let reboot: UInt16 = 0xE0B0
    static let masterIRQ: UInt16 = 0xE0C0
    static let slaveIRQ: UInt16 = 0xE0D0
    static let nothing: UInt16 = 0xE0E0
    static let disketteTable: UInt16 = 0xEFC7
    static let stubs: UInt16 = 0xF000
    static let reset: UInt16 = 0xFFF0
  }

  /// The stub of a vector: 4 bytes from F000:F000.
  static func stub(_ vector: UInt8) -> UInt16 { At.stubs + UInt16(vector) * 4 }

  /// The vector whose stub's OUT stands at this offset in the segment; nil if none does.
  static func vector(at offset: UInt64) -> UInt8? {
    let distance = offset &- UInt64(At.stubs)
    return distance < 1024 && distance & 3 == 0 ? UInt8(distance >> 2) : nil
  }

  /// Where a vector of the interrupt table points.
  static func handler(_ vector: UInt8) -> UInt16 {
    switch vector {
    case 0x08: At.timer
    case 0x09: At.keyboard
    case 0x0A...0x0F: At.masterIRQ
    case 0x15: At.system
    case 0x16: At.waitForKey
    case 0x18: At.noBoot
    case 0x19: At.reboot
    case 0x1B, 0x1C: At.nothing
    case 0x1E: At.disketteTable
    case 0x70...0x77: At.slaveIRQ
    default: stub(vector)
    }
  }

  /// Puts the ROM at F0000h, at its beginning what it says of the machine's processors.
  static func install(in memory: GuestMemory, vcpuCount: Int) throws(VMError) {
    let table = MPTable.build(vcpuCount: vcpuCount)
    try memory.addROM(table + image.dropFirst(table.count), at: [GPA(base)])
  }

  /// The 64 KiB.
  static let image: [UInt8] = {
    var rom = [UInt8](repeating: 0xFF, count: 0x10000)
    func put(_ offset: UInt16, _ code: [UInt8]) {
      rom.replaceSubrange(Int(offset)..<Int(offset) + code.count, with: code)
    }
    for vector in UInt8.min...UInt8.max { put(stub(vector), [0xE6, UInt8(servicePort), 0xCF]) }
    put(At.timer, timer)
    put(At.keyboard, keyboard)
    put(At.waitForKey, waitForKey)
    put(At.system, system)
    put(At.noBoot, noBoot)
    put(At.reboot, reboot)
    put(At.masterIRQ, [0x50, 0xB0, 0x20, 0xE6, 0x20, 0x58, 0xCF])  // push ax; EOI to the master; pop ax; iret
    put(At.slaveIRQ, [0x50, 0xB0, 0x20, 0xE6, 0xA0, 0xE6, 0x20, 0x58, 0xCF])  // the same, the slave first
    put(At.nothing, [0xCF])
    put(At.disketteTable, [0xAF, 0x02, 0x25, 0x02, 18, 0x1B, 0xFF, 0x6C, 0xF6, 0x0F, 0x08])
    // jmp F000:reboot, the date, and the model byte of a PC AT.
    put(At.reset, [0xEA, UInt8(At.reboot & 0xFF), UInt8(At.reboot >> 8), 0x00, 0xF0] + Array("01/01/26".utf8))
    put(0xFFFE, [0xFC])
    return rom
  }()

  /// The displacement of a near CALL or JMP whose next instruction is at `from`.
  private static func displacement(from: UInt16, to: UInt16) -> [UInt8] {
    let distance = to &- from
    return [UInt8(distance & 0xFF), UInt8(distance >> 8)]
  }

  /// INT 08h, IRQ0: counts ticks at 40:6C, turns over at midnight (1800B0h), calls INT 1Ch.
  private static let timer: [UInt8] = [
    0x50,  // push ax
    0x1E,  // push ds
    0xB8, 0x40, 0x00,  // mov ax, 40h
    0x8E, 0xD8,  // mov ds, ax
    0x83, 0x06, 0x6C, 0x00, 0x01,  // add word [6Ch], 1
    0x83, 0x16, 0x6E, 0x00, 0x00,  // adc word [6Eh], 0
    0x83, 0x3E, 0x6E, 0x00, 0x18,  // cmp word [6Eh], 18h
    0x72, 0x14,  // jb chain
    0x81, 0x3E, 0x6C, 0x00, 0xB0, 0x00,  // cmp word [6Ch], 0B0h
    0x72, 0x0C,  // jb chain
    0x31, 0xC0,  // xor ax, ax
    0xA3, 0x6C, 0x00,  // mov [6Ch], ax
    0xA3, 0x6E, 0x00,  // mov [6Eh], ax
    0xFE, 0x06, 0x70, 0x00,  // inc byte [70h]
    0xCD, 0x1C,  // chain: int 1Ch
    0xB0, 0x20,  // mov al, 20h
    0xE6, 0x20,  // out 20h, al
    0x1F,  // pop ds
    0x58,  // pop ax
    0xCF,  // iret
  ]

  /// INT 09h, IRQ1: hands the scan code in AL to the service, which fills the key buffer.
  private static let keyboard: [UInt8] =
    [
      0x50,  // push ax
      0xE4, 0x60,  // in al, 60h
      0x9C,  // pushf
      0x0E,  // push cs
      0xE8,  // call the stub, whose IRET comes back here
    ] + displacement(from: At.keyboard + 8, to: stub(0x09)) + [
      0xB0, 0x20,  // mov al, 20h
      0xE6, 0x20,  // out 20h, al
      0x58,  // pop ax
      0xCF,  // iret
    ]

  /// INT 16h: functions 00h and 10h halt until the key buffer holds something.
  private static let waitForKey: [UInt8] =
    [
      0xF6, 0xC4, 0xEF,  // test ah, 0EFh
      0x75, 0x17,  // jnz serve
      0xFA,  // wait: cli
      0x50,  // push ax
      0x1E,  // push ds
      0xB8, 0x40, 0x00,  // mov ax, 40h
      0x8E, 0xD8,  // mov ds, ax
      0xA1, 0x1A, 0x00,  // mov ax, [1Ah]
      0x3B, 0x06, 0x1C, 0x00,  // cmp ax, [1Ch]
      0x1F,  // pop ds
      0x58,  // pop ax
      0x75, 0x04,  // jne serve
      0xFB,  // sti
      0xF4,  // hlt
      0xEB, 0xE9,  // jmp wait
      0xE9,  // serve: jmp stub
    ] + displacement(from: At.waitForKey + 31, to: stub(0x16))

  /// INT 15h: function 86h waits with interrupts on.
  private static let system: [UInt8] =
    [
      0x80, 0xFC, 0x86,  // cmp ah, 86h
      0x75, 0x01,  // jne serve
      0xFB,  // sti
      0xE9,  // serve: jmp stub
    ] + displacement(from: At.system + 9, to: stub(0x15))

  /// INT 18h: the service says that nothing boots, then the processor stops for good.
  private static let noBoot: [UInt8] =
    [
      0x9C,  // pushf
      0x0E,  // push cs
      0xE8,  // call stub
    ] + displacement(from: At.noBoot + 5, to: stub(0x18)) + [
      0xFA,  // cli
      0xF4,  // hlt
      0xEB, 0xFC,  // jmp cli
    ]

  /// INT 19h and the reset vector: pulses the reset line by the keyboard controller.
  private static let reboot: [UInt8] = [
    0xB0, 0xFE,  // mov al, 0FEh
    0xE6, 0x64,  // out 64h, al
    0xFA,  // cli
    0xF4,  // hlt
    0xEB, 0xFC,  // jmp cli
  ]
}
