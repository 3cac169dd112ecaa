import Engines
import Testing
import VMCore
import X86

/// REP INS and OUTS over a device, element by element, against a model of a few lines: interpreter and rewriter, with the
/// port's bit in the I/O bitmap and without.
@Suite("INS and OUTS") struct PortStringTests {
  private static let port: UInt16 = 0x1F0
  private static let engines = ["interpreter", "rewriter"]

  /// One access the device saw: size in bytes, value written, nil for a read.
  private struct Access: Equatable {
    var size: UInt8
    var written: UInt64?
  }

  /// What a run is to leave, and what a device is to see.
  private struct Result: Equatable {
    var accesses: [Access] = []
    var memory: [UInt8]
    var ecx, esi, edi: UInt64
  }

  struct Case: Sendable, CustomStringConvertible {
    var isInput: Bool
    var size: UInt64
    var isDown = false
    var isRepeated = true
    var count: UInt64 = 5
    /// Low 13 bits of the first element's address in a window of two pages and a bit from 20000h.
    var at: UInt64 = 0x100
    /// FS and GS have bases of their own; only OUTS can use them.
    var prefix: [UInt8] = []
    var base: UInt64 = 0
    var address16 = false
    var description: String {
      "\(isInput ? "ins" : "outs") of \(size), \(isDown ? "down" : "up"), \(isRepeated ? "rep \(count)" : "once"), from \(at), \(prefix)"
    }
  }

