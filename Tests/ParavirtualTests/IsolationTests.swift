import Foundation
import Paravirtual
import Testing
import VMCore
import X86

/// Hypercalls as an enemy would make them: mostly sensible numbers, frames that matter, and pointers to anywhere.
private struct Enemy {
  var random: UInt64
  let bench: XenBench
  /// Frames the enemy turns into tables and back: few, so that its calls meet.
  let frames: [UInt64]

  init(seed: UInt64, _ bench: XenBench) {
    random = seed
    self.bench = bench
    let layout = bench.layout
    frames = (0x30..<0x50).map { $0 } + (layout.pageTables..<layout.pageTables + layout.pageTableCount).map { $0 }
  }

  mutating func next() -> UInt64 {
    random &+= 0x9E37_79B9_7F4A_7C15
    var z = random
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
  }
  mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }
  mutating func pick<T>(_ values: [T]) -> T { values[below(values.count)] }

  mutating func frame() -> UInt64 {
    let machine = bench.xen.tables.layout
    switch below(20) {
    case 0: return UInt64(below(16))
    case 1: return machine.frameCount + UInt64(below(4))
    case 2: return next() >> 24
    case 3: return machine.sharedInfo
    default: return bench.machine(pick(frames))
    }
  }

  mutating func entry() -> UInt64 {
    let flags = pick([0x67, 0x65, 0x63, 0x61, 0x25, 0, 0x1E7, 0xE5, 0x167, 1 << 63 | 0x67, 0x7F] as [UInt64])
    return frame() << 12 | flags
  }

  mutating func pointer() -> UInt64 {
    switch below(12) {
    case 0: return next()
    case 1: return bench.abi.reservedStart + next() >> (bench.abi.is32Bit ? 40 : 20)
    case 2: return bench.address(pick(frames)) + UInt64(below(4096))
    case 3: return 0
    default: return bench.address(0x20 + UInt64(below(8))) + UInt64(below(512)) * 8
    }
  }

  /// Fills the pages it calls from with what its calls will read.
  mutating func prepare() {
    for _ in 0..<8 {
      let at = bench.address(0x20 + UInt64(below(8))) + UInt64(below(500)) * 8
      switch below(4) {
      case 0: bench.putWords(at, [UInt64(below(18)), frame(), frame()])
      case 1: bench.put(at, frame() << 12 | UInt64(below(512)) << 3 | pick([0, 0, 0, 1, 2, 3, 4]), entry())
      case 2:
        bench.putWords(
          at, [pick([14, 26, 1, 2, 10, 13, 20, 23, 24, 32]), 0, pointer(), entry(), UInt64(below(4)), 0x7FF0, 0, 0])
      default: bench.putWords(at, [frame(), UInt64(below(4096))])
      }
    }
  }

  mutating func call() {
    prepare()
    let few = UInt64(below(6))
    switch below(16) {
    case 0...2: bench.call(.mmuUpdate, pointer(), few, pick([0, pointer()]), pick([0x7FF0, 1, 0, 5]))
    case 3...5: bench.call(.mmuextOp, pointer(), few, pick([0, pointer()]), pick([0x7FF0, 1]))
    case 6...8: bench.map(pick(frames), entry())
    case 9: bench.call(.multicall, pointer(), few)
    case 10: bench.call(.setGDT, pointer(), UInt64(below(1200)))
    case 11:
      let place = frame() << 12 | UInt64(below(512)) << 3
      let value = pick([next(), next() | 1 << 47, 0x00CF_9A00_0000_FFFF, 0x00CF_9600_0000_0000])
      if bench.abi.is32Bit {
        bench.call(.updateDescriptor, place & 0xFFFF_FFFF, place >> 32, value & 0xFFFF_FFFF, value >> 32)
      } else {
        bench.call(.updateDescriptor, place, value)
      }
    case 12:
      let op = pick([MMUExtendedOp.pinL1, .pinL2, .pinL3, .pinL4, .unpin, .unpin, .newBase, .newUserBase, .clearPage, .copyPage, .setLDT, .setLDT])
      if op == .setLDT { bench.extended(op, bench.address(pick(frames)), UInt64(below(1200))) }
      bench.extended(op, frame(), frame())
    case 13: bench.update(frame() << 12 | UInt64(below(512)) << 3, entry())
    case 14: bench.call(.vcpuOp, UInt64(below(14)), UInt64(below(2)), pointer())
    default:
      let number = UInt64(below(42))
      if number == 23 { return goBack() }
      // A shutdown is refused by nobody.
      if number == 29, below(4) != 0 { return }
      let count = pick([pointer(), next(), UInt64(below(5))])
      bench.call(number, [pick([UInt64(below(14)), pointer()]), pointer(), count, pointer(), pointer()])
    }
  }

  /// IRET by a frame of the enemy's, and a trap with handlers that may be anywhere.
  private mutating func goBack() {
    let stack = bench.address(0x28) + UInt64(below(32)) * 64
    let (code, data) = bench.abi.is32Bit ? (0xE019, 0xE021) : (0xE030, 0xE02B) as (UInt64, UInt64)
    let selector = pick([code, code, code | 3, 0xE02B, 0xE033, 8, 0x10, next() & 0xFFFF])
    let flags = pick([0x202, next()])
    let rip = pick([bench.start, pointer(), next()])
    if bench.abi.is32Bit {
      bench.putWords(stack, [0, rip, selector, flags, pointer(), pick([data, 0xE033, next() & 0xFFFF])])
    } else {
      bench.put(stack, 0, 0, 0, UInt64(below(512)), rip, selector, flags, pointer(), pick([data, 0, next() & 0xFFFF]))
    }
    bench.vcpu.state[.rsp] = below(8) == 0 ? pointer() : stack
    _ = bench.call(23, [])
    if below(2) == 0 { bench.setTrap(pick([.pf, .gp, .bp]), pointer(), flags: UInt64(below(8))) }
    bench.raise(pick([.pf, .gp, .ud, .bp]), code: UInt32(truncatingIfNeeded: next() & 0x1F), linear: pointer())
  }

  /// Puts the newest calls into words, as somebody does who looks on.
  mutating func look() {
    while let call = bench.xen.loggedCall(looked) {
      _ = CallWords.structures(call) + CallWords.arguments(call).map(\.name)
      _ = CallWords.hasFailure(call)
      looked += 1
    }
  }
  /// Calls looked at so far.
  private var looked: UInt64 = 0

  /// What the guest may do without asking: store through a mapping it may write.
  mutating func scribble() {
    let pfn = pick(frames)
    let table = bench.l1(of: pfn)
    let mapping = bench.entry(table, pfn % 512)
    guard bench.xen.tables.frame(table)?.type == .l1, mapping & 3 == 3 else { return }
    bench.memory.store(GPA(mapping & 0xF_FFFF_FFFF_F000 | UInt64(below(512)) << 3), entry())
  }
}

