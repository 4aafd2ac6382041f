import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import DeviceJournal

@Suite struct RefusedTests {
    private func refuse(
        _ bench: Bench, _ codes: [(Int, RejectionCode)], field: UInt32 = 0
    ) throws -> Absorbed {
        let request = try bench.request()
        let refused = Set(codes.map(\.0))
        let applied = request.groups.enumerated().filter { !refused.contains($0.offset) }
        return try bench.absorb(
            request,
            outcomes: Outcomes(
                settledCounter: request.nextCounter,
                refusals: codes.map { index, code in
                    .init(
                        firstCounter: request.groups[index].firstCounter, code: code.rawValue,
                        field: field, reason: "because")
                }),
            page: bench.lastPage(
                applied.map { bench.echo($0.element, replica: request.replica) }))
    }

    @Test func aRefusedEditLeavesTheNeedAndIsKept() throws {
        let bench = try Bench()
        let id = try bench.add("原来")
        try bench.sync()
        _ = try bench.journal.editNeed(
            id, [FieldEdit(.text, .text("改了")), FieldEdit(.phone, .text("1"))],
            clocks: bench.now)
        let absorbed = try refuse(bench, [(0, .scope)], field: NeedField.text.rawValue)
        #expect(absorbed.news.refused == 1)
        #expect(absorbed.news.changed.isEmpty)
        #expect(!absorbed.answer.groupsWait)
        #expect(try bench.shown(id).text == "原来")
        #expect(try bench.shown(id).phone == nil)
        let entry = try #require(try bench.journal.refused().first)
        #expect(entry.record == id)
        #expect(entry.need == id)
        #expect(entry.code == .scope)
        #expect(entry.field == NeedField.text.rawValue)
        #expect(entry.reason == "because")
        #expect(entry.changes.count == 2)
        #expect(try bench.journal.status().refused == 1)
        try bench.reopen()
        #expect(try bench.journal.refused() == [entry])
    }

    @Test func oneBadGroupHoldsUpNoOther() throws {
        let bench = try Bench()
        let bad = try bench.add("坏")
        let good = try bench.add("好")
        _ = try refuse(bench, [(0, .unknownGrid)])
        #expect(try bench.journal.needs().map(\.id) == [good])
        #expect(try bench.journal.refused().map(\.record) == [bad])
    }

    @Test func retryIsANewChangeWithValuesReplaced() throws {
        let bench = try Bench()
        let id = try bench.add("坏网格")
        _ = try refuse(bench, [(0, .unknownGrid)])
        let number = try bench.journal.refused()[0].number
        let cursor = try bench.request().cursor
        let count = try bench.journal.retry(
            number, replacing: [FieldEdit(.grid, .text(Bench.otherGrid))], clocks: bench.now)
        #expect(count == 1)
        #expect(try bench.journal.refused().isEmpty)
        let need = try bench.shown(id)
        #expect(need.text == "坏网格")
        #expect(need.grid == Bench.otherGrid)
        #expect(need.isWaiting)
        let group = try #require(try bench.request().groups.first)
        #expect(group.firstCounter == 3)
        #expect(group.createdKind == Kind.need.rawValue)
        #expect(group.base == cursor)
    }

    @Test func aRetryWithABadValueChangesNothing() throws {
        let bench = try Bench()
        try bench.add()
        _ = try refuse(bench, [(0, .unknownGrid)])
        let number = try bench.journal.refused()[0].number
        expect(.unknownGrid("G9")) {
            try bench.journal.retry(
                number, replacing: [FieldEdit(.grid, .text("G9"))], clocks: bench.now)
        }
        #expect(try bench.journal.refused().count == 1)
        #expect(try bench.journal.waitingGroups() == 0)
    }

    @Test func whatDependedOnACreationGoesWithItsRetry() throws {
        let bench = try Bench()
        let id = try bench.add("坏")
        _ = try bench.journal.editNeed(id, [FieldEdit(.phone, .text("1"))], clocks: bench.now)
        _ = try bench.journal.note(id, text: "记", clocks: bench.now)
        _ = try refuse(bench, [(0, .unknownGrid), (1, .depends), (2, .depends)])
        #expect(try bench.journal.needs().isEmpty)
        let entries = try bench.journal.refused()
        #expect(entries.map(\.code) == [.unknownGrid, .depends, .depends])
        #expect(entries.map(\.need) == [id, id, id])
        #expect(try bench.journal.retry(entries[0].number, clocks: bench.now) == 3)
        #expect(try bench.journal.refused().isEmpty)
        #expect(try bench.shown(id).phone == "1")
        #expect(try bench.journal.notes(of: id).map(\.text) == ["记"])
        #expect(try bench.request().groups.map(\.firstCounter) == [6, 8, 9])
    }

