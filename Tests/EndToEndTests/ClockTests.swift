import Foundation
import Glibc
import Testing

/// Clocks that are wrong by decades (DESIGN.md §4 rule 3). All devices of a test run in one boot.
@Suite(.lane) struct ClockTests {
    /// Before and after everything that a 32-bit clock can show.
    static let wild = ["@1970-01-02 00:00:00", "@2038-01-20 00:00:00"]

    private func date(_ json: JSON) throws -> Date {
        let reader = ISO8601DateFormatter()
        reader.formatOptions = [.withInternetDateTime, .withFractionalSeconds]
        guard let text = json.text, let date = reader.date(from: text) else {
            throw Surprise("\(json) is no time")
        }
        return date
    }

    /// When a command ran, by the right clock, with room for the milliseconds of rounding.
    private func during<R>(_ body: () async throws -> R) async throws -> (R, ClosedRange<Date>) {
        let start = Date().addingTimeInterval(-0.25)
        let result = try await body()
        return (result, start...Date().addingTimeInterval(0.25))
    }

    /// Room for the time that a request was on its way, which no estimate can tell.
    private func widened(
        _ range: ClosedRange<Date>, by request: ClosedRange<Date>
    ) -> ClosedRange<Date> {
        let time = request.upperBound.timeIntervalSince(request.lowerBound)
        let start = range.lowerBound.addingTimeInterval(-time)
        return start...range.upperBound.addingTimeInterval(time)
    }

    @Test(arguments: wild)
    func stampIsWhenItWasWritten(clock: String) async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker, clock: clock)
        let office = try await world.enrolled("office", .office)
        let (id, written) = try await during { try await worker.add("门口积水") }
        let (_, syncing) = try await during { try await worker.sync() }
        try await office.sync()
        let recorded = try await office.need(id)["recorded_at"]
        #expect(try widened(written, by: syncing).contains(date(recorded)))
        #expect(try await office.need(id)["recorded_at_approximate"] == .bool(false))
    }

    @Test(arguments: wild)
    func timeIsShownCorrectedAndApproximateUntilAcknowledged(clock: String) async throws {
        let world = try await World()
        let (worker, enrolling) = try await during {
            try await world.enrolled("worker", .worker, clock: clock)
        }
        let (id, written) = try await during { try await worker.add("门口积水") }
        let before = try await worker.need(id)
        #expect(try widened(written, by: enrolling).contains(date(before["recorded_at"])))
        #expect(before["recorded_at_approximate"].isTrue)
        #expect(try await worker.run("need", "list").stdout.contains("≈20"))
        let (_, syncing) = try await during { try await worker.sync() }
        let after = try await worker.need(id)
        #expect(try widened(written, by: syncing).contains(date(after["recorded_at"])))
        #expect(!after["recorded_at_approximate"].isTrue)
        #expect(try await !worker.run("need", "list").stdout.contains("≈"))
    }

    @Test(arguments: wild)
    func nothingIsLostOverTheWholeJob(clock: String) async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker, clock: clock)
        let team = try await world.enrolled(
            "team", .team, clock: clock == Self.wild[0] ? Self.wild[1] : Self.wild[0])
        let id = try await worker.add("缺路灯", "--category", "lighting")
        try await worker.sync()
        try await team.sync()
        try await team.run("job", "accept", id)
        try await team.run("job", "finish", id, "--result", "装好了")
        try await team.sync()
        try await worker.sync()
        try await worker.run("need", "rate", id, "--grade", "5")
        try await worker.sync()
        #expect(try await world.needs().map { $0["status"].text } == ["rated"])
        #expect(try await worker.refused() == [])
        #expect(try await team.refused() == [])
    }

    /// Overdue is judged by the banner's day, not the device's.
    @Test(arguments: wild)
    func overdueIsJudgedByTheCorrectedClock(clock: String) async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker, clock: clock)
        let late = try await worker.add("超期")
        let other = try await worker.add("不急")
        try await worker.sync()
        try await world.dispatchOverdue(late)
        try await world.admin("dispatch", other, "--team", "T01", "--due", "2037-01-01")
        try await worker.sync()
        #expect(try await worker.needs("--overdue").map { $0["id"].text } == [late])
    }

    /// Whoever writes last wins, whatever the clocks say and whoever syncs last.
    @Test(arguments: [0, 1], [false, true])
    func laterWriterWins(firstClock: Int, firstSyncsLast: Bool) async throws {
        let world = try await World()
        let first = try await world.enrolled("first", .worker, clock: Self.wild[firstClock])
        let second = try await world.enrolled("second", .worker, clock: Self.wild[1 - firstClock])
        let id = try await first.add("门口积水")
        try await first.sync()
        try await second.sync()
        try await first.run("need", "edit", id, "address=先")
        try await second.run("need", "edit", id, "address=后")
        let order = firstSyncsLast ? [second, first, second] : [first, second, first]
        for device in order { try await device.sync() }
        for device in [first, second] {
            #expect(try await device.need(id)["address"].text == "后")
            #expect(try await device.conflicts().count == 1)
        }
    }

    /// A clock that jumps between two commands moves nothing out of order.
    @Test func jumpingClockKeepsTheOrder() async throws {
        let world = try await World()
        var worker = try await world.enrolled("worker", .worker, clock: Self.wild[1])
        let id = try await worker.add("门口积水", "--address", "一")
        worker.clock = Self.wild[0]
        try await worker.run("need", "edit", id, "address=二")
        worker.clock = nil
        try await worker.run("need", "edit", id, "address=三")
        try await worker.sync()
        let history = try await worker.run("need", "show", id, "--history", "--json").json()
        let lines = history["history"].elements.filter { $0["field"].text == "address" }
        #expect(lines.map { $0["value"].text } == ["一", "二", "三"])
        let times = try lines.map { try date($0["at"]) }
        #expect(times == times.sorted())
        #expect(lines.map { $0["shown"].isTrue } == [false, false, true])
    }

    /// The hub's own clock: what came while it was wrong, and after it was set right, stays in the
    /// order in which it was written, also when it steps back by decades.
    @Test(arguments: wild)
    func hubWhoseClockIsSetRightLosesNothing(clock: String) async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let office = try await world.enrolled("office", .office)
        try await world.stop()
        try await world.serve(port: world.port, wrapper: World.faked(clock))
        let id = try await worker.add("门口积水", "--address", "一")
        try await worker.sync()
        try await office.sync()
        try await office.run("need", "edit", id, "address=二")
        try await office.sync()
        // faketime stands between and ends with the signal, so the server's own lock tells when it
        // has ended.
        world.signalServer(SIGTERM)
        try await eventually("the server to end") {
            let lock = open(world.ledger + ".lock", O_RDWR | O_CLOEXEC)
            defer { close(lock) }
            return flock(lock, LOCK_EX | LOCK_NB) == 0
        }
        try await world.restart()
        try await worker.sync()
        try await worker.run("need", "edit", id, "address=三")
        let second = try await worker.add("井盖松动")
        for device in [worker, office] { try await device.sync() }
        for device in [worker, office] {
            #expect(try await device.need(id)["address"].text == "三")
            #expect(try await device.conflicts().isEmpty)
            #expect(Set(try await device.needs().compactMap { $0["id"].text }) == [id, second])
        }
        try await world.check()
    }
}
