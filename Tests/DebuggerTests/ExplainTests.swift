import Debugger
import Testing
import VMCore
import X86

struct ExplainTests {
  @Test func `every entry says its rule in two to six lines of at most 78 columns`() {
    let state = VCPUState()
    for entry in ExplainCatalogue.all {
      let lines = Explain.lines(ExplainSubject(entry.name), state: state) ?? []
      #expect((2...6).contains(lines.count), "\(entry.name): \(lines.count) lines")
      #expect(lines.allSatisfy { $0.count <= 78 }, "\(entry.name)")
      #expect(!entry.rule.isEmpty && !entry.section.isEmpty && entry.rule.hasSuffix("."), "\(entry.name)")
    }
  }

  @Test func `names are unique and lower case`() {
    #expect(Set(ExplainCatalogue.names).count == ExplainCatalogue.all.count)
    #expect(ExplainCatalogue.all.allSatisfy { $0.name == $0.name.lowercased() && !$0.name.contains(" ") })
  }

  @Test("every bit a pane names is explained, by the name the pane gives it", arguments: [
    ("rflags", RFLAGS.bits), ("cr0", CR0.bits), ("cr4", CR4.bits), ("efer", EFER.bits), ("pte", PageEntry.bits),
  ])
  func bits(_ register: String, _ bits: [BitName]) {
    for bit in bits {
      let entry = ExplainCatalogue.entry("\(register).\(bit.name)")
      #expect(entry != nil, "\(register).\(bit.name)")
      #expect(entry?.title.contains(bit.width == 1 ? "bit \(bit.bit):" : "bits \(bit.bit + bit.width - 1):\(bit.bit)") == true)
      #expect(ExplainCatalogue.entry(word: bit.name.uppercased(), context: [register])?.name == entry?.name)
    }
  }

  @Test func `every register, reason, exception, event, capability and sensitive instruction is explained`() {
    var names = GPR.allCases.map(\.name) + SegmentName.allCases.map(\.name)
    names += ["rip", "cr2", "cr3", "cr8", "dr0", "dr1", "dr2", "dr3", "dr6", "dr7", "gdtr", "idtr", "mxcsr", "xcr0"]
    names += SystemRegister.allCases.map(\.rawValue).filter { !$0.hasSuffix("_base") && !$0.hasSuffix("_limit") || $0 == "kernel_gs_base" }
    names += (0..<8).map { "st\($0)" } + (0..<16).map { "xmm\($0)" }
    names += ExitReason.allCases.map { "exit.\($0.name)" } + Exception.allCases.map { $0.mnemonic == "NMI" ? "exception.nmi" : $0.mnemonic }
    names += EventKind.allCases.map { "event.\(String(describing: $0).lowercased())" } + EngineCapabilities.allCases.map(\.name)
    names += SensitiveOperation.allCases.map { "instruction.\(String(describing: $0).lowercased())" }
    names += ["segment.dpl", "selector.rpl", "descriptor.callgate", "pagefault.w", "errorcode.idt", "dr7.l0", "dr6.bs", "mxcsr.rc"]
    for name in names { #expect(ExplainCatalogue.entry(name) != nil, "\(name)") }
  }

  @Test("a word of the screen finds its entry", arguments: [
    ("ZF", [], "rflags.zf"), ("IOPL3", [], "rflags.iopl"), ("PG", ["CR0"], "cr0.pg"), ("PE", ["MXCSR"], "mxcsr.pe"),
    ("!IO", [], "exit.io"), ("#PF", [], "exception.pf"), ("CPL3", [], "cpl"), ("RAX", [], "rax"), ("LVT", ["lapic"], "lapic.lvt"),
    ("MMIO", [], "exit.mmio"), ("IA32_LSTAR", [], "msr.lstar"), ("EFER", [], "efer"), ("IRR:", ["pic"], "pic.irr"),
    ("R8", [], "r8"), ("LONG64", [], "mode"),
  ] as [(String, [String], String)])
  func words(_ word: String, _ context: [String], _ name: String) {
    #expect(ExplainCatalogue.entry(word: word, context: context)?.name == name)
  }

  @Test("a word of a sentence is no bit of a register", arguments: [
    ("us", ["+3", "after"]), ("of", ["bits"]), ("reserved", ["vmcs"]), ("line", []), ("base", ["cs"]), ("monitor", []),
  ] as [(String, [String])])
  func prose(_ word: String, _ context: [String]) {
    let found = ExplainCatalogue.entry(word: word, context: context, inProse: true)
    #expect(found == nil, "\(found?.name ?? "")")
  }

  @Test("what a segment's row shows is explained", arguments: [("b=00000000", "descriptor.base"), ("l=ffffffff", "descriptor.limit"), ("interrupt", "descriptor.interruptgate"), ("VM", "vm")])
  func segmentRow(_ word: String, _ name: String) {
    let context = name == "vm" ? ["exit"] : ["CS", "descriptor"]
    #expect(ExplainCatalogue.entry(word: word, context: context, inProse: true)?.name == name)
  }

  @Test func `the present meaning follows the state`() throws {
    var state = VCPUState()
    state.rflags = 0x3002
    let iopl = try #require(Explain.lines(ExplainSubject("iopl"), state: state))
    #expect(iopl.last == "now 0x3: every ring, so none of these trap")
    let paging = try #require(Explain.lines(ExplainSubject("cr0.pg", value: 1 << 31), state: state))
    #expect(paging.last == "now 1: linear addresses are translated")
    let exit = try #require(Explain.lines(ExplainSubject("exit.io", present: "#7 IO: in 60h"), state: state))
    #expect(exit[1] == "#7 IO: in 60h")
  }

  @Test func `a misspelt name has a nearest one`() {
    #expect(ExplainCatalogue.nearest("cr0.pge") == "cr0.pe" || ExplainCatalogue.nearest("cr0.pge") == "cr0.pg")
    #expect(ExplainCatalogue.nearest("exit.cpuidd") == "exit.cpuid")
  }
}
