import HubLedger
import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

/// Rule 5, and the full clocks of `--history`.
@Suite("History")
struct HistoryTests {
    let hub: TestHub
    let worker: TestDevice
    let other: TestDevice
    let office: TestDevice
    let need: RecordID

    init() throws {
        hub = try TestHub()
        worker = try hub.worker("v1", name: "甲")
        other = try hub.worker("v1", name: "乙")
        office = try hub.office("t1", name: "所")
        try worker.sync()
        need = worker.addNeed("缺路灯")
        try worker.sync()
    }

    private func history() throws -> [HistoryEntry] {
        try hub.ledger.history(of: need, for: office.id)
    }

    @Test("every admitted change stays, in order, with writer, value, stamp and sequence")
    func entries() throws {
        try other.sync()
        try office.sync()
        hub.time.now += 1_000
        other.edit(need, .address, .text("一号"))
        try other.sync()
        hub.time.now += 1_000
        office.edit(need, .address, .text("二号"))
        office.edit(need, .urgency, .integer(9))
        try office.sync()
        try hub.ledger.dispatch(need, team: "A", due: nil)
        let history = try history()
        #expect(history.map(\.writer) == ["甲", "甲", "乙", "所", ""])
        #expect(
            history.map(\.field) == [
                NeedField.text.rawValue, NeedField.grid.rawValue, NeedField.address.rawValue,
                NeedField.address.rawValue, NeedField.dispatch.rawValue,
            ])
        #expect(history[2].value == Array("一号".utf8))
        #expect(history.map(\.isLive) == [true, true, true, true, true])
        #expect(history.map(\.isWinner) == [true, true, false, true, true])
        let admitted = try hub.admitted().filter { $0.record == need }
        #expect(history.map(\.sequence) == admitted.map(\.sequence))
        #expect(history.map(\.stamp.milliseconds) == admitted.map(\.stamp))
        #expect(history.map(\.stamp.dot) == admitted.map(\.dot))
    }

    @Test("what was covered stays in the history and is not live")
    func covered() throws {
        worker.edit(need, .text, .text("缺两盏"))
        try worker.sync()
        let texts = try history().filter { $0.field == NeedField.text.rawValue }
        #expect(texts.map(\.isLive) == [false, true])
        #expect(texts.map(\.isWinner) == [false, true])
    }

    @Test("a full clock holds what its writer had really seen, no more and no less")
    func fullClocks() throws {
        try other.sync()
        try office.sync()
        let baseOfOffice = office.cursor
        // The office has seen the worker's two changes and nothing of the other worker's.
        other.edit(need, .address, .text("一号"))
        try other.sync()
        office.edit(need, .phone, .text("1"))
        try office.sync()
        let phone = try #require(try history().last)
        #expect(
            phone.clock
                == VectorClock(
                    try terms(upTo: baseOfOffice.sequence)
                        + [Dot(worker.replica, 2), Dot(office.replica, 1)]))
        // Having pulled, it has seen all.
        let base = office.cursor
        office.edit(need, .phone, .text("2"))
        try office.sync()
        let second = try #require(try history().last)
        #expect(
            second.clock
                == VectorClock(
                    try terms(upTo: base.sequence)
                        + [
                            Dot(worker.replica, 2), Dot(other.replica, 1),
                            Dot(office.replica, 2),
                        ]))
        #expect(phone.clock.happenedBefore(second.clock))
    }

    /// Of each term the part at or below a sequence: the hub's counter is the sequence.
    private func terms(upTo sequence: UInt64) throws -> [Dot] {
        let entries = try hub.storage.snapshot { try hub.storage.terms() }.entries
        return entries.indices.compactMap { index in
            guard entries[index].first <= sequence else { return nil }
            let end = index + 1 < entries.count ? entries[index + 1].first - 1 : sequence
            return Dot(entries[index].term, min(end, sequence))
        }
    }

    @Test("the hub's changes of earlier terms are in the clocks of those who saw them")
    func earlierTerms() throws {
        try hub.ledger.dispatch(need, team: "A", due: nil)
        let dispatch = try #require(try history().last)
        try hub.restart(seed: 3)
        try worker.sync()
        worker.edit(need, .phone, .text("1"))
        try worker.sync()
        let phone = try #require(try history().last)
        #expect(dispatch.clock.happenedBefore(phone.clock))
        #expect(phone.clock.contains(dispatch.stamp.dot))
    }

    @Test("a base beyond the head claims no more than there was when it came")
    func baseBeyondHead() throws {
        try other.sync()
        other.edit(need, .address, .text("一号"))
        other.waiting[0].base.sequence = 1_000_000
        try other.sync()
        try office.sync()
        office.edit(need, .phone, .text("1"))
        try office.sync()
        let entries = try history()
        let address = try #require(entries.first { $0.field == NeedField.address.rawValue })
        let phone = try #require(entries.first { $0.field == NeedField.phone.rawValue })
        #expect(address.clock[worker.replica] == 2)
        #expect(!address.clock.contains(phone.stamp.dot))
        #expect(address.clock.happenedBefore(phone.clock))
    }

    @Test("after a fork the clock names the replicas that it descends from")
    func forked() throws {
        let copy = worker.clone()
        worker.edit(need, .address, .text("一号"))
        try worker.sync()
        copy.edit(need, .phone, .text("1"))
        try copy.sync()
        let phone = try #require(try history().last { $0.field == NeedField.phone.rawValue })
        #expect(phone.clock[worker.replica] == 2)
        #expect(phone.clock[copy.replica] == 1)
    }

    @Test("a need is found by the beginning or the end of its id")
    func resolve() throws {
        #expect(try hub.ledger.resolve(String(need.digits.prefix(8))) == need)
        #expect(try hub.ledger.resolve(String(need.digits.suffix(6)).uppercased()) == need)
        #expect(try hub.ledger.resolve(need.description) == need)
        worker.addNeed()
        try worker.sync()
        // Both were made in one millisecond.
        #expect(throws: LedgerError.self) {
            try hub.ledger.resolve(String(need.digits.prefix(8)))
        }
        for text in ["", "abc", "xyzw", "0000000000"] {
            #expect(throws: LedgerError.self) { try hub.ledger.resolve(text) }
        }
    }
}
