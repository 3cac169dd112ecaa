import COracle
import Testing
import X86

/// Instructions the random comparison leaves out: what they store includes the x87 unit's instruction and
/// data pointers, which processors keep in their own ways. Compared with the host but for those.
extension OracleTests {
  struct StateForm: Sendable, CustomTestStringConvertible {
    var name: String
    var mode: coracle_mode
    var bytes: [UInt8]
    /// Bytes of the data area from its start that are not compared.
    var open: [Range<Int>]
    /// The instruction reads an image that the same bytes stored before.
    var storing: [UInt8] = []
    var testDescription: String { name }
  }

  /// FOP, FIP, FDP and MXCSR_MASK of FXSAVE; the pointers of the environments.
  static let fxOpen = [6..<24, 28..<32]
  static let env32Open = [12..<28]
  static let env16Open = [6..<14]

  static let stateForms: [StateForm] = [
    StateForm(name: "fxsave, 64-bit", mode: CORACLE_LONG64, bytes: [0x0F, 0xAE, 0x07], open: fxOpen),
    StateForm(name: "fxsave64", mode: CORACLE_LONG64, bytes: [0x48, 0x0F, 0xAE, 0x07], open: fxOpen),
    StateForm(name: "fxsave, 32-bit", mode: CORACLE_COMPAT32, bytes: [0x0F, 0xAE, 0x07], open: fxOpen),
    StateForm(name: "fnstenv", mode: CORACLE_LONG64, bytes: [0xD9, 0x37], open: env32Open),
    StateForm(name: "fnstenv, 16-bit", mode: CORACLE_COMPAT32, bytes: [0x66, 0xD9, 0x37], open: env16Open),
    StateForm(name: "fnsave", mode: CORACLE_COMPAT32, bytes: [0xDD, 0x37], open: env32Open),
    StateForm(name: "fnsave, 16-bit", mode: CORACLE_LONG64, bytes: [0x66, 0xDD, 0x37], open: env16Open),
    StateForm(
      name: "frstor", mode: CORACLE_LONG64, bytes: [0xDD, 0x27], open: env32Open, storing: [0xDD, 0x37]),
    StateForm(
      name: "frstor, 16-bit", mode: CORACLE_COMPAT32, bytes: [0x66, 0xDD, 0x27], open: env16Open,
      storing: [0x66, 0xDD, 0x37]),
    StateForm(
      name: "fldenv", mode: CORACLE_COMPAT32, bytes: [0xD9, 0x27], open: env32Open, storing: [0xD9, 0x37]),
    StateForm(
      name: "fxrstor", mode: CORACLE_LONG64, bytes: [0x0F, 0xAE, 0x0F], open: fxOpen, storing: [0x0F, 0xAE, 0x07]),
  ]

  @Test(arguments: stateForms)
  func `whole x87 states are stored and loaded as the host's processor does`(_ form: StateForm) throws {
    let cases = try #require(coracle_cases())
    defer { coracle_close() }
    let machine = try OracleMachine()
    var generator = OracleGenerator(seed: 99)
    for number in 0..<40 {
      var c = generator.next()
      c.stand(in: form.mode)
      // Storing first makes the image; FNINIT and a few pushes make the state another.
      let between: [UInt8] = form.storing.isEmpty ? [] : [0xDB, 0xE3, 0xD9, 0xE8, 0xD9, 0xEB]
      c.put(form.storing + between + form.bytes)
      c.disassembly = [form.name]
      c.undefinedFlags = 0
      c.undefinedStatus = 0
      c.branches = false
      c.place(at: 0, cases)
      #expect(coracle_run(1) == 0)
      let (ours, ourData) = machine.run(c)
      let native = [UInt8](OracleCase.nativeData(0))
      var mine = ourData.withUnsafeBytes { [UInt8]($0) }
      for range in form.open { mine.replaceSubrange(range, with: native[range]) }
      let data = mine.withUnsafeBytes { Array($0.bindMemory(to: UInt64.self)) }
      let lines = OracleComparison.differences(
        c, native: cases[0], nativeData: OracleCase.nativeData(0), ours: ours, ourData: data)
      #expect(lines.isEmpty, "\(OracleComparison.report(number: number, c, native: cases[0], lines: lines))")
    }
  }

