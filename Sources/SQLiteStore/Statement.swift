import CSQLite

/// A compiled SQL statement in the hands of one user, who binds, steps and reads it.
///
/// The type cannot be copied, so two loops can never step the same cached statement. When its
/// owner lets go, also by throwing, the statement is reset, forgets its bound values and returns
/// to the cache of its ``Connection``. That matters: a query abandoned half-way would otherwise
/// hold its read transaction open and keep the write-ahead log from being folded.
///
/// Parameters count from 1, columns from 0, as in SQLite.
package struct Statement: ~Copyable {
    /// The compiled form, which the cache keeps from one use to the next.
    final class Program {
        let handle: OpaquePointer
        var isInUse = false

        init(handle: OpaquePointer) { self.handle = handle }

        deinit { sqlite3_finalize(handle) }
    }

    private let program: Program

    init(_ program: Program) {
        precondition(!program.isInUse)
        program.isInUse = true
        self.program = program
    }

    deinit {
        sqlite3_reset(program.handle)
        sqlite3_clear_bindings(program.handle)
        program.isInUse = false
    }

    private var handle: OpaquePointer { program.handle }

    private func check(_ code: Int32) throws(SQLiteError) {
        guard code != SQLITE_OK else { return }
        // Both can only come from the program: a parameter that the SQL lacks, or a bind between
        // two steps.
        precondition(
            code != SQLITE_RANGE && code != SQLITE_MISUSE, "Bound at the wrong time or place")
        throw failure(code)
    }

    private func failure(_ code: Int32) -> SQLiteError {
        SQLiteError(
            code, on: sqlite3_db_handle(handle),
            operation: SQLiteError.summary(of: String(cString: sqlite3_sql(handle))))
    }
}

// MARK: - Binding

extension Statement {
    package func bind(_ index: Int32, _ value: Int64) throws(SQLiteError) {
        try check(sqlite3_bind_int64(handle, index, value))
    }

    package func bind(_ index: Int32, _ value: Int) throws(SQLiteError) {
        try bind(index, Int64(value))
    }

    /// Binds 1 or 0.
    package func bind(_ index: Int32, _ value: Bool) throws(SQLiteError) {
        try bind(index, value ? 1 as Int64 : 0)
    }

    package func bind(_ index: Int32, _ value: Double) throws(SQLiteError) {
        try check(sqlite3_bind_double(handle, index, value))
    }

    /// Binds a copy of a text, which may contain NUL.
    package func bind(_ index: Int32, _ value: String) throws(SQLiteError) {
        var value = value
        try check(
            value.withUTF8 { waystation_bind_text(handle, index, $0.baseAddress, $0.count) })
    }

    /// Binds a copy of the bytes; none at all are an empty value, not NULL.
    package func bind(_ index: Int32, _ value: [UInt8]) throws(SQLiteError) {
        try check(
            value.withUnsafeBytes {
                waystation_bind_bytes(handle, index, $0.baseAddress, $0.count)
            })
    }

    /// Binds any value, and so also `nil`.
    package func bind(_ index: Int32, _ value: SQLValue) throws(SQLiteError) {
        switch value {
        case .null: try check(sqlite3_bind_null(handle, index))
        case .integer(let value): try bind(index, value)
        case .real(let value): try bind(index, value)
        case .text(let value): try bind(index, value)
        case .bytes(let value): try bind(index, value)
        }
    }

    /// Binds all parameters in order; there must be as many values as the SQL has parameters.
    package func bind(_ values: [SQLValue]) throws(SQLiteError) {
        precondition(
            values.count == Int(sqlite3_bind_parameter_count(handle)),
            "As many values as parameters, please")
        for (offset, value) in values.enumerated() {
            try bind(Int32(offset) + 1, value)
        }
    }

    /// Lends bytes to a parameter, uncopied, while `body` runs the statement.
    ///
    /// Meant for large values such as whole batches. Afterwards the statement is reset and the
    /// parameter is NULL.
    package func withBytes<Result>(
        _ index: Int32, _ bytes: UnsafeRawBufferPointer, _ body: () throws -> Result
    ) throws -> Result {
        try check(
            waystation_bind_borrowed_bytes(handle, index, bytes.baseAddress, bytes.count))
        defer {
            sqlite3_reset(handle)
            sqlite3_bind_null(handle, index)
        }
        return try body()
    }
}

extension Statement {
    /// Lends bytes to a parameter, uncopied. They must stay where they are until the statement has
    /// run and its owner has let go of it.
    package func lend(
        _ index: Int32, bytes: UnsafeBufferPointer<UInt8>
    ) throws(SQLiteError) {
        try check(
            waystation_bind_borrowed_bytes(handle, index, bytes.baseAddress, bytes.count))
    }

