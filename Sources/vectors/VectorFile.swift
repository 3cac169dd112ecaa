import CZlib

/// One single-instruction test: registers and memory before and after.
struct Vector {
  /// In the file format's register order: ax bx cx dx cs ss ds es sp bp si di ip flags.
  static let registerCount = 14
  var index = 0
  var name = ""
  var bytes: [UInt8] = []
  var before = [UInt16?](repeating: nil, count: registerCount)
  var after = [UInt16?](repeating: nil, count: registerCount)
  var memoryBefore: [(address: UInt32, value: UInt8)] = []
  var memoryAfter: [(address: UInt32, value: UInt8)] = []
  var exception: (vector: UInt8, flagsAddress: UInt32)?
}

/// A MOO file: chunks of a four-byte tag, a length and data, little-endian, gzipped or plain.
struct VectorFile {
  var vectors: [Vector] = []
  var mnemonic = ""

  init?(path: String) {
    guard let data = Self.unzip(path) else { return nil }
    var reader = Reader(bytes: data)
    while let (tag, body) = reader.chunk() {
      switch tag {
      case "META":
        var meta = Reader(bytes: body)
        readMeta(&meta)
      case "TEST":
        if let vector = Self.test(body) { vectors.append(vector) }
      default: break
      }
    }
    if vectors.isEmpty { return nil }
  }

  private static func unzip(_ path: String) -> [UInt8]? {
    guard let file = gzopen(path, "rb") else { return nil }
    defer { gzclose(file) }
    var result: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = gzread(file, &buffer, UInt32(buffer.count))
      if count < 0 { return nil }
      if count == 0 { return result }
      result.append(contentsOf: buffer[..<Int(count)])
    }
  }

  private mutating func readMeta(_ meta: inout Reader) {
    // Version (2 bytes), processor (1), opcode (4), then the mnemonic, padded to 8.
    _ = meta.take(7)
    mnemonic = String(decoding: meta.take(8).prefix { $0 > 32 }, as: UTF8.self)
  }

  private static func test(_ body: [UInt8]) -> Vector? {
    var reader = Reader(bytes: body)
    var vector = Vector()
    guard let index = reader.number(4) else { return nil }
    vector.index = Int(index)
    while let (tag, data) = reader.chunk() {
      var inner = Reader(bytes: data)
      switch tag {
      case "NAME":
        _ = inner.number(4)
        vector.name = String(decoding: inner.rest, as: UTF8.self)
      case "BYTS":
        _ = inner.number(4)
        vector.bytes = inner.rest
      case "INIT": (vector.before, vector.memoryBefore) = state(&inner)
      case "FINA": (vector.after, vector.memoryAfter) = state(&inner)
      case "EXCP":
        if let number = inner.number(1), let address = inner.number(4) {
          vector.exception = (UInt8(number), UInt32(address))
        }
      default: break
      }
    }
    return vector
  }

  private static func state(_ reader: inout Reader) -> ([UInt16?], [(address: UInt32, value: UInt8)]) {
    var registers = [UInt16?](repeating: nil, count: Vector.registerCount)
    var memory: [(address: UInt32, value: UInt8)] = []
    while let (tag, data) = reader.chunk() {
      var inner = Reader(bytes: data)
      if tag == "REGS", let bitmap = inner.number(2) {
        for i in 0..<16 where bitmap >> UInt64(i) & 1 != 0 {
          if let value = inner.number(2), i < registers.count { registers[i] = UInt16(value) }
        }
      } else if tag == "RAM ", let count = inner.number(4) {
        for _ in 0..<count {
          guard let address = inner.number(4), let value = inner.number(1) else { break }
          memory.append((UInt32(address), UInt8(value)))
        }
      }
    }
    return (registers, memory)
  }
}

/// Little-endian fields from bytes.
struct Reader {
  private let bytes: [UInt8]
  private var at = 0

  init(bytes: [UInt8]) { self.bytes = bytes }

  var rest: [UInt8] { Array(bytes[at...]) }

  mutating func take(_ count: Int) -> [UInt8] {
    let end = min(at + count, bytes.count)
    defer { at = end }
    return Array(bytes[at..<end])
  }

  mutating func number(_ size: Int) -> UInt64? {
    guard at + size <= bytes.count else { return nil }
    return take(size).reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  mutating func chunk() -> (String, [UInt8])? {
    guard at + 8 <= bytes.count else { return nil }
    let tag = String(decoding: take(4), as: UTF8.self)
    guard let length = number(4) else { return nil }
    return (tag, take(Int(length)))
  }
}