  struct Availability: Sendable, CustomTestStringConvertible {
    var name: String
    var bytes: [UInt8]
    var set0: UInt64 = 0
    var clear0: UInt64 = 0
    var clear4: UInt64 = 0
    var exception: Exception
    var testDescription: String { "\(name) gives \(exception.mnemonic)" }
  }

  static let addps: [UInt8] = [0x0F, 0x58, 0xC1]
  static let paddb: [UInt8] = [0x0F, 0xFC, 0xC1]
  static let movnti: [UInt8] = [0x0F, 0xC3, 0x07]
  static let fxsave: [UInt8] = [0x0F, 0xAE, 0x07]
  static let availability: [Availability] = [
    Availability(name: "addps", bytes: addps, exception: .bp),
    Availability(name: "addps with CR0.EM", bytes: addps, set0: CR0.em, exception: .ud),
    Availability(name: "addps with CR0.TS", bytes: addps, set0: CR0.ts, exception: .nm),
    Availability(name: "addps without CR4.OSFXSR", bytes: addps, set0: CR0.ts, clear4: CR4.osfxsr, exception: .ud),
    Availability(name: "paddb mm with CR0.EM", bytes: paddb, set0: CR0.em, exception: .ud),
    Availability(name: "paddb mm with CR0.TS", bytes: paddb, set0: CR0.ts, exception: .nm),
    Availability(name: "paddb mm without CR4.OSFXSR", bytes: paddb, clear4: CR4.osfxsr, exception: .bp),
    Availability(name: "movnti with CR0.EM and TS", bytes: movnti, set0: CR0.em | CR0.ts, exception: .bp),
    Availability(name: "fld1 with CR0.EM", bytes: [0xD9, 0xE8], set0: CR0.em, exception: .nm),
    Availability(name: "fnstsw with CR0.TS", bytes: [0xDF, 0xE0], set0: CR0.ts, exception: .nm),
    Availability(name: "fwait with CR0.TS and MP", bytes: [0x9B], set0: CR0.ts | CR0.mp, exception: .nm),
    Availability(name: "fwait with CR0.TS alone", bytes: [0x9B], set0: CR0.ts, clear0: CR0.mp, exception: .bp),
    Availability(name: "fxsave with CR0.EM", bytes: fxsave, set0: CR0.em, exception: .nm),
    Availability(name: "fxsave", bytes: fxsave, exception: .bp),
    Availability(name: "fxsave to an odd address", bytes: [0x0F, 0xAE, 0x47, 0x01], exception: .gp),
    Availability(name: "ldmxcsr of reserved bits", bytes: [0x0F, 0xAE, 0x57, 0x10], exception: .gp),
    Availability(name: "fxrstor of reserved MXCSR bits", bytes: [0x0F, 0xAE, 0x0F], exception: .gp),
  ]

  @Test(arguments: availability)
  func `availability of the units follows CR0 and CR4`(_ row: Availability) throws {
    let machine = try OracleMachine()
    var c = OracleCase()
    c.initial.mode = UInt8(CORACLE_LONG64.rawValue)
    c.initial.rip = UInt64(CORACLE_CODE)
    c.initial.gpr.7 = UInt64(CORACLE_DATA)
    c.initial.gpr.4 = UInt64(CORACLE_DATA) + 0x1000
    c.initial.mxcsr = 0x1F80
    c.initial.control = 0x37F
    // All ones: bad as an MXCSR at 24 and at 16.
    c.data = Array(repeating: .max, count: Int(CORACLE_DATA_BYTES) / 8)
    withUnsafeMutableBytes(of: &c.initial.code) { $0.copyBytes(from: row.bytes + Array(repeating: 0xCC, count: 40)) }
    let (result, _) = machine.run(c, setCR0: row.set0, clearCR0: row.clear0, clearCR4: row.clear4)
    #expect(Exception(rawValue: result.vector) == row.exception)
  }
}
