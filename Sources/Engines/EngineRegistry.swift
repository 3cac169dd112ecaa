import VMCore

/// The ways of executing guest code, by name.
package enum EngineRegistry {
  /// One row an engine: its name, and why it cannot be used now (nil where it can).
  package struct Row: Sendable {
    package let name: String
    package let unavailable: String?
  }

  package static let rows: [Row] = [
    Row(name: "interpreter", unavailable: nil),
    Row(name: "kvm", unavailable: "the KVM engine is not part of this version; use --engine interpreter"),
    Row(name: "rewriter", unavailable: nil),
  ]

  /// Makes the named engine over this memory.
  package static func makeEngine(
    named name: String, memory: GuestMemory, events: EventSink, configuration: EngineConfiguration
  ) throws(VMError) -> any Engine {
    guard let row = rows.first(where: { $0.name == name }) else {
      let known = rows.map(\.name).joined(separator: ", ")
      throw VMError(.usage, "there is no engine '\(name)'", remedy: "choose one of \(known)")
    }
    if let why = row.unavailable { throw VMError(.unavailable, why) }
    let rewriter = name == "rewriter" ? try Rewriter(isEager: configuration.warmth <= 1) : nil
    return InterpreterEngine(memory: memory, events: events, configuration: configuration, rewriter: rewriter)
  }
}
