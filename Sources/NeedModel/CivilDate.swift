import SyncCore

/// A day of the Gregorian calendar, as days since 1970-01-01.
///
/// - SeeAlso: Hinnant, "chrono-Compatible Low-Level Date Algorithms".
package struct CivilDate: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let daysSince1970: Int64

    /// Years 0001 to 9999.
    package static let validDays: ClosedRange<Int64> = -719_162...2_932_896

    package init?(daysSince1970: Int64) {
        guard Self.validDays.contains(daysSince1970) else { return nil }
        self.daysSince1970 = daysSince1970
    }

    /// The day that a clock shows at a distance from UTC; clamped to ``validDays``.
    package init(milliseconds: Int64, offsetMinutes: Int) {
        let local = milliseconds.addingSaturated(Int64(offsetMinutes) * 60_000)
        let (quotient, rest) = local.quotientAndRemainder(dividingBy: 86_400_000)
        let days = rest < 0 ? quotient - 1 : quotient
        daysSince1970 = min(max(days, Self.validDays.lowerBound), Self.validDays.upperBound)
    }

    /// Reads `YYYY-MM-DD`; `nil` for any other form and for days that do not exist.
    package init?(_ text: String) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0].count == 4, parts[1].count == 2, parts[2].count == 2,
            text.utf8.allSatisfy({ $0 == 0x2D || (0x30...0x39).contains($0) }),
            let year = Int64(parts[0]), let month = Int64(parts[1]), let day = Int64(parts[2]),
            year > 0, (1...12).contains(month), (1...31).contains(day)
        else { return nil }
        let shifted = month <= 2 ? year - 1 : year
        let era = shifted / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        daysSince1970 = era * 146_097 + dayOfEra - 719_468
        // The arithmetic takes 30 February for 2 March; the way back tells.
        guard description == text else { return nil }
    }

    package func adding(days: Int64) -> CivilDate {
        let sum = daysSince1970.addingSaturated(days)
        let bounded = min(max(sum, Self.validDays.lowerBound), Self.validDays.upperBound)
        return CivilDate(daysSince1970: bounded) ?? self
    }

    /// `YYYY-MM-DD`.
    package var description: String {
        let days = daysSince1970 + 719_468
        let era = (days >= 0 ? days : days - 146_096) / 146_097
        let dayOfEra = days - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        func padded(_ number: Int64, _ width: Int) -> String {
            let digits = String(number)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        return "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))"
    }

    package static func < (left: CivilDate, right: CivilDate) -> Bool {
        left.daysSince1970 < right.daysSince1970
    }
}
