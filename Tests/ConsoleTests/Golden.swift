import Foundation
import Testing

/// Compares text with a recorded file; `RECORD_GOLDENS=1` records instead.
///
/// Host addresses differ from run to run and are masked.
func expectGolden(_ screen: String, _ name: String, sourceLocation: SourceLocation = #_sourceLocation) {
  let text = screen.replacing(/HVA [0-9a-f]{12}/, with: "HVA ------------")
  let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Goldens")
  let file = folder.appendingPathComponent(name + ".txt")
  if ProcessInfo.processInfo.environment["RECORD_GOLDENS"] == "1" {
    try? FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    #expect(throws: Never.self) { try text.write(to: file, atomically: true, encoding: .utf8) }
    return
  }
  guard let recorded = try? String(contentsOf: file, encoding: .utf8) else {
    Issue.record("no golden file \(name).txt; run with RECORD_GOLDENS=1", sourceLocation: sourceLocation)
    return
  }
  guard recorded != text else { return }
  let old = recorded.split(separator: "\n", omittingEmptySubsequences: false)
  let new = text.split(separator: "\n", omittingEmptySubsequences: false)
  let row = zip(old, new).enumerated().first { $1.0 != $1.1 }
  Issue.record(
    "\(name) differs from row \(row?.offset ?? min(old.count, new.count)) on:\n- \(row?.element.0 ?? "")\n+ \(row?.element.1 ?? "")",
    sourceLocation: sourceLocation)
}
