import CElf
import VMCore

/// An ELF executable for x86 as a boot loader sees it: what to copy where, and where to start.
/// Fields by their names in the System V ABI, chapters 4 and 5. Reading is libelf's; what may be
/// believed is decided here.
package struct ELFImage: Sendable {
  package struct Segment: Sendable {
    /// Its number among the program headers.
    package let index: Int
    package let offset: UInt64
    package let fileSize: UInt64
    package let virtualAddress: UInt64
    package let physicalAddress: UInt64
    package let memorySize: UInt64
    package var end: UInt64 { physicalAddress + memorySize }
  }

  package let is64: Bool
  /// Guest-physical address of the first instruction.
  package let entry: UInt64
  /// The PT_LOAD segments with a size, by guest-physical address; none overlap.
  package let segments: [Segment]
  /// The notes of the PT_NOTE segments, in file order, up to the first that is not well formed.
  package let notes: [ELFNote]

  static func isELF(_ file: ImageBytes) -> Bool { file.bytes.starts(with: [0x7F, 0x45, 0x4C, 0x46]) }

  /// Reads and checks the headers. Throws `VMError(.image)` naming the first field that is wrong.
  init(_ file: ImageBytes) throws(VMError) {
    let is64 = try Self.checkIdentification(file)
    let read = file.bytes.withUnsafeBytes { bytes -> Result<Contents, VMError> in
      do throws(VMError) {
        return .success(try Self.read(ELFReader(bytes, of: file), is64: is64, in: file))
      } catch {
        return .failure(error)
      }
    }
    let contents = try read.get()
    self.is64 = is64
    segments = contents.segments
    notes = contents.notes
    entry = try Self.physicalEntry(contents.entry, segments, in: file)
  }

  private struct Contents {
    var segments: [Segment]
    var notes: [ELFNote]
    /// e_entry
    var entry: UInt64
  }

  private static func read(_ reader: borrowing ELFReader, is64: Bool, in file: ImageBytes) throws(VMError) -> Contents {
    let header = reader.header
    try Self.check(header, is64: is64, in: file)
    var loads: [Segment] = []
    var notes: [ELFNote] = []
    for index in 0..<Int(header.e_phnum) {
      guard let raw = reader.programHeader(index) else {
        throw file.wrong("program header \(index)", "unreadable", expected: "e_phnum (\(header.e_phnum)) of them")
      }
      if raw.p_type == UInt32(PT_INTERP) {
        throw file.wrong(
          "program header \(index): p_type", "PT_INTERP (3)", expected: "a kernel, not a program for Linux")
      }
      if raw.p_type == UInt32(PT_NOTE) { notes += reader.notes(raw, fileSize: file.size) }
      guard raw.p_type == UInt32(PT_LOAD), raw.p_memsz > 0 || raw.p_filesz > 0 else { continue }
      loads.append(try Self.segment(index, raw, in: file))
    }
    guard !loads.isEmpty else {
      throw file.wrong("the number of PT_LOAD program headers", "0", expected: "at least one with a size")
    }
    loads.sort { ($0.physicalAddress, $0.index) < ($1.physicalAddress, $1.index) }
    for (lower, upper) in zip(loads, loads.dropFirst()) where upper.physicalAddress < lower.end {
      throw file.wrong(
        "program header \(upper.index): p_paddr", upper.physicalAddress,
        expected: "it clear of program header \(lower.index), which ends at \(prefixedHex(lower.end))")
    }
    return Contents(segments: loads, notes: notes, entry: header.e_entry)
  }

  /// The note of this type that Xen's ABI defines; nil where there is none.
  package func xenNote(_ type: XenNote) -> ELFNote? {
    notes.first { $0.owner == "Xen" && $0.type == type.rawValue }
  }

  /// e_ident (System V ABI 4-5): gives whether the file is of class 64.
  private static func checkIdentification(_ file: ImageBytes) throws(VMError) -> Bool {
    guard file.count >= Int(EI_NIDENT) else { throw file.outside("the end of e_ident", end: UInt64(EI_NIDENT)) }
    let elfClass = file.bytes[Int(EI_CLASS)]
    guard elfClass == UInt8(ELFCLASS32) || elfClass == UInt8(ELFCLASS64) else {
      throw file.wrong("e_ident[EI_CLASS]", UInt64(elfClass), expected: "1 (32-bit) or 2 (64-bit)")
    }
    let order = file.bytes[Int(EI_DATA)]
    guard order == UInt8(ELFDATA2LSB) else {
      throw file.wrong("e_ident[EI_DATA]", UInt64(order), expected: "1 (little-endian)")
    }
    let version = file.bytes[Int(EI_VERSION)]
    guard version == UInt8(EV_CURRENT) else {
      throw file.wrong("e_ident[EI_VERSION]", UInt64(version), expected: "1")
    }
    let is64 = elfClass == UInt8(ELFCLASS64)
    let headerSize = is64 ? MemoryLayout<Elf64_Ehdr>.size : MemoryLayout<Elf32_Ehdr>.size
    guard file.count >= headerSize else { throw file.outside("the end of the ELF header", end: UInt64(headerSize)) }
    return is64
  }

  private static let machines: [UInt16: String] = [
    UInt16(EM_386): "32-bit x86 in a 64-bit file", UInt16(EM_X86_64): "x86-64 in a 32-bit file (x32)",
    UInt16(EM_AARCH64): "AArch64", UInt16(EM_ARM): "ARM", UInt16(EM_RISCV): "RISC-V", UInt16(EM_PPC64): "PowerPC",
    UInt16(EM_S390): "IBM Z", UInt16(EM_MIPS): "MIPS", UInt16(EM_LOONGARCH): "LoongArch",
  ]
  private static let otherTypes: [UInt16: String] = [
    UInt16(ET_REL): "it is an object file: link it", UInt16(ET_CORE): "it is a core dump",
    UInt16(ET_DYN): "it is a program or library of an operating system: a kernel is linked -static -no-pie",
  ]

  private static func check(_ header: GElf_Ehdr, is64: Bool, in file: ImageBytes) throws(VMError) {
    let machine = is64 ? EM_X86_64 : EM_386
    guard header.e_machine == UInt16(machine) else {
      let name = is64 ? "EM_X86_64" : "EM_386"
      let other = machines[header.e_machine].map { "it is for \($0); take one for x86" }
      throw file.wrong(
        "e_machine", UInt64(header.e_machine), expected: "\(prefixedHex(UInt64(machine))) (\(name))", remedy: other)
    }
    guard header.e_type == UInt16(ET_EXEC) else {
      throw file.wrong("e_type", UInt64(header.e_type), expected: "2 (ET_EXEC)", remedy: otherTypes[header.e_type])
    }
    guard header.e_phnum > 0, header.e_phnum < UInt16(PN_XNUM) else {
      throw file.wrong("e_phnum", UInt64(header.e_phnum), expected: "1 to 0xfffe program headers")
    }
    let entrySize = is64 ? MemoryLayout<Elf64_Phdr>.size : MemoryLayout<Elf32_Phdr>.size
    guard Int(header.e_phentsize) == entrySize else {
      throw file.wrong("e_phentsize", UInt64(header.e_phentsize), expected: "\(prefixedHex(UInt64(entrySize)))")
    }
    let tableSize = UInt64(entrySize) * UInt64(header.e_phnum)
    let (end, overflow) = header.e_phoff.addingReportingOverflow(tableSize)
    guard !overflow, end <= file.size else {
      throw file.outside("e_phoff+e_phnum*e_phentsize", end: overflow ? .max : end)
    }
  }

  private static func segment(_ index: Int, _ raw: GElf_Phdr, in file: ImageBytes) throws(VMError) -> Segment {
    let place = "program header \(index)"
    let (fileEnd, fileOverflow) = raw.p_offset.addingReportingOverflow(raw.p_filesz)
    guard !fileOverflow, fileEnd <= file.size else {
      throw file.outside("\(place): p_offset+p_filesz", end: fileOverflow ? .max : fileEnd)
    }
    guard raw.p_filesz <= raw.p_memsz else {
      throw file.wrong("\(place): p_filesz", raw.p_filesz, expected: "at most p_memsz, \(prefixedHex(raw.p_memsz))")
    }
    guard !raw.p_paddr.addingReportingOverflow(raw.p_memsz).overflow else {
      throw file.wrong(
        "\(place): p_paddr", raw.p_paddr, expected: "p_paddr+p_memsz (\(prefixedHex(raw.p_memsz)) more) within 64 bits")
    }
    return Segment(
      index: index, offset: raw.p_offset, fileSize: raw.p_filesz, virtualAddress: raw.p_vaddr,
      physicalAddress: raw.p_paddr, memorySize: raw.p_memsz)
  }

  /// e_entry is a virtual address where a segment's p_vaddr range holds it, else a physical one.
  private static func physicalEntry(
    _ entry: UInt64, _ segments: [Segment], in file: ImageBytes
  ) throws(VMError) -> UInt64 {
    for segment in segments
    where entry >= segment.virtualAddress && entry - segment.virtualAddress < segment.memorySize {
      return segment.physicalAddress + (entry - segment.virtualAddress)
    }
    for segment in segments where entry >= segment.physicalAddress && entry < segment.end { return entry }
    throw file.wrong("e_entry", entry, expected: "an address inside a PT_LOAD segment")
  }
}

