import Glibc
import Paravirtual
import VMCore

/// The page types worked out again from nothing but memory: what the platform's counts must equal.
struct ShadowModel {
  let bench: XenBench
  /// All frames before the domain's.
  private let monitorMemory: [UInt8]

  /// Remembers the monitor's frames as they are now.
  init(_ bench: XenBench) {
    self.bench = bench
    monitorMemory = Self.monitorBytes(bench).map { [UInt8]($0) } ?? []
  }

  private static func monitorBytes(_ bench: XenBench) -> UnsafeMutableRawBufferPointer? {
    bench.memory.ram(GPA(0), count: Int(bench.xen.tables.layout.firstDomainFrame) << 12)
  }

  /// The monitor's frames that never change: not shared_info, the GDT's mapping (3), nor those behind the
  /// machine-to-physical table, which the guest may write for frames of its own.
  private static func kept(_ bench: XenBench) -> [UInt64] {
    let machine = bench.xen.tables.layout
    return (0..<machine.firstDomainFrame).filter {
      $0 != 3 && !machine.sharedFrames.contains($0) && !machinePages(bench).contains($0)
    }
  }

  /// The frames of the machine-to-physical table, behind its one L1 table.
  private static func machinePages(_ bench: XenBench) -> Range<UInt64> {
    let machine = bench.xen.tables.layout
    let size = (machine.frameCount * bench.abi.wordSize + 4095) / 4096
    return machine.machineL1 + 1..<machine.machineL1 + 1 + size
  }

  /// Where the monitor's slots of a table lead, worked out from the layout alone; nil for a slot of the guest's.
  private func monitorTarget(_ type: FrameType, _ index: UInt64) -> UInt64? {
    let machine = bench.xen.tables.layout
    if type == .l4, (256...271).contains(index) { return index == 256 ? machine.machineL3 : index == 260 ? 1 : 0 }
    guard type == .l2Top, index >= 428 else { return nil }
    // 16 MiB of memory: one table maps the machine-to-physical table.
    return index == 428 ? machine.machineL1 : index == 440 ? 3 : 0
  }

  /// What an entry of a table refers to.
  private func child(_ type: FrameType, _ index: UInt64) -> FrameType {
    switch type {
    case .l4: .l3
    case .l3: bench.abi.is32Bit && index == 3 ? .l2Top : .l2
    default: .l1
    }
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
      guard frame.type.level > 0 else { continue }
      let count: UInt64 = frame.type == .l3 && bench.abi.is32Bit ? 4 : 512
      for index in 0..<count {
        let entry = bench.entry(UInt64(mfn), index)
        let from = "\(frame.type) \(mfn)[\(index)]"
        if let expected = monitorTarget(frame.type, index) {
          guard entry >> 12 & 0xFF_FFFF_FFFF == expected else { return "\(from) is not the monitor's" }
          continue
        }
        if bench.abi.is32Bit, frame.type == .l3, entry & 0xFFF0_0000_0000_01FE != 0, entry & 1 != 0 {
          return "\(from) has bits the processor keeps for itself: \(String(entry, radix: 16))h"
        }
        guard entry & 1 != 0 else { continue }
        let target = entry >> 12 & 0xFF_FFFF_FFFF
        if frame.type.level > 1 {
          if let problem = refer(target, as: child(frame.type, index), from: from) { return problem }
        } else if entry & 2 != 0 {
          if let problem = refer(target, as: .writable, from: from) { return problem }
        } else {
          guard target < machine.frameCount, tables.frames[Int(target)].owner != .monitor else {
            return "\(from) maps frame \(target)"
          }
        }
      }
    }
    if let problem = descriptorProblem() { return problem }
    for mfn in bench.xen.heldFrames { counts[Int(mfn)] += 1 }
    for (mfn, frame) in tables.frames.enumerated() where frame.count != counts[mfn] {
      return "frame \(mfn) (\(frame.type)) counts \(frame.count) references, and has \(counts[mfn])"
    }
    return writtenFrameProblem() ?? monitorNumberProblem() ?? descriptorMapProblem()
  }

  private func writtenFrameProblem() -> String? {
    monitorMemory.withUnsafeBytes { before in
      guard let now = Self.monitorBytes(bench)?.baseAddress, let old = before.baseAddress else { return "the monitor has no frames" }
      let written = Self.kept(bench).first { memcmp(now + (Int($0) << 12), old + (Int($0) << 12), 4096) != 0 }
      return written.map { "the monitor's frame \($0) was written" }
    }
  }

  /// The monitor's frames have no pseudo-physical number, whatever the guest says of its own.
  private func monitorNumberProblem() -> String? {
    let start = GPA(Self.machinePages(bench).lowerBound << 12)
    let none: UInt64 = bench.abi.is32Bit ? 0xFFFF_FFFF : .max
    for mfn in 0..<bench.xen.tables.layout.firstDomainFrame {
      let place = start + mfn * bench.abi.wordSize
      let number = bench.abi.is32Bit
        ? bench.memory.load(place, as: UInt32.self).map { UInt64($0) } : bench.memory.load(place, as: UInt64.self)
      guard number == none else { return "the monitor's frame \(mfn) has the number \(number ?? 0)" }
    }
    return nil
  }

  /// What the guest finds at the GDT's and LDT's addresses are its own descriptor pages, the monitor's one and zeros; at
  /// the LDT's nothing before it has one.
  private func descriptorMapProblem() -> String? {
    for index in 0..<32 as Range<UInt64> {
      let entry = bench.entry(3, index)
      if index >= 16, entry == 0 { continue }
      let target = entry >> 12 & 0xFF_FFFF_FFFF
      let isMonitors = index == 14 ? target == 4 : target == 5
      let isGuests = target < UInt64(bench.xen.tables.frames.count) && index != 14
        && bench.xen.tables.frames[Int(target)].type == .descriptors && bench.xen.tables.frames[Int(target)].count > 0
      guard entry & 4 == 0, isMonitors || isGuests else { return "descriptor map entry \(index) is \(String(entry, radix: 16))h" }
    }
    return nil
  }

  /// No descriptor page holds ring 0, a system segment, or in 32 bits a segment that reaches the monitor.
  private func descriptorProblem() -> String? {
    for (mfn, frame) in bench.xen.tables.frames.enumerated() where frame.count > 0 && frame.type == .descriptors {
      for index in 0..<512 as Range<UInt64> {
        let entry = bench.entry(UInt64(mfn), index)
        guard entry >> 47 & 1 != 0, entry >> 40 & 0x1F != 0 else { continue }
        let from = "descriptor \(index) of frame \(mfn), \(String(entry, radix: 16))h,"
        guard entry >> 44 & 1 != 0, entry >> 45 & 3 != 0 else { return "\(from) is the system's, or ring 0's" }
        guard bench.abi.is32Bit else { continue }
        let base = entry >> 16 & 0xFF_FFFF | (entry >> 56) << 24
        let units = entry & 0xFFFF | (entry >> 48 & 0xF) << 16
        let limit = entry >> 55 & 1 != 0 ? units << 12 | 0xFFF : units
        guard base + limit <= 0xF67F_FFFF else { return "\(from) reaches the monitor" }
      }
    }
    return nil
  }
}
