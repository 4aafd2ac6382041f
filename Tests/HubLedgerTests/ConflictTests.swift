import HubLedger
import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

/// Rules 4 and 8.
@Suite("Conflicts")
struct ConflictTests {
    let hub: TestHub
    let worker: TestDevice
    let other: TestDevice
    let office: TestDevice
    let need: RecordID

    init() throws {
        hub = try TestHub()
        worker = try hub.worker("v1", name: "甲")
        other = try hub.worker("v1", name: "乙")
        office = try hub.office("t1")
        try worker.sync()
        need = worker.addNeed()
        try worker.sync()
        try other.sync()
        try office.sync()
    }

    private func writeConcurrently(_ first: String, _ second: String) throws {
        hub.time.now += 60_000
        worker.edit(need, .address, .text(first))
        hub.time.now += 60_000
        other.edit(need, .address, .text(second))
        try worker.sync()
        try other.sync()
        try worker.sync()
        try office.sync()
    }

    @Test("concurrent different values are listed with all versions, the shown one first")
    func listed() throws {
        try writeConcurrently("一号", "二号")
        let conflict = try #require(try hub.ledger.conflicts().first)
        #expect(conflict.record == need)
        #expect(conflict.field == .address)
        #expect(conflict.versions.map(\.writer) == ["乙", "甲"])
        #expect(conflict.versions.map(\.value) == ["二号", "一号"].map { Array($0.utf8) })
        #expect(conflict.versions[0].milliseconds == conflict.versions[1].milliseconds + 60_000)
        #expect(try hub.ledger.needs().first?.conflictingFields == [.address])
        #expect(try hub.ledger.figures().openConflicts == 1)
    }

    @Test("everyone who holds the record sees all versions, the office too")
    func shownToAll() throws {
        try writeConcurrently("一号", "二号")
        for device in [worker, other, office] {
            let versions = device.state[need]?.fields[NeedField.address.rawValue]
            #expect(versions?.map(\.value) == ["二号", "一号"].map { Array($0.utf8) })
        }
    }

    @Test("concurrent equal values are kept and are no conflict")
    func equalValues() throws {
        try writeConcurrently("一号", "一号")
        #expect(try hub.register(.address, of: need).versions.count == 2)
        #expect(try hub.ledger.conflicts().isEmpty)
    }

    @Test("concurrent writes of different fields are no conflict")
    func differentFields() throws {
        worker.edit(need, .address, .text("一号"))
        other.edit(need, .phone, .text("2"))
        try worker.sync()
        try other.sync()
        #expect(try hub.ledger.conflicts().isEmpty)
    }

    @Test("settling closes it everywhere, also with the value that is shown already")
    func settle() throws {
        try writeConcurrently("一号", "二号")
        office.edit(need, .address, .text("二号"))
        try office.sync()
        try worker.sync()
        #expect(try hub.ledger.conflicts().isEmpty)
        #expect(try hub.ledger.figures().openConflicts == 0)
        #expect(worker.state[need]?.isInConflict == false)
        #expect(worker.state[need]?.winner(.address) == .text("二号"))
    }

    @Test("a settlement that has not seen a third version leaves the conflict open")
    func settleTooEarly() throws {
        let third = try hub.worker("v1", name: "丙")
        try third.sync()
        try writeConcurrently("一号", "二号")
        third.edit(need, .address, .text("三号"))
        office.edit(need, .address, .text("一号"))
        try office.sync()
        try third.sync()
        #expect(try hub.register(.address, of: need).versions.count == 2)
        #expect(try hub.ledger.conflicts().count == 1)
    }

    @Test("two settlements at once are a conflict themselves only if they differ")
    func settledTwice() throws {
        try writeConcurrently("一号", "二号")
        office.edit(need, .address, .text("一号"))
        worker.edit(need, .address, .text("一号"))
        try office.sync()
        try worker.sync()
        #expect(try hub.ledger.conflicts().isEmpty)
    }

