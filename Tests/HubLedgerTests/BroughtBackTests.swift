import NeedModel
import SQLiteStore
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

/// What devices bring back to a ledger that was restored from a backup. SPEC §6, a restored hub.
@Suite struct BroughtBackTests {
    let hub: TestHub
    let worker: TestDevice
    let office: TestDevice

    init() throws {
        hub = try TestHub.withCrew(seed: 61)
        worker = try hub.worker("v1")
        office = try hub.office("b")
        try worker.sync()
        try office.sync()
    }

    /// One need that all hold, and a backup that has it.
    private func needInBackup() throws -> RecordID {
        let need = worker.addNeed("旧")
        try worker.sync()
        try office.sync()
        try hub.ledger.backup(to: hub.scratch.path("copy"))
        return need
    }

    /// One need before the backup, edited after it, and one after it.
    private func loseWork() throws -> (old: RecordID, new: RecordID, copy: TestHub) {
        let old = try needInBackup()
        worker.edit(old, .address, .text("一"))
        let new = worker.addNeed("新")
        try worker.sync()
        try office.sync()
        office.edit(old, .address, .text("二"))
        office.dispatch(new, to: "A")
        try office.sync()
        return (old, new, try hub.opening("copy", seed: 5))
    }

    @Test("live versions come back with dot and stamp, and cover what they had covered")
    func comesBack() throws {
        let (old, new, copy) = try loseWork()
        #expect(try copy.record(new) == nil)
        try office.bring(to: copy)
        for (id, field) in [
            (old, NeedField.address), (new, .text), (new, .grid), (new, .dispatch),
        ] {
            let before = try hub.register(field, of: id).versions.map(\.stamp)
            #expect(try copy.register(field, of: id).versions.map(\.stamp) == before)
        }
        #expect(try copy.register(.text, of: old).versions.count == 1)
        #expect(try copy.record(new)?.placement == hub.record(new)?.placement)
    }

    /// Two devices sync, and the backup was made before that, or after the first of them.
    private func backUp(before devices: [TestDevice], keepsFirst: Bool) throws {
        if !keepsFirst { try hub.ledger.backup(to: hub.scratch.path("copy")) }
        try devices[0].sync()
        if keepsFirst { try hub.ledger.backup(to: hub.scratch.path("copy")) }
        try devices[1].sync()
    }

    @Test(
        "a delete and an edit of another field that had not seen each other do not so afterwards",
        arguments: [true, false], [true, false])
    func contested(isEditFirst: Bool, keepsFirst: Bool) throws {
        let need = worker.addNeed("旧")
        try worker.sync()
        try office.sync()
        worker.edit(need, .address, .text("一"))
        office.edit(need, .withdrawal, .text("重复"))
        let devices = isEditFirst ? [worker, office] : [office, worker]
        try backUp(before: devices, keepsFirst: keepsFirst)
        try devices[0].sync()
        let contested = [NeedField.address.rawValue]
        #expect(devices.allSatisfy { $0.state[need]?.contested == contested })
        // What came between the two is seen by the later one, and contests nothing.
        let copy = try hub.opening("copy", seed: 5)
        for device in devices { try device.bring(to: copy) }
        #expect(try copy.record(need)?.contestedFields == contested)
    }

    @Test("a delete that had seen all does so afterwards")
    func uncontested() throws {
        let need = worker.addNeed("旧")
        try worker.sync()
        try hub.ledger.backup(to: hub.scratch.path("copy"))
        worker.edit(need, .address, .text("一"))
        try worker.sync()
        try office.sync()
        office.edit(need, .withdrawal, .text("重复"))
        office.edit(need, .phone, .text("1"))
        try office.sync()
        try worker.sync()
        let copy = try hub.opening("copy", seed: 5)
        try worker.bring(to: copy)
        #expect(try copy.record(need)?.isWithdrawn == true)
        #expect(try copy.record(need)?.isInConflict == false)
    }

    @Test(
        "an answer that came too late for an order does so afterwards",
        arguments: [true, false], [true, false])
    func late(isAnswerFirst: Bool, keepsFirst: Bool) throws {
        let team = try hub.team("A")
        let need = worker.addNeed("旧")
        try worker.sync()
        try office.sync()
        let order = office.dispatch(need, to: "A")
        try office.sync()
        try team.sync()
        team.answer(need, order, .finished, "已修")
        office.dispatch(need, to: "B")
        let devices = isAnswerFirst ? [team, office] : [office, team]
        try backUp(before: devices, keepsFirst: keepsFirst)
        try office.sync()
        let copy = try hub.opening("copy", seed: 5)
        try office.bring(to: copy)
        let before = try #require(try hub.record(need))
        let after = try #require(try copy.record(need))
        #expect(before.conflictingFields == [.dispatch])
        #expect(after.conflictingFields == [.dispatch])
        #expect(after.lateAnswers.map(\.version.dot) == before.lateAnswers.map(\.version.dot))
        #expect(after.progress.status == .dispatched)
        #expect(after.team == "B")
    }

