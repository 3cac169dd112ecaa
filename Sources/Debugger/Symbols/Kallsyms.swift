import VMCore

#if canImport(Glibc)
  import Glibc
#endif

/// The symbols a Linux kernel carries for itself, found in its image without any help from section headers or a
/// symbol table (Linux, kernel/kallsyms.c and scripts/kallsyms.c).
///
/// Names are packed: each is a length and so many bytes, each byte a token. The table of the 256 tokens is found by
/// the ten that stand for digits, and proved by the index behind it; what lies around it leads to the rest.
struct Kallsyms {
  private let image: UnsafeRawBufferPointer
  /// Offsets of the 256 tokens, and how long they are.
  private var tokens: [Int] = []
  private var tokenLengths: [Int] = []
  /// Where the token table begins, and where the index behind it ends.
  private var tokenTable = 0
  private var indexEnd = 0
  /// Names that may still be looked at before the search is given up.
  private var patience = 16 << 20

  /// Names that a kernel cannot do without: fewer are no kernel.
  private static let fewest = 100
  private static let tokenLimit = 512
  /// How far the names may lie before the tokens.
  private static let reach = 32 << 20
  /// Symbols between two markers.
  private static let stride = 256

  /// The symbols in `bytes`; empty where there are none to be found.
  static func symbols(in bytes: [UInt8]) -> [Symbol] {
    bytes.withUnsafeBytes { image in
      var reader = Kallsyms(image: image)
      guard reader.findTokens(), let names = reader.findNames() else { return [] }
      return reader.decode(names)
    }
  }

  private init(image: UnsafeRawBufferPointer) { self.image = image }

  // MARK: Tokens

  private mutating func findTokens() -> Bool {
    let digits: [UInt8] = Array("0\u{0}1\u{0}2\u{0}3\u{0}4\u{0}5\u{0}6\u{0}7\u{0}8\u{0}9\u{0}".utf8)
    var from = 0
    for _ in 0..<64 {
      guard let found = position(of: digits, from: from) else { return false }
      if takeTokens(digitsAt: found) { return true }
      from = found + 1
    }
    return false
  }

  /// Where `pattern` begins, looked for from `start` on by its first two bytes.
  private func position(of pattern: [UInt8], from start: Int) -> Int? {
    guard let base = image.baseAddress else { return nil }
    var at = start
    while at + pattern.count <= image.count,
      let found = memchr(base + at, Int32(pattern[0]), image.count - pattern.count - at + 1)
    {
      at = UnsafeRawPointer(found) - base
      if image[at + 1] == pattern[1], memcmp(base + at, pattern, pattern.count) == 0 { return at }
      at += 1
    }
    return nil
  }

  /// The token "0" lies at `digits`: 48 tokens are before it. True where the index behind them agrees.
  private mutating func takeTokens(digitsAt digits: Int) -> Bool {
    var start = digits
    for _ in 0..<0x30 {
      guard start > 1, let length = tokenLength(before: start - 1) else { return false }
      start -= length + 1
    }
    var offsets: [Int] = []
    var at = start
    for _ in 0..<256 {
      offsets.append(at)
      var end = at
      while end < image.count, end - at < Self.tokenLimit, image[end] != 0 { end += 1 }
      guard end < image.count, image[end] == 0 else { return false }
      at = end + 1
    }
    let index = aligned(at)
    guard index + 512 <= image.count else { return false }
    for (number, offset) in offsets.enumerated() where Int(u16(index + number * 2)) != offset - start { return false }
    tokens = offsets
    tokenLengths = zip(offsets, offsets.dropFirst() + [at]).map { $1 - $0 - 1 }
    tokenTable = start
    indexEnd = index + 512
    return true
  }

  /// The length of the token whose terminating zero is at `end`.
  private func tokenLength(before end: Int) -> Int? {
    var start = end
    while start > 0, image[start - 1] != 0 {
      start -= 1
      if end - start > Self.tokenLimit { return nil }
    }
    return end > start ? end - start : nil
  }

  // MARK: Names

  private struct Names {
    var start: Int
    var count: Int
  }

  /// Before the tokens lie the markers: where in the names each 256th begins. Each says how long the stretch of names
  /// before it is, which is checked against the names themselves.
  private mutating func findNames() -> Names? {
    let lowest = max(tokenTable - Self.reach, 0)
    var at = tokenTable & ~7
    var tries = 0
    while at > lowest + 16, tries < 256, patience > 0 {
      at -= 8
      guard u32(at) == 0, isStretch(u32(at + 4)) else { continue }
      let count = markerCount(at)
      guard count >= 2 else { continue }
      tries += 1
      if let names = findNames(markers: at, count: count) { return names }
    }
    return nil
  }

  private func isStretch(_ length: UInt32) -> Bool { length >= UInt32(Self.stride * 2) && length < UInt32(Self.stride * 512) }

  /// How many words from `start` on could be markers.
  private func markerCount(_ start: Int) -> Int {
    var count = 1
    while start + count * 4 + 4 <= image.count {
      let before = u32(start + count * 4 - 4)
      let value = u32(start + count * 4)
      guard value > before, isStretch(value - before) else { break }
      count += 1
    }
    return count
  }

