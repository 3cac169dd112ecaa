import VMCore

/// What a kernel's ELF notes of owner "Xen" say (Xen public/elfnote.h).
package struct XenNotes: Equatable, Sendable {
  package var entry: UInt64?
  package var hypercallPage: UInt64?
  package var virtualBase: UInt64 = 0
  package var physicalOffset: UInt64 = 0
  package var guestOS = ""
  /// Where the frame list is to be mapped; nil: behind the kernel.
  package var initialP2M: UInt64?
  /// The module is given by its frame number and not mapped.
  package var moduleIsPFN = false
  package var isXen = false
  package init() {}
}

/// An ELF kernel for x86-64 as a domain builder sees it: segments by physical address, and notes.
package struct PVKernel: Sendable {
  package struct Segment: Equatable, Sendable {
    package var address: UInt64
    package var fileOffset: Int
    package var fileSize: Int
    package var memorySize: UInt64
  }
  package private(set) var segments: [Segment] = []
  package private(set) var notes = XenNotes()
  /// Physical addresses the segments lie between.
  package var start: UInt64 { segments.map(\.address).min() ?? 0 }
  package var end: UInt64 { segments.map { $0.address + $0.memorySize }.max() ?? 0 }
  let bytes: [UInt8]

  private static let loadType: UInt32 = 1
  private static let noteType: UInt32 = 4

  /// Reads headers and notes. Throws `VMError(.image)` naming what is wrong.
  package init(_ bytes: [UInt8], name: String) throws(VMError) {
    self.bytes = bytes
    func wrong(_ what: String) -> VMError {
      VMError(
        .image, "\(name): \(what)", remedy: "give a Linux kernel with CONFIG_XEN_PV, or use --technique hvm")
    }
    guard bytes.starts(with: [0x7F, 0x45, 0x4C, 0x46, 2, 1]), bytes.count >= 64 else {
      throw wrong("no 64-bit little-endian ELF image, which a paravirtual guest is")
    }
    let headers = read(32, 8)
    let size = read(54, 2)
    let count = read(56, 2)
    let (end, overflow) = headers.addingReportingOverflow(size * count)
    guard size >= 56, !overflow, end <= UInt64(bytes.count) else {
      throw wrong("its program headers (\(count) at \(String(headers, radix: 16))h) reach beyond the file")
    }
    for index in 0..<count {
      let at = Int(headers + index * size)
      guard let extent = fileExtent(at) else { throw wrong("program header \(index) reaches beyond the file") }
      switch UInt32(truncatingIfNeeded: read(at, 4)) {
      case Self.loadType:
        let address = read(at + 24, 8)
        let memory = read(at + 40, 8)
        guard address < 1 << 40, memory < 1 << 40, UInt64(extent.count) <= memory else {
          throw wrong("program header \(index) has sizes or an address that cannot be")
        }
        guard memory > 0 else { continue }
        segments.append(
          Segment(address: address, fileOffset: extent.lowerBound, fileSize: extent.count, memorySize: memory))
      case Self.noteType: readNotes(extent)
      default: break
      }
    }
    guard notes.isXen, notes.entry != nil else { throw wrong("no Xen notes with an entry point for a paravirtual guest") }
    guard !segments.isEmpty else { throw wrong("no loadable segments") }
  }

  private func fileExtent(_ header: Int) -> Range<Int>? {
    let offset = read(header + 8, 8)
    let size = read(header + 32, 8)
    let (end, overflow) = offset.addingReportingOverflow(size)
    guard !overflow, end <= UInt64(bytes.count) else { return nil }
    return Int(offset)..<Int(end)
  }

  /// Little-endian number of `count` bytes; 0 beyond the end.
  private func read(_ at: Int, _ count: Int) -> UInt64 {
    guard at >= 0, at + count <= bytes.count else { return 0 }
    return (0..<count).reduce(0) { $0 | UInt64(bytes[at + $1]) << UInt64(8 * $1) }
  }

  /// Notes (System V ABI 5, note section): sizes of name and descriptor, type, then both padded to 4.
  private mutating func readNotes(_ extent: Range<Int>) {
    var at = extent.lowerBound
    while at + 12 <= extent.upperBound {
      let nameSize = Int(read(at, 4))
      let size = Int(read(at + 4, 4))
      let type = read(at + 8, 4)
      let name = at + 12
      let description = name + (nameSize + 3) & ~3
      guard nameSize < 1 << 20, size < 1 << 20, description + size <= extent.upperBound else { return }
      if bytes[name..<name + nameSize].starts(with: Array("Xen\0".utf8)) {
        take(type, read(description, min(size, 8)), Array(bytes[description..<description + size]))
      }
      at = description + (size + 3) & ~3
    }
  }

  private mutating func take(_ type: UInt64, _ number: UInt64, _ text: [UInt8]) {
    notes.isXen = true
    switch type {
    case 1: notes.entry = number
    case 2: notes.hypercallPage = number
    case 3: notes.virtualBase = number
    case 4: notes.physicalOffset = number
    case 6: notes.guestOS = String(decoding: text.prefix { $0 != 0 }, as: UTF8.self)
    case 15: notes.initialP2M = number
    case 16: notes.moduleIsPFN = number != 0
    default: break
    }
  }
}
