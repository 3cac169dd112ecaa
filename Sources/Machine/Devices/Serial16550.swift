import VMCore

/// A 16550A UART (National Semiconductor PC16550D data sheet) with the PC's OUT2 gate on its interrupt.
///
/// The transmitter is instant: a byte written is on its way at once and THR is empty again. Received
/// bytes wait in an unbounded queue and enter the FIFO as the guest makes room.
package final class Serial16550: TimedDevice {
  package let name = "uart16550"
  private let context: DeviceContext
  private let line: InterruptLine
  private let transmit: (UInt8) -> Void

  private var ier: UInt8 = 0
  private var lcr: UInt8 = 0
  private var mcr: UInt8 = 0
  /// The error bits of LSR (overrun, parity, framing, break) that wait to be read.
  private var lineErrors: UInt8 = 0
  /// MSR bits 3:0: what changed since the last read.
  private var modemDelta: UInt8 = 0
  private var scratch: UInt8 = 0
  private var divisor: UInt16 = 1
  private var fcr: UInt8 = 0
  private var fifo: [UInt8] = []
  /// Bytes from outside that wait for room.
  private var queue: [UInt8] = []
  /// The THR-empty interrupt waits to be read in IIR.
  private var threPending = false
  private var timeoutPending = false
  package private(set) var deadline = Deadline.never { didSet { context.timersChanged = true } }

  private static let fifoEnabled: UInt8 = 0x01
  private static let loopback: UInt8 = 0x10
  private static let out2: UInt8 = 0x08
  private static let overrun: UInt8 = 0x02
  private static let dataReady: UInt8 = 0x01
  /// THR and shift register empty.
  private static let transmitterEmpty: UInt8 = 0x60
  /// CTS, DSR and DCD up: somebody is connected.
  private static let connected: UInt8 = 0xB0

  /// `transmit` takes each byte that leaves the transmitter.
  package init(context: DeviceContext, line: InterruptLine, transmit: @escaping (UInt8) -> Void) {
    self.context = context
    self.line = line
    self.transmit = transmit
  }

  // MARK: Receiver

  private var usesFIFO: Bool { fcr & Self.fifoEnabled != 0 }
  private var depth: Int { usesFIFO ? 16 : 1 }
  private var trigger: Int { usesFIFO ? [1, 4, 8, 14][Int(fcr >> 6)] : 1 }
  private var isLoopback: Bool { mcr & Self.loopback != 0 }

  /// Bytes from outside, for the guest to read.
  package func receive(_ bytes: [UInt8]) {
    queue.append(contentsOf: bytes)
    refill()
    update()
  }

  /// Moves waiting bytes into the receiver. In loopback mode the line is cut off.
  private func refill() {
    guard !isLoopback, !queue.isEmpty, fifo.count < depth else { return }
    let count = min(depth - fifo.count, queue.count)
    fifo.append(contentsOf: queue.prefix(count))
    queue.removeFirst(count)
    restartTimeout()
  }

  /// Time in ns of one character: start, data, parity and stop bits at the programmed rate.
  private var characterTime: UInt64 {
    let data = UInt64(lcr & 3) + 5
    let parity: UInt64 = lcr & 0x08 != 0 ? 1 : 0
    let stop: UInt64 = lcr & 0x04 != 0 ? 2 : 1
    let bits = 1 + data + parity + stop
    return bits * UInt64(max(divisor, 1)) * 16 * 1_000_000_000 / 1_843_200
  }

  /// Below the trigger level, bytes nobody reads interrupt after four character times.
  private func restartTimeout() {
    timeoutPending = false
    let waits = usesFIFO && !fifo.isEmpty && fifo.count < trigger && ier & 1 != 0
    deadline = waits ? Deadline.after(context.now, 4 * characterTime) : Deadline.never
  }

  package func fire(upTo time: UInt64) {
    guard deadline <= time else { return }
    deadline = Deadline.never
    timeoutPending = true
    update()
  }

  private func readByte() -> UInt8 {
    guard !fifo.isEmpty else { return 0 }
    let byte = fifo.removeFirst()
    refill()
    restartTimeout()
    update()
    return byte
  }

  private func loopBack(_ byte: UInt8) {
    if fifo.count < depth {
      fifo.append(byte)
      restartTimeout()
    } else {
      lineErrors |= Self.overrun
      if !usesFIFO { fifo = [byte] }
    }
  }

  // MARK: Interrupts

  /// IIR without the FIFO bits, by priority (data sheet, table III).
  private var cause: UInt8 {
    if ier & 0x04 != 0, lineErrors != 0 { return 0x06 }
    if ier & 0x01 != 0, fifo.count >= trigger { return 0x04 }
    if ier & 0x01 != 0, timeoutPending { return 0x0C }
    if ier & 0x02 != 0, threPending { return 0x02 }
    if ier & 0x08 != 0, modemDelta != 0 { return 0x00 }
    return 0x01
  }

  private func update() {
    // In loopback the OUT2 pin is inactive and the PC's gate closed.
    line.set(cause != 0x01 && mcr & Self.out2 != 0 && !isLoopback)
  }

  // MARK: Registers

  private var hasDivisorLatch: Bool { lcr & 0x80 != 0 }

  private var modemStatus: UInt8 {
    guard isLoopback else { return Self.connected }
    let dtr = mcr & 0x01 != 0 ? 0x20 : 0
    let rts = mcr & 0x02 != 0 ? 0x10 : 0
    let out1 = mcr & 0x04 != 0 ? 0x40 : 0
    let out2 = mcr & 0x08 != 0 ? 0x80 : 0
    return UInt8(dtr | rts | out1 | out2)
  }

  package func read(_ offset: UInt64, size: UInt8) -> UInt64 {
    switch offset {
    case 0: return UInt64(hasDivisorLatch ? UInt8(divisor & 0xFF) : readByte())
    case 1: return UInt64(hasDivisorLatch ? UInt8(divisor >> 8) : ier)
    case 2: return UInt64(readCause())
    case 3: return UInt64(lcr)
    case 4: return UInt64(mcr)
    case 5:
      let ready = fifo.isEmpty ? 0 : Self.dataReady
      let result = lineErrors | Self.transmitterEmpty | ready
      lineErrors = 0
      update()
      return UInt64(result)
    case 6:
      let result = modemStatus | modemDelta
      modemDelta = 0
      update()
      return UInt64(result)
    default: return UInt64(scratch)
    }
  }

  private func readCause() -> UInt8 {
    let result = cause
    if result == 0x02 {
      threPending = false
      update()
    }
    return result | (usesFIFO ? 0xC0 : 0)
  }

  package func write(_ offset: UInt64, size: UInt8, value: UInt64) {
    let byte = UInt8(truncatingIfNeeded: value)
    switch offset {
    case 0: hasDivisorLatch ? (divisor = divisor & 0xFF00 | UInt16(byte)) : send(byte)
    case 1: hasDivisorLatch ? (divisor = divisor & 0xFF | UInt16(byte) << 8) : enable(byte)
    case 2: controlFIFO(byte)
    case 3: lcr = byte
    case 4: controlModem(byte & 0x1F)
    // LSR is for factory tests, MSR only read.
    case 5, 6: break
    default: scratch = byte
    }
    update()
  }

  private func send(_ byte: UInt8) {
    if isLoopback { loopBack(byte) } else { transmit(byte) }
    threPending = true
  }

  private func enable(_ byte: UInt8) {
    let was = ier
    ier = byte & 0x0F
    // Enabling the THR-empty interrupt while THR is empty raises it at once.
    if ier & 0x02 != 0, was & 0x02 == 0 { threPending = true }
    if ier & 1 != was & 1 { restartTimeout() }
  }

  private func controlFIFO(_ byte: UInt8) {
    let switched = (byte ^ fcr) & Self.fifoEnabled != 0
    let clears = byte & Self.fifoEnabled != 0 && byte & 0x02 != 0
    if switched || clears { fifo.removeAll() }
    // The other bits are only taken with the FIFO on.
    fcr = byte & Self.fifoEnabled != 0 ? byte & 0xC9 : 0
    refill()
    restartTimeout()
  }

  private func controlModem(_ byte: UInt8) {
    let before = modemStatus
    mcr = byte
    let changed = before ^ modemStatus
    // Delta bits follow CTS, DSR and DCD; RI counts only when it goes away.
    var delta = changed >> 4 & 0x0B
    if changed & before & 0x40 != 0 { delta |= 0x04 }
    modemDelta |= delta
    refill()
  }

  package func registerName(_ offset: UInt64, write: Bool) -> String {
    switch offset {
    case 0: hasDivisorLatch ? "DLL" : write ? "THR" : "RBR"
    case 1: hasDivisorLatch ? "DLM" : "IER"
    case 2: write ? "FCR" : "IIR"
    case 3: "LCR"
    case 4: "MCR"
    case 5: "LSR"
    case 6: "MSR"
    default: "SCR"
    }
  }

  package func reset() {
    ier = 0
    lcr = 0
    mcr = 0
    lineErrors = 0
    modemDelta = 0
    scratch = 0
    divisor = 1
    fcr = 0
    fifo = []
    queue = []
    threPending = false
    timeoutPending = false
    deadline = Deadline.never
  }

  package func code(_ coder: inout StateCoder) {
    coder.code(&ier)
    coder.code(&lcr)
    coder.code(&mcr)
    coder.code(&lineErrors)
    coder.code(&modemDelta)
    coder.code(&scratch)
    coder.code(&divisor)
    coder.code(&fcr)
    coder.code(&fifo)
    coder.code(&queue)
    coder.code(&threPending)
    coder.code(&timeoutPending)
    coder.code(&deadline)
  }

  package var inspection: DeviceInspection {
    let rate = 115_200 / UInt32(max(divisor, 1))
    let parity = lcr & 0x08 == 0 ? "N" : lcr & 0x10 == 0 ? "O" : "E"
    return DeviceInspection(
      device: "16550A COM1",
      rows: [
        ("line", "\(rate) baud \((lcr & 3) + 5)\(parity)\(lcr & 4 == 0 ? 1 : 2)"), ("IER", bits(ier)),
        ("IIR", bits(cause | (usesFIFO ? 0xC0 : 0))), ("LCR", bits(lcr)), ("MCR", bits(mcr)),
        ("receive FIFO", "\(fifo.count) of \(depth), trigger \(trigger)"), ("waiting input", "\(queue.count)"),
        ("interrupt", line.level ? "1" : "0"),
      ])
  }
}
