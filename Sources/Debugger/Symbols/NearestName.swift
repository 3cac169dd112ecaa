/// Finds what a person probably meant: the candidate with the smallest edit distance.
package enum NearestName {
  /// The candidate nearest to `name` by edit distance without regard to case, the first of equals; nil where none
  /// is near (more than about a third of the letters differ, and more than one does).
  package static func find(_ name: String, in candidates: some Sequence<String>) -> String? {
    let wanted = Array(name.lowercased().utf8.prefix(64))
    guard !wanted.isEmpty else { return nil }
    let limit = max(1, (wanted.count + 1) / 3)
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

  /// Levenshtein distance in which two neighbours exchanged count once; nil if over `limit`.
  static func distance(_ a: [UInt8], _ b: [UInt8], limit: Int) -> Int? {
    guard limit >= 0, abs(a.count - b.count) <= limit else { return nil }
    var before = [Int](repeating: 0, count: b.count + 1)
    var row = Array(0...b.count)
    for i in a.indices {
      var next = [i + 1]
      next.reserveCapacity(b.count + 1)
      for j in b.indices {
        let replaced = row[j] + (a[i] == b[j] ? 0 : 1)
        var cost = min(replaced, min(row[j + 1], next[j]) + 1)
        if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { cost = min(cost, before[j - 1] + 1) }
        next.append(cost)
      }
      before = row
      row = next
    }
    return row[b.count] <= limit ? row[b.count] : nil
  }
}
