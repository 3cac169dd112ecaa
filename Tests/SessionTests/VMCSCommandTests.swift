import Debugger
import Session
import Testing
import VMCore
import X86

/// A guest in flat protected mode over a real PC: code at 8000h.
final class TinyGuest {
  let session: Session
  let memory: GuestMemory

  init(_ code: [UInt8], change: (inout VCPUState) -> Void = { _ in }) throws {
    memory = try GuestMemory(ramSize: 1 << 20)
    memory.write(GPA(0x8000), code)
    var state = VCPUState()
    state.cr0 = CR0.pe | CR0.et | CR0.ne
    state[.cs] = SegmentState(selector: 8, limit: .max, access: 0xC09B)
    for name in [SegmentName.ds, .es, .ss, .fs, .gs] { state[name] = SegmentState(selector: 16, limit: .max, access: 0xC093) }
    state[.rsp] = 0x7000
    state.rip = 0x8000
    change(&state)
    let (machine, _) = try VirtualMachine.assemble(name: "tiny", memory: memory, cpus: 1, state: state)
    var configuration = SessionConfiguration()
    configuration.recordsStates = true
    session = Session(configuration, machine: machine)
  }

  @discardableResult
  func run(_ line: String) -> [String] { session.perform(line).lines }

}

@Suite struct VMCSCommandTests {
  /// OUT DX, AL; CPUID; HLT loop.
  private static let code: [UInt8] = [0x66, 0xBA, 0xF8, 0x03, 0xB0, 0x4B, 0xEE, 0xFA, 0xEB, 0xFC]

  @Test("names are found however they are written", arguments: [
    ("HLT exiting", "HLT exiting off"), ("hlt-exiting", "HLT exiting off"), ("hlt", "HLT exiting off"),
    ("Hlt Exit", "HLT exiting off"), ("use I/O bitmaps", "use I/O bitmaps off"), ("cr8-load", "CR8-load exiting off"),
    ("exception #pf", "exception bitmap: #PF off"), ("exception 13", "exception bitmap: #GP off"),
    ("#ud", "exception bitmap: #UD off"), ("exception all", "exception bitmap: all exceptions off"),
    ("port 3f8", "I/O bitmap: port 3f8h off"), ("port 3f8-3ff", "I/O bitmap: port 3f8-3ffh off"),
    ("port all", "I/O bitmaps: all ports off"), ("msr 10 r", "MSR bitmap: IA32_TIME_STAMP_COUNTER r off"),
    ("msr efer", "MSR bitmap: IA32_EFER rw off"), ("cr0.wp", "CR0 guest/host mask: WP off"),
    ("cr4.pae", "CR4 guest/host mask: PAE off"),
  ])
  func names(_ name: String, _ answer: String) throws {
    let guest = try TinyGuest(Self.code)
    let first = guest.run("vmcs set \(name) off").first ?? ""
    #expect(first.hasPrefix(answer))
    #expect(guest.run("vmcs undo") == ["undone: \(answer)"])
  }

  @Test("what cannot be is refused with the reason or the nearest name", arguments: [
    ("vmcs set interrupt-window on", "run control's own"), ("vmcs set ept off", "cannot be changed"),
    ("vmcs set hlt-exitin off", "HLT exiting off"), ("vmcs set htl-exiting off", "did you mean 'hlt-exiting'?"),
    ("vmcs set port 3f9-3f8 off", "a range like"), ("vmcs set exception 32 on", "0 to 31"),
    ("vmcs set msr 40000000 on", "always exits"), ("vmcs set cr0.xy on", "no such bit of CR0"),
    ("vmcs preset evrything", "did you mean 'everything'?"), ("vmcs undo", "nothing was changed"),
    ("vmcs set guest-cr0 5", "cannot be set"), ("vmcs set hlt-exiting maybe", "'maybe': on or off was expected"), ("vmcs set hlt-exitting maybe", "no control bit or field"),
    ("vmcs set activate-vmx-preemption-timer on", "at 0 every entry exits at once"),
    ("info vmcs gest", "did you mean 'guest'?"), ("vmcs flurb", "no field or control bit"),
  ])
  func refusals(_ line: String, _ words: String) throws {
    let answer = try TinyGuest(Self.code).run(line).joined(separator: "\n")
    #expect(answer.contains(words), "\(answer)")
  }

