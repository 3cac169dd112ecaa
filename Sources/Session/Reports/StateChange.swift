import Debugger
import VMCore
import X86

/// A register that differs between two states.
package struct StateChange: Equatable, Sendable {
  package var name: String
  package var before: UInt64
  package var after: UInt64
  /// Bits that changed, by name: `+ZF -CF`.
  package var bits = ""

  /// Every register that differs, by name.
  package static func between(_ a: VCPUState, _ b: VCPUState) -> [StateChange] {
    var all: [StateChange] = []
    func add(_ name: String, _ before: UInt64, _ after: UInt64, bits: [BitName] = []) {
      guard before != after else { return }
      let changed = bits.filter { $0.width == 1 && (before ^ after) >> UInt64($0.bit) & 1 != 0 }
      let words = changed.map { (after >> UInt64($0.bit) & 1 != 0 ? "+" : "-") + $0.name.uppercased() }
      all.append(StateChange(name: name, before: before, after: after, bits: words.joined(separator: " ")))
    }
    for register in GPR.allCases { add(register.name, a[register], b[register]) }
    add("rip", a.rip, b.rip)
    add("rflags", a.rflags, b.rflags, bits: RFLAGS.bits)
    for name in SegmentName.allCases {
      add("\(name)", UInt64(a[name].selector), UInt64(b[name].selector))
      add("\(name).base", a[name].base, b[name].base)
      add("\(name).limit", UInt64(a[name].limit), UInt64(b[name].limit))
      add("\(name).access", UInt64(a[name].access), UInt64(b[name].access))
    }
    add("gdtr.base", a.gdtr.base, b.gdtr.base)
    add("gdtr.limit", UInt64(a.gdtr.limit), UInt64(b.gdtr.limit))
    add("idtr.base", a.idtr.base, b.idtr.base)
    add("idtr.limit", UInt64(a.idtr.limit), UInt64(b.idtr.limit))
    add("cr0", a.cr0, b.cr0, bits: CR0.bits)
    add("cr2", a.cr2, b.cr2)
    add("cr3", a.cr3, b.cr3)
    add("cr4", a.cr4, b.cr4, bits: CR4.bits)
    add("cr8", a.cr8, b.cr8)
    add("efer", a.efer, b.efer, bits: EFER.bits)
    for index in 0..<4 { add("dr\(index)", a.dr[index], b.dr[index]) }
    add("dr6", a.dr6, b.dr6)
    add("dr7", a.dr7, b.dr7)
    for (name, before, after) in [
      ("star", a.star, b.star), ("lstar", a.lstar, b.lstar), ("sfmask", a.sfmask, b.sfmask),
      ("kernel_gs_base", a.kernelGSBase, b.kernelGSBase), ("tsc_aux", a.tscAux, b.tscAux), ("pat", a.pat, b.pat),
      ("xcr0", a.xcr0, b.xcr0),
    ] { add(name, before, after) }
    for index in 0..<8 { add("st\(index)", a.fpu.significand[index], b.fpu.significand[index]) }
    add("mxcsr", UInt64(a.fpu.mxcsr), UInt64(b.fpu.mxcsr))
    for index in 0..<16 {
      add("xmm\(index).low", a.fpu.xmm[index * 2], b.fpu.xmm[index * 2])
      add("xmm\(index).high", a.fpu.xmm[index * 2 + 1], b.fpu.xmm[index * 2 + 1])
      add("ymm\(index).2", a.fpu.ymmHigh[index * 2], b.fpu.ymmHigh[index * 2])
      add("ymm\(index).3", a.fpu.ymmHigh[index * 2 + 1], b.fpu.ymmHigh[index * 2 + 1])
    }
    return all
  }

  /// The same of what is taken at an exit.
  static func between(_ a: RegisterCapture, _ b: RegisterCapture) -> [StateChange] {
    var (x, y) = (VCPUState(), VCPUState())
    for register in GPR.allCases { (x[register], y[register]) = (a[register], b[register]) }
    (x.rip, y.rip, x.rflags, y.rflags) = (a.rip, b.rip, a.rflags, b.rflags)
    (x[.cs].base, y[.cs].base, x[.cs].selector, y[.cs].selector) = (a.csBase, b.csBase, a.csSelector, b.csSelector)
    return between(x, y)
  }

  /// What both states are, as wide as the wider one.
  package var texts: (before: String, after: String) {
    let width = max(String(before | after, radix: 16).count, 4)
    return (Hex.padded(before, width), Hex.padded(after, width))
  }
}
