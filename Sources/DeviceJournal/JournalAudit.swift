import NeedModel
import SQLiteStore
import SyncCore
import WireFormat

// DESIGN.md §4 rule 17: does this journal hold what the hub holds?
//
// Each row of `record` has the digest of its live versions, in how many held buckets it counts, and
// a checksum of everything else in it. The sum over all rows is kept as rows change, so comparing
// it with a page's `scope_digest` costs nothing. It stands for what was stored; what a disk made of
// it is found by reading rows again, some with each pull and all with `check`.
//
// What differs is a **suspect**, and is fetched again, whole. A row that does not fit its checksum
// is one at once. When only the sums differ, the parts of the scope that differ are asked for, from
// buckets down to lists of records, each answer compared with the state of its own cursor.

/// The row `audit`.
struct AuditRow: Equatable {
    /// The sum over all visible rows, each as often as it lies in a held bucket.
    var digest: UInt64
    /// Rows up to this id were verified in the present pass; empty at its beginning.
    var walked: [UInt8]
    /// The sum over those.
    var walkedDigest: UInt64
    /// Parts to ask about, where something differs.
    var parts: [AuditPart]
    /// Whether the present difference was looked for already, without finding what to mend.
    var hasTried: Bool
    /// The difference, hub less journal, that could not be mended: as long as it stays the same it
    /// is not looked for again.
    var givenUp: UInt64?

    /// Whether a search goes on, beside suspects.
    var isSearching: Bool { !parts.isEmpty }

    /// Notes that a row's share of the sum changed.
    mutating func add(_ difference: UInt64, at id: [UInt8]) {
        digest &+= difference
        if !walked.isEmpty, !walked.lexicographicallyPrecedes(id) { walkedDigest &+= difference }
    }
}

/// A checksum against what disks do to rows: eight bytes a step, so that it costs next to nothing
/// beside storing them. Each step can be undone, so no single wrong word goes unnoticed.
struct RowChecksum {
    private(set) var value: UInt64 = 0x9e37_79b9_7f4a_7c15

    mutating func combine(_ word: UInt64) {
        value = (value ^ word) &* 0xff51_afd7_ed55_8ccd
        value ^= value >> 32
    }

    /// The bytes, and how many they are.
    mutating func combine(_ bytes: [UInt8]) {
        combine(UInt64(bytes.count))
        bytes.withUnsafeBytes { bytes in
            var offset = 0
            while offset + 8 <= bytes.count {
                combine(
                    UInt64(
                        littleEndian: bytes.loadUnaligned(
                            fromByteOffset: offset, as: UInt64.self)))
                offset += 8
            }
            var rest: UInt64 = 0
            for byte in bytes[offset...] { rest = rest << 8 | UInt64(byte) }
            combine(rest)
        }
    }
}

/// A row of `record` with what guards it.
struct GuardedRow: Equatable {
    var id: [UInt8]
    var kind: Int64
    var parent: [UInt8]?
    var created: Int64
    var isVisible: Bool
    var stateBytes: [UInt8]
    var places: HeldPlaces
    var digest: UInt64
    var checksum: UInt64

    /// Columns: id, kind, parent, created, visible, state, places, digest, checksum.
    init(row: borrowing Statement) {
        id = row.bytes(at: 0)
        kind = row.integer(at: 1)
        parent = row.optionalBytes(at: 2)
        created = row.integer(at: 3)
        isVisible = row.bool(at: 4)
        stateBytes = row.bytes(at: 5)
        places = HeldPlaces(rawValue: UInt8(truncatingIfNeeded: row.integer(at: 6)))
        digest = row.bits(at: 7)
        checksum = row.bits(at: 8)
    }

    /// Of a record as the hub sent it.
    ///
    /// - Parameter versions: All that are live; `record` need not list them all.
    init(_ record: PageRecord, versions: [PageRecord.FieldVersion], created: Int64) {
        id = record.id.bytes
        kind = Int64(record.kind)
        if record.kind == Kind.note.rawValue {
            let need = versions.first { $0.field == NoteField.need.rawValue }?.value.content
            parent = need.flatMap { RecordID(bytes: $0) }?.bytes
        }
        self.created = created
        places = record.places
        isVisible = true
        stateBytes = RecordState.bytes(contested: record.contested, versions)
        var sum = RecordDigest(of: record.id)
        for version in versions {
            sum.add(
                field: version.field, dot: version.stamp.dot, value: version.value.content)
        }
        digest = sum.value
        checksum = 0
        checksum = expectedChecksum
    }

