import X86

/// Vector instructions that access memory lane by lane, each for itself.
struct LaneDetail {
  var raw: Int64
  init(_ raw: Int64) { self.raw = raw }
  /// Sizes in bytes; `index` of a gather's indices.
  init(bytes: Int, lanes: Int, index: Int = 0, scale: Int = 1, segment: Int = 3, checked: Bool = false) {
    raw = Int64(bytes) | Int64(lanes) << 8 | Int64(index) << 16 | Int64(scale.trailingZeroBitCount) << 24
    raw |= Int64(segment) << 32 | (checked ? 1 << 40 : 0)
  }
  var bytes: Int { Int(raw & 0xFF) }
  var lanes: Int { Int(raw >> 8 & 0xFF) }
  var index: Int { Int(raw >> 16 & 0xFF) }
  var scale: UInt64 { UInt64(raw >> 24 & 0xFF) }
  /// Of the memory operand; each lane is checked against it where `isChecked`.
  var segment: Int { Int(raw >> 32 & 0xFF) }
  var isChecked: Bool { raw >> 40 & 1 != 0 }
}

extension UnsafeMutablePointer<CPU> {
  /// A lane of a whole vector register, zero-extended.
  private func lane(_ register: UInt8, _ i: Int, _ bytes: Int) -> UInt64 {
    let at = i &* bytes
    let half = at < 16 ? self[xmm: register] : self[upper: register]
    let word = at & 8 == 0 ? half.low : half.high
    return bytes == 8 ? word : word >> UInt64((at & 4) * 8) & 0xFFFF_FFFF
  }
  private func setLane(_ register: UInt8, _ i: Int, _ bytes: Int, _ value: UInt64) {
    let at = i &* bytes
    let place = Slot.xmmOffset &+ Int(register & 30) &* 8 &+ (at < 16 ? at : at &- 16 &+ Slot.upperDistance)
    if bytes == 8 {
      file.storeBytes(of: value, toByteOffset: place, as: UInt64.self)
    } else {
      file.storeBytes(of: UInt32(truncatingIfNeeded: value), toByteOffset: place, as: UInt32.self)
    }
  }
  private func isChosen(_ mask: UInt8, _ i: Int, _ bytes: Int) -> Bool {
    lane(mask, i, bytes) >> UInt64(bytes * 8 - 1) != 0
  }

  /// What a masked or gathering operand's lane lies at, `distance` from the operand's own offset.
  private func laneAddress(
    _ o: MicroOpPointer, _ detail: LaneDetail, _ distance: UInt64, write: Bool
  ) throws(Stop) -> UInt64 {
    guard detail.isChecked else { return (address(o) &+ distance) & pointee.addressMask }
    let cut: UInt64 = o.pointee.addressSizeLog2 == 1 ? 0xFFFF : 0xFFFF_FFFF
    let offset = (offsetAddress(o) &+ distance) & cut
    return try linear(detail.segment, offset, size: detail.bytes, write: write)
  }

  func maskedLoad(_ o: MicroOpPointer) throws(Stop) {
    let detail = LaneDetail(o.pointee.imm)
    let mask = o.pointee.otherVector
    var values = InlineArray<8, UInt64>(repeating: 0)
    for i in 0..<detail.lanes where isChosen(mask, i, detail.bytes) {
      let at = try laneAddress(o, detail, UInt64(i * detail.bytes), write: false)
      values[i] = try narrowLoad(at, UInt8(detail.bytes))
    }
    self[xmm: o.pointee.dst] = XMM()
    self[upper: o.pointee.dst] = XMM()
    for i in 0..<detail.lanes { setLane(o.pointee.dst, i, detail.bytes, values[i]) }
  }

  func maskedStore(_ o: MicroOpPointer) throws(Stop) {
    let detail = LaneDetail(o.pointee.imm)
    let mask = o.pointee.otherVector
    for isProbing in [true, false] {
      for i in 0..<detail.lanes where isChosen(mask, i, detail.bytes) {
        let at = try laneAddress(o, detail, UInt64(i * detail.bytes), write: true)
        if isProbing {
          try probeWrite(at, detail.bytes)
        } else {
          try storeSized(at, lane(o.pointee.dst, i, detail.bytes), bytes: detail.bytes)
        }
      }
    }
  }

  /// VGATHERxx, VPGATHERxx (SDM 2C): lane by lane from the lowest; a lane that has been read leaves the mask, so that
  /// the instruction goes on behind it after a fault.
  func gather(_ o: MicroOpPointer) throws(Stop) {
    let detail = LaneDetail(o.pointee.imm)
    let (to, mask) = (o.pointee.dst, o.pointee.otherVector)
    let whole: UInt64 = detail.bytes == 8 ? .max : 0xFFFF_FFFF
    // The mask's other bits never count, and those lanes that stay keep a full one.
    for i in 0..<detail.lanes { setLane(mask, i, detail.bytes, isChosen(mask, i, detail.bytes) ? whole : 0) }
    for i in 0..<detail.lanes where isChosen(mask, i, detail.bytes) {
      let raw = lane(o.pointee.src, i, detail.index)
      let index = detail.index == 8 ? raw : UInt64(bitPattern: Int64(Int32(truncatingIfNeeded: raw)))
      let at = try laneAddress(o, detail, index &<< detail.scale, write: false)
      setLane(to, i, detail.bytes, try narrowLoad(at, UInt8(detail.bytes)))
      setLane(mask, i, detail.bytes, 0)
    }
    self[xmm: mask] = XMM()
    self[upper: mask] = XMM()
    // What lies above the lanes is cleared.
    for i in detail.lanes..<32 / detail.bytes { setLane(to, i, detail.bytes, 0) }
  }
}
