import VMCore

/// The keyboard at the far end of the cable: takes commands, gives answers and scan codes (IBM PS/2
/// technical reference, keyboards). Keys come in as set 1 and leave as set 2 where the guest switched
/// the controller's translation off.
struct PS2Keyboard: Equatable {
  /// Answers and keys in the order they go out, keys as set-1 codes.
  private var answers: [UInt8] = []
  private var keys: [UInt8] = []
  private var isScanning = true
  private var scanSet: UInt8 = 2
  private var leds: UInt8 = 0
  private var rate: UInt8 = 0x2B
  private var last: UInt8 = 0xFA
  /// The command that waits for its parameter, 0 for none.
  private var pending: UInt8 = 0
  /// An untranslated set-2 code still to send after a release prefix.
  private var second: UInt8 = 0

  private static let acknowledge: UInt8 = 0xFA
  /// The second byte of an MF2 keyboard's identity, and what the controller's translation makes of it.
  private static let identity: UInt8 = 0x83
  private static let translatedIdentity: UInt8 = 0x41
  /// Keys held for a guest that does not read them; more are lost, as in a keyboard's buffer.
  private static let capacity = 4096

  var waiting: Int { keys.count + answers.count }
  var hasKeys: Bool { !keys.isEmpty }

  mutating func press(_ scanCodes: [UInt8]) {
    guard isScanning else { return }
    keys.append(contentsOf: scanCodes.prefix(max(0, Self.capacity - keys.count)))
  }

  /// The next byte for the controller; `translated` as the controller's command byte says. With `holdsKeys`
  /// answers go out and keys wait.
  mutating func next(translated: Bool, holdsKeys: Bool) -> UInt8? {
    if !answers.isEmpty {
      last = answers.removeFirst()
      if translated, last == Self.identity { last = Self.translatedIdentity }
      return last
    }
    if second != 0 {
      defer { second = 0 }
      last = second
      return second
    }
    guard !keys.isEmpty, !holdsKeys else { return nil }
    let code = keys.removeFirst()
    last = translated || scanSet == 1 ? code : untranslated(code)
    return last
  }

  /// The first byte of the set-2 form of a set-1 code; a release is F0h and the code after it.
  private mutating func untranslated(_ code: UInt8) -> UInt8 {
    if code >= 0xE0 { return code }
    let make = Self.set2[Int(code & 0x7F)]
    guard code & 0x80 != 0 else { return make }
    second = make
    return 0xF0
  }

  mutating func command(_ byte: UInt8) {
    let command = pending
    pending = 0
    if command != 0, byte < 0xED {
      parameter(command, byte)
    } else {
      execute(byte)
    }
    // What a guest sends without ever reading answers must not pile up.
    if answers.count > 64 { answers.removeFirst(answers.count - 64) }
  }

  private mutating func parameter(_ command: UInt8, _ byte: UInt8) {
    answers.append(Self.acknowledge)
    switch command {
    case 0xED: leds = byte & 7
    case 0xF3: rate = byte & 0x7F
    case 0xF0:
      if byte == 0 { answers.append(scanSet) } else if byte <= 3 { scanSet = byte }
    default: break
    }
  }

  private mutating func execute(_ byte: UInt8) {
    switch byte {
    case 0xED, 0xF0, 0xF3:
      pending = byte
      answers.append(Self.acknowledge)
    case 0xEE: answers.append(0xEE)
    case 0xF2: answers.append(contentsOf: [Self.acknowledge, 0xAB, Self.identity])
    case 0xF4:
      isScanning = true
      answers.append(Self.acknowledge)
    case 0xF5, 0xF6:
      setDefaults()
      isScanning = byte == 0xF6
      answers.append(Self.acknowledge)
    case 0xF7...0xFD: answers.append(Self.acknowledge)
    case 0xFE: answers.append(last)
    case 0xFF:
      setDefaults()
      isScanning = true
      answers = [Self.acknowledge, 0xAA]
    // Not a command: resend.
    default: answers.append(0xFE)
    }
  }

  private mutating func setDefaults() {
    keys.removeAll()
    second = 0
    scanSet = 2
    rate = 0x2B
    leds = 0
  }

  mutating func code(_ coder: inout StateCoder) {
    coder.code(&answers)
    coder.code(&keys)
    coder.code(&isScanning)
    coder.code(&scanSet)
    coder.code(&leds)
    coder.code(&rate)
    coder.code(&last)
    coder.code(&pending)
    coder.code(&second)
  }

  /// Set-2 make code by set-1 make code; 00h where there is no key.
  private static let set2: [UInt8] = [
    0x00, 0x76, 0x16, 0x1E, 0x26, 0x25, 0x2E, 0x36, 0x3D, 0x3E, 0x46, 0x45, 0x4E, 0x55, 0x66, 0x0D,
    0x15, 0x1D, 0x24, 0x2D, 0x2C, 0x35, 0x3C, 0x43, 0x44, 0x4D, 0x54, 0x5B, 0x5A, 0x14, 0x1C, 0x1B,
    0x23, 0x2B, 0x34, 0x33, 0x3B, 0x42, 0x4B, 0x4C, 0x52, 0x0E, 0x12, 0x5D, 0x1A, 0x22, 0x21, 0x2A,
    0x32, 0x31, 0x3A, 0x41, 0x49, 0x4A, 0x59, 0x7C, 0x11, 0x29, 0x58, 0x05, 0x06, 0x04, 0x0C, 0x03,
    0x0B, 0x83, 0x0A, 0x01, 0x09, 0x77, 0x7E, 0x6C, 0x75, 0x7D, 0x7B, 0x6B, 0x73, 0x74, 0x79, 0x69,
    0x72, 0x7A, 0x70, 0x71, 0x84, 0x60, 0x61, 0x78, 0x07, 0x0F, 0x17, 0x1F, 0x27, 0x2F, 0x37, 0x3F,
    0x47, 0x4F, 0x56, 0x5E, 0x08, 0x10, 0x18, 0x20, 0x28, 0x30, 0x38, 0x40, 0x48, 0x50, 0x57, 0x6F,
    0x13, 0x19, 0x39, 0x51, 0x53, 0x5C, 0x5F, 0x62, 0x63, 0x64, 0x65, 0x67, 0x68, 0x6A, 0x6D, 0x6E,
  ]
}
