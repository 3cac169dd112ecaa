import VMCore

/// The virtio devices of the machine P1, by slot: console, entropy, and the disk where there is one.
package enum VirtioDevices {
  package static func count(hasDisk: Bool) -> Int { hasDisk ? 3 : 2 }

  /// Gives them to a PC, once, before its guest runs.
  package static func attach(to pc: PC, disk: Disk?) {
    let console = VirtioConsole(context: pc.context, memory: pc.memory)
    let port = add(console, 0, pc)
    pc.console = VirtioConsolePort(console: console, transport: port)
    add(VirtioEntropy(memory: pc.memory), 1, pc)
    if let disk { add(VirtioBlock(disk, memory: pc.memory), 2, pc) }
  }

  @discardableResult
  private static func add(_ function: any VirtioFunction, _ index: Int, _ pc: PC) -> VirtioMMIO {
    let slot = VirtioSlot(index)
    let line = InterruptLine(gsi: slot.gsi, router: pc.router)
    let device = VirtioMMIO(function, context: pc.context, memory: pc.memory, line: line)
    pc.mmio.claim(slot.base, size: VirtioSlot.size, device, label: function.name)
    pc.add(device)
    return device
  }
}

/// The virtio console and the queues it waits at.
struct VirtioConsolePort {
  let console: VirtioConsole
  let transport: VirtioMMIO

  func type(_ bytes: [UInt8]) {
    console.type(bytes)
    transport.serve(0)
  }
}
