import VMCore
import X86

/// Guest-physical accesses behind the page tables: RAM, ROM, MMIO, decoded code and watched ranges.
extension UnsafeMutablePointer<CPU> {
  /// Reads 1 to 8 bytes inside one page.
  func readPhysical(_ gpa: UInt64, _ size: Int, linear: UInt64) throws(Stop) -> UInt64 {
    guard let page = hostPage(gpa) else { return try readMMIO(gpa, size, linear: linear) }
    let offset = Int(gpa & 0xFFF)
    switch size {
    case 1: return UInt64(page.host.load(fromByteOffset: offset, as: UInt8.self))
    case 2: return UInt64(page.host.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
    case 4: return UInt64(page.host.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    case 8: return page.host.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
    default:
      var value: UInt64 = 0
      for i in 0..<size {
        let byte = UInt64(page.host.load(fromByteOffset: offset + i, as: UInt8.self))
        value |= byte << UInt64(8 * i)
      }
      return value
    }
  }

  /// Writes 1 to 8 bytes inside one page, after `beforeWrite`. ROM ignores it.
  func writePhysical(_ gpa: UInt64, _ size: Int, _ value: UInt64, linear: UInt64) throws(Stop) {
    guard let page = hostPage(gpa) else {
      try writeMMIO(gpa, size, value, linear: linear)
      return
    }
    guard page.writable else { return }
    codeWritten(gpa, size)
    let offset = Int(gpa & 0xFFF)
    switch size {
    case 1: page.host.storeBytes(of: UInt8(truncatingIfNeeded: value), toByteOffset: offset, as: UInt8.self)
    case 2: page.host.storeBytes(of: UInt16(truncatingIfNeeded: value), toByteOffset: offset, as: UInt16.self)
    case 4: page.host.storeBytes(of: UInt32(truncatingIfNeeded: value), toByteOffset: offset, as: UInt32.self)
    case 8: page.host.storeBytes(of: value, toByteOffset: offset, as: UInt64.self)
    default:
      for i in 0..<size {
        let byte = UInt8(truncatingIfNeeded: value >> UInt64(8 * i))
        page.host.storeBytes(of: byte, toByteOffset: offset + i, as: UInt8.self)
      }
    }
  }

  /// Throws `.alone` where the bytes are decoded code, perhaps of the block now executing, and the
  /// instruction does not run by itself.
  func beforeWrite(_ gpa: UInt64, _ size: Int) throws(Stop) {
    guard !pointee.alone, hasCode(gpa) else { return }
    if withEngine({ $0.overlapsCode(gpa, size) }) { throw .alone }
  }

  /// Drops decoded code under bytes about to change.
  func codeWritten(_ gpa: UInt64, _ size: Int) {
    if hasCode(gpa) { withEngine { $0.invalidateCode(gpa, size) } }
  }

  /// The engine for the time of a call, without counting a reference: programs of one page store beside their code all
  /// the time.
  @inline(__always)
  private func withEngine<Result>(_ body: (InterpreterEngine) -> Result) -> Result {
    pointee.owner._withUnsafeGuaranteedRef { Unmanaged.passUnretained($0.engine)._withUnsafeGuaranteedRef(body) }
  }

  // MARK: MMIO

  private func readMMIO(_ gpa: UInt64, _ size: Int, linear: UInt64) throws(Stop) -> UInt64 {
    guard size == 1 || size == 2 || size == 4 || size == 8 else {
      var value: UInt64 = 0
      for i in 0..<UInt64(size) {
        let byte = try accessMMIO(gpa + i, 1, nil, linear: linear &+ i)
        value |= (byte & 0xFF) << (8 * i)
      }
      return value
    }
    let value = try accessMMIO(gpa, size, nil, linear: linear)
    return size == 8 ? value : value & ((1 << UInt64(8 * size)) - 1)
  }

  private func writeMMIO(_ gpa: UInt64, _ size: Int, _ value: UInt64, linear: UInt64) throws(Stop) {
    guard size == 1 || size == 2 || size == 4 || size == 8 else {
      for i in 0..<UInt64(size) { _ = try accessMMIO(gpa + i, 1, value >> (8 * i) & 0xFF, linear: linear &+ i) }
      return
    }
    let cut = size == 8 ? value : value & ((1 << UInt64(8 * size)) - 1)
    _ = try accessMMIO(gpa, size, cut, linear: linear)
  }

  /// Uses up the monitor's answer to this access, or leaves for one. An instruction the monitor handed
  /// back to be emulated finds an open bus: reads give all ones, writes go nowhere.
  private func accessMMIO(_ gpa: UInt64, _ size: Int, _ value: UInt64?, linear: UInt64) throws(Stop) -> UInt64 {
    let owner = vcpu
    if owner.completedUsed < owner.completed.count {
      let answer = owner.completed[owner.completedUsed]
      if answer.gpa == gpa && Int(answer.size) == size && answer.write == (value != nil) {
        owner.completedUsed += 1
        return answer.value
      }
    }
    if pointee.emulating { return .max }
    throw leave(
      .eptViolation,
      .mmio(gpa: GPA(gpa), linear: GVA(linear), size: UInt8(size), write: value != nil, value: value ?? 0), .ept)
  }

  // MARK: Watches of the debugger and of DR0 to DR3

  /// Bytes covered by a debug register's LEN field (SDM 3B 17.2.4).
  private func breakpointLength(_ index: Int) -> UInt64 {
    switch pointee.dr7 >> UInt64(18 + 4 * index) & 3 {
    case 0: 1
    case 1: 2
    case 2: 8
    default: 4
    }
  }

  /// DR6 bits of the enabled guest data breakpoints that an access touches.
  private func guestWatches(_ address: UInt64, _ size: UInt64, write: Bool) -> UInt64 {
    var hits: UInt64 = 0
    for i in 0..<4 where pointee.dr7 >> UInt64(2 * i) & 3 != 0 {
      let kind = pointee.dr7 >> UInt64(16 + 4 * i) & 3
      guard kind == 3 || (kind == 1 && write) else { continue }
      let length = breakpointLength(i)
      let from = pointee.dr[i] & ~(length - 1)
      if address < from &+ length && from < address &+ size { hits |= 1 << UInt64(i) }
    }
    return hits
  }

  /// Which accesses to a linear page must go through `noteAccess`.
  func watchedDirections(_ page: UInt64) -> (read: Bool, write: Bool) {
    var read = false
    var write = false
    if pointee.dr7 & 0xFF != 0 {
      write = guestWatches(page, 4096, write: true) != 0
      read = guestWatches(page, 4096, write: false) != 0
    }
    if pointee.watching {
      for watch in vcpu.watches where overlaps(watch, page, 4096) {
        if watch.onRead { read = true }
        if watch.onWrite { write = true }
      }
    }
    return (read, write)
  }

  private func overlaps(_ watch: WatchRange, _ address: UInt64, _ size: UInt64) -> Bool {
    let start = watch.address.value
    return start &- address < size || address &- start < watch.length
  }

  /// Looks whether an access is watched: if so the instruction first gets to run alone, then the hit is
  /// recorded and the access goes on.
  func noteAccess(_ address: UInt64, _ size: Int, write: Bool) throws(Stop) {
    if pointee.dr7 & 0xFF != 0 {
      let hits = guestWatches(address, UInt64(size), write: write)
      if hits != 0 {
        guard pointee.alone else { throw .alone }
        vcpu.guestWatchHit |= hits
      }
    }
    guard pointee.watching else { return }
    let owner = vcpu
    for watch in owner.watches where write ? watch.onWrite : watch.onRead {
      guard overlaps(watch, address, UInt64(size)) else { continue }
      guard pointee.alone else { throw .alone }
      if owner.watchHit == nil { owner.watchHit = .data(GVA(address), size: UInt8(size), write: write) }
      return
    }
  }

  /// Guest I/O breakpoints (CR4.DE and R/W = 10b).
  func notePort(_ port: UInt16, _ size: Int) throws(Stop) {
    guard pointee.dr7 & 0xFF != 0, pointee.cr4 & CR4.de != 0 else { return }
    let owner = vcpu
    for i in 0..<4 where pointee.dr7 >> UInt64(2 * i) & 3 != 0 {
      guard pointee.dr7 >> UInt64(16 + 4 * i) & 3 == 2 else { continue }
      let length = breakpointLength(i)
      let from = pointee.dr[i] & ~(length - 1)
      guard UInt64(port) < from &+ length && from < UInt64(port) + UInt64(size) else { continue }
      guard pointee.alone else { throw .alone }
      owner.guestWatchHit |= 1 << UInt64(i)
    }
  }
}
