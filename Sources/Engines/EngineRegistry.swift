import VMCore

/// The ways of executing guest code, by name.
package enum EngineRegistry {
  /// One row an engine: its name, and why it cannot be used now (nil where it can).
  package struct Row: Sendable {
    package let name: String
    /// What is wrong, and what to do about it.
    package let refusal: VMError?
    package var unavailable: String? { refusal?.description }
  }

  package static let rows: [Row] = [
    Row(name: "interpreter", refusal: nil),
    Row(name: "kvm", refusal: kvmRefusal),
    Row(name: "rewriter", refusal: nil),
  ]

  private static var kvmRefusal: VMError? {
    if case .failure(let why) = KVMHost.shared { return why }
    return nil
  }

  /// What was found out about the host for the named engine; the first call for "kvm" runs a dozen small guests.
  package static func traits(of name: String) -> [EngineTrait] {
    name == "kvm" && kvmRefusal == nil ? KVMFindings.shared.traits.described : []
  }

  /// The engine `--engine auto` means here, and why, in one line.
  package static var automatic: (name: String, why: String) {
    if let why = kvmRefusal { return ("rewriter", "embedded, rewriting: \(why.message)") }
    let host = KVMFindings.shared.traits
    if host.showHardware { return ("kvm", "KVM: the host's processor runs the guest") }
    return ("rewriter", "embedded, rewriting: /dev/kvm here is a software KVM")
  }

  /// Makes the named engine over this memory.
  package static func makeEngine(
    named name: String, memory: GuestMemory, events: EventSink, configuration: EngineConfiguration
  ) throws(VMError) -> any Engine {
    guard let row = rows.first(where: { $0.name == name }) else {
      let known = rows.map(\.name).joined(separator: ", ")
      throw VMError(.usage, "there is no engine '\(name)'", remedy: "choose one of \(known)")
    }
    if let why = row.refusal { throw why }
    if name == "kvm" {
      try configuration.cpu.requireHost()
      return try KVMEngine(memory: memory, configuration: configuration)
    }
    let rewriter = name == "rewriter" ? try Rewriter(configuration) : nil
    return try InterpreterEngine(memory: memory, events: events, configuration: configuration, rewriter: rewriter)
  }
}
