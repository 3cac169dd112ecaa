import VMCore

/// The setup header of a Linux bzImage (Documentation/x86/boot.rst, "The Real-Mode Kernel Header").
package struct SetupHeader: Sendable {
  /// "HdrS" at 202h.
  static let magic: UInt32 = 0x5372_6448
  /// Where the header begins in the file, and in `boot_params`.
  static let start = 0x1F1
  /// The first protocol with a command line by address: 2.02.
  private static let oldestProtocol: UInt16 = 0x0202

  /// Major version in the high byte, minor in the low one.
  package let protocolVersion: UInt16
  /// The header's bytes as in the file, from 1F1h to where the jump at 200h leads.
  package let bytes: [UInt8]
  /// Where in the file the protected-mode kernel begins.
  package let kernelOffset: Int
  /// The compressed kernel, in the file. nil where there is none: a program that is no Linux uses Linux's way of
  /// being started (memtest86+, iPXE).
  package let payload: Range<Int>?
  /// Bit 0 of `xloadflags`: there is a 64-bit entry at 200h of the protected-mode kernel.
  package let hasEntry64: Bool
  /// The address the kernel would like to be loaded at.
  package let preferredAddress: UInt64
  /// Bytes of memory it needs from there before it knows the memory map.
  package let initialSize: UInt32
  /// Longest command line, without its terminating zero.
  package let commandLineSize: UInt32
  /// Highest address of an initrd's last byte.
  package let initrdAddressMaximum: UInt32

  static func isPresent(in file: ImageBytes) -> Bool { file.u32(0x202) == magic && file.u16(0x1FE) == 0xAA55 }

  init(_ file: ImageBytes) throws(VMError) {
    guard let version = file.u16(0x206), let jump = file.load(0x201, as: UInt8.self), file.count >= 0x264 else {
      throw file.outside("the end of the setup header", end: 0x264)
    }
    guard version >= Self.oldestProtocol else {
      throw file.wrong("setup header: version", UInt64(version), expected: "0x202 or later, which takes a command line")
    }
    let end = 0x202 + Int(jump)
    let fieldsEnd = Self.fieldsEnd(version)
    guard end >= fieldsEnd, end <= file.count else {
      throw file.wrong(
        "setup header: the end that the jump at 0x200 gives", UInt64(end),
        expected: "\(prefixedHex(UInt64(fieldsEnd))) or more, inside the file")
    }
    let sectors = Int(file.bytes[0x1F1])
    kernelOffset = ((sectors == 0 ? 4 : sectors) + 1) * 512
    guard kernelOffset < file.count else {
      throw file.outside("setup header: the protected-mode kernel's place after setup_sects", end: UInt64(kernelOffset))
    }
    payload = version >= 0x0208 ? try Self.payload(file, kernelOffset: kernelOffset) : nil
    bytes = Array(file.bytes[Self.start..<end])
    protocolVersion = version
    hasEntry64 = version >= 0x020C && file.bytes[0x236] & 1 != 0
    let hasPlace = version >= 0x020A
    preferredAddress = hasPlace ? file.load(0x258, as: UInt64.self) ?? 0 : 0x10_0000
    initialSize = hasPlace ? file.u32(0x260) ?? 0 : 0
    commandLineSize = version >= 0x0206 ? file.u32(0x238) ?? 255 : 255
    initrdAddressMaximum = version >= 0x0203 ? file.u32(0x22C) ?? 0 : 0x37FF_FFFF
  }

  /// Where the fields of a protocol version end that this reader uses.
  private static func fieldsEnd(_ version: UInt16) -> Int {
    switch version {
    case ..<0x0203: 0x22C
    case ..<0x0206: 0x230
    case ..<0x0208: 0x23C
    case ..<0x020A: 0x250
    default: 0x264
    }
  }

  private static func payload(_ file: ImageBytes, kernelOffset: Int) throws(VMError) -> Range<Int>? {
    let offset = file.u32(0x248) ?? 0
    let length = file.u32(0x24C) ?? 0
    if offset == 0 && length == 0 { return nil }
    let first = UInt64(kernelOffset) + UInt64(offset)
    guard first + UInt64(length) <= file.size else {
      throw file.outside("setup header: payload_offset+payload_length", end: first + UInt64(length))
    }
    guard length >= 8 else {
      throw file.wrong("setup header: payload_length", UInt64(length), expected: "a compressed kernel and its size")
    }
    return Int(first)..<Int(first) + Int(length)
  }
}
