import Session
import TerminalUI
import VMCore

extension MemoryPane {
  /// Every key while bytes are being changed.
  func handleInEdit(_ key: Key, _ snapshot: SessionSnapshot) -> PaneResponse {
    guard !snapshot.isLive else {
      edit.end()
      return .say("the guest runs: editing has ended")
    }
    if key.modifiers.isEmpty, moveByKey(key.code, snapshot) { return .handled }
    switch key.code {
    case .escape, .enter, .insert:
      edit.end()
      return .handled
    case .character("u"), .backspace: return takeBack()
    case .character(let scalar):
      guard key.modifiers.isEmpty, let digit = UInt8(String(scalar), radix: 16) else {
        return .say("hex digits change the byte, arrows move, u takes back, Esc ends editing")
      }
      return type(digit, snapshot)
    default: return .say("hex digits change the byte, arrows move, u takes back, Esc ends editing")
    }
  }

  private func type(_ digit: UInt8, _ snapshot: SessionSnapshot) -> PaneResponse {
    guard let here = cursor, let place = space.physical(here, snapshot),
      let old = snapshot.memory.readBytes(place, count: 1).first ?? nil
    else {
      edit.moved()
      return .say("there is no memory at \(Format.hex(cursor ?? 0))h to change")
    }
    guard let byte = edit.type(digit) else { return .handled }
    edit.note(MemoryEdit.Change(place: place.value, cursor: here, old: old, new: byte))
    _ = moveByKey(.right, snapshot)
    return .perform(MemoryEdit.command(place.value, byte))
  }

  func takeBack() -> PaneResponse {
    guard let change = edit.takeBack() else { return .say("nothing to take back") }
    show(change.cursor)
    return .perform(MemoryEdit.command(change.place, change.old))
  }
}
