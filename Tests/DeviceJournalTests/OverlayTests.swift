import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import DeviceJournal

/// What a screen shows: what was pulled, with own changes on top until a pull contains them.
@Suite struct OverlayTests {
    @Test func ownWritesAreReadAtOnce() throws {
        let bench = try Bench()
        let id = try bench.journal.addNeed(
            [
                FieldEdit(.text, .text("楼道灯坏了")), FieldEdit(.grid, .text(Bench.grid)),
                FieldEdit(.category, .text("lighting")), FieldEdit(.resident, .text("王桂英")),
                FieldEdit(.phone, .text("13900000000")), FieldEdit(.address, .text("3 号楼")),
                FieldEdit(.urgency, .integer(2)),
                FieldEdit(.location, .location(latitude: 40_750_000, longitude: 107_380_000)),
            ], clocks: bench.now
        ).id
        let need = try bench.shown(id)
        #expect(need.text == "楼道灯坏了")
        #expect(need.category == "lighting")
        #expect(need.resident == "王桂英")
        #expect(need.phone == "13900000000")
        #expect(need.address == "3 号楼")
        #expect(need.urgency == 2)
        #expect(need.location?.latitude == 40_750_000)
        #expect(need.location?.longitude == 107_380_000)
        #expect(need.status == .recorded)
        #expect(need.isWaiting)
        #expect(need.creator == "网格员一")
        #expect(need.created.isApproximate)
        #expect(try bench.journal.needs().map(\.id) == [id])
    }

