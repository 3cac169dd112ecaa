import Engines
import Foundation
import Testing
import VMCore
import X86

/// `kick()` is heard by whatever the guest does.
@Suite struct KickTests {
  @Test("a loop of REP MOVS gives way before a slice of instructions is over")
  func repeatedMoves() throws {
    let bench = try SystemBench()
    bench.enterProtected()
    // again: mov ecx, 100000h; mov esi, 100000h; mov edi, 200000h; rep movsb; jmp again
    let code: [UInt8] = [
      0xB9, 0x00, 0x00, 0x10, 0x00, 0xBE, 0x00, 0x00, 0x10, 0x00, 0xBF, 0x00, 0x00, 0x20, 0x00, 0xF3, 0xA4, 0xEB, 0xED,
    ]
    bench.memory.write(GPA(SystemBench.code), code)
    var state = bench.vcpu.state
    state.rip = SystemBench.code
    bench.vcpu.state = state
    nonisolated(unsafe) let vcpu = bench.vcpu
    // A thread of its own: on the shared ones a busy machine's other tests would come first.
    let kicker = Thread {
      Thread.sleep(forTimeInterval: 0.02)
      vcpu.kick()
    }
    kicker.start()
    // Gigabytes of copying, in less than one slice of instructions.
    let exit = vcpu.run(.resume, limit: 15_000)
    #expect(exit.reason == .kicked)
    while !kicker.isFinished { Thread.sleep(forTimeInterval: 0.01) }
  }
}
