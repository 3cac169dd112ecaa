/// What the tests cost each emulator, ratios between them, and how that stands to what was promised.
package struct GuestTable {
  let emulators: [Emulator]
  private var order: [String] = []
  private var costs: [String: [Emulator: Double]] = [:]

  package init(emulators: [Emulator]) { self.emulators = emulators }

  /// The test `name` takes `emulator` that many ns an operation.
  package mutating func add(_ name: String, _ emulator: Emulator, _ nanoseconds: Double) {
    if costs[name] == nil { order.append(name) }
    costs[name, default: [:]][emulator] = nanoseconds
  }

  private var compute: [String] { order.filter { Checksums.compute.contains($0) } }
  private var privileged: [String] { order.filter { !Checksums.compute.contains($0) } }

  /// How often as long `slow` takes as `fast`.
  private func ratio(_ name: String, _ slow: Emulator, _ fast: Emulator) -> Double? {
    guard let a = costs[name]?[slow], let b = costs[name]?[fast], b > 0 else { return nil }
    return a / b
  }

  /// Over the compute kernels both have run; nil unless that is all the guest has.
  private func mean(_ slow: Emulator, _ fast: Emulator) -> Double? {
    let ratios = compute.compactMap { ratio($0, slow, fast) }
    return ratios.count == compute.count ? Statistics.geometricMean(ratios) : nil
  }

  private struct Column {
    let title: String
    let slow: Emulator
    let fast: Emulator
  }
  private var columns: [Column] {
    let all = [
      Column(title: "bochs/interpreter", slow: .bochs, fast: .interpreter),
      Column(title: "qemu-tcg/rewriter", slow: .qemu, fast: .rewriter),
      Column(title: "rewriter/native", slow: .rewriter, fast: .native),
    ]
    return all.filter { emulators.contains($0.slow) && emulators.contains($0.fast) }
  }

  package var lines: [String] {
    var table = Table(["test"] + emulators.map(\.title) + columns.map(\.title))
    for name in privileged + compute {
      let times = emulators.map { costs[name]?[$0].map(Figure.time) ?? "-" }
      table.add([name] + times + columns.map { ratio(name, $0.slow, $0.fast).map(Figure.ratio) ?? "-" })
    }
    let blanks = Array(repeating: "", count: emulators.count)
    table.add(["geometric mean, compute"] + blanks + columns.map { mean($0.slow, $0.fast).map(Figure.ratio) ?? "-" })
    return table.lines
  }

  // MARK: What was promised

  /// Times of native code a kernel may take: those that stay in registers, and those that live on memory.
  private static let registerBound = ["intloop": 1.5, "matmul": 1.5]
  private static let memoryFactor = 3.0
  private static let overBochs = 4.0
  private static let overTCG = 4.0
  private static let privilegedAhead = 25
  private static let slowest = 1.3

  package var verdicts: [String] {
    var lines: [String] = []
    func judge(_ text: String, _ kept: Bool) { lines.append("\(kept ? "reached" : "MISSED"): \(text)") }
    if let reached = mean(.bochs, .interpreter) {
      judge("interpreter at least \(Figure.ratio(Self.overBochs)) bochs on compute: \(Figure.ratio(reached))", reached >= Self.overBochs)
    }
    if let reached = mean(.qemu, .rewriter) {
      judge("rewriter at least \(Figure.ratio(Self.overTCG)) TCG on compute: \(Figure.ratio(reached))", reached >= Self.overTCG)
      let behind = compute.filter { (ratio($0, .qemu, .rewriter) ?? 0) < 1 }
      judge("ahead of TCG on every compute kernel\(Self.named(behind))", behind.isEmpty)
    }
    if emulators.contains(.native), !compute.isEmpty {
      let slow = compute.filter { (ratio($0, .rewriter, .native) ?? 0) > Self.registerBound[$0] ?? Self.memoryFactor }
      judge("within 1.5x of native in registers, 3x on memory\(Self.named(slow))", slow.isEmpty)
    }
    let ratios = privileged.compactMap { name in ratio(name, .qemu, .rewriter).map { (name, $0) } }
    if !ratios.isEmpty {
      let ahead = ratios.filter { $0.1 > 1 }.count
      let wanted = min(Self.privilegedAhead, ratios.count)
      judge("ahead of TCG on \(wanted) of the privileged: \(ahead) of \(ratios.count)", ahead >= wanted)
      let slow = ratios.filter { $0.1 * Self.slowest < 1 }.map(\.0)
      judge("no privileged test slower than 1.3x TCG\(Self.named(slow))", slow.isEmpty)
    }
    return lines
  }

  private static func named(_ names: [String]) -> String { names.isEmpty ? "" : ": not \(names.joined(separator: ", "))" }
}
