import Glibc
import SQLiteStore
import SyncCore

/// What a restored ledger is.
package struct RestoreReport: Sendable {
    package var banner: String
    package var name: String
    package var offsetMinutes: Int
    /// The last sequence of the backup.
    package var sequence: UInt64
    /// When the backup's newest batch came; `nil` if it holds none.
    package var newestMilliseconds: Int64?
    package var needs: Int
    /// Where the former ledger lies now; `nil` if there was none.
    package var keptAs: String?
    /// What was taken over from it; `nil` if there was none that could be read.
    package var carriedOver: CarriedOver?
    /// Codes that were open in the backup and are void now, since nothing tells whether they were
    /// used meanwhile.
    package var endedCodes = 0
}

extension Ledger {
    /// Puts a backup in place of a ledger.
    ///
    /// The backup is copied, checked, brought to the current schema and told that it was restored,
    /// all beside the ledger under a temporary name (`LEDGER.restoring`); then the two exchange
    /// names, and the former ledger is kept as `LEDGER.replaced-TIME`. Until the exchange nothing
    /// has happened, whatever goes wrong. The backup itself is only read.
    ///
    /// What devices cannot bring back is carried over from the former ledger, if that can be read:
    /// see ``CarriedOver``. Otherwise codes that are still open are ended.
    ///
    /// - Parameters:
    ///   - backup: What ``backup(to:)`` made, or a former ledger with its log.
    ///   - path: The ledger, which may be missing or damaged, but not another banner's.
    ///   - clock: Milliseconds since 1970.
    /// - Throws: ``LedgerError``: `busy` when any program has the ledger open.
    package static func restore(
        from backup: String, to path: String, clock: @escaping () -> Int64
    ) throws -> RestoreReport {
        let ledger = try LedgerUse.resolved(path)
        let source = try regularFile(backup)
        guard let source else {
            throw LedgerError.file("there is no file at \(backup)", hint: "check the path")
        }
        let present = try regularFile(ledger)
        if let present, present.isSameFile(as: source) {
            throw LedgerError.file(
                "\(backup) is the ledger itself", hint: "give a file that backup made")
        }
        let use = try LedgerUse(alone: ledger)
        defer { withExtendedLifetime(use) {} }
        // Only the lock keeps two of us apart, so the temporary name can be one; whatever bears it
        // is of a restore that was killed, and not the former ledger.
        let staged = ledger + ".restoring"
        if let leftover = try regularFile(staged), leftover.isSameFile(as: source) {
            throw LedgerError.file(
                "\(backup) bears the name that restoring writes to, as a killed restore leaves it",
                hint: "move it to another name, with its -wal if there is one, then restore that")
        }
        defer { DatabaseFile.remove(staged) }
        do {
            // A program of another make, which knows of no lock file.
            guard try !DatabaseFile.isOpen(ledger) else { throw LedgerError.busy }
            guard try !DatabaseFile.isOpen(backup) else {
                throw LedgerError.file(
                    "another program has \(backup) open",
                    hint: "restore from a copy of it that backup made")
            }
            try DatabaseFile.copy(backup, to: staged, ownedLike: present.map { _ in ledger })
            var report = try prepare(staged, of: backup, clock: clock)
            if present != nil { try requireSameBanner(ledger, as: report.banner) }
            try carryOver(
                from: present.map { _ in ledger }, into: staged, at: clock(), &report)
            // The ledger is closed by now, so its log can go.
            try DatabaseFile.fold(staged)
            let kept = freeName(for: ledger, at: clock())
            try DatabaseFile.replace(ledger, with: staged, keepingAs: kept)
            report.keptAs = present.map { _ in kept }
            return report
        } catch {
            throw SQLiteLedgerStorage.translated(error)
        }
    }

    private static func regularFile(_ path: String) throws -> stat? {
        var status = stat()
        guard stat(path, &status) == 0 else {
            if errno == ENOENT { return nil }
            throw LedgerUse.unreachable(path, errno)
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw LedgerError.file("\(path) is not a file", hint: "check the path")
        }
        return status
    }

