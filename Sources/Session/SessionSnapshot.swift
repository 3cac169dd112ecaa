import Debugger
import VMCore
import X86

/// Where the run-control state machine is.
package enum SessionPhase: Equatable, Sendable {
  /// Loaded, nothing executed yet.
  case created
  case running
  case paused
  /// The guest waits in HLT with interrupts on and nothing due.
  case idle
  /// The guest ended: the process status it asked for.
  case ended(status: Int32)
}

/// Why the session stopped.
package enum StopReason: Equatable, Sendable {
  case created
  /// The person paused it.
  case pause
  /// A step, next, finish, until or "to the next ..." reached its goal.
  case step
  /// `rsi`, `rc`: the guest, with all its state, is where it was before.
  case wentBack
  case breakpoint(Int)
  /// `exit [N]`, `e`: the N-th VM exit from now came.
  case exit(ExitReason)
  case hypercall(number: UInt64)
  case interrupt(Vector)
  case exception(Vector)
  case tripleFault
  case unknownInstruction
  /// HLT with interrupts off.
  case haltedForGood
  case limit
  case shutdown
  case reset
  case guestExit(status: Int32)
  /// VM entry refused the state or controls that somebody set; nothing was executed.
  case entryFailed(String)
  case error(String)
}

/// One VM exit as shown: an `exit` event with what run control added.
package struct ExitRecord: Equatable, Sendable {
  package var sequence: UInt64
  /// Virtual time, ns.
  package var time: UInt64
  package var exit: VMExit
  /// Device or service that handled it, "" if none.
  package var handler: String
  /// Host nanoseconds from exit to entry; 0 in deterministic batch output.
  package var cost: UInt64
  /// The qualification in words: `out 3f8h (COM1 THR) <- 4b 'K'`.
  package var detail: String
  /// Sequence number of its event in the stream.
  package var event: UInt64 = 0
  /// What the monitor answered; nil while the guest stands at the exit, and for exits that want no answer.
  package var answer: VMEntry.Action?
  /// Sequence number of the answer's event: what stands between the two is what the handler did.
  package var answerEvent: UInt64?
  /// The registers around it; nil where they were not recorded.
  package var states: ExitStates?
  /// The code segment RIP counts in.
  package var segment = CodeSegment()

  package var linear: UInt64 { segment.linear(exit.rip) }
  /// `7c16`, `f000:e987`.
  package var place: String { segment.place(exit.rip) }
}

/// How many exits came from an address.
package struct AddressCount: Equatable, Sendable {
  /// The linear address.
  package var address: UInt64
  package var count: UInt64
  package init(address: UInt64, count: UInt64) {
    self.address = address
    self.count = count
  }
}

/// An engine this program knows, and why it cannot be had here (nil where it can).
package struct EngineChoice: Equatable, Sendable {
  package var name: String
  package var unavailable: String?
  package init(name: String, unavailable: String?) {
    self.name = name
    self.unavailable = unavailable
  }
}

package struct ReasonStatistics: Equatable, Sendable {
  package var reason: ExitReason
  package var count: UInt64
  /// 0...1 of all exits.
  package var share: Double
  /// Host ns.
  package var averageCost: Double
  package var maximumCost: UInt64
  package var minimumCost: UInt64 = 0
  /// The cost that 99 of 100 do not exceed, within 1/16.
  package var p99Cost: UInt64 = 0
  /// Element n counts the costs in 2^n ..< 2^(n+1) ns; empty where nothing was measured.
  package var histogram: [UInt64] = []
}

package struct HypercallRecord: Equatable, Sendable {
  package var sequence: UInt64
  package var time: UInt64
  package var rip: UInt64
  package var number: UInt64
  package var name: String
  package var arguments: [UInt64]
  package var result: UInt64
  /// The call in words: `console_write(ptr=0x8000, len=5) = 5`.
  package var text: String
  /// The structures it pointed at, a line each; empty where they were not kept.
  package var structures: [String] = []
  /// An entry of a multicall, which comes after its entries.
  package var isInner = false
  /// A structure it pointed at says that its operation failed.
  package var hasFailure = false
  /// The ABI's error, -1 of the doorbell's, or an operation's own: the call failed.
  package var isError: Bool { hasFailure || Int64(bitPattern: result) < 0 && Int64(bitPattern: result) > -4096 }
}

/// Hypercalls of a number, counted from the guest's start.
package struct HypercallStatistics: Equatable, Sendable {
  package var number: UInt64
  package var name: String
  package var count: UInt64
  package var errors: UInt64
  /// Host ns; 0 where nothing was measured, as for entries of multicalls.
  package var averageCost: Double
  package var maximumCost: UInt64
}

