import VMCore
import X86

/// What the domain builder put where, by pseudo-physical frame and virtual address.
package struct DomainLayout: Equatable, Sendable {
  package var pageCount: UInt64 = 0
  package var kernelStart: UInt64 = 0
  package var startInfo: UInt64 = 0
  package var storeRing: UInt64 = 0
  package var consoleRing: UInt64 = 0
  package var pageTables: UInt64 = 0
  package var pageTableCount: UInt64 = 0
  package var bootStack: UInt64 = 0
  /// First frame behind what is mapped from the kernel's base on.
  package var mappedEnd: UInt64 = 0
  package var module: UInt64 = 0
  package var moduleSize: UInt64 = 0
  package var p2m: UInt64 = 0
  package var p2mFrames: UInt64 = 0
  package var p2mAddress: UInt64 = 0
  package var virtualBase: UInt64 = 0
}

/// Builds a domain from a kernel: memory, tables, start_info, and the state to enter it in.
package struct DomainBuilder {
  let kernel: PVKernel
  let module: [UInt8]
  let commandLine: String
  let memory: GuestMemory
  let machine: MachineLayout
  package private(set) var layout = DomainLayout()

  package static let storePort: UInt64 = 1
  package static let consolePort: UInt64 = 2

  /// Plans where everything goes. Throws `VMError(.image)` where it does not fit.
  package init(
    kernel: PVKernel, module: [UInt8], commandLine: String, memory: GuestMemory, machine: MachineLayout
  ) throws(VMError) {
    self.kernel = kernel
    self.module = module
    self.commandLine = commandLine
    self.memory = memory
    self.machine = machine
    let base = kernel.notes.physicalOffset
    guard kernel.start >= base, kernel.end &- base <= machine.pageCount << 12 else {
      throw VMError(
        .image, "the kernel ends at \(kernel.end >> 20) MiB, the domain's memory at \(machine.pageCount >> 8) MiB",
        remedy: "give more with --memory")
    }
    plan(from: (kernel.end - base + 4095) >> 12)
    guard layout.p2m + layout.p2mFrames < machine.pageCount, layout.mappedEnd <= machine.pageCount else {
      throw VMError(
        .image, "kernel, module and tables do not fit into \(machine.pageCount >> 8) MiB",
        remedy: "give more with --memory")
    }
  }

  private mutating func plan(from kernelEnd: UInt64) {
    layout.pageCount = machine.pageCount
    layout.virtualBase = kernel.notes.virtualBase
    layout.kernelStart = (kernel.start - kernel.notes.physicalOffset) >> 12
    layout.startInfo = kernelEnd
    layout.storeRing = kernelEnd + 1
    layout.consoleRing = kernelEnd + 2
    layout.pageTables = kernelEnd + 3
    // The tables map themselves: their number and the end of the mapping depend on each other.
    var count: UInt64 = 4
    while true {
      let end = layout.pageTables + count + 1
      let spare: UInt64 = 128
      layout.mappedEnd = (end + spare + 1023) & ~1023
      let needed = 3 + layout.mappedEnd / 512
      if needed <= count { break }
      count = needed
    }
    layout.pageTableCount = count
    layout.bootStack = layout.pageTables + count
    layout.module = layout.mappedEnd
    layout.moduleSize = UInt64(module.count)
    layout.p2m = layout.module + (layout.moduleSize + 4095) >> 12
    let p2mPages = (layout.pageCount * 8 + 4095) >> 12
    layout.p2mFrames = p2mPages + 2 + (p2mPages + 511) / 512
    layout.p2mAddress = kernel.notes.initialP2M ?? 0x80_0000_0000
  }

  func machineAddress(_ pfn: UInt64) -> GPA { GPA(machine.machineFrame(pfn) << 12) }
  func virtualAddress(_ pfn: UInt64) -> UInt64 { layout.virtualBase &+ pfn << 12 }
  package var startInfoAddress: UInt64 { virtualAddress(layout.startInfo) }
  package var rootFrame: UInt64 { machine.machineFrame(layout.pageTables) }

  // MARK: Loading

  /// Writes all of it into memory.
  package func load() {
    for segment in kernel.segments {
      let bytes = kernel.bytes[segment.fileOffset..<segment.fileOffset + segment.fileSize]
      copy(bytes, to: segment.address - kernel.notes.physicalOffset)
    }
    copy(module[...], to: layout.module << 12)
    writeStartInfo()
    writePageTables()
    writeP2M()
    fillHypercallPage()
    writeMonitorFrames()
    writeSharedInfo()
  }

  /// Copies to a pseudo-physical address, frame by frame.
  private func copy(_ bytes: ArraySlice<UInt8>, to address: UInt64) {
    var done = 0
    while done < bytes.count {
      let at = address + UInt64(done)
      let count = min(bytes.count - done, Int(4096 - (at & 4095)))
      let first = bytes.startIndex + done
      memory.write(GPA(machineAddress(at >> 12).value | at & 4095), Array(bytes[first..<first + count]))
      done += count
    }
  }

  private func writeStartInfo() {
    let page = machineAddress(layout.startInfo)
    memory.write(page, Array("xen-3.0-x86_64\0".utf8))
    func put(_ offset: UInt64, _ value: UInt64) { memory.store(page + offset, value) }
    put(StartInfo.pageCount, layout.pageCount)
    put(StartInfo.sharedInfo, machine.sharedInfo << 12)
    let moduleFlag = kernel.notes.moduleIsPFN && !module.isEmpty ? StartInfo.moduleIsPFN : 0
    memory.store(page + StartInfo.flags, moduleFlag)
    put(StartInfo.storeFrame, machine.machineFrame(layout.storeRing))
    memory.store(page + StartInfo.storePort, UInt32(Self.storePort))
    put(StartInfo.consoleFrame, machine.machineFrame(layout.consoleRing))
    memory.store(page + StartInfo.consolePort, UInt32(Self.consolePort))
    put(StartInfo.pageTableBase, virtualAddress(layout.pageTables))
    put(StartInfo.pageTableFrames, layout.pageTableCount)
    put(StartInfo.frameList, layout.p2mAddress)
    if !module.isEmpty {
      put(StartInfo.moduleStart, kernel.notes.moduleIsPFN ? layout.module : virtualAddress(layout.module))
      put(StartInfo.moduleLength, layout.moduleSize)
    }
    let line = Array(commandLine.utf8.prefix(StartInfo.commandLineSize - 1)) + [0]
    memory.write(page + StartInfo.commandLine, line)
    put(StartInfo.firstP2M, layout.p2m)
    put(StartInfo.p2mFrames, layout.p2mFrames)
  }

  // MARK: Page tables

  private static let leafFlags = XenABI.present | XenABI.writable | XenABI.user | XenABI.accessed
  private static let tableFlags = leafFlags | XenABI.dirty

  /// L4, L3, L2 and the L1s, in this order; the tables themselves are mapped without RW.
  private func writePageTables() {
    let l4 = layout.pageTables
    let base = layout.virtualBase
    setEntry(l4, Int(base >> 39 & 511), l4 + 1, Self.tableFlags)
    setEntry(l4 + 1, Int(base >> 30 & 511), l4 + 2, Self.tableFlags)
    for pfn in 0..<layout.mappedEnd {
      let table = l4 + 3 + pfn / 512
      if pfn % 512 == 0 { setEntry(l4 + 2, Int(pfn / 512), table, Self.tableFlags) }
      let isTable = pfn >= l4 && pfn < l4 + layout.pageTableCount
      setEntry(table, Int(pfn % 512), pfn, isTable ? Self.leafFlags & ~XenABI.writable : Self.leafFlags)
    }
  }

  /// The frame list and the three kinds of tables that map it, at an address of its own.
  private func writeP2M() {
    let pages = (layout.pageCount * 8 + 4095) >> 12
    for pfn in 0..<layout.pageCount {
      memory.store(GPA(machineAddress(layout.p2m + pfn / 512).value + pfn % 512 * 8), machine.machineFrame(pfn))
    }
    let l3 = layout.p2m + pages
    let base = layout.p2mAddress
    setEntry(layout.pageTables, Int(base >> 39 & 511), l3, Self.tableFlags)
    setEntry(l3, Int(base >> 30 & 511), l3 + 1, Self.tableFlags)
    for page in 0..<pages {
      let l1 = l3 + 2 + page / 512
      if page % 512 == 0 { setEntry(l3 + 1, Int(base >> 21 & 511) + Int(page / 512), l1, Self.tableFlags) }
      setEntry(l1, Int(page % 512), layout.p2m + page, Self.leafFlags)
    }
  }

  private func setEntry(_ table: UInt64, _ index: Int, _ target: UInt64, _ flags: UInt64) {
    let entry = machine.machineFrame(target) << 12 | flags
    memory.store(GPA(machineAddress(table).value + UInt64(index & 511) * 8), entry)
  }

  /// For kernels that call through a page: 32 bytes for each number (Xen's hypercall page).
  private func fillHypercallPage() {
    guard let page = kernel.notes.hypercallPage, page >= layout.virtualBase else { return }
    let pfn = (page - layout.virtualBase) >> 12
    guard pfn < layout.mappedEnd else { return }
    for number in 0..<UInt8(128) {
      // push rcx; push r11; mov eax, number; syscall; pop r11; pop rcx; ret
      var code: [UInt8] = [0x51, 0x41, 0x53, 0xB8, number, 0, 0, 0, 0x0F, 0x05, 0x41, 0x5B, 0x59, 0xC3]
      if number == 23 { code = [0x51, 0x41, 0x53, 0x50, 0xB8, number, 0, 0, 0, 0x0F, 0x05] }
      memory.write(machineAddress(pfn) + UInt64(number) * 32, code)
    }
  }

  // MARK: The monitor's frames

  private func writeMonitorFrames() {
    let inner = XenABI.present | XenABI.writable | XenABI.accessed | XenABI.dirty
    func put(_ table: UInt64, _ index: Int, _ target: UInt64, _ flags: UInt64) {
      memory.store(GPA(table << 12 + UInt64(index) * 8), target << 12 | flags)
    }
    put(machine.perDomainL3, 0, machine.perDomainL2, inner)
    put(machine.perDomainL2, 0, machine.perDomainL1, inner)
    for page in 0..<XenABI.gdtPages {
      put(machine.perDomainL1, page, page == XenABI.reservedGDTPage ? machine.reservedGDT : machine.zeroPage, inner)
    }
    for (index, value) in Segments.reservedDescriptors {
      memory.store(GPA(machine.reservedGDT << 12 + UInt64(index) * 8), value)
    }
    let readable = XenABI.present | XenABI.user | XenABI.accessed | XenABI.dirty
    put(machine.machineL3, 0, machine.machineL2, inner | XenABI.user)
    for page in 0..<machine.machinePages {
      let l1 = machine.machineL1 + page / 512
      if page % 512 == 0 { put(machine.machineL2, Int(page / 512), l1, inner | XenABI.user) }
      put(l1, Int(page % 512), machine.firstMachinePage + page, readable)
    }
    for mfn in 0..<machine.machinePages * 512 {
      let value = machine.pseudoFrame(mfn) ?? XenABI.invalidEntry
      memory.store(GPA(machine.firstMachinePage << 12 + mfn * 8), value)
    }
  }

  /// Seconds since 1970 at virtual time 0: the run is the same whenever it is made.
  private static let wallClock: UInt32 = 1_767_225_600

  private func writeSharedInfo() {
    let page = GPA(machine.sharedInfo << 12)
    for word in 0..<64 as Range<UInt64> { memory.store(page + (SharedInfo.mask + word * 8), UInt64.max) }
    memory.store(page + SharedInfo.wallClockVersion, UInt32(2))
    memory.store(page + (SharedInfo.wallClockVersion + 4), Self.wallClock)
    memory.store(page + SharedInfo.maximumPFN, layout.pageCount)
    memory.store(page + VCPUInfo.upcallMask, UInt8(1))
  }

  // MARK: Entry

  /// The state at the kernel's first instruction: ring 3, flat, RSI = start_info.
  package func initialState() -> VCPUState {
    var state = VCPUState()
    state.rip = kernel.notes.entry ?? 0
    state[.rsi] = startInfoAddress
    state[.rsp] = virtualAddress(layout.bootStack + 1)
    state.rflags = RFLAGS.fixed1 | RFLAGS.interruptEnable
    state.cr0 = CR0.pe | CR0.mp | CR0.et | CR0.ne | CR0.wp | CR0.am | CR0.pg
    state.cr3 = rootFrame << 12
    state.cr4 = CR4.pae | CR4.osfxsr | CR4.osxmmexcpt
    state.efer = EFER.sce | EFER.lme | EFER.lma | EFER.nxe
    state[.cs] = Segments.kernelCode
    state[.ss] = Segments.kernelStack
    for name in [SegmentName.ds, .es, .fs, .gs, .ldtr] { state[name] = Segments.null() }
    state[.tr] = SegmentState(selector: 0, base: 0, limit: 0, access: 0x8B)
    let limit = UInt64(XenABI.reservedGDTPage + 1) * 4096 - 1
    state.gdtr = TableRegister(base: XenABI.gdtAddress, limit: UInt16(limit))
    state.idtr = TableRegister(base: 0, limit: 0)
    return state
  }
}
