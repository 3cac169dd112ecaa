import Paravirtual
import VMCore

/// The page types worked out again from nothing but memory: what the platform's counts must equal.
struct ShadowModel {
  let bench: XenBench
  private let monitorPages: [UInt64: [UInt8?]]

  /// Remembers the monitor's frames as they are now.
  init(_ bench: XenBench) {
    self.bench = bench
    monitorPages = Dictionary(uniqueKeysWithValues: Self.kept(bench).map { ($0, bench.memory.readBytes(GPA($0 << 12), count: 4096)) })
  }

  /// The monitor's frames that never change: not shared_info, the GDT's mapping, nor the machine-to-physical table,
  /// which the guest may write for frames of its own.
  private static func kept(_ bench: XenBench) -> [UInt64] {
    let machine = bench.xen.tables.layout
    return (0..<12).filter { $0 != 3 && $0 != machine.sharedInfo && $0 < machine.machineL1 + 1 }
  }

  /// The first rule that is broken; nil where all hold.
  func problem() -> String? {
    let tables = bench.xen.tables
    let machine = tables.layout
    var counts = [UInt32](repeating: 0, count: tables.frames.count)
    func refer(_ mfn: UInt64, as type: FrameType, from: String) -> String? {
      guard mfn < machine.frameCount else { return "\(from) refers to frame \(mfn), which is none" }
      counts[Int(mfn)] += 1
      let frame = tables.frames[Int(mfn)]
      guard frame.owner != .monitor else { return "\(from) refers to the monitor's frame \(mfn)" }
      return frame.type == type ? nil : "\(from) refers to frame \(mfn) as \(type), which is \(frame.type)"
    }
    for (mfn, frame) in tables.frames.enumerated() where frame.count > 0 {
      if frame.isPinned { counts[mfn] += 1 }
      let level = [.l1, .l2, .l3, .l4].firstIndex(of: frame.type).map { $0 + 1 } ?? 0
      guard level > 0 else { continue }
      for index in 0..<512 as Range<UInt64> {
        let entry = bench.entry(UInt64(mfn), index)
        let from = "\(frame.type) \(mfn)[\(index)]"
        if level == 4, (256...271).contains(index) {
          let expected: UInt64 = index == 256 ? machine.machineL3 : index == 260 ? 1 : 0
          guard entry >> 12 & 0xFF_FFFF_FFFF == expected else { return "\(from) is not the monitor's" }
          continue
        }
        guard entry & 1 != 0 else { continue }
        let target = entry >> 12 & 0xFF_FFFF_FFFF
        if level > 1 {
          if let problem = refer(target, as: [.none, .l1, .l2, .l3][level - 1], from: from) { return problem }
        } else if entry & 2 != 0 {
          if let problem = refer(target, as: .writable, from: from) { return problem }
        } else {
          guard target < machine.frameCount, tables.frames[Int(target)].owner != .monitor else {
            return "\(from) maps frame \(target)"
          }
        }
      }
    }
    for mfn in bench.xen.heldFrames { counts[Int(mfn)] += 1 }
    for (mfn, frame) in tables.frames.enumerated() where frame.count != counts[mfn] {
      return "frame \(mfn) (\(frame.type)) counts \(frame.count) references, and has \(counts[mfn])"
    }
    for (mfn, page) in monitorPages where bench.memory.readBytes(GPA(mfn << 12), count: 4096) != page {
      return "the monitor's frame \(mfn) was written"
    }
    return nil
  }
}