    @Test func aTakenNameIsReplacedEverywhere() throws {
        let bench = try Bench()
        let id = try bench.add("重名")
        _ = try bench.journal.note(id, text: "记", clocks: bench.now)
        _ = try refuse(bench, [(0, .recordExists), (1, .depends)])
        let number = try bench.journal.refused()[0].number
        #expect(try bench.journal.retry(number, clocks: bench.now) == 2)
        let need = try #require(try bench.journal.needs().first)
        #expect(need.id != id)
        #expect(need.text == "重名")
        #expect(try bench.journal.notes(of: need.id).map(\.text) == ["记"])
    }

    /// As when a copy of this journal had sent the same creation before.
    @Test(arguments: [("水管漏水", 0), ("别的话", 1)])
    func aCreationThatTheHubHasAnywayIsNoRefusal(text: String, refused: Int) throws {
        let bench = try Bench()
        let id = try bench.add("水管漏水")
        let request = try bench.request()
        let fields: [UInt32: [UInt8]?] = [
            NeedField.text.rawValue: Array(text.utf8),
            NeedField.grid.rawValue: Array(Bench.grid.utf8),
        ]
        let absorbed = try bench.absorb(
            request,
            outcomes: Outcomes(
                settledCounter: request.nextCounter,
                refusals: [
                    .init(
                        firstCounter: 1, code: RejectionCode.recordExists.rawValue, field: 0,
                        reason: "the record exists")
                ]), page: bench.lastPage([bench.page(id, fields)]))
        #expect(absorbed.news.refused == refused)
        #expect(try bench.journal.refused().count == refused)
        #expect(try bench.shown(id).text == text)
    }

    @Test func droppingForgetsItAndWhatDependedOnIt() throws {
        let bench = try Bench()
        let id = try bench.add("坏")
        _ = try bench.journal.editNeed(id, [FieldEdit(.phone, .text("1"))], clocks: bench.now)
        let other = try bench.add("也坏")
        _ = try refuse(bench, [(0, .unknownGrid), (1, .depends), (2, .scope)])
        try bench.journal.drop(try bench.journal.refused()[0].number)
        #expect(try bench.journal.refused().map(\.record) == [other])
        #expect(try bench.journal.waitingGroups() == 0)
    }

    @Test func numbersAreNeverGivenOutTwice() throws {
        let bench = try Bench()
        try bench.add()
        _ = try refuse(bench, [(0, .scope)])
        let first = try bench.journal.refused()[0].number
        try bench.journal.drop(first)
        try bench.add()
        _ = try refuse(bench, [(0, .scope)])
        #expect(try bench.journal.refused()[0].number > first)
        expect(.notRefused("\(first)")) { try bench.journal.drop(first) }
        expect(.notRefused("\(first)")) { try bench.journal.retry(first, clocks: bench.now) }
    }

    @Test func anEntryIsFoundByNumberOrById() throws {
        let bench = try Bench()
        let id = try bench.add()
        _ = try refuse(bench, [(0, .scope)])
        let entry = try bench.journal.refused()[0]
        #expect(try bench.journal.refused(matching: "\(entry.number)") == entry)
        #expect(try bench.journal.refused(matching: String(id.digits.suffix(6))) == entry)
        #expect(try bench.journal.refused(matching: id.description) == entry)
        expect(.notRefused("999")) { try bench.journal.refused(matching: "999") }
        expect(.notRefused("路灯")) { try bench.journal.refused(matching: "路灯") }
    }

    @Test func aNoteIsFoundByItsNeedAndItsTextReplaced() throws {
        let bench = try Bench()
        let id = try bench.add()
        try bench.sync()
        _ = try bench.journal.note(id, text: "记", clocks: bench.now)
        _ = try refuse(bench, [(0, .scope)])
        let entry = try bench.journal.refused(matching: String(id.digits.suffix(6)))
        #expect(!entry.isNeed && entry.need == id)
        func retry(_ edit: FieldEdit) throws {
            try bench.journal.retry(entry.number, replacing: [edit], clocks: bench.now)
        }
        expect(.invalid(field: .phone, reason: "not part of what was refused")) {
            try retry(FieldEdit(.phone, .text("1")))
        }
        expect(.invalid(field: .text, reason: "missing")) { try retry(FieldEdit(.text, nil)) }
        try retry(FieldEdit(.text, .text("另记")))
        #expect(try bench.journal.notes(of: id).map(\.text) == ["另记"])
        #expect(try bench.journal.refused().isEmpty)
    }

