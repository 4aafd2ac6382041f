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

    @Test("a need that moves away and back in one batch has its notes where it lies")
    func notesMoveAndReturn() throws {
        let need = banner.addNeed(grid: "g1")
        let before = banner.addNote(on: need, "前")
        try banner.sync()
        banner.edit(need, .grid, .text("g4"))
        let between = banner.addNote(on: need, "中")
        banner.edit(need, .grid, .text("g1"))
        #expect(try holders(of: before) == ["banner", "worker"])
        #expect(try holders(of: between) == ["banner", "worker"])
        #expect(try hub.ledger.check() == [])
    }

    @Test("a need that moves often in one batch has its notes read no oftener than with one move")
    func notesMoveOnce() throws {
        let storage = try CountingStorage(path: hub.path, creates: false)
        let ledger = hub.ledger(on: storage)
        func readCount(moves: Int) throws -> Int {
            let need = banner.addNeed(grid: "g1")
            let notes = (0..<20).map { _ in banner.addNote(on: need) }
            try banner.sync()
            for move in 0..<moves {
                banner.edit(need, .grid, .text(move.isMultiple(of: 2) ? "g4" : "g1"))
            }
            let request = banner.request()
            let readBefore = storage.readCount
            let answer = try #require(try ledger.sync([(banner.id, request)]).answers.first)
            let count = storage.readCount - readBefore
            try banner.absorb(try answer.get(), of: request)
            for id in [need] + notes { #expect(try hub.record(id)?.grid == "g4") }
            return count
        }
        #expect(try readCount(moves: 33) == readCount(moves: 1))
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

    /// Edits a note behind a move of its need, in one batch of the worker's, which holds the need but
    /// has pulled nothing since it lay in g1.
    ///
    /// - Parameters:
    ///   - present: Where the need lies when the batch comes.
    ///   - target: Where the batch moves it.
    ///   - isHeld: Whether the note was there when the worker pulled.
    /// - Returns: The note.
    private func editNoteBehindMove(
        from present: String, to target: String, isHeld: Bool
    ) throws -> RecordID {
        let need = banner.addNeed(grid: "g1")
        let held = banner.addNote(on: need)
        try banner.sync()
        try worker.sync()
        if present != "g1" { banner.edit(need, .grid, .text(present)) }
        let note = isHeld ? held : banner.addNote(on: need)
        try banner.sync()
        // So the worker's move is the later one.
        hub.time.now += 60_000
        // What is in scope is remembered from group to group.
        worker.edit(need, .phone, .text("1"))
        worker.edit(need, .grid, .text(target))
        worker.write(
            note, [Change(field: NoteField.text.rawValue, value: FieldValue.text("改").bytes)])
        try worker.sync()
        #expect(try hub.record(note)?.grid == target)
        return note
    }

    @Test(
        "a note is judged by where its need lies, also when that moved earlier in the batch",
        arguments: [("g1", "g4", [RejectionCode.scope]), ("g4", "g2", [])])
    func noteBehindMove(present: String, target: String, expected: [RejectionCode]) throws {
        // It was not there at the base, and so lay nowhere then.
        _ = try editNoteBehindMove(from: present, to: target, isHeld: false)
        #expect(refusals(worker) == expected)
    }

    @Test("a note that lay in scope at the base is not refused behind a move of its need")
    func heldNoteBehindMove() throws {
        let note = try editNoteBehindMove(from: "g1", to: "g4", isHeld: true)
        #expect(worker.refusals.isEmpty)
        let text = try #require(try hub.record(note)).state.value(of: NoteField.text.rawValue)
        #expect(text == FieldValue.text("改").bytes)
    }

    @Test("work from before the territory was reordered is not refused")
    func scopeAtBase() throws {
        let need = banner.addNeed(grid: "g2")
        try banner.sync()
        try worker.sync()
        worker.edit(need, .phone, .text("1"))
        worker.addNeed("旧网格的新需求", grid: "g2")
        try moveGrid(to: "v3")
        try worker.sync()
        #expect(worker.refusals.isEmpty)
        worker.addNeed("又一个", grid: "g2")
        try worker.sync()
        #expect(refusals(worker) == [.scope])
    }

    private func moveGrid(to village: String) throws {
        _ = try hub.ledger.importTable(
            .territory, csv: "code,name,level,parent\ng2,二网格,grid,\(village)\n")
    }

    @Test("a scope that a device was never told of, since the answer was lost, is not its scope")
    func scopeOfALostAnswer() throws {
        try moveGrid(to: "v3")
        try worker.exchange(isLost: true)
        try moveGrid(to: "v1")
        try worker.sync()
        worker.addNeed(grid: "g2")
        try moveGrid(to: "v3")
        try worker.sync()
        #expect(worker.refusals.isEmpty)
    }

    @Test("work from before the first pull is judged by what the enrolment told")
    func scopeOfTheEnrolment() throws {
        let newcomer = try hub.worker("v1")
        newcomer.addNeed(grid: "g2")
        try moveGrid(to: "v3")
        try newcomer.sync()
        #expect(newcomer.refusals.isEmpty)
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

/// Counts the records, and the lists of a need's notes, that a ledger reads.
private final class CountingStorage: SQLiteLedgerStorage {
    private(set) var readCount = 0

    override func record(key: Int64) throws -> StoredRecord? {
        readCount += 1
        return try super.record(key: key)
    }

    override func children(of key: Int64) throws -> [Int64] {
        readCount += 1
        return try super.children(of: key)
    }
}