    @Test func laterOwnChangesLieOnTop() throws {
        let bench = try Bench()
        let id = try bench.add("一")
        _ = try bench.journal.editNeed(id, [FieldEdit(.text, .text("二"))], clocks: bench.now)
        let need = try bench.journal.editNeed(
            id, [FieldEdit(.text, .text("三")), FieldEdit(.phone, .text("1"))], clocks: bench.now)
        #expect(need.text == "三")
        #expect(need.phone == "1")
        #expect(need.conflicts.isEmpty)
        #expect(
            try bench.journal.editNeed(id, [FieldEdit(.phone, nil)], clocks: bench.now).phone == nil
        )
    }

    @Test func aSettledGroupStaysUntilThePullIsComplete() throws {
        let bench = try Bench()
        let id = try bench.add("水管冻裂")
        let request = try bench.request()
        let absorbed = try bench.absorb(
            request, outcomes: bench.settled(request), page: bench.middlePage([], resume: "more"))
        #expect(!absorbed.answer.pullComplete)
        #expect(!absorbed.answer.groupsWait)
        #expect(absorbed.settledGroups == 1)
        // Acknowledged, not yet pulled: still shown, and no more said to wait.
        #expect(try bench.shown(id).text == "水管冻裂")
        #expect(try !bench.shown(id).isWaiting)

        let next = try bench.request()
        #expect(next.groups.isEmpty)
        #expect(next.resume == Array("more".utf8))
        try bench.absorb(
            next,
            page: bench.lastPage([
                bench.echo(request.groups[0], replica: request.replica, asSent: false)
            ]))
        let need = try bench.shown(id)
        #expect(need.text == "水管冻裂")
        #expect(!need.created.isApproximate)
        #expect(need.field(.text)?.shown.isPending == false)
        #expect(try bench.journal.readOutbox().isEmpty)
    }

    /// Simulator seed 24347. A hub that was restored is brought a need by others, does not know yet
    /// who recorded it, and moves it out of the recorder's reach.
    @Test func whatWasRecordedHereAndIsNotToldStaysShown() throws {
        let bench = try Bench()
        let id = try bench.add("水管冻裂")
        // Told to nobody whose hub is still there. Others had withdrawn and edited it.
        let request = try bench.request()
        var brought = bench.echo(request.groups[0], replica: request.replica, asSent: false)
        brought.fields += [
            PageRecord.Field(
                field: NeedField.phone.rawValue, versions: [bench.version(Array("2".utf8))]),
            PageRecord.Field(field: NeedField.withdrawal.rawValue, versions: [bench.version([])]),
        ]
        brought.contested = [NeedField.phone.rawValue]
        try bench.absorb(
            request, page: bench.lastPage([brought]), assignment: bench.current)
        let hidden = try bench.absorb(bench.request(), page: bench.lastPage(departed: [id]))
        // It is still shown, and nobody has brought it back or decided anything.
        #expect(hidden.news == News())
        #expect(try bench.journal.readRecord(id)?.isVisible == false)
        #expect(try bench.shown(id).text == "水管冻裂")
        #expect(try bench.shown(id).isWaiting)
        #expect(try bench.journal.needs().map(\.id) == [id])
        #expect(try bench.journal.resolve(id.description) == id)
        let edited = try bench.journal.editNeed(
            id, [FieldEdit(.address, .text("1"))], clocks: bench.now)
        #expect(edited.address == "1")
        // It comes again, as it was told of before.
        let returned = try bench.absorb(bench.request(), page: bench.lastPage([brought]))
        #expect(returned.news == News())
    }

    @Test func whatWasWrittenDuringASyncWaits() throws {
        let bench = try Bench()
        let first = try bench.add("先")
        let request = try bench.request()
        // Another command, while the request is on its way.
        let second = try bench.add("后")
        _ = try bench.journal.editNeed(
            first, [FieldEdit(.text, .text("改"))], clocks: bench.now)
        let absorbed = try bench.absorb(
            request, outcomes: bench.settled(request),
            page: bench.lastPage([bench.echo(request.groups[0], replica: request.replica)]))
        #expect(absorbed.answer.groupsWait)
        #expect(absorbed.answer.pullComplete)
        #expect(try bench.shown(first).text == "改")
        #expect(try bench.shown(first).isWaiting)
        #expect(try bench.shown(second).text == "后")
        let next = try bench.request()
        #expect(next.groups.map(\.record) == [second, first])
        // Their base is the pull that their writer had seen.
        #expect(next.groups.allSatisfy { $0.base == request.cursor })
        #expect(next.cursor != request.cursor)
    }

    @Test func valuesAsSentComeFromTheOutbox() throws {
        let bench = try Bench()
        let id = try bench.add("照原样")
        _ = try bench.journal.editNeed(
            id, [FieldEdit(.phone, .text("1")), FieldEdit(.text, .text("改过"))],
            clocks: bench.now)
        let request = try bench.request()
        var whole = bench.echo(request.groups[0], replica: request.replica)
        whole.fields.removeAll { $0.field == NeedField.text.rawValue }
        whole.fields += bench.echo(request.groups[1], replica: request.replica).fields
        whole.fields.sort { $0.field < $1.field }
        try bench.absorb(
            request, outcomes: bench.settled(request), page: bench.lastPage([whole]))
        let need = try bench.shown(id)
        #expect(need.text == "改过")
        #expect(need.phone == "1")
        #expect(need.grid == Bench.grid)
        #expect(need.field(.text)?.shown.dot.counter == 4)
    }

    @Test func aValueAsSentThatWasNotSentIsRefused() throws {
        let bench = try Bench()
        let id = try bench.add()
        let request = try bench.request()
        var record = bench.echo(request.groups[0], replica: request.replica)
        record.fields[0].versions[0].stamp.dot.counter = 50
        #expect(throws: JournalError.self) {
            try bench.absorb(
                request, outcomes: bench.settled(request), page: bench.lastPage([record]))
        }
        // One transaction: not even the outcomes were taken.
        #expect(try bench.shown(id).isWaiting)
        #expect(try bench.request().groups.count == 1)
    }

    @Test func ownChangesLieOverWhatOthersWrote() throws {
        let bench = try Bench()
        let id = Bench.strangersNeed(1)
        try bench.pull([bench.need("原来", number: 1)])
        _ = try bench.journal.editNeed(id, [FieldEdit(.text, .text("我的"))], clocks: bench.now)
        #expect(try bench.shown(id).conflicts.isEmpty)
        // Meanwhile somebody else wrote too; ours was not sent yet.
        let request = try bench.request(batchBytesMax: 1)
        var other = bench.page(id, [NeedField.text.rawValue: Array("别人的".utf8)], whole: false)
        other.fields[0].versions[0].stamp.milliseconds += 1_000_000
        try bench.absorb(request, page: bench.lastPage([other]))
        let need = try bench.shown(id)
        #expect(need.text == "我的")
        #expect(need.isWaiting)
        let conflict = try #require(need.conflicts.first)
        #expect(conflict.field == .text)
        #expect(conflict.versions.map(\.number) == [1, 2])
        #expect(conflict.versions.map { $0.version.writer } == ["网格员一", "别人"])
        #expect(conflict.versions.map(\.isShown) == [true, false])
    }

    @Test func notesAreShownAtOnceAndOnce() throws {
        let bench = try Bench()
        let id = try bench.add()
        let note = try bench.journal.note(id, text: "已经联系", clocks: bench.now)
        #expect(note.text == "已经联系")
        #expect(note.isOwn)
        #expect(try bench.journal.notes(of: id).map(\.text) == ["已经联系"])
        try bench.sync()
        let notes = try bench.journal.notes(of: id)
        #expect(notes.map(\.text) == ["已经联系"])
        #expect(notes.allSatisfy { !$0.isWaiting && !$0.created.isApproximate })
    }

    @Test func historyHoldsLiveVersionsAndOwnChanges() throws {
        let bench = try Bench()
        let id = try bench.add("原来")
        try bench.sync()
        _ = try bench.journal.editNeed(id, [FieldEdit(.text, .text("现在"))], clocks: bench.now)
        let lines = try bench.journal.history(of: id)
        #expect(lines.map(\.field) == [.grid, .text])
        #expect(lines.last?.fieldValue == .text("现在"))
        #expect(lines.last?.sequence == 0)
        #expect(lines.last?.time.isApproximate == true)
        #expect(lines.first?.time.isApproximate == false)
        let replica = try bench.journal.replica()
        #expect(lines.last?.clock[replica] == 3)
        #expect(lines.last?.clock[Bench.hub] == bench.sequence)
    }
}
