import NeedModel
import SQLiteStore
import SyncCore

/// Gives the rows of a journal of version 1 what guards them in version 2.
///
/// Version 1 did not store where a record lies, so that is worked out as it was done there: the
/// recorder by the replica in the id, which is wrong for some that a copy of the journal made. The
/// first comparison with the hub finds and mends those.
enum JournalDigests {
    static func fillIn(_ connection: Connection) throws {
        guard let enrolment = try readEnrolment(connection) else { return }
        let own = Set(
            try connection.all("SELECT replica FROM lineage") { $0.replica(at: 0) })
        let others = Set(
            try connection.all("SELECT replica FROM person") { $0.replica(at: 0) })
        var placements: [RecordID: Placement] = [:]
        var sum: UInt64 = 0
        // Needs before notes, which lie where their needs lie.
        try connection.forEach(
            """
            SELECT id, kind, parent, created, visible, state, places, digest, checksum
            FROM record ORDER BY parent IS NOT NULL
            """
        ) { statement in
            var row = GuardedRow(row: statement)
            var placement = Placement()
            if let kind = Kind(rawValue: UInt32(truncatingIfNeeded: row.kind)), kind.isReference {
                placement.isReference = true
            } else if let parent = row.parent.flatMap({ RecordID(bytes: $0) }) {
                placement = placements[parent] ?? placement
            } else if let record = row.record {
                placement = record.state.placement
                if own.contains(record.id.replica) || !others.contains(record.id.replica) {
                    placement.device = enrolment.device
                }
                placements[record.id] = placement
            }
            row.places = enrolment.scope.places(of: placement)
            row.digest = row.record.map { $0.state.digest(of: $0.id) } ?? 0
            sum &+= row.share
            try connection.run(
                "UPDATE record SET places = ?, digest = ?, checksum = ? WHERE id = ?",
                .integer(Int(row.places.rawValue)), .bits(row.digest),
                .bits(row.expectedChecksum), .bytes(row.id))
        }
        try connection.run("UPDATE audit SET digest = ?", .bits(sum))
    }

    private static func readEnrolment(
        _ connection: Connection
    ) throws -> (device: Int64, scope: Scope)? {
        try connection.first("SELECT device, buckets FROM enrolment") { row in
            (row.integer(at: 0), try Scope(storedNames: row.bytes(at: 1)))
        }
    }
}

extension Scope {
    /// The buckets as the row `enrolment` has them: each name as a block.
    init(storedNames bytes: [UInt8]) throws {
        var reader = ByteReader(bytes)
        var buckets: [Bucket] = []
        while !reader.isAtEnd {
            if let bucket = Bucket(name: try reader.text()) { buckets.append(bucket) }
        }
        self.init(buckets)
    }
}

extension RecordState {
    /// Where a need lies, but for the device that recorded it, which only the hub knows.
    var placement: Placement {
        var placement = Placement(grid: text(NeedField.grid.rawValue))
        if let bytes = winner(NeedField.dispatch.rawValue)?.value,
            case .dispatch(let dispatch) = FieldValue(.dispatch, bytes: bytes)
        {
            placement.team = dispatch.team
        }
        return placement
    }
}
