import Debugger
import VMCore
import X86

/// The exit-information fields of a VMCS for one of our own guest's exits, put together by the processor's
/// own encoder when somebody looks (SDM 3C 28.2).
package struct ExitInformation {
  private let exit: VMExit
  private let instruction: DecodedInstruction?

  package init(_ exit: VMExit, _ instruction: DecodedInstruction?) {
    self.exit = exit
    self.instruction = instruction
  }

  package func put(into image: inout VMCSImage) {
    guard exit.reason.rawValue < 256 else { return }
    image[.exitReason] = UInt64(exit.reason.rawValue)
    image[.exitInstructionLength] = UInt64(exit.instructionLength)
    let report = QualificationReport(exit, instruction: instruction, portName: nil)
    switch exit.qualification {
    case .exception(let vector, let code, let linear):
      image[.exitInterruption] = report.word
      image[.exitErrorCode] = UInt64(code ?? 0)
      let isAddress = vector == Exception.pf.rawValue || vector == Exception.db.rawValue
      image[.exitQualification] = isAddress ? linear : 0
    case .externalInterrupt: image[.exitInterruption] = report.word
    case .mmio(let gpa, let linear, _, _, _):
      image[.exitQualification] = report.word
      image[.guestPhysicalAddress] = gpa.value
      image[.guestLinearAddress] = linear.value
    default: image[.exitQualification] = report.word
    }
    if exit.reason == .gdtrIdtrAccess || exit.reason == .ldtrTrAccess || isString, let instruction {
      let information = InstructionInformation(of: instruction.bytes, mode: instruction.mode, rip: exit.rip)
      image[.exitInstructionInformation] = UInt64(information.field)
      if !isString { image[.exitQualification] = information.displacement }
    }
  }

  private var isString: Bool {
    if case .io(_, _, _, true, _, _) = exit.qualification { return true }
    return false
  }
}

extension VMCSReport {
  var exitRows: [VMCSRow] {
    guard let last else { return [VMCSRow(ReportRow("no exit yet", .dim))] }
    var head = ReportRow("exit #\(last.sequence)  ", .exit)
    head.add("\(last.exit.reason.name.uppercased()) \(last.detail)", .plain)
    var because = ReportRow("why    ", .heading)
    because.add(why?.text ?? "", .exit)
    let reason = last.exit.reason
    let meaning = reason.rawValue < 256 ? "\(reason.rawValue): \(reason.name.uppercased())" : "Ringside's own reason: no VMCS has it"
    var rows = [VMCSRow(head), VMCSRow(because, why?.item), field(.exitReason, meaning), field(.exitQualification)]
    let report = QualificationReport(last.exit, instruction: snapshot.instruction(of: last), portName: nil)
    rows += report.rows.map { VMCSRow($0) }
    rows += [
      field(.exitInterruption, Self.interruption(image[.exitInterruption])), field(.exitErrorCode),
      field(.idtVectoring, "no event was being delivered"), field(.idtVectoringErrorCode), field(.exitInstructionLength),
      field(.exitInstructionInformation), field(.guestLinearAddress), field(.guestPhysicalAddress), field(.instructionError),
    ]
    return rows
  }
}

extension SessionSnapshot {
  /// The instruction of an exit, if memory still holds it.
  func instruction(of record: ExitRecord) -> DecodedInstruction? {
    let vcpu = Int(record.exit.vcpu)
    guard record.exit.instructionLength > 0, vcpus.indices.contains(vcpu) else { return nil }
    var state = vcpus[vcpu]
    if let before = record.states?.before {
      guard before.mode == state.mode else { return nil }
      state[.cs].base = before.csBase
    }
    let line = Disassembly(state: state, memory: memory, symbols: symbols).line(at: record.exit.rip)
    guard !line.isUnreadable, line.instruction.length == Int(record.exit.instructionLength) else { return nil }
    return line.instruction
  }
}
