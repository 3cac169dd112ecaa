/// Date and time as the clock chip counts them, without leap seconds.
struct CalendarDate: Equatable {
  var year: Int
  /// 1...12.
  var month: Int
  /// 1...31.
  var day: Int
  var hour: Int
  var minute: Int
  var second: Int

  /// Days since 1 March of year 0 in the proleptic Gregorian calendar; years that begin in March have
  /// the leap day last.
  private static func days(_ year: Int, _ month: Int, _ day: Int) -> Int {
    let y = month > 2 ? year : year - 1
    let m = month > 2 ? month - 3 : month + 9
    let leapDays = y / 4 - y / 100 + y / 400
    return y * 365 + leapDays + (m * 153 + 2) / 5 + day - 1
  }

  private static let epoch = days(1970, 1, 1)

  /// Seconds since 1970; fields out of range count on into the next larger one.
  var seconds: Int {
    let wholeDays = Self.days(year, month, day) - Self.epoch
    return wholeDays * 86400 + hour * 3600 + minute * 60 + second
  }

  init(year: Int, month: Int, day: Int, hour: Int, minute: Int, second: Int) {
    self.year = year
    self.month = month
    self.day = day
    self.hour = hour
    self.minute = minute
    self.second = second
  }

  /// The date `seconds` after the beginning of 1970 (not before year 1).
  init(seconds: Int) {
    let wholeDays = seconds / 86400 + Self.epoch
    let inDay = seconds % 86400
    let era = wholeDays / 146_097
    let dayOfEra = wholeDays % 146_097
    let leapFree = dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096
    let yearOfEra = leapFree / 365
    let before = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100
    let dayOfYear = dayOfEra - before
    let m = (dayOfYear * 5 + 2) / 153
    day = dayOfYear - (m * 153 + 2) / 5 + 1
    month = m < 10 ? m + 3 : m - 9
    year = era * 400 + yearOfEra + (m < 10 ? 0 : 1)
    hour = inDay / 3600
    minute = inDay / 60 % 60
    second = inDay % 60
  }

  /// 1 = Sunday ... 7 = Saturday, as the MC146818 counts.
  var weekday: Int { (seconds / 86400 + 4) % 7 + 1 }
}
