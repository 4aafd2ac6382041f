package import NeedModel

/// What a clock on the wall shows at some distance from UTC.
///
/// The distance is the banner's, given with the assignment, so that two devices show one time alike
/// whatever zone their machines believe to be in. It is fixed: places with summer time would need
/// the zone's rules, and the C library keeps those in state that the whole process shares.
///
/// Times outside the years 1 to 9999 are cut to them, since RFC 3339 has four digits.
package struct CivilTime: Sendable, Equatable {
    package let date: CivilDate
    package let hour: Int
    package let minute: Int
    package let second: Int
    package let millisecond: Int
    /// East of Greenwich.
    package let offsetMinutes: Int

    /// - Parameters:
    ///   - milliseconds: Since 1970-01-01T00:00Z.
    ///   - offsetMinutes: East of Greenwich, less than a day either way; cut to that.
    package init(milliseconds: Int64, offsetMinutes: Int) {
        // A day inside the years 1 to 9999, so that no offset leads out of them.
        let utc = min(max(milliseconds, -62_135_510_400_000), 253_402_214_399_999)
        self.offsetMinutes = min(max(offsetMinutes, -1439), 1439)
        date = CivilDate(milliseconds: utc, offsetMinutes: self.offsetMinutes)
        let local = utc + Int64(self.offsetMinutes) * 60_000
        let rest = Int(local - date.daysSince1970 * 86_400_000)
        hour = rest / 3_600_000
        minute = rest / 60_000 % 60
        second = rest / 1000 % 60
        millisecond = rest % 1000
    }

    /// `2026-11-21T22:03:04.123+08:00`, always of this length: for pipes and `--json`.
    package static func rfc3339(milliseconds: Int64, offsetMinutes: Int) -> String {
        let time = CivilTime(milliseconds: milliseconds, offsetMinutes: offsetMinutes)
        let offset = abs(time.offsetMinutes)
        return "\(time.date)T\(time.clock):\(padded(time.second, 2)).\(padded(time.millisecond, 3))"
            + (time.offsetMinutes < 0 ? "-" : "+")
            + "\(padded(offset / 60, 2)):\(padded(offset % 60, 2))"
    }

    /// `2026-11-21 22:03`: for a terminal.
    package static func short(milliseconds: Int64, offsetMinutes: Int) -> String {
        let time = CivilTime(milliseconds: milliseconds, offsetMinutes: offsetMinutes)
        return "\(time.date) \(time.clock)"
    }

    /// `2 hours ago`, `2 小时前`, `in 3 days`, `3 天后`, `just now`, `刚刚`: rounded towards now.
    ///
    /// Under a minute either way is just now; a month counts 30 days and a year 365.
    package static func relative(milliseconds: Int64, now: Int64, language: Language) -> String {
        let (difference, overflowed) = milliseconds.subtractingReportingOverflow(now)
        let isPast = overflowed ? milliseconds < now : difference < 0
        let minutes = overflowed ? UInt64(Int64.max) / 60_000 : difference.magnitude / 60_000
        guard minutes > 0 else { return Phrase("just now", "刚刚")(language) }
        let count: UInt64
        let unit: Phrase
        switch minutes {
        case ..<60: (count, unit) = (minutes, Phrase("minute", "分钟"))
        case ..<1440: (count, unit) = (minutes / 60, Phrase("hour", "小时"))
        case ..<43_200: (count, unit) = (minutes / 1440, Phrase("day", "天"))
        case ..<525_600: (count, unit) = (minutes / 43_200, Phrase("month", "个月"))
        default: (count, unit) = (minutes / 525_600, Phrase("year", "年"))
        }
        switch language {
        case .english:
            let length = "\(count) \(unit.english)\(count == 1 ? "" : "s")"
            return isPast ? "\(length) ago" : "in \(length)"
        case .chinese:
            return "\(count) \(unit.chinese)\(isPast ? "前" : "后")"
        }
    }

    private var clock: String { "\(padded(hour, 2)):\(padded(minute, 2))" }
}

/// Writes a number that is not negative with leading zeros.
private func padded(_ number: Int, _ digits: Int) -> String {
    let text = String(number)
    return String(repeating: "0", count: max(0, digits - text.count)) + text
}