    @Test("a cleared field conflicts with a value")
    func cleared() throws {
        worker.edit(need, .address, .text("一号"))
        try worker.sync()
        try other.sync()
        worker.edit(need, .address, nil)
        other.edit(need, .address, .text("二号"))
        try worker.sync()
        try other.sync()
        let conflict = try #require(try hub.ledger.conflicts().first)
        #expect(Set(conflict.versions.map(\.value)) == [nil, Array("二号".utf8)])
    }

    @Test("a late edit that the withdrawal had not seen opens a conflict on it")
    func contestedWithdrawal() throws {
        other.edit(need, .phone, .text("2"))
        worker.edit(need, .withdrawal, .withdrawal(reason: "已解决"))
        try worker.sync()
        #expect(try hub.ledger.conflicts().isEmpty)
        try other.sync()
        try worker.sync()
        let conflict = try #require(try hub.ledger.conflicts().first)
        #expect(conflict.field == .withdrawal)
        #expect(conflict.contestedFields == [.phone])
        #expect(worker.state[need]?.contested == [NeedField.phone.rawValue])
        #expect(worker.state[need]?.progress.status == .withdrawn)
    }

    @Test("an edit that has seen the withdrawal contests nothing")
    func editAfterWithdrawal() throws {
        worker.edit(need, .withdrawal, .withdrawal(reason: "已解决"))
        try worker.sync()
        try other.sync()
        other.edit(need, .phone, .text("2"))
        try other.sync()
        #expect(try hub.ledger.conflicts().isEmpty)
    }

    @Test(
        "settling a contested withdrawal closes it, whichever way",
        arguments: [nil, "已解决"] as [String?])
    func settleWithdrawal(reason: String?) throws {
        other.edit(need, .phone, .text("2"))
        worker.edit(need, .withdrawal, .withdrawal(reason: "已解决"))
        try worker.sync()
        try other.sync()
        try office.sync()
        #expect(try hub.ledger.conflicts().count == 1)
        office.edit(need, .withdrawal, reason.map { .withdrawal(reason: $0) })
        try office.sync()
        try worker.sync()
        #expect(try hub.ledger.conflicts().isEmpty)
        #expect(worker.state[need]?.contested == [])
        let isWithdrawn = worker.state[need]?.progress.status == .withdrawn
        #expect(isWithdrawn == (reason != nil))
    }

    @Test("undoing a withdrawal shows the need again")
    func undo() throws {
        worker.edit(need, .withdrawal, .withdrawal(reason: "已解决"))
        try worker.sync()
        worker.edit(need, .withdrawal, nil)
        try worker.sync()
        #expect(worker.state[need]?.progress.status == .recorded)
        #expect(try hub.ledger.conflicts().isEmpty)
    }

    @Test("latitude and longitude are one register and cannot be torn apart")
    func location() throws {
        worker.edit(need, .location, .location(latitude: 1, longitude: 2))
        other.edit(need, .location, .location(latitude: 3, longitude: 4))
        try worker.sync()
        try other.sync()
        let values = try hub.register(.location, of: need).versions.map {
            $0.value.flatMap { FieldValue(.location, bytes: $0) }
        }
        #expect(
            Set(values) == [
                .location(latitude: 1, longitude: 2), .location(latitude: 3, longitude: 4),
            ])
    }

    @Test("a status is computed: two orders at once never show a team that was not sent")
    func twoOrders() throws {
        let banner = try hub.office("b")
        try banner.sync()
        office.dispatch(need, to: "A", order: 11)
        hub.time.now += 1_000
        banner.dispatch(need, to: "B", order: 12)
        try office.sync()
        try banner.sync()
        let team = try hub.team("A")
        try team.sync()
        #expect(team.state[need] == nil)
        #expect(try hub.record(need)?.team == "B")
        #expect(try hub.ledger.needs().first?.progress.dispatch?.team == "B")
        #expect(try hub.ledger.conflicts().map(\.field) == [.dispatch])
    }
}