    @Test func anEntryTellsTheValuesThatItHeld() throws {
        let bench = try Bench()
        let id = try bench.add()
        try bench.sync()
        _ = try bench.journal.editNeed(id, [FieldEdit(.urgency, .integer(2))], clocks: bench.now)
        _ = try refuse(bench, [(0, .scope)])
        let entry = try bench.journal.refused()[0]
        #expect(entry.value(of: .urgency) == .integer(2))
        #expect(entry.value(of: .text) == nil)
    }

    @Test func aCodeOfALaterReleaseIsKept() throws {
        let bench = try Bench()
        try bench.add()
        let request = try bench.request()
        try bench.absorb(
            request,
            outcomes: Outcomes(
                settledCounter: 3,
                refusals: [.init(firstCounter: 1, code: 4_000, field: 0, reason: "new rule")]),
            page: bench.lastPage())
        let entry = try #require(try bench.journal.refused().first)
        #expect(entry.code == nil)
        #expect(entry.codeNumber == 4_000)
        #expect(entry.field == nil)
    }

    /// Rule 14: kept until the hub has learned more, then offered anew by itself, and only then.
    @Test func whatTheHubDidNotKnowIsOfferedAnewAfterItsUpgrade() throws {
        let bench = try Bench()
        let id = try bench.add("新的")
        _ = try refuse(bench, [(0, .upgrade)])
        #expect(try bench.journal.refused().count == 1)
        func answer(schema: UInt32) throws -> Absorbed {
            let request = try bench.request()
            return try bench.absorb(
                SyncAnswer(
                    attempt: request.attempt, hubMilliseconds: bench.hubMilliseconds,
                    page: bench.lastPage([]), schema: schema), for: request)
        }
        #expect(try answer(schema: 0).answer.groupsWait == false)
        #expect(try answer(schema: 2).answer.groupsWait)
        #expect(try bench.journal.refused().isEmpty)
        #expect(try bench.request().groups.map(\.record) == [id])
        #expect(try bench.shown(id).text == "新的")
    }

    /// The hub refused it as an older program, and repeats that as the newer one: the answer that
    /// first told of the upgrade did not speak of this command.
    @Test func anOutcomeFromBeforeTheUpgradeIsNotTheLastWord() throws {
        let bench = try Bench()
        try bench.add("先")
        let id = try bench.add("后")
        func answer(schema: UInt32, refusing: Bool) throws -> Absorbed {
            let request = try bench.request(batchBytesMax: 1)
            let group = try #require(request.groups.first)
            return try bench.absorb(
                SyncAnswer(
                    attempt: request.attempt, hubMilliseconds: bench.hubMilliseconds,
                    outcomes: Outcomes(
                        settledCounter: group.nextCounter,
                        refusals: refusing
                            ? [
                                Outcomes.Refusal(
                                    firstCounter: group.firstCounter,
                                    code: RejectionCode.upgrade.rawValue, field: 0,
                                    reason: "unknown kind")
                            ] : []), page: bench.lastPage([]), schema: schema),
                for: request)
        }
        #expect(try answer(schema: 2, refusing: false).answer.groupsWait)
        #expect(try answer(schema: 2, refusing: true).answer.groupsWait)
        #expect(try bench.journal.refused().isEmpty)
        #expect(try bench.request().groups.map(\.record) == [id])
        // Written after the upgrade, so the hub means it.
        #expect(try answer(schema: 2, refusing: true).answer.groupsWait == false)
        #expect(try bench.journal.refused().map(\.code) == [.upgrade])
    }

    @Test func aKindThatThisProgramDoesNotKnowIsOfferedAnewAsItWas() throws {
        let bench = try Bench()
        let id = try bench.journal.write(creating: 77, clocks: bench.now) { _ in
            [Change(field: 1, value: [0xFF, 0])]
        }
        let before = try #require(try bench.request().groups.first)
        _ = try refuse(bench, [(0, .upgrade)])
        let request = try bench.request()
        try bench.absorb(
            SyncAnswer(
                attempt: request.attempt, hubMilliseconds: bench.hubMilliseconds,
                page: bench.lastPage([]), schema: 2), for: request)
        let after = try #require(try bench.request().groups.first)
        #expect(after.record == id && after.createdKind == 77)
        #expect(after.changes == before.changes && after.firstCounter > before.firstCounter)
    }
}
