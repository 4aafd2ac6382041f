import NeedModel
import SQLiteStore
import SyncCore
import Testing
import WireFormat

@testable import DeviceJournal

/// What a restored hub was brought and did not take. SPEC §6, a restored hub.
@Suite struct RecoveryTests {
    private let bench: Bench
    private let old: RecordID
    private let new: RecordID
    private let note: RecordID
    /// What a hub that takes all of it sends back.
    private let before: [PageRecord]
    private static let backup = Position(term: Bench.hub, sequence: 200)
    private static let restored = Position(term: TermID(truncating: 0xA1), sequence: 201)

    /// A need at the backup, changed after it, and another need with a note.
    init() throws {
        bench = try Bench()
        var first = bench.need("旧", number: 1)
        try bench.pull([first])
        bench.sequence = Self.backup.sequence
        first.fields.append(
            .init(field: 6, versions: [bench.version(Array("村口".utf8))]))
        let second = bench.need("新", number: 2, [.phone: .text("1"), .address: .text("桥头")])
        let remark = bench.page(
            Bench.strangersNeed(3), kind: .note, [1: second.id.bytes, 2: Array("已联系".utf8)])
        try bench.pull([first, second, remark])
        (old, new, note) = (first.id, second.id, remark.id)
        before = bench.reference() + [first, second, remark]
    }

    /// The hub names its terms, and where it stands.
    private func tellOfRestore() throws {
        let request = try bench.request()
        try bench.absorb(
            SyncAnswer(
                attempt: request.attempt, hubMilliseconds: bench.hubMilliseconds,
                line: [
                    .init(term: Bench.hub, first: 1),
                    .init(term: Self.restored.term, first: Self.restored.sequence),
                ], recovered: Self.restored), for: request)
    }

    /// The whole of a recovery, after which the hub sends these.
    ///
    /// - Parameter brought: `nil` for all.
    private func recover(_ back: [PageRecord], bringing brought: [RecordID]? = nil) throws {
        try tellOfRestore()
        var request = try bench.request()
        #expect(request.recovery?.records.map(\.id) == brought ?? [old, new, note])
        try bench.absorb(
            SyncAnswer(
                attempt: request.attempt, hubMilliseconds: bench.hubMilliseconds,
                recovered: Self.restored), for: request)
        request = try bench.request()
        var page = bench.lastPage(back)
        page.cursor = Position(term: Self.restored.term, sequence: bench.sequence)
        try bench.absorb(
            SyncAnswer(
                attempt: request.attempt, hubMilliseconds: bench.hubMilliseconds, page: page,
                assignment: bench.current, recovered: Self.restored), for: request)
    }

