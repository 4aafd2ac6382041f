import DeviceJournal
import Glibc

/// Held by whoever syncs a journal, so that two syncs do not send the same at once. It is the
/// kernel's lock of an open file, so it ends with the process, however that ends.
final class SyncLock {
    private let descriptor: Int32

    /// - Parameters:
    ///   - journalPath: The lock's file lies beside the journal.
    ///   - timeoutMilliseconds: How long to wait for another sync.
    ///   - isCancelled: Asked between two tries.
    init(
        journalPath: String, timeoutMilliseconds: Int, isCancelled: () -> Bool
    ) throws(SyncError) {
        let directory = journalPath.lastIndex(of: "/").map { String(journalPath[...$0]) } ?? "./"
        let path = directory + "sync.lock"
        descriptor = try Self.descriptor(of: path)
        var waited = 0
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            guard waited < timeoutMilliseconds, !isCancelled() else {
                // Fully initialised, so deinit closes the file.
                throw isCancelled() ? .interrupted : .busy
            }
            usleep(50_000)
            waited += 50
        }
    }

    private static func descriptor(of path: String) throws(SyncError) -> Int32 {
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            switch errno {
            case ENOSPC, EDQUOT: throw .journal(.diskFull)
            case EACCES, EPERM, EROFS: throw .journal(.readOnly(path: path))
            default:
                throw .journal(.cannotOpen(path: path, detail: String(cString: strerror(errno))))
            }
        }
        return descriptor
    }

    deinit { close(descriptor) }
}
