import Glibc

package enum Statistics {
  /// The middle of `values`, the mean of the two middle ones of an even number; nil of none.
  package static func median(_ values: [Double]) -> Double? {
    guard !values.isEmpty else { return nil }
    let sorted = values.sorted()
    let middle = sorted.count / 2
    if sorted.count % 2 == 1 { return sorted[middle] }
    return (sorted[middle - 1] + sorted[middle]) / 2
  }

  /// nil of none, and where a value is not positive.
  package static func geometricMean(_ values: [Double]) -> Double? {
    guard !values.isEmpty, values.allSatisfy({ $0 > 0 }) else { return nil }
    let sum = values.reduce(0) { $0 + log($1) }
    return exp(sum / Double(values.count))
  }
}
