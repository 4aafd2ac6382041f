import DeviceJournal
import NeedModel
import SimulatedDisk
import SyncCore
import WireFormat

/// Names a state of a disk and of the program on it: every write is a storage step, and every
/// crash, copy or restore is followed by an opening. What is read twice at one mark is the same.
struct StateMark: Equatable {
    var openings: Int
    var steps: Int
}

/// One machine with its journal: the production journal and session on a disk that can fail.
final class SimulatedDevice {
    let name: String
    /// The hub's number for it.
    let number: Int64
    let role: Role
    let team: String
    /// Whether its program is of a later release than all others.
    var isNewer = false
    let disk: Disk
    private let chance: Chance
    private(set) var journal: Journal?

    // Clocks
    var wallOffset: Int64 = 0
    /// Parts per million.
    var drift: Int64 = 0
    var isFrozen = false
    private var frozenAt: Int64?
    private(set) var boot: UInt64
    private var bootedAt: Int64

    // The sync under way
    var session: DeviceSession?
    var pending: SyncRequest?
    var pendingSince: Int64 = 0
    var awayUntil: Int64 = 0
    /// Whether it has some pages of a pull, and not the last.
    var isMidPull = false

    /// What the person sees is at least as new as in these; see invariant 9.
    var newestShown: [RecordID: JournalInspection.Record] = [:]

    /// What was there at the end of its newest complete pull; `nil` when nobody can tell.
    var pulled: Pulled?
    /// What a power cut may bring back: programs that were killed between writing and syncing
    /// leave what can be read and is not durable.
    var pulledBefore: [Pulled] = []
    struct Pulled {
        var cursor: Position
        /// The fingerprints of the records that are shown.
        var held: [RecordID: UInt64]
    }

    /// Commands that were told as done here and have no outcome yet that the checker saw.
    var unsettled: Set<CommandKey> = []
    /// The newest command that was written in its journal.
    var written: Written?
    /// An older copy of the disk, once one was made.
    var backup: Disk.Image?
    var writtenInBackup: Written?
    /// Records that the disk altered, until a pull showed that all is well again; and all ever.
    var altered: Set<RecordID> = []
    var everAltered: Set<RecordID> = []
    /// Those of which an older row came back.
    var staleRows: Set<RecordID> = []
    /// Records that it was sent again while the world healed.
    var refetchedCount = 0
    /// What was altered in the copy.
    var alteredInBackup: Set<RecordID> = []
    /// A row that the disk may bring back.
    var oldRow: OldRow?

    private(set) var openings = 0
    private var lastNeeds: (mark: StateMark, needs: [NeedSnapshot])?
    private var lastRecords: [RecordID: JournalInspection.Record] = [:]
    private var fingerprints: [RecordID: (record: JournalInspection.Record, value: UInt64)] = [:]
    /// Where the person may record, looked up again after every answer and every start.
    var knownGrids: [String]?

    static let path = "journal.sqlite"

    /// Makes a disk with a journal that has drawn no replica yet, as every device starts with.
    static func image() throws -> Disk.Image {
        let disk = Disk(seed: 0)
        defer { disk.close() }
        try Journal.makeTables(path: path, vfs: disk.vfsName)
        return disk.snapshot()
    }

    init(
        name: String, number: Int64, role: Role, team: String, chance: Chance, now: Int64,
        image: Disk.Image
    ) {
        self.name = name
        self.number = number
        self.role = role
        self.team = team
        self.chance = chance
        disk = Disk(seed: chance.next(), image: image)
        disk.failedSyncDropsWrites = chance.happens(0.5)
        boot = chance.next() | 1
        bootedAt = now - Int64(chance.below(1_000_000))
    }

    func clocks(now: Int64) -> ClockReading {
        let elapsed = now - bootedAt
        if isFrozen && frozenAt == nil { frozenAt = now + wallOffset }
        let wall = isFrozen ? frozenAt! : now + wallOffset + elapsed * drift / 1_000_000
        return ClockReading(wallMilliseconds: wall, boot: boot, elapsedMilliseconds: elapsed)
    }

    func reboot(now: Int64) {
        boot = chance.next() | 1
        bootedAt = now
        frozenAt = nil
    }

    /// Opens the journal, as the first command after a start does.
    func open(creating: Bool = false) throws(JournalError) {
        openings += 1
        knownGrids = nil
        journal = try Journal(
            path: Self.path, creating: creating, random: chance.source,
            busyTimeoutMilliseconds: 0, vfs: disk.vfsName)
    }

    /// What the person sees; read anew whenever something was written.
    func needs() throws(JournalError) -> [NeedSnapshot] {
        let mark = StateMark(openings: openings, steps: disk.stepCount)
        if let lastNeeds, lastNeeds.mark == mark { return lastNeeds.needs }
        let needs = try journal?.needs(includingWithdrawn: true) ?? []
        lastNeeds = (mark, needs)
        return needs
    }

    /// What the journal holds; all rows are read, and those decoded that changed since the last time.
    func inspect() throws(JournalError) -> JournalInspection? {
        guard let inspection = try journal?.inspect(after: lastRecords) else { return nil }
        lastRecords = inspection.records
        return inspection
    }

    /// Of a record that the journal holds, computed anew when its row has changed.
    func fingerprint(of id: RecordID, _ record: JournalInspection.Record) -> UInt64 {
        if let known = fingerprints[id], record.isSame(as: known.record) { return known.value }
        let value = Fingerprint.of(record)
        fingerprints[id] = (record, value)
        return value
    }

    /// The fingerprints of the records that are shown.
    func held(in inspection: JournalInspection) -> [RecordID: UInt64] {
        var held: [RecordID: UInt64] = [:]
        held.reserveCapacity(inspection.records.count)
        for (id, record) in inspection.records where record.isVisible {
            held[id] = fingerprint(of: id, record)
        }
        return held
    }

    func pulled(in inspection: JournalInspection) -> Pulled {
        Pulled(cursor: inspection.cursor, held: held(in: inspection))
    }

    func ownGrids() throws(JournalError) -> [String] {
        if let knownGrids { return knownGrids }
        let grids = try journal?.ownGrids().map(\.code) ?? []
        knownGrids = grids
        return grids
    }

    /// The program is gone; what was durable stays.
    func stop() {
        journal = nil
        session = nil
        pending = nil
    }

    func close() {
        journal = nil
        disk.close()
    }
}
