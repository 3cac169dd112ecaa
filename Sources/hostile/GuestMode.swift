/// A mode of the processor a random program starts in.
package struct GuestMode: Sendable, Equatable, CustomStringConvertible {
  package enum Code: String, CaseIterable, Sendable {
    case real, virtual8086, protected16, protected32, compatibility16, compatibility32, long64
  }
  package enum Paging: String, CaseIterable, Sendable { case none, bits32, pae, level4 }

  package var code: Code
  package var paging: Paging
  package var ring: UInt8

  /// Every combination there is (SDM 3A 2.2, 4.1).
  package static let all: [GuestMode] = Code.allCases.flatMap { code in
    paging(of: code).flatMap { paging in rings(of: code).map { GuestMode(code: code, paging: paging, ring: $0) } }
  }

  private static func paging(of code: Code) -> [Paging] {
    switch code {
    case .real: [.none]
    case .virtual8086: [.none, .bits32]
    case .protected16, .protected32: [.none, .bits32, .pae]
    case .compatibility16, .compatibility32, .long64: [.level4]
    }
  }
  private static func rings(of code: Code) -> [UInt8] {
    switch code {
    case .real: [0]
    case .virtual8086: [3]
    default: [0, 3]
    }
  }

  /// `protected32-pae-ring3`.
  package var description: String {
    let tables = paging == .none || paging == .level4 ? "" : "-\(paging.rawValue)"
    let rank = code == .real || code == .virtual8086 ? "" : "-ring\(ring)"
    return code.rawValue + tables + rank
  }

  /// Width of operands and addresses without prefix.
  var bits: Int {
    switch code {
    case .real, .virtual8086, .protected16, .compatibility16: 16
    case .protected32, .compatibility32: 32
    case .long64: 64
    }
  }
  var isLong: Bool { paging == .level4 }
  /// Handlers of interrupts run in 16-bit code with 16-bit gates.
  var hasSmallHandlers: Bool { code == .real || code == .protected16 }
}
