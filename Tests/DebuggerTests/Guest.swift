import Debugger
import VMCore
import X86

/// A small guest built by hand: memory and one vCPU's state.
struct Guest {
  var state = VCPUState()
  let memory: GuestMemory

  init() throws { memory = try GuestMemory(ramSize: 4 << 20) }

  /// Real mode with CS:IP and SS:SP.
  static func real(cs: UInt16 = 0, ip: UInt64 = 0x7C00, sp: UInt64 = 0x7C00) throws -> Guest {
    var guest = try Guest()
    guest.state[.cs] = SegmentState(selector: cs, base: UInt64(cs) << 4, access: 0x9B)
    guest.state.rip = ip
    guest.state[.rsp] = sp
    return guest
  }

  /// Flat 32-bit protected mode, paging off.
  static func protected() throws -> Guest {
    var guest = try Guest()
    guest.state.cr0 = CR0.pe | CR0.et
    for name in SegmentName.allCases.prefix(6) {
      guest.state[name] = SegmentState(
        selector: name == .cs ? 8 : 16, limit: .max, access: name == .cs ? 0xC09B : 0xC093)
    }
    guest.state.rip = 0x10_0000
    guest.state[.rsp] = 0x9_0000
    return guest
  }

  /// 64-bit mode with its tables at 1000h: PML4[0] -> PDPT 2000h -> PD 3000h, whose first entry maps 2 MiB to 0.
  static func long() throws -> Guest {
    var guest = try protected()
    guest.state.cr0 |= CR0.pg
    guest.state.cr4 = CR4.pae
    guest.state.efer = EFER.lme | EFER.lma | EFER.nxe
    guest.state.cr3 = 0x1000
    guest.state[.cs].access = 0xA09B
    guest.memory.store(GPA(0x1000), UInt64(0x2003))
    guest.memory.store(GPA(0x2000), UInt64(0x3003))
    guest.memory.store(GPA(0x3000), UInt64(0x83))
    return guest
  }
}

/// Sebastiano Vigna's SplitMix64: the same numbers on every run.
struct SplitMix: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
  }
  mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }
}
