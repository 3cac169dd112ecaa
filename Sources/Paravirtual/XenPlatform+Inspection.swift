import VMCore
import X86

/// The domain's state for display.
extension XenPlatform {
  package var inspection: [DeviceInspection] {
    [domainInspection, eventInspection, timerInspection, trapInspection]
  }

  private var domainInspection: DeviceInspection {
    let rows: [(name: String, value: String)] = [
      ("mode", domain.isKernel ? "kernel" : "user"),
      ("kernel L4", "mfn \(hex(domain.kernelRoot))"),
      ("user L4", domain.userRoot == 0 ? "none" : "mfn \(hex(domain.userRoot))"),
      ("kernel stack", "\(hex(UInt64(domain.kernelStackSelector))):\(hex(domain.kernelStack))"),
      ("gdt", "\(domain.gdtEntries) entries in \(domain.gdtFrames.map(hex).joined(separator: " "))"),
      ("iopl", "\(domain.iopl)"),
      ("vcpu_info", hex(domain.vcpuInfo)),
      ("upcall mask", "\(upcallMask)"),
      ("hypercalls", "\(domain.hypercallCount)"),
      ("upcalls", "\(domain.upcallCount)"),
      ("emulated", "\(domain.emulatedCount)"),
      ("page tables", isTrusting ? "trusted: nothing is checked" : "checked"),
    ]
    return DeviceInspection(device: "domain", rows: rows)
  }

  private var eventInspection: DeviceInspection {
    let page = GPA(tables.layout.sharedInfo << 12)
    let pending = memory.load(page + SharedInfo.pending, as: UInt64.self) ?? 0
    let mask = memory.load(page + SharedInfo.mask, as: UInt64.self) ?? 0
    let bound = (0..<Self.portCount).filter { binding($0) != .closed }
    return DeviceInspection(
      device: "event channels", rows: [("ABI", usesFIFO ? "FIFO" : "two-level")] + bound.map { ("port \($0)", portWords($0)) },
      role: .interruptController,
      bitmaps: [
        InspectionBitmap("pending", word: pending, count: 24, lines: bound.last.map { (0...max($0, 23)).map(portWords) } ?? []),
        InspectionBitmap("mask", word: mask, count: 24),
      ])
  }

  private func portWords(_ port: Int) -> String {
    switch binding(port) {
    case .closed: "closed"
    case .unbound: "unbound"
    case .console: "console"
    case .store: "xenstore"
    case .virq: "virq \(domain.interrupts[port])" + (domain.interrupts[port] == 0 ? " (timer)" : "")
    case .ipi: "ipi"
    }
  }

  private var timerInspection: DeviceInspection {
    let rows: [(name: String, value: String)] = [
      ("singleshot", domain.singleshot == .max ? "stopped" : "\(domain.singleshot) ns"),
      ("period", domain.period == 0 ? "stopped" : "\(domain.period) ns"),
    ]
    return DeviceInspection(device: "xen timer", rows: rows, role: .timer)
  }

  private var trapInspection: DeviceInspection {
    var rows: [(name: String, value: String)] = []
    for (vector, handler) in domain.traps.enumerated() where handler.address != 0 && vector < 32 {
      let name = Exception(rawValue: UInt8(vector))?.mnemonic ?? "trap \(vector)"
      let masks = handler.masksEvents ? ", events masked" : ""
      rows.append((name, "\(hex(handler.address)) ring \(handler.ring)\(masks), \(domain.bounceCounts[vector]) so far"))
    }
    for (name, callback) in [("event", domain.event), ("syscall", domain.syscall), ("failsafe", domain.failsafe)]
    where callback.address != 0 {
      rows.append((name, hex(callback.address)))
    }
    return DeviceInspection(device: "trap table", rows: rows)
  }

  // MARK: Reports

  /// start_info, field by field.
  package var startInfoRows: [(name: String, value: String)] {
    let page = builder.machineAddress(builder.layout.startInfo)
    func word(_ offset: UInt64) -> UInt64 { memory.load(page + offset, as: UInt64.self) ?? 0 }
    func half(_ offset: UInt64) -> UInt64 { memory.load(page + offset, as: UInt32.self).map { UInt64($0) } ?? 0 }
    let line = memory.readBytes(page + StartInfo.commandLine, count: StartInfo.commandLineSize).prefix { ($0 ?? 0) != 0 }
    return [
      ("address", hex(builder.startInfoAddress)), ("nr_pages", hex(word(StartInfo.pageCount))),
      ("shared_info", hex(word(StartInfo.sharedInfo))), ("flags", hex(half(StartInfo.flags))),
      ("store_mfn", hex(word(StartInfo.storeFrame))), ("store_evtchn", "\(half(StartInfo.storePort))"),
      ("console mfn", hex(word(StartInfo.consoleFrame))), ("console evtchn", "\(half(StartInfo.consolePort))"),
      ("pt_base", hex(word(StartInfo.pageTableBase))), ("nr_pt_frames", hex(word(StartInfo.pageTableFrames))),
      ("mfn_list", hex(word(StartInfo.frameList))), ("mod_start", hex(word(StartInfo.moduleStart))),
      ("mod_len", hex(word(StartInfo.moduleLength))), ("first_p2m_pfn", hex(word(StartInfo.firstP2M))),
      ("nr_p2m_frames", hex(word(StartInfo.p2mFrames))),
      ("cmd_line", String(decoding: line.map { $0 ?? 0 }, as: UTF8.self)),
    ]
  }

  /// What is known of a machine frame.
  package func frameRows(_ mfn: UInt64) -> [(name: String, value: String)] { frameView.rows(mfn) }
}

extension XenPlatform {
  /// The guest's kernel runs, not one of its programs.
  package var isKernel: Bool { domain.isKernel }

  /// What the guest said by console_io, the newest of it.
  package var logLines: [String] {
    String(decoding: domain.log, as: UTF8.self).split(separator: "\n").map { String($0) }
  }
}

extension XenPlatform {
  /// Frames that the domain's own state keeps in their types, one for each reference: what their counts hold beyond
  /// table entries and pins.
  package var heldFrames: [UInt64] {
    var frames = [domain.kernelRoot, domain.consoleFrame, domain.storeFrame, tables.layout.sharedInfo]
    if domain.userRoot != 0 { frames.append(domain.userRoot) }
    if domain.vcpuInfo >> 12 != tables.layout.sharedInfo { frames.append(domain.vcpuInfo >> 12) }
    if usesFIFO { frames.append(domain.fifo.control >> 12) }
    return frames + domain.gdtFrames + domain.fifo.pages
  }
}
