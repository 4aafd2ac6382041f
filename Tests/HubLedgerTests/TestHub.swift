import Foundation
import HubLedger
import NeedModel
import SQLiteStore
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

/// A directory of a test's own, in memory where there is such a file system: the files are real,
/// and thousands of histories need not wait for a disk.
final class Scratch {
    let directory: String

    init() throws {
        let isThere = FileManager.default.isWritableFile(atPath: "/dev/shm")
        let parent = isThere ? "/dev/shm" : FileManager.default.temporaryDirectory.path
        directory = parent + "/HubLedgerTests-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    func path(_ name: String) -> String { directory + "/" + name }
}

/// A ledger on a real file with a clock that the test moves, and the territory of one banner:
///
///     b ─┬─ t1 ─┬─ v1 ─┬─ g1
///        │      │      └─ g2
///        │      └─ v2 ─── g3
///        └─ t2 ─── v3 ─── g4
///
/// with the teams A and C in t1 and B in t2, and the categories light and water, without routes.
final class TestHub {
    /// 2025-06-15T15:06:40Z; in the banner, at +08:00, it is 23:06:40.
    static let start: Int64 = 1_750_000_000_000

    let scratch: Scratch
    let path: String
    let time: Time
    private(set) var ledger: Ledger
    /// A second connection that looks at what is stored.
    let storage: SQLiteLedgerStorage
    private var forks: UInt64 = 0

    final class Time {
        var now: Int64 = TestHub.start
    }

    /// - Parameter seed: Of the names that the ledger draws.
    convenience init(seed: UInt64 = 1) throws {
        try self.init(template: Self.template, seed: seed)
    }

    /// A hub as ``crew`` of it expects it.
    static func withCrew(seed: UInt64) throws -> TestHub {
        try TestHub(template: crewTemplate.file, seed: seed)
    }

    private convenience init(template: Data, seed: UInt64) throws {
        let scratch = try Scratch()
        try template.write(to: URL(filePath: scratch.path("ledger")))
        try self.init(scratch: scratch, name: "ledger", seed: seed, time: Time())
    }

    private init(scratch: Scratch, name: String, seed: UInt64, time: Time) throws {
        self.scratch = scratch
        self.time = time
        path = scratch.path(name)
        ledger = try Ledger(
            opening: path, clock: { time.now }, random: Self.random(seed: seed))
        storage = try SQLiteLedgerStorage(path: path, creates: false)
    }

    /// Another ledger in the same directory with the same clock, as from a backup.
    func opening(_ name: String, seed: UInt64) throws -> TestHub {
        try TestHub(scratch: scratch, name: name, seed: seed, time: time)
    }

    /// Closes the ledger and opens it anew, as a new start of the server does.
    func restart(seed: UInt64) throws {
        let time = time
        ledger = try Ledger(
            opening: path, clock: { time.now }, random: Self.random(seed: seed))
    }

    /// A ledger over a storage of its own.
    func ledger(on storage: SQLiteLedgerStorage) -> Ledger {
        let time = time
        return Ledger(storage: storage, clock: { time.now }, random: Self.random(seed: 6))
    }

    /// A second process on the same ledger.
    func secondProcess(seed: UInt64) throws -> Ledger {
        let time = time
        return try Ledger(opening: path, clock: { time.now }, random: Self.random(seed: seed))
    }

    static func random(seed: UInt64) -> RandomSource {
        let box = Box(SplitMix64(seed: seed))
        return RandomSource { box.generator.next() }
    }

    private final class Box {
        var generator: SplitMix64
        init(_ generator: SplitMix64) { self.generator = generator }
    }

    static let territory = """
        code,name,level,parent
        b,乌拉特,banner,
        t1,明安镇,town,b
        t2,海流图镇,town,b
        v1,东村,village,t1
        v2,西村,village,t1
        v3,南村,village,t2
        g1,一网格,grid,v1
        g2,二网格,grid,v1
        g3,三网格,grid,v2
        g4,四网格,grid,v3

        """

