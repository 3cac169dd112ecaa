import TerminalUI
import Testing

struct KeyDecoderTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var input: String
    var events: [InputEvent]
    var testDescription: String { input.debugDescription }
    init(_ input: String, _ keys: Key...) {
      self.input = input
      events = keys.map { .key($0) }
    }
    init(_ input: String, event: InputEvent) {
      self.input = input
      events = [event]
    }
  }

  static let cases: [Case] = [
    Case("a", Key("a")), Case("A", Key("A")), Case("é", Key("é")), Case("漢", Key("漢")), Case("😀", Key("😀")),
    Case("\r", Key(.enter)), Case("\n", Key(.enter)), Case("\t", Key(.tab)), Case("\u{7F}", Key(.backspace)),
    Case("\u{01}", .control("a")), Case("\u{1A}", .control("z")), Case("\u{1D}", .control("]")),
    Case("\u{00}", .control(" ")), Case("\u{1B}a", .alt("a")), Case("\u{1B}[A", Key(.up)), Case("\u{1B}OA", Key(.up)),
    Case("\u{1B}[1;5C", Key(.right, .control)), Case("\u{1B}[1;2D", Key(.left, .shift)),
    Case("\u{1B}OP", Key(.function(1))), Case("\u{1B}[[A", Key(.function(1))), Case("\u{1B}[[E", Key(.function(5))),
    Case("\u{1B}[15~", Key(.function(5))), Case("\u{1B}[24~", Key(.function(12))), Case("\u{1B}[3~", Key(.delete)),
    Case("\u{1B}[5;5~", Key(.pageUp, .control)), Case("\u{1B}[Z", Key(.backTab)), Case("\u{1B}[H", Key(.home)),
    Case("ab", Key("a"), Key("b")), Case("\u{1B}[Bq", Key(.down), Key("q")),
    Case("\u{1B}[<0;5;7M", event: .mouse(MouseEvent(.press, button: 0, x: 4, y: 6))),
    Case("\u{1B}[<0;5;7m", event: .mouse(MouseEvent(.release, button: 0, x: 4, y: 6))),
    Case("\u{1B}[<64;1;1M", event: .mouse(MouseEvent(.wheelUp, x: 0, y: 0))),
    Case("\u{1B}[<32;2;2M", event: .mouse(MouseEvent(.drag, button: 0, x: 1, y: 1))),
    Case("\u{1B}[M !!", event: .mouse(MouseEvent(.press, button: 0, x: 0, y: 0))),
    Case("\u{1B}[200~two\nlines\u{1B}[201~", event: .paste("two\nlines")),
    // What means nothing goes, and what follows it is seen.
    Case("\u{1B}[999~x", Key("x")), Case("\u{1B}[?1;2cx", Key("x")), Case("\u{1B}[38;5;1mx", Key("x")),
  ]

  @Test("a sequence gives its key, whole and cut anywhere", arguments: cases)
  func sequences(_ item: Case) {
    let bytes = Array(item.input.utf8)
    for cut in 0...bytes.count {
      var decoder = KeyDecoder()
      let events = decoder.feed(bytes[..<cut]) + decoder.feed(bytes[cut...]) + decoder.flush()
      #expect(events == item.events, "cut at \(cut)")
    }
  }

  @Test func `a lone ESC waits, and becomes Escape when nothing follows`() {
    var decoder = KeyDecoder()
    #expect(decoder.feed([0x1B]).isEmpty)
    #expect(decoder.isWaiting)
    #expect(decoder.flush() == [.key(Key(.escape))])
    #expect(!decoder.isWaiting)
  }

  @Test func `two ESC in a row are two Escapes`() {
    var decoder = KeyDecoder()
    #expect(decoder.feed([0x1B, 0x1B]) + decoder.flush() == [.key(Key(.escape)), .key(Key(.escape))])
  }

  @Test func `terminfo's own sequences are known`() {
    var decoder = KeyDecoder(special: [Array("\u{1B}[24;2~".utf8): Key(.function(12), .shift)])
    #expect(decoder.feed(Array("\u{1B}[24;2~".utf8)) == [.key(Key(.function(12), .shift))])
  }

  @Test func `broken UTF-8 is dropped and what follows is not`() {
    for broken: [UInt8] in [[0xFF], [0xC0, 0x80], [0xE2, 0x28], [0x80], [0xF5]] {
      var decoder = KeyDecoder()
      let events = decoder.feed(broken + Array("x".utf8)) + decoder.flush()
      #expect(events.last == .key(Key("x")))
    }
  }

  @Test func `a paste without end is handed on at a mebibyte`() {
    var decoder = KeyDecoder()
    var events = decoder.feed(Array("\u{1B}[200~".utf8))
    events += decoder.feed([UInt8](repeating: 0x61, count: (1 << 20) + 1))
    #expect(events.count == 1)
    #expect(decoder.feed(Array("q".utf8)) == [.key(Key("q"))])
  }

  @Test func `200,000 random bytes never stall the decoder`() {
    var generator = Seeded(state: 7)
    var decoder = KeyDecoder()
    for _ in 0..<200_000 {
      let byte = UInt8.random(in: 0...255, using: &generator)
      _ = decoder.feed([Bool.random(using: &generator) ? byte : [0x1B, 0x5B, 0x3B, 0x31][Int(byte & 3)]])
    }
    _ = decoder.feed(Array("\u{1B}[201~".utf8))
    _ = decoder.flush()
    #expect(decoder.feed([0x71]) == [.key(Key("q"))])
  }
}

/// xorshift64*: the same numbers every time.
struct Seeded: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 2_685_821_657_736_338_717
  }
}
