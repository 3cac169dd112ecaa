import VMCore
import X86
extension UnsafeMutablePointer<CPU> {
  func sse(_ o: MicroOpPointer) throws(Stop) {}
  func x87(_ o: MicroOpPointer) throws(Stop) {}
}
extension Translator {
  mutating func translateSSE() -> Bool { false }
  mutating func translateX87() -> Bool { false }
}
