import VMCore
import X86

/// INT 10h. In text modes characters go to the text memory at B8000h and, by teletype and string output, to the
/// guest's console; in graphics, where the ROM has no font to draw them with, to the console alone.
struct BIOSVideo {
  let memory: GuestMemory
  unowned let vga: VGA
  /// Takes a byte for the guest's console.
  let console: (UInt8) -> Void

  func serve(_ call: BIOSCall) {
    switch call.ah {
    case 0x00: setMode(call.al & 0x7F, clear: call.al & 0x80 == 0)
    case 0x01: setCursorShape(call.cx)
    case 0x02: setCursor(page: call.bh, column: Int(call.dl), row: Int(call.dh))
    case 0x03:
      call.cx = memory.word(BIOSData.cursorShape)
      call.dx = memory.word(cursorAddress(call.bh))
    case 0x05: setPage(call.al)
    case 0x06, 0x07: scroll(call, up: call.ah == 0x06)
    case 0x08: call.ax = memory.word(cellAtCursor(call.bh))
    case 0x09: fill(call, attribute: call.bl)
    case 0x0A: fill(call, attribute: nil)
    case 0x0B...0x0D, 0x10: graphics.serve(call)
    case 0x0E: teletype(call.al)
    case 0x0F:
      call.ax = BIOSCall.word(high: UInt8(columns), low: memory.byte(BIOSData.videoMode))
      call.bx = BIOSCall.word(high: page, low: call.bl)
    case 0x11: chooseFont(call)
    case 0x12 where call.bl == 0x10:
      // Colour, 256 KiB, no feature bits.
      call.bx = 0x0003
      call.cx = 0
    case 0x13: writeString(call)
    case 0x1A where call.al == 0:
      // The function is there; a VGA with a colour display, and no other.
      call.al = 0x1A
      call.bx = 0x0008
    default: break
    }
  }

  // MARK: Mode, page and cursor

  private var graphics: BIOSGraphics { BIOSGraphics(memory: memory, vga: vga) }

  /// Cells of the screen: characters are 8x8 pixels in graphics.
  private var isText: Bool { if case .text = vga.mode { true } else { false } }
  private var columns: Int { memory.word(BIOSData.columns) == 40 ? 40 : 80 }
  private var rows: Int { min(max(Int(memory.byte(BIOSData.lastRow)) + 1, 25), 60) }

  private var page: UInt8 { memory.byte(BIOSData.activePage) & 7 }
  /// Text pages lie one behind the other, as far as the 32 KiB go.
  private var pageSize: UInt16 { columns == 40 ? 0x800 : 0x1000 }
  private func pageBase(_ page: UInt8) -> UInt64 { BIOSData.screen + UInt64(page & 7) * UInt64(pageSize) }
  private func cursorAddress(_ page: UInt8) -> UInt64 { BIOSData.cursors + UInt64(page & 7) * 2 }

  /// A number that is no mode of a VGA leaves everything as it is.
  private func setMode(_ number: UInt8, clear: Bool) {
    guard let mode = BIOSMode.numbered(number) else { return }
    vga.program(mode)
    if clear { isText ? BIOSData.clearScreen(memory) : graphics.clear() }
    memory.store(GPA(BIOSData.videoMode), number)
    memory.store(GPA(BIOSData.columns), UInt16(mode.columns))
    memory.store(GPA(BIOSData.pageSize), mode.pageSize)
    setRows(25, characterHeight: isText ? 16 : 8)
    for page in UInt8(0)..<8 { memory.store(GPA(cursorAddress(page)), UInt16(0)) }
    setCursorShape(0x0607)
    setPage(0)
  }

  private func setRows(_ rows: UInt8, characterHeight: UInt16) {
    memory.store(GPA(BIOSData.lastRow), rows - 1)
    memory.store(GPA(BIOSData.characterHeight), characterHeight)
  }

  /// AH=11h: a font of the ROM makes rows of its height in 400 lines; the font's own shapes are the terminal's.
  private func chooseFont(_ call: BIOSCall) {
    let heights: [UInt8: UInt8] = [0x01: 14, 0x02: 8, 0x04: 16, 0x11: 14, 0x12: 8, 0x14: 16]
    guard isText, let height = heights[call.al] else { return }
    vga.setCharacterHeight(height)
    setRows(UInt8(400 / Int(height)), characterHeight: UInt16(height))
  }

  private func setCursorShape(_ shape: UInt16) {
    memory.store(GPA(BIOSData.cursorShape), shape)
    vga.setCursorShape(start: UInt8(shape >> 8), end: UInt8(shape & 0xFF))
  }

  private func setPage(_ page: UInt8) {
    memory.store(GPA(BIOSData.activePage), page & 7)
    let start = UInt16(page & 7) * pageSize
    memory.store(GPA(BIOSData.pageStart), start)
    vga.startAddress = isText ? Int(start / 2) : 0
    let (column, row) = cursor(page)
    showCursor(column, row)
  }

  private func cursor(_ page: UInt8) -> (column: Int, row: Int) {
    let position = memory.word(cursorAddress(page))
    return (min(Int(position & 0xFF), columns - 1), min(Int(position >> 8), rows - 1))
  }

