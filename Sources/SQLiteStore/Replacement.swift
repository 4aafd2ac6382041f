// How one database takes the place of another.
//
// A database is FILE and, while it is in use, FILE-wal: what was committed lately stands only
// there, and SQLite applies a FILE-wal to whatever database is called FILE. Two names cannot be
// changed in one step, so the former database is made one file first (its log folded and gone),
// and then the two files exchange names. At every moment there is either of them at FILE, whole.

import CSQLite
import Glibc

/// Work on the files of a database that nobody has open.
package enum DatabaseFile {
    /// SQLite's own words for what lies beside a database.
    private static let logSuffixes = ["-wal", "-journal"]
    private static let indexSuffix = "-shm"

    /// Whether any program has the database open; false for a file that is not there.
    package static func isOpen(_ path: String) throws(SQLiteError) -> Bool {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        if descriptor < 0, errno == ENOENT { return false }
        guard descriptor >= 0 else {
            throw SQLiteError(systemErrorNumber: errno, operation: "open \(path)")
        }
        defer { close(descriptor) }
        return FileLock.isDatabaseOpen(descriptor)
    }

    /// Copies a database and its log, byte by byte, and syncs the copy.
    ///
    /// - Parameters:
    ///   - source: Nobody may have it open; it is only read, and may lie on a read-only disk.
    ///   - destination: What lies there is lost.
    ///   - model: A file whose owner and permissions the copy gets; without one it is this user's
    ///     alone, or, if that is root, of whoever owns the directory.
    package static func copy(
        _ source: String, to destination: String, ownedLike model: String?
    ) throws(SQLiteError) {
        guard access(source + "-journal", F_OK) != 0 else {
            throw SQLiteError(
                extendedCode: SQLITE_CANTOPEN, operation: "copy \(source)",
                detail: "\(source)-journal exists, so it was left in the middle of a change")
        }
        remove(destination)
        try copyFile(source, to: destination, ownedLike: model)
        if access(source + "-wal", F_OK) == 0 {
            try copyFile(source + "-wal", to: destination + "-wal", ownedLike: model)
        }
    }

    private static func copyFile(
        _ source: String, to destination: String, ownedLike model: String?
    ) throws(SQLiteError) {
        let input = open(source, O_RDONLY | O_CLOEXEC)
        guard input >= 0 else {
            throw SQLiteError(systemErrorNumber: errno, operation: "open \(source)")
        }
        defer { close(input) }
        let output = open(destination, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard output >= 0 else {
            throw SQLiteError(systemErrorNumber: errno, operation: "create \(destination)")
        }
        defer { close(output) }
        if let model {
            var status = stat()
            guard stat(model, &status) == 0,
                fchown(output, status.st_uid, status.st_gid) == 0,
                fchmod(output, status.st_mode & 0o777) == 0
            else {
                throw SQLiteError(
                    systemErrorNumber: errno,
                    operation: "give \(destination) the owner and permissions of \(model)")
            }
        } else {
            giveAway(output, like: [directory(of: destination)])
        }
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        while true {
            let count = read(input, &buffer, buffer.count)
            if count == 0 { break }
            guard count > 0 else {
                throw SQLiteError(systemErrorNumber: errno, operation: "read \(source)")
            }
            var written = 0
            while written < count {
                let more = buffer.withUnsafeBytes { bytes in
                    write(output, bytes.baseAddress! + written, count - written)
                }
                guard more > 0 else {
                    throw SQLiteError(systemErrorNumber: errno, operation: "write \(destination)")
                }
                written += more
            }
        }
        guard fsync(output) == 0 else {
            throw SQLiteError(systemErrorNumber: errno, operation: "sync \(destination)")
        }
    }

    /// Gives a file that root has made to the owner of the first of some files that is there: an
    /// operator's command must not leave what the server, another user, may not open. SQLite does
    /// the same with the log.
    package static func giveAway(_ descriptor: Int32, like models: [String]) {
        var status = stat()
        guard geteuid() == 0, models.contains(where: { stat($0, &status) == 0 }) else { return }
        _ = fchown(descriptor, status.st_uid, status.st_gid)
    }

    /// As ``giveAway(_:like:)`` to the directory's owner, for a database that nobody has open, with
    /// all that lies beside it.
    package static func giveAway(_ path: String) {
        var status = stat()
        guard geteuid() == 0, stat(directory(of: path), &status) == 0 else { return }
        for file in all(of: path) { _ = lchown(file, status.st_uid, status.st_gid) }
    }

    /// A database, and what SQLite puts beside it.
    package static func all(of path: String) -> [String] {
        ([""] + logSuffixes + [indexSuffix]).map { path + $0 }
    }

    /// Where the files beside a database lie.
    package static func directory(of path: String) -> String {
        path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
    }

    /// Folds the log into the database and takes it away, so that the file is all there is.
    ///
    /// - Throws: ``SQLiteError``, of kind `busy` when another program has it open.
    package static func fold(_ path: String) throws(SQLiteError) {
        try foldLog(of: path)
        for suffix in logSuffixes + [indexSuffix] where access(path + suffix, F_OK) == 0 {
            throw SQLiteError(
                extendedCode: SQLITE_BUSY, operation: "fold the log of \(path)",
                detail: "\(path)\(suffix) is in use")
        }
        try Connection.synchronize(path, flags: O_RDWR)
    }

    /// Closing the connection takes the log away, unless somebody else has it open.
    private static func foldLog(of path: String) throws(SQLiteError) {
        let connection = try Connection(path: path, mode: .readWrite, busyTimeoutMilliseconds: 0)
        // The first read opens the log.
        _ = try connection.pragma("SELECT count(*) FROM sqlite_schema")
        try connection.checkpoint(.truncate)
    }

    /// Puts a database in place of another, which is kept under a new name.
    ///
    /// Durable when it returns. Killed in the middle, it leaves at `path` either the former
    /// database or the new one. A former one too damaged for SQLite is kept as it is, with its log
    /// beside it under the same new name.
    ///
    /// - Parameters:
    ///   - path: What is to be replaced; it may be missing. Nobody may have it open.
    ///   - new: A folded database in the same directory; it loses this name.
    ///   - kept: A name in the same directory that nothing bears, nor with an ending.
    /// - Throws: ``SQLiteError``; then the former database is still at `path`.
    package static func replace(
        _ path: String, with new: String, keepingAs kept: String
    ) throws(SQLiteError) {
        let isThere = access(path, F_OK) == 0
        if isThere {
            do throws(SQLiteError) {
                try fold(path)
            } catch {
                switch error.kind {
                case .corrupt, .notADatabase, .ioError: break
                case .busy, .locked, .full, .readOnly, .cannotOpen, .constraint, .other:
                    throw error
                }
            }
        }
        // A log that is still there belongs to a database that nobody can read, or to none. Until
        // that bears its new name too, the log gets one that binds it to no other database.
        let logs = logSuffixes.filter { access(path + $0, F_OK) == 0 }
        for suffix in logs { try rename(path + suffix, to: kept + ".log" + suffix) }
        unlink(path + indexSuffix)
        do throws(SQLiteError) {
            // Named so before the exchange: whatever bears a temporary name may be thrown away, and
            // from the exchange on this is the former database.
            try rename(new, to: isThere ? kept : path)
            if isThere { try exchange(kept, path) }
        } catch {
            unlink(kept)
            for suffix in logs { _ = Glibc.rename(kept + ".log" + suffix, path + suffix) }
            throw error
        }
        for suffix in logs { try rename(kept + ".log" + suffix, to: kept + suffix) }
        try Connection.synchronizeDirectory(of: path)
    }

    private static func exchange(_ one: String, _ other: String) throws(SQLiteError) {
        guard waystation_exchange(one, other) != 0 else { return }
        let code = errno
        let operation = "exchange \(one) and \(other)"
        if code == EINVAL || code == ENOSYS {
            throw SQLiteError(
                extendedCode: SQLITE_CANTOPEN, operation: operation,
                detail: "this file system cannot do that; move \(other) away, then try again")
        }
        throw SQLiteError(systemErrorNumber: code, operation: operation)
    }

    private static func rename(_ path: String, to name: String) throws(SQLiteError) {
        guard Glibc.rename(path, name) == 0 else {
            throw SQLiteError(systemErrorNumber: errno, operation: "rename \(path)")
        }
    }

    /// Removes a database that nobody needs, with what lies beside it.
    package static func remove(_ path: String) {
        for file in all(of: path) { unlink(file) }
    }
}
