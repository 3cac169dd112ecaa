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
    let picture = pc.vga.picture(of: pc.memory)
    return TextScreen(columns: picture.columns, rows: picture.rows, cells: picture.cells, cursor: picture.cursor)
  }
}
