import VMCore

/// Guest-physical addresses that lead to devices. An address nobody claims reads all ones and says so
/// in an event.
package final class MMIOBus {
  private struct Claim {
    var device: any Device
    var base: UInt64
    var size: UInt64
    var label: String
  }

  private let context: DeviceContext
  private var claims: [Claim] = []

  package init(context: DeviceContext) { self.context = context }

  /// Gives `size` bytes from `base` to a device, whose offset is 0 at `base`.
  package func claim(_ base: GPA, size: UInt64, _ device: any Device, label: String) {
    claims.append(Claim(device: device, base: base.value, size: size, label: label))
  }

  /// The claim's place among all, so that none is copied.
  private func index(at address: GPA) -> Int? {
    claims.indices.first { address.value &- claims[$0].base < claims[$0].size }
  }

  package func read(_ address: GPA, size: UInt8) -> UInt64 {
    guard let index = index(at: address) else { return unclaimed(address, size: size, write: false, value: 0) }
    return claims[index].device.read(address.value &- claims[index].base, size: size) & PortBus.ones(size)
  }

  package func write(_ address: GPA, size: UInt8, value: UInt64) {
    guard let index = index(at: address) else {
      _ = unclaimed(address, size: size, write: true, value: value)
      return
    }
    claims[index].device.write(address.value &- claims[index].base, size: size, value: value & PortBus.ones(size))
  }

  /// What happens where nobody answers.
  package func unclaimed(_ address: GPA, size: UInt8, write: Bool, value: UInt64) -> UInt64 {
    let result = write ? value : PortBus.ones(size)
    context.emit(.unclaimed, a: UInt32(size) | (write ? 0x100 : 0), b: address.value, c: result, d: 1)
    return result
  }

  package func handlerName(_ address: GPA) -> String { index(at: address).map { claims[$0].device.name } ?? "" }

  package func registerName(_ address: GPA, write: Bool) -> String? {
    guard let claim = index(at: address).map({ claims[$0] }) else { return nil }
    return "\(claim.label) \(claim.device.registerName(address.value &- claim.base, write: write))"
  }
}
