import Debugger
import Session
import VMCore

/// Which addresses the memory pane shows.
enum MemorySpace: Int, CaseIterable {
  /// Linear, through the guest's page tables.
  case linear
  case physical
  /// In the monitor's own address space.
  case host

  var name: String {
    switch self {
    case .linear: "GVA"
    case .physical: "GPA"
    case .host: "HVA"
    }
  }
  var next: MemorySpace { MemorySpace(rawValue: (rawValue + 1) % 3) ?? .linear }

  /// The guest-physical address behind one of this space; nil where there is none.
  func physical(_ address: UInt64, _ snapshot: SessionSnapshot) -> GPA? {
    switch self {
    case .linear: return snapshot.view.translate(GVA(address))
    case .physical: return GPA(address)
    case .host:
      let slot = snapshot.memory.slots.first { address >= UInt64($0.host) && address - UInt64($0.host) < $0.size }
      return slot.map { GPA($0.base.value + (address - UInt64($0.host))) }
    }
  }

  /// Where the same byte lies in this space, given an address of `other`; nil where it does not, and for linear
  /// addresses, of which many may lead to one byte.
  func address(of address: UInt64, in other: MemorySpace, _ snapshot: SessionSnapshot) -> UInt64? {
    guard self != other else { return address }
    guard let physical = other.physical(address, snapshot) else { return nil }
    switch self {
    case .physical: return physical.value
    case .host: return snapshot.memory.hva(physical)?.value
    case .linear: return nil
    }
  }

  /// `count` bytes from `address` on; nil for each that cannot be read.
  func read(_ address: UInt64, count: Int, _ snapshot: SessionSnapshot) -> [UInt8?] {
    switch self {
    case .linear: return snapshot.view.read(GVA(address), count: count)
    case .physical: return snapshot.memory.readBytes(GPA(address), count: count)
    case .host: return readHost(address, count: count, snapshot)
    }
  }

  private func readHost(_ address: UInt64, count: Int, _ snapshot: SessionSnapshot) -> [UInt8?] {
    var result: [UInt8?] = []
    result.reserveCapacity(count)
    while result.count < count {
      let at = address &+ UInt64(result.count)
      let slot = snapshot.memory.slots.first { at >= UInt64($0.host) && at - UInt64($0.host) < $0.size }
      let page = Int(4096 - (at & 4095))
      let left = slot.map { Int(clamping: $0.size - (at - UInt64($0.host))) } ?? page
      let piece = min(count - result.count, left)
      if let slot {
        result += snapshot.memory.readBytes(GPA(slot.base.value + (at - UInt64(slot.host))), count: piece)
      } else {
        result += [UInt8?](repeating: nil, count: piece)
      }
    }
    return result
  }
}
