/// Numbers as inspection rows write them.
func hex(_ value: UInt64, digits: Int = 2) -> String {
  let text = String(value, radix: 16)
  return String(repeating: "0", count: max(0, digits - text.count)) + text
}

/// Eight bits, highest first.
func bits(_ value: UInt8) -> String {
  let text = String(value, radix: 2)
  return String(repeating: "0", count: 8 - text.count) + text
}

func yesNo(_ value: Bool) -> String { value ? "yes" : "no" }
