/// Model-specific registers by their SDM name (SDM 4 chapter 2).
package enum MSR {
  package static let tsc: UInt32 = 0x10
  package static let apicBase: UInt32 = 0x1B
  package static let featureControl: UInt32 = 0x3A
  package static let tscAdjust: UInt32 = 0x3B
  package static let biosSignature: UInt32 = 0x8B
  package static let mtrrCap: UInt32 = 0xFE
  package static let sysenterCS: UInt32 = 0x174
  package static let sysenterESP: UInt32 = 0x175
  package static let sysenterEIP: UInt32 = 0x176
  package static let miscEnable: UInt32 = 0x1A0
  package static let debugControl: UInt32 = 0x1D9
  package static let pat: UInt32 = 0x277
  package static let tscDeadline: UInt32 = 0x6E0
  package static let x2apicFirst: UInt32 = 0x800
  package static let x2apicLast: UInt32 = 0x8FF
  package static let efer: UInt32 = 0xC000_0080
  package static let star: UInt32 = 0xC000_0081
  package static let lstar: UInt32 = 0xC000_0082
  package static let cstar: UInt32 = 0xC000_0083
  package static let sfmask: UInt32 = 0xC000_0084
  package static let fsBase: UInt32 = 0xC000_0100
  package static let gsBase: UInt32 = 0xC000_0101
  package static let kernelGSBase: UInt32 = 0xC000_0102
  package static let tscAux: UInt32 = 0xC000_0103
}
