import CSQLite
import Glibc

/// A lock on a file that lasts until it is let go or the process ends, however that comes about.
///
/// It belongs to this opening of the file and not to the process (fcntl(2), "open file description
/// locks"), so two of them in one process are two, and closing another opening drops neither.
package final class FileLock: Sendable {
    package enum Mode: Sendable {
        /// Beside others who share.
        case shared
        case exclusive
    }

    // Glibc shows these only with _GNU_SOURCE, which Swift's module of it does not set.
    private static let getLock: Int32 = 36  // F_OFD_GETLK
    private static let setLock: Int32 = 37  // F_OFD_SETLK

    private let descriptor: Int32

    /// Takes the lock, or fails at once.
    ///
    /// - Parameter descriptor: Open for reading and writing; closed when the lock is let go, or
    ///   when it is not to be had.
    /// - Throws: ``SQLiteError``, of kind `busy` when another holds it.
    package init(_ descriptor: Int32, _ mode: Mode, path: String) throws(SQLiteError) {
        var lock = flock()
        lock.l_type = Int16(mode == .shared ? F_RDLCK : F_WRLCK)
        lock.l_whence = Int16(SEEK_SET)
        lock.l_len = 1
        guard fcntl(descriptor, Self.setLock, &lock) == 0 else {
            let code = errno
            close(descriptor)
            let operation = "lock \(path)"
            throw code == EAGAIN || code == EACCES
                ? SQLiteError(extendedCode: SQLITE_BUSY, operation: operation)
                : SQLiteError(systemErrorNumber: code, operation: operation)
        }
        // Assigned last: once it is, a throw would run `deinit`, which closes it.
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    /// Whether anybody has the database open that SQLite would have to wait for. Whoever uses a
    /// log keeps a shared lock for as long as the database is open, also between transactions.
    ///
    /// - SeeAlso: <https://sqlite.org/lockingv3.html>, "PENDING_BYTE" in SQLite's `os.h`.
    static func isDatabaseOpen(_ descriptor: Int32) -> Bool {
        var lock = flock()
        lock.l_type = Int16(F_WRLCK)
        lock.l_whence = Int16(SEEK_SET)
        lock.l_start = 0x4000_0000
        lock.l_len = 512
        return fcntl(descriptor, getLock, &lock) == 0 && lock.l_type != Int16(F_UNLCK)
    }
}
