import Machine
import VMCore
import X86

/// The PC's own names for its ports, addresses, devices and hypercalls.
struct PCWords: PlatformWords {
  let pc: PC

  func handlerName(for exit: VMExit) -> String { pc.handlerName(for: exit) }
  func portName(_ port: UInt16, write: Bool) -> String? { pc.portName(port, write: write) }
  func memoryName(_ address: GPA, write: Bool) -> String? { pc.mmioName(address, write: write) }

  func hypercallNumber(of exit: VMExit, on vcpu: any VCPU) -> UInt64? {
    switch exit.qualification {
    case .hypercall(let number): number
    case .io(HypercallABI.port, _, true, _, _, _): vcpu.gpr(.rax) & 0xFFFF_FFFF
    default: nil
    }
  }

  func hypercallArguments(of exit: VMExit, on vcpu: any VCPU) -> [UInt64] {
    hypercallNumber(of: exit, on: vcpu) == nil ? [] : [vcpu.gpr(.rbx), vcpu.gpr(.rcx)]
  }

  var hypercalls: [HypercallName] {
    HypercallABI.Call.allCases.map {
      HypercallName(number: $0.rawValue, name: $0.name, arguments: $0.argumentNames)
    }
  }

  var namedPorts: [NamedPort] {
    pc.ports.claimed.map { port in
      NamedPort(port: port, name: portName(port, write: true) ?? portName(port, write: false) ?? "")
    }
  }

  var textScreen: TextScreen? {
    let count = VGAText.columns * VGAText.rows
    let start = UInt64(pc.vga.startAddress * 2) & 0x7FFF
    var bytes = [UInt8](repeating: 0, count: count * 2)
    for (index, byte) in pc.memory.readBytes(VGAText.screen, count: 0x8000).enumerated() {
      let place = (UInt64(index) &- start) & 0x7FFF
      if place < UInt64(bytes.count) { bytes[Int(place)] = byte ?? 0 }
    }
    let cells = (0..<count).map { UInt16(bytes[$0 * 2]) | UInt16(bytes[$0 * 2 + 1]) << 8 }
    return TextScreen(columns: VGAText.columns, rows: VGAText.rows, cells: cells, cursor: pc.vga.cursor)
  }
}
