import Glibc
import NeedModel
import SQLiteStore
import SyncCore

/// A ledger in one SQLite file: WAL, synchronous=FULL, so a commit is on the disk.
///
/// Not final, so that a test can count what is read. A release build sees that nothing in the module
/// inherits from it, and calls it as if it were.
class SQLiteLedgerStorage: LedgerStorage {
    private let connection: Connection
    private let path: String
    /// Rows and ids of replicas never change once committed; emptied whenever something is undone.
    private var replicaRows: [ReplicaID: Int64] = [:]
    private var replicaIDs: [Int64: ReplicaID] = [:]
    private(set) var namedReplicaCount = 0
    /// Records as this part of the transaction under way has stored them: most of them are wanted
    /// again for the answer. Nobody else can write meanwhile.
    private var storedRecords = RecentRecords()
    /// The replica that was asked for last, which mostly is asked for next.
    private var lastReplica: (id: ReplicaID, row: Int64)?
    /// The greatest key of one replica's records in the transaction under way: a device's new needs
    /// lie beyond it and need not be sought.
    private var greatestKey: (row: Int64, key: Int64)?
    /// The key where a record was last sought and none found in the transaction under way: whoever
    /// creates a record has looked for it just before.
    private var freeKey: Int64?
    private(set) var mayHoldFailedCommit = false

    /// - Parameter creates: Whether the file must not exist yet; otherwise it must.
    init(
        path: String, creates: Bool, vfs: String? = nil, busyTimeoutMilliseconds: Int32 = 5_000
    ) throws {
        self.path = path
        do {
            connection = try Connection(
                path: path, mode: creates ? .readWriteCreate : .readWrite,
                busyTimeoutMilliseconds: busyTimeoutMilliseconds, vfs: vfs)
            try connection.migrate(
                LedgerSchema.steps, applicationID: LedgerSchema.applicationID,
                fillsEmpty: creates)
            try connection.makeDurable(autocheckpointFrames: 1_000)
            // What a killed process wrote to the log and did not sync can be read, and so answered
            // from; a checkpoint syncs the log first.
            try connection.checkpoint(.passive)
        } catch {
            throw Self.translated(error)
        }
    }

    static func translated(_ error: any Error) -> any Error {
        switch error {
        case let error as SQLiteError:
            switch error.kind {
            case .busy, .locked: LedgerError.busy
            case .full, .readOnly, .ioError:
                LedgerError.disk(error.description, hint: error.hint)
            case .cannotOpen where [EACCES, EPERM].contains(error.systemErrorNumber):
                LedgerError.disk(error.description, hint: error.hint)
            case .cannotOpen, .notADatabase:
                LedgerError.file(error.description, hint: error.hint)
            case .corrupt: LedgerError.damaged(error.description)
            case .constraint, .other: error
            }
        case let error as SchemaTooNew:
            LedgerError.file(error.description, hint: error.hint)
        case let error as ForeignDatabase:
            LedgerError.file(error.description, hint: error.hint)
        case let error as EmptyDatabase:
            LedgerError.file(
                "\(error.path) is empty, and so no ledger",
                hint: "remove it, then make a ledger with waystation-server init")
        case is ByteCodingError:
            LedgerError.damaged("a row breaks its format")
        default: error
        }
    }

    func transaction<R>(_ body: () throws -> R) throws -> R {
        freeKey = nil
        greatestKey = nil
        mayHoldFailedCommit = false
        defer { storedRecords.removeAll() }
        var commits = false
        do {
            return try connection.transaction(.immediate) {
                let result = try body()
                commits = true
                return result
            }
        } catch {
            forgetReplicas()
            // A full disk cuts the commit's last frame short, which makes all of it void.
            mayHoldFailedCommit = commits && (error as? SQLiteError)?.kind != .full
            throw Self.translated(error)
        }
    }

    func snapshot<R>(_ body: () throws -> R) throws -> R {
        greatestKey = nil
        do {
            return try connection.transaction(.deferred, body)
        } catch {
            throw Self.translated(error)
        }
    }

    func savepoint<R>(_ body: () throws -> R) throws -> R {
        // What was done before stays; what fails does not. Either way the next request's records
        // are others, and memory is bounded by those of one.
        storedRecords.removeAll()
        greatestKey = nil
        defer {
            storedRecords.removeAll()
            greatestKey = nil
        }
        do {
            return try connection.savepoint(body)
        } catch let error as SQLiteError where error.kind == .corrupt {
            // Of the file and not of a row, so nothing else is to be stored either; the whole
            // transaction translates it.
            forgetReplicas()
            throw error
        } catch {
            forgetReplicas()
            throw Self.translated(error)
        }
    }

    private func forgetReplicas() {
        lastReplica = nil
        replicaRows.removeAll()
        replicaIDs.removeAll()
    }

    // MARK: Settings and terms

    /// Stores the one row of a new ledger.
    func initialize(_ settings: LedgerSettings) throws {
        try connection.run(
            "INSERT INTO ledger (id, banner, name, offset_minutes) VALUES (1, ?, ?, ?)",
            .text(settings.banner), .text(settings.name), .integer(settings.offsetMinutes))
    }

    func settings() throws -> LedgerSettings {
        let found = try connection.first(
            "SELECT banner, name, offset_minutes, server_key FROM ledger"
        ) {
            LedgerSettings(
                banner: $0.text(at: 0), name: $0.text(at: 1),
                offsetMinutes: Int($0.integer(at: 2)), serverKey: $0.optionalBytes(at: 3))
        }
        guard let found else { throw LedgerError.damaged("the ledger has no settings") }
        return found
    }

    func setServerKey(_ key: [UInt8]?) throws {
        try connection.run(
            "UPDATE ledger SET server_key = ?1 WHERE server_key IS NOT ?1", SQLValue(key))
    }

    func terms() throws -> TermLine {
        TermLine(
            try connection.all("SELECT id, first_sequence FROM term ORDER BY number") {
                TermLine.Entry(
                    term: TermID(truncating: UInt64(bitPattern: $0.integer(at: 0))),
                    first: UInt64(bitPattern: $0.integer(at: 1)))
            })
    }

    func appendTerm(_ entry: TermLine.Entry, openedMilliseconds: Int64) throws {
        try connection.run(
            "INSERT INTO term (id, first_sequence, opened_milliseconds) VALUES (?, ?, ?)",
            .integer(Int64(entry.term.rawValue)), sequence(entry.first),
            .integer(openedMilliseconds))
    }

    // MARK: Events

    func events() throws -> [LedgerEvent] {
        try connection.all(
            """
            SELECT kind, milliseconds, term, sequence, device FROM ledger_event ORDER BY number
            """
        ) { row in
            guard let kind = LedgerEvent.Kind(rawValue: row.integer(at: 0)) else {
                throw LedgerError.damaged("an event of an unknown kind")
            }
            return LedgerEvent(
                kind: kind, milliseconds: row.integer(at: 1),
                term: TermID(truncating: UInt64(bitPattern: row.integer(at: 2))),
                sequence: UInt64(bitPattern: row.integer(at: 3)),
                device: row.optionalInteger(at: 4))
        }
    }

