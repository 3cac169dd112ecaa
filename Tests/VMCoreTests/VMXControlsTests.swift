import Testing
import VMCore
import X86

/// The decision function against tables made from the manual's rules (SDM 3C 25.6, 26.1 to 26.3): every control and
/// bitmap bit on and off for every instruction and event it governs.
@Suite struct VMXControlsTests {
  /// Bitmap bits that are 1, by field and bit number within it.
  struct Bit: Hashable {
    var field: VMCSField
    var number: Int
  }
  struct Row {
    var name: String
    var controls: VMXControls
    var event: VMXEvent
    var bits: Set<Bit> = []
    var expected: VMXCause?
  }

  private static let executionBits = VMXControlBit.all.filter {
    [.pinControls, .primaryControls, .secondaryControls].contains($0.field)
  }

  private static func controls(_ bits: [VMXControlBit]) -> VMXControls {
    var controls = VMXControls()
    for bit in bits {
      switch bit.field {
      case .pinControls: controls.pin |= bit.mask
      case .primaryControls: controls.primary |= bit.mask
      default: controls.secondary |= bit.mask
      }
    }
    return controls
  }

  private func check(_ rows: [Row], atLeast count: Int) {
    #expect(rows.count >= count)
    var wrong: [String] = []
    for row in rows {
      let cause = row.controls.cause(of: row.event) { field, offset in
        (0..<8).reduce(UInt8(0)) { byte, bit in
          row.bits.contains(Bit(field: field, number: offset * 8 + bit)) ? byte | 1 << UInt8(bit) : byte
        }
      }
      if cause != row.expected {
        let expected = row.expected.map { "\($0)" } ?? "none"
        wrong.append("\(row.name): expected \(expected), was \(cause.map { "\($0)" } ?? "none")")
      }
    }
    #expect(wrong.isEmpty, "\(wrong.count) of \(rows.count): \(wrong.prefix(5).joined(separator: "; "))")
  }

  // MARK: One control, one event

  /// Events that exactly one control bit governs.
  private static let governed: [(VMXEvent, VMXControlBit)] = [
    (.externalInterrupt, .externalInterruptExiting), (.nmi, .nmiExiting), (.preemptionTimer, .preemptionTimer),
    (.interruptWindow, .interruptWindowExiting), (.nmiWindow, .nmiWindowExiting), (.hlt, .hltExiting),
    (.invlpg, .invlpgExiting), (.mwait, .mwaitExiting), (.rdpmc, .rdpmcExiting), (.rdtsc, .rdtscExiting),
    (.rdtscp, .rdtscExiting), (.movToCR(number: 3, value: 0x5000), .cr3LoadExiting),
    (.movFromCR(number: 3), .cr3StoreExiting), (.movToCR(number: 8, value: 3), .cr8LoadExiting),
    (.movFromCR(number: 8), .cr8StoreExiting), (.movDR, .movDRExiting), (.instructionRetired, .monitorTrapFlag),
    (.monitor, .monitorExiting), (.pause, .pauseExiting), (.descriptorTable, .descriptorTableExiting),
    (.wbinvd, .wbinvdExiting),
  ]

  @Test("an event exits by its own control alone: each control on by itself, and off by itself")
  func controlMatrix() {
    var rows: [Row] = []
    for (event, own) in Self.governed {
      let cause = event == .movToCR(number: 3, value: 0x5000) ? VMXCause.cr3Load : .control(own)
      for bit in Self.executionBits {
        rows.append(
          Row(
            name: "\(event), only \(bit.name)", controls: Self.controls([bit]), event: event,
            expected: bit == own ? cause : nil))
        rows.append(
          Row(
            name: "\(event), all but \(bit.name)", controls: Self.controls(Self.executionBits.filter { $0 != bit }),
            event: event, expected: bit == own ? nil : cause))
      }
    }
    check(rows, atLeast: 1200)
  }

