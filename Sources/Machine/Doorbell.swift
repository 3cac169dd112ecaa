import VMCore
import X86

/// Carries out the calls of `HypercallABI`.
final class Doorbell {
  private let context: DeviceContext
  private let memory: GuestMemory

  init(context: DeviceContext, memory: GuestMemory) {
    self.context = context
    self.memory = memory
  }

  /// A port exit at the doorbell.
  func ring(_ exit: VMExit, on vcpu: any VCPU) -> VMEntry.Action {
    guard case .io(_, let size, true, _, _, let value) = exit.qualification else {
      return .complete(HypercallABI.version)
    }
    let isLong = vcpu.state.mode == .long64
    let width: UInt64 = isLong ? .max : 0xFFFF_FFFF
    let number = value & PortBus.ones(size)
    let first = vcpu.gpr(.rbx) & width
    let second = vcpu.gpr(.rcx) & width
    let result = UInt64(bitPattern: call(number, first, second, vcpu)) & width
    vcpu.setGPR(.rax, result)
    context.emit(.hypercall, a: UInt32(truncatingIfNeeded: number), b: result, c: first, d: second)
    return .complete(0)
  }

  private func call(_ number: UInt64, _ first: UInt64, _ second: UInt64, _ vcpu: any VCPU) -> Int64 {
    switch HypercallABI.Call(rawValue: number) {
    case .probe: return Int64(HypercallABI.version)
    case .consoleWrite: return consoleWrite(first, min(second, HypercallABI.writeLimit), vcpu)
    case .yield:
      context.request(.yield)
      return 0
    case .shutdown:
      let status = Int32(first & 0xFF)
      context.request(status == 0 ? .shutdown : .exit(status: status))
      return 0
    case .getTime: return Int64(context.now)
    case .mapQuery:
      return vcpu.translate(GVA(first)).map { Int64(bitPattern: $0.value) } ?? HypercallABI.fault
    case nil: return HypercallABI.noSuchCall
    }
  }

  /// Pointers are hostile: each page is translated by itself, and the first that is not there ends it.
  private func consoleWrite(_ pointer: UInt64, _ length: UInt64, _ vcpu: any VCPU) -> Int64 {
    var done: UInt64 = 0
    while done < length {
      let address = pointer &+ done
      let count = min(length - done, 4096 - (address & 4095))
      guard let target = vcpu.translate(GVA(address)) else { break }
      var piece = [UInt8](repeating: 0, count: Int(count))
      guard piece.withUnsafeMutableBytes({ memory.read(target, into: $0) }) else { break }
      for byte in piece { context.writeConsole(byte) }
      done += count
    }
    return done == 0 && length > 0 ? HypercallABI.fault : Int64(done)
  }
}
