/// How the guest's flags follow from registers that still hold what an instruction left in them: enough to save them
/// later, where somebody may look, and to do nothing at all where nobody does.
struct FlagRecipe: Equatable {
  enum Place: Equatable {
    /// A guest register, by byte offset.
    case register(UInt8)
    /// `CPU.flagOperand`
    case operand
  }
  enum Value: Equatable {
    case place(Place)
    case number(Int32)
  }
  enum Kind {
    /// CMP of x and y.
    case compare
    /// TEST of x and y.
    case test
    /// AND, OR or XOR left x.
    case result
    /// x is the sum of something and y, the difference of something and y, the difference of 0 and something.
    case sum, difference, negated
  }
  var kind: Kind
  /// Of operands, in bytes.
  var size: Int
  var x: Place
  var y = Value.number(0)
  /// How far `x` has gone since: only the stack pointer does.
  var moved: Int32 = 0

  func depends(on register: UInt8) -> Bool { x == .register(register) || y == .place(.register(register)) }
}

/// What generated code holds at one place of it that is not in `CPU`, and what it knows of what is.
struct HostState: Equatable {
  enum Flags: Equatable {
    /// Saved in `CPU`, in a way that may be known.
    case saved(SavedFlags)
    case deferred(FlagRecipe)
  }
  /// A rotate of 32 or 64 bits left this register, by byte offset.
  struct Rotation: Equatable {
    var register: UInt8
    var size: Int
    var toRight: Bool
  }
  /// A way of saving the flags, with the size of operands in bytes.
  enum SavedFlags: Equatable { case unknown, eager, add(Int), sub(Int), logic(Int), step(Int), mixed(Int) }

  var flags = Flags.saved(.unknown) { didSet { rotation = nil } }
  /// The last rotate since: CF and OF are its.
  var rotation: Rotation?
  /// Guest XMM registers that are in the host's of the same number, by bits, and those of them that `CPU` has not.
  var vectors: UInt16 = 0
  var changedVectors: UInt16 = 0
  /// SSE was found switched on, or the guest's MXCSR loaded, and nothing has come between.
  var isSSEReady = false
  var isMXCSRReady = false
  /// AVX was.
  var isAVXReady = false

  /// A register has moved, which flags may wait for.
  mutating func follow(_ register: UInt8, by distance: Int32) {
    guard case .deferred(var recipe) = flags, recipe.x == .register(register) else { return }
    recipe.moved += distance
    let last = rotation
    flags = .deferred(recipe)
    rotation = last
  }
}

/// Which flags the host's are the guest's.
enum HostFlags { case none, all, allButCarry }

/// A jump taken where something is not as the fast way needs it, with the state there.
struct Miss {
  /// Offset in the code buffer of the first byte that finds out.
  let start: Int
  let jump: Int
  let state: HostState
}
