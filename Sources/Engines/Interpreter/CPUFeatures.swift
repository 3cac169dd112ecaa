import CHost
import CZydis
import VMCore
import X86

/// The parts of the instruction set that not every processor has. CPUID shows one exactly where its instructions work;
/// where it is hidden they raise #UD.
struct CPUFeatures: OptionSet {
  let rawValue: UInt32
  init(rawValue: UInt32) { self.rawValue = rawValue }
  private init(bit: UInt32) { rawValue = 1 << bit }

  static let sse3 = Self(bit: 0), ssse3 = Self(bit: 1), sse41 = Self(bit: 2), sse42 = Self(bit: 3)
  static let cx16 = Self(bit: 4), popcnt = Self(bit: 5), lahf = Self(bit: 6)
  static let avx = Self(bit: 7), avx2 = Self(bit: 8), fma = Self(bit: 9), f16c = Self(bit: 10), xsave = Self(bit: 11)
  static let bmi1 = Self(bit: 12), bmi2 = Self(bit: 13), lzcnt = Self(bit: 14), movbe = Self(bit: 15)
  static let clflush = Self(bit: 16), rdtscp = Self(bit: 17), vmx = Self(bit: 18), pat = Self(bit: 19)
  static let sep = Self(bit: 20), hugePages = Self(bit: 21)
  /// FSGSBASE, SMEP, SMAP, UMIP.
  static let protection = Self(bit: 22)
  /// Machine-check exceptions, and their architecture without a bank.
  static let machineCheck = Self(bit: 23)

  /// Where CPUID shows a feature: the leaf's register and bit.
  struct Place {
    enum Register { case ecx1, edx1, ebx7, ecx7, ecx8000_0001, edx8000_0001 }
    var feature: CPUFeatures
    var register: Register
    var bits: [UInt32]
  }
  static let places: [Place] = [
    Place(feature: .sse3, register: .ecx1, bits: [0]), Place(feature: .vmx, register: .ecx1, bits: [5]),
    Place(feature: .ssse3, register: .ecx1, bits: [9]), Place(feature: .fma, register: .ecx1, bits: [12]),
    Place(feature: .cx16, register: .ecx1, bits: [13]), Place(feature: .sse41, register: .ecx1, bits: [19]),
    Place(feature: .sse42, register: .ecx1, bits: [20]), Place(feature: .movbe, register: .ecx1, bits: [22]),
    Place(feature: .popcnt, register: .ecx1, bits: [23]), Place(feature: .xsave, register: .ecx1, bits: [26]),
    Place(feature: .avx, register: .ecx1, bits: [28]), Place(feature: .f16c, register: .ecx1, bits: [29]),
    Place(feature: .sep, register: .edx1, bits: [11]), Place(feature: .pat, register: .edx1, bits: [16]),
    Place(feature: .machineCheck, register: .edx1, bits: [7, 14]),
    Place(feature: .clflush, register: .edx1, bits: [19]), Place(feature: .bmi1, register: .ebx7, bits: [3]),
    Place(feature: .avx2, register: .ebx7, bits: [5]), Place(feature: .bmi2, register: .ebx7, bits: [8]),
    Place(feature: .protection, register: .ebx7, bits: [0, 7, 20]),
    Place(feature: .protection, register: .ecx7, bits: [2]),
    Place(feature: .lahf, register: .ecx8000_0001, bits: [0]),
    Place(feature: .lzcnt, register: .ecx8000_0001, bits: [5]),
    Place(feature: .hugePages, register: .edx8000_0001, bits: [26]),
    Place(feature: .rdtscp, register: .edx8000_0001, bits: [27]),
  ]

  /// The features whose instructions the host carries out by `HostForms`.
  static let vector: CPUFeatures = [.sse3, .ssse3, .sse41, .sse42, .avx, .avx2, .fma, .f16c]

  /// What CPUID shows of these features in one register.
  func shown(in register: Place.Register) -> UInt32 {
    var result: UInt32 = 0
    for place in Self.places where place.register == register && contains(place.feature) {
      for bit in place.bits { result |= 1 << bit }
    }
    return result
  }
}

