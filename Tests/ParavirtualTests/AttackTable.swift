import Paravirtual
import VMCore
import X86

extension Attack {
  static let all: [Attack] = [
    writableTables, tablesByOtherDoors, frameByFrame, foreignFrames, slotBySlot, monitorSlots, descriptors, handlers, returns,
    operationByOperation, exchanges,
  ].flatMap { $0 }

  // MARK: A page table mapped writable

  private static let writableTables: [Attack] = [
    Attack("an L1 by an alias", .invalid) { $0.map(0x30, $0.l1(of: 0x31) << 12 | $0.rw) },
    Attack("an L2 by an alias", .invalid) { $0.map(0x30, $0.l2 << 12 | $0.rw) },
    Attack("the root by an alias", .invalid) { $0.map(0x30, $0.root << 12 | $0.rw) },
    Attack("a table by its own entry", .invalid) { $0.update($0.l1(of: 0x30) << 12 | 0x30 * 8, $0.l1(of: 0x30) << 12 | $0.rw) },
    Attack("by pin order: writable, then pinned", .invalid) { $0.extended(.pinL1, $0.machine(0x30)) },
    Attack("by pin order: pinned, then writable", .invalid) {
      let mfn = $0.makeL1(0x30)
      return $0.map(0x30, mfn << 12 | $0.rw)
    },
    Attack("by pin order: a table that maps itself", .invalid) {
      $0.put($0.address(0x30), $0.machine(0x30) << 12 | $0.rw)
      return $0.extended(.pinL1, $0.makeTable(0x30))
    },
    Attack("by pin order: two tables that map each other", .invalid) {
      $0.put($0.address(0x30), $0.machine(0x31) << 12 | $0.rw)
      $0.put($0.address(0x31), $0.machine(0x30) << 12 | $0.rw)
      let (first, second) = ($0.makeTable(0x30), $0.makeTable(0x31))
      guard $0.extended(.pinL1, first) == 0 else { return 1 }
      return $0.extended(.pinL1, second)
    },
    Attack("by an L2 entry that makes a writable page a table", .invalid) {
      $0.update($0.freeSlot, $0.machine(0x30) << 12 | $0.rw)
    },
    Attack("by an L2 whose second table maps the first", .invalid) {
      $0.put($0.address(0x31), $0.machine(0x30) << 12 | $0.rw)
      let (first, second) = ($0.makeTable(0x30), $0.makeTable(0x31))
      $0.put($0.address(0x32), first << 12 | $0.rw, second << 12 | $0.rw)
      return $0.extended(.pinL2, $0.makeTable(0x32))
    },
    Attack("by a multicall: pinned and mapped in one", .invalid) {
      let mfn = $0.machine(0x30)
      return $0.together([$0.mapping(0x30, mfn << 12 | $0.ro), $0.extending(.pinL1, mfn, slot: 0), $0.mapping(0x30, mfn << 12 | $0.rw)])
    },
    Attack("by a multicall: mapped by an alias, then pinned", .invalid) {
      let mfn = $0.machine(0x30)
      let calls = [$0.mapping(0x30, mfn << 12 | $0.ro), $0.mapping(0x31, mfn << 12 | $0.rw), $0.extending(.pinL1, mfn, slot: 0)]
      return $0.together(calls)
    },
    Attack("by a multicall: unpinned, mapped and pinned again", .invalid) {
      let mfn = $0.makeL1(0x30)
      let calls = [$0.extending(.unpin, mfn, slot: 0), $0.mapping(0x30, mfn << 12 | $0.rw), $0.extending(.pinL1, mfn, slot: 1)]
      return $0.together(calls)
    },
    Attack("by unpin in flight: an L2 still refers to it", .invalid) {
      let mfn = $0.makeL1(0x30)
      _ = $0.update($0.freeSlot, mfn << 12 | $0.rw)
      _ = $0.extended(.unpin, mfn)
      return $0.map(0x30, mfn << 12 | $0.rw)
    },
    Attack("by unpin in flight: in the list that also pins it", .invalid) {
      let mfn = $0.makeTable(0x30)
      let at = $0.address(0x27)
      $0.putWords(at, [0, mfn, 0, 4, mfn, 0, 0, mfn, 0])
      guard $0.call(.mmuextOp, at, 3, 0, 0x7FF0) == 0 else { return 1 }
      return $0.map(0x30, mfn << 12 | $0.rw)
    },
    Attack("by unpin in flight: the root in use", .invalid) {
      _ = $0.extended(.unpin, $0.root)
      return $0.map(0x30, $0.root << 12 | $0.rw)
    },
    Attack("a pin that was given back twice", .invalid) {
      let mfn = $0.makeL1(0x30)
      _ = $0.extended(.unpin, mfn)
      return $0.extended(.unpin, mfn)
    },
  ]

