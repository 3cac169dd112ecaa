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

  /// `Lesson: step 3 of 12, 2 of 4 right  Ring deprivileging`: what changes comes first, and is not cut off.
  package var title: String {
    let count = run.lesson.questionCount
    let score = count == 0 ? "" : ", \(run.rightCount) of \(count) right"
    return "Lesson: step \(run.index + 1) of \(run.lesson.steps.count)\(score)  \(run.lesson.title)"
  }
}
