import HubLedger
import NeedModel
import SimulatedDisk
import SyncCore
import WireFormat

/// The centre's machine: the production ledger on a disk that can fail.
final class SimulatedHub {
    let disk: Disk
    private let chance: Chance
    private(set) var ledger: Ledger?
    private let clock: () -> Int64
    /// What its program knows; another one from the next start on.
    var schema: SchemaLevel
    /// Of an earlier release, as it were.
    static let olderSchema = SchemaLevel(
        number: 0, kinds: SchemaLevel.current.kinds.subtracting([.note]))
    struct Copy {
        var image: Disk.Image
        var times: HubTimes
    }
    /// The operator's newest backup.
    var backup: Copy?
    /// What that had replaced, the last time.
    var replaced: Copy?

    private(set) var openings = 0
    /// Whether, since the ledger was last checked, every write ended and none was lost.
    var isCalm = true
    private var lastReading: (openings: Int, head: UInt64, records: [KnownRecord])?
    /// What it held, by key; a row is read anew when its mark is another.
    private var knownRecords: [Int64: (mark: UInt64, record: KnownRecord)] = [:]
    /// Where each record ever lay, also in ledgers that were lost.
    private var everIn: [RecordID: Set<Bucket>] = [:]
    /// What each device may hold, by its number, as of the last reading.
    private var rightfulHoldings: [Int64: RightfulHolding] = [:]

    static let path = "ledger.sqlite"

    /// - Parameter image: A disk with a ledger, see ``image(now:)``.
    init(
        chance: Chance, image: Disk.Image, schema: SchemaLevel = .current,
        clock: @escaping () -> Int64
    ) throws {
        self.chance = chance
        self.schema = schema
        self.clock = clock
        disk = Disk(seed: chance.next(), image: image)
        disk.failedSyncDropsWrites = chance.happens(0.5)
        try open()
    }

    /// Makes a disk with a ledger that knows its territory, as every world starts with.
    ///
    /// - Parameter hasCategories: Whether it also has categories, and a route for one of them.
    static func image(now: Int64, hasCategories: Bool = true) throws -> Disk.Image {
        let disk = Disk(seed: 0)
        defer { disk.close() }
        try Ledger.create(
            at: path, banner: "15", name: "旗", offsetMinutes: 480, clock: { now },
            vfs: disk.vfsName)
        let ledger = try Ledger(
            opening: path, clock: { now }, random: Chance(seed: 0).source, vfs: disk.vfsName)
        _ = try ledger.importTable(
            .territory,
            csv: """
                code,name,level,parent
                15,旗,banner,
                v1,村一,village,15
                v2,村二,village,15
                g1,格一,grid,v1
                g2,格二,grid,v1
                g3,格三,grid,v2
                """)
        _ = try ledger.importTable(.teams, csv: "id,name,territory\nt1,队一,15\nt2,队二,15\n")
        if hasCategories { try importCategories(ledger) }
        return disk.snapshot()
    }

    /// Gives a ledger categories, and a route for one of them; may be repeated.
    static func importCategories(_ ledger: Ledger) throws {
        _ = try ledger.importTable(.categories, csv: "code,name\nlight,灯\nwater,水\n")
        _ = try ledger.importTable(
            .routes, csv: "category,territory,team,due_days\nlight,v1,t1,3\n")
    }

    /// What the ledger holds; read anew whenever it has admitted something. What changes otherwise
    /// would be found at rest, and by the next device that is sent it.
    func records() throws -> [KnownRecord] {
        guard let ledger else { return [] }
        let head = try ledger.head()
        if let lastReading, lastReading.openings == openings, lastReading.head == head {
            return lastReading.records
        }
        var known: [Int64: (mark: UInt64, record: KnownRecord)] = [:]
        known.reserveCapacity(knownRecords.count)
        var marks: [(key: Int64, mark: UInt64)] = []
        try ledger.inspectRecords { [knownRecords] key, mark in
            marks.append((key, mark))
            guard let former = knownRecords[key], former.mark == mark else { return false }
            known[key] = former
            return true
        } _: { key, record in
            everIn[record.id, default: []].formUnion(record.placement.buckets)
            known[key] = (marks[marks.count - 1].mark, KnownRecord(record))
        }
        knownRecords = known
        let records = marks.compactMap { known[$0.key]?.record }
        lastReading = (openings, head, records)
        rightfulHoldings = [:]
        return records
    }

    /// Notes where needs may lie for a moment, between requests that share a commit, when nobody
    /// looks.
    func noteShared(_ requests: [SyncRequest]) {
        for request in requests {
            for group in request.groups {
                for change in group.changes { note(change.field, change.value, of: group.record) }
            }
            for record in request.recovery?.records ?? [] {
                for version in record.versions {
                    guard case .bytes(let bytes) = version.value else { continue }
                    note(version.field, bytes, of: record.id)
                }
            }
        }
    }

    private func note(_ field: UInt32, _ value: [UInt8]?, of record: RecordID) {
        guard let value else { return }
        switch NeedField(rawValue: field) {
        case .grid:
            everIn[record, default: []].insert(.grid(String(decoding: value, as: UTF8.self)))
        case .dispatch:
            if case .dispatch(let dispatch) = FieldValue(.dispatch, bytes: value) {
                everIn[record, default: []].insert(.team(dispatch.team))
            }
        default: break
        }
    }

    /// Whether a record ever lay, or may have lain, in one of these buckets.
    func wasEver(_ id: RecordID, in buckets: Set<Bucket>) throws -> Bool {
        if !buckets.isDisjoint(with: everIn[id] ?? []) { return true }
        // A note goes where its need goes.
        let need = try records().first { $0.id == id }?.need
        return need.map { !buckets.isDisjoint(with: everIn[$0] ?? []) } ?? false
    }

    /// What a device may hold, as of now.
    func rightfulHolding(of device: Int64) throws -> RightfulHolding {
        guard let ledger else { return RightfulHolding() }
        let records = try records()
        let scope = try ledger.scope(ofDevice: device)
        if let known = rightfulHoldings[device], known.scope.id == scope.id { return known }
        let holding = RightfulHolding(of: records, in: scope)
        rightfulHoldings[device] = holding
        return holding
    }

    func open() throws {
        openings += 1
        // After a restore the same row can name other replicas.
        knownRecords = [:]
        ledger = try Ledger(
            opening: Self.path, clock: clock, schema: schema, random: chance.source,
            vfs: disk.vfsName)
    }

    func stop() { ledger = nil }

    func close() {
        ledger = nil
        disk.close()
    }
}