  // MARK: A page table written by another door

  private static let tablesByOtherDoors: [Attack] = [
    Attack("clear_page of a table", .invalid) { $0.extended(.clearPage, $0.l1(of: 0x30)) },
    Attack("copy_page onto a table", .invalid) { $0.extended(.copyPage, $0.l1(of: 0x30), $0.machine(0x30)) },
    Attack("update_descriptor of a table", .invalid) { $0.updateDescriptor($0.l1(of: 0x30) << 12 | 8, 0) },
    Attack("a table as GDT", .invalid) { $0.setGDT($0.l1(of: 0x30)) },
    Attack("a GDT page as table", .invalid) {
      let mfn = $0.makeTable(0x30)
      _ = $0.setGDT(mfn)
      return $0.extended(.pinL1, mfn)
    },
    Attack("mmu_update of a GDT page", .invalid) {
      let mfn = $0.makeTable(0x30)
      _ = $0.setGDT(mfn)
      return $0.update(mfn << 12 | 8, 0x00CF_9A00_0000_FFFF)
    },
    Attack("a GDT page mapped writable", .invalid) {
      let mfn = $0.makeTable(0x30)
      _ = $0.setGDT(mfn)
      return $0.map(0x30, mfn << 12 | $0.rw)
    },
    Attack("vcpu_info in a table", .invalid) { $0.call(.vcpuOp, 10, 0, $0.longs([$0.l1(of: 0x30), 0])) },
    Attack("an event queue's control block in a table", .invalid) { $0.call(.eventChannelOp, 11, long: [$0.l1(of: 0x30), 0, 0]) },
    Attack("an event array in a table", .invalid) {
      guard $0.call(.eventChannelOp, 11, long: [$0.machine(0x30), 0, 0]) == 0 else { return 1 }
      return $0.call(.eventChannelOp, 12, long: [$0.l1(of: 0x30)])
    },
    Attack("a result in a table", .fault) { $0.call(.memoryOp, 12, $0.address($0.layout.pageTables + $0.layout.upperTables)) },
    Attack("a multicall's results in a table", .fault) {
      $0.call(.multicall, $0.address($0.layout.pageTables + $0.layout.upperTables), 1)
    },
    Attack("how far an update came, in a table", .harmless) {
      $0.call(.mmuUpdate, $0.address(0x20), 0, $0.address($0.layout.pageTables + $0.layout.upperTables), 0x7FF0)
    },
    Attack("a trap's frame in a table", .crash("no stack")) {
      $0.setTrap(.gp, $0.start)
      $0.vcpu.state[.rsp] = $0.address($0.layout.pageTables + $0.layout.upperTables) + 0x800
      $0.raise(.gp, code: 4)
      return 0
    },
    Attack("a store into a table that would map a table", .harmless) {
      let mfn = $0.makeL1(0x30)
      _ = $0.call(.vmAssist, 0, 2)
      $0.setTrap(.pf, $0.start + 0x800)
      $0.vcpu.state.rip = $0.start
      $0.vcpu.state[.rdi] = $0.address(0x30)
      $0.vcpu.state[.rax] = mfn << 12 | $0.rw
      $0.raise(.pf, code: 7, linear: $0.address(0x30))
      return $0.entry(mfn, 0) == 0 && $0.vcpu.state.rip == $0.start + 0x800 ? 0 : 1
    },
  ]

  // MARK: Frames of the monitor's, and of nobody

  private static let frameByFrame: [Attack] = ([0, 1, 2, 3, 4, 5, 11, 12, 13] as [UInt64]).flatMap { mfn in
    [
      Attack("frame \(mfn) mapped to read", .busy) { $0.map(0x30, mfn << 12 | $0.ro) },
      Attack("frame \(mfn) mapped to write", .busy) { $0.map(0x30, mfn << 12 | $0.rw) },
    ]
  }

