/// The shared ring of a block front end and its back end (Xen public/io/ring.h, blkif.h): where things lie in its page.
/// Requests and responses have the layout of the front end's own processor mode.
struct BlockRing: Equatable {
  static let slots: UInt32 = 32
  static let mostSegments = 11
  static let sectorsPerPage: UInt64 = 8

  enum Counter {
    static let requestProducer: UInt64 = 0
    static let requestEvent: UInt64 = 4
    static let responseProducer: UInt64 = 8
    static let responseEvent: UInt64 = 12
  }
  enum Operation {
    static let read: UInt8 = 0
    static let write: UInt8 = 1
    static let flush: UInt8 = 3
  }
  enum Status {
    static let okay: Int16 = 0
    static let error: Int16 = -1
    static let notSupported: Int16 = -2
  }

  /// One request: what to do, and the granted pages it is about.
  struct Request {
    struct Segment {
      var reference: UInt32
      var first: UInt8
      var last: UInt8
    }
    var operation: UInt8
    var id: UInt64
    var sector: UInt64
    var segments: [Segment]
  }

  var is32Bit: Bool
  private static let header: UInt64 = 64
  private var slotSize: UInt64 { is32Bit ? 108 : 112 }

  /// Offset in the page of the slot a counter stands at.
  func slot(_ counter: UInt32) -> UInt64 { Self.header + UInt64(counter % Self.slots) * slotSize }

  /// A request from the bytes of its slot; nil with more segments than there can be.
  func request(_ bytes: [UInt8]) -> Request? {
    func number(_ at: Int, _ count: Int) -> UInt64 {
      bytes[at..<at + count].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
    let start = is32Bit ? 4 : 8
    let count = Int(bytes[1])
    guard bytes.count >= Int(slotSize), count <= Self.mostSegments else { return nil }
    let segments = (0..<count).map { index in
      let at = start + 16 + index * 8
      return Request.Segment(
        reference: UInt32(truncatingIfNeeded: number(at, 4)), first: bytes[at + 4], last: bytes[at + 5])
    }
    return Request(operation: bytes[0], id: number(start, 8), sector: number(start + 8, 8), segments: segments)
  }

  var requestSize: Int { Int(slotSize) }

  /// {u64 id, u8 operation, i16 status} as the slot holds it.
  func response(to request: Request, _ status: Int16) -> [UInt8] {
    let word = UInt16(bitPattern: status)
    return (0..<8).map { UInt8(truncatingIfNeeded: request.id >> UInt64(8 * $0)) }
      + [request.operation, 0, UInt8(truncatingIfNeeded: word), UInt8(word >> 8)]
  }
}
