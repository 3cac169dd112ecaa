import Paravirtual
import Testing
import VMCore
import X86

private let invalid: Int64 = -22
private let busy: Int64 = -16
private let perm: Int64 = -1
private let fault: Int64 = -14
private let rw: UInt64 = 0x67
private let ro: UInt64 = 0x65

/// A page table the guest made itself: a frame of zeros, mapped read-only.
private func makeTable(_ bench: XenBench, _ pfn: UInt64) {
  bench.map(pfn, bench.machine(pfn) << 12 | ro)
}

@Suite("Page tables under Xen's rules") struct PageTableTests {
  @Test func `a table is never mapped writable, by whatever alias`() throws {
    let bench = try XenBench()
    let table = bench.machine(bench.layout.pageTables + 3)
    #expect(bench.map(0x30, table << 12 | rw) == invalid)
    #expect(bench.map(0x30, table << 12 | ro) == 0)
    #expect(bench.update(bench.l1(of: 0x31) << 12 | 0x31 * 8, table << 12 | rw) == invalid)
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test func `a page mapped writable anywhere is pinned as no table`() throws {
    let bench = try XenBench()
    #expect(bench.extended(.pinL1, bench.machine(0x30)) == invalid)
    makeTable(bench, 0x30)
    #expect(bench.extended(.pinL1, bench.machine(0x30)) == 0)
    #expect(bench.map(0x30, bench.machine(0x30) << 12 | rw) == invalid)
    #expect(bench.extended(.pinL1, bench.machine(0x30)) == invalid)
    #expect(bench.extended(.unpin, bench.machine(0x30)) == 0)
    #expect(bench.extended(.unpin, bench.machine(0x30)) == invalid)
    #expect(bench.map(0x30, bench.machine(0x30) << 12 | rw) == 0)
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test func `a table with a bad entry is refused whole, and what it took is given back`() throws {
    let bench = try XenBench()
    let page = bench.address(0x30)
    bench.put(page, bench.machine(0x40) << 12 | rw, bench.machine(0x41) << 12 | rw, bench.machine(bench.layout.pageTables) << 12 | rw)
    makeTable(bench, 0x30)
    #expect(bench.extended(.pinL1, bench.machine(0x30)) == invalid)
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test func `unpinning a table in use leaves it a table`() throws {
    let bench = try XenBench()
    makeTable(bench, 0x30)
    let l2 = bench.machine(bench.layout.pageTables + 2)
    #expect(bench.extended(.pinL1, bench.machine(0x30)) == 0)
    #expect(bench.update(l2 << 12 | 100 * 8, bench.machine(0x30) << 12 | rw) == 0)
    #expect(bench.extended(.unpin, bench.machine(0x30)) == 0)
    #expect(bench.map(0x30, bench.machine(0x30) << 12 | rw) == invalid)
    #expect(bench.update(l2 << 12 | 100 * 8, 0) == 0)
    #expect(bench.map(0x30, bench.machine(0x30) << 12 | rw) == 0)
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test func `frames of others are mapped by nobody`() throws {
    let bench = try XenBench()
    let machine = bench.xen.tables.layout
    for mfn in [0, 1, 3, 4, 5, machine.machineL3] as [UInt64] {
      #expect(bench.map(0x30, mfn << 12 | ro) == busy)
      #expect(bench.map(0x30, mfn << 12 | rw) == busy)
      #expect(bench.update(mfn << 12, 0) == perm)
    }
    #expect(bench.map(0x30, machine.frameCount << 12 | ro) == perm)
    #expect(bench.update(machine.frameCount << 12, 0) == perm)
    #expect(bench.map(0x30, 0xF_FFFF_FFFF << 12 | ro) == perm)
    #expect(bench.map(0x30, machine.sharedInfo << 12 | rw) == 0)
    #expect(bench.extended(.pinL1, machine.sharedInfo) == invalid)
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test func `the monitor's slots of an L4 stay the monitor's`() throws {
    let bench = try XenBench()
    let root = bench.machine(bench.layout.pageTables)
    for slot in [256, 257, 260, 271] as [UInt64] {
      #expect(bench.update(root << 12 | slot * 8, bench.machine(0x30) << 12 | rw) == invalid)
    }
    // A new L4 that brings its own idea of them gets the monitor's.
    bench.put(bench.address(0x30) + 256 * 8, bench.machine(0x40) << 12 | rw, 1, 2, 3, bench.machine(0x41) << 12 | rw)
    makeTable(bench, 0x30)
    #expect(bench.extended(.pinL4, bench.machine(0x30)) == 0)
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test func `a table is not its own table`() throws {
    let bench = try XenBench()
    let frame = bench.machine(0x30)
    bench.put(bench.address(0x30), frame << 12 | rw)
    makeTable(bench, 0x30)
    for op in [MMUExtendedOp.pinL4, .pinL3, .pinL2, .pinL1] { #expect(bench.extended(op, frame) == invalid) }
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test("bits a guest may not set", arguments: [0x100, 0x180] as [UInt64])
  func bitsAGuestMayNotSetAreRefused(_ bits: UInt64) throws {
    let bench = try XenBench()
    #expect(bench.map(0x30, bench.machine(0x30) << 12 | rw | bits) == invalid)
    makeTable(bench, 0x31)
    let l2 = bench.machine(bench.layout.pageTables + 2)
    #expect(bench.update(l2 << 12 | 100 * 8, bench.machine(0x31) << 12 | rw | 0x80) == invalid)
  }

  @Test func `the guest's kernel pages are marked, as all its pages are user pages`() throws {
    let bench = try XenBench()
    #expect(bench.map(0x30, bench.machine(0x30) << 12 | 0x63) == 0)
    #expect(bench.entry(bench.l1(of: 0x30), 0x30) == bench.machine(0x30) << 12 | 0x67 | 1 << 52)
  }

  @Test func `a multicall changes nothing in the rules`() throws {
    let bench = try XenBench()
    let table = bench.machine(bench.layout.pageTables + 3)
    let at = bench.address(0x23)
    bench.put(at, 14, 99, bench.address(0x30), table << 12 | ro, 0, 0, 0, 0)
    bench.put(at + 64, 14, 99, bench.address(0x30), table << 12 | rw, 0, 0, 0, 0)
    bench.put(at + 128, 13, 99, at, 1, 0, 0, 0, 0)
    bench.put(at + 192, 23, 99, 0, 0, 0, 0, 0, 0)
    #expect(bench.call(.multicall, at, 4) == 0)
    #expect(bench.get(at + 8) == 0)
    #expect(Int64(bitPattern: bench.get(at + 64 + 8)) == invalid)
    #expect(Int64(bitPattern: bench.get(at + 128 + 8)) == -38)
    #expect(Int64(bitPattern: bench.get(at + 192 + 8)) == -38)
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test func `mmu_update says how far it came`() throws {
    let bench = try XenBench()
    let at = bench.address(0x23)
    let l1 = bench.l1(of: 0x30) << 12
    bench.put(at, l1 | 0x30 * 8, 0, l1 | 0x31 * 8, 0, 1, 1, l1 | 0x32 * 8, 0)
    #expect(bench.call(.mmuUpdate, at, 4, bench.address(0x24), 0x7FF0) < 0)
    #expect(bench.get(bench.address(0x24)) & 0xFFFF_FFFF == 2)
    #expect(bench.entry(bench.l1(of: 0x31), 0x31) == 0)
    #expect(bench.entry(bench.l1(of: 0x32), 0x32) != 0)
    #expect(bench.call(.mmuUpdate, at, 1, 0, 5) == -3)
  }

  @Test func `a GDT page holds no ring but the guest's`() throws {
    let bench = try XenBench()
    let page = bench.address(0x30)
    bench.put(page, 0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF)
    bench.put(bench.address(0x25), bench.machine(0x30))
    #expect(bench.call(.setGDT, bench.address(0x25), 16) == invalid)
    makeTable(bench, 0x30)
    #expect(bench.call(.setGDT, bench.address(0x25), 16) == 0)
    #expect(bench.entry(bench.machine(0x30), 1) == 0x00AF_FB00_0000_FFFF)
    #expect(bench.map(0x30, bench.machine(0x30) << 12 | rw) == invalid)
    let descriptor = bench.machine(0x30) << 12 | 16
    // A call gate, a TSS and conforming code.
    for bad in [0x0000_EC00_0010_0000, 0x0000_8900_0000_0067, 0x00AF_9F00_0000_FFFF] as [UInt64] {
      #expect(bench.call(.updateDescriptor, descriptor, bad) == invalid)
    }
    #expect(bench.call(.updateDescriptor, descriptor, 0x00CF_9300_0000_FFFF) == 0)
    #expect(bench.entry(bench.machine(0x30), 2) == 0x00CF_F300_0000_FFFF)
    #expect(bench.call(.updateDescriptor, bench.xen.tables.layout.sharedInfo << 12, 0) == invalid)
    #expect(bench.call(.updateDescriptor, 4 << 12, 0) == invalid)
    #expect(bench.call(.setGDT, bench.address(0x25), 8000) == invalid)
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test func `pointers lead where the guest itself may write, and nowhere else`() throws {
    let bench = try XenBench()
    let table = bench.address(bench.layout.pageTables + 3)
    for bad in [0xFFFF_8000_0000_0000, 0xFFFF_8200_0000_0000, 0x1000, table, 0x8000_0000_0000_0000] as [UInt64] {
      #expect(bench.call(.memoryOp, 12, bad) == fault)
    }
    #expect(bench.call(.memoryOp, 12, bench.address(0x30) + 4090) == 0)
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test func `new roots are validated tables`() throws {
    let bench = try XenBench()
    #expect(bench.extended(.newBase, bench.machine(0x30)) == invalid)
    #expect(bench.extended(.newBase, 1) == invalid)
    makeTable(bench, 0x30)
    #expect(bench.extended(.newUserBase, bench.machine(0x30)) == 0)
    #expect(bench.map(0x30, bench.machine(0x30) << 12 | rw) == invalid)
    #expect(bench.extended(.newUserBase, 0) == 0)
    #expect(bench.map(0x30, bench.machine(0x30) << 12 | rw) == 0)
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test func `a trusting monitor lets a table be written`() throws {
    let bench = try XenBench(isTrusting: true)
    let table = bench.machine(bench.layout.pageTables + 3)
    #expect(bench.map(0x30, table << 12 | rw) == 0)
    #expect(bench.entry(bench.l1(of: 0x30), 0x30) & 2 != 0)
  }

  @Test("a trusted kernel's tables are user tables too, and its stores into them are carried out", arguments: [MMUExtendedOp.pinL1, .pinL2])
  func trustedTables(_ op: MMUExtendedOp) throws {
    let bench = try XenBench(code: [0x48, 0x89, 0x07], isTrusting: true)
    let (upper, table) = (bench.makeTable(0x30), bench.makeTable(0x31))
    bench.put(bench.address(0x30), table << 12 | 0x63)
    bench.put(bench.address(0x31), bench.machine(0x40) << 12 | 0x63)
    #expect(bench.extended(op, op == .pinL1 ? table : upper) == 0)
    #expect(bench.entry(table, 0) == bench.machine(0x40) << 12 | 0x67 | 1 << 52)
    bench.call(.vmAssist, 0, 2)
    bench.vcpu.state.rip = XenBench.entry
    bench.vcpu.state[.rdi] = bench.address(0x31) + 8
    bench.vcpu.state[.rax] = bench.machine(0x41) << 12 | 0x63
    bench.raise(.pf, code: 7, linear: bench.address(0x31) + 8)
    #expect(bench.entry(table, 1) == bench.machine(0x41) << 12 | 0x67 | 1 << 52)
    #expect(bench.vcpu.state.rip == XenBench.entry + 3)
  }

  @Test("stores into an L1 table are carried out as checked updates", arguments: [
    ("mov [rdi], rax", [0x48, 0x89, 0x07], 0x1000 | rw),
    ("xchg [rdi], rax", [0x48, 0x87, 0x07], 0x1000 | rw),
    ("mov qword [rdi], 0", [0x48, 0xC7, 0x07, 0, 0, 0, 0], 0),
    ("lock btr qword [rdi], 1", [0xF0, 0x48, 0x0F, 0xBA, 0x37, 0x01], 0x2000 | 0x65),
    ("lock and qword [rdi], -3", [0xF0, 0x48, 0x83, 0x27, 0xFD], 0x2000 | 0x65),
  ] as [(String, [UInt8], UInt64)])
  func storesIntoTables(_ name: String, _ code: [UInt8], _ expected: UInt64) throws {
    let bench = try XenBench(code: code)
    bench.put(bench.address(0x30), bench.machine(2) << 12 | rw)
    makeTable(bench, 0x30)
    #expect(bench.extended(.pinL1, bench.machine(0x30)) == 0)
    #expect(bench.call(.vmAssist, 0, 2) == 0)
    func real(_ entry: UInt64) -> UInt64 { entry == 0 ? 0 : bench.machine(entry >> 12) << 12 | entry & 0xFFF }
    bench.vcpu.state.rip = XenBench.entry
    bench.vcpu.state[.rdi] = bench.address(0x30)
    bench.vcpu.state[.rax] = real(0x1000 | rw)
    bench.raise(.pf, code: 7, linear: bench.address(0x30))
    #expect(bench.get(bench.address(0x30)) == real(expected))
    #expect(bench.vcpu.state.rip == XenBench.entry + UInt64(code.count))
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test func `a store that would make a table writable is the guest's fault`() throws {
    let bench = try XenBench(code: [0x48, 0x89, 0x07])
    makeTable(bench, 0x30)
    #expect(bench.extended(.pinL1, bench.machine(0x30)) == 0)
    bench.call(.vmAssist, 0, 2)
    bench.setTrap(.pf, bench.address(0x108))
    bench.vcpu.state.rip = XenBench.entry
    bench.vcpu.state[.rdi] = bench.address(0x30)
    bench.vcpu.state[.rax] = bench.machine(0x30) << 12 | rw
    bench.raise(.pf, code: 7, linear: bench.address(0x30))
    #expect(bench.get(bench.address(0x30)) == 0)
    #expect(bench.vcpu.state.rip == bench.address(0x108))
    #expect(ShadowModel(bench).problem() == nil)
  }
}
