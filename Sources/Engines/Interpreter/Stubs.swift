import VMCore
import X86
enum InterruptKind { case exception, external, nmi, software }
extension UnsafeMutablePointer<CPU> {
  func linear(_ segment: Int, _ offset: UInt64, size: Int, write: Bool) throws(Stop) -> UInt64 { (pointee.segments[segment].base &+ offset) & pointee.addressMask }
  func segmentAddress(_ o: MicroOpPointer) throws(Stop) { self[slot: 17] = address(o) }
  func system(_ o: MicroOpPointer) throws(Stop) { throw leave(.hlt, .hlt) }
  func sse(_ o: MicroOpPointer) throws(Stop) {}
  func x87(_ o: MicroOpPointer) throws(Stop) {}
  func translateFetch(_ linear: UInt64) throws(Stop) -> UInt64 { linear }
  func translateQuietly(_ linear: UInt64) -> UInt64? { linear }
  func cpuid(leaf: UInt32, subleaf: UInt32) -> CPUIDResult { CPUIDResult() }
  func deliver(_ fault: Fault) throws(Stop) { throw leave(.tripleFault, .tripleFault) }
  func interrupt(vector: UInt8, errorCode: UInt32?, kind: InterruptKind) throws(Stop) {}
}
extension Translator {
  mutating func translateSSE() -> Bool { false }
  mutating func translateX87() -> Bool { false }
  mutating func translateSystem() -> Bool { false }
}
