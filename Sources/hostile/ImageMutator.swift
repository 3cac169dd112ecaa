import Session
import VMCore

/// Guest images that are nearly right: the samples, with bytes changed where loaders and kernels trip over them.
package struct ImageMutator: Sendable {
  package struct Original: Sendable {
    package var name: String
    package var bytes: [UInt8]
    package var configuration: SessionConfiguration
  }
  /// The samples, in order of name.
  package let originals: [Original]

  package init() throws(VMError) {
    var originals: [Original] = []
    for sample in SampleLibrary.samples() {
      var configuration = SessionConfiguration()
      configuration.mode = sample.mode
      configuration.append = sample.append
      configuration.loadAddress = sample.load
      configuration.entry = sample.entry
      let bytes = try HostFile.bytes(at: "\(sample.folder)/\(sample.image)")
      originals.append(Original(name: sample.name, bytes: bytes, configuration: configuration))
    }
    guard !originals.isEmpty else {
      throw VMError(.unavailable, "no samples found", remedy: "set RINGSIDE_DATA to the folder that holds Samples")
    }
    self.originals = originals
  }

  /// One of the originals with one to eight mutations.
  package func mutated(_ random: inout Random) -> Original {
    var result = random.pick(originals)
    for _ in 0..<(1 + random.below(8)) where !result.bytes.isEmpty { mutate(&result.bytes, &random) }
    return result
  }

  /// Half of the mutations fall into the first kilobyte, where headers and boot sectors are.
  private func place(_ bytes: [UInt8], _ random: inout Random) -> Int {
    random.one(in: 2) ? random.below(min(bytes.count, 1024)) : random.below(bytes.count)
  }

  private func mutate(_ bytes: inout [UInt8], _ random: inout Random) {
    let at = place(bytes, &random)
    switch random.below(9) {
    case 0, 1: bytes[at] ^= 1 << UInt8(random.below(8))
    case 2: bytes[at] = random.byte()
    case 3, 4: put(random.edgy(), 4, at & ~3, &bytes)
    case 5: put(random.edgy(), random.pick([2, 8]), at & ~1, &bytes)
    case 6:
      let count = min(1 + random.below(64), bytes.count - at)
      let from = random.below(bytes.count - count + 1)
      bytes.replaceSubrange(at..<at + count, with: Array(bytes[from..<from + count]))
    case 7 where random.one(in: 4): bytes.removeLast(random.below(bytes.count))
    case 7: bytes.append(contentsOf: (0..<random.below(64)).map { _ in random.byte() })
    default:
      let count = min(1 + random.below(32), bytes.count - at)
      for index in at..<at + count { bytes[index] = random.byte() }
    }
  }

  private func put(_ value: UInt64, _ size: Int, _ at: Int, _ bytes: inout [UInt8]) {
    for index in 0..<size where at + index < bytes.count {
      bytes[at + index] = UInt8(truncatingIfNeeded: value >> UInt64(index * 8))
    }
  }
}
