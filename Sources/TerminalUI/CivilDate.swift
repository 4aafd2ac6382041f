/// A day of the Gregorian calendar, without a time or a zone.
package struct CivilDate: Sendable, Hashable, Comparable, CustomStringConvertible {
    package let year: Int
    /// 1 to 12.
    package let month: Int
    /// 1 to 31.
    package let day: Int

    /// What a person may type. Outside of it a slip of the finger is likelier than a real day.
    package static let years = 1970...2100

    /// Reads `2026-12-01`: exactly ten ASCII characters, a day that exists, a year of ``years``.
    ///
    /// - Throws: ``CivilDateError`` for everything else.
    package init(_ text: String) throws(CivilDateError) {
        let bytes = Array(text.utf8.prefix(11))
        let hyphen = UInt8(ascii: "-")
        guard bytes.count == 10, bytes[4] == hyphen, bytes[7] == hyphen,
            let year = Self.number(bytes[0..<4]), let month = Self.number(bytes[5..<7]),
            let day = Self.number(bytes[8..<10])
        else { throw .malformed }
        guard Self.years.contains(year) else { throw .noSuchYear }
        guard (1...12).contains(month) else { throw .noSuchMonth }
        guard day >= 1, day <= Self.daysIn(month: month, year: year) else { throw .noSuchDay }
        self.init(year: year, month: month, day: day)
    }

    /// For dates that arithmetic has made: they exist.
    private init(year: Int, month: Int, day: Int) {
        self.year = year
        self.month = month
        self.day = day
    }

    /// The day so many days after 1970-01-01, before it if negative.
    ///
    /// Counts in eras of 400 years (146 097 days) that begin on a 1 March, so that the leap day is
    /// the last of its year. Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    ///
    /// - Parameter days: Cut to the years 1 to 9999.
    init(daysSince1970 days: Int) {
        let shifted = min(max(days, -719_162), 2_932_896) + 719_468
        let era = shifted / 146_097  // The cut keeps it positive.
        let dayOfEra = shifted % 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        self.init(
            year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month: month,
            day: dayOfYear - (153 * monthFromMarch + 2) / 5 + 1)
    }

    /// The reverse of ``init(daysSince1970:)``.
    var daysSince1970: Int {
        let yearFromMarch = month <= 2 ? year - 1 : year
        let era = yearFromMarch / 400  // The year is at least 1, so this is never negative.
        let yearOfEra = yearFromMarch % 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
            - 719_468
    }

    /// The day so many days later, earlier if negative; cut to the years 1 to 9999.
    package func date(plusDays days: Int) -> CivilDate {
        let (sum, overflowed) = daysSince1970.addingReportingOverflow(days)
        return CivilDate(daysSince1970: overflowed ? (days < 0 ? .min : .max) : sum)
    }

    /// `2026-12-01`.
    package var description: String {
        "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))"
    }

    package static func < (left: CivilDate, right: CivilDate) -> Bool {
        (left.year, left.month, left.day) < (right.year, right.month, right.day)
    }

    private static func daysIn(month: Int, year: Int) -> Int {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    private static func number(_ digits: ArraySlice<UInt8>) -> Int? {
        var result = 0
        for digit in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
            result = result * 10 + Int(digit - UInt8(ascii: "0"))
        }
        return result
    }
}

/// A text that is not a date. Does not repeat it: the caller knows which option it came from.
package enum CivilDateError: Error, Equatable, CustomStringConvertible {
    case malformed
    case noSuchYear
    case noSuchMonth
    case noSuchDay

    package var phrase: Phrase {
        switch self {
        case .malformed: Phrase("this is not a date", "这不是日期")
        case .noSuchYear:
            Phrase("the year must be from 1970 to 2100", "年份须在 1970 到 2100 之间")
        case .noSuchMonth: Phrase("the month must be from 01 to 12", "月份须在 01 到 12 之间")
        case .noSuchDay: Phrase("that month has no such day", "该月没有这一天")
        }
    }

    package var hint: Phrase {
        Phrase("write year-month-day, such as 2026-12-01", "请写“年-月-日”，例如 2026-12-01")
    }

    package var description: String { phrase(.english) }
}

/// Writes a number that is not negative with leading zeros.
func padded(_ number: Int, _ digits: Int) -> String {
    let text = String(number)
    return String(repeating: "0", count: max(0, digits - text.count)) + text
}
