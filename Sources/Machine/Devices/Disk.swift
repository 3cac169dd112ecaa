import VMCore

/// A file of the host behind a disk. False where the host failed.
package protocol DiskFile: AnyObject {
  /// For messages.
  var name: String { get }
  /// In bytes.
  var size: UInt64 { get }
  var isReadOnly: Bool { get }
  /// Reads from `offset` on into the buffers, one after the other; what lies behind the file's end is zeros.
  func read(at offset: UInt64, into buffers: [UnsafeMutableRawBufferPointer]) -> Bool
  func write(at offset: UInt64, from buffers: [UnsafeRawBufferPointer]) -> Bool
  /// What was written is on the medium when this comes back.
  func sync() -> Bool
}

/// A disk as the guest has it: a file, and enough of what was overwritten to be what it was at an earlier moment.
///
/// Each write is noted with what it overwrote. A guest that is put back to an earlier moment finds the disk of that
/// moment; what it writes again on its way to the present is kept apart and compared, so that the file is written once.
/// A guest that writes something else than it did goes a way of its own: the file then becomes that way's.
///
/// `@unchecked`: used by the thread that runs the guest alone.
package final class Disk: @unchecked Sendable {
  package static let sectorSize = 512
  /// The most that is kept of what was overwritten.
  static let journalLimit = 256 << 20
  private static let cluster = 4096

  /// A write the file has: where, what it overwrote, and a sum over all writes up to it.
  private struct Entry {
    var offset: UInt64
    var old: [UInt8]
    var sum: UInt64
  }

  private let file: any DiskFile
  /// Everything written stays in memory.
  private let isTemporary: Bool
  /// Writes `journalStart` and on; older ones cannot be undone any more.
  private var journal: [Entry] = []
  private var journalStart: UInt64 = 0
  private var journalBytes = 0
  /// Writes the guest has made up to the present moment, and the sum over them.
  private var position: UInt64 = 0
  private var sum: UInt64 = 0
  /// What differs from the file, by cluster, while the guest is not at the file's moment.
  private var apart: [UInt64: [UInt8]] = [:]
  /// Why the last restore was refused.
  package private(set) var refusal: String?

  package init(_ file: any DiskFile, isTemporary: Bool = false) {
    self.file = file
    self.isTemporary = isTemporary
  }

  package var isReadOnly: Bool { file.isReadOnly && !isTemporary }
  /// A file that ends inside a sector has that sector whole, with zeros.
  package var sectorCount: UInt64 { (file.size + UInt64(Self.sectorSize) - 1) / UInt64(Self.sectorSize) }
  package var description: String { file.name + (isReadOnly ? ", read-only" : isTemporary ? ", not written to" : "") }
  private var frontier: UInt64 { journalStart + UInt64(journal.count) }
  private var isAtFile: Bool { position == frontier && !isTemporary }

  /// The byte a transfer starts at; nil where it reaches beyond the disk.
  package func offset(sector: UInt64, bytes: Int) -> UInt64? {
    let count = UInt64((bytes + Self.sectorSize - 1) / Self.sectorSize)
    guard sector <= sectorCount, count <= sectorCount - sector else { return nil }
    return sector * UInt64(Self.sectorSize)
  }

  // MARK: Transfers

  package func read(at offset: UInt64, into buffers: [UnsafeMutableRawBufferPointer]) -> Bool {
    guard file.read(at: offset, into: buffers) else { return false }
    guard !apart.isEmpty else { return true }
    var at = offset
    for buffer in buffers {
      forEachCluster(at, buffer.count) { cluster, inside, place in
        guard let kept = apart[cluster] else { return }
        UnsafeMutableRawBufferPointer(rebasing: buffer[place]).copyBytes(from: kept[inside])
      }
      at += UInt64(buffer.count)
    }
    return true
  }

  package func write(at offset: UInt64, from buffers: [UnsafeRawBufferPointer]) -> Bool {
    let new = mixed(offset, buffers)
    if isTemporary { return writeApart(offset, buffers) }
    if position < frontier {
      if journal[Int(position - journalStart)].sum == new {
        guard writeApart(offset, buffers) else { return false }
        (position, sum) = (position + 1, new)
        if position == frontier { apart = [:] }
        return true
      }
      guard takeOwnWay() else { return false }
    }
    let count = buffers.reduce(0) { $0 + $1.count }
    guard let old = bytes(at: offset, count: count), file.write(at: offset, from: buffers) else { return false }
    note(Entry(offset: offset, old: old, sum: new))
    return true
  }

  /// What was written before is safe when this comes back.
  package func flush() -> Bool { isAtFile && !file.isReadOnly ? file.sync() : true }

  private func bytes(at offset: UInt64, count: Int) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: count)
    return bytes.withUnsafeMutableBytes { read(at: offset, into: [$0]) } ? bytes : nil
  }

  private func note(_ entry: Entry) {
    journal.append(entry)
    journalBytes += entry.old.count
    (position, sum) = (position + 1, entry.sum)
    guard journalBytes > Self.journalLimit else { return }
    var gone = 0
    while journalBytes > Self.journalLimit * 3 / 4 {
      journalBytes -= journal[gone].old.count
      gone += 1
    }
    journal.removeFirst(gone)
    journalStart += UInt64(gone)
  }

  // MARK: Moments

  /// The sum after one more write (FNV-1a over eight bytes at a time).
  private func mixed(_ offset: UInt64, _ buffers: [UnsafeRawBufferPointer]) -> UInt64 {
    var sum = (self.sum ^ offset) &* 0x0000_0100_0000_01B3
    for buffer in buffers {
      var at = 0
      while at + 8 <= buffer.count {
        sum = (sum ^ buffer.loadUnaligned(fromByteOffset: at, as: UInt64.self)) &* 0x0000_0100_0000_01B3
        sum ^= sum >> 29
        at += 8
      }
      for byte in buffer[at...] { sum = (sum ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
    }
    return sum
  }

  private func writeApart(_ offset: UInt64, _ buffers: [UnsafeRawBufferPointer]) -> Bool {
    var at = offset
    for buffer in buffers {
      var isWhole = true
      forEachCluster(at, buffer.count) { cluster, inside, place in
        guard var kept = apart[cluster] ?? bytes(at: cluster * UInt64(Self.cluster), count: Self.cluster) else {
          isWhole = false
          return
        }
        kept.replaceSubrange(inside, with: buffer[place])
        apart[cluster] = kept
      }
      guard isWhole else { return false }
      at += UInt64(buffer.count)
    }
    return true
  }

  /// The guest wrote something else than it did at this moment before: what it did after is undone in the file.
  private func takeOwnWay() -> Bool {
    for (cluster, kept) in apart.sorted(by: { $0.key < $1.key }) {
      let at = cluster * UInt64(Self.cluster)
      let end = min(UInt64(Self.cluster), sectorCount * UInt64(Self.sectorSize) - at)
      guard kept.withUnsafeBytes({ file.write(at: at, from: [.init(rebasing: $0[..<Int(end)])]) }) else { return false }
    }
    let kept = Int(position - journalStart)
    journalBytes -= journal[kept...].reduce(0) { $0 + $1.old.count }
    journal.removeSubrange(kept...)
    apart = [:]
    return true
  }

  /// Makes the disk what it was after so many writes.
  private func move(to target: UInt64, _ targetSum: UInt64) -> Bool {
    guard target >= journalStart, target <= frontier else {
      let known = journalStart == 0 ? "" : ": only the last \(frontier - journalStart) writes are kept"
      refusal = "the disk of that moment cannot be had back (\(frontier - min(target, frontier)) writes ago\(known))"
      return false
    }
    let known = target == journalStart ? nil : journal[Int(target - journalStart) - 1].sum
    guard known == nil || known == targetSum else {
      refusal = "the disk of that moment is gone: the guest has gone another way since"
      return false
    }
    apart = [:]
    position = frontier
    for entry in journal[Int(target - journalStart)...].reversed() {
      guard entry.old.withUnsafeBytes({ writeApart(entry.offset, [$0]) }) else {
        refusal = "\(file.name) cannot be read"
        (apart, position) = ([:], frontier)
        return false
      }
    }
    (position, sum) = (target, targetSum)
    return true
  }

  package func code(_ coder: inout StateCoder) {
    var target = position
    var targetSum = sum
    coder.code(&target)
    coder.code(&targetSum)
    if isTemporary { codeApart(&coder) }
    guard coder.isRestoring, !isTemporary else { return }
    refusal = nil
    if target != position || targetSum != sum, !move(to: target, targetSum) { coder.fail() }
  }

  /// All that a temporary disk has of its own is part of the moment.
  private func codeApart(_ coder: inout StateCoder) {
    var keys = apart.keys.sorted()
    coder.code(&keys)
    var contents = keys.flatMap { apart[$0] ?? [] }
    coder.code(&contents)
    guard coder.isRestoring else { return }
    guard contents.count == keys.count * Self.cluster else { return coder.fail() }
    apart = [:]
    for (index, key) in keys.enumerated() { apart[key] = Array(contents[index * Self.cluster..<(index + 1) * Self.cluster]) }
  }

  /// Calls `body` with each cluster of a range, the part inside it, and the part of the range.
  private func forEachCluster(_ offset: UInt64, _ count: Int, _ body: (UInt64, Range<Int>, Range<Int>) -> Void) {
    var done = 0
    while done < count {
      let at = offset + UInt64(done)
      let inside = Int(at % UInt64(Self.cluster))
      let piece = min(count - done, Self.cluster - inside)
      body(at / UInt64(Self.cluster), inside..<inside + piece, done..<done + piece)
      done += piece
    }
  }
}