  private func setCursor(page: UInt8, column: Int, row: Int) {
    let position = BIOSCall.word(high: UInt8(truncatingIfNeeded: row), low: UInt8(truncatingIfNeeded: column))
    memory.store(GPA(cursorAddress(page)), position)
    if page & 7 == self.page { showCursor(column, row) }
  }

  private func showCursor(_ column: Int, _ row: Int) {
    vga.setCursor(Int(page) * Int(pageSize / 2) + row * columns + column)
  }

  // MARK: Cells

  private func cell(_ page: UInt8, _ column: Int, _ row: Int) -> UInt64 {
    pageBase(page) + UInt64((row * columns + column) * 2)
  }

  private func cellAtCursor(_ page: UInt8) -> UInt64 {
    let (column, row) = cursor(page)
    return cell(page, column, row)
  }

  private func put(_ page: UInt8, _ column: Int, _ row: Int, _ character: UInt8, attribute: UInt8?) {
    guard isText else { return }
    let at = cell(page, column, row)
    memory.store(GPA(at), character)
    if let attribute { memory.store(GPA(at + 1), attribute) }
  }

  /// AH=09h and 0Ah: CX times the character from the cursor on, which stays.
  private func fill(_ call: BIOSCall, attribute: UInt8?) {
    let (column, row) = cursor(call.bh)
    let first = row * columns + column
    for index in first..<min(first + Int(call.cx), rows * columns) {
      put(call.bh, index % columns, index / columns, call.al, attribute: attribute)
    }
  }

  // MARK: Scrolling

  /// AH=06h and 07h: a window by AL lines (0 clears it), blanks with attribute BH.
  private func scroll(_ call: BIOSCall, up: Bool) {
    guard isText else { return graphics.scroll(call, up: up) }
    let top = Int(call.ch)
    let left = Int(call.cl)
    let bottom = min(Int(call.dh), rows - 1)
    let right = min(Int(call.dl), columns - 1)
    guard top <= bottom, left <= right else { return }
    let height = bottom - top + 1
    let lines = call.al == 0 || Int(call.al) > height ? height : Int(call.al)
    scroll(page, rows: top...bottom, columns: left...right, by: lines, up: up, attribute: call.bh)
  }

  private func scroll(
    _ page: UInt8, rows: ClosedRange<Int>, columns: ClosedRange<Int>, by lines: Int, up: Bool, attribute: UInt8
  ) {
    let width = columns.count
    let blank = (0..<width).flatMap { _ in [UInt8(0x20), attribute] }
    var row = [UInt8](repeating: 0, count: width * 2)
    for step in 0..<rows.count {
      let target = up ? rows.lowerBound + step : rows.upperBound - step
      let source = up ? target + lines : target - lines
      let to = GPA(cell(page, columns.lowerBound, target))
      guard rows.contains(source) else {
        memory.write(to, blank)
        continue
      }
      let from = GPA(cell(page, columns.lowerBound, source))
      if row.withUnsafeMutableBytes({ memory.read(from, into: $0) }) { memory.write(to, row) }
    }
  }

  // MARK: Text

  /// AH=0Eh: on the page shown, whatever BH says, as PC BIOSes do.
  private func teletype(_ character: UInt8) {
    console(character)
    let page = self.page
    var (column, row) = cursor(page)
    type(character, attribute: nil, page, &column, &row)
    setCursor(page: page, column: column, row: row)
  }

  private func type(
    _ character: UInt8, attribute: UInt8?, _ page: UInt8, _ column: inout Int, _ row: inout Int
  ) {
    switch character {
    case 0x07: break
    case 0x08: column = max(column - 1, 0)
    case 0x0A: row += 1
    case 0x0D: column = 0
    default:
      put(page, column, row, character, attribute: attribute)
      column += 1
    }
    if column >= columns {
      column = 0
      row += 1
    }
    if row >= rows {
      row = rows - 1
      guard isText else { return }
      let last = memory.byte(cell(page, column, row) + 1)
      scroll(page, rows: 0...row, columns: 0...columns - 1, by: 1, up: true, attribute: last)
    }
  }

  /// AH=13h: CX characters at ES:BP from row DH, column DL; AL bit 0 moves the cursor, bit 1 says that
  /// each character is followed by its attribute.
  private func writeString(_ call: BIOSCall) {
    let withAttributes = call.al & 2 != 0
    let stride = withAttributes ? 2 : 1
    let length = Int(call.cx) * stride
    guard let text = call.read(call.linear(.es, call.bp), count: length) else { return }
    let page = call.bh & 7
    var column = min(Int(call.dl), columns - 1)
    var row = min(Int(call.dh), rows - 1)
    for index in Swift.stride(from: 0, to: length, by: stride) {
      console(text[index])
      let attribute = withAttributes ? text[index + 1] : call.bl
      type(text[index], attribute: attribute, page, &column, &row)
    }
    if call.al & 1 != 0 { setCursor(page: page, column: column, row: row) }
  }
}
