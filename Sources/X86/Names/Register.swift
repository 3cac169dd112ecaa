/// Which part of a general-purpose register a name means (SDM 1 3.4.1).
package enum RegisterPart: UInt8, Hashable, Sendable {
  case low8, high8, word, dword, qword

  /// Width in bits.
  package var bits: Int {
    switch self {
    case .low8, .high8: 8
    case .word: 16
    case .dword: 32
    case .qword: 64
    }
  }
}

/// MSR-backed and other single system registers that have a name of their own in a debugger.
package enum SystemRegister: String, CaseIterable, Hashable, Sendable {
  case efer, star, lstar, cstar, sfmask
  case kernelgsbase = "kernel_gs_base"
  case sysenterCS = "sysenter_cs"
  case sysenterESP = "sysenter_esp"
  case sysenterEIP = "sysenter_eip"
  case pat
  case tscAux = "tsc_aux"
  case xcr0
  case tscOffset = "tsc_offset"
  case gdtrBase = "gdtr_base"
  case gdtrLimit = "gdtr_limit"
  case idtrBase = "idtr_base"
  case idtrLimit = "idtr_limit"
  case mxcsr
  case fpuControl = "fctrl"
  case fpuStatus = "fstat"
  case fpuTag = "ftag"
  case cpl
}

/// One field of a segment register's hidden part.
package enum SegmentField: String, CaseIterable, Hashable, Sendable { case base, limit, access }

/// Anything a person can name as a register: what it is, without a vCPU to read it from.
package enum Register: Hashable, Sendable {
  case gpr(GPR, RegisterPart)
  /// RIP, EIP or IP; the width in bits.
  case instructionPointer(bits: Int)
  /// RFLAGS, EFLAGS or FLAGS; the width in bits.
  case flags(bits: Int)
  /// A bit or field of RFLAGS: `zf`, `iopl`.
  case flag(bit: Int, width: Int)
  /// The visible selector.
  case segment(SegmentName)
  /// `cs_base`, `gs_limit`, `ss_access`.
  case segmentField(SegmentName, SegmentField)
  /// CR0, CR2, CR3, CR4 or CR8.
  case control(UInt8)
  /// DR0..DR3, DR6 or DR7.
  case debug(UInt8)
  case system(SystemRegister)
  /// XMM0..XMM15, 128 bits.
  case xmm(UInt8)
  /// YMM0..YMM15, 256 bits.
  case ymm(UInt8)
  /// ST(0)..ST(7), 80 bits.
  case st(UInt8)

  /// Width in bits.
  package var bits: Int {
    switch self {
    case .gpr(_, let part): part.bits
    case .instructionPointer(let bits), .flags(let bits): bits
    case .flag(_, let width): width
    case .segment: 16
    case .segmentField(_, let field): field == .base ? 64 : 32
    case .control, .debug: 64
    case .system(let register): register.bits
    case .xmm: 128
    case .ymm: 256
    case .st: 80
    }
  }

  /// The lower-case name a debugger prints: `rax`, `al`, `cs`, `cr0`, `zf`, `xmm3`, `st0`.
  package var name: String {
    switch self {
    case .gpr(let gpr, let part): gpr.name(part)
    case .instructionPointer(let bits): bits == 64 ? "rip" : bits == 32 ? "eip" : "ip"
    case .flags(let bits): bits == 64 ? "rflags" : bits == 32 ? "eflags" : "flags"
    case .flag(let bit, _): RFLAGS.bits.first { $0.bit == bit }?.name ?? "flag\(bit)"
    case .segment(let segment): segment.name
    case .segmentField(let segment, let field): "\(segment.name)_\(field.rawValue)"
    case .control(let number): "cr\(number)"
    case .debug(let number): "dr\(number)"
    case .system(let register): register.rawValue
    case .xmm(let number): "xmm\(number)"
    case .ymm(let number): "ymm\(number)"
    case .st(let number): "st\(number)"
    }
  }
}

extension SystemRegister {
  /// Width in bits.
  package var bits: Int {
    switch self {
    case .cpl: 2
    case .gdtrLimit, .idtrLimit, .fpuControl, .fpuStatus, .fpuTag: 16
    case .mxcsr, .tscAux: 32
    default: 64
    }
  }
}

extension GPR {
  /// The name of a part of this register: `rax`, `eax`, `ax`, `al`, `ah`, `r8d`. `high8` of a register
  /// that has none is the name of its low byte (SDM 1 3.4.1.1).
  package func name(_ part: RegisterPart) -> String {
    if rawValue >= 8 {
      switch part {
      case .low8, .high8: return name + "b"
      case .word: return name + "w"
      case .dword: return name + "d"
      case .qword: return name
      }
    }
    let short = String(name.dropFirst())
    switch part {
    case .qword: return name
    case .dword: return "e" + short
    case .word: return short
    case .high8 where rawValue < 4: return String(short.prefix(1)) + "h"
    case .low8, .high8: return rawValue < 4 ? String(short.prefix(1)) + "l" : short + "l"
    }
  }
}
