/// C's names of numbers, which gdb's users write casts with.
enum CType {
  /// Bytes of the type these words name, as `unsigned long` or `uint8_t`, on x86-64; nil where they name none.
  static func size(of words: [String]) -> UInt8? {
    let rest = words.map { $0.lowercased() }.filter { !["unsigned", "signed", "const", "volatile"].contains($0) }
    if rest.isEmpty { return words.isEmpty ? nil : 4 }
    if rest.count > 1, rest.contains("long") || rest.contains("short") {
      let base = rest.filter { $0 != "int" }
      guard base.allSatisfy({ $0 == base.first }) else { return nil }
      return sizes[base[0]]
    }
    return rest.count == 1 ? sizes[rest[0]] : nil
  }

  private static let sizes: [String: UInt8] = [
    "char": 1, "bool": 1, "int8_t": 1, "uint8_t": 1, "u8": 1, "s8": 1, "short": 2, "int16_t": 2, "uint16_t": 2, "u16": 2,
    "s16": 2, "int": 4, "int32_t": 4, "uint32_t": 4, "u32": 4, "s32": 4, "float": 4, "long": 8, "int64_t": 8,
    "uint64_t": 8, "u64": 8, "s64": 8, "size_t": 8, "uintptr_t": 8, "double": 8, "void": 1,
  ]
}
