import VMCore

/// The way into a Linux kernel (`--boot`).
package enum LinuxBoot: String, CaseIterable, Sendable {
  /// The unpacked kernel, entered at its PVH entry in 32-bit protected mode.
  case pvh
  /// The bzImage's protected-mode part, entered at its 64-bit entry; the kernel unpacks itself.
  case bzImage = "bzimage"
}

/// The kernel's command line.
package enum LinuxCommandLine {
  /// What a kernel is told of the machine it finds, to show its log on the serial port, and to leave out self-tests
  /// that take longer than the rest of a boot.
  package static func standard(on machine: PCModel) -> String {
    let common = "console=ttyS0 earlyprintk=serial,ttyS0,115200 panic=-1 nokaslr cryptomgr.notests pci=off 8250.nr_uarts=1"
    // P0 has no ACPI, and a keyboard controller that only resets. On P1 all processors share one clock, and the kernel
    // takes reduced hardware for EFI's, which it would ask for a reset.
    return common + (machine == .p1 ? " tsc=reliable reboot=acpi" : " acpi=off i8042.nokbd i8042.noaux reboot=k")
  }

  /// The standard line and what `--append` adds, or only what `--append-only` says.
  package static func text(on machine: PCModel, appended: String, replaces: Bool) -> String {
    if replaces { return appended }
    return appended.isEmpty ? standard(on: machine) : "\(standard(on: machine)) \(appended)"
  }
}
