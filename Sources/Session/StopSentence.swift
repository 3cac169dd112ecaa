import Debugger
import VMCore
import X86

extension StopReason {
  /// The number a stop event carries.
  var number: UInt32 {
    switch self {
    case .created: 0
    case .pause: 1
    case .step: 2
    case .breakpoint: 3
    case .exit: 4
    case .hypercall: 5
    case .interrupt: 6
    case .exception: 7
    case .tripleFault: 8
    case .unknownInstruction: 9
    case .haltedForGood: 10
    case .limit: 11
    case .shutdown: 12
    case .reset: 13
    case .guestExit: 14
    case .error: 15
    case .wentBack: 16
    case .entryFailed: 17
    }
  }

  /// By number: a word for JSON, and what an event says of it.
  private static let names: [(word: String, phrase: String)] = [
    ("created", "created"), ("pause", "paused"), ("step", "stepped"), ("breakpoint", "breakpoint"), ("exit", "exit"),
    ("hypercall", "hypercall"), ("interrupt", "interrupt"), ("exception", "exception"), ("triplefault", "triple fault"),
    ("badinsn", "unknown instruction"), ("halted", "halted"), ("limit", "limit"), ("shutdown", "shutdown"),
    ("reset", "reset"), ("exited", "guest exit"), ("error", "error"), ("back", "went back"),
    ("entryfailed", "entry failed"),
  ]

  /// A word for JSON.
  package var name: String { Int(number) < Self.names.count ? Self.names[Int(number)].word : "unknown" }

  /// What the event of a stop with this number says.
  static func phrase(_ number: UInt32) -> String {
    Int(number) < names.count ? names[Int(number)].phrase : "unknown"
  }

  /// The process status of a guest that ended so; nil where it can go on.
  package var endStatus: Int32? {
    switch self {
    case .shutdown, .reset, .haltedForGood: 0
    case .guestExit(let status): status
    case .tripleFault: 70
    default: nil
    }
  }
}

extension SessionCore {
  func place(_ state: VCPUState) -> String { StopAnswer.place(state, symbols) }

  /// One full sentence: why the session is where it is.
  func stopSentence() -> String {
    if let recordedSentence { return recordedSentence }
    let state = stoppedState
    let here = place(state) + (stopVCPU == control.current ? "" : " on vCPU \(stopVCPU)")
    switch stop {
    case .created:
      // What is long stands last: a short row may cut it.
      let parts = loaded.split(separator: ": ", maxSplits: 1)
      let details = parts.count > 1 ? ": \(parts[1])" : ""
      return "Loaded \(parts.first ?? ""), stopped before its first instruction at \(here)\(details)."
    case .pause: return "Paused at \(here)."
    case .step: return StopAnswer.stepped(here)
    case .wentBack:
      return "Back after \(control.retired) instructions, at \(here); registers, memory and devices are those of then."
    case .breakpoint(let number):
      let what = summary(control.breakpoints[number]).map { " (\($0.what))" } ?? ""
      return "Breakpoint \(number)\(what) at \(here)." + watchedValue(number)
    case .exit(let reason): return exitSentence(reason, here)
    case .hypercall(let number):
      let name = machine.words.hypercalls.first { $0.number == number }?.name ?? String(number)
      return "Hypercall \(name) about to be made at \(here)."
    case .interrupt(let vector):
      return "Interrupt \(String(vector, radix: 16))h about to be delivered at \(here)."
    case .exception(let vector):
      let meaning = Exception(rawValue: vector).map { " (\($0.meaning))" } ?? ""
      return "\(ExitDescription.vectorName(vector))\(meaning) about to be delivered at \(here)."
    case .tripleFault:
      return "Triple fault at \(here): delivering an exception failed, and so did the double fault after it."
    case .unknownInstruction: return "The engine has no such instruction at \(here)."
    case .haltedForGood:
      return state.rflags & RFLAGS.interruptEnable != 0
        ? "The guest waits in HLT at \(here) for an interrupt, and nothing is left that could bring one."
        : "The guest halted for good at \(here): HLT with interrupts off."
    case .limit: return "The limit of \(control.limit) instructions is reached at \(here)."
    case .shutdown: return "The guest shut down, at \(here)."
    case .reset: return "The guest asked for a reset, at \(here)."
    case .guestExit(let status): return "The guest ended with status \(status), at \(here)."
    case .entryFailed(let why): return "VM entry failed: \(why); nothing was executed, at \(here)."
    case .error(let text): return "Stopped at \(here): \(text)"
    }
  }

  /// What was loaded; of a guest given by its path the last part is enough here.
  private var loaded: String {
    let text = machine.loadDescription.isEmpty ? machine.name : machine.loadDescription
    guard text.hasPrefix("\(machine.path):"), let name = machine.path.split(separator: "/").last else { return text }
    return String(name + text.dropFirst(machine.path.count))
  }

  private func exitSentence(_ reason: ExitReason, _ here: String) -> String {
    guard let last = stream.exits.newest(1).first, last.event.exitReason == reason else {
      return "VM exit (\(reason.name)) at \(here)."
    }
    return "VM exit #\(last.ordinal) (\(reason.name)): \(describe.detail(of: last)), at \(here)."
  }

  /// What a watched place holds now.
  private func watchedValue(_ number: Int) -> String {
    guard case .data(let address, let length, _)? = control.breakpoints[number]?.cause, length <= 8 else { return "" }
    let view = AddressSpaceView(state: stoppedState, memory: machine.memory)
    guard let value = view.load(address, size: length.nonzeroBitCount == 1 ? Int(length) : 1) else { return "" }
    return " It holds \(Hex.text(value)) now."
  }

  /// The answer of every command that lets the guest run.
  func answerToStop() -> CommandResult {
    let state = currentState
    let vcpu = control.vcpus[control.current]
    let code = AddressSpaceView(state: state, memory: machine.memory).readable(
      state.linearRIP, count: InstructionDecoder.maximumLength, translate: recorded == nil ? vcpu.translate : nil)
    let answer = StopAnswer(
      stop: stop, sentence: stop == .step && recorded == nil ? nil : stopSentence(), state: state, code: code,
      symbols: symbols, actionOutput: actionOutput, vcpu: control.current,
      instructionCount: control.countsInstructions ? control.retired : nil, time: control.time,
      exitCount: stream.exitCount, displayed: displays.rows.isEmpty ? [] : displayed())
    actionOutput = []
    return CommandResult(deferred: { answer.words })
  }
}
