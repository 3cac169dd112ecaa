/// The terminal's clipboard, as OSC 52 reaches it, also over ssh and through tmux.
package enum Clipboard {
  /// More than this is cut: terminals drop longer sequences.
  package static let limit = 4096

  /// What a terminal must be sent to take `text`. GNU screen hands on only what comes wrapped for it, in pieces of the
  /// length it keeps; tmux understands the sequence itself.
  package static func sequence(_ text: String, throughScreen: Bool = false) -> [UInt8] {
    let bytes = Array("\u{1B}]52;c;".utf8) + base64(Array(text.utf8.prefix(limit))) + [0x07]
    guard throughScreen else { return bytes }
    return stride(from: 0, to: bytes.count, by: screenPiece).flatMap { start in
      [0x1B, 0x50] + bytes[start..<min(start + screenPiece, bytes.count)] + [0x1B, 0x5C]
    }
  }

  /// GNU screen keeps 256 bytes of a string for the terminal (`MAXSTR`).
  private static let screenPiece = 240

  /// Whether GNU screen is between program and terminal: TERM is its, and it is not tmux that took the name.
  package static func goesThroughScreen(_ environment: [String: String]) -> Bool {
    guard environment["TMUX"]?.isEmpty ?? true else { return false }
    return environment["STY"]?.isEmpty == false || environment["TERM"]?.hasPrefix("screen") == true
  }

  private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

  /// RFC 4648 section 4.
  static func base64(_ bytes: [UInt8]) -> [UInt8] {
    var result: [UInt8] = []
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let group = bytes[start..<min(start + 3, bytes.count)]
      let word = group.enumerated().reduce(UInt32(0)) { $0 | UInt32($1.element) << UInt32(16 - 8 * $1.offset) }
      for place in 0..<4 {
        let sextet = Int(word >> UInt32(18 - 6 * place) & 63)
        result.append(place <= group.count ? alphabet[sextet] : UInt8(ascii: "="))
      }
    }
    return result
  }
}