  private static let foreignFrames: [Attack] = [
    Attack("a frame behind all memory", .perm) { $0.map(0x30, $0.xen.tables.layout.frameCount << 12 | $0.ro) },
    Attack("the last frame an entry can name", .perm) { $0.map(0x30, 0xFF_FFFF << 12 | $0.rw) },
    Attack("mmu_update of the monitor's table", .perm) { $0.update(1 << 12, $0.machine(0x30) << 12 | $0.rw) },
    Attack("mmu_update of shared_info", .perm) { $0.update($0.xen.tables.layout.sharedInfo << 12, 0) },
    Attack("mmu_update behind all memory", .perm) { $0.update($0.xen.tables.layout.frameCount << 12, 0) },
    Attack("mmu_update of an untyped page: a plain store", .harmless) {
      $0.map(0x30, 0)
      return $0.update($0.machine(0x30) << 12, 1 << 12 | $0.rw)
    },
    Attack("mmu_update not at an entry", .invalid) { $0.update($0.l1(of: 0x30) << 12 | 4, 0) },
    Attack("a kind of update there is not", .noCall) { $0.update($0.l1(of: 0x30) << 12 | 3, 0) },
    Attack("the machine-to-physical number of the monitor's frame", .perm) { $0.update(1 << 12 | 1, 0x30) },
    Attack("another domain's frames", .noDomain) { $0.call(.mmuUpdate, $0.address(0x20), 0, 0, 5) },
    Attack("the back ends' domain's frames", .perm) { $0.call(.mmuUpdate, $0.address(0x20), 0, 0, 0) },
    Attack("another domain's tables", .noDomain) { $0.call(.mmuUpdate, $0.address(0x20), 0, 0, 0x7FF0 | 6 << 16) },
    Attack("the back ends' domain's tables", .perm) { $0.call(.mmuextOp, $0.address(0x20), 0, 0, 0x7FF0 | 1 << 16) },
    Attack("another domain's address space", .noCall) { $0.call(.updateVAMappingOtherDomain, $0.address(0x30), 0, 0, 0) },
    Attack("a pin of the monitor's table", .invalid) { $0.extended(.pinL1, 13) },
    Attack("a pin of shared_info", .invalid) { $0.extended(.pinL1, $0.xen.tables.layout.sharedInfo) },
    Attack("a pin behind all memory", .invalid) { $0.extended(.pinL1, $0.xen.tables.layout.frameCount) },
    Attack("an unpin of the monitor's table", .invalid) { $0.extended(.unpin, 13) },
    Attack("a table with the monitor's frame in it", .busy) {
      $0.put($0.address(0x30) + 511 * 8, 1 << 12 | $0.ro)
      return $0.extended(.pinL1, $0.makeTable(0x30))
    },
    Attack("the monitor's L1 in an L2", .busy) { $0.update($0.freeSlot, 13 << 12 | $0.rw) },
    Attack("the monitor's root as the guest's", .invalid) { $0.extended(.newBase, 1) },
    Attack("the monitor's root as programs'", only: .x86_64, .invalid) { $0.extended(.newUserBase, 1) },
    Attack("clear_page of the monitor's", .invalid) { $0.extended(.clearPage, 4) },
    Attack("copy_page of the monitor's", .invalid) { $0.extended(.copyPage, $0.machine(0x30), 4) },
    Attack("copy_page onto the monitor's", .invalid) { $0.extended(.copyPage, 4, $0.machine(0x30)) },
    Attack("the monitor's frame as GDT", .invalid) { $0.setGDT(4) },
    Attack("shared_info as GDT", .invalid) { $0.setGDT($0.xen.tables.layout.sharedInfo) },
    Attack("the monitor's descriptors changed", .invalid) { $0.updateDescriptor(4 << 12 | 32, 0) },
    Attack("vcpu_info in the monitor's frame", .invalid) { $0.call(.vcpuOp, 10, 0, $0.longs([1, 0])) },
    Attack("vcpu_info across the end of a page", .invalid) { $0.call(.vcpuOp, 10, 0, $0.longs([$0.machine(0x30), 4040])) },
    Attack("an event queue in the monitor's frame", .invalid) { $0.call(.eventChannelOp, 11, long: [1, 0, 0]) },
    Attack("an LDT in shared_info", .invalid) {
      $0.map(0x30, $0.xen.tables.layout.sharedInfo << 12 | $0.ro)
      return $0.extended(.setLDT, $0.address(0x30), 16)
    },
    Attack("the monitor's frame by a multicall", .busy) { $0.together([$0.mapping(0x30, 1 << 12 | $0.rw)]) },
  ]

  // MARK: The monitor's slots

  private static let slotBySlot: [Attack] = {
    var attacks = (256...271 as ClosedRange<UInt64>).map { slot in
      Attack("L4 slot \(slot)", only: .x86_64, .invalid) { $0.update($0.root << 12 | slot * 8, $0.machine(0x30) << 12 | $0.rw) }
    }
    attacks += ([428, 429, 440, 511] as [UInt64]).map { slot in
      Attack("last L2's slot \(slot)", only: .x86_32p, .invalid) { $0.update($0.lastL2 << 12 | slot * 8, 0) }
    }
    return attacks
  }()

