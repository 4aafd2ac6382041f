import Testing

@testable import TerminalUI

@Suite struct CivilTimeTests {
    /// 2026-11-21T14:03:04.123Z
    private let moment: Int64 = 1_795_269_784_123

    @Test func timeIsThatOfTheOffset() {
        #expect(
            CivilTime.rfc3339(milliseconds: moment, offsetMinutes: 480)
                == "2026-11-21T22:03:04.123+08:00")
    }

    /// The expected texts were made with Python 3.11's `datetime` and `zoneinfo`.
    @Test(
        arguments: [
            (0, 0, "1970-01-01T00:00:00.000+00:00"),
            (-1, 0, "1969-12-31T23:59:59.999+00:00"),
            (951_782_400_000, 0, "2000-02-29T00:00:00.000+00:00"),
            (2_147_483_648_000, 0, "2038-01-19T03:14:08.000+00:00"),
            (4_107_542_400_000, 0, "2100-03-01T00:00:00.000+00:00"),
            (4_133_980_799_999, 480, "2101-01-01T07:59:59.999+08:00"),
            (1_782_000_000_000, -240, "2026-06-20T20:00:00.000-04:00"),
            (1_795_269_784_123, -300, "2026-11-21T09:03:04.123-05:00"),
            (1_795_269_784_123, 345, "2026-11-21T19:48:04.123+05:45"),
            (1_795_269_784_123, -210, "2026-11-21T10:33:04.123-03:30"),
            (525_000_000_000, 540, "1986-08-21T18:20:00.000+09:00"),
        ] as [(Int64, Int, String)])
    func timeIsWritten(milliseconds: Int64, offsetMinutes: Int, expected: String) {
        #expect(
            CivilTime.rfc3339(milliseconds: milliseconds, offsetMinutes: offsetMinutes) == expected)
    }

    @Test(
        arguments: [
            (.min, 480, "0001-01-02T08:00:00.000+08:00"),
            (.min, -300, "0001-01-01T19:00:00.000-05:00"),
            (.max, 480, "9999-12-31T07:59:59.999+08:00"),
            (0, .max, "1970-01-01T23:59:00.000+23:59"),
            (0, .min, "1969-12-31T00:01:00.000-23:59"),
        ] as [(Int64, Int, String)])
    func hugeTimesAndOffsetsAreCut(milliseconds: Int64, offsetMinutes: Int, expected: String) {
        #expect(
            CivilTime.rfc3339(milliseconds: milliseconds, offsetMinutes: offsetMinutes) == expected)
    }

    @Test func shortFormHasMinutes() {
        #expect(CivilTime.short(milliseconds: moment, offsetMinutes: 480) == "2026-11-21 22:03")
    }

    @Test(
        arguments: [
            (0, "just now", "刚刚"), (-59_999, "just now", "刚刚"), (59_999, "just now", "刚刚"),
            (-60_000, "1 minute ago", "1 分钟前"), (-3_599_999, "59 minutes ago", "59 分钟前"),
            (-3_600_000, "1 hour ago", "1 小时前"), (-7_200_000, "2 hours ago", "2 小时前"),
            (-86_399_999, "23 hours ago", "23 小时前"), (-86_400_000, "1 day ago", "1 天前"),
            (259_200_000, "in 3 days", "3 天后"), (60_000, "in 1 minute", "1 分钟后"),
            (-2_592_000_000, "1 month ago", "1 个月前"),
            (-31_535_999_999, "12 months ago", "12 个月前"),
            (31_536_000_000, "in 1 year", "1 年后"), (-63_072_000_000, "2 years ago", "2 年前"),
        ] as [(Int64, String, String)])
    func distanceIsSaid(difference: Int64, english: String, chinese: String) {
        let texts = Language.allCases.map {
            CivilTime.relative(milliseconds: moment + difference, now: moment, language: $0)
        }
        #expect(texts == [english, chinese])
    }

    @Test func hugeDistancesAreSaid() {
        let past = CivilTime.relative(milliseconds: .min, now: .max, language: .english)
        let future = CivilTime.relative(milliseconds: .max, now: .min, language: .english)
        #expect([past, future] == ["292471208 years ago", "in 292471208 years"])
    }
}
