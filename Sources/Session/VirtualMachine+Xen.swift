import Debugger
import Engines
import Machine
import Paravirtual
import VMCore
import X86

extension VirtualMachine {
  /// What a kernel is told of the machine it finds under Xen's ABI.
  static let xenCommandLine = "console=hvc0 earlyprintk=xen panic=-1 cryptomgr.notests"

  /// What a paravirtual guest cannot have.
  static func checkXen(_ configuration: SessionConfiguration) throws(VMError) {
    let known = ["auto", "interpreter", "rewriter"]
    guard known.contains(configuration.engineName) else {
      throw VMError(
        .usage, "--technique pv --engine \(configuration.engineName): expected interpreter or rewriter",
        remedy: "a guest without ring 0 runs on the embedded processor")
    }
    guard configuration.vcpuCount == 1 else {
      throw VMError(.usage, "--technique pv --cpus \(configuration.vcpuCount): expected 1", remedy: "leave --cpus out")
    }
    guard configuration.firmware == nil, configuration.mode == nil else {
      throw VMError(
        .usage, "--technique pv finds no firmware or start mode: a domain is built from a kernel",
        remedy: "give a kernel with Xen notes, and --initrd")
    }
  }

  /// A domain built from a kernel, on the embedded processor.
  static func buildXen(_ configuration: SessionConfiguration, _ files: GuestFiles) throws(VMError) -> VirtualMachine {
    guard let image = files.image else {
      throw VMError(.usage, "no kernel was named", remedy: "give a Linux kernel with --technique pv")
    }
    let kernel = try KernelImage(image)
    let size = configuration.memory ?? files.defaultMemory
    guard size >= MachineLayout.leastMemory, size <= MachineLayout.mostMemory else {
      throw VMError(
        .usage, "--memory \(size >> 20)M: a domain has from \(MachineLayout.leastMemory >> 20) to "
          + "\(MachineLayout.mostMemory >> 20) MiB")
    }
    let pvKernel = try PVKernel(kernel.vmlinux, name: image.name)
    let layout = MachineLayout(memory: size, abi: pvKernel.abi)
    let memory = try GuestMemory(ramSize: layout.frameCount << 12)
    let line = configuration.appendOnly ?? [xenCommandLine, configuration.append].compactMap { $0 }.joined(separator: " ")
    let builder = try DomainBuilder(
      kernel: pvKernel, module: files.modules.first?.bytes ?? [],
      commandLine: line, memory: memory, machine: layout)
    let events = EventSink(capacity: ringCapacity)
    let engine = try EngineRegistry.makeEngine(
      named: configuration.engineName == "auto" ? "rewriter" : configuration.engineName, memory: memory, events: events,
      configuration: EngineConfiguration(vcpuCount: 1))
    let xen = try XenPlatform(builder: builder, events: events, isTrusting: configuration.isTrusting, disk: files.disk)
    xen.keepsCalls = configuration.recordsStates
    var machine = VirtualMachine(
      name: files.name, engine: engine, platform: xen, memory: memory, events: events,
      initialStates: [builder.initialState()])
    machine.technique = .pv
    machine.words = XenWords(xen)
    machine.path = image.name
    machine.loadDescription = "\(image.name): a Xen paravirtual kernel of \(layout.abi.wordSize * 8) bits, \(size >> 20) MiB, entered at "
      + Hex.text(builder.initialState().rip)
    machine.symbols = (try? SymbolLoader.load(kernel.vmlinux, name: files.name)) ?? .empty
    machine.reload = { () throws(VMError) in [try xen.rebuild()] }
    return machine
  }
}

/// The Xen platform's own names for what exits to it.
struct XenWords: PlatformWords {
  private let platform: XenPlatform

  init(_ platform: XenPlatform) { self.platform = platform }

  func handlerName(for exit: VMExit) -> String {
    switch exit.reason {
    case .syscall: platform.isKernel ? "hypercall" : "syscall bounce"
    case .softwareInterrupt: platform.isHypercall(exit) ? "hypercall" : "trap"
    case .exception: "trap"
    case .cpuid: "cpuid"
    default: ""
    }
  }

  func portName(_ port: UInt16, write: Bool) -> String? { nil }
  func memoryName(_ address: GPA, write: Bool) -> String? { nil }
  var textScreen: TextScreen? { nil }

  func hypercallNumber(of exit: VMExit, on vcpu: any VCPU) -> UInt64? {
    platform.hypercallCode(of: exit, on: vcpu).map { UInt64($0) }
  }

  func hypercallArguments(of exit: VMExit, on vcpu: any VCPU) -> [UInt64] { platform.hypercallArguments(of: exit, on: vcpu) }

  func service(of exit: VMExit, on vcpu: any VCPU) -> MonitorService? {
    switch platform.service(of: exit, on: vcpu) {
    case .bounce: .bounce
    case .emulation: .emulated
    case .hypercall, nil: nil
    }
  }

  var hypercalls: [HypercallName] { Self.names }

  func hypercallDetails(_ ordinal: UInt64) -> HypercallDetails? {
    platform.loggedCall(ordinal).map {
      HypercallDetails(CallWords.arguments($0), structures: CallWords.structures($0), hasFailure: CallWords.hasFailure($0))
    }
  }

  var xen: XenView? { XenView(platform) }

  /// Every call by its number, then its operations by number and operation.
  private static let names: [HypercallName] = {
    var names: [HypercallName] = []
    for call in HypercallNumber.allCases {
      names.append(HypercallName(number: call.rawValue, name: call.name, arguments: call.argumentNames))
      for command in 0..<UInt64(call.commandNames.count) {
        guard let name = call.commandName(command) else { continue }
        names.append(
          HypercallName(
            number: UInt64(XenPlatform.code(call.rawValue, command)), name: "\(call.name).\(name)",
            arguments: call.argumentNames))
      }
    }
    return names
  }()
}
