import VMCore
import X86

/// Why a selector leads to no descriptor.
package enum DescriptorFault: Error, Equatable, Sendable {
  case null, outsideTable, noMemory, noLDT
  package var text: String {
    switch self {
    case .null: "null selector"
    case .outsideTable: "outside the table"
    case .noMemory: "no memory behind the table"
    case .noLDT: "no LDT is loaded"
    }
  }
}

/// One line of a descriptor table view.
package struct DescriptorRow: Equatable, Sendable {
  /// Position in the table; the vector in an IDT.
  package var index: Int
  /// What loads it: the selector with RPL 0; the vector in an IDT.
  package var selector: UInt16
  package var descriptor: Descriptor
  /// `0008  32-bit code R/X A  base 00000000 limit ffffffff DPL0 P`.
  package var text: String
}

/// One vector of a real-mode interrupt table.
package struct InterruptVectorRow: Equatable, Sendable {
  package var vector: Vector
  package var segment: UInt16
  package var offset: UInt16
  package var address: GVA { GVA(UInt64(segment) << 4 + UInt64(offset)) }
  package var text: String
}

/// The guest's GDT, LDT, IDT or IVT and TSS as they are in memory now.
package enum DescriptorTables {
  /// The rows of a GDT without the empty ones, at most `limit`.
  package static func gdt(_ state: VCPUState, _ memory: GuestMemory, limit: Int = 512) -> [DescriptorRow] {
    rows(base: state.gdtr.base, last: UInt64(state.gdtr.limit), state, memory, limit, selectorBits: 0)
  }

  /// The rows of the LDT that LDTR points to, at most `limit`.
  package static func ldt(_ state: VCPUState, _ memory: GuestMemory, limit: Int = 512) -> [DescriptorRow] {
    let ldtr = state[.ldtr]
    guard ldtr.present, !ldtr.unusable, ldtr.selector & 0xFFFC != 0 else { return [] }
    return rows(base: ldtr.base, last: UInt64(min(ldtr.limit, 0xFFFF)), state, memory, limit, selectorBits: 4)
  }

  private static func rows(
    base: UInt64, last: UInt64, _ state: VCPUState, _ memory: GuestMemory, _ limit: Int, selectorBits: UInt16
  ) -> [DescriptorRow] {
    let view = AddressSpaceView(state: state, memory: memory)
    let longMode = state.efer & EFER.lma != 0
    var rows: [DescriptorRow] = []
    var offset: UInt64 = 0
    while offset + 7 <= last, rows.count < limit {
      guard let raw = view.load(GVA(base &+ offset), size: 8) else {
        offset += 8
        continue
      }
      let high = longMode ? view.load(GVA(base &+ offset &+ 8), size: 8) ?? 0 : 0
      let descriptor = Descriptor(raw, high: high, longMode: longMode)
      let selector = UInt16(offset) | selectorBits
      if raw != 0 {
        rows.append(
          DescriptorRow(
            index: Int(offset / 8), selector: selector, descriptor: descriptor, text: text(selector, descriptor)))
      }
      offset += UInt64(descriptor.size)
    }
    return rows
  }

  /// The gates of an IDT without the empty ones, by vector.
  package static func idt(
    _ state: VCPUState, _ memory: GuestMemory, symbols: SymbolTable = .empty
  ) -> [DescriptorRow] {
    let view = AddressSpaceView(state: state, memory: memory)
    let longMode = state.efer & EFER.lma != 0
    let size: UInt64 = longMode ? 16 : 8
    var rows: [DescriptorRow] = []
    for vector in 0..<UInt64(256) where vector * size + size - 1 <= UInt64(state.idtr.limit) {
      let place = state.idtr.base &+ vector * size
      guard let raw = view.load(GVA(place), size: 8), raw != 0 else { continue }
      let high = longMode ? view.load(GVA(place &+ 8), size: 8) ?? 0 : 0
      let descriptor = Descriptor(raw, high: high, longMode: longMode)
      let name = symbols.name(of: descriptor.offset).map { " <\($0)>" } ?? ""
      let text = "\(Hex.padded(vector, 2))  \(gateText(descriptor))\(name)" + exceptionName(vector)
      rows.append(
        DescriptorRow(index: Int(vector), selector: UInt16(vector), descriptor: descriptor, text: text))
    }
    return rows
  }

  /// The real-mode interrupt vector table (SDM 3A 21.1.4), all vectors that IDTR's limit covers.
  package static func ivt(
    _ state: VCPUState, _ memory: GuestMemory, symbols: SymbolTable = .empty
  ) -> [InterruptVectorRow] {
    let view = AddressSpaceView(state: state, memory: memory)
    var rows: [InterruptVectorRow] = []
    for vector in 0..<UInt64(256) where vector * 4 + 3 <= UInt64(state.idtr.limit) {
      guard let raw = view.load(GVA(state.idtr.base &+ vector * 4), size: 4) else { continue }
      let segment = UInt16(truncatingIfNeeded: raw >> 16)
      let offset = UInt16(truncatingIfNeeded: raw)
      let name = symbols.name(of: UInt64(segment) << 4 + UInt64(offset)).map { " <\($0)>" } ?? ""
      let place = "\(Hex.padded(UInt64(segment), 4)):\(Hex.padded(UInt64(offset), 4))"
      rows.append(
        InterruptVectorRow(
          vector: Vector(vector), segment: segment, offset: offset,
          text: "\(Hex.padded(vector, 2))  \(place)\(name)"))
    }
    return rows
  }

  private static func exceptionName(_ vector: UInt64) -> String {
    guard let exception = Exception(rawValue: UInt8(truncatingIfNeeded: vector)) else { return "" }
    return "  \(exception.mnemonic)"
  }

  /// One descriptor in words.
  package static func text(_ selector: UInt16, _ descriptor: Descriptor) -> String {
    let start = "\(Hex.padded(UInt64(selector), 4))  "
    if descriptor.isGate { return start + gateText(descriptor) }
    if case .reserved = descriptor.kind { return start + descriptor.typeText }
    let width = descriptor.base > 0xFFFF_FFFF ? 16 : 8
    let place = "base \(Hex.padded(descriptor.base, width)) limit \(Hex.padded(UInt64(descriptor.limit), 8))"
    return start + "\(descriptor.typeText)  \(place) DPL\(descriptor.dpl) \(descriptor.present ? "P" : "not present")"
  }

  private static func gateText(_ gate: Descriptor) -> String {
    let selector = Hex.padded(UInt64(gate.selector), 4)
    let rights = "DPL\(gate.dpl) \(gate.present ? "P" : "not present")"
    guard gate.isGate else { return "\(gate.typeText) (no gate)" }
    if case .taskGate = gate.kind { return "task gate -> TSS \(selector) \(rights)" }
    let ist = gate.ist > 0 ? " IST\(gate.ist)" : ""
    let offset = Hex.padded(gate.offset, gate.size == 16 ? 16 : 8)
    return "\(gate.typeText) -> \(selector):\(offset) \(rights)\(ist)"
  }

  /// The descriptor a selector names, from the GDT or the LDT.
  package static func descriptor(
    _ selector: UInt16, state: VCPUState, memory: GuestMemory
  ) throws(DescriptorFault) -> Descriptor {
    let offset = UInt64(selector & 0xFFF8)
    let usesLDT = selector & 4 != 0
    if !usesLDT, offset == 0 { throw .null }
    let ldtr = state[.ldtr]
    if usesLDT, !ldtr.present || ldtr.unusable || ldtr.selector & 0xFFFC == 0 { throw .noLDT }
    let base = usesLDT ? ldtr.base : state.gdtr.base
    guard offset + 7 <= UInt64(usesLDT ? ldtr.limit : UInt32(state.gdtr.limit)) else { throw .outsideTable }
    let view = AddressSpaceView(state: state, memory: memory)
    guard let raw = view.load(GVA(base &+ offset), size: 8) else { throw .noMemory }
    let high = view.load(GVA(base &+ offset &+ 8), size: 8) ?? 0
    return Descriptor(raw, high: high, longMode: state.efer & EFER.lma != 0)
  }

  /// The segment a selector would load in protected mode.
  package static func segment(
    _ selector: UInt16, state: VCPUState, memory: GuestMemory
  ) throws(DescriptorFault) -> SegmentState {
    let descriptor = try descriptor(selector, state: state, memory: memory)
    return SegmentState(
      selector: selector, base: descriptor.base, limit: descriptor.limit, access: descriptor.accessRights)
  }
}

