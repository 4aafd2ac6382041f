import CSQLite
import SyncCore

/// The floor: SQLite's C interface, WAL, synchronous=FULL, one row a field, and no question asked.
///
/// What is kept is the least that any last writer wins needs: record, field, value, stamp. It has
/// no history, knows no concurrent write, and nothing travels.
final class RawCells {
    /// How the rows lie.
    enum Layout: String {
        /// One B-tree in the order of (record, field): the fastest for ids that only grow.
        case clustered
        /// A table and an index over (record, field).
        case indexed
    }

    private let database: OpaquePointer
    private var insertion: OpaquePointer?
    private var update: OpaquePointer?
    private var selection: OpaquePointer?
    private var insertionOfNeed: OpaquePointer?

    /// - Parameter autocheckpointFrames: `nil` leaves SQLite's own 1,000.
    init(
        path: String, layout: Layout = .clustered, autocheckpointFrames: Int32? = nil
    ) throws {
        var opened: OpaquePointer?
        let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX
        guard sqlite3_open_v2(path, &opened, flags, nil) == SQLITE_OK, let opened else {
            throw BenchError("SQLite does not open \(path)")
        }
        database = opened
        try execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
        if let autocheckpointFrames { sqlite3_wal_autocheckpoint(database, autocheckpointFrames) }
        switch layout {
        case .clustered:
            try execute(
                """
                CREATE TABLE IF NOT EXISTS cell (record BLOB, field INTEGER, value BLOB,
                    stamp INTEGER, PRIMARY KEY (record, field)) WITHOUT ROWID
                """)
        case .indexed:
            try execute(
                """
                CREATE TABLE IF NOT EXISTS cell (record BLOB, field INTEGER, value BLOB,
                    stamp INTEGER, UNIQUE (record, field))
                """)
        }
        try execute(
            "CREATE TABLE IF NOT EXISTS need (id BLOB PRIMARY KEY, content BLOB) WITHOUT ROWID")
        insertion = try compile("INSERT INTO cell VALUES (?, ?, ?, ?)")
        update = try compile(
            """
            INSERT INTO cell VALUES (?, ?, ?, ?) ON CONFLICT (record, field)
            DO UPDATE SET value = excluded.value, stamp = excluded.stamp
            """)
        selection = try compile("SELECT field, value, stamp FROM cell WHERE record = ?")
        insertionOfNeed = try compile("INSERT INTO need VALUES (?, ?)")
    }

    deinit {
        sqlite3_finalize(insertion)
        sqlite3_finalize(update)
        sqlite3_finalize(selection)
        sqlite3_finalize(insertionOfNeed)
        sqlite3_close(database)
    }

    // These stay functions, so that callgrind can count each alone.

    /// New records, in one transaction.
    @inline(never)
    func insert(_ batch: [(RecordID, [Change])], stamp: Int64) throws {
        try put(insertion, batch, stamp)
    }

    /// Edits of records, in one transaction.
    @inline(never)
    func update(_ batch: [(RecordID, [Change])], stamp: Int64) throws {
        try put(update, batch, stamp)
    }

    /// Reads a record's fields; returns the bytes of their values.
    func read(_ record: RecordID) -> Int {
        var total = 0
        record.bytes.withUnsafeBytes { id in
            _ = waystation_bind_borrowed_bytes(selection, 1, id.baseAddress, id.count)
            while sqlite3_step(selection) == SQLITE_ROW {
                total += Int(sqlite3_column_bytes(selection, 1))
            }
            sqlite3_reset(selection)
        }
        return total
    }

    /// One row with all of a need, in a transaction of its own.
    @inline(never)
    func insertNeed(_ record: RecordID, content: [UInt8]) throws {
        try record.bytes.withUnsafeBytes { id in
            try content.withUnsafeBytes { content in
                _ = waystation_bind_borrowed_bytes(
                    insertionOfNeed, 1, id.baseAddress, id.count)
                _ = waystation_bind_borrowed_bytes(
                    insertionOfNeed, 2, content.baseAddress, content.count)
                try step(insertionOfNeed)
            }
        }
    }

    private func put(
        _ statement: OpaquePointer?, _ batch: [(RecordID, [Change])], _ stamp: Int64
    ) throws {
        try execute("BEGIN IMMEDIATE")
        for (record, changes) in batch {
            try record.bytes.withUnsafeBytes { id in
                for change in changes {
                    try (change.value ?? []).withUnsafeBytes { value in
                        _ = waystation_bind_borrowed_bytes(statement, 1, id.baseAddress, id.count)
                        sqlite3_bind_int64(statement, 2, Int64(change.field))
                        _ = waystation_bind_borrowed_bytes(
                            statement, 3, value.baseAddress, value.count)
                        sqlite3_bind_int64(statement, 4, stamp)
                        try step(statement)
                    }
                }
            }
        }
        try execute("COMMIT")
    }

    private func step(_ statement: OpaquePointer?) throws {
        let code = sqlite3_step(statement)
        sqlite3_reset(statement)
        guard code == SQLITE_DONE else { throw BenchError("SQLite says \(code)") }
    }

    private func execute(_ sql: String) throws {
        guard sqlite3_exec(database, sql, nil, nil, nil) == SQLITE_OK else {
            throw BenchError(String(cString: sqlite3_errmsg(database)))
        }
    }

    private func compile(_ sql: String) throws -> OpaquePointer? {
        var statement: OpaquePointer?
        guard sqlite3_prepare_v2(database, sql, -1, &statement, nil) == SQLITE_OK else {
            throw BenchError(String(cString: sqlite3_errmsg(database)))
        }
        return statement
    }
}