  @Test func `numbers go to their fields`() throws {
    let guest = try TinyGuest(Self.code)
    guest.run("vmcs set tsc-offset 1000")
    guest.run("vmcs set page-fault-error-code-mask 2")
    #expect(guest.run("vmcs tsc offset").first?.contains("0000000000001000") == true)
    #expect(guest.run("vmcs 4006").first?.contains("00000002") == true)
  }

  @Test("a field's answer names encoding, value and bits") func show() throws {
    let answer = try TinyGuest(Self.code).run("vmcs primary").joined(separator: "\n")
    #expect(answer.contains("4002") && answer.contains("[x] bit 7") && answer.contains("[ ] bit 30"))
  }

  @Test("a port whose bit is 0 makes no exit, and the run's digest stays") func directPort() throws {
    let with = try TinyGuest(Self.code)
    with.run("step 20")
    let without = try TinyGuest(Self.code)
    without.run("vmcs set port 3f8 off")
    without.run("step 20")
    #expect(with.session.currentSnapshot().exitCount == 6 && without.session.currentSnapshot().exitCount == 0)
    #expect(with.run("digest") == without.run("digest"))
  }

  /// A guest that starts the PIT at its fastest behind the PIC, then runs `code`; the interrupt is acknowledged.
  private static func timed(_ code: [UInt8]) throws -> TinyGuest {
    let writes: [(port: UInt8, value: UInt8)] = [
      (0x20, 0x11), (0x21, 0x20), (0x21, 0x04), (0x21, 0x01), (0x21, 0xFE), (0x43, 0x34), (0x40, 0x10), (0x40, 0),
    ]
    let guest = try TinyGuest(writes.flatMap { [0xB0, $0.value, 0xE6, $0.port] } + code) {
      $0.gdtr = TableRegister(base: 0x1000, limit: 0x17)
      $0.idtr = TableRegister(base: 0x2000, limit: 0x7FF)
    }
    guest.memory.store(GPA(0x1008), UInt64(0x00CF_9B00_0000_FFFF))
    guest.memory.store(GPA(0x1010), UInt64(0x00CF_9300_0000_FFFF))
    guest.memory.store(GPA(0x2100), UInt64(0x9000 | 8 << 16 | 0x8E << 40))
    guest.memory.write(GPA(0x9000), [0x50, 0xB0, 0x20, 0xE6, 0x20, 0x58, 0xCF])
    return guest
  }

  /// With HLT in its loop.
  private func sleeper() throws -> TinyGuest { try Self.timed([0xFB, 0xF4, 0x43, 0xEB, 0xFC]) }

  @Test("whatever exits, the guest does the same: the digest stays", arguments: [
    ["vmcs preset minimal"], ["vmcs preset everything"], ["vmcs preset nested"], ["vmcs preset shadow"],
    ["vmcs set hlt off"], ["vmcs set monitor-trap on"], ["vmcs set monitor-trap on", "vmcs set hlt off"],
    ["vmcs set external-interrupt on"], ["vmcs set vmx-preemption-timer-value 3", "vmcs set activate-vmx on"],
    ["vmcs set vmx-preemption-timer-value 3", "vmcs set activate-vmx on", "vmcs set hlt off", "vmcs set save-vmx on"],
  ])
  func sameDigest(_ changes: [String]) throws {
    let plain = try sleeper()
    plain.run("step 400")
    let changed = try sleeper()
    for change in changes { changed.run(change) }
    changed.run("step 400")
    #expect(plain.run("digest") == changed.run("digest"))
    #expect(plain.session.currentSnapshot().instructionCount == changed.session.currentSnapshot().instructionCount)
  }

