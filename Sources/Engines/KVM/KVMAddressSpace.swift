import CHost
import VMCore
import X86

/// The guest's linear address space by its present page tables, walked in the monitor: a call of the kernel's for
/// it (KVM_TRANSLATE) costs as much as an exit.
struct KVMAddressSpace {
  let memory: GuestMemory
  let cr0: UInt64
  let cr3: UInt64
  let cr4: UInt64
  let efer: UInt64

  init(_ memory: GuestMemory, _ sync: UnsafePointer<kvm_sync_regs>) {
    self.memory = memory
    cr0 = sync.pointee.sregs.cr0
    cr3 = sync.pointee.sregs.cr3
    cr4 = sync.pointee.sregs.cr4
    efer = sync.pointee.sregs.efer
  }

  private static let present: UInt64 = 1
  private static let large: UInt64 = 1 << 7
  private static let frame: UInt64 = 0x000F_FFFF_FFFF_F000

  /// SDM 3A 4.3 to 4.5; nil where nothing is mapped.
  func translate(_ linear: UInt64) -> UInt64? {
    if cr0 & CR0.pg == 0 { return linear & 0xFFFF_FFFF }
    if efer & EFER.lma != 0 {
      guard AddressWidth.isCanonical(linear) else { return nil }
      return walk(cr3 & Self.frame, linear, from: cr4 & CR4.la57 != 0 ? 48 : 39)
    }
    if cr4 & CR4.pae != 0 {
      let pointer: UInt64? = memory.load(GPA((cr3 & 0xFFFF_FFE0) &+ (linear >> 30 & 3) * 8))
      guard let pointer, pointer & Self.present != 0 else { return nil }
      return walk(pointer & Self.frame, linear & 0xFFFF_FFFF, from: 21)
    }
    return walk32(linear & 0xFFFF_FFFF)
  }

  private func walk(_ root: UInt64, _ linear: UInt64, from top: UInt64) -> UInt64? {
    var table = root
    var shift = top
    while true {
      let entry: UInt64? = memory.load(GPA(table &+ (linear >> shift & 511) * 8))
      guard let entry, entry & Self.present != 0 else { return nil }
      if shift == 12 || shift <= 30 && entry & Self.large != 0 {
        let offset = (UInt64(1) << shift) - 1
        return entry & Self.frame & ~offset | linear & offset
      }
      table = entry & Self.frame
      shift -= 9
    }
  }

  private func walk32(_ linear: UInt64) -> UInt64? {
    let directory: UInt32? = memory.load(GPA((cr3 & 0xFFFF_F000) &+ (linear >> 22) * 4))
    guard let directory, directory & 1 != 0 else { return nil }
    if directory & 0x80 != 0, cr4 & CR4.pse != 0 {
      let high = UInt64(directory >> 13 & 0xFF) << 32
      return high | UInt64(directory & 0xFFC0_0000) | linear & 0x3F_FFFF
    }
    let table = UInt64(directory & 0xFFFF_F000)
    let entry: UInt32? = memory.load(GPA(table &+ (linear >> 12 & 1023) * 4))
    guard let entry, entry & 1 != 0 else { return nil }
    return UInt64(entry & 0xFFFF_F000) | linear & 0xFFF
  }

  /// At most `count` bytes from a linear address on, fewer where nothing is mapped.
  func bytes(at linear: UInt64, count: Int, mask: UInt64) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(count)
    var page: (number: UInt64, host: UnsafeMutableRawPointer)?
    for offset in 0..<UInt64(max(count, 0)) {
      let at = (linear &+ offset) & mask
      if page?.number != at >> 12 {
        guard let gpa = translate(at), let found = memory.hostPage(GPA(gpa)) else { break }
        page = (at >> 12, found.host)
      }
      if let page { result.append(page.host.load(fromByteOffset: Int(at & 4095), as: UInt8.self)) }
    }
    return result
  }
}