  @Test("unconditional exits ask no control, and reads of CR0, CR2 and CR4 never exit")
  func unconditional() {
    let always: [VMXEvent] = [
      .tripleFault, .taskSwitch, .cpuid, .getsec, .invd, .xsetbv, .vmxInstruction,
    ]
    let never: [VMXEvent] = [
      .movFromCR(number: 0), .movFromCR(number: 2), .movFromCR(number: 4), .movToCR(number: 2, value: .max),
    ]
    var rows: [Row] = []
    for bit in Self.executionBits {
      for event in always {
        rows.append(Row(name: "\(event)", controls: Self.controls([bit]), event: event, expected: .always))
      }
      for event in never {
        rows.append(Row(name: "\(event)", controls: Self.controls([bit]), event: event, expected: nil))
      }
    }
    check(rows, atLeast: 300)
  }

  // MARK: Exceptions

  @Test("each bit of the exception bitmap makes its own vector exit, and no other")
  func exceptionBitmap() {
    var rows: [Row] = []
    for vector in 0..<32 as Range<UInt8> {
      for bit in 0..<32 as Range<UInt32> {
        var controls = VMXControls()
        controls.exceptions = 1 << bit
        let exits = UInt32(vector) == bit
        rows.append(
          Row(
            name: "vector \(vector), bit \(bit)", controls: controls, event: .exception(vector: vector, errorCode: 0),
            expected: exits ? .exceptionBitmap(vector: vector) : nil))
      }
    }
    check(rows, atLeast: 1024)
  }

  @Test("a page fault's error code, mask and match turn bit 14 round")
  func pageFaults() {
    var rows: [Row] = []
    for code in 0..<8 as Range<UInt32> {
      for mask in 0..<8 as Range<UInt32> {
        for match in 0..<8 as Range<UInt32> {
          for bit in [false, true] {
            var controls = VMXControls()
            controls.exceptions = bit ? 1 << 14 : 0
            controls.pageFaultMask = mask
            controls.pageFaultMatch = match
            let exits = code & mask == match ? bit : !bit
            rows.append(
              Row(
                name: "code \(code) mask \(mask) match \(match) bit \(bit)", controls: controls,
                event: .exception(vector: 14, errorCode: code), expected: exits ? .exceptionBitmap(vector: 14) : nil))
          }
        }
      }
    }
    check(rows, atLeast: 1024)
  }

  // MARK: Ports

  @Test("I/O bitmaps: one bit for each port, every port an access covers, and no way beyond FFFFh")
  func ports() {
    let ports: [Int] = [0, 1, 6, 7, 8, 0x3F8, 0x7FFC, 0x7FFD, 0x7FFE, 0x7FFF, 0x8000, 0x8001, 0xFFFC, 0xFFFD, 0xFFFE, 0xFFFF]
    var rows: [Row] = []
    for port in ports {
      for size in [1, 2, 4] {
        for marked in -1...4 where (0...0xFFFF).contains(port + marked) {
          let number = port + marked
          let bit = Bit(field: number < 0x8000 ? .ioBitmapA : .ioBitmapB, number: number & 0x7FFF)
          var expected: VMXCause?
          if marked >= 0 && marked < size {
            expected = .ioBitmap(port: UInt16(number))
          } else if port + size > 0x10000 {
            expected = .ioWrap
          }
          rows.append(
            Row(
              name: "port \(port) size \(size) bit \(number)",
              controls: Self.controls([.useIOBitmaps, .unconditionalIOExiting]),
              event: .io(port: UInt16(port), size: UInt8(size)), bits: [bit], expected: expected))
        }
        for on in [false, true] {
          rows.append(
            Row(
              name: "port \(port) size \(size) without bitmaps",
              controls: Self.controls(on ? [.unconditionalIOExiting] : []),
              event: .io(port: UInt16(port), size: UInt8(size)),
              bits: [Bit(field: .ioBitmapA, number: port & 0x7FFF), Bit(field: .ioBitmapB, number: port & 0x7FFF)],
              expected: on ? .control(.unconditionalIOExiting) : nil))
        }
      }
    }
    check(rows, atLeast: 300)
  }

  // MARK: MSRs

