import VMCore
import X86

/// Starts what has the setup header of a Linux bzImage, by the boot protocol alone (Documentation/x86/boot.rst): in
/// 64-bit mode where the image has such an entry, else in real mode over BIOS services, as a boot loader would.
enum BootProtocolLoader {
  /// Where boot loaders put the real-mode code.
  private static let setupSegment: UInt16 = 0x9000
  private static let setupAddress: UInt64 = 0x90000
  /// End of the heap after it, as an offset in its segment; the stack comes down from the segment's end.
  private static let heapEnd: UInt16 = 0xDE00
  private static let protectedModeAddress: UInt64 = 0x10_0000

  /// A program that is no Linux: its command line is what `--append` says and no more.
  static func load(_ request: LoadRequest, _ header: SetupHeader) throws(VMError) -> LoadedGuest {
    let line = request.commandLine
    guard line.utf8.count <= Int(clamping: header.commandLineSize), !line.utf8.contains(0) else {
      throw VMError(
        .usage, "the command line has \(line.utf8.count) bytes; the image takes \(header.commandLineSize), none of them 0")
    }
    guard header.hasEntry64 else { return try loadRealMode(request, header) }
    let started = try start64(request, header, commandLine: line)
    return LoadedGuest(
      kind: .bootProtocol, state: started.state, description: started.text, symbolsImage: nil, entry: started.entry)
  }

  // MARK: 64-bit

  /// The protected-mode part at its preferred address, entered at 200h in 64-bit mode with RSI pointing at
  /// `boot_params` ("64-bit BOOT PROTOCOL"). `acpiRoot` is the RSDP's address, 0 on a machine without ACPI.
  static func start64(
    _ request: LoadRequest, _ header: SetupHeader, commandLine: String, acpiRoot: UInt64 = 0
  ) throws(VMError) -> (state: VCPUState, entry: UInt64, initrd: [Range<UInt64>], text: String) {
    let file = ImageBytes(request.image)
    var placement = ImagePlacement(request)
    let code = file.bytes[header.kernelOffset...]
    let load = header.preferredAddress
    let size = max(UInt64(header.initialSize), UInt64(code.count))
    guard load >= protectedModeAddress, load < 1 << 32 else {
      throw file.wrong("setup header: pref_address", load, expected: "an address from 1 MiB to 4 GiB")
    }
    try placement.place(code, at: load, memorySize: size, file: file, field: "setup header: pref_address to pref_address+init_size")
    let initrd = try LinuxLoader.placeInitrd(request, below: UInt64(header.initrdAddressMaximum) + 1, &placement)
    let parameters = try BootParameters.build(
      header, commandLine: commandLine, initrd: initrd.first, acpiRoot: acpiRoot, &placement)
    let entry = request.entry ?? load + 0x200
    var state = try InitialState.linux64(entry: entry, &placement)
    state[.rsi] = parameters
    return (state, entry, initrd, "64-bit entry \(prefixedHex(entry)), boot_params at \(prefixedHex(parameters))")
  }

  // MARK: Real mode

  /// Boot sector and setup at 9000:0, the rest at 1 MiB, entered at 9020:0 with a BIOS under it ("LOADING THE REST OF
  /// THE KERNEL", "RUNNING THE KERNEL").
  private static func loadRealMode(_ request: LoadRequest, _ header: SetupHeader) throws(VMError) -> LoadedGuest {
    let file = ImageBytes(request.image)
    let lineRoom = UInt64(MemoryMap.conventionalEnd) - setupAddress - UInt64(heapEnd)
    guard header.kernelOffset <= Int(heapEnd), request.commandLine.utf8.count < lineRoom else {
      throw file.wrong("setup header: setup_sects", UInt64(header.kernelOffset / 512 - 1), expected: "at most 110 sectors")
    }
    var placement = ImagePlacement(request)
    try placement.place(
      file.bytes[..<header.kernelOffset], at: setupAddress, memorySize: MemoryMap.conventionalEnd - setupAddress, file: file,
      field: "the real-mode code")
    try placement.place(
      file.bytes[header.kernelOffset...], at: protectedModeAddress, memorySize: file.size - UInt64(header.kernelOffset), file: file,
      field: "the protected-mode code")
    let initrd = try LinuxLoader.placeInitrd(request, below: UInt64(header.initrdAddressMaximum) + 1, &placement)
    tell(request, initrd.first)
    let bios = ImageLoader.configuration(request, boot: nil)
    try bios.install(in: request.memory)
    var state = InitialState.real(codeSegment: setupSegment + 0x20, offset: 0, stack: 0)
    for name in [SegmentName.ds, .es, .fs, .gs, .ss] {
      state[name] = SegmentState(selector: setupSegment, base: setupAddress)
    }
    state[.rsp] = UInt64(heapEnd)
    ImageLoader.startWithBIOS(&state, bootDrive: bios.bootDrive)
    state.rflags &= ~RFLAGS.interruptEnable
    return LoadedGuest(
      kind: .bootProtocol, state: state, description: "real-mode entry 9020:0000", symbolsImage: nil,
      entry: setupAddress + 0x200, bios: bios)
  }

  /// The fields a boot loader fills in: its type, the heap, the initrd, the command line.
  private static func tell(_ request: LoadRequest, _ initrd: Range<UInt64>?) {
    let memory = request.memory
    let lineAt = setupAddress + UInt64(heapEnd)
    memory.write(GPA(lineAt), Array(request.commandLine.utf8) + [0])
    let flags = memory.byte(setupAddress + 0x211)
    // FFh: a loader without a number of its own; CAN_USE_HEAP.
    memory.store(GPA(setupAddress + 0x210), 0xFF as UInt8)
    memory.store(GPA(setupAddress + 0x211), flags | 0x80)
    memory.store(GPA(setupAddress + 0x218), UInt32(truncatingIfNeeded: initrd?.lowerBound ?? 0))
    memory.store(GPA(setupAddress + 0x21C), UInt32(truncatingIfNeeded: initrd?.count ?? 0))
    memory.store(GPA(setupAddress + 0x224), heapEnd - 0x200)
    memory.store(GPA(setupAddress + 0x228), UInt32(truncatingIfNeeded: lineAt))
  }
}
