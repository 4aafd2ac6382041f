import HubLedger
import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

/// Rules 2 and 3: what the ledger makes of the clocks that it is told.
@Suite("Stamps")
struct StampTests {
    let hub: TestHub
    let worker: TestDevice
    let other: TestDevice

    init() throws {
        hub = try TestHub()
        worker = try hub.worker("v1")
        other = try hub.worker("v1", name: "另一网格员")
        try worker.sync()
        try other.sync()
        // Away from the stamps of the reference data, which everyone has seen.
        hub.time.now += 3_600_000
    }

    private func stamp(_ field: NeedField, of need: RecordID) throws -> Int64 {
        try #require(try hub.register(field, of: need).winner).stamp.milliseconds
    }

    private func basis(of need: RecordID) throws -> WriteTimeEstimate.Basis {
        try #require(try hub.admitted().last { $0.record == need }).basis
    }

    @Test("in the boot of the request the time is exact, however wrong the wall clock")
    func elapsed() throws {
        worker.wallError = -40 * 365 * 86_400_000
        let need = worker.addNeed()
        let written = hub.time.now
        hub.time.now += 5 * 86_400_000
        try worker.sync()
        #expect(try stamp(.text, of: need) == written)
        #expect(try basis(of: need) == .elapsed)
    }

    @Test("from an earlier boot the wall clock is corrected by what was measured in that boot")
    func correctedWall() throws {
        worker.wallError = 10 * 365 * 86_400_000
        try worker.sync()
        let need = worker.addNeed()
        let written = hub.time.now
        hub.time.now += 86_400_000
        worker.reboot(8)
        worker.wallError = -3_600_000
        try worker.sync()
        #expect(try stamp(.text, of: need) == written)
        #expect(try basis(of: need) == .correctedWall)
    }

    @Test("the offset of the newest sync in a boot counts")
    func newestOffset() throws {
        worker.wallError = 3_600_000
        try worker.sync()
        worker.wallError = 7_200_000
        try worker.sync()
        let need = worker.addNeed()
        let written = hub.time.now
        hub.time.now += 60_000
        worker.reboot(8)
        try worker.sync()
        #expect(try stamp(.text, of: need) == written)
    }

    @Test("from a boot without a sync there is only the wall clock, and it is flagged")
    func wall() throws {
        worker.reboot(8)
        worker.wallError = -60_000
        let need = worker.addNeed()
        let written = hub.time.now
        hub.time.now += 86_400_000
        worker.reboot(9)
        try worker.sync()
        #expect(try stamp(.text, of: need) == written - 60_000)
        #expect(try basis(of: need) == .wall)
        let history = try hub.ledger.history(of: need, for: worker.id)
        #expect(history.map(\.isTimeUncertain) == [true, true])
    }

    @Test(
        "a device at 1970 or 2038 or anywhere else loses nothing and poisons nobody",
        arguments: [
            -TestHub.start, 2_147_483_648_000 - TestHub.start, .min, .max,
            -TestHub.start - 1, .min / 2, .max / 2,
        ] as [Int64])
    func wildWallClock(error: Int64) throws {
        let base = try stampOfEdit(by: other, "一号")
        worker.wallError = error
        worker.reboot(8)
        let need = worker.addNeed()
        worker.edit(need, .address, .text("二号"))
        worker.reboot(9)
        hub.time.now += 60_000
        worker.addNote(on: need)
        worker.edit(need, .phone, .text("1"))
        try worker.sync()
        #expect(worker.refusals == [])
        for change in try hub.admitted() where change.record == need {
            #expect(change.stamp <= hub.time.now)
        }
        // A second edit that has seen the first is later than it, and the next person's is too.
        hub.time.now += 60_000
        worker.edit(need, .address, .text("三号"))
        try worker.sync()
        try other.sync()
        hub.time.now += 60_000
        other.edit(need, .address, .text("四号"))
        try other.sync()
        #expect(try hub.register(.address, of: need).winner?.value == Array("四号".utf8))
        #expect(try stamp(.address, of: need) <= hub.time.now)
        #expect(base <= hub.time.now)
        #expect(try hub.ledger.check() == [])
    }

    private func stampOfEdit(by device: TestDevice, _ address: String) throws -> Int64 {
        let need = device.addNeed()
        device.edit(need, .address, .text(address))
        try device.sync()
        return try stamp(.address, of: need)
    }

    @Test(
        "not even the ends of time of a device that has seen nothing break the ledger",
        arguments: [.min, .max] as [Int64])
    func endsOfTime(wall: Int64) throws {
        let fresh = try hub.worker("v1", name: "从未同步")
        let need = fresh.addNeed()
        fresh.waiting[0].written = ClockReading(
            wallMilliseconds: wall, boot: 8, elapsedMilliseconds: 0)
        fresh.edit(need, .address, .text("一号"))
        fresh.edit(need, .phone, .text("1"))
        try fresh.sync()
        #expect(fresh.refusals.isEmpty)
        let record = try #require(try hub.record(need))
        #expect(record.createdMilliseconds == min(max(wall, 0), hub.time.now))
        #expect(fresh.state[need] == HeldRecord(record))
        #expect(try hub.ledger.history(of: need, for: fresh.id).count == 4)
        #expect(try hub.ledger.check() == [])
    }

