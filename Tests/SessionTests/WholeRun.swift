import Session

/// A run from where a session stands to where it stops by itself, as far as two runs are to be the same.
struct WholeRun: Equatable {
  /// What the guest wrote to its console.
  var output: String
  var digest: String
  var instructions: UInt64
  var stop: String

  init(of session: Session) {
    var bytes: [UInt8] = []
    session.onConsoleOutput { bytes += $0 }
    _ = session.perform("continue")
    let snapshot = session.currentSnapshot()
    output = String(decoding: bytes, as: UTF8.self)
    digest = session.digest()
    instructions = snapshot.instructionCount
    stop = snapshot.stopSentence
  }
}
