import Engines
import Testing
import VMCore
import X86

private typealias B = SystemBench

/// A loop of 64-bit code beside pages of which only 40000h to 45FFFh can be reached, the last for reading. A #GP or #PF ends
/// it, as RCX rounds do.
struct MappedLoop: CustomTestStringConvertible {
  struct End: Equatable {
    var state: VCPUState
    var memory: [UInt8]
    var count: UInt64
    var reason: ExitReason
  }

  var name: String
  /// With RSI, RDI, RBX and RSP as given, R8 43008h.
  var code: [UInt8]
  var (rsi, rdi, rbx, rcx, rsp): (UInt64, UInt64, UInt64, UInt64, UInt64)
  var testDescription: String { name }

  init(
    _ name: String, _ code: [UInt8], rsi: UInt64 = 0x40000, rdi: UInt64 = 0x42000, rbx: UInt64 = 0, rcx: UInt64 = 600,
    rsp: UInt64 = SystemBench.innerStack
  ) {
    (self.name, self.code) = (name, code)
    (self.rsi, self.rdi, self.rbx, self.rcx, self.rsp) = (rsi, rdi, rbx, rcx, rsp)
  }

  /// `body`; DEC RCX; JNZ to its beginning.
  static func rounds(_ body: [UInt8]) -> [UInt8] { body + [0x48, 0xFF, 0xC9, 0x75, UInt8(truncatingIfNeeded: -(body.count + 5))] }

  /// Runs it so many instructions at a time; also the operands that were made streams.
  func run(on engine: String, slice: UInt64) throws -> (End, streams: UInt64?) {
    let b = try SystemBench(engine: engine, cpu: .v2)
    b.enterLong()
    for page in [UInt64(0x3F000), 0x46000] { b.setPage(.long, page, 0) }
    b.setPage(.long, 0x45000, 0x45001)
    for at in stride(from: UInt64(0x40000), to: 0x46000, by: 8) { b.put(at, at &* 0x9E37_79B9_7F4A_7C15) }
    // #GP and #PF end the run.
    for vector in [UInt64(13), 14] { b.put(B.handlers + vector * 16, UInt8(0xF4)) }
    b.change {
      $0.cr0 |= CR0.wp
      $0.cr4 |= CR4.osfxsr
      $0[.rax] = 3
      $0[.rdx] = 1
      ($0[.rsi], $0[.rdi], $0[.rbx], $0[.rcx], $0[.rsp], $0[.r8]) = (rsi, rdi, rbx, rcx, rsp, 0x43008)
    }
    b.memory.write(GPA(B.code), Self.rounds(code) + [0xF4])
    var exit = b.vcpu.run(.resume, limit: slice)
    while exit.reason == .budget { exit = b.vcpu.run(.resume, limit: slice) }
    let memory = b.memory.readBytes(GPA(0x40000), count: 0x6000).map { $0 ?? 0 }
    let end = End(state: b.state, memory: memory, count: b.vcpu.instructionCount, reason: exit.reason)
    return (end, (b.engine as? InterpreterEngine)?.rewriting?.streams)
  }
}