/// libelf over a file in memory. Owns a copy of the bytes and the descriptor, and frees both.
private struct ELFReader: ~Copyable {
  private let descriptor: OpaquePointer
  let header: GElf_Ehdr

  /// libelf reads in place, and only reads: it keeps no copy, so that `bytes` must outlive this.
  init(_ bytes: UnsafeRawBufferPointer, of file: ImageBytes) throws(VMError) {
    let image = UnsafeMutableRawPointer(mutating: bytes.baseAddress)?.assumingMemoryBound(to: CChar.self)
    elf_version(UInt32(EV_CURRENT))
    var header = GElf_Ehdr()
    guard let opened = elf_memory(image, bytes.count) else {
      throw file.wrong("the ELF header", "unreadable", expected: "what the System V ABI describes")
    }
    guard gelf_getehdr(opened, &header) != nil else {
      elf_end(opened)
      throw file.wrong("the ELF header", "unreadable", expected: "what the System V ABI describes")
    }
    descriptor = opened
    self.header = header
  }

  deinit { elf_end(descriptor) }

  func programHeader(_ index: Int) -> GElf_Phdr? {
    var header = GElf_Phdr()
    return gelf_getphdr(descriptor, Int32(index), &header) == nil ? nil : header
  }
  /// More bytes of notes than any kernel has are not read.
  private static let maximumNoteBytes: UInt64 = 1 << 20

