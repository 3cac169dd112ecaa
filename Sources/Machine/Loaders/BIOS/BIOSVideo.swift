import VMCore
import X86

/// INT 10h on 80x25 colour text, the only mode there is. Characters go to the text memory at B8000h and,
/// by teletype and string output, to the guest's console.
struct BIOSVideo {
  private static let rows = 25
  private static let columns = 80

  let memory: GuestMemory
  unowned let ports: PortBus
  /// Takes a byte for the guest's console.
  let console: (UInt8) -> Void

  func serve(_ call: BIOSCall) {
    switch call.ah {
    case 0x00: setMode(clear: call.al & 0x80 == 0)
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
    case 0x0E: teletype(call.al)
    case 0x0F:
      call.ax = BIOSCall.word(high: UInt8(Self.columns), low: memory.byte(BIOSData.videoMode))
      call.bx = BIOSCall.word(high: page, low: call.bl)
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

  private var page: UInt8 { memory.byte(BIOSData.activePage) & 7 }
  private func pageBase(_ page: UInt8) -> UInt64 { BIOSData.screen + UInt64(page & 7) * 0x1000 }
  private func cursorAddress(_ page: UInt8) -> UInt64 { BIOSData.cursors + UInt64(page & 7) * 2 }

  /// Every mode asked for is 80x25 text.
  private func setMode(clear: Bool) {
    if clear { BIOSData.clearScreen(memory) }
    memory.store(GPA(BIOSData.videoMode), UInt8(3))
    for page in UInt8(0)..<8 { memory.store(GPA(cursorAddress(page)), UInt16(0)) }
    setCursorShape(0x0607)
    setPage(0)
  }

  private func crtc(_ index: UInt8, _ value: UInt8) {
    ports.write(0x3D4, size: 1, value: UInt64(index))
    ports.write(0x3D5, size: 1, value: UInt64(value))
  }

  private func setCursorShape(_ shape: UInt16) {
    memory.store(GPA(BIOSData.cursorShape), shape)
    crtc(0x0A, UInt8(shape >> 8))
    crtc(0x0B, UInt8(shape & 0xFF))
  }

  private func setPage(_ page: UInt8) {
    memory.store(GPA(BIOSData.activePage), page & 7)
    let start = UInt16(page & 7) * 0x1000
    memory.store(GPA(BIOSData.pageStart), start)
    let cell = start / 2
    crtc(0x0C, UInt8(cell >> 8))
    crtc(0x0D, UInt8(cell & 0xFF))
    let (column, row) = cursor(page)
    showCursor(column, row)
  }

  private func cursor(_ page: UInt8) -> (column: Int, row: Int) {
    let position = memory.word(cursorAddress(page))
    return (min(Int(position & 0xFF), Self.columns - 1), min(Int(position >> 8), Self.rows - 1))
  }

  private func setCursor(page: UInt8, column: Int, row: Int) {
    let position = BIOSCall.word(high: UInt8(truncatingIfNeeded: row), low: UInt8(truncatingIfNeeded: column))
    memory.store(GPA(cursorAddress(page)), position)
    if page & 7 == self.page { showCursor(column, row) }
  }

  private func showCursor(_ column: Int, _ row: Int) {
    let start = Int(page) * 0x800
    let cell = UInt16(truncatingIfNeeded: start + row * Self.columns + column)
    crtc(0x0E, UInt8(cell >> 8))
    crtc(0x0F, UInt8(cell & 0xFF))
  }

  // MARK: Cells

  private func cell(_ page: UInt8, _ column: Int, _ row: Int) -> UInt64 {
    pageBase(page) + UInt64((row * Self.columns + column) * 2)
  }

  private func cellAtCursor(_ page: UInt8) -> UInt64 {
    let (column, row) = cursor(page)
    return cell(page, column, row)
  }

  private func put(_ page: UInt8, _ column: Int, _ row: Int, _ character: UInt8, attribute: UInt8?) {
    let at = cell(page, column, row)
    memory.store(GPA(at), character)
    if let attribute { memory.store(GPA(at + 1), attribute) }
  }

  /// AH=09h and 0Ah: CX times the character from the cursor on, which stays.
  private func fill(_ call: BIOSCall, attribute: UInt8?) {
    let (column, row) = cursor(call.bh)
    let first = row * Self.columns + column
    for index in first..<min(first + Int(call.cx), Self.rows * Self.columns) {
      put(call.bh, index % Self.columns, index / Self.columns, call.al, attribute: attribute)
    }
  }

  // MARK: Scrolling

  /// AH=06h and 07h: a window by AL lines (0 clears it), blanks with attribute BH.
  private func scroll(_ call: BIOSCall, up: Bool) {
    let top = Int(call.ch)
    let left = Int(call.cl)
    let bottom = min(Int(call.dh), Self.rows - 1)
    let right = min(Int(call.dl), Self.columns - 1)
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
    if column >= Self.columns {
      column = 0
      row += 1
    }
    if row >= Self.rows {
      row = Self.rows - 1
      let last = memory.byte(cell(page, column, row) + 1)
      scroll(page, rows: 0...row, columns: 0...Self.columns - 1, by: 1, up: true, attribute: last)
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
    var column = min(Int(call.dl), Self.columns - 1)
    var row = min(Int(call.dh), Self.rows - 1)
    for index in Swift.stride(from: 0, to: length, by: stride) {
      console(text[index])
      let attribute = withAttributes ? text[index + 1] : call.bl
      type(text[index], attribute: attribute, page, &column, &row)
    }
    if call.al & 1 != 0 { setCursor(page: page, column: column, row: row) }
  }
}
