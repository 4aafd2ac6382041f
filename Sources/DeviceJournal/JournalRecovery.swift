import NeedModel
import SQLiteStore
import SyncCore
import WireFormat

// When the hub was put back to a backup, this journal holds what the hub has lost. It then first
// brings back every field that changed since, in the order in which the hub can take it (reference
// data, needs, notes), as far as a round trip carries; only then it sends what waits, and pulls
// everything anew. Where it stands is durable, and each step names the hub's own last answer, so a
// hub that is restored once more in between is noticed, and all is brought again.
//
// The hub says nothing of what it passes over. What did not come back with the pull that ends a
// recovery is therefore kept in the list of what was refused, where a person decides.

/// The row `recovery`.
struct RecoveryRow: Equatable {
    /// The last sequence that the hub and this journal have in common.
    var shared: UInt64
    /// Of the pull that says so; none when nothing is shared.
    var sharedTerm: TermID
    /// What the hub last said of itself.
    var confirmed: Position
    /// What was brought last; the order is by ``place(of:)`` of the kind, then id.
    var kind: Int64
    var record: [UInt8]
    /// Records brought.
    var amount: Int

    /// Reference data first, then needs, then notes, so that what a record names is there already.
    static func place(of kind: Int64) -> Int64 {
        switch Kind(rawValue: UInt32(truncatingIfNeeded: kind)) {
        case .need: .max - 1
        case .note: .max
        case .territory, .team, .category, nil: kind
        }
    }
}

extension Journal {
    func readRecovery() throws -> RecoveryRow? {
        try connection.first(
            "SELECT shared, term, sequence, kind, record, amount, shared_term FROM recovery"
        ) { row in
            RecoveryRow(
                shared: row.bits(at: 0), sharedTerm: row.replica(at: 6),
                confirmed: Position(term: row.replica(at: 1), sequence: row.bits(at: 2)),
                kind: row.integer(at: 3), record: row.bytes(at: 4), amount: Int(row.integer(at: 5))
            )
        }
    }

    private func store(_ recovery: RecoveryRow) throws {
        try connection.run(
            "INSERT OR REPLACE INTO recovery VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
            .bits(recovery.shared), .bits(recovery.confirmed.term.rawValue),
            .bits(recovery.confirmed.sequence), .integer(recovery.kind), .bytes(recovery.record),
            .integer(recovery.amount), .bits(recovery.sharedTerm.rawValue))
    }