package struct BreakpointSummary: Equatable, Sendable {
  package var number: Int
  package var enabled: Bool
  /// `exec 7c1c <boot+1c>`, `io port==3f8 w`, ...
  package var what: String
  package var condition: String?
  package var hits: UInt64
  package var hitLimit: UInt64?
  package var action: String?
  package var oneShot: Bool
}

/// The VGA's screen as cells of character (CP437) and attribute bytes, and the cursor: text, or graphics in blocks.
package struct TextScreen: Equatable, Sendable {
  package var columns: Int
  package var rows: Int
  package var cells: [UInt16]
  package var cursor: Int?
}

/// One thing the session answered to a command, or said of its own accord.
package struct ConsoleMessage: Equatable, Sendable {
  package enum Kind: Sendable { case command, answer, error, notice }
  package var number: UInt64
  package var kind: Kind
  package var text: String
}

/// All a console shows, taken at one moment: immutable, complete, cheap to hand over. Published at each
/// stop and at most 30 times a second while running.
package struct SessionSnapshot: Sendable {
  /// Grows with every publication.
  package var generation: UInt64
  package var phase: SessionPhase
  package var stop: StopReason
  /// The hypercall it stopped at, by name.
  package var stopHypercall: String?
  /// One full sentence: why the session is where it is.
  package var stopSentence: String
  package var guestName: String
  package var technique: String
  package var engine: String
  package var capabilities: EngineCapabilities
  package var currentVCPU: Int
  package var vcpus: [VCPUState]
  /// The same at the stop before this one: what differs is drawn as changed.
  package var previous: [VCPUState]
  package var instructionCount: UInt64
  /// ns.
  package var virtualTime: UInt64
  /// Host-measured, 0 when stopped.
  package var mips: Double
  package var exitsPerSecond: Double
  package var exitCount: UInt64
  /// The newest exits, oldest first, at most 1,000.
  package var exits: [ExitRecord]
  package var reasons: [ReasonStatistics]
  /// The newest hypercalls, oldest first, at most 1,000.
  package var hypercalls: [HypercallRecord]
  package var breakpoints: [BreakpointSummary]
  /// What `display` shows now.
  package var displayed: [DisplayedValue] = []
  /// What the guest wrote to its console, newest 256 KiB, as text lines after carriage control.
  package var guestConsole: [String]
  /// Lines it wrote before those.
  package var forgottenConsoleLines = 0
  package var screen: TextScreen?
  package var devices: [DeviceInspection]
  package var messages: [ConsoleMessage]
  package var droppedEvents: UInt64
  package var eventCount: UInt64
  /// Loaded symbols, shared and immutable.
  package var symbols: SymbolTable
  /// The guest's memory: exact when stopped, possibly torn while the guest runs.
  package var memory: GuestMemory
  /// The newest events, oldest first, at most 4,096.
  package var events: [Event] = []
  /// Where exits come from, the most frequent first.
  package var exitAddresses: [AddressCount] = []
  /// Exits at addresses beyond the table of `exitAddresses`.
  package var otherExitAddresses: UInt64 = 0
  /// Millions of instructions a second when the guest last ran for long enough to tell; 0 before.
  package var measuredMIPS = 0.0
  package var engines: [EngineChoice] = []
  /// The engine counts instructions; where it does not, the counts here are of steps and answered exits.
  package var countsInstructions = true
  /// Which of several machines the guest finds: "p0", "p1"; nil where there is no choice.
  package var machineName: String?
  /// Why it is this engine, where the program chose; nil where the person did.
  package var engineNote: String?
  /// What was found out about the host for this engine.
  package var engineTraits: [EngineTrait] = []
  package var engineRemarks: [String] = []
  /// What makes the guest exit.
  package var vmcs = VMCSView()
  /// Rewritten code, and sensitive instructions.
  package var rewriting = RewritingView()
  /// The last `compare` of this session.
  package var comparison: ComparisonReport?
  /// Hypercalls by number, the most frequent first, and the addresses they came from.
  package var hypercallStatistics: [HypercallStatistics] = []
  package var hypercallAddresses: [AddressCount] = []
  /// What the monitor keeps of a paravirtual domain, when it stands.
  package var xen: XenView?
  /// The lesson under way.
  package var lesson: LessonView?
  /// What the last `techniques` found.
  package var techniques: TechniquesReport?
  /// Ports somebody answers at, ascending.
  package var ports: [NamedPort] = []
  /// The recording being made; nil where none is.
  package var recording: RecordingStatus?
  /// The recording that is looked at instead of a guest; nil where one runs.
  package var replay: ReplayStatus?

  /// A count of instructions as it is shown where there is none.
  package static let notCounted = "not counted on this engine"
}
