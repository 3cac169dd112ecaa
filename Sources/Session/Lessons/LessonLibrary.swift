import Debugger
import VMCore

/// The lessons that come with the program: `Samples/lessons/*.lesson`.
package enum LessonLibrary {
  private static let suffix = ".lesson"

  private static var folder: String? { SampleLibrary.folder("Samples/lessons") }

  /// Names of all lessons, readable or not.
  package static var names: [String] {
    guard let folder else { return [] }
    return HostFile.names(in: folder).filter { $0.hasSuffix(suffix) }.map { String($0.dropLast(suffix.count)) }
  }

  /// Every lesson in teaching order, and what is wrong with those that cannot be read.
  package static func all() -> (lessons: [Lesson], faults: [VMError]) {
    var lessons: [Lesson] = []
    var faults: [VMError] = []
    for name in names {
      do throws(VMError) { lessons.append(try lesson(name)) } catch { faults.append(error) }
    }
    return (lessons.sorted { ($0.order, $0.name) < ($1.order, $1.name) }, faults)
  }

  /// A lesson by its name, or by the path of a file of one's own.
  package static func lesson(_ name: String) throws(VMError) -> Lesson {
    let isPath = name.contains("/") || name.hasSuffix(suffix)
    guard isPath || names.contains(name) else {
      let nearest = NearestName.find(name, in: names).map { "did you mean \($0)? " } ?? ""
      throw VMError(.usage, "\(name): no such lesson", remedy: "\(nearest)'ringside lessons' lists them")
    }
    let path = isPath ? name : "\(folder ?? "")/\(name)\(suffix)"
    guard let text = HostFile.text(at: path, limit: 1 << 20) else {
      throw VMError(.usage, "\(path): no such text file", remedy: "'ringside lessons' lists the lessons")
    }
    let file = path.split(separator: "/").last.map(String.init) ?? path
    let bare = file.hasSuffix(suffix) ? String(file.dropLast(suffix.count)) : file
    return try LessonParser.parse(text, name: bare, path: path)
  }
}
