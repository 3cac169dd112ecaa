import Debugger
import Testing
import VMCore

/// The tables that a Linux kernel carries its symbols in, as scripts/kallsyms.c writes them.
struct KallsymsBuilder {
  var symbols: [(type: Character, name: String, address: UInt64)] = []
  var base: UInt64 = 0xFFFF_FFFF_8100_0000
  /// Since Linux 6.4 the addresses lie behind the tokens.
  var isNew = false
  /// Symbols of per-CPU data are absolute, and the others' offsets negative.
  var hasAbsolute = true

  /// Every printable character is a token of its own; the rest stand for parts of names.
  private static let pieces = ["_do_", "start", "kernel", "init", "__x64_sys_", "copy_"]
  private static let tokens: [String] = (0..<256).map { number in
    if (0x21...0x7E).contains(number) { return String(UnicodeScalar(UInt8(number))) }
    return number < pieces.count ? pieces[number] : "t\(number)"
  }

  private func packed(_ text: String) -> [UInt8] {
    var rest = Substring(text)
    var result: [UInt8] = []
    while let first = rest.utf8.first {
      if let piece = Self.pieces.firstIndex(where: { rest.hasPrefix($0) }) {
        result.append(UInt8(piece))
        rest = rest.dropFirst(Self.pieces[piece].count)
      } else {
        result.append(first)
        rest = rest.dropFirst()
      }
    }
    return result
  }

  var bytes: [UInt8] {
    var image = [UInt8](repeating: 0x5A, count: 4096)
    func align() { while image.count % 8 != 0 { image.append(0) } }
    func add<T: FixedWidthInteger>(_ value: T) { withUnsafeBytes(of: value.littleEndian) { image += $0 } }
    func addAddresses() {
      align()
      for symbol in symbols {
        let distance = Int64(bitPattern: symbol.address &- base)
        if symbol.address < 1 << 32 {
          add(Int32(truncatingIfNeeded: symbol.address))
        } else {
          add(Int32(truncatingIfNeeded: hasAbsolute ? -1 - distance : distance))
        }
      }
      align()
      add(base)
    }
    if !isNew { addAddresses() }
    add(UInt64(symbols.count))
    var markers: [UInt32] = []
    let names = image.count
    for (index, symbol) in symbols.enumerated() {
      if index % 256 == 0 { markers.append(UInt32(image.count - names)) }
      let body = packed(String(symbol.type) + symbol.name)
      if body.count > 127 { image += [UInt8(body.count & 0x7F) | 0x80, UInt8(body.count >> 7)] } else { image.append(UInt8(body.count)) }
      image += body
    }
    align()
    for marker in markers { add(marker) }
    align()
    var index: [UInt16] = []
    let table = image.count
    for token in Self.tokens {
      index.append(UInt16(image.count - table))
      image += Array(token.utf8) + [0]
    }
    align()
    for offset in index { add(offset) }
    if isNew { addAddresses() }
    // An ELF header that knows of no sections.
    let identification: [UInt8] = [0x7F, 0x45, 0x4C, 0x46, 2, 1, 1] + [UInt8](repeating: 0, count: 9)
    let header = identification + [2, 0, 62, 0, 1, 0, 0, 0] + [UInt8](repeating: 0, count: 28) + [64, 0]
    image.replaceSubrange(0..<64, with: header + [UInt8](repeating: 0, count: 64 - header.count))
    return image + [UInt8](repeating: 0, count: 64)
  }

  /// A kernel of so many functions.
  static func kernel(_ count: Int) -> KallsymsBuilder {
    var builder = KallsymsBuilder()
    builder.symbols = [("A", "per_cpu_start", 0), ("D", "this_cpu_off", 0x1A000)]
    for number in 0..<count {
      let address = builder.base + UInt64(number * 64)
      builder.symbols.append(number % 10 == 9 ? ("d", "table_\(number)", address) : ("T", "kernel_do_init_\(number)", address))
    }
    builder.symbols.append(("T", "start_kernel", builder.base + UInt64(count * 64)))
    builder.symbols.append(("t", String(repeating: "long", count: 40), builder.base + UInt64(count * 64 + 64)))
    return builder
  }
}

@Suite("Symbols of a Linux kernel")
struct KallsymsTests {
  @Test(arguments: [(false, true), (true, true), (true, false)])
  func `the symbols come out of the tables of old and new kernels`(_ isNew: Bool, _ hasAbsolute: Bool) throws {
    var builder = KallsymsBuilder.kernel(1500)
    builder.isNew = isNew
    builder.hasAbsolute = hasAbsolute
    if !hasAbsolute { builder.symbols.removeFirst(2) }
    let table = try SymbolLoader.load(builder.bytes, name: "vmlinux")
    #expect(table.symbols.count == 1502)
    #expect(table.symbol(named: "start_kernel")?.address == builder.base + 1500 * 64)
    #expect(table.symbol(named: "table_9")?.isData == true)
    #expect(table.symbol(named: "kernel_do_init_700")?.isData == false)
    #expect(table.symbol(named: String(repeating: "long", count: 40)) != nil)
    #expect(table.name(of: builder.base + 64 * 3 + 5) == "kernel_do_init_3+5")
  }

  @Test func `text of /proc/kallsyms is read, and hidden addresses are told of`() throws {
    let text = "ffffffff81000000 T startup_64\nffffffff81000060 t verify_cpu\nffffffffc0000000 t probe\t[virtio_net]\n"
    let table = try SymbolLoader.load(Array(text.utf8), name: "kallsyms")
    #expect(table.symbols.map(\.name) == ["startup_64", "verify_cpu", "probe"])
    let hidden = "0000000000000000 T startup_64\n0000000000000000 t verify_cpu\n"
    let error = #expect(throws: VMError.self) { try SymbolLoader.load(Array(hidden.utf8), name: "kallsyms") }
    #expect(error?.message.hasPrefix("kallsyms: every address is 0") == true)
  }

  @Test func `damaged tables give symbols or none, and never more than there are`() throws {
    var state: UInt64 = 1
    func random(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    let good = KallsymsBuilder.kernel(600).bytes
    for _ in 0..<500 {
      var image = good
      for _ in 0...random(4) { image[64 + random(image.count - 64)] = UInt8(random(256)) }
      if random(4) == 0 { image.removeLast(random(image.count - 16)) }
      let count = (try? SymbolLoader.load(image, name: "vmlinux").symbols.count) ?? 0
      #expect(count <= 602)
    }
  }
}
