import DeviceJournal
import HubLedger
import NeedModel
import SQLiteStore
import SimulatedDisk
import SyncCore
import WireFormat

/// Invariant 18: equal digests mean equal states, and what a disk altered is found and fetched
/// again, it alone.
struct DigestChecker {
    /// By the answer's attempt and cursor: the sum of the digests of the device's buckets at the
    /// moment the last page was served.
    private var expected: [Key: UInt64] = [:]
    private var order: [Key] = []
    /// Where each note belongs: it follows its need, also wrongly when that was altered.
    private var needs: [RecordID: RecordID] = [:]

    private struct Key: Hashable {
        var attempt: UInt32
        var cursor: Position
    }

    /// Whether a record was altered on a disk, or belongs to one that was.
    func isTainted(_ id: RecordID, _ altered: Set<RecordID>) -> Bool {
        altered.contains(id) || needs[id].map { altered.contains($0) } ?? false
    }

    mutating func noteServed(
        _ answer: SyncAnswer, to request: SyncRequest, records: [KnownRecord],
        holding: RightfulHolding, device: SimulatedDevice, isHealing: Bool
    ) throws {
        for record in records { if let need = record.need { needs[record.id] = need } }
        guard let page = answer.page else { return }
        guard let cursor = page.cursor else {
            if page.scopeDigest != nil || !page.findings.isEmpty {
                throw Violation(invariant: 18, what: "a digest before the end of a pull")
            }
            return
        }
        if isHealing, let refetch = request.audit?.refetch {
            // No answer is lost any more, so each is sent once.
            device.refetchedCount +=
                refetch.count { id in
                    page.departed.contains(id)
                        || page.records.contains { $0.id == id && $0.createdMilliseconds != nil }
                }
        }
        if let digest = page.scopeDigest, digest != holding.digest {
            throw Violation(invariant: 18, what: "\(device.name) is told a wrong digest")
        }
        if page.scopeDigest == nil, !page.records.isEmpty || !page.departed.isEmpty {
            throw Violation(invariant: 18, what: "\(device.name) is told no digest")
        }
        let key = Key(attempt: answer.attempt, cursor: cursor)
        expected[key] = holding.digest
        order.append(key)
        if order.count > 50 { expected[order.removeFirst()] = nil }
    }

    /// Nothing is asked for again but what a disk altered.
    func checkRequest(_ request: SyncRequest, device: SimulatedDevice) throws {
        for id in request.audit?.refetch ?? [] where !isTainted(id, device.everAltered) {
            throw Violation(
                invariant: 18, what: "\(device.name) asks for \(id) again, which nothing altered")
        }
    }

    /// After a complete pull.
    ///
    /// - Parameter areEqual: Whether the journal's state is the ledger's, but for what was altered.
    func checkAbsorbed(
        _ answer: SyncAnswer, _ inspection: JournalInspection, areEqual: Bool,
        device: SimulatedDevice
    ) throws {
        guard let cursor = answer.page?.cursor,
            let expected = expected[Key(attempt: answer.attempt, cursor: cursor)]
        else { return }
        let sum = inspection.sumOfRecords
        let isWhole = areEqual && sum == expected && inspection.suspects.isEmpty
        if device.altered.isEmpty {
            guard isWhole, inspection.scopeDigest == expected else {
                throw Violation(
                    invariant: 18, what: "\(device.name) has another digest, and nothing differs")
            }
        } else if isWhole, inspection.scopeDigest == expected {
            device.altered = []
        }
    }

    func checkAtRest(
        _ inspection: JournalInspection, holding: RightfulHolding, device: SimulatedDevice,
        wasRestored: Bool
    ) throws {
        let sum = holding.digest
        guard inspection.sumOfRecords == sum, inspection.scopeDigest == sum,
            inspection.suspects.isEmpty
        else {
            throw Violation(
                invariant: 18,
                what:
                    "\(device.name) is not mended at rest: \(inspection.suspects.count) suspects, "
                    + "sum \(inspection.scopeDigest == sum), rows \(inspection.sumOfRecords == sum)"
            )
        }
        // After a restore of the hub everything came anew, what was altered with it.
        if wasRestored { return }
        // A need that is fetched again may show that its notes were misplaced with it.
        let bound =
            device.everAltered.count
            + needs.count { device.everAltered.contains($0.value) }
        guard device.refetchedCount <= bound else {
            throw Violation(
                invariant: 18, what: "\(device.name) fetched more again than was altered")
        }
    }
}

