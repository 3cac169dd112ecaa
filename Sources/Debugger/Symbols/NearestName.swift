/// Finds what a person probably meant: the candidate with the smallest edit distance.
package enum NearestName {
  /// The candidate nearest to `name` by Levenshtein distance without regard to case, the first of equals; nil
  /// where none is near (more than a third of the letters differ, and more than one does).
  package static func find(_ name: String, in candidates: some Sequence<String>) -> String? {
    let wanted = Array(name.lowercased().utf8.prefix(64))
    guard !wanted.isEmpty else { return nil }
    let limit = max(1, wanted.count / 3)
    var best: (name: String, distance: Int)?
    for candidate in candidates {
      let bytes = Array(candidate.lowercased().utf8.prefix(64))
      guard abs(bytes.count - wanted.count) <= limit else { continue }
      let distance = distance(wanted, bytes, limit: best.map { $0.distance - 1 } ?? limit)
      if let distance { best = (candidate, distance) }
      if distance == 0 { break }
    }
    return best?.name
  }

  /// Levenshtein distance, nil if over `limit`.
  static func distance(_ a: [UInt8], _ b: [UInt8], limit: Int) -> Int? {
    guard limit >= 0, abs(a.count - b.count) <= limit else { return nil }
    var row = Array(0...b.count)
    for (i, x) in a.enumerated() {
      var diagonal = row[0]
      row[0] = i + 1
      for (j, y) in b.enumerated() {
        let replaced = diagonal + (x == y ? 0 : 1)
        diagonal = row[j + 1]
        row[j + 1] = min(replaced, min(row[j], diagonal) + 1)
      }
    }
    return row[b.count] <= limit ? row[b.count] : nil
  }
}
