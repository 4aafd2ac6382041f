import NeedModel
import SQLiteStore
import SyncCore
import Testing
import WireFormat

@testable import DeviceJournal

@Suite struct PullTests {
    /// What a person can see of a journal.
    private func shown(_ journal: Journal) throws -> [RecordID: FieldMap<[UInt8]?>] {
        Dictionary(
            uniqueKeysWithValues: try journal.needs(includingWithdrawn: true).map { need in
                (need.id, need.record.fields.mapValues(\.value))
            })
    }

    @Test func pagesAreShownOnlyWhenTheLastIsThere() throws {
        let bench = try Bench()
        let before = try bench.request().cursor
        try bench.absorb(
            bench.request(), page: bench.middlePage([bench.need(number: 1)], resume: "1"))
        #expect(try bench.journal.needs().isEmpty)
        #expect(try bench.request().cursor == before)
        #expect(try bench.journal.status().isPullUnderWay)
        try bench.absorb(bench.request(), page: bench.lastPage([bench.need(number: 2)]))
        #expect(try bench.journal.needs().count == 2)
        #expect(try bench.request().cursor.sequence == bench.sequence)
        #expect(try !bench.journal.status().isPullUnderWay)
    }

    /// The same pages, with the program ending between each two of them.
    @Test func anInterruptedPullEndsInTheSameState() throws {
        let whole = try Bench()
        let broken = try Bench()
        let pages = [
            whole.middlePage(
                [whole.need("一", number: 1), whole.need("二", number: 2)], resume: "1"),
            whole.middlePage(
                [
                    whole.need("三", number: 3),
                    whole.page(
                        Bench.strangersNeed(1), [NeedField.phone.rawValue: Array("1".utf8)],
                        whole: false),
                ], resume: "2"),
            whole.lastPage([whole.need("一改", number: 1)], departed: [Bench.strangersNeed(2)]),
        ]
        for page in pages {
            try whole.absorb(whole.request(), page: page)
            // An answer that never came: the request is simply made anew.
            _ = try broken.request()
            try broken.reopen()
            try broken.absorb(broken.request(), page: page)
            try broken.reopen()
        }
        #expect(try shown(whole.journal) == shown(broken.journal))
        #expect(try whole.journal.needs().map(\.text) == ["一改", "三"])
        // Sent whole again: the phone that is not listed is gone.
        #expect(try whole.shown(Bench.strangersNeed(1)).phone == nil)
        #expect(try whole.request().cursor == broken.request().cursor)
        let staged = try broken.journal.connection.first("SELECT count(*) FROM staging") {
            $0.integer(at: 0)
        }
        #expect(staged == 0)
    }

    /// Its pages lie otherwise.
    @Test func aPullThatAFormerVersionBeganBeginsAnew() throws {
        let bench = try Bench()
        try bench.absorb(
            bench.request(), page: bench.middlePage([bench.need(number: 1)], resume: "1"))
        #expect(try !bench.request().resume.isEmpty)
        try bench.journal.connection.execute("UPDATE staging SET page = x'00'")
        try bench.journal.connection.setUserVersion(4)
        try bench.reopen()
        #expect(try bench.request().resume.isEmpty)
        try bench.absorb(bench.request(), page: bench.lastPage([bench.need(number: 2)]))
        #expect(try bench.journal.needs().map(\.id) == [Bench.strangersNeed(2)])
    }

