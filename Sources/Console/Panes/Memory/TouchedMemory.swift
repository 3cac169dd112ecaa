import Debugger
import Session
import VMCore

/// What the last instruction read and wrote. Known after a single step, from the registers before it; after
/// anything longer it is not, and says so.
struct TouchedMemory {
  enum Kind: Equatable { case read, write }
  struct Place: Equatable {
    var address: UInt64
    var size: Int
  }
  private(set) var read: Place?
  private(set) var write: Place?
  /// What the pane goes to at each stop.
  var following: Kind?
  /// Why nothing is known.
  private(set) var why = "nothing was stepped yet"
  private var lastCount: UInt64?

  func place(_ kind: Kind) -> Place? { kind == .read ? read : write }

  /// Whether a number of `size` bytes at `address` was touched.
  func kind(at address: UInt64, size: Int) -> Kind? {
    func meets(_ place: Place?) -> Bool {
      guard let place else { return false }
      return place.address &- address < UInt64(size) || address &- place.address < UInt64(max(place.size, 1))
    }
    return meets(write) ? .write : meets(read) ? .read : nil
  }

  mutating func stopped(_ snapshot: SessionSnapshot) {
    let isOneStep = lastCount.map { snapshot.instructionCount == $0 &+ 1 } ?? false
    let isNew = lastCount != snapshot.instructionCount
    lastCount = snapshot.instructionCount
    guard isNew else { return }
    read = nil
    write = nil
    guard isOneStep else {
      why = "more than one instruction has passed since"
      return
    }
    let before = snapshot.before
    let line = Disassembly(state: before, memory: snapshot.memory).line(at: before.rip)
    for touch in NextTouch.all(of: line.instruction, state: before, memory: snapshot.memory) {
      let place = Place(address: touch.linear.value, size: touch.size)
      if touch.operand.reads, read == nil { read = place }
      if touch.operand.writes, write == nil { write = place }
    }
    why = "the last instruction did not touch memory so"
  }
}
