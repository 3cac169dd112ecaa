import Glibc
import Session
import Testing
import VMCore

@Suite("A disk image in a file")
struct HostDiskTests {
  /// A file that is gone when the test is.
  private final class File {
    let path: String
    init(_ bytes: [UInt8]) throws {
      var template = Array("/tmp/ringside-disk-XXXXXX".utf8CString)
      let descriptor = mkstemp(&template)
      path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
      #expect(bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) } == bytes.count)
      close(descriptor)
    }
    deinit { unlink(path) }
    var bytes: [UInt8] { (try? HostFile.bytes(at: path)) ?? [] }
  }

  private func message(_ body: () throws(VMError) -> Void) -> String {
    do { try body() } catch { return error.description }
    return ""
  }

  @Test func `FILE and FILE,ro are told apart`() {
    #expect(DiskChoice("a.img").isReadOnly == false && DiskChoice("a.img,ro") .path == "a.img")
    #expect(DiskChoice("a,b.img").path == "a,b.img" && DiskChoice("a.img,ro").isReadOnly)
  }

  @Test func `one guest has it to write, or several to read`() throws {
    let file = try File([UInt8](repeating: 1, count: 1024))
    var first: HostDisk? = try HostDisk(DiskChoice(file.path))
    #expect(message { () throws(VMError) in _ = try HostDisk(DiskChoice(file.path)) }.contains("in use"))
    #expect(message { () throws(VMError) in _ = try HostDisk(DiskChoice(file.path + ",ro")) }.contains("in use"))
    #expect(first?.size == 1024)
    first = nil
    let readers = try [HostDisk(DiskChoice(file.path + ",ro")), HostDisk(DiskChoice(file.path + ",ro"))]
    #expect(message { () throws(VMError) in _ = try HostDisk(DiskChoice(file.path)) }.contains("in use"))
    #expect(readers[0].isReadOnly && readers[1].isReadOnly)
  }

  @Test func `what is no disk image is refused in words`() throws {
    let empty = try File([])
    #expect(message { () throws(VMError) in _ = try HostDisk(DiskChoice("/nowhere/at.all")) }.contains("No such file"))
    #expect(message { () throws(VMError) in _ = try HostDisk(DiskChoice("/tmp")) }.contains("--disk /tmp"))
    #expect(message { () throws(VMError) in _ = try HostDisk(DiskChoice(empty.path)) }.contains("0 bytes"))
    let other = try File([0x51, 0x46, 0x49, 0xFB] + [UInt8](repeating: 0, count: 600))
    #expect(message { () throws(VMError) in _ = try HostDisk(DiskChoice(other.path)) }.contains("qemu-img convert -f qcow2"))
  }

  @Test func `transfers go through many buffers, and zeros lie behind the end`() throws {
    let file = try File((0..<1500).map { UInt8(truncatingIfNeeded: $0) })
    let disk = try HostDisk(DiskChoice(file.path))
    var bytes = [UInt8](repeating: 0xEE, count: 2048)
    let done = bytes.withUnsafeMutableBytes { all in
      disk.read(at: 0, into: (0..<2048).map { UnsafeMutableRawBufferPointer(rebasing: all[$0..<$0 + 1]) })
    }
    #expect(done && bytes == file.bytes + [UInt8](repeating: 0, count: 548))
    let new: [UInt8] = [1, 2, 3]
    #expect(new.withUnsafeBytes { disk.write(at: 10, from: [.init(rebasing: $0[..<1]), .init(rebasing: $0[1...])]) })
    #expect(disk.sync() && Array(file.bytes[9..<14]) == [9, 1, 2, 3, 13])
  }

  @Test func `a guest with BIOS services writes to the same file, unless it is only read`() throws {
    let file = try File([UInt8](repeating: 7, count: 63 * 512))
    for (suffix, expected) in [(",ro", UInt8(7)), ("", UInt8(0x5A))] {
      // MOV AX,0301h; MOV CX,2; MOV DX,80h or 81h; MOV BX,7E00h; INT 13h; MOV AL,AH; OUT F4h,AL.
      var sector: [UInt8] = [0xB8, 0x01, 0x03, 0xB9, 0x02, 0x00, 0xBA, 0x80, 0x00, 0xBB, 0x00, 0x7E]
      sector += [0xC6, 0x07, 0x5A, 0xCD, 0x13, 0x88, 0xE0, 0xE6, 0xF4]
      sector += [UInt8](repeating: 0, count: 510 - sector.count) + [0x55, 0xAA]
      let boot = try File(sector)
      var configuration = SessionConfiguration()
      (configuration.guest, configuration.disk) = (boot.path, file.path + suffix)
      let session = try Session(configuration)
      _ = session.perform("continue")
      #expect(session.currentSnapshot().stop == .guestExit(status: suffix.isEmpty ? 1 : 7))
      #expect(file.bytes[512] == expected && file.bytes[0] == 7)
    }
  }
}
