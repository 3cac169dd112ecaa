import Debugger
import VMCore
import X86

/// One exit taken apart: instruction, reason and qualification in words, handler and what it did, registers
/// before and after, resume. What was not recorded is said to be unknown.
package struct ExitAnatomy {
  package let record: ExitRecord
  private let snapshot: SessionSnapshot
  private let previous: ExitRecord?
  private let code: CodeLine?
  /// Why there is no instruction to show.
  private let whyNoCode: String

  /// Nil where the snapshot does not hold an exit with this ordinal.
  package init?(_ ordinal: UInt64, in snapshot: SessionSnapshot) {
    guard let index = snapshot.exits.firstIndex(where: { $0.sequence == ordinal }) else { return nil }
    record = snapshot.exits[index]
    previous = index > 0 ? snapshot.exits[index - 1] : nil
    self.snapshot = snapshot
    (code, whyNoCode) = Self.instruction(snapshot.exits[index], snapshot)
  }

  private var exit: VMExit { record.exit }

  /// The guest stands at this exit: the monitor has not dealt with it.
  package var isOpen: Bool {
    guard record.answer == nil, record.sequence == snapshot.exits.last?.sequence else { return false }
    switch exit.reason {
    case .interruptWindow, .tripleFault, .unknown, .entryFailure: return false
    default: return true
    }
  }

  /// All of it. Headings begin at the margin.
  package var rows: [ReportRow] {
    head + instructionRows + reasonRows + qualificationRows + handlerRows + stateRows + resumeRows
  }

  // MARK: the instruction

  /// The code at the exit as memory holds it now, if it can still be the one that exited.
  private static func instruction(_ record: ExitRecord, _ snapshot: SessionSnapshot) -> (CodeLine?, String) {
    let vcpu = Int(record.exit.vcpu)
    guard record.exit.instructionLength > 0 else { return (nil, "none: the guest left between two instructions") }
    guard var state = snapshot.vcpus.indices.contains(vcpu) ? snapshot.vcpus[vcpu] : nil else { return (nil, "unknown") }
    if let before = record.states?.before {
      guard before.mode == state.mode else { return (nil, "unknown: the vCPU was in \(before.mode.name) then") }
      state[.cs].base = before.csBase
    }
    let line = Disassembly(state: state, memory: snapshot.memory, symbols: snapshot.symbols).line(at: record.exit.rip)
    if line.isUnreadable { return (nil, "unknown: its page is not mapped any more") }
    guard line.instruction.length == Int(record.exit.instructionLength) else {
      return (nil, "unknown: memory holds other code there now")
    }
    return (line, "")
  }

  private var place: String {
    guard let before = record.states?.before else { return record.place }
    switch before.mode {
    case .real16, .virtual8086: return "\(Hex.padded(UInt64(before.csSelector), 4)):\(Hex.padded(exit.rip, 4))"
    default: return Hex.padded(exit.rip, before.mode.codeBits / 4)
    }
  }

  private var after: String {
    snapshot.countsInstructions
      ? "after \(exit.instructionCount) instructions" : "instructions \(SessionSnapshot.notCounted)"
  }

  private var head: [ReportRow] {
    var row = ReportRow(target: .code(exit.rip))
    row.add("#\(record.sequence) ", .address)
    row.add("\(exit.reason.name.uppercased()) ", .exit)
    row.add("at \(place)", .address)
    if let name = snapshot.symbols.name(of: record.linear) {
      row.add(" <\(name)>", .symbol)
    }
    row.add("  vcpu \(exit.vcpu), \(after), t \(EventReport.time(record.time)) us", .dim)
    if let previous {
      row.add(", +\(EventReport.time(record.time &- min(previous.time, record.time))) us", .dim)
    }
    return [row]
  }

  private var instructionRows: [ReportRow] {
    var row = ReportRow("1 instruction    ", .heading)
    row.target = .code(exit.rip)
    guard let code else {
      row.add(whyNoCode, .dim)
      return [row]
    }
    row.add(code.bytesText + "  ", .dim)
    row.add(code.instruction.text, .code)
    let instruction = code.instruction
    guard instruction.sensitivity != .none else { return [row] }
    var why = ReportRow("                 ")
    why.add("\(instruction.sensitivity.name): \(instruction.sensitivityReason)", .dim)
    return [row, why]
  }

  // MARK: reason and qualification

  private var reasonRows: [ReportRow] {
    let number = exit.reason.rawValue
    var row = ReportRow("2 reason         ", .heading)
    row.add(number < 256 ? "SDM basic exit reason \(number): " : "Ringside's own reason \(number): ", .plain)
    row.add(Self.why(exit.reason), .plain)
    guard let cause = record.states?.cause else { return [row] }
    var why = ReportRow("  why            ")
    why.add(snapshot.vmcs.why(exit, cause).text, .exit)
    return [row, why]
  }

  /// What the reason means.
  package static func why(_ reason: ExitReason) -> String {
    switch reason {
    case .exception: "an exception or NMI whose bit is set in the exception bitmap"
    case .externalInterrupt: "an interrupt came while the guest ran"
    case .tripleFault: "a fault while delivering a double fault"
    case .initSignal: "an INIT signal"
    case .sipi: "a start-up interrupt"
    case .interruptWindow: "the guest can take an interrupt now, as the monitor asked to be told"
    case .nmiWindow: "the guest can take an NMI now"
    case .taskSwitch: "a task switch, which VMX leaves to the monitor"
    case .cpuid: "CPUID, which always exits"
    case .hlt: "HLT, as HLT exiting is on"
    case .invd: "INVD, which always exits"
    case .invlpg: "INVLPG, as INVLPG exiting is on"
    case .rdpmc: "RDPMC, as RDPMC exiting is on"
    case .rdtsc: "RDTSC, as RDTSC exiting is on"
    case .rdtscp: "RDTSCP, as RDTSC exiting is on"
    case .vmcall: "VMCALL, the guest's way to call its monitor"
    case .crAccess: "access to a control register the monitor watches"
    case .drAccess: "MOV to or from a debug register"
    case .io: "an I/O instruction on a port the monitor keeps"
    case .rdmsr: "RDMSR of a register the monitor keeps"
    case .wrmsr: "WRMSR to a register the monitor keeps"
    case .entryFailure: "the guest's state was refused at entry"
    case .mwait: "MWAIT"
    case .monitorTrap: "the monitor trap flag: one instruction was asked for"
    case .monitor: "MONITOR"
    case .pause: "PAUSE, as PAUSE exiting is on"
    case .gdtrIdtrAccess: "LGDT, LIDT, SGDT or SIDT, as descriptor-table exiting is on"
    case .ldtrTrAccess: "LLDT, LTR, SLDT or STR, as descriptor-table exiting is on"
    case .eptViolation: "access to a guest-physical address without memory behind it"
    case .wbinvd: "WBINVD, as WBINVD exiting is on"
    case .xsetbv: "XSETBV, which always exits"
    case .vmclear: "VMCLEAR, which exits in a guest of a guest"
    case .vmlaunch: "VMLAUNCH, which exits in a guest of a guest"
    case .vmptrld: "VMPTRLD, which exits in a guest of a guest"
    case .vmptrst: "VMPTRST, which exits in a guest of a guest"
    case .vmread: "VMREAD, which exits in a guest of a guest"
    case .vmresume: "VMRESUME, which exits in a guest of a guest"
    case .vmwrite: "VMWRITE, which exits in a guest of a guest"
    case .vmxoff: "VMXOFF, which exits in a guest of a guest"
    case .vmxon: "VMXON, which exits in a guest of a guest"
    case .invept: "INVEPT, which exits in a guest of a guest"
    case .invvpid: "INVVPID, which exits in a guest of a guest"
    case .entryMSRFailure: "an MSR of the entry's list could not be loaded"
    case .tprBelowThreshold: "CR8 went below the TPR threshold"
    case .eptMisconfiguration: "an EPT entry has a setting that is not allowed"
    case .preemptionTimer: "the VMX-preemption timer ran out"
    case .softwareInterrupt: "INT n, as software interrupts were asked for"
    case .debug: "a debugger's breakpoint, watch or step"
    case .budget: "the instruction budget ran out"
    case .kicked: "another thread wanted the vCPU back"
    case .callout: "a sensitive instruction, rewritten to call the monitor"
    case .unknownInstruction: "the engine has no such instruction; the guest gets #UD"
    case .syscall: "SYSCALL, which reaches the monitor where the guest has no ring 0"
    case .unknown: "the engine gave a reason nobody knows"
    }
  }

  private var qualificationRows: [ReportRow] {
    let report = QualificationReport(exit, instruction: code?.instruction, portName: namedPlace)
    var row = ReportRow("3 qualification  ", .heading)
    if !report.source.isEmpty {
      row.add(Hex.padded(report.word, 16), .value)
      row.add("  \(report.source)", .dim)
    } else {
      row.add("no word; the operands are", .dim)
    }
    return [row] + report.rows
  }

  /// The name in brackets of `out 3f8h (COM1 THR) <- ..`.
  private var namedPlace: String? {
    guard let open = record.detail.firstIndex(of: "("), let close = record.detail[open...].firstIndex(of: ")") else {
      return nil
    }
    return String(record.detail[record.detail.index(after: open)..<close])
  }

  // MARK: the handler

  private var handlerRows: [ReportRow] {
    var row = ReportRow("4 handler        ", .heading)
    row.add(record.handler.isEmpty ? "run control itself" : record.handler, record.handler.isEmpty ? .dim : .symbol)
    if record.cost > 0, !isOpen { row.add("  \(record.cost) ns", .value) }
    if isOpen {
      row.add("  not asked yet: the guest stands at the exit; s lets it be handled", .changed)
      return [row]
    }
    var rows = [row]
    var did = ReportRow("  answered       ")
    did.add(record.answer.map(answer) ?? "nothing: this exit wants no answer", record.answer == nil ? .dim : .value)
    rows.append(did)
    return rows + doings
  }

  /// The answer in words.
  private func answer(_ action: VMEntry.Action) -> String {
    switch action {
    case .resume: return "resume: the instruction starts again, or there was none"
    case .emulate: return "emulate: the engine carries the instruction out as the manual says"
    case .complete(let value): return isWrite ? "complete: the write is done" : "complete: what was read is \(Hex.text(value))"
    case .skip: return "skip: the monitor did all of it"
    case .retire(let rip): return "retire: the monitor did all of it, and the guest goes on at \(Hex.text(rip))"
    case .fault(let vector, _): return "fault: the instruction raises \(ExitDescription.vectorName(vector)) instead"
    }
  }

  private var isWrite: Bool {
    switch exit.qualification {
    case .io(_, _, let write, _, _, _), .mmio(_, _, _, let write, _), .msr(_, let write, _): write
    case .cr(_, let access, _, _), .dr(_, let access, _, _): access != .read
    default: false
    }
  }

  /// The events between exit and answer: what the handler did besides answering.
  private var doings: [ReportRow] {
    guard let end = record.answerEvent else { return [] }
    guard let first = snapshot.events.first?.sequence, first <= record.event else {
      return [ReportRow("  did            unknown: its events are no longer kept", .dim)]
    }
    let report = EventReport(snapshot)
    let events = snapshot.events.filter { $0.sequence > record.event && $0.sequence < end }
    return events.prefix(12).map { event in
      var row = ReportRow("  did            ")
      row.add(report.words(event), .plain)
      return row
    } + (events.count > 12 ? [ReportRow("  did            and \(events.count - 12) more", .dim)] : [])
  }

  // MARK: before and after

  private var stateRows: [ReportRow] {
    var row = ReportRow("5 state          ", .heading)
    guard let states = record.states else {
      row.add("unknown: the registers around this exit were not recorded", .dim)
      return [row]
    }
    guard let after = states.after else {
      row.add(isOpen ? "before the instruction" : "before; after is \(whyNoAfter)", .dim)
      return [row] + Self.registers(states.before)
    }
    let changes = Self.changes(states.before, after)
    row.add("before", width: 18, .dim)
    row.add("after", .dim)
    let isPlain = GPR.allCases.allSatisfy { states.before[$0] == after[$0] }
    let note = isPlain ? [ReportRow("  no general-purpose register changed", .dim)] : []
    return [row] + changes + memoryRows(states.before) + note
  }

  private var whyNoAfter: String {
    switch record.answer {
    case .resume: "the same: the instruction starts again, or there was none"
    case nil: "unknown: nothing answered this exit"
    default: "unknown: the guest ran on at full speed (step or use e to have it recorded)"
    }
  }

  private static func registers(_ capture: RegisterCapture) -> [ReportRow] {
    let digits = capture.mode == .long64 ? 16 : 8
    let shown = capture.mode == .long64 ? GPR.allCases : Array(GPR.allCases.prefix(8))
    return stride(from: 0, to: shown.count, by: 4).map { start in
      var row = ReportRow("  ")
      for gpr in shown[start..<min(start + 4, shown.count)] {
        row.add(gpr.name, width: 3, .dim)
        row.add(Hex.padded(capture[gpr], digits) + "  ", .value)
      }
      return row
    }
  }

  /// RIP always, then each register that differs.
  static func changes(_ before: RegisterCapture, _ after: RegisterCapture) -> [ReportRow] {
    let digits = before.mode == .long64 || after.mode == .long64 ? 16 : 8
    func change(_ name: String, _ old: UInt64, _ new: UInt64, _ note: String = "") -> ReportRow {
      var row = ReportRow("  ")
      row.add(name, width: 14, .plain)
      row.add(Hex.padded(old, digits) + Column.left("", 18 - digits), .value)
      row.add(Hex.padded(new, digits), old == new ? .value : .changed)
      row.add(note.isEmpty ? "" : "  \(note)", .dim)
      return row
    }
    let distance = Int64(bitPattern: after.rip &- before.rip)
    var rows = [change("rip", before.rip, after.rip, distance >= 0 ? "+\(distance)" : "\(distance)")]
    for gpr in GPR.allCases where before[gpr] != after[gpr] { rows.append(change(gpr.name, before[gpr], after[gpr])) }
    if before.rflags != after.rflags {
      let changed = RFLAGS.bits.filter { (before.rflags ^ after.rflags) >> UInt64($0.bit) & 1 != 0 }
      rows.append(change("rflags", before.rflags, after.rflags, changed.map { $0.name.uppercased() }.joined(separator: " ")))
    }
    if before.csSelector != after.csSelector {
      rows.append(change("cs", UInt64(before.csSelector), UInt64(after.csSelector)))
    }
    if before.mode != after.mode { rows.append(ReportRow("  mode \(before.mode.name) -> \(after.mode.name)", .changed)) }
    return rows
  }

  /// What an exit changed in a few words: `rip+2 rax rbx`; `?` where that is not known.
  package static func change(_ record: ExitRecord) -> String {
    guard let states = record.states, let after = states.after else { return "?" }
    let distance = Int64(bitPattern: after.rip &- states.before.rip)
    let registers = GPR.allCases.filter { states.before[$0] != after[$0] }.map(\.name)
    let flags = states.before.rflags != after.rflags ? ["flags"] : []
    return (["rip\(distance >= 0 ? "+" : "")\(distance)"] + registers + flags).joined(separator: " ")
  }

  /// Memory the instruction writes by its encoding: where, not what stood there before.
  private func memoryRows(_ before: RegisterCapture) -> [ReportRow] {
    guard let code, snapshot.vcpus.indices.contains(Int(exit.vcpu)) else { return [] }
    var state = snapshot.vcpus[Int(exit.vcpu)]
    for gpr in GPR.allCases { state[gpr] = before[gpr] }
    let touches = NextTouch.all(of: code.instruction, state: state, memory: snapshot.memory)
    return touches.filter { $0.operand.writes && !$0.operand.isPush }.map { touch in
      var row = ReportRow("  memory         ")
      row.target = .linear(touch.linear.value)
      let digits = max(touch.operand.addressBits / 4, 4)
      row.add("\(touch.size) byte\(touch.size == 1 ? "" : "s") at ", .plain)
      row.add("\(touch.operand.segment.name):\(Hex.padded(touch.offset, digits))", .address)
      let value = touch.value.map { "holds \(Hex.padded($0, min(max(touch.size, 1), 8) * 2)) now" }
      row.add("  \(value ?? "no memory: the device has it")", .dim)
      return row
    }
  }

  // MARK: resume

  private var resumeRows: [ReportRow] {
    var row = ReportRow("6 resume         ", .heading)
    if isOpen {
      row.add("not yet", .dim)
      return [row]
    }
    guard let after = record.states?.after else {
      row.add(whyNoAfter, .dim)
      return [row] + injected
    }
    row.target = .code(after.rip)
    row.add("at \(Hex.padded(after.rip, after.mode.codeBits / 4))", .address)
    if let name = snapshot.symbols.name(of: after.linearRIP.value) { row.add(" <\(name)>", .symbol) }
    return [row] + injected
  }

  /// An interrupt or exception delivered between this exit and the next.
  private var injected: [ReportRow] {
    guard let end = record.answerEvent else { return [] }
    let next = snapshot.exits.first { $0.sequence == record.sequence + 1 }?.event ?? .max
    let report = EventReport(snapshot)
    let kinds: [EventKind] = [.interrupt, .exception]
    let events = snapshot.events.filter { $0.sequence > end && $0.sequence < next && kinds.contains($0.kind) }
    return events.prefix(3).map { event in
      var row = ReportRow("  then           ")
      row.add(report.words(event), .changed)
      return row
    }
  }
}
