import CSQLite
import Glibc

/// Says what SQLite or the file system refused, without any stored value.
///
/// Error texts end up in logs and bug reports, so a resident's data must not get in. SQLite's own
/// message is kept only where it can name nothing but the schema: while compiling, when no value
/// is bound yet, and for constraints. Elsewhere it may quote a value (a JSON path, a search term),
/// and the fixed text for the code takes its place.
///
/// - SeeAlso: <https://sqlite.org/rescode.html>.
package struct SQLiteError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What a caller can act on; several codes share one kind.
    package enum Kind: Equatable, Sendable {
        /// Another connection holds the lock, and the busy timeout ran out.
        case busy
        /// Something on this very connection stands in the way.
        case locked
        /// No room: the disk, a quota, or the database's own page limit.
        case full
        case readOnly
        case ioError
        case corrupt
        case notADatabase
        case cannotOpen
        case constraint
        case other
    }

    /// SQLite's extended result code, `SQLITE_…_…`.
    package let extendedCode: Int32

    /// The `errno` beneath a failed system call, 0 where there was none.
    package let systemErrorNumber: Int32

    /// What was tried: a file's path, or the beginning of the SQL with its placeholders.
    package let operation: String

    /// SQLite's message where it is safe to show, or ours.
    package let detail: String?

    package init(
        extendedCode: Int32, systemErrorNumber: Int32 = 0, operation: String, detail: String? = nil
    ) {
        self.extendedCode = extendedCode
        self.systemErrorNumber = systemErrorNumber
        self.operation = operation
        self.detail = detail
    }

    /// SQLite's primary result code, the low byte of ``extendedCode``.
    package var code: Int32 { extendedCode & 0xff }

    package var kind: Kind {
        // SQLite reports a full disk as SQLITE_FULL when a write fails, but as an I/O error when
        // it was a sync, the growing of the shared memory, or the creation of a file.
        let isOutOfSpace = systemErrorNumber == ENOSPC || systemErrorNumber == EDQUOT
        switch code {
        case SQLITE_BUSY: return .busy
        case SQLITE_LOCKED: return .locked
        case SQLITE_FULL: return .full
        case SQLITE_READONLY: return .readOnly
        case SQLITE_IOERR: return isOutOfSpace ? .full : .ioError
        case SQLITE_CORRUPT: return .corrupt
        case SQLITE_NOTADB: return .notADatabase
        case SQLITE_CANTOPEN: return isOutOfSpace ? .full : .cannotOpen
        case SQLITE_CONSTRAINT: return .constraint
        default: return .other
        }
    }

    package var description: String {
        var text = operation + ": " + (detail ?? String(cString: sqlite3_errstr(extendedCode)))
        if systemErrorNumber != 0 {
            text += " (" + String(cString: strerror(systemErrorNumber)) + ")"
        }
        return text
    }

    /// What the person can do next.
    package var hint: String {
        switch kind {
        case .busy: return "Another program is using the database; try again in a moment."
        case .full: return "Free some space on the disk and try again; this was not stored."
        case .readOnly: return "Check that you may write to the file and to its directory."
        case .ioError: return "Check the disk; the system log may say more. This was not stored."
        case .corrupt: return "Keep a copy of the file, then restore the latest backup."
        case .notADatabase: return "Check the path: this file belongs to another program."
        case .cannotOpen:
            return "Check that the directory exists and that you may read and write in it."
        case .locked, .constraint, .other:
            return "This is probably a fault of the program; please report it with this message."
        }
    }
}

extension SQLiteError {
    /// Describes the latest failure of a connection; nothing may be called on it in between.
    init(_ code: Int32, on database: OpaquePointer, operation: String, isMessageSafe: Bool = false)
    {
        let primary = code & 0xff
        let concernsSystem = primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN
        self.init(
            extendedCode: code,
            systemErrorNumber: concernsSystem ? sqlite3_system_errno(database) : 0,
            operation: operation,
            detail: isMessageSafe || primary == SQLITE_CONSTRAINT
                ? String(cString: sqlite3_errmsg(database)) : nil)
    }

    /// Describes a system call that failed outside SQLite.
    init(systemErrorNumber: Int32, operation: String) {
        let code: Int32
        switch systemErrorNumber {
        case ENOSPC, EDQUOT: code = SQLITE_FULL
        case EROFS: code = SQLITE_READONLY
        case EACCES, EPERM, ENOENT, ENOTDIR, EISDIR: code = SQLITE_CANTOPEN
        default: code = SQLITE_IOERR
        }
        self.init(
            extendedCode: code, systemErrorNumber: systemErrorNumber, operation: operation)
    }

    /// Shortens SQL to one line of at most 80 characters.
    static func summary(of sql: String) -> String {
        let line = sql.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        return line.count <= 80 ? line : line.prefix(79) + "…"
    }
}
