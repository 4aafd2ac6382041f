import NeedModel
import SyncCore

/// What a database must offer to hold a ledger.
///
/// The ledger's rules (admission, merge, feed, operator's commands) are written against this alone,
/// so a second database (PostgreSQL, when a banner outgrows SQLite) meets neither merge nor HTTP.
/// All calls block; all are made inside ``transaction(_:)`` and belong to one thread.
protocol LedgerStorage: AnyObject {
    /// Runs a body that sees one consistent state and whose writes become durable together, when
    /// it returns; if it throws, nothing of it remains.
    func transaction<R>(_ body: () throws -> R) throws -> R
    /// Whether the last transaction ended with a commit that failed, of which a copy of the disk
    /// may hold everything all the same, until the next one.
    var mayHoldFailedCommit: Bool { get }
    /// Runs a body that only reads one consistent state, and holds up no writer meanwhile.
    func snapshot<R>(_ body: () throws -> R) throws -> R
    /// A part of a transaction: a failure undoes only this part.
    func savepoint<R>(_ body: () throws -> R) throws -> R

    func settings() throws -> LedgerSettings
    func setServerKey(_ key: [UInt8]?) throws

    func terms() throws -> TermLine
    func appendTerm(_ entry: TermLine.Entry, openedMilliseconds: Int64) throws

    // Events, oldest first
    func events() throws -> [LedgerEvent]
    func appendEvent(_ event: LedgerEvent) throws
    /// Removes a device's oldest events of one kind.
    func forgetEvents(_ kind: LedgerEvent.Kind, device: Int64, keepingNewest count: Int) throws

    // Devices, invites, scopes
    func device(_ id: Int64) throws -> DeviceRow?
    func device(tokenHash: [UInt8]) throws -> DeviceRow?
    func devices() throws -> [DeviceRow]
    func insertDevice(_ row: DeviceRow, tokenHash: [UInt8]) throws -> Int64
    func renewDevice(_ id: Int64, tokenHash: [UInt8]) throws
    func revokeDevice(_ id: Int64, atMilliseconds: Int64) throws
    func noteSync(device: Int64, atMilliseconds: Int64, sequence: UInt64) throws
    func addRefusedGroups(_ count: Int, device: Int64) throws
    func insertInvite(_ invite: InviteRow, codeHash: [UInt8]) throws
    func invite(codeHash: [UInt8]) throws -> InviteRow?
    func useInvite(
        codeHash: [UInt8], device: Int64, replica: ReplicaID, atMilliseconds: Int64) throws
    /// The replicas that journals had when they were enrolled as this device.
    func enrolledReplicas(of device: Int64) throws -> [ReplicaID]
    /// The device as which a journal with this replica was last enrolled.
    func device(enrolledWith replica: ReplicaID) throws -> Int64?
    func bootOffset(device: Int64, boot: UInt64) throws -> Int64?
    func setBootOffset(_ offset: Int64, device: Int64, boot: UInt64, atMilliseconds: Int64) throws
    /// The scope that the device had at a sequence, as far as it asked for any: the one that was
    /// noted last at or below it, or first of all.
    func scope(device: Int64, at sequence: UInt64) throws -> Scope?
    /// The id of the scope that was noted last.
    func newestScopeID(device: Int64) throws -> UInt64?
    /// A scope by its id, if this device was ever told of it.
    func scope(device: Int64, id: UInt64) throws -> Scope?
    func appendScope(_ scope: Scope, device: Int64, sequence: UInt64) throws

    // Replicas
    /// Replicas that were stored through this connection only because something names them, also
    /// in what was undone.
    var namedReplicaCount: Int { get }
    func replica(_ id: ReplicaID) throws -> ReplicaRow?
    func replica(row: Int64) throws -> ReplicaRow?
    func insertReplica(_ row: ReplicaRow) throws -> Int64
    func updateReplica(_ row: ReplicaRow) throws

