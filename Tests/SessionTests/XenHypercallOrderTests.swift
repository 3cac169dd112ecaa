import Foundation
import Paravirtual
import Session
import Testing
import VMCore

/// `Captures/xen-hypercalls.txt`: the first 15,153 hypercalls of Debian's kernel under Xen 4.17 with 256 MiB, each with
/// how often it came in a row, but for those whose number depends on time or on what a line of text says: event channel
/// sends, IRET, and xen_version.0, which asks for events.
@Suite(
  "The hypercalls of a boot under Xen", .serialized,
  .enabled(if: LinuxImage.isThere, "Samples/linux/fetch.sh has not made the images, and cannot from here"))
struct XenHypercallOrderTests {
  private static let capture = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("Captures/xen-hypercalls.txt")

  private static func isCounted(_ name: String) -> Bool {
    !["event_channel_op.4", "iret", "xen_version.0"].contains(name)
  }

  /// `vcpu_op.3`, for a call and its operation as exits have them.
  private static func name(_ code: UInt64) -> String {
    let call = HypercallNumber(rawValue: code & 0xFF)?.name ?? "\(code & 0xFF)"
    return code < 256 ? call : "\(call).\((code >> 8) - 1)"
  }

  /// Calls the guest made, in order: the last of an exit's, behind the entries of a multicall.
  private static func calls(of path: String) throws -> [String] {
    let text = try String(contentsOfFile: path, encoding: .utf8)
    var calls: [String] = []
    var last: Substring?
    for line in text.split(separator: "\n") {
      if line.contains("\"kind\":\"hypercall\"") { last = line }
      guard line.contains("\"kind\":\"entry\""), let call = last, let at = call.range(of: "\"nr\":") else { continue }
      if let code = UInt64(call[at.upperBound...].prefix { $0.isNumber }) { calls.append(name(code)) }
      last = nil
    }
    return calls
  }

  @Test func `come in the captured order up to 15,152`() throws {
    let expected = try String(contentsOf: Self.capture, encoding: .utf8).split(separator: "\n").flatMap { line in
      let words = line.split(separator: " ")
      return Array(repeating: String(words[0]), count: words.count == 2 ? Int(words[1]) ?? 0 : 0)
    }
    try #require(expected.count == 14_893)
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("xen-order-\(getpid()).jsonl").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    let session = try LinuxImage.session("rewriter", append: nil) {
      $0.technique = .pv
      $0.memory = 256 << 20
    }
    try session.record(to: path)
    // What comes next in the capture is the enabling of another assist.
    _ = session.perform("bh vm_assist.enable if arg2 == 5")
    _ = session.perform("continue")
    let made = try Self.calls(of: path).filter(Self.isCounted)
    let difference = zip(expected, made).enumerated().first { $1.0 != $1.1 }
    #expect(difference == nil, "\(difference.map { "call \($0.offset): \($0.element)" } ?? "")")
    #expect(made.count >= expected.count)
  }
}
