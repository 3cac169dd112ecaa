/// A structure of the ABI in guest memory, by its members (Xen public/memory.h, grant_table.h). They lie where a C
/// compiler puts them: a 32-bit guest's words are of four bytes, and nothing is aligned to more.
struct CallStructure: Sendable {
  enum Kind: Sendable {
    case byte, short, int, long
    /// A pointer or a number as long as the guest's words.
    case word
    case domain
    /// A grant operation's outcome, below 0 where it failed.
    case status
    /// Nothing; what follows begins as a structure of words does.
    case boundary
  }
  struct Member: Sendable {
    var name: String
    var kind: Kind
  }
  /// One element in words.
  struct Element: Equatable, Sendable {
    var text: String
    var hasFailed: Bool
  }

  let members: [Member]

  init(_ members: (String, Kind)...) { self.members = members.map { Member(name: $0.0, kind: $0.1) } }
  private init(_ members: [Member]) { self.members = members }

  // MARK: Layout

  private static func size(_ kind: Kind, _ isNarrow: Bool) -> Int {
    switch kind {
    case .boundary: 0
    case .byte: 1
    case .short, .domain, .status: 2
    case .int: 4
    case .long: 8
    case .word: isNarrow ? 4 : 8
    }
  }

  private static func alignment(_ kind: Kind, _ isNarrow: Bool) -> Int {
    let size = size(kind == .boundary ? .word : kind, isNarrow)
    return isNarrow ? min(size, 4) : size
  }

  private static func aligned(_ offset: Int, to alignment: Int) -> Int { (offset + alignment - 1) / alignment * alignment }

  private func offsets(isNarrow: Bool) -> [Int] {
    var next = 0
    return members.map { member in
      let offset = Self.aligned(next, to: Self.alignment(member.kind, isNarrow))
      next = offset + Self.size(member.kind, isNarrow)
      return offset
    }
  }

  /// Bytes from one element of an array to the next; at least 1.
  func size(isNarrow: Bool) -> Int {
    guard let last = members.last, let offset = offsets(isNarrow: isNarrow).last else { return 1 }
    let widest = members.map { Self.alignment($0.kind, isNarrow) }.max() ?? 1
    return Self.aligned(offset + Self.size(last.kind, isNarrow), to: widest)
  }

  // MARK: Words

  /// The element at `index` of an array, all of which is among `bytes`.
  func element(_ index: Int, of bytes: [UInt8], isNarrow: Bool) -> Element {
    let start = index * size(isNarrow: isNarrow)
    var parts: [String] = []
    var hasFailed = false
    for (member, offset) in zip(members, offsets(isNarrow: isNarrow)) where member.kind != .boundary {
      let place = start + offset..<start + offset + Self.size(member.kind, isNarrow)
      let value = bytes[place].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
      if member.kind == .status, value >> 15 != 0 { hasFailed = true }
      parts.append("\(member.name) \(Self.words(value, member.kind))")
    }
    return Element(text: parts.joined(separator: ", "), hasFailed: hasFailed)
  }

  private static func words(_ value: UInt64, _ kind: Kind) -> String {
    switch kind {
    case .domain: value == XenABI.domainSelf ? "self" : "\(value)"
    case .status: status(Int16(truncatingIfNeeded: value))
    case .boundary, .byte, .short: "\(value)"
    case .int, .long, .word: value < 10 ? "\(value)" : String(value, radix: 16) + "h"
    }
  }

  private static let statusNames = [
    "okay", "general_error", "bad_domain", "bad_gntref", "bad_handle", "bad_virt_addr", "bad_dev_addr", "no_device_space",
    "permission_denied", "bad_page", "bad_copy_arg", "address_too_big", "eagain", "no_space",
  ]

  private static func status(_ value: Int16) -> String {
    let index = -Int(value)
    return statusNames.indices.contains(index) ? statusNames[index] : "\(value)"
  }
}

extension CallStructure {
  /// What an operation of memory_op or grant_table_op points at; nil where it points at nothing or is none.
  static func of(_ number: UInt64, _ command: UInt64) -> CallStructure? {
    switch HypercallNumber(rawValue: number) {
    case .memoryOp?: memoryOperation(command)
    case .grantTableOp?: command < UInt64(grantOperations.count) ? grantOperations[Int(command)] : nil
    default: nil
    }
  }

