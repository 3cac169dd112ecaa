// Runs single-instruction test vectors in the MOO format (real mode, recorded from silicon) on the
// embedded processor: vectors DIR|FILE...  Prints what differs, then "N passed, N failed".
import Glibc

var paths: [String] = []
var verbose = false
for argument in CommandLine.arguments.dropFirst() {
  if argument == "-v" {
    verbose = true
  } else if let entries = directory(argument) {
    paths += entries
  } else {
    paths.append(argument)
  }
}
guard !paths.isEmpty else {
  print("usage: vectors [-v] DIR|FILE...   (files in the MOO format, gzipped or plain)")
  exit(2)
}

var passed = 0
var failed = 0
var excused: [String: Int] = [:]
let runner = try VectorRunner()
for path in paths {
  guard let file = VectorFile(path: path) else {
    print("\(path): not a readable MOO file")
    failed += 1
    continue
  }
  var failures = 0
  for vector in file.vectors {
    let differences = runner.run(vector, mnemonic: file.mnemonic)
    if differences.isEmpty {
      passed += 1
    } else if let reason = Rules.changedSince286(vector, mnemonic: file.mnemonic) {
      excused[reason, default: 0] += 1
      passed += 1
    } else {
      failed += 1
      failures += 1
      if failures <= (verbose ? 100 : 2) {
        let name = path.split(separator: "/").last.map(String.init) ?? path
        print("\(name) #\(vector.index) \(vector.name): \(differences.joined(separator: "; "))")
      }
    }
  }
  if failures > 2 && !verbose { print("  ... \(failures) failures in this file") }
}
for (reason, count) in excused.sorted(by: { $0.key < $1.key }) { print("\(count) differ by rule: \(reason)") }
print("\(passed) passed, \(failed) failed")
exit(failed == 0 ? 0 : 1)

/// The vector files of a directory, sorted; nil if it is none.
func directory(_ path: String) -> [String]? {
  guard let handle = opendir(path) else { return nil }
  defer { closedir(handle) }
  var names: [String] = []
  while let entry = readdir(handle) {
    let name = withUnsafePointer(to: &entry.pointee.d_name) {
      $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
    }
    if name.hasSuffix(".MOO.gz") || name.hasSuffix(".MOO") { names.append("\(path)/\(name)") }
  }
  return names.sorted()
}
