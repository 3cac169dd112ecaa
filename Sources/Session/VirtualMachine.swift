import Debugger
import VMCore
import X86

/// What a platform knows about its own exits, in words and for hypercall breakpoints.
package protocol PlatformWords {
  /// The device or service that answers `exit`: "uart16550"; "" if none.
  func handlerName(for exit: VMExit) -> String
  /// "COM1 THR"; nil where nobody answers.
  func portName(_ port: UInt16, write: Bool) -> String?
  /// "LAPIC EOI"; nil where nobody answers.
  func memoryName(_ address: GPA, write: Bool) -> String?
  /// The number of the hypercall `exit` asks for; nil if it is none.
  func hypercallNumber(of exit: VMExit, on vcpu: any VCPU) -> UInt64?
  /// Its arguments, in the ABI's order; none where it is no hypercall.
  func hypercallArguments(of exit: VMExit, on vcpu: any VCPU) -> [UInt64]
  /// What the monitor is about to do about `exit`; nil where the guest knows nothing of a monitor.
  func service(of exit: VMExit, on vcpu: any VCPU) -> MonitorService?
  /// Every hypercall's number and name.
  var hypercalls: [HypercallName] { get }
  /// All a hypercall's arguments and what it pointed at, by its number among all so far; nil where that was not kept.
  func hypercallDetails(_ ordinal: UInt64) -> HypercallDetails?
  /// What the monitor keeps of a paravirtual domain; nil where the guest is none.
  var xen: XenView? { get }
  /// The VGA text screen, if the platform has one.
  var textScreen: TextScreen? { get }
  /// The ports somebody answers at, ascending.
  var namedPorts: [NamedPort] { get }
}

extension PlatformWords {
  package var namedPorts: [NamedPort] { [] }
  package func hypercallArguments(of exit: VMExit, on vcpu: any VCPU) -> [UInt64] { [] }
  package func service(of exit: VMExit, on vcpu: any VCPU) -> MonitorService? { nil }
  package func hypercallDetails(_ ordinal: UInt64) -> HypercallDetails? { nil }
  package var xen: XenView? { nil }
}

/// A hypercall beyond what its event has.
package struct HypercallDetails: Equatable, Sendable {
  package var arguments: [(name: String, value: UInt64)] { zip(names, values).map { (name: $0, value: $1) } }
  private var names: [String]
  private var values: [UInt64]
  /// The structures it pointed at, a line each.
  package var structures: [String]
  /// One of them says that it failed, whatever the call's result.
  package var hasFailure: Bool

  package init(_ arguments: [(name: String, value: UInt64)], structures: [String], hasFailure: Bool) {
    names = arguments.map(\.name)
    values = arguments.map(\.value)
    self.structures = structures
    self.hasFailure = hasFailure
  }
}

/// A hypercall's number, name and argument names.
package struct HypercallName: Equatable, Sendable {
  package var number: UInt64
  package var name: String
  package var arguments: [String]
  package init(number: UInt64, name: String, arguments: [String]) {
    self.number = number
    self.name = name
    self.arguments = arguments
  }
}

/// A platform with nothing to say.
package struct NoWords: PlatformWords {
  package init() {}
  package func handlerName(for exit: VMExit) -> String { "" }
  package func portName(_ port: UInt16, write: Bool) -> String? { nil }
  package func memoryName(_ address: GPA, write: Bool) -> String? { nil }
  package func hypercallNumber(of exit: VMExit, on vcpu: any VCPU) -> UInt64? { nil }
  package var hypercalls: [HypercallName] { [] }
  package var textScreen: TextScreen? { nil }
}

/// An engine, a platform, memory and a loaded guest, put together and ready to run.
package struct VirtualMachine {
  /// The guest's file or sample name.
  package var name: String
  package var technique = Technique.hvm
  /// Which of several machines a guest finds: "p0", "p1"; nil where there is no choice.
  package var machineName: String?
  package var engine: any Engine
  /// What the engine lets a debugger see of rewritten code; nil where there is nothing to see.
  var inspection: (any RewritingInspection)? { engine as? any RewritingInspection }
  /// Why it is this one, where the program chose.
  package var engineNote: String?
  package var platform: any Platform
  package var memory: GuestMemory
  package var events: EventSink
  package var symbols = SymbolTable.empty
  package var words: any PlatformWords = NoWords()
  /// What was loaded, in one line.
  package var loadDescription = ""
  /// The path of the file that `loadDescription` begins with; empty where the guest came from none.
  package var path = ""
  /// What every vCPU starts with.
  package var initialStates: [VCPUState]
  /// Loads the guest into memory again, for `reset`; gives the initial states.
  package var reload: () throws(VMError) -> [VCPUState]

  package init(
    name: String, engine: any Engine, platform: any Platform, memory: GuestMemory, events: EventSink,
    initialStates: [VCPUState]
  ) {
    self.name = name
    self.engine = engine
    self.platform = platform
    self.memory = memory
    self.events = events
    self.initialStates = initialStates
    reload = { () throws(VMError) in initialStates }
  }
}