    /// Built once, and written anew for every test.
    private static let template: Data = {
        do {
            let scratch = try Scratch()
            let path = scratch.path("ledger")
            try Ledger.create(
                at: path, banner: "b", name: "乌拉特", offsetMinutes: 480, clock: { start })
            let ledger = try Ledger(
                opening: path, clock: { start }, random: random(seed: 0))
            _ = try ledger.importTable(.territory, csv: territory)
            _ = try ledger.importTable(
                .teams, csv: "id,name,territory\nA,甲队,t1\nB,乙队,t2\nC,丙队,t1\n")
            _ = try ledger.importTable(.categories, csv: "code,name\nlight,路灯\nwater,供水\n")
            try ledger.backup(to: scratch.path("template"))
            return try Data(contentsOf: URL(filePath: scratch.path("template")))
        } catch {
            preconditionFailure("the template cannot be built: \(error)")
        }
    }()

    /// The same with six devices, enrolled once for all histories.
    private static let crewTemplate: (file: Data, crew: [(id: Int64, token: String)]) = {
        do {
            let hub = try TestHub()
            let devices = [
                try hub.worker("v1", name: "worker v1"), try hub.worker("v2", name: "worker v2"),
                try hub.team("A", name: "team A"), try hub.team("B", name: "team B"),
                try hub.office("t1", name: "office t1"), try hub.office("b", name: "office b"),
            ]
            let path = hub.scratch.path("crew")
            try hub.ledger.backup(to: path)
            return (
                try Data(contentsOf: URL(filePath: path)), devices.map { ($0.id, $0.token) }
            )
        } catch {
            preconditionFailure("the crew cannot be enrolled: \(error)")
        }
    }()

    /// Workers of v1 and v2, the teams A and B, the offices of t1 and of the banner; they have not
    /// synced.
    var crew: [TestDevice] {
        Self.crewTemplate.crew.map { TestDevice(hub: self, id: $0.id, token: $0.token) }
    }

    // MARK: Devices

    func worker(_ territory: String, name: String = "网格员") throws -> TestDevice {
        try enroll(.worker, territory: territory, team: nil, name: name)
    }

    func office(_ territory: String, name: String = "中心") throws -> TestDevice {
        try enroll(.office, territory: territory, team: nil, name: name)
    }

    func team(_ team: String, name: String = "队员") throws -> TestDevice {
        try enroll(.team, territory: nil, team: team, name: name)
    }

    /// Enrols without syncing.
    func enroll(
        _ role: Role, territory: String?, team: String?, name: String
    ) throws -> TestDevice {
        let code = try ledger.invite(
            role: role, territory: territory, team: team, name: name, lifetimeSeconds: 3_600)
        let answer = try ledger.enroll(EnrollRequest(code: code, replica: .none))
        let device = try #require(try ledger.device(withToken: answer.token))
        return TestDevice(hub: self, id: device.id, token: answer.token)
    }

    /// The buckets that a device may hold, told apart from the ledger's own reckoning.
    func scope(of device: Device) throws -> Scope {
        var buckets: [Bucket] = [.reference, .recordedBy(device: device.id)]
        if device.role == .team { return Scope(buckets + [.team(device.team)]) }
        let territories = try storage.snapshot { try storage.territories() }
        buckets += TerritoryTree(territories).grids(within: device.territory).map { .grid($0) }
        return Scope(buckets)
    }

    // MARK: What is stored

    func device(_ id: Int64) throws -> Device {
        try #require(try storage.snapshot { try storage.device(id) }).device
    }

    /// How SQLite would run queries, one text each.
    func queryPlans(_ queries: [String]) throws -> [String] {
        let connection = try Connection(path: path, mode: .readOnly)
        return try queries.map { query in
            let statement = try connection.prepare(uncached: "EXPLAIN QUERY PLAN " + query)
            return try statement.all { $0.text(at: 3) }.joined(separator: "; ")
        }
    }

    var head: UInt64 {
        get throws { try ledger.info().head }
    }

    func record(_ id: RecordID) throws -> StoredRecord? {
        try storage.snapshot { try storage.record(id) }
    }

    func register(_ field: NeedField, of id: RecordID) throws -> Register {
        try #require(try record(id)).state[field.rawValue]
    }

    func records() throws -> [StoredRecord] {
        try storage.snapshot {
            var records: [StoredRecord] = []
            try storage.forEachRecord(unless: nil) { _, record, _ in
                records.append(try record.get())
            }
            return records
        }
    }

