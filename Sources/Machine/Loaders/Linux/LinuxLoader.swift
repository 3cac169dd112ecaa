import VMCore
import X86

/// Loads a Linux kernel, its initrd, its command line and a description of memory, and says how it starts.
enum LinuxLoader {
  static func load(_ request: LoadRequest, _ kernel: KernelImage) throws(VMError) -> LoadedGuest {
    try checkMachine(request)
    let boot = request.linuxBoot ?? (kernel.xenNote(.physical32Entry) == nil ? .bzImage : .pvh)
    switch boot {
    case .pvh: return try loadPVH(request, kernel)
    case .bzImage: return try loadBzImage(request, kernel)
    }
  }

  // MARK: PVH

  /// The 32-bit entry of the note PHYS32_ENTRY, with EBX pointing at the start information (Xen,
  /// docs/misc/pvh.pandoc).
  private static func loadPVH(_ request: LoadRequest, _ kernel: KernelImage) throws(VMError) -> LoadedGuest {
    let file = ImageBytes(request.image)
    guard let entry = kernel.xenNote(.physical32Entry)?.number else {
      throw file.wrong(
        "the kernel's Xen notes", "without PHYS32_ENTRY (18) of 4 or 8 bytes", expected: "a kernel with CONFIG_PVH",
        remedy: "use --boot bzimage")
    }
    let inner = ImageBytes(name: request.image.name, bytes: kernel.vmlinux)
    var placement = ImagePlacement(request)
    try ImageLoader.place(kernel.elf, inner, &placement)
    guard kernel.elf.segments.contains(where: { entry >= $0.physicalAddress && entry < $0.end }), entry < 1 << 32 else {
      throw file.wrong("the note PHYS32_ENTRY", entry, expected: "an address inside the kernel, below 4 GiB")
    }
    let limit = kernel.header.map { UInt64($0.initrdAddressMaximum) + 1 } ?? 1 << 32
    let initrd = try placeInitrd(request, below: limit, &placement)
    let root = placeACPI(request)
    let info = try PVHStartInfo.build(commandLine: commandLine(request), modules: initrd, acpiRoot: root, &placement)
    var state = try InitialState.protected(entry: request.entry ?? entry, &placement)
    state[.rbx] = info
    state[.tr] = SegmentState(limit: 0x67, access: 0x8B)
    return guest(
      request, kernel, state, entry: entry, initrd, "PVH entry \(prefixedHex(entry)), start information at \(prefixedHex(info))")
  }

  // MARK: The 64-bit protocol

  private static func loadBzImage(_ request: LoadRequest, _ kernel: KernelImage) throws(VMError) -> LoadedGuest {
    let file = ImageBytes(request.image)
    guard let header = kernel.header else {
      throw file.wrong(
        "the image", "a vmlinux without PHYS32_ENTRY or setup header", expected: "a bzImage, or a kernel with CONFIG_PVH")
    }
    guard header.hasEntry64 else {
      throw file.wrong("setup header: xloadflags", "without bit 0", expected: "a kernel with a 64-bit entry")
    }
    let started = try BootProtocolLoader.start64(
      request, header, commandLine: commandLine(request), acpiRoot: placeACPI(request))
    return guest(request, kernel, started.state, entry: started.entry, started.initrd, started.text)
  }

  // MARK: Both

  private static func guest(
    _ request: LoadRequest, _ kernel: KernelImage, _ state: VCPUState, entry: UInt64, _ initrd: [Range<UInt64>],
    _ text: String
  ) -> LoadedGuest {
    let place = initrd.first.map { ", initrd at \(prefixedHex($0.lowerBound))" } ?? ""
    var guest = LoadedGuest(
      kind: .linux, state: state, description: text + place, symbolsImage: kernel.vmlinux, entry: entry)
    guest.platform = machine(request)
    return guest
  }

  /// The machine the kernel is to find.
  private static func machine(_ request: LoadRequest) -> PCModel {
    request.machine ?? (request.vcpuCount > 1 || request.disk != nil ? .p1 : .p0)
  }

  private static func checkMachine(_ request: LoadRequest) throws(VMError) {
    guard machine(request) == .p0, request.vcpuCount > 1 || request.disk != nil else { return }
    let what = request.disk == nil ? "--cpus \(request.vcpuCount)" : "--disk"
    throw VMError(
      .usage, "\(what): the machine p0 has one processor and no disk", remedy: "leave --machine out, or say --machine p1")
  }

  /// P1's ACPI tables, where a BIOS would have them; gives the RSDP's address, 0 on a machine without ACPI.
  private static func placeACPI(_ request: LoadRequest) -> UInt64 {
    guard machine(request) == .p1 else { return 0 }
    let tables = ACPITables.build(
      vcpuCount: request.vcpuCount, virtioCount: VirtioDevices.count(hasDisk: request.disk != nil))
    request.memory.write(GPA(ACPITables.base), tables)
    request.memory.write(GPA(0xF_FFF0), SleepPorts.resetCode)
    return ACPITables.base
  }

  private static func commandLine(_ request: LoadRequest) throws(VMError) -> String {
    let text = LinuxCommandLine.text(
      on: machine(request), appended: request.commandLine, replaces: request.replacesCommandLine)
    // Kernels cut at COMMAND_LINE_SIZE, 2048 on x86.
    guard text.utf8.count < 2048, !text.utf8.contains(0) else {
      throw VMError(.usage, "the kernel's command line has \(text.utf8.count) bytes; expected at most 2047, none of them 0")
    }
    return text
  }

  /// As high as it goes, page-aligned, out of the kernel's way.
  static func placeInitrd(
    _ request: LoadRequest, below limit: UInt64, _ placement: inout ImagePlacement
  ) throws(VMError) -> [Range<UInt64>] {
    guard request.modules.count <= 1 else {
      throw VMError(.usage, "\(printable(request.image.name)): a bzImage takes one initrd; \(request.modules.count) were given")
    }
    guard let module = request.modules.first else { return [] }
    let file = ImageBytes(module)
    guard file.count > 0, file.count <= GuestImage.maximumFileSize else {
      throw file.wrong("the size", "\(file.count) bytes", expected: "1 byte to 1 GiB")
    }
    guard let start = placement.lastFree(below: limit, size: file.size, alignment: 4096) else {
      let needed = (placement.map.lowEnd + file.size + 0xF_FFFF) >> 20
      throw VMError(
        .image, "\(file.name): no room for \(file.count) bytes of initrd in \(readable(bytes: placement.memory.ramSize)) beside the kernel",
        remedy: "--memory \(needed)M would do")
    }
    try placement.place(module.bytes[...], at: start, memorySize: file.size, file: file, field: "the initrd's place")
    return [start..<start + file.size]
  }
}
