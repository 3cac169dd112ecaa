import VMCore

/// The 64 KiB of port space. Claiming a port is separate from being a device; a port nobody claims
/// reads all ones and says so in an event.
///
/// An access as wide as the claim allows goes to it whole. A wider one is cut into bytes at consecutive
/// ports, as a PC's chipset does on its way to an 8-bit device.
package final class PortBus {
  /// Deals with a whole port exit; used by hypercalls and firmware services.
  package typealias Handler = (VMExit, any VCPU) -> VMEntry.Action

  private enum Target {
    case device(any Device)
    case handler(Handler)
    /// Reads all ones, ignores writes, says nothing: a place known to be empty.
    case silent
  }
  private struct Claim {
    var name: String
    var target: Target
    var first: UInt16
    var last: UInt16
    /// The device's offset at `first`.
    var offset: UInt64
    /// Widest access in bytes the target takes whole.
    var width: UInt8
    /// What display calls the claim: "COM1".
    var label: String
    /// Virtual ns that a read keeps the processor waiting.
    var readTime: UInt64 = 0
  }

  private let context: DeviceContext
  private var claims: [Claim] = []
  /// Index into `claims` plus one by port; 0 = unclaimed.
  private var map = [UInt8](repeating: 0, count: 65536)

  package init(context: DeviceContext) { self.context = context }

  /// Gives `ports` to a device, whose offset at the first of them is `offset`. `label` is what display
  /// puts before the register's name ("COM1 THR"). A later claim wins over an earlier one. A guest's read keeps its
  /// processor waiting for `readTime` ns.
  package func claim(
    _ ports: ClosedRange<UInt16>, _ device: any Device, offset: UInt64 = 0, width: UInt8 = 1, label: String,
    readTime: UInt64 = 0
  ) {
    add(
      Claim(
        name: device.name, target: .device(device), first: ports.lowerBound, last: ports.upperBound, offset: offset,
        width: width, label: label, readTime: readTime))
  }

  /// Gives one port to a service: `handler` gets the whole exit and the vCPU, and answers it.
  package func claim(_ port: UInt16, name: String, handler: @escaping Handler) {
    add(Claim(name: name, target: .handler(handler), first: port, last: port, offset: 0, width: 8, label: name))
  }

  /// Lets `ports` float silently: reads all ones, writes go nowhere, no event.
  package func claimSilent(_ ports: ClosedRange<UInt16>, name: String, width: UInt8 = 4) {
    add(
      Claim(
        name: name, target: .silent, first: ports.lowerBound, last: ports.upperBound, offset: 0, width: width,
        label: name))
  }

  private func add(_ claim: Claim) {
    precondition(claims.count < 255, "the port bus numbers its claims in one byte")
    claims.append(claim)
    for port in claim.first...claim.last { map[Int(port)] = UInt8(claims.count) }
  }

  private func claim(at port: UInt16) -> Claim? { index(at: port).map { claims[$0] } }

  /// The claim's place among all: what the hot paths use, so that no claim is copied.
  @inline(__always)
  private func index(at port: UInt16) -> Int? {
    let index = map[Int(port)]
    return index == 0 ? nil : Int(index) - 1
  }

  /// Answers a port exit. `value` has no bits above `size` bytes (1, 2 or 4).
  package func handle(
    _ exit: VMExit, port: UInt16, size: UInt8, write: Bool, value: UInt64, on vcpu: any VCPU
  ) -> VMEntry.Action {
    let index = map[Int(port)]
    if index != 0, case .handler(let handler) = claims[Int(index) - 1].target { return handler(exit, vcpu) }
    if write {
      self.write(port, size: size, value: value & Self.ones(size))
      return .complete(0)
    }
    let result = read(port, size: size)
    if index != 0, claims[Int(index) - 1].readTime != 0 {
      vcpu.idle(until: vcpu.virtualTime &+ claims[Int(index) - 1].readTime)
    }
    return .complete(result)
  }

  /// Reads as the guest does.
  package func read(_ port: UInt16, size: UInt8) -> UInt64 {
    if let claim = index(at: port), fits(claim, port, size) { return read(claim, port, size) }
    guard size > 1, isAnyClaimed(port, size) else { return unclaimed(port, size, write: false, value: 0) }
    var result: UInt64 = 0
    for byte in 0..<UInt16(size) { result |= read(port &+ byte, size: 1) << UInt64(byte &* 8) }
    return result
  }

  /// Writes as the guest does.
  package func write(_ port: UInt16, size: UInt8, value: UInt64) {
    if let claim = index(at: port), fits(claim, port, size) {
      write(claim, port, size, value)
      return
    }
    guard size > 1, isAnyClaimed(port, size) else {
      _ = unclaimed(port, size, write: true, value: value)
      return
    }
    for byte in 0..<UInt16(size) { write(port &+ byte, size: 1, value: value >> UInt64(byte &* 8) & 0xFF) }
  }

  private func read(_ index: Int, _ port: UInt16, _ size: UInt8) -> UInt64 {
    guard case .device(let device) = claims[index].target else { return Self.ones(size) }
    return device.read(claims[index].offset + UInt64(port - claims[index].first), size: size) & Self.ones(size)
  }

  private func write(_ index: Int, _ port: UInt16, _ size: UInt8, _ value: UInt64) {
    guard case .device(let device) = claims[index].target else { return }
    device.write(claims[index].offset + UInt64(port - claims[index].first), size: size, value: value)
  }

  private func unclaimed(_ port: UInt16, _ size: UInt8, write: Bool, value: UInt64) -> UInt64 {
    let result = write ? value : Self.ones(size)
    context.emit(.unclaimed, a: UInt32(size) | (write ? 0x100 : 0), b: UInt64(port), c: result, d: 0)
    return result
  }

  private func isAnyClaimed(_ port: UInt16, _ size: UInt8) -> Bool {
    for byte in 0..<UInt16(size) where map[Int(port &+ byte)] != 0 { return true }
    return false
  }

  private func fits(_ index: Int, _ port: UInt16, _ size: UInt8) -> Bool {
    size == 1 || size <= claims[index].width && Int(port) + Int(size) - 1 <= Int(claims[index].last)
  }

  /// All bits of `size` bytes.
  package static func ones(_ size: UInt8) -> UInt64 { size >= 8 ? .max : 1 << (UInt64(size) &* 8) &- 1 }

  /// The ports that are claimed, ascending.
  package var claimed: [UInt16] { (0...UInt16.max).filter { map[Int($0)] != 0 } }

  /// Who answers at `port`: "uart16550", "doorbell"; "" where nobody does.
  package func handlerName(_ port: UInt16) -> String { claim(at: port)?.name ?? "" }

  /// "COM1 THR", "PIC1 command"; nil where nobody answers.
  package func registerName(_ port: UInt16, write: Bool) -> String? {
    guard let claim = claim(at: port) else { return nil }
    guard case .device(let device) = claim.target else { return claim.label }
    let register = device.registerName(claim.offset + UInt64(port - claim.first), write: write)
    if register.isEmpty || claim.label.isEmpty { return claim.label + register }
    return "\(claim.label) \(register)"
  }
}
