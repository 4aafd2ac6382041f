import NeedModel
import SQLiteStore
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

/// What stands by each record of what devices brought back, beside the batches that hold it.
@Suite struct BroughtRowTests {
    let hub: TestHub
    let worker: TestDevice
    let office: TestDevice
    /// Recorded by the worker before the backup and edited after it; recorded after it.
    let old: RecordID
    let new: RecordID
    /// Recorded after the backup by people whose replicas the copy does not know.
    let strangers: [(device: TestDevice, need: RecordID)]
    /// The backup, to which nothing was brought yet.
    let copy: TestHub

    init() throws {
        hub = try TestHub.withCrew(seed: 61)
        let (worker, office) = (try hub.worker("v1"), try hub.office("b"))
        let late = [try hub.worker("v1"), try hub.worker("v1")]
        for device in [worker, office] + late { try device.sync() }
        old = worker.addNeed("旧")
        try worker.sync()
        try office.sync()
        try hub.ledger.backup(to: hub.scratch.path("copy"))
        worker.edit(old, .address, .text("一"))
        new = worker.addNeed("新")
        try worker.sync()
        strangers = try late.map { device in
            let need = device.addNeed("别人的")
            try device.sync()
            return (device, need)
        }
        try office.sync()
        copy = try hub.opening("copy", seed: 5)
        (self.worker, self.office) = (worker, office)
    }

    private func alter(_ sql: String) throws {
        try Connection(path: copy.path, mode: .readWrite).execute(sql)
    }

    /// The worker sends again what it wrote after the backup, as one that never got an answer.
    private func sendAgain() throws -> Outcomes {
        let groups = worker.settled.filter { $0.firstCounter > 2 }
        worker.cursor = .origin
        worker.scopeID = 0
        return try #require(try copy.sync(worker, worker.request(groups: groups)).outcomes)
    }

    private func brought() throws -> [BroughtRow] {
        try copy.storage.snapshot {
            var rows: [BroughtRow] = []
            try copy.storage.forEachBrought(of: nil) { rows.append($0) }
            return rows
        }
    }

    /// The pairs of the index by replica.
    private func listed() throws -> [[Int64]] {
        try Connection(path: copy.path, mode: .readOnly)
            .all("SELECT replica, record FROM brought_replica ORDER BY replica, record") {
                [$0.integer(at: 0), $0.integer(at: 1)]
            }
    }

    @Test("what came back of a record is read without its batch")
    func withoutBatch() throws {
        try office.bring(to: copy)
        try alter("UPDATE batch SET content = x'01FF' WHERE substr(content, 1, 1) = x'01'")
        let outcomes = try sendAgain()
        #expect(outcomes.refusals == [] && outcomes.forkCounter == nil)
        for (id, field) in [(old, NeedField.address), (new, .text)] {
            #expect(try copy.register(field, of: id).versions.count == 1)
        }
    }

    @Test(
        "what the disk altered of it counts as never brought, and holds up nobody",
        arguments: [
            "content = substr(content, 1, length(content) - 1)", "content = x''",
            "device = device + 1", "checksum = checksum + 1",
        ])
    func altered(change: String) throws {
        try office.bring(to: copy)
        #expect(try copy.ledger.history(of: new, for: office.id).count == 2)
        try alter("UPDATE brought SET \(change)")
        #expect(try copy.ledger.history(of: new, for: office.id).isEmpty)
        let outcomes = try sendAgain()
        #expect(outcomes.forkCounter == nil)
        // Nothing tells any more that the need was not created here.
        #expect(outcomes.refusals.map(\.code) == [RejectionCode.recordExists.rawValue])
        #expect(try copy.register(.text, of: new).versions.count == 1)
    }

