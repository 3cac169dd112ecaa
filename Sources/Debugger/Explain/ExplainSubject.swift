/// What on the screen is to be explained: an entry of `ExplainCatalogue` by its name, with what is known of
/// this very one.
///
/// Names are `register.bit` (`rflags.zf`, `cr0.pg`, `dr7.l0`), a register alone (`rax`, `cr3`, `mxcsr`),
/// `exit.REASON`, `exception.pf`, `descriptor.kind`, `pte.p`, `msr.efer`, `instruction.OPERATION`,
/// `device.register` (`serial.lsr`, `lapic.irr`), `event.KIND`. A name the catalogue finds by an alias (`zf`,
/// `#PF`, `IA32_EFER`) will do.
package struct ExplainSubject: Equatable, Sendable {
  package var name: String
  /// The whole register's or entry's present value (not the bit's alone): what the present meaning is taken
  /// from. Nil where it is not known; registers of the vCPU are then looked up in its state.
  package var value: UInt64?
  /// One line about this one: `#1842 IO: out 3f8h (COM1 THR) <- 4b 'K'`.
  package var present: String?

  package init(_ name: String, value: UInt64? = nil, present: String? = nil) {
    self.name = name
    self.value = value
    self.present = present
  }
}
