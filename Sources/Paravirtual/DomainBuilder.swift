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
  /// How many of them lie above the L1 tables.
  package var upperTables: UInt64 = 3
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
  package var abi: GuestABI { machine.abi }

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
    layout.upperTables = Self.upperTables(kernel)
    let base = kernel.notes.physicalOffset
    guard kernel.start >= base, kernel.end &- base <= machine.pageCount << 12 else {
      throw VMError(
        .image, "the kernel ends at \(kernel.end >> 20) MiB, the domain's memory at \(machine.pageCount >> 8) MiB",
        remedy: "give more with --memory")
    }
    plan(from: (kernel.end - base + 4095) >> 12)
    let moduleEnd = layout.module + (layout.moduleSize + 4095) >> 12
    guard max(layout.p2m + layout.p2mFrames, moduleEnd, layout.mappedEnd) <= machine.pageCount else {
      throw VMError(
        .image, "kernel, module and tables do not fit into \(machine.pageCount >> 8) MiB",
        remedy: "give more with --memory")
    }
    try checkAddresses()
  }

  private func checkAddresses() throws(VMError) {
    let first = layout.virtualBase
    let last = first &+ (layout.mappedEnd << 12 - 1)
    guard first & 0x1F_FFFF == 0, first >> 30 == last >> 30, abi.isGuestAddress(first), abi.isGuestAddress(last) else {
      throw VMError(
        .image, "its base \(String(first, radix: 16))h: what is mapped from there on does not lie within one GiB")
    }
  }

  /// What lies behind the kernel: what of module and frame list is mapped there, start_info, rings, tables, stack.
  private mutating func plan(from kernelEnd: UInt64) {
    layout.pageCount = machine.pageCount
    layout.virtualBase = kernel.notes.virtualBase
    layout.kernelStart = (kernel.start - kernel.notes.physicalOffset) >> 12
    layout.moduleSize = UInt64(module.count)
    let modulePages = (layout.moduleSize + 4095) >> 12
    let p2mPages = (layout.pageCount * abi.wordSize + 4095) >> 12
    var next = kernelEnd
    func take(_ pages: UInt64) -> UInt64 {
      defer { next += pages }
      return next
    }
    let mapsModule = !module.isEmpty && !kernel.notes.moduleIsPFN
    if mapsModule { layout.module = take(modulePages) }
    if kernel.notes.initialP2M == nil {
      layout.p2m = take(p2mPages)
      layout.p2mFrames = p2mPages
      layout.p2mAddress = virtualAddress(layout.p2m)
    }
    layout.startInfo = take(1)
    layout.storeRing = take(1)
    layout.consoleRing = take(1)
    layout.pageTables = next
    planTables()
    layout.bootStack = layout.pageTables + layout.pageTableCount
    next = layout.mappedEnd
    if !mapsModule { layout.module = take(modulePages) }
    if let address = kernel.notes.initialP2M {
      layout.p2m = next
      layout.p2mFrames = p2mPages + 2 + (p2mPages + 511) / 512
      layout.p2mAddress = address
    }
  }

  /// The tables map themselves: their number and the end of the mapping depend on each other.
  private mutating func planTables() {
    var count = layout.upperTables + 1
    while true {
      let end = layout.pageTables + count + 1
      let spare: UInt64 = 128
      layout.mappedEnd = (end + spare + 1023) & ~1023
      let needed = layout.upperTables + layout.mappedEnd / 512
      if needed <= count { break }
      count = needed
    }
    layout.pageTableCount = count
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
    let at = abi.startInfo
    memory.write(page, Array((abi.magic + "\0").utf8))
    func put(_ offset: UInt64, _ value: UInt64) { putWord(page + offset, value) }
    put(at.pageCount, layout.pageCount)
    put(at.sharedInfo, machine.sharedInfo << 12)
    let moduleFlag = kernel.notes.moduleIsPFN && !module.isEmpty ? StartInfo.moduleIsPFN : 0
    memory.store(page + at.flags, moduleFlag)
    put(at.storeFrame, machine.machineFrame(layout.storeRing))
    memory.store(page + at.storePort, UInt32(Self.storePort))
    put(at.consoleFrame, machine.machineFrame(layout.consoleRing))
    memory.store(page + at.consolePort, UInt32(Self.consolePort))
    put(at.pageTableBase, virtualAddress(layout.pageTables))
    put(at.pageTableFrames, layout.pageTableCount)
    put(at.frameList, layout.p2mAddress)
    if !module.isEmpty {
      put(at.moduleStart, kernel.notes.moduleIsPFN ? layout.module : virtualAddress(layout.module))
      put(at.moduleLength, layout.moduleSize)
    }
    let line = Array(commandLine.utf8.prefix(StartInfo.commandLineSize - 1)) + [0]
    memory.write(page + at.commandLine, line)
    put(at.firstP2M, layout.p2m)
    put(at.p2mFrames, layout.p2mFrames)
  }

  /// An unsigned long of the guest's.
  private func putWord(_ at: GPA, _ value: UInt64) {
    if abi.is32Bit { memory.store(at, UInt32(truncatingIfNeeded: value)) } else { memory.store(at, value) }
  }

  // MARK: Page tables

  private static let leafFlags = XenABI.present | XenABI.writable | XenABI.accessed
  private static let tableFlags = leafFlags | XenABI.user | XenABI.dirty
  /// Ring 3 is the kernel's ring in 64 bits; in 32, pages without US are the kernel's.
  private var pageFlags: UInt64 { abi.is32Bit ? Self.leafFlags : Self.leafFlags | XenABI.user }

  /// Tables above the L1s: L4, L3 and L2, or a PAE L3, the base's L2 and, if that is another, the last one with the
  /// monitor's slots.
  private static func upperTables(_ kernel: PVKernel) -> UInt64 {
    kernel.abi.is32Bit && kernel.notes.virtualBase >> 30 == 3 ? 2 : 3
  }

  /// From the top down, in this order; the tables themselves are mapped without RW.
  private func writePageTables() {
    let top = layout.pageTables
    let l2 = abi.is32Bit ? top + 1 : top + 2
    writeUpperTables(top)
    for pfn in 0..<layout.mappedEnd {
      let table = top + layout.upperTables + pfn / 512
      let index = Int(virtualAddress(pfn) >> 21 & 511)
      if pfn % 512 == 0 { setEntry(l2, index, table, Self.tableFlags) }
      let isTable = pfn >= top && pfn < top + layout.pageTableCount
      setEntry(table, Int(pfn % 512), pfn, isTable ? pageFlags & ~XenABI.writable : pageFlags)
    }
  }

  private func writeUpperTables(_ top: UInt64) {
    let base = layout.virtualBase
    guard abi.is32Bit else {
      setEntry(top, Int(base >> 39 & 511), top + 1, Self.tableFlags)
      setEntry(top + 1, Int(base >> 30 & 511), top + 2, Self.tableFlags)
      return
    }
    setEntry(top, Int(base >> 30), top + 1, XenABI.present)
    if layout.upperTables == 3 { setEntry(top, 3, top + 2, XenABI.present) }
  }

  /// The frame list and, at an address of its own, the three kinds of tables that map it.
  private func writeP2M() {
    let size = abi.wordSize
    for pfn in 0..<layout.pageCount {
      let place = machineAddress(layout.p2m + (pfn * size) >> 12).value | pfn * size & 4095
      putWord(GPA(place), machine.machineFrame(pfn))
    }
    guard let base = kernel.notes.initialP2M else { return }
    let pages = (layout.pageCount * size + 4095) >> 12
    let l3 = layout.p2m + pages
    setEntry(layout.pageTables, Int(base >> 39 & 511), l3, Self.tableFlags)
    setEntry(l3, Int(base >> 30 & 511), l3 + 1, Self.tableFlags)
    for page in 0..<pages {
      let l1 = l3 + 2 + page / 512
      if page % 512 == 0 { setEntry(l3 + 1, Int(base >> 21 & 511) + Int(page / 512), l1, Self.tableFlags) }
      setEntry(l1, Int(page % 512), layout.p2m + page, pageFlags)
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
    for number in 0..<UInt8(128) { memory.write(machineAddress(pfn) + UInt64(number) * 32, Self.entry(number, abi)) }
  }

  /// What a call of the page's entry executes.
  private static func entry(_ number: UInt8, _ abi: GuestABI) -> [UInt8] {
    let load: [UInt8] = [0xB8, number, 0, 0, 0]
    let isIRET = number == UInt8(HypercallNumber.iret.rawValue)
    // mov eax, number; int 82h; ret, or push eax; mov eax, number; int 82h
    if abi.is32Bit { return isIRET ? [0x50] + load + [0xCD, 0x82] : load + [0xCD, 0x82, 0xC3] }
    // push rcx; push r11; mov eax, number; syscall; pop r11; pop rcx; ret
    let save: [UInt8] = [0x51, 0x41, 0x53]
    return isIRET ? save + [0x50] + load + [0x0F, 0x05] : save + load + [0x0F, 0x05, 0x41, 0x5B, 0x59, 0xC3]
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
    for (index, value) in Segments.reservedDescriptors(abi) {
      memory.store(GPA(machine.reservedGDT << 12 + UInt64(index) * 8), value)
    }
    let readable = XenABI.present | (abi.is32Bit ? 0 : XenABI.user) | XenABI.accessed | XenABI.dirty
    put(machine.machineL3, 0, machine.machineL2, inner | XenABI.user)
    for page in 0..<machine.machinePages {
      let l1 = machine.machineL1 + page / 512
      if page % 512 == 0 { put(machine.machineL2, Int(page / 512), l1, inner | XenABI.user) }
      put(l1, Int(page % 512), machine.firstMachinePage + page, readable)
    }
    for mfn in 0..<machine.machinePages << 12 / abi.wordSize {
      putWord(GPA(machine.firstMachinePage << 12 + mfn * abi.wordSize), machine.pseudoFrame(mfn) ?? XenABI.invalidEntry)
    }
  }

  /// Seconds since 1970 at virtual time 0: the run is the same whenever it is made.
  private static let wallClock: UInt32 = 1_767_225_600

  private func writeSharedInfo() {
    let page = GPA(machine.sharedInfo << 12)
    let at = abi.sharedInfo
    for word in 0..<at.bitmapSize / 8 { memory.store(page + (at.mask + word * 8), UInt64.max) }
    memory.store(page + at.wallClockVersion, UInt32(2))
    memory.store(page + (at.wallClockVersion + 4), Self.wallClock)
    putWord(page + at.maximumPFN, layout.pageCount)
    memory.store(page + VCPUInfo.upcallMask, UInt8(1))
  }

  // MARK: Entry

  /// The state at the kernel's first instruction: flat, in its ring, RSI (ESI) = start_info, the boot stack's end in
  /// RSP. A 64-bit guest finds null data segments, a 32-bit one FLAT_KERNEL_DS in all of them.
  package func initialState() -> VCPUState {
    var state = VCPUState()
    state.rip = kernel.notes.entry ?? 0
    state[.rsi] = startInfoAddress
    state[.rsp] = virtualAddress(layout.bootStack + 1)
    state.rflags = RFLAGS.fixed1 | RFLAGS.interruptEnable
    state.cr0 = CR0.pe | CR0.mp | CR0.et | CR0.ne | CR0.wp | CR0.am | CR0.pg
    state.cr3 = rootFrame << 12
    state.cr4 = CR4.pae | CR4.osfxsr | CR4.osxmmexcpt
    state.efer = abi.is32Bit ? EFER.nxe : EFER.sce | EFER.lme | EFER.lma | EFER.nxe
    state[.cs] = Segments.kernelCode(abi)
    state[.ss] = Segments.kernelData(abi)
    let data = abi.is32Bit ? Segments.kernelData(abi) : Segments.null()
    for name in [SegmentName.ds, .es, .fs, .gs] { state[name] = data }
    state[.ldtr] = Segments.null()
    state[.tr] = SegmentState(selector: 0, base: 0, limit: 0, access: 0x8B)
    let limit = UInt64(XenABI.reservedGDTPage + 1) * 4096 - 1
    state.gdtr = TableRegister(base: abi.gdtAddress, limit: UInt16(limit))
    state.idtr = TableRegister(base: 0, limit: 0)
    return state
  }
}
