import X86
import VMCore

/// Why the loop was left. Except for `.stop`, everything up to `CPU.rip` has retired.
enum LoopEnd {
  /// The next block is not known, or the budget does not reach to its end.
  case find
  /// The context may have changed, or something wants to be looked at between instructions.
  case attention
  /// The instruction at `CPU.rip` was given up.
  case stop(Stop)
  /// The block, charged already, is warm enough to be rewritten, or has host code.
  case warm(BlockPointer)
  case host(BlockPointer)
  /// The single micro-op was carried out.
  case done
}

extension UnsafeMutablePointer<CPU> {
  /// The hot loop: executes blocks from `first` on while the budget reaches to each one's end and the way
  /// on is known. The caller has charged `first` to the budget. It begins at micro-op `start`.
  @inline(never)
  func execute(_ first: BlockPointer, at start: MicroOpPointer) -> LoopEnd {
    let c = self
    var block = first
    var o = start
    do throws(Stop) {
      while true {
        switch o.pointee.op {
        case .add8rr: c.set(o.pointee.dst, c.add(c.get(o.pointee.dst, as: UInt8.self), c.get(o.pointee.src)))
        case .add8ri: c.set(o.pointee.dst, c.add(c.get(o.pointee.dst, as: UInt8.self), o.immediate()))
        case .add8rm: c.set(o.pointee.dst, c.add(c.get(o.pointee.dst, as: UInt8.self), try c.load(c.address(o))))
        case .add8mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt8.self)) { c.add($0, $1) }
        case .add8mi: try c.modify(c.address(o), o.immediate(as: UInt8.self)) { c.add($0, $1) }
        case .add16rr: c.set(o.pointee.dst, c.add(c.get(o.pointee.dst, as: UInt16.self), c.get(o.pointee.src)))
        case .add16ri: c.set(o.pointee.dst, c.add(c.get(o.pointee.dst, as: UInt16.self), o.immediate()))
        case .add16rm: c.set(o.pointee.dst, c.add(c.get(o.pointee.dst, as: UInt16.self), try c.load(c.address(o))))
        case .add16mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt16.self)) { c.add($0, $1) }
        case .add16mi: try c.modify(c.address(o), o.immediate(as: UInt16.self)) { c.add($0, $1) }
        case .add32rr: c.set(o.pointee.dst, c.add(c.get(o.pointee.dst, as: UInt32.self), c.get(o.pointee.src)))
        case .add32ri: c.set(o.pointee.dst, c.add(c.get(o.pointee.dst, as: UInt32.self), o.immediate()))
        case .add32rm: c.set(o.pointee.dst, c.add(c.get(o.pointee.dst, as: UInt32.self), try c.load(c.address(o))))
        case .add32mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt32.self)) { c.add($0, $1) }
        case .add32mi: try c.modify(c.address(o), o.immediate(as: UInt32.self)) { c.add($0, $1) }
        case .add64rr: c.set(o.pointee.dst, c.add(c.get(o.pointee.dst, as: UInt64.self), c.get(o.pointee.src)))
        case .add64ri: c.set(o.pointee.dst, c.add(c.get(o.pointee.dst, as: UInt64.self), o.immediate()))
        case .add64rm: c.set(o.pointee.dst, c.add(c.get(o.pointee.dst, as: UInt64.self), try c.load(c.address(o))))
        case .add64mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt64.self)) { c.add($0, $1) }
        case .add64mi: try c.modify(c.address(o), o.immediate(as: UInt64.self)) { c.add($0, $1) }
        case .or8rr: c.set(o.pointee.dst, c.or(c.get(o.pointee.dst, as: UInt8.self), c.get(o.pointee.src)))
        case .or8ri: c.set(o.pointee.dst, c.or(c.get(o.pointee.dst, as: UInt8.self), o.immediate()))
        case .or8rm: c.set(o.pointee.dst, c.or(c.get(o.pointee.dst, as: UInt8.self), try c.load(c.address(o))))
        case .or8mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt8.self)) { c.or($0, $1) }
        case .or8mi: try c.modify(c.address(o), o.immediate(as: UInt8.self)) { c.or($0, $1) }
        case .or16rr: c.set(o.pointee.dst, c.or(c.get(o.pointee.dst, as: UInt16.self), c.get(o.pointee.src)))
        case .or16ri: c.set(o.pointee.dst, c.or(c.get(o.pointee.dst, as: UInt16.self), o.immediate()))
        case .or16rm: c.set(o.pointee.dst, c.or(c.get(o.pointee.dst, as: UInt16.self), try c.load(c.address(o))))
        case .or16mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt16.self)) { c.or($0, $1) }
        case .or16mi: try c.modify(c.address(o), o.immediate(as: UInt16.self)) { c.or($0, $1) }
        case .or32rr: c.set(o.pointee.dst, c.or(c.get(o.pointee.dst, as: UInt32.self), c.get(o.pointee.src)))
        case .or32ri: c.set(o.pointee.dst, c.or(c.get(o.pointee.dst, as: UInt32.self), o.immediate()))
        case .or32rm: c.set(o.pointee.dst, c.or(c.get(o.pointee.dst, as: UInt32.self), try c.load(c.address(o))))
        case .or32mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt32.self)) { c.or($0, $1) }
        case .or32mi: try c.modify(c.address(o), o.immediate(as: UInt32.self)) { c.or($0, $1) }
        case .or64rr: c.set(o.pointee.dst, c.or(c.get(o.pointee.dst, as: UInt64.self), c.get(o.pointee.src)))
        case .or64ri: c.set(o.pointee.dst, c.or(c.get(o.pointee.dst, as: UInt64.self), o.immediate()))
        case .or64rm: c.set(o.pointee.dst, c.or(c.get(o.pointee.dst, as: UInt64.self), try c.load(c.address(o))))
        case .or64mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt64.self)) { c.or($0, $1) }
        case .or64mi: try c.modify(c.address(o), o.immediate(as: UInt64.self)) { c.or($0, $1) }
        case .adc8rr: c.set(o.pointee.dst, c.adc(c.get(o.pointee.dst, as: UInt8.self), c.get(o.pointee.src)))
        case .adc8ri: c.set(o.pointee.dst, c.adc(c.get(o.pointee.dst, as: UInt8.self), o.immediate()))
        case .adc8rm: c.set(o.pointee.dst, c.adc(c.get(o.pointee.dst, as: UInt8.self), try c.load(c.address(o))))
        case .adc8mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt8.self)) { c.adc($0, $1) }
        case .adc8mi: try c.modify(c.address(o), o.immediate(as: UInt8.self)) { c.adc($0, $1) }
        case .adc16rr: c.set(o.pointee.dst, c.adc(c.get(o.pointee.dst, as: UInt16.self), c.get(o.pointee.src)))
        case .adc16ri: c.set(o.pointee.dst, c.adc(c.get(o.pointee.dst, as: UInt16.self), o.immediate()))
        case .adc16rm: c.set(o.pointee.dst, c.adc(c.get(o.pointee.dst, as: UInt16.self), try c.load(c.address(o))))
        case .adc16mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt16.self)) { c.adc($0, $1) }
        case .adc16mi: try c.modify(c.address(o), o.immediate(as: UInt16.self)) { c.adc($0, $1) }
        case .adc32rr: c.set(o.pointee.dst, c.adc(c.get(o.pointee.dst, as: UInt32.self), c.get(o.pointee.src)))
        case .adc32ri: c.set(o.pointee.dst, c.adc(c.get(o.pointee.dst, as: UInt32.self), o.immediate()))
        case .adc32rm: c.set(o.pointee.dst, c.adc(c.get(o.pointee.dst, as: UInt32.self), try c.load(c.address(o))))
        case .adc32mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt32.self)) { c.adc($0, $1) }
        case .adc32mi: try c.modify(c.address(o), o.immediate(as: UInt32.self)) { c.adc($0, $1) }
        case .adc64rr: c.set(o.pointee.dst, c.adc(c.get(o.pointee.dst, as: UInt64.self), c.get(o.pointee.src)))
        case .adc64ri: c.set(o.pointee.dst, c.adc(c.get(o.pointee.dst, as: UInt64.self), o.immediate()))
        case .adc64rm: c.set(o.pointee.dst, c.adc(c.get(o.pointee.dst, as: UInt64.self), try c.load(c.address(o))))
        case .adc64mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt64.self)) { c.adc($0, $1) }
        case .adc64mi: try c.modify(c.address(o), o.immediate(as: UInt64.self)) { c.adc($0, $1) }
        case .sbb8rr: c.set(o.pointee.dst, c.sbb(c.get(o.pointee.dst, as: UInt8.self), c.get(o.pointee.src)))
        case .sbb8ri: c.set(o.pointee.dst, c.sbb(c.get(o.pointee.dst, as: UInt8.self), o.immediate()))
        case .sbb8rm: c.set(o.pointee.dst, c.sbb(c.get(o.pointee.dst, as: UInt8.self), try c.load(c.address(o))))
        case .sbb8mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt8.self)) { c.sbb($0, $1) }
        case .sbb8mi: try c.modify(c.address(o), o.immediate(as: UInt8.self)) { c.sbb($0, $1) }
        case .sbb16rr: c.set(o.pointee.dst, c.sbb(c.get(o.pointee.dst, as: UInt16.self), c.get(o.pointee.src)))
        case .sbb16ri: c.set(o.pointee.dst, c.sbb(c.get(o.pointee.dst, as: UInt16.self), o.immediate()))
        case .sbb16rm: c.set(o.pointee.dst, c.sbb(c.get(o.pointee.dst, as: UInt16.self), try c.load(c.address(o))))
        case .sbb16mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt16.self)) { c.sbb($0, $1) }
        case .sbb16mi: try c.modify(c.address(o), o.immediate(as: UInt16.self)) { c.sbb($0, $1) }
        case .sbb32rr: c.set(o.pointee.dst, c.sbb(c.get(o.pointee.dst, as: UInt32.self), c.get(o.pointee.src)))
        case .sbb32ri: c.set(o.pointee.dst, c.sbb(c.get(o.pointee.dst, as: UInt32.self), o.immediate()))
        case .sbb32rm: c.set(o.pointee.dst, c.sbb(c.get(o.pointee.dst, as: UInt32.self), try c.load(c.address(o))))
        case .sbb32mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt32.self)) { c.sbb($0, $1) }
        case .sbb32mi: try c.modify(c.address(o), o.immediate(as: UInt32.self)) { c.sbb($0, $1) }
        case .sbb64rr: c.set(o.pointee.dst, c.sbb(c.get(o.pointee.dst, as: UInt64.self), c.get(o.pointee.src)))
        case .sbb64ri: c.set(o.pointee.dst, c.sbb(c.get(o.pointee.dst, as: UInt64.self), o.immediate()))
        case .sbb64rm: c.set(o.pointee.dst, c.sbb(c.get(o.pointee.dst, as: UInt64.self), try c.load(c.address(o))))
        case .sbb64mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt64.self)) { c.sbb($0, $1) }
        case .sbb64mi: try c.modify(c.address(o), o.immediate(as: UInt64.self)) { c.sbb($0, $1) }
        case .and8rr: c.set(o.pointee.dst, c.and(c.get(o.pointee.dst, as: UInt8.self), c.get(o.pointee.src)))
        case .and8ri: c.set(o.pointee.dst, c.and(c.get(o.pointee.dst, as: UInt8.self), o.immediate()))
        case .and8rm: c.set(o.pointee.dst, c.and(c.get(o.pointee.dst, as: UInt8.self), try c.load(c.address(o))))
        case .and8mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt8.self)) { c.and($0, $1) }
        case .and8mi: try c.modify(c.address(o), o.immediate(as: UInt8.self)) { c.and($0, $1) }
        case .and16rr: c.set(o.pointee.dst, c.and(c.get(o.pointee.dst, as: UInt16.self), c.get(o.pointee.src)))
        case .and16ri: c.set(o.pointee.dst, c.and(c.get(o.pointee.dst, as: UInt16.self), o.immediate()))
        case .and16rm: c.set(o.pointee.dst, c.and(c.get(o.pointee.dst, as: UInt16.self), try c.load(c.address(o))))
        case .and16mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt16.self)) { c.and($0, $1) }
        case .and16mi: try c.modify(c.address(o), o.immediate(as: UInt16.self)) { c.and($0, $1) }
        case .and32rr: c.set(o.pointee.dst, c.and(c.get(o.pointee.dst, as: UInt32.self), c.get(o.pointee.src)))
        case .and32ri: c.set(o.pointee.dst, c.and(c.get(o.pointee.dst, as: UInt32.self), o.immediate()))
        case .and32rm: c.set(o.pointee.dst, c.and(c.get(o.pointee.dst, as: UInt32.self), try c.load(c.address(o))))
        case .and32mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt32.self)) { c.and($0, $1) }
        case .and32mi: try c.modify(c.address(o), o.immediate(as: UInt32.self)) { c.and($0, $1) }
        case .and64rr: c.set(o.pointee.dst, c.and(c.get(o.pointee.dst, as: UInt64.self), c.get(o.pointee.src)))
        case .and64ri: c.set(o.pointee.dst, c.and(c.get(o.pointee.dst, as: UInt64.self), o.immediate()))
        case .and64rm: c.set(o.pointee.dst, c.and(c.get(o.pointee.dst, as: UInt64.self), try c.load(c.address(o))))
        case .and64mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt64.self)) { c.and($0, $1) }
        case .and64mi: try c.modify(c.address(o), o.immediate(as: UInt64.self)) { c.and($0, $1) }
        case .sub8rr: c.set(o.pointee.dst, c.sub(c.get(o.pointee.dst, as: UInt8.self), c.get(o.pointee.src)))
        case .sub8ri: c.set(o.pointee.dst, c.sub(c.get(o.pointee.dst, as: UInt8.self), o.immediate()))
        case .sub8rm: c.set(o.pointee.dst, c.sub(c.get(o.pointee.dst, as: UInt8.self), try c.load(c.address(o))))
        case .sub8mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt8.self)) { c.sub($0, $1) }
        case .sub8mi: try c.modify(c.address(o), o.immediate(as: UInt8.self)) { c.sub($0, $1) }
        case .sub16rr: c.set(o.pointee.dst, c.sub(c.get(o.pointee.dst, as: UInt16.self), c.get(o.pointee.src)))
        case .sub16ri: c.set(o.pointee.dst, c.sub(c.get(o.pointee.dst, as: UInt16.self), o.immediate()))
        case .sub16rm: c.set(o.pointee.dst, c.sub(c.get(o.pointee.dst, as: UInt16.self), try c.load(c.address(o))))
        case .sub16mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt16.self)) { c.sub($0, $1) }
        case .sub16mi: try c.modify(c.address(o), o.immediate(as: UInt16.self)) { c.sub($0, $1) }
        case .sub32rr: c.set(o.pointee.dst, c.sub(c.get(o.pointee.dst, as: UInt32.self), c.get(o.pointee.src)))
        case .sub32ri: c.set(o.pointee.dst, c.sub(c.get(o.pointee.dst, as: UInt32.self), o.immediate()))
        case .sub32rm: c.set(o.pointee.dst, c.sub(c.get(o.pointee.dst, as: UInt32.self), try c.load(c.address(o))))
        case .sub32mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt32.self)) { c.sub($0, $1) }
        case .sub32mi: try c.modify(c.address(o), o.immediate(as: UInt32.self)) { c.sub($0, $1) }
        case .sub64rr: c.set(o.pointee.dst, c.sub(c.get(o.pointee.dst, as: UInt64.self), c.get(o.pointee.src)))
        case .sub64ri: c.set(o.pointee.dst, c.sub(c.get(o.pointee.dst, as: UInt64.self), o.immediate()))
        case .sub64rm: c.set(o.pointee.dst, c.sub(c.get(o.pointee.dst, as: UInt64.self), try c.load(c.address(o))))
        case .sub64mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt64.self)) { c.sub($0, $1) }
        case .sub64mi: try c.modify(c.address(o), o.immediate(as: UInt64.self)) { c.sub($0, $1) }
        case .xor8rr: c.set(o.pointee.dst, c.xor(c.get(o.pointee.dst, as: UInt8.self), c.get(o.pointee.src)))
        case .xor8ri: c.set(o.pointee.dst, c.xor(c.get(o.pointee.dst, as: UInt8.self), o.immediate()))
        case .xor8rm: c.set(o.pointee.dst, c.xor(c.get(o.pointee.dst, as: UInt8.self), try c.load(c.address(o))))
        case .xor8mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt8.self)) { c.xor($0, $1) }
        case .xor8mi: try c.modify(c.address(o), o.immediate(as: UInt8.self)) { c.xor($0, $1) }
        case .xor16rr: c.set(o.pointee.dst, c.xor(c.get(o.pointee.dst, as: UInt16.self), c.get(o.pointee.src)))
        case .xor16ri: c.set(o.pointee.dst, c.xor(c.get(o.pointee.dst, as: UInt16.self), o.immediate()))
        case .xor16rm: c.set(o.pointee.dst, c.xor(c.get(o.pointee.dst, as: UInt16.self), try c.load(c.address(o))))
        case .xor16mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt16.self)) { c.xor($0, $1) }
        case .xor16mi: try c.modify(c.address(o), o.immediate(as: UInt16.self)) { c.xor($0, $1) }
        case .xor32rr: c.set(o.pointee.dst, c.xor(c.get(o.pointee.dst, as: UInt32.self), c.get(o.pointee.src)))
        case .xor32ri: c.set(o.pointee.dst, c.xor(c.get(o.pointee.dst, as: UInt32.self), o.immediate()))
        case .xor32rm: c.set(o.pointee.dst, c.xor(c.get(o.pointee.dst, as: UInt32.self), try c.load(c.address(o))))
        case .xor32mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt32.self)) { c.xor($0, $1) }
        case .xor32mi: try c.modify(c.address(o), o.immediate(as: UInt32.self)) { c.xor($0, $1) }
        case .xor64rr: c.set(o.pointee.dst, c.xor(c.get(o.pointee.dst, as: UInt64.self), c.get(o.pointee.src)))
        case .xor64ri: c.set(o.pointee.dst, c.xor(c.get(o.pointee.dst, as: UInt64.self), o.immediate()))
        case .xor64rm: c.set(o.pointee.dst, c.xor(c.get(o.pointee.dst, as: UInt64.self), try c.load(c.address(o))))
        case .xor64mr: try c.modify(c.address(o), c.get(o.pointee.src, as: UInt64.self)) { c.xor($0, $1) }
        case .xor64mi: try c.modify(c.address(o), o.immediate(as: UInt64.self)) { c.xor($0, $1) }
        case .cmp8rr: _ = c.sub(c.get(o.pointee.dst, as: UInt8.self), c.get(o.pointee.src))
        case .cmp8ri: _ = c.sub(c.get(o.pointee.dst, as: UInt8.self), o.immediate())
        case .cmp8rm: _ = c.sub(c.get(o.pointee.dst, as: UInt8.self), try c.load(c.address(o)))
        case .cmp8mr: _ = c.sub(try c.load(c.address(o), as: UInt8.self), c.get(o.pointee.src))
        case .cmp8mi: _ = c.sub(try c.load(c.address(o), as: UInt8.self), o.immediate())
        case .cmp16rr: _ = c.sub(c.get(o.pointee.dst, as: UInt16.self), c.get(o.pointee.src))
        case .cmp16ri: _ = c.sub(c.get(o.pointee.dst, as: UInt16.self), o.immediate())
        case .cmp16rm: _ = c.sub(c.get(o.pointee.dst, as: UInt16.self), try c.load(c.address(o)))
        case .cmp16mr: _ = c.sub(try c.load(c.address(o), as: UInt16.self), c.get(o.pointee.src))
        case .cmp16mi: _ = c.sub(try c.load(c.address(o), as: UInt16.self), o.immediate())
        case .cmp32rr: _ = c.sub(c.get(o.pointee.dst, as: UInt32.self), c.get(o.pointee.src))
        case .cmp32ri: _ = c.sub(c.get(o.pointee.dst, as: UInt32.self), o.immediate())
        case .cmp32rm: _ = c.sub(c.get(o.pointee.dst, as: UInt32.self), try c.load(c.address(o)))
        case .cmp32mr: _ = c.sub(try c.load(c.address(o), as: UInt32.self), c.get(o.pointee.src))
        case .cmp32mi: _ = c.sub(try c.load(c.address(o), as: UInt32.self), o.immediate())
        case .cmp64rr: _ = c.sub(c.get(o.pointee.dst, as: UInt64.self), c.get(o.pointee.src))
        case .cmp64ri: _ = c.sub(c.get(o.pointee.dst, as: UInt64.self), o.immediate())
        case .cmp64rm: _ = c.sub(c.get(o.pointee.dst, as: UInt64.self), try c.load(c.address(o)))
        case .cmp64mr: _ = c.sub(try c.load(c.address(o), as: UInt64.self), c.get(o.pointee.src))
        case .cmp64mi: _ = c.sub(try c.load(c.address(o), as: UInt64.self), o.immediate())
        case .test8rr: _ = c.and(c.get(o.pointee.dst, as: UInt8.self), c.get(o.pointee.src))
        case .test8ri: _ = c.and(c.get(o.pointee.dst, as: UInt8.self), o.immediate())
        case .test8rm: _ = c.and(c.get(o.pointee.dst, as: UInt8.self), try c.load(c.address(o)))
        case .test8mr: _ = c.and(try c.load(c.address(o), as: UInt8.self), c.get(o.pointee.src))
        case .test8mi: _ = c.and(try c.load(c.address(o), as: UInt8.self), o.immediate())
        case .test16rr: _ = c.and(c.get(o.pointee.dst, as: UInt16.self), c.get(o.pointee.src))
        case .test16ri: _ = c.and(c.get(o.pointee.dst, as: UInt16.self), o.immediate())
        case .test16rm: _ = c.and(c.get(o.pointee.dst, as: UInt16.self), try c.load(c.address(o)))
        case .test16mr: _ = c.and(try c.load(c.address(o), as: UInt16.self), c.get(o.pointee.src))
        case .test16mi: _ = c.and(try c.load(c.address(o), as: UInt16.self), o.immediate())
        case .test32rr: _ = c.and(c.get(o.pointee.dst, as: UInt32.self), c.get(o.pointee.src))
        case .test32ri: _ = c.and(c.get(o.pointee.dst, as: UInt32.self), o.immediate())
        case .test32rm: _ = c.and(c.get(o.pointee.dst, as: UInt32.self), try c.load(c.address(o)))
        case .test32mr: _ = c.and(try c.load(c.address(o), as: UInt32.self), c.get(o.pointee.src))
        case .test32mi: _ = c.and(try c.load(c.address(o), as: UInt32.self), o.immediate())
        case .test64rr: _ = c.and(c.get(o.pointee.dst, as: UInt64.self), c.get(o.pointee.src))
        case .test64ri: _ = c.and(c.get(o.pointee.dst, as: UInt64.self), o.immediate())
        case .test64rm: _ = c.and(c.get(o.pointee.dst, as: UInt64.self), try c.load(c.address(o)))
        case .test64mr: _ = c.and(try c.load(c.address(o), as: UInt64.self), c.get(o.pointee.src))
        case .test64mi: _ = c.and(try c.load(c.address(o), as: UInt64.self), o.immediate())
        case .mov8rr: c.set(o.pointee.dst, c.get(o.pointee.src, as: UInt8.self))
        case .mov8ri: c.set(o.pointee.dst, o.immediate(as: UInt8.self))
        case .mov8rm: c.set(o.pointee.dst, try c.load(c.address(o), as: UInt8.self))
        case .mov8mr: try c.store(c.address(o), c.get(o.pointee.src, as: UInt8.self))
        case .mov8mi: try c.store(c.address(o), o.immediate(as: UInt8.self))
        case .mov16rr: c.set(o.pointee.dst, c.get(o.pointee.src, as: UInt16.self))
        case .mov16ri: c.set(o.pointee.dst, o.immediate(as: UInt16.self))
        case .mov16rm: c.set(o.pointee.dst, try c.load(c.address(o), as: UInt16.self))
        case .mov16mr: try c.store(c.address(o), c.get(o.pointee.src, as: UInt16.self))
        case .mov16mi: try c.store(c.address(o), o.immediate(as: UInt16.self))
        case .mov32rr: c.set(o.pointee.dst, c.get(o.pointee.src, as: UInt32.self))
        case .mov32ri: c.set(o.pointee.dst, o.immediate(as: UInt32.self))
        case .mov32rm: c.set(o.pointee.dst, try c.load(c.address(o), as: UInt32.self))
        case .mov32mr: try c.store(c.address(o), c.get(o.pointee.src, as: UInt32.self))
        case .mov32mi: try c.store(c.address(o), o.immediate(as: UInt32.self))
        case .mov64rr: c.set(o.pointee.dst, c.get(o.pointee.src, as: UInt64.self))
        case .mov64ri: c.set(o.pointee.dst, o.immediate(as: UInt64.self))
        case .mov64rm: c.set(o.pointee.dst, try c.load(c.address(o), as: UInt64.self))
        case .mov64mr: try c.store(c.address(o), c.get(o.pointee.src, as: UInt64.self))
        case .mov64mi: try c.store(c.address(o), o.immediate(as: UInt64.self))
        case .inc8r: c.set(o.pointee.dst, c.inc(c.get(o.pointee.dst, as: UInt8.self)))
        case .inc8m: try c.modify(c.address(o), 0 as UInt8) { a, _ in c.inc(a) }
        case .inc16r: c.set(o.pointee.dst, c.inc(c.get(o.pointee.dst, as: UInt16.self)))
        case .inc16m: try c.modify(c.address(o), 0 as UInt16) { a, _ in c.inc(a) }
        case .inc32r: c.set(o.pointee.dst, c.inc(c.get(o.pointee.dst, as: UInt32.self)))
        case .inc32m: try c.modify(c.address(o), 0 as UInt32) { a, _ in c.inc(a) }
        case .inc64r: c.set(o.pointee.dst, c.inc(c.get(o.pointee.dst, as: UInt64.self)))
        case .inc64m: try c.modify(c.address(o), 0 as UInt64) { a, _ in c.inc(a) }
        case .dec8r: c.set(o.pointee.dst, c.dec(c.get(o.pointee.dst, as: UInt8.self)))
        case .dec8m: try c.modify(c.address(o), 0 as UInt8) { a, _ in c.dec(a) }
        case .dec16r: c.set(o.pointee.dst, c.dec(c.get(o.pointee.dst, as: UInt16.self)))
        case .dec16m: try c.modify(c.address(o), 0 as UInt16) { a, _ in c.dec(a) }
        case .dec32r: c.set(o.pointee.dst, c.dec(c.get(o.pointee.dst, as: UInt32.self)))
        case .dec32m: try c.modify(c.address(o), 0 as UInt32) { a, _ in c.dec(a) }
        case .dec64r: c.set(o.pointee.dst, c.dec(c.get(o.pointee.dst, as: UInt64.self)))
        case .dec64m: try c.modify(c.address(o), 0 as UInt64) { a, _ in c.dec(a) }
        case .neg8r: c.set(o.pointee.dst, c.neg(c.get(o.pointee.dst, as: UInt8.self)))
        case .neg8m: try c.modify(c.address(o), 0 as UInt8) { a, _ in c.neg(a) }
        case .neg16r: c.set(o.pointee.dst, c.neg(c.get(o.pointee.dst, as: UInt16.self)))
        case .neg16m: try c.modify(c.address(o), 0 as UInt16) { a, _ in c.neg(a) }
        case .neg32r: c.set(o.pointee.dst, c.neg(c.get(o.pointee.dst, as: UInt32.self)))
        case .neg32m: try c.modify(c.address(o), 0 as UInt32) { a, _ in c.neg(a) }
        case .neg64r: c.set(o.pointee.dst, c.neg(c.get(o.pointee.dst, as: UInt64.self)))
        case .neg64m: try c.modify(c.address(o), 0 as UInt64) { a, _ in c.neg(a) }
        case .not8r: c.set(o.pointee.dst, c.complement(c.get(o.pointee.dst, as: UInt8.self)))
        case .not8m: try c.modify(c.address(o), 0 as UInt8) { a, _ in c.complement(a) }
        case .not16r: c.set(o.pointee.dst, c.complement(c.get(o.pointee.dst, as: UInt16.self)))
        case .not16m: try c.modify(c.address(o), 0 as UInt16) { a, _ in c.complement(a) }
        case .not32r: c.set(o.pointee.dst, c.complement(c.get(o.pointee.dst, as: UInt32.self)))
        case .not32m: try c.modify(c.address(o), 0 as UInt32) { a, _ in c.complement(a) }
        case .not64r: c.set(o.pointee.dst, c.complement(c.get(o.pointee.dst, as: UInt64.self)))
        case .not64m: try c.modify(c.address(o), 0 as UInt64) { a, _ in c.complement(a) }
        case .shl8ri: c.set(o.pointee.dst, c.shl(c.get(o.pointee.dst, as: UInt8.self), o.count))
        case .shl8rc: c.shiftByCL(o, as: UInt8.self, mask: 31) { c.shl($0, $1) }
        case .shl16ri: c.set(o.pointee.dst, c.shl(c.get(o.pointee.dst, as: UInt16.self), o.count))
        case .shl16rc: c.shiftByCL(o, as: UInt16.self, mask: 31) { c.shl($0, $1) }
        case .shl32ri: c.set(o.pointee.dst, c.shl(c.get(o.pointee.dst, as: UInt32.self), o.count))
        case .shl32rc: c.shiftByCL(o, as: UInt32.self, mask: 31) { c.shl($0, $1) }
        case .shl64ri: c.set(o.pointee.dst, c.shl(c.get(o.pointee.dst, as: UInt64.self), o.count))
        case .shl64rc: c.shiftByCL(o, as: UInt64.self, mask: 63) { c.shl($0, $1) }
        case .shr8ri: c.set(o.pointee.dst, c.shr(c.get(o.pointee.dst, as: UInt8.self), o.count))
        case .shr8rc: c.shiftByCL(o, as: UInt8.self, mask: 31) { c.shr($0, $1) }
        case .shr16ri: c.set(o.pointee.dst, c.shr(c.get(o.pointee.dst, as: UInt16.self), o.count))
        case .shr16rc: c.shiftByCL(o, as: UInt16.self, mask: 31) { c.shr($0, $1) }
        case .shr32ri: c.set(o.pointee.dst, c.shr(c.get(o.pointee.dst, as: UInt32.self), o.count))
        case .shr32rc: c.shiftByCL(o, as: UInt32.self, mask: 31) { c.shr($0, $1) }
        case .shr64ri: c.set(o.pointee.dst, c.shr(c.get(o.pointee.dst, as: UInt64.self), o.count))
        case .shr64rc: c.shiftByCL(o, as: UInt64.self, mask: 63) { c.shr($0, $1) }
        case .sar8ri: c.set(o.pointee.dst, c.sar(c.get(o.pointee.dst, as: UInt8.self), o.count))
        case .sar8rc: c.shiftByCL(o, as: UInt8.self, mask: 31) { c.sar($0, $1) }
        case .sar16ri: c.set(o.pointee.dst, c.sar(c.get(o.pointee.dst, as: UInt16.self), o.count))
        case .sar16rc: c.shiftByCL(o, as: UInt16.self, mask: 31) { c.sar($0, $1) }
        case .sar32ri: c.set(o.pointee.dst, c.sar(c.get(o.pointee.dst, as: UInt32.self), o.count))
        case .sar32rc: c.shiftByCL(o, as: UInt32.self, mask: 31) { c.sar($0, $1) }
        case .sar64ri: c.set(o.pointee.dst, c.sar(c.get(o.pointee.dst, as: UInt64.self), o.count))
        case .sar64rc: c.shiftByCL(o, as: UInt64.self, mask: 63) { c.sar($0, $1) }
        case .rol32ri: c.set(o.pointee.dst, c.rol(c.get(o.pointee.dst, as: UInt32.self), o.count))
        case .rol64ri: c.set(o.pointee.dst, c.rol(c.get(o.pointee.dst, as: UInt64.self), o.count))
        case .ror32ri: c.set(o.pointee.dst, c.ror(c.get(o.pointee.dst, as: UInt32.self), o.count))
        case .ror64ri: c.set(o.pointee.dst, c.ror(c.get(o.pointee.dst, as: UInt64.self), o.count))
        case .rotate32: c.set(o.pointee.dst, c.rotated(c.get(o.pointee.dst, as: UInt32.self), o.count))
        case .rotate64: c.set(o.pointee.dst, c.rotated(c.get(o.pointee.dst, as: UInt64.self), o.count))
        case .shiftLeft32: c.set(o.pointee.dst, c.get(o.pointee.dst, as: UInt32.self) &<< o.immediate(as: UInt32.self))
        case .shiftLeft64: c.set(o.pointee.dst, c.get(o.pointee.dst, as: UInt64.self) &<< o.count)
        case .shiftRight32: c.set(o.pointee.dst, c.get(o.pointee.dst, as: UInt32.self) &>> o.immediate(as: UInt32.self))
        case .shiftRight64: c.set(o.pointee.dst, c.get(o.pointee.dst, as: UInt64.self) &>> o.count)
        case .movzx8to32r: c.set(o.pointee.dst, UInt32(c.get(o.pointee.src, as: UInt8.self)))
        case .movzx16to32r: c.set(o.pointee.dst, UInt32(c.get(o.pointee.src, as: UInt16.self)))
        case .movsx8to32r: c.set(o.pointee.dst, Int32(c.get(o.pointee.src, as: Int8.self)))
        case .movsx16to32r: c.set(o.pointee.dst, Int32(c.get(o.pointee.src, as: Int16.self)))
        case .movsx8to64r: c.set(o.pointee.dst, Int64(c.get(o.pointee.src, as: Int8.self)))
        case .movsx16to64r: c.set(o.pointee.dst, Int64(c.get(o.pointee.src, as: Int16.self)))
        case .movsx32to64r: c.set(o.pointee.dst, Int64(c.get(o.pointee.src, as: Int32.self)))
        case .movzx8to32m: c.set(o.pointee.dst, UInt32(try c.load(c.address(o), as: UInt8.self)))
        case .movzx16to32m: c.set(o.pointee.dst, UInt32(try c.load(c.address(o), as: UInt16.self)))
        case .movsx8to32m: c.set(o.pointee.dst, Int32(Int8(bitPattern: try c.load(c.address(o)))))
        case .movsx16to32m: c.set(o.pointee.dst, Int32(Int16(bitPattern: try c.load(c.address(o)))))
        case .movsx8to64m: c.set(o.pointee.dst, Int64(Int8(bitPattern: try c.load(c.address(o)))))
        case .movsx16to64m: c.set(o.pointee.dst, Int64(Int16(bitPattern: try c.load(c.address(o)))))
        case .movsx32to64m: c.set(o.pointee.dst, Int64(Int32(bitPattern: try c.load(c.address(o)))))
        case .lea16: c.set(o.pointee.dst, UInt16(truncatingIfNeeded: c.offsetAddress(o)))
        case .lea32: c.set(o.pointee.dst, UInt32(truncatingIfNeeded: c.offsetAddress(o)))
        case .lea64: c.set(o.pointee.dst, c.offsetAddress(o))
        case .imul32rr: c.set(o.pointee.dst, c.imul(c.get(o.pointee.dst, as: UInt32.self), c.get(o.pointee.src)))
        case .imul64rr: c.set(o.pointee.dst, c.imul(c.get(o.pointee.dst, as: UInt64.self), c.get(o.pointee.src)))
        case .imul32rri: c.set(o.pointee.dst, c.imul(c.get(o.pointee.src, as: UInt32.self), o.immediate()))
        case .imul64rri: c.set(o.pointee.dst, c.imul(c.get(o.pointee.src, as: UInt64.self), o.immediate()))
        case .xchg32rr:
          let a: UInt32 = c.get(o.pointee.dst)
          c.set(o.pointee.dst, c.get(o.pointee.src, as: UInt32.self))
          c.set(o.pointee.src, a)
        case .xchg64rr:
          let a: UInt64 = c.get(o.pointee.dst)
          c.set(o.pointee.dst, c.get(o.pointee.src, as: UInt64.self))
          c.set(o.pointee.src, a)
        case .bswap32: c.set(o.pointee.dst, c.get(o.pointee.dst, as: UInt32.self).byteSwapped)
        case .bswap64: c.set(o.pointee.dst, c.get(o.pointee.dst, as: UInt64.self).byteSwapped)
        case .cdq: c.set(16, UInt32(bitPattern: c.get(0, as: Int32.self) >> 31))
        case .cqo: c.set(16, c.get(0, as: Int64.self) >> 63)
        case .cdqe: c.set(0, Int64(c.get(0, as: Int32.self)))
        case .cwde: c.set(0, Int32(c.get(0, as: Int16.self)))
        case .setccR: c.set(o.pointee.dst, c.condition(UInt8(truncatingIfNeeded: o.pointee.aux)) ? 1 : 0 as UInt8)
        case .cmov32rr:
          let from = c.condition(UInt8(truncatingIfNeeded: o.pointee.aux)) ? o.pointee.src : o.pointee.dst
          c.set(o.pointee.dst, c.get(from, as: UInt32.self))
        case .cmov64rr:
          let from = c.condition(UInt8(truncatingIfNeeded: o.pointee.aux)) ? o.pointee.src : o.pointee.dst
          c.set(o.pointee.dst, c.get(from, as: UInt64.self))
        case .push64r: try c.push64(c.get(o.pointee.src))
        case .push64i: try c.push64(o.immediate())
        case .pop64r: c.set(o.pointee.dst, try c.pop64())
        case .push32r: try c.push32(c.get(o.pointee.src))
        case .push32i: try c.push32(o.immediate())
        case .pop32r: c.set(o.pointee.dst, try c.pop32())
        case .leave64:
          let frame = c[slot: 5]
          let value: UInt64 = try c.load(frame)
          c[slot: Slot.rsp] = frame &+ 8
          c[slot: 5] = value
        case .leave32:
          let frame: UInt32 = c.get(40)
          let value: UInt32 = try c.load(UInt64(frame))
          c[slot: Slot.rsp] = UInt64(frame &+ 4)
          c[slot: 5] = UInt64(value)

        case .jcc:
          let taken = c.condition(UInt8(truncatingIfNeeded: o.pointee.aux))
          guard c.follow(&block, taken: taken) else { return .find }
          o = block.pointee.ops
          continue
        case .jmp:
          guard c.follow(&block, taken: true) else { return .find }
          o = block.pointee.ops
          continue
        case .next:
          guard c.follow(&block, taken: false) else { return .find }
          o = block.pointee.ops
          continue
        case .call64:
          try c.push64(block.pointee.endRIP)
          guard c.follow(&block, taken: true) else { return .find }
          o = block.pointee.ops
          continue
        case .call32:
          try c.push32(UInt32(truncatingIfNeeded: block.pointee.endRIP))
          guard c.follow(&block, taken: true) else { return .find }
          o = block.pointee.ops
          continue
        case .ret64:
          let target: UInt64 = try c.load(c[slot: Slot.rsp])
          guard isCanonical(target) else { throw c.raise(.gp, 0) }
          c[slot: Slot.rsp] &+= 8 &+ o.count
          guard c.jump(&block, to: target) else { return .find }
          o = block.pointee.ops
          continue
        case .ret32:
          let target: UInt32 = try c.load(UInt64(c.get(32, as: UInt32.self)))
          c.set(32, c.get(32, as: UInt32.self) &+ 4 &+ o.immediate())
          guard c.jump(&block, to: UInt64(target)) else { return .find }
          o = block.pointee.ops
          continue
        case .jmpR:
          let target: UInt64 = c.get(o.pointee.src)
          guard isCanonical(target) else { throw c.raise(.gp, 0) }
          guard c.jump(&block, to: target) else { return .find }
          o = block.pointee.ops
          continue
        case .jmp64m:
          let target: UInt64 = try c.load(c.address(o))
          guard isCanonical(target) else { throw c.raise(.gp, 0) }
          guard c.jump(&block, to: target) else { return .find }
          o = block.pointee.ops
          continue
        case .call64R:
          let target: UInt64 = c.get(o.pointee.src)
          guard isCanonical(target) else { throw c.raise(.gp, 0) }
          try c.push64(block.pointee.endRIP)
          guard c.jump(&block, to: target) else { return .find }
          o = block.pointee.ops
          continue
        case .call64m:
          let target: UInt64 = try c.load(c.address(o))
          guard isCanonical(target) else { throw c.raise(.gp, 0) }
          try c.push64(block.pointee.endRIP)
          guard c.jump(&block, to: target) else { return .find }
          o = block.pointee.ops
          continue
        case .cmpJcc8rr:
          let a: UInt8 = c.get(o.pointee.dst)
          let b: UInt8 = c.get(o.pointee.src)
          _ = c.sub(a, b)
          guard c.follow(&block, taken: c.compare(a, b, o.pointee.aux)) else { return .find }
          o = block.pointee.ops
          continue
        case .cmpJcc8ri:
          let a: UInt8 = c.get(o.pointee.dst)
          let b: UInt8 = o.immediate()
          _ = c.sub(a, b)
          guard c.follow(&block, taken: c.compare(a, b, o.pointee.aux)) else { return .find }
          o = block.pointee.ops
          continue
        case .cmpJcc16rr:
          let a: UInt16 = c.get(o.pointee.dst)
          let b: UInt16 = c.get(o.pointee.src)
          _ = c.sub(a, b)
          guard c.follow(&block, taken: c.compare(a, b, o.pointee.aux)) else { return .find }
          o = block.pointee.ops
          continue
        case .cmpJcc16ri:
          let a: UInt16 = c.get(o.pointee.dst)
          let b: UInt16 = o.immediate()
          _ = c.sub(a, b)
          guard c.follow(&block, taken: c.compare(a, b, o.pointee.aux)) else { return .find }
          o = block.pointee.ops
          continue
        case .cmpJcc32rr:
          let a: UInt32 = c.get(o.pointee.dst)
          let b: UInt32 = c.get(o.pointee.src)
          _ = c.sub(a, b)
          guard c.follow(&block, taken: c.compare(a, b, o.pointee.aux)) else { return .find }
          o = block.pointee.ops
          continue
        case .cmpJcc32ri:
          let a: UInt32 = c.get(o.pointee.dst)
          let b: UInt32 = o.immediate()
          _ = c.sub(a, b)
          guard c.follow(&block, taken: c.compare(a, b, o.pointee.aux)) else { return .find }
          o = block.pointee.ops
          continue
        case .cmpJcc64rr:
          let a: UInt64 = c.get(o.pointee.dst)
          let b: UInt64 = c.get(o.pointee.src)
          _ = c.sub(a, b)
          guard c.follow(&block, taken: c.compare(a, b, o.pointee.aux)) else { return .find }
          o = block.pointee.ops
          continue
        case .cmpJcc64ri:
          let a: UInt64 = c.get(o.pointee.dst)
          let b: UInt64 = o.immediate()
          _ = c.sub(a, b)
          guard c.follow(&block, taken: c.compare(a, b, o.pointee.aux)) else { return .find }
          o = block.pointee.ops
          continue
        case .testJcc8rr:
          let result = c.and(c.get(o.pointee.dst, as: UInt8.self), c.get(o.pointee.src))
          guard c.follow(&block, taken: c.compare(result, 0, o.pointee.aux)) else { return .find }
          o = block.pointee.ops
          continue
        case .testJcc8ri:
          let result = c.and(c.get(o.pointee.dst, as: UInt8.self), o.immediate())
          guard c.follow(&block, taken: c.compare(result, 0, o.pointee.aux)) else { return .find }
          o = block.pointee.ops
          continue
        case .testJcc16rr:
          let result = c.and(c.get(o.pointee.dst, as: UInt16.self), c.get(o.pointee.src))
          guard c.follow(&block, taken: c.compare(result, 0, o.pointee.aux)) else { return .find }
          o = block.pointee.ops
          continue
        case .testJcc16ri:
          let result = c.and(c.get(o.pointee.dst, as: UInt16.self), o.immediate())
          guard c.follow(&block, taken: c.compare(result, 0, o.pointee.aux)) else { return .find }
          o = block.pointee.ops
          continue
        case .testJcc32rr:
          let result = c.and(c.get(o.pointee.dst, as: UInt32.self), c.get(o.pointee.src))
          guard c.follow(&block, taken: c.compare(result, 0, o.pointee.aux)) else { return .find }
          o = block.pointee.ops
          continue
        case .testJcc32ri:
          let result = c.and(c.get(o.pointee.dst, as: UInt32.self), o.immediate())
          guard c.follow(&block, taken: c.compare(result, 0, o.pointee.aux)) else { return .find }
          o = block.pointee.ops
          continue
        case .testJcc64rr:
          let result = c.and(c.get(o.pointee.dst, as: UInt64.self), c.get(o.pointee.src))
          guard c.follow(&block, taken: c.compare(result, 0, o.pointee.aux)) else { return .find }
          o = block.pointee.ops
          continue
        case .testJcc64ri:
          let result = c.and(c.get(o.pointee.dst, as: UInt64.self), o.immediate())
          guard c.follow(&block, taken: c.compare(result, 0, o.pointee.aux)) else { return .find }
          o = block.pointee.ops
          continue
        case .decJnz32:
          let result = c.dec(c.get(o.pointee.dst, as: UInt32.self))
          c.set(o.pointee.dst, result)
          guard c.follow(&block, taken: result != 0) else { return .find }
          o = block.pointee.ops
          continue
        case .decJnz64:
          let result = c.dec(c.get(o.pointee.dst, as: UInt64.self))
          c.set(o.pointee.dst, result)
          guard c.follow(&block, taken: result != 0) else { return .find }
          o = block.pointee.ops
          continue
        case .nop: break
        case .breakpoint: try c.stopBeforeInstruction(block)
        case .sensitive: try c.sensitive(o)
        case .segmentAddress: try c.segmentAddress(o)
        case .integer: try c.integer(o)
        case .integerEnd:
          c.pointee.rip = block.pointee.endRIP
          try c.integer(o)
          guard c.jump(&block, to: c.pointee.rip) else { return .find }
          o = block.pointee.ops
          continue
        case .string: try c.string(o)
        case .system:
          c.pointee.rip = c.nextRIP(block, o)
          try c.system(o)
        case .systemEnd:
          c.pointee.rip = c.nextRIP(block, o)
          try c.system(o)
          if c.wantsAttention { return .attention }
          guard c.jump(&block, to: c.pointee.rip) else { return .find }
          o = block.pointee.ops
          continue
        case .sse: try c.sse(o)
        case .vector: try c.vector(o)
        case .x87:
          c.pointee.rip = c.nextRIP(block, o)
          try c.x87(o)
        case .undefined: throw c.raise(.ud)
        case .warm:
          o.pointee.imm &-= 1
          if o.pointee.imm <= 0 { return .warm(block) }
        case .host: return .host(block)
        case .done: return .done
        case .keepCarry: c.keepCarry()
        case .rotateFlags: c.noteRotation(o.pointee.aux)
        }
        o += 1
      }
    } catch {
      (pointee.hostOp, pointee.hostBlock) = (UInt(bitPattern: o), UInt(bitPattern: block))
      // Nothing from the given-up instruction on counts.
      c.pointee.budget &+= Int64(o.pointee.remaining)
      c.pointee.rip = block.pointee.rip &+ UInt64(o.pointee.offset)
      c.pointee.stopLength = o.pointee.length
      c.pointee.stopOnStack = o.pointee.usesStack
      return .stop(error)
    }
  }
}