@Suite("Isolation") struct IsolationTests {
  /// Calls in all; `RINGSIDE_HYPERCALLS` makes it a long run.
  private static let count = ProcessInfo.processInfo.environment["RINGSIDE_HYPERCALLS"].flatMap { Int($0) } ?? 40_000

  @Test("no sequence of hypercalls breaks the rules", arguments: [GuestABI.x86_64, .x86_32p], [1, 2] as [UInt64])
  func noSequenceOfHypercallsBreaksTheRules(_ abi: GuestABI, _ seed: UInt64) throws {
    var bench = try Self.bench(abi)
    var model = ShadowModel(bench)
    var enemy = Enemy(seed: seed, bench)
    for step in 0..<Self.count / 4 {
      enemy.call()
      enemy.scribble()
      let hasEnded = bench.xen.takeRequests().contains(where: Self.ends)
      guard hasEnded || step % 64 == 63 else { continue }
      enemy.look()
      if let problem = model.problem() {
        Issue.record("\(abi), seed \(seed), call \(step): \(problem)")
        return
      }
      // Enemies also tie themselves up in time.
      guard hasEnded || step % 2048 == 2047 else { continue }
      bench = try Self.bench(abi)
      model = ShadowModel(bench)
      enemy = Enemy(seed: enemy.next(), bench)
    }
  }

  /// Somebody looks on: calls are kept with what they point at.
  private static func bench(_ abi: GuestABI) throws -> XenBench {
    let bench = try XenBench(abi: abi)
    bench.xen.keepsCalls = true
    return bench
  }

  private static func ends(_ request: PlatformRequest) -> Bool {
    switch request {
    case .crash, .shutdown, .reset: true
    default: false
    }
  }
}
