import Engines
import Glibc
import VMCore
import X86

/// The rewriter's code cache: how fast cold code gets into it, how long the guest stands while the oldest code is given
/// up for new, and whether anything grows while that happens again and again.
struct CodeBench {
  private static let memory: UInt64 = 64 << 20
  private static let start: UInt64 = 0x10_0000
  /// Of guest code: more than the cache holds once it is rewritten.
  private static let codeSize = 24 << 20
  private static let wantedRate = 1e6
  private static let longestStop = 5e6
  /// Instructions between two looks at the clock, and parts of the cache given up in all: twice as many as there are.
  private static let slice: UInt64 = 200
  private static let parts: UInt64 = 512

  /// Nine instructions that compilers like, and a branch to what follows.
  private static let block: [UInt8] = [
    0x01, 0xC8, 0x89, 0x43, 0x10, 0x8B, 0x53, 0x14, 0x31, 0xD0, 0x83, 0xC1, 0x07, 0xC1, 0xE0, 0x03, 0x29, 0xC8, 0x39, 0xD0,
    0x75, 0x00,
  ]

  private let engine: InterpreterEngine

  init() throws(VMError) {
    let memory = try GuestMemory(ramSize: Self.memory)
    var code: [UInt8] = []
    code.reserveCapacity(Self.codeSize + 8)
    while code.count < Self.codeSize { code += Self.block }
    let back = Int32(truncatingIfNeeded: -(code.count + 5))
    code.append(0xE9)
    for shift in stride(from: Int32(0), to: 32, by: 8) { code.append(UInt8(truncatingIfNeeded: back >> shift)) }
    memory.write(GPA(Self.start), code)
    let made = try EngineRegistry.makeEngine(
      named: "rewriter", memory: memory, events: EventSink(), configuration: EngineConfiguration(warmth: 1))
    guard let engine = made as? InterpreterEngine else { throw VMError(.host, "the rewriter is an embedded engine") }
    self.engine = engine
    engine.vcpus[0].state = Self.state
  }

  /// Flat 32-bit code without paging.
  private static var state: VCPUState {
    var state = VCPUState()
    state.cr0 = CR0.pe | CR0.et
    for name in [SegmentName.es, .ss, .ds, .fs, .gs] {
      state[name] = SegmentState(selector: 0x10, base: 0, limit: 0xFFFF_FFFF, access: 0xC093)
    }
    state[.cs] = SegmentState(selector: 8, base: 0, limit: 0xFFFF_FFFF, access: 0xC09B)
    state.rip = start
    state[.rbx] = 0x8_0000
    state[.rsp] = 0x9_0000
    return state
  }

  func findings() throws(VMError) -> [Finding] {
    let vcpu = engine.vcpus[0]
    // Not so many that the cache overflows.
    let first: UInt64 = 1_000_000
    let begin = HostClock.ownCPUTime()
    _ = vcpu.run(.resume, limit: first)
    let cold = HostClock.ownCPUTime() - begin
    let rate = Double(first) * 1e9 / Double(max(cold, 1))
    var findings = [
      Finding(
        what: "cold code decoded, rewritten and run once, instructions", measured: Figure.rate(rate),
        target: "at least \(Figure.rate(Self.wantedRate))", isReached: rate >= Self.wantedRate)
    ]
    findings += overflowing(vcpu)
    return findings
  }

  private func overflowing(_ vcpu: any VCPU) -> [Finding] {
    var longest: UInt64 = 0
    var sizes: [UInt64] = []
    for wanted in [Self.parts / 2, Self.parts] {
      while (engine.rewriting?.flushes ?? .max) < wanted {
        let begin = HostClock.ownCPUTime()
        _ = vcpu.run(.resume, limit: Self.slice)
        longest = max(longest, HostClock.ownCPUTime() - begin)
      }
      sizes.append(Self.residentSize)
    }
    let growth = Double(sizes[1]) / Double(max(sizes[0], 1))
    return [
      Finding(
        what: "\(Self.slice) cold instructions, code given up for them included, the longest time",
        measured: Figure.time(Double(longest)), target: "at most \(Figure.time(Self.longestStop))",
        isReached: Double(longest) <= Self.longestStop),
      Finding(
        what: "memory after \(Self.parts) parts of the cache were given up, against after \(Self.parts / 2)",
        measured: Figure.ratio(growth), target: "at most 1.05x", isReached: growth <= 1.05),
    ]
  }

  private static var residentSize: UInt64 {
    guard let file = fopen("/proc/self/statm", "r") else { return 0 }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    guard fgets(&line, 256, file) != nil else { return 0 }
    let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return text.split(separator: " ").dropFirst().first.flatMap { UInt64($0) } ?? 0
  }
}
