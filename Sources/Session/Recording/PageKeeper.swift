import CXXHash
import Debugger
import VMCore
import X86

/// Which pages of guest memory a recording keeps at a stop: those that the panes around the instruction pointer
/// show (code, stack, descriptor tables) with the page tables that lead there. Equal contents are kept once.
struct PageKeeper {
  private var contents: [UInt64: Int] = [:]
  private var count = 0
  /// Contents of a recording at most: 64 MiB.
  static let limit = 1 << 14
  /// Beyond it nothing is kept: a recording's reader holds one word a page up to here.
  static let highest: UInt64 = 1 << 34
  private static let most = 64

  /// The place of a page's content in the recording's row, and the bytes where it is new; nil where there is no
  /// memory or no room.
  mutating func keep(_ address: GPA, _ memory: GuestMemory) -> (content: Int, bytes: [UInt8]?)? {
    guard let page = memory.hostPage(address) else { return nil }
    let size = Int(GuestMemory.pageSize)
    let hash = XXH3_64bits(page.host, size)
    if let known = contents[hash] { return (known, nil) }
    guard count < Self.limit else { return nil }
    contents[hash] = count
    count += 1
    return (count - 1, Array(UnsafeRawBufferPointer(start: page.host, count: size)))
  }

  /// Pages worth keeping, in order of address.
  static func wanted(_ states: [VCPUState], _ memory: GuestMemory) -> [GPA] {
    var pages: Set<UInt64> = []
    func add(_ address: GVA, _ state: VCPUState) {
      let walk = PageWalk(address, state: state, memory: memory)
      for step in walk.steps { pages.insert(step.entryAddress.value & ~4095) }
      if let result = walk.result { pages.insert(result.value & ~4095) }
    }
    for state in states.prefix(4) {
      let at = state.linearRIP.value
      add(state.linearRIP, state)
      add(GVA(at &+ 512), state)
      add(GVA(at &- 128), state)
      let stack = state.linear(.ss, state[.rsp]).value
      add(GVA(stack), state)
      add(GVA(stack &+ 256), state)
      for base in [state.gdtr.base, state.idtr.base, state.idtr.base &+ 2048, state[.tr].base] { add(GVA(base), state) }
    }
    return pages.filter { $0 < highest }.sorted().prefix(most).map { GPA($0) }
  }
}
