import CHost
import VMCore

/// What KVM costs by itself: a loop in C that answers nothing, for measurements to be held against.
package enum KVMPeer {
  /// Runs real-mode code at `origin` (below 64 KiB, in one page) until it writes to port F4h.
  package static func run(_ code: [UInt8], at origin: UInt64) throws(VMError) {
    let host = try KVMHost.shared.get()
    let result = chost_kvm_bare_loop(host.fd, code, code.count, origin)
    if result < 0 { throw KVMHost.failure("run a bare guest", Int32(result)) }
  }
}
