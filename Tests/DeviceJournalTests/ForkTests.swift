import Foundation
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
        #expect(after.ancestors == [Dot(before.replica, 2)])
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
        #expect(next.ancestors == [Dot(request.replica, 2)])
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
        #expect(request.ancestors == [Dot(first, 2), Dot(second, 0)].sorted())
    }

    @Test func aCopiedJournalLosesNothing() throws {
        let bench = try Bench()
        let id = try bench.add("两边都有")
        try bench.sync()
        try bench.journal.connection.checkpoint(.truncate)
        let copyPath = bench.directory + "/copy.sqlite"
        try FileManager.default.copyItem(atPath: bench.path, toPath: copyPath)
        let copy = try Journal(path: copyPath, random: Seeded(1234))

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

    @Test func enrollingAsAnotherPersonForksBeforeTheFirstThatWaits() throws {
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
        #expect(after.ancestors == [Dot(before.replica, 2)])
        #expect(try bench.journal.identity()?.device == 8)
    }

    @Test func aHubThatForgotIsSentAgainWhatIsHeld() throws {
        let bench = try Bench()
        try bench.add("一")
        try bench.sync()
        let second = try bench.add("二")
        let third = try bench.add("三")
        let request = try bench.request()
        // Settled, but not yet contained in a pull when the hub goes back to a backup.
        var part = request
        part.groups.removeLast()
        try bench.absorb(
            part, outcomes: Outcomes(settledCounter: 5), page: bench.middlePage([], resume: "1"))
        #expect(try bench.request().groups.map(\.record) == [second, third])
        #expect(try bench.request().isFirstDecided)
        let absorbed = try bench.absorb(
            bench.request(), outcomes: Outcomes(settledCounter: 3, expectedCounter: 3),
            page: bench.middlePage([], resume: "1", restart: true))
        #expect(absorbed.answer.progressed)
        let again = try bench.request()
        #expect(again.groups.map(\.record) == [second, third])
        #expect(again.gap == nil && !again.isFirstDecided)
        // Another copy may have used what the hub has below, and nothing is held to compare.
        #expect(again.replica != request.replica)
        #expect(again.ancestors == [Dot(request.replica, 0)])
    }

    /// What was refused in between leaves a hole, and a batch has none: first a pull has to contain
    /// what was decided, or the hub to say that it does not have it.
    @Test func whatWaitsBehindARefusalWaitsForThePull() throws {
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
        let held = try bench.request()
        #expect(held.isFirstDecided && held.groups.map(\.record) == [ids[0]])
        try bench.absorb(held, outcomes: Outcomes(settledCounter: 3), page: bench.lastPage())
        let next = try bench.request()
        #expect(!next.isFirstDecided && next.groups.map(\.record) == [waiting])
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
        #expect(request.isFirstDecided && request.groups.map(\.record) == [waiting])
        try bench.absorb(
            request, outcomes: Outcomes(settledCounter: 3, expectedCounter: 3),
            page: bench.lastPage([], restart: true))
        #expect(try bench.request().groups.map(\.record) == [waiting])
    }

    /// Under the counter of what was decided the hub has something else: nobody knows since when.
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
        #expect(request.groups.map(\.record) == Array(held[1...]))
        try bench.absorb(request, outcomes: Outcomes(settledCounter: 5, forkCounter: 5))
        let next = try bench.request()
        #expect(next.groups.map(\.record) == held)
        // What a pull had contained is shared.
        #expect(next.ancestors == [Dot(request.replica, 2)])
    }

    /// A part of it is lost, and another copy may have used its counters meanwhile.
    @Test func afterARestoreNothingIsShared() throws {
        let bench = try Bench()
        try bench.add("一")
        try bench.sync()
        let waiting = try bench.add("二")
        // The hub is told of a gap, and does not hear of it before it is restored.
        try bench.absorb(
            bench.request(), outcomes: Outcomes(settledCounter: 1, expectedCounter: 1))
        let before = try bench.request()
        #expect(before.gap == 1..<3)
        let request = try bringAll(bench)
        // What waits is compared, and goes out when the pull is complete.
        #expect(request.groups.map(\.record) == [waiting])
        #expect(request.replica == before.replica)
        var answer = SyncAnswer(attempt: request.attempt, hubMilliseconds: 0)
        answer.recovered = Self.restoredHead
        answer.page = bench.lastPage([])
        try bench.absorb(answer, for: request)
        let after = try bench.request()
        #expect(after.replica != before.replica && after.recovery == nil)
        #expect(after.groups.map(\.record) == [waiting])
        #expect(after.ancestors == [Dot(before.replica, 0)] && after.gap == nil)
    }

    @Test func whatIsNotHeldAnyMoreIsSaid() throws {
        let bench = try Bench()
        try bench.add("一")
        try bench.sync()
        let second = try bench.add("二")
        let first = try bench.absorb(
            bench.request(), outcomes: Outcomes(settledCounter: 1, expectedCounter: 1))
        #expect(first.answer.progressed)
        let request = try bench.request()
        #expect(request.gap == 1..<3)
        #expect(request.groups.map(\.record) == [second])
        #expect(try bench.journal.status().notices.first?.kind == .gap)
        // The same answer again moves nothing on.
        let repeated = try bench.absorb(
            request, outcomes: Outcomes(settledCounter: 1, expectedCounter: 1))
        #expect(!repeated.answer.progressed)
        try bench.sync()
        #expect(try bench.request().gap == nil)
    }

    @Test func withNothingHeldTheNextCounterIsNamed() throws {
        let bench = try Bench()
        try bench.add()
        try bench.sync()
        try bench.absorb(
            bench.request(), outcomes: Outcomes(settledCounter: 1, expectedCounter: 1))
        #expect(try bench.request().gap == 1..<3)
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

    /// The hub was restored once more before it heard of the gap: what lies before it is held.
    @Test func aGapSaysWhereItBegins() throws {
        let bench = try Bench()
        try bench.add("一")
        try bench.sync()
        let second = try bench.add("二")
        try bench.absorb(
            bench.request(), outcomes: Outcomes(settledCounter: 2, expectedCounter: 2),
            page: bench.middlePage([], resume: "1"))
        let request = try bench.request()
        #expect(request.gap == 2..<3 && request.groups.map(\.record) == [second])
        try bench.absorb(
            request, outcomes: Outcomes(settledCounter: 1, expectedCounter: 1),
            page: bench.middlePage([], resume: "1"))
        #expect(try bench.request().gap == 1..<3)
    }
}
