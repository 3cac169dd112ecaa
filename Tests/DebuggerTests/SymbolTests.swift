import Debugger
import Testing
import VMCore

@Suite("Symbols")
struct SymbolTests {
  static let table = SymbolTable([
    Symbol(name: "boot", address: 0x1000, size: 0x40), Symbol(name: "main", address: 0x1040, size: 0),
    Symbol(name: "_start", address: 0x1000, size: 0), Symbol(name: "mail", address: 0x2000, size: 4),
  ])

  @Test(
    "an address lies in a symbol or in none",
    arguments: [
      (0x1000, "boot"), (0x101C, "boot+1c"), (0x1040, "main"), (0x1100, "main+c0"), (0x2003, "mail+3"), (0x2004, nil),
      (0xFFF, nil), (0, nil), (.max, nil),
    ] as [(UInt64, String?)])
  func place(_ address: UInt64, _ text: String?) { #expect(Self.table.name(of: address) == text) }

  @Test("names lead to addresses and complete")
  func names() {
    #expect(Self.table.symbol(named: "main")?.address == 0x1040)
    #expect(Self.table.symbol(named: "mai") == nil)
    #expect(Self.table.completions(of: "mai") == ["mail", "main"])
    #expect(Self.table.completions(of: "").count == 4)
    #expect(Self.table.labels(at: 0x1000).map(\.name) == ["_start", "boot"])
    #expect(SymbolTable.empty.place(of: 5) == nil)
  }

  @Test("merging keeps one of each")
  func merge() {
    let other = SymbolTable([Symbol(name: "main", address: 0x1040, size: 0), Symbol(name: "x", address: 1, size: 1)])
    #expect(Self.table.merging(other).symbols.count == 5)
  }

  @Test("the nearest name is found or none")
  func nearest() {
    #expect(NearestName.find("brake", in: ["step", "break"]) == "break")
    #expect(NearestName.find("rbeak", in: ["step", "break"]) == "break")
    #expect(NearestName.find("walk", in: ["step", "break"]) == nil)
    #expect(NearestName.find("brek", in: ["step", "break"]) == "break")
    #expect(NearestName.find("CPUIDX", in: ["hlt", "cpuid"]) == "cpuid")
    #expect(NearestName.find("", in: ["a"]) == nil)
  }

  @Test("symbols come out of 32- and 64-bit ELF files", arguments: [false, true])
  func elf(_ wide: Bool) throws {
    let table = try SymbolLoader.load(ELFBuilder.image(wide: wide), name: "t.elf")
    #expect(table.symbols.map(\.name) == ["start", "data"])
    #expect(table.symbol(named: "start") == Symbol(name: "start", address: 0x10_0000, size: 16))
    let moved = try SymbolLoader.elf(ELFBuilder.image(wide: wide), name: "t.elf", bias: 0x1000)
    #expect(moved.symbol(named: "data")?.address == 0x10_2000)
  }

  @Test("System.map is read, undefined and absolute symbols are not")
  func systemMap() throws {
    let text =
      "0000000000100000 T start\n0000000000101000 d data\n                 U other\n0000000000000005 A five\n\n"
    let table = try SymbolLoader.load(Array(text.utf8), name: "System.map")
    #expect(table.symbols.map(\.name) == ["start", "data"])
    #expect(throws: VMError.self) { try SymbolLoader.load(Array("hello world again\n".utf8), name: "x") }
  }

  @Test("20,000 damaged and random files neither crash nor hang")
  func fuzz() {
    var random = SplitMix(seed: 3)
    for round in 0..<20_000 {
      var bytes =
        round % 4 == 3 ? random.bytes(Int.random(in: 0..<200, using: &random)) : ELFBuilder.image(wide: round & 1 == 0)
      if round % 4 == 3, round & 4 == 0 { bytes = [0x7F, 0x45, 0x4C, 0x46] + bytes }
      for _ in 0..<Int.random(in: 1..<6, using: &random) where !bytes.isEmpty {
        bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8(truncatingIfNeeded: random.next())
      }
      if round % 5 == 0 { bytes = Array(bytes.prefix(Int.random(in: 0...bytes.count, using: &random))) }
      _ = try? SymbolLoader.load(bytes, name: "fuzz")
    }
  }
}

/// The smallest ELF file with a symbol table: header, `.symtab`, `.strtab`, section headers.
enum ELFBuilder {
  static func image(wide: Bool) -> [UInt8] {
    let names: [UInt8] = [0] + Array("start\0data\0undefined\0file\0".utf8)
    let rows: [(name: Int, info: UInt8, section: UInt16, value: UInt64, size: UInt64)] = [
      (0, 0, 0, 0, 0), (1, 0x12, 1, 0x10_0000, 16), (7, 0x11, 1, 0x10_1000, 4), (12, 0x10, 0, 0, 0),
      (22, 0x04, 0xFFF1, 0, 0),
    ]
    var symbols: [UInt8] = []
    for row in rows {
      if wide {
        symbols +=
          le(UInt64(row.name), 4) + [row.info, 0] + le(UInt64(row.section), 2) + le(row.value, 8) + le(row.size, 8)
      } else {
        symbols +=
          le(UInt64(row.name), 4) + le(row.value, 4) + le(row.size, 4) + [row.info, 0] + le(UInt64(row.section), 2)
      }
    }
    let headerSize = wide ? 64 : 52
    let word = wide ? 8 : 4
    let stringsAt = headerSize + symbols.count
    let sectionsAt = (stringsAt + names.count + 7) & ~7
    var file: [UInt8] = [0x7F, 0x45, 0x4C, 0x46, wide ? 2 : 1, 1, 1] + Array(repeating: 0, count: 9)
    file +=
      le(2, 2) + le(wide ? 62 : 3, 2) + le(1, 4) + le(0x10_0000, word) + le(0, word) + le(UInt64(sectionsAt), word)
    file += le(0, 4) + le(UInt64(headerSize), 2) + le(0, 2) + le(0, 2) + le(wide ? 64 : 40, 2) + le(3, 2) + le(2, 2)
    file += symbols + names
    file += Array(repeating: 0, count: sectionsAt - file.count)
    file += section(wide, type: 0, offset: 0, size: 0, link: 0, entry: 0)
    file += section(wide, type: 2, offset: headerSize, size: symbols.count, link: 2, entry: wide ? 24 : 16)
    file += section(wide, type: 3, offset: stringsAt, size: names.count, link: 0, entry: 0)
    return file
  }

  private static func le(_ value: UInt64, _ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt64($0 * 8)) }
  }

  private static func section(_ wide: Bool, type: UInt64, offset: Int, size: Int, link: UInt64, entry: UInt64)
    -> [UInt8]
  {
    let word = wide ? 8 : 4
    var bytes = le(0, 4) + le(type, 4) + le(0, word) + le(0, word) + le(UInt64(offset), word) + le(UInt64(size), word)
    bytes += le(link, 4) + le(1, 4) + le(1, word) + le(entry, word)
    return bytes
  }
}
