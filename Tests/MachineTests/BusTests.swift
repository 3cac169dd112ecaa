import Machine
import Testing
import VMCore

struct BusTests {
  @Test(arguments: [(UInt8(1), UInt64(0xFF)), (2, 0xFFFF), (4, 0xFFFF_FFFF)])
  func `an unclaimed port reads all ones and says so`(size: UInt8, ones: UInt64) throws {
    let bench = try Bench()
    #expect(bench.in(0x2F8, size: size) == ones)
    bench.out(0x2E8, 0x12, size: size)
    let events = bench.drainEvents().filter { $0.kind == .unclaimed }
    #expect(events.map(\.a) == [UInt32(size), UInt32(size) | 0x100])
    #expect(events.map(\.b) == [0x2F8, 0x2E8])
    #expect(events.map(\.c) == [ones, 0x12])
    #expect(events.allSatisfy { $0.d == 0 && $0.rip == 0x1000 })
  }

  @Test(arguments: [(UInt8(1), UInt64(0xFF)), (2, 0xFFFF), (4, 0xFFFF_FFFF), (8, .max)])
  func `an unclaimed address reads all ones and says so`(size: UInt8, ones: UInt64) throws {
    let bench = try Bench()
    #expect(bench.load(0xD000_0000, size: size) == ones)
    let event = try #require(bench.drainEvents().first)
    #expect(event.kind == .unclaimed && event.b == 0xD000_0000 && event.d == 1)
  }

  @Test func `a wide access to byte registers goes to consecutive ports`() throws {
    let bench = try Bench()
    bench.out(0x3FF, 0x5A)
    // 3FEh is MSR (B0h, connected), 3FFh the scratch register.
    #expect(bench.in(0x3FE, size: 2) == 0x5AB0)
    // 400h is nobody's.
    #expect(bench.in(0x3FF, size: 2) == 0xFF5A)
    bench.out(0x3D4, 0x340E, size: 2)
    bench.out(0x3D4, 0x120F, size: 2)
    #expect(bench.pc.vga.cursor == 0x3412)
  }

  @Test(arguments: [(UInt16(0xCF8), UInt8(4)), (0xCFC, 4), (0xCFE, 2)])
  func `places everybody looks at float without a word`(port: UInt16, size: UInt8) throws {
    let bench = try Bench()
    bench.out(port, 0x8000_0000, size: size)
    #expect(bench.in(port, size: size) == UInt64(1) << (size * 8) - 1)
    #expect(bench.drainEvents().isEmpty)
  }

  @Test func `a service claims a port with a closure that gets the exit`() throws {
    let bench = try Bench()
    bench.pc.ports.claim(0x7777, name: "service") { exit, vcpu in
      vcpu.setGPR(.rbx, UInt64(exit.instructionLength))
      return .skip
    }
    let exit = bench.vcpu.exit(.io, .io(port: 0x7777, size: 1, write: true, string: false, rep: false, value: 1))
    #expect(bench.pc.handle(exit, on: bench.vcpu) == .skip)
    #expect(bench.vcpu.gpr(.rbx) == 2)
    #expect(bench.pc.handlerName(for: exit) == "service")
  }

  @Test(arguments: [
    (UInt16(0x3F8), true, "COM1 THR"), (0x3F8, false, "COM1 RBR"), (0x3FD, false, "COM1 LSR"),
    (0x20, true, "PIC1 command"), (0xA1, false, "PIC2 data"), (0x43, true, "PIT control"), (0x71, false, "CMOS data"),
    (0x64, false, "PS/2 status"), (0xE9, true, "debug port"), (0x4852, true, "doorbell"), (0xF4, true, "power exit"),
    (0x2F8, true, "COM2"),
  ])
  func `ports have the names people know`(port: UInt16, write: Bool, name: String) throws {
    #expect(try Bench().pc.portName(port, write: write) == name)
  }