    /// What the row adds to the sum.
    var share: UInt64 { isVisible ? digest &* places.count : 0 }

    /// Covers what the digest does not: stamps, sequences, kind, creation, places.
    var expectedChecksum: UInt64 {
        var sum = RowChecksum()
        sum.combine(id)
        sum.combine(UInt64(bitPattern: kind))
        sum.combine(parent ?? [])
        sum.combine(UInt64(bitPattern: created))
        sum.combine(UInt64(places.rawValue))
        sum.combine(stateBytes)
        return sum.value
    }

    /// `nil` when the id is none that a record can have.
    var recordID: RecordID? { RecordID(bytes: id).flatMap { $0.isWellFormed ? $0 : nil } }

    /// `nil` when the row does not decode.
    var record: RecordRow? {
        guard let id = RecordID(bytes: id), let state = try? RecordState(bytes: stateBytes) else {
            return nil
        }
        return RecordRow(
            id: id, kind: UInt32(truncatingIfNeeded: kind), created: created,
            isVisible: isVisible, state: state)
    }

    /// Whether the row is as it was stored, but for `visible`, which the hub's digests guard.
    var isSound: Bool { recordID != nil && checksum == expectedChecksum && record != nil }
}

extension RecordState {
    /// SPEC §9.
    func digest(of id: RecordID) -> UInt64 {
        var sum = RecordDigest(of: id)
        for (field, versions) in fields {
            for version in versions {
                sum.add(field: field, dot: version.stamp.dot, value: version.value)
            }
        }
        return sum.value
    }
}

/// What a check of the whole journal found.
package struct JournalCheck: Hashable, Sendable {
    /// What SQLite says of the file's structure, one line a finding. A sync does not mend that.
    package var fileFindings: [String]
    /// Rows that were read.
    package var recordCount: Int
    /// Records that are not as they were stored. The next sync fetches them again.
    package var damagedCount: Int
    /// Whether records vanished or appeared. The next sync finds out which.
    package var isCountOff: Bool
    /// Commands that wait or were refused, and are not as they were stored. The next sync sets
    /// those that wait aside, to be seen with what was refused.
    package var damagedCommandCount: Int

    package var isSound: Bool {
        fileFindings.isEmpty && damagedCount == 0 && !isCountOff && damagedCommandCount == 0
    }
}

// MARK: - Verifying rows

extension Journal {
    /// Looks for damage in the file, in every record and in every command that waits or was
    /// refused, and prepares the next sync to mend what was pulled.
    package func check() throws(JournalError) -> JournalCheck {
        let findings = try integrityCheck()
        return try storing {
            var audit = try readAudit()
            audit.givenUp = nil
            let walk = try verifyAll(&audit)
            if walk.isSumOff { audit.parts = [.scope] }
            try storeAudit(audit)
            return JournalCheck(
                fileFindings: findings, recordCount: walk.rowCount,
                damagedCount: try countSuspects(),
                // Also what was being looked for already and is not found yet.
                isCountOff: audit.isSearching,
                damagedCommandCount: try readDamagedGroups().count + countDamagedRefused())
        }
    }

    struct Walk {
        var rowCount = 0
        var damagedCount = 0
        /// A pass ended, and the rows do not add up to the sum that was kept: some vanished or
        /// appeared.
        var isSumOff = false
    }

    /// Verifies all rows in one pass; the sum is right afterwards.
    func verifyAll(_ audit: inout AuditRow) throws -> Walk {
        audit.walked = []
        audit.walkedDigest = 0
        return try verify(&audit, rowsMax: Int.max)
    }

    /// Verifies the next rows of a pass. What is damaged becomes a suspect, and counts in the sum
    /// as what it is now.
    func verify(_ audit: inout AuditRow, rowsMax: Int) throws -> Walk {
        var walk = Walk()
        while walk.rowCount < rowsMax {
            let limit = min(rowsMax - walk.rowCount, JournalLimits.rowsPerReadMax)
            let rows = try connection.all(
                """
                SELECT id, kind, parent, created, visible, state, places, digest, checksum
                FROM record WHERE id > ? ORDER BY id LIMIT ?
                """, .bytes(audit.walked), .integer(limit)
            ) { GuardedRow(row: $0) }
            for var row in rows {
                audit.walked = row.id
                try verify(&row, &audit, &walk)
                audit.walkedDigest &+= row.share
            }
            walk.rowCount += rows.count
            if rows.count < limit {
                walk.isSumOff = audit.walkedDigest != audit.digest
                audit.digest = audit.walkedDigest
                audit.walked = []
                audit.walkedDigest = 0
                break
            }
        }
        return walk
    }

