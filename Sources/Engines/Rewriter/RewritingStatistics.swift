/// What a rewriting engine has made of the guest's code.
package struct RewritingStatistics: Equatable, Sendable, CustomStringConvertible {
  /// Blocks that got host code, the instructions in them, and how many micro-ops of these call the interpreter.
  package var blocks: UInt64 = 0
  package var instructions: UInt64 = 0
  package var callouts: UInt64 = 0
  /// Bytes of host code.
  package var hostBytes: UInt64 = 0
  /// Times the oldest part of the buffer was given up because it was full, or all of it dropped.
  package var flushes: UInt64 = 0
  /// Loads and stores made direct callouts because they kept ending in the slow path.
  package var adaptive: UInt64 = 0
  /// Memory operands of loops that are looked up once for all rounds on a page.
  package var streams: UInt64 = 0
  package init() {}

  package var description: String {
    "\(blocks) blocks of \(instructions) instructions rewritten, \(callouts) callouts in them, \(hostBytes) bytes"
  }
  package static func += (a: inout Self, b: Self) {
    a.blocks += b.blocks
    a.instructions += b.instructions
    a.callouts += b.callouts
    a.hostBytes += b.hostBytes
    a.flushes += b.flushes
    a.adaptive += b.adaptive
    a.streams += b.streams
  }
}
