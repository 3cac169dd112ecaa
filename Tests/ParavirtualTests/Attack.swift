import Paravirtual
import Testing
import VMCore
import X86

/// One way to reach for what is not the guest's: a sequence of hypercalls, whose last one gives the result.
struct Attack: Sendable, CustomTestStringConvertible {
  enum Outcome: Sendable {
    /// The ABI's error number, or 0 where the monitor made it harmless.
    case result(Int64)
    /// The domain ends, for a reason with these words in it.
    case crash(String)
  }
  var name: String
  var abis: [GuestABI] = [.x86_64, .x86_32p]
  var outcome: Outcome
  var run: @Sendable (XenBench) -> Int64

  var testDescription: String { name }

  init(_ name: String, only abi: GuestABI? = nil, _ outcome: Outcome, _ run: @escaping @Sendable (XenBench) -> Int64) {
    self.name = name
    if let abi { abis = [abi] }
    self.outcome = outcome
    self.run = run
  }
}

extension Attack.Outcome {
  static let perm = Self.result(-1)
  static let noDomain = Self.result(-3)
  static let fault = Self.result(-14)
  static let busy = Self.result(-16)
  static let invalid = Self.result(-22)
  static let noCall = Self.result(-38)
  static let harmless = Self.result(0)
}

/// Words of an attacker.
extension XenBench {
  var rw: UInt64 { 0x67 }
  var ro: UInt64 { 0x65 }
  /// The root table, and the L2 of the first mapping's first part.
  var root: UInt64 { machine(layout.pageTables) }
  var l2: UInt64 { entry(table: root, address(0)) }
  private func entry(table: UInt64, _ address: UInt64) -> UInt64 {
    func next(_ table: UInt64, _ shift: UInt64) -> UInt64 { entry(table, address >> shift & 511) >> 12 & 0xFF_FFFF_FFFF }
    return abi.is32Bit ? entry(table, address >> 30 & 3) >> 12 : next(next(table, 39), 30)
  }
  /// A slot of that L2 nobody uses.
  var freeSlot: UInt64 { l2 << 12 | 100 * 8 }
  /// A 32-bit guest's L2 with the monitor's slots.
  var lastL2: UInt64 { entry(root, 3) >> 12 }

  /// A frame of zeros, mapped read-only as a table has to be.
  @discardableResult
  func makeTable(_ pfn: UInt64) -> UInt64 {
    map(pfn, machine(pfn) << 12 | ro)
    return machine(pfn)
  }

  /// A pinned L1 table.
  @discardableResult
  func makeL1(_ pfn: UInt64) -> UInt64 {
    let mfn = makeTable(pfn)
    extended(.pinL1, mfn)
    return mfn
  }

  /// A multicall, and the result of its last entry.
  func together(_ calls: [[UInt64]]) -> Int64 {
    let at = address(0x26)
    for (index, call) in calls.enumerated() {
      let words = [call[0], 99] + call.dropFirst() + Array(repeating: 0, count: 7 - call.count)
      putWords(at + UInt64(index) * 8 * abi.wordSize, words)
    }
    let result = self.call(.multicall, at, UInt64(calls.count))
    let last = getWord(at + UInt64(calls.count - 1) * 8 * abi.wordSize + abi.wordSize)
    return result != 0 ? result : abi.is32Bit ? Int64(Int32(truncatingIfNeeded: last)) : Int64(bitPattern: last)
  }

  /// update_va_mapping as an entry of a multicall.
  func mapping(_ pfn: UInt64, _ entry: UInt64) -> [UInt64] {
    abi.is32Bit ? [14, address(pfn), entry & 0xFFFF_FFFF, entry >> 32, 0] : [14, address(pfn), entry, 0]
  }

  /// mmuext_op with one operation, as an entry of a multicall; its structure lies in a place of its own.
  func extending(_ op: MMUExtendedOp, _ argument: UInt64, slot: UInt64) -> [UInt64] {
    let at = address(0x27) + slot * 32
    putWords(at, [UInt64(op.rawValue), argument, 0])
    return [26, at, 1, 0, 0x7FF0]
  }

  func updateDescriptor(_ place: UInt64, _ descriptor: UInt64) -> Int64 {
    abi.is32Bit
      ? call(.updateDescriptor, place & 0xFFFF_FFFF, place >> 32, descriptor & 0xFFFF_FFFF, descriptor >> 32)
      : call(.updateDescriptor, place, descriptor)
  }

  /// A GDT of one page.
  func setGDT(_ mfn: UInt64, entries: UInt64 = 16) -> Int64 {
    putWords(address(0x25), [mfn])
    return call(.setGDT, address(0x25), entries)
  }

  /// A hypercall with a structure of the guest's words.
  func call(_ number: HypercallNumber, _ command: UInt64, with words: [UInt64], _ third: UInt64 = 0) -> Int64 {
    putWords(address(0x24), words)
    return call(number, command, address(0x24), third)
  }

  /// A hypercall with a structure of eight-byte members.
  func call(_ number: HypercallNumber, _ command: UInt64, long words: [UInt64]) -> Int64 {
    for (index, word) in words.enumerated() { put(address(0x24) + UInt64(index) * 8, word) }
    return call(number, command, address(0x24))
  }

  /// IRET by a frame of these words on a stack.
  func returnBy(_ words: [UInt64]) -> Int64 {
    putWords(address(0x40), words)
    vcpu.state[.rsp] = address(0x40)
    return call(23, [])
  }
}
