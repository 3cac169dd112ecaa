import Paravirtual
import Testing
import VMCore
import X86

/// Each attack gets the answer that is written beside it, and the types worked out again from memory say that no page
/// of another owner, and nothing of the monitor's, was touched.
@Suite("Attacks") struct AttackTests {
  static let rows = Attack.all.flatMap { attack in attack.abis.map { (attack, $0) } }

  @Test("are refused, or end the domain", arguments: rows)
  func refused(_ attack: Attack, _ abi: GuestABI) throws {
    // mov [rdi], rax; mov [edi], eax.
    let bench = try XenBench(code: abi.is32Bit ? [0x89, 0x07] : [0x48, 0x89, 0x07], abi: abi)
    let model = ShadowModel(bench)
    let result = attack.run(bench)
    let crash = bench.takeCrash()
    switch attack.outcome {
    case .result(let expected): #expect(result == expected && crash == nil, "\(abi): \(result), \(crash ?? "no crash")")
    case .crash(let words): #expect(crash?.contains(words) == true, "\(abi): \(crash ?? "no crash")")
    }
    #expect(model.problem() == nil)
  }

  /// Places a guest may not name, or not whole, or not write.
  private static func badPointers(_ bench: XenBench) -> [UInt64] {
    // Behind 31 nothing is mapped.
    bench.map(0x31, 0)
    let table = bench.address(bench.layout.pageTables + bench.layout.upperTables)
    let nowhere = bench.abi.is32Bit ? 0xF580_0000 : 0x8000_0000_0000_0000 as UInt64
    return [
      8, bench.address(0x31), bench.address(0x31) - 1, bench.address(0x31) - 6, table, table + 4095, bench.abi.reservedStart,
      bench.abi.gdtAddress, bench.abi.gdtAddress &- 4, nowhere, bench.abi.is32Bit ? 0xFFFF_FFFC : .max, .max - 7,
    ]
  }

  @Test("bad pointers in every hypercall and operation touch nothing", arguments: [GuestABI.x86_64, .x86_32p], HypercallNumber.allCases)
  func badPointersInEveryHypercall(_ abi: GuestABI, _ number: HypercallNumber) throws {
    let bench = try XenBench(abi: abi)
    bench.xen.keepsCalls = true
    let pointers = Self.badPointers(bench)
    let model = ShadowModel(bench)
    for command in 0..<(number.hasCommand ? UInt64(number.commandNames.count) + 2 : 1) {
      for pointer in pointers {
        for arguments in [[pointer, 1, pointer, 0x7FF0], [command, pointer, 1, pointer], [command, 0, pointer, pointer], [command, pointer, pointer, .max]] {
          // These two ask for the end, or for what is not there: another test's.
          guard number != .iret, number != .schedOp || command != 2 else { continue }
          _ = bench.call(number.rawValue, arguments)
          if let call = bench.xen.loggedCall(0) { _ = CallWords.structures(call) }
        }
      }
    }
    #expect(bench.takeCrash() == nil && model.problem() == nil)
  }

  @Test("a structure that is not there is the ABI's fault", arguments: [
    (.setTrapTable, 0), (.mmuUpdate, 0), (.setGDT, 0), (.memoryOp, 9), (.multicall, 0), (.mmuextOp, 0), (.vcpuOp, 5), (.vcpuOp, 6),
    (.vcpuOp, 8), (.vcpuOp, 10), (.xenVersion, 6), (.schedOp, 2), (.schedOp, 3), (.callbackOp, 0), (.eventChannelOp, 1),
    (.eventChannelOp, 3), (.eventChannelOp, 4), (.eventChannelOp, 7), (.eventChannelOp, 9), (.physdevOp, 6), (.grantTableOp, 2),
    (.grantTableOp, 6), (.grantTableOp, 8),
  ] as [(HypercallNumber, UInt64)], [GuestABI.x86_64, .x86_32p])
  func faults(_ call: (HypercallNumber, UInt64), _ abi: GuestABI) throws {
    let (number, command) = call
    let bench = try XenBench(abi: abi)
    bench.map(0x31, 0)
    for pointer in [bench.address(0x31), bench.abi.gdtAddress, 0x1000] {
      let arguments: [UInt64] = switch number {
      case .setTrapTable, .mmuUpdate, .setGDT, .multicall, .mmuextOp: [pointer, 1, 0, 0x7FF0]
      case .vcpuOp: [command, 0, pointer]
      default: [command, pointer, 1]
      }
      #expect(bench.call(number.rawValue, arguments) == -14, "\(call) at \(String(pointer, radix: 16))h")
    }
    #expect(bench.takeCrash() == nil && ShadowModel(bench).problem() == nil)
  }
}

