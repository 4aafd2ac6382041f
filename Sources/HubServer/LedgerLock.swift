import Glibc
import HubLedger

/// The lock that lets only one process serve a ledger: `flock` on `LEDGER.lock`, held for life.
///
/// The kernel drops it when the process ends, however that comes about, so a leftover file means
/// nothing. Commands beside a running server do not take it: SQLite orders their transactions.
final class LedgerLock: Sendable {
    private let descriptor: Int32

    /// - Throws: ``HubStartError/alreadyServed(path:)``, or ``HubStartError/lock(path:reason:)``.
    init(ledger path: String) throws(HubStartError) {
        let lockPath = ((try? LedgerUse.resolved(path)) ?? path) + ".lock"
        let opened = open(lockPath, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard opened >= 0 else {
            throw .lock(path: lockPath, reason: systemMessage(errno))
        }
        guard flock(opened, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            close(opened)
            if code == EWOULDBLOCK { throw .alreadyServed(path: path) }
            throw .lock(path: lockPath, reason: systemMessage(code))
        }
        // Assigned last: once it is, a throw would run `deinit`, which closes it.
        descriptor = opened
    }

    deinit {
        // A child of this process that has not yet come to its own program still holds the file.
        flock(descriptor, LOCK_UN)
        close(descriptor)
    }
}

/// The system's words for an error number.
func systemMessage(_ code: Int32) -> String {
    var words = [CChar](repeating: 0, count: 256)
    guard strerror_r(code, &words, words.count) == 0 else { return "errno \(code)" }
    return String(decoding: words.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
}
