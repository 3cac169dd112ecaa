import VMCore

/// The VGA's digital-to-analog converter: 256 colours of three times 6 bits, read and written component by component.
package struct VGAPalette {
  package struct Color: Equatable, Sendable {
    package var red: UInt8
    package var green: UInt8
    package var blue: UInt8
  }

  private var components: [UInt8]
  /// Next component to read and to write, 0 to 767.
  private var reading: UInt16 = 0
  private var writing: UInt16 = 0
  /// What port 3C7h reads: 3 after the index for reading was set, 0 after that for writing.
  private(set) var state: UInt8 = 0

  init() { components = Self.standard.flatMap { [$0.red, $0.green, $0.blue] } }

  package internal(set) subscript(index: UInt8) -> Color {
    get {
      let at = Int(index) * 3
      return Color(red: components[at], green: components[at + 1], blue: components[at + 2])
    }
    set {
      let at = Int(index) * 3
      components.replaceSubrange(at..<at + 3, with: [newValue.red & 0x3F, newValue.green & 0x3F, newValue.blue & 0x3F])
    }
  }

  // MARK: Ports

  var writeIndex: UInt8 { UInt8(writing / 3) }

  mutating func startReading(at index: UInt8) {
    reading = UInt16(index) * 3
    state = 3
  }
  mutating func startWriting(at index: UInt8) {
    writing = UInt16(index) * 3
    state = 0
  }
  mutating func readComponent() -> UInt8 {
    defer { reading = (reading + 1) % 768 }
    return components[Int(reading)]
  }
  mutating func writeComponent(_ value: UInt8) {
    components[Int(writing)] = value & 0x3F
    writing = (writing + 1) % 768
  }

  mutating func code(_ coder: inout StateCoder) {
    coder.code(fixed: &components)
    coder.code(&reading)
    coder.code(&writing)
    reading %= 768
    writing %= 768
    coder.code(&state)
  }

  // MARK: The colours a video BIOS loads

  /// CGA's 16 colours in its order: blue is 1, green 2, red 4, bright 8.
  package static let cga: [Color] = (UInt8(0)..<16).map { code in
    let bright: UInt8 = code & 8 != 0 ? 21 : 0
    func part(_ bit: UInt8) -> UInt8 { (code & bit != 0 ? 42 : 0) + bright }
    // Dark yellow is brown.
    return Color(red: part(4), green: code == 6 ? 21 : part(2), blue: part(1))
  }

  /// 16 of CGA, 16 greys, then a circle of 24 hues in three intensities of three saturations; the last eight are black.
  private static let standard: [Color] = {
    let greys: [UInt8] = [0, 5, 8, 11, 14, 17, 20, 24, 28, 32, 36, 40, 45, 50, 56, 63]
    let ramps: [[UInt8]] = [
      [0, 16, 31, 47, 63], [31, 39, 47, 55, 63], [45, 49, 54, 58, 63], [0, 7, 14, 21, 28], [14, 17, 21, 24, 28],
      [20, 22, 24, 26, 28], [0, 4, 8, 12, 16], [8, 10, 12, 14, 16], [11, 12, 13, 15, 16],
    ]
    let black = Color(red: 0, green: 0, blue: 0)
    return cga + greys.map { Color(red: $0, green: $0, blue: $0) } + ramps.flatMap(circle)
      + [Color](repeating: black, count: 8)
  }()

  /// From blue by magenta, red, yellow, green and cyan back, in steps of a ramp.
  private static func circle(_ ramp: [UInt8]) -> [Color] {
    let low = ramp[0]
    let high = ramp[4]
    return (0..<24).map { hue in
      let up = ramp[hue % 4]
      let down = ramp[4 - hue % 4]
      return switch hue / 4 {
      case 0: Color(red: up, green: low, blue: high)
      case 1: Color(red: high, green: low, blue: down)
      case 2: Color(red: high, green: up, blue: low)
      case 3: Color(red: down, green: high, blue: low)
      case 4: Color(red: low, green: high, blue: up)
      default: Color(red: low, green: down, blue: high)
      }
    }
  }
}
