import Foundation
import HubLedger
import NeedModel
import SQLiteStore
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

/// The file itself: created, checked, copied, damaged, full, busy.
@Suite("Care of the ledger's file")
struct CareTests {
    let hub: TestHub
    let worker: TestDevice
    let need: RecordID

    init() throws {
        hub = try TestHub()
        worker = try hub.worker("v1")
        try worker.sync()
        need = worker.addNeed("缺路灯")
        worker.addNote(on: need)
        try worker.sync()
    }

    private func file(_ name: String) -> String { hub.scratch.path(name) }

    private func failure(_ call: () throws -> Void) throws -> LedgerError {
        let error = try #require(throws: LedgerError.self, performing: call)
        #expect(!error.description.isEmpty)
        #expect(!error.hint.isEmpty)
        return error
    }

    private func open(_ path: String) throws -> Ledger {
        try Ledger(opening: path, clock: { TestHub.start })
    }

    // MARK: Digests and check

    @Test("a sound ledger has no findings")
    func sound() throws {
        #expect(try hub.ledger.check() == [])
    }

    @Test("the digests are the sums of the shares of what lies in each bucket")
    func digests() throws {
        let office = try hub.office("b")
        try office.sync()
        office.dispatch(need, to: "A")
        try office.sync()
        office.dispatch(need, to: "B")
        office.edit(need, .grid, .text("g4"))
        try office.sync()
        var expected: [Bucket: UInt64] = [:]
        for record in try hub.records() {
            for entry in record.state.fields {
                for version in entry.register.versions {
                    for bucket in record.placement.buckets {
                        expected[bucket, default: 0] &+= BucketDigest.share(
                            record: record.id, field: entry.field, version: version)
                    }
                }
            }
        }
        var stored: [Bucket: UInt64] = [:]
        for entry in try hub.storage.snapshot({ try hub.storage.digests() }) {
            stored[entry.bucket] = entry.value
        }
        #expect(stored[.team("A")] == 0)
        #expect(stored[.grid("g1")] == 0)
        #expect(stored.filter { $0.value != 0 } == expected)
    }

    struct Damage: Sendable, CustomTestStringConvertible {
        var what: String
        var sql: String
        var finding: String

        var testDescription: String { what }
    }

    static let damages: [Damage] = [
        Damage(
            what: "a record's state cut off",
            sql: "UPDATE record SET state = substr(state, 1, 9) WHERE kind = 1",
            finding: "cannot be read"),
        Damage(
            what: "a value in a record flipped",
            sql: """
                UPDATE record SET state = substr(state, 1, length(state) - 1) || x'7A'
                WHERE kind = 1
                """, finding: "digest"),
        Damage(
            what: "a record's id gone", sql: "UPDATE record SET id = x'00' WHERE kind = 1",
            finding: "cannot be read"),
        Damage(
            what: "a writer gone", sql: "UPDATE replica SET row = 999 WHERE device IS NOT NULL",
            finding: "cannot be read"),
        Damage(
            what: "a record in the wrong grid",
            // The code stands in that column alone, so the value has changed with it.
            sql: "UPDATE record SET grid = 'g4' WHERE kind = 1", finding: "digest"),
        Damage(
            what: "a record with the wrong team",
            sql: "UPDATE record SET team = 'B' WHERE kind = 1", finding: "not its own"),
        Damage(
            what: "a record gone", sql: "DELETE FROM record WHERE kind = 1", finding: "digest"),
        Damage(
            what: "a conflict wrongly listed",
            sql: "UPDATE record SET conflicted = 1 WHERE kind = 1", finding: "wrongly listed"),
        Damage(
            what: "a digest changed", sql: "UPDATE bucket SET digest = digest + 1",
            finding: "digest"),
        Damage(what: "a digest gone", sql: "DELETE FROM bucket", finding: "no digest"),
        Damage(
            what: "a batch flipped",
            sql: "UPDATE batch SET content = substr(content, 1, length(content) - 1) || x'55'",
            finding: "batch"),
        Damage(
            what: "outcomes cut off", sql: "UPDATE batch SET outcomes = x'02'",
            finding: "cannot be read"),
        Damage(
            what: "a batch gone",
            sql: "DELETE FROM batch WHERE number = (SELECT MAX(number) - 1 FROM batch)",
            finding: "does not follow"),
    ]

    @Test("check finds damage, and reads on", arguments: damages)
    func damaged(_ damage: Damage) throws {
        let connection = try Connection(path: hub.path, mode: .readWrite)
        try connection.execute(damage.sql)
        // As the operator does, in a process that remembers nothing.
        let findings = try hub.secondProcess(seed: 9).check()
        #expect(findings.contains { $0.contains(damage.finding) }, "\(findings)")
        #expect(!findings.contains { $0.contains("缺路灯") })
    }

