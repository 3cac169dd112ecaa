import Debugger
import VMCore
import X86

/// Somebody who asked for exits beyond the VMCS as it was set.
package struct VMCSAsker: Equatable, Sendable {
  /// "breakpoint 3", "sx rdtsc", "the step under way".
  package var name: String
  /// The controls as they would be if nobody else had asked.
  package var controls: ExitControls
  package init(name: String, controls: ExitControls) {
    self.name = name
    self.controls = controls
  }
}

/// What makes the guest exit, taken at one moment for display.
package struct VMCSView: Sendable {
  /// The VMCS as the person set it.
  package var base = ExitControls.standard
  /// What is in force on the current vCPU: with what debuggers asked for, and this vCPU's read shadows.
  package var effective = ExitControls.standard
  package var askers: [VMCSAsker] = []
  /// Changes that `vmcs undo` can take back.
  package var undoCount = 0
  /// Why no bit can be changed here; nil where they can.
  package var whyFixed: String?
  /// What made the newest exit.
  package var lastCause: VMXCause?
  /// An event the next entry injects.
  package var injection: InjectedEvent?
  package init() {}

  /// Who asked for what `test` finds in the controls, where the VMCS as set does not have it; empty where it has.
  package func askers(where test: (ExitControls) -> Bool) -> [String] {
    test(base) ? [] : askers.filter { test($0.controls) }.map(\.name)
  }
}

/// What decided an exit, in words, and the bit it was.
package struct VMCSWhy: Equatable, Sendable {
  package var text: String
  package var item: VMCSItem?
}

/// A bit or field of a VMCS that can be pointed at.
package enum VMCSItem: Hashable, Sendable {
  case field(VMCSField)
  case bit(VMXControlBit)
  case exception(UInt8)
  /// Ports that stand in one row.
  case port(ClosedRange<UInt16>)
  case msr(UInt32, write: Bool)
  /// A bit of the CR0 or CR4 guest/host mask.
  case mask(VMCSField, UInt8)
  /// What exits without any bit.
  case always(String)
}

extension VMCSView {
  /// Why an exit happened. The cause was kept with the exit; whose bit it was follows from the controls as
  /// they are now.
  package func why(_ exit: VMExit, _ cause: VMXCause?) -> VMCSWhy {
    guard let cause else {
      return VMCSWhy(text: exit.reason.rawValue < 256 ? "not kept with this exit" : "Ringside's own exit, no VMCS has it")
    }
    switch cause {
    case .always: return VMCSWhy(text: "no control bit: always exits", item: .always(exit.reason.name))
    case .control(let bit):
      let place = "\(bit.field.sdmName) bit \(bit.bit)"
      return VMCSWhy(text: "\"\(bit.name)\" is 1 (\(place))" + owner { $0.vmcs.has(bit) }, item: .bit(bit))
    case .controlOff(let bit):
      return VMCSWhy(
        text: "\"\(bit.name)\" is 0: every MSR access exits" + owner { !$0.vmcs.has(bit) }, item: .bit(bit))
    case .exceptionBitmap(let vector):
      let name = Exception(rawValue: vector)?.mnemonic ?? "exception \(vector)"
      let further = vector == Exception.pf.rawValue ? ", by page-fault mask and match" : ""
      return VMCSWhy(
        text: "exception bitmap bit \(vector) (\(name))\(further)" + owner { $0.vmcs.exceptions >> UInt32(vector) & 1 != 0 },
        item: .exception(vector))
    case .ioBitmap(let port):
      let half = port < 0x8000 ? "A" : "B"
      return VMCSWhy(
        text: "I/O bitmap \(half), the bit of port \(Hex.padded(UInt64(port), 1))h, is 1" + owner { $0.bitmaps[port: port] },
        item: .port(port...port))
    case .ioWrap: return VMCSWhy(text: "the access goes beyond port FFFFh: always exits")
    case .msrBitmap(let index, let write):
      return VMCSWhy(
        text: "MSR bitmap, the \(write ? "write" : "read") bit of \(MSR.text(index)), is 1"
          + owner { $0.bitmaps.contains(msr: index, write: write) == true }, item: .msr(index, write: write))
    case .msrOutside(let index):
      return VMCSWhy(text: "\(MSR.text(index)) lies outside of the MSR bitmap: always exits")
    case .guestHostMask(let field, let bits):
      let names = RegisterDescription.setBits(bits, field == .cr0Mask ? CR0.bits : CR4.bits)
      let bit = UInt8(truncatingIfNeeded: bits.trailingZeroBitCount)
      return VMCSWhy(text: "the \(field.sdmName) owns \(names), and the write differs from the read shadow", item: .mask(field, bit))
    case .cr3Load:
      let bit = VMXControlBit.cr3LoadExiting
      return VMCSWhy(
        text: "\"\(bit.name)\" is 1 and the value is no CR3 target" + owner { $0.vmcs.has(bit) }, item: .bit(bit))
    case .debugger:
      let names = askers.filter { !$0.controls.wishes.isEmpty }.map(\.name)
      return VMCSWhy(text: "no bit of a VMCS: asked for by \(names.isEmpty ? "a debugger" : names.joined(separator: ", "))")
    case .ept: return VMCSWhy(text: "the extended page tables map nothing there: always exits", item: .field(.eptPointer))
    case .policy(let operation):
      return VMCSWhy(text: "the rewriting policy calls out for \(operation.name): \(operation.reason)")
    case .window:
      return VMCSWhy(text: "\"interrupt-window exiting\", which run control set for an interrupt that waits", item: .bit(.interruptWindowExiting))
    }
  }

