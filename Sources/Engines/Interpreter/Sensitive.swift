import VMCore
import X86

/// Places in the guest's code where a policy met sensitive instructions, with a counter each.
///
/// Invariant for the unsafe part: counters lie in chunks that live as long as this object, which the engine owns
/// with all decoded code; only the thread inside `run` counts, or, between runs, the session's.
final class SensitiveSites {
  private struct Key: Hashable {
    var rip: UInt64
    var gpa: UInt64
    var cpl: UInt8
    var operation: SensitiveOperation
  }
  private var indices: [Key: Int] = [:]
  private var sites: [SensitiveSite] = []
  private var chunks: [UnsafeMutablePointer<UInt64>] = []
  private static let chunk = 1024
  /// A guest that makes code without end shares the counter of its last site.
  static let limit = 1 << 16

  deinit { for chunk in chunks { chunk.deallocate() } }

  private func counter(_ index: Int) -> UnsafeMutablePointer<UInt64> {
    chunks[index / Self.chunk] + index % Self.chunk
  }

  /// The counter of a site, which is made where there is none.
  func counter(
    rip: UInt64, gpa: UInt64, cpl: UInt8, _ operation: SensitiveOperation, _ treatment: RewritingPolicy.Treatment
  ) -> UnsafeMutablePointer<UInt64> {
    let key = Key(rip: rip, gpa: gpa, cpl: cpl, operation: operation)
    if let index = indices[key] { return counter(index) }
    guard sites.count < Self.limit else { return counter(sites.count - 1) }
    if sites.count % Self.chunk == 0 {
      let fresh = UnsafeMutablePointer<UInt64>.allocate(capacity: Self.chunk)
      fresh.initialize(repeating: 0, count: Self.chunk)
      chunks.append(fresh)
    }
    indices[key] = sites.count
    sites.append(
      SensitiveSite(rip: rip, gpa: GPA(gpa), cpl: cpl, operation: operation, treatment: treatment, count: 0))
    return counter(sites.count - 1)
  }

  var all: [SensitiveSite] {
    sites.enumerated().map { index, site in
      var site = site
      site.count = counter(index).pointee
      return site
    }
  }

  var counts: [UInt64] {
    get { sites.indices.map { counter($0).pointee } }
    set { for index in sites.indices { counter(index).pointee = index < newValue.count ? newValue[index] : 0 } }
  }
}

/// How a sensitive micro-op leaves for the monitor: what its exit's qualification says.
enum SensitiveForm: UInt16 {
  /// Only counted: it is carried out in place, or what follows exits by itself.
  case counted
  case plain, crWrite, crRead, drWrite, drRead, clts, tableLoad, tableStore, softwareInterrupt
}

extension Translator {
  /// Puts the policy's micro-op before a sensitive instruction's own. `op` is that one.
  mutating func emitPolicy(for op: MicroOp) {
    guard let policy, let sites, let system = SystemOp(rawValue: op.aux), let operation = system.operation else { return }
    let treatment = policy.treatment(of: operation)
    guard treatment != .unnoticed else { return }
    let at = rip &+ UInt64(offset)
    let counter = sites.counter(rip: at, gpa: gpa &+ UInt64(offset), cpl: context.cpl, operation, treatment)
    var sensitive = MicroOp(.sensitive)
    sensitive.aux = UInt16(operation.rawValue)
    sensitive.imm = Int64(Int(bitPattern: counter))
    if treatment == .callout {
      let (form, number) = system.form(of: op)
      sensitive.aux |= form.rawValue << 8
      sensitive.disp = number
      sensitive.src = system == .movFromCR || system == .movFromDR ? op.dst : op.src
    }
    emit(sensitive)
  }
}