    static let guarded = ["record.state", "batch.content", "batch.outcomes", "batch.touched"]

    /// Stamps, places, outcomes and what was touched too, which no digest guards.
    @Test("no byte of a record or a batch is altered unseen", arguments: guarded)
    func everyByte(_ name: String) throws {
        let parts = name.split(separator: ".")
        let (table, column) = (parts[0], parts[1])
        let office = try hub.office("b")
        try office.sync()
        office.edit(need, .address, .text("一号"))
        worker.edit(need, .address, .text("二号"))
        try office.sync()
        try worker.sync()
        let connection = try Connection(path: hub.path, mode: .readWrite)
        let which =
            table == "record"
            ? "kind = 1" : "number = (SELECT MAX(number) FROM batch WHERE length(touched) > 3)"
        let blob = try #require(
            try connection.prepare(uncached: "SELECT \(column) FROM \(table) WHERE \(which)")
                .first { $0.bytes(at: 0) })
        func store(_ bytes: [UInt8]) throws {
            try connection.prepare(
                uncached: "UPDATE \(table) SET \(column) = ? WHERE \(which)"
            ).run(.bytes(bytes))
        }
        #expect(blob.count > 8)
        for index in blob.indices {
            var altered = blob
            altered[index] ^= 1 << (index % 8)
            try store(altered)
            let findings = try hub.secondProcess(seed: 9).check()
            #expect(!findings.isEmpty, "byte \(index) of \(blob.count)")
        }
        try store(blob)
        #expect(try hub.secondProcess(seed: 9).check() == [])
    }

    @Test("a batch's other columns are guarded, too")
    func batchColumns() throws {
        let connection = try Connection(path: hub.path, mode: .readWrite)
        for column in ["received_milliseconds", "newest_stamp", "replica", "next_counter"] {
            let change = "UPDATE batch SET \(column) = \(column)"
            try connection.execute("\(change) + 1 WHERE number = 2")
            let findings = try hub.secondProcess(seed: 9).check()
            #expect(findings.contains("batch 2 is not as it was stored"), "\(column)")
            try connection.execute("\(change) - 1 WHERE number = 2")
        }
        #expect(try hub.secondProcess(seed: 9).check() == [])
    }

    @Test("a record says when it was created, and what it is")
    func creation() throws {
        let connection = try Connection(path: hub.path, mode: .readWrite)
        try connection.execute(
            "UPDATE record SET created_milliseconds = created_milliseconds + 1 WHERE kind = 5")
        let findings = try hub.secondProcess(seed: 9).check()
        #expect(findings.contains { $0.contains("not as it was admitted") }, "\(findings)")
    }

    @Test("random damage to a record or a batch stops nothing but what touches it")
    func randomDamage() throws {
        forEachSeed(200) { generator in
            let hub = try TestHub.withCrew(seed: generator.next())
            let worker = hub.crew[0]
            try worker.sync()
            let need = worker.addNeed("缺路灯")
            worker.edit(need, .address, .text("一号"))
            try worker.sync()
            let connection = try Connection(path: hub.path, mode: .readWrite)
            let column = ["state", "content", "outcomes", "touched"]
                .randomElement(using: &generator)!
            let table = column == "state" ? "record" : "batch"
            var blob =
                try connection.prepare(
                    uncached: "SELECT \(column) FROM \(table) ORDER BY rowid DESC LIMIT 1"
                ).first { $0.bytes(at: 0) } ?? []
            try check(!blob.isEmpty, "nothing to damage")
            for _ in 0...generator.below(3) {
                blob[generator.below(blob.count)] = UInt8(truncatingIfNeeded: generator.next())
            }
            try connection.prepare(
                uncached: """
                    UPDATE \(table) SET \(column) = ?
                    WHERE rowid = (SELECT MAX(rowid) FROM \(table))
                    """
            ).run(.bytes(blob))
            // Whatever comes of it is an answer or an error, never a crash.
            _ = try hub.ledger.check()
            let other = hub.crew[5]
            _ = try? other.sync()
            _ = try? hub.ledger.history(of: need, for: other.id)
            _ = try? hub.ledger.needs()
            _ = try? hub.ledger.conflicts()
        }
    }

    // MARK: Backup

    @Test("a backup without a name is refused as such")
    func namelessBackup() throws {
        guard case .file(let what, _) = try failure({ try hub.ledger.backup(to: "") }) else {
            Issue.record("another error")
            return
        }
        #expect(what.contains("no name"))
    }

    @Test("a backup opens, checks clean, and holds what was there")
    func backup() throws {
        try hub.ledger.backup(to: file("copy"))
        let copy = try hub.opening("copy", seed: 4)
        #expect(try copy.ledger.check() == [])
        #expect(try copy.records() == (try hub.records()))
        #expect(try copy.head == (try hub.head))
    }

    @Test("a backup made while others write is of one moment")
    func backupWhileWriting() throws {
        let second = try hub.secondProcess(seed: 9)
        for number in 0..<20 {
            worker.addNeed("路灯 \(number)")
            try worker.sync()
            if number == 10 { try second.backup(to: file("copy")) }
        }
        let copy = try hub.opening("copy", seed: 4)
        #expect(try copy.ledger.check() == [])
        #expect(try copy.ledger.needs().count == 12)
        #expect(try hub.ledger.needs().count == 21)
    }

    @Test("a reader sees one moment and holds up no writer")
    func readersDoNotBlock() throws {
        let second = try hub.secondProcess(seed: 9)
        try hub.storage.snapshot {
            let before = try hub.storage.head()
            try second.dispatch(need, team: "A", due: nil)
            #expect(try hub.storage.head() == before)
        }
        #expect(try hub.record(need)?.team == "A")
    }

    // MARK: Files that are no ledgers

    @Test("creating over a file is refused, and so is a ledger without a name")
    func create() throws {
        let here = try failure {
            try Ledger.create(
                at: hub.path, banner: "1", name: "旗", offsetMinutes: 0, clock: { 0 })
        }
        guard case .file = here else {
            Issue.record("\(here)")
            return
        }
        for (banner, name, offset) in [("", "旗", 0), ("1", "", 0), ("1", "旗", 900)] {
            _ = try failure {
                try Ledger.create(
                    at: file("new"), banner: banner, name: name, offsetMinutes: offset,
                    clock: { 0 })
            }
            #expect(!FileManager.default.fileExists(atPath: file("new")))
        }
    }

    @Test("a ledger that is not there is not made")
    func missing() throws {
        guard case .file = try failure({ _ = try open(file("missing")) }) else {
            Issue.record("another error")
            return
        }
        #expect(!FileManager.default.fileExists(atPath: file("missing")))
    }

    @Test("a ledger that could not be made leaves nothing in the way of the next try")
    func failedCreation() throws {
        // With the ending of SQLite's journal the name is too long, so the first commit fails.
        let path = file(String(repeating: "n", count: 250))
        let before = try names()
        _ = try failure {
            try Ledger.create(
                at: path, banner: "1", name: "旗", offsetMinutes: 0, clock: { 0 })
        }
        #expect(try names().subtracting(before).allSatisfy { $0.hasSuffix(".lock") })
    }

    @Test(
        "a log whose ledger was moved away is not taken for nothing",
        arguments: ["-wal", "-journal"])
    func forlornLog(suffix: String) throws {
        let path = file("moved")
        let log = Data("the last commits".utf8)
        try log.write(to: URL(filePath: path + suffix))
        let error = try failure {
            try Ledger.create(
                at: path, banner: "1", name: "旗", offsetMinutes: 0, clock: { 0 })
        }
        #expect(error.description.contains("moved" + suffix))
        #expect(try Data(contentsOf: URL(filePath: path + suffix)) == log)
    }

    private func names() throws -> Set<String> {
        try Set(FileManager.default.contentsOfDirectory(atPath: hub.scratch.directory))
    }

    @Test(
        "a file of something else is left alone",
        arguments: ["text", "sqlite", "directory", "empty", "empty sqlite"])
    func notALedger(kind: String) throws {
        let path = file(kind)
        switch kind {
        case "empty":
            try Data().write(to: URL(filePath: path))
        case "empty sqlite":
            try Connection(path: path, mode: .readWriteCreate).execute(
                "CREATE TABLE a (b); DROP TABLE a")
        case "text":
            try Data(repeating: 0x41, count: 5_000).write(to: URL(filePath: path))
        case "sqlite":
            try Connection(path: path, mode: .readWriteCreate).execute("CREATE TABLE a (b)")
        default:
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true)
        }
        let before = try? readFile(path)
        guard case .file(_, let hint) = try failure({ _ = try open(path) }) else {
            Issue.record("another error")
            return
        }
        #expect(hint.contains("init") == kind.contains("empty"))
        #expect((try? readFile(path)) == before)
    }

    @Test("a ledger of a newer program is left alone and says so")
    func newerSchema() throws {
        try hub.ledger.backup(to: file("newer"))
        try Connection(path: file("newer"), mode: .readWrite).setUserVersion(99)
        let before = try readFile(file("newer"))
        let error = try failure { _ = try open(file("newer")) }
        guard case .file(let what, let hint) = error else {
            Issue.record("\(error)")
            return
        }
        #expect(what.contains("99"))
        #expect(hint.contains("Upgrade"))
        #expect(try readFile(file("newer")) == before)
    }

    // MARK: Full and busy

    @Test("a full disk stores nothing of a commit, says so, and the next try succeeds")
    func fullDisk() throws {
        let storage = try SQLiteLedgerStorage(path: hub.path, creates: false)
        let ledger = hub.ledger(on: storage)
        let before = try hub.records()
        let head = try hub.head
        for number in 0..<200 {
            worker.addNeed(String(repeating: "缺路灯\(number)", count: 100))
        }
        let request = worker.request()
        try storage.limitPages(to: 1)
        let error = try failure { _ = try ledger.sync([(worker.id, request)]) }
        guard case .disk = error else {
            Issue.record("\(error)")
            return
        }
        #expect(!error.description.contains("缺路灯"))
        #expect(try hub.records() == before)
        #expect(try hub.head == head)
        #expect(try hub.ledger.check() == [])
        try storage.limitPages(to: 1_000_000)
        let answer = try #require(try ledger.sync([(worker.id, request)]).answers.first).get()
        #expect(answer.outcomes?.settledCounter == worker.nextCounter)
        #expect(try hub.ledger.check() == [])
    }

    @Test("a full disk in the middle of an import stores nothing of it")
    func fullDiskImport() throws {
        let storage = try SQLiteLedgerStorage(path: hub.path, creates: false)
        let ledger = Ledger(
            storage: storage, clock: { TestHub.start }, random: TestHub.random(seed: 6))
        var csv = "code,name,level,parent\n"
        for number in 0..<2_000 { csv += "x\(number),网格\(number),grid,v1\n" }
        try storage.limitPages(to: 1)
        guard case .disk = try failure({ _ = try ledger.importTable(.territory, csv: csv) })
        else {
            Issue.record("another error")
            return
        }
        #expect(try hub.storage.snapshot { try hub.storage.territories().count } == 10)
        #expect(try hub.ledger.check() == [])
    }

    @Test("a ledger that another program holds says that it is busy, and nothing is lost")
    func busy() throws {
        let holder = try Connection(path: hub.path, mode: .readWrite)
        let storage = try SQLiteLedgerStorage(
            path: hub.path, creates: false, busyTimeoutMilliseconds: 20)
        let ledger = Ledger(
            storage: storage, clock: { TestHub.start }, random: TestHub.random(seed: 6))
        worker.addNeed("水管冻裂")
        let request = worker.request()
        try holder.transaction {
            guard
                case .busy = try failure({ _ = try ledger.sync([(worker.id, request)]) })
            else {
                Issue.record("another error")
                return
            }
            // Reading goes on.
            #expect(try ledger.needs().count == 1)
        }
        _ = try #require(try ledger.sync([(worker.id, request)]).answers.first).get()
        #expect(try ledger.needs().count == 2)
    }

    @Test("the log is folded unless somebody reads, and who reads is not waited for")
    func foldedLog() throws {
        worker.addNeed("水管冻裂")
        try worker.sync()
        let reader = try Connection(path: hub.path, mode: .readWrite)
        try reader.transaction(.deferred) {
            _ = try reader.first("SELECT id FROM ledger") { $0.integer(at: 0) }
            worker.addNeed("缺路灯")
            try worker.sync()
            guard case .busy = try failure({ try hub.ledger.foldLog() }) else {
                Issue.record("another error")
                return
            }
        }
        try hub.ledger.foldLog()
        #expect(try readFile(hub.path + "-wal").isEmpty)
        #expect(try hub.ledger.needs().count == 3)
    }

    @Test("the figures count needs, conflicts, devices by age and refusals")
    func figures() throws {
        _ = try hub.worker("v1", name: "从未同步")
        hub.time.now += 2 * 3_600_000
        try hub.ledger.flush()
        let figures = try hub.ledger.figures()
        #expect(figures.needs == 1)
        #expect(figures.head == (try hub.head))
        let ages = figures.devicesByAge.filter { $0.count > 0 }.map { "\($0.label) \($0.count)" }
        #expect(ages == ["24h 1", "never 1"])
        #expect(figures.bytes > 10_000)
    }

    @Test("the figures count the bytes of the log also behind a link")
    func figuresBehindALink() throws {
        let path = file("linked")
        let link = file("link")
        try hub.ledger.backup(to: path)
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: path)
        let ledger = try Ledger(opening: link, clock: { 0 })
        try ledger.setServerKey([UInt8](repeating: 1, count: 32))
        let bytes = try readFile(path).count + readFile(path + "-wal").count
        #expect(try !readFile(path + "-wal").isEmpty)
        #expect(try ledger.figures().bytes == Int64(bytes))
    }
}

func readFile(_ path: String) throws -> [UInt8] {
    try Array(Data(contentsOf: URL(filePath: path)))
}
