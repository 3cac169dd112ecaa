import Debugger
import Engines
import Machine
import VMCore
import X86

extension VirtualMachine {
  /// Events the ring holds before the vCPU thread has to take them out itself: as many as stay in the processor's
  /// caches until then.
  static let ringCapacity = 1 << 9

  /// Puts together what the configuration asks for and loads the guest. Errors name what was wrong and what
  /// can be had instead.
  package static func build(_ given: SessionConfiguration) throws(VMError) -> VirtualMachine {
    var configuration = given
    let sample = try SampleLibrary.resolve(&configuration)
    try checkChoices(configuration)
    let files = try GuestFiles(configuration)
    if configuration.technique == .pv { return try buildXen(configuration, files) }
    let memory = try GuestMemory(ramSize: configuration.memory ?? files.defaultMemory)
    let loaded = try ImageLoader.load(files.request(memory))
    let (engine, why) = chosenEngine(configuration)
    var (machine, pc) = try assemble(
      name: sample?.name ?? files.name, memory: memory, cpus: configuration.vcpuCount, state: loaded.state, engine: engine,
      model: loaded.platform, cpu: configuration.cpu ?? (loaded.kind == .linux ? .p0 : .baseline))
    machine.engineNote = why
    machine.technique = configuration.technique
    if configuration.limit != nil, !machine.engine.capabilities.contains(.instructionBudget) {
      throw VMError(
        .usage, "--limit counts instructions, and --engine \(engine) does not",
        remedy: "use --engine interpreter, or end the run by time: timeout 10 ringside ...")
    }
    loaded.attach(to: pc)
    machine.loadDescription = loaded.description
    machine.path = files.name
    if loaded.kind == .linux { machine.machineName = loaded.platform.rawValue }
    if let image = loaded.symbolsImage {
      machine.symbols = (try? SymbolLoader.load(image, name: files.name)) ?? .empty
    }
    if let path = configuration.symbols {
      let file = try GuestFiles.bytes(at: path, for: "--symbols ")
      machine.symbols = machine.symbols.merging(try SymbolLoader.load(file, name: path))
    }
    machine.reload = { () throws(VMError) in
      memory.clear()
      return [try ImageLoader.load(files.request(memory)).state]
    }
    return machine
  }

  /// A PC with the named engine's processors over `memory`, whose boot processor starts in `state`.
  package static func assemble(
    name: String, memory: GuestMemory, cpus: Int, state: VCPUState, engine: String = "interpreter",
    model: PCModel = .pc, cpu: CPUModel = .baseline
  ) throws(VMError) -> (machine: VirtualMachine, pc: PC) {
    let events = EventSink(capacity: ringCapacity)
    let engine = try EngineRegistry.makeEngine(
      named: engine, memory: memory, events: events, configuration: EngineConfiguration(vcpuCount: cpus, cpu: cpu))
    let pc = PC(
      memory: memory, configuration: PCConfiguration(ramSize: memory.ramSize, vcpuCount: cpus, model: model),
      events: events)
    var machine = VirtualMachine(
      name: name, engine: engine, platform: pc, memory: memory, events: events, initialStates: [state])
    machine.words = PCWords(pc: pc)
    return (machine, pc)
  }

  /// The engine `--engine` means, and for `auto` why.
  private static func chosenEngine(_ configuration: SessionConfiguration) -> (name: String, why: String?) {
    let name = configuration.engineName
    guard name == "auto" else { return (name, nil) }
    if configuration.technique == .rewrite { return ("rewriter", "the rewriter: technique rewrite") }
    let choice = EngineRegistry.automatic
    return (choice.name, choice.why)
  }

