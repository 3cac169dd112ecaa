import CHost
import Glibc
import VMCore

/// /dev/kvm as it is on this host: opened once per process, with what it offers by its capability list.
package final class KVMHost: Sendable {
  let fd: Int32
  let runSize: Int
  /// REGS, SREGS and EVENTS come and go with kvm_run (KVM_CAP_SYNC_REGS).
  let hasSyncRegs: Bool
  let hasReadOnlyMemory: Bool
  let hasMSRExits: Bool
  let hasXSave: Bool
  let hasXCRs: Bool
  let hasDebugRegisters: Bool
  /// The processor that runs this program says it has VT-x or AMD-V, and the kernel's module for it is there.
  package let hasProcessorExtensions: Bool

  /// The host, or what keeps KVM from being used and what to do about it.
  package static let shared = Result<KVMHost, VMError> { () throws(VMError) in try KVMHost() }

  private init() throws(VMError) {
    let opened = chost_kvm_open()
    if opened < 0 { throw Self.refusal(-opened) }
    fd = opened
    let version = chost_kvm_api_version(fd)
    guard version == KVM_API_VERSION else {
      close(opened)
      throw VMError(
        .unavailable, "/dev/kvm speaks version \(version) of its interface; expected \(KVM_API_VERSION)",
        remedy: "update the kernel, or use --engine interpreter")
    }
    func has(_ capability: Int32) -> Bool { chost_kvm_capability(opened, UInt(capability)) > 0 }
    runSize = Int(chost_kvm_run_size(fd))
    guard has(KVM_CAP_USER_MEMORY), runSize >= 4096 else {
      close(opened)
      throw VMError(
        .unavailable, "/dev/kvm cannot map a program's memory into a guest (KVM_CAP_USER_MEMORY is missing)",
        remedy: "use --engine interpreter")
    }
    let sync = chost_kvm_capability(fd, UInt(KVM_CAP_SYNC_REGS))
    hasSyncRegs = sync & KVMProcessor.allRegisters == KVMProcessor.allRegisters
    hasReadOnlyMemory = has(KVM_CAP_READONLY_MEM)
    hasMSRExits = has(KVM_CAP_X86_USER_SPACE_MSR) && has(KVM_CAP_X86_MSR_FILTER)
    hasXSave = has(KVM_CAP_XSAVE)
    hasXCRs = has(KVM_CAP_XCRS)
    hasDebugRegisters = has(KVM_CAP_DEBUGREGS)
    hasProcessorExtensions = Self.findProcessorExtensions()
  }

  private static func refusal(_ code: Int32) -> VMError {
    let device = device
    switch code {
    case ENOENT, ENODEV, ENXIO:
      return VMError(
        .unavailable, "there is no /dev/kvm",
        remedy: "load kvm_intel or kvm_amd (sudo modprobe kvm_intel) and turn virtualization on in the firmware, "
          + "or use --engine interpreter")
    case EACCES, EPERM:
      return VMError(
        .unavailable, "/dev/kvm may not be opened: it belongs to group \(device.group), which \(device.mayOpen ? "you are not in" : "may not open it either")",
        remedy: (device.mayOpen ? "sudo usermod -aG \(device.group) $USER and log in again" : "sudo chmod 666 /dev/kvm")
          + ", or use --engine interpreter")
    default:
      return VMError(
        .unavailable, "/dev/kvm cannot be opened: \(String(cString: strerror(code)))",
        remedy: "use --engine interpreter")
    }
  }

  /// The group /dev/kvm belongs to, and whether its members may read and write it.
  private static var device: (group: String, mayOpen: Bool) {
    var status = stat()
    guard stat("/dev/kvm", &status) == 0, let found = getgrgid(status.st_gid) else { return ("kvm", true) }
    return (String(cString: found.pointee.gr_name), status.st_mode & 0o060 == 0o060)
  }

  private static func findProcessorExtensions() -> Bool {
    guard access("/sys/module/kvm_intel", F_OK) == 0 || access("/sys/module/kvm_amd", F_OK) == 0,
      let file = fopen("/proc/cpuinfo", "r") else { return false }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 8192)
    while fgets(&line, Int32(line.count), file) != nil {
      let text = line.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } ?? "" }
      if text.hasPrefix("flags") { return text.split(whereSeparator: \.isWhitespace).contains { $0 == "vmx" || $0 == "svm" } }
    }
    return false
  }

  /// A failed call to KVM as an error.
  static func failure(_ what: String, _ result: Int32) -> VMError {
    VMError(
      .host, "KVM cannot \(what): \(String(cString: strerror(-result)))", remedy: "use --engine interpreter")
  }
}

extension Result where Failure == VMError {
  init(_ body: () throws(VMError) -> Success) {
    do { self = .success(try body()) } catch { self = .failure(error) }
  }
}
