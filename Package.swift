// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [.treatAllWarnings(as: .error)]

/// The hot modules own their state on one thread at a time by construction; the run-time checks of exclusive
/// access cost a fifth of an exit there.
let hot: [SwiftSetting] = strict + [.unsafeFlags(["-enforce-exclusivity=unchecked"])]

/// A target and the test target that goes with it.
func room(
  _ name: String, _ dependencies: [Target.Dependency], tests: [Target.Dependency] = [], testData: [String] = [],
  settings: [SwiftSetting] = strict
) -> [Target] {
  [
    .target(name: name, dependencies: dependencies, swiftSettings: settings),
    .testTarget(
      name: "\(name)Tests", dependencies: [.byName(name: name)] + dependencies + tests, exclude: testData,
      swiftSettings: strict),
  ]
}

let package = Package(
  name: "ringside",
  products: [.executable(name: "ringside", targets: ["ringside"])],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
  ],
  targets: [
    .systemLibrary(name: "CZydis", providers: [.apt(["libzydis-dev"])]),
    .systemLibrary(name: "CElf", providers: [.apt(["libelf-dev"])]),
    .systemLibrary(name: "CZlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(name: "CLz4", providers: [.apt(["liblz4-dev"])]),
    .systemLibrary(name: "CLzma", providers: [.apt(["liblzma-dev"])]),
    .systemLibrary(name: "CZstd", providers: [.apt(["libzstd-dev"])]),
    .systemLibrary(name: "CXXHash", providers: [.apt(["libxxhash-dev"])]),
    .target(name: "CHost"),
    .target(name: "CNcurses", linkerSettings: [.linkedLibrary("ncursesw"), .linkedLibrary("tinfo")]),
  ]
    + room("Host", ["CHost"])
    + room("X86", ["CZydis"])
    + room("VMCore", ["X86"], settings: hot)
    + room("Engines", ["VMCore", "X86", "Host", "CZydis", "CHost"], tests: ["COracle"], settings: hot)
    + room("Machine", ["VMCore", "X86", "CElf", "CZlib", "CLz4", "CLzma", "CZstd"], settings: hot)
    + room("Paravirtual", ["VMCore", "X86"], settings: hot)
    + room("Debugger", ["VMCore", "X86", "CElf"])
    + room(
      "Session",
      [
        "Debugger", "Machine", "Paravirtual", "Engines", "VMCore", "X86", "Host", "CXXHash", "CZlib",
        .product(name: "DequeModule", package: "swift-collections"), "TOMLKit",
      ], testData: ["Captures"], settings: hot)
    + room("TerminalUI", ["CNcurses", "TOMLKit"], tests: ["TerminalDriver"], settings: hot)
    + room(
      "Console", ["Session", "Debugger", "VMCore", "X86", "TerminalUI", "TOMLKit"], tests: ["TerminalDriver"],
      testData: ["Goldens"], settings: hot)
    + [
      .executableTarget(
        name: "ringside",
        dependencies: [
          "Console", "Session", "TerminalUI", "Host",
          .product(name: "ArgumentParser", package: "swift-argument-parser"),
        ], swiftSettings: strict),
      .executableTarget(
        name: "vectors", dependencies: ["Engines", "VMCore", "X86", "CZlib"], swiftSettings: strict),
      .target(name: "TerminalDriver", dependencies: ["Host"], swiftSettings: strict),
      .executableTarget(
        name: "bench",
        dependencies: ["Console", "Session", "TerminalUI", "TerminalDriver", "Engines", "Machine", "VMCore", "X86"],
        swiftSettings: strict),
      .testTarget(name: "BenchTests", dependencies: ["bench"], swiftSettings: strict),
      .executableTarget(
        name: "hostile",
        dependencies: [
          "Session", "Machine", "Engines", "VMCore", "X86", "Host",
          .product(name: "ArgumentParser", package: "swift-argument-parser"),
        ], swiftSettings: strict),
      .testTarget(name: "HostileTests", dependencies: ["hostile", "Session", "VMCore"], swiftSettings: strict),
      .target(name: "COracle", path: "Tests/COracle"),
      .testTarget(
        name: "RingsideTests", dependencies: ["ringside", "TerminalDriver"], swiftSettings: strict),
    ],
  swiftLanguageModes: [.v6]
)
