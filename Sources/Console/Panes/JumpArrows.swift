import Debugger
import TerminalUI

/// Lines from branches to their targets where both are on the screen, in a few columns left of the addresses.
struct JumpArrows {
  /// One branch by rows of the screen.
  struct Jump: Equatable {
    var from: Int
    var to: Int
    var top: Int { min(from, to) }
    var bottom: Int { max(from, to) }
  }
  /// Lanes for lines, and the column with the arrow's head.
  static let lanes = 3
  static let width = lanes + 1
  private var placed: [(jump: Jump, lane: Int)] = []
  /// Branches that leave the screen: row, and whether upwards.
  private var leaving: [(row: Int, isUp: Bool)] = []

  /// `rows` gives the row of each visible address.
  init(_ lines: [CodeLine], rows: [UInt64: Int]) {
    var jumps: [Jump] = []
    for line in lines where line.instruction.isBranch {
      guard let from = rows[line.address], let target = line.instruction.branchTarget else { continue }
      if let to = rows[target] {
        if to != from { jumps.append(Jump(from: from, to: to)) }
      } else {
        leaving.append((from, target < line.address))
      }
    }
    for jump in jumps.sorted(by: { ($0.bottom - $0.top, $0.from) < ($1.bottom - $1.top, $1.from) }) {
      let taken = placed.filter { $0.jump.top <= jump.bottom && jump.top <= $0.jump.bottom }.map(\.lane)
      if let lane = (0..<Self.lanes).first(where: { !taken.contains($0) }) { placed.append((jump, lane)) }
    }
  }

  /// Draws into the columns from `x` on; `current` is the row of the next instruction.
  func draw(on canvas: Canvas, x: Int, current: Int?) {
    let glyphs = canvas.glyphs
    let head = x + Self.lanes
    for (row, isUp) in leaving {
      canvas.put(isUp ? glyphs.up : glyphs.down, x: head, y: row, .dim)
    }
    for (jump, lane) in placed.sorted(by: { $0.lane > $1.lane }) {
      let role: StyleRole = jump.from == current ? .changed : .dim
      let column = head - 1 - lane
      for row in jump.top...jump.bottom {
        let isEnd = row == jump.top || row == jump.bottom
        let corner = row == jump.top ? glyphs.topCorner : glyphs.bottomCorner
        canvas.put(isEnd ? corner : glyphs.vertical, x: column, y: row, role)
        guard isEnd else { continue }
        for between in column + 1..<head + 1 { canvas.put(glyphs.horizontal, x: between, y: row, role) }
      }
      canvas.put(glyphs.head, x: head, y: jump.to, role)
    }
  }
}
