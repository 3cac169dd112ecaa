import VMCore

/// INT 10h on pixels and colours. Modes made of planes have neither here.
struct BIOSGraphics {
  let memory: GuestMemory
  let vga: VGA

  func serve(_ call: BIOSCall) {
    switch call.ah {
    case 0x0B: choosePalette(call)
    case 0x0C: write(call)
    case 0x0D: if let value = pixel(Int(call.cx), Int(call.dx)) { call.al = value }
    default: serveColors(call)
    }
  }

  /// All pixels are 0.
  func clear() {
    memory.write(VGA.byteMemory, [UInt8](repeating: 0, count: 0x10000))
    memory.write(VGA.textMemory, [UInt8](repeating: 0, count: BIOSData.screenSize))
  }

  // MARK: Pixels

  private func place(_ x: Int, _ y: Int) -> (address: GPA, shift: Int, mask: UInt8)? {
    guard let layout = PixelLayout(vga.mode), x < layout.width, y < layout.height else { return nil }
    let place = layout.place(x: x, y: y)
    return (layout.base + UInt64(place.offset), place.shift, layout.mask)
  }

  private func pixel(_ x: Int, _ y: Int) -> UInt8? {
    place(x, y).map { memory.byte($0.address.value) >> $0.shift & $0.mask }
  }

  private func set(_ x: Int, _ y: Int, _ value: UInt8) {
    guard let (address, shift, mask) = place(x, y) else { return }
    let others = memory.byte(address.value) & ~(mask << shift)
    memory.store(address, others | (value & mask) << shift)
  }

  /// AH=0Ch: column CX, row DX. But for modes of 256 colours, bit 7 of AL mixes by exclusive or.
  private func write(_ call: BIOSCall) {
    let (x, y) = (Int(call.cx), Int(call.dx))
    guard let layout = PixelLayout(vga.mode), let old = pixel(x, y) else { return }
    let mixes = layout.bits < 8 && call.al & 0x80 != 0
    set(x, y, mixes ? old ^ call.al : call.al)
  }

  /// AH=06h and 07h in graphics: a window of characters of 8x8 pixels by AL of their rows (0 clears it), blanks of
  /// value BH.
  func scroll(_ call: BIOSCall, up: Bool) {
    guard let layout = PixelLayout(vga.mode) else { return }
    let columns = Self.pixels(call.cl, call.dl, layout.width)
    let rows = Self.pixels(call.ch, call.dh, layout.height)
    let distance = call.al == 0 ? rows.count : Int(call.al) * 8
    for step in 0..<rows.count {
      let target = up ? rows.lowerBound + step : rows.upperBound - 1 - step
      let source = up ? target + distance : target - distance
      for x in columns {
        set(x, target, rows.contains(source) ? pixel(x, source) ?? 0 : call.bh)
      }
    }
  }

  /// The pixels of the characters `first` to `last`, as far as there are any.
  private static func pixels(_ first: UInt8, _ last: UInt8, _ count: Int) -> Range<Int> {
    let start = min(Int(first) * 8, count)
    return start..<max(min(Int(last) * 8 + 8, count), start)
  }

  // MARK: Colours

  /// AH=0Bh: BH = 0 the background, BH = 1 one of CGA's two palettes of four colours.
  private func choosePalette(_ call: BIOSCall) {
    guard case .interleaved(_, _, let bits) = vga.mode else { return }
    if call.bh == 0 {
      vga.setAttribute(0, call.bl & 7 | (call.bl & 8) << 1)
    } else if bits == 2 {
      for value in UInt8(1)...3 { vga.setAttribute(value, 0x10 | value << 1 | call.bl & 1) }
    }
  }

  /// AH=10h: the attribute controller's and the DAC's colours, one by one and in blocks.
  private func serveColors(_ call: BIOSCall) {
    switch call.al {
    case 0x00 where call.bl < 16: vga.setAttribute(call.bl, call.bh)
    case 0x07 where call.bl < 16: call.bx = BIOSCall.word(high: vga.attribute(call.bl), low: call.bl)
    case 0x10: vga.setColor(call.bl, .init(red: call.dh, green: call.ch, blue: call.cl))
    case 0x12: loadColors(call)
    case 0x15:
      let color = vga.palette[call.bl]
      call.dx = BIOSCall.word(high: color.red, low: call.dl)
      call.cx = BIOSCall.word(high: color.green, low: color.blue)
    case 0x17: storeColors(call)
    default: break
    }
  }

  /// The colours from BX on, CX of them, as far as there are any.
  private func range(_ call: BIOSCall) -> Range<Int> {
    let first = min(Int(call.bx), 256)
    return first..<min(first + Int(call.cx), 256)
  }

  private func loadColors(_ call: BIOSCall) {
    let range = range(call)
    guard let bytes = call.read(call.linear(.es, call.dx), count: range.count * 3) else { return }
    for (place, index) in range.enumerated() {
      let color = VGAPalette.Color(red: bytes[place * 3], green: bytes[place * 3 + 1], blue: bytes[place * 3 + 2])
      vga.setColor(UInt8(index), color)
    }
  }

  private func storeColors(_ call: BIOSCall) {
    let colors = range(call).map { vga.palette[UInt8($0)] }
    call.write(call.linear(.es, call.dx), colors.flatMap { [$0.red, $0.green, $0.blue] })
  }
}