    /// Where the complete pulls ended, ascending, one position a term; the last is the cursor,
    /// also where a disk has altered either.
    private func readReached() throws -> [Position] {
        let cursor = try readPull().cursor
        var result: [Position] = []
        for position in try connection.all(
            "SELECT term, sequence FROM reached ORDER BY sequence",
            read: { Position(term: $0.replica(at: 0), sequence: $0.bits(at: 1)) })
        where position.sequence > result.last?.sequence ?? 0
            && position.sequence < cursor.sequence && position.term != cursor.term
        {
            result.append(position)
        }
        if cursor.sequence > 0 { result.append(cursor) }
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
                shared: lost.shared, sharedTerm: lost.kept.last?.term ?? .none,
                confirmed: head, kind: 0, record: [], amount: before?.amount ?? 0))
        try dropStaging()
        try unsettle(readWriter().replica)
        return before?.confirmed != head
    }

    /// What to send in a recovery; `nil` outside of one.
    func nextRecovery(bytesMax: Int) throws -> SyncRequest.Recovery? {
        guard let recovery = try readRecovery() else { return nil }
        var records: [PageRecord] = []
        var named: Set<RecordID> = []
        var bytes = 0
        var versions = 0
        let kinds = try connection.all("SELECT DISTINCT kind FROM record") { $0.integer(at: 0) }
            .sorted { RecoveryRow.place(of: $0) < RecoveryRow.place(of: $1) }
            .drop { RecoveryRow.place(of: $0) < RecoveryRow.place(of: recovery.kind) }
        search: for kind in kinds {
            let statement = try connection.prepare(
                """
                SELECT id, kind, parent, created, visible, state, places, digest, checksum
                FROM record WHERE visible = 1 AND kind = ? AND id > ? ORDER BY id
                """)
            try statement.bind(1, kind)
            try statement.bind(2, kind == recovery.kind ? recovery.record : [])
            while try statement.step() {
                let guarded = GuardedRow(row: statement)
                // What the disk has altered is not brought to others.
                guard guarded.isSound, let row = guarded.record else { continue }
                let fields = row.state.fieldsToBring(beyond: recovery.shared)
                if fields.isEmpty { continue }
                // By an index that the disk has altered a row may come twice, and the hub would
                // refuse the whole request for that.
                guard named.insert(row.id).inserted else { continue }
                let record = PageRecord(bringing: row, fields: fields)
                versions += fields.reduce(0) { $0 + $1.value.count }
                bytes += row.state.bytes.count
                guard records.isEmpty || bytes <= bytesMax && versions <= Limits.changesPerBatchMax
                else { break search }
                records.append(record)
            }
        }
        return SyncRequest.Recovery(
            confirmed: recovery.confirmed, reached: try readReached(), records: records)
    }

    /// The hub has what a request brought.
    func advanceRecovery(past records: [PageRecord], confirmed: Position) throws {
        guard var recovery = try readRecovery(), let last = records.last else { return }
        recovery.confirmed = confirmed
        recovery.kind = Int64(last.kind)
        recovery.record = last.id.bytes
        recovery.amount += records.count
        try store(recovery)
    }

    /// The pull that ends a recovery is complete.
    ///
    /// - Parameter keptCount: Records of which something did not come back.
    func endRecovery(isWhole: Bool, keptCount: Int, at milliseconds: Int64) throws {
        guard let recovery = try readRecovery() else { return }
        if isWhole {
            // Beyond it the places are those of a line that is no more. Where it was left stays, or
            // the same backup put there again would seem to share only what an older pull had.
            try connection.run(
                "DELETE FROM reached WHERE sequence > ?", .bits(recovery.shared))
            if recovery.sharedTerm != .none {
                try noteReached(
                    Position(term: recovery.sharedTerm, sequence: recovery.shared))
            }
            if keptCount > 0 {
                try storeNotice(.notTakenBack, at: milliseconds, amount: keptCount)
            }
            try storeNotice(.hubRestored, at: milliseconds, amount: recovery.amount)
        }
        try connection.run("DELETE FROM recovery")
    }

    /// Keeps among what was refused what the hub was brought of a record and did not take.
    ///
    /// Only what the person's role may write: the list is for doing it anew, and the hub would refuse
    /// the whole command for one field that others write.
    ///
    /// - Parameters:
    ///   - held: The row as it was before the pull, visible then.
    ///   - state: What came of it; `nil` when nothing did.
    ///   - role: Of this device's person.
    /// - Returns: Whether there was anything.
    func keepWhatDidNotReturn(
        of held: GuardedRow, in state: RecordState?, _ recovery: RecoveryRow, role: Role?,
        at milliseconds: Int64
    ) throws -> Bool {
        // Reference data is the operator's, and is left out by the hub where it was imported anew.
        guard let row = held.record else { return false }
        let kind = Kind(rawValue: row.kind)
        if kind?.isReference == true { return false }
        func isForeign(_ field: UInt32) -> Bool {
            guard let kind, let role else { return false }
            return !role.mayWrite(kind, field: field)
        }
        let lost = row.state.lost(beyond: recovery.shared, in: state)
            .map { changes in changes.filter { !isForeign($0.change.field) } }
            .filter { !$0.isEmpty }
        guard !lost.isEmpty else { return false }
        // What the disk had altered was not brought, and is for the person to look at.
        let code = held.isSound ? RefusedGroup.notTakenBackCode : RefusedGroup.damagedCode
        let isNew = row.state.fields.values.joined().allSatisfy { $0.sequence > recovery.shared }
        let mayCreate = kind.map { role?.mayCreate($0) ?? true } ?? true
        for (number, changes) in lost.enumerated() {
            let isCreation = number == 0 && state == nil && isNew && mayCreate
            let newest = changes.map(\.stamp.milliseconds).max() ?? 0
            try storeRefused(
                row.id,
                GroupContent(
                    createdKind: isCreation ? row.kind : nil, base: .origin,
                    written: ClockReading(
                        wallMilliseconds: newest, boot: 0, elapsedMilliseconds: 0),
                    changes: changes.map(\.change)),
                code: code, field: 0, reason: "it did not come back from the restored server",
                at: milliseconds)
        }
        return true
    }
}

