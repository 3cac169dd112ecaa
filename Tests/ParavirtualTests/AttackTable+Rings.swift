import Paravirtual
import VMCore
import X86

/// What would give a ring, or an address, that is not the guest's.
extension Attack {
  // MARK: Descriptors

  /// Present descriptors that no guest may have: name and value.
  private static let forbidden: [(String, UInt64)] = [
    ("a call gate to ring 0", 0x0000_8C00_0008_0000), ("a call gate for everybody", 0x0000_EC00_0010_0000),
    ("an interrupt gate", 0x0000_8E00_0008_0000), ("a trap gate", 0x0000_8F00_0008_0000), ("a task gate", 0x0000_8500_0008_0000),
    ("a task state", 0x0000_8900_0000_0067), ("an LDT", 0x0000_8200_0000_0067), ("conforming code", 0x00CF_9E00_0000_FFFF),
  ]
  private static let forbiddenIn32: [(String, UInt64)] = [
    ("data that grows down over the monitor", 0x00CF_9600_0000_FFFF), ("data that begins in the monitor", 0xF7CF_9200_0000_0000),
  ]

  static let descriptors: [Attack] = {
    var attacks = forbidden.flatMap { name, value in placed(name, value, nil) }
    attacks += forbiddenIn32.flatMap { name, value in placed(name, value, .x86_32p) }
    return attacks + tables
  }()

  private static let tables: [Attack] = [
    Attack("code of ring 0 becomes the guest's", .harmless) { $0.place(0x00CF_9A00_0000_FFFF) },
    Attack("64-bit code of ring 0 becomes the guest's", only: .x86_64, .harmless) { $0.place(0x00AF_9A00_0000_FFFF) },
    Attack("data of ring 0 becomes the guest's", .harmless) { $0.place(0x00CF_9200_0000_FFFF) },
    Attack("a GDT over the monitor's page", .invalid) { $0.setGDT($0.makeTable(0x30), entries: 14 * 512 + 1) },
    Attack("a GDT of more entries than numbers have", .invalid) { $0.setGDT($0.makeTable(0x30), entries: .max) },
    Attack("a GDT still mapped writable", .invalid) { $0.setGDT($0.machine(0x30)) },
    Attack("an LDT still mapped writable", .invalid) { $0.extended(.setLDT, $0.address(0x30), 16) },
    Attack("an LDT at the monitor's address", .invalid) { $0.extended(.setLDT, $0.abi.gdtAddress, 16) },
    Attack("an LDT of more than 8,192 entries", .invalid) { $0.extended(.setLDT, $0.address(0x30), 8193) },
  ]

  /// The same descriptor by update_descriptor, in a GDT and in an LDT.
  private static func placed(_ name: String, _ value: UInt64, _ abi: GuestABI?) -> [Attack] {
    [
      Attack("\(name), by update_descriptor", only: abi, .invalid) { $0.place(value) },
      Attack("\(name), in a new GDT", only: abi, .invalid) {
        $0.put($0.address(0x30) + 511 * 8, value)
        return $0.setGDT($0.makeTable(0x30))
      },
      Attack("\(name), in a new LDT", only: abi, .invalid) {
        $0.put($0.address(0x30), value)
        $0.makeTable(0x30)
        return $0.extended(.setLDT, $0.address(0x30), 1)
      },
    ]
  }

  // MARK: Handlers and bases

  static let handlers: [Attack] = [
    Attack("a trap handler at the monitor's address", .invalid) { $0.trapTable(handler: $0.abi.gdtAddress) },
    Attack("a trap handler at no address", only: .x86_64, .invalid) { $0.trapTable(handler: 1 << 63) },
    Attack("a trap table in the monitor", .fault) { $0.call(.setTrapTable, $0.abi.gdtAddress) },
    Attack("a trap handler in ring 0's segment", only: .x86_32p, .crash("no segments")) {
      _ = $0.trapTable(handler: $0.start, selector: 8)
      $0.raise(.gp, code: 4)
      return 0
    },
    Attack("a callback at the monitor's address", .invalid) { $0.callback(0, $0.abi.gdtAddress) },
    Attack("a failsafe callback at the monitor's address", .invalid) { $0.callback(1, $0.abi.gdtAddress) },
    Attack("a system call's handler at no address", only: .x86_64, .invalid) { $0.callback(2, 1 << 62) },
    Attack("set_callbacks at the monitor's address", .invalid) {
      let at = $0.abi.gdtAddress
      return $0.abi.is32Bit ? $0.call(.setCallbacks, 0xE019, at, 0xE019, at) : $0.call(.setCallbacks, at, at, at)
    },
    Attack("set_callbacks at no address", only: .x86_64, .invalid) { $0.call(.setCallbacks, $0.start, 1 << 63, $0.start) },
    Attack("a segment base at no address", only: .x86_64, .invalid) { $0.call(.setSegmentBase, 0, 1 << 63) },
    Attack("a segment base in 32 bits", only: .x86_32p, .noCall) { $0.call(.setSegmentBase, 0, $0.abi.gdtAddress) },
    Attack("a segment of the monitor's for GS", only: .x86_64, .invalid) { $0.call(.setSegmentBase, 3, 0xE008) },
    Attack("a breakpoint in the monitor", .perm) { $0.call(.setDebugreg, 0, $0.abi.gdtAddress) },
    Attack("a debug register there is not", .invalid) { $0.call(.setDebugreg, .max, 0) },
    Attack("the kernel's stack in the monitor", .crash("no stack")) {
      _ = $0.call(.stackSwitch, 0xE02B, $0.abi.gdtAddress + 0x800)
      $0.setTrap(.gp, $0.start)
      $0.vcpu.state[.rsp] = $0.abi.gdtAddress + 0x800
      $0.raise(.gp, code: 4)
      return 0
    },
    Attack("a trap with no handler", .crash("no handler")) {
      $0.raise(.de)
      return 0
    },
    Attack("an event with no handler", .crash("no callback")) {
      _ = $0.xen.deliverInterrupt(to: $0.vcpu)
      return 0
    },
    Attack("the run state in the monitor", .fault) { $0.call(.vcpuOp, 5, 0, $0.longs([$0.abi.gdtAddress])) },
    Attack("another processor", .result(-2)) { $0.call(.vcpuOp, 0, 1, $0.address(0x24)) },
    Attack("an address space changed in the middle of a multicall", .result(-22)) {
      $0.together([$0.extending(.newBase, $0.machine(0x30), slot: 0)])
    },
    Attack("a multicall in a multicall", .noCall) { $0.together([[13, $0.address(0x26), 1]]) },
    Attack("IRET in a multicall", .noCall) { $0.together([[23, 0]]) },
    Attack("more calls than a multicall has", .invalid) { $0.call(.multicall, $0.address(0x26), 1 << 17) },
  ]

