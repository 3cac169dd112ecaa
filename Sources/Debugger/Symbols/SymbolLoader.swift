import CElf
import VMCore

#if canImport(Glibc)
  import Glibc
#endif

/// Reads symbols out of files. The bytes may be anything: what is broken is an error or left out.
package enum SymbolLoader {
  /// More symbols than any kernel has; a file with more is cut there.
  package static let maximumCount = 1 << 20
  private static let maximumNameLength = 512

  /// Symbols of an ELF32 or ELF64 file (from `.symtab`, else `.dynsym`): functions, objects and untyped labels that
  /// are defined in a section. `bias` is added to every address. A file without symbols gives an empty table.
  package static func elf(_ bytes: [UInt8], name: String, bias: UInt64 = 0) throws(VMError) -> SymbolTable {
    guard bytes.starts(with: [0x7F, 0x45, 0x4C, 0x46]) else {
      throw VMError(.image, "\(name): no symbols to read: the file does not begin with the ELF magic 7f 'ELF'")
    }
    // libelf reads in place, and only reads: an image of its own would be a copy of a whole kernel.
    guard let found = bytes.withUnsafeBytes({ symbols(in: $0, bias: bias) }) else { throw damaged(name) }
    return SymbolTable(found)
  }

  /// nil where the ELF header is damaged.
  private static func symbols(in bytes: UnsafeRawBufferPointer, bias: UInt64) -> [Symbol]? {
    let image = UnsafeMutableRawPointer(mutating: bytes.baseAddress)?.assumingMemoryBound(to: CChar.self)
    guard elf_version(UInt32(EV_CURRENT)) != EV_NONE.magnitude, let elf = elf_memory(image, bytes.count) else { return nil }
    defer { elf_end(elf) }
    guard elf_kind(elf) == ELF_K_ELF else { return nil }
    var symbols: [Symbol] = []
    for type in [SHT_SYMTAB, SHT_DYNSYM] where symbols.isEmpty {
      var section = elf_nextscn(elf, nil)
      while let current = section {
        read(current, of: elf, type: UInt32(type), bias: bias, into: &symbols)
        section = elf_nextscn(elf, current)
      }
    }
    return symbols
  }

  private static func damaged(_ name: String) -> VMError {
    VMError(.image, "\(name): the ELF header is damaged: \(elf_errmsg(-1).map { String(cString: $0) } ?? "unreadable")")
  }

  private static func read(
    _ section: OpaquePointer, of elf: OpaquePointer, type: UInt32, bias: UInt64, into symbols: inout [Symbol]
  ) {
    var header = GElf_Shdr()
    guard gelf_getshdr(section, &header) != nil, header.sh_type == type, header.sh_entsize > 0,
      let data = elf_getdata(section, nil), data.pointee.d_buf != nil
    else { return }
    let entries = min(UInt64(data.pointee.d_size) / header.sh_entsize, UInt64(maximumCount))
    let dataSections = dataSections(of: elf)
    for index in 0..<Int32(entries) {
      var entry = GElf_Sym()
      guard symbols.count < maximumCount, gelf_getsym(data, index, &entry) != nil else { break }
      guard wanted(entry), let text = elf_strptr(elf, Int(header.sh_link), Int(entry.st_name)) else { continue }
      guard let name = cut(text) else { continue }
      let isData = dataSections.contains(entry.st_shndx)
      symbols.append(Symbol(name: name, address: entry.st_value &+ bias, size: entry.st_size, isData: isData))
    }
  }

  /// Indices of the sections that lie in memory and hold no code (ELF gABI, "Sections", SHF_ALLOC, SHF_EXECINSTR).
  private static func dataSections(of elf: OpaquePointer) -> Set<UInt16> {
    var indices: Set<UInt16> = []
    var section = elf_nextscn(elf, nil)
    while let current = section {
      var header = GElf_Shdr()
      let kind = gelf_getshdr(current, &header) == nil ? 0 : header.sh_flags & UInt64(SHF_ALLOC | SHF_EXECINSTR)
      if kind == UInt64(SHF_ALLOC) {
        indices.insert(UInt16(truncatingIfNeeded: elf_ndxscn(current)))
      }
      section = elf_nextscn(elf, current)
    }
    return indices
  }

  /// Defined in a section, and of type NOTYPE, OBJECT or FUNC (ELF gABI, "Symbol Table").
  private static func wanted(_ entry: GElf_Sym) -> Bool {
    entry.st_info & 0xF <= 2 && entry.st_shndx != 0 && entry.st_shndx < 0xFF00 && entry.st_name != 0
  }

  /// libelf has checked that the string ends inside its section.
  private static func cut(_ text: UnsafePointer<CChar>) -> String? {
    let length = strnlen(text, maximumNameLength)
    guard length > 0 else { return nil }
    let bytes = UnsafeRawBufferPointer(start: text, count: length)
    let name = String(decoding: bytes, as: UTF8.self)
    return name.hasPrefix(".L") || name.contains { $0.isWhitespace || $0.isNewline } ? nil : name
  }

  /// Symbols of a `System.map`, of `nm` or of `/proc/kallsyms`: lines of address, type letter, name. Undefined and absolute ones are
  /// left out.
  package static func systemMap(_ bytes: [UInt8], name: String) throws(VMError) -> SymbolTable {
    var symbols: [Symbol] = []
    for (number, line) in bytes.split(separator: 10).enumerated() {
      guard symbols.count < maximumCount else { break }
      let words = line.split { $0 == 32 || $0 == 9 || $0 == 13 }
      guard !words.isEmpty else { continue }
      guard words.count >= 3, words[1].count == 1, let address = address(words[0]) else {
        if words.count == 2, words[0].count == 1 { continue }
        throw VMError(
          .image, "\(name): line \(number + 1) is not 'address type name' as in System.map",
          remedy: "make one with nm FILE")
      }
      let type = words[1].first ?? 0
      guard !"UuAaNw".utf8.contains(type), words[2].count <= maximumNameLength else { continue }
      let isData = "BbDdGgRrSs".utf8.contains(type)
      symbols.append(Symbol(name: String(decoding: words[2], as: UTF8.self), address: address, size: 0, isData: isData))
    }
    guard symbols.count < 2 || symbols.contains(where: { $0.address != 0 }) else {
      throw VMError(
        .image, "\(name): every address is 0, as /proc/kallsyms shows them to others than root",
        remedy: "read it as root, with kernel.kptr_restrict at 0 or 1")
    }
    return SymbolTable(symbols)
  }

  private static func address(_ digits: ArraySlice<UInt8>) -> UInt64? {
    ExpressionLexer.digits(String(decoding: digits, as: UTF8.self)[...], radix: 16)
  }

  /// Either kind, told apart by content. An ELF file without a symbol table may be a Linux kernel, which carries
  /// one of its own.
  package static func load(_ bytes: [UInt8], name: String) throws(VMError) -> SymbolTable {
    guard bytes.first == 0x7F else { return try systemMap(bytes, name: name) }
    let table = try elf(bytes, name: name)
    return table.isEmpty ? SymbolTable(Kallsyms.symbols(in: bytes)) : table
  }
}