    private func verify(
        _ row: inout GuardedRow, _ audit: inout AuditRow, _ walk: inout Walk
    ) throws {
        guard let id = row.recordID else {
            // No record has such an id, so there is nothing to fetch again, and nothing of it in
            // the sum.
            try connection.run("DELETE FROM record WHERE id = ?", .bytes(row.id))
            row.isVisible = false
            walk.damagedCount += 1
            return
        }
        let isStateAsStored = row.checksum == row.expectedChecksum
        let record = row.record
        // What has left is kept for own commands only, and comes whole should it return.
        if row.isVisible, !isStateAsStored || record == nil {
            if try suspect(id) { walk.damagedCount += 1 }
        }
        let actual = record?.state.digest(of: id) ?? 0
        guard actual != row.digest else { return }
        try connection.run(
            "UPDATE record SET digest = ? WHERE id = ?", .bits(actual), .bytes(row.id))
        let before = row.share
        row.digest = actual
        // Otherwise the sum has had the right digest all along.
        if !isStateAsStored { audit.digest &+= row.share &- before }
    }

    /// Notes that a record is to be fetched again.
    ///
    /// - Returns: Whether that is new.
    @discardableResult
    func suspect(_ id: RecordID) throws -> Bool {
        try connection.run("INSERT OR IGNORE INTO suspect VALUES (?)", .bytes(id.bytes))
        return connection.changes > 0
    }

    /// Forgets a suspect that the hub has sent.
    ///
    /// - Returns: Whether it was one.
    func clear(_ id: RecordID) throws -> Bool {
        try connection.run("DELETE FROM suspect WHERE record = ?", .bytes(id.bytes))
        return connection.changes > 0
    }

    func countSuspects() throws -> Int {
        try connection.first("SELECT count(*) FROM suspect") { Int($0.integer(at: 0)) } ?? 0
    }

    /// The row as it lies there, sound or not.
    func readGuarded(_ id: RecordID) throws -> GuardedRow? {
        try connection.first(
            """
            SELECT id, kind, parent, created, visible, state, places, digest, checksum
            FROM record WHERE id = ?
            """, .bytes(id.bytes)
        ) { GuardedRow(row: $0) }
    }
}

// MARK: - The row `audit`

extension Journal {
    func readAudit() throws -> AuditRow {
        let row = try connection.first(
            "SELECT digest, walked, walked_digest, parts, tried, given_up FROM audit"
        ) { row in
            AuditRow(
                digest: row.bits(at: 0), walked: row.bytes(at: 1), walkedDigest: row.bits(at: 2),
                // What to ask is found anew; an altered list must not keep the journal from syncing.
                parts: (try? Self.parts(row.bytes(at: 3))) ?? [.scope], hasTried: row.bool(at: 4),
                givenUp: row.optionalInteger(at: 5).map { UInt64(bitPattern: $0) })
        }
        guard let row else { throw ByteCodingError.truncated }
        return row
    }

    func storeAudit(_ audit: AuditRow) throws {
        var parts = ByteWriter()
        for part in audit.parts {
            parts.put(part.bucket.map { $0 + 1 } ?? 0)
            parts.put(block: part.prefix)
        }
        try connection.run(
            """
            UPDATE audit SET digest = ?, walked = ?, walked_digest = ?, parts = ?, tried = ?,
                given_up = ?
            """,
            .bits(audit.digest), .bytes(audit.walked), .bits(audit.walkedDigest),
            .bytes(parts.bytes), .bool(audit.hasTried),
            SQLValue(audit.givenUp.map { Int64(bitPattern: $0) }))
    }

    private static func parts(_ bytes: [UInt8]) throws -> [AuditPart] {
        var reader = ByteReader(bytes)
        var parts: [AuditPart] = []
        while !reader.isAtEnd {
            let bucket = Int(clamping: try reader.number())
            parts.append(
                AuditPart(bucket: bucket == 0 ? nil : bucket - 1, prefix: try reader.block()))
        }
        return parts
    }

