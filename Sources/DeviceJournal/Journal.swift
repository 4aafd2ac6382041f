import Glibc
package import NeedModel
import SQLiteStore
package import SyncCore
import WireFormat

/// One device's durable state: what the hub says, what was recorded here and is not there yet, and
/// how to reach the hub.
///
/// Calls block and are synchronous; clocks come in as arguments, randomness at the start, so that
/// a simulator can drive the real thing. Every command is one durable transaction: when it returns,
/// a power cut loses nothing. Nothing is cached between calls, so any number of programs may use
/// one journal at the same time. Not Sendable, like the connection inside.
///
/// - SeeAlso: DESIGN.md §4; `JournalSchema.swift` for what lies where.
package final class Journal {
    package let path: String
    let connection: Connection
    var random: BoxedGenerator

    /// Opens a journal.
    ///
    /// - Parameters:
    ///   - path: The database file; its directory must exist.
    ///   - creating: Whether to create a journal that is not there. A new one has drawn its
    ///     replica but belongs to nobody before ``enroll(server:token:pin:authority:answer:clocks:)``.
    ///   - random: For replicas and order numbers.
    ///   - busyTimeoutMilliseconds: How long to wait for other commands.
    ///   - vfs: A registered SQLite VFS that holds the file; `nil` for the file system.
    /// - Throws: ``JournalError``; ``JournalError/notEnrolled`` when there is no file and none is
    ///   to be made.
    package init(
        path: String, creating: Bool = false,
        random: any RandomNumberGenerator = SystemRandomNumberGenerator(),
        busyTimeoutMilliseconds: Int32 = JournalLimits.busyTimeoutMilliseconds,
        vfs: String? = nil
    ) throws(JournalError) {
        self.path = path
        self.random = BoxedGenerator(base: random)
        do {
            if vfs == nil { try Self.prepareFile(path, creating: creating) }
            connection = try Connection(
                path: path, mode: vfs == nil ? .readWrite : .readWriteCreate,
                busyTimeoutMilliseconds: busyTimeoutMilliseconds, vfs: vfs)
        } catch {
            throw JournalError(error, path: path)
        }
        do {
            // An enrolment that died before its first transaction leaves an empty file.
            let isEmpty = try connection.first("SELECT 1 FROM sqlite_schema") { _ in true } == nil
            guard creating || !isEmpty else { throw JournalError.notEnrolled }
            // Before anything is switched: the file may belong to another program.
            try connection.migrate(
                JournalSchema.migrations, applicationID: JournalSchema.applicationID)
            try connection.makeDurable(autocheckpointFrames: JournalLimits.logFramesMax)
            // Never needed for safety, so a failure is left to the next command.
            try? connection.emptyLog(longerThan: JournalLimits.logFramesMax)
            if creating { try drawFirstReplica() }
        } catch {
            throw JournalError(error, path: path)
        }
    }

    /// Makes sure that only the owner can read the token, before anything is in the file. SQLite
    /// gives the log the mode of the database.
    private static func prepareFile(_ path: String, creating: Bool) throws(JournalError) {
        let flags = O_RDWR | O_CLOEXEC | (creating ? O_CREAT : 0)
        let descriptor = open(path, flags, 0o600)
        guard descriptor >= 0 else {
            switch errno {
            case ENOENT where !creating: throw .notEnrolled
            case ENOSPC, EDQUOT: throw .diskFull
            case EACCES, EPERM, EROFS: throw .readOnly(path: path)
            default: throw .cannotOpen(path: path, detail: String(cString: strerror(errno)))
            }
        }
        defer { close(descriptor) }
        var status = stat()
        if fstat(descriptor, &status) == 0, status.st_mode & 0o077 != 0 {
            // Failing means that the file is not ours; then its owner has decided.
            _ = fchmod(descriptor, 0o600)
        }
    }

    private func drawFirstReplica() throws {
        guard try connection.first("SELECT 1 FROM writer", read: { _ in true }) == nil else {
            return
        }
        try connection.transaction {
            // Once more: another program may have been faster to the lock.
            let isThere = try connection.first("SELECT 1 FROM writer", read: { _ in true })
            guard isThere == nil else { return }
            let replica = ReplicaID.random(using: &random)
            try connection.run(
                "INSERT INTO writer VALUES (1, ?, 1, 1, 0)", .bits(replica.rawValue))
            try connection.run(
                "INSERT INTO lineage (replica) VALUES (?)", .bits(replica.rawValue))
        }
    }

    /// Runs one durable transaction.
    func storing<Result>(_ body: () throws -> Result) throws(JournalError) -> Result {
        do {
            return try connection.transaction(.immediate, body)
        } catch {
            throw emptyingLog(after: JournalError(error, path: path))
        }
    }

    /// Reads one unchanging state.
    func reading<Result>(_ body: () throws -> Result) throws(JournalError) -> Result {
        do {
            return try connection.transaction(.deferred, body)
        } catch {
            throw JournalError(error, path: path)
        }
    }

    /// Makes sure that all that can be read is on the disk, since only durable changes may travel:
    /// a command that was killed between writing the log and syncing it left a transaction that is
    /// seen, and that a later power cut would take back.
    func syncLog() throws(JournalError) {
        do {
            try connection.checkpoint(.passive)
        } catch {
            throw emptyingLog(after: JournalError(error, path: path))
        }
    }

    /// Folds the log into the database, as far as nobody reads it. Never needed for safety, so a
    /// failure is not told.
    func foldLog() {
        _ = try? syncLog()
    }

    /// Empties the log when a sync may have failed, if the disk lets it.
    ///
    /// What a failed commit has written is a transaction for whoever opens the journal next, and
    /// the next commit would stand behind it in the log. But Linux forgets what it could not sync:
    /// it is seen, and never written. So a power cut would end the log before both. Folded into
    /// the database, what was stored is written anew, and what was not is gone.
    private func emptyingLog(after error: JournalError) -> JournalError {
        if error.category == .disk { try? connection.emptyLog(longerThan: 0) }
        return error
    }
}

