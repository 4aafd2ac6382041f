import Foundation
import Glibc
import NeedModel
import SQLiteStore
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

/// A backup in place of the ledger, and what the ledger remembers of such things.
@Suite("Restoring a ledger")
struct RestoreTests {
    let hub: TestHub
    let worker: TestDevice
    let backup: String

    /// One need before the backup and one after it.
    init() throws {
        hub = try TestHub()
        worker = try hub.worker("v1")
        worker.addNeed("缺路灯")
        try worker.sync()
        backup = hub.scratch.path("backup")
        try hub.ledger.backup(to: backup)
        worker.addNeed("水管冻裂")
        try worker.sync()
    }

    /// The ledger's files in a place where nobody has them open.
    private func closedCopy() throws -> String {
        let path = hub.scratch.path("closed")
        for ending in ["", "-wal"] {
            try FileManager.default.copyItem(atPath: hub.path + ending, toPath: path + ending)
        }
        return path
    }

    private func restore(_ file: String, to path: String) throws -> RestoreReport {
        try Ledger.restore(from: file, to: path, clock: { TestHub.start + 5_000 })
    }

    private func names() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: hub.scratch.directory).sorted()
    }

    private func needs(in path: String) throws -> Int {
        try Ledger(opening: path, clock: { TestHub.start }).needs().count
    }

    @Test("the backup is the ledger, in a term of its own, and the former ledger is kept")
    func restores() throws {
        let path = try closedCopy()
        let report = try restore(backup, to: path)
        #expect(report.needs == 1)
        let kept = try #require(report.keptAs)
        #expect(kept.hasSuffix(".replaced-20250615T150645Z"))
        #expect(try needs(in: kept) == 2)
        let ledger = try Ledger(opening: path, clock: { TestHub.start })
        #expect(try ledger.needs().count == 1)
        #expect(try ledger.check() == [])
        let former = try Ledger(opening: backup, clock: { TestHub.start }).info()
        let info = try ledger.info()
        #expect(info.head == former.head + 1)
        #expect(info.term != former.term)
        #expect(
            try ledger.events() == [
                LedgerEvent(
                    kind: .restored, milliseconds: TestHub.start + 5_000, term: info.term,
                    sequence: former.head)
            ])
    }

    @Test("a restore can be undone by restoring what was kept")
    func undone() throws {
        let path = try closedCopy()
        let kept = try #require(try restore(backup, to: path).keptAs)
        #expect(try restore(kept, to: path).needs == 2)
        #expect(try needs(in: path) == 2)
    }

    @Test("a ledger with its log serves as a backup too")
    func withLog() throws {
        let copy = try closedCopy()
        let wal = try readFile(copy + "-wal")
        #expect(!wal.isEmpty)
        #expect(try restore(copy, to: hub.scratch.path("new")).needs == 2)
        #expect(try readFile(copy + "-wal") == wal)
    }

    @Test("a missing or damaged ledger is replaced", arguments: [nil, 0, 10, 9_000])
    func missingOrDamaged(bytes: Int?) throws {
        let path = hub.scratch.path("other")
        if let bytes {
            try Data(repeating: 0x41, count: bytes).write(to: URL(filePath: path))
        }
        let report = try restore(backup, to: path)
        #expect(try needs(in: path) == 1)
        #expect(try report.keptAs.map { try readFile($0).count } == bytes)
    }

    @Test(
        "a ledger that root restores or makes where there was none is its directory's owner's",
        .enabled(if: geteuid() == 0), arguments: [false, true])
    func owner(isNew: Bool) throws {
        let directory = hub.scratch.path("service")
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true,
            attributes: [.ownerAccountID: 65_534, .groupOwnerAccountID: 65_534])
        let path = directory + "/ledger"
        if isNew {
            try Ledger.create(
                at: path, banner: "1", name: "旗", offsetMinutes: 0, clock: { 0 })
        } else {
            _ = try restore(backup, to: path)
        }
        for name in ["ledger", "ledger.lock"] {
            var status = stat()
            #expect(stat(directory + "/" + name, &status) == 0)
            #expect(status.st_uid == 65_534 && status.st_gid == 65_534, "\(name)")
            if !isNew { #expect(status.st_mode & 0o777 == 0o600, "\(name)") }
        }
    }

    @Test("a ledger that is open is not replaced, and neither is one restored from it")
    func open() throws {
        let before = try names()
        for (source, target) in [(backup, hub.path), (hub.path, hub.scratch.path("new"))] {
            #expect(throws: LedgerError.self) { _ = try restore(source, to: target) }
        }
        #expect(
            try names().filter { !$0.hasSuffix(".lock") }
                == before.filter { !$0.hasSuffix(".lock") })
        #expect(try hub.ledger.needs().count == 2)
    }

    @Test("nobody opens a ledger while it is being replaced")
    func replacing() throws {
        let path = try closedCopy()
        var use: LedgerUse? = try LedgerUse(alone: path)
        #expect(throws: LedgerError.self) { _ = try needs(in: path) }
        #expect(throws: LedgerError.self) { _ = try restore(backup, to: path) }
        withExtendedLifetime(use) {}
        use = nil
        #expect(try needs(in: path) == 2)
    }

    static let unfit: [(what: String, sql: String?, words: String)] = [
        ("garbage", nil, "not a backup"),
        ("another banner", "UPDATE ledger SET banner = 'x'", "is of x"),
        ("another program", "PRAGMA application_id = 7", "not a backup"),
        ("a newer program", "PRAGMA user_version = 99", "version 99"),
        ("a lost record", "DELETE FROM record WHERE kind = 1", "damaged"),
        ("a lost batch", "DELETE FROM batch WHERE number = 2", "damaged"),
        ("no settings", "DELETE FROM ledger", "damaged"),
    ]

    @Test("what is no sound backup of this ledger changes nothing", arguments: unfit.indices)
    func refused(index: Int) throws {
        let unfit = Self.unfit[index]
        let path = try closedCopy()
        if let sql = unfit.sql {
            try Connection(path: backup, mode: .readWrite).execute(sql)
        } else {
            try Data(repeating: 0x41, count: 9_000).write(to: URL(filePath: backup))
        }
        let error = try #require(throws: LedgerError.self) { _ = try restore(backup, to: path) }
        #expect(error.description.contains(unfit.words) && !error.hint.isEmpty)
        #expect(!error.description.contains("restoring"))
        #expect(try needs(in: path) == 2)
        #expect(try !names().contains { $0.contains("restoring") || $0.contains("replaced") })
    }

    @Test("a link to the ledger is followed, and a link to nothing is not")
    func links() throws {
        let path = try closedCopy()
        let link = hub.scratch.path("link")
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: path)
        _ = try restore(backup, to: link)
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: link) == path)
        #expect(try needs(in: path) == 1)
        let loose = hub.scratch.path("loose")
        try FileManager.default.createSymbolicLink(
            atPath: loose, withDestinationPath: hub.scratch.path("nowhere"))
        #expect(throws: LedgerError.self) { _ = try restore(backup, to: loose) }
        #expect(try !names().contains("nowhere"))
    }

    @Test("what a killed restore left behind is cleared away by the next")
    func leftover() throws {
        let path = try closedCopy()
        for ending in ["", "-wal", "-shm"] {
            try Data([1]).write(to: URL(filePath: path + ".restoring" + ending))
        }
        _ = try restore(backup, to: path)
        #expect(try !names().contains { $0.contains("restoring") })
        #expect(try needs(in: path) == 1)
    }

    @Test(
        "what a killed restore left behind is not taken for a backup and lost",
        arguments: [true, false])
    func leftoverAsBackup(isLink: Bool) throws {
        let path = try closedCopy()
        let staged = path + ".restoring"
        try FileManager.default.copyItem(atPath: backup, toPath: staged)
        let link = hub.scratch.path("link")
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: staged)
        let before = try readFile(staged)
        let error = try #require(throws: LedgerError.self) {
            _ = try restore(isLink ? link : staged, to: path)
        }
        #expect(error.description.contains("killed restore") && error.hint.contains("move it"))
        #expect(try readFile(staged) == before)
        #expect(try needs(in: path) == 2)
    }

    // MARK: What no device holds

    private func invite(_ name: String) throws -> String {
        try hub.ledger.invite(
            role: .worker, territory: "v1", team: nil, name: name, lifetimeSeconds: 60)
    }

    private func outcome(of code: String, at ledger: Ledger) -> String {
        do {
            return try ledger.enroll(EnrollRequest(code: code, replica: .none)).assignment
                .deviceName
        } catch { return "\(error)" }
    }

    @Test("who may come, and the routes, are as the former ledger had them")
    func carriesOver() throws {
        let used = try invite("后来者")
        let open = try invite("未来者")
        let revoked = try hub.office("b")
        let file = hub.scratch.path("before")
        try hub.ledger.backup(to: file)
        let given = try invite("再来者")
        let late = ReplicaID(truncating: 0xB0B)
        let answer = try hub.ledger.enroll(EnrollRequest(code: used, replica: late))
        hub.time.now += 1_000
        try hub.ledger.revoke(device: revoked.id)
        // The worker's machine was stolen; the same journal lies on another one now.
        let again = try hub.ledger.enroll(
            EnrollRequest(code: invite("网格员"), replica: worker.replica))
        #expect(again.assignment.device == worker.id)
        _ = try hub.ledger.importTable(
            .routes, csv: "category,territory,team,due_days\nlight,t1,A,7\n")

        let path = try closedCopy()
        let report = try restore(file, to: path)
        #expect(
            report.carriedOver
                == CarriedOver(
                    devices: 1, devicesLeftOut: 0, revocations: 1, codes: 3, routes: 1))
        #expect(report.endedCodes == 0)
        let ledger = try Ledger(opening: path, clock: { TestHub.start + 5_000 })
        #expect(outcome(of: used, at: ledger) == LedgerError.codeUsed.description)
        #expect(try ledger.device(withToken: answer.token)?.name == "后来者")
        #expect(try ledger.device(withToken: worker.token) == nil)
        #expect(try ledger.device(withToken: again.token)?.id == worker.id)
        #expect(try ledger.device(withToken: revoked.token)?.isRevoked == true)
        #expect(
            try ledger.storage.snapshot {
                try ledger.storage.route(category: "light", territory: "t1")?.team
            } == "A")
        #expect(
            try ledger.storage.snapshot { try ledger.storage.replica(late)?.device } == nil)
        #expect(outcome(of: open, at: ledger) == "未来者")
        #expect(outcome(of: given, at: ledger) == "再来者")
        // Nobody has got a number that stood for somebody else.
        #expect(Set(try ledger.devices().map(\.device.id)).count == 5)
        #expect(try ledger.check() == [])
    }

    @Test("the writers of the former ledger keep their names, also those who do not come again")
    func carriesNames() throws {
        let late = try hub.worker("v1", name: "后来者")
        try late.sync()
        late.addNeed("积雪")
        try late.sync()
        let path = try closedCopy()
        _ = try restore(backup, to: path)
        let ledger = try Ledger(opening: path, clock: { TestHub.start })
        let row = try #require(
            try ledger.storage.snapshot { try ledger.storage.replica(late.replica) })
        #expect(row.device == late.id && row.nextCounter == 1)
        #expect(try ledger.device(withToken: late.token)?.name == "后来者")
    }

    @Test("a restore that is undone gives nobody back what was ended meanwhile")
    func undoneAccess() throws {
        let path = try closedCopy()
        let kept = try #require(try restore(backup, to: path).keptAs)
        do {
            let ledger = try Ledger(opening: path, clock: { TestHub.start + 6_000 })
            try ledger.revoke(device: worker.id)
        }
        #expect(try restore(kept, to: path).carriedOver?.revocations == 1)
        let ledger = try Ledger(opening: path, clock: { TestHub.start })
        #expect(try ledger.device(withToken: worker.token)?.isRevoked == true)
    }

    @Test("where the former ledger cannot be read, no code of the backup is open any more")
    func endsCodes() throws {
        let open = try invite("未来者")
        let file = hub.scratch.path("before")
        try hub.ledger.backup(to: file)
        let path = hub.scratch.path("other")
        try Data(repeating: 0x41, count: 9_000).write(to: URL(filePath: path))
        let report = try restore(file, to: path)
        #expect(report.carriedOver == nil && report.endedCodes == 1)
        let ledger = try Ledger(opening: path, clock: { TestHub.start + 5_000 })
        #expect(outcome(of: open, at: ledger) == LedgerError.codeUsed.description)
        #expect(try ledger.device(withToken: worker.token)?.id == worker.id)
    }

    @Test("a route whose team is not there yet stops nobody's sync")
    func routeWithoutTeam() throws {
        _ = try hub.ledger.importTable(.teams, csv: "id,name,territory\nN,新队,t1\n")
        _ = try hub.ledger.importTable(
            .routes, csv: "category,territory,team,due_days\nlight,t1,N,7\n")
        let path = try closedCopy()
        _ = try restore(backup, to: path)
        let restored = try hub.opening("closed", seed: 6)
        let other = TestDevice(hub: restored, id: worker.id, token: worker.token)
        other.replica = ReplicaID(truncating: 0xC0C)
        let need = other.addNeed("缺路灯", category: "light")
        try other.sync()
        #expect(try restored.record(need)?.progress.status == .recorded)
    }

    // MARK: Devices ahead

    /// The hub as it was at the backup, put back by hand.
    private func older() throws -> TestHub { try hub.opening("backup", seed: 4) }

    @Test("a device ahead is noted once for its term, whoever comes with it")
    func ahead() throws {
        let older = try older()
        let cursor = worker.cursor
        let other = try hub.office("b")
        try other.sync()
        for _ in 0..<2 {
            _ = try older.ledger.sync([(worker.id, worker.request())])
            _ = try older.ledger.sync([(worker.id, other.request())])
        }
        let events = try older.ledger.events()
        #expect(events.map(\.kind) == [.deviceAhead])
        #expect(events.first?.term == cursor.term)
        #expect(events.first?.sequence == cursor.sequence)
        #expect(events.first?.device == worker.id)
        #expect(try older.ledger.check() == [])
    }

    @Test("the commit that notes it tells so once")
    func told() throws {
        let older = try older()
        let first = try older.ledger.sync([(worker.id, worker.request())]).figures
        let second = try older.ledger.sync([(worker.id, worker.request())]).figures
        #expect(first.events.count == 1 && second.events.isEmpty)
    }

    @Test("no device on the line is noted")
    func notAhead() throws {
        try hub.restart(seed: 8)
        let office = try hub.office("b")
        for device in [worker, office] { try device.sync() }
        worker.addNeed("积雪")
        try worker.sync()
        try office.sync()
        #expect(try hub.ledger.events() == [])
    }

    @Test("a device that makes up terms fills no disk")
    func bounded() throws {
        let other = try hub.office("b")
        var request = other.request()
        request.cursor = Position(term: TermID(truncating: 0xABC), sequence: 1)
        _ = try hub.ledger.sync([(other.id, request)])
        let count = UInt64(LedgerLimits.aheadEventsPerDeviceMax + 10)
        for number in 1...count {
            request.cursor = Position(term: TermID(truncating: number), sequence: 1)
            _ = try hub.ledger.sync([(worker.id, request)])
        }
        let events = try hub.ledger.events()
        // What another device told of stays.
        #expect(events.count == LedgerLimits.aheadEventsPerDeviceMax + 1)
        #expect(events.first?.device == other.id)
        #expect(events.last?.term == TermID(truncating: count))
    }
}
