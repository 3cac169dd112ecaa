import Session
import Testing
import VMCore

/// The teaching kernel says the same by every technique, on both embedded engines, in 64 and in 32 bits.
@Suite("The teaching kernel") struct TeachingKernelTests {
  struct Row: Sendable, CustomTestStringConvertible {
    var sample: String
    var technique: Technique
    var engine: String
    var testDescription: String { "\(sample) by \(technique.rawValue) on the \(engine)" }
  }
  static let rows = ["teaching", "teaching32"].flatMap { sample in
    Technique.allCases.flatMap { technique in
      ["interpreter", "rewriter"].map { Row(sample: sample, technique: technique, engine: $0) }
    }
  }

  @Test("says the same everywhere and shuts down by itself", arguments: rows)
  func output(row: Row) throws {
    let folder = try #require(SampleLibrary.folder("Samples"))
    let expected = try #require(HostFile.text(at: "\(folder)/teaching/expected.txt"))
    var configuration = SessionConfiguration()
    configuration.guest = row.sample
    configuration.technique = row.technique
    configuration.engine = row.engine
    let session = try Session(configuration)
    #expect(WholeRun(of: session).output == expected)
    #expect(session.currentSnapshot().stop == .shutdown)
  }

  @Test func `a sample's image goes by the technique, and its disk comes along`() throws {
    var configuration = SessionConfiguration()
    configuration.guest = "teaching"
    configuration.technique = .pv
    let sample = try #require(try SampleLibrary.resolve(&configuration))
    #expect(configuration.guest?.hasSuffix("teaching-pv64.elf") == true && sample.image == "teaching-hvm64.elf")
    #expect(configuration.initrd?.hasSuffix("disk.img") == true)
  }
}
