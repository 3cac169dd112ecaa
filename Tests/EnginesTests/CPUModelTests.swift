import COracle
import Engines
import Testing
import VMCore
import X86

/// CPUID shows a feature exactly where its instructions work.
@Suite struct CPUModelTests {
  struct Feature: Sendable, CustomTestStringConvertible {
    var name: String
    /// An instruction of it: RDI points at data, all other registers are 0.
    var bytes: [UInt8]
    /// The first model that has it.
    var first: CPUModel
    var leaf: UInt32
    var register: Register
    var bit: UInt32
    enum Register { case ebx, ecx, edx }
    var testDescription: String { name }

    init(_ name: String, _ bytes: [UInt8], _ first: CPUModel, _ leaf: UInt32, _ register: Register, _ bit: UInt32) {
      (self.name, self.bytes, self.first) = (name, bytes, first)
      (self.leaf, self.register, self.bit) = (leaf, register, bit)
    }
  }

  static let features: [Feature] = [
    Feature("CLFLUSH", [0x0F, 0xAE, 0x3F], .baseline, 1, .edx, 19),
    Feature("LAHF", [0x9F], .baseline, 0x8000_0001, .ecx, 0),
    Feature("RDTSCP", [0x0F, 0x01, 0xF9], .baseline, 0x8000_0001, .edx, 27),
    Feature("SSE3", [0xF2, 0x0F, 0x7C, 0xC1], .v2, 1, .ecx, 0),
    Feature("SSE3: FISTTP", [0xDB, 0x0F], .v2, 1, .ecx, 0),
    Feature("SSSE3", [0x66, 0x0F, 0x38, 0x1C, 0xC1], .v2, 1, .ecx, 9),
    Feature("SSSE3 on MMX registers", [0x0F, 0x38, 0x1C, 0xC1], .v2, 1, .ecx, 9),
    Feature("CMPXCHG16B", [0x48, 0x0F, 0xC7, 0x0F], .v2, 1, .ecx, 13),
    Feature("SSE4.1", [0x66, 0x0F, 0x38, 0x17, 0xC1], .v2, 1, .ecx, 19),
    Feature("SSE4.2", [0x66, 0x0F, 0x3A, 0x63, 0xC1, 0x0C], .v2, 1, .ecx, 20),
    Feature("SSE4.2: CRC32", [0xF2, 0x0F, 0x38, 0xF1, 0xC1], .v2, 1, .ecx, 20),
    Feature("POPCNT", [0xF3, 0x0F, 0xB8, 0xC1], .v2, 1, .ecx, 23),
    Feature("FMA", [0xC4, 0xE2, 0xF1, 0x98, 0xC2], .v3, 1, .ecx, 12),
    Feature("MOVBE", [0x0F, 0x38, 0xF0, 0x07], .v3, 1, .ecx, 22),
    Feature("XSAVE", [0x0F, 0x01, 0xD0], .v3, 1, .ecx, 26),
    Feature("AVX", [0xC5, 0xF0, 0x58, 0xC2], .v3, 1, .ecx, 28),
    Feature("F16C", [0xC4, 0xE2, 0x79, 0x13, 0xC1], .v3, 1, .ecx, 29),
    Feature("BMI1", [0xC4, 0xE2, 0x70, 0xF2, 0xC2], .v3, 7, .ebx, 3),
    Feature("AVX2", [0xC5, 0xF5, 0xFC, 0xC2], .v3, 7, .ebx, 5),
    Feature("BMI2", [0xC4, 0xE2, 0x71, 0xF7, 0xC2], .v3, 7, .ebx, 8),
  ]

  private static func rank(_ model: CPUModel) -> Int { CPUModel.allCases.firstIndex(of: model) ?? 0 }
  /// The models this host can have.
  static let models = CPUModel.allCases.filter { rank($0) <= rank(.widest) }

  private func result(of code: [UInt8], on model: CPUModel, clearCR4: UInt64 = 0) throws -> coracle_case {
    let machine = try OracleMachine(cpu: model)
    var c = OracleCase(code: code)
    c.initial.tags = 1
    return machine.run(c, clearCR4: clearCR4).0
  }

  @Test(arguments: features)
  func `a hidden feature's instructions are undefined, a shown one's work`(_ feature: Feature) throws {
    for model in Self.models {
      let has = Self.rank(model) >= Self.rank(feature.first)
      let memory = try GuestMemory(ramSize: 1 << 20)
      let engine = try InterpreterEngine(
        memory: memory, events: EventSink(capacity: 64), configuration: EngineConfiguration(cpu: model))
      let shown = engine.vcpus[0].cpuid(leaf: feature.leaf, subleaf: 0)
      let word = feature.register == .ebx ? shown.ebx : feature.register == .ecx ? shown.ecx : shown.edx
      #expect(word >> feature.bit & 1 == (has ? 1 : 0), "CPUID of \(model.rawValue)")
      let vector = try result(of: feature.bytes, on: model).vector
      #expect(Exception(rawValue: vector) == (has ? .bp : .ud), "\(model.rawValue)")
    }
  }