extension VCPUState {
  /// Loads a selector as a debugger does: with the descriptor it names, without the processor's checks.
  mutating func loadSegment(
    _ name: SegmentName, _ selector: UInt16, memory: GuestMemory?
  ) throws(RegisterError) {
    let realAddressing = mode == .real16 || mode == .virtual8086
    if realAddressing, name != .ldtr, name != .tr {
      self[name].selector = selector
      self[name].base = UInt64(selector) << 4
      return
    }
    if selector & 0xFFFC == 0, name != .cs, name != .tr {
      self[name] = SegmentState(selector: selector, base: 0, limit: 0, access: 0x1_0000)
      return
    }
    guard let memory else {
      throw RegisterError(message: "\(name.name) needs its descriptor and there is no memory to read it from")
    }
    do {
      let segment = try DescriptorTables.segment(selector, state: self, memory: memory)
      let wantsSystem = name == .ldtr || name == .tr
      guard segment.present, segment.isCodeOrData != wantsSystem else {
        throw RegisterError(
          message: "\(name.name) cannot hold \(Hex.text(UInt64(selector))): its descriptor is "
            + "\(SegmentText.type(accessRights: segment.access))\(segment.present ? "" : ", not present")")
      }
      self[name] = segment
    } catch let fault as DescriptorFault {
      throw RegisterError(message: "\(name.name) cannot hold \(Hex.text(UInt64(selector))): \(fault.text)")
    } catch let refusal as RegisterError {
      throw refusal
    } catch {
      throw RegisterError(message: "\(name.name) cannot hold \(Hex.text(UInt64(selector)))")
    }
  }
}
