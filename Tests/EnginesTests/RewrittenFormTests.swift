import Engines
import Testing
import VMCore
import X86

/// Instructions that have host code of their own beside the plain ones, on both engines: what they do and what they leave
/// in the flags.
@Suite struct RewrittenFormTests {
  private func run(_ code: [UInt8], on name: String) throws -> (VCPUState, [UInt8]) {
    let (engine, memory) = try FlatMachine.make(code, warmth: 2, engine: name)
    for at in UInt64(0)..<64 { memory.write(GPA(0x4000 + at), [UInt8(truncatingIfNeeded: at &* 37 &+ 1)]) }
    var state = engine.vcpus[0].state
    (state[.rbx], state[.rcx]) = (0x4010, 500)
    (state[.rax], state[.rsi], state[.rdi]) = (0x8123_4567, 0x0102_0304, 0xF0E1_D2C3)
    engine.vcpus[0].state = state
    let exit = engine.vcpus[0].run(.resume, limit: 100_000)
    #expect(exit.reason == .hlt)
    return (engine.vcpus[0].state, memory.readBytes(GPA(0x4000), count: 0x2000).map { $0 ?? 0 })
  }

  /// again: what is in front, the instruction, PUSHFD, POP EDX, ROL EBP, 5, XOR EBP, EDX, ADD ESI, ECX, DEC ECX, JNZ again,
  /// HLT
  private func looped(_ first: [UInt8], _ instruction: [UInt8]) -> [UInt8] {
    let body = first + instruction + [0x9C, 0x5A, 0xC1, 0xC5, 5, 0x31, 0xD5, 0x01, 0xCE, 0x49]
    let back = Int32(-(body.count + 6))
    return body + [0x0F, 0x85] + (0..<4).map { UInt8(truncatingIfNeeded: back >> Int32(8 * $0)) } + [0xF4]
  }

  /// What the flags come from: nothing of late, a sum, a comparison with memory, a shift, a decrement.
  private static let before: [[UInt8]] = [
    [], [0x01, 0xC8], [0x39, 0x0B], [0xD1, 0xE8], [0x4F], [0x85, 0xF6],
  ]