  @Test func `addresses have the names people know`() throws {
    let pc = try Bench().pc
    #expect(pc.mmioName(GPA(0xFEE0_00B0)) == "LAPIC EOI")
    #expect(pc.mmioName(GPA(0xFEC0_0010)) == "IOAPIC IOWIN")
    #expect(pc.mmioName(GPA(0xFEB0_0000)) == nil)
  }

  @Test(arguments: [
    (ExitQualification.io(port: 0x3F8, size: 1, write: true, string: false, rep: false, value: 0), "uart16550"),
    (.io(port: 0xA0, size: 1, write: true, string: false, rep: false, value: 0), "pic"),
    (.io(port: 0x9999, size: 1, write: true, string: false, rep: false, value: 0), ""),
    (.mmio(gpa: GPA(0xFEE0_0020), linear: GVA(0), size: 4, write: false, value: 0), "lapic"),
    (.mmio(gpa: GPA(0xFEC0_0000), linear: GVA(0), size: 4, write: false, value: 0), "ioapic"),
    (.msr(index: 0x1B, write: false, value: 0), "lapic"), (.cpuid(leaf: 0, subleaf: 0), "cpuid"), (.hlt, ""),
  ])
  func `each exit names its handler`(qualification: ExitQualification, name: String) throws {
    let bench = try Bench()
    #expect(bench.pc.handlerName(for: bench.vcpu.exit(.io, qualification)) == name)
  }

  @Test func `the echo register at E0h keeps four bytes`() throws {
    let bench = try Bench()
    bench.out(0xE0, 0x1234_5678, size: 4)
    #expect(bench.in(0xE0, size: 4) == 0x1234_5678)
    bench.out(0xE1, 0xAB)
    #expect(bench.in(0xE0, size: 4) == 0x1234_AB78)
    #expect(bench.in(0xE2, size: 2) == 0x1234)
  }

  @Test func `delay and POST ports take writes silently`() throws {
    let bench = try Bench()
    bench.out(0x80, 0x11)
    bench.out(0x190, 0xFF)
    #expect(bench.drainEvents().isEmpty)
  }
}

struct PowerTests {
  @Test(arguments: [(UInt64(0), UInt8(1), Int32(1)), (3, 1, 7), (0x10, 4, 33), (0xFF, 2, 255), (0x80, 1, 1)])
  func `the exit port ends with value times two plus one`(value: UInt64, size: UInt8, status: Int32) throws {
    let bench = try Bench()
    bench.out(0xF4, value, size: size)
    #expect(bench.pc.takeRequests() == [.exit(status: status)])
    #expect(bench.pc.takeRequests().isEmpty)
    #expect(bench.drainEvents().last?.kind == .request)
  }

  @Test(arguments: [(0x64, [0xFE]), (0xCF9, [0x02, 0x06]), (0x92, [0x03])] as [(UInt16, [UInt64])])
  func `three ways to a reset`(port: UInt16, values: [UInt64]) throws {
    let bench = try Bench()
    for value in values { bench.out(port, value) }
    #expect(bench.pc.takeRequests() == [.reset])
  }

  @Test func `shutdown by text at 8900h and by ACPI at 604h`() throws {
    let bench = try Bench()
    for byte in "ShutShutdown".utf8 { bench.out(0x8900, UInt64(byte)) }
    #expect(bench.pc.takeRequests() == [.shutdown])
    bench.out(0x604, 0x2000, size: 2)
    #expect(bench.pc.takeRequests() == [.shutdown])
    bench.out(0x604, 0x0001, size: 2)
    #expect(bench.pc.takeRequests().isEmpty)
  }

  @Test func `the debug port writes to the console and reads E9h`() throws {
    let bench = try Bench()
    for byte in "ok".utf8 { bench.out(0xE9, UInt64(byte)) }
    #expect(bench.in(0xE9) == 0xE9)
    #expect(bench.pc.takeConsoleOutput() == Array("ok".utf8))
    #expect(bench.pc.takeConsoleOutput().isEmpty)
    #expect(bench.drainEvents().filter { $0.kind == .output }.map(\.a) == [0x6F, 0x6B])
  }
}
