import VMCore
import X86

/// Why a register was not written.
package struct RegisterError: Error, Equatable, Sendable, CustomStringConvertible {
  package var message: String
  package var description: String { message }
}

extension VCPUState {
  /// The value of `register`, zero-extended; of XMM, YMM and ST registers the low 64 bits.
  package func read(_ register: Register) -> UInt64 {
    switch register {
    case .gpr(let gpr, let part):
      let value = self[gpr]
      switch part {
      case .low8: return value & 0xFF
      case .high8: return value >> 8 & 0xFF
      case .word: return value & 0xFFFF
      case .dword: return value & 0xFFFF_FFFF
      case .qword: return value
      }
    case .instructionPointer(let bits): return rip & Self.mask(bits)
    case .flags(let bits): return rflags & Self.mask(bits)
    case .flag(let bit, let width): return rflags >> UInt64(bit) & Self.mask(width)
    case .segment(let name): return UInt64(self[name].selector)
    case .segmentField(let name, let field):
      switch field {
      case .base: return self[name].base
      case .limit: return UInt64(self[name].limit)
      case .access: return UInt64(self[name].access)
      }
    case .control(let number): return controlRegister(number)
    case .debug(let number): return number < 4 ? dr[Int(number)] : number & 1 == 0 ? dr6 : dr7
    case .system(let register): return readSystem(register)
    case .xmm(let number), .ymm(let number): return fpu.xmm[Int(number & 15) * 2]
    case .st(let number): return fpu.significand[Int(number & 7)]
    }
  }

  /// The bits of `register` above the low 64: a vector register's second quadword, an ST register's sign and
  /// exponent, else 0.
  package func readHigh(_ register: Register) -> UInt64 {
    switch register {
    case .xmm(let number), .ymm(let number): fpu.xmm[Int(number & 15) * 2 + 1]
    case .st(let number): UInt64(fpu.signExponent[Int(number & 7)])
    default: 0
    }
  }

  private func controlRegister(_ number: UInt8) -> UInt64 {
    switch number {
    case 0: cr0
    case 2: cr2
    case 3: cr3
    case 4: cr4
    case 8: cr8
    default: 0
    }
  }

  private func readSystem(_ register: SystemRegister) -> UInt64 {
    switch register {
    case .efer: efer
    case .star: star
    case .lstar: lstar
    case .cstar: cstar
    case .sfmask: sfmask
    case .kernelgsbase: kernelGSBase
    case .sysenterCS: sysenterCS
    case .sysenterESP: sysenterESP
    case .sysenterEIP: sysenterEIP
    case .pat: pat
    case .tscAux: tscAux
    case .xcr0: xcr0
    case .tscOffset: tscOffset
    case .gdtrBase: gdtr.base
    case .gdtrLimit: UInt64(gdtr.limit)
    case .idtrBase: idtr.base
    case .idtrLimit: UInt64(idtr.limit)
    case .mxcsr: UInt64(fpu.mxcsr)
    case .fpuControl: UInt64(fpu.control)
    case .fpuStatus: UInt64(fpu.status)
    case .fpuTag: UInt64(fpu.tag)
    case .cpl: UInt64(cpl)
    }
  }

  static func mask(_ bits: Int) -> UInt64 { bits >= 64 ? .max : (1 << UInt64(bits)) - 1 }

