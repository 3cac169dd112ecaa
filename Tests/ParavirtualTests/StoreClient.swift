import Paravirtual
import Testing
import VMCore

extension XenBench {
  /// Sends one xenstore message; gives the answer's type and text.
  func ask(_ type: UInt32, _ text: String, at position: inout UInt32) -> (UInt32, String) {
    let ring = address(layout.storeRing)
    let payload = Array(text.utf8)
    var bytes: [UInt8] = []
    for word in [type, 7, 0, UInt32(payload.count)] { bytes += XenBench.littleEndian(word) }
    bytes += payload
    for (index, byte) in bytes.enumerated() {
      memory.store(place(ring + UInt64((position &+ UInt32(index)) & 1023)), byte)
    }
    let before = get(ring + 2056) & 0xFFFF_FFFF
    position &+= UInt32(bytes.count)
    // As Linux does: header and payload apart, with a word for each that finds the ring empty.
    put(address(0x24), 1)
    memory.store(place(ring + 2052), position &- UInt32(payload.count))
    #expect(call(.eventChannelOp, 4, address(0x24)) == 0)
    memory.store(place(ring + 2052), position)
    #expect(call(.eventChannelOp, 4, address(0x24)) == 0)
    func byte(_ offset: UInt64) -> UInt8 {
      memory.load(place(ring + 1024 + (before + offset) & 1023), as: UInt8.self) ?? 0
    }
    let kind = (0..<4 as Range<UInt64>).reduce(UInt32(0)) { $0 | UInt32(byte($1)) << UInt32($1 * 8) }
    let length = UInt64(byte(12)) | UInt64(byte(13)) << 8
    let answer = (0..<length).map { byte(16 + $0) }
    memory.store(place(ring + 2056), UInt32(get(ring + 2056) >> 32))
    return (kind, String(decoding: answer, as: UTF8.self))
  }
}