  @Test("each interrupt is an exit where its bit says so") func interruptExits() throws {
    let guest = try sleeper()
    guest.run("vmcs set external-interrupt on")
    guest.run("sx interrupt stop")
    #expect(guest.run("continue").joined().contains("(interrupt): interrupt 20h"))
    let reasons = guest.session.currentSnapshot().reasons
    #expect(reasons.first { $0.reason == .externalInterrupt }?.count == 1)
    #expect(guest.run("info vmcs exit").joined(separator: "\n").contains("\"external-interrupt exiting\" is 1"))
  }

  @Test("a breakpoint on a port sets its bit and says so") func breakpointOnPort() throws {
    let guest = try TinyGuest(Self.code)
    guest.run("vmcs preset minimal")
    guest.run("be io if port==0x3f8")
    #expect(guest.run("continue").joined().contains("Breakpoint 1"))
    #expect(guest.run("info vmcs exit").joined(separator: "\n").contains("asked for by breakpoint 1"))
    #expect(guest.run("vmcs set port 3f8 off").contains("still on: asked for by breakpoint 1"))
  }

  @Test("the anatomy names the bit") func anatomy() throws {
    let guest = try TinyGuest(Self.code)
    guest.run("exit")
    #expect(guest.run("info exit").joined(separator: "\n").contains("I/O bitmap A, the bit of port 3f8h, is 1"))
  }

  @Test("VM entry refuses a state and says why; the session goes on") func entryFails() throws {
    let guest = try TinyGuest(Self.code)
    guest.run("step")
    guest.run("set $cr0=0x80000010")
    let refused = guest.run("continue").joined(separator: " ")
    #expect(refused.contains("VM entry failed: PG without PE (field guest CR0, SDM 3C 27.3.1.1); nothing was executed"))
    #expect(guest.session.currentSnapshot().instructionCount == 1)
    guest.run("set $cr0=0x31")
    #expect(guest.run("step").joined().contains("8006"))
  }

  @Test("going back replays changed controls") func goingBack() throws {
    let guest = try TinyGuest(Self.code)
    guest.run("step 4")
    guest.run("vmcs set exception #ud on")
    guest.run("vmcs set pause on")
    guest.run("step 4")
    guest.run("rsi 2")
    #expect(guest.session.currentSnapshot().instructionCount == 6)
    #expect(guest.run("vmcs pause").first?.contains("[x]") == true)
    guest.run("rsi 5")
    #expect(guest.run("vmcs pause").first?.contains("[ ]") == true)
  }

  @Test("HLT without exiting halts inside until an interrupt comes", arguments: [true, false])
  func haltsInside(_ exits: Bool) throws {
    // STI, HLT, then a marker in EBX.
    let guest = try Self.timed([0xFB, 0xF4, 0xB3, 0x77, 0xFA, 0xF4])
    if !exits { guest.run("vmcs set hlt off") }
    guest.run("continue")
    let snapshot = guest.session.currentSnapshot()
    #expect(snapshot.stop == .haltedForGood && snapshot.vcpus[0][.rbx] == 0x77)
    #expect((snapshot.reasons.first { $0.reason == .hlt }?.count ?? 0) == (exits ? 2 : 0))
  }

  @Test("a preset says what it changed, and is one step to undo") func presets() throws {
    for preset in VMCSPreset.allCases {
      let guest = try TinyGuest(Self.code)
      let lines = guest.run("vmcs preset \(preset.rawValue)")
      #expect(preset == .standard || lines.count > 1)
      #expect(guest.session.currentSnapshot().vmcs.base.bitmaps == preset.controls.bitmaps)
      guest.run("vmcs undo")
      #expect(guest.session.currentSnapshot().vmcs.base.bitmaps == VMCSBitmaps.standard)
    }
  }

  @Test("the event stream has each change") func events() throws {
    let guest = try TinyGuest(Self.code)
    guest.run("vmcs set port 60-64 off")
    guest.run("vmcs set hlt off")
    let log = guest.run("info log 20 session").joined(separator: "\n")
    #expect(log.contains("I/O bitmap: port 60-64h off") && log.contains("primary processor-based"))
  }
}