  @Test("MSR bitmaps: four quarters by direction and half; what lies outside exits")
  func msrs() {
    let low: [UInt32] = [0, 1, 7, 8, 0x10, 0x174, 0x1A0, 0x277, 0x1FFE, 0x1FFF]
    let indexes = low + low.map { $0 | 0xC000_0000 } + [0x2000, 0x4000_0000, 0xBFFF_FFFF, 0xC000_2000, .max]
    let quarters: [(write: Bool, high: Bool)] = [(false, false), (false, true), (true, false), (true, true)]
    var rows: [Row] = []
    for index in indexes {
      let isLow = index < 0x2000
      let isHigh = (0xC000_0000..<0xC000_2000).contains(index)
      for write in [false, true] {
        let event: VMXEvent = write ? .wrmsr(index) : .rdmsr(index)
        rows.append(
          Row(
            name: "\(event) without bitmaps", controls: Self.controls([]), event: event,
            expected: .controlOff(.useMSRBitmaps)))
        for (position, quarter) in quarters.enumerated() {
          for neighbour in [-1, 0, 1] {
            let number = position * 0x2000 + Int(index & 0x1FFF) + neighbour
            guard number >= 0, number < 0x8000 else { continue }
            var expected: VMXCause?
            if !isLow && !isHigh {
              expected = .msrOutside(index: index)
            } else if neighbour == 0 && quarter.write == write && quarter.high == isHigh {
              expected = .msrBitmap(index: index, write: write)
            } else {
              // A neighbour across the border of a quarter is another MSR's bit, never this one's.
              expected = nil
            }
            rows.append(
              Row(
                name: "\(event), bit \(number)", controls: Self.controls([.useMSRBitmaps]), event: event,
                bits: [Bit(field: .msrBitmap, number: number)], expected: expected))
          }
        }
      }
    }
    check(rows, atLeast: 500)
  }

  // MARK: Control registers

  @Test("CR0 and CR4: a write exits where an owned bit differs from the shadow")
  func masksAndShadows() {
    var rows: [Row] = []
    for bit in 0..<64 as Range<UInt64> {
      for combination in 0..<8 {
        let mask: UInt64 = combination & 1 != 0 ? 1 << bit : 0
        let shadow: UInt64 = combination & 2 != 0 ? 1 << bit : 0
        let value: UInt64 = combination & 4 != 0 ? 1 << bit : 0
        var controls = VMXControls()
        controls.cr0Mask = mask
        controls.cr0Shadow = shadow
        controls.cr4Mask = mask
        controls.cr4Shadow = shadow
        let differs = mask != 0 && shadow != value
        for number in [0, 4] as [UInt8] {
          let field: VMCSField = number == 0 ? .cr0Mask : .cr4Mask
          rows.append(
            Row(
              name: "CR\(number) bit \(bit), \(combination)", controls: controls,
              event: .movToCR(number: number, value: value),
              expected: differs ? .guestHostMask(field, bits: mask) : nil))
        }
      }
    }
    check(rows, atLeast: 1024)
  }

  @Test("CLTS and LMSW by CR0's mask and shadow: LMSW asks for no 0 in PE, and touches four bits only")
  func clearAndLoad() {
    var rows: [Row] = []
    for bit in 0..<16 as Range<UInt64> {
      for combination in 0..<8 {
        let mask: UInt64 = combination & 1 != 0 ? 1 << bit : 0
        let shadow: UInt64 = combination & 2 != 0 ? 1 << bit : 0
        let word: UInt16 = combination & 4 != 0 ? 1 << UInt16(bit) : 0
        var controls = VMXControls()
        controls.cr0Mask = mask
        controls.cr0Shadow = shadow
        let differs = mask != 0 && UInt64(word) != shadow
        let matters = bit == 0 ? word != 0 : bit < 4
        rows.append(
          Row(
            name: "LMSW bit \(bit), \(combination)", controls: controls, event: .lmsw(word),
            expected: differs && matters ? .guestHostMask(.cr0Mask, bits: mask) : nil))
        let clears = bit == 3 && mask != 0 && shadow != 0
        rows.append(
          Row(
            name: "CLTS bit \(bit), \(combination)", controls: controls, event: .clts,
            expected: clears ? .guestHostMask(.cr0Mask, bits: mask) : nil))
      }
    }
    check(rows, atLeast: 256)
  }