/// A generator of any type, as one of a known type.
struct BoxedGenerator: RandomNumberGenerator {
    var base: any RandomNumberGenerator

    mutating func next() -> UInt64 { base.next() }
}

extension SQLValue {
    /// The signed number with the same bits.
    static func bits(_ number: UInt64) -> SQLValue { .integer(Int64(bitPattern: number)) }
}

extension Statement {
    borrowing func bits(at column: Int32) -> UInt64 { UInt64(bitPattern: integer(at: column)) }

    borrowing func replica(at column: Int32) -> ReplicaID {
        ReplicaID(truncating: bits(at: column))
    }

    borrowing func record(at column: Int32) throws -> RecordID {
        guard let id = RecordID(bytes: bytes(at: column)) else { throw ByteCodingError.truncated }
        return id
    }
}

// MARK: - Who we are

/// Who this device is, as the hub last said.
package struct Identity: Hashable, Sendable {
    package var device: Int64
    package var name: String
    package var role: Role
    /// Of a worker or an office; empty for a team.
    package var territory: String
    /// The team's code; empty for others.
    package var team: String
    package var banner: String
    /// The banner's distance from UTC.
    package var offsetMinutes: Int
    package var server: String
    package var replica: ReplicaID
}

/// How to reach the hub.
package struct HubAccess: Hashable, Sendable {
    package var server: String
    package var token: String
    /// SHA-256 of the hub's public key, 32 bytes.
    package var pin: [UInt8]?
    /// A PEM file of authorities.
    package var authority: String?

    package init(server: String, token: String, pin: [UInt8]?, authority: String?) {
        self.server = server
        self.token = token
        self.pin = pin
        self.authority = authority
    }
}

/// A thing of the past weeks that the person may want to know of.
package struct Notice: Hashable, Sendable {
    package enum Kind: Int64, Sendable {
        /// The journal had been copied or restored: what waited goes on under a new replica.
        case forked = 1
        // 2 was of counters that the hub had lost, as a journal that shares them now forks.
        /// The hub had been restored from a backup; this journal brought back what it held.
        case hubRestored = 3
        /// Records here were not what the hub has; they were fetched again.
        case mended = 4
        /// Something here is not what the hub has, and could not be found.
        case differs = 5
        /// What this journal brought back to a restored hub did not all come back from it; it is
        /// in the list of what was refused.
        case notTakenBack = 6
        /// Commands that no pull contains yet were not as they had been stored, and are not sent;
        /// what can be read of them is in the list of what was refused.
        case commandsDamaged = 7
    }

    package var kind: Kind
    /// Whether something came into the list of what was refused that the hub did not refuse.
    package var isInRefusedList: Bool { kind == .notTakenBack || kind == .commandsDamaged }
    /// By the hub's clock.
    package var milliseconds: Int64
    /// How many commands, or of a restored hub how many records, it concerned.
    package var amount: Int

    /// One sentence: what happened, and what became of what this device held.
    package var description: String {
        switch kind {
        case .forked:
            "This journal was found to be a copy or a restored backup; nothing in it was lost, "
                + "it went on as a new one"
                + (amount == 0
                    ? "." : ", and \(amount) waiting command\(amount == 1 ? "" : "s") with it.")
        case .hubRestored where amount == 0:
            "The server was restored from a backup; nothing was lost, as it had all that this "
                + "device holds."
        case .hubRestored:
            // What did not come back is told of by ``Kind/notTakenBack``, and kept here.
            "The server was restored from a backup; nothing was lost of the "
                + "\(amount) record\(amount == 1 ? "" : "s") whose changes this device brought back."
        case .mended:
            "\(amount) record\(amount == 1 ? "" : "s") on this device had been damaged; "
                + "\(amount == 1 ? "it was" : "they were") fetched again from the server."
        case .differs:
            "What this device holds is not quite what the server has (seen "
                + "\(amount) time\(amount == 1 ? "" : "s")); please tell the server's operator."
        case .notTakenBack:
            "Not all that this device held of \(amount) record\(amount == 1 ? "" : "s") came back "
                + "from the restored server; the rest is kept with what was refused."
        case .commandsDamaged:
            "\(amount) command\(amount == 1 ? "" : "s") on this device had been damaged before "
                + "\(amount == 1 ? "its" : "their") sync was complete; what can be read of "
                + "\(amount == 1 ? "it" : "them") is kept with what was refused."
        }
    }
}

