/// An instruction that the monitor carries out for the guest's kernel (Xen's emul-priv-op): IN and OUT, CLI, STI, CLTS,
/// WBINVD, MOV to and from control and debug registers, RDMSR, WRMSR.
struct PrivilegedInstruction {
  private(set) var prefixes = 0
  private(set) var rex: UInt8 = 0
  private(set) var operandSize: UInt64 = 4
  private(set) var opcode: UInt8 = 0
  /// Behind 0F.
  private(set) var second: UInt8 = 0
  private(set) var modRM: UInt8 = 0

  private static let behind0F: [UInt8] = [0x06, 0x09, 0x20, 0x21, 0x22, 0x23, 0x30, 0x32]

  /// Nil for any other instruction.
  init?(_ bytes: [UInt8], _ abi: GuestABI) {
    func isREX(_ byte: UInt8) -> Bool { byte & 0xF0 == 0x40 && !abi.is32Bit }
    while prefixes < bytes.count, bytes[prefixes] == 0x66 || bytes[prefixes] == 0xF3 || isREX(bytes[prefixes]) {
      if bytes[prefixes] == 0x66 { operandSize = 2 }
      rex = isREX(bytes[prefixes]) ? bytes[prefixes] : 0
      prefixes += 1
    }
    func byte(_ offset: Int) -> UInt8? { prefixes + offset < bytes.count ? bytes[prefixes + offset] : nil }
    guard let first = byte(0) else { return nil }
    opcode = first
    switch opcode {
    case 0xE4...0xE7, 0xEC...0xEF, 0xFA, 0xFB: break
    case 0x0F:
      guard let next = byte(1), Self.behind0F.contains(next) else { return nil }
      second = next
      modRM = byte(2) ?? 0
    default: return nil
    }
  }
}
