/// PC keyboard scan codes of set 1, as the keyboard controller hands them out, and the characters of a
/// US keyboard.
package enum ScanCodes {
  package static let leftShift: UInt8 = 0x2A
  package static let rightShift: UInt8 = 0x36
  package static let control: UInt8 = 0x1D
  package static let alt: UInt8 = 0x38
  /// Set in the code that a key's release sends.
  package static let released: UInt8 = 0x80

  /// Characters by scan code from 0: plain and with Shift; 0 where the key has none.
  static let plain = table("\0\u{1B}1234567890-=\u{8}\tqwertyuiop[]\r\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ")
  static let shifted = table("\0\u{1B}!@#$%^&*()_+\u{8}\0QWERTYUIOP{}\r\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 ")

  private static func table(_ characters: String) -> [UInt8] { Array(characters.utf8) }

  /// The codes that typing an ASCII character sends, releases included; empty where no key has it.
  /// Line feed is Enter; 01h to 1Ah are Control with a letter where they are no key of their own.
  package static func typing(_ character: UInt8) -> [UInt8] {
    var wanted = character == 0x0A ? 0x0D : character
    if wanted == 0x7F { wanted = 0x08 }
    if wanted == 0 { return [] }
    if let code = plain.firstIndex(of: wanted) { return press(UInt8(code)) }
    if let code = shifted.firstIndex(of: wanted) { return press(UInt8(code), with: leftShift) }
    if wanted <= 0x1A, let code = plain.firstIndex(of: wanted | 0x60) { return press(UInt8(code), with: control) }
    return []
  }

  private static func press(_ code: UInt8, with modifier: UInt8? = nil) -> [UInt8] {
    guard let modifier else { return [code, code | released] }
    return [modifier, code, code | released, modifier | released]
  }
}
