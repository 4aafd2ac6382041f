import HubLedger
import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

/// Rules 7 and 13: who gets which record, and whose work counts.
@Suite("Scope")
struct ScopeTests {
    let hub: TestHub
    let banner: TestDevice
    let town: TestDevice
    let worker: TestDevice
    let teamA: TestDevice
    let teamB: TestDevice

    init() throws {
        hub = try TestHub()
        banner = try hub.office("b")
        town = try hub.office("t2")
        worker = try hub.worker("v1")
        teamA = try hub.team("A")
        teamB = try hub.team("B")
        for device in all { try device.sync() }
    }

    private var all: [TestDevice] { [banner, town, worker, teamA, teamB] }

    private func holders(of record: RecordID) throws -> [String] {
        for device in all { try device.sync() }
        let names = ["banner", "town", "worker", "teamA", "teamB"]
        return zip(names, all).filter { $1.state[record] != nil }.map(\.0)
    }

    private func refusals(_ device: TestDevice) -> [RejectionCode?] {
        device.refusals.map { RejectionCode(rawValue: $0.code) }
    }

    // MARK: Who holds what

    @Test(
        "a need goes to those whose grid it lies in",
        arguments: [
            ("g1", ["banner", "worker"]), ("g3", ["banner"]), ("g4", ["banner", "town"]),
        ])
    func byGrid(grid: String, holders: [String]) throws {
        let need = banner.addNeed(grid: grid)
        try banner.sync()
        #expect(try self.holders(of: need) == holders)
    }

    @Test("a dispatched need goes to the team, and with a new order to the other one")
    func byTeam() throws {
        let need = banner.addNeed(grid: "g4")
        banner.dispatch(need, to: "A")
        #expect(try holders(of: need) == ["banner", "town", "teamA"])
        banner.dispatch(need, to: "B")
        #expect(try holders(of: need) == ["banner", "town", "teamB"])
    }

    @Test("reference data goes to everyone")
    func reference() throws {
        for device in all {
            #expect(device.state.values.count { $0.kind >= 3 } == 15)
        }
    }

    @Test("who recorded a need keeps it, wherever it is moved")
    func recorder() throws {
        let need = worker.addNeed(grid: "g1")
        try worker.sync()
        try banner.sync()
        banner.edit(need, .grid, .text("g4"))
        #expect(try holders(of: need) == ["banner", "town", "worker"])
        worker.edit(need, .phone, .text("1"))
        try worker.sync()
        #expect(worker.refusals.isEmpty)
    }

    @Test("who held a need is told that it left")
    func departed() throws {
        let need = banner.addNeed(grid: "g1")
        #expect(try holders(of: need) == ["banner", "worker"])
        banner.edit(need, .grid, .text("g4"))
        try banner.sync()
        let page = try #require(try worker.exchange().page)
        #expect(page.departed == [need])
        #expect(page.records.isEmpty)
    }

    @Test("who never held a need hears nothing of it")
    func unheard() throws {
        let need = banner.addNeed(grid: "g4")
        banner.edit(need, .grid, .text("g3"))
        try banner.sync()
        let page = try #require(try worker.exchange().page)
        #expect(page.departed.isEmpty)
        #expect(page.records.isEmpty)
    }

    // MARK: Notes

    @Test("notes lie where their need lies, and move with it")
    func notesMove() throws {
        let need = banner.addNeed(grid: "g1")
        let note = banner.addNote(on: need)
        #expect(try holders(of: note) == ["banner", "worker"])
        banner.edit(need, .grid, .text("g4"))
        banner.dispatch(need, to: "A")
        #expect(try holders(of: note) == ["banner", "town", "teamA"])
        #expect(try hub.ledger.check() == [])
    }

    @Test("a note written in the batch that moves its need moves too")
    func notesMoveInBatch() throws {
        let need = banner.addNeed(grid: "g1")
        try banner.sync()
        let before = banner.addNote(on: need, "前")
        banner.edit(need, .grid, .text("g4"))
        let after = banner.addNote(on: need, "后")
        try banner.sync()
        #expect(try holders(of: before) == ["banner", "town"])
        #expect(try holders(of: after) == ["banner", "town"])
    }

    @Test("a need, its note and its move in one batch end in one place")
    func allInOneBatch() throws {
        let need = banner.addNeed(grid: "g1")
        let note = banner.addNote(on: need)
        banner.edit(need, .grid, .text("g4"))
        #expect(try holders(of: need) == ["banner", "town"])
        #expect(try holders(of: note) == ["banner", "town"])
        #expect(try hub.ledger.check() == [])
    }

    // MARK: Whose work counts

    @Test("a write outside the scope is refused")
    func outOfScope() throws {
        let need = banner.addNeed(grid: "g3")
        try banner.sync()
        let head = try hub.head
        worker.edit(need, .phone, .text("1"))
        worker.addNote(on: need)
        worker.addNeed(grid: "g4")
        town.edit(need, .phone, .text("1"))
        teamA.addNote(on: need)
        for device in all { try device.sync() }
        #expect(refusals(worker) == [.scope, .scope, .scope])
        #expect(refusals(town) == [.scope])
        #expect(refusals(teamA) == [.scope])
        #expect(try hub.head == head)
    }