    /// Checks the copy of a backup, and makes it the ledger that it is to be.
    private static func prepare(
        _ staged: String, of backup: String, clock: @escaping () -> Int64
    ) throws -> RestoreReport {
        let report: RestoreReport
        do {
            try requireReadable(staged, of: backup)
            let ledger = Ledger(
                storage: try SQLiteLedgerStorage(path: staged, creates: false), clock: clock,
                random: .system)
            let findings = try ledger.check()
            guard findings.isEmpty else { throw damaged(backup, findings) }
            let info = try ledger.info()
            let newest = try ledger.storage.snapshot {
                try ledger.storage.batch(holding: info.head)
            }
            report = RestoreReport(
                banner: info.banner, name: info.name, offsetMinutes: info.offsetMinutes,
                sequence: info.head, newestMilliseconds: newest?.receivedMilliseconds,
                needs: try ledger.figures().needs)
            try ledger.noteRestored()
        } catch LedgerError.damaged(let what) {
            throw damaged(backup, [what])
        } catch let error as SQLiteError where error.kind == .corrupt {
            throw damaged(backup, [error.description])
        }
        return report
    }

    private static func carryOver(
        from former: String?, into staged: String, at milliseconds: Int64,
        _ report: inout RestoreReport
    ) throws {
        let connection = try Connection(path: staged, mode: .readWrite)
        if let former = former.flatMap({ OperatorData.read(at: $0) }) {
            // What contradicts itself is as good as unreadable.
            report.carriedOver = try? former.carry(into: connection)
        }
        if report.carriedOver == nil {
            report.endedCodes = try OperatorData.endOpenCodes(in: connection, at: milliseconds)
        }
    }

    /// Before it is opened as a ledger, which would make one of an empty file.
    private static func requireReadable(_ staged: String, of backup: String) throws {
        let connection = try Connection(path: staged, mode: .readWrite)
        let version: Int32
        do {
            version = try connection.userVersion
            guard try connection.applicationID == LedgerSchema.applicationID, version > 0 else {
                throw foreign(backup)
            }
        } catch let error as SQLiteError where error.kind == .notADatabase {
            throw foreign(backup)
        }
        let newest = LedgerSchema.steps.last?.version ?? 0
        guard version <= newest else {
            throw LedgerError.file(
                "\(backup) was made by a newer version of this program: its schema is version "
                    + "\(version), and this one knows versions up to \(newest)",
                hint: "install that version, then restore; nothing was changed")
        }
    }

    private static func foreign(_ backup: String) -> LedgerError {
        .file(
            "\(backup) is not a backup of a ledger",
            hint: "give a file that backup made; nothing was changed")
    }

    private static func damaged(_ backup: String, _ findings: [String]) -> LedgerError {
        let more = findings.count > 1 ? " (and \(findings.count - 1) more)" : ""
        return .file(
            "\(backup) is damaged: \(findings.first ?? "")\(more)",
            hint: "try an older backup; nothing was changed")
    }

    /// One machine may hold the ledgers of several banners, and one mistyped name must not put one
    /// in place of another. A ledger that cannot be read says nothing about its banner.
    private static func requireSameBanner(_ path: String, as banner: String) throws {
        var present: String?
        do {
            let connection = try Connection(path: path, mode: .readWrite)
            guard try connection.applicationID == LedgerSchema.applicationID else { return }
            present = try connection.first("SELECT banner FROM ledger") { $0.text(at: 0) }
        } catch { return }
        if let present, present != banner {
            throw LedgerError.file(
                "\(path) is the ledger of banner \(present), and the backup is of \(banner)",
                hint: "if this is meant, move the present ledger away first")
        }
    }

    /// A name that nothing bears, with the time of day in UTC.
    private static func freeName(for ledger: String, at milliseconds: Int64) -> String {
        let name = ledger + ".replaced-" + utcText(milliseconds, format: "%Y%m%dT%H%M%SZ")
        let names = [name] + (2...99).map { "\(name)-\($0)" }
        let endings = ["", "-wal", "-shm", "-journal"]
        return names.first { name in endings.allSatisfy { access(name + $0, F_OK) != 0 } } ?? name
    }
}

extension stat {
    /// Whatever names and links led to the two.
    fileprivate func isSameFile(as other: stat) -> Bool {
        st_dev == other.st_dev && st_ino == other.st_ino
    }
}

/// A time in UTC, as strftime(3) writes it.
package func utcText(_ milliseconds: Int64, format: String = "%Y-%m-%dT%H:%M:%SZ") -> String {
    var seconds = time_t(milliseconds / 1_000)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    var text = [CChar](repeating: 0, count: 64)
    let count = strftime(&text, text.count, format, &parts)
    return String(decoding: text.prefix(count).map(UInt8.init(bitPattern:)), as: UTF8.self)
}
