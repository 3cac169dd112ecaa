import CHost
import Glibc
import VMCore
import X86

/// The kernel's side of a VM: its descriptor and its memory slots, which follow `GuestMemory`.
///
/// Slots change only while no vCPU runs, as the layout of `GuestMemory` does.
final class KVMMachine {
  struct Slot {
    var number: UInt32
    var base: UInt64
    var size: UInt64
    var host: UInt
    var flags: UInt32
    func liesAs(_ other: Slot) -> Bool {
      base == other.base && size == other.size && host == other.host && isReadOnly == other.isReadOnly
    }
    var isReadOnly: Bool { flags & UInt32(KVM_MEM_READONLY) != 0 }
  }
  let fd: Int32
  private let host: KVMHost
  private var slots: [Slot] = []
  private var scratch: UnsafeMutableRawPointer?

  /// Below the ROM that ends at 4 GiB.
  private static let tssAddress: UInt64 = 0xFFFB_D000
  private static let identityMap: UInt64 = 0xFFFB_C000

  init(host: KVMHost) throws(VMError) {
    self.host = host
    let made = chost_kvm_create_vm(host.fd)
    if made < 0 { throw KVMHost.failure("make a VM", made) }
    fd = made
    _ = chost_kvm_set_identity_map(fd, Self.identityMap)
    _ = chost_kvm_set_tss_address(fd, Self.tssAddress)
    // VMCALL of the other vendor is #UD by definition; patching it in place is not what a guest may expect.
    let quirks = chost_kvm_capability(fd, UInt(KVM_CAP_DISABLE_QUIRKS2))
    if quirks & KVM_X86_QUIRK_FIX_HYPERCALL_INSN != 0 {
      _ = chost_kvm_enable(fd, UInt32(KVM_CAP_DISABLE_QUIRKS2), UInt64(KVM_X86_QUIRK_FIX_HYPERCALL_INSN))
    }
    if host.hasMSRExits {
      let reasons = KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER
      _ = chost_kvm_enable(fd, UInt32(KVM_CAP_X86_USER_SPACE_MSR), UInt64(reasons))
    }
  }

  deinit {
    close(fd)
    if let scratch { munmap(scratch, 4096) }
  }

  // MARK: memory

  /// Gives the kernel the slots of `memory`. Pages of `readOnly` (by number) are kept from being written: a
  /// store there exits.
  func lay(out memory: GuestMemory, readOnly: Set<UInt64> = [], logsDirty: Bool = false) throws(VMError) {
    let wanted = memory.slots.flatMap { pieces(of: $0, readOnly, logsDirty) }
    for slot in slots where !wanted.contains(where: { $0.liesAs(slot) }) {
      _ = chost_kvm_set_memory(fd, slot.number, 0, slot.base, 0, UInt64(slot.host))
    }
    var kept = slots.filter { slot in wanted.contains { $0.liesAs(slot) } }
    for var slot in wanted {
      if let at = kept.firstIndex(where: { $0.liesAs(slot) }) {
        guard kept[at].flags != slot.flags else { continue }
        kept[at].flags = slot.flags
        try set(kept[at])
      } else {
        slot.number = (0...UInt32(kept.count)).first { number in !kept.contains { $0.number == number } } ?? 0
        try set(slot)
        kept.append(slot)
      }
    }
    slots = kept
  }

  private func set(_ slot: Slot) throws(VMError) {
    let result = chost_kvm_set_memory(fd, slot.number, slot.flags, slot.base, slot.size, UInt64(slot.host))
    if result < 0 {
      throw KVMHost.failure("map \(slot.size >> 10) KiB of memory at \(String(slot.base, radix: 16))h", result)
    }
  }

  private func pieces(of slot: MemorySlot, _ readOnly: Set<UInt64>, _ logsDirty: Bool) -> [Slot] {
    let rom = host.hasReadOnlyMemory && slot.kind == .rom
    let log = logsDirty && slot.kind == .ram ? UInt32(KVM_MEM_LOG_DIRTY_PAGES) : 0
    let flags = (rom ? UInt32(KVM_MEM_READONLY) : 0) | log
    var result: [Slot] = []
    var from = slot.base.value
    func add(to end: UInt64, _ flags: UInt32) {
      guard end > from else { return }
      let host = slot.host + UInt(from - slot.base.value)
      result.append(Slot(number: 0, base: from, size: end - from, host: host, flags: flags))
      from = end
    }
    for page in readOnly.sorted() where page << 12 >= slot.base.value && page << 12 < slot.end && !rom {
      add(to: page << 12, flags)
      add(to: page << 12 + 4096, UInt32(KVM_MEM_READONLY))
    }
    add(to: slot.end, flags)
    return result
  }

  /// Drops every shadow of the guest's page tables: the kernel does not see the monitor's own writes to them
  /// where it shadows (documented for shadow paging: a change of slots starts anew).
  func dropShadows() {
    if scratch == nil {
      let page = mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
      scratch = page == MAP_FAILED ? nil : page
    }
    guard let scratch else { return }
    let number = (slots.map(\.number).max() ?? 0) + 1
    let base = (slots.map { $0.base + $0.size }.max() ?? 0) + 4096
    let host = UInt64(UInt(bitPattern: scratch))
    if chost_kvm_set_memory(fd, number, 0, base, 4096, host) >= 0 {
      _ = chost_kvm_set_memory(fd, number, 0, base, 0, host)
    }
  }

  /// Numbers of the pages the vCPUs wrote since the last call, of slots that log it.
  func takeDirtyPages() -> Set<UInt64> {
    var pages = Set<UInt64>()
    for slot in slots where slot.flags & UInt32(KVM_MEM_LOG_DIRTY_PAGES) != 0 {
      let count = Int(slot.size >> 12)
      var bitmap = [UInt64](repeating: 0, count: (count + 63) / 64)
      guard chost_kvm_dirty_log(fd, slot.number, &bitmap) >= 0 else { continue }
      for (index, word) in bitmap.enumerated() where word != 0 {
        for bit in 0..<64 where word >> UInt64(bit) & 1 != 0 {
          pages.insert(slot.base >> 12 + UInt64(index * 64 + bit))
        }
      }
    }
    return pages
  }

  // MARK: MSRs

  /// The MSRs of the platform exit always; with `all` every one does.
  func filterMSRs(all: Bool) {
    guard host.hasMSRExits else { return }
    let platform = [MSR.apicBase, MSR.tscDeadline]
    _ = chost_kvm_filter_msrs(fd, all, platform, UInt32(platform.count))
  }
}
