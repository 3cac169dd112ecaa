/// What the monitor did for a domain so far, for whoever compares.
package struct DomainCounts: Equatable, Sendable {
  /// Event upcalls delivered.
  package var upcalls: UInt64
  /// Faulting instructions carried out for the guest, stores into page tables among them.
  package var emulated: UInt64
}

extension XenPlatform {
  package var counts: DomainCounts { DomainCounts(upcalls: domain.upcallCount, emulated: domain.emulatedCount) }
}
