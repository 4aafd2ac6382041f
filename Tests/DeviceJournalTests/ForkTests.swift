import NeedModel
import SQLiteStore
import SyncCore
import Testing
import WireFormat

@testable import DeviceJournal

/// Copies, backups and a hub that forgot: nothing is lost.
@Suite struct ForkTests {
    @Test func aForkRenumbersAndKeepsEverything() throws {
        let bench = try Bench()
        let first = try bench.add("一")
        try bench.sync()
        let second = try bench.add("二")
        _ = try bench.journal.editNeed(first, [FieldEdit(.phone, .text("1"))], clocks: bench.now)
        let third = try bench.add("三")
        let before = try bench.request()
        #expect(before.groups.map(\.firstCounter) == [3, 5, 6])

        let absorbed = try bench.absorb(
            before, outcomes: Outcomes(settledCounter: 3, forkCounter: 3))
        #expect(absorbed.answer.progressed)
        let after = try bench.request()
        #expect(after.replica != before.replica)
        #expect(after.groups.map(\.firstCounter) == [1, 3, 4])
        #expect(after.nextCounter == 6)
        #expect(after.groups.map(\.record) == [second, first, third])
        #expect(after.groups.map(\.changes) == before.groups.map(\.changes))
        #expect(after.groups.map(\.base) == before.groups.map(\.base))
        #expect(after.groups.map(\.written) == before.groups.map(\.written))
        #expect(
            after.ancestors
                == [Ancestor(Dot(before.replica, 2), chain: try #require(before.chain))])
        #expect(before.chain != .empty && after.chain == .empty)
        // What was recorded before is still this person's.
        #expect(try bench.shown(first).creator == "网格员一")
        #expect(try bench.shown(second).text == "二")
        let notice = try #require(try bench.journal.status().notices.first)
        #expect(notice.kind == .forked)
        let newest = try bench.journal.newestNotice()
        #expect(try bench.journal.notices(after: newest - 1) == [notice])
        #expect(try bench.journal.notices(after: newest) == [])
        #expect(notice.amount == 3)
        #expect(
            notice.description
                == "This journal was found to be a copy or a restored backup; nothing in it was "
                + "lost, it went on as a new one, and 3 waiting commands with it.")
        // The next record is named by the new replica.
        #expect(try bench.add("四").replica == after.replica)
    }

    /// Once restored, a journal gives out again what it has given out since. A hub that was restored
    /// too takes what it hears of first: a need and a note with one id would shut each other out.
    @Test func copiesUnderAClockThatStandsStillNameKindsApart() throws {
        let bench = try Bench()
        let need = try bench.add()
        let copy = try bench.copy(random: 5)
        let still = bench.now
        for _ in 1...4 {
            _ = try bench.journal.addNeed(
                [FieldEdit(.text, .text("路灯")), FieldEdit(.grid, .text(Bench.grid))],
                clocks: still)
            _ = try copy.note(need, text: "看过", clocks: still)
        }
        let first = try bench.journal.inspectCommands().outbox.map(\.group.record)
        let notes = try copy.inspectCommands().outbox.map(\.group.record).filter { $0 != need }
        #expect(Set(first + notes).count == 1 + 4 + 4)
        #expect(Set((first + notes).map(\.replica)).count == 1)
    }

    @Test func onlyWhatIsBehindTheForkMoves() throws {
        let bench = try Bench()
        try bench.add("一")
        let second = try bench.add("二")
        let request = try bench.request()
        let absorbed = try bench.absorb(
            request, outcomes: Outcomes(settledCounter: 3, forkCounter: 3))
        #expect(absorbed.settledGroups == 1)
        let next = try bench.request()
        #expect(next.groups.map(\.record) == [second])
        let shared = HashChain.empty.appending([request.groups[0]])
        #expect(next.ancestors == [Ancestor(Dot(request.replica, 2), chain: shared)])
        // The first is settled, and still shown until a pull contains it.
        #expect(try bench.journal.needs().count == 2)
    }

    @Test func ancestorsAddUp() throws {
        let bench = try Bench()
        try bench.add()
        try bench.sync()
        let first = try bench.request().replica
        try bench.absorb(bench.request(), outcomes: Outcomes(settledCounter: 3, forkCounter: 3))
        let second = try bench.request().replica
        try bench.add()
        try bench.absorb(bench.request(), outcomes: Outcomes(settledCounter: 1, forkCounter: 1))
        let request = try bench.request()
        #expect(Set([first, second, request.replica]).count == 3)
        // Nothing is shared with the second but its name, which ids may bear.
        #expect(request.ancestors.map(\.dot) == [Dot(first, 2), Dot(second, 0)].sorted())
    }

    @Test func aCopiedJournalLosesNothing() throws {
        let bench = try Bench()
        let id = try bench.add("两边都有")
        try bench.sync()
        let copy = try bench.copy(random: 1234)

        try bench.add("原件上")
        try bench.sync()
        let own = try copy.addNeed(
            [FieldEdit(.text, .text("副本上")), FieldEdit(.grid, .text(Bench.grid))],
            clocks: bench.now
        ).id
        let request = try copy.makeRequest(
            batchBytesMax: 10_000, pageBytesMax: 10_000, clocks: bench.now, attempt: 1)
        // The hub has other content at this counter.
        _ = try copy.absorb(
            SyncAnswer(
                attempt: 1, hubMilliseconds: bench.hubMilliseconds,
                outcomes: Outcomes(settledCounter: 3, forkCounter: 3)
            ).encoded(for: request), for: request, clocks: bench.now)
        let next = try copy.makeRequest(
            batchBytesMax: 10_000, pageBytesMax: 10_000, clocks: bench.now, attempt: 2)
        #expect(try next.replica != bench.journal.replica())
        #expect(next.groups.map(\.record) == [own])
        #expect(try copy.needs().map(\.id).contains(id))
    }

    @Test func enrollingAgainKeepsWhatWaits() throws {
        let bench = try Bench()
        let id = try bench.add("还没发出去")
        let before = try bench.request()
        try bench.journal.enroll(
            server: "https://other.example", token: "new", pin: [UInt8](repeating: 1, count: 32),
            authority: nil, answer: EnrollAnswer(token: "new", assignment: bench.current))
        let access = try bench.journal.hubAccess()
        #expect(access.server == "https://other.example")
        #expect(access.token == "new")
        #expect(access.pin?.count == 32)
        let after = try bench.request()
        #expect(after.replica == before.replica)
        #expect(after.cursor == before.cursor)
        #expect(after.groups.map(\.record) == [id])
    }

    @Test func enrollingAsAnotherPersonForksWithAllThatIsHeld() throws {
        let bench = try Bench()
        try bench.add("已同步")
        try bench.sync()
        let id = try bench.add("还没发出去")
        let before = try bench.request()
        // The hub names a counter beyond what waits here: another copy of the journal went on.
        try bench.enroll(device: 8, forkCounter: 9)
        let after = try bench.request()
        #expect(after.replica != before.replica)
        #expect(after.groups.map(\.record) == [id])
        #expect(after.groups.map(\.firstCounter) == [1])
        #expect(after.ancestors == [Ancestor(Dot(before.replica, 0), chain: .empty)])
        #expect(try bench.journal.identity()?.device == 8)
    }

    @Test func aHubThatForgotIsSentAgainWhatIsHeld() throws {
        let bench = try Bench()
        try bench.add("一")
        try bench.sync()
        try bench.add("二")
        let third = try bench.add("三")
        let request = try bench.request()
        // Settled, but not yet contained in a pull when the hub goes back to a backup.
        var part = request
        part.groups.removeLast()
        try bench.absorb(
            part, outcomes: Outcomes(settledCounter: 5), page: bench.middlePage([], resume: "1"))
        let next = try bench.request()
        #expect(next.groups.map(\.record) == [third])
        #expect(next.chain == request.chain?.appending(part.groups))
        let absorbed = try bench.absorb(
            next, outcomes: Outcomes(settledCounter: 3, expectedCounter: 3),
            page: bench.middlePage([], resume: "1", restart: true))
        #expect(absorbed.answer.progressed)
        let again = try bench.request()
        #expect(again.groups == request.groups && again.chain == request.chain)
        #expect(again.gap == nil && again.replica == request.replica)
    }

    /// A session that has nothing to send asks whether the hub still has what was decided.
    @Test func theChainIsSentAsLongAsSomethingIsHeld() throws {
        let bench = try Bench()
        #expect(try bench.request().chain == nil)
        try bench.add("一")
        let request = try bench.request()
        #expect(request.chain == .empty)
        try bench.absorb(
            request, outcomes: bench.settled(request), page: bench.middlePage([], resume: "1"))
        let held = try bench.request()
        #expect(held.groups == [] && held.chain == HashChain.empty.appending(request.groups))
        try bench.absorb(held, outcomes: nil, page: bench.lastPage())
        #expect(try bench.request().chain == nil)
    }

    /// A refusal uses no sequence, so nothing that was pulled says that a restore has lost it; what
    /// follows has it in its chain.
    @Test func whatLiesBehindALostRefusalGoesOutAnew() throws {
        let bench = try Bench()
        let ids = try ["一", "二"].map { try bench.add($0) }
        let request = try bench.request()
        try bench.absorb(
            request,
            outcomes: Outcomes(
                settledCounter: 5,
                refusals: [
                    Outcomes.Refusal(firstCounter: 3, code: 3, field: 0, reason: "for the test")
                ]), page: bench.middlePage([], resume: "1"))
        let waiting = try bench.add("三")
        let next = try bench.request()
        #expect(next.groups.map(\.record) == [waiting])
        #expect(next.chain == HashChain.empty.appending(request.groups))
        let absorbed = try bench.absorb(
            next, outcomes: Outcomes(settledCounter: 3, expectedCounter: 3),
            page: bench.middlePage([], resume: "1"))
        #expect(absorbed.answer.progressed)
        let again = try bench.request()
        #expect(again.groups.map(\.record) == [ids[0], waiting])
        #expect(again.ancestors == [Ancestor(Dot(request.replica, 0), chain: .empty)])
        #expect(try bench.journal.status().notices == [])
    }

    /// In another term the hub may have decided otherwise, and says so when it is asked again.
    @Test func whatWasDecidedAndDoesNotShowInAnotherTermIsAskedAgain() throws {
        let bench = try Bench()
        try bench.add("一")
        try bench.sync()
        let second = try bench.add("二")
        let request = try bench.request()
        try bench.absorb(
            request, outcomes: bench.settled(request), page: bench.middlePage([], resume: "1"))
        #expect(try bench.journal.waitingGroups() == 0)
        var page = bench.lastPage()
        page.cursor = Position(term: TermID(truncating: 99), sequence: 50)
        try bench.absorb(bench.request(), page: page)
        let again = try bench.request()
        #expect(again.groups.map(\.record) == [second])
        #expect(again.groups == request.groups && again.chain == request.chain)
        // Then it is of that term, and goes.
        try bench.absorb(again, outcomes: bench.settled(again), page: page)
        #expect(try bench.request().groups == [])
    }

    /// What the first of the forked groups has become says nothing of what is below it.
    @Test func aForkBehindADamagedCommandSharesWhatIsBelow() throws {
        let bench = try Bench()
        try bench.add("一")
        let damaged = try bench.add("二")
        let request = try bench.request()
        let below = HashChain.empty.appending(Array(request.groups.prefix(1)))
        try bench.journal.connection.run(
            "UPDATE outbox SET content = x'00' WHERE record = ?", .bytes(damaged.bytes))
        try bench.absorb(request, outcomes: Outcomes(settledCounter: 3, forkCounter: 3))
        #expect(
            try bench.request().ancestors == [Ancestor(Dot(request.replica, 2), chain: below)])
    }

