import Debugger
import VMCore

/// What a recording says of the session it comes from.
struct RecordingHeader {
  var guestName = ""
  var technique = ""
  var engine = ""
  var capabilities: EngineCapabilities = []
  var vcpus = 1
  var ramSize: UInt64 = 0
  var hypercalls: [HypercallName] = []
  var symbols: [Symbol] = []
  /// Events and exits of the session before the first recorded one.
  var eventsBefore: UInt64 = 0
  var exitsBefore: UInt64 = 0

  /// Eight bytes every recording begins with: none that text or an image of a guest begins with, and broken by
  /// whoever takes it for text.
  static let magic: [UInt8] = [0x89, 0x52, 0x53, 0x52, 0x0D, 0x0A, 0x1A, 0x0A]
  static let version: UInt32 = 2
  /// Symbols kept at most.
  private static let symbolLimit = 200_000

  init() {}

  func put(_ out: inout ByteWriter) {
    out.put(guestName)
    out.put(technique)
    out.put(engine)
    out.put(number: UInt64(capabilities.rawValue))
    out.put(number: UInt64(vcpus))
    out.put(number: ramSize)
    out.put(number: eventsBefore)
    out.put(number: exitsBefore)
    out.put(number: UInt64(hypercalls.count))
    for call in hypercalls {
      out.put(number: call.number)
      out.put(call.name)
      out.put(number: UInt64(call.arguments.count))
      for argument in call.arguments { out.put(argument) }
    }
    let kept = symbols.prefix(Self.symbolLimit)
    out.put(number: UInt64(kept.count))
    var last: UInt64 = 0
    for symbol in kept {
      out.put(symbol.address, after: last)
      last = symbol.address
      out.put(number: symbol.size)
      out.put(symbol.isData ? 1 : 0)
      out.put(String(symbol.name.prefix(1024)))
    }
  }

  init(_ bytes: inout ByteReader) throws(DamagedRecording) {
    guestName = try bytes.text()
    technique = try bytes.text()
    engine = try bytes.text()
    capabilities = EngineCapabilities(rawValue: UInt32(truncatingIfNeeded: try bytes.number()))
    vcpus = try bytes.count(64)
    guard vcpus > 0 else { throw DamagedRecording() }
    ramSize = try bytes.number()
    eventsBefore = try bytes.number()
    exitsBefore = try bytes.number()
    for _ in 0..<(try bytes.count(4096)) {
      let number = try bytes.number()
      let name = try bytes.text()
      var arguments: [String] = []
      for _ in 0..<(try bytes.count(16)) { arguments.append(try bytes.text()) }
      hypercalls.append(HypercallName(number: number, name: name, arguments: arguments))
    }
    var last: UInt64 = 0
    for _ in 0..<(try bytes.count(Self.symbolLimit)) {
      last = try bytes.number(after: last)
      let size = try bytes.number()
      let isData = try bytes.flag()
      symbols.append(Symbol(name: try bytes.text(), address: last, size: size, isData: isData))
    }
  }
}
