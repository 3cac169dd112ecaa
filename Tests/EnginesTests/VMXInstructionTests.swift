import Engines
import Testing
import VMCore
import X86

private typealias B = VMXBench

/// The VMX instructions in root operation (SDM 3C chapter 31). Memory operands lie at E000h, where RBX points.
@Suite struct VMXInstructionTests {
  private static let vmxonM: [UInt8] = [0xF3, 0x0F, 0xC7, 0x33], vmclearM: [UInt8] = [0x66, 0x0F, 0xC7, 0x33]
  private static let vmptrldM: [UInt8] = [0x0F, 0xC7, 0x33], vmptrstM: [UInt8] = [0x0F, 0xC7, 0x3B]
  /// VMREAD RCX, RAX; VMWRITE RAX, RCX; VMREAD [RBX], RAX; VMWRITE RAX, [RBX].
  private static let vmread: [UInt8] = [0x0F, 0x78, 0xC1], vmwrite: [UInt8] = [0x0F, 0x79, 0xC1]
  private static let vmreadM: [UInt8] = [0x0F, 0x78, 0x03], vmwriteM: [UInt8] = [0x0F, 0x79, 0x03]
  private static let inveptM: [UInt8] = [0x66, 0x0F, 0x38, 0x80, 0x03], invvpidM: [UInt8] = [0x66, 0x0F, 0x38, 0x81, 0x03]
  private static let all: [[UInt8]] = [
    vmxonM, vmclearM, vmptrldM, vmptrstM, vmread, vmwrite, vmreadM, vmwriteM, inveptM, invvpidM, VMXBench.vmlaunch,
    VMXBench.vmresume, VMXBench.vmcall, VMXBench.vmxoff,
  ]

  private func bench(_ operand: UInt64 = 0, _ high: UInt64 = 0) throws -> VMXBench {
    let b = try VMXBench()
    b.put(B.scratch, operand)
    b.put(B.scratch + 8, high)
    b.vcpu.setGPR(.rbx, B.scratch)
    return b
  }

  // MARK: Into and out of VMX operation

  @Test("VMXON, then VMPTRST finds no current VMCS, then VMXOFF") func onAndOff() throws {
    let b = try bench(B.vmxon)
    b.change { $0.vmx = VMXOperation() }
    #expect(b.host(Self.vmxonM) == .success)
    #expect(b.state.vmx.vmxon == B.vmxon && b.state.vmx.current == nil)
    #expect(b.host(Self.vmptrstM) == .success && b.get(B.scratch) == UInt64.max)
    #expect(b.host(B.vmxoff) == .success && b.state.vmx == VMXOperation())
    #expect(b.host(B.vmxoff) == .fault(6, nil))
  }

  @Test("VMXON with a bad pointer is VMfailInvalid", arguments: [0x20001, 0x20800, 1 << 40, 0x4000_0000, 0x28000] as [UInt64])
  func badRegion(_ pointer: UInt64) throws {
    let b = try bench(pointer)
    b.change { $0.vmx = VMXOperation() }
    #expect(b.host(Self.vmxonM) == .invalid)
    #expect(b.state.vmx.vmxon == nil)
  }

  @Test("VMXON: #UD without CR4.VMXE, #GP in ring 3 and with CR0 bits that VMX fixes, error 15 in root operation")
  func vmxonRules() throws {
    let b = try bench(B.vmxon)
    #expect(b.host(Self.vmxonM) == .valid(15))
    b.change { $0.vmx.current = nil }
    #expect(b.host(Self.vmxonM) == .invalid)
    b.change { $0.vmx = VMXOperation() }
    b.change { $0.cr0 &= ~CR0.ne }
    #expect(b.host(Self.vmxonM) == .fault(13, 0))
    b.change { $0.cr0 |= CR0.ne }
    b.change { $0.cr4 &= ~CR4.vmxe }
    #expect(b.host(Self.vmxonM) == .fault(6, nil))
  }

