/// Model-specific registers by their SDM name (SDM 4 chapter 2).
@usableFromInline package enum MSR {
  @inlinable @inline(__always) package static var tsc: UInt32 { 0x10 }
  @inlinable @inline(__always) package static var apicBase: UInt32 { 0x1B }
  @inlinable @inline(__always) package static var featureControl: UInt32 { 0x3A }
  @inlinable @inline(__always) package static var tscAdjust: UInt32 { 0x3B }
  @inlinable @inline(__always) package static var biosSignature: UInt32 { 0x8B }
  @inlinable @inline(__always) package static var mtrrCap: UInt32 { 0xFE }
  @inlinable @inline(__always) package static var sysenterCS: UInt32 { 0x174 }
  @inlinable @inline(__always) package static var sysenterESP: UInt32 { 0x175 }
  @inlinable @inline(__always) package static var sysenterEIP: UInt32 { 0x176 }
  @inlinable @inline(__always) package static var machineCheckCap: UInt32 { 0x179 }
  @inlinable @inline(__always) package static var machineCheckStatus: UInt32 { 0x17A }
  @inlinable @inline(__always) package static var miscEnable: UInt32 { 0x1A0 }
  @inlinable @inline(__always) package static var debugControl: UInt32 { 0x1D9 }
  @inlinable @inline(__always) package static var pat: UInt32 { 0x277 }
  @inlinable @inline(__always) package static var tscDeadline: UInt32 { 0x6E0 }
  @inlinable @inline(__always) package static var x2apicFirst: UInt32 { 0x800 }
  @inlinable @inline(__always) package static var x2apicLast: UInt32 { 0x8FF }
  @inlinable @inline(__always) package static var efer: UInt32 { 0xC000_0080 }
  @inlinable @inline(__always) package static var star: UInt32 { 0xC000_0081 }
  @inlinable @inline(__always) package static var lstar: UInt32 { 0xC000_0082 }
  @inlinable @inline(__always) package static var cstar: UInt32 { 0xC000_0083 }
  @inlinable @inline(__always) package static var sfmask: UInt32 { 0xC000_0084 }
  @inlinable @inline(__always) package static var fsBase: UInt32 { 0xC000_0100 }
  @inlinable @inline(__always) package static var gsBase: UInt32 { 0xC000_0101 }
  @inlinable @inline(__always) package static var kernelGSBase: UInt32 { 0xC000_0102 }
  @inlinable @inline(__always) package static var tscAux: UInt32 { 0xC000_0103 }
}
