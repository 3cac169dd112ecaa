import VMCore
import X86

/// The bit that caused an exit, as a recording holds it.
extension VMXCause {
  var coded: (kind: UInt8, number: UInt64, more: UInt64) {
    func bit(_ bit: VMXControlBit) -> UInt64 { UInt64(bit.field.rawValue) << 8 | UInt64(bit.bit) }
    return switch self {
    case .always: (0, 0, 0)
    case .control(let control): (1, bit(control), 0)
    case .controlOff(let control): (2, bit(control), 0)
    case .exceptionBitmap(let vector): (3, UInt64(vector), 0)
    case .ioBitmap(let port): (4, UInt64(port), 0)
    case .ioWrap: (5, 0, 0)
    case .msrBitmap(let index, let write): (6, UInt64(index), write ? 1 : 0)
    case .msrOutside(let index): (7, UInt64(index), 0)
    case .guestHostMask(let field, let bits): (8, UInt64(field.rawValue), bits)
    case .cr3Load: (9, 0, 0)
    case .debugger: (10, 0, 0)
    case .ept: (11, 0, 0)
    case .window: (12, 0, 0)
    case .policy(let operation): (13, UInt64(operation.rawValue), 0)
    }
  }

  /// Nil for what no recording of this format holds.
  init?(kind: UInt8, number: UInt64, more: UInt64) {
    let low = UInt32(truncatingIfNeeded: number)
    func bit() -> VMXControlBit? {
      VMCSField(rawValue: UInt32(truncatingIfNeeded: number >> 8)).map { VMXControlBit($0, UInt8(number & 31)) }
    }
    switch kind {
    case 0: self = .always
    case 1:
      guard let bit = bit() else { return nil }
      self = .control(bit)
    case 2:
      guard let bit = bit() else { return nil }
      self = .controlOff(bit)
    case 3: self = .exceptionBitmap(vector: UInt8(truncatingIfNeeded: number))
    case 4: self = .ioBitmap(port: UInt16(truncatingIfNeeded: number))
    case 5: self = .ioWrap
    case 6: self = .msrBitmap(index: low, write: more != 0)
    case 7: self = .msrOutside(index: low)
    case 8:
      guard let field = VMCSField(rawValue: low) else { return nil }
      self = .guestHostMask(field, bits: more)
    case 9: self = .cr3Load
    case 10: self = .debugger
    case 11: self = .ept
    case 12: self = .window
    case 13:
      guard let operation = SensitiveOperation(rawValue: UInt8(truncatingIfNeeded: number)) else { return nil }
      self = .policy(operation)
    default: return nil
    }
  }
}
