import VMCore

/// Grant tables, version 1 (Xen public/grant_table.h): the domain lends frames of its own, entry by entry, to the domain
/// of its back ends, which is the monitor.
extension XenPlatform {
  private enum Operation {
    static let setupTable: UInt64 = 2
    static let querySize: UInt64 = 6
    static let setVersion: UInt64 = 8
    static let getVersion: UInt64 = 10
  }
  private enum Status {
    static let okay: Int16 = 0
    static let generalError: Int16 = -1
    static let badDomain: Int16 = -2
  }
  /// GTF_permit_access in the type's bits, GTF_readonly.
  private enum Flags {
    static let type: UInt16 = 3
    static let permitAccess: UInt16 = 1
    static let readOnly: UInt16 = 4
  }
  private static let entriesPerFrame: UInt64 = 512
  private static let mostOperations: UInt64 = 1 << 10
  /// The domain that back ends are in.
  static let backEnd: UInt16 = 0

  func grantTableOp(_ a: HypercallArguments) throws(XenError) -> Int64 {
    guard a.third <= Self.mostOperations else { throw .invalid }
    switch a.first {
    case Operation.setupTable:
      let size = 8 + 2 * abi.wordSize
      for index in 0..<a.third { try setUpTable(a.second &+ index &* size) }
    case Operation.querySize:
      for index in 0..<a.third {
        let at = a.second &+ index &* 16
        let frames = [max(domain.grantFrames, 1), MachineLayout.grantFrames]
        for (place, count) in frames.enumerated() { try write(at &+ 4 &+ UInt64(place) * 4, UInt32(count)) }
        try write(at &+ 12, try status(at))
      }
    case Operation.setVersion:
      guard a.third == 1 else { throw .invalid }
      let version: UInt32 = try read(a.second)
      guard version == 1 else { throw version == 2 ? .noSuchCall : .invalid }
      try write(a.second, UInt32(1))
    case Operation.getVersion:
      try write(a.second &+ 4, UInt32(1))
    default: throw .noSuchCall
    }
    return 0
  }

  private func status(_ at: UInt64) throws(XenError) -> Int16 {
    let id: UInt16 = try read(at)
    return UInt64(id) == XenABI.domainSelf || UInt64(id) == XenABI.domain ? Status.okay : Status.badDomain
  }

  /// {u16 domain, u32 frames, i16 status, list}: the table's machine frames, which the guest then maps.
  private func setUpTable(_ at: UInt64) throws(XenError) {
    let count: UInt32 = try read(at &+ 4)
    let list = try readWord(at &+ 8 &+ abi.wordSize)
    var status = try status(at)
    if UInt64(count) > MachineLayout.grantFrames { status = Status.generalError }
    if status == Status.okay {
      for index in 0..<UInt64(count) {
        try writeWord(list &+ index * abi.wordSize, tables.layout.grantTable + index)
      }
      domain.grantFrames = max(domain.grantFrames, UInt64(count))
    }
    try write(at &+ 8, status)
  }

  /// The frame behind a reference, where the domain grants a back end to read it, or to write it: one that is no table
  /// and no descriptor page. Entries are {u16 flags, u16 domain, u32 frame}.
  func grantedFrame(_ reference: UInt32, write: Bool) -> GPA? {
    let index = UInt64(reference)
    guard index < domain.grantFrames * Self.entriesPerFrame else { return nil }
    let entry = GPA(tables.layout.grantTable << 12 + index * 8)
    guard let word = memory.load(entry, as: UInt64.self) else { return nil }
    let flags = UInt16(truncatingIfNeeded: word)
    guard flags & Flags.type == Flags.permitAccess, UInt16(truncatingIfNeeded: word >> 16) == Self.backEnd,
      !write || flags & Flags.readOnly == 0, let frame = tables.frame(word >> 32), frame.owner == .domain
    else { return nil }
    let isPlain = frame.count == 0 || frame.type == .writable
    return !write || isPlain ? GPA((word >> 32) << 12) : nil
  }
}
