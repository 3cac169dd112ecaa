import Debugger
import Glibc
import TOMLKit
import VMCore

/// A guest that comes with the program: what its `sample.toml` says.
package struct Sample: Equatable, Sendable {
  package var name: String
  package var folder: String
  package var title: String
  /// Its place in the list; those without one come last.
  package var order: Int
  /// What there is to see, and what to press or type, a line each; may be empty.
  package var shows: String
  package var advice: String
  /// File name inside the folder, from where it may lead to another sample's.
  package var image: String
  /// The image of the guest's port to Xen's ABI, where it has one.
  package var paravirtualImage: String?
  /// A file given to the guest as its first module.
  package var initrd: String?
  /// The only technique it is made for.
  package var technique: Technique?
  package var mode: StartMode?
  package var append: String?
  package var memory: UInt64?
  package var cpus: Int?
  package var load: UInt64?
  package var entry: UInt64?
  /// Status the process ends with.
  package var status: Int32
}

/// The samples and themes that come with the program, and where they lie.
package enum SampleLibrary {
  /// What plain `ringside` opens.
  package static let showpiece = "long-kernel"

  /// Folders that may hold `Samples` and `Themes`: `RINGSIDE_DATA`, beside the executable and above it (a
  /// build folder in the source tree), where the program was built.
  package static var dataFolders: [String] {
    var folders: [String] = []
    if let given = getenv("RINGSIDE_DATA") { folders.append(String(cString: given)) }
    var folder = executable
    for _ in 0..<5 {
      guard let slash = folder.lastIndex(of: "/"), slash > folder.startIndex else { break }
      folder = String(folder[..<slash])
      folders.append(folder)
      folders.append(folder + "/share/ringside")
    }
    let source = #filePath.split(separator: "/").dropLast(3)
    folders.append("/" + source.joined(separator: "/"))
    return folders
  }

  private static var executable: String {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
    guard count > 0 else { return "" }
    return String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// The first folder of that name among the data folders.
  package static func folder(_ name: String) -> String? {
    dataFolders.map { "\($0)/\(name)" }.first { HostFile.isFolder($0) }
  }

  /// Every sample with a readable description, in the order they give, from the first to try to the last.
  package static func samples() -> [Sample] {
    guard let folder = folder("Samples") else { return [] }
    let all = HostFile.names(in: folder).compactMap { try? read($0, in: folder) }
    return all.sorted { ($0.order, $0.name) < ($1.order, $1.name) }
  }

  /// The sample of that name, nil if there is none; a broken description is an error.
  package static func sample(named name: String) throws(VMError) -> Sample? {
    guard !name.contains("/"), let folder = folder("Samples"), HostFile.exists("\(folder)/\(name)/sample.toml") else {
      return nil
    }
    return try read(name, in: folder)
  }

  /// Themes by name.
  package static func themes() -> [String] {
    guard let folder = folder("Themes") else { return [] }
    return HostFile.names(in: folder).filter { $0.hasSuffix(".toml") }.map { String($0.dropLast(5)) }
  }

  /// Fills in what a sample says where the person said nothing. A file of the name wins over a sample; with
  /// neither guest nor firmware it is the showpiece.
  package static func resolve(_ configuration: inout SessionConfiguration) throws(VMError) -> Sample? {
    if configuration.guest == nil, configuration.firmware == nil { configuration.guest = showpiece }
    guard let name = configuration.guest, !HostFile.exists(name) || HostFile.isFolder(name) else { return nil }
    let sample = try known(name)
    configuration.technique = sample.technique ?? configuration.technique
    let ported = configuration.technique == .pv ? sample.paravirtualImage : nil
    configuration.guest = "\(sample.folder)/\(ported ?? sample.image)"
    configuration.initrd = configuration.initrd ?? sample.initrd.map { "\(sample.folder)/\($0)" }
    configuration.mode = configuration.mode ?? sample.mode
    configuration.append = configuration.append ?? sample.append
    configuration.memory = configuration.memory ?? sample.memory
    configuration.cpus = configuration.cpus ?? sample.cpus
    configuration.loadAddress = configuration.loadAddress ?? sample.load
    configuration.entry = configuration.entry ?? sample.entry
    return sample
  }

  /// The sample of that name; an error with the nearest name where there is none.
  package static func known(_ name: String) throws(VMError) -> Sample {
    if let sample = try sample(named: name) { return sample }
    if HostFile.isFolder(name) {
      throw VMError(.image, "\(name): a folder; expected a guest's image", remedy: "name a file, or a sample: 'ringside samples'")
    }
    let nearest = NearestName.find(name, in: samples().map(\.name)).map { "did you mean \($0)? " } ?? ""
    throw VMError(
      .image, "\(name): no such file or sample", remedy: "\(nearest)'ringside samples' lists the samples")
  }

  private static func read(_ name: String, in folder: String) throws(VMError) -> Sample {
    let path = "\(folder)/\(name)/sample.toml"
    guard let text = HostFile.text(at: path) else { throw VMError(.image, "\(path): not a text file") }
    let table: TOMLTable
    do { table = try TOMLTable(string: text) } catch {
      throw VMError(.image, "\(path): not TOML: \(error)")
    }
    func field(_ name: String) -> TOMLValueConvertible? { table[name] ?? table["args"]?.table?[name] }
    let images = field("image")?.table
    guard let image = images?["hvm"]?.string ?? field("image")?.string else {
      throw VMError(.image, "\(path): 'image' is missing; expected the file name of the guest, or { hvm = ..., pv = ... }")
    }
    return Sample(
      name: name, folder: "\(folder)/\(name)", title: field("title")?.string ?? name,
      order: field("order")?.int ?? .max, shows: field("shows")?.string ?? "", advice: field("try")?.string ?? "", image: image,
      paravirtualImage: images?["pv"]?.string, initrd: field("initrd")?.string,
      technique: field("technique")?.string.flatMap { Technique(rawValue: $0) },
      mode: field("mode")?.string.flatMap { StartMode(rawValue: $0) }, append: field("append")?.string,
      memory: number(field("memory"), size: true), cpus: field("cpus")?.int,
      load: number(field("load")), entry: number(field("entry")),
      status: Int32(clamping: field("status")?.int ?? field("exit_status")?.int ?? 0))
  }

  private static func number(_ value: TOMLValueConvertible?, size: Bool = false) -> UInt64? {
    if let value = value?.int { return UInt64(exactly: value) }
    guard let text = value?.string else { return nil }
    return size ? Quantity.size(text) : Quantity.number(text)
  }
}

/// Numbers as people type them on a command line.
package enum Quantity {
  /// `4096`, `0x1000`, `1000h`.
  package static func number(_ text: String) -> UInt64? {
    let lower = text.lowercased().filter { $0 != "_" }
    if lower.hasPrefix("0x") { return UInt64(lower.dropFirst(2), radix: 16) }
    if lower.hasSuffix("h") { return UInt64(lower.dropLast(), radix: 16) }
    return UInt64(lower)
  }

  /// A size in bytes: `256M`, `64k`, `1G`, `4MiB`; without a unit bytes.
  package static func size(_ text: String) -> UInt64? {
    var lower = text.lowercased()
    for suffix in ["ib", "b"] where lower.hasSuffix(suffix) && !lower.hasPrefix("0x") { lower.removeLast(suffix.count) }
    let units: [(Character, UInt64)] = [("k", 1 << 10), ("m", 1 << 20), ("g", 1 << 30), ("t", 1 << 40)]
    for (letter, factor) in units where lower.last == letter {
      guard let count = UInt64(lower.dropLast()) else { return nil }
      let (size, overflow) = count.multipliedReportingOverflow(by: factor)
      return overflow ? nil : size
    }
    return number(lower)
  }
}
