package import NeedModel
package import SyncCore

/// What the operator and the HTTP server are told; plain values.
package struct LedgerInfo: Hashable, Sendable {
    /// The banner's territory code.
    package var banner: String
    package var name: String
    /// The banner's distance from UTC, in minutes.
    package var offsetMinutes: Int
    package var term: TermID
    /// The newest sequence.
    package var head: UInt64
}

/// One enrolled machine.
package struct Device: Hashable, Sendable {
    package var id: Int64
    package var name: String
    package var role: Role
    package var territory: String
    package var team: String
    package var isRevoked: Bool
}

package struct DeviceReport: Sendable {
    package var device: Device
    package var enrolledMilliseconds: Int64
    /// `nil` before the first sync.
    package var lastSyncMilliseconds: Int64?
    /// How many admitted changes the device has not pulled yet, whether or not it may hold them.
    package var behind: UInt64
    package var refusedGroups: Int
    /// Changes that a restored ledger will never get; see rule 10.
    package var lostChanges: UInt64
}

package struct NeedReport: Sendable {
    package var id: RecordID
    package var createdMilliseconds: Int64
    package var creator: String
    package var text: String
    package var category: String?
    package var grid: String
    package var progress: NeedProgress
    package var isOverdue: Bool
    package var conflictingFields: [NeedField]
}

package struct ConflictReport: Sendable {
    package var record: RecordID
    package var field: NeedField
    /// Newest first: who wrote it, when, and the value's bytes.
    package var versions: [(writer: String, milliseconds: Int64, value: [UInt8]?)]
    /// For a delete and for a dispatch: the fields whose changes it had not seen.
    package var contestedFields: [NeedField]
}

package struct ImportReport: Hashable, Sendable {
    package var added: Int
    package var updated: Int
    package var unchanged: Int
}

/// Counts for `/metrics`.
package struct LedgerFigures: Sendable {
    package var head: UInt64
    package var needs: Int
    package var openConflicts: Int
    /// Devices that are not revoked, by hours since their last sync: within 1, 24, 168, more, never.
    package var devicesByAge: [(label: String, count: Int)]
    /// Bytes of the database file and its log.
    package var bytes: Int64
    package var refusedGroups: Int
}

/// Counts of one call of ``Ledger/sync(_:)``, for `/metrics`.
package struct SyncFigures: Sendable {
    package var batches = 0
    package var changesApplied = 0
    package var changesSuperseded = 0
    package var changesRejected = 0
    /// What was noted for the first time, for the log.
    package var events: [LedgerEvent] = []
    /// How many changes devices brought back, of a part that a restore lost; for the log.
    package var brought: [(device: Int64, changes: Int)] = []
}

/// Something that befell the ledger as a whole, which its operator should know of.
package struct LedgerEvent: Hashable, Sendable {
    /// Numbers are stored, and never reused.
    package enum Kind: Int64, Sendable {
        /// A backup was put in place of the ledger.
        case restored = 1
        /// A device had pulled what this ledger never gave out: the ledger is an older copy.
        case deviceAhead = 2
        /// A record is not what was admitted: the disk has altered it.
        case recordAltered = 3

        /// For JSON and logs; never renamed.
        package var name: String {
            switch self {
            case .restored: "restored"
            case .deviceAhead: "device-ahead"
            case .recordAltered: "record-altered"
            }
        }
    }

    package var kind: Kind
    package var milliseconds: Int64
    /// Restored: the term that was opened then. Device ahead: its cursor's, which is foreign or
    /// went further than this ledger knows. Record altered: in which it was created.
    package var term: TermID
    /// Restored: the last sequence of the backup. Device ahead: its cursor's. Record altered: of
    /// the record's first change.
    package var sequence: UInt64
    /// Of the device ahead, the first of its term.
    package var device: Int64?
}

package enum ReferenceTable: String, Sendable, CaseIterable {
    case territory, teams, categories, routes
}

/// Why the ledger does not do what it was asked.
package enum LedgerError: Error, CustomStringConvertible {
    /// The file is there already, or is not a ledger, or is of a newer program.
    case file(String, hint: String)
    /// Another process holds the ledger for longer than we wait.
    case busy
    /// The disk is full, read-only or failing, or we may not write there; nothing was stored.
    case disk(String, hint: String)
    case damaged(String)
    /// An input that cannot be: says which, and never quotes a resident's data.
    case invalid(String, hint: String)
    /// Line (from 1, the header is line 1) and column of a CSV file.
    case row(line: Int, column: String, String)
    case notFound(String, hint: String)
    case codeUnknown
    case codeUsed
    case codeExpired
    case tokenUnknown
    case revoked
    /// The device may not see this.
    case forbidden

    package var description: String {
        switch self {
        case .file(let what, _): what
        case .busy: "another program is using the ledger"
        case .disk(let what, _): "the ledger could not be written: \(what)"
        case .damaged(let what): "the ledger is damaged: \(what)"
        case .invalid(let what, _): what
        case .row(let line, let column, let what): "line \(line), column \(column): \(what)"
        case .notFound(let what, _): "\(what) not found"
        case .codeUnknown: "this code was never given out"
        case .codeUsed: "this code was used already"
        case .codeExpired: "this code has expired"
        case .tokenUnknown: "this device is not enrolled here"
        case .revoked: "this device was revoked"
        case .forbidden: "this device may not see this record"
        }
    }

    package var hint: String {
        switch self {
        case .file(_, let hint), .disk(_, let hint), .invalid(_, let hint), .notFound(_, let hint):
            hint
        case .busy: "try again in a moment"
        case .damaged: "restore the newest backup; devices bring back what they hold"
        case .row: "mend the file and import it again; nothing was imported"
        case .codeUnknown, .codeUsed, .codeExpired: "ask the server's operator for a new code"
        case .tokenUnknown: "enrol it with a code from the server's operator"
        case .revoked: "ask the server's operator; a new code enrols the device again"
        case .forbidden: "sync, then look at what this device holds"
        }
    }
}
