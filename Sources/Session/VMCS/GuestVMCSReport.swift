import Debugger
import VMCore
import X86

/// The VMCS that a guest monitor keeps for its own guest, field by field as its memory holds it. Nobody but
/// the guest changes it.
package struct GuestVMCSReport {
  private let region: GuestVMCS

  /// Nil where the current vCPU has no current VMCS.
  package init?(_ snapshot: SessionSnapshot) {
    let index = snapshot.currentVCPU
    guard snapshot.vcpus.indices.contains(index), let region = GuestVMCS(snapshot.vcpus[index], snapshot.memory) else {
      return nil
    }
    self.region = region
  }

  package var address: UInt64 { region.address }

  package func rows(_ area: VMCSArea) -> [VMCSRow] {
    switch area {
    case .guest: return fields(.guestState)
    case .host: return fields(.hostState)
    case .exit: return fields(.exitInformation)
    case .controls: return fields(.control)
    case .bitmaps: return bitmapRows
    }
  }

  private func fields(_ area: VMCSField.Area) -> [VMCSRow] {
    VMCSField.allCases.filter { $0.area == area }.flatMap { [field($0)] + bits($0) }
  }

  private func field(_ field: VMCSField) -> VMCSRow {
    var row = ReportRow()
    row.add(Hex.padded(UInt64(field.rawValue), 4) + " ", .dim)
    row.add(field.sdmName, width: 32, .plain)
    row.add(Hex.padded(region[field], field.bits / 4), width: 18, .value)
    row.add(words(field), .dim)
    return VMCSRow(row, .field(field))
  }

  private func bits(_ field: VMCSField) -> [VMCSRow] {
    VMXControlBit.all.filter { $0.field == field }.map { bit in
      let isOn = region[field] & bit.mask != 0
      var row = ReportRow(isOn ? "  [x] " : "  [ ] ", isOn ? .set : .clear)
      row.add("bit \(bit.bit)", width: 6, .dim)
      row.add(bit.name, isOn ? .set : .plain)
      return VMCSRow(row, .bit(bit))
    }
  }

  private func words(_ field: VMCSField) -> String {
    let value = region[field]
    let isRights = (VMCSField.access(0).rawValue...VMCSField.access(7).rawValue).contains(field.rawValue)
    if isRights { return VMCSReport.rights(value) }
    switch field {
    case .guestCR0, .hostCR0, .cr0Mask, .cr0Shadow: return RegisterDescription.setBits(value, CR0.bits)
    case .guestCR4, .hostCR4, .cr4Mask, .cr4Shadow: return RegisterDescription.setBits(value, CR4.bits)
    case .guestRFLAGS: return RegisterDescription.setBits(value, RFLAGS.bits)
    case .guestEFER, .hostEFER: return RegisterDescription.setBits(value, EFER.bits)
    case .guestActivity: return VMCSReport.activity(value)
    case .guestInterruptibility: return VMCSReport.blocking(value)
    case .entryInterruption, .exitInterruption, .idtVectoring: return VMCSReport.interruption(value)
    case .exitReason:
      let name = ExitReason(rawValue: UInt16(truncatingIfNeeded: value)).map { $0.name.uppercased() } ?? "unknown"
      return name + (value >> 31 & 1 != 0 ? ", failed entry" : "")
    case .instructionError:
      return VMInstructionError(rawValue: UInt32(truncatingIfNeeded: value))?.text ?? (value == 0 ? "none" : "unknown")
    default: return ""
    }
  }

  private var bitmapRows: [VMCSRow] {
    [VMCSField.ioBitmapA, .ioBitmapB, .msrBitmap].map { field in
      var row = field == .msrBitmap ? "MSR bitmaps" : field == .ioBitmapA ? "I/O bitmap A" : "I/O bitmap B"
      row += " at \(Hex.text(region[field])) of the guest's memory (Enter shows it)"
      return VMCSRow(ReportRow(row, target: .physical(region[field])), .field(field))
    } + [field(.exceptionBitmap)]
  }
}
