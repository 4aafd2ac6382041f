import NeedModel
import SQLiteStore
import SyncCore
import Testing
import WireFormat

@testable import DeviceJournal

/// What a disk makes of commands that wait is never sent as what the person wrote, holds up
/// nothing else, and stays to be seen.
@Suite struct DamagedCommandTests {
    private static let texts = ["一号院缺路灯", "二号井不出水", "三号桥断了"]

    private static func scene() throws -> (bench: Bench, ids: [RecordID]) {
        let bench = try Bench()
        return (bench, try texts.map { try bench.add($0) })
    }

    private static func content(_ bench: Bench, of id: RecordID) throws -> [UInt8] {
        try #require(
            bench.journal.connection.first(
                "SELECT content FROM outbox WHERE record = ?", .bytes(id.bytes)
            ) { $0.bytes(at: 0) })
    }

    private static func alter(_ bench: Bench, _ id: RecordID, _ content: [UInt8]) throws {
        try bench.journal.connection.run(
            "UPDATE outbox SET content = ? WHERE record = ?", .bytes(content), .bytes(id.bytes))
    }

    /// Each bit of a waiting command, flipped by itself.
    @Test func anyFlippedBitIsFound() throws {
        let (bench, ids) = try Self.scene()
        let sound = try Self.content(bench, of: ids[1])
        for bit in 0..<sound.count * 8 {
            // The two forms differ in more than one bit.
            var altered = sound
            altered[bit / 8] ^= 1 << UInt8(bit % 8)
            try Self.alter(bench, ids[1], altered)
            #expect(try bench.journal.check().damagedCommandCount == 1, "bit \(bit)")
        }
        try Self.alter(bench, ids[1], sound)
        #expect(try bench.journal.check().isSound)
    }

    @Test func otherColumnsAreGuardedToo() throws {
        let (bench, ids) = try Self.scene()
        for change in ["counter = counter + 1", "replica = replica + 1"] as [String] {
            try bench.journal.connection.execute(
                "BEGIN; UPDATE outbox SET \(change) WHERE number = 2")
            #expect(try bench.journal.readDamagedGroups().map(\.record) == [ids[1]])
            try bench.journal.connection.execute("ROLLBACK")
        }
    }

    @Test(arguments: [false, true]) func theRestGoesOn(isCut: Bool) throws {
        let (bench, ids) = try Self.scene()
        var content = try Self.content(bench, of: ids[1])
        if isCut {
            content.removeLast(12)
        } else {
            // 二号 becomes 亍号.
            let at = try #require(
                content.indices.first { content[$0...].starts(with: Array("二".utf8)) })
            content[at + 2] ^= 1
        }
        try Self.alter(bench, ids[1], content)

        // People go on, and are not shown what nobody wrote.
        #expect(try bench.shown(ids[0]).text == Self.texts[0])
        expect(.notFound(ids[1].description)) { try bench.shown(ids[1]) }
        #expect(try !bench.journal.check().isSound)

        var request = try bench.request()
        #expect(request.groups.map(\.record) == [ids[0]])
        let notices = try bench.journal.status().notices
        #expect(notices.map(\.kind) == [.commandsDamaged])
        #expect(try bench.journal.status().waitingGroups == 2)
        let below = HashChain.empty.appending(request.groups)
        try bench.absorb(request, outcomes: Outcomes(settledCounter: 3), page: bench.lastPage())

        // The hub awaits the counters of what is gone, and is told that they are.
        request = try bench.request()
        #expect(request.groups.map(\.record) == [ids[2]])
        try bench.absorb(request, outcomes: Outcomes(settledCounter: 3, expectedCounter: 3))
        request = try bench.request()
        #expect(request.gap == SyncRequest.Gap(counters: 3..<5, chain: below))
        #expect(try bench.journal.status().notices.map(\.kind) == [.commandsDamaged])
        #expect(request.groups.map(\.record) == [ids[2]])

        let kept = try bench.journal.refused()
        #expect(kept.map(\.record) == [ids[1]])
        let first = try #require(kept.first)
        #expect(first.isDamaged && first.createdKind == Kind.need.rawValue)
        if !isCut {
            let text = first.changes.first { $0.field == NeedField.text.rawValue }?.value
            #expect(text == Array("亍号井不出水".utf8))
        }
        // The person sees what is left of it, and puts it right.
        try bench.journal.retry(
            first.number,
            replacing: [
                FieldEdit(.text, .text(Self.texts[1])), FieldEdit(.grid, .text(Bench.grid)),
            ],
            clocks: bench.now)
        #expect(try bench.shown(ids[1]).text == Self.texts[1])
        #expect(try bench.journal.check().isSound)
    }

    /// What was decided before it is not sent again while the pull lasts.
    @Test func whatLiesBehindGoesUpBeforeThePullEnds() throws {
        let (bench, ids) = try Self.scene()
        try Self.alter(bench, ids[1], [])
        var request = try bench.request()
        let below = HashChain.empty.appending(request.groups)
        try bench.absorb(
            request, outcomes: Outcomes(settledCounter: 3), page: bench.middlePage([], resume: "1"))
        request = try bench.request()
        #expect(request.groups.map(\.record) == [ids[2]])
        try bench.absorb(
            request, outcomes: Outcomes(settledCounter: 3, expectedCounter: 3),
            page: bench.middlePage([], resume: "2"))
        request = try bench.request()
        #expect(request.groups.map(\.record) == [ids[2]])
        #expect(request.gap == SyncRequest.Gap(counters: 3..<5, chain: below))
        try bench.absorb(request, outcomes: bench.settled(request))
        #expect(try bench.journal.waitingGroups() == 0)
    }

    /// A disk brings back which counter is next as it was before the last command.
    @Test func countersThatWereNeverGivenOutHoldUpNothing() throws {
        let (bench, ids) = try Self.scene()
        let before = try bench.journal.replica()
        try bench.journal.connection.execute("UPDATE writer SET next_counter = 5")
        let request = try bench.request()
        #expect(request.replica != before && request.groups.map(\.record) == ids)
        #expect(request.ancestors == [Ancestor(Dot(before, 0), chain: .empty)])
        #expect(try SyncRequest(decoding: request.encoded()).groups == request.groups)
        try bench.sync()
        #expect(try bench.request().groups == [])
    }

    /// The same, and somebody writes before the next sync.
    @Test func aCounterThatWasGivenOutTwiceTakesNothingAway() throws {
        let (bench, ids) = try Self.scene()
        try bench.journal.connection.execute("UPDATE writer SET next_counter = 5")
        let twin = try bench.add("四号路积水")
        var request = try bench.request()
        #expect(request.groups.map(\.record) == ids)
        try bench.sync()
        #expect(try bench.journal.waitingGroups() == 1)
        // The hub has another group at that counter.
        request = try bench.request()
        #expect(request.groups.map(\.record) == [twin])
        try bench.absorb(request, outcomes: Outcomes(settledCounter: 5, forkCounter: 5))
        #expect(try bench.request().groups.map(\.record) == [twin])
    }

    /// The hub is not asked for it again, and may have lost it.
    @Test func whatWasDecidedUnderAFormerReplicaIsSetAsideToo() throws {
        let (bench, ids) = try Self.scene()
        var part = try bench.request()
        part.groups.removeLast(2)
        try bench.absorb(
            part, outcomes: Outcomes(settledCounter: 3), page: bench.middlePage([], resume: "1"))
        try bench.absorb(bench.request(), outcomes: Outcomes(settledCounter: 3, forkCounter: 3))
        try Self.alter(bench, ids[0], [])
        let request = try bench.request()
        var page = bench.lastPage()
        page.cursor = Position(term: TermID(truncating: 99), sequence: 500)
        try bench.absorb(request, page: page)
        #expect(try bench.journal.refused().map(\.record) == [ids[0]])
        #expect(try bench.journal.status().notices.map(\.kind).contains(.commandsDamaged))
    }

    @Test func whatWasRefusedIsGuardedToo() throws {
        let (bench, ids) = try Self.scene()
        let request = try bench.request()
        try bench.absorb(
            request,
            outcomes: Outcomes(
                settledCounter: request.nextCounter,
                refusals: [
                    Outcomes.Refusal(firstCounter: 1, code: 3, field: 0, reason: "for the test")
                ]))
        #expect(try bench.journal.refused().map(\.isDamaged) == [false])
        try bench.journal.connection.execute("UPDATE refused SET content = substr(content, 1, 40)")
        let kept = try bench.journal.refused()
        #expect(kept.map(\.isDamaged) == [true] && kept.map(\.record) == [ids[0]])
        #expect(try bench.journal.check().damagedCommandCount == 1)
    }

    /// What the disk makes of a row's state is none of the two that there are.
    @Test(arguments: [2, 16]) func aStateThatIsNoneIsNotDecidedYet(state: Int) throws {
        let (bench, ids) = try Self.scene()
        try bench.journal.connection.run(
            "UPDATE outbox SET state = ? WHERE number = 2", .integer(state))
        #expect(try bench.request().groups.map(\.record) == ids)
        #expect(try bench.journal.waitingGroups() == 3)
    }

    /// A field that comes twice would make the whole batch malformed, and with it all that waits.
    @Test func whatIsLeftOfACommandHoldsUpNoBatch() throws {
        let bench = try Bench()
        let id = try bench.add(Self.texts[0])
        var content = try Self.content(bench, of: id)
        // Field 1, the text, becomes field 3, the grid, which comes after it.
        let text = Array(Self.texts[0].utf8)
        let at = try #require(content.indices.first { content[$0...].starts(with: text) })
        content[at - 2] ^= 2
        try Self.alter(bench, id, content)
        _ = try bench.request()
        let entry = try #require(try bench.journal.refused().first)
        #expect(entry.changes.map(\.field) == [NeedField.grid.rawValue, NeedField.grid.rawValue])
        try bench.journal.retry(
            entry.number,
            replacing: [
                FieldEdit(.text, .text(Self.texts[0])), FieldEdit(.grid, .text(Bench.grid)),
            ], clocks: bench.now)
        let request = try bench.request()
        #expect(try SyncRequest(decoding: request.encoded()).groups == request.groups)
    }

    /// As if the length of a value had been altered.
    @Test func whatIsLeftOfACommandIsNoLongerThanABatchBears() throws {
        let bench = try Bench()
        let id = try bench.add(Self.texts[0])
        let content = try #require(try bench.journal.readOutbox().first).content
        for count in [Limits.valueBytesMax, Limits.valueBytesMax + 1] {
            var altered = content
            altered.createdKind = nil
            altered.changes = [
                Change(
                    field: NeedField.text.rawValue, value: [UInt8](repeating: 0x61, count: count))
            ]
            try bench.journal.storeRefused(
                id, altered, code: RefusedGroup.damagedCode, field: 0, reason: "", at: 0)
        }
        let numbers = try bench.journal.refused().map(\.number)
        try bench.journal.retry(numbers[0], clocks: bench.now)
        expect(.tooLarge) { try bench.journal.retry(numbers[1], clocks: bench.now) }
        let request = try bench.request()
        #expect(request.groups.count == 2)
        #expect(try SyncRequest(decoding: request.encoded()).groups == request.groups)
    }

    @Test func aCommandOfWhichNothingIsLeftIsNotOfferedAnew() throws {
        let bench = try Bench()
        let id = try bench.add(Self.texts[0])
        var content = try #require(try bench.journal.readOutbox().first).content
        content.createdKind = nil
        content.changes = []
        try bench.journal.storeRefused(
            id, content, code: RefusedGroup.damagedCode, field: 0, reason: "", at: 0)
        let number = try #require(try bench.journal.refused().first).number
        expect(.tooDamaged) { try bench.journal.retry(number, clocks: bench.now) }
        #expect(try bench.journal.refused().count == 1)
    }

    /// As if a bit of its version had been altered, which does not travel.
    @Test func aCommandOnWhatIsNoIDIsNotOfferedAnew() throws {
        let bench = try Bench()
        let id = try bench.add(Self.texts[0])
        var content = try #require(try bench.journal.readOutbox().first).content
        var bytes = id.bytes
        bytes[6] ^= 0x10
        let altered = try #require(RecordID(bytes: bytes))
        for kind in [nil, content.createdKind] {
            content.createdKind = kind
            try bench.journal.storeRefused(
                altered, content, code: RefusedGroup.damagedCode, field: 0, reason: "", at: 0)
        }
        let numbers = try bench.journal.refused().map(\.number)
        expect(.tooDamaged) { try bench.journal.retry(numbers[0], clocks: bench.now) }
        // What created a record gets an id of its own.
        try bench.journal.retry(numbers[1], clocks: bench.now)
        let groups = try bench.request().groups
        #expect(groups.count == 2)
        #expect(groups.map(\.record.isWellFormed) == [true, true])
    }

    /// Other counters than those of which the person was told.
    @Test func aDamagedCommandHidesNoOtherHole() throws {
        let (bench, ids) = try Self.scene()
        try Self.alter(bench, ids[0], try Self.content(bench, of: ids[0]).dropLast(12))
        // It takes the counters 1 and 2 with it.
        var request = try bench.request()
        try bench.absorb(request, outcomes: Outcomes(settledCounter: 1, expectedCounter: 1))
        request = try bench.request()
        #expect(request.gap == SyncRequest.Gap(counters: 1..<3, chain: .empty))
        #expect(try bench.journal.status().notices.map(\.kind) == [.commandsDamaged])
        // All of it arrives, and shows in a pull, so it is not kept any longer.
        try bench.absorb(
            request, outcomes: bench.settled(request),
            page: bench.lastPage(request.groups.map { bench.echo($0, replica: request.replica) }))
        try bench.add("四号院")
        request = try bench.request()
        try bench.absorb(request, outcomes: Outcomes(settledCounter: 3, expectedCounter: 3))
        let next = try bench.request()
        #expect(next.gap == nil && next.replica != request.replica)
        #expect(try bench.journal.status().notices.map(\.kind) == [.commandsDamaged])
    }

    /// What was damaged under a former replica leaves no gap under the present one.
    @Test func countersOfAFormerReplicaAreNoGap() throws {
        let (bench, ids) = try Self.scene()
        try Self.alter(bench, ids[2], try Self.content(bench, of: ids[2]).dropLast(12))
        let connection = bench.journal.connection
        let writer = try bench.journal.readWriter()
        // As a fork leaves it, which cannot renumber what it cannot read.
        try connection.run(
            "UPDATE outbox SET replica = ? WHERE number = 3", .bits(writer.replica.rawValue + 1))
        for text in Self.texts { try bench.add(text) }
        let damaged = try bench.journal.readDamagedGroups()
        #expect(damaged.map(\.record) == [ids[2]])
        #expect(damaged.first?.counters.isEmpty == true)
    }

    /// What waits is renumbered with every fork, so under a former replica nothing does; what the
    /// disk makes of the state of a command that was decided is shown to the person.
    @Test func whatWasDecidedUnderAFormerReplicaIsNotSent() throws {
        let bench = try Bench()
        let decided = try bench.add(Self.texts[0])
        var request = try bench.request()
        try bench.absorb(
            request, outcomes: bench.settled(request), page: bench.middlePage([], resume: "1"))
        let waiting = try bench.add(Self.texts[1])
        request = try bench.request()
        let counter = try #require(request.groups.last?.firstCounter)
        try bench.absorb(request, outcomes: Outcomes(settledCounter: counter, forkCounter: counter))
        try bench.journal.connection.execute("UPDATE outbox SET state = 0 WHERE number = 1")
        #expect(try bench.journal.check().damagedCommandCount == 1)
        request = try bench.request()
        #expect(request.groups.map(\.record) == [waiting] && request.gap == nil)
        #expect(try bench.journal.waitingGroups() == 1)
        #expect(try bench.journal.refused().map(\.record) == [decided])
        #expect(try bench.journal.refused().allSatisfy { $0.isDamaged })
    }

    /// Journals from before the checksum.
    @Test func theFormerFormIsRead() throws {
        let (bench, ids) = try Self.scene()
        var former = try Self.content(bench, of: ids[1]).dropLast(8)
        former[0] = 1
        try Self.alter(bench, ids[1], Array(former))
        #expect(try bench.shown(ids[1]).text == Self.texts[1])
        #expect(try bench.request().groups.count == 3)
    }
}