    /// Another copy of the journal wrote the same to another field under the same name.
    @Test func whatAnotherCopyWroteElsewhereIsNotTakenForIt() throws {
        let bench = try Bench()
        let id = try bench.add("一")
        try bench.sync()
        _ = try bench.journal.editNeed(id, [FieldEdit(.phone, nil)], clocks: bench.now)
        let request = try bench.request()
        try bench.absorb(
            request, outcomes: bench.settled(request), page: bench.middlePage([], resume: "1"))
        var other = bench.echo(request.groups[0], replica: request.replica, asSent: false)
        other.fields = other.fields.map {
            PageRecord.Field(field: NeedField.address.rawValue, versions: $0.versions)
        }
        var page = bench.lastPage([other])
        page.cursor = Position(term: TermID(truncating: 99), sequence: 500)
        try bench.absorb(bench.request(), page: page)
        #expect(try bench.request().groups == request.groups)
    }

    /// Of a hub that lost all that the device has pulled.
    private static let restoredHead = Position(term: TermID(truncating: 77), sequence: 1)

    /// Learns that the hub was restored, and brings back what it has.
    ///
    /// - Returns: The next request, when all was brought.
    private func bringAll(_ bench: Bench) throws -> SyncRequest {
        var request = try bench.request()
        var answer = SyncAnswer(attempt: request.attempt, hubMilliseconds: 0)
        answer.line = [TermLine.Entry(term: Self.restoredHead.term, first: 1)]
        answer.recovered = Self.restoredHead
        try bench.absorb(answer, for: request)
        request = try bench.request()
        while request.recovery?.records.isEmpty == false {
            answer = SyncAnswer(attempt: request.attempt, hubMilliseconds: 0)
            answer.recovered = Self.restoredHead
            try bench.absorb(answer, for: request)
            request = try bench.request()
        }
        return request
    }

