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
      ("ABI", abi.is32Bit ? "x86_32p: 32 bits, ring 1, PAE, INT 82h" : "x86_64: 64 bits, ring 3, SYSCALL"),
      ("kernel \(abi.is32Bit ? "L3" : "L4")", "mfn \(hex(domain.kernelRoot))"),
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
      ("isolation", isolationWords),
    ]
    return DeviceInspection(device: "domain", rows: rows)
  }

  /// What the checks have cost so far, or that there are none.
  private var isolationWords: String {
    let costs = tables.costs
    if isTrusting { return "\(costs.updates) updates as the guest wanted them (--trusting)" }
    return "\(costs.updates) updates, \(costs.references) references counted, \(costs.tables) tables of "
      + "\(costs.entries) entries validated"
  }

  private var eventInspection: DeviceInspection {
    let page = GPA(tables.layout.sharedInfo << 12)
    let pending = memory.load(page + abi.sharedInfo.pending, as: UInt64.self) ?? 0
    let mask = memory.load(page + abi.sharedInfo.mask, as: UInt64.self) ?? 0
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
    case .disk: "disk, \(domain.block.requestCount) requests"
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
    let at = abi.startInfo
    func word(_ offset: UInt64) -> UInt64 { loadWord(page + offset) }
    func half(_ offset: UInt64) -> UInt64 { memory.load(page + offset, as: UInt32.self).map { UInt64($0) } ?? 0 }
    let line = memory.readBytes(page + at.commandLine, count: StartInfo.commandLineSize).prefix { ($0 ?? 0) != 0 }
    return [
      ("address", hex(builder.startInfoAddress)), ("nr_pages", hex(word(at.pageCount))),
      ("shared_info", hex(word(at.sharedInfo))), ("flags", hex(half(at.flags))),
      ("store_mfn", hex(word(at.storeFrame))), ("store_evtchn", "\(half(at.storePort))"),
      ("console mfn", hex(word(at.consoleFrame))), ("console evtchn", "\(half(at.consolePort))"),
      ("pt_base", hex(word(at.pageTableBase))), ("nr_pt_frames", hex(word(at.pageTableFrames))),
      ("mfn_list", hex(word(at.frameList))), ("mod_start", hex(word(at.moduleStart))),
      ("mod_len", hex(word(at.moduleLength))), ("first_p2m_pfn", hex(word(at.firstP2M))),
      ("nr_p2m_frames", hex(word(at.p2mFrames))),
      ("cmd_line", String(decoding: line.map { $0 ?? 0 }, as: UTF8.self)),
    ]
  }

  /// What is known of a machine frame.
  package func frameRows(_ mfn: UInt64) -> [(name: String, value: String)] { frameView.rows(mfn) }
}

extension XenPlatform {
  /// The guest's kernel runs, not one of its programs; in 32 bits as of the last exit.
  package var isKernel: Bool { domain.isKernel }

  /// An exit of a 32-bit guest's kernel by INT 82h.
  package func isHypercall(_ exit: VMExit) -> Bool {
    abi.is32Bit && domain.isKernel && exit.qualification == .softwareInterrupt(vector: XenABI.hypercallVector)
  }

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
    let lent = tables.layout.sharedFrames.filter { $0 != tables.layout.sharedInfo }
    return frames + domain.gdtFrames + domain.ldtFrames + domain.fifo.pages + lent
  }
}
