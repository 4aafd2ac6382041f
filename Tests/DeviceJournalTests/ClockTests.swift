import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import DeviceJournal

/// A device's clock may say anything; what is shown is as right as can be known.
@Suite struct ClockTests {
    @Test(arguments: [0, -56 * 31_557_600_000, 12 * 31_557_600_000] as [Int64])
    func inOneBootTheHubsClockIsKnown(wallError: Int64) throws {
        let bench = try Bench()
        bench.wallError = wallError
        try bench.pull()
        let reading = bench.now
        let truth = bench.hubMilliseconds
        let corrected = try bench.journal.correctedMilliseconds(of: reading)
        #expect(corrected.isCertain)
        // The hub answers one step after the request left, half a step off the middle.
        #expect(abs(corrected.milliseconds - truth) <= 1_000)
        let need = try bench.journal.addNeed(
            [FieldEdit(.text, .text("时")), FieldEdit(.grid, .text(Bench.grid))], clocks: reading)
        #expect(abs(need.created.milliseconds - truth) <= 1_000)
        #expect(need.created.isApproximate)
        #expect(abs(need.id.milliseconds - truth) <= 1_000)
    }

    @Test func theWallMayStepWithinABoot() throws {
        let bench = try Bench()
        try bench.pull()
        bench.wallError = -1_000_000_000
        let truth = bench.hubMilliseconds
        #expect(abs(try bench.journal.approximateNow(bench.now) - truth) <= 2_000)
    }

    @Test func inAnotherBootTheWallIsAllThereIs() throws {
        let bench = try Bench()
        bench.boot = 78
        bench.wallError = -5_000
        let reading = bench.now
        let corrected = try bench.journal.correctedMilliseconds(of: reading)
        #expect(!corrected.isCertain)
        #expect(corrected.milliseconds == reading.wallMilliseconds)
    }

    @Test func anEarlierBootStaysKnown() throws {
        let bench = try Bench()
        let early = bench.now
        let truth = bench.hubMilliseconds
        bench.boot = 78
        bench.elapsed = 5_000
        try bench.pull()
        let corrected = try bench.journal.correctedMilliseconds(of: early)
        #expect(corrected.isCertain)
        #expect(abs(corrected.milliseconds - truth) <= 2_000)
    }

    @Test func aBootWithoutANameIsNeverMeasured() throws {
        let bench = try Bench()
        bench.boot = 0
        try bench.pull()
        #expect(try !bench.journal.correctedMilliseconds(of: bench.now).isCertain)
    }

    @Test func onlyTheLastBootsAreRemembered() throws {
        let bench = try Bench()
        let first = bench.now
        for boot in 100..<116 {
            bench.boot = UInt64(boot)
            try bench.pull()
        }
        #expect(try bench.journal.readBoots().count == 16)
        #expect(try !bench.journal.correctedMilliseconds(of: first).isCertain)
    }

    @Test(arguments: [.min, .max] as [Int64])
    func wildClocksOverflowNothing(extreme: Int64) throws {
        let bench = try Bench()
        let reading = ClockReading(
            wallMilliseconds: extreme, boot: Bench.boot, elapsedMilliseconds: extreme)
        let need = try bench.journal.addNeed(
            [FieldEdit(.text, .text("野")), FieldEdit(.grid, .text(Bench.grid))], clocks: reading)
        let other = ClockReading(
            wallMilliseconds: extreme, boot: 5, elapsedMilliseconds: -(extreme / 2))
        _ = try bench.journal.editNeed(need.id, [FieldEdit(.phone, .text("1"))], clocks: other)
        let request = try bench.request()
        // What was read travels as it was read.
        #expect(request.groups.map(\.written) == [reading, other])
        #expect(try SyncRequest(decoding: request.encoded()).groups == request.groups)
        #expect(try bench.shown(need.id).text == "野")
    }

    @Test func pendingTimesAreApproximateUntilAcknowledged() throws {
        let bench = try Bench()
        let id = try bench.add()
        #expect(try bench.shown(id).field(.text)?.shown.time.isApproximate == true)
        try bench.sync()
        #expect(try bench.shown(id).field(.text)?.shown.time.isApproximate == false)
        #expect(try !bench.shown(id).created.isApproximate)
    }
}