extension RecordState {
    /// The fields that changed beyond what is shared, and with them those that tell which versions
    /// had not seen each other.
    fileprivate func fieldsToBring(beyond shared: UInt64) -> FieldMap<[Version]> {
        func isLost(_ versions: [Version]) -> Bool { versions.contains { $0.sequence > shared } }
        guard fields.values.contains(where: isLost) else { return FieldMap() }
        let telling = NeedConflicts.fieldsThatTell(
            contested: contested, hasLate: fields[LateAnswers.field] != nil)
        return fields.filter { isLost($0.value) || telling.contains($0.key) }
    }

    typealias Lost = (change: Change, stamp: Stamp)

    /// What was brought of a record and did not come back, as commands: the winners, then what
    /// stood beside them.
    ///
    /// A version that is gone from a field into which a new one came is taken as covered by it.
    fileprivate func lost(beyond shared: UInt64, in other: RecordState?) -> [[Lost]] {
        let returned = Set(other?.fields.values.joined().map(\.stamp.dot) ?? [])
        var commands: [[Lost]] = []
        var late: [[Lost]] = []
        for (field, versions) in fields {
            let now = other?.fields[field] ?? []
            let known = Set(versions.map(\.stamp.dot))
            if now.contains(where: { !known.contains($0.stamp.dot) }) { continue }
            let lost = versions.filter { version in
                version.sequence > shared && !returned.contains(version.stamp.dot)
                    && !now.contains { $0.value == version.value }
            }
            if field == LateAnswers.field {
                // The hub makes this register out of others, and no device may write it.
                if other != nil { continue }
                late += lost.compactMap { version in
                    guard let value = version.value, let source = value.first else { return nil }
                    let change = Change(field: UInt32(source), value: Array(value.dropFirst()))
                    return [(change, version.stamp)]
                }
                continue
            }
            for (index, version) in lost.enumerated() {
                if index == commands.count { commands.append([]) }
                commands[index].append(
                    (Change(field: field, value: version.value), version.stamp))
            }
        }
        return commands + late
    }
}

extension PageRecord {
    /// Of more versions than may be brought at once, which nobody writes by hand, the winner, the
    /// one with the least sequence, which tells what all had seen, and those with the greatest,
    /// which the hub has lost.
    private static func bringable(
        _ versions: [RecordState.Version]
    ) -> [RecordState.Version] {
        guard versions.count > Limits.broughtVersionsPerFieldMax else { return versions }
        let rest = versions.indices.dropFirst()
            .sorted { versions[$0].sequence < versions[$1].sequence }
        let brought = [0, rest[0]] + rest.suffix(Limits.broughtVersionsPerFieldMax - 2)
        return brought.sorted().map { versions[$0] }
    }

    /// A record with its fields as they were sent to this device.
    fileprivate init(bringing row: RecordRow, fields: FieldMap<[RecordState.Version]>) {
        self.init(
            id: row.id, kind: row.kind, createdMilliseconds: row.created,
            contested: row.state.contested.filter { fields[$0] != nil }, places: [],
            fields: fields.map { field, versions in
                PageRecord.Field(
                    field: field,
                    versions: Self.bringable(versions).map {
                        PageRecord.Version(
                            value: $0.value.map { .bytes($0) } ?? .cleared, stamp: $0.stamp,
                            sequence: $0.sequence)
                    })
            })
    }
}
