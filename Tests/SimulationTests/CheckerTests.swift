import DeviceJournal
import HubLedger
import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import Simulation

/// A checker that cannot fail proves nothing: these are shown what breaks their rule.
struct CheckerTests {
    private func world() throws -> World {
        let world = try World(SimulationOptions(seed: 1, faults: []))
        try world.run()
        return world
    }

    /// - Returns: The number of the invariant that does not hold.
    private func violation(_ check: () throws -> Void) -> Int? {
        do {
            try check()
            return nil
        } catch { return (error as? Violation)?.invariant }
    }

    @Test func commandThatVanishesIsNoticed() throws {
        let commands = try world().commands
        #expect(
            violation { try commands.checkOutcomes(ledger: [], brought: [], journals: []) } == 2)
    }

    @Test func commandThatIsAnotherAtTheHubIsNoticed() throws {
        let world = try world()
        var groups = try #require(world.hub.ledger).inspectGroups()
        func check() -> Int? {
            violation {
                try world.commands.checkOutcomes(ledger: groups, brought: [], journals: [])
            }
        }
        #expect(check() == nil)
        let index = try #require(groups.lastIndex { $0.device != nil && $0.isApplied })
        var changes = Array(groups[index].group.changes)
        changes[0].value = (changes[0].value ?? []) + [0]
        groups[index].group.changes = ChangeList(changes)
        #expect(check() == 2)
    }

    @Test func recordWithoutARowAndStampInTheFutureAreNoticed() throws {
        let world = try world()
        defer { withExtendedLifetime(world) {} }
        let ledger = try #require(world.hub.ledger)
        var inspected = try InspectedLedger(ledger)
        func check(newest: Int64) -> Int? {
            let checker = LedgerChecker(
                ledger: inspected, restores: RestoreChecker(), times: HubTimes(newest: newest))
            return violation { try checker.check() }
        }
        #expect(check(newest: .max) == nil)
        #expect(check(newest: 0) == 4)
        inspected.records.removeLast()
        #expect(check(newest: .max) == 2)
    }

    @Test func timesOfTheHubAreThoseOfItsHeads() {
        var times = HubTimes()
        times.noteReading(10)
        times.noteHead(3)
        times.noteReading(30)
        // Nothing was admitted, or a disk failed that keeps what it refused.
        times.noteHead(3)
        times.noteReading(20)
        times.noteHead(5)
        times.noteReading(15)
        times.noteHead(6)
        #expect([1, 3, 4, 5, 6, 7].map { times.newest(at: $0) } == [10, 10, 30, 30, 15, 30])
        let former = times
        times.noteReading(40)
        times.noteHead(7)
        times.goBack(to: former)
        #expect(times.newest(at: 6) == 15)
        #expect(times.newest(at: 7) == 40)
    }

    @Test func seenThatWasNeverPulledIsNoticed() throws {
        let world = try world()
        let device = world.devices[0]
        let pulled = try #require(device.pulled)
        let journal = try #require(device.journal)
        let clocks = device.clocks(now: world.now)
        _ = try journal.addNeed(
            [FieldEdit(.text, .text("灯")), FieldEdit(.grid, .text("g1"))], clocks: clocks)
        let own = try journal.inspectCommands()
        #expect(violation { try world.commands.record(device, clocks, own) } == nil)
        device.pulled?.cursor.sequence = pulled.cursor.sequence - 1
        #expect(violation { try world.commands.record(device, clocks, own) } == 7)
    }

    @Test func commandThatIsGivenUpTooEarlyIsNoticed() throws {
        let world = try world()
        let device = world.devices[0]
        let journal = try #require(device.journal)
        let clocks = device.clocks(now: world.now)
        let need = try journal.addNeed(
            [FieldEdit(.text, .text("灯")), FieldEdit(.grid, .text("g1"))], clocks: clocks)
        let own = try journal.inspectCommands()
        let group = try #require(own.outbox.first { $0.group.record == need.id }?.group)
        func giveUp(cursor: UInt64, _ outcomes: OutcomeChecker) throws -> Int? {
            try world.commands.record(device, clocks, own)
            var none = own
            none.outbox = []
            return violation {
                try world.commands.noteAbsorbed(device, none, cursor: cursor, outcomes: outcomes)
            }
        }
        var outcomes = OutcomeChecker()
        #expect(try giveUp(cursor: 9, outcomes) == 1)
        let request = SyncRequest(
            attempt: 1, replica: ReplicaID(truncating: 1), nextCounter: group.nextCounter,
            cursor: .origin, scope: 0, clocks: clocks, resume: [], pageBytes: 1,
            groups: [group], chain: nil, ancestors: [])
        let answer = SyncAnswer(
            attempt: 1, hubMilliseconds: 0,
            outcomes: Outcomes(settledCounter: group.nextCounter, firstSequence: 10), page: nil)
        try outcomes.check(request, answer, headBefore: 9)
        #expect(try giveUp(cursor: 9, outcomes) == 8)
        #expect(try giveUp(cursor: 10, outcomes) == nil)
    }

    @Test func whatIsShownBeforeAPullIsCompleteIsNoticed() throws {
        let world = try world()
        defer { withExtendedLifetime(world) {} }
        let device = world.devices[0]
        let inspection = try #require(try device.inspect())
        let pulled = try #require(device.pulled)
        func check(_ cursor: Position?) -> Int? {
            violation {
                try PullChecker().checkStaged(
                    SyncAnswer(attempt: 1, hubMilliseconds: 0, page: Page(cursor: cursor)),
                    inspection, device: device)
            }
        }
        #expect(check(nil) == nil)
        #expect(check(pulled.cursor) == nil)
        var ahead = pulled.cursor
        ahead.sequence += 1
        #expect(check(ahead) == 14)
        device.pulled?.cursor = ahead
        #expect(check(nil) == 14)
        device.pulled = .init(cursor: pulled.cursor, held: [:])
        #expect(check(nil) == 10)
        // And what is hidden.
        device.pulled = pulled
        device.pulled?.held[
            RecordID(milliseconds: 1, replica: ReplicaID(truncating: 1), number: 1)] = 1
        #expect(check(nil) == 10)
    }

    /// Worlds end with conflicts, so what people are shown of them is compared.
    @Test func someWorldsEndWithConflicts() throws {
        let count = try (1...10 as ClosedRange<UInt64>).count { seed in
            let world = try World(SimulationOptions(seed: seed, faults: [.requestLost]))
            try world.run()
            return try #require(world.hub.ledger).inspectRecords().contains {
                !$0.openConflicts.isEmpty
            }
        }
        #expect(count > 0)
    }

    @Test func requestsShareCommits() throws {
        let count = try (1...20 as ClosedRange<UInt64>).count { seed in
            let world = try World(SimulationOptions(seed: seed, faults: [.sharedCommit]))
            try world.run()
            return world.commitsShared > 0
        }
        #expect(count > 0)
    }
}