    func appendEvent(_ event: LedgerEvent) throws {
        try connection.run(
            """
            INSERT INTO ledger_event (kind, milliseconds, term, sequence, device)
            VALUES (?, ?, ?, ?, ?)
            """, .integer(event.kind.rawValue), .integer(event.milliseconds),
            .integer(Int64(event.term.rawValue)), sequence(event.sequence),
            SQLValue(event.device))
    }

    func forgetEvents(
        _ kind: LedgerEvent.Kind, device: Int64, keepingNewest count: Int
    ) throws {
        try connection.run(
            """
            DELETE FROM ledger_event WHERE kind = ?1 AND device = ?2 AND number NOT IN (
                SELECT number FROM ledger_event WHERE kind = ?1 AND device = ?2
                ORDER BY number DESC LIMIT ?3)
            """, .integer(kind.rawValue), .integer(device), .integer(count))
    }

    // MARK: Devices

    func device(_ id: Int64) throws -> DeviceRow? {
        try connection.first(
            """
            SELECT id, name, role, territory, team, revoked_milliseconds, enrolled_milliseconds,
                last_sync_milliseconds, last_sequence, refused_groups,
                (SELECT TOTAL(lost_changes) FROM replica WHERE device = device.id)
            FROM device WHERE id = ?
            """, .integer(id), read: Self.deviceRow)
    }

    func device(tokenHash: [UInt8]) throws -> DeviceRow? {
        try connection.first(
            """
            SELECT id, name, role, territory, team, revoked_milliseconds, enrolled_milliseconds,
                last_sync_milliseconds, last_sequence, refused_groups, 0
            FROM device WHERE token_hash = ?
            """, .bytes(tokenHash), read: Self.deviceRow)
    }

    func devices() throws -> [DeviceRow] {
        try connection.all(
            """
            SELECT id, name, role, territory, team, revoked_milliseconds, enrolled_milliseconds,
                last_sync_milliseconds, last_sequence, refused_groups,
                (SELECT TOTAL(lost_changes) FROM replica WHERE device = device.id)
            FROM device ORDER BY id
            """, read: Self.deviceRow)
    }

    private static func deviceRow(_ row: borrowing Statement) throws -> DeviceRow {
        guard let role = Role(rawValue: UInt8(clamping: row.integer(at: 2))) else {
            throw LedgerError.damaged("a device without a role")
        }
        return DeviceRow(
            device: Device(
                id: row.integer(at: 0), name: row.text(at: 1), role: role,
                territory: row.text(at: 3), team: row.text(at: 4), isRevoked: !row.isNull(at: 5)),
            enrolledMilliseconds: row.integer(at: 6),
            lastSyncMilliseconds: row.optionalInteger(at: 7),
            lastSequence: UInt64(bitPattern: row.integer(at: 8)),
            refusedGroups: Int(row.integer(at: 9)),
            lostChanges: UInt64(bitPattern: row.integer(at: 10)))
    }

    func insertDevice(_ row: DeviceRow, tokenHash: [UInt8]) throws -> Int64 {
        try connection.run(
            """
            INSERT INTO device (name, role, territory, team, token_hash, enrolled_milliseconds)
            VALUES (?, ?, ?, ?, ?, ?)
            """, .text(row.device.name), .integer(Int(row.device.role.rawValue)),
            .text(row.device.territory), .text(row.device.team), .bytes(tokenHash),
            .integer(row.enrolledMilliseconds))
        return connection.lastInsertedRow
    }

    func renewDevice(_ id: Int64, tokenHash: [UInt8]) throws {
        try connection.run(
            "UPDATE device SET token_hash = ?, revoked_milliseconds = NULL WHERE id = ?",
            .bytes(tokenHash), .integer(id))
    }

    func revokeDevice(_ id: Int64, atMilliseconds: Int64) throws {
        try connection.run(
            """
            UPDATE device SET revoked_milliseconds = ?
            WHERE id = ? AND revoked_milliseconds IS NULL
            """, .integer(atMilliseconds), .integer(id))
    }

    func noteSync(device: Int64, atMilliseconds: Int64, sequence: UInt64) throws {
        try connection.run(
            "UPDATE device SET last_sync_milliseconds = ?, last_sequence = ? WHERE id = ?",
            .integer(atMilliseconds), self.sequence(sequence), .integer(device))
    }

    func addRefusedGroups(_ count: Int, device: Int64) throws {
        try connection.run(
            "UPDATE device SET refused_groups = refused_groups + ? WHERE id = ?",
            .integer(count), .integer(device))
    }

    func insertInvite(_ invite: InviteRow, codeHash: [UInt8]) throws {
        try connection.run(
            """
            INSERT INTO invite (code_hash, name, role, territory, team, expires_milliseconds)
            VALUES (?, ?, ?, ?, ?, ?)
            """, .bytes(codeHash), .text(invite.name), .integer(Int(invite.role.rawValue)),
            .text(invite.territory), .text(invite.team), .integer(invite.expiresMilliseconds))
    }

    func invite(codeHash: [UInt8]) throws -> InviteRow? {
        try connection.first(
            """
            SELECT name, role, territory, team, expires_milliseconds, used_milliseconds, device,
                replica
            FROM invite WHERE code_hash = ?
            """, .bytes(codeHash)
        ) { row in
            guard let role = Role(rawValue: UInt8(clamping: row.integer(at: 1))) else {
                throw LedgerError.damaged("an invite without a role")
            }
            return InviteRow(
                name: row.text(at: 0), role: role, territory: row.text(at: 2),
                team: row.text(at: 3), expiresMilliseconds: row.integer(at: 4),
                usedMilliseconds: row.optionalInteger(at: 5), device: row.optionalInteger(at: 6),
                replica: ReplicaID(
                    truncating: UInt64(bitPattern: row.optionalInteger(at: 7) ?? 0)))
        }
    }

    func useInvite(
        codeHash: [UInt8], device: Int64, replica: ReplicaID, atMilliseconds: Int64
    ) throws {
        try connection.run(
            "UPDATE invite SET used_milliseconds = ?, device = ?, replica = ? WHERE code_hash = ?",
            .integer(atMilliseconds), .integer(device), .integer(Int64(replica.rawValue)),
            .bytes(codeHash))
    }

    func enrolledReplicas(of device: Int64) throws -> [ReplicaID] {
        try connection.all(
            "SELECT replica FROM invite WHERE device = ? AND replica IS NOT NULL",
            .integer(device)
        ) { ReplicaID(truncating: UInt64(bitPattern: $0.integer(at: 0))) }
    }

