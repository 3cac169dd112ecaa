import Glibc
import Session
import VMCore

/// What a hypercall of a Xen PV guest costs from guest to monitor and back: `xen_version` in a loop, less the same
/// loop without the call. In a session, which keeps every event, statistics and the run's digest; and with a console
/// attached, where each call's cost and registers are recorded as well.
struct HypercallBench {
  private static let count: UInt32 = 300_000
  private static let rounds = 5
  private static let syscall: [UInt8] = [0x0F, 0x05]
  private static let nothing: [UInt8] = [0x66, 0x90]

  func findings() throws(VMError) -> [Finding] {
    let (alone, watched) = (
      try Self.cost(isWatched: false, engine: "rewriter"), try Self.cost(isWatched: true, engine: "rewriter")
    )
    let interpreted = try Self.cost(isWatched: false, engine: "interpreter")
    func finding(_ what: String, _ cost: Double, _ peer: String, _ target: Double) -> Finding {
      Finding(what: what, measured: Figure.time(cost), peer: peer, target: Figure.time(target), isReached: cost <= target)
    }
    return [
      finding("hypercall, rewriter, recorded", alone, "interpreter \(Figure.time(interpreted))", 150),
      finding("hypercall, rewriter, console attached", watched, "", 300),
    ]
  }

  /// The median cost of one call, ns of this process's processor time.
  private static func cost(isWatched: Bool, engine: String) throws(VMError) -> Double {
    var costs: [Double] = []
    for _ in 0..<rounds {
      let with = try run(syscall, isWatched: isWatched, engine: engine)
      let without = try run(nothing, isWatched: isWatched, engine: engine)
      costs.append((with - without) / Double(count))
    }
    return Statistics.median(costs) ?? 0
  }

  private static func run(_ call: [UInt8], isWatched: Bool, engine: String) throws(VMError) -> Double {
    let path = "/tmp/ringside-hypercalls-\(getpid())"
    try Host.write(kernel(call), to: path)
    defer { unlink(path) }
    var configuration = SessionConfiguration()
    configuration.guest = path
    configuration.technique = .pv
    configuration.engine = engine
    configuration.memory = 16 << 20
    configuration.watch(isWatched)
    return try Session(configuration).timeToEnd(isWatched: isWatched)
  }

  // MARK: the guest

  /// mov ebx, count; again: mov eax, 17; xor edi, edi; the call; dec ebx; jnz again; then sched_op(shutdown, 0).
  private static func code(_ call: [UInt8]) -> [UInt8] {
    let loop = [0xB8, 17, 0, 0, 0, 0x31, 0xFF] + call + [0xFF, 0xCB]
    let end: [UInt8] =
      [0xC7, 0x44, 0x24, 0xF0, 0, 0, 0, 0, 0x48, 0x8D, 0x74, 0x24, 0xF0, 0xBF, 2, 0, 0, 0, 0xB8, 29, 0, 0, 0]
    return [0xBB] + bytes(count) + loop + [0x75, UInt8(bitPattern: -Int8(loop.count + 2))] + end + syscall + [0xEB, 0xFE]
  }

  private static func bytes<T: FixedWidthInteger>(_ values: T...) -> [UInt8] {
    values.flatMap { value in withUnsafeBytes(of: value.littleEndian) { Array($0) } }
  }

  private static let base: UInt64 = 0xFFFF_FFFF_8000_0000
  private static let physical: UInt64 = 0x10_0000
  private static let codeOffset: UInt64 = 0x1000
  private static let notesOffset: UInt64 = 0x200

  /// An ELF file of one segment with the notes Xen asks of a kernel: entry, base, hypercall page, offset.
  private static func kernel(_ call: [UInt8]) -> [UInt8] {
    let code = code(call)
    let notes = [(1, base + physical), (3, base), (4, 0), (15, 0x80_0000_0000), (16, 1)].flatMap(note)
    var file: [UInt8] = [0x7F, 0x45, 0x4C, 0x46, 2, 1, 1] + [UInt8](repeating: 0, count: 9)
    file += bytes(UInt16(2), 62) + bytes(UInt32(1)) + bytes(base + physical, 64, 0) + bytes(UInt32(0))
    file += bytes(UInt16(64), 56, 2, 0, 0, 0)
    file += bytes(UInt32(1), 7) + bytes(codeOffset, base + physical, physical, UInt64(code.count), 0x8000, 0x1000)
    file += bytes(UInt32(4), 4) + bytes(notesOffset, 0, 0, UInt64(notes.count), UInt64(notes.count), 4)
    file += [UInt8](repeating: 0, count: Int(notesOffset) - file.count) + notes
    return file + [UInt8](repeating: 0, count: Int(codeOffset) - file.count) + code
  }

  private static func note(_ type: UInt32, _ value: UInt64) -> [UInt8] {
    bytes(UInt32(4), 8, type) + Array("Xen\0".utf8) + bytes(value)
  }
}