  @Test("a CR3 value exits unless it is among the targets that count")
  func targets() {
    var rows: [Row] = []
    for count in 0...4 {
      for candidate in 0..<5 {
        for on in [false, true] {
          var controls = Self.controls(on ? [.cr3LoadExiting] : [])
          controls.cr3Targets = (0..<count).map { UInt64($0) << 12 }
          rows.append(
            Row(
              name: "\(count) targets, number \(candidate)", controls: controls,
              event: .movToCR(number: 3, value: UInt64(candidate) << 12),
              expected: on && candidate >= count ? .cr3Load : nil))
        }
      }
    }
    check(rows, atLeast: 50)
  }

  @Test("the guest reads the shadow where the monitor owns a bit, and writes only what it owns itself")
  func visibility() {
    for bit in 0..<32 as Range<UInt64> {
      for combination in 0..<16 {
        let on = { (n: Int) -> UInt64 in combination >> n & 1 != 0 ? 1 << bit : 0 }
        let (mask, shadow, real, value) = (on(0), on(1), on(2), on(3))
        var controls = VMXControls()
        controls.cr0Mask = mask
        controls.cr0Shadow = shadow
        controls.cr4Mask = mask
        controls.cr4Shadow = shadow
        #expect(controls.visibleCR0(real) == (mask != 0 ? shadow : real))
        #expect(controls.visibleCR4(real) == (mask != 0 ? shadow : real))
        #expect(controls.writtenCR0(real, value) == (mask != 0 ? real : value))
        #expect(controls.writtenCR4(real, value) == (mask != 0 ? real : value))
      }
    }
  }

  // MARK: Capabilities

  @Test("capability MSRs advertise no more than there is")
  func capabilities() throws {
    func high(_ index: UInt32) throws -> UInt64 { try #require(VMXCapabilities.msr(index, cr4: CR4.vmxe)) >> 32 }
    // Posted interrupts.
    #expect(try high(0x481) & 1 << 7 == 0)
    // Virtual APIC accesses and registers, x2APIC, virtual-interrupt delivery, PAUSE loops, RDRAND and RDSEED exiting,
    // INVPCID, VMFUNC, VMCS shadowing, ENCLS, PML, #VE, XSAVES, TSC scaling and what came after.
    let absent: [UInt64] = [0, 4, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28]
    for bit in absent { #expect(try high(0x48B) & 1 << bit == 0, "secondary control \(bit)") }
    // Tertiary controls.
    #expect(try high(0x482) & 1 << 17 == 0)
    // SMM, PERF_GLOBAL_CTRL, BNDCFGS, PT, LBR, CET and supervisor keys.
    for bit in [10, 11, 13, 16, 17, 18, 20, 21, 22] as [UInt64] { #expect(try high(0x484) & 1 << bit == 0) }
    for bit in [12, 23, 24, 25, 26, 28, 29] as [UInt64] { #expect(try high(0x483) & 1 << bit == 0) }
    let ept = try #require(VMXCapabilities.msr(0x48C, cr4: 0))
    // Execute-only pages, five levels, accessed and dirty flags, advanced exit information.
    for bit in [0, 7, 21, 22, 23] as [UInt64] { #expect(ept & 1 << bit == 0) }
    // VMWRITE to any field, events without instruction length.
    #expect(try #require(VMXCapabilities.msr(0x485, cr4: 0)) & (1 << 29 | 1 << 30) == 0)
    #expect(VMXCapabilities.msr(0x491, cr4: 0) == nil)
  }

  @Test("capability MSRs: what must be 1 may be 1, and the TRUE ones are no stricter")
  func consistency() throws {
    for (plain, true_) in [(0x481, 0x48D), (0x482, 0x48E), (0x483, 0x48F), (0x484, 0x490)] as [(UInt32, UInt32)] {
      let first = try #require(VMXCapabilities.msr(plain, cr4: 0))
      let second = try #require(VMXCapabilities.msr(true_, cr4: 0))
      #expect(first & 0xFFFF_FFFF & ~(first >> 32) == 0)
      #expect(second & 0xFFFF_FFFF & ~first == 0)
      #expect(first >> 32 == second >> 32)
    }
  }
}