  /// Sets `register` as a debugger does: a part of a register leaves the rest alone. A selector is loaded with
  /// its descriptor: from the value in real and virtual-8086 mode, else from the guest's tables in `memory`.
  package mutating func write(
    _ register: Register, _ value: UInt64, high: UInt64 = 0, memory: GuestMemory? = nil
  ) throws(RegisterError) {
    guard register.bits >= 64 || value <= Self.mask(register.bits) else {
      throw RegisterError(
        message: "\(register.name) holds \(register.bits) bits; \(Hex.text(value)) does not fit")
    }
    switch register {
    case .gpr(let gpr, let part): writePart(gpr, part, value)
    case .instructionPointer(let bits): rip = bits == 64 ? value : rip & ~Self.mask(bits) | value
    case .flags(let bits): rflags = (rflags & ~Self.mask(bits) | value) & Self.definedFlags | RFLAGS.fixed1
    case .flag(let bit, let width):
      let field = Self.mask(width) << UInt64(bit)
      rflags = rflags & ~field | value << UInt64(bit)
    case .segment(let name): try loadSegment(name, UInt16(truncatingIfNeeded: value), memory: memory)
    case .segmentField(let name, let field):
      switch field {
      case .base: self[name].base = value
      case .limit: self[name].limit = UInt32(truncatingIfNeeded: value)
      case .access: self[name].access = UInt32(truncatingIfNeeded: value)
      }
    case .control(let number): writeControl(number, value)
    case .debug(let number):
      if number < 4 { dr[Int(number)] = value } else if number & 1 == 0 { dr6 = value } else { dr7 = value }
    case .system(let register): try writeSystem(register, value)
    case .xmm(let number):
      fpu.xmm[Int(number & 15) * 2] = value
      fpu.xmm[Int(number & 15) * 2 + 1] = high
    case .ymm(let number):
      try write(.xmm(number), value, high: high)
      (fpu.ymmHigh[Int(number & 15) * 2], fpu.ymmHigh[Int(number & 15) * 2 + 1]) = (0, 0)
    case .st(let number):
      fpu.significand[Int(number & 7)] = value
      fpu.signExponent[Int(number & 7)] = UInt16(truncatingIfNeeded: high)
    }
  }

  /// The bits RFLAGS has; the others read as 0 (SDM 1 3.4.3).
  private static let definedFlags: UInt64 = 0x3F_7FD7

  private mutating func writePart(_ gpr: GPR, _ part: RegisterPart, _ value: UInt64) {
    switch part {
    case .low8: self[gpr] = self[gpr] & ~0xFF | value
    case .high8: self[gpr] = self[gpr] & ~0xFF00 | value << 8
    case .word: self[gpr] = self[gpr] & ~0xFFFF | value
    case .dword: self[gpr] = self[gpr] & ~0xFFFF_FFFF | value
    case .qword: self[gpr] = value
    }
  }

  private mutating func writeControl(_ number: UInt8, _ value: UInt64) {
    switch number {
    case 0: cr0 = value
    case 2: cr2 = value
    case 3: cr3 = value
    case 4: cr4 = value
    default: cr8 = value & 0xF
    }
  }

  private mutating func writeSystem(_ register: SystemRegister, _ value: UInt64) throws(RegisterError) {
    switch register {
    case .efer: efer = value
    case .star: star = value
    case .lstar: lstar = value
    case .cstar: cstar = value
    case .sfmask: sfmask = value
    case .kernelgsbase: kernelGSBase = value
    case .sysenterCS: sysenterCS = value
    case .sysenterESP: sysenterESP = value
    case .sysenterEIP: sysenterEIP = value
    case .pat: pat = value
    case .tscAux: tscAux = value
    case .xcr0: xcr0 = value
    case .tscOffset: tscOffset = value
    case .gdtrBase: gdtr.base = value
    case .gdtrLimit: gdtr.limit = UInt16(truncatingIfNeeded: value)
    case .idtrBase: idtr.base = value
    case .idtrLimit: idtr.limit = UInt16(truncatingIfNeeded: value)
    case .mxcsr: fpu.mxcsr = UInt32(truncatingIfNeeded: value)
    case .fpuControl: fpu.control = UInt16(truncatingIfNeeded: value)
    case .fpuStatus: fpu.status = UInt16(truncatingIfNeeded: value)
    case .fpuTag: fpu.tag = UInt16(truncatingIfNeeded: value)
    case .cpl: throw RegisterError(message: "cpl follows from cs, ss, cr0 and rflags; set those")
    }
  }
}