    @Test("a rating that came too late does not take the finish from beside it when both come back")
    func lateRating() throws {
        let team = try hub.team("A")
        let need = worker.addNeed("旧")
        try worker.sync()
        try office.sync()
        let order = office.dispatch(need, to: "A")
        try office.sync()
        try team.sync()
        try hub.ledger.backup(to: hub.scratch.path("copy"))
        team.answer(need, order, .finished, "已修")
        try team.sync()
        try worker.sync()
        worker.rate(need, order, grade: 5)
        office.dispatch(need, to: "B")
        try office.sync()
        try worker.sync()
        try office.sync()
        let before = try #require(try hub.record(need))
        #expect(before.lateAnswers.count == 2)
        let copy = try hub.opening("copy", seed: 5)
        try office.bring(to: copy)
        let after = try #require(try copy.record(need))
        #expect(
            Set(after.lateAnswers.map(\.version.dot)) == Set(before.lateAnswers.map(\.version.dot)))
    }

    @Test("who brought what is kept, and told")
    func bringers() throws {
        let (old, _, copy) = try loseWork()
        try worker.bring(to: copy)
        try office.bring(to: copy)
        let addresses = try copy.ledger.inspectBrought().filter {
            $0.record == old && $0.field == NeedField.address.rawValue
        }
        #expect(addresses.map(\.device) == [worker.id, office.id])
    }

    @Test("what came back and cannot be read any more holds up nobody")
    func unreadableBatch() throws {
        let (old, new, copy) = try loseWork()
        let position = try office.bring(to: copy)
        try Connection(path: copy.path, mode: .readWrite).execute(
            "UPDATE batch SET content = substr(content, 1, length(content) - 3)")
        for id in [old, new] { office.edit(id, .phone, .text("1")) }
        // Brought once more, and changed.
        var request = office.request(groups: [])
        request.recovery = SyncRequest.Recovery(
            confirmed: position, reached: [office.cursor], records: office.held(beyond: 0))
        let again = try #require(try copy.sync(office, request).recovered)
        try office.endRecovery(at: copy, confirmed: again)
        office.fork(from: 1)
        let outcomes = try #require(try copy.sync(office, office.request()).outcomes)
        #expect(outcomes.refusals == [] && outcomes.forkCounter == nil)
        for id in [old, new] {
            #expect(try copy.register(.phone, of: id).winner != nil)
            #expect(try copy.register(.text, of: id).versions.count == 1)
        }
    }

    @Test("what the hub's disk has altered keeps nobody from bringing back the rest, nor from more")
    func unreadableRecord() throws {
        let (old, new, copy) = try loseWork()
        let alter: StaticString = "UPDATE record SET state = x'ff' WHERE id = ?"
        let connection = try Connection(path: copy.path, mode: .readWrite)
        try connection.run(alter, .bytes(old.bytes))
        office.addNote(on: old)
        var request = office.request(groups: [])
        let told = try copy.sync(office, request)
        let confirmed = try #require(told.recovered)
        let shared = LostPart(
            reached: [office.cursor], line: TermLine(told.line), head: confirmed.sequence
        ).shared
        request.recovery = SyncRequest.Recovery(
            confirmed: confirmed, reached: [office.cursor],
            records: office.held(beyond: shared))
        #expect(request.recovery?.records.map(\.id).contains(old) == true)
        let position = try #require(try copy.sync(office, request).recovered)
        #expect(try copy.record(new)?.team == "A")

        try connection.run(alter, .bytes(new.bytes))
        office.edit(new, .address, .text("三"))
        let next = office.addNeed("再来")
        try office.endRecovery(at: copy, confirmed: position)
        office.fork(from: 1)
        let refusals = try #require(try copy.sync(office, office.request()).outcomes).refusals
        let unreadable = RejectionCode.unreadable.rawValue
        #expect(refusals.map(\.code) == [unreadable, unreadable])
        #expect(try copy.record(next) != nil)
    }

    @Test("a device cannot claim to have seen all that another will write")
    func replicaAsTerm() throws {
        let (_, _, copy) = try loseWork()
        let claimed = Position(term: worker.replica, sequence: 1 << 40)
        office.cursor = claimed
        var request = office.request(groups: [])
        let confirmed = try #require(try copy.sync(office, request).recovered)
        request.recovery = SyncRequest.Recovery(
            confirmed: confirmed, reached: [claimed], records: office.held(beyond: 0))
        #expect(throws: LedgerError.self) { _ = try copy.sync(office, request) }
    }

    @Test("what was superseded where one device had pulled is not shown again by another")
    func staleDevice() throws {
        let (old, _, copy) = try loseWork()
        // The worker still shows its own address, which the office has replaced.
        #expect(worker.state[old]?.winner(.address) == .text("一"))
        try office.bring(to: copy)
        try worker.bring(to: copy)
        #expect(
            try copy.register(.address, of: old).versions.map(\.value)
                == [FieldValue.text("二").bytes])
    }

    @Test("the order in which devices come makes no difference, and bringing twice changes nothing")
    func anyOrder() throws {
        let (old, new, copy) = try loseWork()
        try worker.bring(to: copy)
        try office.bring(to: copy)
        let digests = try copy.storage.snapshot { try copy.storage.digests().map(\.value) }
        let head = try copy.head
        try office.bring(to: copy)
        #expect(try copy.head == head)
        #expect(try copy.storage.snapshot { try copy.storage.digests().map(\.value) } == digests)
        #expect(try copy.register(.address, of: old).versions.count == 1)
        #expect(try copy.record(new)?.progress.dispatch?.team == "A")
    }

    @Test("a writer that sends its change again gets the outcome, and nothing comes twice")
    func sentAgain() throws {
        let (_, new, copy) = try loseWork()
        try office.bring(to: copy)
        let groups = worker.settled.filter { $0.record == new }
        let first = try #require(groups.first)
        // It never got the answer: it has pulled nothing of what is lost.
        worker.cursor = .origin
        var request = worker.request(groups: groups, missingFrom: 3, heldFrom: first.firstCounter)
        request.scope = 0
        let outcomes = try #require(try copy.sync(worker, request).outcomes)
        #expect(outcomes.refusals == [])
        #expect(outcomes.settledCounter == groups.last?.nextCounter)
        #expect(try copy.register(.text, of: new).versions.count == 1)
        #expect(try copy.ledger.check() == [])
    }

    @Test("what came back is not judged by what was lost beside it when its writer sends it again")
    func judgedOnce() throws {
        let recorder = try hub.worker("v1")
        try recorder.sync()
        try hub.ledger.backup(to: hub.scratch.path("copy"))
        let need = recorder.addNeed("新")
        try recorder.sync()
        try worker.sync()
        let group = worker.edit(need, .address, .text("一"))
        let other = worker.edit(need, .phone, .text("120"))
        try worker.sync()
        try office.sync()
        // Where it lay at the change's base is nowhere written any more.
        office.edit(need, .grid, .text("g4"))
        office.edit(need, .phone, .text("119"))
        try office.sync()
        let copy = try hub.opening("copy", seed: 5)
        try office.bring(to: copy)
        worker.cursor = .origin
        worker.scopeID = 0
        let request = worker.request(groups: [group, other])
        let outcomes = try #require(try copy.sync(worker, request).outcomes)
        // The one that nobody brought is late work on a need that lies elsewhere by now: it is put
        // before the office, since nobody can tell any more what it had seen, and what had seen it.
        #expect(outcomes.refusals.isEmpty)
        #expect(
            Set(try copy.register(.phone, of: need).versions.map(\.value))
                == [FieldValue.text("119").bytes, FieldValue.text("120").bytes])
        #expect(try copy.register(.address, of: need).versions.count == 1)
        #expect(try aheadDevices(of: copy) == [office.id, worker.id])
    }

    /// Who was noted as ahead of a ledger.
    private func aheadDevices(of hub: TestHub) throws -> [Int64?] {
        try hub.ledger.events().filter { $0.kind == .deviceAhead }.map(\.device)
    }

    @Test("who pulled what came back, and wrote after the hub had started anew, has seen it")
    func hubStartedAnew() throws {
        let need = try needInBackup()
        worker.edit(need, .address, .text("一"))
        try worker.sync()
        try office.sync()
        let first = office.cursor
        try hub.restart(seed: 7)
        office.edit(need, .phone, .text("1"))
        try office.sync()
        let last = office.cursor
        #expect(first.term != last.term)
        office.edit(need, .address, .text("二"))
        let copy = try hub.opening("copy", seed: 5)
        let confirmed = try office.bring(to: copy, reached: [first, last])
        try office.endRecovery(at: copy, confirmed: confirmed)
        office.fork(from: 1)
        _ = try copy.sync(office, office.request())
        #expect(
            try copy.register(.address, of: need).versions.map(\.value)
                == [FieldValue.text("二").bytes])
    }

    @Test("late work on a note is not refused either, when the need came back and the note did not")
    func noteOfNeed() throws {
        let need = office.addNeed(grid: "g4")
        let note = office.addNote(on: need)
        try office.sync()
        try hub.ledger.backup(to: hub.scratch.path("copy"))
        office.edit(need, .grid, .text("g1"))
        try office.sync()
        try worker.sync()
        let text = Change(field: NoteField.text.rawValue, value: FieldValue.text("不在家").bytes)
        let group = worker.write(note, [text])
        office.edit(need, .grid, .text("g4"))
        try office.sync()
        let copy = try hub.opening("copy", seed: 5)
        try office.bring(to: copy)
        worker.cursor = .origin
        worker.scopeID = 0
        let outcomes = try copy.sync(worker, worker.request(groups: [group])).outcomes
        #expect(try #require(outcomes).refusals.isEmpty)
        #expect(try copy.record(note)?.state.value(of: text.field) == text.value)
    }

    @Test("a device that makes up a base to write beyond its scope is told to the operator")
    func madeUpBase() throws {
        let (old, _, copy) = try loseWork()
        let stranger = try copy.worker("v2")
        _ = try copy.sync(stranger, stranger.request())
        var groups = (1...2).map { stranger.edit(old, .urgency, .integer($0)) }
        let base = Position(term: TermID(truncating: 0xFACE), sequence: 5)
        for index in groups.indices { groups[index].base = base }
        /// The first counters of the groups that are refused.
        func refusals(of groups: [ChangeGroup]) throws -> [UInt64] {
            var request = stranger.request(groups: groups)
            request.nextCounter = groups.last?.nextCounter ?? 0
            let outcomes = try #require(try copy.sync(stranger, request).outcomes)
            #expect(outcomes.settledCounter == request.nextCounter)
            return outcomes.refusals.map(\.firstCounter)
        }
        #expect(try refusals(of: [groups[0]]) == [1])
        #expect(try aheadDevices(of: copy) == [])
        try office.bring(to: copy)
        #expect(try refusals(of: groups) == [1])
        #expect(try aheadDevices(of: copy) == [office.id, stranger.id])
    }

    @Test("a copy of the journal that used the same counters for something else is told to fork")
    func otherContent() throws {
        let (_, new, copy) = try loseWork()
        try office.bring(to: copy)
        var group = try #require(worker.settled.first { $0.record == new })
        var changes = Array(group.changes)
        changes[0].value = FieldValue.text("别的").bytes
        group.changes = ChangeList(changes)
        worker.cursor = .origin
        var request = worker.request(groups: [group], missingFrom: 3, heldFrom: group.firstCounter)
        request.scope = 0
        let outcomes = try #require(try copy.sync(worker, request).outcomes)
        #expect(outcomes.forkCounter == group.firstCounter)
        #expect(
            try copy.register(.text, of: new).versions.map(\.value)
                == [FieldValue.text("新").bytes])
    }

    @Test("a copy that used the same counters for another field of the record is told to fork")
    func otherField() throws {
        let (_, new, copy) = try loseWork()
        try office.bring(to: copy)
        var group = try #require(worker.settled.first { $0.record == new })
        var changes = Array(group.changes)
        changes.swapAt(0, 1)
        group.changes = ChangeList(changes)
        worker.cursor = .origin
        var request = worker.request(groups: [group], missingFrom: 3, heldFrom: group.firstCounter)
        request.scope = 0
        let outcomes = try #require(try copy.sync(worker, request).outcomes)
        #expect(outcomes.forkCounter == group.firstCounter)
    }

    /// One dot stands for two changes then, and an ancestor's counter for either.
    @Test("a copy that used the same counters elsewhere never covers what it had not seen")
    func otherRecord() throws {
        let old = worker.addNeed("旧")
        try worker.sync()
        try office.sync()
        let copied = worker.clone()
        try hub.ledger.backup(to: hub.scratch.path("copy"))
        worker.edit(old, .address, .text("一"))
        try worker.sync()
        try office.sync()
        let copy = try hub.opening("copy", seed: 5)
        try office.bring(to: copy)

        let other = copied.addNeed("别处")
        let request = copied.request()
        #expect(try copy.sync(copied, request).outcomes?.forkCounter == nil)
        #expect(try copy.record(other) != nil)
        copied.waiting = []
        copied.fork(from: copied.nextCounter)
        copied.edit(old, .address, .text("二"))
        let answer = try copy.sync(copied, copied.request())
        #expect(answer.outcomes?.refusals == [])
        #expect(
            try Set(copy.register(.address, of: old).versions.map(\.value))
                == [FieldValue.text("一").bytes, FieldValue.text("二").bytes])
        #expect(try copy.ledger.check() == [])
        let history = try copy.ledger.history(of: old, for: office.id)
        #expect(history.count { $0.field == NeedField.address.rawValue && $0.isLive } == 2)
    }

    /// A copy forks in a part that is then lost, with all that it shares with its original; and an
    /// older copy goes on where the original had been then.
    @Test(
        "what a restore lost of an ancestor covers nothing that is written under its counters",
        arguments: [true, false])
    func lostAncestor(forkComesFirst: Bool) throws {
        let old = worker.addNeed("旧")
        try worker.sync()
        let older = worker.clone()
        try hub.ledger.backup(to: hub.scratch.path("copy"))
        for urgency in 1...3 { worker.edit(old, .urgency, .integer(Int64(urgency))) }
        let forked = worker.clone()
        try worker.sync()
        forked.waiting = []
        forked.fork(from: forked.nextCounter)
        forked.edit(old, .address, .text("一"))
        older.edit(old, .address, .text("二"))
        let copy = try hub.opening("copy", seed: 5)
        for device in forkComesFirst ? [forked, older] : [older, forked] {
            let outcomes = try #require(try copy.sync(device, device.request()).outcomes)
            #expect(outcomes.forkCounter == nil && outcomes.refusals == [])
        }
        #expect(
            try Set(copy.register(.address, of: old).versions.map(\.value))
                == [FieldValue.text("一").bytes, FieldValue.text("二").bytes])
        #expect(try copy.ledger.check() == [])
    }

    /// Brings back what the office says that it holds.
    private func bring(
        _ records: [PageRecord], beyond confirmed: Position, to copy: TestHub
    ) throws {
        var request = office.request(groups: [])
        request.recovery = SyncRequest.Recovery(
            confirmed: confirmed, reached: [office.cursor], records: records)
        _ = try copy.sync(office, request)
    }

    @Test("versions of one replica that stood side by side before a restore do so after it")
    func sideBySide() throws {
        let old = try needInBackup()
        // As two copies of one journal may leave it, after a restore before this one.
        office.edit(old, .address, .text("一"))
        try office.sync()
        let copy = try hub.opening("copy", seed: 5)
        let confirmed = try #require(try copy.sync(office, office.request(groups: [])).recovered)
        var page = try #require(office.held(beyond: confirmed.sequence - 1).last)
        var version = page.fields[0].versions[0]
        version.value = .bytes(FieldValue.text("二").bytes)
        version.stamp.dot.counter += 1
        version.sequence += 1
        page.fields[0].versions.insert(version, at: 0)
        office.cursor.sequence += 1
        try bring([page], beyond: confirmed, to: copy)
        #expect(try copy.register(.address, of: old).versions.count == 2)
    }

    /// The hub's own change, given that name later, would be taken for what came back.
    @Test("what bears a name that the hub has still to give is passed over", arguments: [0, 1])
    func nameToCome(ahead: UInt64) throws {
        let (old, _, copy) = try loseWork()
        let confirmed = try #require(try copy.sync(office, office.request(groups: [])).recovered)
        var page = try #require(office.held(beyond: confirmed.sequence - 1).first { $0.id == old })
        for field in page.fields.indices {
            for version in page.fields[field].versions.indices {
                page.fields[field].versions[version].stamp.dot = Dot(
                    confirmed.term, confirmed.sequence + ahead)
            }
        }
        try bring([page], beyond: confirmed, to: copy)
        #expect(try (copy.head == confirmed.sequence) == (ahead > 0))
    }

    @Test("what a device makes up of one record is bounded, and the record can be written to")
    func boundedRecord() throws {
        let (old, _, copy) = try loseWork()
        let confirmed = try #require(try copy.sync(office, office.request(groups: [])).recovered)
        office.cursor.sequence = 1_000_000
        /// One version of each field, each with a place and a dot of its own.
        func bring(_ fields: [UInt32], after count: UInt64) throws {
            let versions = fields.enumerated().map { index, field in
                PageRecord.FieldVersion(
                    field: field, value: .bytes([7]),
                    stamp: Stamp(
                        milliseconds: Int64(fields.count - index),
                        dot: Dot(ReplicaID(truncating: 0xB000_0002), count + UInt64(index) + 1)),
                    sequence: confirmed.sequence + count + UInt64(index) + 1)
            }
            let page = PageRecord(
                id: old, kind: Kind.need.rawValue, createdMilliseconds: 1, places: [],
                versions: versions)
            try self.bring([page], beyond: confirmed, to: copy)
        }
        let room = LedgerLimits.liveVersionsBesideBroughtMax
        try bring(Array(200..<200 + UInt32(room)), after: 0)
        #expect(try copy.record(old)?.state.versions.count == room)
        // The same fields again and again, and then nothing more.
        let before = try copy.head
        for count in 1...UInt64(LedgerLimits.broughtPerRecordMax / room) {
            try bring(Array(200..<200 + UInt32(room)), after: count * 10_000)
        }
        let full = try copy.head
        #expect(full == before + UInt64(LedgerLimits.broughtPerRecordMax - room))
        try bring([200], after: 9_000)
        #expect(try copy.head == full, "more than the ledger keeps")
        // Others are not crowded out.
        try worker.bring(to: copy)
        #expect(try copy.head > full)
        office.edit(old, .phone, .text("1"))
        try office.endRecovery(at: copy, confirmed: confirmed)
        office.fork(from: 1)
        let outcomes = try #require(try copy.sync(office, office.request()).outcomes)
        #expect(outcomes.refusals.isEmpty)
        #expect(try copy.register(.phone, of: old).winner?.value == FieldValue.text("1").bytes)
        #expect(try copy.ledger.check().isEmpty)
    }

    /// A need that its recorder holds only because it recorded it, with a note, all of it lost and
    /// brought back by the office before the hub knows whose replica recorded it.
    private func loseRecorder() throws -> (
        recorder: TestDevice, need: RecordID, note: RecordID, copy: TestHub
    ) {
        let recorder = try hub.worker("v1")
        try recorder.sync()
        try hub.ledger.backup(to: hub.scratch.path("copy"))
        let need = recorder.addNeed("新")
        try recorder.sync()
        try office.sync()
        office.edit(need, .grid, .text("g4"))
        let note = office.addNote(on: need)
        try office.sync()
        try recorder.sync()
        let copy = try hub.opening("copy", seed: 5)
        try office.bring(to: copy)
        #expect(try copy.record(need)?.device == nil)
        return (recorder, need, note, copy)
    }

    @Test("a need that others brought first gets back to its recorder, with its notes")
    func recorderComesLater() throws {
        let (recorder, need, note, copy) = try loseRecorder()
        let confirmed = try recorder.bring(to: copy)
        for id in [need, note] { #expect(try copy.record(id)?.device == recorder.id) }
        var request = recorder.request(groups: [])
        request.recovery = SyncRequest.Recovery(
            confirmed: confirmed, reached: [recorder.cursor], records: [])
        let page = try #require(try copy.sync(recorder, request).page)
        #expect(page.records.count { [need, note].contains($0.id) } == 2)
        // Once only.
        let head = try copy.head
        try recorder.bring(to: copy)
        #expect(try copy.head == head)
    }

    @Test("a copy of the recorder's journal that has pulled meanwhile is told, too")
    func recorderComesBeforeItsCopy() throws {
        let (recorder, need, _, copy) = try loseRecorder()
        let copied = TestDevice(hub: hub, id: recorder.id, token: recorder.token)
        // It has forked, and so does not tell the hub whose the need's replica is.
        copied.replica = ReplicaID(truncating: 0xB000_0001)
        var request = copied.request(groups: [])
        try copied.absorb(copy.sync(copied, request), of: request)
        #expect(copied.state[need] == nil)
        try recorder.bring(to: copy)
        request = copied.request(groups: [])
        try copied.absorb(copy.sync(copied, request), of: request)
        #expect(copied.state[need] != nil)
    }

    @Test("a recorder that sends its need again in the ordinary way gets it back, too")
    func recorderSendsAgain() throws {
        let (recorder, need, note, copy) = try loseRecorder()
        let group = try #require(recorder.settled.first { $0.record == need })
        recorder.cursor = .origin
        recorder.scopeID = 0
        let outcomes = try #require(
            try copy.sync(recorder, recorder.request(groups: [group])).outcomes)
        #expect(outcomes.refusals == [])
        for id in [need, note] { #expect(try copy.record(id)?.device == recorder.id) }
        #expect(try copy.ledger.check() == [])
    }

    /// Simulator seed 2232. Who never pulled before the backup was made brings a version of which
    /// nothing is known but that it is newer than what others saw; it stands beside the backup's
    /// own version until somebody comes who had seen more.
    @Test("who had pulled more tells what a version had seen that was brought by another")
    func knowledgeComesLater() throws {
        let newcomer = try hub.office("b")
        let old = worker.addNeed("旧", [set(.address, .text("零"))])
        try worker.sync()
        try office.sync()
        let before = office.cursor
        try hub.ledger.backup(to: hub.scratch.path("copy"))
        try hub.restart(seed: 9)
        worker.edit(old, .address, .text("一"))
        try worker.sync()
        try office.sync()
        worker.edit(old, .address, .text("二"))
        try worker.sync()
        try newcomer.sync()
        let copy = try hub.opening("copy", seed: 5)
        try newcomer.bring(to: copy)
        let texts = { try copy.register(.address, of: old).versions.map(\.value) }
        #expect(try texts().count == 2)

        let reader = try copy.office("b")
        try reader.sync()
        #expect(reader.state[old]?.isInConflict == true)
        try office.bring(to: copy, reached: [before, office.cursor])
        #expect(try texts() == [FieldValue.text("二").bytes])
        // A version went and none came, and the reader is told all the same.
        try reader.sync()
        #expect(reader.state[old]?.fields[NeedField.address.rawValue]?.count == 1)
    }

    @Test("a change that was written offline before the restore still covers what it had seen")
    func waitingChange() throws {
        let (old, _, copy) = try loseWork()
        try office.sync()
        let seen = office.cursor
        office.edit(old, .address, .text("三"))
        let position = try office.bring(to: copy)
        // Nothing of it is admitted before the device has what the hub has.
        var request = office.request()
        request.recovery = SyncRequest.Recovery(
            confirmed: position, reached: [seen], records: [])
        let told = try copy.sync(office, request)
        #expect(told.outcomes?.firstSequence ?? 0 == 0 && told.page?.cursor != nil)
        #expect(try copy.register(.address, of: old).winner?.value != FieldValue.text("三").bytes)
        try office.endRecovery(at: copy, confirmed: position)
        office.fork(from: 1)
        let outcomes = try #require(try copy.sync(office, office.request()).outcomes)
        #expect(outcomes.superseded == [] && outcomes.refusals == [])
        #expect(
            try copy.register(.address, of: old).versions.map(\.value)
                == [FieldValue.text("三").bytes])
    }

    @Test("a device that names more writers than there can be is refused, and nobody else")
    func madeUpWriters() throws {
        let (_, new, copy) = try loseWork()
        let position = Position(term: office.cursor.term, sequence: 1 << 40)
        office.cursor = position
        var request = office.request(groups: [])
        let confirmed = try #require(try copy.sync(office, request).recovered)
        func page(_ number: UInt64) -> PageRecord {
            let replica = ReplicaID(truncating: 0xF000_0000 + number)
            return PageRecord(
                id: RecordID(milliseconds: hub.time.now, replica: replica, number: 1),
                kind: Kind.need.rawValue, createdMilliseconds: hub.time.now, contested: [],
                places: [],
                fields: [
                    PageRecord.Field(
                        field: NeedField.text.rawValue,
                        versions: [
                            PageRecord.Version(
                                value: .bytes(FieldValue.text("假").bytes),
                                stamp: Stamp(milliseconds: hub.time.now, dot: Dot(replica, 1)),
                                sequence: position.sequence)
                        ])
                ])
        }
        request.recovery = SyncRequest.Recovery(
            confirmed: confirmed, reached: [position],
            records: (0..<UInt64(LedgerLimits.namedReplicasPerDeviceMax)).map(page))
        let recovered = try #require(try copy.sync(office, request).recovered)
        request.recovery = SyncRequest.Recovery(
            confirmed: recovered, reached: [position], records: [page(1 << 20)])
        #expect(throws: LedgerError.self) { _ = try copy.sync(office, request) }
        try worker.bring(to: copy)
        #expect(try copy.record(new) != nil)
    }

    @Test("the history shows what a change that came back, and one after it, had seen")
    func historyClocks() throws {
        let (old, _, copy) = try loseWork()
        try office.sync()
        let seen = office.cursor
        office.edit(old, .address, .text("三"))
        try office.endRecovery(at: copy, confirmed: office.bring(to: copy))
        office.fork(from: 1)
        _ = try copy.sync(office, office.request())
        let live = try #require(try copy.register(.address, of: old).winner)
        let entry = try #require(
            try copy.ledger.history(of: old, for: office.id).first {
                $0.stamp.dot == live.dot
            })
        #expect(entry.clock[seen.term] >= seen.sequence)
        for entry in live.clock.ancestors {
            #expect(
                try copy.ledger.history(of: old, for: office.id).contains {
                    $0.stamp.dot == live.dot && $0.clock.contains(entry)
                })
        }
    }

    /// Simulator seed 30214: what the device was told of its scope is lost, and it is still told
    /// what leaves it.
    @Test("a scope of which the ledger knows nothing any more is left like any other")
    func unknownScope() throws {
        let old = worker.addNeed("旧")
        try worker.sync()
        let other = try hub.worker("v1")
        try other.sync()
        #expect(other.state[old] != nil)
        try office.sync()
        office.edit(old, .grid, .text("g4"))
        try office.sync()
        other.scopeID = 0xABC
        let answer = try hub.sync(other, other.request())
        #expect(answer.page?.departed == [old])
        #expect(answer.assignment != nil)
    }

    @Test("the scope that a device holds after a recovery is remembered")
    func rememberedScope() throws {
        try hub.ledger.backup(to: hub.scratch.path("copy"))
        _ = try hub.ledger.importTable(
            .territory, csv: "code,name,level,parent\ng5,五网格,grid,v1\n")
        try worker.sync()
        let copy = try hub.opening("copy", seed: 5)
        let confirmed = try worker.bring(to: copy)
        var request = worker.request(groups: [])
        request.recovery = SyncRequest.Recovery(
            confirmed: confirmed, reached: [worker.cursor], records: [])
        let answer = try copy.sync(worker, request)
        #expect(answer.page?.cursor != nil && answer.assignment == nil)
        #expect(
            try copy.storage.snapshot {
                try copy.storage.scope(device: worker.id, id: worker.scopeID)
            } != nil)
    }

    @Test("a writer who enrols anew after a restore goes on as the same replica, under its name")
    func enrolledAnew() throws {
        try hub.ledger.backup(to: hub.scratch.path("copy"))
        let late = try hub.worker("v1", name: "后来者")
        try late.sync()
        let need = late.addNeed("新")
        try late.sync()
        let old = worker.addNeed("旧")
        try worker.sync()
        try late.sync()
        late.edit(old, .address, .text("一"))
        try late.sync()
        try office.sync()
        let replica = late.replica
        #expect(office.names[replica] == "后来者")

        let copy = try hub.opening("copy", seed: 5)
        try office.endRecovery(at: copy, confirmed: office.bring(to: copy))
        #expect(office.names[replica] == "")
        let code = try copy.ledger.invite(
            role: .worker, territory: "v1", team: nil, name: "后来者", lifetimeSeconds: 60)
        let enrolled = try copy.ledger.enroll(EnrollRequest(code: code, replica: replica))
        #expect(enrolled.forkCounter == nil)
        late.move(to: enrolled.assignment.device, token: enrolled.token)
        try late.endRecovery(at: copy, confirmed: late.bring(to: copy))
        #expect(late.replica == replica)
        let request = office.request(groups: [])
        let answer = try copy.sync(office, request)
        #expect(Set(answer.page?.records.map(\.id) ?? []) == [need, old])
        try office.absorb(answer, of: request)
        #expect(office.names[replica] == "后来者")
        #expect(try copy.record(need)?.device == late.id)
        #expect(try copy.ledger.needs().first { $0.id == need }?.creator == "后来者")
        // Once is enough.
        #expect(try copy.sync(office, office.request(groups: [])).page?.records == [])
        let after = late.edit(need, .address, .text("二"))
        let pushed = try copy.sync(
            late, late.request(groups: [after], heldFrom: after.firstCounter))
        #expect(pushed.outcomes?.forkCounter == nil)
        #expect(pushed.outcomes?.settledCounter == after.nextCounter)
        #expect(try copy.ledger.check() == [])
    }

    @Test("reference data comes back, unless its code was imported anew")
    func referenceData() throws {
        try hub.ledger.backup(to: hub.scratch.path("copy"))
        _ = try hub.ledger.importTable(.teams, csv: "id,name,territory\nC,丙队,b\nD,丁队,b\n")
        try office.sync()
        let copy = try hub.opening("copy", seed: 5)
        _ = try copy.ledger.importTable(.teams, csv: "id,name,territory\nD,新丁队,b\n")
        try office.bring(to: copy)
        #expect(try copy.storage.snapshot { try copy.storage.team("C")?.name } == "丙队")
        #expect(try copy.storage.snapshot { try copy.storage.team("D")?.name } == "新丁队")
    }

    /// A disk can bring back to a journal what had taken the place of what was lost before.
    @Test("of two records that bear one code, one comes back", arguments: [true, false])
    func twinsOfReferenceData(together: Bool) throws {
        try hub.ledger.backup(to: hub.scratch.path("copy"))
        _ = try hub.ledger.importTable(.teams, csv: "id,name,territory\nD,丁队,b\nE,戊队,b\n")
        try office.sync()
        let copy = try hub.opening("copy", seed: 5)
        let confirmed = try #require(try copy.sync(office, office.request(groups: [])).recovered)
        let teams = office.held(beyond: confirmed.sequence).filter {
            $0.kind == Kind.team.rawValue
        }
        try #require(teams.count == 2)
        let team = teams[0]
        var twin = teams[1]
        for index in twin.fields.indices {
            twin.fields[index].versions[0].value = team.fields[index].versions[0].value
        }
        for parts in together ? [[team, twin]] : [[team], [twin]] {
            try bring(parts, beyond: confirmed, to: copy)
        }
        #expect(try copy.record(team.id) != nil)
        #expect(try copy.record(twin.id) == nil)
        #expect(try copy.ledger.check() == [])
    }
}
