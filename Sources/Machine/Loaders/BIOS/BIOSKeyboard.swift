import VMCore
import X86

/// INT 09h turns scan codes into keys in the data area's buffer; INT 16h takes them out. A key is a word:
/// scan code, ASCII.
struct BIOSKeyboard {
  /// Bits of the flags at 40:17.
  private enum Shift {
    static let right: UInt8 = 0x01
    static let left: UInt8 = 0x02
    static let control: UInt8 = 0x04
    static let alt: UInt8 = 0x08
    static let scrollLock: UInt8 = 0x10
    static let numLock: UInt8 = 0x20
    static let capsLock: UInt8 = 0x40
    static let insert: UInt8 = 0x80
  }
  /// The last byte at 40:96 was E0h.
  private static let prefixed: UInt8 = 0x02

  let memory: GuestMemory

  // MARK: INT 16h

  func serve(_ call: BIOSCall) {
    switch call.ah {
    case 0x00, 0x10:
      let key = take() ?? 0
      call.ax = call.ah == 0 ? withoutPrefix(key) : key
    case 0x01, 0x11:
      let key = peek()
      call.setFlag(RFLAGS.zf, key == nil)
      if let key { call.ax = call.ah == 1 ? withoutPrefix(key) : key }
    case 0x02: call.al = memory.byte(BIOSData.shiftFlags)
    case 0x12:
      call.ax = BIOSCall.word(
        high: memory.byte(BIOSData.shiftFlags2), low: memory.byte(BIOSData.shiftFlags))
    case 0x05: call.al = put(call.cx) ? 0 : 1
    default: break
    }
  }

  /// Functions 00h and 01h know no E0h in the low byte.
  private func withoutPrefix(_ key: UInt16) -> UInt16 { key & 0xFF == 0xE0 && key >> 8 != 0 ? key & 0xFF00 : key }

  // MARK: The buffer

  /// Head and tail, put right if the guest has set them to something that is no place in the buffer.
  private var ends: (head: UInt16, tail: UInt16) {
    let head = memory.word(BIOSData.keyHead)
    let tail = memory.word(BIOSData.keyTail)
    let valid = [head, tail].allSatisfy { BIOSData.keyBuffer.contains($0) && $0 & 1 == 0 }
    if valid { return (head, tail) }
    let start = BIOSData.keyBuffer.lowerBound
    memory.store(GPA(BIOSData.keyHead), start)
    memory.store(GPA(BIOSData.keyTail), start)
    return (start, start)
  }

  private func after(_ place: UInt16) -> UInt16 {
    place + 2 < BIOSData.keyBuffer.upperBound ? place + 2 : BIOSData.keyBuffer.lowerBound
  }

  private func peek() -> UInt16? {
    let (head, tail) = ends
    return head == tail ? nil : memory.word(0x400 + UInt64(head))
  }

  private func take() -> UInt16? {
    guard let key = peek() else { return nil }
    memory.store(GPA(BIOSData.keyHead), after(ends.head))
    return key
  }

  /// False when the buffer is full; the key is lost.
  private func put(_ key: UInt16) -> Bool {
    let (head, tail) = ends
    let next = after(tail)
    guard next != head else { return false }
    memory.store(GPA(0x400 + UInt64(tail)), key)
    memory.store(GPA(BIOSData.keyTail), next)
    return true
  }

  /// A further key would be lost: INT 09h is the BIOS's own and the buffer is full.
  var isFull: Bool {
    let vector: UInt32? = memory.load(GPA(0x09 * 4))
    guard vector == UInt32(BIOSROM.segment) << 16 | UInt32(BIOSROM.handler(0x09)) else { return false }
    let tail = memory.word(BIOSData.keyTail)
    guard BIOSData.keyBuffer.contains(tail), tail & 1 == 0 else { return false }
    return after(tail) == memory.word(BIOSData.keyHead)
  }

  // MARK: INT 09h

  /// A byte from the keyboard, in AL.
  func receive(_ code: UInt8) {
    let flags = memory.byte(BIOSData.keyboardFlags)
    if code == 0xE0 {
      memory.store(GPA(BIOSData.keyboardFlags), flags | Self.prefixed)
      return
    }
    let isPrefixed = flags & Self.prefixed != 0
    if isPrefixed { memory.store(GPA(BIOSData.keyboardFlags), flags & ~Self.prefixed) }
    let key = code & ~ScanCodes.released
    let isReleased = code & ScanCodes.released != 0
    if changeShift(key, isReleased: isReleased, isPrefixed: isPrefixed) || isReleased { return }
    if let word = translate(key, isPrefixed: isPrefixed) { _ = put(word) }
  }

