import VMCore
import X86

/// An interrupt on its way to local APICs (SDM 3A 11.6.1).
struct InterruptMessage {
  enum Mode: UInt8 { case fixed = 0, lowestPriority = 1, smi = 2, nmi = 4, initialize = 5, startup = 6, extINT = 7 }
  var mode: Mode
  var vector: Vector
  /// Destination as an APIC id or a logical mask; FFh and FFFF_FFFFh are everybody.
  var destination: UInt32
  var isLogical: Bool
  var isLevel: Bool
}

/// What connects local APICs and the IOAPIC.
package final class APICBus {
  private let context: DeviceContext
  /// By vCPU index, which is also the APIC id.
  package internal(set) var locals: [LocalAPIC] = []
  /// Told of each EOI for a level-triggered vector.
  var onEOI: ((Vector) -> Void)?

  package init(context: DeviceContext) { self.context = context }

  /// Delivers to every local APIC the destination names. False if none was there to take it.
  @discardableResult
  func send(_ message: InterruptMessage) -> Bool {
    if message.mode == .lowestPriority { return sendLowest(message) }
    var accepted = false
    for local in locals where local.matches(message) {
      deliver(message, to: local)
      accepted = true
    }
    return accepted
  }

  /// An IPI with a shorthand instead of a destination.
  func send(_ message: InterruptMessage, from sender: LocalAPIC, shorthand: UInt32) {
    switch shorthand {
    case 1: deliver(message, to: sender)
    case 2: for local in locals where local.isEnabled { deliver(message, to: local) }
    case 3: for local in locals where local !== sender && local.isEnabled { deliver(message, to: local) }
    default: send(message)
    }
  }

  /// Lowest priority: the one that does the least important work, the first of equals.
  private func sendLowest(_ message: InterruptMessage) -> Bool {
    var chosen: LocalAPIC?
    for local in locals where local.matches(message) && local.isSoftwareEnabled {
      if let best = chosen, best.processorPriority <= local.processorPriority { continue }
      chosen = local
    }
    guard let chosen else { return false }
    chosen.request(message.vector, level: message.isLevel)
    return true
  }

  private func deliver(_ message: InterruptMessage, to local: LocalAPIC) {
    switch message.mode {
    case .fixed, .lowestPriority: local.request(message.vector, level: message.isLevel)
    case .nmi: context.request(.nmi(vcpu: local.index))
    case .initialize:
      local.initialize()
      context.request(.initialize(vcpu: local.index))
    case .startup: context.request(.startup(vcpu: local.index, vector: message.vector))
    // No system management mode; the PIC's interrupts do not travel by message.
    case .smi, .extINT: break
    }
  }
}

extension VectorSet {
  /// The highest vector in the set.
  var highest: Vector? {
    if words.3 != 0 { return UInt8(255 - words.3.leadingZeroBitCount) }
    if words.2 != 0 { return UInt8(191 - words.2.leadingZeroBitCount) }
    if words.1 != 0 { return UInt8(127 - words.1.leadingZeroBitCount) }
    if words.0 != 0 { return UInt8(63 - words.0.leadingZeroBitCount) }
    return nil
  }

  /// 32 vectors as an APIC register holds them, `index` 0...7.
  func register(_ index: Int) -> UInt32 {
    let word: UInt64
    switch index >> 1 {
    case 0: word = words.0
    case 1: word = words.1
    case 2: word = words.2
    default: word = words.3
    }
    return UInt32(truncatingIfNeeded: index & 1 == 0 ? word : word >> 32)
  }

  mutating func code(_ coder: inout StateCoder) {
    coder.code(&words.0)
    coder.code(&words.1)
    coder.code(&words.2)
    coder.code(&words.3)
  }

  /// The vectors in the set, for display.
  var text: String {
    let vectors = (0...255).filter { self[UInt8($0)] }.map { hex(UInt64($0)) }
    return vectors.isEmpty ? "none" : vectors.joined(separator: " ")
  }
}