    /// What to ask with the next request; `nil` as long as nothing differs.
    func nextAudit() throws -> AuditRequest? {
        let parts = try readAudit().parts.prefix(Limits.auditPartsMax)
        let suspects = try connection.all(
            "SELECT record FROM suspect ORDER BY record LIMIT ?",
            .integer(Limits.refetchedRecordsMax)
        ) { try $0.record(at: 0) }
        if parts.isEmpty && suspects.isEmpty { return nil }
        return AuditRequest(parts: Array(parts), refetch: suspects)
    }
}

// MARK: - Comparing with the hub

extension Journal {
    /// What was asked, what was answered, and what became of it so far in this transaction.
    struct AuditProgress {
        var asked: AuditRequest?
        /// The pull's last page.
        var last: Page
        /// Suspects that came again.
        var clearedCount = 0
        /// Of those, what was not the same as here.
        var mendedCount = 0
        var isScopeChanged = false
    }

    /// Compares the state of a pull that is complete with the hub's, and decides what to ask next.
    ///
    /// - Returns: Whether the same sync should go on to ask.
    func compare(
        _ audit: inout AuditRow, _ progress: AuditProgress, at milliseconds: Int64
    ) throws -> Bool {
        let before = audit.parts
        if progress.mendedCount > 0 {
            // Another look is worth while: not all that differs need have been in one list.
            audit.hasTried = false
            try storeNotice(.mended, at: milliseconds, amount: progress.mendedCount)
        }
        if progress.isScopeChanged, audit.isSearching { audit.parts = [.scope] }
        if try verify(&audit, rowsMax: JournalLimits.rowsVerifiedPerPull).isSumOff,
            !audit.isSearching
        {
            audit.parts = [.scope]
            audit.hasTried = true
        }
        if let digest = progress.last.scopeDigest {
            try compare(&audit, with: digest, progress, at: milliseconds)
        }
        let isPending = try audit.isSearching || countSuspects() > 0
        // A hub that does not answer is not asked again in this sync.
        let isMoving =
            progress.asked == nil || progress.clearedCount > 0 || audit.parts != before
        return isPending && isMoving
    }

    private func compare(
        _ audit: inout AuditRow, with digest: UInt64, _ progress: AuditProgress,
        at milliseconds: Int64
    ) throws {
        if digest == audit.digest {
            audit.parts = []
            audit.hasTried = false
            audit.givenUp = nil
            return
        }
        let findings = progress.last.findings
        if audit.isSearching, !findings.isEmpty {
            let index = try LocalIndex(self)
            for finding in findings {
                guard let position = audit.parts.firstIndex(of: finding.part) else { continue }
                audit.parts.remove(at: position)
                try narrow(finding, index, into: &audit.parts)
            }
            audit.parts = Array(audit.parts.prefix(JournalLimits.auditPartsMax))
        }
        // Suspects first: with them here, there may be no difference any more.
        guard !audit.isSearching, try countSuspects() == 0 else { return }
        if audit.hasTried {
            audit.hasTried = false
            audit.givenUp = digest &- audit.digest
            try storeNotice(.differs, at: milliseconds, amount: 1)
            return
        }
        guard digest &- audit.digest != audit.givenUp else { return }
        // Perhaps it is all here, and only the sum was wrong; or the rows themselves show it.
        _ = try verifyAll(&audit)
        guard digest != audit.digest else { return }
        audit.hasTried = true
        if try countSuspects() == 0 { audit.parts = [.scope] }
    }

    /// Compares what the hub has in a part with what is here.
    private func narrow(
        _ finding: AuditFinding, _ index: LocalIndex, into parts: inout [AuditPart]
    ) throws {
        switch (finding.part.bucket, finding.content) {
        case (nil, .digests(let digests)):
            guard digests.count == index.scope.buckets.count else { return }
            let own = index.digestsOfBuckets()
            for bucket in digests.indices where digests[bucket] != own[bucket] {
                parts.append(AuditPart(bucket: bucket))
            }
            // Every bucket is right and the sum is not: something counts where it cannot lie.
            if parts.isEmpty { for id in index.misplaced() { try suspect(id) } }
        case (let bucket?, .digests(let digests)):
            guard digests.count == 256,
                finding.part.prefix.count < Limits.auditPrefixBytesMax
            else { return }
            let own = index.digests(dividing: finding.part)
            for byte in digests.indices where digests[byte] != own[byte] {
                parts.append(
                    AuditPart(bucket: bucket, prefix: finding.part.prefix + [UInt8(byte)]))
            }
        case (let bucket?, .records(let records)):
            var unlisted = index.records(in: finding.part)
            for record in records {
                unlisted.remove(record.id)
                if !index.holds(record, inBucket: bucket) { try suspect(record.id) }
            }
            for id in unlisted { try suspect(id) }
        case (nil, .records): return
        }
    }
}

