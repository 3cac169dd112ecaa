import VMCore
import X86

/// The embedded software processor: decodes guest code once into micro-ops and interprets them.
package final class InterpreterEngine {
  let memory: GuestMemory
  let events: EventSink
  let configuration: EngineConfiguration
  var processors: [InterpreterVCPU] = []
  /// One byte a RAM page below: nonzero where decoded code lies (indexed by GPA >> 12, 4 GiB and above
  /// included while RAM goes that far).
  var codePages: [UInt8] = []

  package init(memory: GuestMemory, events: EventSink, configuration: EngineConfiguration) {
    self.memory = memory
    self.events = events
    self.configuration = configuration
    processors = (0..<configuration.vcpuCount).map { InterpreterVCPU(index: $0, engine: self) }
  }

  /// True where a store to this guest-physical page must look for decoded code.
  func hasCode(page: UInt64) -> Bool { false }

  /// True where `size` bytes at `gpa` overlap decoded code of the block now executing.
  func overlapsRunningBlock(_ gpa: UInt64, _ size: Int) -> Bool { false }

  /// Drops decoded code that overlaps the bytes about to be stored.
  func invalidateCode(_ gpa: UInt64, _ size: Int) {}
}
