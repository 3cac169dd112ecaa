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
/// Constants are computed, so that other modules see their values, not a call.
@usableFromInline package enum RFLAGS {
  @inlinable @inline(__always) package static var cf: UInt64 { 1 << 0 }
  @inlinable @inline(__always) package static var fixed1: UInt64 { 1 << 1 }
  @inlinable @inline(__always) package static var pf: UInt64 { 1 << 2 }
  @inlinable @inline(__always) package static var af: UInt64 { 1 << 4 }
  @inlinable @inline(__always) package static var zf: UInt64 { 1 << 6 }
  @inlinable @inline(__always) package static var sf: UInt64 { 1 << 7 }
  @inlinable @inline(__always) package static var tf: UInt64 { 1 << 8 }
  @inlinable @inline(__always) package static var interruptEnable: UInt64 { 1 << 9 }
  @inlinable @inline(__always) package static var df: UInt64 { 1 << 10 }
  @inlinable @inline(__always) package static var of: UInt64 { 1 << 11 }
  @inlinable @inline(__always) package static var iopl: UInt64 { 3 << 12 }
  @inlinable @inline(__always) package static var nt: UInt64 { 1 << 14 }
  @inlinable @inline(__always) package static var rf: UInt64 { 1 << 16 }
  @inlinable @inline(__always) package static var vm: UInt64 { 1 << 17 }
  @inlinable @inline(__always) package static var ac: UInt64 { 1 << 18 }
  @inlinable @inline(__always) package static var vif: UInt64 { 1 << 19 }
  @inlinable @inline(__always) package static var vip: UInt64 { 1 << 20 }
  @inlinable @inline(__always) package static var id: UInt64 { 1 << 21 }
  /// CF, PF, AF, ZF, SF and OF.
  @inlinable @inline(__always) package static var arithmetic: UInt64 { 0x8D5 }

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
@usableFromInline package enum CR0 {
  @inlinable @inline(__always) package static var pe: UInt64 { 1 << 0 }
  @inlinable @inline(__always) package static var mp: UInt64 { 1 << 1 }
  @inlinable @inline(__always) package static var em: UInt64 { 1 << 2 }
  @inlinable @inline(__always) package static var ts: UInt64 { 1 << 3 }
  @inlinable @inline(__always) package static var et: UInt64 { 1 << 4 }
  @inlinable @inline(__always) package static var ne: UInt64 { 1 << 5 }
  @inlinable @inline(__always) package static var wp: UInt64 { 1 << 16 }
  @inlinable @inline(__always) package static var am: UInt64 { 1 << 18 }
  @inlinable @inline(__always) package static var nw: UInt64 { 1 << 29 }
  @inlinable @inline(__always) package static var cd: UInt64 { 1 << 30 }
  @inlinable @inline(__always) package static var pg: UInt64 { 1 << 31 }

  package static let bits: [BitName] = [
    BitName(0, "pe", "protected mode"), BitName(1, "mp", "WAIT honours TS"), BitName(2, "em", "no FPU: emulate"),
    BitName(3, "ts", "task switched: FPU use traps"), BitName(4, "et", "387 present, always 1"),
    BitName(5, "ne", "native FPU errors"), BitName(16, "wp", "ring 0 honours read-only pages"),
    BitName(18, "am", "alignment check allowed"), BitName(29, "nw", "not write-through"),
    BitName(30, "cd", "cache disabled"), BitName(31, "pg", "paging"),
  ]
}

/// CR4 (SDM 3A 2.5).
/// IA32_DEBUGCTL (SDM 3B 18.4.1): last-branch records, and single steps from branch to branch.
@usableFromInline package enum DebugControl {
  @inlinable @inline(__always) package static var lbr: UInt64 { 1 << 0 }
  @inlinable @inline(__always) package static var btf: UInt64 { 1 << 1 }
  @inlinable @inline(__always) package static var all: UInt64 { lbr | btf }
}

@usableFromInline package enum CR4 {
  @inlinable @inline(__always) package static var vme: UInt64 { 1 << 0 }
  @inlinable @inline(__always) package static var pvi: UInt64 { 1 << 1 }
  @inlinable @inline(__always) package static var tsd: UInt64 { 1 << 2 }
  @inlinable @inline(__always) package static var de: UInt64 { 1 << 3 }
  @inlinable @inline(__always) package static var pse: UInt64 { 1 << 4 }
  @inlinable @inline(__always) package static var pae: UInt64 { 1 << 5 }
  @inlinable @inline(__always) package static var mce: UInt64 { 1 << 6 }
  @inlinable @inline(__always) package static var pge: UInt64 { 1 << 7 }
  @inlinable @inline(__always) package static var pce: UInt64 { 1 << 8 }
  @inlinable @inline(__always) package static var osfxsr: UInt64 { 1 << 9 }
  @inlinable @inline(__always) package static var osxmmexcpt: UInt64 { 1 << 10 }
  @inlinable @inline(__always) package static var umip: UInt64 { 1 << 11 }
  @inlinable @inline(__always) package static var la57: UInt64 { 1 << 12 }
  @inlinable @inline(__always) package static var vmxe: UInt64 { 1 << 13 }
  @inlinable @inline(__always) package static var smxe: UInt64 { 1 << 14 }
  @inlinable @inline(__always) package static var fsgsbase: UInt64 { 1 << 16 }
  @inlinable @inline(__always) package static var pcide: UInt64 { 1 << 17 }
  @inlinable @inline(__always) package static var osxsave: UInt64 { 1 << 18 }
  @inlinable @inline(__always) package static var smep: UInt64 { 1 << 20 }
  @inlinable @inline(__always) package static var smap: UInt64 { 1 << 21 }
  @inlinable @inline(__always) package static var pke: UInt64 { 1 << 22 }

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
@usableFromInline package enum EFER {
  @inlinable @inline(__always) package static var sce: UInt64 { 1 << 0 }
  @inlinable @inline(__always) package static var lme: UInt64 { 1 << 8 }
  @inlinable @inline(__always) package static var lma: UInt64 { 1 << 10 }
  @inlinable @inline(__always) package static var nxe: UInt64 { 1 << 11 }

  package static let bits: [BitName] = [
    BitName(0, "sce", "SYSCALL enabled"), BitName(8, "lme", "long mode enabled"),
    BitName(10, "lma", "long mode active"), BitName(11, "nxe", "no-execute pages"),
  ]
}