  /// True if the key is one that only changes the shift flags.
  private func changeShift(_ key: UInt8, isReleased: Bool, isPrefixed: Bool) -> Bool {
    let shift = memory.byte(BIOSData.shiftFlags)
    func hold(_ bit: UInt8) -> UInt8 { isReleased ? shift & ~bit : shift | bit }
    func toggle(_ bit: UInt8) -> UInt8 { isReleased ? shift : shift ^ bit }
    let new: UInt8
    switch key {
    // Grey keys send a shift of their own around themselves.
    case ScanCodes.leftShift where isPrefixed, ScanCodes.rightShift where isPrefixed: return true
    case ScanCodes.leftShift: new = hold(Shift.left)
    case ScanCodes.rightShift: new = hold(Shift.right)
    case ScanCodes.control: new = hold(Shift.control)
    case ScanCodes.alt: new = hold(Shift.alt)
    case 0x3A: new = toggle(Shift.capsLock)
    case 0x45: new = toggle(Shift.numLock)
    case 0x46: new = toggle(Shift.scrollLock)
    default: return false
    }
    memory.store(GPA(BIOSData.shiftFlags), new)
    return true
  }

  /// The word a pressed key puts into the buffer; nil for a key without one.
  private func translate(_ key: UInt8, isPrefixed: Bool) -> UInt16? {
    let shift = memory.byte(BIOSData.shiftFlags)
    let isShifted = shift & (Shift.left | Shift.right) != 0
    if isPrefixed { return greyKey(key) }
    switch key {
    case 0x3B...0x44: return functionKey(key, shift)
    case 0x57, 0x58: return BIOSCall.word(high: key + 0x2E, low: 0)
    case 0x47...0x53: return keypad(key, asNumber: (shift & Shift.numLock != 0) != isShifted)
    default: break
    }
    guard Int(key) < ScanCodes.plain.count else { return nil }
    if shift & Shift.alt != 0 { return alternate(key) }
    if shift & Shift.control != 0 { return controlled(key) }
    if key == 0x0F, isShifted { return 0x0F00 }
    let plain = ScanCodes.plain[Int(key)]
    let isLetter = plain >= 0x61 && plain <= 0x7A
    let useShifted = isShifted != (isLetter && shift & Shift.capsLock != 0)
    let character = useShifted ? ScanCodes.shifted[Int(key)] : plain
    return character == 0 ? nil : BIOSCall.word(high: key, low: character)
  }

  private func functionKey(_ key: UInt8, _ shift: UInt8) -> UInt16 {
    var code = key
    if shift & Shift.alt != 0 {
      code = key + 0x2D
    } else if shift & Shift.control != 0 {
      code = key + 0x23
    } else if shift & (Shift.left | Shift.right) != 0 {
      code = key + 0x19
    }
    return BIOSCall.word(high: code, low: 0)
  }

  /// Keys behind E0h: the keypad's Enter and slash, the arrows and their like.
  private func greyKey(_ key: UInt8) -> UInt16? {
    switch key {
    case 0x1C: 0xE00D
    case 0x35: 0xE02F
    case 0x47...0x53: BIOSCall.word(high: key, low: 0xE0)
    default: nil
    }
  }

  private static let keypadDigits = Array("789-456+1230.".utf8)
  private func keypad(_ key: UInt8, asNumber: Bool) -> UInt16 {
    let digit = Self.keypadDigits[Int(key - 0x47)]
    let isSign = key == 0x4A || key == 0x4E
    return BIOSCall.word(high: key, low: asNumber || isSign ? digit : 0)
  }

  private func alternate(_ key: UInt8) -> UInt16? {
    switch key {
    case 0x02...0x0D: BIOSCall.word(high: key + 0x76, low: 0)
    case 0x39: 0x3920
    default: BIOSCall.word(high: key, low: 0)
    }
  }

  private func controlled(_ key: UInt8) -> UInt16? {
    let plain = ScanCodes.plain[Int(key)]
    switch plain {
    case 0x61...0x7A, 0x5B...0x5D: return BIOSCall.word(high: key, low: plain & 0x1F)
    case 0x32: return 0x0300
    case 0x36: return 0x071E
    case 0x2D: return 0x0C1F
    case 0x08: return 0x0E7F
    case 0x09: return 0x9400
    case 0x0D: return 0x1C0A
    case 0x1B, 0x20: return BIOSCall.word(high: key, low: plain)
    default: return nil
    }
  }
}
