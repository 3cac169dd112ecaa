import Synchronization
import VMCore

/// A name for a range of guest addresses.
package struct Symbol: Equatable, Sendable {
  package var name: String
  package var address: UInt64
  /// In bytes; 0 where the file does not say (then it reaches to the next symbol).
  package var size: UInt64
  /// It lies where the file says that no code is.
  package var isData: Bool
  package init(name: String, address: UInt64, size: UInt64, isData: Bool = false) {
    self.name = name
    self.address = address
    self.size = size
    self.isData = isData
  }
}

/// Where an address lies in a symbol.
package struct SymbolPlace: Equatable, Sendable {
  package var symbol: Symbol
  package var offset: UInt64
  /// `boot` or `boot+1c` (hexadecimal without prefix).
  package var text: String { offset == 0 ? symbol.name : "\(symbol.name)+\(String(offset, radix: 16))" }
}

/// Symbols by address and by name. Immutable once made.
package final class SymbolTable: Sendable {
  /// Sorted by address.
  package let symbols: [Symbol]
  /// Indices into `symbols`, sorted by name; made when a name is first looked for, as few runs of a kernel with a
  /// hundred thousand do.
  private let names = Mutex<[Int32]?>(nil)

  /// Symbols without a size are taken to reach at most this far.
  package static let unsizedReach: UInt64 = 1 << 20

  package init(_ symbols: [Symbol]) {
    func isBefore(_ a: Symbol, _ b: Symbol) -> Bool {
      a.address == b.address ? a.name < b.name : a.address < b.address
    }
    let isSorted = zip(symbols, symbols.dropFirst()).allSatisfy { !isBefore($1, $0) }
    self.symbols = isSorted ? symbols : symbols.sorted(by: isBefore)
  }

  private var byName: [Int32] {
    names.withLock { names in
      if let names { return names }
      let made = symbols.indices.map { Int32($0) }.sorted { symbols[Int($0)].name < symbols[Int($1)].name }
      names = made
      return made
    }
  }
  package static let empty = SymbolTable([])

  package var isEmpty: Bool { symbols.isEmpty }

  /// The symbol `address` lies in: the nearest one at or below it whose size covers it. Of several at the same
  /// address the largest wins, then the first by name.
  package func place(of address: UInt64) -> SymbolPlace? {
    var index = firstIndex { $0.address > address } - 1
    guard index >= 0 else { return nil }
    let start = symbols[index].address
    var best: Symbol?
    while index >= 0, symbols[index].address == start {
      let symbol = symbols[index]
      if covers(symbol, address), symbol.size >= best?.size ?? 0 { best = symbol }
      index -= 1
    }
    return best.map { SymbolPlace(symbol: $0, offset: address &- $0.address) }
  }

  private func covers(_ symbol: Symbol, _ address: UInt64) -> Bool {
    let reach = symbol.size == 0 ? Self.unsizedReach : symbol.size
    return address &- symbol.address < reach
  }

  /// `boot+1c` for an address inside a symbol, else nil.
  package func name(of address: UInt64) -> String? { place(of: address)?.text }

  /// The symbols that begin exactly at `address`, in order of name.
  package func labels(at address: UInt64) -> [Symbol] {
    let start = firstIndex { $0.address >= address }
    return Array(symbols[start...].prefix { $0.address == address })
  }

  /// The symbol called `name`; the lowest address where several are.
  package func symbol(named name: String) -> Symbol? {
    let byName = byName
    let index = firstNameIndex(atLeast: name, in: byName)
    guard index < byName.count else { return nil }
    let symbol = symbols[Int(byName[index])]
    return symbol.name == name ? symbol : nil
  }

  /// The first address in `range` at which a symbol begins.
  package func firstStart(in range: Range<UInt64>) -> UInt64? {
    let index = firstIndex { $0.address >= range.lowerBound }
    guard index < symbols.count, symbols[index].address < range.upperBound else { return nil }
    return symbols[index].address
  }

  /// Names that begin with `prefix`, sorted, without repetition, at most `limit`.
  package func completions(of prefix: String, limit: Int = 100) -> [String] {
    var result: [String] = []
    let byName = byName
    var index = firstNameIndex(atLeast: prefix, in: byName)
    while index < byName.count, result.count < limit {
      let name = symbols[Int(byName[index])].name
      guard name.hasPrefix(prefix) else { break }
      if result.last != name { result.append(name) }
      index += 1
    }
    return result
  }

  /// This table and `other` in one; a symbol both have stands once.
  package func merging(_ other: SymbolTable) -> SymbolTable {
    var result = SymbolTable(symbols + other.symbols).symbols
    var last: Symbol?
    result.removeAll { symbol in
      defer { last = symbol }
      return symbol == last
    }
    return SymbolTable(result)
  }

  private func firstIndex(where found: (Symbol) -> Bool) -> Int {
    var low = 0
    var high = symbols.count
    while low < high {
      let middle = (low + high) / 2
      if found(symbols[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }

  private func firstNameIndex(atLeast name: String, in byName: [Int32]) -> Int {
    var low = 0
    var high = byName.count
    while low < high {
      let middle = (low + high) / 2
      if symbols[Int(byName[middle])].name >= name { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
