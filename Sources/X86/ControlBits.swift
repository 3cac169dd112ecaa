/// One named bit or field of a register, for display and explanation.
package struct BitName: Sendable {
  package let bit: Int
  package let width: Int
  package let name: String
  package let meaning: String

  package init(_ bit: Int, _ name: String, _ meaning: String, width: Int = 1) {
    self.bit = bit
    self.width = width
    self.name = name
    self.meaning = meaning
  }
}

/// RFLAGS (SDM 1 3.4.3).
package enum RFLAGS {
  package static let cf: UInt64 = 1 << 0
  package static let fixed1: UInt64 = 1 << 1
  package static let pf: UInt64 = 1 << 2
  package static let af: UInt64 = 1 << 4
  package static let zf: UInt64 = 1 << 6
  package static let sf: UInt64 = 1 << 7
  package static let tf: UInt64 = 1 << 8
  package static let interruptEnable: UInt64 = 1 << 9
  package static let df: UInt64 = 1 << 10
  package static let of: UInt64 = 1 << 11
  package static let iopl: UInt64 = 3 << 12
  package static let nt: UInt64 = 1 << 14
  package static let rf: UInt64 = 1 << 16
  package static let vm: UInt64 = 1 << 17
  package static let ac: UInt64 = 1 << 18
  package static let vif: UInt64 = 1 << 19
  package static let vip: UInt64 = 1 << 20
  package static let id: UInt64 = 1 << 21
  /// CF, PF, AF, ZF, SF and OF.
  package static let arithmetic: UInt64 = 0x8D5

  package static let bits: [BitName] = [
    BitName(0, "cf", "carry"), BitName(2, "pf", "parity of the low byte"), BitName(4, "af", "carry out of bit 3"),
    BitName(6, "zf", "result was zero"), BitName(7, "sf", "sign of the result"), BitName(8, "tf", "single-step trap"),
    BitName(9, "if", "external interrupts enabled"), BitName(10, "df", "string instructions count down"),
    BitName(11, "of", "signed overflow"), BitName(12, "iopl", "I/O privilege level", width: 2),
    BitName(14, "nt", "nested task"), BitName(16, "rf", "resume: instruction breakpoints off for one instruction"),
    BitName(17, "vm", "virtual-8086 mode"), BitName(18, "ac", "alignment check, or SMAP override"),
    BitName(19, "vif", "virtual interrupt flag"), BitName(20, "vip", "virtual interrupt pending"),
    BitName(21, "id", "CPUID is there"),
  ]
}

/// CR0 (SDM 3A 2.5).
package enum CR0 {
  package static let pe: UInt64 = 1 << 0
  package static let mp: UInt64 = 1 << 1
  package static let em: UInt64 = 1 << 2
  package static let ts: UInt64 = 1 << 3
  package static let et: UInt64 = 1 << 4
  package static let ne: UInt64 = 1 << 5
  package static let wp: UInt64 = 1 << 16
  package static let am: UInt64 = 1 << 18
  package static let nw: UInt64 = 1 << 29
  package static let cd: UInt64 = 1 << 30
  package static let pg: UInt64 = 1 << 31

  package static let bits: [BitName] = [
    BitName(0, "pe", "protected mode"), BitName(1, "mp", "WAIT honours TS"), BitName(2, "em", "no FPU: emulate"),
    BitName(3, "ts", "task switched: FPU use traps"), BitName(4, "et", "387 present, always 1"),
    BitName(5, "ne", "native FPU errors"), BitName(16, "wp", "ring 0 honours read-only pages"),
    BitName(18, "am", "alignment check allowed"), BitName(29, "nw", "not write-through"),
    BitName(30, "cd", "cache disabled"), BitName(31, "pg", "paging"),
  ]
}

/// CR4 (SDM 3A 2.5).
package enum CR4 {
  package static let vme: UInt64 = 1 << 0
  package static let pvi: UInt64 = 1 << 1
  package static let tsd: UInt64 = 1 << 2
  package static let de: UInt64 = 1 << 3
  package static let pse: UInt64 = 1 << 4
  package static let pae: UInt64 = 1 << 5
  package static let mce: UInt64 = 1 << 6
  package static let pge: UInt64 = 1 << 7
  package static let pce: UInt64 = 1 << 8
  package static let osfxsr: UInt64 = 1 << 9
  package static let osxmmexcpt: UInt64 = 1 << 10
  package static let umip: UInt64 = 1 << 11
  package static let la57: UInt64 = 1 << 12
  package static let vmxe: UInt64 = 1 << 13
  package static let smxe: UInt64 = 1 << 14
  package static let fsgsbase: UInt64 = 1 << 16
  package static let pcide: UInt64 = 1 << 17
  package static let osxsave: UInt64 = 1 << 18
  package static let smep: UInt64 = 1 << 20
  package static let smap: UInt64 = 1 << 21
  package static let pke: UInt64 = 1 << 22

  package static let bits: [BitName] = [
    BitName(0, "vme", "virtual-8086 extensions"), BitName(1, "pvi", "protected-mode virtual interrupts"),
    BitName(2, "tsd", "RDTSC only in ring 0"), BitName(3, "de", "debugging extensions"),
    BitName(4, "pse", "4 MiB pages"), BitName(5, "pae", "physical address extension"),
    BitName(6, "mce", "machine check"), BitName(7, "pge", "global pages"), BitName(8, "pce", "RDPMC in ring 3"),
    BitName(9, "osfxsr", "FXSAVE and SSE enabled"), BitName(10, "osxmmexcpt", "SSE exceptions as #XM"),
    BitName(11, "umip", "SGDT, SIDT, SLDT, STR, SMSW only in ring 0"), BitName(12, "la57", "5-level paging"),
    BitName(13, "vmxe", "VMX enabled"), BitName(14, "smxe", "SMX enabled"),
    BitName(16, "fsgsbase", "RDFSBASE and friends"), BitName(17, "pcide", "process-context identifiers"),
    BitName(18, "osxsave", "XSAVE enabled"), BitName(20, "smep", "ring 0 may not execute user pages"),
    BitName(21, "smap", "ring 0 may not access user pages"), BitName(22, "pke", "protection keys"),
  ]
}

/// IA32_EFER (SDM 4 table 2-2).
package enum EFER {
  package static let sce: UInt64 = 1 << 0
  package static let lme: UInt64 = 1 << 8
  package static let lma: UInt64 = 1 << 10
  package static let nxe: UInt64 = 1 << 11

  package static let bits: [BitName] = [
    BitName(0, "sce", "SYSCALL enabled"), BitName(8, "lme", "long mode enabled"),
    BitName(10, "lma", "long mode active"), BitName(11, "nxe", "no-execute pages"),
  ]
}