    // Records
    func record(_ id: RecordID) throws -> StoredRecord?
    func record(key: Int64) throws -> StoredRecord?
    /// Of a record that may be unreadable otherwise.
    func firstSequence(ofRecord key: Int64) throws -> UInt64?
    /// The key that a new record gets.
    ///
    /// - Parameter isReserved: Whether a key was given out whose record is not stored yet.
    func newKey(for id: RecordID, isReserved: (Int64) -> Bool) throws -> Int64
    func insertRecord(_ record: StoredRecord) throws
    /// - Parameter isMoved: Whether it lies elsewhere than before.
    func updateRecord(_ record: StoredRecord, isMoved: Bool) throws
    /// The keys of the notes on a need.
    func children(of key: Int64) throws -> [Int64]
    /// The records of a bucket in the order of their keys, beyond `key`.
    ///
    /// - Parameter unreadable: Told the first sequences of those that the disk has altered beyond
    ///   reading, which are left out; fewer than `limit` come only when there are no more.
    func records(
        in bucket: Bucket, after key: Int64, limit: Int, unreadable: (UInt64) -> Void
    ) throws -> [StoredRecord]
    /// All records of a kind whose fields disagree, or all of a kind, in the order of their keys.
    func records(of kind: Kind, onlyInConflict: Bool) throws -> [StoredRecord]
    func recordIDs(of kind: Kind) throws -> [RecordID]
    /// All records one by one, also those that cannot be read, with their keys and whether they
    /// are listed as being in conflict.
    ///
    /// - Parameter isKnown: Asked of each key, with a mark that two rows share only when they are the
    ///   same, whether to pass it over.
    func forEachRecord(
        unless isKnown: ((Int64, _ mark: UInt64) -> Bool)?,
        _ body: (Int64, Result<StoredRecord, any Error>, _ isListed: Bool) throws -> Void) throws
    /// Whether any creation is refused at present.
    func hasRefusedCreations() throws -> Bool
    func isCreationRefused(_ id: RecordID) throws -> Bool
    func setCreationRefused(_ isRefused: Bool, _ id: RecordID) throws
    func addToDigest(_ difference: UInt64, bucket: Bucket) throws
    func digests() throws -> [(bucket: Bucket, value: UInt64)]
    /// The digest of each bucket, 0 for one that nothing ever lay in.
    func digests(of buckets: [Bucket]) throws -> [UInt64]

    // Batches
    func head() throws -> UInt64
    func newestStamp(atOrBelow sequence: UInt64) throws -> Int64?
    func appendBatch(_ batch: BatchRow) throws -> Int64
    /// The batch that holds a counter of a replica.
    func batch(replicaRow: Int64, holding counter: UInt64) throws -> BatchRow?
    func batch(holding sequence: UInt64) throws -> BatchRow?
    func batch(number: Int64) throws -> BatchRow?
    /// All batches, one by one, in the order in which they were admitted.
    func forEachBatch(_ body: (BatchRow) throws -> Void) throws
    /// The batches beyond a sequence, in order: where each ends, and what it touched.
    func feed(after sequence: UInt64, limit: Int) throws -> [(end: UInt64, touched: [UInt8])]
    /// Where a batch ends, and what it touched.
    func touched(inBatch number: Int64) throws -> (end: UInt64, touched: [UInt8])?
    /// The batches that changed a record after its creation.
    func historyBatches(of key: Int64) throws -> [Int64]
    func appendHistory(record: Int64, batch: Int64) throws
    /// Whether anything was ever brought back after a restore.
    func hasBrought() throws -> Bool
    /// The batches in which devices brought back something of a record.
    func broughtBatches(of key: Int64) throws -> [Int64]
    /// What devices brought back of a record, in the order of the batches, also what the disk has
    /// altered since.
    ///
    /// - Parameter key: `nil` for all records, in the order of their keys.
    func forEachBrought(of key: Int64?, _ body: (BroughtRow) throws -> Void) throws
    /// Also lists the record with the replicas that wrote or named what came back.
    func appendBrought(_ row: BroughtRow, by replicas: Set<ReplicaID>) throws
    /// The keys of the records of which something came back that a replica wrote, or that it named.
    func broughtRecords(by replica: ReplicaID) throws -> [Int64]
    func isBrought(record: Int64, by replica: ReplicaID) throws -> Bool
    /// For each replica, the greatest counter admitted at or below a sequence.
    func clock(at sequence: UInt64) throws -> VectorClock

