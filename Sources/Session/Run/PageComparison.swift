import CXXHash
import Glibc
import VMCore

/// Tells which pages of RAM changed, by their hashes: no engine has to keep count of its stores. Only pages that
/// the host had to give memory for are looked at.
struct PageComparison {
  private var hashes: [UInt64: UInt64] = [:]
  private var isFirst = true
  private static let zero: UInt64 = {
    let page = [UInt8](repeating: 0, count: Int(GuestMemory.pageSize))
    return XXH3_64bits(page, page.count)
  }()

  /// Page numbers whose content is another than at the last call, in order; what was never touched is zero. Nil,
  /// with nothing compared, where more than `limit` bytes would have to be looked at.
  mutating func changes(_ memory: GuestMemory, limit: UInt64 = .max) -> [UInt64]? {
    let touched = Self.touched(memory)
    guard UInt64(touched.count) * GuestMemory.pageSize <= limit else { return nil }
    var changed: [UInt64] = []
    for (page, host) in touched {
      let hash = XXH3_64bits(host, Int(GuestMemory.pageSize))
      let before = hashes[page] ?? Self.zero
      if hash != before {
        hashes[page] = hash
        changed.append(page)
      }
    }
    defer { isFirst = false }
    return isFirst ? [] : changed
  }

  /// Pages of RAM with memory of the host behind them.
  static func touched(_ memory: GuestMemory) -> [(page: UInt64, host: UnsafeMutableRawPointer)] {
    var result: [(page: UInt64, host: UnsafeMutableRawPointer)] = []
    for slot in memory.slots where slot.kind == .ram {
      guard let host = UnsafeMutableRawPointer(bitPattern: slot.host) else { continue }
      let count = Int(slot.size >> 12)
      var resident = [UInt8](repeating: 0, count: count)
      guard mincore(host, Int(slot.size), &resident) == 0 else { continue }
      let first = slot.base.value >> 12
      for (index, isThere) in resident.enumerated() where isThere & 1 != 0 {
        result.append((first + UInt64(index), host + index << 12))
      }
    }
    return result
  }
}
