import Glibc
import SQLiteStore

/// Says that a process has a ledger open, so that nobody puts another file in its place meanwhile.
///
/// SQLite's locks belong to the file that was opened and not to its name. Whoever opened a ledger
/// just before a backup took its place would go on with the former file and with the log of the new
/// one, and so damage both. Therefore each process that opens a ledger shares a lock on
/// `LEDGER.lock`, taken before SQLite opens anything, and restoring holds that lock alone. The file
/// is never replaced, and a leftover one means nothing.
package final class LedgerUse: Sendable {
    private let lock: FileLock

    /// - Throws: ``LedgerError/busy``, or that the lock file cannot be had.
    convenience init(sharing path: String) throws(LedgerError) {
        try self.init(of: path, .shared)
    }

    /// For replacing the ledger; throws as ``init(sharing:)`` does.
    convenience init(alone path: String) throws(LedgerError) {
        try self.init(of: path, .exclusive)
    }

    private init(of path: String, _ mode: FileLock.Mode) throws(LedgerError) {
        let descriptor = try Self.openLockFile(of: path)
        do throws(SQLiteError) {
            lock = try FileLock(descriptor, mode, path: path)
        } catch {
            if error.kind == .busy { throw .busy }
            throw .disk(error.description, hint: error.hint)
        }
    }

    /// Opens `LEDGER.lock`, which is made when it is not there. The server takes a lock of another
    /// kind on the same file, so that only one serves.
    private static func openLockFile(of path: String) throws(LedgerError) -> Int32 {
        let ledger = try resolved(path)
        let lockPath = ledger + ".lock"
        let descriptor = open(lockPath, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            let code = errno
            let reason = "the lock file \(lockPath) cannot be used: \(systemMessage(code))"
            switch code {
            case ENOENT, ENOTDIR:
                throw .file(reason, hint: "the directory of the ledger must be there")
            case ENOSPC, EDQUOT:
                throw .disk(reason, hint: "free some space, then try again")
            default:
                throw .disk(reason, hint: "you must be able to write to it and to its directory")
            }
        }
        DatabaseFile.giveAway(descriptor, like: [ledger, DatabaseFile.directory(of: ledger)])
        return descriptor
    }

    /// The name behind links: files beside a ledger lie where it really is.
    package static func resolved(_ path: String) throws(LedgerError) -> String {
        if let real = realpath(path, nil) {
            defer { free(real) }
            return String(cString: real)
        }
        guard errno == ENOENT else { throw unreachable(path, errno) }
        var status = stat()
        guard lstat(path, &status) != 0 else {
            throw .file(
                "\(path) is a link to nothing", hint: "is the disk that it leads to mounted?")
        }
        return path
    }

    /// A path that the system does not lead to what is there.
    static func unreachable(_ path: String, _ code: Int32) -> LedgerError {
        let reason = "\(path): \(systemMessage(code))"
        return code == EACCES
            ? .disk(reason, hint: "you must be able to enter the directories that lead to it")
            : .file(reason, hint: "check the path")
    }

    static func systemMessage(_ code: Int32) -> String { String(cString: strerror(code)) }
}