    // Reference data
    func territories() throws -> [Territory]
    func territory(_ code: String) throws -> Territory?
    func grids(within code: String) throws -> [String]
    func referenceKey(_ table: ReferenceTable, code: String) throws -> Int64?
    func setTerritory(_ territory: Territory, key: Int64) throws
    func team(_ code: String) throws -> TeamRow?
    func setTeam(_ team: TeamRow, key: Int64) throws
    func hasCategories() throws -> Bool
    func isCategory(_ code: String) throws -> Bool
    func setCategory(code: String, name: String, key: Int64) throws
    func hasRoutes() throws -> Bool
    func route(category: String, territory: String) throws -> RouteRow?
    func setRoute(_ route: RouteRow) throws

    // The file
    func check() throws -> [String]
    /// Stores something that changes nothing, and throws if there is no room for more.
    func tryToStore() throws
    func backup(to path: String) throws
    func foldLog() throws
    func figures(nowMilliseconds: Int64) throws -> LedgerFigures
}

extension LedgerStorage {
    /// - Parameter unreadable: Told the first sequence when the disk has altered the record beyond
    ///   reading.
    func record(key: Int64, unreadable: (UInt64) -> Void) throws -> StoredRecord? {
        if let record = try readable({ try record(key: key) }) { return record }
        if let sequence = try firstSequence(ofRecord: key) { unreadable(sequence) }
        return nil
    }

    /// A base that names a device's replica as its term would claim to have seen that device.
    func lostTermOnly(_ base: Position, terms: TermLine, head: UInt64) throws -> Position {
        if terms.contains(base, head: head) { return base }
        return try replica(base.term)?.device == nil ? base : .origin
    }
}

struct LedgerSettings: Hashable {
    var banner: String
    var name: String
    var offsetMinutes: Int
    /// SHA-256 of the public key that the server's certificate bears.
    var serverKey: [UInt8]?
}

struct DeviceRow: Hashable {
    var device: Device
    var enrolledMilliseconds: Int64
    var lastSyncMilliseconds: Int64?
    var lastSequence: UInt64
    var refusedGroups: Int
    var lostChanges: UInt64
}

struct InviteRow: Hashable {
    var name: String
    var role: Role
    var territory: String
    var team: String
    var expiresMilliseconds: Int64
    var usedMilliseconds: Int64?
    /// Who used it.
    var device: Int64?
    var replica = ReplicaID.none
}

struct ReplicaRow: Hashable {
    /// 0 until it is stored.
    var row: Int64 = 0
    var id: ReplicaID
    /// `nil` for a term of the ledger.
    var device: Int64?
    /// The counter that the ledger awaits.
    var nextCounter: UInt64 = 1
    var newestStamp: Int64?
    var ancestors: [Dot] = []
    /// Changes of commands that were damaged on the device before they came here.
    var lostChanges: UInt64 = 0
    /// Of all below ``nextCounter``; `nil` when an older program admitted it. A term has none.
    var chain: HashChain? = .empty
}

struct TeamRow: Hashable {
    var code: String
    var name: String
    var territory: String
}

struct RouteRow: Hashable {
    var category: String
    var territory: String
    var team: String
    var dueDays: Int64?
}

/// A record as it lies in the ledger.
struct StoredRecord: Hashable {
    var key: Int64
    var id: RecordID
    var kind: UInt32
    /// The stamp of its creation.
    var createdMilliseconds: Int64
    /// The device whose bucket it lies in: the recorder of the need; `nil` for reference data and
    /// for what the hub itself created.
    var device: Int64?
    /// For a note, the key of its need.
    var parent: Int64?
    var grid: String?
    var team: String?
    var firstSequence: UInt64
    var lastSequence: UInt64
    /// The head after the newest batch in which the record left a bucket, or a field lost a version
    /// that nothing replaced: whoever has not pulled it is sent the whole record. 0 when none was.
    var leftSequence: UInt64 = 0
    var state: RecordState

    var placement: Placement {
        Placement(
            isReference: Kind(rawValue: kind)?.isReference ?? false, grid: grid, team: team,
            device: device)
    }

    /// Puts a note where its need lies.
    mutating func lie(at place: Placement) {
        device = place.device
        grid = place.grid
        team = place.team
    }

    var rowBeside: RecordState.Row {
        RecordState.Row(
            firstSequence: firstSequence, createdMilliseconds: createdMilliseconds, grid: grid)
    }

    var progress: NeedProgress {
        NeedProgress(late: state[LateAnswers.field]) { state[$0.rawValue] }
    }

    /// Of a need.
    var isWithdrawn: Bool { state.value(of: NeedField.withdrawal.rawValue) != nil }

