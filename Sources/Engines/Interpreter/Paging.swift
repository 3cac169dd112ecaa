extension UnsafeMutablePointer<CPU> {
  func slowLoad(_ address: UInt64, _ size: Int) throws(Stop) -> UInt64 { 0 }
  func slowStore(_ address: UInt64, _ size: Int, _ value: UInt64) throws(Stop) {}
  func slowProbeWrite(_ address: UInt64, _ size: Int) throws(Stop) {}
}