  /// `, asked for by breakpoint 3` where the VMCS as set does not have it.
  private func owner(_ test: (ExitControls) -> Bool) -> String {
    if test(base) { return "" }
    let names = askers(where: test)
    return names.isEmpty ? "; it is not any more" : ", asked for by \(names.joined(separator: ", "))"
  }
}

extension SessionCore {
  /// The VMCS and everybody who asked for more.
  func vmcsView() -> VMCSView {
    var view = VMCSView()
    let vcpu = control.vcpus[control.current]
    let lane = control.lanes[control.current]
    view.base = baseControls
    view.base.vmcs.cr0Shadow = lane.cr0Shadow
    view.base.vmcs.cr4Shadow = lane.cr4Shadow
    view.effective = vcpu.controls
    view.undoCount = vmcs.undoCount
    view.whyFixed = whyControlsAreFixed
    view.lastCause = control.lastCause
    view.injection = lane.injection
    func ask(_ name: String, _ change: (inout ExitControls) -> Void) {
      var controls = view.base
      change(&controls)
      if controls != view.base { view.askers.append(VMCSAsker(name: name, controls: controls)) }
    }
    for breakpoint in control.breakpoints.all where breakpoint.enabled {
      ask("breakpoint \(breakpoint.number)") { $0.require(breakpoint.cause) }
    }
    for reason in ExitReason.allCases where exitActions[reason] != nil { ask("sx \(reason.name)") { $0.require(reason) } }
    if let plan = control.plan { ask("the step under way") { $0 = plan.controls(over: $0) } }
    return view
  }

  /// The controls every guest of this technique begins with, as the person changed them.
  var baseControls: ExitControls { machine.technique == .rewrite ? .rewriting : vmcs.controls }

  /// Why no control bit can be changed here; nil where they can.
  var whyControlsAreFixed: String? {
    if machine.technique == .rewrite {
      return "with technique rewrite no VMCS decides what exits, but the policy table ('info policy')"
    }
    return machine.engine.whyControlsAreFixed
  }

  /// Carries a change of the control area out: at once, also while the guest runs.
  func changeVMCS(_ line: String, _ change: (inout VMCSModel) -> VMCSChange?) -> VMCSChange? {
    let before = vmcs.controls
    guard let done = change(&vmcs) else { return nil }
    control.adoptShadows(
      cr0: vmcs.controls.vmcs.cr0Mask & ~before.vmcs.cr0Mask, cr4: vmcs.controls.vmcs.cr4Mask & ~before.vmcs.cr4Mask)
    applyControls()
    control.refreshTraps(nil)
    control.entryIsUnchecked = true
    control.events.emit(done.event(vmcs.controls))
    if !isReplaying { script.add(.command(line), at: control.retired) }
    return done
  }
}

extension VMCSChange {
  /// The field it is about.
  package var fieldChanged: VMCSField {
    switch self {
    case .bit(let bit, _): bit.field
    case .exception: .exceptionBitmap
    case .ports(let range, _): range.lowerBound < 0x8000 ? .ioBitmapA : .ioBitmapB
    case .msr: .msrBitmap
    case .mask(let field, _, _), .field(let field, _): field
    case .preset: .primaryControls
    }
  }

  /// The event a change leaves in the stream.
  func event(_ after: ExitControls) -> Event {
    let image = VMCSImage(state: VCPUState(), controls: after)
    var event = Event(.controls, a: fieldChanged.rawValue, b: image[fieldChanged])
    switch self {
    case .ports(let range, let on):
      (event.b, event.c, event.d) = (UInt64(range.lowerBound), UInt64(range.upperBound), on ? 1 : 0)
    case .msr(let index, let kinds, let on):
      (event.b, event.c, event.d) = (UInt64(index ?? .max), UInt64(kinds.rawValue), on ? 1 : 0)
    default: break
    }
    return event
  }

  /// What it does, in words.
  package var words: String {
    func word(_ on: Bool) -> String { on ? "on" : "off" }
    switch self {
    case .bit(let bit, let on): return "\(bit.name) \(word(on))"
    case .exception(let vector, let on):
      let name = vector.map { Exception(rawValue: $0)?.mnemonic ?? "exception \($0)" } ?? "all exceptions"
      return "exception bitmap: \(name) \(word(on))"
    case .ports(let range, let on):
      if range == 0...0xFFFF { return "I/O bitmaps: all ports \(word(on))" }
      let first = Hex.padded(UInt64(range.lowerBound), 1)
      return "I/O bitmap: port \(first)\(range.count > 1 ? "-" + Hex.padded(UInt64(range.upperBound), 1) : "")h \(word(on))"
    case .msr(let index, let kinds, let on):
      guard let index else { return "MSR bitmap: all \(word(on))" }
      return "MSR bitmap: \(MSR.text(index)) \(kinds.letters) \(word(on))"
    case .mask(let field, let bits, let on):
      return "\(field.sdmName): \(RegisterDescription.setBits(bits, field == .cr0Mask ? CR0.bits : CR4.bits)) \(word(on))"
    case .field(let field, let value): return "\(field.sdmName) = \(Hex.text(value))"
    case .preset(let preset): return "preset \(preset.rawValue): \(preset.help)"
    }
  }
}