  private static let monitorSlots: [Attack] = [
    Attack("L3's slot 3", only: .x86_32p, .invalid) { $0.update($0.root << 12 | 24, 0) },
    Attack("L3's slot 4, which is none", only: .x86_32p, .invalid) { $0.update($0.root << 12 | 32, $0.machine(0x30) << 12 | 1) },
    Attack("an L3 without the monitor", only: .x86_32p, .invalid) { $0.extended(.pinL3, $0.makeTable(0x30)) },
    Attack("the last L2 in another slot", only: .x86_32p, .invalid) { $0.update($0.root << 12, $0.entry($0.root, 3)) },
    Attack("an L2 of the first slots as the last one", only: .x86_32p, .invalid) {
      $0.put($0.address(0x30) + 16, $0.machine(0x31) << 12 | 1, $0.machine(0x31) << 12 | 1)
      $0.makeTable(0x31)
      return $0.extended(.pinL3, $0.makeTable(0x30))
    },
    Attack("a new L4 with its own idea of them", only: .x86_64, .harmless) {
      $0.put($0.address(0x30) + 256 * 8, 1 << 12 | $0.rw, 2, 3, 4, 3 << 12 | $0.rw)
      return $0.extended(.pinL4, $0.makeTable(0x30))
    },
    Attack("programs' L4 with its own idea of them", only: .x86_64, .harmless) {
      $0.put($0.address(0x30) + 260 * 8, 3 << 12 | $0.rw)
      return $0.extended(.newUserBase, $0.makeTable(0x30))
    },
    Attack("an L4 that is its own L3", only: .x86_64, .invalid) {
      $0.put($0.address(0x30) + 8, $0.machine(0x30) << 12 | $0.rw)
      return $0.extended(.pinL4, $0.makeTable(0x30))
    },
    Attack("an address of the monitor's mapped", .invalid) {
      let entry = $0.machine(0x30) << 12 | $0.rw
      let at = $0.abi.reservedStart
      return $0.abi.is32Bit ? $0.call(.updateVAMapping, at, entry, 0, 0) : $0.call(.updateVAMapping, at, entry, 0)
    },
    Attack("the GDT's address unmapped", .invalid) { $0.call(.updateVAMapping, $0.abi.gdtAddress, 0, 0, 0) },
    Attack("a large page over all", .invalid) { $0.update($0.freeSlot, $0.machine(0) << 12 | $0.rw | 0x80) },
    Attack("a global page, which outlives address spaces", .invalid) { $0.map(0x30, $0.machine(0x30) << 12 | $0.rw | 0x100) },
  ]

  // MARK: Exchanges

  private static let operationByOperation: [Attack] = {
    var attacks = ([0, 1, 5, 6, 7, 10, 11, 13, 15, 23, 24, 28] as [UInt64]).map { command in
      Attack("memory_op \(command) of the monitor's frames", .noCall) {
        $0.putWords($0.address(0x28), [1, 2, 3])
        return $0.call(.memoryOp, command, with: [$0.address(0x28), 1, 0, 0x7FF0, 1, 1, 0x7FF0])
      }
    }
    attacks += ([0, 1, 3, 4, 5, 7, 9, 11, 12] as [UInt64]).map { command in
      Attack("grant_table_op \(command) of another's frame", .noCall) {
        $0.call(.grantTableOp, command, with: [$0.address(0x30), 2, 1, 0, 1], 1)
      }
    }
    return attacks
  }()

  private static let exchanges: [Attack] = [
    Attack("more grant frames than there are", .harmless) { $0.grantFrames(5) },
    Attack("a grant table's frame as a table", .invalid) { $0.extended(.pinL1, $0.xen.tables.layout.grantTable) },
    Attack("an event channel to another domain", .noDomain) { $0.call(.eventChannelOp, 0, with: [0, 1]) },
    Attack("a physical interrupt", .perm) { $0.call(.eventChannelOp, 2, with: [1, 0]) },
  ]
}

extension XenBench {
  /// A structure of eight-byte members, by its address.
  func longs(_ words: [UInt64]) -> UInt64 {
    for (index, word) in words.enumerated() { put(address(0x24) + UInt64(index) * 8, word) }
    return address(0x24)
  }

  /// grant_table_op.setup_table; its status, for which the call's own result is none.
  func grantFrames(_ count: UInt32) -> Int64 {
    let at = address(0x24)
    memory.store(place(at), UInt32(0x7FF0))
    memory.store(place(at + 4), count)
    putWords(at + 8 + abi.wordSize, [address(0x28)])
    let result = call(.grantTableOp, 2, at, 1)
    let status = memory.load(place(at + 8), as: Int16.self) ?? 0
    return status == -1 ? result : 1
  }
}