    func device(enrolledWith replica: ReplicaID) throws -> Int64? {
        if replica == .none { return nil }
        return try connection.first(
            """
            SELECT device FROM invite WHERE replica = ? AND device IS NOT NULL
            ORDER BY used_milliseconds DESC LIMIT 1
            """, .integer(Int64(replica.rawValue))
        ) { $0.integer(at: 0) }
    }

    func bootOffset(device: Int64, boot: UInt64) throws -> Int64? {
        try connection.first(
            "SELECT offset_milliseconds FROM device_boot WHERE device = ? AND boot = ?",
            .integer(device), .integer(Int64(bitPattern: boot))
        ) { $0.integer(at: 0) }
    }

    func setBootOffset(
        _ offset: Int64, device: Int64, boot: UInt64, atMilliseconds: Int64
    ) throws {
        try connection.run(
            "INSERT OR REPLACE INTO device_boot VALUES (?, ?, ?, ?)", .integer(device),
            .integer(Int64(bitPattern: boot)), .integer(offset), .integer(atMilliseconds))
        try connection.run(
            """
            DELETE FROM device_boot WHERE device = ?1 AND boot NOT IN (
                SELECT boot FROM device_boot WHERE device = ?1
                ORDER BY measured_milliseconds DESC LIMIT ?2)
            """, .integer(device), .integer(LedgerLimits.bootsPerDeviceMax))
    }

    func scope(device: Int64, at sequence: UInt64) throws -> Scope? {
        try connection.first(
            """
            SELECT buckets FROM device_scope JOIN scope ON scope.id = device_scope.scope
            WHERE device = ? AND sequence <= ? ORDER BY sequence DESC LIMIT 1
            """, .integer(device), self.sequence(sequence), read: Self.scope)
            ?? connection.first(
                """
                SELECT buckets FROM device_scope JOIN scope ON scope.id = device_scope.scope
                WHERE device = ? ORDER BY sequence LIMIT 1
                """, .integer(device), read: Self.scope)
    }

    func newestScopeID(device: Int64) throws -> UInt64? {
        try connection.first(
            """
            SELECT scope FROM device_scope WHERE device = ? ORDER BY sequence DESC LIMIT 1
            """, .integer(device)
        ) { UInt64(bitPattern: $0.integer(at: 0)) }
    }

    func scope(device: Int64, id: UInt64) throws -> Scope? {
        try connection.first(
            """
            SELECT buckets FROM device_scope JOIN scope ON scope.id = device_scope.scope
            WHERE device = ? AND scope.id = ? LIMIT 1
            """, .integer(device), self.sequence(id), read: Self.scope)
    }

    func appendScope(_ scope: Scope, device: Int64, sequence: UInt64) throws {
        try connection.run(
            "INSERT OR IGNORE INTO scope VALUES (?, ?)", self.sequence(scope.id),
            .text(scope.buckets.map(\.name).joined(separator: "\n")))
        try connection.run(
            "INSERT OR REPLACE INTO device_scope VALUES (?, ?, ?)", .integer(device),
            self.sequence(sequence), self.sequence(scope.id))
    }

    private static func scope(_ row: borrowing Statement) throws -> Scope {
        Scope(row.text(at: 0).split(separator: "\n").compactMap { Bucket(name: String($0)) })
    }

    // MARK: Replicas

    func replica(_ id: ReplicaID) throws -> ReplicaRow? {
        try connection.first(
            """
            SELECT row, id, device, next_counter, newest_stamp, ancestors, lost_changes,
                chain
            FROM replica WHERE id = ?
            """, .integer(Int64(id.rawValue)), read: replicaRow)
    }

    func replica(row: Int64) throws -> ReplicaRow? {
        try connection.first(
            """
            SELECT row, id, device, next_counter, newest_stamp, ancestors, lost_changes,
                chain
            FROM replica WHERE row = ?
            """, .integer(row), read: replicaRow)
    }

    private func replicaRow(_ row: borrowing Statement) throws -> ReplicaRow {
        var reader = ByteReader(row.bytes(at: 5))
        var ancestors: [Dot] = []
        while !reader.isAtEnd {
            let replica = ReplicaID(truncating: try reader.number())
            ancestors.append(Dot(replica, try reader.number()))
        }
        return ReplicaRow(
            row: row.integer(at: 0),
            id: ReplicaID(truncating: UInt64(bitPattern: row.integer(at: 1))),
            device: row.optionalInteger(at: 2),
            nextCounter: UInt64(bitPattern: row.integer(at: 3)),
            newestStamp: row.optionalInteger(at: 4), ancestors: ancestors,
            lostChanges: UInt64(bitPattern: row.integer(at: 6)),
            chain: row.optionalInteger(at: 7).map { HashChain(UInt64(bitPattern: $0)) })
    }

    func insertReplica(_ row: ReplicaRow) throws -> Int64 {
        try connection.run(
            """
            INSERT INTO replica (id, device, next_counter, newest_stamp, ancestors, lost_changes,
                chain)
            VALUES (?, ?, ?, ?, ?, ?, ?)
            """, .integer(Int64(row.id.rawValue)), SQLValue(row.device),
            sequence(row.nextCounter), SQLValue(row.newestStamp),
            .bytes(Self.encoded(row.ancestors)), sequence(row.lostChanges), chain(row.chain))
        return connection.lastInsertedRow
    }

    private static func encoded(_ ancestors: [Dot]) -> [UInt8] {
        var writer = ByteWriter()
        for ancestor in ancestors {
            writer.put(ancestor.replica.rawValue)
            writer.put(ancestor.counter)
        }
        return writer.bytes
    }

    func updateReplica(_ row: ReplicaRow) throws {
        try connection.run(
            """
            UPDATE replica SET device = ?, next_counter = ?, newest_stamp = ?, ancestors = ?,
                lost_changes = ?, chain = ? WHERE row = ?
            """, SQLValue(row.device), sequence(row.nextCounter), SQLValue(row.newestStamp),
            .bytes(Self.encoded(row.ancestors)), sequence(row.lostChanges), chain(row.chain),
            .integer(row.row))
    }

    private func rowOfReplica(_ id: ReplicaID) throws -> Int64 {
        if let lastReplica, lastReplica.id == id { return lastReplica.row }
        if let row = replicaRows[id] {
            lastReplica = (id, row)
            return row
        }
        let found = try connection.first(
            "SELECT row FROM replica WHERE id = ?", .integer(Int64(id.rawValue))
        ) { $0.integer(at: 0) }
        // What was brought back may name a writer or a term that has no row yet.
        if found == nil { namedReplicaCount += 1 }
        let row = try found ?? insertReplica(ReplicaRow(id: id))
        replicaRows[id] = row
        return row
    }

