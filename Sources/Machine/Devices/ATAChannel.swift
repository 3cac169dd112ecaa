import VMCore

/// The PC's first ATA channel with one or two disks: both see every register that is written, the one selected answers.
final class ATAChannel: Device {
  let name = "ata"
  private let disks: [ATADisk]

  /// At most two drives; `ownsContents` where nobody else saves and resets what is on them.
  init(_ drives: [BIOSDrive], line: InterruptLine, ownsContents: Bool) {
    disks = drives.prefix(2).enumerated().map {
      ATADisk($0.element, number: UInt8($0.offset), of: min(drives.count, 2), line: line, ownsContents: ownsContents)
    }
  }

  /// Takes the channel's ports.
  func attach(to ports: PortBus) {
    ports.claim(0x1F0...0x1F3, self, width: 4, label: "ATA")
    ports.claim(0x1F1...0x1F7, self, offset: 1, label: "ATA")
    ports.claim(0x3F6...0x3F6, self, offset: 8, label: "ATA")
  }

  /// A device that is not there is answered for by the other.
  func read(_ offset: UInt64, size: UInt8) -> UInt64 {
    let selected = disks.first { $0.isSelected } ?? disks.first
    return selected?.read(offset, size: size) ?? .max
  }

  func write(_ offset: UInt64, size: UInt8, value: UInt64) {
    for disk in disks { disk.write(offset, size: size, value: value) }
  }

  func registerName(_ offset: UInt64, write: Bool) -> String {
    switch offset {
    case 0: "data"
    case 1: write ? "features" : "error"
    case 2: "sector count"
    case 3: "LBA low"
    case 4: "LBA mid"
    case 5: "LBA high"
    case 6: "device"
    case 7: write ? "command" : "status"
    default: write ? "device control" : "alternate status"
    }
  }

  func reset() { for disk in disks { disk.reset() } }
  func code(_ coder: inout StateCoder) { for disk in disks { disk.code(&coder) } }

  var inspection: DeviceInspection {
    DeviceInspection(device: disks.count > 1 ? "ATA disks" : "ATA disk", rows: disks.flatMap(\.rows))
  }
}