    @Test("a team answers its own order and no other team's")
    func foreignOrder() throws {
        let need = banner.addNeed(grid: "g4")
        let order = banner.dispatch(need, to: "B")
        try banner.sync()
        teamA.answer(need, order, .accepted)
        try teamA.sync()
        #expect(refusals(teamA) == [.scope])
    }

    @Test("a former team's late answer is admitted, and never shows as the new team's status")
    func lateAnswer() throws {
        let need = banner.addNeed(grid: "g4")
        let first = banner.dispatch(need, to: "A")
        try banner.sync()
        try teamA.sync()
        teamA.answer(need, first, .accepted)
        hub.time.now += 60_000
        let second = banner.dispatch(need, to: "B")
        try banner.sync()
        try teamB.sync()
        teamB.answer(need, second, .declined, "人手不够")
        try teamB.sync()
        hub.time.now += 60_000
        try teamA.sync()
        #expect(teamA.refusals.isEmpty)
        // It is put before the office, and the status stays that of the team that was sent.
        let conflict = try #require(try hub.ledger.conflicts().first)
        #expect(conflict.field == .dispatch)
        #expect(conflict.contestedFields == [.answer])
        try banner.sync()
        #expect(banner.state[need]?.isInConflict == true)
        #expect(banner.state[need]?.progress.status == .declined)
        #expect(teamA.state[need] == nil)
        try teamB.sync()
        #expect(teamB.state[need]?.progress.status == .declined)
    }

    @Test("a late answer of a former team that is the newest of all does not show either")
    func newestLateAnswer() throws {
        let need = banner.addNeed(grid: "g4")
        let first = banner.dispatch(need, to: "A")
        try banner.sync()
        try teamA.sync()
        let second = banner.dispatch(need, to: "B")
        try banner.sync()
        try teamB.sync()
        teamB.answer(need, second, .accepted)
        try teamB.sync()
        hub.time.now += 60_000
        teamA.answer(need, first, .finished, "已修好")
        try teamA.sync()
        let register = try hub.register(.answer, of: need)
        #expect(register.winner?.dot.replica == teamA.replica)
        #expect(try hub.ledger.needs().first?.progress.status == .accepted)
    }

    @Test("a former team that knows that it is out is refused")
    func lateAfterPull() throws {
        let need = banner.addNeed(grid: "g4")
        let first = banner.dispatch(need, to: "A")
        try banner.sync()
        try teamA.sync()
        banner.dispatch(need, to: "B")
        try banner.sync()
        try teamA.sync()
        teamA.answer(need, first, .accepted)
        try teamA.sync()
        #expect(refusals(teamA) == [.scope])
    }

    @Test("a former team's late note is not refused either")
    func lateNote() throws {
        let need = banner.addNeed(grid: "g4")
        banner.dispatch(need, to: "A")
        try banner.sync()
        try teamA.sync()
        let note = teamA.addNote(on: need)
        banner.dispatch(need, to: "B")
        try banner.sync()
        try teamA.sync()
        #expect(teamA.refusals.isEmpty)
        #expect(try holders(of: note) == ["banner", "town", "teamB"])
    }

    @Test("edits behind a move out of one's own scope are not refused")
    func editAfterOwnMove() throws {
        let need = banner.addNeed(grid: "g1")
        try banner.sync()
        try worker.sync()
        worker.edit(need, .grid, .text("g4"))
        worker.edit(need, .phone, .text("1"))
        worker.addNote(on: need)
        try worker.sync()
        #expect(worker.refusals.isEmpty)
        #expect(worker.state[need] == nil)
    }

    @Test("edits behind one's own move are not refused either when they come in a later batch")
    func editAfterOwnMoveInNextBatch() throws {
        let need = banner.addNeed(grid: "g1")
        try banner.sync()
        try worker.sync()
        worker.edit(need, .grid, .text("g4"))
        worker.edit(need, .phone, .text("1"))
        try worker.exchange(groups: [worker.waiting[0]], pageBytes: 1, isLost: true)
        try worker.sync()
        #expect(worker.refusals.isEmpty)
    }

    @Test("work from before the territory was reordered is not refused")
    func scopeAtBase() throws {
        let need = banner.addNeed(grid: "g2")
        try banner.sync()
        try worker.sync()
        worker.edit(need, .phone, .text("1"))
        worker.addNeed("旧网格的新需求", grid: "g2")
        _ = try hub.ledger.importTable(
            .territory, csv: "code,name,level,parent\ng2,二网格,grid,v3\n")
        try worker.sync()
        #expect(worker.refusals.isEmpty)
        worker.addNeed("又一个", grid: "g2")
        try worker.sync()
        #expect(refusals(worker) == [.scope])
    }

    @Test("role is judged as of now: a revoked device brings nothing in")
    func revoked() throws {
        worker.addNeed()
        try hub.ledger.revoke(device: worker.id)
        #expect(throws: LedgerError.self) { try worker.sync() }
        #expect(try hub.records().count { $0.kind == Kind.need.rawValue } == 0)
    }

    @Test("history is shown only to who may hold the record")
    func historyInScope() throws {
        let need = banner.addNeed(grid: "g4")
        try banner.sync()
        #expect(try hub.ledger.history(of: need, for: town.id).count == 2)
        for device in [worker, teamA] {
            let error = #expect(throws: LedgerError.self) {
                try hub.ledger.history(of: need, for: device.id)
            }
            guard case .forbidden = error else {
                Issue.record("not forbidden but \(String(describing: error))")
                continue
            }
        }
    }
}
