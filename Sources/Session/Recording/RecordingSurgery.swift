/// Changes what a recording says and packs it anew with right checksums: what a damaged disk does not do, but a
/// hostile hand can. For tests of the reader.
package enum RecordingSurgery {
  /// A recording with a few bytes of its unpacked chunks changed.
  package static func mutated(_ bytes: [UInt8], using random: inout some RandomNumberGenerator) -> [UInt8] {
    var result = Array(bytes.prefix(16))
    var rest = bytes.dropFirst(16)
    while rest.count > RecordingChunk.prefixSize {
      let words = (0..<8).map { word in
        (0..<4).reduce(UInt32(0)) { $0 | UInt32(rest[rest.startIndex + word * 4 + $1]) << UInt32($1 * 8) }
      }
      let stored = rest.dropFirst(RecordingChunk.prefixSize).prefix(Int(words[2]))
      guard let kind = RecordingChunk.Kind(rawValue: words[1]),
        var raw = RecordingChunk.unpacked(Array(stored), size: Int(words[3]))
      else { break }
      for _ in 0..<Int.random(in: 0...2, using: &random) where !raw.isEmpty {
        let at = Int.random(in: 0..<raw.count, using: &random)
        if Bool.random(using: &random) {
          raw[at] = UInt8.random(in: 0...255, using: &random)
        } else {
          raw.replaceSubrange(at..<min(at + 9, raw.count), with: [UInt8](repeating: 0xFF, count: Int.random(in: 0...12, using: &random)))
        }
      }
      result += RecordingChunk(kind: kind, events: words[4], exits: words[5], bytes: raw).packed() ?? []
      rest = rest.dropFirst(RecordingChunk.prefixSize + Int(words[2]))
    }
    return result
  }
}
