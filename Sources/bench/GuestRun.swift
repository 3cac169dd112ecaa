import VMCore

/// What one run of the bench guest gave.
package struct GuestRun: Sendable {
  package struct Result: Equatable, Sendable {
    package var name: String
    package var count: UInt64
    package var checksum: UInt64
    /// Processor time the emulator used for it, ns.
    package var nanoseconds: UInt64
    package init(name: String, count: UInt64, checksum: UInt64, nanoseconds: UInt64) {
      self.name = name
      self.count = count
      self.checksum = checksum
      self.nanoseconds = nanoseconds
    }
  }
  /// From the guest's first line; "" before it.
  package var guest = ""
  package var results: [Result] = []
  /// The guest said its last line.
  package var isComplete = false
  /// Wrong checksums, and how it ended where that was not as it should.
  package var complaints: [String] = []
  private var begun: (name: String, at: UInt64)?
  package init() {}

  /// Takes a line whose first byte and whose end came when the emulator had used that much processor time, ns.
  /// A test lasts from the end of its first line to the beginning of its second: a serial port takes its time.
  package mutating func take(_ line: GuestLine, first: UInt64, last: UInt64) {
    switch line {
    case .start(let name): guest = name
    case .begin(let name, _): begun = (name, last)
    case .result(let name, let count, let checksum):
      if let begun, begun.name == name {
        let nanoseconds = first &- min(begun.at, first)
        results.append(Result(name: name, count: count, checksum: checksum, nanoseconds: nanoseconds))
      }
      begun = nil
      if let wrong = Checksums.complaint(name, count: count, checksum: checksum, guest: guest) { complaints.append(wrong) }
    case .end: isComplete = true
    case .other: break
    }
  }

  /// Nanoseconds an operation took, by test, in the order of first appearance.
  package var costs: [(name: String, nanoseconds: Double)] {
    var order: [String] = []
    var sums: [String: (count: UInt64, time: UInt64)] = [:]
    for result in results {
      if sums[result.name] == nil { order.append(result.name) }
      let sum = sums[result.name] ?? (0, 0)
      sums[result.name] = (sum.count + result.count, sum.time + result.nanoseconds)
    }
    return order.compactMap { name in
      guard let sum = sums[name], sum.count > 0 else { return nil }
      return (name, Double(sum.time) / Double(sum.count))
    }
  }

  /// The longest a guest may be silent, in seconds.
  private static let patience = 90

  /// Runs `guest` with these words to its end.
  static func make(_ emulator: Emulator, guest: String, words: String, folder: String) throws(VMError) -> GuestRun {
    let running = try emulator.start(guest, words: words, folder: folder)
    var run = GuestRun()
    while !run.isComplete {
      switch running.reader.next(seconds: patience) {
      case .line(let line): run.take(GuestLine(line.text), first: line.first, last: line.last)
      case .end:
        // Bochs leaves with the last bytes of its serial port unwritten: all results there is all there.
        if run.hasLast(of: words) { return run }
        run.complaints.append("the guest ended after \(run.place)")
        return run
      case .late:
        run.complaints.append("the guest was silent for \(patience) s after \(run.place)")
        return run
      }
    }
    return run
  }

  /// The last test that was asked for has given its result.
  private func hasLast(of words: String) -> Bool {
    guard begun == nil, let last = words.split(separator: " ").last, let result = results.last else { return false }
    return last.split(separator: ":").first.map(String.init) == result.name
  }

  private var place: String {
    if let begun { return "'> \(begun.name)'" }
    return results.last.map { "\($0.name)'s result" } ?? (guest.isEmpty ? "saying nothing" : "'\(guest) start'")
  }
}