extension CPUModel {
  var features: CPUFeatures {
    switch self {
    case .p0: []
    case .baseline: [.lahf, .clflush, .rdtscp, .vmx, .pat, .sep, .hugePages, .protection, .machineCheck]
    case .v2: CPUModel.baseline.features.union([.cx16, .popcnt, .sse3, .ssse3, .sse41, .sse42])
    case .v3:
      CPUModel.v2.features.union([.avx, .avx2, .fma, .f16c, .xsave, .bmi1, .bmi2, .lzcnt, .movbe])
    }
  }

  /// What the guest's instructions need of the host's processor, which carries them out, and it lacks. `host` is
  /// made of `chost_feature`.
  package func missing(on host: UInt32) -> [String] {
    let needs: [(CPUFeatures, chost_feature, String)] = [
      (.sse3, CHOST_SSE3, "SSE3"), (.ssse3, CHOST_SSSE3, "SSSE3"), (.sse41, CHOST_SSE41, "SSE4.1"),
      (.sse42, CHOST_SSE42, "SSE4.2"), (.popcnt, CHOST_POPCNT, "POPCNT"), (.avx, CHOST_AVX, "AVX"),
      (.avx2, CHOST_AVX2, "AVX2"), (.fma, CHOST_FMA, "FMA"), (.f16c, CHOST_F16C, "F16C"), (.bmi1, CHOST_BMI1, "BMI1"),
      (.bmi2, CHOST_BMI2, "BMI2"), (.lzcnt, CHOST_LZCNT, "LZCNT"),
    ]
    return needs.filter { features.contains($0.0) && host & $0.1.rawValue == 0 }.map(\.2)
  }

  /// The most that this host's processor can carry out.
  package static var widest: CPUModel {
    [.v3, .v2].first { $0.missing(on: chost_features()).isEmpty } ?? .baseline
  }

  /// One clear line where the host's processor lacks something.
  func requireHost() throws(VMError) {
    let missing = missing(on: chost_features())
    guard !missing.isEmpty else { return }
    throw VMError(
      .host, "--cpu \(rawValue): this host's processor has no \(missing.joined(separator: ", "))",
      remedy: "take --cpu \(CPUModel.widest.rawValue)")
  }
}

extension Translator {
  /// Which feature the sets of instructions belong to; those of every processor are not listed.
  private static let features: [CPUFeatures] = {
    let rows: [(ZydisISASet, CPUFeatures)] = [
      (ZYDIS_ISA_SET_SSE3, .sse3), (ZYDIS_ISA_SET_SSE3X87, .sse3), (ZYDIS_ISA_SET_SSSE3, .ssse3),
      (ZYDIS_ISA_SET_SSSE3MMX, .ssse3), (ZYDIS_ISA_SET_SSE4, .sse41), (ZYDIS_ISA_SET_SSE42, .sse42),
      (ZYDIS_ISA_SET_CMPXCHG16B, .cx16), (ZYDIS_ISA_SET_POPCNT, .popcnt), (ZYDIS_ISA_SET_AVX, .avx),
      (ZYDIS_ISA_SET_AVX2, .avx2), (ZYDIS_ISA_SET_AVX2GATHER, .avx2), (ZYDIS_ISA_SET_FMA, .fma),
      (ZYDIS_ISA_SET_F16C, .f16c), (ZYDIS_ISA_SET_XSAVE, .xsave), (ZYDIS_ISA_SET_BMI1, .bmi1),
      (ZYDIS_ISA_SET_BMI2, .bmi2), (ZYDIS_ISA_SET_LZCNT, .lzcnt), (ZYDIS_ISA_SET_MOVBE, .movbe),
      (ZYDIS_ISA_SET_CLFSH, .clflush), (ZYDIS_ISA_SET_RDTSCP, .rdtscp),
    ]
    let last = rows.map { Int($0.0.rawValue) }.max() ?? 0
    var table = [CPUFeatures](repeating: [], count: last + 1)
    for (set, feature) in rows { table[Int(set.rawValue)] = feature }
    return table
  }()

  /// Does this processor have the instruction?
  var isPresent: Bool {
    // VEX prefixes mean something else in real and virtual-8086 mode (SDM 2A 2.3.3).
    if instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX && !context.isProtected { return false }
    let set = instruction.meta.isa_set
    // LAHF and SAHF are new in 64-bit mode alone.
    if set == ZYDIS_ISA_SET_LAHF { return !context.isLong64 || features.contains(.lahf) }
    let index = Int(set.rawValue)
    return index >= Self.features.count || features.isSuperset(of: Self.features[index])
  }
}