  // MARK: IRET

  private static let bad64: [(String, [UInt64])] = [
    ("ring 0's code", [0, 0, 0, 0, 0x40_0000, 0x10, 0x202, 0, 0xE02B]),
    ("a program without tables for programs", [0, 0, 0, 0, 0x40_0000, 0xE033, 0x202, 0, 0xE02B]),
    ("no address", [0, 0, 0, 0, 1 << 63, 0xE030, 0x202, 0, 0xE02B]),
    ("data as code", [0, 0, 0, 0, 0, 0xE028, 0x202, 0, 0xE02B]),
    ("code as stack", [0, 0, 0, 0, 0, 0xE030, 0x202, 0, 0xE033]),
    ("a selector behind the GDT", [0, 0, 0, 0, 0, 0xFFF8, 0x202, 0, 0xE02B]),
    ("a selector of an LDT there is not", [0, 0, 0, 0, 0, 0x4, 0x202, 0, 0xE02B]),
  ]
  private static let bad32: [(String, [UInt64])] = [
    ("ring 0", [0, 0xC010_0000, 0xE018, 0x202, 0, 0xE021]), ("ring 2 by ring 3's segment", [0, 0xC010_0000, 0xE02A, 0x202, 0, 0xE033]),
    ("ring 3 with ring 1's stack", [0, 0x40_0000, 0xE02B, 0x202, 0, 0xE021]), ("ring 3 with no stack", [0, 0x40_0000, 0xE02B, 0x202, 0, 0]),
    ("a selector behind the GDT", [0, 0x40_0000, 0xFFF9, 0x202, 0, 0xE033]), ("data as code", [0, 0x40_0000, 0xE033, 0x202, 0, 0xE033]),
  ]

  static let returns: [Attack] = {
    var attacks = bad64.map { name, words in
      Attack("IRET to \(name)", only: .x86_64, .crash("IRET")) { $0.returnBy(words) }
    }
    attacks += bad32.map { name, words in
      Attack("IRET to \(name)", only: .x86_32p, .crash("IRET frame")) { $0.returnBy(words) }
    }
    return attacks + frames
  }()

  private static let frames: [Attack] = [
    Attack("an IRET frame in the monitor", .crash("no IRET frame")) {
      $0.vcpu.state[.rsp] = $0.abi.gdtAddress
      return $0.call(23, [])
    },
    Attack("an IRET frame across the end of what is mapped", .crash("no IRET frame")) {
      $0.map(0x31, 0)
      $0.vcpu.state[.rsp] = $0.address(0x31) - 8
      return $0.call(23, [])
    },
    Attack("IRET with all flags", only: .x86_64, .harmless) {
      _ = $0.returnBy([0, 0, 0, 0, $0.start, 0xE030, .max, $0.address(0x40), 0xE02B])
      return $0.vcpu.state.rflags & (RFLAGS.iopl | RFLAGS.vm | RFLAGS.vif | RFLAGS.vip) == 0 ? 0 : 1
    },
    Attack("IRET with all flags", only: .x86_32p, .harmless) {
      _ = $0.returnBy([0, $0.start, 0xE019, 0xFFFF_FFFF])
      return $0.vcpu.state.rflags & (RFLAGS.iopl | RFLAGS.vm | RFLAGS.vif | RFLAGS.vip) == 0 && $0.vcpu.state.cpl == 1 ? 0 : 1
    },
  ]
}

extension XenBench {
  /// A descriptor by update_descriptor into a GDT in force; 1 where it got there with another ring than the guest's.
  fileprivate func place(_ descriptor: UInt64) -> Int64 {
    let mfn = makeTable(0x30)
    guard setGDT(mfn) == 0 else { return 1 }
    let result = updateDescriptor(mfn << 12 | 16, descriptor)
    let ring = entry(mfn, 2) >> 45 & 3
    return result == 0 && ring != UInt64(abi.kernelRing) ? 1 : result
  }

  fileprivate func trapTable(handler: UInt64, selector: UInt64? = nil) -> Int64 {
    putWords(address(0x22), [13 | (selector ?? UInt64(abi.kernelCode)) << 16, handler, 0, 0])
    return call(.setTrapTable, address(0x22))
  }

  fileprivate func callback(_ type: UInt64, _ handler: UInt64) -> Int64 {
    abi.is32Bit ? call(.callbackOp, 0, with: [type, 0xE019, handler]) : call(.callbackOp, 0, with: [type, handler])
  }
}