    @Test(
        "check finds where it is not what its batch says",
        arguments: [
            ("UPDATE brought SET content = zeroblob(length(content))", "not as it was stored"),
            ("UPDATE brought SET device = 1", "not as it was stored"),
            ("UPDATE brought SET checksum = checksum + 1", "not as it was stored"),
            ("UPDATE brought SET record = record + 64", "not as it was stored"),
            (
                "DELETE FROM brought WHERE record = (SELECT MAX(record) FROM brought)",
                "not what stands by its records"
            ),
            ("DELETE FROM brought", "not what stands by its records"),
            ("DELETE FROM brought_replica", "not listed"),
        ])
    func check(sql: String, finding: String) throws {
        try office.bring(to: copy)
        #expect(try copy.ledger.check() == [])
        try alter(sql)
        let findings = try copy.secondProcess(seed: 9).check()
        #expect(findings.contains { $0.contains(finding) }, "\(findings)")
        #expect(!findings.contains { $0.contains("别人的") })
    }

    @Test("a writer who is known again has its own records sent anew and no others")
    func onlyItsOwn() throws {
        let confirmed = try office.bring(to: copy)
        try office.endRecovery(at: copy, confirmed: confirmed)
        // Which they are is found without what was brought.
        try alter("UPDATE batch SET content = x'01FF' WHERE substr(content, 1, 1) = x'01'")
        let (device, need) = strangers[0]
        device.cursor = .origin
        device.scopeID = 0
        _ = try copy.sync(device, device.request(groups: []))
        #expect(try copy.record(need)?.device == device.id)
        let page = try #require(try copy.sync(office, office.request(groups: [])).page)
        #expect(page.records.map(\.id) == [need])
        #expect(page.writers.map(\.replica) == [device.replica])
    }

    /// Makes the copy what an older program would have left, with a row for each record that a batch
    /// touched.
    private func downgrade() throws {
        try alter(
            """
            CREATE TABLE kept (record INTEGER NOT NULL, batch INTEGER NOT NULL,
                PRIMARY KEY (record, batch)) WITHOUT ROWID;
            INSERT INTO kept SELECT record, batch FROM brought;
            INSERT OR IGNORE INTO kept SELECT (SELECT MAX(key) FROM record WHERE kind = 3), batch
            FROM brought;
            DROP TABLE brought;
            DROP TABLE brought_replica;
            ALTER TABLE kept RENAME TO brought;
            PRAGMA user_version = 2;
            """)
    }

    @Test("a ledger of version 2 gets from its batches what this program would have stored")
    func migration() throws {
        try office.bring(to: copy)
        try worker.bring(to: copy)
        let before = (rows: try brought(), listed: try listed())
        #expect(before.rows.count == 4 && before.listed.count == 4)
        try downgrade()
        try copy.restart(seed: 9)
        #expect(try brought() == before.rows)
        #expect(try listed() == before.listed)
        #expect(try copy.ledger.check() == [])
        #expect(try sendAgain().refusals == [])
    }

    @Test("a batch that cannot be read is left out, and does not keep a ledger from its upgrade")
    func migrationOfDamage() throws {
        try strangers[0].device.bring(to: copy)
        let first = try brought()
        try office.bring(to: copy)
        let all = try brought()
        #expect(!first.isEmpty && first.count < all.count)
        try downgrade()
        try alter("UPDATE batch SET content = x'01FF' WHERE number = \(first[0].batch)")
        try copy.restart(seed: 9)
        #expect(try brought() == all.filter { !first.contains($0) })
        let findings = try copy.ledger.check()
        #expect(findings.contains("batch \(first[0].batch) cannot be read"))
        #expect(!findings.contains { $0.contains("stands by") }, "\(findings)")
    }

    @Test("what is in use stays in memory, and the rest within its bound")
    func kept() throws {
        try office.bring(to: copy)
        try copy.storage.snapshot {
            let ids = [old, new] + strangers.map(\.need)
            let records = try ids.map { try #require(try copy.storage.record($0)) }
            let counts = try records.map {
                try #require(try BroughtChanges(storage: copy.storage).of($0)).changes.count
            }
            #expect(counts == [1, 2, 2, 2])
            // Room for two of them in each half.
            let brought = BroughtChanges(storage: copy.storage, countMax: 12)
            let inUse = try #require(try brought.of(records[1]))
            let idle = try #require(try brought.of(records[0]))
            for record in records[2...] + records[2...] {
                _ = try brought.of(record)
                #expect(try brought.of(records[1]) === inUse)
            }
            #expect(try brought.of(records[0]) !== idle)
        }
    }
}