    @Test("what was seen is earlier, even when the device's clock says otherwise")
    func coveringIsLater() throws {
        let need = other.addNeed()
        other.edit(need, .address, .text("一号"))
        try other.sync()
        try worker.sync()
        worker.reboot(8)
        worker.wallError = -365 * 86_400_000
        worker.edit(need, .address, .text("二号"))
        worker.reboot(9)
        try worker.sync()
        let register = try hub.register(.address, of: need)
        #expect(register.versions.count == 1)
        #expect(register.winner?.value == Array("二号".utf8))
    }

    @Test("in one millisecond of the ledger, each write that has seen the last is 1 ms later")
    func successors() throws {
        let need = worker.addNeed()
        try worker.sync()
        for number in 1...5 {
            worker.edit(need, .address, .text("\(number)"))
            try worker.sync()
        }
        let stamps = try hub.admitted().filter { $0.field == NeedField.address.rawValue }
            .map(\.stamp)
        #expect(stamps == (0..<5).map { hub.time.now + $0 })
    }

    @Test("no stamp is later than the ledger's clock but by the successor step")
    func notInTheFuture() throws {
        worker.reboot(8)
        worker.wallError = 365 * 86_400_000
        let need = worker.addNeed()
        worker.reboot(9)
        try worker.sync()
        #expect(try stamp(.text, of: need) == hub.time.now)
    }

    @Test("a ledger whose clock stepped back still gives covering writes later stamps")
    func ledgerStepsBack() throws {
        let before = hub.time.now
        let need = worker.addNeed()
        try worker.sync()
        hub.time.now -= 86_400_000
        worker.bootMilliseconds = hub.time.now - 1_000
        worker.edit(need, .text, .text("缺两盏"))
        try worker.sync()
        let register = try hub.register(.text, of: need)
        #expect(register.versions.count == 1)
        #expect(register.winner?.stamp.milliseconds == before + 1)
    }

    @Test("concurrent writes are won by the later moment, not by the later arrival")
    func laterMomentWins() throws {
        let need = worker.addNeed()
        try worker.sync()
        try other.sync()
        worker.edit(need, .address, .text("早"))
        hub.time.now += 60_000
        other.edit(need, .address, .text("晚"))
        try other.sync()
        hub.time.now += 60_000
        try worker.sync()
        #expect(try hub.register(.address, of: need).winner?.value == Array("晚".utf8))
        #expect(worker.superseded.map(\.fields) == [[NeedField.address.rawValue]])
    }

    @Test("a fork begins after the newest stamp that it shares with what it came from")
    func inheritedStamp() throws {
        let before = hub.time.now
        let need = worker.addNeed()
        try worker.sync()
        let copy = worker.clone()
        hub.time.now += 3_600_000
        worker.edit(need, .address, .text("东"))
        try worker.sync()
        copy.reboot(8)
        copy.wallError = -365 * 86_400_000
        var group = copy.edit(need, .urgency, .integer(1))
        group.base = .origin
        copy.waiting = [group]
        copy.reboot(9)
        try copy.sync()
        // Later than what both copies wrote, but not than what only the other one did.
        #expect(try stamp(.urgency, of: need) == before + 1)
    }
}

/// Rule 10 and §2: the sequence and the terms.
@Suite("Sequence and terms")
struct TermTests {
    let hub: TestHub
    let worker: TestDevice

    init() throws {
        hub = try TestHub()
        worker = try hub.worker("v1")
        try worker.sync()
    }

    private func terms() throws -> [TermLine.Entry] {
        try hub.storage.snapshot { try hub.storage.terms() }.entries
    }

    @Test("a term opens with a process's first device that holds what it has not pulled")
    func firstAdmission() throws {
        let before = try terms().count
        let head = try hub.head
        try hub.restart(seed: 2)
        try worker.sync()
        #expect(try terms().count == before)
        #expect(try hub.head == head)
        worker.addNeed()
        try worker.sync()
        #expect(try terms().count == before + 1)
        #expect(try terms().last?.first == head + 1)
        worker.addNeed()
        try worker.sync()
        #expect(try terms().count == before + 1)
        // Nothing waits, but the hub may have lost what was decided, or what a fork shares.
        try hub.restart(seed: 3)
        var request = worker.request(groups: [])
        request.chain = worker.chain(below: worker.nextCounter)
        _ = try hub.sync(worker, request)
        #expect(try terms().count == before + 2)
        try hub.restart(seed: 4)
        worker.ancestors = [Ancestor(Dot(ReplicaID(truncating: 7), 1), chain: .empty)]
        _ = try hub.sync(worker, worker.request(groups: []))
        #expect(try terms().count == before + 3)
    }

