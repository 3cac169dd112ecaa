/// A general-purpose register, numbered as ModRM and REX number it (SDM 2 table 2-2).
package enum GPR: UInt8, CaseIterable, Sendable {
  case rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15

  package var name: String {
    switch self {
    case .rax: "rax"
    case .rcx: "rcx"
    case .rdx: "rdx"
    case .rbx: "rbx"
    case .rsp: "rsp"
    case .rbp: "rbp"
    case .rsi: "rsi"
    case .rdi: "rdi"
    default: "r\(rawValue)"
    }
  }
}

/// A segment register with a hidden descriptor cache: the six data and code segments as the
/// instruction encodings number them, then LDTR and TR.
package enum SegmentName: UInt8, CaseIterable, Sendable {
  case es, cs, ss, ds, fs, gs, ldtr, tr

  package var name: String {
    switch self {
    case .es: "es"
    case .cs: "cs"
    case .ss: "ss"
    case .ds: "ds"
    case .fs: "fs"
    case .gs: "gs"
    case .ldtr: "ldtr"
    case .tr: "tr"
    }
  }
}

/// What the processor decodes and protects by (SDM 3A 2.2): follows from CR0.PE, RFLAGS.VM,
/// EFER.LMA and the code segment's L and D bits.
package enum ProcessorMode: UInt8, Sendable, CaseIterable {
  case real16, virtual8086, protected16, protected32, compatibility16, compatibility32, long64

  package var name: String {
    switch self {
    case .real16: "REAL16"
    case .virtual8086: "V86"
    case .protected16: "PROT16"
    case .protected32: "PROT32"
    case .compatibility16: "COMPAT16"
    case .compatibility32: "COMPAT32"
    case .long64: "LONG64"
    }
  }

  /// Default operand size of the code segment, in bits: 16, 32 or 64.
  package var codeBits: Int {
    switch self {
    case .real16, .virtual8086, .protected16, .compatibility16: 16
    case .protected32, .compatibility32: 32
    case .long64: 64
    }
  }
}