extension SimulatedDevice {
    /// A row of the journal's table of records, as a disk may bring it back.
    struct OldRow {
        var id: RecordID
        var values: [SQLValue]
    }

    /// Alters, deletes or brings back one record behind the journal's back; the journal is closed.
    ///
    /// - Returns: What was done, `nil` when there is nothing to alter.
    func alterRecord(_ chance: Chance) throws -> String? {
        let connection = try Connection(
            path: Self.path, mode: .readWrite, busyTimeoutMilliseconds: 0, vfs: disk.vfsName)
        let ids = try connection.all("SELECT id FROM record ORDER BY id") {
            RecordID(bytes: $0.bytes(at: 0))
        }.compactMap { $0 }
        guard let id = chance.choose(ids) else { return nil }
        let state =
            try connection.first("SELECT state FROM record WHERE id = ?", .bytes(id.bytes)) {
                $0.bytes(at: 0)
            } ?? []
        var what: String
        switch chance.below(7) {
        case 0, 1:
            var bytes = state
            if !bytes.isEmpty { bytes[chance.below(bytes.count)] ^= 1 << UInt8(chance.below(8)) }
            try connection.run(
                "UPDATE record SET state = ? WHERE id = ?", .bytes(bytes), .bytes(id.bytes))
            what = "a bit flips in"
        case 2:
            try connection.run("DELETE FROM record WHERE id = ?", .bytes(id.bytes))
            what = "vanishes:"
        case 3:
            try connection.run(
                "UPDATE record SET state = ? WHERE id = ?",
                .bytes(Array(state.prefix(chance.below(state.count + 1)))), .bytes(id.bytes))
            what = "is cut off:"
        case 4:
            let copy = RecordID(
                milliseconds: id.milliseconds, replica: ReplicaID(truncating: chance.next()),
                number: 1)
            try connection.run(
                """
                INSERT OR IGNORE INTO record
                SELECT ?, kind, parent, created, visible, state, places, digest, checksum
                FROM record WHERE id = ?
                """, .bytes(copy.bytes), .bytes(id.bytes))
            altered.insert(copy)
            everAltered.insert(copy)
            what = "comes twice:"
        case 5:
            try connection.run(
                "UPDATE record SET places = ? WHERE id = ?", .integer(chance.below(16)),
                .bytes(id.bytes))
            what = "moves elsewhere:"
        default:
            guard let old = oldRow else {
                oldRow = try connection.first(
                    """
                    SELECT kind, parent, created, visible, state, places, digest, checksum
                    FROM record WHERE id = ?
                    """, .bytes(id.bytes)
                ) { row in
                    OldRow(
                        id: id,
                        values: [
                            .integer(row.integer(at: 0)), SQLValue(row.optionalBytes(at: 1)),
                            .integer(row.integer(at: 2)), .integer(row.integer(at: 3)),
                            .bytes(row.bytes(at: 4)), .integer(row.integer(at: 5)),
                            .integer(row.integer(at: 6)), .integer(row.integer(at: 7)),
                        ])
                }
                return nil
            }
            oldRow = nil
            let statement = try connection.prepare(
                "INSERT OR REPLACE INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
            try statement.bind([.bytes(old.id.bytes)] + old.values)
            try statement.run()
            altered.insert(old.id)
            everAltered.insert(old.id)
            staleRows.insert(old.id)
            return "comes back: \(old.id.digits.suffix(6))"
        }
        altered.insert(id)
        everAltered.insert(id)
        return "\(what) \(id.digits.suffix(6))"
    }
}
