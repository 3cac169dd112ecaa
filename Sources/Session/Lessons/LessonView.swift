/// What is shown of a lesson under way.
package struct LessonView: Equatable, Sendable {
  package var run: LessonRun
  /// The guest stands where the lesson led it; else somebody drove it on.
  package var isInPlace: Bool
  /// What went wrong on the way.
  package var complaint: String?
  /// What was to be done is done.
  package var isDeedDone = false

  package init(_ run: LessonRun, isInPlace: Bool = true, complaint: String? = nil) {
    self.run = run
    self.isInPlace = isInPlace
    self.complaint = complaint
  }

  /// `Ring deprivileging  3/12  right 2 of 4`
  package var title: String {
    let count = run.lesson.questionCount
    let score = count == 0 ? "" : "  \(run.rightCount) of \(count) right"
    return "Lesson: \(run.lesson.title)  step \(run.index + 1) of \(run.lesson.steps.count)\(score)"
  }
}
