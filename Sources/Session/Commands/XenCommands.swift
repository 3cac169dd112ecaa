import Paravirtual
import VMCore

/// What a person does to a paravirtual domain from outside.
enum XenCommands {
  static let all: [CommandDescriptor] = [
    CommandDescriptor(
      ["xen"], .changing, arguments: "shutdown|reboot",
      help: "ask the guest of --technique pv, by xenstore's control/shutdown, to end in good order or start again",
      whileRunning: true, completion: .words(["shutdown", "reboot"])
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      guard let word = scanner.takeWord()?.lowercased(), let request = requests[word] else {
        throw scanner.fail(arguments.rest, "shutdown or reboot was expected")
      }
      try scanner.end()
      guard let xen = core.machine.platform as? XenPlatform else {
        throw CommandError(typed: word, expected: "the guest is no paravirtual domain (--technique pv)")
      }
      guard xen.isShutdownWatched else {
        throw CommandError(typed: word, expected: "the guest does not watch control/shutdown, or not yet")
      }
      xen.askForShutdown(request)
      return CommandResult("control/shutdown is \(request); the guest hears of it when it goes on")
    }
  ]

  private static let requests = ["shutdown": "poweroff", "poweroff": "poweroff", "reboot": "reboot"]
}