    private func idOfReplica(_ row: Int64) throws -> ReplicaID {
        if let lastReplica, lastReplica.row == row { return lastReplica.id }
        if let id = replicaIDs[row] {
            lastReplica = (id, row)
            return id
        }
        let found = try connection.first(
            "SELECT id FROM replica WHERE row = ?", .integer(row)
        ) { ReplicaID(truncating: UInt64(bitPattern: $0.integer(at: 0))) }
        guard let found else { throw LedgerError.damaged("a version without its writer") }
        replicaIDs[row] = found
        return found
    }

    // MARK: Records

    func record(_ id: RecordID) throws -> StoredRecord? {
        guard let key = try key(of: id) else { return nil }
        if try greatest(of: key >> Int64(RecordID.numberBitCount)) < key {
            freeKey = key
            return nil
        }
        guard let record = try record(key: key) else {
            freeKey = key
            return nil
        }
        if record.id == id { return record }
        let overflow = try connection.first(
            "SELECT key FROM record_overflow WHERE id = ?", .bytes(id.bytes)
        ) { $0.integer(at: 0) }
        return try overflow.flatMap { try self.record(key: $0) }
    }

    /// - Returns: Less than any key of the replica's when it has no records.
    private func greatest(of row: Int64) throws -> Int64 {
        if let greatestKey, greatestKey.row == row { return greatestKey.key }
        let first = row << Int64(RecordID.numberBitCount)
        let found = try connection.first(
            "SELECT key FROM record WHERE key BETWEEN ? AND ? ORDER BY key DESC LIMIT 1",
            .integer(first), .integer(first | Int64(RecordID.numberMask))
        ) { $0.integer(at: 0) }
        let key = found ?? first - 1
        greatestKey = (row, key)
        return key
    }

    /// The key that an id stands for when no other id took it first.
    private func key(of id: RecordID) throws -> Int64? {
        if let lastReplica, lastReplica.id == id.replica {
            return lastReplica.row << Int64(RecordID.numberBitCount) | Int64(id.number)
        }
        let row =
            try replicaRows[id.replica]
            ?? connection.first(
                "SELECT row FROM replica WHERE id = ?", .integer(Int64(id.replica.rawValue))
            ) { $0.integer(at: 0) }
        return row.map { $0 << Int64(RecordID.numberBitCount) | Int64(id.number) }
    }

    func newKey(for id: RecordID, isReserved: (Int64) -> Bool) throws -> Int64 {
        let key =
            try rowOfReplica(id.replica) << Int64(RecordID.numberBitCount) | Int64(id.number)
        let isTaken =
            try isReserved(key)
            || key != freeKey
                && connection.first("SELECT 1 FROM record WHERE key = ?", .integer(key)) { _ in
                    true
                } ?? false
        if !isTaken { return key }
        let next = try connection.first(
            "SELECT COALESCE(MAX(key), 0) + 1 FROM record_overflow"
        ) { $0.integer(at: 0) }
        let overflow = next ?? 1
        try connection.run(
            "INSERT INTO record_overflow VALUES (?, ?)", .bytes(id.bytes), .integer(overflow))
        return overflow
    }

    func record(key: Int64) throws -> StoredRecord? {
        if let record = storedRecords.record(key: key) { return record }
        let statement = try connection.prepare(
            """
            SELECT key, id, kind, created_milliseconds, device, parent, grid, team,
                first_sequence, last_sequence, left_sequence, state FROM record WHERE key = ?
            """)
        try statement.bind(1, key)
        return try statement.step() ? storedRecord(statement) : nil
    }

    func firstSequence(ofRecord key: Int64) throws -> UInt64? {
        try connection.first("SELECT first_sequence FROM record WHERE key = ?", .integer(key)) {
            UInt64(bitPattern: $0.integer(at: 0))
        }
    }

    private func storedRecord(_ row: borrowing Statement) throws -> StoredRecord {
        guard let id = RecordID(bytes: row.lentBytes(at: 1)) else {
            throw LedgerError.damaged("a record without its id")
        }
        let beside = RecordState.Row(
            firstSequence: UInt64(bitPattern: row.integer(at: 8)),
            createdMilliseconds: row.integer(at: 3), grid: row.optionalText(at: 6))
        return StoredRecord(
            key: row.integer(at: 0), id: id, kind: UInt32(truncatingIfNeeded: row.integer(at: 2)),
            createdMilliseconds: beside.createdMilliseconds, device: row.optionalInteger(at: 4),
            parent: row.optionalInteger(at: 5), grid: beside.grid,
            team: row.optionalText(at: 7), firstSequence: beside.firstSequence,
            lastSequence: UInt64(bitPattern: row.integer(at: 9)),
            leftSequence: UInt64(bitPattern: row.integer(at: 10)),
            state: try RecordState(
                decoding: Array(row.lentBytes(at: 11)), beside: beside, replica: idOfReplica))
    }

