import VMCore

/// A path somebody wants to hear about, and the token given back with each event.
struct StoreWatch: Equatable {
  var path: String
  var token: String

  static func code(_ watches: inout [StoreWatch], _ coder: inout StateCoder) {
    var texts = watches.flatMap { [$0.path, $0.token] }
    StoreTree.code(&texts, &coder)
    watches = stride(from: 0, to: texts.count - 1, by: 2).map { StoreWatch(path: texts[$0], token: texts[$0 + 1]) }
  }
}

/// What the domain finds in xenstore: paths and values, in the order of paths.
struct StoreTree: Equatable {
  /// Absolute path and value, sorted by path.
  private(set) var nodes: [(path: String, value: String)] = []
  static let home = "/local/domain/\(XenABI.domain)"
  private static let most = 1000

  static func == (a: StoreTree, b: StoreTree) -> Bool {
    a.nodes.map(\.path) == b.nodes.map(\.path) && a.nodes.map(\.value) == b.nodes.map(\.value)
  }

  init() {}

  /// A domain's beginnings; `memory` in KiB.
  init(memory: UInt64) {
    for (path, value) in [
      ("", ""), ("memory", ""), ("memory/target", "\(memory)"), ("memory/static-max", "\(memory)"), ("control", ""),
      ("control/shutdown", ""), ("cpu", ""), ("cpu/0", ""), ("cpu/0/availability", "online"), ("device", ""),
      ("name", "ringside"), ("domid", "\(XenABI.domain)"),
    ] {
      _ = write(Self.absolute(path), value)
    }
  }

  static func absolute(_ path: String) -> String {
    if path.hasPrefix("/") { return path }
    return path.isEmpty ? home : "\(home)/\(path)"
  }

  private func place(_ path: String) -> Int { nodes.firstIndex { $0.path >= path } ?? nodes.count }

  func value(_ path: String) -> String? {
    let at = place(path)
    return at < nodes.count && nodes[at].path == path ? nodes[at].value : nil
  }

  /// False where there is no more room.
  mutating func write(_ path: String, _ value: String) -> Bool {
    let at = place(path)
    if at < nodes.count, nodes[at].path == path {
      nodes[at].value = value
      return true
    }
    guard nodes.count < Self.most else { return false }
    nodes.insert((path, value), at: at)
    return true
  }

  mutating func remove(_ path: String) -> Bool {
    guard value(path) != nil else { return false }
    nodes.removeAll { $0.path == path || $0.path.hasPrefix(path + "/") }
    return true
  }

  /// Names directly below a path.
  func children(_ path: String) -> [String] {
    var names: [String] = []
    for node in nodes where node.path.hasPrefix(path + "/") {
      let name = String(node.path.dropFirst(path.count + 1).prefix { $0 != "/" })
      if names.last != name { names.append(name) }
    }
    return names
  }

  mutating func code(_ coder: inout StateCoder) {
    var texts = nodes.flatMap { [$0.path, $0.value] }
    Self.code(&texts, &coder)
    nodes = stride(from: 0, to: texts.count - 1, by: 2).map { (texts[$0], texts[$0 + 1]) }
  }

  static func code(_ texts: inout [String], _ coder: inout StateCoder) {
    var bytes: [UInt8] = []
    for text in texts { bytes += Array(text.utf8) + [0] }
    coder.code(&bytes)
    guard coder.isRestoring else { return }
    let pieces = bytes.split(separator: UInt8(0), omittingEmptySubsequences: false)
    texts = pieces.dropLast().map { String(decoding: $0, as: UTF8.self) }
  }
}
