import HubLedger
import NeedModel
import SQLiteStore
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

/// DESIGN.md §4 rule 17 at the hub: digests with the last page, and what a device asks when its
/// own are others.
@Suite("Audit")
struct AuditTests {
    let hub: TestHub
    let office: TestDevice
    let worker: TestDevice
    let need: RecordID

    init() throws {
        hub = try TestHub()
        office = try hub.office("b")
        worker = try hub.worker("v1")
        try worker.sync()
        need = worker.addNeed("缺路灯")
        worker.addNote(on: need)
        try worker.sync()
        try office.sync()
    }

    /// The sum over the buckets of a scope, from the records.
    private func digest(_ scope: Scope) throws -> UInt64 {
        try hub.records().reduce(0) { sum, record in
            let count = record.placement.buckets.count { scope.contains($0) }
            return sum &+ UInt64(count) &* record.digest
        }
    }

    @Test("records are compared with their batches, each of which is read once for all of them")
    func eachBatchOnce() throws {
        // Of each need a version in each batch, and more batches than are kept.
        let needs = (0..<5).map { worker.addNeed("缺路灯\($0)") }
        try worker.sync()
        for field in [NeedField.resident, .phone, .address, .urgency] {
            for value in 1...3 {
                for need in needs {
                    let value = Int64(value)
                    worker.edit(
                        need, field, field == .urgency ? .integer(value) : .text("\(value)"))
                }
                if value == 1 { try worker.sync() }
            }
            try worker.sync()
            for need in needs { office.edit(need, field, field == .urgency ? .integer(2) : nil) }
            try office.sync()
        }
        let storage = try BatchCountingStorage(path: hub.path, creates: false)
        let sources = RecordSources(storage: storage, terms: try storage.terms())
        let records = try hub.records().filter { needs.contains($0.id) }
        let sequences = Set(
            records.flatMap { [$0.firstSequence] + $0.state.versions.map(\.sequence) })
        let batches = Set(try sequences.map { try storage.batch(holding: $0)?.number })
        #expect(batches.count > LedgerLimits.decodedBatchesMax)
        storage.readCount = 0
        try sources.prepare(for: records)
        for record in records { #expect(try sources.vouches(for: record)) }
        #expect(storage.readCount == batches.count)
    }

    private func ask(
        _ device: TestDevice, _ parts: [AuditPart] = [], refetch: [RecordID] = []
    ) throws -> Page {
        var request = device.request()
        request.audit = AuditRequest(parts: parts, refetch: refetch)
        return try #require(try hub.sync(device, request).page)
    }

    private func digests(_ finding: AuditFinding) throws -> [UInt64] {
        guard case .digests(let digests) = finding.content else {
            throw PropertyFailure(description: "a list")
        }
        return digests
    }

    private func records(_ finding: AuditFinding) throws -> [AuditFinding.Record] {
        guard case .records(let records) = finding.content else {
            throw PropertyFailure(description: "no list")
        }
        return records
    }

    @Test("a pull that brings something ends with the digest of the scope, any other without")
    func scopeDigest() throws {
        office.dispatch(need, to: "A")
        let pushed = try #require(try office.exchange().page)
        #expect(pushed.scopeDigest == (try digest(office.scope)))
        #expect(pushed.scopeDigest != 0)
        let empty = try #require(try office.exchange().page)
        #expect(empty.scopeDigest == nil)
        let brought = try #require(try worker.exchange().page)
        #expect(brought.scopeDigest == (try digest(worker.scope)))
    }

    @Test("an empty answer is as small as ever, and the digest costs ten bytes")
    func bytes() throws {
        let empty = try office.exchange()
        // attempt 5, clock 8, page: cursor 11 or so, records and changes 4; schema 2.
        #expect(empty.encoded().count < 40)
        worker.edit(need, .phone, .text("1"))
        try worker.sync()
        var answer = try office.exchange()
        let bytes = answer.encoded().count
        answer.page?.scopeDigest = nil
        #expect(bytes - answer.encoded().count == 10)
    }

    @Test("what the ledger's own disk has altered replaces nobody's good copy, and is told")
    func alteredRecord() throws {
        let stored = try #require(try hub.record(need))
        let note = try #require(try hub.records().first { $0.kind == Kind.note.rawValue })
        let connection = try Connection(path: hub.path, mode: .readWrite)
        let state = try #require(
            try connection.first("SELECT state FROM record WHERE kind = 1") { $0.bytes(at: 0) })
        let bucket = try #require(office.scope.buckets.firstIndex(of: .grid("g1")))
        let part = AuditPart(bucket: bucket)
        func store(_ bytes: [UInt8]) throws {
            try connection.run("UPDATE record SET state = ? WHERE kind = 1", .bytes(bytes))
        }
        var altered = state
        altered[altered.count - 1] ^= 1
        try store(altered)
        #expect(try hub.record(need)?.state != stored.state)
        for _ in 0..<2 {
            let page = try ask(office, [part], refetch: [need, note.id])
            #expect(page.records.map(\.id) == [note.id])
            #expect(page.departed == [])
            // As it was admitted, so that a good copy is not taken for a bad one.
            let listed = try records(try #require(page.findings.first))
            #expect(Set(listed.map(\.digest)) == [stored.digest, note.digest])
            let events = try hub.ledger.events()
            #expect(events.map(\.kind) == [.recordAltered])
            #expect(events.map(\.sequence) == [stored.firstSequence])
        }
        try store(state)
        let page = try ask(office, [part], refetch: [need])
        #expect(page.records.map(\.id) == [need])
        #expect(try hub.ledger.events().count == 1)
        #expect(try hub.ledger.check() == [])
    }

    @Test("a record that lies in two buckets held counts twice, and says so")
    func places() throws {
        let page = try ask(worker, [.scope], refetch: [need])
        #expect(page.records.map(\.places) == [[.recorder, .grid]])
        let sums = try digests(try #require(page.findings.first))
        #expect(sums.count == worker.scope.buckets.count)
        #expect(sums.reduce(0, &+) == page.scopeDigest)
        let record = try #require(try hub.record(need))
        let note = try #require(try hub.records().first { $0.kind == Kind.note.rawValue })
        let index = try #require(worker.scope.buckets.firstIndex(of: .grid("g1")))
        #expect(sums[index] == record.digest &+ note.digest)
    }

    @Test("a part of few records is listed, one of many is divided by the next byte")
    func parts() throws {
        let bucket = try #require(office.scope.buckets.firstIndex(of: .grid("g1")))
        let listed = try ask(office, [AuditPart(bucket: bucket)]).findings
        let few = try records(try #require(listed.first))
        let all = try hub.records().filter { $0.grid == "g1" }
        #expect(Set(few.map(\.id)) == Set(all.map(\.id)) && few.count == 2)
        #expect(
            few.allSatisfy { entry in
                all.contains { $0.id == entry.id && $0.digest == entry.digest }
            })

        for number in 0..<300 { worker.addNeed("需求\(number)") }
        try worker.sync()
        try office.sync()
        let page = try ask(office, [.scope, AuditPart(bucket: bucket)])
        #expect(page.findings.map(\.part) == [.scope, AuditPart(bucket: bucket)])
        let sums = try digests(page.findings[1])
        #expect(sums.count == 256)
        #expect(sums.reduce(0, &+) == (try digests(page.findings[0]))[bucket])
        var found: [RecordID: UInt64] = [:]
        for byte in 0..<256 {
            let part = AuditPart(bucket: bucket, prefix: [UInt8(byte)])
            let entries = try records(try #require(try ask(office, [part]).findings.first))
            #expect(entries.reduce(0) { $0 &+ $1.digest } == sums[byte])
            for entry in entries { found[entry.id] = entry.digest }
        }
        let expected = try hub.records().filter { $0.grid == "g1" }
        #expect(found == Dictionary(uniqueKeysWithValues: expected.map { ($0.id, $0.digest) }))
    }

    @Test("what is asked for again comes whole, or departs when it is not the device's to hold")
    func refetch() throws {
        let elsewhere = office.addNeed("别处", grid: "g4")
        try office.sync()
        let unknown = RecordID(milliseconds: 1, replica: ReplicaID(truncating: 5), number: 1)
        let page = try ask(worker, refetch: [need, elsewhere, unknown])
        #expect(page.records.map(\.id) == [need])
        #expect(page.records[0].createdMilliseconds != nil)
        #expect(page.departed == [elsewhere, unknown])
        #expect(page.scopeDigest == (try digest(worker.scope)))
    }

    @Test("a page that is not the last answers nothing, so that all is of one state")
    func onlyTheLastPage() throws {
        for number in 0..<20 { office.addNeed("路灯 \(number)") }
        try office.sync()
        var request = worker.request(pageBytes: 1)
        request.audit = AuditRequest(parts: [.scope], refetch: [need])
        let first = try #require(try hub.sync(worker, request).page)
        #expect(first.cursor == nil && first.findings.isEmpty && first.scopeDigest == nil)
        #expect(!first.records.contains { $0.id == need })
    }

    @Test("a full page leaves what is asked for again to the next one")
    func full() throws {
        for number in 0..<20 { worker.addNeed("路灯 \(number)") }
        try worker.sync()
        let ids = try hub.records().filter { $0.kind == Kind.need.rawValue }.map(\.id)
        var request = worker.request(pageBytes: 100)
        request.audit = AuditRequest(refetch: ids)
        let page = try #require(try hub.sync(worker, request).page)
        #expect(page.cursor != nil)
        #expect((1..<10).contains(page.records.count))
        #expect(page.records.map(\.id) == Array(ids.prefix(page.records.count)))
    }

    @Test("parts are those of the scope that the device holds, so after a change none are told")
    func changedScope() throws {
        var request = worker.request()
        request.scope = 1
        request.audit = AuditRequest(parts: [.scope, AuditPart(bucket: 1)])
        #expect(try #require(try hub.sync(worker, request).page).findings.isEmpty)
        #expect(try ask(worker, [AuditPart(bucket: 9_999)]).findings.isEmpty)
    }

    @Test("a bucket without records is an empty list")
    func nothingThere() throws {
        let bucket = try #require(worker.scope.buckets.firstIndex(of: .grid("g2")))
        let finding = try #require(try ask(worker, [AuditPart(bucket: bucket)]).findings.first)
        #expect(try records(finding).isEmpty)
    }
}

/// Counts the batches that are read.
private final class BatchCountingStorage: SQLiteLedgerStorage {
    var readCount = 0

    override func batch(holding sequence: UInt64) throws -> BatchRow? {
        readCount += 1
        return try super.batch(holding: sequence)
    }

    override func batch(number: Int64) throws -> BatchRow? {
        readCount += 1
        return try super.batch(number: number)
    }
}
