import CHost
import Glibc
import VMCore

/// Keeps generated code from the monitor's own memory, to find mistakes of the writer: while it runs, this thread may
/// read and write only what is under one protection key (SDM 3A 4.6.2) - guest memory, the processor's state with its
/// stack, the code itself - and every other access ends the program by SIGSEGV.
///
/// It says nothing about where code jumps to, and nothing about an access that is wrong but stays inside.
struct HostGuard {
  private let key: Int32
  /// PKRU while generated code runs, and else.
  let inside, outside: UInt32

  /// One key for all engines of the process: there are few.
  static let shared: Result<HostGuard, VMError> = {
    let key = chost_guard_key()
    guard key > 0 else {
      let error = VMError(
        .host, "this host has no protection keys (errno \(-key))", remedy: "look for pku and ospke in /proc/cpuinfo")
      return .failure(error)
    }
    return .success(HostGuard(key: key))
  }()

  private init(key: Int32) {
    self.key = key
    outside = chost_guard_rights()
    inside = ~(3 << UInt32(2 * key))
  }

  /// Lets generated code reach these pages.
  func admit(_ address: UInt, size: Int, executable: Bool = false) {
    let rights = PROT_READ | (executable ? PROT_EXEC : PROT_WRITE)
    let result = chost_guard_pages(key, UnsafeMutableRawPointer(bitPattern: address), size, rights)
    precondition(result == 0, "pages of ours can be put under our key")
  }

  /// Writes the change to other rights. Uses EAX, ECX and EDX.
  func write(_ rights: UInt32, _ asm: inout Assembler) {
    asm.load(.rax, UInt64(rights))
    asm.load(.rcx, 0)
    asm.load(.rdx, 0)
    for byte: UInt8 in [0x0F, 0x01, 0xEF] { asm.byte(byte) }
  }
}
