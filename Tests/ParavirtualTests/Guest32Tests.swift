import Paravirtual
import Testing
import VMCore
import X86

private let invalid: Int64 = -22
private let busy: Int64 = -16
private let rw: UInt64 = 0x63
private let ro: UInt64 = 0x61

@Suite("32-bit guests in ring 1") struct Guest32Tests {
  private func bench(_ code: [UInt8] = [0xF4]) throws -> XenBench { try XenBench(code: code, abi: .x86_32p) }
  private func makeTable(_ bench: XenBench, _ pfn: UInt64) { bench.map(pfn, bench.machine(pfn) << 12 | ro) }

  @Test func `the kernel starts in ring 1 on PAE tables, ESI at start_info`() throws {
    let bench = try bench([0x90])
    let state = bench.xen.builder.initialState()
    #expect(state.cpl == 1 && state.mode == .protected32)
    #expect(state[.cs].selector == 0xE019 && state[.ss].selector == 0xE021 && state[.ds].selector == 0xE021)
    #expect(state[.cs].limit == 0xF67F_FFFF && state[.ds].limit == 0xF67F_FFFF)
    #expect(state.rip == bench.start && state[.rsi] == bench.xen.builder.startInfoAddress)
    #expect(state.cr3 == bench.machine(bench.layout.pageTables) << 12 && state.efer == 0x800)
    let info = bench.xen.builder.startInfoAddress
    #expect(bench.memory.readBytes(bench.place(info), count: 16) == Array("xen-3.0-x86_32p\0".utf8).map { $0 })
    let words: [(UInt64, UInt64)] = [
      (0x20, 4096), (0x24, bench.xen.tables.layout.sharedInfo << 12), (0x2C, bench.machine(bench.layout.storeRing)),
      (0x34, bench.machine(bench.layout.consoleRing)), (0x3C, bench.address(bench.layout.pageTables)),
      (0x44, bench.address(bench.layout.p2m)),
    ]
    for (offset, value) in words { #expect(bench.getWord(info + offset) == value) }
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test func `frame list and machine-to-physical table have entries of four bytes`() throws {
    let bench = try bench()
    for pfn in [0, 1, 511, 512, 4095] as [UInt64] {
      #expect(bench.getWord(bench.address(bench.layout.p2m) + pfn * 4) == bench.machine(pfn))
      let table = bench.xen.tables.layout.machineL1
      let place = bench.machine(pfn) * 4
      let page = bench.entry(table, place >> 12) >> 12 & 0xFF_FFFF_FFFF
      #expect(bench.memory.load(GPA(page << 12 | place & 4095), as: UInt32.self).map { UInt64($0) } == pfn)
    }
  }

  @Test func `the hypercall page calls by INT 82h`() throws {
    let bench = try bench()
    let page = bench.place(bench.start + 0x1000)
    #expect(bench.memory.readBytes(page + 17 * 32, count: 8) == [0xB8, 17, 0, 0, 0, 0xCD, 0x82, 0xC3])
    #expect(bench.memory.readBytes(page + 23 * 32, count: 8) == [0x50, 0xB8, 23, 0, 0, 0, 0xCD, 0x82])
  }

  @Test("a kernel's ELF notes or its section __xen_guest say the same") func oldSection() throws {
    let text = "GUEST_OS=test,XEN_VER=xen-3.0,VIRT_BASE=0xC0000000,ELF_PADDR_OFFSET=0x0,VIRT_ENTRY=0xC0100000,"
      + "HYPERCALL_PAGE=0x101,PAE=yes,LOADER=generic\0"
    var image = XenBench.image32(code: [0xF4], notes: [])
    let strings = Array("\0__xen_guest\0.shstrtab\0".utf8)
    let (textAt, stringsAt) = (image.count, image.count + text.utf8.count)
    image += Array(text.utf8) + strings
    let headersAt = image.count
    for words in [
      [0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [1, 1, 0, 0, textAt, text.utf8.count, 0, 0, 1, 0],
      [13, 3, 0, 0, stringsAt, strings.count, 0, 0, 1, 0],
    ] { for word in words { image += XenBench.littleEndian(UInt32(word)) } }
    image.replaceSubrange(32..<36, with: XenBench.littleEndian(UInt32(headersAt)))
    image.replaceSubrange(46..<52, with: [40, 0, 3, 0, 2, 0])
    let old = try PVKernel(image, name: "old")
    #expect(old.abi == .x86_32p && old.notes.entry == 0xC010_0000 && old.notes.hypercallPage == 0xC010_1000)
    let new = try PVKernel(XenBench.image32(code: [0xF4]), name: "new")
    #expect(old.notes.virtualBase == new.notes.virtualBase && old.notes.entry == new.notes.entry)
    for size in stride(from: 0, to: image.count, by: 11) { _ = try? PVKernel(Array(image.prefix(size)), name: "cut") }
  }

  @Test("wrong arguments give the ABI's error numbers", arguments: [
    (99, [], -38), (25, [0, 0], -38), (14, [0xF580_0000, 0, 0, 0], -22), (0, [8], -14), (30, [0, 8], -14),
    (13, [0, 1], -14), (26, [0, 1, 0, 0x7FF0], -14), (10, [3, 0, 0, 0], -22), (20, [6, 0xF700_0000, 1], -14),
    (8, [0, 0xF580_0000], -1), (12, [12, 0xF580_0000], -14),
  ] as [(UInt64, [UInt64], Int64)])
  func errorNumbers(_ number: UInt64, _ arguments: [UInt64], _ error: Int64) throws {
    let bench = try bench()
    #expect(bench.call(number, arguments) == error)
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test func `the result is in EAX alone, and events have number, operation and arguments`() throws {
    let bench = try bench()
    let rip = bench.vcpu.state.rip
    bench.vcpu.state[.r11] = 7
    bench.events.consume { _ in }
    #expect(bench.call(.vcpuOp, 3, 7) == -2)
    #expect(bench.vcpu.state[.rax] == 0xFFFF_FFFE && bench.vcpu.state[.r11] == 7 && bench.vcpu.state.rip == rip + 2)
    var seen: [Event] = []
    bench.events.consume { seen.append(contentsOf: $0) }
    let event = try #require(seen.first { $0.kind == .hypercall })
    #expect(event.a == XenPlatform.code(24, 3) && event.b == UInt64(bitPattern: -2) && event.c == 3 && event.d == 7)
  }

  // MARK: Page tables

  @Test func `the fourth entry of an L3 leads to the monitor and cannot be changed`() throws {
    let bench = try bench()
    let root = bench.machine(bench.layout.pageTables)
    let last = bench.entry(root, 3)
    #expect(bench.update(root << 12 | 24, last) == invalid)
    #expect(bench.update(root << 12 | 24, 0) == invalid)
    #expect(bench.update(root << 12 | 32, last) == invalid)
    // Its last slots are the monitor's.
    let top = last >> 12
    for slot in [428, 440, 511] as [UInt64] { #expect(bench.update(top << 12 | slot * 8, 0) == invalid) }
    // It is no L2 for another slot, nor an L3 without it one.
    #expect(bench.update(root << 12, last) == invalid)
    makeTable(bench, 0x30)
    #expect(bench.extended(.pinL3, bench.machine(0x30)) == invalid)
    #expect(bench.extended(.newBase, bench.machine(0x30)) == invalid)
    #expect(bench.extended(.pinL4, bench.machine(0x30)) == invalid)
    #expect(bench.extended(.newUserBase, bench.machine(0x30)) == invalid)
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test("bits of an L3 entry that processors keep for themselves", arguments: [0x002, 0x004, 0x020, 0x080, 1 << 63, 1 << 52] as [UInt64])
  func reservedBits(_ bit: UInt64) throws {
    let bench = try bench()
    let root = bench.machine(bench.layout.pageTables)
    makeTable(bench, 0x30)
    #expect(bench.update(root << 12, bench.machine(0x30) << 12 | 1 | bit) == invalid)
    #expect(bench.update(root << 12, bench.machine(0x30) << 12 | 1) == 0)
    #expect(bench.xen.tables.frame(bench.machine(0x30))?.type == .l2)
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test func `a second address space has its own last L2, which gets the monitor's slots`() throws {
    let bench = try bench()
    for pfn in [0x30, 0x31] as [UInt64] { makeTable(bench, pfn) }
    bench.memory.store(GPA(bench.machine(0x30) << 12 | 24), bench.machine(0x31) << 12 | 1)
    bench.memory.store(GPA(bench.machine(0x31) << 12 | 440 * 8), bench.machine(0x40) << 12 | 0x67)
    #expect(bench.extended(.pinL3, bench.machine(0x30)) == 0)
    #expect(bench.xen.tables.frame(bench.machine(0x31))?.type == .l2Top)
    #expect(bench.map(0x31, bench.machine(0x31) << 12 | rw) == invalid)
    #expect(bench.extended(.newBase, bench.machine(0x30)) == 0)
    #expect(bench.vcpu.state.cr3 == bench.machine(0x30) << 12)
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test("a table is mapped writable by no alias, order or multicall") func writableTables() throws {
    let bench = try bench()
    let l1 = bench.l1(of: 0x30)
    let root = bench.machine(bench.layout.pageTables)
    for table in [l1, root, bench.entry(root, 3) >> 12] {
      #expect(bench.map(0x30, table << 12 | rw) == invalid)
      #expect(bench.update(l1 << 12 | 0x30 * 8, table << 12 | rw) == invalid)
      let at = bench.address(0x23)
      bench.putWords(at, [14, 99, bench.address(0x30), table << 12 | rw, 0, 0, 0, 0])
      #expect(bench.call(.multicall, at, 1) == 0)
      #expect(bench.getWord(at + 4) == 0xFFFF_FFEA)
    }
    // By pin order: writable first, table later; and table first, unpinned while it is in use.
    #expect(bench.extended(.pinL1, bench.machine(0x40)) == invalid)
    makeTable(bench, 0x40)
    #expect(bench.extended(.pinL1, bench.machine(0x40)) == 0)
    let top = bench.entry(root, 3) >> 12
    #expect(bench.update(top << 12 | 100 * 8, bench.machine(0x40) << 12 | 0x67) == 0)
    #expect(bench.extended(.unpin, bench.machine(0x40)) == 0)
    #expect(bench.map(0x40, bench.machine(0x40) << 12 | rw) == invalid)
    for mfn in [0, 1, 3, 4, 5] as [UInt64] { #expect(bench.map(0x30, mfn << 12 | ro) == busy) }
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test("stores into an L1 table are carried out as checked updates", arguments: [
    ("mov [edi], eax", [0x89, 0x07], 0), ("mov [edi+4], eax", [0x89, 0x47, 0x04], 4),
    ("lock cmpxchg8b [edi]", [0xF0, 0x0F, 0xC7, 0x0F], 0), ("inc eax is no prefix", [0x40, 0x89, 0x07], 0),
  ] as [(String, [UInt8], UInt64)])
  func storesIntoTables(_ name: String, _ code: [UInt8], _ offset: UInt64) throws {
    let bench = try bench(code)
    let old = bench.machine(2) << 12 | rw
    bench.put(bench.address(0x30), old)
    makeTable(bench, 0x30)
    #expect(bench.extended(.pinL1, bench.machine(0x30)) == 0)
    #expect(bench.call(.vmAssist, 0, 2) == 0)
    bench.setTrap(.pf, bench.start + 0x800)
    var state = bench.vcpu.state
    state.rip = bench.start
    state[.rdi] = bench.address(0x30)
    state[.rax] = offset == 4 ? 1 << 31 : bench.machine(3) << 12 | rw
    if code.contains(0xC7) {
      (state[.rdx], state[.rax]) = (0, old)
      (state[.rcx], state[.rbx]) = (1 << 31, bench.machine(3) << 12 | rw)
    }
    bench.vcpu.state = state
    bench.raise(.pf, code: 3, linear: bench.address(0x30) + offset)
    if code[0] == 0x40 {
      #expect(bench.vcpu.state.rip == bench.start + 0x800 && bench.get(bench.address(0x30)) == old)
      return
    }
    let noExecute: UInt64 = code.contains(0xC7) || offset == 4 ? 1 << 63 : 0
    let frame = offset == 4 ? 2 : 3 as UInt64
    #expect(bench.get(bench.address(0x30)) == bench.machine(frame) << 12 | rw | noExecute)
    #expect(bench.vcpu.state.rip == bench.start + UInt64(code.count))
    #expect(ShadowModel(bench).problem() == nil)
  }

  // MARK: Descriptors

  @Test("descriptors lose ring 0 and what reaches the monitor", arguments: [
    (0x00CF_9A00_0000_FFFF, 0x00CF_BA00_0000_67FF), (0x00CF_F200_0000_FFFF, 0x00CF_F200_0000_67FF),
    (0xF6CF_9200_0000_FFFF, 0xF6C0_B200_0000_07FF), (0x0040_9200_0000_0FFF, 0x0040_B200_0000_0FFF),
    (0x00CF_9600_0000_FFFF, nil), (0xF7CF_9200_0000_0000, nil), (0x0000_EC00_0010_0000, nil),
    (0x0000_8900_0000_0067, nil), (0x0000_8200_0000_0067, nil), (0x00CF_9E00_0000_FFFF, nil), (0x0000_0000_0000_FFFF, 0xFFFF),
  ] as [(UInt64, UInt64?)])
  func descriptors(_ given: UInt64, _ kept: UInt64?) throws {
    let bench = try bench()
    makeTable(bench, 0x30)
    bench.put(bench.address(0x25), bench.machine(0x30))
    #expect(bench.call(.setGDT, bench.address(0x25), 16) == 0)
    let place = bench.machine(0x30) << 12 | 16
    let result = bench.call(.updateDescriptor, place, 0, given & 0xFFFF_FFFF, given >> 32)
    #expect(result == (kept == nil ? invalid : 0))
    if let kept { #expect(bench.entry(bench.machine(0x30), 2) == kept) }
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test func `an LDT is the guest's own frames, read-only while it is in force`() throws {
    let bench = try bench()
    bench.put(bench.address(0x30), 0, 0x00CF_9200_0000_FFFF)
    #expect(bench.extended(.setLDT, bench.address(0x30), 2) == invalid)
    makeTable(bench, 0x30)
    #expect(bench.extended(.setLDT, bench.address(0x30), 2) == 0)
    #expect(bench.vcpu.state[.ldtr].base == 0xF701_0000 && bench.vcpu.state[.ldtr].limit == 15)
    #expect(bench.entry(bench.machine(0x30), 1) == 0x00CF_B200_0000_67FF)
    #expect(bench.map(0x30, bench.machine(0x30) << 12 | rw) == invalid)
    #expect(bench.extended(.setLDT, 0, 0) == 0)
    #expect(bench.map(0x30, bench.machine(0x30) << 12 | rw) == 0)
    #expect(ShadowModel(bench).problem() == nil)
  }

  // MARK: Traps

  @Test func `a fault in ring 1 pushes code, EIP, CS with the mask, EFLAGS; one in ring 3 also ESP and SS`() throws {
    let bench = try bench()
    let handler = bench.start + 0x800
    bench.setTrap(.gp, handler)
    bench.call(.stackSwitch, 0xE021, bench.address(0x41) + 0x1000)
    var state = bench.vcpu.state
    state.rip = bench.start
    state[.rsp] = bench.address(0x40) + 0x800
    state.rflags = 0x246
    bench.vcpu.state = state
    bench.raise(.gp, code: 0x1234)
    state = bench.vcpu.state
    #expect(state.rip == handler && state[.cs].selector == 0xE019 && state[.rsp] == bench.address(0x40) + 0x800 - 16)
    #expect((0..<4).map { bench.getWord(state[.rsp] + $0 * 4) } == [0x1234, bench.start, 0x1_E019, 0x46])
    state[.cs] = SegmentState(selector: 0xE02B, base: 0, limit: 0xF67F_FFFF, access: 0xC0FB)
    state[.ss] = SegmentState(selector: 0xE033, base: 0, limit: 0xF67F_FFFF, access: 0xC0F3)
    state[.rsp] = 0x1000
    bench.vcpu.state = state
    bench.raise(.gp, code: 0)
    state = bench.vcpu.state
    #expect(state.cpl == 1 && state[.ss].selector == 0xE021 && state[.rsp] == bench.address(0x41) + 0x1000 - 24)
    #expect((0..<6).map { bench.getWord(state[.rsp] + $0 * 4) } == [0, handler, 0x1_E02B, 0x46, 0x1000, 0xE033])
  }

  @Test("bad IRET frames end the domain", arguments: [
    [0, 0xC010_0000, 0xE018, 0x202, 0, 0xE021], [0, 0xC010_0000, 0xE02A, 0x202, 0, 0xE033],
    [0, 0x40_0000, 0xE02B, 0x202, 0, 0xE021], [0, 0x40_0000, 0xE02B, 0x202, 0, 0], [0, 0x40_0000, 0x0008, 0x202, 0, 0xE033],
    [0, 0x40_0000, 0xE033, 0x202, 0, 0xE033],
  ] as [[UInt64]])
  func badIretFrames(_ words: [UInt64]) throws {
    let bench = try bench()
    bench.putWords(bench.address(0x40), words)
    bench.vcpu.state[.rsp] = bench.address(0x40)
    _ = bench.call(23, [])
    #expect(bench.takeCrash() != nil)
    let other = try self.bench()
    other.vcpu.state[.rsp] = 0xF700_0000
    _ = other.call(23, [])
    #expect(other.takeCrash() != nil)
  }

  @Test func `IRET to ring 3 gives no flag and no segment that is not the program's`() throws {
    let bench = try bench()
    bench.putWords(bench.address(0x40), [5, 0x40_0000, 0xE02B, 0xFFFF_FFFF, 0x50_0000, 0xE033])
    bench.vcpu.state[.rsp] = bench.address(0x40)
    _ = bench.call(23, [])
    let state = bench.vcpu.state
    #expect(bench.takeCrash() == nil)
    #expect(state.cpl == 3 && state.rip == 0x40_0000 && state[.rsp] == 0x50_0000 && state[.rax] == 5)
    #expect(state.rflags & (RFLAGS.iopl | RFLAGS.vm) == 0 && state[.ds].unusable)
    // From there INT 82h is no hypercall.
    let exit = bench.exit(.softwareInterrupt, .softwareInterrupt(vector: 0x82), length: 2)
    #expect(bench.xen.hypercallCode(of: exit, on: bench.vcpu) == nil)
  }

  @Test func `events are bits of 32-bit words`() throws {
    let bench = try bench()
    let shared = GPA(bench.xen.tables.layout.sharedInfo << 12)
    let at = bench.address(0x24)
    bench.putWords(at, [0, 0, 0])
    for _ in 0..<40 { #expect(bench.call(.eventChannelOp, 7, at) == 0) }
    let port = UInt64(40)
    bench.putWords(at, [port])
    #expect(bench.call(.eventChannelOp, 4, at) == 0)
    #expect(bench.memory.load(shared + 0x804, as: UInt32.self) == 1 << 8)
    #expect(bench.memory.load(shared + 4, as: UInt32.self) == 0)
    #expect(bench.call(.eventChannelOp, 9, at) == 0)
    #expect(bench.memory.load(shared + 4, as: UInt32.self) == 2)
    #expect(bench.memory.load(shared, as: UInt8.self) == 1)
    bench.memory.store(shared + 1, UInt8(0))
    bench.call(.setCallbacks, 0xE019, bench.start + 0x900, 0xE019, 0)
    bench.vcpu.state[.rsp] = bench.address(0x41)
    _ = bench.xen.deliverInterrupt(to: bench.vcpu)
    #expect(bench.vcpu.state.rip == bench.start + 0x900)
    #expect(bench.memory.load(shared + 1, as: UInt8.self) == 1)
  }
}