  /// The notes of a PT_NOTE segment.
  func notes(_ segment: GElf_Phdr, fileSize: UInt64) -> [ELFNote] {
    let (end, overflow) = segment.p_offset.addingReportingOverflow(segment.p_filesz)
    guard !overflow, end <= fileSize, (1...Self.maximumNoteBytes).contains(segment.p_filesz) else { return [] }
    let type = segment.p_align == 8 ? ELF_T_NHDR8 : ELF_T_NHDR
    guard let data = elf_getdata_rawchunk(descriptor, Int64(segment.p_offset), Int(segment.p_filesz), type),
      let start = data.pointee.d_buf
    else { return [] }
    let bytes = UnsafeRawBufferPointer(start: start, count: data.pointee.d_size)
    var result: [ELFNote] = []
    var offset = 0
    while true {
      var header = GElf_Nhdr()
      var name = 0
      var body = 0
      offset = gelf_getnote(data, offset, &header, &name, &body)
      let nameEnd = name + Int(header.n_namesz)
      let bodyEnd = body + Int(header.n_descsz)
      guard offset > 0, nameEnd <= bytes.count, bodyEnd <= bytes.count else { return result }
      result.append(
        ELFNote(
          owner: String(decoding: bytes[name..<nameEnd].prefix { $0 != 0 }, as: UTF8.self), type: header.n_type,
          descriptor: Array(bytes[body..<bodyEnd])))
    }
  }
}