  /// Choices that do not go together say so.
  private static func checkChoices(_ configuration: SessionConfiguration) throws(VMError) {
    guard !configuration.isTrusting || configuration.technique == .pv else {
      throw VMError(.usage, "--trusting: only a paravirtual guest's page tables are checked", remedy: "use --technique pv")
    }
    switch configuration.technique {
    case .hvm: break
    case .rewrite where configuration.engineName == "kvm":
      throw VMError(
        .usage, "--technique rewrite: KVM runs the guest's code as it is and cannot call out",
        remedy: "use --engine rewriter or --engine interpreter")
    case .rewrite: break
    case .pv: try checkXen(configuration)
    }
    switch configuration.engineName {
    case "auto", "interpreter", "kvm", "rewriter": break
    default:
      let nearest = NearestName.find(configuration.engineName, in: ["auto", "kvm", "interpreter", "rewriter"])
      throw VMError(
        .usage, "--engine \(configuration.engineName): expected auto, kvm, interpreter or rewriter",
        remedy: nearest.map { "did you mean \($0)?" })
    }
    guard (1...64).contains(configuration.vcpuCount) else {
      throw VMError(.usage, "--cpus \(configuration.vcpuCount): expected 1 to 64")
    }
  }
}

/// The files a guest is made of, read once.
struct GuestFiles {
  var name: String
  private(set) var image: NamedImage?
  private var firmware: NamedImage?
  private(set) var disk: Disk?
  private(set) var modules: [NamedImage] = []
  private let configuration: SessionConfiguration

  init(_ configuration: SessionConfiguration) throws(VMError) {
    self.configuration = configuration
    image = try Self.read(configuration.guest)
    firmware = try Self.read(configuration.firmware, for: "--firmware ")
    disk = try Self.openDisk(configuration)
    if let initrd = try Self.read(configuration.initrd, for: "--initrd ") { modules = [initrd] }
    guard let given = image ?? firmware else {
      throw VMError(.usage, "no guest was named", remedy: "give a file, the name of a sample, or --firmware FILE")
    }
    name = given.name
  }

  /// The file at `path`, nil without one; an error names the option that asked for it.
  private static func read(_ path: String?, for option: String = "") throws(VMError) -> NamedImage? {
    guard let path else { return nil }
    return NamedImage(name: path, bytes: try bytes(at: path, for: option))
  }

  static func bytes(at path: String, for option: String) throws(VMError) -> [UInt8] {
    do throws(VMError) { return try HostFile.bytes(at: path) } catch {
      throw VMError(error.code, option + error.message, remedy: error.remedy)
    }
  }

  private static func openDisk(_ configuration: SessionConfiguration) throws(VMError) -> Disk? {
    guard let text = configuration.disk else { return nil }
    var choice = DiskChoice(text)
    let isTemporary = configuration.diskIsTemporary && !choice.isReadOnly
    if isTemporary { choice.isReadOnly = true }
    return Disk(try HostDisk(choice), isTemporary: isTemporary)
  }

  /// RAM for a guest that says nothing of it: an initrd is unpacked into RAM, beside itself.
  var defaultMemory: UInt64 {
    let modules = UInt64(modules.reduce(0) { $0 + $1.bytes.count })
    let wanted = (modules * 4 + 0xF_FFFF) & ~0xF_FFFF
    return max(SessionConfiguration.defaultMemory, wanted + (128 << 20))
  }

  func request(_ memory: GuestMemory) -> LoadRequest {
    var request = LoadRequest(
      name: name, bytes: image?.bytes ?? [], memory: memory,
      mode: configuration.mode.flatMap { FlatMode(rawValue: $0.rawValue) }, loadAddress: configuration.loadAddress,
      entry: configuration.entry, commandLine: configuration.appendOnly ?? configuration.append ?? "", modules: modules,
      firmware: firmware, disk: disk)
    request.replacesCommandLine = configuration.appendOnly != nil
    request.machine = configuration.machine.flatMap { PCModel(rawValue: $0.rawValue) }
    request.vcpuCount = configuration.vcpuCount
    request.linuxBoot = configuration.boot.flatMap { LinuxBoot(rawValue: $0.rawValue) }
    return request
  }
}
