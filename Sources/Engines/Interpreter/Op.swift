/// First-level opcodes: what the hot loop switches over.
enum Op: UInt16 {
  /// Checked linear address of a memory operand into `Slot.temporary` (see `Translator.address`).
  case segmentAddress
  /// System instructions that leave the block's context alone; `aux` is a `SystemOp`.
  case system
  /// System instructions and far transfers after which the next block is looked up anew at `CPU.rip`.
  case systemEnd
  /// SSE and SSE2, FXSAVE and friends; `aux` is an `SSEOp`.
  case sse
  /// x87; `aux` is an `X87Op`.
  case x87
}
