/// The hypercall doorbell: a guest asks the monitor by `OUT DX, EAX` with DX = 4852h ("HR"). The number
/// is in EAX, arguments are in RBX and RCX (RDX holds the port; RSI and the rest of RDX are kept for
/// calls to come), the result comes back in RAX. In 16- and 32-bit code the low 32 bits of the registers
/// count, and the upper half of RAX becomes zero. Errors are negative numbers, as Linux numbers them.
/// Other registers and the flags stay as they are. Pointers are linear addresses, translated page by
/// page.
///
/// | number | name | RBX | RCX | result |
/// |---|---|---|---|---|
/// | 0 | probe | | | 1, the version of this table. Without a doorbell RAX keeps its 0 |
/// | 1 | console_write | address | length | bytes written, at most 65536; -14 where the first is not mapped |
/// | 2 | yield | | | 0; other processors run first |
/// | 3 | shutdown | status | | 0; the machine stops: orderly for status 0, else with its low 8 bits |
/// | 4 | get_time | | | virtual time in ns |
/// | 5 | map_query | address | | guest-physical address behind it, or -14 |
///
/// Any other number gives -38. A read of the port gives the version.
package enum HypercallABI {
  package static let port: UInt16 = 0x4852
  package static let version: UInt64 = 1

  package enum Call: UInt64, CaseIterable, Sendable {
    case probe = 0, consoleWrite = 1, yield = 2, shutdown = 3, getTime = 4, mapQuery = 5

    package var name: String {
      switch self {
      case .probe: "probe"
      case .consoleWrite: "console_write"
      case .yield: "yield"
      case .shutdown: "shutdown"
      case .getTime: "get_time"
      case .mapQuery: "map_query"
      }
    }

    /// Names of the arguments, in RBX and RCX.
    package var argumentNames: [String] {
      switch self {
      case .consoleWrite: ["ptr", "len"]
      case .shutdown: ["status"]
      case .mapQuery: ["ptr"]
      case .probe, .yield, .getTime: []
      }
    }
  }

  /// EFAULT: no memory behind the address.
  package static let fault: Int64 = -14
  /// ENOSYS: no such call.
  package static let noSuchCall: Int64 = -38
  /// Bytes one console_write takes.
  package static let writeLimit: UInt64 = 65536

  /// The call's name, or its number in words.
  package static func name(_ number: UInt64) -> String { Call(rawValue: number)?.name ?? "hypercall_\(number)" }
  package static func argumentNames(_ number: UInt64) -> [String] {
    Call(rawValue: number)?.argumentNames ?? ["rbx", "rcx"]
  }
}