    /// What a device with a scope is to hold.
    func state(within scope: Scope) throws -> [RecordID: HeldRecord] {
        var result: [RecordID: HeldRecord] = [:]
        for record in try records() where scope.contains(record.placement) {
            result[record.id] = HeldRecord(record)
        }
        return result
    }

    /// Every admitted change in the order of the sequence.
    func admitted() throws -> [AdmittedChange] {
        try storage.snapshot {
            var changes: [AdmittedChange] = []
            try storage.forEachBatch { batch in
                let replica = try #require(try storage.replica(row: batch.replicaRow))
                let outcomes = try StoredOutcome.decode(batch.outcomes)
                for (group, outcome) in zip(try StoredContent.decode(batch), outcomes) {
                    guard case .applied = outcome.outcome else { continue }
                    for (index, change) in group.changes.enumerated() {
                        changes.append(
                            AdmittedChange(
                                record: group.record, field: change.field, value: change.value,
                                dot: Dot(replica.id, group.firstCounter + UInt64(index)),
                                stamp: outcome.stamps[index],
                                sequence: outcome.sequence + UInt64(index),
                                basis: outcome.basis, received: batch.receivedMilliseconds))
                    }
                }
            }
            return changes
        }
    }

    /// Another number at each fork, so that no two forks go on under one replica.
    func forkSalt() -> UInt64 {
        forks += 1
        return forks &* 0x9E37_79B9
    }

    func sync(_ device: TestDevice, _ request: SyncRequest) throws -> SyncAnswer {
        try #require(try ledger.sync([(device.id, request)]).answers.first).get()
    }
}

extension Ledger {
    /// The device that a token belongs to, also when it was revoked; `nil` for one that was never
    /// given out or was replaced by a newer one.
    func device(withToken token: String) throws -> Device? {
        try storage.snapshot { try storage.device(tokenHash: Secrets.hash(token))?.device }
    }

    /// Requests of devices, each in a frame.
    func sync(
        _ requests: [(device: Int64, request: SyncRequest)]
    ) throws -> (answers: [Result<SyncAnswer, any Error>], figures: SyncFigures) {
        try sync(
            requests.map {
                (
                    $0.device, $0.request,
                    try Frame.encode(
                        $0.request.encoded(), usesDictionary: true, borders: .request)
                )
            })
    }
}

struct AdmittedChange: Hashable {
    var record: RecordID
    var field: UInt32
    var value: [UInt8]?
    var dot: Dot
    var stamp: Int64
    var sequence: UInt64
    var basis: WriteTimeEstimate.Basis
    var received: Int64
}

/// A record as a device holds it.
struct HeldRecord: Hashable {
    struct Version: Hashable {
        var value: [UInt8]?
        var stamp: Stamp
        var sequence: UInt64
    }

    var kind: UInt32
    var created: Int64
    var contested: [UInt32]
    var fields: [UInt32: [Version]]

    init(kind: UInt32, created: Int64, contested: [UInt32], fields: [UInt32: [Version]]) {
        self.kind = kind
        self.created = created
        self.contested = contested
        self.fields = fields
    }

    init(_ record: StoredRecord) {
        kind = record.kind
        created = record.createdMilliseconds
        contested = record.contestedFields
        fields = [:]
        for entry in record.state.fields {
            fields[entry.field] = entry.register.versions.map {
                Version(value: $0.value, stamp: $0.stamp, sequence: $0.sequence)
            }
        }
    }

    func winner(_ field: NeedField) -> FieldValue? {
        guard let bytes = fields[field.rawValue]?.first?.value,
            let rule = FieldRule.rule(kind: .need, field: field.rawValue)
        else { return nil }
        return FieldValue(rule.form, bytes: bytes)
    }

    var progress: NeedProgress {
        NeedProgress { field in
            Register(
                live: (fields[field.rawValue] ?? []).map {
                    SyncCore.Version(
                        value: $0.value, stamp: $0.stamp, sequence: $0.sequence,
                        clock: ShortClock(base: 0))
                })
        }
    }

    var isInConflict: Bool {
        !contested.isEmpty
            || fields.values.contains { versions in
                versions.contains { $0.value != versions[0].value }
            }
    }
}
