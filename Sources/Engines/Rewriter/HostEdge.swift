/// A way out of generated code, by a direct transfer at the end of `block`.
struct HostEdge {
  var block: BlockPointer
  var isTaken: Bool
  /// Instructions charged ahead that this way out does not reach: they go off the charge of what comes next.
  var excess: Int32 = 0
  /// Offsets in the code buffer: of the stamp that the CPU's must equal, of the count of instructions that is
  /// charged, of the end of the jump.
  var stampAt = 0
  var countAt = 0
  var jumpEnd = 0
  /// The same stamp, where it is written.
  var stamp: UnsafeMutableRawPointer?
  /// The block it was made to lead to last, and its neighbours among those that lead there.
  fileprivate var target: BlockPointer?
  fileprivate var previous: UnsafeMutablePointer<HostEdge>?
  fileprivate var next: UnsafeMutablePointer<HostEdge>?

  init(block: BlockPointer, isTaken: Bool, excess: Int32 = 0) {
    self.block = block
    self.isTaken = isTaken
    self.excess = excess
  }

  /// Ways out of each block of a trace: two, and in each of the rounds of a loop that are written.
  static let perBlock = 2
  static let perLoopedBlock = perBlock * (2 + Streams.mostCopies + 1)
}

extension UnsafeMutablePointer<HostEdge> {
  /// Joins those that lead to `block`.
  func lead(to block: BlockPointer) {
    if pointee.target == block { return }
    leave()
    pointee.target = block
    pointee.next = block.pointee.edgesIn
    pointee.next?.pointee.previous = self
    block.pointee.edgesIn = self
  }

  fileprivate func leave() {
    guard let target = pointee.target else { return }
    if let previous = pointee.previous {
      previous.pointee.next = pointee.next
    } else {
      target.pointee.edgesIn = pointee.next
    }
    pointee.next?.pointee.previous = pointee.previous
    (pointee.target, pointee.previous, pointee.next) = (nil, nil, nil)
  }

  /// No stamp is this one: it leads nowhere until it is linked again.
  fileprivate func cut() {
    pointee.stamp?.storeBytes(of: .max, as: UInt64.self)
    leave()
  }
}

extension BlockPointer {
  /// No way out leads to its host code any more, and no list has one of its own.
  func cutEdges() {
    while let edge = pointee.edgesIn { edge.cut() }
    guard let edges = pointee.edges else { return }
    for index in 0..<pointee.edgeCount { (edges + index).leave() }
  }
}