    @Test("no term opens for a request that failed")
    func failedAdmission() throws {
        try hub.ledger.revoke(device: worker.id)
        let before = try terms()
        worker.addNeed()
        #expect(throws: LedgerError.self) { try worker.sync() }
        #expect(try terms() == before)
    }

    @Test("the sequence has no holes over terms, hub's changes and refusals")
    func contiguous() throws {
        let office = try hub.office("b")
        try office.sync()
        for round in 0..<4 as Range<UInt64> {
            let need = worker.addNeed()
            worker.edit(need, .urgency, .integer(9))
            try worker.sync()
            try office.sync()
            office.edit(need, .address, .text("一"))
            try office.sync()
            try hub.ledger.dispatch(need, team: "A", due: nil)
            try hub.restart(seed: 10 + round)
        }
        let sequences = try hub.admitted().map(\.sequence)
        let firsts = try terms().map(\.first)
        #expect((sequences + firsts).sorted() == Array(1...(try hub.head)))
    }

    @Test("a ledger restored from a copy never gives out a position again")
    func restored() throws {
        try hub.ledger.backup(to: hub.scratch.path("copy"))
        worker.addNeed("只在原账本")
        try worker.sync()
        let position = worker.cursor
        let copy = try hub.opening("copy", seed: 5)
        let other = try copy.worker("v1", name: "另一网格员")
        try other.sync()
        other.addNeed("只在副本一")
        other.addNeed("只在副本二")
        try other.sync()
        #expect(other.cursor.sequence >= position.sequence)
        #expect(other.cursor.term != position.term)
        let line = try copy.storage.snapshot { try copy.storage.terms() }
        #expect(!line.contains(position, head: try copy.head))
    }

    @Test("a cursor beyond a restored ledger's line is told the line, and then everything anew")
    func cursorOffLine() throws {
        try hub.ledger.backup(to: hub.scratch.path("copy"))
        worker.addNeed("只在原账本")
        try worker.sync()
        let cursor = worker.cursor
        let copy = try hub.opening("copy", seed: 5)
        let other = try copy.worker("v1", name: "另一网格员")
        try other.sync()
        for _ in 0..<4 { other.addNeed("副本") }
        try other.sync()
        #expect(try copy.head > cursor.sequence)
        var request = worker.request(groups: [])
        let told = try copy.sync(worker, request)
        #expect(told.page == nil && told.outcomes == nil)
        #expect(told.line == (try copy.storage.snapshot { try copy.storage.terms() }).entries)
        request.recovery = SyncRequest.Recovery(
            confirmed: try #require(told.recovered), reached: [cursor], records: [])
        let answer = try copy.sync(worker, request)
        #expect(answer.recovered != nil)
        let records = try #require(answer.page).records
        #expect(
            Set(records.map(\.id)) == Set(try copy.state(within: worker.scope).keys))
        #expect(records.allSatisfy { $0.createdMilliseconds != nil })
    }

    @Test("a cursor that the restored ledger still shares goes on from there")
    func cursorOnLine() throws {
        try hub.ledger.backup(to: hub.scratch.path("copy"))
        let copy = try hub.opening("copy", seed: 5)
        let page = try #require(try copy.sync(worker, worker.request()).page)
        #expect(page.records == [])
        #expect(page.cursor != nil)
    }

    @Test("a pull under way at a ledger that is then restored starts anew")
    func resumeOffLine() throws {
        try hub.ledger.backup(to: hub.scratch.path("copy"))
        let office = try hub.office("b")
        try office.sync()
        for number in 0..<6 { office.addNeed("原账本 \(number)") }
        try office.sync()
        let late = worker.clone()
        for _ in 0..<3 { try late.exchange(pageBytes: 1) }
        #expect(late.resume != [])
        // The copy goes its own way beyond the place where the pull stands.
        let copy = try hub.opening("copy", seed: 5)
        let other = try copy.office("b", name: "另一中心")
        try other.sync()
        for number in 0..<9 { other.addNeed("副本 \(number)") }
        try other.sync()
        #expect(try copy.head > (try hub.head))
        let request = late.request(groups: [], pageBytes: 1)
        let answer = try copy.sync(late, request)
        #expect(answer.page?.restart == true)
    }

    @Test("two processes on one ledger share its sequence")
    func twoProcesses() throws {
        let second = try hub.secondProcess(seed: 77)
        let need = worker.addNeed()
        try worker.sync()
        try second.dispatch(need, team: "A", due: nil)
        worker.edit(need, .address, .text("一"))
        try worker.sync()
        _ = try second.importTable(.categories, csv: "code,name\nroads,道路\n")
        try hub.ledger.dispatch(need, team: "B", due: nil)
        try worker.sync()
        let firsts = try terms().map(\.first)
        let sequences = try hub.admitted().map(\.sequence)
        #expect((sequences + firsts).sorted() == Array(1...(try hub.head)))
        #expect(worker.state == (try hub.state(within: worker.scope)))
        #expect(try hub.ledger.check() == [])
    }
}