    /// The newer ledger was put back while the device brought back what the older one had lost.
    @Test func whatWasDecidedInARecoveryDoesNotLeaveWithAnotherHubsPull() throws {
        let bench = try Bench()
        try bench.add("一")
        try bench.sync()
        let waiting = try bench.add("二")
        var request = try bringAll(bench)
        var answer = SyncAnswer(attempt: request.attempt, hubMilliseconds: 0)
        answer.recovered = Self.restoredHead
        answer.outcomes = bench.settled(request)
        answer.page = bench.middlePage([], resume: "1")
        try bench.absorb(answer, for: request)
        #expect(try bench.journal.waitingGroups() == 0)
        request = try bench.request()
        #expect(request.groups == [] && request.chain != nil)
        try bench.absorb(
            request, outcomes: Outcomes(settledCounter: 3, expectedCounter: 3),
            page: bench.lastPage([], restart: true))
        #expect(try bench.request().groups.map(\.record) == [waiting])
    }

    /// The hub has another chain: nobody knows since when.
    @Test func aHubWithAnotherCopysCommandsGetsAllThatIsHeld() throws {
        let bench = try Bench()
        try bench.add("一")
        try bench.sync()
        let held = try ["二", "三", "四"].map { try bench.add($0) }
        var part = try bench.request()
        part.groups.removeLast()
        try bench.absorb(
            part, outcomes: Outcomes(settledCounter: 7), page: bench.middlePage([], resume: "1"))
        let request = try bench.request()
        #expect(request.groups.map(\.record) == [held[2]])
        try bench.absorb(request, outcomes: Outcomes(settledCounter: 1, forkCounter: 1))
        let next = try bench.request()
        #expect(next.groups.map(\.record) == held)
        #expect(next.ancestors == [Ancestor(Dot(request.replica, 0), chain: .empty)])
        #expect(try bench.journal.status().notices.map(\.kind) == [.forked])
    }

