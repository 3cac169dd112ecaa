import VMCore
import X86

/// The guest's memory as one vCPU sees it now. Reads only, without any side effect.
package struct AddressSpaceView {
  package let state: VCPUState
  package let memory: GuestMemory

  package init(state: VCPUState, memory: GuestMemory) {
    self.state = state
    self.memory = memory
  }

  /// The physical address behind `address`, nil where the tables give none.
  package func translate(_ address: GVA) -> GPA? { PageWalk(address, state: state, memory: memory).result }

  /// `count` bytes (at most 16 MiB) from a linear address on; nil for each byte without translation or memory.
  /// Wraps at the end of the address space.
  package func read(_ address: GVA, count: Int) -> [UInt8?] {
    var result: [UInt8?] = []
    let count = min(max(count, 0), 1 << 24)
    result.reserveCapacity(count)
    while result.count < count {
      let at = wrap(address.value &+ UInt64(result.count))
      let piece = min(count - result.count, Int(4096 - (at & 4095)))
      if let physical = translate(GVA(at)) {
        result += memory.readBytes(physical, count: piece)
      } else {
        result += [UInt8?](repeating: nil, count: piece)
      }
    }
    return result
  }

  /// The bytes from `address` up to the first one that cannot be read, at most `count`.
  package func readable(_ address: GVA, count: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    for case let byte? in read(address, count: count).prefix(while: { $0 != nil }) { bytes.append(byte) }
    return bytes
  }

  /// A little-endian number of `size` (1...8) bytes; nil if any byte cannot be read.
  package func load(_ address: GVA, size: Int) -> UInt64? {
    let bytes = readable(address, count: min(max(size, 1), 8))
    guard bytes.count == size else { return nil }
    return bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  /// Linear address of `offset` in a segment (SDM 1 3.3): in 64-bit mode only FS and GS have a base.
  package func linear(_ segment: SegmentName, _ offset: UInt64) -> GVA {
    if state.mode == .long64 {
      return GVA(segment == .fs || segment == .gs ? state[segment].base &+ offset : offset)
    }
    return GVA((state[segment].base &+ offset) & 0xFFFF_FFFF)
  }

  private func wrap(_ address: UInt64) -> UInt64 { state.efer & EFER.lma != 0 ? address : address & 0xFFFF_FFFF }
}
