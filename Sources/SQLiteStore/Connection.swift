import CSQLite

/// One open SQLite database.
///
/// Calls block. A connection is opened without SQLite's own mutexes and is not `Sendable`: it may
/// be handed from thread to thread, but only one may use it at a time.
///
/// Errors of SQLite are ``SQLiteError``. Functions that call back may also pass on what the
/// caller's closure throws, and so are not typed.
package final class Connection {
    package enum Mode: Sendable {
        /// Opens the file, creating it if it is not there; its directory must be.
        case readWriteCreate
        case readWrite
        case readOnly
    }

    /// Where the database is, as given when it was opened.
    package let path: String

    let handle: OpaquePointer
    let busyTimeoutMilliseconds: Int32

    /// Compiled statements by the address of their SQL. Literals have fixed addresses, so the
    /// program's text bounds the cache, and a look-up never compares SQL. Numbers are keys
    /// elsewhere too, and a program's start takes longer for each type of key.
    private var programs: [UInt64: Statement.Program] = [:]

    /// Of the whole process, before its first connection.
    ///
    /// A savepoint keeps each page that it changes as it was, 4 KiB for about each record of a
    /// batch. Beyond 64 KiB SQLite would write them to a temporary file outside of the database's
    /// folder: four of ten writes of a push of edits, for what no power cut needs, and residents'
    /// data where nobody looks for it. (A greater bound than that cannot be set: SQLite 3.40 then
    /// moves what it has to the file in one write, and takes no write beyond 128 KiB.)
    private static let configuration: Void = {
        waystation_configure_process()
    }()

    /// Opens a database. Its content is not looked at before the first statement.
    ///
    /// - Parameters:
    ///   - path: A file's path, never a URI; `:memory:` for a private one without a file.
    ///   - mode: Whether to write, and to create what is missing.
    ///   - busyTimeoutMilliseconds: How long a statement waits for another connection's lock
    ///     before it fails as ``SQLiteError/Kind/busy``; 0 means not at all.
    ///   - vfs: The name of a registered SQLite VFS instead of the system's, as a simulator has.
    /// - Throws: ``SQLiteError``; also if the file can only be read but `mode` is to write, which
    ///   SQLite itself would let pass until the first write.
    package init(
        path: String, mode: Mode, busyTimeoutMilliseconds: Int32 = 5_000, vfs: String? = nil
    ) throws(SQLiteError) {
        Self.configuration
        var flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE
        switch mode {
        case .readWriteCreate: flags |= SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
        case .readWrite: flags |= SQLITE_OPEN_READWRITE
        case .readOnly: flags |= SQLITE_OPEN_READONLY
        }
        var opened: OpaquePointer?
        let code = sqlite3_open_v2(path, &opened, flags, vfs)
        guard let opened else {
            throw SQLiteError(extendedCode: code, operation: "open \(path)")
        }
        guard code == SQLITE_OK else {
            let error = SQLiteError(code, on: opened, operation: "open \(path)")
            sqlite3_close_v2(opened)
            throw error
        }
        self.path = path
        handle = opened
        self.busyTimeoutMilliseconds = busyTimeoutMilliseconds
        sqlite3_busy_timeout(opened, busyTimeoutMilliseconds)
        if mode != .readOnly, sqlite3_db_readonly(opened, "main") == 1 {
            throw SQLiteError(extendedCode: SQLITE_READONLY, operation: "open \(path) for writing")
        }
    }

    deinit {
        programs.removeAll()
        // A statement still in someone's hands keeps the database open until it is let go.
        sqlite3_close_v2(handle)
    }

    /// Runs a script of any number of statements, without values; rows are ignored.
    ///
    /// Outside a transaction each statement is one of its own. An error stops the script.
    package func execute(_ sql: String) throws(SQLiteError) {
        try Array(sql.utf8).withUnsafeBufferPointer { (bytes) throws(SQLiteError) in
            var rest = bytes[...]
            while !rest.isEmpty {
                let (program, consumed) = try compile(UnsafeBufferPointer(rebasing: rest), flags: 0)
                if let program { try Statement(program).run() }
                rest = rest.dropFirst(consumed)
            }
        }
    }

    /// Returns the statement from the cache, compiled if need be.
    ///
    /// If the cached one is in use, further up the stack perhaps, this is another one.
    ///
    /// - Parameter sql: One statement; a literal, so that no value can be pasted into it.
    package func prepare(_ sql: StaticString) throws(SQLiteError) -> Statement {
        let address = UInt64(UInt(bitPattern: sql.utf8Start))
        if let program = programs[address], !program.isInUse { return Statement(program) }
        let bytes = UnsafeBufferPointer(start: sql.utf8Start, count: sql.utf8CodeUnitCount)
        let program = try compileOne(bytes, flags: UInt32(SQLITE_PREPARE_PERSISTENT))
        programs[address] = program
        return Statement(program)
    }

    /// Compiles a statement whose text depends on circumstances, such as a list of filters.
    ///
    /// - Parameter sql: One statement. Values belong in parameters: the text shows up in errors.
    package func prepare(uncached sql: String) throws(SQLiteError) -> Statement {
        Statement(
            try Array(sql.utf8).withUnsafeBufferPointer { (bytes) throws(SQLiteError) in
                try compileOne(bytes, flags: 0)
            })
    }

    private func compileOne(
        _ sql: UnsafeBufferPointer<UInt8>, flags: UInt32
    ) throws(SQLiteError) -> Statement.Program {
        let (program, consumed) = try compile(sql, flags: flags)
        let isWhole = sql.dropFirst(consumed).allSatisfy { $0 == UInt8(ascii: ";") || $0 <= 32 }
        guard let program, isWhole else {
            preconditionFailure("One statement was expected")
        }
        return program
    }

    /// Compiles the first of several statements; `nil` if there are only comments.
    private func compile(
        _ sql: UnsafeBufferPointer<UInt8>, flags: UInt32
    ) throws(SQLiteError) -> (Statement.Program?, consumed: Int) {
        var compiled: OpaquePointer?
        var consumed: Int32 = 0
        let code = waystation_prepare(
            handle, sql.baseAddress, Int32(sql.count), flags, &compiled, &consumed)
        guard code == SQLITE_OK else {
            throw SQLiteError(
                code, on: handle,
                operation: SQLiteError.summary(of: String(decoding: sql, as: UTF8.self)),
                isMessageSafe: code & 0xff == SQLITE_ERROR)
        }
        return (compiled.map { Statement.Program(handle: $0) }, Int(consumed))
    }
}

