import VMCore

/// How guest code is brought under control.
package enum Technique: String, CaseIterable, Sendable {
  case hvm, rewrite, pv
}

/// What a flat image starts in.
package enum StartMode: String, CaseIterable, Sendable {
  case real, protected, long
}

/// How a Linux kernel is entered.
package enum BootProtocol: String, CaseIterable, Sendable {
  case pvh, bzimage
}

/// The machine a Linux kernel finds.
package enum LinuxMachine: String, CaseIterable, Sendable {
  case p0, p1
}

/// Everything the person chose about a session before it starts.
package struct SessionConfiguration: Sendable {
  /// A file, or the name of a sample; nil with `firmware`.
  package var guest: String?
  package var technique = Technique.hvm
  /// `auto`, `kvm`, `interpreter`, `rewriter`; nil takes the technique's own.
  package var engine: String?
  package var mode: StartMode?
  package var loadAddress: UInt64?
  package var entry: UInt64?
  package var firmware: String?
  /// Bytes; nil takes the sample's, or 256 MiB, or more where an initrd needs it.
  package var memory: UInt64?
  /// vCPUs; nil takes the sample's, or 1.
  package var cpus: Int?
  package var vcpuCount: Int { cpus ?? 1 }
  package var append: String?
  /// All that Linux is told, in place of the standard command line and `append`.
  package var appendOnly: String?
  /// The way into a Linux kernel; nil takes what the kernel has.
  package var boot: BootProtocol?
  /// The processor's model; nil takes the one the guest is made for.
  package var cpu: CPUModel?
  package var initrd: String?
  /// A paravirtual guest's page tables are believed unchecked: what isolation costs.
  package var isTrusting = false
  /// `FILE[,ro]`.
  package var disk: String?
  /// What is written to the disk stays in memory: for runs beside the one that counts.
  package var diskIsTemporary = false
  /// The machine Linux finds; nil takes P0, or P1 where it has more than one processor or a disk.
  package var machine: LinuxMachine?
  /// A file with more names for addresses: ELF, System.map or what /proc/kallsyms says.
  package var symbols: String?
  /// A reset the guest asks for starts it again instead of ending the run.
  package var reboots = false
  /// Total instructions after which the run ends with `StopReason.limit`.
  package var limit: UInt64?
  /// A file for JSON lines of every event, `-` for standard output.
  package var eventsPath: String?
  /// Whether host time is measured per exit (a console shows it; batch output leaves it out).
  package var measuresCost = false
  /// Whether the registers around each exit are kept for its anatomy.
  package var recordsStates = false
  /// Instructions between two whole-machine snapshots for going back, at least.
  package var checkpointInterval = SessionConfiguration.checkpointInterval
  /// Where the command history is kept between sessions; nil keeps none.
  package var historyPath: String?
  package init() {}

  /// The engine asked for, or the one that belongs to the technique.
  package var engineName: String { engine ?? (technique == .rewrite ? "rewriter" : "interpreter") }

  package static let checkpointInterval: UInt64 = 20_000_000
  package static let defaultMemory: UInt64 = 256 << 20
}
