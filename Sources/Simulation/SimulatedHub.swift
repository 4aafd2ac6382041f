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
    /// The operator's newest backup.
    var backup: Disk.Image?

    private(set) var openings = 0
    /// Whether, since the ledger was last checked, every write ended and none was lost.
    var isCalm = true
    private var lastRecords: (openings: Int, head: UInt64, records: [KnownRecord])?
    /// Counts what ``records()`` read.
    private(set) var readings = 0

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
        let head = try ledger.info().head
        if let lastRecords, lastRecords.openings == openings, lastRecords.head == head {
            return lastRecords.records
        }
        let records = try ledger.inspectRecords().map { KnownRecord($0) }
        lastRecords = (openings, head, records)
        readings += 1
        return records
    }

    func open() throws {
        openings += 1
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
