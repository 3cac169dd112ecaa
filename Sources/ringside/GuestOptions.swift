import ArgumentParser
import Session
import VMCore

extension Technique: ExpressibleByArgument {}
extension StartMode: ExpressibleByArgument {}
extension CPUModel: ExpressibleByArgument {}
extension BootProtocol: ExpressibleByArgument {}
extension LinuxMachine: ExpressibleByArgument {}

/// A number on the command line: decimal, 0x or with h.
struct Address: ExpressibleByArgument {
  let value: UInt64
  init?(argument: String) {
    guard let value = Quantity.number(argument) else { return nil }
    self.value = value
  }
}

/// A size of memory on the command line: `256M`.
struct Size: ExpressibleByArgument {
  let bytes: UInt64
  init?(argument: String) {
    guard let bytes = Quantity.size(argument), (1 << 20...1 << 40).contains(bytes) else { return nil }
    self.bytes = bytes
  }
}

/// What a guest is given and what it finds, for all commands that run one.
struct GuestOptions: ParsableArguments {
  @Option(help: "Mode a flat image starts in: real, protected or long.") var mode: StartMode?
  @Option(help: "Address a flat image is loaded at.") var load: Address?
  @Option(help: "Address of the first instruction.") var entry: Address?
  @Option(help: "A ROM that ends at 1 MiB and at 4 GiB; starts at the reset vector.") var firmware: String?
  @Option(help: "RAM, as 256M or 2G: 1M to 1T.") var memory: Size?
  @Option(help: "Number of vCPUs, 1 to 64.") var cpus: Int?
  @Option(help: "The processor's model: p0 (the default for Linux), x86-64 (the default else), x86-64-v2 or x86-64-v3.")
  var cpu: CPUModel?
  @Option(help: "The way into a Linux kernel: pvh or bzimage.") var boot: BootProtocol?
  @Option(parsing: .unconditional, help: "The kernel's command line; Linux gets it after the standard one.")
  var append: String?
  @Option(parsing: .unconditional, help: "All of a Linux kernel's command line, without the standard one.")
  var appendOnly: String?
  @Option(help: "A file given to the kernel as its initrd or first module.") var initrd: String?
  @Option(help: ArgumentHelp("A raw disk image; with ,ro it is only read.", valueName: "file[,ro]")) var disk: String?
  @Option(help: "The machine Linux finds: p0, or p1 (the default with more than one vCPU or a disk).") var machine: LinuxMachine?
  @Option(help: "Names for addresses: an ELF file, a System.map, or text of /proc/kallsyms.") var symbols: String?

  /// A session's configuration for this guest, by this technique.
  func configuration(_ guest: String?, _ technique: Technique) -> SessionConfiguration {
    var configuration = SessionConfiguration()
    configuration.guest = guest
    configuration.technique = technique
    configuration.mode = mode
    configuration.loadAddress = load?.value
    configuration.entry = entry?.value
    configuration.firmware = firmware
    configuration.memory = memory?.bytes
    configuration.cpus = cpus
    configuration.cpu = cpu
    configuration.boot = boot
    configuration.append = append
    configuration.appendOnly = appendOnly
    configuration.initrd = initrd
    configuration.disk = disk
    configuration.machine = machine
    configuration.symbols = symbols
    return configuration
  }
}