    @Test func aRestartDropsWhatWasStaged() throws {
        let bench = try Bench()
        try bench.absorb(
            bench.request(), page: bench.middlePage([bench.need(number: 1)], resume: "1"))
        try bench.absorb(
            bench.request(),
            page: bench.middlePage([bench.need(number: 2)], resume: "2", restart: true))
        try bench.absorb(bench.request(), page: bench.lastPage([bench.need(number: 3)]))
        #expect(
            try bench.journal.needs().map(\.id) == [Bench.strangersNeed(2), Bench.strangersNeed(3)])
    }

    @Test func listedFieldsAreReplacedAndOthersKept() throws {
        let bench = try Bench()
        let id = Bench.strangersNeed(1)
        try bench.pull([bench.need("文", number: 1, [.phone: .text("1"), .address: .text("甲")])])
        try bench.pull([bench.page(id, [NeedField.phone.rawValue: nil], whole: false)])
        let need = try bench.shown(id)
        #expect(need.phone == nil)
        #expect(need.field(.phone)?.versions.count == 1)
        #expect(need.address == "甲")
        #expect(need.text == "文")
    }

    @Test func aStaleAnswerChangesNothing() throws {
        let bench = try Bench()
        try bench.add()
        let request = try bench.request()
        func answer(_ attempt: UInt32) -> SyncAnswer {
            SyncAnswer(
                attempt: attempt, hubMilliseconds: bench.hubMilliseconds,
                outcomes: bench.settled(request), page: bench.lastPage([bench.need(number: 9)]))
        }
        expect(.staleAnswer) {
            try bench.absorb(answer(request.attempt + 1), for: request)
        }
        #expect(try bench.journal.waitingGroups() == 1)
        #expect(try bench.journal.needs().count == 1)

        _ = try bench.absorb(answer(request.attempt), for: request)
        // The same answer again, late: the cursor has moved on.
        expect(.staleAnswer) {
            try bench.absorb(answer(request.attempt), for: request)
        }
        #expect(try bench.journal.needs().count == 1)
    }

    @Test func anAnswerForAnEarlierReplicaIsStale() throws {
        let bench = try Bench()
        try bench.add()
        let old = try bench.request()
        try bench.absorb(
            bench.request(), outcomes: Outcomes(settledCounter: 1, forkCounter: 1))
        expect(.staleAnswer) {
            try bench.absorb(old, outcomes: bench.settled(old), page: bench.lastPage())
        }
        #expect(try bench.journal.waitingGroups() == 1)
    }

    @Test func aPageThatLeadsNowhereIsRefused() throws {
        let bench = try Bench()
        let request = try bench.request()
        #expect(throws: JournalError.self) {
            try bench.absorb(request, page: Page(records: [bench.need(number: 1)]))
        }
        #expect(try bench.request().resume.isEmpty)
    }

    @Test func anAnswerThatRepeatsItselfIsNoProgress() throws {
        let bench = try Bench()
        let first = try bench.absorb(
            bench.request(), page: bench.middlePage([], resume: "1"))
        #expect(first.answer.progressed)
        let second = try bench.absorb(
            bench.request(), page: bench.middlePage([], resume: "1"))
        #expect(!second.answer.progressed)
    }

    @Test func onlyGroupsOfTheRequestAreSettled() throws {
        let bench = try Bench()
        let ids = try (0..<3).map { try bench.add("\($0)") }
        // Two groups; the hub says that it knows more, from a try whose answer was lost, but could
        // not list the refusals of those.
        var request = try bench.request()
        request.groups.removeLast()
        let absorbed = try bench.absorb(request, outcomes: Outcomes(settledCounter: 7))
        #expect(absorbed.settledGroups == 2)
        request = try bench.request()
        #expect(request.groups.map(\.record) == [ids[2]])
    }

    @Test func aBatchKeepsWithinItsBoundButNeverSticks() throws {
        let bench = try Bench()
        for number in 0..<10 { try bench.add(String(repeating: "长", count: 100) + "\(number)") }
        #expect(try bench.request(batchBytesMax: 1).groups.count == 1)
        let two = try bench.request(batchBytesMax: 700)
        #expect(two.groups.count == 2)
        #expect(try bench.request().groups.count == 10)
        #expect(try bench.request().groups.map(\.firstCounter) == (0..<10).map { 1 + 2 * $0 })
    }

    // MARK: Scope

    @Test func aRecordThatDepartedIsHiddenAndPurged() throws {
        let bench = try Bench()
        let id = Bench.strangersNeed(1)
        try bench.pull([bench.need(number: 1)])
        let absorbed = try bench.pull(departed: [id])
        #expect(absorbed.news.departed == [id])
        expect(.notFound(id.description)) { try bench.shown(id) }
        #expect(try bench.journal.readRecord(id) == nil)
    }

    @Test func leavingHidesAtOnceAndPurgesWhenAnswered() throws {
        let bench = try Bench()
        let id = Bench.strangersNeed(1)
        try bench.pull([bench.need(number: 1)])
        _ = try bench.journal.editNeed(id, [FieldEdit(.phone, .text("1"))], clocks: bench.now)
        let request = try bench.request()
        try bench.absorb(request, page: bench.lastPage(departed: [id]))
        #expect(try bench.journal.needs().isEmpty)
        #expect(try bench.journal.readRecord(id)?.isVisible == false)
        // The change goes out all the same.
        let next = try bench.request()
        #expect(next.groups.map(\.record) == [id])
        try bench.absorb(next, outcomes: bench.settled(next), page: bench.lastPage())
        #expect(try bench.journal.readRecord(id) == nil)
        #expect(try bench.journal.waitingGroups() == 0)
    }

    @Test func aNarrowerScopeHidesWhatLiesOutside() throws {
        let bench = try Bench(role: .office)
        let wide = Scope([
            .reference, .recordedBy(device: 7), .grid(Bench.grid), .grid(Bench.otherGrid),
        ])
        bench.current = bench.assignment(role: .office, scope: wide)
        let order = FieldValue.dispatch(.init(order: 5, team: "T1", due: nil))
        try bench.pull([
            bench.need("在内", number: 1),
            bench.need("在外", grid: Bench.otherGrid, number: 2),
            bench.need("派给本队", grid: Bench.otherGrid, number: 3, [.dispatch: order]),
        ])
        let own = try bench.add("自己记的", grid: Bench.otherGrid)
        try bench.sync()
        #expect(try bench.journal.needs().count == 4)

        bench.current = bench.assignment(
            role: .office,
            scope: Scope([
                .reference, .recordedBy(device: 7), .grid(Bench.grid), .team("T1"),
            ]))
        // The hub sends a new bucket from the start, also what lies in another one already.
        let absorbed = try bench.pull([
            bench.need("派给本队", grid: Bench.otherGrid, number: 3, [.dispatch: order])
        ])
        #expect(Set(try bench.journal.needs().map(\.text)) == ["在内", "派给本队", "自己记的"])
        #expect(absorbed.news.departed == [Bench.strangersNeed(2)])
        #expect(try bench.shown(own).text == "自己记的")
        #expect(try bench.journal.territories().count == 4)
        #expect(try bench.request().scope == bench.current.scope.id)
    }

    @Test func theScopeChangesOnlyWithTheCompletePull() throws {
        let bench = try Bench()
        let old = try bench.request().scope
        bench.current = bench.assignment(
            role: .office, scope: Scope([.reference, .grid(Bench.otherGrid)]))
        try bench.absorb(
            bench.request(), page: bench.middlePage([], resume: "1"), assignment: bench.current)
        #expect(try bench.request().scope == old)
        #expect(try bench.journal.identity()?.role == .worker)
        try bench.reopen()
        try bench.absorb(bench.request(), page: bench.lastPage())
        #expect(try bench.request().scope == bench.current.scope.id)
        #expect(try bench.journal.identity()?.role == .office)
    }

    @Test func aNoteLeavesWithItsNeed() throws {
        let bench = try Bench()
        let id = Bench.strangersNeed(1)
        let note = RecordID(
            milliseconds: Bench.hubStart, replica: Bench.stranger, number: 2)
        let fields: [UInt32: [UInt8]?] = [
            NoteField.need.rawValue: id.bytes, NoteField.text.rawValue: Array("话".utf8),
        ]
        try bench.pull([bench.need(number: 1), bench.page(note, kind: .note, fields)])
        #expect(try bench.journal.notes(of: id).map(\.creator) == ["别人"])
        try bench.pull(departed: [id])
        #expect(try bench.journal.readRecord(note) == nil)
    }

    // MARK: News

    @Test func newsNamesWhatOthersDid() throws {
        let bench = try Bench()
        try bench.pull([bench.need(number: 1), bench.need(number: 2), bench.need(number: 3)])
        let order = FieldValue.dispatch(.init(order: 5, team: "T1", due: nil))
        let finished = FieldValue.answer(.init(order: 5, verdict: .finished, text: "修好"))
        let own = try bench.add()
        let request = try bench.request()
        let absorbed = try bench.absorb(
            request, outcomes: bench.settled(request),
            page: bench.lastPage([
                bench.echo(request.groups[0], replica: request.replica),
                bench.need(number: 1, [.dispatch: order, .answer: finished]),
                bench.need(number: 2, [.withdrawal: .withdrawal(reason: "重复")]),
                bench.need("改了", number: 3),
                bench.need(number: 4),
            ]))
        #expect(absorbed.news.finished == [Bench.strangersNeed(1)])
        #expect(absorbed.news.withdrawn == [Bench.strangersNeed(2)])
        #expect(absorbed.news.changed == [Bench.strangersNeed(3)])
        #expect(absorbed.news.newNeeds == [Bench.strangersNeed(4)])
        #expect(absorbed.news.departed.isEmpty)
        #expect(try bench.journal.needs().contains { $0.id == own })
    }

    @Test func ownWorkIsNoNews() throws {
        let bench = try Bench()
        let id = try bench.add()
        _ = try bench.journal.note(id, text: "记", clocks: bench.now)
        #expect(try bench.sync().news.isEmpty)
        _ = try bench.journal.withdraw(id, reason: "重复", clocks: bench.now)
        #expect(try bench.sync().news.isEmpty)
    }

    @Test func aJobIsNewUntilItIsSeen() throws {
        let bench = try Bench(role: .team, team: "T1")
        func dispatched(_ order: UInt64, to team: String = "T1") -> PageRecord {
            bench.need(number: 1, [.dispatch: .dispatch(.init(order: order, team: team, due: nil))])
        }
        let id = Bench.strangersNeed(1)
        #expect(try bench.pull([dispatched(5)]).news.newJobs == [id])
        #expect(try bench.journal.jobs().map(\.isNew) == [true])
        try bench.journal.markSeen([id])
        #expect(try bench.journal.jobs().map(\.isNew) == [false])
        #expect(try bench.pull([dispatched(5)]).news.newJobs.isEmpty)
        // A new order makes it new again.
        #expect(try bench.pull([dispatched(6)]).news.newJobs == [id])
        #expect(try bench.journal.jobs().map(\.isNew) == [true])
        #expect(try bench.pull([dispatched(7, to: "T2")]).news.newJobs.isEmpty)
        #expect(try bench.journal.jobs().isEmpty)
    }

    @Test func mergedNewsNamesEachNeedOnce() {
        var news = News()
        news.newNeeds = [Bench.strangersNeed(1)]
        news.refused = 1
        var later = News()
        later.newNeeds = [Bench.strangersNeed(1), Bench.strangersNeed(2)]
        later.refused = 2
        news.merge(later)
        #expect(news.newNeeds == [Bench.strangersNeed(1), Bench.strangersNeed(2)])
        #expect(news.refused == 3)
    }
}
