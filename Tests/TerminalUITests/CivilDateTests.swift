import Testing

@testable import TerminalUI

@Suite struct CivilDateTests {
    @Test(
        arguments: [
            "1970-01-01", "2100-12-31", "2026-12-01", "2024-02-29", "2000-02-29", "2026-04-30",
        ])
    func dateIsRead(text: String) throws {
        #expect(try CivilDate(text).description == text)
    }

    @Test func dateHasItsParts() throws {
        let date = try CivilDate("2026-12-01")
        #expect([date.year, date.month, date.day] == [2026, 12, 1])
    }

    @Test(
        arguments: [
            "", "2026", "2026-12", "2026-12-1", "2026-1-01", "26-12-01", "2026/12/01",
            "2026-12-01 ", " 2026-12-01", "2026-12-011", "+026-12-01", "2026-12--1",
            "２０２６-12-01", "2026-12-01T00:00", "tomorrow!!", "2026\u{2010}12-1",
        ])
    func malformedTextIsAnError(text: String) {
        #expect(throws: CivilDateError.malformed) { try CivilDate(text) }
    }

    @Test(
        arguments: [
            "2026-02-30", "2026-02-29", "2100-02-29", "2026-04-31", "2026-01-32", "2026-12-00",
        ])
    func dayThatDoesNotExistIsAnError(text: String) {
        #expect(throws: CivilDateError.noSuchDay) { try CivilDate(text) }
    }

    @Test(arguments: ["2026-00-01", "2026-13-01"])
    func monthThatDoesNotExistIsAnError(text: String) {
        #expect(throws: CivilDateError.noSuchMonth) { try CivilDate(text) }
    }

    @Test(arguments: ["0000-01-01", "1969-12-31", "2101-01-01", "0226-12-01"])
    func yearOutOfRangeIsAnError(text: String) {
        #expect(throws: CivilDateError.noSuchYear) { try CivilDate(text) }
    }

    @Test(
        arguments: [
            ("2026-12-31", 1, "2027-01-01"), ("2026-03-01", -1, "2026-02-28"),
            ("2024-02-28", 1, "2024-02-29"), ("2100-02-28", 1, "2100-03-01"),
            ("2026-11-21", 0, "2026-11-21"), ("2026-11-21", 365, "2027-11-21"),
            ("1970-01-01", -1, "1969-12-31"), ("2026-11-21", .max, "9999-12-31"),
            ("2026-11-21", .min, "0001-01-01"),
        ])
    func daysAreAdded(text: String, days: Int, expected: String) throws {
        #expect(try CivilDate(text).date(plusDays: days).description == expected)
    }

    /// The calendar written the slow way is the oracle for the arithmetic: 47 847 days.
    @Test func everyDayFrom1970To2100IsItsNumber() throws {
        var days = 0
        for year in 1970...2100 {
            let isLeap = year % 400 == 0 || (year % 4 == 0 && year % 100 != 0)
            let lengths = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
            for (month, length) in lengths.enumerated() {
                for day in 1...length {
                    let date = CivilDate(daysSince1970: days)
                    try #require([date.year, date.month, date.day] == [year, month + 1, day])
                    try #require(date.daysSince1970 == days)
                    days += 1
                }
            }
        }
    }

    @Test func datesAreOrderedByTime() throws {
        #expect(try CivilDate("2026-09-30") < CivilDate("2026-10-01"))
    }
}
