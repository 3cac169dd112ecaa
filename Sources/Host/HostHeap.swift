import CHost

/// The memory allocator of the host's C library.
package enum HostHeap {
  /// To be called before a thread is made that allocates much, as one that runs vCPUs: its heap is then the first
  /// thread's, which grows in steps of reasonable size.
  package static func share() { chost_share_heap() }
}
