import Session
import TerminalUI
import X86

/// The first row: what runs, where, how fast. Parts give way by importance; it never overflows.
package enum StatusLine {
  private struct Part {
    var text: String
    var role: StyleRole = .status
    /// What follows in the line's own style: its numbers change with every exit, and a style of their own is long.
    var rest = ""
    /// The lowest goes first.
    var importance: Int
    /// The same during all of a run.
    var isSteady = false
  }

  /// `RUNNING`, `STOPPED`, ...
  private static func phaseWord(_ snapshot: SessionSnapshot) -> String {
    switch snapshot.phase {
    case .created: "READY"
    case .running: "RUNNING"
    case .paused: snapshot.replay == nil ? "STOPPED" : "REPLAY"
    case .idle: "IDLE"
    case .ended(let status): "ENDED \(status)"
    }
  }

  /// ` #1842 IO` and the like, behind the word.
  private static func phaseReason(_ snapshot: SessionSnapshot) -> String {
    snapshot.phase == .paused ? reasonText(snapshot) : ""
  }

  private static func reasonText(_ snapshot: SessionSnapshot) -> String {
    switch snapshot.stop {
    case .breakpoint(let number): " breakpoint \(number)"
    case .exit(let reason): " #\(snapshot.exits.last?.sequence ?? 0) \(reason.label)"
    case .hypercall(let number): " hypercall \(snapshot.stopHypercall ?? Format.hex(number) + "h")"
    case .interrupt(let vector): " interrupt \(Format.hex(UInt64(vector), 2))h"
    case .exception(let vector): " \(Exception(rawValue: vector)?.mnemonic ?? "exception \(vector)")"
    case .tripleFault: " triple fault"
    case .unknownInstruction: " unknown instruction"
    case .haltedForGood: " halted"
    case .limit: " limit"
    case .error: " error"
    case .entryFailed: " entry failed"
    case .wentBack: " back"
    case .created, .pause, .step, .shutdown, .reset, .guestExit: ""
    }
  }

  /// A guest given by path is known by its last part; the log has the whole.
  private static func fileName(_ name: String) -> String { name.split(separator: "/").last.map(String.init) ?? name }

  private static func parts(_ snapshot: SessionSnapshot, count: Int?, quiet: Bool, animation: Int?) -> [Part] {
    let state = snapshot.vcpu
    let running = snapshot.isLive
    let phaseRole: StyleRole = running ? .statusRunning : .statusStopped
    let shown: [Part?] = [
      Part(text: "\(snapshot.technique)/\(snapshot.engine)", importance: 70, isSteady: true),
      Part(text: fileName(snapshot.guestName), importance: 50, isSteady: true),
      snapshot.machineName.map { Part(text: $0, importance: 42, isSteady: true) },
      snapshot.replay.map { Part(text: "event \(Format.grouped($0.position))/\(Format.grouped($0.events))", importance: 91) },
      snapshot.replay.flatMap { $0.complaint == nil ? nil : Part(text: "DAMAGED", role: .statusRunning, importance: 93) },
      Part(
        text: "vcpu \(snapshot.currentVCPU)/\(snapshot.vcpus.count)", importance: snapshot.vcpus.count > 1 ? 80 : 40,
        isSteady: true),
      Part(text: "\(state.mode.name) CPL\(state.cpl)", importance: 90),
      Part(
        text: phaseWord(snapshot) + (quiet ? " (not drawn)" : ""), role: phaseRole, rest: phaseReason(snapshot), importance: 100),
    ]
    var parts = shown.compactMap { $0 }
    if let recording = snapshot.recording {
      let size = Format.bytes(recording.bytes)
      parts.append(Part(text: recording.failed ? "REC FAILED" : "REC \(size)", role: .statusRunning, importance: 92))
    }
    if let count, count > 9 { parts.append(Part(text: "count \(count)", role: .helpKey, importance: 95)) }
    if let animation { parts.append(Part(text: "ANIMATION \(animation)/s", role: .statusRunning, importance: 96)) }
    if running {
      if snapshot.countsInstructions {
        parts.append(Part(text: "\(Format.fixed(snapshot.mips, 1)) MIPS", importance: 65))
      }
      parts.append(Part(text: "\(Format.short(snapshot.exitsPerSecond)) ex/s", importance: 58))
    }
    // Digits that nobody can read while they whirl are left out until the guest stands.
    func counted(_ number: UInt64) -> String { running ? Format.short(Double(number)) : Format.grouped(number) }
    parts.append(Part(text: "exits \(counted(snapshot.exitCount))", importance: 55))
    let count = snapshot.countsInstructions ? counted(snapshot.instructionCount) : SessionSnapshot.notCounted
    parts.append(Part(text: "icount \(count)", importance: snapshot.countsInstructions ? 60 : 25))
    if let note = snapshot.engineNote { parts.append(Part(text: note, importance: 35)) }
    parts.append(Part(text: "t \(Format.duration(snapshot.virtualTime))", importance: 45))
    if snapshot.droppedEvents > 0 {
      parts.append(Part(text: "\(Format.short(Double(snapshot.droppedEvents))) not shown", importance: 30))
    }
    return parts
  }

  /// Columns kept for what changes while the guest goes on: mode, why it stands, instruction count.
  private static let keptForChanges = "PROT32 CPL0 | STOPPED breakpoint 1 | icount 999,999,999".utf8.count

  /// A steady part of less importance gives way like those that change.
  private static let dispensable = 45
  /// And needs room for the exits, too.
  private static let keptForExits = " | exits 9,999".utf8.count

  /// Without the steady parts that have no room beside what changes: so those shown stay where they are all the time.
  private static func settled(_ parts: [Part], width: Int) -> [Part] {
    var left = width - 2 - keptForChanges
    let steady = parts.indices.filter { parts[$0].isSteady }.sorted { parts[$0].importance > parts[$1].importance }
    let dropped = steady.filter { index in
      let needed = CharacterWidth.of(parts[index].text) + 3
      let fits = left >= needed + (parts[index].importance < dispensable ? keptForExits : 0)
      if fits { left -= needed }
      return !fits
    }
    return parts.indices.filter { !dropped.contains($0) }.map { parts[$0] }
  }

  /// The part that gives way next: the steady ones only where what must be seen has no room otherwise.
  private static func leastNeeded(_ parts: [Part]) -> Int? {
    let changing = parts.indices.filter { index in
      let part = parts[index]
      return part.importance < 90 && (!part.isSteady || part.importance < dispensable)
    }
    return (changing.isEmpty ? Array(parts.indices) : changing).min { parts[$0].importance < parts[$1].importance }
  }

  package static func draw(
    _ snapshot: SessionSnapshot, count: Int?, quiet: Bool, animation: Int? = nil, on canvas: Canvas
  ) {
    canvas.fill(.status)
    var parts = settled(parts(snapshot, count: count, quiet: quiet, animation: animation), width: canvas.width)
    func width() -> Int { parts.reduce(parts.count * 3 - 1) { $0 + CharacterWidth.of($1.text + $1.rest) } }
    while parts.count > 1, width() > canvas.width, let least = leastNeeded(parts) { parts.remove(at: least) }
    var x = 1
    for (index, part) in parts.enumerated() {
      if index > 0 {
        canvas.put(canvas.glyphs.vertical, x: x, y: 0, .status)
        x += 2
      }
      canvas.fitted(part.text, x: x, y: 0, part.role)
      x += CharacterWidth.of(part.text)
      canvas.fitted(part.rest, x: x, y: 0, .status)
      x += CharacterWidth.of(part.rest) + 1
    }
  }
}
