import VMCore

/// A scripted tour through a sample, as a teacher wrote it down; `Samples/lessons/README.md` has the format.
package struct Lesson: Equatable, Sendable {
  /// The name of its file, without `.lesson`.
  package var name: String
  package var path: String
  package var title: String
  /// What it is about, in a sentence or two.
  package var summary = ""
  /// How long it takes, as the teacher thinks.
  package var minutes = 5
  package var order = 99
  /// The sample it is about.
  package var guest = ""
  package var technique = Technique.hvm
  /// Nil takes the technique's own.
  package var engine: String?
  package var steps: [LessonStep] = []

  /// Steps in which something is asked.
  package var questionCount: Int { steps.count { $0.question != nil } }

  /// What a session needs to be about this lesson.
  package var configuration: SessionConfiguration {
    var configuration = SessionConfiguration()
    configuration.guest = guest
    configuration.technique = technique
    configuration.engine = engine
    configuration.recordsStates = true
    return configuration
  }
}

/// One page of a lesson.
package struct LessonStep: Equatable, Sendable {
  /// Its first line in the file.
  package var line: Int
  package var title: String
  /// Paragraphs, wrapped where they are shown; one that begins with a blank is a row kept as it is.
  package var text: [String] = []
  /// What brings the guest to where the step is about.
  package var opening: [LessonCommand] = []
  /// What must be true there.
  package var expected: LessonCondition?
  /// The pane brought to the front, by its name in `Lesson.paneNames`.
  package var pane: String?
  /// A word to highlight in that pane.
  package var mark: String?
  package var question: LessonQuestion?
  /// Said once the question is answered.
  package var because: [String] = []
}

/// A debugger command a lesson gives, and where it stands in the file.
package struct LessonCommand: Equatable, Sendable {
  package var text: String
  package var line: Int
}

/// What is asked, and how the guest itself answers it.
package struct LessonQuestion: Equatable, Sendable {
  package enum Kind: Equatable, Sendable {
    /// One of several; those whose condition turns out true are right.
    case choices([LessonChoice])
    /// A number, right if it is what is measured afterwards.
    case number(LessonMeasure)
    /// The name of the next exit's reason.
    case reason
    /// Something to be done; right once the condition is true.
    case deed(LessonCondition)
  }
  package var text: String
  package var kind: Kind
  /// What lets the guest show the answer. For a deed: what does it for who does not.
  package var reveal: [LessonCommand] = []
  package var hints: [String] = []
}

package struct LessonChoice: Equatable, Sendable {
  package var text: String
  package var condition: LessonCondition
  /// Said where it was chosen and is wrong.
  package var why: String?
}

/// What a lesson asks of the guest as it stands.
package indirect enum LessonCondition: Equatable, Sendable {
  /// The newest exit, which came since the question was asked, is of this reason; nil: there was none.
  case exit(ExitReason?)
  /// The guest ended.
  case ended
  /// A control bit of the VMCS is on or off, by a name `vmcs` knows.
  case control(String, Bool)
  /// A port's bit of the I/O bitmap is on or off.
  case port(UInt16, Bool)
  case compare(LessonMeasure, Comparison, UInt64)
  case all([LessonCondition])
  /// An expression of breakpoint conditions, about registers, memory and the newest exit; true where it is not 0.
  case expression(String)

  package enum Comparison: String, CaseIterable, Sendable {
    case equal = "==", unequal = "!=", atMost = "<=", atLeast = ">=", less = "<", more = ">"

    func holds(_ a: UInt64, _ b: UInt64) -> Bool {
      switch self {
      case .equal: a == b
      case .unequal: a != b
      case .atMost: a <= b
      case .atLeast: a >= b
      case .less: a < b
      case .more: a > b
      }
    }
  }
}

/// A number a lesson asks for.
package enum LessonMeasure: Equatable, Sendable {
  case expression(String)
  /// Exits since the question was asked, of a reason or of any.
  case exits(ExitReason?)
  /// Instructions since the question was asked.
  case instructions
  /// Hypercalls since the guest's start.
  case hypercalls
}
