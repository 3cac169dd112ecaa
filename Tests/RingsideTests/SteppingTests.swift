import Glibc
import Testing

/// What one step is, in the program as built.
@Suite struct SteppingTests {
  /// A boot sector at 7C00h whose vector 6 leads to 7C20h: UD2, and NOPs in the handler.
  private static let faulting: [UInt8] = [
    0x31, 0xC0, 0x8E, 0xD8, 0xC7, 0x06, 0x18, 0x00, 0x20, 0x7C, 0xC7, 0x06, 0x1A, 0x00, 0x00, 0x00,
    0x0F, 0x0B, 0xF4, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90,
    0x90, 0x90, 0x90, 0xF4,
  ]

  @Test(
    "a step on a faulting instruction stops at its handler's first instruction",
    arguments: [(steps: "5", rip: "7c20"), ("4", "7c10"), ("6", "7c21"), ("7", "7c22")])
  func faultingStep(_ row: (steps: String, rip: String)) throws {
    var name = Array("/tmp/ringside-step-XXXXXX".utf8CString)
    let file = mkstemp(&name)
    let image = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { unlink(image) }
    _ = Self.faulting.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
    close(file)
    let options = "--headless --mode real --load 0x7c00 --entry 0x7c00 \(image)"
    // Whether in one command or one after the other.
    let one = Shell.run("\(options) -c 'step \(row.steps)' -c 'print $rip'")
    #expect(one.output.contains(row.rip), "\(one.output)\(one.errors)")
    let each = String(repeating: " -c step", count: Int(row.steps) ?? 0)
    let many = Shell.run("\(options)\(each) -c 'print $rip'")
    #expect(many.output.contains(row.rip), "\(many.output)\(many.errors)")
  }
}
