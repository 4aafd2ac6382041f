import HubLedger
import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

/// Rules 11 and 14: what is refused, and what is not harmed by it.
@Suite("Rejections")
struct RejectionTests {
    let hub: TestHub
    let worker: TestDevice
    let office: TestDevice
    let team: TestDevice
    let need: RecordID

    init() throws {
        hub = try TestHub()
        worker = try hub.worker("v1")
        office = try hub.office("t1")
        team = try hub.team("A")
        try worker.sync()
        need = worker.addNeed()
        try worker.sync()
        try office.sync()
        try team.sync()
    }

    /// Syncs, and expects that just the last written group was refused.
    private func expectRefusal(
        of device: TestDevice, _ code: RejectionCode, field: NeedField? = nil,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let counter = try #require(device.waiting.last).firstCounter
        let head = try hub.head
        try device.sync()
        #expect(device.refusals.count == 1, sourceLocation: sourceLocation)
        let refusal = try #require(device.refusals.last, sourceLocation: sourceLocation)
        #expect(
            RejectionCode(rawValue: refusal.code) == code, "\(refusal.reason)",
            sourceLocation: sourceLocation)
        #expect(refusal.firstCounter == counter, sourceLocation: sourceLocation)
        #expect(refusal.field == field?.rawValue ?? 0, sourceLocation: sourceLocation)
        #expect(!refusal.reason.isEmpty, sourceLocation: sourceLocation)
        #expect(try hub.ledger.info().head - head <= 1, sourceLocation: sourceLocation)
        #expect(try hub.ledger.check() == [], sourceLocation: sourceLocation)
    }

    // MARK: Groups

    @Test("one bad field refuses the whole group, and the groups beside it are admitted")
    func atomicGroup() throws {
        worker.edit(need, .phone, .text("1"))
        worker.write(
            need,
            [set(.address, .text("一号")), set(.urgency, .integer(7)), set(.resident, .text("王"))])
        worker.edit(need, .category, .text("light"))
        try worker.sync()
        #expect(worker.refusals.count == 1)
        #expect(worker.refusals.first?.field == NeedField.urgency.rawValue)
        #expect(try hub.register(.address, of: need).winner == nil)
        #expect(try hub.register(.resident, of: need).winner == nil)
        #expect(try hub.register(.phone, of: need).winner != nil)
        #expect(try hub.register(.category, of: need).winner != nil)
    }

    @Test("a refused group uses its counters and no sequence")
    func counters() throws {
        let head = try hub.head
        worker.edit(need, .urgency, .integer(7))
        worker.edit(need, .phone, .text("1"))
        let answer = try worker.exchange()
        #expect(answer.outcomes?.settledCounter == worker.nextCounter)
        #expect(try hub.head == head + 1)
        let last = try #require(try hub.admitted().last)
        #expect(last.dot.counter == worker.nextCounter - 1)
    }

    @Test("a batch with nothing admitted names no first sequence and moves no head")
    func allRefused() throws {
        worker.edit(need, .urgency, .integer(7))
        let head = try hub.head
        let answer = try worker.exchange()
        #expect(answer.outcomes?.firstSequence == 0)
        #expect(try hub.head == head)
        #expect(answer.page?.records == [])
        worker.edit(need, .urgency, .integer(1))
        try worker.sync()
        #expect(worker.state == (try hub.state(within: worker.scope)))
    }

    @Test("changes and notes on a record whose creation was refused are refused too")
    func depends() throws {
        let refused = worker.addNeed("", grid: "g1")
        worker.edit(refused, .phone, .text("1"))
        worker.addNote(on: refused)
        try worker.sync()
        #expect(
            worker.refusals.map(\.code) == [
                RejectionCode.invalid.rawValue, RejectionCode.depends.rawValue,
                RejectionCode.depends.rawValue,
            ])
        // Also with a later sync.
        worker.edit(refused, .phone, .text("2"))
        try worker.sync()
        #expect(worker.refusals.last?.code == RejectionCode.depends.rawValue)
    }

    @Test("a refused creation can be tried again as a new change, and what depends follows")
    func retryOfCreation() throws {
        let refused = worker.addNeed("缺路灯", grid: "g9")
        try worker.sync()
        #expect(worker.refusals.map(\.code) == [RejectionCode.unknownGrid.rawValue])
        worker.write(
            refused, creating: Kind.need.rawValue,
            [set(.text, .text("缺路灯")), set(.grid, .text("g1"))])
        worker.edit(refused, .phone, .text("1"))
        try worker.sync()
        #expect(worker.refusals.count == 1)
        #expect(try hub.register(.phone, of: refused).winner != nil)
    }

    // MARK: Codes, each at least once

    @Test(
        "a value that its field cannot hold is invalid",
        arguments: [
            (NeedField.text, nil), (.grid, nil), (.text, []), (.text, [0xFF, 0xFE]),
            (.text, Array(repeating: 0x61, count: 8_193)), (.urgency, FieldValue.integer(0).bytes),
            (.urgency, FieldValue.integer(4).bytes), (.urgency, []),
            (.location, FieldValue.location(latitude: 90_000_001, longitude: 0).bytes),
            (.phone, Array(repeating: 0x31, count: 300)), (.rating, [1, 9]),
        ] as [(NeedField, [UInt8]?)])
    func invalid(field: NeedField, value: [UInt8]?) throws {
        worker.write(need, [Change(field: field.rawValue, value: value)])
        try expectRefusal(of: worker, .invalid, field: field)
    }

    @Test("a need without its text or its grid is invalid", arguments: [NeedField.text, .grid])
    func missing(field: NeedField) throws {
        let all = [set(.text, .text("缺路灯")), set(.grid, .text("g1"))]
        worker.write(
            worker.newID(), creating: Kind.need.rawValue,
            all.filter { $0.field != field.rawValue })
        try expectRefusal(of: worker, .invalid, field: field)
    }

    @Test("a decline without a reason is invalid")
    func declineWithoutReason() throws {
        let order = office.dispatch(need, to: "A")
        try office.sync()
        try team.sync()
        team.answer(need, order, .declined)
        try expectRefusal(of: team, .invalid, field: .answer)
    }

    @Test("a record cannot grow beyond what a page can hold")
    func fullRecord() throws {
        for field in 1_000..<1_040 as Range<UInt32> {
            worker.write(
                need,
                [Change(field: field, value: Array(repeating: 1, count: Limits.valueBytesMax))])
        }
        try worker.sync()
        let refused = worker.refusals
        #expect(!refused.isEmpty)
        #expect(refused.allSatisfy { $0.code == RejectionCode.invalid.rawValue })
        let record = try #require(try hub.record(need))
        #expect(record.state.size <= LedgerLimits.recordBytesMax)
        #expect(worker.state == (try hub.state(within: worker.scope)))
    }

    @Test("a note stays with its need")
    func movedNote() throws {
        let second = worker.addNeed()
        let note = worker.addNote(on: need)
        try worker.sync()
        worker.write(
            note,
            [Change(field: NoteField.need.rawValue, value: FieldValue.record(second).bytes)])
        try worker.sync()
        #expect(worker.refusals.map(\.code) == [RejectionCode.invalid.rawValue])
        #expect(worker.refusals.map(\.field) == [NoteField.need.rawValue])
    }

    @Test("an unknown kind waits for an upgrade, and what depends on it too")
    func upgrade() throws {
        let id = worker.newID()
        worker.write(id, creating: 77, [Change(field: 1, value: [1])])
        try expectRefusal(of: worker, .upgrade)
        worker.write(id, [Change(field: 1, value: [2])])
        try worker.sync()
        #expect(worker.refusals.last?.code == RejectionCode.depends.rawValue)
    }

    @Test("a worker cannot dispatch")
    func workerDispatches() throws {
        worker.dispatch(need, to: "A")
        try expectRefusal(of: worker, .role, field: .dispatch)
    }

    @Test("a worker cannot answer for a team")
    func workerAnswers() throws {
        worker.answer(need, 1, .accepted)
        try expectRefusal(of: worker, .role, field: .answer)
    }

    @Test("a team cannot record a need")
    func teamRecords() throws {
        team.addNeed()
        try expectRefusal(of: team, .role)
    }

    @Test(
        "a team cannot write a need's other fields",
        arguments: NeedField.allCases.filter { $0 != .answer })
    func teamEdits(field: NeedField) throws {
        office.dispatch(need, to: "A")
        try office.sync()
        try team.sync()
        team.write(need, [Change(field: field.rawValue, value: [1])])
        try expectRefusal(of: team, .role, field: field)
    }

    @Test("reference data is the operator's", arguments: [Kind.territory, .team, .category])
    func referenceData(kind: Kind) throws {
        office.write(
            office.newID(), creating: kind.rawValue, [Change(field: 1, value: [0x61])])
        try expectRefusal(of: office, .role)
        let known = try #require(try hub.records().first { $0.kind == kind.rawValue })
        office.write(known.id, [Change(field: 2, value: [0x61])])
        try office.sync()
        #expect(office.refusals.last?.code == RejectionCode.role.rawValue)
    }

    @Test("a change of a record that was never there names no record")
    func unknownRecord() throws {
        worker.edit(worker.newID(), .phone, .text("1"))
        try expectRefusal(of: worker, .unknownRecord)
    }

    @Test("a note on a need that was never there names no record")
    func noteOnNothing() throws {
        worker.addNote(on: worker.newID())
        try worker.sync()
        #expect(worker.refusals.map(\.code) == [RejectionCode.unknownRecord.rawValue])
    }

    @Test("a note on a note is not a note on a need")
    func noteOnNote() throws {
        let note = worker.addNote(on: need)
        worker.addNote(on: note)
        try worker.sync()
        #expect(worker.refusals.map(\.code) == [RejectionCode.unknownRecord.rawValue])
    }

    @Test("unknown grids are named", arguments: ["g9", "v1", "b", "🗺"])
    func unknownGrid(code: String) throws {
        worker.edit(need, .grid, .text(code))
        try expectRefusal(of: worker, .unknownGrid, field: .grid)
    }

    @Test("unknown categories are named")
    func unknownCategory() throws {
        worker.edit(need, .category, .text("roads"))
        try expectRefusal(of: worker, .unknownCategory, field: .category)
    }

    @Test("unknown teams are named")
    func unknownTeam() throws {
        office.dispatch(need, to: "Z")
        try expectRefusal(of: office, .unknownTeam, field: .dispatch)
    }

    @Test("a grade before there was an order is too early")
    func gradeWithoutOrder() throws {
        worker.rate(need, 1, grade: 5)
        try expectRefusal(of: worker, .notFinished, field: .rating)
    }

    @Test("a grade before the finish is too early, and counts after it")
    func gradeBeforeFinish() throws {
        let order = office.dispatch(need, to: "A")
        try office.sync()
        try team.sync()
        team.answer(need, order, .started)
        try team.sync()
        worker.rate(need, order, grade: 5)
        try expectRefusal(of: worker, .notFinished, field: .rating)
        team.answer(need, order, .finished, "已修好")
        try team.sync()
        worker.rate(need, order, grade: 5)
        try worker.sync()
        #expect(worker.refusals.count == 1)
        #expect(worker.state[need]?.progress.status == .rated)
    }

    @Test("a record is created once")
    func createdTwice() throws {
        worker.write(
            need, creating: Kind.need.rawValue,
            [set(.text, .text("又")), set(.grid, .text("g1"))])
        try expectRefusal(of: worker, .recordExists)
    }

    @Test("nobody names a record in another replica's name")
    func foreignName() throws {
        let id = RecordID(
            milliseconds: hub.time.now, replica: office.replica, number: 1_000)
        worker.write(
            id, creating: Kind.need.rawValue, [set(.text, .text("借")), set(.grid, .text("g1"))])
        try expectRefusal(of: worker, .recordExists)
    }

    @Test("no refusal was forgotten here")
    func everyCode() {
        // Each is expected by a test above, or in `ScopeTests` and `AlteredLedgerTests`.
        let expected: Set<RejectionCode> = [
            .invalid, .upgrade, .role, .scope, .unknownRecord, .depends, .unknownGrid,
            .unknownCategory, .unknownTeam, .notFinished, .recordExists, .unreadable,
        ]
        #expect(expected == Set(RejectionCode.allCases))
    }

    // MARK: Opaque fields

    @Test("a field that the hub does not know passes through bit by bit")
    func opaqueField() throws {
        let bytes = (0...255).map { UInt8($0) } + [0, 0xFF]
        worker.write(need, [Change(field: 4_000_000_000, value: bytes)])
        worker.write(need, [Change(field: 13, value: [])])
        try worker.sync()
        try office.sync()
        #expect(office.state[need]?.fields[4_000_000_000]?.first?.value == bytes)
        #expect(office.state[need]?.fields[13]?.first?.value == [])
    }

    @Test("unknown fields merge like any other: concurrent values are both kept")
    func opaqueConflict() throws {
        worker.write(need, [Change(field: 500, value: [1])])
        office.write(need, [Change(field: 500, value: [2])])
        try worker.sync()
        try office.sync()
        #expect(try hub.record(need)?.state[500].versions.count == 2)
        #expect(office.state[need]?.isInConflict == true)
    }
}
