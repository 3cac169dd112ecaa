import Debugger
import Paravirtual
import VMCore

/// `info xen`: what the monitor keeps of a paravirtual domain.
enum XenTopics {
  static let all: [InfoCommands.Topic] = [
    .init(names: ["calls"], help: "hypercalls by number and by caller, with errors and host time") {
      core, _ throws(CommandError) in
      core.stream.drain()
      let snapshot = core.snapshot()
      return InfoCommands.rows(
        XenReport(snapshot).calls.lines, empty: "no hypercalls so far",
        json: .array(snapshot.hypercallStatistics.map { json($0) }))
    },
    .init(
      names: ["xen"],
      help: "the domain of --technique pv: start_info, frames, mfn NUMBER, pfn NUMBER, log, or nothing for all its state",
      completion: .words(["start_info", "frames", "mfn", "pfn", "log"])
    ) { core, scanner throws(CommandError) in
      guard let xen = core.machine.platform as? XenPlatform else {
        return InfoCommands.rows([], empty: "the guest is no paravirtual domain (--technique pv)", json: .null)
      }
      switch scanner.takeWord()?.lowercased() {
      case nil: return overview(xen)
      case "start_info"?: return rows(xen.startInfoRows)
      case "frames"?: return InfoCommands.rows(XenReport(core.snapshot()).frames.lines, empty: "", json: nil)
      case "log"?: return InfoCommands.rows(xen.logLines, empty: "nothing said by console_io", json: .strings(xen.logLines))
      case "mfn"?: return rows(xen.frameRows(try number(&scanner)))
      case "pfn"?:
        let pfn = try number(&scanner)
        guard pfn < xen.builder.layout.pageCount else {
          throw scanner.fail("\(pfn)", "a frame below \(Hex.text(xen.builder.layout.pageCount)) was expected")
        }
        return rows(xen.frameRows(xen.tables.layout.machineFrame(pfn)))
      case let word?:
        throw scanner.fail(
          word, "start_info, frames, mfn NUMBER, pfn NUMBER or log was expected",
          nearest: NearestName.find(word, in: ["start_info", "frames", "mfn", "pfn", "log"]))
      }
    }
  ]

  private static func json(_ call: HypercallStatistics) -> JSONValue {
    .members(
      ("number", .number(call.number)), ("name", .string(call.name)), ("count", .number(call.count)),
      ("errors", .number(call.errors)), ("averageNs", .real(call.averageCost)), ("maximumNs", .number(call.maximumCost)))
  }

  private static func number(_ scanner: inout ArgumentScanner) throws(CommandError) -> UInt64 {
    let typed = scanner.peek
    guard let number = scanner.takeNumber() else { throw scanner.fail(typed, "a frame's number was expected") }
    return number
  }

  private static func overview(_ xen: XenPlatform) -> CommandResult {
    let devices = xen.inspection
    return CommandResult(
      devices.flatMap { device in [device.device] + device.rows.map { "  \($0.name): \($0.value)" } },
      json: .object(
        devices.map { .init($0.device, .object($0.rows.map { .init($0.name, .string($0.value)) })) }))
  }

  private static func rows(_ rows: [(name: String, value: String)]) -> CommandResult {
    CommandResult(
      rows.map { "\($0.name): \($0.value)" }, json: .object(rows.map { .init($0.name, .string($0.value)) }))
  }
}
