import Machine
import Testing
import VMCore
import X86

@Suite("BIOS: the machine")
struct BIOSSystemTests {
  @Test func `every vector points into the BIOS and its stub asks for a service and returns`() throws {
    let bench = try BIOSBench()
    for vector in 0..<UInt64(256) {
      let offset = UInt64(bench.u16(vector * 4))
      #expect(bench.u16(vector * 4 + 2) == 0xF000)
      #expect(offset >= 0xE000)
      let stub = 0xFF000 + vector * 4
      #expect(bench.memory.bytes(stub, 3) == [0xE6, 0xB2, 0xCF])
    }
    #expect(bench.memory.slot(at: GPA(0xF0000))?.kind == .rom)
    #expect(bench.memory.bytes(0xFFFF0, 5) == [0xEA, 0xB0, 0xE0, 0x00, 0xF0])
    #expect(bench.u8(0xFFFFE) == 0xFC)
  }

  /// Jumps and calls in the written-out routines, by where they stand, how long they are and where they lead.
  @Test(arguments: [
    (UInt64(0xE016), UInt64(2), UInt64(0xE02C)), (0xE01E, 2, 0xE02C), (0xE045, 3, 0xF024), (0xE063, 2, 0xE07C),
    (0xE076, 2, 0xE07C), (0xE07A, 2, 0xE065), (0xE07C, 3, 0xF058), (0xE093, 2, 0xE096), (0xE096, 3, 0xF054),
    (0xE0A2, 3, 0xF060), (0xE0A7, 2, 0xE0A5), (0xE0B6, 2, 0xE0B4),
  ])
  func `branches in the BIOS lead where they should`(from: UInt64, length: UInt64, target: UInt64) throws {
    let bench = try BIOSBench()
    let at = 0xF0000 + from + 1
    let displacement = length == 2 ? Int(Int8(bitPattern: bench.u8(at))) : Int(Int16(bitPattern: bench.u16(at)))
    #expect(Int(from) + Int(length) + displacement == Int(target))
  }

  @Test func `the data area says what there is`() throws {
    let bench = try BIOSBench(disk: [UInt8](repeating: 0, count: 512))
    #expect(bench.u16(0x400) == 0x3F8)
    #expect(bench.u16(0x410) == 0x0223)
    #expect(bench.u16(0x413) == 639)
    #expect(bench.u8(0x449) == 3)
    #expect(bench.u16(0x44A) == 80)
    #expect(bench.u8(0x475) == 1)
    #expect(bench.call(0x11).ax == 0x0223)
    #expect(bench.call(0x12).ax == 639)
    #expect(bench.u16(0xB8000) == 0x0720)
  }

