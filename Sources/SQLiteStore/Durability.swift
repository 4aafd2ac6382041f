// How a change gets to the disk.
//
// A commit appends the changed pages to the write-ahead log beside the database (FILE-wal) and
// syncs that once (`synchronous = FULL`); only then does it return. A checkpoint folds the log's
// pages into the database and lets the log start again from its beginning.
//
// Left alone, SQLite folds and deletes the log when the last connection closes, which costs a
// short-lived program five syncs for one insert. So the log stays when we close, for the next
// program to go on with, and is folded only when it has grown to a number of frames. A database
// is therefore FILE and FILE-wal together: copy it with `backup`, never with `cp`. A server, which
// lives long, folds and empties its log when it is stopped, for those who use `cp` all the same.
//
// That a log was folded, and so may start again, stands in memory that the programs share while
// they run. Commands that each write once would therefore append for ever, read the whole log at
// each start and fold it at each commit. So whoever opens a long log empties its file.

import CSQLite

extension Connection {
    /// How hard a checkpoint tries.
    package enum CheckpointMode: Sendable {
        /// Folds what no reader needs any more, and waits for nobody.
        case passive
        /// Waits for readers and writers, folds everything and empties the log's file.
        case truncate
    }

    /// The log after a checkpoint.
    package struct Checkpoint: Equatable, Sendable {
        /// Frames in the log; a frame is one page of one commit.
        package let frames: Int
        /// Those that are in the database too.
        package let foldedFrames: Int
    }

    /// Makes every commit of this connection survive a power cut, and enforces foreign keys.
    ///
    /// To be called once, after opening and outside transactions.
    ///
    /// - Parameter autocheckpointFrames: The length of the log at which a commit also folds it; 0
    ///   leaves that to ``checkpoint(_:)``.
    /// - Throws: ``SQLiteError``; also when SQLite accepts a setting but does not put it in force,
    ///   as it does with a log in a database without a file.
    package func makeDurable(autocheckpointFrames: Int32) throws(SQLiteError) {
        let mode = try switchToLog()
        try require(mode == "wal", "journal_mode is \(mode), not wal")

        try execute("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")
        let fullSynchronous: Int64 = 2
        try require(try pragma("PRAGMA synchronous") == fullSynchronous, "synchronous is not FULL")
        try require(try pragma("PRAGMA foreign_keys") == 1, "foreign_keys is not ON")

        var persists: Int32 = 1
        sqlite3_file_control(handle, "main", SQLITE_FCNTL_PERSIST_WAL, &persists)
        persists = -1  // Asks instead of setting.
        sqlite3_file_control(handle, "main", SQLITE_FCNTL_PERSIST_WAL, &persists)
        try require(persists == 1, "closing would delete the log")
        var keepsLog: Int32 = 0
        let configured = waystation_configure(
            handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, &keepsLog)
        try require(configured == SQLITE_OK && keepsLog == 1, "closing would fold the log")

        sqlite3_wal_autocheckpoint(handle, autocheckpointFrames)
    }

    /// Each of two programs that switch a new file at once holds what the other needs. SQLite then
    /// does not wait but gives up, so both let go and try again, for as long as others would wait.
    ///
    /// - Returns: The mode in force.
    private func switchToLog() throws(SQLiteError) -> String {
        var waited: Int32 = 0
        while true {
            do throws(SQLiteError) {
                let journal = try prepare(uncached: "PRAGMA journal_mode = WAL")
                var mode = "unknown"
                // To the end: the switch commits after its row, and may fail there.
                while try journal.step() { mode = journal.text(at: 0) }
                return mode
            } catch {
                guard error.kind == .busy, waited < busyTimeoutMilliseconds else { throw error }
                waited += max(1, sqlite3_sleep(1))
            }
        }
    }

    private func require(_ condition: Bool, _ complaint: String) throws(SQLiteError) {
        guard !condition else { return }
        throw SQLiteError(
            extendedCode: SQLITE_ERROR, operation: "set up \(path) for safe writing",
            detail: complaint)
    }

    /// Folds and empties a log that former programs left, durably, unless somebody else is at work.
    ///
    /// To be called after ``makeDurable(autocheckpointFrames:)``.
    ///
    /// - Parameter frames: How long the log's file may be.
    /// - Throws: ``SQLiteError``, of kind `busy` if somebody is at work; then all is as before. Any
    ///   other may also come when the log is empty, and not durably so.
    package func emptyLog(longerThan frames: Int32) throws(SQLiteError) {
        guard waystation_log_size(handle) > Int64(frames) * Self.frameBytes else { return }
        sqlite3_busy_timeout(handle, 0)
        defer { sqlite3_busy_timeout(handle, busyTimeoutMilliseconds) }
        try checkpoint(.truncate)
        // SQLite leaves it to the system when the file is short on the disk, too. A power cut would
        // bring back all that was in it, also what failed and is not in the database.
        let code = waystation_sync_log(handle)
        guard code == SQLITE_OK else {
            throw SQLiteError(code, on: handle, operation: "sync the log of \(path)")
        }
    }

    /// Of the default page size, with the frame's header.
    private static var frameBytes: Int64 { 4_096 + 24 }

    /// Folds the write-ahead log into the database.
    ///
    /// - Returns: How long the log is and how much of it was folded; both 0 without a log.
    /// - Throws: ``SQLiteError``, of kind `busy` if `.truncate` waited in vain.
    @discardableResult
    package func checkpoint(_ mode: CheckpointMode = .passive) throws(SQLiteError) -> Checkpoint {
        var frames: Int32 = 0
        var foldedFrames: Int32 = 0
        let code = sqlite3_wal_checkpoint_v2(
            handle, "main",
            mode == .passive ? SQLITE_CHECKPOINT_PASSIVE : SQLITE_CHECKPOINT_TRUNCATE,
            &frames, &foldedFrames)
        guard code == SQLITE_OK else {
            throw SQLiteError(code, on: handle, operation: "fold the log of \(path)")
        }
        return Checkpoint(frames: Int(max(frames, 0)), foldedFrames: Int(max(foldedFrames, 0)))
    }
}
