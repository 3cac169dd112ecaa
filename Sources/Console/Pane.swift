import Debugger
import Session
import TerminalUI

/// The panes. Those that share a digit are reached one from the other by a key.
package enum PaneID: Int, CaseIterable, Hashable, Sendable {
  case exits = 1
  case hypercalls = 2
  case memory = 3
  case breakpoints = 4
  case tables = 5
  case paging = 6
  case stack = 7
  case console = 8
  case reasons = 9
  case messages = 10
  case anatomy = 11
  case events = 12
  case interrupts = 13
  case devices = 14
  case capabilities = 15
  case screen = 16
  case rewriter = 17
  case comparison = 18
  case vmcs = 19
  case code = 20
  case registers = 21
  /// Another vCPU's, where there is more than one.
  case secondRegisters = 22
  /// A lesson's page, while one is under way.
  case lesson = 23
  /// A paravirtual domain's state.
  case xen = 24
  /// What `display` shows.
  case displays = 25
  case techniques = 29
  case status = 30
  case stop = 31
  case command = 32
  case help = 33

  /// The digit that brings it or a neighbour of it up.
  package var digit: Int? { (0...9).first { Self.group($0).contains(self) } }

  /// Where it stands among tabs: by digit, 0 last as on a keyboard.
  package var place: Int { digit == 0 ? 10 : digit ?? 11 }

  /// The panes of a digit, in the order the neighbour key goes through them.
  package static func group(_ digit: Int) -> [PaneID] {
    switch digit {
    case 0: [.messages, .comparison, .techniques]
    case 1: [.exits, .anatomy, .events, .vmcs]
    case 2: [.hypercalls, .xen]
    case 4: [.breakpoints, .displays]
    case 5: [.tables, .interrupts, .devices, .capabilities]
    case 8: [.console, .screen]
    case 9: [.reasons, .rewriter]
    default: PaneID(rawValue: digit).map { [$0] } ?? []
    }
  }

  /// Its name on a tab.
  package var tabName: String {
    switch self {
    case .exits: "Exits"
    case .hypercalls: "Hyp"
    case .memory: "Mem"
    case .breakpoints: "Brk"
    case .displays: "Disp"
    case .tables: "Sys"
    case .paging: "Page"
    case .stack: "Stack"
    case .console: "Tty"
    case .reasons: "Stat"
    case .messages: "Log"
    case .anatomy: "Anat"
    case .events: "Ev"
    case .interrupts: "Irq"
    case .devices: "Dev"
    case .capabilities: "Cap"
    case .screen: "Vga"
    case .vmcs: "Vmcs"
    case .rewriter: "Bt"
    case .comparison: "Cmp"
    case .techniques: "Ways"
    case .code: "Code"
    case .registers: "Registers"
    case .secondRegisters: "vCPU+"
    case .lesson: "Lesson"
    case .xen: "Xen"
    case .status, .stop, .command, .help: ""
    }
  }

  /// The rows every layout has: they take no focus and have no title.
  package var isFrame: Bool { rawValue >= 30 }
}

/// What a pane says to a key.
package enum PaneResponse: Equatable, Sendable {
  case ignored
  case handled
  /// A command for the session.
  case perform(String)
  case focus(PaneID)
  /// From here on keys go to the guest.
  case typeToGuest
  /// Begins a command line.
  case typeCommand(String)
  case leaveLesson
  /// A line for the person, without the session.
  case say(String)
  /// Show this address in the code or memory pane.
  case show(UInt64, in: PaneID)
  /// Show this guest-physical address in the memory pane.
  case showPhysical(UInt64)
  /// Show the anatomy of the exit with this ordinal.
  case openExit(UInt64)
  /// Show the page walk of this linear address.
  case walk(UInt64)
}

/// One pane: a snapshot and a place to draw in, keys to answers. It holds only what belongs to the view
/// (scroll, selection), never the guest's state.
///
/// Colours are roles in the cells; the theme gives them their look when the frame is sent, so a pane
/// needs none.
package protocol Pane: AnyObject {
  var id: PaneID { get }
  /// What stands in its title row.
  func title(_ snapshot: SessionSnapshot) -> String
  func render(_ snapshot: SessionSnapshot, on canvas: Canvas, focused: Bool)
  func handle(_ key: Key, _ snapshot: SessionSnapshot) -> PaneResponse
  /// It wants every key, digits too: something is being edited.
  var takesText: Bool { get }
  /// Digits are its own for the moment, and bring up no panes.
  func takesDigit(_ digit: Int, _ snapshot: SessionSnapshot) -> Bool
  /// Moves by rows, negative upwards (mouse wheel).
  func scroll(_ rows: Int, _ snapshot: SessionSnapshot)
  /// Moves to the next place that contains `text`, without regard to case; false if there is none.
  func find(_ text: String, backward: Bool, _ snapshot: SessionSnapshot) -> Bool
  /// How far `find` looks, where that is not everywhere: the end of the sentence that says nothing was found.
  var searchLimit: String { get }
  /// Goes to what the person typed after `g`; a sentence if that cannot be.
  func goTo(_ text: String, _ snapshot: SessionSnapshot) -> String?
  /// A click on a row of its content.
  func click(x: Int, y: Int, _ snapshot: SessionSnapshot)
  /// The session stopped somewhere new.
  func stopped(_ snapshot: SessionSnapshot)
  /// What is under the pane's cursor or selection, for `?`; nil lets the console take the word on the screen.
  func subject(_ snapshot: SessionSnapshot) -> ExplainSubject?
}

extension Pane {
  package var takesText: Bool { false }
  package func takesDigit(_ digit: Int, _ snapshot: SessionSnapshot) -> Bool { false }
  package func handle(_ key: Key, _ snapshot: SessionSnapshot) -> PaneResponse { .ignored }
  package func scroll(_ rows: Int, _ snapshot: SessionSnapshot) {}
  package func find(_ text: String, backward: Bool, _ snapshot: SessionSnapshot) -> Bool { false }
  package var searchLimit: String { "" }
  package func goTo(_ text: String, _ snapshot: SessionSnapshot) -> String? { "this pane has nowhere to go to" }
  package func click(x: Int, y: Int, _ snapshot: SessionSnapshot) {}
  package func stopped(_ snapshot: SessionSnapshot) {}
  package func subject(_ snapshot: SessionSnapshot) -> ExplainSubject? { nil }
}