/// What `waystation status` tells.
package struct JournalStatus: Hashable, Sendable {
    package var identity: Identity?
    /// Commands that the hub has not decided on.
    package var waitingGroups: Int
    /// The changes in them.
    package var waitingChanges: Int
    package var refused: Int
    package var conflicts: Int
    /// Needs that are shown, without withdrawn ones.
    package var needs: Int
    /// The hub's clock at the end of the newest complete pull.
    package var lastSyncMilliseconds: Int64?
    /// Whether a pull was begun and has not ended.
    package var isPullUnderWay: Bool
    /// Newest first.
    package var notices: [Notice]
}

extension Journal {
    /// Who this device is; `nil` before enrolment.
    package func identity() throws(JournalError) -> Identity? {
        try reading { try readIdentity() }
    }

    /// Whether ``identity()`` is there.
    package func isEnrolled() throws(JournalError) -> Bool { try identity() != nil }

    /// - Throws: ``JournalError/notEnrolled``.
    package func hubAccess() throws(JournalError) -> HubAccess {
        try reading {
            let access = try connection.first(
                "SELECT server, token, pin, authority FROM enrolment"
            ) { row in
                HubAccess(
                    server: row.text(at: 0), token: row.text(at: 1), pin: row.optionalBytes(at: 2),
                    authority: row.optionalText(at: 3))
            }
            guard let access else { throw JournalError.notEnrolled }
            return access
        }
    }

    /// The present replica, which enrolment tells the hub.
    package func replica() throws(JournalError) -> ReplicaID {
        try reading { try readWriter().replica }
    }

    /// How many commands the hub has not decided on.
    package func waitingGroups() throws(JournalError) -> Int {
        try reading { try readWaitingGroups() }
    }

    package func status() throws(JournalError) -> JournalStatus {
        try reading {
            let context = try readContext()
            let waiting = try readOutbox().filter { !$0.isSettled }
            let pull = try readPull()
            let needs = try allNeeds(context: context)
            let notices = try readNotices(after: 0)
            let refused = try connection.first("SELECT count(*) FROM refused") {
                Int($0.integer(at: 0))
            }
            return JournalStatus(
                identity: context.identity, waitingGroups: waiting.count,
                waitingChanges: waiting.reduce(0) { $0 + $1.content.changes.count },
                refused: refused ?? 0,
                conflicts: needs.reduce(0) { $0 + $1.conflicts.count },
                needs: needs.count { !$0.isWithdrawn },
                lastSyncMilliseconds: pull.completedAt, isPullUnderWay: !pull.resume.isEmpty,
                notices: notices)
        }
    }

    /// What happened after a notice, newest first.
    ///
    /// - Parameter number: What ``newestNotice()`` gave.
    package func notices(after number: Int64) throws(JournalError) -> [Notice] {
        try reading { try readNotices(after: number) }
    }

    /// The number of the newest notice; 0 before the first.
    package func newestNotice() throws(JournalError) -> Int64 {
        try reading {
            try connection.first("SELECT coalesce(max(number), 0) FROM notice") {
                $0.integer(at: 0)
            } ?? 0
        }
    }

