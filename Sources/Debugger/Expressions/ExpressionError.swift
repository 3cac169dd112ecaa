/// What is wrong with an expression, where, and what was meant.
package struct ExpressionError: Error, Equatable, Sendable, CustomStringConvertible {
  /// Column of the offending text, from 1; 0 where the expression is right but cannot be evaluated now.
  package var column: Int
  /// One line without the column.
  package var message: String
  /// The known name nearest to one that is not known.
  package var nearest: String?

  package init(column: Int, message: String, nearest: String? = nil) {
    self.column = column
    self.message = message
    self.nearest = nearest
  }

  /// What was typed, as far as a person needs it to see what is meant.
  package static func brief(_ text: String) -> String {
    let most = 40
    return text.count > most ? text.prefix(most - 1) + "…" : text
  }

  package var description: String {
    let place = column > 0 ? "column \(column): " : ""
    return place + message + (nearest.map { "; did you mean '\($0)'?" } ?? "")
  }
}

/// What the condition of a breakpoint may ask about the event that is being judged.
package enum EventField: String, CaseIterable, Hashable, Sendable {
  case port, value, msr, nr, gpa, gva, size, vector, reason, write, cr, leaf, error, hits, icount, time
  /// A hypercall's arguments, in the ABI's order.
  case arg0, arg1, arg2, arg3, arg4

  /// Which argument of a hypercall it is; nil for the others.
  package var argumentIndex: Int? {
    switch self {
    case .arg0: 0
    case .arg1: 1
    case .arg2: 2
    case .arg3: 3
    case .arg4: 4
    default: nil
    }
  }
}
