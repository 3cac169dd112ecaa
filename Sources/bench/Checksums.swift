/// What the tests of the known guests must compute.
package enum Checksums {
  /// A test's checksum with its default count.
  package struct Row: Sendable {
    package let count: UInt64
    package let checksum: UInt64
    /// Another count gives another checksum.
    package let dependsOnCount: Bool
    init(_ count: UInt64, _ checksum: UInt64, _ dependsOnCount: Bool = true) {
      self.count = count
      self.checksum = checksum
      self.dependsOnCount = dependsOnCount
    }
  }

  /// The compute kernels, whose geometric mean is held against the target.
  package static let compute = [
    "intloop", "sieve", "sha256", "memcpy", "repmovs", "matmul", "qsort", "interp", "ptrchase", "fib",
  ]

  /// Checksums by the name in the guest's first line; empty for a guest nobody knows.
  package static func table(of guest: String) -> [String: Row] {
    switch guest {
    case "bench": own
    case "nanobench32", "nanobench64": nanobench
    default: [:]
    }
  }

  /// `Samples/bench/README.md`
  private static let own: [String: Row] = [
    "intloop": Row(2_000_000, 0xc385_0f01_ec06_8f96), "sieve": Row(2, 0x132a2, false),
    "sha256": Row(2, 0x8f97_e663_2918_4b76, false), "memcpy": Row(4, 0x3d78_ea14_fe11_b000, false),
    "repmovs": Row(4, 0x3d78_ea14_fe11_b000, false), "matmul": Row(8, 0xffff_ffff_ffff_fcef, false),
    "qsort": Row(2, 0x35a0_6a32_edd4_1ffa, false), "interp": Row(20, 0xf7d0_de17_34f6_2dbe),
    "ptrchase": Row(1_000_000, 0x3f5e6), "fib": Row(60, 0x1a6d, false), "smc": Row(20_000, 0xbebe910),
    "pgfault": Row(50_000, 0x249f0), "ptemod": Row(100_000, 0x249f0),
  ]

  private static let nanobench: [String: Row] = [
    "smc": Row(20_000, 0x0beb_e910), "intloop": Row(2_000_000, 0xc71d_e45e_dafc_c1d8),
    "sieve": Row(4, 0x14069, false), "sha256": Row(2, 0xcf5c_d75f_5281_12ed, false),
    "memcpy": Row(2, 0x5278_0c3c_49d0_adda, false), "repmovs": Row(2, 0x5278_0c3c_49d0_adda, false),
    "matmul": Row(4, 0x2ffb, false), "qsort": Row(2, 0xa581_9694_7835_9f19, false),
    "interp": Row(8, 0xb3cd_dbfd_87cf_a318), "ptrchase": Row(1_000_000, 0x26024), "fib": Row(20, 0x452f, false),
  ]

  /// What is wrong with a result; nil where it is right or nobody knows.
  package static func complaint(_ name: String, count: UInt64, checksum: UInt64, guest: String) -> String? {
    guard let row = table(of: guest)[name], !row.dependsOnCount || count == row.count, checksum != row.checksum else {
      return nil
    }
    let found = String(checksum, radix: 16)
    return "\(name) \(count): checksum \(found), expected \(String(row.checksum, radix: 16))"
  }
}