  @Test(arguments: [
    ("inc dword [ebx]", [0xFF, 0x03]), ("dec dword [ebx]", [0xFF, 0x0B]), ("inc byte [ebx+3]", [0xFE, 0x43, 3]),
    ("dec word [ebx]", [0x66, 0xFF, 0x0B]), ("not byte [ebx]", [0xF6, 0x13]), ("inc ax", [0x66, 0x40]),
    ("dec al", [0xFE, 0xC8]), ("neg al", [0xF6, 0xD8]), ("not ax", [0x66, 0xF7, 0xD0]), ("shr al, 3", [0xC0, 0xE8, 3]),
    ("shl ax, 9", [0x66, 0xC1, 0xE0, 9]), ("sar al, 7", [0xC0, 0xF8, 7]), ("shl al, 12", [0xC0, 0xE0, 12]),
    ("lock cmpxchg [ebx], esi", [0xF0, 0x0F, 0xB1, 0x33]), ("cmpxchg [ebx], cl", [0x0F, 0xB0, 0x0B]),
    ("lock xadd [ebx], esi", [0xF0, 0x0F, 0xC1, 0x33]), ("xadd [ebx], ax", [0x66, 0x0F, 0xC1, 0x03]),
    ("xchg [ebx], eax", [0x87, 0x03]), ("xchg [ebx], cl; xchg [ebx], cl", [0x86, 0x0B, 0x86, 0x0B]),
    ("bt [ebx], 7", [0x0F, 0xBA, 0x23, 7]), ("bts dword [ebx], 21", [0x0F, 0xBA, 0x2B, 21]),
    ("and esi, 127; btc [ebx], esi", [0x83, 0xE6, 127, 0x0F, 0xBB, 0x33]), ("btr eax, esi", [0x0F, 0xB3, 0xF0]),
    ("bt eax, ecx", [0x0F, 0xA3, 0xC8]), ("setz [ebx+8]", [0x0F, 0x94, 0x43, 8]), ("setl [ebx+9]", [0x0F, 0x9C, 0x43, 9]),
    ("cmovc eax, [ebx]", [0x0F, 0x42, 0x03]), ("cmovle edi, [ebx]", [0x0F, 0x4E, 0x3B]), ("shl eax, cl", [0xD3, 0xE0]),
    ("shr edi, cl", [0xD3, 0xEF]), ("sar eax, cl", [0xD3, 0xF8]), ("mov eax, ss", [0x8C, 0xD0]),
    ("mov ax, ds", [0x66, 0x8C, 0xD8]), ("test ah, 65h", [0xF6, 0xC4, 0x65]), ("cmp ch, 1", [0x80, 0xFD, 1]),
    // PUSHA; what is to be copied or filled, in front of, over and behind a page's end, overlapping or not; POPA
    ("rep stosd", [0x60, 0x83, 0xE1, 15, 0x8D, 0xBB, 0xD0, 0x0F, 0, 0, 0xF3, 0xAB, 0x61]),
    ("rep stosb", [0x60, 0x83, 0xE1, 7, 0x89, 0xDF, 0xF3, 0xAA, 0x01, 0x3B, 0x61]),
    ("rep movsb", [0x60, 0x83, 0xE1, 7, 0x8D, 0x73, 9, 0x8D, 0x7B, 11, 0xF3, 0xA4, 0x31, 0x33, 0x61]),
    ("rep movsd", [0x60, 0x83, 0xE1, 3, 0x8D, 0x73, 32, 0x8D, 0x7B, 8, 0xF3, 0xA5, 0x31, 0x3B, 0x61]),
    ("std; rep stosb; cld", [0x60, 0x83, 0xE1, 7, 0x8D, 0x7B, 40, 0xFD, 0xF3, 0xAA, 0xFC, 0x01, 0x3B, 0x61]), ("pause", [0xF3, 0x90]),
    ("imul eax, [ebx]", [0x0F, 0xAF, 0x03]), ("imul edi, [ebx], -77", [0x6B, 0x3B, 0xB3]), ("mul esi", [0xF7, 0xE6]),
    ("imul dword [ebx]", [0xF7, 0x2B]), ("mul dword [ebx]; xor edi, edx", [0xF7, 0x23, 0x31, 0xD7]),
    ("or esi, 1; xor edx, edx; div esi", [0x83, 0xCE, 1, 0x31, 0xD2, 0xF7, 0xF6]),
    ("or esi, 1; mov edx, esi; shr edx, 1; div esi; xor edi, edx", [0x83, 0xCE, 1, 0x89, 0xF2, 0xD1, 0xEA, 0xF7, 0xF6, 0x31, 0xD7]),
    ("cdq; idiv dword [ebx]; xor edi, edx", [0x99, 0xF7, 0x3B, 0x31, 0xD7]),
    ("mov edi, -1; xor edx, edx; shr eax, 1; idiv edi", [0xBF, 0xFF, 0xFF, 0xFF, 0xFF, 0x31, 0xD2, 0xD1, 0xE8, 0xF7, 0xFF]),
    ("mov [ebx+5], ah", [0x88, 0x63, 5]), ("movzx edi, ch", [0x0F, 0xB6, 0xFD]), ("movsx eax, ah", [0x0F, 0xBE, 0xC4]), ("rol eax, 3", [0xC1, 0xC0, 3]),
  ] as [(String, [UInt8])])
  func `host code does what the interpreter does`(_ name: String, _ instruction: [UInt8]) throws {
    for first in Self.before {
      let code = looped(first, instruction)
      let one = try run(code, on: "interpreter")
      let other = try run(code, on: "rewriter")
      #expect(one.0 == other.0, "\(name) behind \(first)")
      #expect(one.1 == other.1, "\(name) behind \(first)")
    }
  }

  /// again: TEST CL, 1; JZ other; INC EAX; back: DEC ECX; JNZ again; HLT; other: ADD EDI, 1; JMP back
  @Test func `ways out of host code are cut where what they lead to changes`() throws {
    let code: [UInt8] = [0xF6, 0xC1, 1, 0x74, 5, 0x40, 0x49, 0x75, 0xF7, 0xF4, 0x83, 0xC7, 1, 0xEB, 0xF7]
    let ends = try ["interpreter", "rewriter"].map { name in
      let (engine, memory) = try FlatMachine.make(code, warmth: 2, engine: name)
      engine.vcpus[0].state[.rcx] = 20_000
      for constant in UInt8(2)..<20 {
        _ = engine.vcpus[0].run(.resume, limit: 4_001)
        memory.write(GPA(FlatMachine.start + 12), [constant])
      }
      _ = engine.vcpus[0].run(.resume, limit: 200_000)
      return engine.vcpus[0].state
    }
    #expect(ends[0] == ends[1])
    #expect(ends[0][.rcx] == 0)
  }
}
