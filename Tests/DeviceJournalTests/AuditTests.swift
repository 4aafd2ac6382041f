import Foundation
import NeedModel
import SQLiteStore
import SyncCore
import Testing
import WireFormat

@testable import DeviceJournal

/// DESIGN.md §4 rule 17 on the device: what a disk has altered is found and fetched again, it alone.
@Suite struct AuditTests {
    /// A journal with needs, and a hub that knows what is in them.
    fileprivate final class Scene {
        let bench: Bench
        var hub: [RecordID: PageRecord] = [:]
        /// Of each round trip that mended.
        var news: [News] = []
        private(set) var refetched: [RecordID] = []
        private(set) var roundTrips = 0

        init(needCount: UInt64) throws {
            bench = try Bench(enrolled: false)
            try bench.enroll()
            let records =
                bench.reference() + (1...needCount).map { bench.need("需求\($0)", number: $0) }
            for record in records { hub[record.id] = record }
            let request = try bench.request()
            try absorb(request, page: page(records), assignment: bench.current)
        }

        /// With the digest, as of now.
        func page(_ records: [PageRecord] = [], departed: [RecordID] = []) -> Page {
            var page = bench.lastPage(records, departed: departed)
            page.scopeDigest = hub.values.reduce(0) { $0 &+ $1.places.count &* digest($1) }
            return page
        }

        @discardableResult
        func absorb(
            _ request: SyncRequest, page: Page, assignment: Assignment? = nil
        ) throws -> Absorbed {
            roundTrips += 1
            return try bench.absorb(
                request, outcomes: bench.settled(request), page: page, assignment: assignment)
        }

        /// Somebody changes a need; only the change comes.
        func change(_ number: UInt64, to text: String) throws -> Absorbed {
            let id = Bench.strangersNeed(number)
            let field = PageRecord.Field(
                field: NeedField.text.rawValue, versions: [bench.version(Array(text.utf8))])
            hub[id]?.fields[0] = field
            var part = try #require(hub[id])
            part.fields = [field]
            part.createdMilliseconds = nil
            let request = try bench.request()
            return try absorb(request, page: page([part]))
        }

        /// A pull that brings nothing, so no digest.
        @discardableResult
        func emptyPull() throws -> Absorbed {
            try absorb(bench.request(), page: bench.lastPage())
        }

        /// Asks and is answered until nothing is to be asked, as a session does.
        @discardableResult
        func mend() throws -> Int {
            var mended = 0
            for _ in 0..<Limits.auditRoundTripsPerSyncMax {
                let request = try bench.request()
                guard let audit = request.audit else { return mended }
                var page = page()
                page.findings = audit.parts.map { finding($0) }
                for id in audit.refetch {
                    refetched.append(id)
                    if let record = hub[id] {
                        page.records.append(record)
                    } else {
                        page.departed.append(id)
                    }
                }
                let absorbed = try absorb(request, page: page)
                mended += absorbed.mendedRecords
                news.append(absorbed.news)
                if !absorbed.answer.auditWaits { return mended }
            }
            throw JournalError.badAnswer("the search does not end")
        }

        func digest(_ record: PageRecord) -> UInt64 {
            record.fields.reduce(0) { sum, field in
                field.versions.reduce(sum) { sum, version in
                    guard case .bytes(let value) = version.value else { return sum }
                    return sum
                        &+ BucketDigest.share(
                            record: record.id, field: field.field, dot: version.stamp.dot,
                            value: value)
                }
            }
        }

        /// In the order of ``Bench/scope``.
        private static let places: [HeldPlaces] = [.reference, .recorder, .grid]

        func finding(_ part: AuditPart) -> AuditFinding {
            func records(_ bucket: Int) -> [PageRecord] {
                hub.values.filter {
                    $0.places.contains(Self.places[bucket])
                        && BucketDigest.hash(of: $0.id).begins(with: part.prefix)
                }.sorted { $0.id < $1.id }
            }
            guard let bucket = part.bucket else {
                return AuditFinding(
                    part: part,
                    content: .digests(
                        Self.places.indices.map { bucket in
                            records(bucket).reduce(0) { $0 &+ digest($1) }
                        }))
            }
            let found = records(bucket)
            guard found.count > Limits.auditListMax else {
                return AuditFinding(
                    part: part,
                    content: .records(found.map { .init(id: $0.id, digest: digest($0)) }))
            }
            var digests = [UInt64](repeating: 0, count: 256)
            for record in found {
                let byte = BucketDigest.hash(of: record.id).byte(part.prefix.count)
                digests[Int(byte)] &+= digest(record)
            }
            return AuditFinding(part: part, content: .digests(digests))
        }

        func alter(_ sql: String, _ id: RecordID) throws {
            let statement = try bench.journal.connection.prepare(uncached: sql)
            try statement.run(.bytes(id.bytes))
        }

        /// Makes another value of a need's text: the byte before the last of its state's values.
        func flip(_ number: UInt64) throws {
            let id = Bench.strangersNeed(number)
            let held = try #require(try bench.journal.readGuarded(id))
            var state = try #require(held.record?.state)
            state.fields[NeedField.text.rawValue]?[0].value?[0] ^= 1
            try bench.journal.connection.run(
                "UPDATE record SET state = ? WHERE id = ?", .bytes(state.bytes), .bytes(id.bytes))
        }

        /// Nothing waits, nothing is suspected, and the journal holds what the hub holds.
        func expectWhole(sourceLocation: SourceLocation = #_sourceLocation) throws {
            let inspection = try bench.journal.inspect()
            #expect(inspection.suspects.isEmpty, sourceLocation: sourceLocation)
            #expect(
                inspection.scopeDigest == page().scopeDigest, sourceLocation: sourceLocation)
            #expect(
                Set(inspection.records.keys) == Set(hub.keys), sourceLocation: sourceLocation)
            for (id, record) in hub {
                let row = try bench.journal.readGuarded(id)
                #expect(row?.isSound == true, sourceLocation: sourceLocation)
                #expect(row?.digest == digest(record), sourceLocation: sourceLocation)
                #expect(row?.places == record.places, sourceLocation: sourceLocation)
            }
            #expect(try bench.request().audit == nil, sourceLocation: sourceLocation)
            #expect(try bench.journal.check().isSound, sourceLocation: sourceLocation)
        }
    }

    // MARK: The sum

    @Test func theSumFollowsEveryChange() throws {
        let bench = try Bench(role: .office)
        func expectRight(sourceLocation: SourceLocation = #_sourceLocation) throws {
            let kept = try bench.journal.inspect().scopeDigest
            let right = try bench.journal.inspect().sumOfRecords
            #expect(kept == right, sourceLocation: sourceLocation)
            #expect(kept != 0, sourceLocation: sourceLocation)
            #expect(try bench.journal.check().isSound, sourceLocation: sourceLocation)
        }
        try expectRight()
        let wide = Scope([
            .reference, .recordedBy(device: 7), .grid(Bench.grid), .grid(Bench.otherGrid),
        ])
        bench.current = bench.assignment(role: .office, scope: wide)
        let note = RecordID(milliseconds: Bench.hubStart, replica: Bench.stranger, number: 9)
        try bench.pull([
            bench.need(number: 1), bench.need(grid: Bench.otherGrid, number: 2),
            bench.page(
                note, kind: .note, [1: Bench.strangersNeed(1).bytes, 2: Array("话".utf8)]),
        ])
        try expectRight()
        let own = try bench.add("自己记的", grid: Bench.otherGrid)
        try bench.sync()
        try expectRight()
        #expect(try bench.journal.readGuarded(own)?.places == [.recorder, .grid])
        try bench.pull([
            bench.page(Bench.strangersNeed(1), [1: Array("改了".utf8)], whole: false)
        ])
        try expectRight()
        // The other grid goes: what was recorded there by this device stays, in one bucket less.
        bench.current = bench.assignment(role: .office)
        try bench.pull()
        #expect(try bench.journal.readGuarded(own)?.places == [.recorder])
        try expectRight()
        try bench.pull(departed: [Bench.strangersNeed(1)])
        #expect(try bench.journal.readGuarded(note) == nil)
        try expectRight()
        // As another device it recorded nothing.
        try bench.enroll(device: 8)
        #expect(try bench.journal.readGuarded(own)?.places == [])
        try expectRight()
    }

    /// A need that comes anew with the very pull that takes its grid away, and a note on it that
    /// does not come: the note lies where the need lies all the same.
    @Test func aNoteFollowsItsNeedIntoANarrowerScope() throws {
        let bench = try Bench(role: .office)
        let wide = Scope([.reference, .recordedBy(device: 7), .grid(Bench.otherGrid)])
        bench.current = bench.assignment(role: .office, scope: wide)
        try bench.pull()
        let need = try bench.add("自己记的", grid: Bench.otherGrid)
        try bench.sync()
        let note = RecordID(milliseconds: Bench.hubStart, replica: Bench.stranger, number: 9)
        var sent = bench.page(note, kind: .note, [1: need.bytes, 2: Array("话".utf8)])
        sent.places = [.recorder, .grid]
        try bench.pull([sent])
        bench.current = bench.assignment(role: .office)
        var change = bench.page(need, [5: Array("1".utf8)], whole: false)
        change.places = .recorder
        try bench.pull([change])
        #expect(try bench.journal.readGuarded(note)?.places == .recorder)
        let kept = try bench.journal.inspect().scopeDigest
        #expect(try kept == bench.journal.inspect().sumOfRecords)
    }

    @Test func equalDigestsAskNothing() throws {
        let scene = try Scene(needCount: 5)
        let absorbed = try scene.change(2, to: "改了")
        #expect(!absorbed.answer.auditWaits && absorbed.mendedRecords == 0)
        try scene.expectWhole()
    }

    @Test func aJournalOfVersion1GetsItsDigests() throws {
        let kept = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("Fixtures/journal-1.sqlite")
        let copy = FileManager.default.temporaryDirectory
            .appendingPathComponent("kept-\(UUID().uuidString).sqlite")
        defer { try? FileManager.default.removeItem(at: copy) }
        try FileManager.default.copyItem(at: kept, to: copy)
        let journal = try Journal(path: copy.path)
        let kept1 = try journal.inspect().scopeDigest
        #expect(try kept1 == journal.inspect().sumOfRecords && kept1 != 0)
        let check = try journal.check()
        #expect(check.isSound && check.recordCount > 10)
    }

    // MARK: Damage

    @Test func anAlteredValueIsFetchedAgainAlone() throws {
        let scene = try Scene(needCount: 20)
        try scene.flip(7)
        let absorbed = try scene.emptyPull()
        #expect(absorbed.answer.auditWaits)
        // The row shows it by itself, so no part is asked for.
        #expect(
            try scene.bench.request().audit
                == AuditRequest(refetch: [Bench.strangersNeed(7)]))
        #expect(try scene.mend() == 1)
        #expect(scene.refetched == [Bench.strangersNeed(7)])
        #expect(try scene.bench.journal.status().notices.map(\.kind) == [.mended])
        try scene.expectWhole()
    }

    /// The digest says nothing of stamps; the checksum does.
    @Test func anAlteredStampIsFetchedAgain() throws {
        let scene = try Scene(needCount: 3)
        let id = Bench.strangersNeed(2)
        try scene.alter("UPDATE record SET created = created + 1 WHERE id = ?", id)
        try scene.emptyPull()
        #expect(try scene.mend() == 1)
        #expect(scene.refetched == [id])
        try scene.expectWhole()
    }

    @Test func aRowThatDoesNotDecodeHoldsUpNothing() throws {
        let scene = try Scene(needCount: 3)
        let id = Bench.strangersNeed(2)
        let journal = scene.bench.journal
        try scene.alter("UPDATE record SET state = x'01ff' WHERE id = ?", id)
        #expect(try journal.needs().map(\.text) == ["需求1", "需求3"])
        #expect(try journal.status().needs == 2)
        expect(.notFound(id.description)) { try journal.snapshot(of: id) }
        _ = try journal.editNeed(
            Bench.strangersNeed(1), [FieldEdit(.phone, .text("1"))], clocks: scene.bench.now)
        #expect(try journal.ownGrids().count == 1)
        // Its own change comes, and nothing else of it.
        _ = try scene.change(2, to: "改了")
        try scene.mend()
        #expect(scene.refetched == [id])
        #expect(try journal.snapshot(of: id).text == "改了")
        try scene.bench.pull()
        try scene.expectWhole()
    }

    @Test func aTerritoryThatDoesNotDecodeHoldsUpNothing() throws {
        let scene = try Scene(needCount: 1)
        let grid = try #require(
            scene.hub.values.first {
                $0.fields.contains { $0.versions[0].value == .bytes([71, 50]) }
            }
        ).id
        try scene.alter("UPDATE record SET state = x'' WHERE id = ?", grid)
        #expect(try scene.bench.journal.territories().map(\.code) == ["B1", "G1", "V1"])
        try scene.emptyPull()
        try scene.mend()
        #expect(scene.refetched == [grid])
        try scene.expectWhole()
    }

    @Test func aRowThatVanishedIsFoundByNarrowing() throws {
        // More than a list holds, so the grid is divided.
        let scene = try Scene(needCount: 300)
        let id = Bench.strangersNeed(150)
        try scene.alter("DELETE FROM record WHERE id = ?", id)
        #expect(try scene.bench.journal.check().isCountOff)
        #expect(try scene.bench.request().audit == AuditRequest(parts: [.scope]))
        #expect(try scene.mend() == 1)
        #expect(scene.refetched == [id])
        // The pull; then buckets, parts, a list, the record.
        #expect(scene.roundTrips == 1 + 4)
        try scene.expectWhole()
    }

    /// Without a digest from the hub, going through the rows shows that one is missing.
    @Test func aRowThatVanishedIsFoundWithoutNews() throws {
        let scene = try Scene(needCount: 300)
        try scene.alter("DELETE FROM record WHERE id = ?", Bench.strangersNeed(299))
        var pulls = 0
        while try !scene.emptyPull().answer.auditWaits, pulls < 10 { pulls += 1 }
        // A pass over some 300 rows takes three pulls; the first began one.
        #expect(pulls <= 3)
        try scene.mend()
        #expect(scene.refetched == [Bench.strangersNeed(299)])
        try scene.expectWhole()
    }

    @Test func aRowThatTheHubDoesNotHaveIsHidden() throws {
        let scene = try Scene(needCount: 5)
        let ghost = Bench.strangersNeed(77)
        try scene.bench.journal.connection.run(
            """
            INSERT INTO record SELECT ?, kind, parent, created, visible, state, places, digest,
                checksum FROM record WHERE id = ?
            """, .bytes(ghost.bytes), .bytes(Bench.strangersNeed(1).bytes))
        try scene.emptyPull()
        #expect(try scene.mend() == 1)
        #expect(scene.refetched == [ghost])
        try scene.expectWhole()
    }

    /// An older state of a row fits its checksum; only the sums differ.
    @Test func aRowThatWentBackIsFoundByNarrowing() throws {
        let scene = try Scene(needCount: 5)
        let journal = scene.bench.journal
        try journal.connection.execute("CREATE TEMP TABLE old AS SELECT * FROM record")
        _ = try scene.change(3, to: "改了")
        try scene.alter(
            "INSERT OR REPLACE INTO record SELECT * FROM temp.old WHERE id = ?",
            Bench.strangersNeed(3))
        try scene.emptyPull()
        try scene.mend()
        #expect(scene.refetched == [Bench.strangersNeed(3)])
        try scene.expectWhole()
    }

    @Test(arguments: [
        // Also in buckets that the device does not have, or that the record is not in.
        "UPDATE record SET places = 0 WHERE id = ?", "UPDATE record SET places = 2 WHERE id = ?",
        "UPDATE record SET places = 6 WHERE id = ?", "UPDATE record SET places = 12 WHERE id = ?",
        "UPDATE record SET visible = 0 WHERE id = ?",
    ])
    func aPlaceThatChangedIsFoundByNarrowing(sql: String) throws {
        let scene = try Scene(needCount: 5)
        try scene.alter(sql, Bench.strangersNeed(3))
        try scene.emptyPull()
        try scene.mend()
        #expect(scene.refetched == [Bench.strangersNeed(3)])
        try scene.expectWhole()
    }

    /// A stored digest can be altered too; the row itself is sound, so nothing is fetched.
    @Test func anAlteredDigestIsComputedAnew() throws {
        let scene = try Scene(needCount: 5)
        try scene.alter("UPDATE record SET digest = 5 WHERE id = ?", Bench.strangersNeed(3))
        try scene.emptyPull()
        try scene.mend()
        #expect(scene.refetched.isEmpty)
        try scene.expectWhole()
    }

    @Test func anIdThatNoRecordHasIsDropped() throws {
        let scene = try Scene(needCount: 5)
        try scene.alter("UPDATE record SET id = x'0102' WHERE id = ?", Bench.strangersNeed(3))
        try scene.emptyPull()
        try scene.mend()
        #expect(scene.refetched == [Bench.strangersNeed(3)])
        try scene.expectWhole()
    }

    /// Any number of rows, altered in any way: what is fetched again is what was altered.
    @Test func whateverIsAlteredIsMended() throws {
        var random = Seeded(17)
        for _ in 0..<40 {
            let scene = try Scene(needCount: UInt64.random(in: 1...60, using: &random))
            var altered: Set<RecordID> = []
            for id in scene.hub.keys.sorted() where UInt8.random(in: 0..<8, using: &random) == 0 {
                altered.insert(id)
                switch UInt8.random(in: 0..<4, using: &random) {
                case 0: try scene.alter("DELETE FROM record WHERE id = ?", id)
                case 1: try scene.alter("UPDATE record SET state = x'02' WHERE id = ?", id)
                case 2: try scene.alter("UPDATE record SET kind = kind + 1 WHERE id = ?", id)
                default: try scene.alter("UPDATE record SET visible = 0 WHERE id = ?", id)
                }
            }
            _ = try scene.bench.journal.check()
            try scene.mend()
            #expect(Set(scene.refetched) == altered)
            #expect(scene.refetched.count == altered.count)
            try scene.expectWhole()
        }
    }

    @Test func checkTellsWhatItFound() throws {
        let scene = try Scene(needCount: 30)
        #expect(
            try scene.bench.journal.check()
                == JournalCheck(
                    fileFindings: [], recordCount: 37, damagedCount: 0, isCountOff: false,
                    damagedCommandCount: 0))
        try scene.flip(2)
        try scene.flip(9)
        let damaged = try scene.bench.journal.check()
        #expect(damaged.damagedCount == 2 && !damaged.isCountOff && !damaged.isSound)
        try scene.alter("DELETE FROM record WHERE id = ?", Bench.strangersNeed(5))
        let missing = try scene.bench.journal.check()
        #expect(missing.damagedCount == 2 && missing.isCountOff && missing.recordCount == 36)
        // As long as nothing was fetched, it stays missing.
        #expect(try scene.bench.journal.check() == missing)
        #expect(try scene.mend() == 3)
        try scene.expectWhole()
    }

    /// What was damaged here and came again is told as mended, not as news.
    @Test func whatIsMendedIsNoNews() throws {
        let scene = try Scene(needCount: 5)
        try scene.flip(2)
        try scene.alter("DELETE FROM record WHERE id = ?", Bench.strangersNeed(4))
        _ = try scene.bench.journal.check()
        #expect(try scene.mend() == 2)
        #expect(scene.news.allSatisfy { $0 == News() })
        try scene.expectWhole()
    }

    /// A cursor that the disk has altered is on no line of terms; the hub then has it all brought
    /// again, which it only takes from a device that says where it stands.
    @Test func anAlteredCursorIsSaidInARecovery() throws {
        let scene = try Scene(needCount: 2)
        let bench = scene.bench
        try bench.journal.connection.execute("UPDATE pull SET sequence = sequence + 1")
        var request = try bench.request()
        try bench.absorb(
            SyncAnswer(
                attempt: request.attempt, hubMilliseconds: bench.hubMilliseconds,
                line: [.init(term: Bench.hub, first: 1)],
                recovered: Position(term: Bench.hub, sequence: bench.sequence)), for: request)
        request = try bench.request()
        #expect(request.recovery?.reached.last == request.cursor)
    }

    // MARK: What cannot be mended

    /// The hub's own digest is wrong, and its lists are right.
    @Test func aDifferenceThatNobodyFindsIsGivenUp() throws {
        let scene = try Scene(needCount: 5)
        func pull(error: UInt64) throws -> Bool {
            let request = try scene.bench.request()
            var page = scene.page([scene.hub[Bench.strangersNeed(1)]!])
            page.scopeDigest? &+= error
            return try scene.absorb(request, page: page).answer.auditWaits
        }
        func searchUntilGivenUp(error: UInt64) throws -> Int {
            var roundTrips = 0
            while try scene.bench.request().audit != nil, roundTrips < 100 {
                try scene.mendNothing(error: error)
                roundTrips += 1
            }
            return roundTrips
        }
        func noticed() throws -> [Int] {
            try scene.bench.journal.status().notices.map { $0.kind == .differs ? $0.amount : -1 }
        }
        #expect(try pull(error: 3))
        #expect(try searchUntilGivenUp(error: 3) == 1)
        #expect(try noticed() == [1])
        // The same difference is not looked for again; another one is, and it is counted.
        #expect(try !pull(error: 3))
        #expect(try pull(error: 4))
        #expect(try searchUntilGivenUp(error: 4) == 1)
        #expect(try noticed() == [2])
        #expect(scene.refetched.isEmpty)
    }

    @Test func aHubThatDoesNotAnswerIsNotAskedAgainInTheSameSync() throws {
        let scene = try Scene(needCount: 5)
        try scene.flip(1)
        #expect(try scene.emptyPull().answer.auditWaits)
        #expect(try !scene.emptyPull().answer.auditWaits)
        #expect(try scene.bench.request().audit?.refetch == [Bench.strangersNeed(1)])
    }

    /// Only what came with the pull's last page is of its cursor.
    @Test func findingsForAnotherQuestionAreLeftAlone() throws {
        let scene = try Scene(needCount: 5)
        let request = try scene.bench.request()
        var page = scene.page()
        page.scopeDigest? &+= 1
        page.findings = [
            AuditFinding(part: AuditPart(bucket: 2), content: .records([])),
            AuditFinding(part: AuditPart(bucket: 9_999), content: .records([])),
            AuditFinding(part: .scope, content: .digests([1])),
        ]
        try scene.absorb(request, page: page)
        #expect(try scene.bench.journal.inspect().suspects.isEmpty)
        #expect(try scene.bench.request().audit == AuditRequest(parts: [.scope]))
    }
}

extension AuditTests.Scene {
    /// Answers with what the journal has itself, and a digest that is wrong.
    func mendNothing(error: UInt64) throws {
        let request = try bench.request()
        var page = page()
        page.scopeDigest? &+= error
        page.findings = (request.audit?.parts ?? []).map { finding($0) }
        try absorb(request, page: page)
    }
}
