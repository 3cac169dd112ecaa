import VMCore

/// What a firmware ROM finds besides the PC: a word on its console, and a disk on the first ATA channel.
package struct FirmwareMachine: Sendable {
  package var disk: Disk?

  func attach(to pc: PC) {
    pc.rtc.hasFloppyDrive = false
    // SeaBIOS then shows its screen, and takes its keys, on COM1 as well.
    let serialConsole: [UInt8] = [0xF8, 0x03]
    pc.firmwareConfig?.provide([("etc/sercon-port", serialConsole)])
    guard let disk else { return }
    let geometry = DiskGeometry(hardDiskSize: Int(clamping: disk.sectorCount) * Disk.sectorSize)
    let drive = BIOSDrive(.init(number: 0x80, content: .disk(disk), geometry: geometry))
    pc.addATA([drive], ownsContents: true)
  }
}
