import Session

/// What the console needs of a session: commands and keys going down, snapshots coming up.
package protocol SessionFacade: AnyObject {
  /// The newest snapshot.
  var snapshot: SessionSnapshot { get }
  /// Readable when there is a snapshot not yet acknowledged.
  var changeDescriptor: Int32 { get }
  func acknowledgeChange()
  /// The newest snapshot shows what all commands so far led to.
  var hasAnswered: Bool { get }
  /// Asks a running guest's thread for a fresh snapshot.
  func requestSnapshot()
  /// Puts a command into the mailbox; its answer comes as messages of a later snapshot.
  func submit(_ line: String)
  /// The same for a command a key stands for: it is not a line of the history.
  func submitKey(_ line: String)
  func pause()
  /// Bytes for the guest's serial console.
  func typeToGuest(_ bytes: [UInt8])
  /// What the last word of `line` could be, each a whole replacement for that word.
  func completions(for line: String) -> [String]
  /// Commands of earlier times, oldest first.
  var history: [String] { get }
}

extension SessionFacade {
  package var hasAnswered: Bool { true }
  package func submitKey(_ line: String) { submit(line) }
}
