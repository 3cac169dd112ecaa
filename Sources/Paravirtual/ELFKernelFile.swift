/// An ELF file's headers, of either class, as far as building a domain needs them (System V ABI 4, 5).
struct ELFKernelFile {
  struct ProgramHeader {
    var type: UInt64
    var offset: UInt64
    var physical: UInt64
    var fileSize: UInt64
    var memorySize: UInt64
  }
  struct Note {
    var type: UInt64
    var bytes: [UInt8]
    /// The first eight bytes, little-endian.
    var number: UInt64 { bytes.prefix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) } }
    var text: String { String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self) }
  }
  private struct SectionHeader {
    var name: UInt64
    var type: UInt64
    var offset: UInt64
    var size: UInt64
  }

  static let loadType: UInt64 = 1
  private static let noteType: UInt64 = 4
  private static let noteSection: UInt64 = 7
  /// EM_386, EM_X86_64.
  private static let machines: [UInt64] = [3, 62]

  let bytes: [UInt8]
  let is32Bit: Bool

  /// Nil for what is no little-endian ELF file for i386 or x86-64.
  init?(_ bytes: [UInt8]) {
    guard bytes.count >= 64, bytes.starts(with: [0x7F, 0x45, 0x4C, 0x46]), bytes[4] == 1 || bytes[4] == 2, bytes[5] == 1
    else { return nil }
    self.bytes = bytes
    is32Bit = bytes[4] == 1
    guard read(18, 2) == Self.machines[is32Bit ? 0 : 1] else { return nil }
  }

  var entry: UInt64 { is32Bit ? read(24, 4) : read(24, 8) }

  /// Little-endian number of `count` bytes; 0 beyond the end.
  private func read(_ at: Int, _ count: Int) -> UInt64 {
    guard at >= 0, at <= bytes.count - count else { return 0 }
    return (0..<count).reduce(0) { $0 | UInt64(bytes[at + $1]) << UInt64(8 * $1) }
  }

  /// Bytes of the file; nil where they reach beyond its end.
  func extent(_ offset: UInt64, _ size: UInt64) -> Range<Int>? {
    let (end, overflow) = offset.addingReportingOverflow(size)
    guard !overflow, end <= UInt64(bytes.count) else { return nil }
    return Int(offset)..<Int(end)
  }

  /// Where the entries of a table start; nil where they reach beyond the file or are too small.
  private func table(_ offset: UInt64, size: UInt64, count: UInt64, least: UInt64) -> [Int]? {
    guard size >= least, let extent = extent(offset, size * count) else { return nil }
    return Array(stride(from: extent.lowerBound, to: extent.upperBound, by: Int(size)))
  }

  var programHeaders: [ProgramHeader]? {
    if is32Bit {
      return table(read(28, 4), size: read(42, 2), count: read(44, 2), least: 32)?.map {
        ProgramHeader(
          type: read($0, 4), offset: read($0 + 4, 4), physical: read($0 + 12, 4), fileSize: read($0 + 16, 4),
          memorySize: read($0 + 20, 4))
      }
    }
    return table(read(32, 8), size: read(54, 2), count: read(56, 2), least: 56)?.map {
      ProgramHeader(
        type: read($0, 4), offset: read($0 + 8, 8), physical: read($0 + 24, 8), fileSize: read($0 + 32, 8),
        memorySize: read($0 + 40, 8))
    }
  }

  private var sections: [SectionHeader] {
    if is32Bit {
      return table(read(32, 4), size: read(46, 2), count: read(48, 2), least: 40)?.map {
        SectionHeader(name: read($0, 4), type: read($0 + 4, 4), offset: read($0 + 16, 4), size: read($0 + 20, 4))
      } ?? []
    }
    return table(read(40, 8), size: read(58, 2), count: read(60, 2), least: 64)?.map {
      SectionHeader(name: read($0, 4), type: read($0 + 4, 4), offset: read($0 + 24, 8), size: read($0 + 32, 8))
    } ?? []
  }

  /// A section's bytes; nil where there is none of that name.
  func section(named name: String) -> [UInt8]? {
    let sections = sections
    let names = Int(read(is32Bit ? 50 : 62, 2))
    guard names < sections.count, let strings = extent(sections[names].offset, sections[names].size) else { return nil }
    for section in sections where section.name < UInt64(strings.count) {
      let text = bytes[strings].dropFirst(Int(section.name)).prefix { $0 != 0 }
      guard text.elementsEqual(name.utf8), let place = extent(section.offset, section.size) else { continue }
      return Array(bytes[place])
    }
    return nil
  }

  /// Notes of owner "Xen": of the segments, and where those have none, of the sections.
  func xenNotes(_ headers: [ProgramHeader]) -> [Note] {
    let ofSegments = headers.filter { $0.type == Self.noteType }.flatMap { notes($0.offset, $0.fileSize) }
    if !ofSegments.isEmpty { return ofSegments }
    return sections.filter { $0.type == Self.noteSection }.flatMap { notes($0.offset, $0.size) }
  }

  /// Sizes of name and descriptor, type, then both padded to 4.
  private func notes(_ offset: UInt64, _ size: UInt64) -> [Note] {
    guard let extent = extent(offset, size) else { return [] }
    var found: [Note] = []
    var at = extent.lowerBound
    while at + 12 <= extent.upperBound {
      let nameSize = Int(read(at, 4))
      let size = Int(read(at + 4, 4))
      let name = at + 12
      guard nameSize < 1 << 20, size < 1 << 20 else { break }
      let description = name + (nameSize + 3) & ~3
      guard description + size <= extent.upperBound else { break }
      if bytes[name..<name + nameSize].starts(with: Array("Xen\0".utf8)) {
        found.append(Note(type: read(at + 8, 4), bytes: Array(bytes[description..<description + size])))
      }
      at = description + (size + 3) & ~3
    }
    return found
  }
}
