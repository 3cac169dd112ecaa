/// Columns and rows of a terminal or a part of it.
package struct Size: Equatable, Sendable {
  package var width: Int
  package var height: Int
  package init(width: Int, height: Int) {
    self.width = width
    self.height = height
  }
}

/// A rectangle of cells: the top left corner is (0, 0). Width and height are never negative.
package struct Region: Equatable, Sendable {
  package var x: Int
  package var y: Int
  package var width: Int
  package var height: Int

  package init(x: Int, y: Int, width: Int, height: Int) {
    self.x = x
    self.y = y
    self.width = max(width, 0)
    self.height = max(height, 0)
  }

  package var endX: Int { x + width }
  package var endY: Int { y + height }
  package var isEmpty: Bool { width == 0 || height == 0 }

  package func contains(x: Int, y: Int) -> Bool { x >= self.x && x < endX && y >= self.y && y < endY }

  package func intersection(_ other: Region) -> Region {
    let left = max(x, other.x)
    let top = max(y, other.y)
    return Region(x: left, y: top, width: min(endX, other.endX) - left, height: min(endY, other.endY) - top)
  }

  /// This region without its first `rows` rows.
  package func dropTop(_ rows: Int) -> Region {
    let cut = min(max(rows, 0), height)
    return Region(x: x, y: y + cut, width: width, height: height - cut)
  }

  /// This region without its first `columns` columns.
  package func dropLeft(_ columns: Int) -> Region {
    let cut = min(max(columns, 0), width)
    return Region(x: x + cut, y: y, width: width - cut, height: height)
  }

  /// One row of it, counted from its top.
  package func row(_ index: Int) -> Region {
    Region(x: x, y: y + index, width: width, height: index >= 0 && index < height ? 1 : 0)
  }
}
