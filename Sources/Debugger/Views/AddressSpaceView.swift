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
  package func translate(_ address: GVA) -> GPA? {
    PageWalk(address, state: state, memory: memory, keepsSteps: false).result
  }

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

  /// The bytes from `address` up to the first one that cannot be read, at most `count` (itself at most 16 MiB).
  package func readable(_ address: GVA, count: Int) -> [UInt8] {
    let count = min(max(count, 0), 1 << 24)
    return [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      filled = fill(UnsafeMutableRawBufferPointer(buffer), from: address)
    }
  }

  /// A little-endian number of `size` (1...8) bytes; nil if any byte cannot be read.
  package func load(_ address: GVA, size: Int) -> UInt64? {
    guard size >= 1, size <= 8 else { return nil }
    var value: UInt64 = 0
    let filled = withUnsafeMutableBytes(of: &value) {
      fill(UnsafeMutableRawBufferPointer(rebasing: $0.prefix(size)), from: address)
    }
    return filled == size ? UInt64(littleEndian: value) : nil
  }

  /// Copies bytes into `buffer` until it is full or a page cannot be read; gives the number copied. A page is
  /// there as a whole or not at all.
  private func fill(_ buffer: UnsafeMutableRawBufferPointer, from address: GVA) -> Int {
    var done = 0
    while done < buffer.count {
      let at = wrap(address.value &+ UInt64(done))
      let piece = min(buffer.count - done, Int(4096 - (at & 4095)))
      let target = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + piece])
      guard let physical = translate(GVA(at)), memory.read(physical, into: target) else { break }
      done += piece
    }
    return done
  }

  /// Linear address of `offset` in a segment.
  package func linear(_ segment: SegmentName, _ offset: UInt64) -> GVA { state.linear(segment, offset) }

  private func wrap(_ address: UInt64) -> UInt64 { state.efer & EFER.lma != 0 ? address : address & 0xFFFF_FFFF }
}

extension VCPUState {
  /// Linear address of `offset` in a segment (SDM 1 3.3): in 64-bit mode only FS and GS have a base.
  package func linear(_ segment: SegmentName, _ offset: UInt64) -> GVA {
    if mode == .long64 {
      return GVA(segment == .fs || segment == .gs ? self[segment].base &+ offset : offset)
    }
    return GVA((self[segment].base &+ offset) & 0xFFFF_FFFF)
  }
}
