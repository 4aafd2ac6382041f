import NeedModel
import Testing

@Suite struct CivilDateTests {
    /// The calendar as a schoolbook has it: a walk from day to day, without arithmetic on eras.
    @Test func agreesWithAWalkFromDayToDay() throws {
        func monthLength(_ year: Int, _ month: Int) -> Int {
            let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
            return [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1]
        }
        func text(_ year: Int, _ month: Int, _ day: Int) -> String {
            "\(year)-\(month < 10 ? "0" : "")\(month)-\(day < 10 ? "0" : "")\(day)"
        }
        // 1600-01-01 is 135,140 days before 1970-01-01 (Python: date.toordinal).
        var days: Int64 = -135_140
        for year in 1600...2400 {
            for month in 1...12 {
                for day in 1...monthLength(year, month) {
                    let expected = text(year, month, day)
                    try #require(CivilDate(daysSince1970: days)?.description == expected)
                    try #require(CivilDate(expected)?.daysSince1970 == days)
                    days += 1
                }
                let beyond = text(year, month, monthLength(year, month) + 1)
                try #require(CivilDate(beyond) == nil)
            }
        }
        #expect(CivilDate("1970-01-01")?.daysSince1970 == 0)
    }

    @Test func theEndsOfItsRange() {
        #expect(CivilDate("0001-01-01")?.daysSince1970 == CivilDate.validDays.lowerBound)
        #expect(CivilDate("9999-12-31")?.daysSince1970 == CivilDate.validDays.upperBound)
        #expect(CivilDate(daysSince1970: CivilDate.validDays.lowerBound - 1) == nil)
        #expect(CivilDate(daysSince1970: CivilDate.validDays.upperBound + 1) == nil)
    }

    @Test(arguments: [
        "", "2026", "2026-1-01", "2026-01-1", "02026-01-01", "2026-13-01", "2026-00-01",
        "2026-01-00", "2025-02-29", "1900-02-29", "2026-04-31", "0000-01-01", "-001-01-01",
        "2026-01-01 ", " 2026-01-01", "2026/01/01", "20２6-01-01", "+026-01-01", "2026-01-01-01",
    ])
    func otherTextIsNoDate(_ text: String) { #expect(CivilDate(text) == nil) }

    @Test func aClockShowsTheDayOfItsPlace() {
        // 2026-07-01 16:00 UTC is midnight in China.
        let midnight: Int64 = 1_782_921_600_000
        #expect(CivilDate(milliseconds: midnight, offsetMinutes: 480).description == "2026-07-02")
        #expect(
            CivilDate(milliseconds: midnight - 1, offsetMinutes: 480).description == "2026-07-01")
        #expect(CivilDate(milliseconds: -1, offsetMinutes: 0).description == "1969-12-31")
        #expect(CivilDate(milliseconds: 0, offsetMinutes: -60).description == "1969-12-31")
    }

    @Test func hostileClocksStayWithinTheRange() {
        for offset in [-1440, 0, 1440] {
            #expect(
                CivilDate(milliseconds: .max, offsetMinutes: offset).description == "9999-12-31")
            #expect(
                CivilDate(milliseconds: .min, offsetMinutes: offset).description == "0001-01-01")
        }
    }

    @Test func addingDaysStopsAtTheEnds() throws {
        let day = try #require(CivilDate("2024-02-28"))
        #expect(day.adding(days: 2).description == "2024-03-01")
        #expect(day.adding(days: -59).description == "2023-12-31")
        #expect(day.adding(days: .max).description == "9999-12-31")
        #expect(day.adding(days: .min).description == "0001-01-01")
    }
}
