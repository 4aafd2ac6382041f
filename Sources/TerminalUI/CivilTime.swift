import Glibc
import Synchronization

/// Turns milliseconds since 1970 into what a clock on the wall shows.
///
/// A zone is what `TZ` may hold: a rule ("CST-8", where the sign is POSIX's, so this is eight hours
/// east of Greenwich) or a name ("Asia/Shanghai"). glibc takes a name it does not know for UTC and
/// says nothing. Times outside the years 1 to 9999 are cut to them, since RFC 3339 has four digits.
///
/// The C library knows one zone at a time, that of `TZ`. So the first use of a zone sets `TZ` for
/// the whole process and leaves it there; later uses of the same zone touch nothing. `setenv` must
/// not run beside a `getenv` of another thread (libcurl calls it): programs use one zone, and
/// should ask for a time in it once before they start threads.
package struct CivilTime: Sendable, Equatable {
    package let date: CivilDate
    package let hour: Int
    package let minute: Int
    package let second: Int
    package let millisecond: Int
    /// East of Greenwich.
    package let offsetMinutes: Int

    /// The zone of this machine: `TZ`, else the system's own setting.
    package static func localZone(environment: [String: String]) -> String {
        environment["TZ"] ?? ":/etc/localtime"
    }

    package init(milliseconds: Int64, zone: String) {
        // A day inside the years 1 to 9999, so that no offset leads out of them.
        let utc = min(max(milliseconds, -62_135_510_400_000), 253_402_214_399_999)
        let seconds = Int(utc.dividingFloored(by: 1000).quotient)
        // Whole minutes, as RFC 3339 has them, and the clock shown agrees with the offset shown.
        offsetMinutes = Int(
            Int64(zoneInForce.offsetSeconds(at: seconds, zone: zone)).dividingFloored(by: 60)
                .quotient)
        let local = utc + Int64(offsetMinutes) * 60_000
        let (days, rest) = local.dividingFloored(by: 86_400_000)
        date = CivilDate(daysSince1970: Int(days))
        hour = Int(rest / 3_600_000)
        minute = Int(rest / 60_000 % 60)
        second = Int(rest / 1000 % 60)
        millisecond = Int(rest % 1000)
    }

    /// `2026-11-21T22:03:04.123+08:00`, always of this length: for pipes and `--json`.
    package static func rfc3339(milliseconds: Int64, zone: String) -> String {
        let time = CivilTime(milliseconds: milliseconds, zone: zone)
        let offset = abs(time.offsetMinutes)
        return "\(time.date)T\(time.clock):\(padded(time.second, 2)).\(padded(time.millisecond, 3))"
            + (time.offsetMinutes < 0 ? "-" : "+")
            + "\(padded(offset / 60, 2)):\(padded(offset % 60, 2))"
    }

    /// `2026-11-21 22:03`: for a terminal.
    package static func short(milliseconds: Int64, zone: String) -> String {
        let time = CivilTime(milliseconds: milliseconds, zone: zone)
        return "\(time.date) \(time.clock)"
    }

    /// The day that it is in a zone.
    package static func today(zone: String, now: Int64) -> CivilDate {
        CivilTime(milliseconds: now, zone: zone).date
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

extension Int64 {
    /// Rounds down, so that a time before 1970 has its day and its clock like any other.
    fileprivate func dividingFloored(by divisor: Int64) -> (quotient: Int64, remainder: Int64) {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }
}

/// The zone that the C library is set to, and the lock before it.
private final class ZoneInForce: Sendable {
    private let name = Mutex<String?>(nil)

    /// - Parameter seconds: Since 1970, within the years 1 to 9999.
    func offsetSeconds(at seconds: Int, zone: String) -> Int {
        name.withLock { name in
            if name != zone {
                setenv("TZ", zone, 1)
                tzset()
                name = zone
            }
            var time: time_t = seconds
            var result = tm()
            // Fails only for years beyond Int32, which the caller has cut off.
            guard localtime_r(&time, &result) != nil else { return 0 }
            return result.tm_gmtoff
        }
    }
}

private let zoneInForce = ZoneInForce()