  @Test("outside VMX operation every other VMX instruction is #UD") func undefined() throws {
    let b = try bench()
    b.change { $0.vmx = VMXOperation() }
    for code in Self.all.dropFirst() { #expect(b.host(code) == .fault(6, nil), "\(code)") }
  }

  @Test("ring 3 gets #GP") func ring3() throws {
    let b = try bench()
    // Pages are user pages; only the rings of CS and SS matter.
    b.change {
      for name in [SegmentName.cs, .ss, .ds, .es] {
        $0[name].access |= 0x60
        $0[name].selector |= 3
      }
    }
    for code in Self.all { #expect(b.host(code) == .fault(13, 0), "\(code)") }
  }

  @Test("compatibility mode and real mode have none of them") func otherModes() throws {
    let b = try bench()
    b.change { $0[.cs].access = 0xC09B }
    for code in Self.all where code[0] == 0x0F && code[1] == 1 { #expect(b.host(code) == .fault(6, nil), "\(code)") }
    b.change {
      $0.cr0 &= ~(CR0.pg | CR0.pe)
      $0.efer = 0
      $0[.cs] = SegmentState(selector: 0, base: 0, limit: 0xFFFF, access: 0x9B)
    }
    for code in Self.all where code[0] == 0x0F && code[1] == 1 { #expect(b.host(code) == .fault(6, nil), "\(code)") }
  }

  @Test("in VMX operation CR0 and CR4 keep what VMX fixes") func fixedBits() throws {
    let b = try bench()
    for bit in [CR0.pe | CR0.pg, CR0.ne, CR0.pg] {
      b.vcpu.setGPR(.rax, b.state.cr0 & ~bit)
      #expect(b.host([0x0F, 0x22, 0xC0]) == .fault(13, 0))
    }
    b.vcpu.setGPR(.rax, b.state.cr4 & ~CR4.vmxe)
    #expect(b.host([0x0F, 0x22, 0xE0]) == .fault(13, 0))
  }

  // MARK: The current VMCS

  @Test("VMPTRLD and VMCLEAR judge their pointer", arguments: [
    (vmptrldM, B.vmxon, 10), (vmptrldM, 0x21001, 9), (vmptrldM, 1 << 40, 9), (vmptrldM, 0x28000, 11),
    (vmptrldM, 0x4000_0000, 9), (vmclearM, B.vmxon, 3), (vmclearM, 0x21001, 2), (vmclearM, 1 << 40, 2),
    (vmclearM, 0x4000_0000, 2),
  ] as [([UInt8], UInt64, UInt64)])
  func pointers(_ code: [UInt8], _ pointer: UInt64, _ error: UInt64) throws {
    let b = try bench(pointer)
    #expect(b.host(code) == .valid(error))
    #expect(b.state.vmx.current == B.vmcs)
  }

  @Test("VMPTRLD makes a VMCS current; VMCLEAR makes it clear again, and not current") func current() throws {
    let b = try bench(B.otherVMCS)
    #expect(b.host(Self.vmptrldM) == .success && b.state.vmx.current == B.otherVMCS)
    b.put(B.scratch, B.vmcs)
    #expect(b.host(Self.vmclearM) == .success && b.state.vmx.current == B.otherVMCS)
    b.put(B.scratch, B.otherVMCS)
    #expect(b.host(Self.vmclearM) == .success && b.state.vmx.current == nil)
    for code in [Self.vmread, Self.vmwrite, B.vmlaunch, B.vmresume, B.vmcall] { #expect(b.host(code) == .invalid) }
  }

  @Test("VMLAUNCH wants a clear VMCS, VMRESUME a launched one, neither right behind MOV SS") func launchStates() throws {
    let b = try bench()
    #expect(b.host(B.vmresume) == .valid(5))
    #expect(b.enter(B.vmcall) && b.get(B.vmcs + 8, as: UInt32.self) == 1)
    #expect(b.host(B.vmlaunch) == .valid(4))
    b.vcpu.setGPR(.rax, 0x10)
    b.memory.write(GPA(B.code), [0x8E, 0xD0] + B.vmresume)
    b.change { $0.rip = B.code }
    _ = b.vcpu.run(.resume, limit: 2)
    #expect(!b.state.vmx.isNonRoot && b[.instructionError] == 26)
    // STI's shadow is no obstacle.
    b.memory.write(GPA(B.code), [0xFB] + B.vmresume)
    b.change { $0.rip = B.code }
    _ = b.vcpu.run(.resume, limit: 2)
    #expect(b.state.vmx.isNonRoot)
  }

  @Test("VMCALL in root operation is error 1") func vmcallInRoot() throws { #expect(try bench().host(B.vmcall) == .valid(1)) }

  // MARK: Fields

  @Test("every field is written and read back at its width, read-only ones refuse") func fields() throws {
    let b = try bench()
    let pattern: UInt64 = 0xFEDC_BA98_7654_3210
    for field in VMCSField.allCases {
      b.vcpu.setGPR(.rax, UInt64(field.rawValue))
      b.vcpu.setGPR(.rcx, pattern)
      if field.area == .exitInformation {
        #expect(b.host(Self.vmwrite) == .valid(13), "\(field)")
        b[field] = pattern
      } else {
        #expect(b.host(Self.vmwrite) == .success, "\(field)")
      }
      b.vcpu.setGPR(.rcx, 0)
      #expect(b.host(Self.vmread) == .success && b.vcpu.gpr(.rcx) == pattern & field.mask, "\(field)")
      b.put(B.scratch, UInt64.max)
      #expect(b.host(Self.vmreadM) == .success && b.get(B.scratch) == pattern & field.mask, "\(field)")
    }
  }

  @Test("bit 0 of an encoding is the upper half of a 64-bit field, and of no other") func halves() throws {
    let b = try bench()
    for field in VMCSField.allCases {
      b.vcpu.setGPR(.rax, UInt64(field.rawValue | 1))
      b.vcpu.setGPR(.rcx, 0x1122_3344_5566_7788)
      b[field] = 0xAAAA_AAAA_BBBB_BBBB
      guard field.hasHighHalf else {
        #expect(b.host(Self.vmread) == .valid(12), "\(field)")
        #expect(b.host(Self.vmwrite) == .valid(12), "\(field)")
        continue
      }
      if field.area != .exitInformation {
        #expect(b.host(Self.vmwrite) == .success && b[field] == 0x5566_7788_BBBB_BBBB, "\(field)")
      }
      #expect(b.host(Self.vmread) == .success && b.vcpu.gpr(.rcx) == b[field] >> 32, "\(field)")
    }
  }

  @Test("encodings without a field are error 12") func unsupported() throws {
    let b = try bench()
    let known = Set(VMCSField.allCases.map(\.rawValue))
    for encoding in 0..<0x8000 as Range<UInt32> where encoding & 1 == 0 && !known.contains(encoding) {
      #expect(VMCSField(encoding: encoding) == nil)
    }
    for encoding in [0x2, 0x810, 0x2018, 0x2028, 0x4836, 0x6010, 0x6C18, 0x8000, 1 << 32, .max] as [UInt64] {
      b.vcpu.setGPR(.rax, encoding)
      #expect(b.host(Self.vmread) == .valid(12) && b.host(Self.vmwrite) == .valid(12))
    }
  }

  @Test("the slots of all fields are apart and within the region") func slots() {
    let slots = VMCSField.allCases.map(\.slot)
    #expect(Set(slots).count == slots.count)
    #expect((slots.max() ?? 0) * 8 + 16 + 8 <= 4096)
  }

  // MARK: Invalidation

  @Test("INVEPT and INVVPID judge type and descriptor", arguments: [
    (inveptM, 0, 0, 0, false), (inveptM, 1, B.ept | 0x1E, 0, true), (inveptM, 1, B.ept | 0x19, 0, false),
    (inveptM, 1, B.ept | 6, 0, false), (inveptM, 2, 0, 0, true), (inveptM, 3, 0, 0, false), (invvpidM, 0, 1, 0x8000, true),
    (invvpidM, 0, 0, 0x8000, false), (invvpidM, 0, 1, 1 << 47, false), (invvpidM, 1, 1, 1 << 47, true),
    (invvpidM, 1, 0, 0, false), (invvpidM, 2, 0, 0, true), (invvpidM, 2, 0x1_0000, 0, false), (invvpidM, 3, 1, 0, true),
    (invvpidM, 3, 0, 0, false), (invvpidM, 4, 1, 0, false), (invvpidM, 1 << 32, 1, 0x8000, false),
  ] as [([UInt8], UInt64, UInt64, UInt64, Bool)])
  func invalidation(_ code: [UInt8], _ type: UInt64, _ low: UInt64, _ high: UInt64, _ good: Bool) throws {
    let b = try bench(low, high)
    b.vcpu.setGPR(.rax, type)
    #expect(b.host(code) == (good ? .success : .valid(28)))
  }

  // MARK: What it says of itself

  @Test("CPUID and the capability MSRs say so, and are read-only") func honesty() throws {
    let b = try bench()
    #expect(b.vcpu.cpuid(leaf: 1, subleaf: 0).ecx & 1 << 5 != 0)
    for index in [0x3A] + Array(0x480...0x490) as [UInt64] {
      b.vcpu.setGPR(.rcx, index)
      #expect(b.host([0x0F, 0x32]) != .fault(13, 0), "\(index)")
      if index >= 0x480 {
        let value = b.vcpu.gpr(.rax) & 0xFFFF_FFFF | b.vcpu.gpr(.rdx) << 32
        #expect(value == VMXCapabilities.msr(UInt32(index), cr4: value), "\(index)")
      }
      #expect(b.host([0x0F, 0x30]) == .fault(13, 0), "\(index)")
    }
  }
}
