import NeedModel
import SQLiteStore
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

/// What the ledger's own disk makes of one record harms nobody who does not ask for it, and
/// nobody's good copy.
@Suite("Altered ledger")
struct AlteredLedgerTests {
    let hub: TestHub
    let office: TestDevice
    let worker: TestDevice
    let elsewhere: TestDevice
    let need: RecordID

    init() throws {
        hub = try TestHub()
        office = try hub.office("b")
        worker = try hub.worker("v1")
        elsewhere = try hub.worker("v3")
        for device in [office, worker, elsewhere] { try device.sync() }
        need = worker.addNeed("缺路灯")
        try worker.sync()
        try office.sync()
    }

    private func alter(_ sql: String) throws {
        try Connection(path: hub.path, mode: .readWrite).execute(sql)
    }

    @Test("a change to a record that cannot be read is refused, and holds up nothing")
    func unreadableRecord() throws {
        try alter("UPDATE record SET state = x'ff' WHERE kind = 1")
        office.edit(need, .phone, .text("1"))
        let next = office.addNeed("路灯不亮")
        let other = elsewhere.addNeed("桥断了", grid: "g4")
        let answers = try hub.ledger.sync([
            (office.id, office.request()), (elsewhere.id, elsewhere.request()),
        ]).answers
        #expect(
            try answers[0].get().outcomes?.refusals.map(\.code)
                == [RejectionCode.unreadable.rawValue])
        #expect(try answers[1].get().outcomes?.refusals == [])
        for id in [next, other] {
            #expect(try hub.storage.snapshot { try hub.storage.record(id) } != nil)
        }
    }

    @Test("a note on a need that cannot be read is refused, and holds up nothing")
    func noteOnUnreadableNeed() throws {
        try alter("UPDATE record SET state = x'ff' WHERE kind = 1")
        office.addNote(on: need)
        let next = office.addNeed("路灯不亮")
        let refusals = try #require(try hub.sync(office, office.request()).outcomes).refusals
        #expect(refusals.map(\.code) == [RejectionCode.unreadable.rawValue])
        #expect(refusals.map(\.field) == [NoteField.need.rawValue])
        #expect(try hub.record(next) != nil)
    }

    @Test("a note that cannot be read does not keep its need where it lies")
    func unreadableNote() throws {
        let note = worker.addNote(on: need)
        let other = worker.addNote(on: need)
        for device in [worker, office] { try device.sync() }
        try alter(
            "UPDATE record SET state = x'ff' WHERE key = (SELECT MIN(key) FROM record WHERE kind = 2)"
        )
        #expect(throws: LedgerError.self) { _ = try hub.record(note) }
        office.dispatch(need, to: "A")
        #expect(try hub.sync(office, office.request()).outcomes?.refusals == [])
        for id in [need, other] { #expect(try hub.record(id)?.team == "A") }
    }

    @Test("a record that cannot be read is left out of what is served, and told")
    func unreadableIsWithheld() throws {
        let other = worker.addNeed("井盖")
        worker.edit(need, .phone, .text("1"))
        try worker.sync()
        try alter(
            "UPDATE record SET state = x'ff' WHERE first_sequence = (SELECT min(first_sequence) FROM record WHERE kind = 1)"
        )
        // By the feed, and from the start.
        try office.sync()
        #expect(office.state[need] != nil && office.state[other] != nil)
        let newcomer = try hub.office("t1")
        try newcomer.sync()
        #expect(newcomer.state[need] == nil && newcomer.state[other] != nil)
        #expect(try hub.ledger.events().map(\.kind) == [.recordAltered])

        let bucket = try #require(office.scope.buckets.firstIndex(of: .grid("g1")))
        var request = office.request()
        request.audit = AuditRequest(parts: [AuditPart(bucket: bucket)], refetch: [need, other])
        let page = try #require(try hub.sync(office, request).page)
        #expect(page.records.map(\.id) == [other] && page.departed == [])
        guard case .records(let listed)? = page.findings.first?.content else {
            Issue.record("no list")
            return
        }
        #expect(listed.map(\.id) == [other])
    }

    @Test(
        "whoever repeats a batch that cannot be read goes on as a new replica",
        arguments: ["content = x'02ff'", "outcomes = x'ff'"])
    func unreadableBatch(change: String) throws {
        let new = worker.addNeed("井盖")
        worker.edit(need, .phone, .text("1"))
        try worker.exchange(isLost: true)
        // Also what the new replica descends from.
        try alter("UPDATE batch SET \(change)")
        let other = elsewhere.addNeed("桥断了", grid: "g4")
        let request = worker.request()
        let answers = try hub.ledger.sync([
            (worker.id, request), (elsewhere.id, elsewhere.request()),
        ]).answers
        let outcomes = try #require(try answers[0].get().outcomes)
        #expect(outcomes.forkCounter == 1)
        #expect(try answers[1].get().outcomes?.refusals == [])
        #expect(try hub.record(other) != nil)

        try worker.sync()
        #expect(worker.waiting.isEmpty && worker.state[new] != nil)
        #expect(worker.refusals.map(\.code) == [RejectionCode.recordExists.rawValue])
        let phone = try hub.register(.phone, of: need)
        #expect(phone.winner?.value == Array("1".utf8) && !phone.isInConflict)
    }

    @Test(
        "who holds a record keeps it, wherever the disk puts it",
        arguments: ["grid = 'g9'", "grid = 'g4', device = NULL", "team = NULL"])
    func alteredPlace(change: String) throws {
        let team = try hub.team("A")
        office.dispatch(need, to: "A")
        for device in [office, team, worker] { try device.sync() }
        try alter("UPDATE record SET \(change) WHERE kind = 1")
        let holder = change.starts(with: "team") ? team : worker
        var request = holder.request()
        request.audit = AuditRequest(parts: [], refetch: [need])
        let page = try #require(try hub.sync(holder, request).page)
        #expect(page.departed == [])
        #expect(try hub.ledger.events().map(\.kind) == [.recordAltered])
    }
}
