import Foundation
import TerminalDriver
import Testing

/// Bits of the VMCS turned while the guest runs, on a terminal.
@Suite("The VMCS on a terminal", .serialized) struct VMCSTerminalTests {
  /// A guest that writes to port 80h for ever, in real mode.
  private static func busyGuest() throws -> String {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("ringside-\(UUID().uuidString).bin").path
    try Data([0xE6, 0x80, 0xEB, 0xFC]).write(to: URL(fileURLWithPath: path))
    return path
  }

  @Test func `a port's bit off stops the exits of a running guest, on brings them back`() throws {
    let path = try Self.busyGuest()
    defer { try? FileManager.default.removeItem(atPath: path) }
    let program = try DrivenTerminalTests.start([path, "--mode", "real"], width: 160, height: 50)
    #expect(program.waitFor("F1 help"))
    program.type("1```z")
    #expect(program.waitFor("VM-execution controls"))
    program.type("c")
    #expect(program.wait(milliseconds: 5000) { $0.text.contains("ex/s") && !$0.text.contains(" 0 ex/s") })
    // To the bit of the last exit, and off.
    program.type(".")
    #expect(program.waitFor("[bitmaps]"))
    program.type(" ")
    #expect(program.wait(milliseconds: 5000) { $0.text.contains(" 0 ex/s") }, "\(program.screen.text)")
    #expect(program.waitFor("straight to the device"))
    program.type(" ")
    #expect(program.wait(milliseconds: 5000) { $0.text.contains("ex/s") && !$0.text.contains(" 0 ex/s") })
    program.type("\u{3}qq")
    #expect(program.waitForEnd() == 0)
  }
}