    /// See ``SyncCore/Tombstone``.
    var contestedFields: [UInt32] {
        let withdrawal = NeedField.withdrawal.rawValue
        // Most needs are not withdrawn, and every page asks.
        guard kind == Kind.need.rawValue, isWithdrawn else { return [] }
        return Tombstone.contestedFields(
            of: state[withdrawal],
            among: state.fields.lazy.filter {
                $0.field != withdrawal && $0.field != LateAnswers.field
            })
    }

    var isInConflict: Bool {
        guard kind == Kind.need.rawValue else {
            return state.hasSeveralOfOne && state.fields.contains { $0.register.isInConflict }
        }
        // Versions of one field, a withdrawal that did not see an edit, or a late answer.
        let mayBe =
            state.hasSeveralOfOne || state.holds(NeedField.withdrawal.rawValue)
            || state.holds(LateAnswers.field)
        return mayBe && !conflictingFields.isEmpty
    }

    /// Of a need.
    var conflictingFields: [NeedField] {
        NeedConflicts.fields(isDeleteContested: !contestedFields.isEmpty) { state[$0] }
    }

    /// The answers and ratings of former orders that nobody has decided on yet.
    var lateAnswers: [(field: NeedField, bytes: [UInt8], version: Version)] {
        let order = progress.dispatch?.order
        return state[LateAnswers.field].versions.compactMap { version in
            LateAnswers.open(version.value, currentOrder: order).map {
                ($0.field, $0.bytes, version)
            }
        }
    }

    var digest: UInt64 { state.digest(of: id) }
}

struct BatchRow: Hashable {
    var number: Int64 = 0
    var firstSequence: UInt64
    /// One less than `firstSequence` when nothing of it was admitted.
    var lastSequence: UInt64
    var replicaRow: Int64
    var firstCounter: UInt64
    var nextCounter: UInt64
    var receivedMilliseconds: Int64
    /// The newest stamp of the whole ledger up to here.
    var newestStamp: Int64?
    /// See ``StoredContent``.
    var content: [UInt8]
    var outcomes: [UInt8]
    var touched: [UInt8]
    /// Of all that a device's replica wrote below ``firstCounter``; `nil` as for
    /// ``ReplicaRow/chain``, and of what the hub itself wrote.
    /// The checksum leaves it out: one that was altered makes a journal fork, and no more.
    var chain: HashChain?
    /// As it was stored; `nil` before.
    var storedChecksum: Int64?
}

extension BatchRow {
    /// Of all columns but number and chain, 31 bits, so that it takes four bytes of a row. A batch is
    /// written once; what it says of stamps, places and outcomes stands nowhere else.
    var checksum: Int64 {
        var hash = ContentHash()
        for number in [
            firstSequence, lastSequence, UInt64(bitPattern: replicaRow), firstCounter, nextCounter,
            UInt64(bitPattern: receivedMilliseconds), newestStamp == nil ? 0 : 1,
            UInt64(bitPattern: newestStamp ?? 0),
        ] {
            hash.combine(number)
        }
        for bytes in [content, outcomes, touched] {
            hash.combine(UInt64(bytes.count))
            hash.combine(bytes)
        }
        return Int64(hash.value >> 33)
    }

    /// Whether it is as it was stored.
    var isSound: Bool { storedChecksum == checksum }

    /// What a group's writer had seen, as it was judged when the batch was admitted.
    func clock(
        of group: ChangeGroup, writer: ReplicaRow, terms: TermLine, in storage: any LedgerStorage
    ) throws -> ShortClock {
        writer.device == nil
            ? ShortClock(base: group.base.sequence)
            : terms.clock(
                base: try storage.lostTermOnly(group.base, terms: terms, head: firstSequence - 1),
                admittedAt: firstSequence, ancestors: writer.ancestors)
    }
}

/// - Returns: `nil` when the disk has altered what is read beyond reading.
func readable<R>(_ read: () throws -> R) throws -> R? {
    do {
        return try read()
    } catch let error where error.isOfOneRow {
        return nil
    }
}

extension Error {
    /// Whether it is what the disk made of a row, while the file itself can be read.
    var isOfOneRow: Bool {
        if self is ByteCodingError { return true }
        guard let error = self as? LedgerError, case .damaged = error else { return false }
        return true
    }
}
