import HubLedger
import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

@Suite("Routes and the operator's dispatch")
struct RouteTests {
    let hub: TestHub
    let worker: TestDevice
    let office: TestDevice

    init() throws {
        hub = try TestHub()
        worker = try hub.worker("b")
        office = try hub.office("b")
        try worker.sync()
        try office.sync()
    }

    private func route(_ rows: String) throws {
        _ = try hub.ledger.importTable(
            .routes, csv: "category,territory,team,due_days\n" + rows)
    }

    private func order(_ need: RecordID) throws -> FieldValue.Dispatch? {
        try #require(try hub.record(need)).progress.dispatch
    }

    @Test(
        "the nearest territory above the grid that has a route decides",
        arguments: [("g1", "C"), ("g2", "A"), ("g3", "B"), ("g4", nil)] as [(String, String?)])
    func nearest(grid: String, team: String?) throws {
        try route("light,t1,B,\nlight,v1,A,\nlight,g1,C,\n")
        let need = worker.addNeed(grid: grid, category: "light")
        try worker.sync()
        #expect(try order(need)?.team == team)
        #expect(try hub.record(need)?.team == team)
    }

    @Test("another category has its own routes, and none without a category")
    func byCategory() throws {
        try route("light,b,A,\n")
        let water = worker.addNeed(category: "water")
        let none = worker.addNeed()
        try worker.sync()
        #expect(try order(water) == nil)
        #expect(try order(none) == nil)
    }

    @Test("the due day is counted in the banner's time zone")
    func dueDate() throws {
        try route("light,b,A,3\n")
        let evening = worker.addNeed(category: "light")
        try worker.sync()
        // 23:06 on the 15th in the banner, and then a minute to midnight plus two.
        #expect(try order(evening)?.due?.description == "2025-06-18")
        hub.time.now += 3_600_000
        let afterMidnight = worker.addNeed(category: "light")
        try worker.sync()
        #expect(try order(afterMidnight)?.due?.description == "2025-06-19")
    }

    @Test("a route without days gives no due day")
    func noDueDate() throws {
        try route("light,b,A,\n")
        let need = worker.addNeed(category: "light")
        try worker.sync()
        #expect(try order(need)?.due == nil)
    }

    @Test("the order comes back with the answer to the need")
    func inTheSameAnswer() throws {
        try route("light,b,A,\n")
        let need = worker.addNeed(category: "light")
        try worker.exchange()
        #expect(worker.state[need]?.progress.dispatch?.team == "A")
        #expect(worker.state == (try hub.state(within: worker.scope)))
    }

    @Test("a need is routed once, on admission: later edits and imports route nothing")
    func once() throws {
        let early = worker.addNeed(category: "light")
        try worker.sync()
        try route("light,b,A,\nwater,b,B,\n")
        worker.edit(early, .urgency, .integer(2))
        let late = worker.addNeed(category: "light")
        try worker.sync()
        worker.edit(late, .category, .text("water"))
        try worker.sync()
        #expect(try order(early) == nil)
        #expect(try order(late)?.team == "A")
        #expect(try hub.register(.dispatch, of: late).versions.count == 1)
        let orders = try hub.admitted().filter { $0.field == NeedField.dispatch.rawValue }
        #expect(orders.count == 1)
    }

    @Test("a retry routes nothing again")
    func retry() throws {
        try route("light,b,A,\n")
        worker.addNeed(category: "light")
        let request = worker.request()
        _ = try hub.sync(worker, request)
        let head = try hub.head
        _ = try hub.sync(worker, request)
        #expect(try hub.head == head)
    }

    @Test("a need that is dispatched or withdrawn already is left alone")
    func onlyUndispatched() throws {
        try route("light,b,A,\n")
        let dispatched = office.addNeed(category: "light")
        office.dispatch(dispatched, to: "B")
        let withdrawn = office.addNeed(category: "light")
        office.edit(withdrawn, .withdrawal, .withdrawal(reason: "记错了"))
        try office.sync()
        #expect(try order(dispatched)?.team == "B")
        #expect(try hub.register(.dispatch, of: dispatched).versions.count == 1)
        #expect(try order(withdrawn) == nil)
    }

    @Test("the hub's order covers what it routes, so it opens no conflict")
    func covers() throws {
        try route("light,b,A,\n")
        let need = worker.addNeed(category: "light")
        try worker.sync()
        try office.sync()
        office.dispatch(need, to: "B")
        try office.sync()
        #expect(try hub.register(.dispatch, of: need).versions.count == 1)
        #expect(try hub.ledger.conflicts().isEmpty)
    }

    @Test("each order has a number of its own")
    func orderNumbers() throws {
        try route("light,b,A,\n")
        let needs = (0..<20).map { _ in worker.addNeed(category: "light") }
        try worker.sync()
        let numbers = Set(try needs.compactMap { try order($0)?.order })
        #expect(numbers.count == 20)
    }

    @Test("the operator dispatches, and again to another team")
    func operatorDispatch() throws {
        let need = worker.addNeed()
        try worker.sync()
        try hub.ledger.dispatch(need, team: "A", due: CivilDate("2025-07-01"))
        #expect(try order(need)?.due?.description == "2025-07-01")
        let first = try order(need)?.order
        try hub.ledger.dispatch(need, team: "B", due: nil)
        #expect(try order(need)?.team == "B")
        #expect(try order(need)?.order != first)
        #expect(try hub.ledger.conflicts().isEmpty)
        try worker.sync()
        #expect(worker.state[need]?.progress.dispatch?.team == "B")
    }

    @Test("the operator is told what cannot be dispatched, and nothing is stored")
    func operatorFaults() throws {
        let need = worker.addNeed()
        let withdrawn = worker.addNeed()
        worker.edit(withdrawn, .withdrawal, .withdrawal(reason: "记错了"))
        let note = worker.addNote(on: need)
        try worker.sync()
        let head = try hub.head
        #expect(throws: LedgerError.self) {
            try hub.ledger.dispatch(need, team: "Z", due: nil)
        }
        #expect(throws: LedgerError.self) {
            try hub.ledger.dispatch(withdrawn, team: "A", due: nil)
        }
        #expect(throws: LedgerError.self) {
            try hub.ledger.dispatch(note, team: "A", due: nil)
        }
        #expect(try hub.head == head)
    }

    @Test("an overdue need shows the day after its due day, by the banner's calendar")
    func overdue() throws {
        let need = worker.addNeed()
        try worker.sync()
        try hub.ledger.dispatch(need, team: "A", due: CivilDate("2025-06-15"))
        #expect(try hub.ledger.needs().first?.isOverdue == false)
        hub.time.now += 3_600_000
        #expect(try hub.ledger.needs().first?.isOverdue == true)
    }
}
