import CZydis

/// Stack operations, conditions and near transfers into micro-ops.
extension Translator {
  /// True where pushes need no checks: 64-bit mode, or a flat 32-bit stack.
  var plainStack: Bool { context.isLong64 || (context.flatData && context.bigStack) }

  mutating func stack(push: Bool) -> Bool {
    if isRegister(0) && !isGPR(0) { return false }
    let bytes = Int(instruction.operand_width) / 8
    let register = isRegister(0)
    if plainStack && (register || push && isImmediate(0)) && bytes == (context.isLong64 ? 8 : 4) {
      let ops: (Op, Op, Op) = bytes == 8 ? (.push64r, .push64i, .pop64r) : (.push32r, .push32i, .pop32r)
      var op = MicroOp(push ? (register ? ops.0 : ops.1) : ops.2)
      if register {
        op.src = self.register(0)
        op.dst = op.src
      } else {
        op.imm = operands[0].imm.value.s
      }
      op.base = UInt8(Slot.rsp * 8)
      emit(op)
      return true
    }
    var op = MicroOp(.integer)
    op.flags = UInt8(bytes.trailingZeroBitCount) << 4
    op.base = UInt8(Slot.rsp * 8)
    if isImmediate(0) {
      op.aux = IntegerOp.pushImmediate.rawValue
      op.imm = operands[0].imm.value.s
    } else if register {
      op.aux = (push ? IntegerOp.pushRM : .popRM).rawValue
      op.dst = self.register(0)
    } else if push {
      op.aux = IntegerOp.pushRM.rawValue
      address(operands[0], &op, size: bytes, write: false)
    } else {
      op.aux = IntegerOp.popRM.rawValue
      // POP computes an RSP-based address after RSP has moved up.
      var moved = operands[0]
      if Self.slotOffset(moved.mem.base) == UInt8(Slot.rsp * 8), moved.mem.base != ZYDIS_REGISTER_NONE {
        moved.mem.disp.has_displacement = 1
        let present = operands[0].mem.disp.has_displacement != 0 ? operands[0].mem.disp.value : 0
        moved.mem.disp.value = present + Int64(bytes)
      }
      address(moved, &op, size: bytes, write: true)
    }
    emit(op)
    return true
  }

  mutating func leave() -> Bool {
    if plainStack && instruction.operand_width == (context.isLong64 ? 64 : 32) {
      var op = MicroOp(context.isLong64 ? .leave64 : .leave32)
      op.base = 40
      emit(op)
      return true
    }
    var op = MicroOp(.integer)
    op.aux = IntegerOp.leave.rawValue
    op.base = 40
    op.flags = operandSizeLog2 << 4
    emit(op)
    return true
  }

  /// Where a relative branch goes, cut to the operand size.
  var relativeTarget: UInt64 {
    let target = nextRIP &+ UInt64(bitPattern: operands[0].imm.value.s)
    switch instruction.operand_width {
    case 16: return target & 0xFFFF
    case 32: return target & 0xFFFF_FFFF
    default: return target
    }
  }

  /// A relative target cannot lie beyond CS's limit.
  private var targetNeedsNoCheck: Bool {
    context.flatCode || (instruction.operand_width == 16 && context.reaches64K)
  }

  mutating func conditional(_ condition: (kind: ConditionKind, code: UInt8)) -> Bool {
    let code = UInt16(condition.code)
    switch condition.kind {
    case .jump:
      guard targetNeedsNoCheck else {
        var op = MicroOp(.integerEnd)
        op.aux = IntegerOp.jccChecked.rawValue
        op.src = condition.code
        op.imm = Int64(bitPattern: relativeTarget)
        finish(op)
        return true
      }
      takenRIP = relativeTarget
      if fuse(code) { return true }
      var op = MicroOp(.jcc)
      op.aux = code
      finish(op)
    case .set:
      if isRegister(0) {
        var op = MicroOp(.setccR)
        op.aux = code
        op.dst = register(0)
        emit(op)
      } else {
        var op = MicroOp(.integer)
        op.aux = IntegerOp.setccM.rawValue
        op.imm = Int64(code)
        address(operands[0], &op, size: 1, write: true)
        emit(op)
      }
    case .move:
      let size = sizeLog2(0)
      if isRegister(1), size >= 2 {
        var op = MicroOp(size == 2 ? .cmov32rr : .cmov64rr)
        op.aux = code
        op.dst = register(0)
        op.src = register(1)
        emit(op)
      } else {
        var op = MicroOp(.integer)
        op.aux = IntegerOp.cmov.rawValue
        op.dst = register(0)
        op.imm = Int64(code)
        op.flags = UInt8(size) << 4
        if isRegister(1) {
          op.src = register(1)
        } else {
          address(operands[1], &op, size: 1 << size, write: false)
        }
        emit(op)
      }
    }
    return true
  }

