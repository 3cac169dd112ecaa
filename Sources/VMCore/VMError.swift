/// What the host or the person got wrong: what happened, and what to do about it.
package struct VMError: Error, Sendable, CustomStringConvertible {
  package enum Code: Sendable {
    case usage, image, host, unavailable, session
  }
  package var code: Code
  /// One line, naming the file, field or thing and what was expected.
  package var message: String
  /// What the person can do, or nil where nothing helps.
  package var remedy: String?

  package init(_ code: Code, _ message: String, remedy: String? = nil) {
    self.code = code
    self.message = message
    self.remedy = remedy
  }

  package var description: String { remedy.map { "\(message) (\($0))" } ?? message }
}