    /// The disk makes another address of 桥头.
    private func alterNew() throws {
        let connection = bench.journal.connection
        let state = try #require(
            try connection.first("SELECT state FROM record WHERE id = ?", .bytes(new.bytes)) {
                $0.bytes(at: 0)
            })
        let place = try #require(state.firstRange(of: Array("桥头".utf8))?.lowerBound)
        var altered = state
        altered[place + 2] ^= 1
        try connection.run(
            "UPDATE record SET state = ? WHERE id = ?", .bytes(altered), .bytes(new.bytes))
    }

    @Test("what the disk has altered is not brought back, even after a change came to it")
    func alteredThenChanged() throws {
        try alterNew()
        var change = try #require(before.first { $0.id == new })
        change.createdMilliseconds = nil
        change.fields = [
            .init(field: NeedField.phone.rawValue, versions: [bench.version(Array("2".utf8))])
        ]
        try bench.pull([change])
        try tellOfRestore()
        #expect(try bench.request().recovery?.records.map(\.id) == [old, note])
    }

    @Test("with a contested delete comes what contests it, lost or not, and nothing else")
    func contested() throws {
        let withdrawal = NeedField.withdrawal.rawValue
        let text = NeedField.text.rawValue
        try bench.pull([
            bench.page(old, [withdrawal: []], whole: false, contested: [text])
        ])
        try tellOfRestore()
        let brought = try #require(try bench.request().recovery?.records.first { $0.id == old })
        #expect(brought.contested == [text])
        #expect(
            brought.fields.map(\.field) == [text, NeedField.address.rawValue, withdrawal])
        #expect(brought.fields[0].versions.allSatisfy { $0.sequence <= Self.backup.sequence })
    }

    /// The disk has lost the row, and the hub says only what changed.
    @Test("a record of which the rest is gone is not brought, and holds up nothing")
    func partOfARecord() throws {
        try bench.journal.connection.run("DELETE FROM record WHERE id = ?", .bytes(old.bytes))
        try bench.pull([
            bench.page(
                old, [NeedField.withdrawal.rawValue: []], whole: false,
                contested: [NeedField.text.rawValue])
        ])
        try tellOfRestore()
        #expect(try bench.request().recovery?.records.map(\.id) == [new, note])
    }

    @Test(
        "of more versions than may be brought the winner, the oldest and the newest are",
        arguments: [true, false])
    func manyVersions(isWinnerOldest: Bool) throws {
        let address = NeedField.address.rawValue
        let countMax = Limits.broughtVersionsPerFieldMax
        // Ascending by sequence; the winner is the newest, or else the oldest.
        var versions = (0..<countMax + 44).map { bench.version(Array("\($0)".utf8)) }
        if isWinnerOldest { versions[0].stamp.milliseconds += 1_000_000 }
        var change = bench.page(old, [:], whole: false)
        change.fields = [
            .init(field: address, versions: versions.sorted { $0.stamp > $1.stamp })
        ]
        try bench.pull([change])
        try tellOfRestore()
        let brought = try #require(
            try bench.request().recovery?.records.first { $0.id == old }?.fields
                .first { $0.field == address }?.versions)
        let oldest = isWinnerOldest ? versions.prefix(2) : versions.prefix(1)
        let expected = oldest + versions.suffix(countMax - oldest.count)
        #expect(brought == expected.sorted { $0.stamp > $1.stamp })
        #expect(throws: Never.self) { try SyncRequest(decoding: bench.request().encoded()) }
    }

    private var kept: [RefusedGroup] { get throws { try bench.journal.refused() } }

    private func notices() throws -> [Notice] { try bench.journal.status().notices }

    @Test func whatCameBackIsNotKept() throws {
        try recover(before)
        #expect(try kept == [])
        let notices = try notices()
        #expect(notices.map(\.kind) == [.hubRestored])
        #expect(
            notices.first?.description
                == "The server was restored from a backup; nothing was lost of the "
                + "\(notices.first?.amount ?? 0) records whose changes this device brought back.")
        #expect(try bench.shown(old).address == "村口")
    }

    @Test func whatWasNothingIsNotSaidToHaveBeenBroughtBack() {
        func text(_ kind: Notice.Kind, _ amount: Int) -> String {
            Notice(kind: kind, milliseconds: 0, amount: amount).description
        }
        #expect(
            text(.hubRestored, 0).hasSuffix(
                "; nothing was lost, as it had all that this device holds."))
        #expect(text(.hubRestored, 1).contains("of the 1 record whose"))
        #expect(text(.forked, 0).hasSuffix("; nothing in it was lost, it went on as a new one."))
        #expect(text(.forked, 1).hasSuffix(", and 1 waiting command with it."))
    }

    @Test func aRecordThatDidNotComeIsKept() throws {
        try recover(before.filter { $0.id != new && $0.id != note })
        expect(.notFound(new.description)) { try bench.shown(new) }
        let all = try kept
        #expect(all.map(\.record) == [new, note] && all.map(\.need) == [new, new])
        #expect(all.allSatisfy { $0.isNotTakenBack })
        #expect(all.map(\.createdKind) == [Kind.need.rawValue, Kind.note.rawValue])
        #expect(all[0].changes.map(\.field) == [1, 3, 5, 6])
        let notices = try notices()
        #expect(notices.map(\.kind) == [.hubRestored, .notTakenBack])
        #expect(notices.last?.amount == 2)
    }

    @Test func aRetryWritesItUnderNamesOfOurOwn() throws {
        try recover(before.filter { $0.id != new && $0.id != note })
        let numbers = try kept.map(\.number)
        for number in numbers { try bench.journal.retry(number, clocks: bench.now) }
        let request = try bench.request()
        #expect(request.groups.map(\.createdKind) == [1, 2])
        let need = try #require(request.groups.first?.record)
        #expect(need != new && need.replica == request.replica)
        #expect(request.groups.last?.record.replica == request.replica)
        #expect(request.groups.last?.changes.first?.value == need.bytes)
        #expect(try bench.shown(need).address == "桥头")
        #expect(try bench.journal.notes(of: need).map(\.text) == ["已联系"])
        #expect(try kept == [])
    }

    @Test func aRetryOfWhatTheDiskAlteredTakesAnIDOfOurOwn() throws {
        try alterNew()
        try recover(before.filter { $0.id != new }, bringing: [old, note])
        let entry = try #require(try kept.first)
        #expect(entry.record == new && entry.isDamaged)
        try bench.journal.retry(entry.number, clocks: bench.now)
        let request = try bench.request()
        let need = try #require(request.groups.first?.record)
        #expect(need != new && need.replica == request.replica)
        #expect(try bench.shown(need).text == "新")
    }

    @Test("a field that only others may write is not kept, and spoils no retry")
    func fieldsOfOthers() throws {
        let field = NeedField.dispatch.rawValue
        let order = FieldValue.dispatch(.init(order: 1, team: "T1", due: nil)).bytes
        for id in [old, new] {
            try bench.pull([bench.page(id, [field: order], whole: false)])
        }
        // The older need comes with all but the dispatch, the newer one does not come.
        try recover(before.filter { $0.id != new && $0.id != note })
        #expect(try kept.map(\.record) == [new, note])
        #expect(try kept.first?.changes.map(\.field) == [1, 3, 5, 6])
        #expect(try notices().last?.amount == 2)
    }

    @Test func aVersionThatDidNotComeIsKept() throws {
        var back = before
        // Nothing of the address came, and the phone has become somebody's newer one.
        for index in back.indices where back[index].id == old || back[index].id == new {
            back[index].fields.removeAll { $0.field == 6 }
        }
        let position = try #require(back.firstIndex { $0.id == new })
        let phone = try #require(back[position].fields.firstIndex { $0.field == 5 })
        back[position].fields[phone].versions = [bench.version(Array("2".utf8))]
        try recover(back)
        let all = try kept
        #expect(all.map(\.record).sorted() == [old, new].sorted())
        #expect(all.allSatisfy { $0.createdKind == nil && $0.changes.map(\.field) == [6] })
        #expect(try notices().last?.amount == 2)
    }

    @Test func aVersionUnderAnotherNameCameBack() throws {
        var back = before
        let position = try #require(back.firstIndex { $0.id == old })
        let address = try #require(back[position].fields.firstIndex { $0.field == 6 })
        back[position].fields[address].versions = [
            bench.version(Array("村口".utf8), by: Self.restored.term)
        ]
        try recover(back)
        #expect(try kept == [])
    }

    @Test func whatTheBackupHadIsNotKept() throws {
        try recover(before.filter { $0.id != old })
        // Its text and grid are in the backup.
        #expect(try kept.map { $0.changes.map(\.field) } == [[6]])
        #expect(try kept.first?.createdKind == nil)
    }

    @Test func bothSidesOfAConflictAreKept() throws {
        var second = try #require(before.first { $0.id == new })
        let address = try #require(second.fields.firstIndex { $0.field == 6 })
        second.fields[address].versions.insert(bench.version(Array("井边".utf8)), at: 0)
        try bench.pull([second])
        try recover(before.filter { $0.id != new })
        let values = try kept.compactMap { $0.changes.first { $0.field == 6 }?.value }
        #expect(values.map { String(decoding: $0, as: UTF8.self) } == ["井边", "桥头"])
        #expect(try kept.map(\.createdKind) == [1, nil])
    }
}
