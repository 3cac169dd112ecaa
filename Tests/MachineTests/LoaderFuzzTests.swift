import Machine
import Testing
import VMCore

/// A small deterministic generator (a 64-bit linear congruence, high bits used).
struct LoaderRandom {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state >> 20
  }
  mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(max(bound, 1))) }
}

@Suite("Loaders: hostile images")
struct LoaderFuzzTests {
  static let seeds: [[UInt8]] = [
    ELFBuilder.elf32.bytes, ELFBuilder.elf64.bytes, ELFBuilder.multiboot.bytes, multibootFlat(), bootImage(size: 1024),
  ]

  /// Bytes that reach the edges of what a field can say.
  private static let interesting: [UInt8] = [0, 1, 2, 3, 0x7F, 0x80, 0xFE, 0xFF]

  static func mutate(_ image: [UInt8], _ random: inout LoaderRandom) -> [UInt8] {
    var image = image
    for _ in 0...random.below(6) where !image.isEmpty {
      let at = random.below(min(image.count, 160))
      switch random.below(5) {
      case 0: image[at] = interesting[random.below(interesting.count)]
      case 1: image[at] ^= 1 << UInt8(random.below(8))
      case 2: image[at] = UInt8(truncatingIfNeeded: random.next())
      case 3:
        for index in at..<min(at + 4, image.count) { image[index] = interesting[random.below(interesting.count)] }
      default:
        if random.below(4) == 0 { image.removeLast(random.below(image.count)) }
      }
    }
    return image
  }

  @Test func `ten thousand mutated images load or are refused in one line that names the file`() throws {
    var random = LoaderRandom(seed: 1)
    var loaded = 0
    var refused = 0
    for round in 0..<10_000 {
      let image = Self.mutate(Self.seeds[round % Self.seeds.count], &random)
      let mode: FlatMode? = round % 17 == 0 ? FlatMode.allCases[round % 3] : nil
      let request = LoadRequest(name: "fuzz.img", bytes: image, memory: try guestMemory(2 << 20), mode: mode)
      do throws(VMError) {
        let guest = try ImageLoader.load(request)
        #expect(!guest.description.contains("\n"))
        loaded += 1
      } catch {
        #expect(error.code == .image)
        #expect(error.message.hasPrefix("fuzz.img: "))
        #expect(!error.description.contains("\n"))
        refused += 1
      }
    }
    #expect(loaded > 500 && refused > 500)
  }

  @Test func `the same mutations give the same verdicts`() throws {
    func verdicts() throws -> [String] {
      var random = LoaderRandom(seed: 7)
      return try (0..<500).map { round in
        let image = Self.mutate(Self.seeds[round % Self.seeds.count], &random)
        let request = LoadRequest(name: "f", bytes: image, memory: try guestMemory(2 << 20))
        do throws(VMError) { return try ImageLoader.load(request).description } catch { return error.description }
      }
    }
    #expect(try verdicts() == verdicts())
  }
}
