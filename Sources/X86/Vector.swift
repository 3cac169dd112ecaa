/// An interrupt or exception vector.
@usableFromInline package typealias Vector = UInt8

/// The architecture's exceptions (SDM 3A table 6-1).
package enum Exception: UInt8, CaseIterable, Sendable {
  case de = 0, db = 1, nmi = 2, bp = 3, of = 4, br = 5, ud = 6, nm = 7, df = 8
  case ts = 10, np = 11, ss = 12, gp = 13, pf = 14, mf = 16, ac = 17, mc = 18, xm = 19, ve = 20, cp = 21

  package var pushesErrorCode: Bool {
    switch self {
    case .df, .ts, .np, .ss, .gp, .pf, .ac, .cp: true
    default: false
    }
  }

  package var mnemonic: String {
    switch self {
    case .de: "#DE"
    case .db: "#DB"
    case .nmi: "NMI"
    case .bp: "#BP"
    case .of: "#OF"
    case .br: "#BR"
    case .ud: "#UD"
    case .nm: "#NM"
    case .df: "#DF"
    case .ts: "#TS"
    case .np: "#NP"
    case .ss: "#SS"
    case .gp: "#GP"
    case .pf: "#PF"
    case .mf: "#MF"
    case .ac: "#AC"
    case .mc: "#MC"
    case .xm: "#XM"
    case .ve: "#VE"
    case .cp: "#CP"
    }
  }

  package var meaning: String {
    switch self {
    case .de: "divide error"
    case .db: "debug exception"
    case .nmi: "non-maskable interrupt"
    case .bp: "breakpoint (INT3)"
    case .of: "overflow (INTO)"
    case .br: "BOUND range exceeded"
    case .ud: "undefined opcode"
    case .nm: "FPU not available"
    case .df: "double fault"
    case .ts: "invalid TSS"
    case .np: "segment not present"
    case .ss: "stack fault"
    case .gp: "general protection"
    case .pf: "page fault"
    case .mf: "x87 floating-point error"
    case .ac: "alignment check"
    case .mc: "machine check"
    case .xm: "SIMD floating-point error"
    case .ve: "virtualization exception"
    case .cp: "control protection"
    }
  }
}

/// Page-fault error code bits (SDM 3A 4.7).
@usableFromInline package enum PageFaultError {
  @inlinable @inline(__always) package static var present: UInt32 { 1 << 0 }
  @inlinable @inline(__always) package static var write: UInt32 { 1 << 1 }
  @inlinable @inline(__always) package static var user: UInt32 { 1 << 2 }
  @inlinable @inline(__always) package static var reserved: UInt32 { 1 << 3 }
  @inlinable @inline(__always) package static var fetch: UInt32 { 1 << 4 }
}
