import HubLedger
import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

/// Rule 10: a batch is admitted once, whatever the network and the journals do.
@Suite("Admission of batches")
struct LedgerSyncTests {
    let hub: TestHub
    let worker: TestDevice

    init() throws {
        hub = try TestHub()
        worker = try hub.worker("v1")
    }

    @Test("the first pull brings the reference data, the assignment and a cursor at the head")
    func firstPull() throws {
        let answer = try worker.exchange()
        let page = try #require(answer.page)
        #expect(page.records.count == 10 + 3 + 2)
        #expect(page.cursor?.sequence == (try hub.head))
        #expect(answer.outcomes == nil)
        let assignment = try #require(answer.assignment)
        #expect(assignment.role == .worker)
        #expect(assignment.territory == "v1")
        #expect(assignment.offsetMinutes == 480)
        #expect(
            assignment.scope.buckets == [
                .reference, .recordedBy(device: worker.id), .grid("g1"), .grid("g2"),
            ])
    }

    @Test("a sync after a complete one brings nothing")
    func nothingNew() throws {
        try worker.sync()
        let answer = try worker.exchange()
        #expect(answer.page?.records == [])
        #expect(answer.page?.departed == [])
        #expect(answer.assignment == nil)
    }

    @Test("a need is admitted in order, and stands in the ledger as it was sent")
    func admission() throws {
        try worker.sync()
        let head = try hub.head
        let need = worker.addNeed("院里的下水道堵了", grid: "g2", category: "water")
        let answer = try worker.exchange()
        // One more for the term that this start of the ledger opens.
        #expect(answer.outcomes?.firstSequence == head + 2)
        #expect(answer.outcomes?.settledCounter == 4)
        #expect(answer.outcomes?.refusals == [])
        #expect(try hub.head == head + 4)
        let record = try #require(try hub.record(need))
        #expect(record.grid == "g2")
        #expect(record.device == worker.id)
        #expect(
            record.state[NeedField.text.rawValue].winner?.value == Array("院里的下水道堵了".utf8))
        #expect(worker.state[need] == HeldRecord(record))
    }

    @Test("values that were just sent are not sent back")
    func asSent() throws {
        try worker.sync()
        let need = worker.addNeed()
        let page = try #require(try worker.exchange().page)
        let record = try #require(page.records.first { $0.id == need })
        #expect(record.fields.allSatisfy { $0.versions.allSatisfy { $0.value == .asSent } })
    }

    @Test("an identical retry gets identical outcomes and no new sequence")
    func identicalRetry() throws {
        try worker.sync()
        let need = worker.addNeed()
        worker.edit(need, .urgency, .integer(9))  // Refused.
        let request = worker.request()
        let first = try hub.sync(worker, request)
        let head = try hub.head
        let second = try hub.sync(worker, request)
        #expect(first.outcomes?.refusals.count == 1)
        #expect(second.outcomes?.refusals == first.outcomes?.refusals)
        #expect(second.outcomes?.superseded == first.outcomes?.superseded)
        #expect(second.outcomes?.settledCounter == first.outcomes?.settledCounter)
        #expect(second.outcomes?.firstSequence == 0)
        #expect(try hub.head == head)
        #expect(second.page?.records == first.page?.records)
    }

    @Test("a superseded outcome is the same when it is asked for again")
    func supersededRetry() throws {
        let other = try hub.worker("v1", name: "另一网格员")
        try worker.sync()
        let need = worker.addNeed()
        try worker.sync()
        try other.sync()
        worker.edit(need, .address, .text("一号院"))
        hub.time.now += 60_000
        other.edit(need, .address, .text("二号院"))
        try other.sync()
        let request = worker.request()
        let first = try hub.sync(worker, request)
        #expect(
            first.outcomes?.superseded
                == [Outcomes.Superseded(firstCounter: 3, fields: [NeedField.address.rawValue])])
        #expect(try hub.sync(worker, request).outcomes?.superseded == first.outcomes?.superseded)
    }

    @Test("a retry that overlaps, split in other places, admits only what is new")
    func resplitRetry() throws {
        try worker.sync()
        let need = worker.addNeed()
        for number in 1...5 { worker.edit(need, .address, .text("\(number)号")) }
        let groups = worker.waiting
        _ = try hub.sync(worker, worker.request(groups: Array(groups[0..<3])))
        let head = try hub.head
        let answer = try hub.sync(worker, worker.request(groups: Array(groups[1..<5])))
        #expect(answer.outcomes?.settledCounter == groups[4].nextCounter)
        #expect(answer.outcomes?.firstSequence == head + 1)
        #expect(try hub.head == head + 2)
        _ = try hub.sync(worker, worker.request(groups: groups))
        #expect(try hub.head == head + 3)
        let address = try hub.register(.address, of: need)
        #expect(address.versions.count == 1)
        #expect(address.winner?.value == Array("5号".utf8))
    }

    @Test("a lost answer changes nothing: the next try settles everything")
    func lostAnswer() throws {
        try worker.sync()
        let need = worker.addNeed()
        try worker.exchange(isLost: true)
        let head = try hub.head
        worker.edit(need, .address, .text("三号院"))
        try worker.sync()
        #expect(try hub.head == head + 1)
        #expect(worker.waiting == [])
        #expect(worker.state == (try hub.state(within: worker.scope)))
    }

    @Test("other content at counters that were seen forks there, with what is known settled")
    func forkAtCounter() throws {
        try worker.sync()
        let need = worker.addNeed()
        let copy = worker.clone()
        worker.edit(need, .address, .text("东头"))
        try worker.sync()
        hub.time.now += 5_000
        copy.edit(need, .address, .text("西头"))
        let answer = try copy.exchange()
        #expect(answer.outcomes?.forkCounter == 3)
        #expect(answer.outcomes?.settledCounter == 3)
        #expect(copy.waiting.count == 1)
        #expect(copy.waiting.first?.firstCounter == 1)
        #expect(copy.ancestors == [worker.ancestor(upTo: 2)])
    }

    @Test("after a fork the known part is covered and the other copy's part is concurrent")
    func forkCausality() throws {
        try worker.sync()
        let need = worker.addNeed()
        let copy = worker.clone()
        worker.edit(need, .address, .text("东头"))
        try worker.sync()
        copy.edit(need, .address, .text("西头"))
        copy.edit(need, .text, .text("缺路灯两盏"))
        try copy.sync()
        // Both copies had seen the text as it was first written; neither saw the other's address.
        let text = try hub.register(.text, of: need)
        #expect(text.versions.count == 1)
        let address = try hub.register(.address, of: need)
        #expect(address.versions.count == 2)
        #expect(address.isInConflict)
    }

    @Test("a device behind the hub was restored from an older copy, and forks")
    func deviceBehind() throws {
        try worker.sync()
        let need = worker.addNeed()
        try worker.sync()
        let copy = worker.clone()
        worker.edit(need, .address, .text("东头"))
        try worker.sync()
        worker.restore(copy)
        let answer = try worker.exchange()
        #expect(answer.outcomes?.forkCounter == 3)
        #expect(worker.nextCounter == 1)
        worker.edit(need, .address, .text("西头"))
        try worker.sync()
        // Restored or not, it pulled what it had written before it wrote again.
        #expect(try hub.register(.address, of: need).versions.count == 1)
    }

    @Test("a forked replica goes on, and its next batch is admitted with its ancestors")
    func forkGoesOn() throws {
        try worker.sync()
        let need = worker.addNeed()
        let copy = worker.clone()
        worker.edit(need, .address, .text("东头"))
        try worker.sync()
        copy.addNeed("水管冻裂", category: "water")
        try copy.sync()
        // A base from before the fork: only the ancestors say that the need was seen.
        copy.edit(need, .urgency, .integer(2))
        var group = copy.waiting[0]
        group.base = .origin
        group.changes = [set(.text, .text("缺三盏路灯"))]
        copy.waiting = [group]
        try copy.sync()
        #expect(try hub.register(.text, of: need).versions.count == 1)
    }

    @Test("a fork of a fork keeps the ancestors of which the ledger has all that is shared")
    func forkOfFork() throws {
        try worker.sync()
        let unknown = ReplicaID(truncating: 0xBEEF)
        worker.ancestors = [Ancestor(Dot(unknown, 4), chain: .empty)]
        let need = worker.addNeed()
        let copy = worker.clone()
        try worker.sync()
        copy.waiting.removeAll()
        (copy.replica, copy.nextCounter) = (worker.replica, 1)
        copy.edit(need, .address, .text("西头"))
        try copy.sync()
        #expect(copy.replica != worker.replica)
        let row = try hub.storage.snapshot { try hub.storage.replica(copy.replica) }
        #expect(row?.ancestors == [])
        let third = copy.clone()
        third.replica = ReplicaID(truncating: 0xF00D)
        third.ancestors = [
            Ancestor(Dot(unknown, 4), chain: .empty), worker.ancestor(upTo: 2),
        ]
        third.nextCounter = 1
        third.waiting = []
        third.edit(need, .urgency, .integer(2))
        try third.sync()
        let thirdRow = try hub.storage.snapshot { try hub.storage.replica(third.replica) }
        #expect(thirdRow?.ancestors == [Dot(worker.replica, 2)])
    }

    @Test("a replica that was another's ancestor keeps its own ancestors once it writes")
    func ancestorThatWrites() throws {
        try worker.sync()
        let need = worker.addNeed()
        try worker.sync()
        let late = ReplicaID(truncating: 0xBEEF)
        let forked = worker.clone()
        forked.replica = ReplicaID(truncating: 0xF00D)
        (forked.nextCounter, forked.ancestors) = (
            1, [Ancestor(Dot(late, 1), chain: .empty)]
        )
        forked.edit(need, .urgency, .integer(1))
        try forked.sync()
        let first = worker.clone()
        (first.replica, first.nextCounter, first.nextRecord) = (late, 1, 1)
        first.ancestors = [worker.ancestor(upTo: 2)]
        first.addNeed()
        try first.sync()
        first.addNeed()
        try first.sync()
        let row = try hub.storage.snapshot { try hub.storage.replica(late) }
        #expect(row?.ancestors == [Dot(worker.replica, 2)])
    }

    @Test("nobody can claim another device's replica as an ancestor")
    func foreignAncestor() throws {
        let other = try hub.worker("v1", name: "另一网格员")
        try worker.sync()
        try other.sync()
        let need = worker.addNeed()
        try worker.sync()
        other.ancestors = [worker.ancestor(upTo: 2)]
        other.edit(need, .text, .text("不缺"))
        var group = other.waiting[0]
        group.base = .origin
        other.waiting = [group]
        try other.sync()
        #expect(try hub.register(.text, of: need).versions.count == 2)
    }

    @Test("a gap is answered with the counter that is awaited, and nothing is admitted")
    func gap() throws {
        try worker.sync()
        let need = worker.addNeed()
        worker.edit(need, .address, .text("东头"))
        let answer = try hub.sync(worker, worker.request(groups: [worker.waiting[1]]))
        #expect(answer.outcomes?.expectedCounter == 1)
        #expect(answer.outcomes?.settledCounter == 1)
        #expect(try hub.record(need) == nil)
    }

    @Test("counters that were given out and are not sent are asked for")
    func silentGap() throws {
        try worker.sync()
        worker.addNeed()
        let answer = try hub.sync(worker, worker.request(groups: []))
        #expect(answer.outcomes?.expectedCounter == 1)
    }

    @Test("a gap that the device cannot fill is recorded as lost, and it goes on")
    func heldFrom() throws {
        try worker.sync()
        worker.addNeed()
        let need = worker.addNeed()
        let groups = [worker.waiting[1]]
        let answer = try hub.sync(worker, worker.request(groups: groups, heldFrom: 3))
        #expect(answer.outcomes?.expectedCounter == nil)
        #expect(answer.outcomes?.settledCounter == 5)
        #expect(try hub.record(need) != nil)
        #expect(try hub.ledger.devices().first?.lostChanges == 2)
    }

    @Test("a gap behind something else than what the ledger has is none: the journal forks")
    func gapOfAnotherCopy() throws {
        try worker.sync()
        worker.addNeed()
        let copy = worker.clone()
        try worker.sync()
        copy.waiting = []
        copy.nextCounter = 1
        copy.addNeed("另一份")
        copy.addNeed()
        let last = copy.addNeed()
        let answer = try hub.sync(
            copy, copy.request(groups: [copy.waiting[2]], missingFrom: 3, heldFrom: 5))
        #expect(answer.outcomes?.forkCounter == 1)
        #expect(try hub.record(last) == nil)
        #expect(try hub.ledger.devices().first?.lostChanges == 0)
    }

    @Test("a gap that begins later than what the ledger awaits is none: it was restored since")
    func heldFromLater() throws {
        try worker.sync()
        worker.addNeed()
        worker.addNeed()
        let groups = [worker.waiting[1]]
        let answer = try hub.sync(
            worker, worker.request(groups: groups, missingFrom: 2, heldFrom: 3))
        #expect(answer.outcomes?.expectedCounter == 1)
        #expect(try hub.ledger.devices().first?.lostChanges == 0)
    }

    @Test("a gap is recorded once, however often the device tells of it")
    func heldFromTwice() throws {
        try worker.sync()
        worker.addNeed()
        let need = worker.addNeed()
        let request = worker.request(groups: [worker.waiting[1]], heldFrom: 3)
        _ = try hub.sync(worker, request)
        let head = try hub.head
        let answer = try hub.sync(worker, request)
        #expect(answer.outcomes?.refusals == [])
        #expect(try hub.head == head)
        #expect(try hub.ledger.devices().first?.lostChanges == 2)
        #expect(try hub.record(need) != nil)
    }

    @Test("a device that holds nothing any more tells so with the next counter")
    func heldNothing() throws {
        try worker.sync()
        worker.nextCounter = 8
        let answer = try hub.sync(worker, worker.request(groups: [], heldFrom: 8))
        #expect(answer.outcomes == nil)
        worker.waiting = []
        worker.addNeed()
        try worker.sync()
        #expect(try hub.ledger.devices().first?.lostChanges == 7)
    }

    @Test("a device cannot hold only what it has not written yet")
    func heldFromBeyond() throws {
        try worker.sync()
        worker.addNeed()
        let answer = try hub.sync(
            worker, worker.request(groups: worker.waiting, heldFrom: .max))
        #expect(answer.outcomes?.settledCounter == 3)
        #expect(try hub.ledger.devices().first?.lostChanges == 0)
    }

    @Test("the replica of another device forks from its first group")
    func foreignReplica() throws {
        let other = try hub.worker("v1", name: "另一网格员")
        try worker.sync()
        worker.addNeed()
        try worker.sync()
        try other.sync()
        other.replica = worker.replica
        other.addNeed("水管冻裂")
        let head = try hub.head
        let answer = try other.exchange()
        #expect(answer.outcomes?.forkCounter == 1)
        #expect(try hub.head == head)
    }

    @Test("the hub's own term forks a device that drew it")
    func termAsReplica() throws {
        try worker.sync()
        worker.addNeed()
        worker.replica = try hub.ledger.info().term
        let answer = try worker.exchange()
        #expect(answer.outcomes?.forkCounter == 1)
    }

    @Test("what waits under a journal's old name is admitted after it was enrolled as another")
    func namesOfFormerEnrolment() throws {
        try worker.sync()
        worker.addNeed()
        try worker.sync()
        let need = worker.addNeed("家里暖气不热")
        let code = try hub.ledger.invite(
            role: .worker, territory: "v1", team: nil, name: "王桂英", lifetimeSeconds: 60)
        let answer = try hub.ledger.enroll(EnrollRequest(code: code, replica: worker.replica))
        worker.move(to: answer.assignment.device, token: answer.token)
        worker.fork(from: try #require(answer.forkCounter))
        try worker.sync()
        #expect(worker.refusals == [])
        #expect(try hub.record(need) != nil)
    }

    @Test("a cloned journal's records of one number are both kept")
    func sameRecordNumber() throws {
        try worker.sync()
        worker.addNeed()
        try worker.sync()
        let copy = worker.clone()
        let first = worker.addNeed("水管冻裂")
        try worker.sync()
        hub.time.now += 1
        let second = copy.addNeed("井盖丢失")
        try copy.sync()
        #expect(first.number == second.number)
        #expect(first != second)
        let texts = try [first, second].map { try hub.register(.text, of: $0).winner?.value }
        #expect(texts == ["水管冻裂", "井盖丢失"].map { Array($0.utf8) })
        copy.edit(second, .urgency, .integer(3))
        try copy.sync()
        #expect(try hub.register(.urgency, of: second).winner != nil)
        #expect(try hub.register(.urgency, of: first).winner == nil)
    }

    @Test("two records of one number in one batch are both kept")
    func sameRecordNumberInBatch() throws {
        try worker.sync()
        let first = worker.addNeed("水管冻裂")
        worker.nextRecord = 1
        hub.time.now += 1
        let second = worker.addNeed("井盖丢失")
        try worker.sync()
        let texts = try [first, second].map { try hub.register(.text, of: $0).winner?.value }
        #expect(texts == ["水管冻裂", "井盖丢失"].map { Array($0.utf8) })
    }

    @Test("several requests share a commit, each with its own outcomes and the others' changes")
    func sharedCommit() throws {
        let other = try hub.worker("v1", name: "另一网格员")
        try worker.sync()
        try other.sync()
        let head = try hub.head
        let first = worker.addNeed("缺路灯")
        let second = other.addNeed("水管冻裂")
        let requests = [worker, other].map { ($0, $0.request()) }
        let answers = try hub.ledger.sync(requests.map { ($0.0.id, $0.1) }).answers
        for ((device, request), answer) in zip(requests, answers) {
            try device.absorb(try answer.get(), of: request)
        }
        #expect(try answers[0].get().outcomes?.firstSequence == head + 2)
        #expect(try answers[1].get().outcomes?.firstSequence == head + 4)
        #expect(worker.state[second] == nil)
        #expect(other.state[first] != nil)
        try worker.sync()
        #expect(worker.state == (try hub.state(within: worker.scope)))
        #expect(worker.state[second] != nil)
    }

    @Test("a request that fails does not hurt the others in its commit")
    func failingRequest() throws {
        let revoked = try hub.worker("v1", name: "另一网格员")
        try worker.sync()
        try revoked.sync()
        try hub.ledger.revoke(device: revoked.id)
        revoked.addNeed("水管冻裂")
        let need = worker.addNeed()
        let result = try hub.ledger.sync([
            (revoked.id, revoked.request()), (worker.id, worker.request()),
            (999, worker.request()),
        ])
        #expect(throws: LedgerError.self) { try result.answers[0].get() }
        #expect(try result.answers[1].get().outcomes?.settledCounter == 3)
        #expect(throws: LedgerError.self) { try result.answers[2].get() }
        #expect(result.figures.batches == 1)
        #expect(result.figures.changesApplied == 2)
        #expect(try hub.record(need) != nil)
        #expect(try hub.records().count { $0.kind == Kind.need.rawValue } == 1)
        #expect(try hub.ledger.check() == [])
    }

    @Test("the figures count changes by outcome")
    func figures() throws {
        try worker.sync()
        let need = worker.addNeed()
        worker.edit(need, .urgency, .integer(9))
        let figures = try hub.ledger.sync([(worker.id, worker.request())]).figures
        #expect(figures.changesApplied == 2)
        #expect(figures.changesRejected == 1)
        #expect(figures.changesSuperseded == 0)
    }

    @Test("the list of devices shows the last sync, how far behind, and what was refused")
    func deviceReports() throws {
        try worker.sync()
        hub.time.now += 60_000
        let need = worker.addNeed()
        worker.edit(need, .urgency, .integer(9))
        try worker.sync()
        let office = try hub.office("t1")
        try office.sync()
        office.edit(need, .urgency, .integer(3))
        try office.sync()
        let reports = try hub.ledger.devices()
        #expect(reports[0].lastSyncMilliseconds == hub.time.now)
        #expect(reports[0].behind == 1)
        #expect(reports[0].refusedGroups == 1)
        #expect(reports[1].behind == 0)
        // Kept in memory until the next commit, and not lost with it.
        try office.sync()
        try hub.ledger.flush()
        try hub.restart(seed: 9)
        #expect(try hub.ledger.devices()[1].lastSyncMilliseconds == hub.time.now)
    }

    @Test("a large batch and its retry round-trip through what is stored")
    func largeBatch() throws {
        try worker.sync()
        var generator = SplitMix64(seed: 4)
        // Incompressible, so that its frame is nearly as large as one may be.
        for _ in 0..<128 {
            let bytes = (0..<8_000).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            worker.addNeed("缺路灯", [Change(field: 900, value: bytes)])
        }
        let request = worker.request()
        let first = try hub.sync(worker, request)
        let second = try hub.sync(worker, request)
        #expect(first.outcomes?.settledCounter == worker.nextCounter)
        #expect(second.outcomes?.settledCounter == worker.nextCounter)
        #expect(second.outcomes?.refusals == [])
        #expect(try hub.ledger.check() == [])
    }
}
