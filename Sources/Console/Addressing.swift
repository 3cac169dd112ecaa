import Debugger
import Session
import VMCore
import X86

extension SessionSnapshot {
  /// The vCPU the console shows; a reset one where the session has none.
  package var vcpu: VCPUState { vcpus.indices.contains(currentVCPU) ? vcpus[currentVCPU] : VCPUState() }
  /// The same at the stop before this one.
  package var before: VCPUState { previous.indices.contains(currentVCPU) ? previous[currentVCPU] : vcpu }
  package var view: AddressSpaceView { AddressSpaceView(state: vcpu, memory: memory) }
  package var listing: Disassembly { Disassembly(state: vcpu, memory: memory, symbols: symbols) }

  /// The guest executes, so that everything may change by itself.
  package var isRunning: Bool { phase == .running }
  /// The guest executes, or waits in HLT for something from outside.
  package var isLive: Bool { phase == .running || phase == .idle }

  /// What an expression typed by the person comes to, or a sentence about what is wrong with it.
  package func evaluate(_ text: String) -> Result<UInt64, ExpressionError> {
    do throws(ExpressionError) {
      let expression = try Expression(text, scope: ExpressionScope(symbols: symbols, hexadecimal: true))
      return .success(try expression.evaluate(vcpu, memory: memory))
    } catch {
      return .failure(error)
    }
  }

  /// The exit by which a hypercall was made: the call's event stands between the exit's and its answer. Nil where
  /// it is no longer kept.
  package func exit(of hypercall: HypercallRecord) -> ExitRecord? {
    var low = 0
    var high = exits.count
    while low < high {
      let middle = (low + high) / 2
      if exits[middle].event < hypercall.sequence { low = middle + 1 } else { high = middle }
    }
    guard low > 0, let end = exits[low - 1].answerEvent, end > hypercall.sequence else { return nil }
    return exits[low - 1]
  }

  /// The breakpoint on execution at a linear address.
  package func executionBreakpoint(at linear: UInt64) -> BreakpointSummary? {
    breakpoints.first { $0.executionAddress == linear }
  }
}

extension BreakpointSummary {
  /// The address of a breakpoint on execution: its description reads `exec 7c1c`, perhaps with a symbol.
  package var executionAddress: UInt64? {
    let words = what.split(separator: " ")
    guard words.count >= 2, words[0] == "exec" else { return nil }
    let digits = words[1].hasPrefix("0x") ? words[1].dropFirst(2) : words[1]
    return UInt64(digits, radix: 16)
  }
}
