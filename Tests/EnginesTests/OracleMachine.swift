import COracle
import Engines
import VMCore
import X86

/// The interpreter set up as the oracle's child is: ring 3 with two pages of data and one of code at the same
/// linear addresses, in a guest that has nothing else. Every exception exits before it is delivered.
final class OracleMachine {
  private static let codePage = GPA(0x1_0000)
  private static let dataPage = GPA(0x2_0000)
  private let memory: GuestMemory
  private let engine: any Engine
  private let vcpu: any VCPU

  /// On the rewriter every block is rewritten at its first execution.
  init(cpu: CPUModel = .widest, engine name: String = "interpreter") throws {
    memory = try GuestMemory(ramSize: 1 << 20)
    engine = try EngineRegistry.makeEngine(
      named: name, memory: memory, events: EventSink(capacity: 64), configuration: EngineConfiguration(warmth: 1, cpu: cpu))
    vcpu = engine.vcpus[0]
    var controls = ExitControls.standard
    controls.wishes.vectors = .all
    vcpu.controls = controls
    mapPages()
    memory.write(Self.codePage, Array(repeating: 0xCC, count: 4096))
  }

  /// 4-level tables: the code page read-only and executable, the data pages writable and not.
  private func mapPages() {
    let code = UInt64(CORACLE_CODE)
    let linkBits: UInt64 = 7
    memory.store(GPA(0x1000), 0x2000 | linkBits)
    memory.store(GPA(0x2000), 0x3000 | linkBits)
    memory.store(GPA(0x3000 + (code >> 21 & 511) * 8), 0x4000 | linkBits)
    memory.store(GPA(0x4000 + (code >> 12 & 511) * 8), Self.codePage.value | 5)
    for i in 0..<UInt64(2) {
      let linear = UInt64(CORACLE_DATA) + i * 4096
      let noExecute: UInt64 = 1 << 63
      memory.store(GPA(0x4000 + (linear >> 12 & 511) * 8), (Self.dataPage.value + i * 4096) | 7 | noExecute)
    }
  }

  private func segments(mode: UInt8) -> (code: SegmentState, data: SegmentState) {
    let flat = SegmentState(selector: 0x2B, base: 0, limit: .max, access: 0xC0F3)
    let code = UInt64(CORACLE_CODE)
    let data = UInt64(CORACLE_DATA)
    let dataLimit = UInt32(CORACLE_DATA_BYTES) - 1
    switch UInt32(mode) {
    case CORACLE_LONG64.rawValue:
      return (SegmentState(selector: 0x33, base: 0, limit: .max, access: 0xA0FB), flat)
    case CORACLE_COMPAT32.rawValue:
      return (SegmentState(selector: 0x23, base: 0, limit: .max, access: 0xC0FB), flat)
    case CORACLE_LDT32.rawValue:
      return (
        SegmentState(selector: 0x07, base: code, limit: 0xFFF, access: 0x40FB),
        SegmentState(selector: 0x17, base: data, limit: dataLimit, access: 0x40F3)
      )
    default:
      return (
        SegmentState(selector: 0x0F, base: code, limit: 0xFFF, access: 0x00FB),
        SegmentState(selector: 0x1F, base: data, limit: dataLimit, access: 0x00F3)
      )
    }
  }

