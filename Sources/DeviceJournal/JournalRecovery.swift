import NeedModel
import SQLiteStore
import SyncCore
import WireFormat

// When the hub was put back to a backup, this journal holds what the hub has lost. It then first
// brings back every field that changed since, in the order in which the hub can take it (reference
// data, needs, notes), as far as a round trip carries; only then it sends what waits, and pulls
// everything anew. Where it stands is durable, and each step names the hub's own last answer, so a
// hub that is restored once more in between is noticed, and all is brought again.

/// The row `recovery`.
struct RecoveryRow: Equatable {
    /// The last sequence that the hub and this journal have in common.
    var shared: UInt64
    /// What the hub last said of itself.
    var confirmed: Position
    /// What was brought last; the order is by phase, then id.
    var phase: Int64
    var record: [UInt8]
    /// Records brought.
    var amount: Int
}

extension Journal {
    func readRecovery() throws -> RecoveryRow? {
        try connection.first(
            "SELECT shared, term, sequence, phase, record, amount FROM recovery"
        ) { row in
            RecoveryRow(
                shared: row.bits(at: 0),
                confirmed: Position(term: row.replica(at: 1), sequence: row.bits(at: 2)),
                phase: row.integer(at: 3), record: row.bytes(at: 4), amount: Int(row.integer(at: 5))
            )
        }
    }

    private func store(_ recovery: RecoveryRow) throws {
        try connection.run(
            "INSERT OR REPLACE INTO recovery VALUES (1, ?, ?, ?, ?, ?, ?)",
            .bits(recovery.shared), .bits(recovery.confirmed.term.rawValue),
            .bits(recovery.confirmed.sequence), .integer(recovery.phase), .bytes(recovery.record),
            .integer(recovery.amount))
    }

    /// Where the complete pulls ended, ascending, one position a term.
    private func readReached() throws -> [Position] {
        var result: [Position] = []
        for position in try connection.all(
            "SELECT term, sequence FROM reached ORDER BY sequence",
            read: { Position(term: $0.replica(at: 0), sequence: $0.bits(at: 1)) })
        where position.sequence > result.last?.sequence ?? 0 {
            result.append(position)
        }
        return result.suffix(Limits.reachedMax)
    }

    /// Remembers where a complete pull ended.
    func noteReached(_ cursor: Position) throws {
        guard cursor.sequence > 0 else { return }
        try connection.run(
            "INSERT OR REPLACE INTO reached VALUES (?, ?)", .bits(cursor.term.rawValue),
            .bits(cursor.sequence))
        try connection.run(
            """
            DELETE FROM reached WHERE term NOT IN
                (SELECT term FROM reached ORDER BY sequence DESC LIMIT ?)
            """, .integer(Limits.reachedMax))
    }

    /// Starts, or starts anew, to bring back what the hub has lost.
    ///
    /// - Returns: Whether the hub said something new.
    func beginRecovery(_ line: [TermLine.Entry], head: Position) throws -> Bool {
        let before = try readRecovery()
        let lost = LostPart(
            reached: try readReached(), line: TermLine(line), head: head.sequence)
        try store(
            RecoveryRow(
                shared: lost.shared, confirmed: head, phase: 0, record: [],
                amount: before?.amount ?? 0))
        try connection.run("DELETE FROM staging")
        try connection.run("UPDATE pull SET assignment = NULL, resume = x''")
        return before?.confirmed != head
    }

    /// What to send in a recovery; `nil` outside of one.
    func nextRecovery(bytesMax: Int) throws -> SyncRequest.Recovery? {
        guard let recovery = try readRecovery() else { return nil }
        var records: [PageRecord] = []
        var bytes = 0
        var versions = 0
        let statement = try connection.prepare(
            """
            SELECT id, kind, parent, created, visible, state, places, digest, checksum,
                CASE kind WHEN 1 THEN 1 WHEN 2 THEN 2 ELSE 0 END AS phase
            FROM record WHERE visible = 1 AND (phase > ?1 OR phase = ?1 AND id > ?2)
            ORDER BY phase, id
            """)
        try statement.bind(1, recovery.phase)
        try statement.bind(2, recovery.record)
        while try statement.step() {
            let guarded = GuardedRow(row: statement)
            // What the disk has altered is not brought to others.
            guard guarded.isSound, let row = guarded.record else { continue }
            let fields = row.state.fields.filter { entry in
                entry.value.contains { $0.sequence > recovery.shared }
            }
            if fields.isEmpty { continue }
            let record = PageRecord(bringing: row, fields: fields)
            versions += fields.values.reduce(0) { $0 + $1.count }
            bytes += row.state.bytes.count
            guard records.isEmpty || bytes <= bytesMax && versions <= Limits.changesPerBatchMax
            else { break }
            records.append(record)
        }
        return SyncRequest.Recovery(
            confirmed: recovery.confirmed, reached: try readReached(), records: records)
    }

    /// The hub has what a request brought.
    func advanceRecovery(past records: [PageRecord], confirmed: Position) throws {
        guard var recovery = try readRecovery(), let last = records.last else { return }
        recovery.confirmed = confirmed
        recovery.phase = last.kind == 1 ? 1 : last.kind == 2 ? 2 : 0
        recovery.record = last.id.bytes
        recovery.amount += records.count
        try store(recovery)
    }

    /// The pull that ends a recovery is complete.
    func endRecovery(isWhole: Bool, at milliseconds: Int64) throws {
        guard let recovery = try readRecovery() else { return }
        if isWhole {
            // Beyond it the places are those of a line that is no more.
            try connection.run(
                "DELETE FROM reached WHERE sequence > ?", .bits(recovery.shared))
            try storeNotice(.hubRestored, at: milliseconds, amount: recovery.amount)
        }
        try connection.run("DELETE FROM recovery")
    }
}

extension PageRecord {
    /// A record with its fields as they were sent to this device.
    fileprivate init(bringing row: RecordRow, fields: [UInt32: [RecordState.Version]]) {
        self.init(
            id: row.id, kind: row.kind, createdMilliseconds: row.created, contested: [], places: [],
            fields: fields.sorted { $0.key < $1.key }.map { field, versions in
                PageRecord.Field(
                    field: field,
                    versions: versions.map {
                        PageRecord.Version(
                            value: $0.value.map { .bytes($0) } ?? .cleared, stamp: $0.stamp,
                            sequence: $0.sequence)
                    })
            })
    }
}
