import VMCore

/// The same guest under several techniques, one after the other.
package struct Techniques {
  private let configuration: SessionConfiguration
  private let guests: [String]
  private let choices: [TechniqueChoice]
  /// Asked between two runs with the one to come, and now and then within one with its instructions so far; false ends
  /// it.
  package var goesOn: (TechniqueChoice, UInt64) -> Bool = { _, _ in true }

  /// Each technique takes the first of `guests` (files or samples) it can run; without any, the configuration's own.
  package init(_ configuration: SessionConfiguration, guests: [String] = [], choices: [TechniqueChoice] = []) {
    self.configuration = configuration
    self.guests = guests.isEmpty ? [configuration.guest].compactMap { $0 } : guests
    self.choices = choices.isEmpty ? TechniqueChoice.usual : choices
  }

  package func run() -> TechniquesReport {
    var report = TechniquesReport(guest: guests.joined(separator: ", "))
    for choice in choices {
      guard goesOn(choice, 0) else { break }
      report.runs.append(run(choice))
    }
    return report
  }

  private func run(_ choice: TechniqueChoice) -> TechniqueRun {
    var refused = TechniqueRun(choice)
    refused.refusal = "no guest was named"
    for guest in guests {
      var own = configuration
      own.guest = guest
      own.technique = choice.technique
      own.engine = choice.engine
      own.isTrusting = configuration.isTrusting && choice.technique == .pv
      do throws(VMError) {
        let machine = try VirtualMachine.build(own)
        guard machine.technique == choice.technique else {
          refused.refusal = "\(guest) is made for the technique \(machine.technique.rawValue) alone"
          continue
        }
        return TechniqueMeter(choice, own, machine, goesOn: { goesOn(choice, $0) }).measure()
      } catch {
        refused.refusal = error.description
      }
    }
    return refused
  }
}
