import VMCore

/// Owner, type and references of every machine frame at one moment, and the tables that refer to them.
package struct FrameView: Sendable {
  package let layout: MachineLayout
  package let frames: [Frame]
  private let memory: GuestMemory

  init(_ tables: PageTables) {
    (layout, frames, memory) = (tables.layout, tables.frames, tables.memory)
  }

  package func frame(_ mfn: UInt64) -> Frame? { mfn < layout.frameCount ? frames[Int(mfn)] : nil }

  /// What is known of a machine frame.
  package func rows(_ mfn: UInt64) -> [(name: String, value: String)] {
    guard let frame = frame(mfn) else { return [("mfn \(hex(mfn))", "no such frame")] }
    return [
      ("mfn", hex(mfn)), ("pfn", layout.pseudoFrame(mfn).map(hex) ?? "none: the monitor's"),
      ("owner", "\(frame.owner)"), ("type", frame.type.name), ("references", "\(frame.count)"),
      ("pinned", frame.isPinned ? "yes" : "no"),
    ] + mappers(of: mfn).map { ("in", $0) }
  }

  /// Frames that are tables or descriptor pages, ascending.
  package var tables: [(mfn: UInt64, frame: Frame)] {
    frames.indices.filter { frames[$0].type.level > 0 || frames[$0].type == .descriptors }.map { (UInt64($0), frames[$0]) }
  }

  /// How many frames of an owner have a type.
  package func count(_ owner: FrameOwner, _ type: FrameType) -> Int {
    frames.count { $0.owner == owner && $0.type == type }
  }

  private static let mostMappers = 16

  /// The entries that refer to a frame: "L1 table mfn 1234[17] rw".
  private func mappers(of mfn: UInt64) -> [String] {
    var found: [String] = []
    for (table, frame) in tables where frame.type.level > 0 && frame.count > 0 {
      for index in 0..<512 as Range<UInt64> {
        guard let entry = memory.load(GPA(table << 12 | index << 3), as: UInt64.self), entry & XenABI.present != 0,
          XenABI.frame(entry) == mfn
        else { continue }
        found.append("\(frame.type.name) mfn \(hex(table))[\(index)] \(entry & XenABI.writable != 0 ? "rw" : "ro")")
        if found.count == Self.mostMappers { return found }
      }
    }
    return found
  }

  private func hex(_ value: UInt64) -> String { String(value, radix: 16) + "h" }
}

extension XenPlatform {
  package var frameView: FrameView { FrameView(tables) }
}
