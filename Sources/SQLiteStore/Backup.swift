import CSQLite
import Glibc

extension Connection {
    /// Copies the database, as of now, into one file that needs no log beside it.
    ///
    /// Others may read and write meanwhile: the copy is of one read transaction, so it never has
    /// to start over, and what they commit is not in it. Until it ends, the log cannot be folded
    /// and grows.
    ///
    /// The pages go to `path.partial-XXXXXX`, which becomes `path` once it is on the disk, so no
    /// half-made copy bears that name. An earlier backup of that name is replaced. A crash may
    /// leave the partial file behind; an error removes it.
    ///
    /// - Parameters:
    ///   - path: A path of the system's file system, even if this connection has another VFS.
    ///   - pagesPerStep: How many pages to copy between two calls of `progress`.
    ///   - progress: Told how many pages remain and how many there are. May throw, to give up.
    /// - Throws: ``SQLiteError``, also when `path` has a log or journal beside it and so may be a
    ///   database in use; or what `progress` throws.
    package func backup(
        to path: String, pagesPerStep: Int32 = 1_024,
        progress: (_ remainingPages: Int, _ totalPages: Int) throws -> Void = { _, _ in }
    ) throws {
        precondition(!isInTransaction && pagesPerStep > 0)
        // SQLite would apply a stray log to whatever database bears its name.
        for sideFile in [path + "-wal", path + "-journal"] where access(sideFile, F_OK) == 0 {
            throw SQLiteError(
                extendedCode: SQLITE_CANTOPEN, operation: "back up to \(path)",
                detail: "\(sideFile) exists, so a database of that name may be in use")
        }
        let partial = try createPartialFile(for: path)
        do {
            try transaction(.deferred) {
                // The first read fixes the state that the transaction sees.
                _ = try pragma("SELECT count(*) FROM sqlite_schema")
                let copy = try Connection(path: partial, mode: .readWrite)
                try copy.copyPages(from: self, pagesPerStep: pagesPerStep, progress: progress)
            }
            try Self.synchronize(partial, flags: O_RDWR)
            guard rename(partial, path) == 0 else {
                throw SQLiteError(systemErrorNumber: errno, operation: "rename to \(path)")
            }
        } catch {
            unlink(partial)
            throw error
        }
        try Self.synchronizeDirectory(of: path)
    }

    /// Creates an empty file beside `path` that as few may read as this database.
    private func createPartialFile(for path: String) throws(SQLiteError) -> String {
        var template = Array((path + ".partial-XXXXXX").utf8CString)
        let descriptor = mkstemp(&template)
        guard descriptor >= 0 else {
            throw SQLiteError(systemErrorNumber: errno, operation: "create a file beside \(path)")
        }
        defer { close(descriptor) }
        var status = stat()
        if stat(self.path, &status) == 0 {
            // Failing leaves 0600 in force, which is stricter.
            _ = fchmod(descriptor, status.st_mode & 0o777)
        }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Fills this empty database, which nobody else knows of yet.
    private func copyPages(
        from source: Connection, pagesPerStep: Int32, progress: (Int, Int) throws -> Void
    ) throws {
        // The file counts for nothing until it is whole and synced, so no journal and one sync.
        try execute("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")
        guard let backup = sqlite3_backup_init(handle, "main", source.handle, "main") else {
            throw SQLiteError(
                sqlite3_extended_errcode(handle), on: handle, operation: "back up \(source.path)")
        }
        var code = SQLITE_OK
        do {
            // Bounded: each step copies pages of a state that no longer changes.
            while true {
                code = sqlite3_backup_step(backup, pagesPerStep)
                guard code == SQLITE_OK else { break }
                try progress(
                    Int(sqlite3_backup_remaining(backup)), Int(sqlite3_backup_pagecount(backup)))
            }
        } catch {
            sqlite3_backup_finish(backup)
            throw error
        }
        let finished = sqlite3_backup_finish(backup)
        guard code == SQLITE_DONE else {
            throw SQLiteError(
                finished == SQLITE_OK ? code : finished, on: handle,
                operation: "back up \(source.path)")
        }
    }

    /// A new name is on the disk only when its directory is.
    static func synchronizeDirectory(of path: String) throws(SQLiteError) {
        try synchronize(DatabaseFile.directory(of: path), flags: O_RDONLY | O_DIRECTORY)
    }

    static func synchronize(_ path: String, flags: Int32) throws(SQLiteError) {
        let descriptor = open(path, flags | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw SQLiteError(systemErrorNumber: errno, operation: "open \(path)")
        }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else {
            throw SQLiteError(systemErrorNumber: errno, operation: "sync \(path)")
        }
    }
}