  /// The names end where the markers begin; their number stands before them.
  private mutating func findNames(markers: Int, count: Int) -> Names? {
    let last = Int(u32(markers + (count - 1) * 4))
    var start = markers - last
    guard start > 8 else { return nil }
    start &= ~7
    let lowest = max(start - Self.stride * 512, 8)
    while start > lowest {
      let number = Int(u32(start - 8))
      let wanted = (number + Self.stride - 1) / Self.stride
      if number >= Self.fewest, number <= SymbolLoader.maximumCount, wanted <= count, wanted + 2 >= count,
        agree(names: start, number: number, markers: markers)
      {
        return Names(start: start, count: number)
      }
      start -= 8
    }
    return nil
  }

  /// Walks through all names: each 256th begins where its marker says.
  private mutating func agree(names: Int, number: Int, markers: Int) -> Bool {
    var at = names
    for index in 0..<number {
      if index % Self.stride == 0, at - names != Int(u32(markers + index / Self.stride * 4)) { return false }
      patience -= 1
      guard patience > 0, let (length, body) = nameLength(at), body + length <= markers else { return false }
      at = body + length
    }
    return true
  }

  /// The number of tokens of the name at `at`, and where they begin: one byte, or two where the first has bit 7.
  private func nameLength(_ at: Int) -> (length: Int, body: Int)? {
    guard at + 1 < image.count else { return nil }
    let first = Int(image[at])
    if first & 0x80 == 0 { return first == 0 ? nil : (first, at + 1) }
    return (first & 0x7F | Int(image[at + 1]) << 7, at + 2)
  }

  // MARK: Addresses

  /// Where the offsets lie and what they are relative to: before the names up to Linux 6.3, behind the tokens since.
  private func addresses(_ names: Names) -> (offsets: Int, base: UInt64)? {
    let size = aligned(names.count * 4)
    for (offsets, base) in [(names.start - 16 - size, names.start - 16), (indexEnd, indexEnd + size)] {
      guard offsets >= 0, base + 8 <= image.count else { continue }
      let value = u64(base)
      if value >> 47 == 0x1FFFF, value & 0xFFF == 0 { return (offsets, value) }
    }
    return nil
  }

  private func decode(_ names: Names) -> [Symbol] {
    guard let (offsets, base) = addresses(names) else { return [] }
    // Where symbols of per-CPU data are absolute, all others have negative offsets, less one.
    var negative = 0
    for index in 0..<names.count where Int32(bitPattern: u32(offsets + index * 4)) < 0 { negative += 1 }
    let hasAbsolute = negative * 2 > names.count
    var symbols: [Symbol] = []
    symbols.reserveCapacity(names.count)
    var at = names.start
    let text = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: Self.tokenLimit)
    defer { text.deallocate() }
    for index in 0..<names.count {
      guard let (length, body) = nameLength(at) else { break }
      at = body + length
      let offset = Int64(Int32(bitPattern: u32(offsets + index * 4)))
      if hasAbsolute, offset >= 0 { continue }
      let distance = hasAbsolute ? -1 - offset : offset & 0xFFFF_FFFF
      let size = expand(body..<at, into: text)
      guard size > 1, !Self.skippedTypes.contains(text[0]) else { continue }
      symbols.append(
        Symbol(
          name: String(decoding: UnsafeBufferPointer(rebasing: text[1..<size]), as: UTF8.self),
          address: base &+ UInt64(distance), size: 0, isData: Self.dataTypes.contains(text[0])))
    }
    return symbols
  }

  /// nm's letters: undefined and absolute; data, read-only data and zeroed data.
  private static let skippedTypes = Array("UuAaNw".utf8)
  private static let dataTypes = Array("BbDdGgRrSsVv".utf8)

  /// The bytes of these tokens, as far as they find room; gives how many.
  private func expand(_ range: Range<Int>, into text: UnsafeMutableBufferPointer<UInt8>) -> Int {
    guard let base = image.baseAddress, let start = text.baseAddress else { return 0 }
    var count = 0
    for place in range {
      let token = base + tokens[Int(image[place])]
      let length = min(tokenLengths[Int(image[place])], text.count - count)
      UnsafeMutableRawPointer(start + count).copyMemory(from: token, byteCount: length)
      count += length
    }
    return count
  }

  // MARK: Bytes

  private func aligned(_ value: Int) -> Int { (value + 7) & ~7 }
  private func u16(_ at: Int) -> UInt16 { UInt16(littleEndian: image.loadUnaligned(fromByteOffset: at, as: UInt16.self)) }
  private func u32(_ at: Int) -> UInt32 { UInt32(littleEndian: image.loadUnaligned(fromByteOffset: at, as: UInt32.self)) }
  private func u64(_ at: Int) -> UInt64 { UInt64(littleEndian: image.loadUnaligned(fromByteOffset: at, as: UInt64.self)) }
}