  @Test func `TZCNT and LZCNT are BSF and BSR where they are hidden`() throws {
    // tzcnt ecx, eax; lzcnt edx, ebx: of zero the older ones change nothing.
    let code: [UInt8] = [0xF3, 0x0F, 0xBC, 0xC8, 0xF3, 0x0F, 0xBD, 0xD3]
    let old = try result(of: code, on: .baseline)
    #expect(old.vector == 3 && old.gpr.1 == 0 && old.gpr.2 == 0)
    guard CPUModel.widest == .v3 else { return }
    let new = try result(of: code, on: .v3)
    #expect(new.vector == 3 && new.gpr.1 == 32 && new.gpr.2 == 32)
  }

  struct Refusal: Sendable {
    var code: [UInt8]
    var clearCR4: UInt64 = 0
    var exception: Exception
  }
  static let refusals: [Refusal] = [
    Refusal(code: [0xC5, 0xF0, 0x58, 0xC2], clearCR4: CR4.osxsave, exception: .ud),
    Refusal(code: [0x0F, 0x01, 0xD0], clearCR4: CR4.osxsave, exception: .ud),
    // XSETBV outside ring 0, XGETBV of an unknown register, areas that are not aligned.
    Refusal(code: [0x0F, 0x01, 0xD1], exception: .gp),
    Refusal(code: [0xB1, 0x02, 0x0F, 0x01, 0xD0], exception: .gp),
    Refusal(code: [0x0F, 0xAE, 0x67, 0x20], exception: .gp),
    Refusal(code: [0x0F, 0xAE, 0x6F, 0x20], exception: .gp),
    // XSAVEOPT is not shown.
    Refusal(code: [0x0F, 0xAE, 0x37], exception: .ud),
    // VMOVAPS of 32 bytes; VADDPS may lie anywhere.
    Refusal(code: [0xC5, 0xFC, 0x28, 0x47, 0x10], exception: .gp),
    Refusal(code: [0xC5, 0xF4, 0x58, 0x47, 0x01], exception: .bp),
  ]
  @Test(.enabled(if: CPUModel.widest == .v3, "this host has no AVX2"), arguments: refusals)
  func `extended state has its rules`(_ row: Refusal) throws {
    let vector = try result(of: row.code, on: .v3, clearCR4: row.clearCR4).vector
    #expect(Exception(rawValue: vector) == row.exception)
  }

  @Test(.enabled(if: CPUModel.widest == .v3, "this host has no AVX2"))
  func `XSAVE and XRSTOR keep vector registers and the x87 unit`() throws {
    let machine = try OracleMachine()
    var generator = OracleGenerator(seed: 5)
    for _ in 0..<20 {
      var c = generator.next()
      c.stand(in: CORACLE_LONG64)
      (c.initial.gpr.0, c.initial.gpr.2) = (7, 0)
      c.data[64] = 0
      (c.data[65], c.data[66]) = (0, 0)
      // xsave64 [rdi]; vzeroall; fninit; xrstor64 [rdi]
      c.put([0x48, 0x0F, 0xAE, 0x27, 0xC5, 0xFC, 0x77, 0xDB, 0xE3, 0x48, 0x0F, 0xAE, 0x2F])
      let (after, data) = machine.run(c)
      #expect(after.vector == 3)
      let (before, now) = (c.initial, after)
      #expect(withUnsafeBytes(of: before.xmm) { Array($0) } == withUnsafeBytes(of: now.xmm) { Array($0) })
      let upper = withUnsafeBytes(of: before.ymm_high) { Array($0.bindMemory(to: UInt64.self)) }
      #expect(upper == withUnsafeBytes(of: now.ymm_high) { Array($0.bindMemory(to: UInt64.self)) })
      #expect(withUnsafeBytes(of: before.significand) { Array($0) } == withUnsafeBytes(of: now.significand) { Array($0) })
      #expect(before.control == now.control && before.tags == now.tags && before.mxcsr == now.mxcsr)
      #expect(data[64] == 7)
      #expect(Array(data[72..<104]) == upper)
    }
  }

  @Test func `what the host lacks is said by name`() {
    #expect(CPUModel.p0.missing(on: 0).isEmpty && CPUModel.baseline.missing(on: 0).isEmpty)
    #expect(CPUModel.v2.missing(on: 0) == ["SSE3", "SSSE3", "SSE4.1", "SSE4.2", "POPCNT"])
    #expect(CPUModel.v3.missing(on: 0).suffix(3) == ["BMI1", "BMI2", "LZCNT"])
  }
}
