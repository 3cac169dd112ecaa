import Paravirtual
import VMCore

/// `--disk FILE[,ro]` of a paravirtual guest: the file as it was read at the start; what the guest writes stays in memory
/// and is part of every snapshot.
final class XenMemoryDisk: XenDisk {
  private static let cluster = 4096
  private let file: [UInt8]
  /// Clusters that differ from the file, by number.
  private var changed: [UInt64: [UInt8]] = [:]
  let isReadOnly: Bool
  var sectorCount: UInt64 { UInt64((file.count + 511) / 512) }

  /// Throws `VMError` where the file cannot be read.
  init(_ choice: String) throws(VMError) {
    isReadOnly = choice.hasSuffix(",ro")
    file = try HostFile.bytes(at: isReadOnly ? String(choice.dropLast(3)) : choice)
  }

  func read(at offset: UInt64, into buffers: [UnsafeMutableRawBufferPointer]) -> Bool {
    var at = offset
    for buffer in buffers {
      forEachCluster(at, buffer.count) { number, inside, place in
        UnsafeMutableRawBufferPointer(rebasing: buffer[place]).copyBytes(from: cluster(number)[inside])
      }
      at += UInt64(buffer.count)
    }
    return true
  }

  func write(at offset: UInt64, from buffers: [UnsafeRawBufferPointer]) -> Bool {
    guard !isReadOnly else { return false }
    var at = offset
    for buffer in buffers {
      forEachCluster(at, buffer.count) { number, inside, place in
        var bytes = cluster(number)
        bytes.replaceSubrange(inside, with: buffer[place])
        changed[number] = bytes
      }
      at += UInt64(buffer.count)
    }
    return true
  }

  func flush() -> Bool { true }

  func code(_ coder: inout StateCoder) {
    var numbers = changed.keys.sorted()
    coder.code(&numbers)
    var bytes = numbers.flatMap { changed[$0] ?? [] }
    coder.code(&bytes)
    guard coder.isRestoring, bytes.count == numbers.count * Self.cluster else { return }
    changed = [:]
    for (index, number) in numbers.enumerated() {
      changed[number] = Array(bytes[index * Self.cluster..<(index + 1) * Self.cluster])
    }
  }

  /// A cluster as it is now; behind the file's end there are zeros.
  private func cluster(_ number: UInt64) -> [UInt8] {
    if let bytes = changed[number] { return bytes }
    let start = Int(number) * Self.cluster
    let bytes = file[min(start, file.count)..<min(start + Self.cluster, file.count)]
    return Array(bytes) + [UInt8](repeating: 0, count: Self.cluster - bytes.count)
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