    private func readNotices(after number: Int64) throws -> [Notice] {
        try connection.all(
            """
            SELECT kind, milliseconds, amount FROM notice WHERE number > ? ORDER BY number DESC
            """, .integer(number)
        ) { row in
            Notice.Kind(rawValue: row.integer(at: 0)).map {
                Notice(
                    kind: $0, milliseconds: row.integer(at: 1), amount: Int(row.integer(at: 2)))
            }
        }.compactMap { $0 }
    }

    func readIdentity() throws -> Identity? {
        let found = try connection.first(
            """
            SELECT device, device_name, role, territory, team, banner, offset_minutes, server
            FROM enrolment
            """
        ) { row -> Identity in
            guard let role = Role(rawValue: UInt8(clamping: row.integer(at: 2))) else {
                throw ByteCodingError.truncated
            }
            return Identity(
                device: row.integer(at: 0), name: row.text(at: 1), role: role,
                territory: row.text(at: 3), team: row.text(at: 4), banner: row.text(at: 5),
                offsetMinutes: Int(row.integer(at: 6)), server: row.text(at: 7), replica: .none)
        }
        guard var identity = found else { return nil }
        identity.replica = try readWriter().replica
        return identity
    }

    func requireIdentity() throws -> Identity {
        guard let identity = try readIdentity() else { throw JournalError.notEnrolled }
        return identity
    }

    /// The buckets assigned; empty before enrolment.
    func readScope() throws -> Scope {
        let bytes = try connection.first("SELECT buckets FROM enrolment") { $0.bytes(at: 0) }
        return try bytes.map { try Scope(storedNames: $0) } ?? .empty
    }

    /// Whether a bucket is assigned, without making a scope of all that are.
    func isAssigned(_ bucket: Bucket) throws -> Bool {
        let name = Array(bucket.name.utf8)
        let names = try connection.first("SELECT buckets FROM enrolment") { $0.bytes(at: 0) }
        var reader = ByteReader(names ?? [])
        while !reader.isAtEnd { if try reader.block() == name { return true } }
        return false
    }

    func storeAssignment(_ assignment: Assignment) throws {
        var buckets = ByteWriter()
        for bucket in assignment.scope.buckets { buckets.put(bucket.name) }
        try connection.run(
            """
            UPDATE enrolment SET device = ?, device_name = ?, role = ?, territory = ?, team = ?,
                banner = ?, offset_minutes = ?, buckets = ?
            """,
            .integer(assignment.device), .text(assignment.deviceName),
            .integer(Int64(assignment.role.rawValue)), .text(assignment.territory),
            .text(assignment.team), .text(assignment.banner),
            .integer(assignment.offsetMinutes), .bytes(buckets.bytes))
        // The present replica belongs to the device that the hub says we are.
        try connection.run(
            "UPDATE lineage SET device = ? WHERE shared IS NULL", .integer(assignment.device))
    }
}

// MARK: - Rows that change with every command or sync

/// The row `writer`.
struct WriterRow {
    var replica: ReplicaID
    var nextCounter: UInt64
    var nextRecord: UInt64
    /// Of all below ``nextCounter``.
    var chain: HashChain
}

/// The row `pull`.
struct PullRow {
    var cursor: Position
    /// The id of the scope held at the cursor.
    var scope: UInt64
    /// Not empty while a pull is under way.
    var resume: [UInt8]
    /// Counters that the hub asked for, of commands that were damaged.
    var gap: Range<UInt64>?
    var completedAt: Int64?
}

/// A row of `lineage`: a replica that this journal was or is.
struct LineageRow {
    var replica: ReplicaID
    var device: Int64?
    /// The last counter in common with the successor; `nil` for the present replica.
    var shared: UInt64?
    /// Of all up to that.
    var chain: HashChain
}

extension Journal {
    func readWriter() throws -> WriterRow {
        let writer = try connection.first(
            "SELECT replica, next_counter, next_record, chain FROM writer"
        ) { row in
            WriterRow(
                replica: row.replica(at: 0), nextCounter: row.bits(at: 1),
                nextRecord: row.bits(at: 2), chain: HashChain(row.bits(at: 3)))
        }
        guard let writer else { throw JournalError.notEnrolled }
        return writer
    }

    func storeWriter(_ writer: WriterRow) throws {
        try connection.run(
            "UPDATE writer SET replica = ?, next_counter = ?, next_record = ?, chain = ?",
            .bits(writer.replica.rawValue), .bits(writer.nextCounter), .bits(writer.nextRecord),
            .bits(writer.chain.value))
    }

