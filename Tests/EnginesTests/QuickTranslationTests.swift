import Testing
import VMCore
import X86

@testable import Engines

@Suite struct QuickTranslationTests {
  private static let size: UInt64 = 1 << 20

  /// The micro-ops of what begins at 4096, without what may differ: bits of a constant beyond its operand.
  private static func translate(_ bytes: [UInt8], _ context: Context, quick: Bool) throws -> [String] {
    let memory = try GuestMemory(ramSize: size)
    memory.write(GPA(4096), bytes)
    var builder = BlockBuilder(features: CPUModel.baseline.features, forms: nil, warmth: 0, sites: SensitiveSites())
    builder.hasQuickWay = quick
    let block = try builder.build(
      context: context, rip: 4096, gpa: 4096, room: .max, memory: memory, breakpoints: { $0 != 4096 },
      secondPage: { 8192 }, raise: { _, _ in .fault })
    defer {
      block.pointee.ops.deallocate()
      block.deallocate()
    }
    var lines = ["\(block.pointee.length) \(block.pointee.count) \(block.pointee.endRIP) \(block.pointee.takenRIP)"]
    for index in 0..<block.pointee.capacity {
      var op = (block.pointee.ops + index).pointee
      op.imm = Int64(cut(op))
      lines.append("\(op)")
    }
    return lines
  }

  private static func cut(_ op: MicroOp) -> Int32 {
    let raw = op.op.rawValue
    guard raw <= Op.mov64mi.rawValue else { return Int32(truncatingIfNeeded: op.imm) }
    switch raw % 4 {
    case 0: return Int32(Int8(truncatingIfNeeded: op.imm))
    case 1: return Int32(Int16(truncatingIfNeeded: op.imm))
    default: return Int32(truncatingIfNeeded: op.imm)
    }
  }

  private static let long = Context(bits: 2 | 4 | 8 | 0x40 | 0x200 | 0x400)
  private static let flat = Context(bits: 1 | 4 | 8 | 0x40 | 0x200)

  private static func bytes(_ prefix: [UInt8], _ opcode: [UInt8], _ modRM: UInt8) -> [UInt8] {
    let tail: [UInt8] = [0xA5, 0x81, 0x7F, 0xC3, 0x24, 0x96, 0x3C, 0xE8, 0x05, 0x90, 0x90, 0x90, 0x90, 0x90]
    // Blocks are cut at the second instruction: what is in front of it decides.
    return prefix + opcode + [modRM] + tail
  }

  @Test(arguments: [(long, 64), (flat, 32)])
  fileprivate func `the quick way gives the micro-ops of the long one`(_ context: Context, _ bits: Int) throws {
    let prefixes: [[UInt8]] = bits == 64 ? [[], [0x40], [0x48], [0x4D], [0x43], [0x65], [0x64, 0x4C], [0x66]] : [[], [0x65], [0x66]]
    let opcodes = (0...255).map { [UInt8($0)] } + (0...255).map { [0x0F, UInt8($0)] } + [[0xF3, 0x0F, 0x1E]]
    let operands: [UInt8] = [0x00, 0x05, 0x04, 0x0C, 0x44, 0x8C, 0x55, 0x95, 0xC0, 0xC4, 0xCD, 0xD6, 0xE7, 0xEF, 0xF9, 0xFA, 0x20, 0x38]
    var quick = 0
    for prefix in prefixes {
      for opcode in opcodes {
        for operand in operands {
          let code = Self.bytes(prefix, opcode, operand)
          let one = try? Self.translate(code, context, quick: true)
          let other = try? Self.translate(code, context, quick: false)
          #expect(one == other, "\(code.map { String($0, radix: 16) }.joined(separator: " "))")
          quick += 1
        }
      }
    }
    #expect(quick == prefixes.count * opcodes.count * operands.count)
  }
}