  private func with(prefix: String) -> [Member] { members.map { Member(name: prefix + $0.name, kind: $0.kind) } }

  // MARK: memory_op

  private static let reservation = CallStructure(
    ("extent_start", .word), ("nr_extents", .word), ("extent_order", .int), ("mem_flags", .int), ("domid", .domain))
  private static let map = CallStructure(("nr_entries", .int), ("buffer", .word))
  private static let domainAlone = CallStructure(("domid", .domain))
  private static let frameList = CallStructure(("max_extents", .int), ("extent_start", .word), ("nr_extents", .int))
  private static let exchange = CallStructure(
    reservation.with(prefix: "in.") + reservation.with(prefix: "out.") + [Member(name: "nr_exchanged", kind: .word)])
  private static let foreignMap = CallStructure(
    [Member(name: "domid", kind: .domain), Member(name: "", kind: .boundary)] + map.members)
  private static let podTarget = CallStructure(
    ("target_pages", .long), ("tot_pages", .long), ("pod_cache_pages", .long), ("pod_entries", .long), ("domid", .domain))

  private static func memoryOperation(_ command: UInt64) -> CallStructure? {
    switch command {
    case 0, 1, 6, 24: reservation
    case 3, 4, 14: domainAlone
    case 5, 25: frameList
    case 7: CallStructure(("domid", .domain), ("size", .short), ("space", .int), ("idx", .word), ("gpfn", .word))
    case 9, 10: map
    case 11: exchange
    case 12: CallStructure(("v_start", .word), ("v_end", .word), ("max_mfn", .word))
    case 13: foreignMap
    case 15: CallStructure(("domid", .domain), ("gpfn", .word))
    case 16, 17: podTarget
    // What lies behind the operation's number differs by it.
    case 20, 22: CallStructure(("op", .byte), ("domain", .domain))
    case 21: CallStructure(("op", .byte), ("access", .byte), ("domid", .domain), ("nr", .int), ("pfn", .long))
    case 23:
      CallStructure(
        ("domid", .domain), ("space", .short), ("size", .short), ("foreign_domid", .domain), ("idxs", .word),
        ("gpfns", .word), ("errs", .word))
    case 26:
      CallStructure(
        ("domid", .domain), ("pad", .short), ("nr_vnodes", .int), ("nr_vcpus", .int), ("nr_vmemranges", .int))
    case 27: CallStructure(("flags", .int), ("nr_entries", .int), ("buffer", .word))
    case 28:
      CallStructure(
        ("domid", .domain), ("type", .short), ("id", .int), ("nr_frames", .int), ("pad", .int), ("frame", .long),
        ("frame_list", .word))
    default: nil
    }
  }

  // MARK: grant_table_op

  private static let grantOperations = [
    CallStructure(
      ("host_addr", .long), ("flags", .int), ("ref", .int), ("dom", .domain), ("status", .status), ("handle", .int),
      ("dev_bus_addr", .long)),
    CallStructure(("host_addr", .long), ("dev_bus_addr", .long), ("handle", .int), ("status", .status)),
    CallStructure(("dom", .domain), ("nr_frames", .int), ("status", .status), ("frame_list", .word)),
    CallStructure(("dom", .domain), ("status", .status)),
    CallStructure(("mfn", .word), ("domid", .domain), ("ref", .int), ("status", .status)),
    CallStructure(
      ("source.u", .word), ("source.domid", .domain), ("source.offset", .short), ("dest.u", .word),
      ("dest.domid", .domain), ("dest.offset", .short), ("", .boundary), ("len", .short), ("flags", .short),
      ("status", .status)),
    CallStructure(("dom", .domain), ("nr_frames", .int), ("max_nr_frames", .int), ("status", .status)),
    CallStructure(("host_addr", .long), ("new_addr", .long), ("handle", .int), ("status", .status)),
    CallStructure(("version", .int)),
    CallStructure(("nr_frames", .int), ("dom", .domain), ("status", .status), ("frame_list", .word)),
    CallStructure(("dom", .domain), ("pad", .short), ("version", .int)),
    CallStructure(("ref_a", .int), ("ref_b", .int), ("status", .status)),
    CallStructure(("a", .long), ("offset", .short), ("length", .short), ("op", .int)),
  ]
}
