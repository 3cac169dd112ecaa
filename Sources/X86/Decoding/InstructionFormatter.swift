import CZydis

/// Names an address in an instruction's text, or gives nil to have it printed as a number. The address is
/// an offset in the given segment.
package typealias OperandNamer = (_ offset: UInt64, _ segment: SegmentName) -> String?

/// The one formatter: Intel syntax, lower case, `h` suffix. Zydis's struct points into itself, so it is made
/// once on the heap, never moved, never freed, and only read from then on.
struct InstructionFormatter: @unchecked Sendable {
  static let shared = InstructionFormatter()
  private let formatter: UnsafeMutablePointer<ZydisFormatter>

  private init() {
    formatter = .allocate(capacity: 1)
    let status = ZydisFormatterInit(formatter, ZYDIS_FORMATTER_STYLE_INTEL)
    precondition(status & 0x8000_0000 == 0, "Zydis knows the Intel style")
    for property in [
      ZYDIS_FORMATTER_PROP_ADDR_PADDING_ABSOLUTE, ZYDIS_FORMATTER_PROP_ADDR_PADDING_RELATIVE,
      ZYDIS_FORMATTER_PROP_DISP_PADDING, ZYDIS_FORMATTER_PROP_IMM_PADDING, ZYDIS_FORMATTER_PROP_HEX_UPPERCASE,
    ] {
      ZydisFormatterSetProperty(formatter, property, 0)
    }
    // Zydis 4.0 refuses this one as a property; its own MASM style sets the field, as we do.
    formatter.pointee.hex_force_leading_number = 1
    setAffix(ZYDIS_FORMATTER_PROP_HEX_PREFIX, "")
    setAffix(ZYDIS_FORMATTER_PROP_HEX_SUFFIX, "h")
    var callback: UnsafeRawPointer? = unsafeBitCast(printAddress, to: UnsafeRawPointer.self)
    ZydisFormatterSetHook(formatter, ZYDIS_FORMATTER_FUNC_PRINT_ADDRESS_ABS, &callback)
  }

  /// Zydis copies the text.
  private func setAffix(_ property: ZydisFormatterProperty, _ text: String) {
    text.withCString { pointer in
      _ = ZydisFormatterSetProperty(formatter, property, ZyanUPointer(UInt(bitPattern: pointer)))
    }
  }

  /// The text of an instruction at `address` (an offset in CS); nil if Zydis refuses.
  func text(
    of instruction: inout ZydisDecodedInstruction, operands: UnsafeBufferPointer<ZydisDecodedOperand>,
    address: UInt64, mode: ProcessorMode, namer: OperandNamer?
  ) -> String? {
    var context = NamerContext(namer: namer, mode: mode)
    return withUnsafeMutablePointer(to: &context) { context in
      withUnsafeTemporaryAllocation(of: CChar.self, capacity: 512) { buffer -> String? in
        let status = ZydisFormatterFormatInstruction(
          formatter, &instruction, operands.baseAddress, instruction.operand_count_visible, buffer.baseAddress,
          buffer.count, address, context)
        guard status & 0x8000_0000 == 0, let start = buffer.baseAddress else { return nil }
        return String(cString: start)
      }
    }
  }
}

/// What the address hook needs to know, handed through Zydis as user data.
private struct NamerContext {
  var namer: OperandNamer?
  var mode: ProcessorMode
}

private typealias AddressHook =
  @convention(c) (
    UnsafePointer<ZydisFormatter>?, UnsafeMutablePointer<ZydisFormatterBuffer>?,
    UnsafeMutablePointer<ZydisFormatterContext>?
  ) -> ZyanStatus

/// Prints a branch target or absolute address: the symbol's name where there is one, else the number.
private let printAddress: AddressHook = { _, buffer, context in
  guard let buffer, let context, let user = context.pointee.user_data, let operand = context.pointee.operand,
    let instruction = context.pointee.instruction
  else { return 0x8010_0004 }
  let naming = user.assumingMemoryBound(to: NamerContext.self).pointee
  let isBranch = operand.pointee.type == ZYDIS_OPERAND_TYPE_IMMEDIATE
  let next = context.pointee.runtime_address &+ UInt64(instruction.pointee.length)
  let address: UInt64
  if isBranch {
    address = OperandReader.branchTarget(operand, instruction, next: next, mode: naming.mode)
  } else {
    address = OperandReader.absoluteAddress(operand, instruction, next: next)
  }
  let segment = isBranch ? SegmentName.cs : OperandReader.segment(operand.pointee.mem.segment)
  let number = String(address, radix: 16)
  let hex = (number.first?.isLetter ?? false ? "0" : "") + number + "h"
  let text = naming.namer?(address, segment).map { String($0.prefix(120)) } ?? (isBranch ? number : hex)
  var status = ZydisFormatterBufferAppend(buffer, ZydisTokenType(ZYDIS_TOKEN_ADDRESS_ABS))
  guard status & 0x8000_0000 == 0 else { return status }
  var string: UnsafeMutablePointer<ZyanString>?
  status = ZydisFormatterBufferGetString(buffer, &string)
  guard status & 0x8000_0000 == 0, let string else { return status }
  return text.withCString { characters in
    var view = ZyanStringView()
    let made = ZyanStringViewInsideBuffer(&view, characters)
    return made & 0x8000_0000 == 0 ? ZyanStringAppend(string, &view) : made
  }
}
