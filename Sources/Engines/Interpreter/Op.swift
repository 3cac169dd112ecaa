/// First-level opcodes: what the hot loop switches over.
///
/// Names: operation, operand bits, form. Forms: `rr` register, register; `ri` register, immediate;
/// `rm` register from memory; `mr` memory from register; `mi` memory, immediate; `r`, `m` one operand.
/// The order matters: `Translator` computes an opcode as base + 4 * form + log2(bytes).
enum Op: UInt16 {
  // Eight binary operations in the order of their opcode bytes, five forms, four sizes.
  case add8rr, add16rr, add32rr, add64rr
  case add8ri, add16ri, add32ri, add64ri
  case add8rm, add16rm, add32rm, add64rm
  case add8mr, add16mr, add32mr, add64mr
  case add8mi, add16mi, add32mi, add64mi
  case or8rr, or16rr, or32rr, or64rr
  case or8ri, or16ri, or32ri, or64ri
  case or8rm, or16rm, or32rm, or64rm
  case or8mr, or16mr, or32mr, or64mr
  case or8mi, or16mi, or32mi, or64mi
  case adc8rr, adc16rr, adc32rr, adc64rr
  case adc8ri, adc16ri, adc32ri, adc64ri
  case adc8rm, adc16rm, adc32rm, adc64rm
  case adc8mr, adc16mr, adc32mr, adc64mr
  case adc8mi, adc16mi, adc32mi, adc64mi
  case sbb8rr, sbb16rr, sbb32rr, sbb64rr
  case sbb8ri, sbb16ri, sbb32ri, sbb64ri
  case sbb8rm, sbb16rm, sbb32rm, sbb64rm
  case sbb8mr, sbb16mr, sbb32mr, sbb64mr
  case sbb8mi, sbb16mi, sbb32mi, sbb64mi
  case and8rr, and16rr, and32rr, and64rr
  case and8ri, and16ri, and32ri, and64ri
  case and8rm, and16rm, and32rm, and64rm
  case and8mr, and16mr, and32mr, and64mr
  case and8mi, and16mi, and32mi, and64mi
  case sub8rr, sub16rr, sub32rr, sub64rr
  case sub8ri, sub16ri, sub32ri, sub64ri
  case sub8rm, sub16rm, sub32rm, sub64rm
  case sub8mr, sub16mr, sub32mr, sub64mr
  case sub8mi, sub16mi, sub32mi, sub64mi
  case xor8rr, xor16rr, xor32rr, xor64rr
  case xor8ri, xor16ri, xor32ri, xor64ri
  case xor8rm, xor16rm, xor32rm, xor64rm
  case xor8mr, xor16mr, xor32mr, xor64mr
  case xor8mi, xor16mi, xor32mi, xor64mi
  case cmp8rr, cmp16rr, cmp32rr, cmp64rr
  case cmp8ri, cmp16ri, cmp32ri, cmp64ri
  case cmp8rm, cmp16rm, cmp32rm, cmp64rm
  case cmp8mr, cmp16mr, cmp32mr, cmp64mr
  case cmp8mi, cmp16mi, cmp32mi, cmp64mi
  // TEST and MOV.
  case test8rr, test16rr, test32rr, test64rr
  case test8ri, test16ri, test32ri, test64ri
  case test8rm, test16rm, test32rm, test64rm
  case test8mr, test16mr, test32mr, test64mr
  case test8mi, test16mi, test32mi, test64mi
  case mov8rr, mov16rr, mov32rr, mov64rr
  case mov8ri, mov16ri, mov32ri, mov64ri
  case mov8rm, mov16rm, mov32rm, mov64rm
  case mov8mr, mov16mr, mov32mr, mov64mr
  case mov8mi, mov16mi, mov32mi, mov64mi
  // One operand.
  case inc8r, inc16r, inc32r, inc64r
  case inc8m, inc16m, inc32m, inc64m
  case dec8r, dec16r, dec32r, dec64r
  case dec8m, dec16m, dec32m, dec64m
  case neg8r, neg16r, neg32r, neg64r
  case neg8m, neg16m, neg32m, neg64m
  case not8r, not16r, not32r, not64r
  case not8m, not16m, not32m, not64m
  // Shifts of a register by a count in `imm` (already masked, not 0) and by CL.
  case shl8ri, shl16ri, shl32ri, shl64ri
  case shl8rc, shl16rc, shl32rc, shl64rc
  case shr8ri, shr16ri, shr32ri, shr64ri
  case shr8rc, shr16rc, shr32rc, shr64rc
  case sar8ri, sar16ri, sar32ri, sar64ri
  case sar8rc, sar16rc, sar32rc, sar64rc
  // Rotates by an immediate that is not 0; `imm` is the equal rotation to the left.
  case rol32ri, rol64ri, ror32ri, ror64ri
  // The same and shifts where nobody can see the flags (`BlockBuilder.dropDeadFlags`).
  case rotate32, rotate64, shiftLeft32, shiftLeft64, shiftRight32, shiftRight64
  // Widening moves into 32 or 64 bits (16-bit destinations are in `.integer`).
  case movzx8to32r, movzx16to32r, movsx8to32r, movsx16to32r, movsx8to64r, movsx16to64r, movsx32to64r
  case movzx8to32m, movzx16to32m, movsx8to32m, movsx16to32m, movsx8to64m, movsx16to64m, movsx32to64m
  case lea16, lea32, lea64
  case imul32rr, imul64rr, imul32rri, imul64rri
  case xchg32rr, xchg64rr
  case bswap32, bswap64
  case cdq, cqo, cdqe, cwde
  /// `aux` is the condition code.
  case setccR, cmov32rr, cmov64rr
  // Stack, where the stack segment needs no checks: 64-bit mode, or a flat 32-bit stack.
  case push64r, push64i, pop64r, push32r, push32i, pop32r, leave64, leave32
  // Control transfers end a block. Targets and links lie in the block.
  /// `aux` is the condition code.
  case jcc
  case jmp
  case call64, call32, ret64, ret32
  /// Target RIP in a register, already at full width.
  case jmpR, call64R
  /// Target RIP in memory, 8 bytes.
  case jmp64m, call64m
  /// The block ends for want of room: go on at the next instruction.
  case next
  // Compare or test, then Jcc: `aux` is the condition code; two instructions in one.
  case cmpJcc8rr, cmpJcc16rr, cmpJcc32rr, cmpJcc64rr
  case cmpJcc8ri, cmpJcc16ri, cmpJcc32ri, cmpJcc64ri
  case testJcc8rr, testJcc16rr, testJcc32rr, testJcc64rr
  case testJcc8ri, testJcc16ri, testJcc32ri, testJcc64ri
  case decJnz32, decJnz64
  case nop
  /// The debugger wants a stop before this instruction.
  case breakpoint
  /// A sensitive instruction follows: `aux` is its operation and a `SensitiveForm`, `imm` its counter's address.
  case sensitive
  /// Checked linear address of a memory operand into `Slot.temporary` (see `Translator.address`).
  case segmentAddress
  /// The rarer integer instructions; `aux` is an `IntegerOp`, sizes in `flags`.
  case integer
  /// The same, ending the block: control transfers of odd sizes, LOOP, JCXZ.
  case integerEnd
  /// String instructions; `aux` is a `StringOp`.
  case string
  /// System instructions that leave the block's context alone; `aux` is a `SystemOp`.
  case system
  /// System instructions and far transfers after which the next block is looked up anew at `CPU.rip`.
  case systemEnd
  /// SSE and SSE2, FXSAVE and friends; `aux` is an `SSEOp`.
  case sse
  /// SSE3 to SSE4.2, AVX, AVX2, FMA, F16C; `aux` has a `VectorOp`.
  case vector
  /// x87; `aux` is an `X87Op`.
  case x87
  /// An encoding nobody claims.
  case undefined
  // For the rewriter. The first micro-op of a block that counts its executions (`imm` are left), and of one that
  // has host code.
  case warm, host
  /// Behind a micro-op that is carried out by itself.
  case done
  /// The carry into `flagA`, in the form of `FlagClass.inc8`.
  case keepCarry
  /// CF and OF of a rotate that left `CPU.rotated`; `aux` bit 0 is 64 bits, bit 1 to the right.
  case rotateFlags
}