// MARK: - One call for one statement

extension Connection {
    /// Runs a statement to its end and ignores rows.
    ///
    /// - Parameters:
    ///   - sql: One statement, which is cached.
    ///   - values: As many as it has parameters.
    package func run(_ sql: StaticString, _ values: SQLValue...) throws(SQLiteError) {
        let statement = try prepare(sql)
        try statement.bind(values)
        try statement.run()
    }

    /// Reads the first row, `nil` if there is none.
    package func first<Result>(
        _ sql: StaticString, _ values: SQLValue...,
        read: (borrowing Statement) throws -> Result
    ) throws -> Result? {
        let statement = try prepare(sql)
        try statement.bind(values)
        return try statement.first(read: read)
    }

    /// Reads all rows; the SQL or the caller's knowledge bounds how many there are.
    package func all<Result>(
        _ sql: StaticString, _ values: SQLValue...,
        read: (borrowing Statement) throws -> Result
    ) throws -> [Result] {
        let statement = try prepare(sql)
        try statement.bind(values)
        return try statement.all(read: read)
    }

    /// Whether `matches` holds for a row; those behind it are not read.
    package func contains(
        _ sql: StaticString, _ values: SQLValue...,
        where matches: (borrowing Statement) throws -> Bool
    ) throws -> Bool {
        let statement = try prepare(sql)
        try statement.bind(values)
        return try statement.contains(where: matches)
    }

    /// Calls `read` on each row in turn.
    package func forEach(
        _ sql: StaticString, _ values: SQLValue...,
        read: (borrowing Statement) throws -> Void
    ) throws {
        let statement = try prepare(sql)
        try statement.bind(values)
        try statement.forEach(read: read)
    }
}

// MARK: - What the connection knows

extension Connection {
    /// Rows that the latest `INSERT`, `UPDATE` or `DELETE` touched, without triggers' work.
    package var changes: Int { Int(sqlite3_changes64(handle)) }

    /// Rows touched since the connection was opened, with triggers' work.
    package var totalChanges: Int { Int(sqlite3_total_changes64(handle)) }

    /// The row id of the latest `INSERT`, 0 before the first.
    package var lastInsertedRow: Int64 { sqlite3_last_insert_rowid(handle) }

    package var isInTransaction: Bool { sqlite3_get_autocommit(handle) == 0 }

    /// The schema's version, 0 in a new database; ``migrate(_:applicationID:)`` keeps it.
    package var userVersion: Int32 {
        get throws(SQLiteError) { Int32(truncatingIfNeeded: try pragma("PRAGMA user_version")) }
    }

    package func setUserVersion(_ version: Int32) throws(SQLiteError) {
        try execute("PRAGMA user_version = \(version)")
    }

    /// The number in the file's header that says whose it is, 0 if nobody's.
    package var applicationID: Int32 {
        get throws(SQLiteError) { Int32(truncatingIfNeeded: try pragma("PRAGMA application_id")) }
    }

    /// Looks through the whole file, which takes as long as reading it several times.
    ///
    /// - Returns: What is wrong, by table, row and index, about 100 lines at most; empty if all is
    ///   well. Damage that SQLite cannot look past is the last line.
    /// - Throws: ``SQLiteError`` if the file cannot be examined at all, for example when locked.
    package func integrityCheck() throws(SQLiteError) -> [String] {
        var lines: [String] = []
        do throws(SQLiteError) {
            let statement = try prepare(uncached: "PRAGMA integrity_check(100)")
            while try statement.step() { lines.append(statement.text(at: 0)) }
        } catch {
            guard error.kind == .corrupt else { throw error }
            lines.append(error.description)
        }
        return lines == ["ok"] ? [] : lines
    }

    /// Returns the integer that a statement answers with. Not cached: SQLite answers some pragmas
    /// while compiling, and would give yesterday's answer.
    func pragma(_ sql: String) throws(SQLiteError) -> Int64 {
        let statement = try prepare(uncached: sql)
        return try statement.step() ? statement.integer(at: 0) : 0
    }
}