    func readPull() throws -> PullRow {
        let pull = try connection.first(
            "SELECT term, sequence, scope, resume, missing_from, held_from, completed_at FROM pull"
        ) { row in
            PullRow(
                cursor: Position(term: row.replica(at: 0), sequence: row.bits(at: 1)),
                scope: row.bits(at: 2), resume: row.bytes(at: 3),
                gap: Self.gap(from: row.optionalInteger(at: 4), to: row.optionalInteger(at: 5)),
                completedAt: row.optionalInteger(at: 6))
        }
        guard let pull else { throw ByteCodingError.truncated }
        return pull
    }

    func storePull(_ pull: PullRow) throws {
        try connection.run(
            """
            UPDATE pull SET term = ?, sequence = ?, scope = ?, resume = ?, missing_from = ?,
                held_from = ?, completed_at = ?
            """,
            .bits(pull.cursor.term.rawValue), .bits(pull.cursor.sequence), .bits(pull.scope),
            .bytes(pull.resume), SQLValue(pull.gap.map { Int64(bitPattern: $0.lowerBound) }),
            SQLValue(pull.gap.map { Int64(bitPattern: $0.upperBound) }),
            SQLValue(pull.completedAt))
    }

    /// Without a sound beginning the hub is told of no gap, and asks again.
    private static func gap(from first: Int64?, to end: Int64?) -> Range<UInt64>? {
        guard let first, let end else { return nil }
        let bounds = (UInt64(bitPattern: first), UInt64(bitPattern: end))
        return bounds.0 < bounds.1 ? bounds.0..<bounds.1 : nil
    }

    func readLineage() throws -> [LineageRow] {
        try connection.all("SELECT replica, device, shared, chain FROM lineage ORDER BY number") {
            LineageRow(
                replica: $0.replica(at: 0), device: $0.optionalInteger(at: 1),
                shared: $0.optionalInteger(at: 2).map { UInt64(bitPattern: $0) },
                chain: HashChain($0.bits(at: 3)))
        }
    }

    /// Own groups that the pulled state does not contain, in the order of writing.
    func readOutbox() throws -> [OutboxGroup] {
        try connection.all(
            """
            SELECT number, replica, counter, record, state, content, chain FROM outbox ORDER BY number
            """
        ) { OutboxGroup(row: $0) }.compactMap { $0 }
    }

    func readOutbox(of record: RecordID) throws -> [OutboxGroup] {
        try connection.all(
            """
            SELECT number, replica, counter, record, state, content, chain FROM outbox
            WHERE record = ? ORDER BY number
            """, .bytes(record.bytes)
        ) { OutboxGroup(row: $0) }.compactMap { $0 }
    }

    func readWaitingGroups() throws -> Int {
        try connection.first("SELECT count(*) FROM outbox WHERE state IS NOT 1") {
            Int($0.integer(at: 0))
        } ?? 0
    }

    /// Appends one command's changes: the one place where counters are given out.
    ///
    /// - Returns: As it is stored.
    @discardableResult
    func append(
        record: RecordID, createdKind: UInt32?, changes: [Change], writer: inout WriterRow,
        clocks: ClockReading
    ) throws -> OutboxGroup {
        let content = GroupContent(
            createdKind: createdKind, base: try readPull().cursor, written: clocks,
            changes: changes)
        return try append(record: record, content: content, writer: &writer)
    }

    @discardableResult
    func append(
        record: RecordID, content: GroupContent, writer: inout WriterRow
    ) throws -> OutboxGroup {
        precondition(!content.changes.isEmpty, "a command changes something")
        // No batch with more would be read, and nothing that waits would go out any more.
        guard content.batchBytes <= JournalLimits.groupBytesMax,
            content.changes.count <= Limits.changesPerGroupMax,
            content.changes.allSatisfy({ $0.value?.count ?? 0 <= Limits.valueBytesMax })
        else { throw JournalError.tooLarge }
        guard writer.nextCounter < 1 << 60 else { throw JournalError.exhausted }
        let dot = Dot(writer.replica, writer.nextCounter)
        try connection.run(
            """
            INSERT INTO outbox (replica, counter, record, state, content, chain)
            VALUES (?, ?, ?, 0, ?, ?)
            """, .bits(dot.replica.rawValue), .bits(dot.counter), .bytes(record.bytes),
            .bytes(content.bytes(of: record, under: dot)), .bits(writer.chain.value))
        let group = OutboxGroup(
            number: connection.lastInsertedRow, replica: dot.replica, counter: dot.counter,
            record: record, isSettled: false, content: content, chain: writer.chain)
        writer.chain.append(group.group)
        writer.nextCounter = group.nextCounter
        return group
    }
}
