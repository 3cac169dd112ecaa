import VMCore

/// A name for a range of guest addresses.
package struct Symbol: Equatable, Sendable {
  package var name: String
  package var address: UInt64
  /// In bytes; 0 where the file does not say (then it reaches to the next symbol).
  package var size: UInt64
  package init(name: String, address: UInt64, size: UInt64) {
    self.name = name
    self.address = address
    self.size = size
  }
}

/// Symbols by address and by name. Immutable once made.
package final class SymbolTable: Sendable {
  /// Sorted by address.
  package let symbols: [Symbol]

  package init(_ symbols: [Symbol]) { self.symbols = symbols.sorted { ($0.address, $0.name) < ($1.address, $1.name) } }
  package static let empty = SymbolTable([])
}
