import SyncCore
import Testing

/// DESIGN.md §4, rule 3: a device at 1970 or 2038 loses nothing and poisons nobody.
@Suite struct WriteTimeTests {
    private let hub: Int64 = 1_790_000_000_000

    private func reading(_ wall: Int64, boot: UInt64, _ elapsed: Int64) -> ClockReading {
        ClockReading(wallMilliseconds: wall, boot: boot, elapsedMilliseconds: elapsed)
    }

    @Test(arguments: [0, 2_147_483_648_000, .min, .max] as [Int64])
    func withinOneBootTheWallClockDoesNotMatter(_ wall: Int64) {
        let estimate = WriteTimeEstimate(
            written: reading(wall, boot: 7, 5_000), sent: reading(wall / 2, boot: 7, 65_000),
            hub: hub, measuredOffset: 12)
        #expect(estimate.basis == .elapsed)
        #expect(estimate.milliseconds == hub - 60_000)
    }

    @Test func anotherBootThatSyncedCorrectsItsWallClock() {
        let estimate = WriteTimeEstimate(
            written: reading(86_400_000, boot: 7, 5_000), sent: reading(hub, boot: 8, 1),
            hub: hub, measuredOffset: hub - 90_000_000)
        #expect(estimate.basis == .correctedWall)
        #expect(estimate.milliseconds == hub - 3_600_000)
    }

    @Test(arguments: [0, 2_147_483_648_000, .min, .max] as [Int64])
    func anotherBootThatNeverSyncedKeepsItsWallClockAsUncertain(_ wall: Int64) {
        let estimate = WriteTimeEstimate(
            written: reading(wall, boot: 7, 5_000), sent: reading(hub, boot: 8, 1), hub: hub,
            measuredOffset: nil)
        #expect(estimate.basis == .wall)
        #expect(estimate.milliseconds == wall)
    }

    @Test func anUnknownBootIsNoBoot() {
        let estimate = WriteTimeEstimate(
            written: reading(1, boot: 0, 0), sent: reading(2, boot: 0, 9), hub: hub,
            measuredOffset: nil)
        #expect(estimate.basis == .wall)
    }

    @Test func aBootClockThatRanBackwardsCountsAsNow() {
        let estimate = WriteTimeEstimate(
            written: reading(0, boot: 7, 9_000), sent: reading(0, boot: 7, 1_000), hub: hub,
            measuredOffset: nil)
        #expect(estimate.milliseconds == hub)
    }

    @Test func anyNumbersGiveAStampWithinItsBounds() {
        forEachSeed(50_000) { generator in
            let boots: [UInt64] = [0, 1, 2]
            let written = reading(
                generator.wildNumber(), boot: boots.randomElement(using: &generator)!,
                generator.wildNumber())
            let sent = reading(
                generator.wildNumber(), boot: boots.randomElement(using: &generator)!,
                generator.wildNumber())
            func perhaps() -> Int64? { generator.oneIn(3) ? nil : generator.wildNumber() }
            let estimate = WriteTimeEstimate(
                written: written, sent: sent, hub: hub, measuredOffset: perhaps())
            if estimate.basis == .elapsed {
                try check(estimate.milliseconds <= hub, "the future")
            }
            let (seen, own, covered) = (perhaps(), perhaps(), perhaps())
            let stamp = StampLaw.milliseconds(
                estimate: estimate.milliseconds, newestSeen: seen, newestOwn: own,
                newestCovered: covered, now: hub)
            let next = covered.map { $0.addingSaturated(1) }
            try check(stamp <= max(hub, next ?? .min), "later than now")
            try check(next.map { stamp >= $0 } ?? true, "not later than what it covers")
            for bound in [seen, own].compactMap({ $0 }) where bound < hub {
                try check(stamp > bound, "not later than what was seen")
            }
            try check(stamp >= 0, "before 1970")
            let least = max(max(seen ?? .min, own ?? .min).addingSaturated(1), next ?? .min, 0)
            if estimate.milliseconds >= least, estimate.milliseconds <= hub {
                try check(stamp == estimate.milliseconds, "an estimate that obeys is kept")
            }
        }
    }

    @Test func saturatingArithmeticStopsAtTheEnds() {
        #expect(Int64.max.addingSaturated(1) == .max)
        #expect(Int64.min.addingSaturated(-1) == .min)
        #expect(Int64.min.subtractingSaturated(1) == .min)
        #expect(Int64.max.subtractingSaturated(-1) == .max)
        #expect((0 as Int64).subtractingSaturated(.min) == .max)
        #expect((5 as Int64).subtractingSaturated(7) == -2)
    }
}