extension SystemOp {
  /// What it does to the machine; nil for the innocent.
  var operation: SensitiveOperation? {
    switch self {
    case .movToSegment, .movToSegmentM, .popSegment, .loadFarPointer: .loadSegment
    case .movFromSegment, .movFromSegmentM, .pushSegment: .storeSegment
    case .jumpFar, .jumpFarM, .callFar, .callFarM, .returnFar: .farTransfer
    case .interruptReturn: .interruptReturn
    case .int, .int3, .int1, .into: .softwareInterrupt
    case .sgdt, .sidt: .storeDescriptorTable
    case .lgdt, .lidt: .loadDescriptorTable
    case .sldt, .sldtM, .str, .strM: .storeLDTTR
    case .lldt, .lldtM, .ltr, .ltrM: .loadLDTTR
    case .smsw, .smswM: .smsw
    case .lmsw, .lmswM: .lmsw
    case .clts: .clts
    case .lar, .larM, .lsl, .lslM, .verr, .verrM, .verw, .verwM: .segmentCheck
    case .arpl, .arplM, .pause, .xgetbv, .xsave, .xrstor, .undefined: nil
    case .xsetbv: .xsetbv
    case .movToCR: .crWrite
    case .movFromCR: .crRead
    case .movToDR, .movFromDR: .drAccess
    case .invlpg: .invlpg
    case .invd, .wbinvd: .cacheControl
    case .rdmsr: .msrRead
    case .wrmsr: .msrWrite
    case .rdtsc: .rdtsc
    case .rdtscp: .rdtscp
    case .rdpmc: .rdpmc
    case .cpuid: .cpuid
    case .hlt: .hlt
    case .cli, .sti: .interruptFlag
    case .clac, .stac: .smapFlag
    case .pushf: .pushFlags
    case .popf: .popFlags
    case .in, .ins: .portInput
    case .out, .outs: .portOutput
    case .syscall, .sysenter: .systemCall
    case .sysret, .sysexit: .systemReturn
    case .swapgs: .swapgs
    case .rdfsbase, .rdgsbase, .wrfsbase, .wrgsbase: .fsgsbase
    case .vmcall: .hypercall
    case .vmxon, .vmxoff, .vmclear, .vmptrld, .vmptrst, .vmread, .vmreadM, .vmwrite, .vmwriteM, .vmlaunch, .vmresume,
      .invept, .invvpid:
      .vmx
    }
  }

  /// How its callout is made. What the platform may have to answer exits by itself, behind its own checks of
  /// privilege; its micro-op only counts.
  func form(of op: MicroOp) -> (SensitiveForm, Int64) {
    switch self {
    case .in, .out, .ins, .outs, .rdmsr, .wrmsr, .cpuid, .hlt, .invlpg, .invd, .xsetbv: (.counted, 0)
    case .movToCR: op.imm == 8 ? (.counted, 8) : (.crWrite, op.imm)
    case .movFromCR: op.imm == 8 ? (.counted, 8) : (.crRead, op.imm)
    case .movToDR: (.drWrite, op.imm)
    case .movFromDR: (.drRead, op.imm)
    case .clts: (.clts, 0)
    case .sgdt: (.tableStore, 0)
    case .sidt: (.tableStore, 1)
    case .sldt, .sldtM: (.tableStore, 2)
    case .str, .strM: (.tableStore, 3)
    case .lgdt: (.tableLoad, 0)
    case .lidt: (.tableLoad, 1)
    case .lldt, .lldtM: (.tableLoad, 2)
    case .ltr, .ltrM: (.tableLoad, 3)
    case .int: (.softwareInterrupt, op.imm & 0xFF)
    case .int3: (.softwareInterrupt, 3)
    case .int1: (.softwareInterrupt, 1)
    default: (.plain, 0)
    }
  }
}

extension UnsafeMutablePointer<CPU> {
  /// Before a sensitive instruction: counts it, and leaves where the policy wants a callout. What the monitor
  /// handed back goes by uncounted.
  func sensitive(_ o: MicroOpPointer) throws(Stop) {
    guard !pointee.emulating, !pointee.hasAnswer, !pointee.calledOut else { return }
    guard let operation = SensitiveOperation(rawValue: UInt8(truncatingIfNeeded: o.pointee.aux)),
      let form = SensitiveForm(rawValue: o.pointee.aux >> 8),
      let counter = UnsafeMutablePointer<UInt64>(bitPattern: Int(o.pointee.imm))
    else { return }
    counter.pointee &+= 1
    guard form != .counted else { return }
    let number = UInt8(truncatingIfNeeded: o.pointee.disp)
    let stop = leave(.callout, qualification(form, operation, number, o), .policy(operation))
    pointee.exit.isCallout = true
    throw stop
  }

  private func qualification(
    _ form: SensitiveForm, _ operation: SensitiveOperation, _ number: UInt8, _ o: MicroOpPointer
  ) -> ExitQualification {
    let register = o.pointee.src / 8
    switch form {
    case .counted, .plain: return .callout(operation)
    case .crWrite: return .cr(number: number, access: .write, gpr: register, value: get(o.pointee.src))
    case .crRead: return .cr(number: number, access: .read, gpr: register, value: 0)
    case .drWrite: return .dr(number: number, access: .write, gpr: register, value: get(o.pointee.src))
    case .drRead: return .dr(number: number, access: .read, gpr: register, value: 0)
    case .clts: return .cr(number: 0, access: .clts, gpr: 0, value: 0)
    case .tableLoad: return .descriptorTable(table: number, write: true)
    case .tableStore: return .descriptorTable(table: number, write: false)
    case .softwareInterrupt: return .softwareInterrupt(vector: number)
    }
  }
}
