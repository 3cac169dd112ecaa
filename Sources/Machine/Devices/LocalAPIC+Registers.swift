import VMCore
import X86

/// The local APIC's registers (SDM 3A table 11-1 and, by MSR, table 11-6), numbered by their memory
/// offset divided by 16, which is their MSR less 800h.
extension LocalAPIC {
  private enum Register {
    static let id = 0x02
    static let version = 0x03
    static let taskPriority = 0x08
    static let arbitration = 0x09
    static let processorPriority = 0x0A
    static let eoi = 0x0B
    static let remoteRead = 0x0C
    static let logicalDestination = 0x0D
    static let destinationFormat = 0x0E
    static let spurious = 0x0F
    static let errorStatus = 0x28
    static let icrLow = 0x30
    static let icrHigh = 0x31
    static let lvtTimer = 0x32
    static let lvtError = 0x37
    static let initialCount = 0x38
    static let currentCount = 0x39
    static let divide = 0x3E
    static let selfIPI = 0x3F
  }

  /// Version 14h with six LVT entries.
  private static let version: UInt32 = 0x0005_0014
  /// Bits that can be written, in the order of `LVT`.
  private static let lvtBits: [UInt32] = [0x710FF, 0x107FF, 0x107FF, 0x1A7FF, 0x1A7FF, 0x100FF]

  // MARK: By memory

  package func read(_ offset: UInt64, size: UInt8) -> UInt64 {
    guard let value = value(Int(offset >> 4 & 0xFF)) else {
      report(ErrorBit.illegalRegister)
      return 0
    }
    // Only the first four of sixteen bytes hold the register.
    let byte = offset & 15
    return byte < 4 ? UInt64(value) >> (byte * 8) : 0
  }

  package func write(_ offset: UInt64, size: UInt8, value: UInt64) {
    // Narrower or unaligned writes are undefined; they do nothing here.
    guard size >= 4, offset & 15 == 0 else { return }
    let word = UInt32(truncatingIfNeeded: value)
    let register = Int(offset >> 4 & 0xFF)
    switch register {
    case Register.icrLow:
      icr = icr & ~0xFFFF_FFFF | UInt64(word & 0xCCFFF)
      sendIPI(UInt32(icr >> 56))
    case Register.icrHigh: icr = icr & 0xFFFF_FFFF | UInt64(word & 0xFF00_0000) << 32
    case Register.logicalDestination: logicalDestination = word & 0xFF00_0000
    case Register.destinationFormat: destinationFormat = word | 0x0FFF_FFFF
    default: if !set(register, word) { report(ErrorBit.illegalRegister) }
    }
  }

  package func registerName(_ offset: UInt64, write: Bool) -> String { Self.name(ofRegister: Int(offset >> 4 & 0xFF)) }

  package static func name(ofRegister register: Int) -> String {
    switch register {
    case Register.id: "ID"
    case Register.version: "version"
    case Register.taskPriority: "TPR"
    case Register.arbitration: "APR"
    case Register.processorPriority: "PPR"
    case Register.eoi: "EOI"
    case Register.remoteRead: "RRD"
    case Register.logicalDestination: "LDR"
    case Register.destinationFormat: "DFR"
    case Register.spurious: "SVR"
    case 0x10...0x17: "ISR\(register & 7)"
    case 0x18...0x1F: "TMR\(register & 7)"
    case 0x20...0x27: "IRR\(register & 7)"
    case Register.errorStatus: "ESR"
    case Register.icrLow: "ICR"
    case Register.icrHigh: "ICR high"
    case Register.lvtTimer...Register.lvtError:
      ["LVT timer", "LVT thermal", "LVT performance", "LVT LINT0", "LVT LINT1", "LVT error"][
        register - Register.lvtTimer]
    case Register.initialCount: "timer initial count"
    case Register.currentCount: "timer current count"
    case Register.divide: "timer divide"
    case Register.selfIPI: "self IPI"
    default: "reserved"
    }
  }

  /// What a register reads, in either mode; nil where there is none.
  private func value(_ register: Int) -> UInt32? {
    switch register {
    case Register.id: isX2APIC ? UInt32(index) : UInt32(index) << 24
    case Register.version: Self.version
    case Register.taskPriority: taskPriority
    case Register.arbitration, Register.processorPriority: processorPriority
    case Register.eoi, Register.remoteRead: 0
    case Register.logicalDestination: isX2APIC ? x2LogicalID : logicalDestination
    case Register.destinationFormat: destinationFormat
    case Register.spurious: spurious
    case 0x10...0x27: vectorRegister(register)
    case Register.errorStatus: latchedErrors
    case Register.icrLow: UInt32(truncatingIfNeeded: icr)
    case Register.icrHigh: UInt32(truncatingIfNeeded: icr >> 32)
    case Register.lvtTimer...Register.lvtError: lvt[register - Register.lvtTimer]
    case Register.initialCount: timer.initialCount
    case Register.currentCount: timer.currentCount(context.now, timerMode)
    case Register.divide: timer.divide
    default: nil
    }
  }

  /// Writes a register that is the same in both modes; false where there is none to write.
  private func set(_ register: Int, _ word: UInt32) -> Bool {
    switch register {
    case Register.taskPriority:
      taskPriority = word & 0xFF
      update()
    case Register.eoi: endOfInterrupt()
    case Register.spurious: setSpurious(word)
    case Register.errorStatus:
      latchedErrors = errors
      errors = 0
    case Register.lvtTimer...Register.lvtError:
      let entry = register - Register.lvtTimer
      setLVT(entry, word & Self.lvtBits[entry])
    case Register.initialCount: setInitialCount(word)
    case Register.divide:
      timer.setDivide(word, context.now, timerMode)
      scheduleTimer()
    // These can only be read; a write is ignored.
    case Register.id, Register.version, Register.arbitration, Register.processorPriority, 0x10...0x27,
      Register.remoteRead, Register.currentCount:
      return !isX2APIC
    default: return false
    }
    return true
  }