  private static let window: UInt64 = 0x20000
  private static let windowSize = 0x3000
  private static func initialByte(_ index: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: index &* 37 &+ index >> 8 &+ 11) }
  /// The nth value the device gives, all bytes different.
  private static func given(_ number: Int) -> UInt64 { 0x0403_0201 &+ UInt64(number) &* 0x1111_1111 & 0xFFFF_FFFF }

  /// MOV EDI/ESI, address; MOV ECX, count; MOV EDX, port; CLD or STD; the instruction; DEC EBP; JNZ; HLT. In all six
  /// times, so that it is warm; what comes from memory is the same each time.
  private func code(_ test: Case) -> [UInt8] {
    let offset = Self.window &+ test.at &- test.base
    var body: [UInt8] = [0xBF] + le32(offset) + [0xBE] + le32(offset) + [0xB9] + le32(test.count)
    body += [0xBA] + le32(UInt64(Self.port)) + [test.isDown ? 0xFD : 0xFC]
    if test.isRepeated { body.append(0xF3) }
    if test.size == 2 { body.append(0x66) }
    body += test.prefix
    body.append((test.isInput ? 0x6C : 0x6E) | (test.size == 1 ? 0 : 1))
    body.append(0x4D)
    return body + [0x0F, 0x85] + le32(UInt64(bitPattern: Int64(-(body.count + 6)))) + [0xF4]
  }

  private func model(_ test: Case) -> Result {
    var memory = (0..<UInt64(Self.windowSize)).map(Self.initialByte)
    var accesses: [Access] = []
    let step = test.isDown ? 0 &- test.size : test.size
    var place = Self.window &+ test.at
    for _ in 0..<6 {
      place = Self.window &+ test.at
      for _ in 0..<(test.isRepeated ? test.count : 1) {
        let index = Int(place - Self.window)
        if test.isInput {
          let value = Self.given(accesses.count)
          for byte in 0..<Int(test.size) { memory[index + byte] = UInt8(truncatingIfNeeded: value >> UInt64(8 * byte)) }
          accesses.append(Access(size: UInt8(test.size), written: nil))
        } else {
          let value = (0..<Int(test.size)).reduce(UInt64(0)) { $0 | UInt64(memory[index + $1]) << UInt64(8 * $1) }
          accesses.append(Access(size: UInt8(test.size), written: value))
        }
        place = place &+ step
      }
    }
    let (first, last) = ((Self.window &+ test.at &- test.base) & 0xFFFF_FFFF, (place &- test.base) & 0xFFFF_FFFF)
    return Result(
      accesses: accesses, memory: memory, ecx: test.isRepeated ? 0 : test.count, esi: test.isInput ? first : last,
      edi: test.isInput ? last : first)
  }

  private func run(_ test: Case, engine name: String, exits: Bool) throws -> Result {
    let (engine, memory) = try FlatMachine.make(code(test), warmth: 2, engine: name)
    memory.write(GPA(Self.window), (0..<UInt64(Self.windowSize)).map(Self.initialByte))
    let vcpu = engine.vcpus[0]
    var state = vcpu.state
    state[.rbp] = 6
    state[.fs].base = 0x1_0000
    state[.gs].base = 0xFFFF_F000
    vcpu.state = state
    for byte in UInt16(0)..<4 { vcpu.controls.bitmaps[port: Self.port + byte] = exits }
    var accesses: [Access] = []
    var exit = vcpu.run(.resume, limit: 10_000)
    while case .io(let port, let size, let write, let string, let rep, let value) = exit.qualification {
      #expect(port == Self.port && string && rep == test.isRepeated && exit.isDirect == !exits)
      accesses.append(Access(size: size, written: write ? value : nil))
      exit = vcpu.run(VMEntry(.complete(write ? 0 : Self.given(accesses.count - 1))), limit: 10_000)
      guard accesses.count < 1000 else { break }
    }
    #expect(exit.reason == .hlt)
    let after = vcpu.state
    #expect(vcpu.instructionCount == 6 * 8)
    return Result(
      accesses: accesses, memory: memory.readBytes(GPA(Self.window), count: Self.windowSize).map { $0 ?? 0 },
      ecx: after[.rcx], esi: after[.rsi], edi: after[.rdi])
  }

  private static let cases: [Case] = {
    var all: [Case] = []
    for isInput in [true, false] {
      for size: UInt64 in [1, 2, 4] {
        for isDown in [false, true] {
          // In a page; over its end between two elements; with an element over it.
          for at: UInt64 in [0x100, 0xFF8 + (isDown ? 16 : 0), 0xFFD + (isDown ? 8 : 0)] {
            all.append(Case(isInput: isInput, size: size, isDown: isDown, at: at))
          }
          all.append(Case(isInput: isInput, size: size, isDown: isDown, count: 0))
          all.append(Case(isInput: isInput, size: size, isDown: isDown, isRepeated: false, count: 7))
        }
        all.append(Case(isInput: isInput, size: size, count: 40, at: 0xFE1))
        if !isInput {
          all.append(Case(isInput: false, size: size, at: 0xFFE, prefix: [0x64], base: 0x1_0000))
          all.append(Case(isInput: false, size: size, isDown: true, at: 0x100C, prefix: [0x65], base: 0xFFFF_F000))
        }
      }
    }
    return all
  }()

  @Test(arguments: cases) func `each element is one access, and memory, counters and registers follow`(_ test: Case) throws {
    let expected = model(test)
    for name in Self.engines {
      for exits in [true, false] {
        let result = try run(test, engine: name, exits: exits)
        #expect(result == expected, "\(name), \(exits ? "exits" : "direct")")
      }
    }
  }

  /// The second page is not there: what was done is done, the port is not asked for what has no place.
  @Test(arguments: engines, [true, false])
  func `a page fault finds RCX and the index as far as the work has got`(_ name: String, _ isInput: Bool) throws {
    let bench = try SystemBench(engine: name)
    bench.enterLong()
    bench.setPage(.long, 0x6000, 0)
    bench.change {
      $0[.rcx] = 6
      $0[.rdi] = 0x5FF8
      $0[.rsi] = 0x5FF8
      $0[.rdx] = UInt64(Self.port)
    }
    bench.memory.write(GPA(bench.linearRIP()), [0xF3, isInput ? 0x6D : 0x6F])
    bench.vcpu.controls.wishes.vectors = .all
    var accesses = 0
    var exit = bench.vcpu.run(.resume, limit: 1)
    while exit.reason == .io && accesses < 10 {
      accesses += 1
      exit = bench.vcpu.run(VMEntry(.complete(0x5A5A_5A5A)), limit: 1)
    }
    #expect(accesses == 2)
    #expect(exit.qualification == .exception(vector: 14, errorCode: isInput ? 2 : 0, linear: 0x6000))
    let state = bench.state
    #expect(state[.rcx] == 4 && state[isInput ? .rdi : .rsi] == 0x6000)
    if isInput { #expect(bench.get(0x5FFC, as: UInt32.self) == 0x5A5A_5A5A) }
  }

  /// With 16-bit addresses the index wraps in its low half; the counter is CX.
  @Test(arguments: engines) func `16-bit addresses wrap in DI and count in CX`(_ name: String) throws {
    let bench = try SystemBench(engine: name)
    bench.enterProtected()
    bench.change {
      $0[.rcx] = 0xABCD_0003
      $0[.rdi] = 0x1234_FFFE
      $0[.rdx] = UInt64(Self.port)
    }
    bench.put(0, UInt8(0))
    bench.memory.write(GPA(bench.linearRIP()), [0x67, 0xF3, 0x6C])
    var exit = bench.vcpu.run(.resume, limit: 1)
    var number: UInt64 = 0
    while exit.reason == .io && number < 10 {
      number += 1
      exit = bench.vcpu.run(VMEntry(.complete(number)), limit: 1)
    }
    #expect(number == 3)
    #expect(bench.get(0xFFFE, as: UInt16.self) == 0x0201 && bench.get(0, as: UInt8.self) == 3)
    #expect(bench.state[.rcx] == 0xABCD_0000 && bench.state[.rdi] == 0x1234_0001)
  }
}
