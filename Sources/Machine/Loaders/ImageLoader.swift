import VMCore
import X86

/// Puts a guest into memory and says how its boot processor starts.
package enum ImageLoader {
  /// Recognises the request's image and loads it. Throws `VMError(.image)` or `(.usage)` with one line
  /// that names the file, the field and what was expected; memory may then hold parts of the image.
  package static func load(_ request: LoadRequest) throws(VMError) -> LoadedGuest {
    let image = try GuestImage.recognise(request)
    try checkOptions(request, image)
    var loaded: LoadedGuest
    switch image {
    case .multiboot(let header, let elf): loaded = try loadMultiboot(request, header, elf)
    case .elf(let elf): loaded = try loadELF(request, elf)
    case .bootSector(let geometry): loaded = try loadBootSector(request, geometry)
    case .flat(let mode): loaded = try loadFlat(request, mode)
    case .firmware: loaded = try loadFirmware(request)
    case .linux(let kernel): loaded = try LinuxLoader.load(request, kernel)
    case .bootProtocol(let header): loaded = try BootProtocolLoader.load(request, header)
    }
    loaded.disk = request.disk
    loaded.description =
      "\(printable((request.firmware ?? request.image).name)): \(image.describe), \(loaded.description)"
    return loaded
  }

  /// What the image's kind has no use for is a mistake to be told of, not to be passed over.
  private static func checkOptions(_ request: LoadRequest, _ image: GuestImage) throws(VMError) {
    let name = printable((request.firmware ?? request.image).name)
    var takesCommandLine = false
    var isLinux = false
    switch image {
    case .multiboot: takesCommandLine = true
    case .linux: (takesCommandLine, isLinux) = (true, true)
    case .bootProtocol: takesCommandLine = true
    default: break
    }
    if !takesCommandLine && !(request.commandLine.isEmpty && request.modules.isEmpty) {
      throw VMError(
        .usage, "\(name): --append and --initrd are for Linux and Multiboot kernels; expected none with a \(image.describe)")
    }
    if !isLinux && (request.linuxBoot != nil || request.replacesCommandLine) {
      throw VMError(
        .usage, "\(name): --boot and --append-only are for Linux kernels; expected neither with a \(image.describe)")
    }
    var hasDrives = false
    switch image {
    case .bootSector, .flat(.real), .linux, .firmware: hasDrives = true
    case .bootProtocol(let header): hasDrives = !header.hasEntry64
    case .multiboot(let header, _): hasDrives = header.addresses != nil
    default: break
    }
    guard hasDrives || request.disk == nil else {
      throw VMError(
        .usage,
        "\(name): --disk is for Linux, for firmware and for guests with BIOS services; expected none with a \(image.describe)")
    }
    switch image {
    case .bootSector, .firmware:
      guard request.entry == nil, request.loadAddress == nil else {
        throw VMError(.usage, "\(name): a \(image.describe) starts at a fixed address; expected no --load and no --entry")
      }
    case .multiboot, .elf, .flat, .linux, .bootProtocol: break
    }
  }

  // MARK: Kernels

  private static func loadMultiboot(
    _ request: LoadRequest, _ header: MultibootHeader, _ elf: ELFImage?
  ) throws(VMError) -> LoadedGuest {
    let file = ImageBytes(request.image)
    var placement = ImagePlacement(request)
    var entry: UInt64
    if let fields = header.addresses {
      let first = Int(fields.fileOffset)
      try placement.place(
        file.bytes[first..<first + Int(fields.fileSize)], at: fields.loadAddress, memorySize: fields.memorySize,
        file: file, field: "Multiboot header: load_addr to bss_end_addr")
      entry = fields.entry
    } else if let elf {
      try place(elf, file, &placement)
      entry = elf.entry
    } else {
      preconditionFailure("a Multiboot kernel has address fields or is an ELF file")
    }
    entry = request.entry ?? entry
    try checkEntry(entry, file)
    let info = try MultibootInfo.build(request, &placement)
    var state = try InitialState.protected(entry: entry, &placement)
    state[.rax] = MultibootInfo.bootMagic
    state[.rbx] = info
    var loaded = LoadedGuest(
      kind: .multiboot, state: state, description: "32-bit entry \(prefixedHex(entry)), information at \(prefixedHex(info))",
      symbolsImage: ELFImage.isELF(file) ? file.bytes : nil, entry: entry)
    // Programs in this form (GRUB's core image) go back to real mode and ask the BIOS they were started by.
    if header.addresses != nil {
      let bios = configuration(request, boot: nil)
      try bios.install(in: request.memory)
      loaded.bios = bios
    } else {
      leaveTables(request, placement)
    }
    return loaded
  }

  private static func loadELF(_ request: LoadRequest, _ elf: ELFImage) throws(VMError) -> LoadedGuest {
    let file = ImageBytes(request.image)
    var placement = ImagePlacement(request)
    try place(elf, file, &placement)
    let entry = request.entry ?? elf.entry
    try checkEntry(entry, file)
    let state =
      elf.is64
      ? try InitialState.long(entry: entry, &placement) : try InitialState.protected(entry: entry, &placement)
    leaveTables(request, placement)
    return LoadedGuest(
      kind: elf.is64 ? .elf64 : .elf32, state: state, description: "\(elf.is64 ? 64 : 32)-bit entry \(prefixedHex(entry))",
      symbolsImage: file.bytes, entry: entry)
  }

  static func place(
    _ elf: ELFImage, _ file: ImageBytes, _ placement: inout ImagePlacement
  ) throws(VMError) {
    for segment in elf.segments {
      let first = Int(segment.offset)
      try placement.place(
        file.bytes[first..<first + Int(segment.fileSize)], at: segment.physicalAddress, memorySize: segment.memorySize,
        file: file, field: "program header \(segment.index): p_paddr to p_paddr+p_memsz")
    }
  }

  /// Segments with 32-bit offsets and the identity map both end at 4 GiB.
  private static func checkEntry(_ entry: UInt64, _ file: ImageBytes) throws(VMError) {
    guard entry < 1 << 32 else { throw file.wrong("the entry", entry, expected: "an address below 4 GiB") }
  }

  // MARK: Images without headers

  private static func loadBootSector(
    _ request: LoadRequest, _ geometry: DiskGeometry
  ) throws(VMError) -> LoadedGuest {
    let file = ImageBytes(request.image)
    var placement = ImagePlacement(request)
    try placement.place(file.bytes[0..<512], at: 0x7C00, memorySize: 512, file: file, field: "the boot sector")
    var state = InitialState.real(codeSegment: 0, offset: 0x7C00, stack: 0x7C00)
    let bios = configuration(request, boot: (file.bytes, geometry))
    try bios.install(in: request.memory)
    startWithBIOS(&state, bootDrive: bios.bootDrive)
    let drive = prefixedHex(UInt64(bios.bootDrive))
    return LoadedGuest(
      kind: .bootSector, state: state, description: "drive \(drive), entry 0000:7c00", symbolsImage: nil, entry: 0x7C00,
      bios: bios)
  }

  private static func loadFlat(_ request: LoadRequest, _ mode: FlatMode) throws(VMError) -> LoadedGuest {
    let file = ImageBytes(request.image)
    let load = request.loadAddress ?? mode.defaultLoadAddress
    let entry = request.entry ?? load
    var placement = ImagePlacement(request)
    try placement.place(
      file.bytes[...], at: load, memorySize: file.size, file: file, field: "--load, with the size of the image,")
    try checkEntry(entry, file)
    var loaded = LoadedGuest(
      kind: .flat, state: VCPUState(), description: "loaded at \(prefixedHex(load)), entry \(prefixedHex(entry))", symbolsImage: nil,
      entry: entry)
    switch mode {
    case .protected: loaded.state = try InitialState.protected(entry: entry, &placement)
    case .long: loaded.state = try InitialState.long(entry: entry, &placement)
    case .real: try startReal(&loaded, request, load: load, end: load + file.size)
    }
    return loaded
  }

  /// A flat real-mode image has BIOS services under it, unless it lies where a BIOS has its data.
  private static func startReal(
    _ loaded: inout LoadedGuest, _ request: LoadRequest, load: UInt64, end: UInt64
  ) throws(VMError) {
    guard loaded.entry < 0x10_0000 else {
      throw ImageBytes(request.image).wrong("--entry", loaded.entry, expected: "an address below 1 MiB in real mode")
    }
    let segment: UInt64 = loaded.entry < 0x1_0000 ? 0 : loaded.entry >> 4
    let stack: UInt64 = load >= 0x1000 && load < 0x1_0000 ? load & ~1 : end <= 0x6C00 || load >= 0x7C00 ? 0x7C00 : 0xFFF0
    loaded.state = InitialState.real(
      codeSegment: UInt16(segment), offset: UInt16(loaded.entry - segment << 4), stack: UInt16(stack))
    guard load >= BIOSROM.dataEnd, end <= MemoryMap.conventionalEnd else { return }
    let bios = configuration(request, boot: nil)
    try bios.install(in: request.memory)
    startWithBIOS(&loaded.state, bootDrive: bios.bootDrive)
    loaded.bios = bios
  }

  static func startWithBIOS(_ state: inout VCPUState, bootDrive: UInt8) {
    state[.rdx] = UInt64(bootDrive)
    state.rflags |= RFLAGS.interruptEnable
  }

  static func configuration(
    _ request: LoadRequest, boot: (bytes: [UInt8], geometry: DiskGeometry)?
  ) -> BIOSConfiguration {
    var drives: [BIOSConfiguration.Drive] = []
    if let boot {
      let number: UInt8 = boot.geometry.isFloppy ? 0 : 0x80
      drives.append(.init(number: number, content: .image(boot.bytes), geometry: boot.geometry))
    }
    if let disk = request.disk {
      let number: UInt8 = drives.contains { $0.number == 0x80 } ? 0x81 : 0x80
      let geometry = DiskGeometry(hardDiskSize: Int(clamping: disk.sectorCount) * Disk.sectorSize)
      drives.append(.init(number: number, content: .disk(disk), geometry: geometry))
    }
    return BIOSConfiguration(drives: drives, ramSize: request.memory.ramSize, vcpuCount: request.vcpuCount)
  }

  /// What kernels that were loaded by a BIOS still find of it, where the image leaves its places free: the sizes in its
  /// data area, and the table of processors.
  private static func leaveTables(_ request: LoadRequest, _ placement: ImagePlacement) {
    let table = MPTable.build(vcpuCount: request.vcpuCount)
    if placement.isFree(MPTable.base..<MPTable.base + UInt64(table.count)) {
      request.memory.write(GPA(MPTable.base), table)
    }
    if placement.isFree(BIOSData.ports..<BIOSData.ports + 0x100) { BIOSData.installSizes(in: request.memory) }
  }

  // MARK: Firmware

  private static func loadFirmware(_ request: LoadRequest) throws(VMError) -> LoadedGuest {
    guard let rom = request.firmware else { preconditionFailure("firmware was recognised where none was given") }
    let size = UInt64(rom.bytes.count)
    let top: UInt64 = 1 << 32
    let low: UInt64 = 1 << 20
    let aliasSize = min(size, 128 << 10)
    try request.memory.addROM(rom.bytes, at: [GPA(top - size)])
    // Below 1 MiB it is shadowed, as a chipset does that lets firmware unpack itself there: RAM with a copy.
    request.memory.write(GPA(low - aliasSize), Array(rom.bytes.suffix(Int(aliasSize))))
    var loaded = LoadedGuest(
      kind: .firmware, state: VCPUState(),
      description: "at \(prefixedHex(low - aliasSize)) and \(prefixedHex(top - size)), entry f000:fff0", symbolsImage: nil,
      entry: 0xFFFF_FFF0)
    loaded.firmware = FirmwareMachine(disk: request.disk)
    return loaded
  }
}