/// All that is shown, by bucket, for one comparison.
private struct LocalIndex {
    struct Entry {
        var id: RecordID
        var hash: UInt64
        var digest: UInt64
        var places: HeldPlaces
        /// Indexes in the scope.
        var buckets: [Int]
    }

    let scope: Scope
    private var entries: [Entry] = []
    private var positions: [RecordID: Int] = [:]

    init(_ journal: Journal) throws {
        scope = try journal.readScope()
        let indexes = Dictionary(
            uniqueKeysWithValues: scope.buckets.enumerated().map { ($0.element, $0.offset) })
        let team = scope.buckets.firstIndex { if case .team = $0 { true } else { false } }
        let recorder = scope.buckets.firstIndex {
            if case .recordedBy = $0 { true } else { false }
        }
        var grids: [RecordID: Int] = [:]
        var notes: [(position: Int, need: RecordID)] = []
        try journal.connection.forEach(
            """
            SELECT id, kind, parent, created, visible, state, places, digest, checksum
            FROM record WHERE visible = 1
            """
        ) { statement in
            let row = GuardedRow(row: statement)
            guard let id = row.recordID else { return }
            var entry = Entry(
                id: id, hash: BucketDigest.hash(of: id), digest: row.digest, places: row.places,
                buckets: [])
            if row.places.contains(.reference), let index = indexes[.reference] {
                entry.buckets.append(index)
            }
            if row.places.contains(.recorder), let recorder { entry.buckets.append(recorder) }
            if row.places.contains(.team), let team { entry.buckets.append(team) }
            if row.kind == Int64(Kind.need.rawValue),
                let grid = row.record?.state.text(NeedField.grid.rawValue),
                let index = indexes[.grid(grid)]
            {
                grids[id] = index
                if row.places.contains(.grid) { entry.buckets.append(index) }
            } else if row.places.contains(.grid),
                let need = row.parent.flatMap({ RecordID(bytes: $0) })
            {
                notes.append((entries.count, need))
            }
            positions[id] = entries.count
            entries.append(entry)
        }
        // A note lies where its need lies.
        for note in notes {
            if let index = grids[note.need] { entries[note.position].buckets.append(index) }
        }
    }

    func digestsOfBuckets() -> [UInt64] {
        var sums = [UInt64](repeating: 0, count: scope.buckets.count)
        for entry in entries {
            for bucket in entry.buckets { sums[bucket] &+= entry.digest }
        }
        return sums
    }

    /// What is said to lie in buckets that the device does not hold.
    func misplaced() -> [RecordID] {
        entries.filter { UInt64($0.buckets.count) != $0.places.count }.map(\.id)
    }

    private func isIn(_ entry: Entry, _ part: AuditPart) -> Bool {
        guard let bucket = part.bucket else { return true }
        return entry.buckets.contains(bucket) && entry.hash.begins(with: part.prefix)
    }

    func digests(dividing part: AuditPart) -> [UInt64] {
        var sums = [UInt64](repeating: 0, count: 256)
        for entry in entries where isIn(entry, part) {
            sums[Int(entry.hash.byte(part.prefix.count))] &+= entry.digest
        }
        return sums
    }

    func records(in part: AuditPart) -> Set<RecordID> {
        Set(entries.lazy.filter { isIn($0, part) }.map(\.id))
    }

    /// Whether a record is here as the hub has it.
    func holds(_ record: AuditFinding.Record, inBucket bucket: Int) -> Bool {
        guard let position = positions[record.id], scope.buckets.indices.contains(bucket),
            entries[position].digest == record.digest
        else { return false }
        let place: HeldPlaces =
            switch scope.buckets[bucket] {
            case .reference: .reference
            case .recordedBy: .recorder
            case .team: .team
            case .grid: .grid
            }
        return entries[position].places.contains(place)
    }
}