    /// Where the hub has lost nothing of its own, a journal goes on as it is.
    @Test func afterARestoreTheChainDecides() throws {
        let bench = try Bench()
        try bench.add("一")
        try bench.sync()
        let waiting = try bench.add("二")
        let before = try bench.request()
        let request = try bringAll(bench)
        // What waits is compared, and goes out when the pull is complete.
        #expect(request.groups.map(\.record) == [waiting])
        #expect(request.replica == before.replica)
        var answer = SyncAnswer(attempt: request.attempt, hubMilliseconds: 0)
        answer.recovered = Self.restoredHead
        answer.page = bench.lastPage([])
        try bench.absorb(answer, for: request)
        let after = try bench.request()
        #expect(after.replica == before.replica && after.recovery == nil)
        #expect(after.groups == before.groups && after.chain == before.chain)
        try bench.absorb(after, outcomes: Outcomes(settledCounter: 1, expectedCounter: 1))
        let forked = try bench.request()
        #expect(forked.groups.map(\.record) == [waiting])
        #expect(forked.ancestors == [Ancestor(Dot(before.replica, 0), chain: .empty)])
    }

    /// As after it was enrolled with another hub.
    @Test func aHubThatKnowsNothingGetsWhatWaitsUnderANewReplica() throws {
        let bench = try Bench()
        try bench.add("一")
        try bench.sync()
        let second = try bench.add("二")
        let request = try bench.request()
        let absorbed = try bench.absorb(
            request, outcomes: Outcomes(settledCounter: 1, expectedCounter: 1))
        #expect(absorbed.answer.progressed)
        let next = try bench.request()
        #expect(next.groups.map(\.record) == [second] && next.replica != request.replica)
        #expect(next.groups.map(\.firstCounter) == [1] && next.gap == nil)
        // The same answer again does not belong to this journal any more.
        expect(.staleAnswer) {
            try bench.absorb(
                request, outcomes: Outcomes(settledCounter: 1, expectedCounter: 1))
        }
        try bench.sync()
        #expect(try bench.request().replica == next.replica)
    }

    @Test func aCounterThatWasNeverGivenOutIsABadAnswer() throws {
        let bench = try Bench()
        try bench.add()
        let request = try bench.request()
        #expect(throws: JournalError.self) {
            try bench.absorb(request, outcomes: Outcomes(settledCounter: 1, expectedCounter: 4))
        }
        #expect(try bench.request().groups == request.groups)
    }
}
