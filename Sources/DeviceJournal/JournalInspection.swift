package import NeedModel
import SQLiteStore
package import SyncCore

/// The whole of a journal as plain values, for the simulator's checkers.
package struct JournalInspection: Sendable {
    /// A record as pulled.
    package struct Record: Sendable {
        package var kind: UInt32
        package var isVisible: Bool
        package var createdMilliseconds: Int64
        /// In which of the device's buckets it lies.
        package var places: HeldPlaces
        package var contested: [UInt32]
        /// Newest stamp first.
        package var fields: [UInt32: [(value: [UInt8]?, stamp: Stamp, sequence: UInt64)]]
        /// Of its live versions, as they are there, whatever the row says.
        package var digest: UInt64
        fileprivate var row: GuardedRow

        /// `nil` when the row does not decode: then it is not there for people either.
        fileprivate init?(_ row: GuardedRow) {
            guard let record = row.record else { return nil }
            kind = record.kind
            isVisible = record.isVisible
            createdMilliseconds = record.created
            places = row.places
            contested = record.state.contested
            fields = [:]
            for (field, versions) in record.state.fields {
                fields[field] = versions.map { ($0.value, $0.stamp, $0.sequence) }
            }
            digest = record.state.digest(of: record.id)
            self.row = row
        }

        /// Whether nothing of the row has changed since.
        package func isSame(as former: Record) -> Bool { row == former.row }
    }

    package var replica: ReplicaID
    package var nextCounter: UInt64
    package var cursor: Position
    package var records: [RecordID: Record]
    /// The sum of the digests of the buckets held, as it is kept.
    package var scopeDigest: UInt64
    /// Records that are to be fetched again.
    package var suspects: Set<RecordID>
    /// Whether a difference from the hub is being looked for.
    package var isSearching: Bool
    package var commands: InspectedCommands

    package var outbox: [(replica: ReplicaID, group: ChangeGroup, isSettled: Bool)] {
        commands.outbox
    }

    /// What ``scopeDigest`` should be: the sum over the records that are there.
    package var sumOfRecords: UInt64 {
        records.values.reduce(0) {
            $0 &+ ($1.isVisible ? $1.places.count &* $1.digest : 0)
        }
    }
}

/// A journal's own commands: those that pulled records do not contain, and those refused.
package struct InspectedCommands: Sendable {
    package struct Refused: Sendable {
        package var record: RecordID
        package var written: ClockReading
        package var createdKind: UInt32?
        package var changes: [Change]
        /// As it was stored: the hub's, or one of ``RefusedGroup``'s own.
        package var code: UInt32
    }

    /// In the order of writing.
    package var outbox: [(replica: ReplicaID, group: ChangeGroup, isSettled: Bool)]
    /// Oldest first.
    package var refused: [Refused]
}

extension Journal {
    /// - Parameter former: Records of an earlier inspection: what has not changed since need not be
    ///   decoded again.
    package func inspect(
        after former: [RecordID: JournalInspection.Record] = [:]
    ) throws(JournalError) -> JournalInspection {
        try reading {
            let writer = try readWriter()
            let audit = try readAudit()
            var inspection = JournalInspection(
                replica: writer.replica, nextCounter: writer.nextCounter,
                cursor: try readPull().cursor, records: [:], scopeDigest: audit.digest,
                suspects: Set(
                    try connection.all("SELECT record FROM suspect") { try $0.record(at: 0) }),
                isSearching: audit.isSearching,
                commands: try readCommands())
            inspection.records.reserveCapacity(former.count)
            try connection.forEach(
                """
                SELECT id, kind, parent, created, visible, state, places, digest, checksum
                FROM record
                """
            ) { statement in
                let row = GuardedRow(row: statement)
                guard let id = RecordID(bytes: row.id) else { return }
                if let known = former[id], known.row == row {
                    inspection.records[id] = known
                } else {
                    inspection.records[id] = JournalInspection.Record(row)
                }
            }
            return inspection
        }
    }

    /// The commands alone, which takes a small part of the time.
    package func inspectCommands() throws(JournalError) -> InspectedCommands {
        try reading { try readCommands() }
    }

    private func readCommands() throws -> InspectedCommands {
        InspectedCommands(
            outbox: try readOutbox().map { ($0.replica, $0.group, $0.isSettled) },
            refused: try connection.all(
                "SELECT record, content, code FROM refused ORDER BY number"
            ) { row in
                let content = GroupContent(salvaging: row.bytes(at: 1))
                return InspectedCommands.Refused(
                    record: try row.record(at: 0), written: content.written,
                    createdKind: content.createdKind, changes: content.changes,
                    code: UInt32(truncatingIfNeeded: row.integer(at: 2)))
            })
    }

    /// Makes a journal's tables and nothing else, as an enrolment that was killed early leaves them.
    package static func makeTables(path: String, vfs: String) throws(JournalError) {
        do {
            let connection = try Connection(path: path, mode: .readWriteCreate, vfs: vfs)
            try connection.migrate(
                JournalSchema.migrations, applicationID: JournalSchema.applicationID)
            try connection.makeDurable(autocheckpointFrames: JournalLimits.logFramesMax)
        } catch {
            throw JournalError(error, path: path)
        }
    }

    /// SQLite's own findings; none when the file is sound.
    package func integrityCheck() throws(JournalError) -> [String] {
        do {
            return try connection.integrityCheck()
        } catch {
            throw JournalError(error, path: path)
        }
    }
}
