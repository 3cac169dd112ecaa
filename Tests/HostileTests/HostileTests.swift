import Foundation
import Glibc
import Session
import Testing
import VMCore
import hostile

/// A slice of the campaign that `make test-long` runs whole.
@Suite("Hostile guests")
struct HostileTests {
  /// Few and short, because the testing library takes a backtrace for every Swift error thrown, and each fault of
  /// the guest is one inside the engine.
  private static let limit: UInt64 = 200
  private static let count = 8

  @Test("stop with a reason, within their limit", arguments: GuestKind.all)
  func hostileGuests(kind: GuestKind) throws {
    let maker = try GuestMaker(seed: 0x5EED, limit: Self.limit)
    for number in 0..<Self.count {
      let verdict = HostileCase(maker: maker, kind: kind, number: number).run()
      #expect(verdict.problems.isEmpty, "\(kind) \(number): \(verdict.problems)")
    }
  }

  /// In a process of its own, where no exit costs a backtrace.
  @Test func `2,000 random VMCSs and their guests stop with a reason, within their limit`() {
    #expect(Self.hostile("--only nested --seed 1821 --count 2000 --limit 200") == 0)
  }

  @Test func `600 drivers that break the rules of the rings harm nothing, under either engine`() {
    for engine in ["interpreter", "rewriter"] {
      #expect(Self.hostile("--only disks --seed 1821 --count 300 --limit 1500 --engine \(engine)") == 0)
    }
  }

  @Test func `such drivers have their disk work, and are found out`() throws {
    let maker = try GuestMaker(seed: 5, limit: 1500)
    let reports = try (0..<12).map { number in
      let session = try maker.session(.disk, number)
      _ = session.perform("continue")
      return session.perform("info devices").lines.joined(separator: "\n")
    }
    #expect(reports.contains { $0.contains("needs reset") })
    #expect(reports.contains { report in
      report.split(separator: "\n").contains { $0.contains("sectors read") && !$0.hasSuffix(" 0") }
    }, "\(reports[0])")
  }

  /// Registers, flags, memory and exits, in every mode, with interrupts at random instructions.
  @Test func `840 random programs go the same way under interpreter and rewriter`() {
    #expect(Self.hostile("--compare --seed 2026 --count 40 --limit 1500") == 0)
  }

  @Test("programs that once parted go the same way", arguments: [
    // XCHG read by what the TLB had for reads, after it had asked what it had for writes.
    "--seed 4 --only protected32-bits32-ring3 --number 88",
    // A rotate behind flags that wait, and a PUSH behind it that the TLB did not help.
    "--seed 800 --only compatibility32-ring3 --number 1636",
    // A rotate, and the stack pointer moved behind it, which other flags waited for.
    "--seed 601 --only protected32-bits32-ring0 --number 64",
    "--seed 602 --only long64-ring3 --number 62",
  ])
  func parted(_ program: String) {
    #expect(Self.hostile("--compare --limit 1500 \(program)") == 0)
  }

  /// The host's protection keys stop any other access; without them there is nothing to test with.
  @Test func `generated code reaches nothing but the guest's memory, its processor and itself`() throws {
    let cpu = try String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)
    guard cpu.contains(" ospke ") else { return }
    #expect(Self.hostile("--guarded 2000 --limit 1000") == 0)
    // Ended by SIGSEGV, as system() or a shell between tells it.
    let ends = [SIGSEGV, SIGSEGV | 0x80, (128 + SIGSEGV) << 8]
    #expect(ends.contains(Self.hostile("--guarded 1 --trespass --only long64")))
  }

  private static func hostile(_ arguments: String) -> Int32 {
    let source = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    let candidates = ["release", "debug"].map { "/\(source)/.build/\($0)/hostile" }
    let path = candidates.first { access($0, X_OK) == 0 } ?? "hostile"
    return system("timeout 240 '\(path)' \(arguments) >/dev/null 2>&1")
  }

  /// The same under KVM, each guest for a few milliseconds.
  @Test(.enabled(if: access("/dev/kvm", R_OK | W_OK) == 0, "no usable /dev/kvm"))
  func `random programs under KVM stop with a reason`() {
    let source = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    let candidates = ["release", "debug"].map { "/\(source)/.build/\($0)/hostile" }
    let path = candidates.first { access($0, X_OK) == 0 } ?? "hostile"
    let kinds = ["real", "protected32-ring0", "protected16-ring3", "long64-ring0", "long64-ring3"]
    let only = kinds.map { "--only \($0)" }.joined(separator: " ")
    let status = system("timeout 240 '\(path)' --engine kvm \(only) --seed 1821 --count 400 >/dev/null 2>&1")
    #expect(status == 0)
  }

  @Test("equal seeds make equal guests", arguments: GuestKind.all)
  func repeatable(kind: GuestKind) throws {
    let maker = try GuestMaker(seed: 7, limit: 200)
    for number in 0..<4 {
      let digests = [0, 1].map { _ in
        guard let session = try? maker.session(kind, number) else { return "refused" }
        _ = session.perform("continue")
        return session.digest()
      }
      #expect(digests[0] == digests[1], "\(kind) \(number)")
    }
  }

  @Test func `every mode is there once`() {
    let names = GuestMode.all.map(\.description)
    #expect(Set(names).count == names.count && names.count == 21)
    #expect(names.contains("protected16-pae-ring3") && names.contains("compatibility16-ring0"))
  }
}
