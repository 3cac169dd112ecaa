import VMCore

/// What a kernel says of itself in ELF notes of owner "Xen" (Xen public/elfnote.h), or in a section `__xen_guest` of
/// the older kind.
package struct XenNotes: Equatable, Sendable {
  package var entry: UInt64?
  package var hypercallPage: UInt64?
  package var virtualBase: UInt64 = 0
  package var physicalOffset: UInt64 = 0
  package var guestOS = ""
  /// Where the frame list is to be mapped; nil: behind the kernel. 64-bit guests alone have a choice.
  package var initialP2M: UInt64?
  /// The module is given by its frame number and not mapped.
  package var moduleIsPFN = false
  package var isXen = false
  package init() {}
}

/// An ELF kernel as a domain builder sees it: its ABI, segments by physical address, and notes.
package struct PVKernel: Sendable {
  package struct Segment: Equatable, Sendable {
    package var address: UInt64
    package var fileOffset: Int
    package var fileSize: Int
    package var memorySize: UInt64
  }
  /// ELF32 for i386 is a 32-bit PAE guest, ELF64 for x86-64 a 64-bit one.
  package let abi: GuestABI
  package private(set) var segments: [Segment] = []
  package private(set) var notes = XenNotes()
  /// Physical addresses the segments lie between.
  package var start: UInt64 { segments.map(\.address).min() ?? 0 }
  package var end: UInt64 { segments.map { $0.address + $0.memorySize }.max() ?? 0 }
  let bytes: [UInt8]

  /// Reads headers and notes. Throws `VMError(.image)` naming what is wrong.
  package init(_ bytes: [UInt8], name: String) throws(VMError) {
    self.bytes = bytes
    func wrong(_ what: String) -> VMError {
      VMError(
        .image, "\(name): \(what)", remedy: "give a kernel with Xen notes (Linux: CONFIG_XEN_PV), or use --technique hvm")
    }
    guard let file = ELFKernelFile(bytes) else {
      throw wrong("no little-endian ELF image for x86-64 or i386, which a paravirtual guest is")
    }
    abi = file.is32Bit ? .x86_32p : .x86_64
    guard let headers = file.programHeaders else { throw wrong("its program headers reach beyond the file") }
    for (index, header) in headers.enumerated() where header.type == ELFKernelFile.loadType {
      guard let extent = file.extent(header.offset, header.fileSize) else {
        throw wrong("program header \(index) reaches beyond the file")
      }
      guard header.physical < 1 << 40, header.memorySize < 1 << 40, UInt64(extent.count) <= header.memorySize else {
        throw wrong("program header \(index) has sizes or an address that cannot be")
      }
      guard header.memorySize > 0 else { continue }
      segments.append(
        Segment(
          address: header.physical, fileOffset: extent.lowerBound, fileSize: extent.count, memorySize: header.memorySize))
    }
    for note in file.xenNotes(headers) { take(note) }
    if !notes.isXen, let section = file.section(named: "__xen_guest") { takeSection(section, file) }
    if notes.isXen, notes.entry == nil { notes.entry = file.entry }
    guard notes.isXen, notes.entry != nil else { throw wrong("no Xen notes with an entry point for a paravirtual guest") }
    guard !segments.isEmpty else { throw wrong("no loadable segments") }
  }

  private mutating func take(_ note: ELFKernelFile.Note) {
    notes.isXen = true
    let number = note.number
    switch note.type {
    case 1: notes.entry = number
    case 2: notes.hypercallPage = number
    case 3: notes.virtualBase = number
    case 4: notes.physicalOffset = number
    case 6: notes.guestOS = note.text
    case 15: notes.initialP2M = abi.is32Bit ? nil : number
    case 16: notes.moduleIsPFN = number != 0
    default: break
    }
  }

  /// "GUEST_OS=...,VIRT_BASE=0xC0000000,...": physical addresses count from the base where nothing else is said, and
  /// the hypercall page is given by its frame.
  private mutating func takeSection(_ section: [UInt8], _ file: ELFKernelFile) {
    var words: [String: String] = [:]
    for pair in String(decoding: section.prefix { $0 != 0 }, as: UTF8.self).split(separator: ",") {
      let parts = pair.split(separator: "=", maxSplits: 1)
      words[String(parts[0])] = parts.count > 1 ? String(parts[1]) : ""
    }
    func number(_ key: String) -> UInt64? {
      guard let text = words[key]?.lowercased() else { return nil }
      return text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text)
    }
    guard words["XEN_VER"] != nil || words["GUEST_OS"] != nil else { return }
    notes.isXen = true
    notes.virtualBase = number("VIRT_BASE") ?? 0
    notes.physicalOffset = number("ELF_PADDR_OFFSET") ?? notes.virtualBase
    notes.entry = number("VIRT_ENTRY")
    notes.hypercallPage = number("HYPERCALL_PAGE").map { notes.virtualBase &+ $0 << 12 }
    notes.guestOS = words["GUEST_OS"] ?? ""
  }
}
