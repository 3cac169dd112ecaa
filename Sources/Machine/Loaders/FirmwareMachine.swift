import VMCore

/// What a firmware ROM finds besides the PC: the device that tells it of its machine, and a disk on the first ATA
/// channel.
package struct FirmwareMachine: Sendable {
  package var disk: Disk?

  func attach(to pc: PC) {
    pc.rtc.hasFloppyDrive = false
    // SeaBIOS then shows its screen, and takes its keys, on COM1 as well.
    let serialConsole: [UInt8] = [0xF8, 0x03]
    let configuration = FirmwareConfig(
      vcpuCount: pc.configuration.vcpuCount, files: [("etc/sercon-port", serialConsole)])
    pc.ports.claim(0x510...0x511, configuration, width: 2, label: "fw_cfg")
    pc.add(configuration)
    guard let disk else { return }
    let ata = ATADisk(disk, line: InterruptLine(gsi: 14, router: pc.router))
    ata.attach(to: pc.ports)
    pc.add(ata)
  }
}