/// A guest that asks for a million operations at once keeps nobody waiting.
@Suite("Long hypercalls") struct LongHypercallTests {
  /// Makes the call again for as long as the guest stands at it; how often that was.
  private func finish(_ bench: XenBench, _ number: HypercallNumber, _ arguments: [UInt64]) -> (result: Int64, turns: Int) {
    let before = bench.vcpu.state.rip
    var result = bench.call(number.rawValue, arguments)
    var turns = 1
    let registers: [GPR] = bench.abi.is32Bit ? [.rbx, .rcx, .rdx, .rsi] : [.rdi, .rsi, .rdx, .r10]
    while bench.vcpu.state.rip == before, turns < 10_000 {
      result = bench.call(number.rawValue, registers.map { bench.vcpu.state[$0] })
      turns += 1
    }
    return (result, turns)
  }

  /// `count` requests of mmu_update for one entry, which is one of eight pages in turn.
  private func putUpdates(_ bench: XenBench, _ count: UInt64, at list: UInt64) {
    let entry = bench.l1(of: 0x30) << 12 | 0x30 * 8
    for index in 0..<count { bench.put(list + index * 16, entry, bench.machine(index % 8) << 12 | 0x65) }
  }

  @Test("updates are done in turns, and say in the end how many there were", arguments: [GuestABI.x86_64, .x86_32p])
  func updates(_ abi: GuestABI) throws {
    let bench = try XenBench(abi: abi)
    let (list, done) = (bench.address(0x200), bench.address(0x24))
    let l1 = bench.l1(of: 0x30) << 12
    putUpdates(bench, 3000, at: list)
    bench.put(list + 2500 * 16, 1, 1)
    let (result, turns) = finish(bench, .mmuUpdate, [list, 3000, done, 0x7FF0])
    #expect(result == -1 && turns == 3)
    #expect(bench.get(done) & 0xFFFF_FFFF == 2500)
    #expect(bench.entry(l1 >> 12, 0x30) >> 12 & 0xFF_FFFF_FFFF == bench.machine(2499 % 8))
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test("pins and unpins of a large tree are done in turns", arguments: [GuestABI.x86_64, .x86_32p])
  func pins(_ abi: GuestABI) throws {
    let bench = try XenBench(abi: abi)
    let list = bench.address(0x200)
    // An L2 of 256 tables: 131,072 entries to look at, each time.
    for pfn in 0x300..<0x400 as Range<UInt64> { bench.makeTable(pfn) }
    for index in 0..<256 as Range<UInt64> { bench.put(bench.address(0x30) + index * 8, bench.machine(0x300 + index) << 12 | 0x67) }
    let l2 = bench.makeTable(0x30)
    for index in 0..<40 as Range<UInt64> {
      bench.putWords(list + index * 3 * abi.wordSize, [index & 1 == 0 ? 1 : 4, l2, 0])
    }
    let (result, turns) = finish(bench, .mmuextOp, [list, 40, 0, 0x7FF0])
    #expect(result == 0 && turns > 8)
    #expect(bench.xen.tables.frame(l2)?.isPinned == false && ShadowModel(bench).problem() == nil)
  }

  @Test("a multicall goes on inside its entries", arguments: [GuestABI.x86_64, .x86_32p])
  func multicalls(_ abi: GuestABI) throws {
    let bench = try XenBench(abi: abi)
    let (list, calls) = (bench.address(0x200), bench.address(0x220))
    putUpdates(bench, 1500, at: list)
    for index in 0..<3 as Range<UInt64> {
      let at = calls + index * 8 * abi.wordSize
      bench.putWords(at, index == 1 ? [17, 99, 0] : [1, 99, list, 1500, 0, 0x7FF0])
    }
    bench.events.consume { _ in }
    let (result, turns) = finish(bench, .multicall, [calls, 3])
    #expect(result == 0 && turns == 3)
    #expect((0..<3).map { bench.getWord(calls + UInt64($0) * 8 * abi.wordSize + abi.wordSize) } == [0, 4 << 16 | 17, 0])
    var noted: [UInt32] = []
    bench.events.consume { events in noted += events.filter { $0.kind == .hypercall }.map(\.a) }
    #expect(noted == [1, XenPlatform.code(17, 0), 1, 13])
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test func `a time nobody lives to see never comes`() throws {
    let bench = try XenBench()
    let at = bench.address(0x24)
    bench.put(at, .max - 1, 0)
    #expect(bench.call(.vcpuOp, 8, 0, at) == 0 && bench.call(.vcpuOp, 6, 0, at) == -22)
    #expect(bench.call(.setTimerOp, .max - 1) == 0 && bench.xen.nextDeadline == nil)
    bench.put(at, bench.address(0x25), 0, .max - 1)
    #expect(bench.call(.schedOp, 3, at) == 0 && bench.vcpu.virtualTime == 0)
  }
}
