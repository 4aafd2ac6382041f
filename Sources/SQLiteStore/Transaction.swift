import CSQLite

// SQLite ends a transaction by itself when it can no longer keep its promise: a full disk, an I/O
// error, no memory. What follows would then be committed statement by statement, so both functions
// ask `isInTransaction` rather than remember: on the way out by error there may be nothing left to
// roll back, and on the way out by success nothing left to commit, which is an error.
extension Connection {
    package enum TransactionKind: Sendable {
        /// Takes the write lock at once: nobody can slip in between reading and writing.
        case immediate
        /// Reads one unchanging state. A first write can fail as busy without waiting.
        case deferred
    }

    /// Runs `body` in a transaction, committed when it returns and rolled back when it throws.
    ///
    /// There must be none yet; inside one, use ``savepoint(_:)``. A body must pass on errors of
    /// SQLite, at least those of kind `full` and `ioError`: the transaction may be over with them.
    ///
    /// - Throws: What `body` throws, or ``SQLiteError`` when beginning or committing fails.
    package func transaction<Result>(
        _ kind: TransactionKind = .immediate, _ body: () throws -> Result
    ) throws -> Result {
        precondition(!isInTransaction, "Transactions do not nest; savepoints do")
        switch kind {
        case .immediate: try run("BEGIN IMMEDIATE")
        case .deferred: try run("BEGIN")
        }
        do {
            let result = try body()
            try requireTransaction("commit")
            try run("COMMIT")
            return result
        } catch {
            // A failed rollback changes nothing: the file is rolled back when next opened.
            if isInTransaction { try? run("ROLLBACK") }
            throw error
        }
    }

    /// Runs `body` as a part of a transaction that can fail alone: what it did is undone when it
    /// throws, what was done before stays.
    ///
    /// Savepoints nest. Outside a transaction this is a deferred one.
    ///
    /// - Throws: What `body` throws, or ``SQLiteError``. If SQLite has ended the transaction, the
    ///   caller's ``transaction(_:_:)`` fails too, even if the error is caught in between.
    package func savepoint<Result>(_ body: () throws -> Result) throws -> Result {
        // One name does for all: SQLite takes the innermost.
        try run("SAVEPOINT part")
        do {
            let result = try body()
            try requireTransaction("release a savepoint")
            try run("RELEASE part")
            return result
        } catch {
            if isInTransaction {
                try? run("ROLLBACK TO part")
                try? run("RELEASE part")
            }
            throw error
        }
    }

    private func requireTransaction(_ operation: String) throws(SQLiteError) {
        guard !isInTransaction else { return }
        throw SQLiteError(
            extendedCode: SQLITE_ABORT, operation: operation,
            detail: "an earlier error had already ended the transaction")
    }
}