  @Test func `the memory map comes entry by entry`() throws {
    let bench = try BIOSBench()
    var entries: [[UInt64]] = []
    var index: UInt64 = 0
    repeat {
      let answer = bench.call(0x15, ax: 0xE820, bx: index, cx: 24, dx: 0x534D_4150, di: 0x9000, flags: 0x203)
      #expect(!answer.carry)
      #expect(bench.vcpu.state[.rax] == 0x534D_4150)
      #expect(bench.vcpu.state[.rcx] == 20)
      entries.append([bench.memory.u64(0x9000), bench.memory.u64(0x9008), UInt64(bench.memory.u32(0x9010))])
      index = bench.vcpu.state[.rbx]
    } while index != 0 && entries.count < 10
    #expect(
      entries == [[0, 0x9FC00, 1], [0x9FC00, 0x400, 2], [0xF0000, 0x10000, 2], [0x10_0000, 31 << 20, 1]])
    #expect(bench.call(0x15, ax: 0xE820, bx: 9, cx: 24, dx: 0x534D_4150).carry)
    #expect(bench.call(0x15, ax: 0xE820, bx: 0, cx: 24, dx: 0).carry)
    #expect(bench.call(0x15, ax: 0xE820, bx: 0, cx: 4, dx: 0x534D_4150).carry)
  }

  @Test(arguments: [
    (UInt64(8 << 20), UInt16(0x1C00), UInt16(0), UInt16(0x1C00)), (32 << 20, 0x3C00, 0x100, 0x7C00),
    (1 << 30, 0x3C00, 0x3F00, 0xFC00),
  ])
  func `memory sizes by the older calls`(ram: UInt64, below: UInt16, above: UInt16, extended: UInt16) throws {
    let bench = try BIOSBench(ramSize: ram)
    #expect(bench.call(0x15, ax: 0xE801).ax == below)
    #expect(bench.word(.rbx) == above && bench.word(.rcx) == below && bench.word(.rdx) == above)
    #expect(bench.call(0x15, ax: 0x8800).ax == extended)
  }

  @Test func `a block is moved between descriptors`() throws {
    let bench = try BIOSBench()
    bench.memory.write(GPA(0x9000), Array("moved up".utf8))
    var table = [UInt8](repeating: 0, count: 0x30)
    table.replaceSubrange(0x12..<0x15, with: [0x00, 0x90, 0x00])
    table.replaceSubrange(0x1A..<0x1D, with: [0x00, 0x00, 0x10])
    table[0x1F] = 0x01
    bench.memory.write(GPA(0x600), table)
    #expect(!bench.call(0x15, ax: 0x8700, cx: 4, si: 0x600).carry)
    #expect(bench.memory.string(0x0110_0000) == "moved up")
    bench.memory.store(GPA(0x61F), UInt8(0x7F))
    #expect(bench.call(0x15, ax: 0x8700, cx: 4, si: 0x600).carry)
    #expect(bench.call(0x15, ax: 0x8700, cx: 0xFFFF, si: 0x600).carry)
  }

  @Test func `the A20 gate is open`() throws {
    let bench = try BIOSBench()
    #expect(!bench.call(0x15, ax: 0x2401).carry)
    #expect(bench.call(0x15, ax: 0x2402).ax == 0x0001)
    #expect(bench.call(0x15, ax: 0x2403).ah == 0)
    #expect(bench.word(.rbx) == 3)
  }

  @Test(arguments: [UInt64(0xC000), 0x4100, 0x2404, 0x5302, 0xFFFF])
  func `functions that are not there say so`(ax: UInt64) throws {
    let answer = try BIOSBench().call(0x15, ax: ax)
    #expect(answer.carry && answer.ah == 0x86)
  }

  @Test func `the power goes off by APM`() throws {
    let bench = try BIOSBench()
    #expect(bench.call(0x15, ax: 0x5300, bx: 0).ax == 0x0102)
    #expect(bench.word(.rbx) == 0x504D)
    #expect(bench.pc.takeRequests().isEmpty)
    bench.call(0x15, ax: 0x5307, bx: 1, cx: 3)
    #expect(bench.pc.takeRequests() == [.shutdown])
  }

  @Test func `a wait lasts its microseconds and lets the timer tick meanwhile`() throws {
    let bench = try BIOSBench()
    let start = bench.vcpu.virtualTime
    var rounds = 0
    var answer = bench.call(0x15, ax: 0x8600, cx: 3, dx: 0x0D40)
    while answer.action == .resume, rounds < 100 {
      rounds += 1
      bench.pc.advance(to: bench.vcpu.virtualTime)
      answer = bench.call(0x15, ax: 0x8600, cx: 3, dx: 0x0D40, flags: 0x203)
    }
    #expect(rounds >= 3 && rounds < 20)
    #expect(!answer.carry)
    #expect(bench.vcpu.virtualTime - start == 200_000_000)
    #expect(bench.pc.interruptPending(vcpu: 0))
    #expect(bench.pc.acknowledgeInterrupt(vcpu: 0) == 0x08)
  }

  @Test func `ticks are read and set, and midnight is told once`() throws {
    let bench = try BIOSBench()
    bench.memory.store(GPA(0x46C), UInt32(0x0012_3456))
    bench.memory.store(GPA(0x470), UInt8(1))
    #expect(bench.call(0x1A).al == 1)
    #expect(bench.word(.rcx) == 0x12 && bench.word(.rdx) == 0x3456)
    #expect(bench.call(0x1A).al == 0)
    bench.call(0x1A, ax: 0x0100, cx: 1, dx: 2)
    #expect(bench.memory.u32(0x46C) == 0x0001_0002)
  }

  @Test func `time and date come from the clock`() throws {
    let bench = try BIOSBench()
    bench.vcpu.virtualTime = 3_723_000_000_000
    bench.pc.advance(to: bench.vcpu.virtualTime)
    #expect(!bench.call(0x1A, ax: 0x0200, flags: 0x203).carry)
    #expect(bench.word(.rcx) == 0x0102 && bench.word(.rdx) == 0x0300)
    #expect(!bench.call(0x1A, ax: 0x0400).carry)
    #expect(bench.word(.rcx) == 0x2026 && bench.word(.rdx) == 0x0101)
    #expect(bench.call(0x1A, ax: 0xB101).carry)
  }

  @Test func `the serial port sends, tells its status and times out`() throws {
    let bench = try BIOSBench()
    #expect(bench.call(0x14, ax: 0x00E3, dx: 0).ah & 0x60 == 0x60)
    #expect(bench.call(0x14, ax: 0x0141, dx: 0).ah & 0x80 == 0)
    #expect(bench.console == "A")
    #expect(bench.call(0x14, ax: 0x0200, dx: 0).ah == 0x80)
    bench.pc.consoleInput([0x42])
    #expect(bench.call(0x14, ax: 0x0200, dx: 0).ax == 0x0042)
    #expect(bench.call(0x14, ax: 0x0300, dx: 1).ah == 0x80)
  }

  @Test func `the devices are as a BIOS leaves them`() throws {
    let bench = try BIOSBench()
    #expect(bench.pc.ports.read(0x21, size: 1) == 0xB8)
    #expect(bench.pc.ports.read(0xA1, size: 1) == 0x8E)
    let period = bench.pc.nextDeadline ?? 0
    #expect(period > 54_000_000 && period < 56_000_000)
    bench.pc.advance(to: period)
    #expect(bench.pc.acknowledgeInterrupt(vcpu: 0) == 0x08)
    bench.pc.ports.write(0x20, size: 1, value: 0x20)
    bench.pc.keyboardInput([0x1E])
    #expect(bench.pc.acknowledgeInterrupt(vcpu: 0) == 0x09)
    #expect(bench.pc.ports.read(0x60, size: 1) == 0x1E)
  }

  @Test func `no boot device is said on the console`() throws {
    let bench = try BIOSBench()
    bench.call(0x18)
    #expect(bench.console == "No bootable device.\r\n")
  }

  @Test func `the service port answers only the BIOS's own stubs`() throws {
    let bench = try BIOSBench()
    bench.vcpu.state[.rax] = 0x0E41
    #expect(bench.out(0xB2, rip: 0x7C00) == .complete(0))
    bench.vcpu.state[.cs] = SegmentState(selector: 0xF000, base: 0xF0000, access: 0x9B)
    #expect(bench.out(0xB2, rip: 0xF041) == .complete(0))
    #expect(bench.out(0xB2, rip: 0xF400) == .complete(0))
    #expect(bench.console == "")
    _ = bench.out(0xB2, rip: 0xF040)
    #expect(bench.console == "A")
  }

  @Test func `an exit for a service is named by its interrupt`() throws {
    let bench = try BIOSBench()
    func name(_ rip: UInt64) -> String {
      let out = ExitQualification.io(port: 0xB2, size: 1, write: true, string: false, rep: false, value: 0)
      let exit = VMExit(
        vcpu: 0, reason: .io, qualification: out, rip: rip, instructionLength: 2, instructionCount: 0)
      return bench.pc.handlerName(for: exit)
    }
    #expect(name(0xF04C) == "bios int 13h")
    #expect(name(0x7C00) == "bios")
  }

  @Test func `a hundred thousand calls with random registers do no harm`() throws {
    let bench = try BIOSBench(ramSize: 1 << 20)
    var random = LoaderRandom(seed: 3)
    let vectors: [UInt8] = [0x09, 0x10, 0x10, 0x11, 0x12, 0x13, 0x13, 0x14, 0x15, 0x16, 0x1A, 0x18, 0x70, 0xFF]
    for round in 0..<100_000 {
      let vector = vectors[random.below(vectors.count)]
      for name in [SegmentName.es, .ds] {
        let selector = UInt16(truncatingIfNeeded: random.next())
        bench.vcpu.state[name] = SegmentState(selector: selector, base: UInt64(selector) << 4)
      }
      let function = UInt64(random.below(0x50)) << 8 | random.next() & 0xFF
      let cx = round % 100 == 0 ? random.next() & 0xFFFF : random.next() & 0x3FF
      bench.call(
        vector, ax: function, bx: random.next() & 0xFFFF, cx: cx, dx: random.next() & 0xFF81, si: random.next() & 0xFFFF,
        di: random.next() & 0xFFFF, bp: random.next() & 0xFFFF)
      if round % 1000 == 0 { _ = bench.pc.takeConsoleOutput() }
    }
    _ = bench.pc.inspection
  }
}
