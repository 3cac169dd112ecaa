import VMCore
import X86

/// One activation on the stack.
package struct StackFrame: Equatable, Sendable {
  /// How it was found.
  package enum Source: Equatable, Sendable {
    /// The instruction pointer itself.
    case current
    /// Through the frame-pointer chain, or at a place where the return address is certain.
    case chain
    /// A value on the stack that follows a call instruction.
    case guess
  }
  package var number: Int
  package var source: Source
  /// Return address (or RIP): offset in its code segment.
  package var address: UInt64
  package var linear: GVA
  /// Where on the stack the return address lies; nil for the current frame.
  package var slot: GVA?
  /// `boot+e`.
  package var place: String?

  /// `#1 00007c0e boot+e`, with `?` after a guess.
  package var text: String {
    let name = place.map { " " + $0 } ?? ""
    return "#\(number) \(Hex.padded(linear.value, 8))\(name)\(source == .guess ? " ?" : "")"
  }
}

/// Who called whom: the frame-pointer chain where code keeps one, else return addresses found on the stack.
/// Works in every mode, near and far calls.
package struct Backtrace {
  private let view: AddressSpaceView
  private let symbols: SymbolTable
  private let width: Int
  private let maximumFrames: Int
  /// Stack slots searched for return addresses.
  private static let searchedSlots = 256

  /// The frames from the innermost outwards, at most `maximumFrames` (itself at most 1,024).
  package static func frames(
    _ state: VCPUState, _ memory: GuestMemory, symbols: SymbolTable = .empty, maximumFrames: Int = 64
  ) -> [StackFrame] {
    let limit = min(max(maximumFrames, 1), 1024)
    return Backtrace(state, memory, symbols, limit).collect()
  }

  private init(_ state: VCPUState, _ memory: GuestMemory, _ symbols: SymbolTable, _ limit: Int) {
    view = AddressSpaceView(state: state, memory: memory)
    self.symbols = symbols
    width = state.mode.codeBits / 8
    maximumFrames = limit
  }

  private var state: VCPUState { view.state }

  private func collect() -> [StackFrame] {
    let linear = state.linearRIP
    var frames = [
      StackFrame(
        number: 0, source: .current, address: state.rip, linear: linear, slot: nil,
        place: symbols.name(of: linear.value))
    ]
    if let slot = certainSlot(), let frame = returnFrame(at: slot, number: 1, source: .chain) { frames.append(frame) }
    followChain(&frames)
    if frames.count == 1 { search(&frames) }
    return frames
  }

  /// The stack pointer as wide as SS makes it.
  private var stackPointer: UInt64 { StackView.pointer(state, .rsp) }

  /// The offset on the stack of the return address where the code at RIP leaves no doubt: at a function's first
  /// instructions and at its RET.
  private func certainSlot() -> UInt64? {
    let instruction = Disassembly(state: state, memory: view.memory).instruction(at: state.rip)
    let place = symbols.place(of: state.linearRIP.value)
    let pushesFrame = instruction.mnemonic == "push" && Self.names(instruction, .rbp)
    if place?.offset == 0 || pushesFrame || instruction.flow == .ret { return stackPointer }
    let setsFrame = instruction.mnemonic == "mov" && instruction.text.hasSuffix("bp, \(stackName)")
    return setsFrame ? stackPointer &+ UInt64(width) : nil
  }

  private var stackName: String { width == 8 ? "rsp" : width == 4 ? "esp" : "sp" }

  private static func names(_ instruction: DecodedInstruction, _ gpr: GPR) -> Bool {
    instruction.text.hasSuffix(" " + gpr.name(.qword)) || instruction.text.hasSuffix(" " + gpr.name(.dword))
      || instruction.text.hasSuffix(" " + gpr.name(.word))
  }

  private func followChain(_ frames: inout [StackFrame]) {
    var frame = StackView.pointer(state, .rbp)
    while frames.count < maximumFrames {
      let slot = frame &+ UInt64(width)
      guard let next = view.load(view.linear(.ss, frame), size: width),
        let found = returnFrame(at: slot, number: frames.count, source: .chain)
      else { return }
      if found.slot != frames.last?.slot { frames.append(found) }
      guard next > frame else { return }
      frame = next
    }
  }

  private func search(_ frames: inout [StackFrame]) {
    for index in 0..<UInt64(Self.searchedSlots) where frames.count < min(maximumFrames, 16) {
      let slot = stackPointer &+ index &* UInt64(width)
      guard let frame = returnFrame(at: slot, number: frames.count, source: .guess) else { continue }
      frames.append(frame)
    }
  }

  /// The frame whose return address lies at `slot` (an offset in SS), if a call precedes that address.
  private func returnFrame(at slot: UInt64, number: Int, source: StackFrame.Source) -> StackFrame? {
    let place = view.linear(.ss, slot)
    guard let address = view.load(place, size: width), address != 0 else { return nil }
    let near = view.linear(.cs, address)
    if ReturnAddress.isPlausible(address, linear: near, view: view, far: false) {
      return frame(number, source, address, near, place)
    }
    guard width == 2, let segment = view.load(view.linear(.ss, slot &+ 2), size: 2) else { return nil }
    let far = GVA(segment << 4 &+ address)
    guard state.mode == .real16 || state.mode == .virtual8086,
      ReturnAddress.isPlausible(address, linear: far, view: view, far: true)
    else { return nil }
    return frame(number, source, address, far, place)
  }

  private func frame(
    _ number: Int, _ source: StackFrame.Source, _ address: UInt64, _ linear: GVA, _ slot: GVA
  ) -> StackFrame {
    // The call lies before the return address: name the function by its last byte.
    let name = symbols.place(of: linear.value &- 1).map { SymbolPlace(symbol: $0.symbol, offset: $0.offset &+ 1).text }
    return StackFrame(number: number, source: source, address: address, linear: linear, slot: slot, place: name)
  }
}

/// Tells return addresses from other numbers.
enum ReturnAddress {
  /// Whether a call instruction ends right before `linear` (offset `address` in its segment).
  static func isPlausible(_ address: UInt64, linear: GVA, view: AddressSpaceView, far: Bool) -> Bool {
    let bytes = view.read(GVA(linear.value &- 7), count: 7)
    for length in 2...7 where UInt64(length) <= address {
      let slice = bytes[(7 - length)...]
      guard let first = slice.first, let opcode = first, couldBeCall(opcode) else { continue }
      let code = slice.compactMap { $0 }
      guard code.count == length else { continue }
      let mode = view.state.mode
      let instruction = InstructionDecoder.decode(code, at: mode.wrap(address &- UInt64(length)), mode: mode)
      if instruction.isCall, instruction.length == length, instruction.isFar == far { return true }
    }
    return false
  }

  /// A first byte (prefix or opcode) with which a call may begin.
  private static func couldBeCall(_ byte: UInt8) -> Bool {
    switch byte {
    case 0xE8, 0xFF, 0x9A, 0x26, 0x2E, 0x36, 0x3E, 0x40...0x4F, 0x64...0x67, 0xF2, 0xF3: true
    default: false
    }
  }
}
