import Debugger
import VMCore
import X86

/// What is known after so many events of a recording: what a live session would show there.
struct RecordedMoment {
  /// Events taken in.
  var position: UInt64 = 0
  var tallies = EventTallies()
  var costs = ExitCosts()
  var states = ExitStateRing()
  var console = GuestConsole()
  var devices: [DeviceInspection] = []
  var screen: TextScreen?
  var breakpoints: [BreakpointSummary] = []
  /// The newest stop, and how many events had come by then.
  var stop: RecordedStop?
  var stopPosition: UInt64 = 0
  /// Stops so far.
  var stops = 0
  var note: String?
  var time: UInt64 = 0
  var retired: UInt64 = 0

  var exits: UInt64 { tallies.exits.total }

  /// Takes in what comes next.
  mutating func take(_ record: consuming Record) {
    switch record {
    case .event(let event):
      tallies.take(event)
      position += 1
      time = event.time
      if event.kind == .exit {
        costs.exitCount = tallies.exits.total
        retired = event.count
      }
    case .exit(let exit): take(exit)
    case .stop(let stop):
      self.stop = stop
      stopPosition = position
      stops += 1
      (time, retired) = (stop.time, stop.retired)
    case .console(let bytes): console.write(bytes)
    case .note(let text): note = text
    case .devices(let devices): self.devices = devices
    case .screen(let screen): self.screen = screen
    case .breakpoints(let breakpoints): self.breakpoints = breakpoints
    case .name, .page: break
    }
  }

  mutating func take(_ exit: RecordedExit) {
    guard exit.ordinal < exits else { return }
    if let around = exit.states { states.put(exit.ordinal, around) }
    if !exit.isOpen, exit.cost != 0 { costs.put(exit.cost, exit.reason, ordinal: exit.ordinal) }
  }

  /// The newest exit, if nothing but its own answer came after it.
  var currentExit: KeptExit? {
    guard exits > 0, let event = tallies.newest.newest(1).first else { return nil }
    let last = tallies.exits[exits - 1]
    return event.sequence == last.event.sequence || event.sequence == last.answerEvent ? last : nil
  }

  /// The moment is a stop.
  var isAtStop: Bool { stop != nil && stopPosition == position }

  /// Registers of all vCPUs as far as they are known: those of the last stop, with what was kept of the newest exit
  /// since.
  var vcpus: [VCPUState] {
    guard let stop else { return [] }
    var all = stop.states
    guard !isAtStop, exits > 0 else { return all }
    let last = tallies.exits[exits - 1]
    guard last.event.sequence >= stopPosition, Int(last.event.vcpu) < all.count else { return all }
    let index = Int(last.event.vcpu)
    guard let around = states[exits - 1] else {
      all[index].rip = last.event.rip
      if last.segment.base != 0 { (all[index][.cs].selector, all[index][.cs].base) = (last.segment.selector, last.segment.base) }
      return all
    }
    all[index].take(!last.isAnswered ? around.before : around.after ?? around.before)
    return all
  }
}

extension VCPUState {
  /// The registers of a capture over what was known before.
  mutating func take(_ capture: RegisterCapture) {
    for index in 0..<16 { gpr[index] = capture.gpr[index] }
    rip = capture.rip
    rflags = capture.rflags
    self[.cs].base = capture.csBase
    self[.cs].selector = capture.csSelector
    guard mode != capture.mode else { return }
    // The mode is known; of what makes it, only as much is changed as shows it.
    let isReal = capture.mode == .real16
    let isLong = [.long64, .compatibility16, .compatibility32].contains(capture.mode)
    let isBig = capture.mode == .protected32 || capture.mode == .compatibility32
    cr0 = isReal ? cr0 & ~CR0.pe : cr0 | CR0.pe
    efer = isLong ? efer | EFER.lma : efer & ~EFER.lma
    self[.cs].access &= ~0x6000
    self[.cs].access |= capture.mode == .long64 ? 0x2000 : isBig ? 0x4000 : 0
  }
}
