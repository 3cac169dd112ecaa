import CHost
import Synchronization
import VMCore
import X86

/// The host's processor by /dev/kvm, with the devices and interrupt controllers in the monitor.
package final class KVMEngine: Engine {
  package let name = "kvm"
  let memory: GuestMemory
  let configuration: EngineConfiguration
  let host: KVMHost
  let machine: KVMMachine
  let findings: KVMFindings
  let supportedCPUID: [kvm_cpuid_entry2]
  private var processors: [KVMVCPU] = []
  private var watchedPages: [Set<UInt64>] = []
  private var readOnly = Set<UInt64>()
  private var logsDirty = false
  /// Pages written by others than the vCPUs under KVM, while dirty pages are logged.
  private var otherDirtyPages = Set<UInt64>()
  /// The monitor wrote into memory that the kernel may have made shadow page tables from.
  private let shadowsAreStale = Atomic<Bool>(false)
  private let shadowsBeingDropped = Mutex<Void>(())
  /// The vCPUs inside the guest, where there are several.
  private let crowd: KVMCrowd?

  package init(memory: GuestMemory, configuration: EngineConfiguration) throws(VMError) {
    host = try KVMHost.shared.get()
    findings = KVMFindings.shared
    self.memory = memory
    self.configuration = configuration
    machine = try KVMMachine(host: host)
    try machine.lay(out: memory)
    machine.filterMSRs(all: false)
    crowd = configuration.vcpuCount > 1 ? KVMCrowd() : nil
    var entries = [kvm_cpuid_entry2](repeating: kvm_cpuid_entry2(), count: 256)
    let count = chost_kvm_supported_cpuid(host.fd, &entries, UInt32(entries.count))
    supportedCPUID = Array(entries.prefix(Int(max(count, 0))))
    for index in 0..<max(configuration.vcpuCount, 1) {
      let companion = try KVMCompanion(memory, configuration, index: index)
      processors.append(try KVMVCPU(index: index, engine: self, companion: companion))
    }
    watchedPages = processors.map { _ in [] }
    memory.onExternalWrite = { [weak self] address, size in self?.externalWrite(address.value, size) }
    memory.onLayoutChange = { [weak self] in self?.layoutChanged() }
  }

  package var capabilities: EngineCapabilities {
    var result: EngineCapabilities = [.singleStep, .memoryWatch, .multipleVCPUs, .parallelVCPUs]
    if findings.traits.showHardware { result.insert(.hardwareAssisted) }
    return result
  }
  package var vcpus: [any VCPU] { processors }
  package var traits: [EngineTrait] { findings.traits.described }
  package var whyControlsAreFixed: String? {
    "KVM has the VMCS: on this engine ports, memory without RAM, HLT and the platform's MSRs exit, and no other bit can be turned"
  }
  package var remarks: [String] {
    let count = processors.reduce(UInt64(0)) { $0 &+ $1.emulatedCount }
    return count == 0
      ? [] : ["\(count) instructions that KVM does not have were executed by the embedded processor"]
  }
  package var kvmTraits: KVMTraits { findings.traits }

  // MARK: memory

  private func layoutChanged() { layOut() }

  /// A slot KVM does not take leaves a hole: the guest's accesses there exit as to no memory.
  private func layOut() {
    try? machine.lay(out: memory, readOnly: readOnly, logsDirty: logsDirty)
  }

  private func externalWrite(_ gpa: UInt64, _ size: UInt64) {
    noteHostWrite()
    guard logsDirty, size > 0 else { return }
    for page in gpa >> 12...(gpa &+ size &- 1) >> 12 { otherDirtyPages.insert(page) }
  }

  /// Something but the kernel wrote into guest memory.
  func noteHostWrite() { shadowsAreStale.store(true, ordering: .relaxed) }

  /// Pages that were written without the kernel's doing.
  func noteWrite(_ gpa: UInt64) {
    if logsDirty { otherDirtyPages.insert(gpa >> 12) }
  }
  func noteWrite(linear: UInt64, by vcpu: KVMVCPU) {
    guard logsDirty else { return }
    if let gpa = vcpu.space.translate(linear) { noteWrite(gpa) }
  }

  /// A kernel that shadows page tables does not see the monitor's writes to them.
  @inline(__always)
  func refreshShadows(for vcpu: KVMVCPU) {
    guard shadowsAreStale.load(ordering: .relaxed) else { return }
    // What is known of CR0 without asking for it at every exit; the flag stays until paging is on.
    if findings.traits.contains(.nativeRing0) || vcpu.cpu.present.pointee.sregs.cr0 & CR0.pg != 0 { dropShadows() }
  }

  private func dropShadows() {
    shadowsAreStale.store(false, ordering: .relaxed)
    if !findings.traits.contains(.nativeRing0) { shadowsBeingDropped.withLock { _ in machine.dropShadows() } }
  }

  // MARK: vCPUs at the same time

  /// `body` is a KVM_RUN.
  @inline(__always)
  func enterGuest(_ body: () -> Int32) -> Int32 {
    guard let crowd else { return body() }
    return crowd.enter(body)
  }

  /// `body` touches the guest's memory as one of its instructions does.
  func alone<T>(_ body: () -> T) -> T {
    guard let crowd else { return body() }
    return crowd.alone(callOut: { for processor in processors { processor.cpu.interrupt() } }, body)
  }

  func setWatchedPages(of vcpu: KVMVCPU, _ pages: Set<UInt64>) {
    guard watchedPages[vcpu.index] != pages else { return }
    watchedPages[vcpu.index] = pages
    readOnly = watchedPages.reduce(into: []) { $0.formUnion($1) }
    layOut()
  }

  /// From now on the pages that change are noted.
  package func startDirtyLog() {
    logsDirty = true
    otherDirtyPages = []
    layOut()
    _ = machine.takeDirtyPages()
  }

  package func stopDirtyLog() {
    logsDirty = false
    layOut()
  }

  /// Guest-physical addresses of the pages that changed since the last call, by vCPUs, devices or the monitor.
  package func takeDirtyPages() -> [GPA] {
    let pages = machine.takeDirtyPages().union(otherDirtyPages)
    otherDirtyPages = []
    return pages.sorted().map { GPA($0 << 12) }
  }

  // MARK: MSRs

  func refreshMSRFilter() {
    machine.filterMSRs(all: processors.contains { !$0.controls.vmcs.has(.useMSRBitmaps) })
  }
}
