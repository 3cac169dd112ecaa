import Paravirtual
import Testing
import VMCore
import X86

@Suite("The domain builder") struct BuilderTests {
  @Test("no pseudo-physical frame has the number of its machine frame", arguments: [16, 34, 64, 256, 1000] as [UInt64])
  func noFrameKeepsItsNumber(_ mebibytes: UInt64) {
    let layout = MachineLayout(memory: mebibytes << 20)
    #expect(layout.pageCount == (mebibytes << 20) / 0x20_0000 * 512)
    for pfn in 0..<layout.pageCount {
      let mfn = layout.machineFrame(pfn)
      #expect(mfn != pfn && mfn >= layout.firstDomainFrame && mfn < layout.frameCount)
      #expect(layout.pseudoFrame(mfn) == pfn)
    }
    #expect(layout.pseudoFrame(layout.firstDomainFrame - 1) == nil)
  }

  @Test func `start_info says where everything is`() throws {
    let bench = try XenBench(module: [1, 2, 3], commandLine: "console=hvc0")
    let info = bench.xen.builder.startInfoAddress
    #expect(bench.memory.readBytes(bench.place(info), count: 15) == Array("xen-3.0-x86_64\0".utf8).map { $0 })
    #expect(bench.get(info + 0x20) == 4096)
    #expect(bench.get(info + 0x28) == bench.xen.tables.layout.sharedInfo << 12)
    #expect(bench.get(info + 0x30) & 0xFFFF_FFFF == 8)
    #expect(bench.get(info + 0x38) == bench.machine(bench.layout.storeRing))
    #expect(bench.get(info + 0x48) == bench.machine(bench.layout.consoleRing))
    #expect(bench.get(info + 0x58) == bench.address(bench.layout.pageTables))
    #expect(bench.get(info + 0x60) == bench.layout.pageTableCount)
    #expect(bench.get(info + 0x68) == 0x80_0000_0000)
    #expect(bench.get(info + 0x70) == bench.layout.module)
    #expect(bench.get(info + 0x78) == 3)
    #expect(bench.memory.load(GPA(bench.machine(bench.layout.module) << 12), as: UInt32.self) == 0x03_0201)
  }

  @Test func `the kernel starts in ring 3 with RSI at start_info and its tables read-only`() throws {
    let bench = try XenBench(code: [0x90, 0x0F, 0x05])
    let state = bench.xen.builder.initialState()
    #expect(state.cpl == 3 && state.mode == .long64)
    #expect(state[.cs].selector == 0xE033 && state[.ss].selector == 0xE02B)
    #expect(state.rip == XenBench.entry && state[.rsi] == bench.xen.builder.startInfoAddress)
    #expect(state.rflags == 0x202)
    #expect(state.cr3 == bench.machine(bench.layout.pageTables) << 12)
    for pfn in 0..<bench.layout.mappedEnd {
      let entry = bench.entry(bench.l1(of: pfn), pfn % 512)
      let isTable = pfn >= bench.layout.pageTables && pfn < bench.layout.pageTables + bench.layout.pageTableCount
      #expect(entry >> 12 & 0xFF_FFFF_FFFF == bench.machine(pfn))
      #expect(entry & 7 == (isTable ? 5 : 7))
    }
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test func `the frame list and the machine-to-physical table are each other's inverse`() throws {
    let bench = try XenBench()
    let root = bench.machine(bench.layout.pageTables)
    let l3 = bench.entry(root, 1) >> 12 & 0xFF_FFFF_FFFF
    let l2 = bench.entry(l3, 0) >> 12 & 0xFF_FFFF_FFFF
    let l1 = bench.entry(l2, 0) >> 12 & 0xFF_FFFF_FFFF
    for pfn in [0, 1, 511, 512, 4095] as [UInt64] {
      let page = bench.entry(l1, pfn / 512) >> 12 & 0xFF_FFFF_FFFF
      let mfn = bench.entry(page, pfn % 512)
      #expect(mfn == bench.machine(pfn))
      let table = bench.xen.tables.layout.machineL1
      let inverse = bench.entry(table, mfn / 512) >> 12 & 0xFF_FFFF_FFFF
      #expect(bench.entry(inverse, mfn % 512) == pfn)
    }
  }

  @Test func `a kernel without Xen notes, or one cut short, is refused by name`() throws {
    let plain = XenBench.image(code: [0xF4], hasNotes: false)
    #expect(throws: VMError.self) { try PVKernel(plain, name: "k") }
    for size in stride(from: 0, to: 0x1000, by: 7) {
      let cut = Array(XenBench.image(code: [0xF4]).prefix(size))
      #expect(throws: VMError.self) { try PVKernel(cut, name: "k") }
    }
  }

  @Test func `a kernel larger than the domain is refused`() throws {
    let machine = MachineLayout(memory: 16 << 20)
    let memory = try GuestMemory(ramSize: machine.frameCount << 12)
    let kernel = try PVKernel(XenBench.image(code: [0xF4]), name: "k")
    let module = [UInt8](repeating: 0, count: 15 << 20)
    #expect(throws: VMError.self) {
      try DomainBuilder(kernel: kernel, module: module, commandLine: "", memory: memory, machine: machine)
    }
  }
}