  private func setInitialCount(_ word: UInt32) {
    // In TSC-deadline mode the count is not used (SDM 3A 11.5.4.1).
    guard timerMode != .tscDeadline else { return }
    timer.setInitialCount(word, context.now)
    scheduleTimer()
    context.emit(.timer, a: TimerChannel.localAPIC + UInt32(index), b: timer.period)
  }

  /// Sends what ICR says (SDM 3A 11.6.1).
  private func sendIPI(_ destination: UInt32) {
    let low = UInt32(truncatingIfNeeded: icr)
    guard isSoftwareEnabled || low >> 8 & 7 >= 4, let mode = InterruptMessage.Mode(rawValue: UInt8(low >> 8 & 7))
    else { return }
    let vector = UInt8(low & 0xFF)
    if mode == .fixed || mode == .lowestPriority, vector < 16 {
      report(ErrorBit.sendIllegalVector)
      return
    }
    // INIT level de-assert only synchronizes arbitration ids, which nothing has any more.
    if mode == .initialize, low & 0xC000 == 0x8000 { return }
    let message = InterruptMessage(
      mode: mode, vector: vector, destination: destination, isLogical: low & 0x800 != 0, isLevel: false)
    bus.send(message, from: self, shorthand: low >> 18 & 3)
  }

  // MARK: By MSR

  /// RDMSR of one of the APIC's registers; nil = #GP(0).
  package func readMSR(_ index: UInt32) -> UInt64? {
    if index == MSR.apicBase { return base }
    if index == MSR.tscDeadline { return timerMode == .tscDeadline ? timer.tscDeadline : 0 }
    guard isX2APIC, index >= MSR.x2apicFirst, index <= MSR.x2apicLast else { return nil }
    let register = Int(index - MSR.x2apicFirst)
    switch register {
    case Register.icrLow: return icr
    case Register.icrHigh, Register.destinationFormat, Register.arbitration, Register.eoi, Register.remoteRead:
      return nil
    default: return value(register).map(UInt64.init)
    }
  }

  /// WRMSR to one of the APIC's registers; false = #GP(0). `tscOffset` is TSC minus virtual time,
  /// `physicalBits` the width of physical addresses.
  package func writeMSR(_ index: UInt32, _ value: UInt64, tscOffset: UInt64, physicalBits: UInt64) -> Bool {
    if index == MSR.apicBase { return setBase(value, physicalBits: physicalBits) }
    if index == MSR.tscDeadline {
      guard timerMode == .tscDeadline else { return true }
      timer.setTSCDeadline(value, offset: tscOffset, context.now)
      scheduleTimer()
      context.emit(.timer, a: TimerChannel.localAPIC + UInt32(self.index), b: 0)
      return true
    }
    guard isX2APIC, index >= MSR.x2apicFirst, index <= MSR.x2apicLast else { return false }
    return writeX2APIC(Int(index - MSR.x2apicFirst), value)
  }

  /// x2APIC mode checks reserved bits (SDM 3A 11.12.1.3).
  private func writeX2APIC(_ register: Int, _ value: UInt64) -> Bool {
    if register == Register.icrLow {
      guard value & 0xFFF3_2000 == 0 else { return false }
      icr = value
      sendIPI(UInt32(truncatingIfNeeded: value >> 32))
      return true
    }
    guard value >> 32 == 0, isAllowed(register, UInt32(truncatingIfNeeded: value)) else { return false }
    let word = UInt32(truncatingIfNeeded: value)
    if register == Register.selfIPI {
      let vector = UInt8(word & 0xFF)
      if vector < 16 { report(ErrorBit.sendIllegalVector) } else { request(vector, level: false) }
      return true
    }
    return set(register, word)
  }

  private func isAllowed(_ register: Int, _ word: UInt32) -> Bool {
    switch register {
    case Register.taskPriority, Register.selfIPI: word & ~0xFF == 0
    case Register.eoi, Register.errorStatus: word == 0
    case Register.spurious: word & ~0x3FF == 0
    case Register.divide: word & ~0x0B == 0
    case Register.lvtTimer...Register.lvtError: word & ~(Self.lvtBits[register - Register.lvtTimer] | 0x1000) == 0
    default: true
    }
  }

  /// IA32_APIC_BASE (SDM 3A 11.4.4, and the mode changes of figure 11-27).
  private func setBase(_ value: UInt64, physicalBits: UInt64) -> Bool {
    let width = min(max(physicalBits, 32), 52)
    let addressBits = (UInt64(1) << width &- 1) & ~0xFFF
    guard value & ~(addressBits | Base.enable | Base.x2APIC | Base.bootProcessor) == 0 else { return false }
    let enables = value & Base.enable != 0
    let extends = value & Base.x2APIC != 0
    // x2APIC mode is entered from xAPIC mode only and left to the disabled state only.
    if extends, !enables || !isEnabled { return false }
    if isX2APIC, enables, !extends { return false }
    if isEnabled, !enables { initialize() }
    base = value & ~Base.bootProcessor | (index == 0 ? Base.bootProcessor : 0)
    update()
    return true
  }
}
