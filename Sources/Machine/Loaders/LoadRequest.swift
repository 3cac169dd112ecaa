import VMCore

/// The processor mode a flat image starts in (`--mode`).
package enum FlatMode: String, Sendable, CaseIterable {
  case real, protected, long

  /// Where the image goes when `--load` does not say: 7C00h in real mode, as a boot sector; 1 MiB otherwise.
  package var defaultLoadAddress: UInt64 { self == .real ? 0x7C00 : 0x10_0000 }
}

/// The bytes of a file and the name it goes by in messages.
package struct NamedImage: Sendable {
  package var name: String
  package var bytes: [UInt8]
  package init(name: String, bytes: [UInt8]) {
    self.name = name
    self.bytes = bytes
  }
}

/// What a person asked to have loaded into a guest's memory, before anything about it is believed.
package struct LoadRequest: Sendable {
  /// The guest's image, recognised by content unless `mode` or `firmware` is given.
  package var image: NamedImage
  /// The image is flat and starts in this mode.
  package var mode: FlatMode?
  /// Guest-physical address of a flat image.
  package var loadAddress: UInt64?
  /// Guest-physical address of the first instruction of a flat, ELF or Multiboot image.
  package var entry: UInt64?
  /// `--append`: follows the program's name on a Multiboot kernel's command line, the standard line on Linux's.
  package var commandLine: String
  /// `--append-only`: `commandLine` is all that Linux is told.
  package var replacesCommandLine = false
  /// The way into a Linux kernel; nil chooses by what the kernel has.
  package var linuxBoot: LinuxBoot?
  /// The machine Linux is to find; nil takes P0, or P1 where it has more than one processor or a disk.
  package var machine: PCModel?
  package var vcpuCount = 1
  /// Multiboot modules, or Linux's initrd (`--initrd`); a Multiboot module's string is its name.
  package var modules: [NamedImage]
  /// A ROM that starts at the reset vector; then `image` is empty.
  package var firmware: NamedImage?
  /// A hard disk: of the BIOS services of a boot sector, of firmware, or of Linux's machine P1.
  package var disk: Disk?
  package var memory: GuestMemory

  package init(
    name: String, bytes: [UInt8], memory: GuestMemory, mode: FlatMode? = nil, loadAddress: UInt64? = nil,
    entry: UInt64? = nil, commandLine: String = "", modules: [NamedImage] = [], firmware: NamedImage? = nil,
    disk: Disk? = nil
  ) {
    image = NamedImage(name: name, bytes: bytes)
    self.memory = memory
    self.mode = mode
    self.loadAddress = loadAddress
    self.entry = entry
    self.commandLine = commandLine
    self.modules = modules
    self.firmware = firmware
    self.disk = disk
  }
}

/// A guest in memory, ready to start.
package struct LoadedGuest: Sendable {
  package enum Kind: String, Sendable {
    case multiboot = "Multiboot"
    case elf32 = "ELF32"
    case elf64 = "ELF64"
    case bootSector = "boot sector"
    case flat = "flat image"
    case firmware = "firmware"
    case linux = "Linux"
    case bootProtocol = "bzImage"
  }
  package var kind: Kind
  /// The boot processor at the guest's first instruction.
  package var state: VCPUState
  /// One line: what the image was taken for, where it lies and where it starts.
  package var description: String
  /// The ELF file whose symbol table names the guest's addresses.
  package var symbolsImage: [UInt8]?
  /// Linear address of the first instruction.
  package var entry: UInt64
  /// The machine the guest is made for.
  package var platform = PCModel.pc
  /// The drives of a guest that finds a BIOS under it; nil where there is none.
  package var bios: BIOSConfiguration?
  package var disk: Disk?
  /// What stands in the PC for firmware to find; nil where there is none.
  package var firmware: FirmwareMachine?

  /// Gives the PC what the guest expects of it besides memory: the services of its BIOS, what firmware looks for, or
  /// virtio devices. Called once a PC, before the guest runs.
  package func attach(to pc: PC) {
    if let bios { pc.add(BIOSServices(bios, on: pc)) }
    firmware?.attach(to: pc)
    if platform == .p1 { VirtioDevices.attach(to: pc, disk: disk) }
    pc.disk = disk
  }
}
