import VMCore
import X86

/// A processor's local APIC (SDM 3A chapter 11), in xAPIC mode by memory and in x2APIC mode by MSR.
///
/// At power-on LINT0 of the first processor passes the PIC's interrupts, as firmware leaves it. Any
/// other reset (INIT, IA32_APIC_BASE) masks it. There is no thermal or performance interrupt source.
package final class LocalAPIC: TimedDevice {
  package let name: String
  package let index: Int
  let context: DeviceContext
  unowned let bus: APICBus

  /// IA32_APIC_BASE.
  var base: UInt64 = 0
  var taskPriority: UInt32 = 0
  var spurious: UInt32 = 0xFF
  var logicalDestination: UInt32 = 0
  var destinationFormat: UInt32 = .max
  /// ESR as last latched, and the errors since.
  var latchedErrors: UInt32 = 0
  var errors: UInt32 = 0
  var icr: UInt64 = 0
  /// In the order of `LVT`.
  var lvt = [UInt32](repeating: LocalAPIC.masked, count: 6)
  var timer = APICTimer() { didSet { context.timersChanged = true } }
  private var irr = VectorSet.none
  private var isr = VectorSet.none
  private var tmr = VectorSet.none
  private(set) var processorPriority: UInt32 = 0
  /// The vector to deliver next, nil while none is above the processor's priority.
  private(set) var candidate: Vector?

  enum LVT: Int { case timer, thermal, performance, lint0, lint1, error }
  static let masked: UInt32 = 1 << 16
  private static let extINT: UInt32 = 0x700
  private static let deliveryMode: UInt32 = 0x700
  private static let softwareEnable: UInt32 = 1 << 8
  enum Base {
    static let bootProcessor: UInt64 = 1 << 8
    static let x2APIC: UInt64 = 1 << 10
    static let enable: UInt64 = 1 << 11
    static let address: UInt64 = 0xFEE0_0000
  }
  /// ESR bits (SDM 3A figure 11-9).
  enum ErrorBit {
    static let sendIllegalVector: UInt32 = 1 << 5
    static let receiveIllegalVector: UInt32 = 1 << 6
    static let illegalRegister: UInt32 = 1 << 7
  }

  package init(index: Int, context: DeviceContext, bus: APICBus) {
    self.index = index
    self.context = context
    self.bus = bus
    name = "lapic"
    reset()
  }

  // MARK: State others ask for

  /// IA32_APIC_BASE.EN.
  package var isEnabled: Bool { base & Base.enable != 0 }
  package var isX2APIC: Bool { base & Base.x2APIC != 0 }
  package var isSoftwareEnabled: Bool { isEnabled && spurious & Self.softwareEnable != 0 }
  /// Where the registers are in memory; nil in x2APIC mode or when disabled.
  package var page: UInt64? { isEnabled && !isX2APIC ? base & ~0xFFF : nil }
  /// TPR bits 7:4, which CR8 shows.
  package var cr8: UInt64 { UInt64(taskPriority >> 4 & 15) }
  /// The PIC's interrupts pass: the APIC is off, or LINT0 is unmasked and says so.
  package var passesPIC: Bool {
    guard isEnabled else { return true }
    return lvt[LVT.lint0.rawValue] & (Self.masked | Self.deliveryMode) == Self.extINT
  }
  package var hasInterrupt: Bool { candidate != nil }
  var timerMode: APICTimer.Mode { APICTimer.Mode(rawValue: lvt[0] >> 17 & 3) ?? .reserved }

  func matches(_ message: InterruptMessage) -> Bool {
    guard isEnabled else { return false }
    let to = message.destination
    if to == .max || to == 0xFF && !isX2APIC { return true }
    if !message.isLogical { return to == UInt32(index) || to == 0xFF }
    if isX2APIC { return x2LogicalID >> 16 == to >> 16 && x2LogicalID & to & 0xFFFF != 0 }
    let own = logicalDestination >> 24
    if destinationFormat >> 28 == 0xF { return own & to != 0 }
    return own >> 4 == to >> 4 && own & to & 0xF != 0
  }

  var x2LogicalID: UInt32 { (UInt32(index) >> 4) << 16 | 1 << (UInt32(index) & 15) }

  // MARK: Interrupts

  /// A fixed interrupt arrives.
  func request(_ vector: Vector, level: Bool) {
    guard isSoftwareEnabled else { return }
    if vector < 16 {
      report(ErrorBit.receiveIllegalVector)
      return
    }
    irr[vector] = true
    tmr[vector] = level
    update()
  }

  func report(_ error: UInt32) {
    errors |= error
    let entry = lvt[LVT.error.rawValue]
    guard entry & Self.masked == 0, isSoftwareEnabled, entry & 0xFF >= 16 else { return }
    irr[UInt8(entry & 0xFF)] = true
    update()
  }

  /// PPR and the next vector (SDM 3A 11.8.3.1).
  func update() {
    let serving = UInt32(isr.highest ?? 0) & 0xF0
    processorPriority = taskPriority & 0xF0 >= serving ? taskPriority : serving
    candidate = nil
    guard isSoftwareEnabled, let vector = irr.highest else { return }
    if UInt32(vector & 0xF0) > processorPriority & 0xF0 { candidate = vector }
  }

  /// The processor takes the interrupt.
  package func acknowledge() -> Vector? {
    guard let vector = candidate else { return nil }
    irr[vector] = false
    isr[vector] = true
    update()
    return vector
  }

  func endOfInterrupt() {
    guard let vector = isr.highest else { return }
    isr[vector] = false
    update()
    context.emit(.eoi, a: UInt32(vector))
    if tmr[vector] { bus.onEOI?(vector) }
  }

  package func setCR8(_ value: UInt64) {
    taskPriority = UInt32(value & 15) << 4
    update()
  }

  /// A change on the LINT0 pin, where the PIC's output is wired. Level-triggered LINT0 is taken as edge.
  func lint0(_ level: Bool) {
    guard level, isEnabled else { return }
    let entry = lvt[LVT.lint0.rawValue]
    guard entry & Self.masked == 0 else { return }
    switch entry & Self.deliveryMode {
    case 0: request(UInt8(entry & 0xFF), level: false)
    case 0x400: context.request(.nmi(vcpu: index))
    default: break
    }
  }

  // MARK: Timer

  package var deadline: UInt64 { timer.deadline }

  package func fire(upTo time: UInt64) {
    guard timer.deadline <= time else { return }
    timer.expired(timerMode)
    let entry = lvt[LVT.timer.rawValue]
    if entry & Self.masked == 0 { request(UInt8(entry & 0xFF), level: false) }
    timer.schedule(time, timerMode, masked: entry & Self.masked != 0)
  }

  func scheduleTimer() {
    timer.schedule(context.now, timerMode, masked: lvt[LVT.timer.rawValue] & Self.masked != 0)
    // A TSC deadline in the past is due at once.
    fire(upTo: context.now)
  }

  // MARK: Reset

  package func reset() {
    base = Base.address | Base.enable | (index == 0 ? Base.bootProcessor : 0)
    initialize()
    if index == 0 { lvt[LVT.lint0.rawValue] = Self.extINT }
  }

  /// What INIT does to the registers (SDM 3A 11.4.7.3); the base stays.
  func initialize() {
    taskPriority = 0
    spurious = 0xFF
    logicalDestination = 0
    destinationFormat = .max
    latchedErrors = 0
    errors = 0
    icr = 0
    lvt = [UInt32](repeating: Self.masked, count: 6)
    timer = APICTimer()
    irr = .none
    isr = .none
    tmr = .none
    update()
  }

  /// SVR: switching the APIC off by software masks every local interrupt (SDM 3A 11.4.7.2).
  func setSpurious(_ value: UInt32) {
    spurious = value & 0x3FF
    if spurious & Self.softwareEnable == 0 {
      for entry in lvt.indices { lvt[entry] |= Self.masked }
      scheduleTimer()
    }
    update()
  }

  func setLVT(_ index: Int, _ value: UInt32) {
    let before = timerMode
    lvt[index] = spurious & Self.softwareEnable == 0 ? value | Self.masked : value
    guard index == LVT.timer.rawValue else { return }
    timer.change(from: before, to: timerMode, context.now)
    scheduleTimer()
  }

  func vectorRegister(_ register: Int) -> UInt32 {
    switch register >> 3 {
    case 2: isr.register(register & 7)
    case 3: tmr.register(register & 7)
    default: irr.register(register & 7)
    }
  }

  // MARK: Snapshot and display

  package func code(_ coder: inout StateCoder) {
    coder.code(&base)
    coder.code(&taskPriority)
    coder.code(&spurious)
    coder.code(&logicalDestination)
    coder.code(&destinationFormat)
    coder.code(&latchedErrors)
    coder.code(&errors)
    coder.code(&icr)
    coder.code(fixed: &lvt)
    timer.code(&coder)
    irr.code(&coder)
    isr.code(&coder)
    tmr.code(&coder)
    if coder.isRestoring { update() }
  }

  package var inspection: DeviceInspection {
    let state = !isEnabled ? "off" : isX2APIC ? "x2APIC" : "xAPIC at \(hex(base & ~0xFFF, digits: 8))"
    let count = timer.currentCount(context.now, timerMode)
    let entries = zip(["timer", "thermal", "performance", "LINT0", "LINT1", "error"], lvt)
    var rows: [(name: String, value: String)] = [
      ("mode", state), ("software enabled", yesNo(isSoftwareEnabled)), ("TPR", hex(UInt64(taskPriority))),
      ("PPR", hex(UInt64(processorPriority))), ("IRR", irr.text), ("ISR", isr.text), ("TMR", tmr.text),
      ("ICR", hex(icr, digits: 16)), ("ESR", hex(UInt64(latchedErrors))),
    ]
    for (name, value) in entries { rows.append(("LVT \(name)", hex(UInt64(value), digits: 5) + "  " + lvtText(value))) }
    let due = timer.deadline == Deadline.never ? "never" : "in \(timer.deadline &- min(context.now, timer.deadline)) ns"
    rows.append(("timer", "\(timerMode) initial \(timer.initialCount) current \(count) divide by \(timer.divisor), due \(due)"))
    rows.append(("next vector", candidate.map { hex(UInt64($0)) } ?? "none"))
    return DeviceInspection(
      device: "local APIC \(index)", rows: rows, role: .interruptController,
      bitmaps: [
        InspectionBitmap("IRR", bits: irr), InspectionBitmap("ISR", bits: isr),
        InspectionBitmap("TMR", bits: tmr),
      ])
  }

  /// A local vector table entry in words (SDM 3A figure 11-8).
  private func lvtText(_ entry: UInt32) -> String {
    let mode = InterruptMessage.Mode(rawValue: UInt8(entry >> 8 & 7)).map { "\($0)" } ?? "reserved"
    var words = ["vector \(hex(UInt64(entry & 0xFF)))", mode]
    if entry & (1 << 15) != 0 { words.append("level") }
    if entry & (1 << 12) != 0 { words.append("pending") }
    words.append(entry & Self.masked != 0 ? "masked" : "open")
    return words.joined(separator: " ")
  }
}