  /// Joins a Jcc with the CMP, TEST or DEC just before it into one micro-op.
  mutating func fuse(_ code: UInt16) -> Bool {
    guard ordinal > 0, !context.alone, let last = ops.last, last.remaining == ordinal - 1 else { return false }
    let raw = last.op.rawValue
    let fused: Op?
    if raw >= Op.cmp8rr.rawValue && raw < Op.cmp8rm.rawValue {
      fused = fusedOp(.cmpJcc8rr, raw - Op.cmp8rr.rawValue)
    } else if raw >= Op.test8rr.rawValue && raw < Op.test8rm.rawValue {
      fused = fusedOp(.testJcc8rr, raw - Op.test8rr.rawValue)
    } else if code == 5, last.op == .dec32r {
      fused = .decJnz32
    } else if code == 5, last.op == .dec64r {
      fused = .decJnz64
    } else {
      fused = nil
    }
    guard let fused else { return false }
    var op = last
    op.op = fused
    op.aux = code
    ops.removeLast()
    ops.append(op)
    ended = true
    return true
  }

  private func fusedOp(_ base: Op, _ distance: UInt16) -> Op? { Op(rawValue: base.rawValue + distance) }

  mutating func nearTransfer() -> Bool {
    let mnemonic = instruction.mnemonic
    let far =
      instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR
      || (operandCount > 0 && operands[0].type == ZYDIS_OPERAND_TYPE_POINTER)
    if far { return false }
    let bytes = Int(instruction.operand_width) / 8
    let wide = context.flatCode && plainStack && bytes == (context.isLong64 ? 8 : 4)
    if mnemonic == ZYDIS_MNEMONIC_RET {
      let release = operandCount > 0 && isImmediate(0) ? operands[0].imm.value.u & 0xFFFF : 0
      var op = MicroOp(wide ? (bytes == 8 ? .ret64 : .ret32) : .integerEnd)
      op.aux = IntegerOp.ret.rawValue
      op.flags = UInt8(bytes.trailingZeroBitCount) << 4
      op.imm = Int64(release)
      op.base = UInt8(Slot.rsp * 8)
      finish(op)
      return true
    }
    let call = mnemonic == ZYDIS_MNEMONIC_CALL
    if isImmediate(0) {
      if targetNeedsNoCheck && (!call || wide) {
        takenRIP = relativeTarget
        var op = MicroOp(call ? (bytes == 8 ? .call64 : .call32) : .jmp)
        op.base = UInt8(Slot.rsp * 8)
        finish(op)
      } else {
        var op = MicroOp(.integerEnd)
        op.aux = (call ? IntegerOp.callChecked : .jmpChecked).rawValue
        op.flags = UInt8(bytes.trailingZeroBitCount) << 4
        op.imm = Int64(bitPattern: relativeTarget)
        finish(op)
      }
      return true
    }
    if context.isLong64 && bytes == 8 {
      var op = MicroOp(isRegister(0) ? (call ? .call64R : .jmpR) : call ? .call64m : .jmp64m)
      if isRegister(0) {
        op.src = register(0)
        op.base = UInt8(Slot.rsp * 8)
      } else {
        address(operands[0], &op, size: 8, write: false)
      }
      finish(op)
      return true
    }
    var op = MicroOp(.integerEnd)
    op.aux = (call ? IntegerOp.callRM : .jmpRM).rawValue
    op.flags = UInt8(bytes.trailingZeroBitCount) << 4
    if isRegister(0) {
      op.dst = register(0)
    } else {
      address(operands[0], &op, size: bytes, write: false)
    }
    finish(op)
    return true
  }
}
