import TerminalDriver

extension DrivenProgram {
  /// 2,400 random bytes, but none that quits, suspends or begins a command.
  func sendNoise(_ seed: UInt64) {
    var state = seed &* 0x9E37_79B9_7F4A_7C15
    for _ in 0..<60 {
      let bytes = (0..<40).map { _ -> UInt8 in
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        let byte = UInt8(truncatingIfNeeded: state >> 24)
        return byte == UInt8(ascii: "q") || byte == 0x1A || byte == UInt8(ascii: ":") ? 0x1B : byte
      }
      send(bytes)
      take(milliseconds: 5)
    }
  }
}