  private func initialState(_ c: coracle_case) -> VCPUState {
    var s = VCPUState()
    s.cr0 = CR0.pe | CR0.mp | CR0.et | CR0.ne | CR0.wp | CR0.am | CR0.pg
    s.cr3 = 0x1000
    s.cr4 = CR4.pae | CR4.osfxsr | CR4.osxmmexcpt
    if CPUModel.widest == .v3 {
      s.cr4 |= CR4.osxsave
      s.xcr0 = 7
    }
    s.efer = EFER.lme | EFER.lma | EFER.nxe | EFER.sce
    let (code, data) = segments(mode: c.mode)
    s[.cs] = code
    for name in [SegmentName.ss, .ds, .es] { s[name] = data }
    for name in [SegmentName.fs, .gs] { s[name] = SegmentState(limit: 0, access: 0x1_0000) }
    withUnsafeBytes(of: c.gpr) { s.gpr = Array($0.bindMemory(to: UInt64.self)) }
    s.rip = c.rip
    s.rflags = c.rflags
    withUnsafeBytes(of: c.xmm) { s.fpu.xmm = Array($0.bindMemory(to: UInt64.self)) }
    withUnsafeBytes(of: c.ymm_high) { s.fpu.ymmHigh = Array($0.bindMemory(to: UInt64.self)) }
    withUnsafeBytes(of: c.significand) { s.fpu.significand = Array($0.bindMemory(to: UInt64.self)) }
    withUnsafeBytes(of: c.sign_exponent) { s.fpu.signExponent = Array($0.bindMemory(to: UInt16.self)) }
    s.fpu.mxcsr = c.mxcsr
    s.fpu.control = c.control
    s.fpu.status = c.status
    s.fpu.tag = 0
    for i in 0..<8 where c.tags >> UInt8(i) & 1 == 0 { s.fpu.tag |= 3 << UInt16(i * 2) }
    return s
  }

  /// Runs a case to its end; the result in the oracle's form. Control register bits are set or cleared
  /// beyond what the host has.
  func run(
    _ initial: OracleCase, setCR0: UInt64 = 0, clearCR0: UInt64 = 0, clearCR4: UInt64 = 0
  ) -> (coracle_case, data: [UInt64]) {
    var c = initial.initial
    withUnsafeBytes(of: &c.code) { _ = memory.write(Self.codePage, $0) }
    initial.data.withUnsafeBytes { _ = memory.write(Self.dataPage, $0) }
    var state = initialState(c)
    state.cr0 = (state.cr0 | setCR0) & ~clearCR0
    state.cr4 &= ~clearCR4
    vcpu.state = state
    let exit = vcpu.run(.resume, limit: 1000)
    let s = vcpu.state
    c.ran = 1
    c.rip = s.rip
    switch exit.qualification {
    case .exception(let vector, let errorCode, let linear):
      c.vector = vector
      c.error = errorCode ?? 0
      c.cr2 = vector == Exception.pf.rawValue ? linear : 0
      // The host reports INT3 after it, as a trap.
      if vector == Exception.bp.rawValue { c.rip &+= 1 }
    case .budget: c.vector = 255
    default: c.vector = 254
    }
    withUnsafeMutableBytes(of: &c.gpr) { $0.copyBytes(from: s.gpr.withUnsafeBytes { Array($0) }) }
    c.rflags = s.rflags
    withUnsafeMutableBytes(of: &c.xmm) { $0.copyBytes(from: s.fpu.xmm.withUnsafeBytes { Array($0) }) }
    withUnsafeMutableBytes(of: &c.ymm_high) { $0.copyBytes(from: s.fpu.ymmHigh.withUnsafeBytes { Array($0) }) }
    withUnsafeMutableBytes(of: &c.significand) { $0.copyBytes(from: s.fpu.significand.withUnsafeBytes { Array($0) }) }
    withUnsafeMutableBytes(of: &c.sign_exponent) {
      $0.copyBytes(from: s.fpu.signExponent.withUnsafeBytes { Array($0) })
    }
    c.mxcsr = s.fpu.mxcsr
    c.control = s.fpu.control
    c.status = s.fpu.status
    c.tags = 0
    for i in 0..<8 where s.fpu.tag >> UInt16(i * 2) & 3 != 3 { c.tags |= 1 << UInt8(i) }
    var data = [UInt64](repeating: 0, count: initial.data.count)
    data.withUnsafeMutableBytes { _ = memory.read(Self.dataPage, into: $0) }
    return (c, data)
  }
}