    /// The same for a text, which must be UTF-8.
    package func lend(_ index: Int32, text: UnsafeBufferPointer<UInt8>) throws(SQLiteError) {
        try check(waystation_bind_borrowed_text(handle, index, text.baseAddress, text.count))
    }
}

// MARK: - Running

extension Statement {
    /// Advances to the next row.
    ///
    /// - Returns: Whether there is one. After `false` or an error the statement is reset, with its
    ///   values still bound, and the next step runs it anew.
    package func step() throws(SQLiteError) -> Bool {
        let code = sqlite3_step(handle)
        guard code != SQLITE_ROW else { return true }
        // Resetting may overwrite the connection's error.
        let error = code == SQLITE_DONE ? nil : failure(code)
        sqlite3_reset(handle)
        if let error { throw error }
        return false
    }

    /// Makes the statement ready to be bound and run again; bound values stay.
    package func reset() {
        sqlite3_reset(handle)
    }

    /// Runs to the end and ignores rows.
    ///
    /// - Parameter values: All parameters, or none to keep what is bound.
    package func run(_ values: SQLValue...) throws(SQLiteError) {
        if !values.isEmpty { try bind(values) }
        while try step() {}
    }

    /// Reads the first row.
    ///
    /// - Parameters:
    ///   - values: All parameters, or none to keep what is bound.
    ///   - read: Called at most once, on the row.
    /// - Returns: What `read` returned, `nil` without a row.
    package func first<Result>(
        _ values: SQLValue..., read: (borrowing Statement) throws -> Result
    ) throws -> Result? {
        if !values.isEmpty { try bind(values) }
        defer { reset() }
        return try step() ? try read(self) : nil
    }

    /// Reads all rows; the SQL or the caller's knowledge bounds how many there are.
    package func all<Result>(
        _ values: SQLValue..., read: (borrowing Statement) throws -> Result
    ) throws -> [Result] {
        if !values.isEmpty { try bind(values) }
        defer { reset() }
        var results: [Result] = []
        while try step() { results.append(try read(self)) }
        return results
    }

    /// Whether `matches` holds for a row; those behind it are not read.
    package func contains(
        _ values: SQLValue..., where matches: (borrowing Statement) throws -> Bool
    ) throws -> Bool {
        if !values.isEmpty { try bind(values) }
        defer { reset() }
        while try step() { if try matches(self) { return true } }
        return false
    }

    /// Calls `read` on each row in turn.
    package func forEach(
        _ values: SQLValue..., read: (borrowing Statement) throws -> Void
    ) throws {
        if !values.isEmpty { try bind(values) }
        defer { reset() }
        while try step() { try read(self) }
    }
}

// MARK: - Reading a row

// SQLite converts where a column holds another type: NULL reads as 0, "" or no bytes.
extension Statement {
    package func isNull(at column: Int32) -> Bool {
        sqlite3_column_type(handle, column) == SQLITE_NULL
    }

    package func integer(at column: Int32) -> Int64 {
        sqlite3_column_int64(handle, column)
    }

    package func bool(at column: Int32) -> Bool {
        integer(at: column) != 0
    }

    package func real(at column: Int32) -> Double {
        sqlite3_column_double(handle, column)
    }

    /// The text, whole even if it contains NUL; what is not UTF-8 becomes U+FFFD.
    package func text(at column: Int32) -> String {
        guard let start = sqlite3_column_text(handle, column) else { return "" }
        // Only after `column_text`, which may convert, is the count that of the UTF-8 form.
        let count = Int(sqlite3_column_bytes(handle, column))
        return String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
    }

    package func bytes(at column: Int32) -> [UInt8] { Array(lentBytes(at: column)) }

    /// A column's bytes where SQLite holds them; they are gone with the next step.
    package func lentBytes(at column: Int32) -> UnsafeRawBufferPointer {
        let start = sqlite3_column_blob(handle, column)
        let count = Int(sqlite3_column_bytes(handle, column))
        return UnsafeRawBufferPointer(start: start, count: start == nil ? 0 : count)
    }

    package func optionalInteger(at column: Int32) -> Int64? {
        isNull(at: column) ? nil : integer(at: column)
    }

    package func optionalReal(at column: Int32) -> Double? {
        isNull(at: column) ? nil : real(at: column)
    }

    package func optionalText(at column: Int32) -> String? {
        isNull(at: column) ? nil : text(at: column)
    }

    package func optionalBytes(at column: Int32) -> [UInt8]? {
        isNull(at: column) ? nil : bytes(at: column)
    }
}
