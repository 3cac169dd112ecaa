import VMCore

/// The 8042 keyboard controller with a keyboard behind it (IBM PS/2 technical reference), the reset
/// pulse, the A20 gate and the fast gate at port 92h. There is no mouse: the auxiliary port answers
/// nothing. A20 is remembered and shown; the address line itself is always on.
/// Offsets: 0 data (60h), 1 command and status (64h), 2 system control A (92h).
package final class PS2: Device {
  package let name = "ps2"
  private let context: DeviceContext
  private let line: InterruptLine
  private var keyboard = PS2Keyboard()
  /// Characters still to be typed.
  private var text: ArraySlice<UInt8> = []
  /// Whether keys wait, because a BIOS with a full buffer would lose them.
  var isHeld: () -> Bool = { false }
  /// The command byte: 0 IRQ1, 1 IRQ12, 2 system flag, 4 and 5 port disable, 6 translate.
  private var commandByte: UInt8 = 0x45
  /// P2: 0 not reset, 1 A20, 4 output buffer full.
  private var outputPort: UInt8 = 0xCF
  private var ram = [UInt8](repeating: 0, count: 32)
  /// The controller's own answers, which come before the keyboard's.
  private var answers: [UInt8] = []
  /// What stands in the output buffer, nil when it is empty.
  private var buffer: UInt8 = 0
  private var isFull = false
  /// The last write was a command (to 64h).
  private var lastWasCommand = false
  /// The command that waits for its byte at 60h, 0 for none.
  private var waiting: UInt8 = 0
  private var systemControl: UInt8 = 0x02

  private static let keyboardDisabled: UInt8 = 0x10
  private static let translates: UInt8 = 0x40

  package init(context: DeviceContext, line: InterruptLine) {
    self.context = context
    self.line = line
  }

  /// Keys from outside, as set-1 scan codes.
  package func press(_ scanCodes: [UInt8]) {
    keyboard.press(scanCodes)
    fill()
  }

  /// Text from outside: somebody types it on the keyboard, at the pace at which the guest takes keys. Characters
  /// without a key are left out.
  package func type(_ bytes: [UInt8]) {
    text.append(contentsOf: bytes)
    fill()
  }

  /// The guest has made room for keys: `isHeld` may have changed its mind.
  package func resume() { fill() }

  /// Types on, once the codes of the character before are gone.
  private func typeOn() {
    while !keyboard.hasKeys, let character = text.popFirst() { keyboard.press(ScanCodes.typing(character)) }
  }

  /// Puts the next byte into the output buffer when that is empty.
  private func fill() {
    typeOn()
    if !isFull {
      if !answers.isEmpty {
        buffer = answers.removeFirst()
        isFull = true
      } else if commandByte & Self.keyboardDisabled == 0,
        let byte = keyboard.next(translated: commandByte & Self.translates != 0, holdsKeys: isHeld())
      {
        buffer = byte
        isFull = true
      }
    }
    line.set(isFull && commandByte & 1 != 0)
  }

  // MARK: Registers

  package func read(_ offset: UInt64, size: UInt8) -> UInt64 {
    switch offset {
    case 0:
      let result = buffer
      if isFull {
        isFull = false
        // The line falls with the read, so that a further byte is a new edge.
        line.set(false)
        fill()
      }
      return UInt64(result)
    case 1:
      let system = commandByte & 0x04
      return UInt64((isFull ? 0x01 : 0) | system | (lastWasCommand ? 0x08 : 0) | 0x10)
    default: return UInt64(systemControl & ~0x02 | (outputPort & 0x02))
    }
  }

  package func write(_ offset: UInt64, size: UInt8, value: UInt64) {
    let byte = UInt8(truncatingIfNeeded: value)
    switch offset {
    case 0:
      lastWasCommand = false
      writeData(byte)
    case 1:
      lastWasCommand = true
      writeCommand(byte)
    default:
      // INIT_NOW resets as it goes from 0 to 1.
      if byte & 1 != 0, systemControl & 1 == 0 { context.request(.reset) }
      systemControl = byte & 0xFE
      outputPort = outputPort & ~0x02 | byte & 0x02
    }
    fill()
  }

  private func writeCommand(_ byte: UInt8) {
    waiting = 0
    switch byte {
    case 0x20: answers.append(commandByte)
    case 0x21...0x3F: answers.append(ram[Int(byte & 31)])
    case 0x60...0x7F, 0xD1, 0xD2, 0xD3, 0xD4: waiting = byte
    case 0xA7: commandByte |= 0x20
    case 0xA8: commandByte &= ~0x20
    // Nothing on the auxiliary port: its clock line is stuck low.
    case 0xA9: answers.append(0x01)
    case 0xAA:
      commandByte |= 0x04
      answers.append(0x55)
    case 0xAB: answers.append(0x00)
    case 0xAD: commandByte |= Self.keyboardDisabled
    case 0xAE: commandByte &= ~Self.keyboardDisabled
    // P1: keyboard not locked, colour display.
    case 0xC0: answers.append(0xA0)
    case 0xD0: answers.append(outputPort & 0xEF | (isFull ? 0x10 : 0))
    case 0xDD: outputPort &= ~0x02
    case 0xDF: outputPort |= 0x02
    case 0xE0: answers.append(0x00)
    // Pulse output lines: bit 0 low is the processor's reset.
    case 0xF0...0xFF: if byte & 1 == 0 { context.request(.reset) }
    default: break
    }
  }

  private func writeData(_ byte: UInt8) {
    let command = waiting
    waiting = 0
    switch command {
    case 0:
      // A byte to the keyboard switches its port on again.
      commandByte &= ~Self.keyboardDisabled
      keyboard.command(byte)
    case 0x60: commandByte = byte & 0x7F
    case 0x61...0x7F: ram[Int(command & 31)] = byte
    case 0xD1:
      if byte & 1 == 0 { context.request(.reset) }
      outputPort = byte | 1
    case 0xD2, 0xD3: answers.append(byte)
    default: break
    }
    // What a guest sends without ever reading answers must not pile up.
    if answers.count > 64 { answers.removeFirst(answers.count - 64) }
  }

  package func registerName(_ offset: UInt64, write: Bool) -> String {
    switch offset {
    case 0: "data"
    case 1: write ? "command" : "status"
    default: "system control A"
    }
  }

  package func reset() {
    keyboard = PS2Keyboard()
    text = []
    commandByte = 0x45
    outputPort = 0xCF
    ram = [UInt8](repeating: 0, count: 32)
    answers = []
    buffer = 0
    isFull = false
    lastWasCommand = false
    waiting = 0
    systemControl = 0x02
  }

  package func code(_ coder: inout StateCoder) {
    keyboard.code(&coder)
    var characters = Array(text)
    coder.code(&characters)
    text = characters[...]
    coder.code(&commandByte)
    coder.code(&outputPort)
    coder.code(fixed: &ram)
    coder.code(&answers)
    coder.code(&buffer)
    coder.code(&isFull)
    coder.code(&lastWasCommand)
    coder.code(&waiting)
    coder.code(&systemControl)
  }

  package var inspection: DeviceInspection {
    DeviceInspection(
      device: "PS/2 8042",
      rows: [
        ("command byte", bits(commandByte)), ("output port", bits(outputPort)),
        ("output buffer", isFull ? hex(UInt64(buffer)) : "empty"), ("keys waiting", "\(keyboard.waiting)"),
        ("text waiting", "\(text.count)"),
        ("A20", outputPort & 2 != 0 ? "on" : "off (ignored)"),
      ])
  }
}