    func insertRecord(_ record: StoredRecord) throws {
        // All that SQLite is lent lies in one piece of memory.
        var lent = try record.state.encoded(beside: record.rowBeside, row: rowOfReplica)
        let stateEnd = lent.count
        withUnsafeBytes(of: (record.id.high.bigEndian, record.id.low.bigEndian)) {
            lent.append(contentsOf: $0)
        }
        let idEnd = lent.count
        if let grid = record.grid { lent.append(contentsOf: grid.utf8) }
        let gridEnd = lent.count
        if let team = record.team { lent.append(contentsOf: team.utf8) }
        try lent.withUnsafeBufferPointer { lent in
            func part(_ start: Int, _ end: Int) -> UnsafeBufferPointer<UInt8> {
                UnsafeBufferPointer(rebasing: lent[start..<end])
            }
            let statement = try connection.prepare(
                "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
            try statement.bind(1, record.key)
            try statement.lend(2, bytes: part(stateEnd, idEnd))
            try statement.bind(3, Int64(record.kind))
            try statement.bind(4, record.createdMilliseconds)
            if let device = record.device { try statement.bind(5, device) }
            if let parent = record.parent { try statement.bind(6, parent) }
            if record.grid != nil { try statement.lend(7, text: part(idEnd, gridEnd)) }
            if record.team != nil { try statement.lend(8, text: part(gridEnd, lent.count)) }
            try statement.bind(9, Int64(bitPattern: record.firstSequence))
            try statement.bind(10, Int64(bitPattern: record.lastSequence))
            try statement.bind(11, Int64(bitPattern: record.leftSequence))
            if record.isInConflict { try statement.bind(12, true) }
            try statement.lend(13, bytes: part(0, stateEnd))
            while try statement.step() {}
        }
        if record.key == freeKey { freeKey = nil }
        if let greatestKey, greatestKey.key < record.key,
            greatestKey.row == record.key >> Int64(RecordID.numberBitCount)
        {
            self.greatestKey?.key = record.key
        }
        storedRecords.remember(record)
    }

    func updateRecord(_ record: StoredRecord, isMoved: Bool) throws {
        if isMoved {
            // SQLite writes anew all indexes whose columns are named, whether they change or not.
            try connection.run(
                "UPDATE record SET device = ?, grid = ?, team = ? WHERE key = ?",
                SQLValue(record.device), SQLValue(record.grid), SQLValue(record.team),
                .integer(record.key))
        }
        let state = try record.state.encoded(beside: record.rowBeside, row: rowOfReplica)
        try state.withUnsafeBufferPointer { state in
            let statement = try connection.prepare(
                """
                UPDATE record SET last_sequence = ?, left_sequence = ?, conflicted = ?, state = ?
                WHERE key = ?
                """)
            try statement.bind(1, Int64(bitPattern: record.lastSequence))
            try statement.bind(2, Int64(bitPattern: record.leftSequence))
            if record.isInConflict { try statement.bind(3, true) }
            try statement.lend(4, bytes: state)
            try statement.bind(5, record.key)
            while try statement.step() {}
        }
        storedRecords.remember(record)
    }

    func children(of key: Int64) throws -> [Int64] {
        try connection.all("SELECT key FROM record WHERE parent = ? ORDER BY key", .integer(key)) {
            $0.integer(at: 0)
        }
    }

    func records(
        in bucket: Bucket, after key: Int64, limit: Int, unreadable: (UInt64) -> Void
    ) throws -> [StoredRecord] {
        var records: [StoredRecord] = []
        var key = key
        while true {
            let missing = limit - records.count
            let rows = try rows(in: bucket, after: key, limit: missing)
            for row in rows {
                key = row.key
                if let record = row.record {
                    records.append(record)
                } else {
                    unreadable(row.firstSequence)
                }
            }
            if rows.count < missing || records.count == limit { return records }
        }
    }

    private typealias ReadableRow = (key: Int64, firstSequence: UInt64, record: StoredRecord?)

    /// A row of `record`, without what it holds if that does not decode.
    private func readable(
        _ row: borrowing Statement
    ) throws -> ReadableRow {
        let (key, firstSequence) = (row.integer(at: 0), UInt64(bitPattern: row.integer(at: 8)))
        do {
            return (key, firstSequence, try storedRecord(row))
        } catch let error where error.isOfOneRow {
            return (key, firstSequence, nil)
        }
    }

    private func rows(
        in bucket: Bucket, after key: Int64, limit: Int
    ) throws -> [ReadableRow] {
        switch bucket {
        case .reference:
            try connection.all(
                """
                SELECT key, id, kind, created_milliseconds, device, parent, grid, team,
                    first_sequence, last_sequence, left_sequence, state FROM record
                WHERE key > ? AND kind >= 3 ORDER BY key LIMIT ?
                """, .integer(key), .integer(limit), read: readable)
        case .recordedBy(let device):
            try connection.all(
                """
                SELECT key, id, kind, created_milliseconds, device, parent, grid, team,
                    first_sequence, last_sequence, left_sequence, state FROM record
                WHERE device = ? AND key > ? ORDER BY key LIMIT ?
                """, .integer(device), .integer(key), .integer(limit), read: readable)
        case .team(let team):
            try connection.all(
                """
                SELECT key, id, kind, created_milliseconds, device, parent, grid, team,
                    first_sequence, last_sequence, left_sequence, state FROM record
                WHERE team = ? AND key > ? ORDER BY key LIMIT ?
                """, .text(team), .integer(key), .integer(limit), read: readable)
        case .grid(let grid):
            try connection.all(
                """
                SELECT key, id, kind, created_milliseconds, device, parent, grid, team,
                    first_sequence, last_sequence, left_sequence, state FROM record
                WHERE grid = ? AND key > ? ORDER BY key LIMIT ?
                """, .text(grid), .integer(key), .integer(limit), read: readable)
        }
    }

    func records(of kind: Kind, onlyInConflict: Bool) throws -> [StoredRecord] {
        onlyInConflict
            ? try connection.all(
                """
                SELECT key, id, kind, created_milliseconds, device, parent, grid, team,
                    first_sequence, last_sequence, left_sequence, state FROM record
                WHERE conflicted IS NOT NULL AND kind = ? ORDER BY key
                """, .integer(Int(kind.rawValue)), read: storedRecord)
            : try connection.all(
                """
                SELECT key, id, kind, created_milliseconds, device, parent, grid, team,
                    first_sequence, last_sequence, left_sequence, state FROM record
                WHERE kind = ? ORDER BY first_sequence
                """, .integer(Int(kind.rawValue)), read: storedRecord)
    }

    func recordIDs(of kind: Kind) throws -> [RecordID] {
        try connection.all(
            "SELECT id FROM record WHERE kind = ?", .integer(Int(kind.rawValue))
        ) { RecordID(bytes: $0.bytes(at: 0)) }.compactMap { $0 }
    }

    func forEachRecord(
        unless isKnown: ((Int64, _ mark: UInt64) -> Bool)?,
        _ body: (Int64, Result<StoredRecord, any Error>, _ isListed: Bool) throws -> Void
    ) throws {
        try connection.forEach(
            """
            SELECT key, id, kind, created_milliseconds, device, parent, grid, team,
                first_sequence, last_sequence, left_sequence, state, conflicted FROM record
            ORDER BY key
            """
        ) { row in
            if let isKnown, isKnown(row.integer(at: 0), Self.mark(ofRecord: row)) {
                return
            }
            let record: Result<StoredRecord, any Error>
            do {
                record = .success(try storedRecord(row))
            } catch {
                record = .failure(error)
            }
            try body(row.integer(at: 0), record, !row.isNull(at: 12))
        }
    }

    /// Of a row as ``forEachRecord(unless:_:)`` reads it.
    private static func mark(ofRecord row: borrowing Statement) -> UInt64 {
        var hash = ContentHash()
        for column: Int32 in 0..<13 {
            hash.combine(row.isNull(at: column) ? 0 as UInt64 : 1)
            switch column {
            case 1, 6, 7, 11:  // id, grid, team, state
                let bytes = row.lentBytes(at: column)
                hash.combine(UInt64(bytes.count))
                hash.combine(bytes.assumingMemoryBound(to: UInt8.self))
            default: hash.combine(UInt64(bitPattern: row.integer(at: column)))
            }
        }
        return hash.value
    }

    func hasRefusedCreations() throws -> Bool {
        try connection.first("SELECT 1 FROM refused_record LIMIT 1") { _ in true } ?? false
    }

    func isCreationRefused(_ id: RecordID) throws -> Bool {
        try connection.first("SELECT 1 FROM refused_record WHERE id = ?", .bytes(id.bytes)) { _ in
            true
        } ?? false
    }

    func setCreationRefused(_ isRefused: Bool, _ id: RecordID) throws {
        if isRefused {
            try connection.run("INSERT OR IGNORE INTO refused_record VALUES (?)", .bytes(id.bytes))
        } else {
            try connection.run("DELETE FROM refused_record WHERE id = ?", .bytes(id.bytes))
        }
    }

    func addToDigest(_ difference: UInt64, bucket: Bucket) throws {
        let stored = try connection.first(
            "SELECT digest FROM bucket WHERE name = ?", .text(bucket.name)
        ) { UInt64(bitPattern: $0.integer(at: 0)) }
        try connection.run(
            "INSERT OR REPLACE INTO bucket VALUES (?, ?)", .text(bucket.name),
            sequence((stored ?? 0) &+ difference))
    }

    func digests(of buckets: [Bucket]) throws -> [UInt64] {
        try buckets.map { bucket in
            try connection.first(
                "SELECT digest FROM bucket WHERE name = ?", .text(bucket.name)
            ) { UInt64(bitPattern: $0.integer(at: 0)) } ?? 0
        }
    }

    func digests() throws -> [(bucket: Bucket, value: UInt64)] {
        try connection.all("SELECT name, digest FROM bucket ORDER BY name") {
            (Bucket(name: $0.text(at: 0)), UInt64(bitPattern: $0.integer(at: 1)))
        }.compactMap { entry in entry.0.map { ($0, entry.1) } }
    }

    // MARK: Batches

    func head() throws -> UInt64 {
        try connection.first("SELECT last_sequence FROM batch ORDER BY number DESC LIMIT 1") {
            UInt64(bitPattern: $0.integer(at: 0))
        } ?? 0
    }

    func newestStamp(atOrBelow sequence: UInt64) throws -> Int64? {
        try connection.first(
            """
            SELECT newest_stamp FROM batch WHERE last_sequence <= ?
            ORDER BY last_sequence DESC, number DESC LIMIT 1
            """, self.sequence(sequence)
        ) { $0.optionalInteger(at: 0) } ?? nil
    }

    func appendBatch(_ batch: BatchRow) throws -> Int64 {
        try connection.run(
            """
            INSERT INTO batch (first_sequence, last_sequence, replica, first_counter,
                next_counter, received_milliseconds, newest_stamp, content, outcomes, touched,
                chain, checksum)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """, sequence(batch.firstSequence), sequence(batch.lastSequence),
            .integer(batch.replicaRow), sequence(batch.firstCounter),
            sequence(batch.nextCounter), .integer(batch.receivedMilliseconds),
            SQLValue(batch.newestStamp), .bytes(batch.content), .bytes(batch.outcomes),
            .bytes(batch.touched), chain(batch.chain), .integer(batch.checksum))
        return connection.lastInsertedRow
    }

    func batch(replicaRow: Int64, holding counter: UInt64) throws -> BatchRow? {
        try connection.first(
            """
            SELECT number, first_sequence, last_sequence, replica, first_counter, next_counter,
                received_milliseconds, newest_stamp, content, outcomes, touched, chain,
                checksum
            FROM batch
            WHERE next_counter > ?2 AND number = (
                SELECT number FROM batch WHERE replica = ?1 AND first_counter <= ?2
                ORDER BY first_counter DESC LIMIT 1)
            """, .integer(replicaRow), sequence(counter), read: Self.batchRow)
    }

    func batch(holding sequence: UInt64) throws -> BatchRow? {
        try connection.first(
            """
            SELECT number, first_sequence, last_sequence, replica, first_counter, next_counter,
                received_milliseconds, newest_stamp, content, outcomes, touched, chain,
                checksum
            FROM batch
            WHERE last_sequence >= ? ORDER BY last_sequence, number LIMIT 1
            """, self.sequence(sequence), read: Self.batchRow
        ).flatMap { $0.firstSequence <= sequence ? $0 : nil }
    }

    func batch(number: Int64) throws -> BatchRow? {
        try connection.first(
            """
            SELECT number, first_sequence, last_sequence, replica, first_counter, next_counter,
                received_milliseconds, newest_stamp, content, outcomes, touched, chain,
                checksum
            FROM batch
            WHERE number = ?
            """, .integer(number), read: Self.batchRow)
    }

    func forEachBatch(_ body: (BatchRow) throws -> Void) throws {
        try connection.forEach(
            """
            SELECT number, first_sequence, last_sequence, replica, first_counter, next_counter,
                received_milliseconds, newest_stamp, content, outcomes, touched, chain,
                checksum
            FROM batch
            ORDER BY number
            """
        ) { try body(Self.batchRow($0)) }
    }

    private static func batchRow(_ row: borrowing Statement) throws -> BatchRow {
        BatchRow(
            number: row.integer(at: 0), firstSequence: UInt64(bitPattern: row.integer(at: 1)),
            lastSequence: UInt64(bitPattern: row.integer(at: 2)), replicaRow: row.integer(at: 3),
            firstCounter: UInt64(bitPattern: row.integer(at: 4)),
            nextCounter: UInt64(bitPattern: row.integer(at: 5)),
            receivedMilliseconds: row.integer(at: 6), newestStamp: row.optionalInteger(at: 7),
            content: row.bytes(at: 8), outcomes: row.bytes(at: 9), touched: row.bytes(at: 10),
            chain: row.optionalInteger(at: 11).map { HashChain(UInt64(bitPattern: $0)) },
            storedChecksum: row.optionalInteger(at: 12))
    }

    /// Gives all batches of an older schema their checksums.
    static func storeChecksums(_ connection: Connection) throws {
        var number: Int64 = .min
        while true {
            let batches = try connection.all(
                """
                SELECT number, first_sequence, last_sequence, replica, first_counter,
                    next_counter, received_milliseconds, newest_stamp, content, outcomes, touched,
                    chain, checksum
                FROM batch WHERE number > ? ORDER BY number LIMIT 16
                """, .integer(number), read: batchRow)
            guard let last = batches.last else { return }
            for batch in batches {
                try connection.run(
                    "UPDATE batch SET checksum = ? WHERE number = ?", .integer(batch.checksum),
                    .integer(batch.number))
            }
            number = last.number
        }
    }

    func feed(after sequence: UInt64, limit: Int) throws -> [(end: UInt64, touched: [UInt8])] {
        try connection.all(
            """
            SELECT last_sequence, touched FROM batch WHERE last_sequence > ?
            ORDER BY last_sequence, number LIMIT ?
            """, self.sequence(sequence), .integer(limit)
        ) { (UInt64(bitPattern: $0.integer(at: 0)), $0.bytes(at: 1)) }
    }

    func touched(inBatch number: Int64) throws -> (end: UInt64, touched: [UInt8])? {
        try connection.first(
            "SELECT last_sequence, touched FROM batch WHERE number = ?", .integer(number)
        ) { (UInt64(bitPattern: $0.integer(at: 0)), $0.bytes(at: 1)) }
    }

    func historyBatches(of key: Int64) throws -> [Int64] {
        try connection.all(
            "SELECT batch FROM history WHERE record = ? ORDER BY batch", .integer(key)
        ) { $0.integer(at: 0) }
    }

    func appendHistory(record: Int64, batch: Int64) throws {
        let statement = try connection.prepare("INSERT OR IGNORE INTO history VALUES (?, ?)")
        try statement.bind(1, record)
        try statement.bind(2, batch)
        while try statement.step() {}
    }

    func hasBrought() throws -> Bool {
        try connection.first("SELECT 1 FROM brought", read: { _ in true }) ?? false
    }

    func broughtBatches(of key: Int64) throws -> [Int64] {
        try connection.all(
            "SELECT batch FROM brought WHERE record = ? ORDER BY batch", .integer(key)
        ) { $0.integer(at: 0) }
    }

    func forEachBrought(of key: Int64?, _ body: (BroughtRow) throws -> Void) throws {
        if let key {
            try connection.forEach(
                """
                SELECT record, batch, device, content, checksum FROM brought
                WHERE record = ? ORDER BY batch
                """, .integer(key)
            ) { try body(Self.broughtRow($0)) }
        } else {
            try connection.forEach(
                """
                SELECT record, batch, device, content, checksum FROM brought
                ORDER BY record, batch
                """
            ) { try body(Self.broughtRow($0)) }
        }
    }

    private static func broughtRow(_ row: borrowing Statement) -> BroughtRow {
        BroughtRow(
            record: row.integer(at: 0), batch: row.integer(at: 1), device: row.integer(at: 2),
            content: row.bytes(at: 3), storedChecksum: row.integer(at: 4))
    }

    func appendBrought(_ row: BroughtRow, by replicas: Set<ReplicaID>) throws {
        try Self.appendBrought(row, by: replicas, connection)
    }

    private static func appendBrought(
        _ row: BroughtRow, by replicas: Set<ReplicaID>, _ connection: Connection
    ) throws {
        try connection.run(
            "INSERT INTO brought VALUES (?, ?, ?, ?, ?)", .integer(row.record),
            .integer(row.batch), .integer(row.device), .bytes(row.content),
            .integer(row.checksum))
        for replica in replicas.sorted() {
            try connection.run(
                "INSERT OR IGNORE INTO brought_replica VALUES (?, ?)",
                .integer(Int64(replica.rawValue)), .integer(row.record))
        }
    }

    func broughtRecords(by replica: ReplicaID) throws -> [Int64] {
        try connection.all(
            "SELECT record FROM brought_replica WHERE replica = ? ORDER BY record",
            .integer(Int64(replica.rawValue))
        ) { $0.integer(at: 0) }
    }

    func isBrought(record: Int64, by replica: ReplicaID) throws -> Bool {
        try connection.first(
            "SELECT 1 FROM brought_replica WHERE replica = ? AND record = ?",
            .integer(Int64(replica.rawValue)), .integer(record)
        ) { _ in true } ?? false
    }

    /// All batches in which devices brought back something, in schema version 2.
    static func broughtBatches(_ connection: Connection) throws -> [Int64] {
        try connection.all("SELECT DISTINCT batch FROM brought ORDER BY batch") {
            $0.integer(at: 0)
        }
    }

    /// Fills the tables of schema version 3 from the batches themselves. What the disk has altered
    /// beyond reading is left out: an upgrade must not wait for it, and ``Ledger/check()`` tells.
    static func storeBrought(of batches: [Int64], _ connection: Connection) throws {
        for number in batches {
            let content = try connection.first(
                "SELECT content FROM batch WHERE number = ?", .integer(number)
            ) { $0.bytes(at: 0) }
            guard let content, let batch = try? BroughtChange.decode(content) else { continue }
            let rows = try BroughtRow.all(
                of: batch.changes, by: batch.device, inBatch: number
            ) { try key(ofRecord: $0, connection) }
            for (row, replicas) in rows { try appendBrought(row, by: replicas, connection) }
        }
    }

    /// The key of a record that need not be readable otherwise.
    private static func key(ofRecord id: RecordID, _ connection: Connection) throws -> Int64? {
        try connection.first(
            """
            SELECT key FROM record WHERE id = ?1 AND key IN (
                (SELECT row FROM replica WHERE id = ?2) << ?3 | ?4,
                (SELECT key FROM record_overflow WHERE id = ?1))
            """, .bytes(id.bytes), .integer(Int64(id.replica.rawValue)),
            .integer(RecordID.numberBitCount), .integer(Int64(id.number))
        ) { $0.integer(at: 0) }
    }

    func clock(at sequence: UInt64) throws -> VectorClock {
        VectorClock(
            try connection.all(
                """
                SELECT replica.id, MAX(batch.next_counter) - 1 FROM batch
                JOIN replica ON replica.row = batch.replica
                WHERE batch.last_sequence <= ? AND replica.device IS NOT NULL
                GROUP BY replica.id
                """, self.sequence(sequence)
            ) {
                Dot(
                    ReplicaID(truncating: UInt64(bitPattern: $0.integer(at: 0))),
                    UInt64(bitPattern: $0.integer(at: 1)))
            })
    }

    // MARK: Reference data

    func territories() throws -> [Territory] {
        try connection.all(
            "SELECT code, name, level, parent FROM territory ORDER BY code", read: Self.territory)
    }

    func territory(_ code: String) throws -> Territory? {
        try connection.first(
            "SELECT code, name, level, parent FROM territory WHERE code = ?", .text(code),
            read: Self.territory)
    }

    private static func territory(_ row: borrowing Statement) throws -> Territory {
        guard let level = TerritoryLevel(rawValue: row.text(at: 2)) else {
            throw LedgerError.damaged("a territory without a level")
        }
        return Territory(
            code: row.text(at: 0), name: row.text(at: 1), level: level,
            parent: row.optionalText(at: 3))
    }

    func grids(within code: String) throws -> [String] {
        let isGrid = try connection.first(
            "SELECT level = 'grid' FROM territory WHERE code = ?", .text(code)
        ) { $0.bool(at: 0) }
        guard let isGrid else { return [] }
        if isGrid { return [code] }
        // Every sync asks. A recursive statement would cost ten times as much for a village.
        var grids: [String] = []
        var parents = [code]
        // A territory's level lies below that of its parent, so there are as many rounds as levels.
        for _ in TerritoryLevel.allCases {
            var children: [String] = []
            for parent in parents {
                try connection.forEach(
                    "SELECT code, level = 'grid' FROM territory WHERE parent = ?", .text(parent)
                ) { row in
                    let code = row.text(at: 0)
                    if row.bool(at: 1) { grids.append(code) } else { children.append(code) }
                }
            }
            parents = children
        }
        return grids.sorted()
    }

    func referenceKey(_ table: ReferenceTable, code: String) throws -> Int64? {
        switch table {
        case .territory:
            try connection.first("SELECT key FROM territory WHERE code = ?", .text(code)) {
                $0.integer(at: 0)
            }
        case .teams:
            try connection.first("SELECT key FROM team WHERE code = ?", .text(code)) {
                $0.integer(at: 0)
            }
        case .categories:
            try connection.first("SELECT key FROM category WHERE code = ?", .text(code)) {
                $0.integer(at: 0)
            }
        case .routes: nil
        }
    }

    func setTerritory(_ territory: Territory, key: Int64) throws {
        try connection.run(
            "INSERT OR REPLACE INTO territory VALUES (?, ?, ?, ?, ?)", .text(territory.code),
            .text(territory.name), .text(territory.level.rawValue), SQLValue(territory.parent),
            .integer(key))
    }

    func team(_ code: String) throws -> TeamRow? {
        try connection.first(
            "SELECT code, name, territory FROM team WHERE code = ?", .text(code)
        ) { TeamRow(code: $0.text(at: 0), name: $0.text(at: 1), territory: $0.text(at: 2)) }
    }

    func setTeam(_ team: TeamRow, key: Int64) throws {
        try connection.run(
            "INSERT OR REPLACE INTO team VALUES (?, ?, ?, ?)", .text(team.code),
            .text(team.name), .text(team.territory), .integer(key))
    }

    func hasCategories() throws -> Bool {
        try connection.first("SELECT 1 FROM category LIMIT 1") { _ in true } ?? false
    }

    func isCategory(_ code: String) throws -> Bool {
        try connection.first("SELECT 1 FROM category WHERE code = ?", .text(code)) { _ in true }
            ?? false
    }

    func setCategory(code: String, name: String, key: Int64) throws {
        try connection.run(
            "INSERT OR REPLACE INTO category VALUES (?, ?, ?)", .text(code), .text(name),
            .integer(key))
    }

    func hasRoutes() throws -> Bool {
        try connection.first("SELECT 1 FROM route LIMIT 1") { _ in true } ?? false
    }

    func route(category: String, territory: String) throws -> RouteRow? {
        try connection.first(
            "SELECT team, due_days FROM route WHERE category = ? AND territory = ?",
            .text(category), .text(territory)
        ) {
            RouteRow(
                category: category, territory: territory, team: $0.text(at: 0),
                dueDays: $0.optionalInteger(at: 1))
        }
    }

    func setRoute(_ route: RouteRow) throws {
        try connection.run(
            "INSERT OR REPLACE INTO route VALUES (?, ?, ?, ?)", .text(route.category),
            .text(route.territory), .text(route.team), SQLValue(route.dueDays))
    }

    // MARK: The file

    /// Lets this connection's database grow to so many pages and no more, like a full disk.
    func limitPages(to count: Int) throws {
        try connection.execute("PRAGMA max_page_count = \(count)")
    }

    func check() throws -> [String] {
        do {
            return try connection.integrityCheck()
        } catch {
            throw Self.translated(error)
        }
    }

    /// Writes the first page anew. Where that fits, in what the log has left, a batch may not; so
    /// the disk must also have room for one.
    func tryToStore() throws {
        try connection.setUserVersion(try connection.userVersion)
        var disk = statvfs()
        guard statvfs(path, &disk) == 0 else { return }
        guard UInt64(disk.f_bavail) * UInt64(disk.f_frsize) >= Limits.frameBytesMax else {
            throw LedgerError.disk(
                "the disk is full", hint: "free some space, then try again; nothing was lost")
        }
    }

    func backup(to path: String) throws {
        do {
            try connection.backup(to: path)
        } catch {
            throw Self.translated(error)
        }
    }

    func foldLog() throws {
        do {
            try connection.emptyLog(longerThan: 0)
        } catch {
            throw Self.translated(error)
        }
    }

    func figures(nowMilliseconds: Int64) throws -> LedgerFigures {
        let hour: Int64 = 3_600_000
        var ages: [(label: String, count: Int)] = [
            ("1h", 0), ("24h", 0), ("168h", 0), ("older", 0), ("never", 0),
        ]
        var refused = 0
        for row in try devices() where !row.device.isRevoked {
            refused += row.refusedGroups
            let index =
                switch row.lastSyncMilliseconds.map({ nowMilliseconds - $0 }) {
                case nil: 4
                case let age? where age <= hour: 0
                case let age? where age <= 24 * hour: 1
                case let age? where age <= 168 * hour: 2
                default: 3
                }
            ages[index].count += 1
        }
        let count = try connection.first(
            """
            SELECT (SELECT COUNT(*) FROM record WHERE kind = 1),
                (SELECT COUNT(*) FROM record WHERE conflicted IS NOT NULL),
                page_count * page_size FROM pragma_page_count, pragma_page_size
            """
        ) { ($0.integer(at: 0), $0.integer(at: 1), $0.integer(at: 2)) }
        // The log lies where the ledger really is.
        let file = (try? LedgerUse.resolved(path)) ?? path
        let files = [file, file + "-wal"].compactMap(Self.fileSize)
        return LedgerFigures(
            head: try head(), needs: Int(count?.0 ?? 0), openConflicts: Int(count?.1 ?? 0),
            devicesByAge: ages, bytes: files.isEmpty ? count?.2 ?? 0 : files.reduce(0, +),
            refusedGroups: refused)
    }

    private static func fileSize(_ path: String) -> Int64? {
        var status = stat()
        return stat(path, &status) == 0 ? Int64(status.st_size) : nil
    }

    /// Sequences, counters and scope ids are unsigned here and signed in SQLite, bit for bit.
    private func sequence(_ number: UInt64) -> SQLValue {
        .integer(Int64(bitPattern: number))
    }

    private func chain(_ chain: HashChain?) -> SQLValue {
        SQLValue(chain.map { Int64(bitPattern: $0.value) })
    }
}

/// The records that a part of a transaction has stored.
private struct RecentRecords {
    /// By key, as long as they come in that order, which they mostly do.
    private var ascending: [StoredRecord] = []
    /// Those that did not, which count before the others.
    private var others: [Int64: StoredRecord] = [:]

    mutating func removeAll() {
        ascending.removeAll()
        others.removeAll()
    }

    mutating func remember(_ record: StoredRecord) {
        // An import may write any number.
        if ascending.count + others.count >= Limits.changesPerBatchMax { removeAll() }
        if others.isEmpty, ascending.last.map({ $0.key < record.key }) ?? true {
            ascending.append(record)
        } else {
            others[record.key] = record
        }
    }

    func record(key: Int64) -> StoredRecord? {
        if !others.isEmpty, let record = others[key] { return record }
        // Over the places, as a record would be copied to be looked at.
        let index = ascending.indices.partitioningIndex { ascending[$0].key >= key }
        return index < ascending.count && ascending[index].key == key ? ascending[index] : nil
    }
}
