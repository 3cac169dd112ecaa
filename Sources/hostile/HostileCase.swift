import Session
import VMCore

/// One hostile guest, run and judged.
package struct HostileCase {
  let maker: GuestMaker
  let kind: GuestKind
  let number: Int

  package init(maker: GuestMaker, kind: GuestKind, number: Int) {
    self.maker = maker
    self.kind = kind
    self.number = number
  }

  package struct Verdict {
    /// How it ended, in a word: a stop's name, or "refused" by a loader.
    package var end: String
    /// Instructions retired and VM exits made, to show that the guest got somewhere.
    package var instructions: UInt64 = 0
    package var exits: UInt64 = 0
    /// Promises the monitor did not keep.
    package var problems: [String]
  }

  /// What a person may look at wherever a guest stands.
  private static let looks = [
    "info regs", "info sregs", "info cr", "info msr", "info fpu", "info gdt", "info ldt", "info idt", "info tss",
    "info stack", "info exits", "info hypercalls", "info stats", "info events", "info devices", "info mem", "info vcpus",
    "info screen", "info console", "backtrace", "disassemble", "explain", "map", "walk rip", "x/8xb rip", "x/4i rip",
  ]

  /// Runs the guest to its end or limit; `started` gets the session before its first instruction. Every eighth guest
  /// is stepped a little first and looked at afterwards.
  package func run(_ started: (Session) -> Void = { _ in }) -> Verdict {
    let session: Session
    do throws(VMError) { session = try maker.session(kind, number) } catch {
      let isLine = !error.message.isEmpty && !error.description.contains("\n")
      // A program has nothing that may be refused, an image has.
      if case .image = kind {} else { return Verdict(end: "refused", problems: ["not made: \(error.message)"]) }
      return Verdict(end: "refused", problems: isLine ? [] : ["a refusal that is not one line"])
    }
    started(session)
    var problems: [String] = []
    let isWatched = number % 8 == 0
    if isWatched { for line in ["step 3", "next", "exit", "interrupt", "finish"] { _ = session.perform(line).lines } }
    if case .ended = session.currentSnapshot().phase {} else if session.perform("continue").failed {
      problems.append("the guest could not go on")
    }
    let snapshot = session.currentSnapshot()
    if maker.countsInstructions, snapshot.instructionCount > maker.limit { problems.append("\(snapshot.instructionCount) instructions, past the limit") }
    if snapshot.stopSentence.isEmpty { problems.append("a stop without a word") }
    // What this host's KVM cannot run ends with a sentence that says so.
    if case .error(let text) = snapshot.stop, !text.contains("use --engine interpreter") { problems.append("stopped by an error: \(text)") }
    if isWatched { for line in Self.looks where session.perform(line).lines.isEmpty { problems.append("no answer to '\(line)'") } }
    return Verdict(
      end: snapshot.stop.name, instructions: snapshot.instructionCount, exits: snapshot.exitCount, problems: problems)
  }
}
