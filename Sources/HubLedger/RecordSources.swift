import NeedModel
import SyncCore

/// Compares records with the batches in which their live versions came.
///
/// A record's row is what devices are served. Digests say whether its dots and values are those
/// that were once stored, but neither its stamps and places nor, in the row itself, which of both
/// is right. A batch is written once, has a checksum of its own, and tells all of it.
final class RecordSources {
    enum Verdict {
        case sound
        /// Something of it is not what was admitted.
        case altered
        /// A batch that tells of it is damaged itself.
        case unknown
    }

    private struct Unreadable: Error {}

    /// A batch as it was admitted, without what was refused.
    private struct Decoded {
        var number: Int64
        var sequences: ClosedRange<UInt64>
        var groups: [(group: ChangeGroup, outcome: StoredOutcome, clock: ShortClock)]
        var brought: [BroughtChange]
        var writer: ReplicaID
    }

    /// One admitted change.
    private struct Admitted {
        var record: RecordID
        /// Of the record, where this is the first change of it or was brought back.
        var kind: UInt32?
        /// The stamp of the record's creation, where this is the first change of it.
        var createdMilliseconds: Int64?
        var field: UInt32
        var version: Version
    }

    /// What the writers of a record's versions had seen, by its batches.
    private struct Seen {
        var bases: Set<UInt64> = []
        var entries: Set<Dot> = []
    }

    private let storage: any LedgerStorage
    private let terms: TermLine
    /// The last ones asked for, newest first: records that lie side by side came together.
    private var batches: [Decoded] = []
    // Of the records that were prepared for.
    private var prepared: Set<RecordID> = []
    private var changes: [UInt64: Result<Admitted?, Unreadable>] = [:]
    private var seen: [RecordID: Result<Seen, Unreadable>] = [:]
    /// The first sequences of the records that were found to be other than admitted.
    private(set) var alteredRecords: Set<UInt64> = []

    /// - Parameter terms: The ledger's.
    init(storage: any LedgerStorage, terms: TermLine) {
        self.storage = storage
        self.terms = terms
    }

    /// Reads what the batches say of some records that will be asked for, in the order of the
    /// batches: whoever spreads the versions of many records over many large batches would
    /// otherwise have all of these read again for each record.
    func prepare(for records: [StoredRecord]) throws {
        prepared = Set(records.map(\.id))
        changes.removeAll()
        seen.removeAll()
        var sequences = Set(records.map(\.firstSequence))
        for record in records { sequences.formUnion(record.state.versions.map(\.sequence)) }
        for sequence in sequences.sorted() {
            changes[sequence] = try result { try readChange(at: sequence) }
        }
        var recordsByBatch: [Int64: Set<RecordID>] = [:]
        for record in records where hasSeenMore(record) {
            seen[record.id] = .success(Seen())
            var numbers = try storage.historyBatches(of: record.key)
            numbers += try storage.broughtBatches(of: record.key)
            if let first = try storage.batch(holding: record.firstSequence) {
                numbers.append(first.number)
            }
            for number in numbers { recordsByBatch[number, default: []].insert(record.id) }
        }
        for (number, ids) in recordsByBatch.sorted(by: { $0.key < $1.key }) {
            switch try result({ try batch(number: number) }) {
            case .success(let batch): note(batch, of: ids)
            case .failure(let error): for id in ids { seen[id] = .failure(error) }
            }
        }
    }

    private func result<Value>(_ body: () throws -> Value) throws -> Result<Value, Unreadable> {
        do {
            return .success(try body())
        } catch let error as Unreadable {
            return .failure(error)
        }
    }

    private func note(_ batch: Decoded, of ids: Set<RecordID>) {
        func note(_ id: RecordID, _ body: (inout Seen) -> Void) {
            guard ids.contains(id), case .success(var known) = seen[id] else { return }
            // Taken out while it changes, so that nothing of it is copied.
            seen[id] = nil
            body(&known)
            seen[id] = .success(known)
        }
        for entry in batch.groups {
            note(entry.group.record) {
                $0.bases.insert(entry.clock.base)
                $0.entries.formUnion(entry.clock.ancestors)
                // A base that named nobody's replica as its term, which is somebody's by now.
                $0.entries.insert(Dot(entry.group.base.term, entry.group.base.sequence))
            }
        }
        for change in batch.brought {
            note(change.record) {
                $0.bases.insert(change.version.clock.base)
                $0.entries.formUnion(change.version.clock.ancestors)
            }
        }
    }

    /// Whether a version is said to have seen more than its batch says.
    private func hasSeenMore(_ record: StoredRecord) -> Bool {
        record.state.versions.contains { version in
            guard case .success(let admitted?) = changes[version.sequence] else { return false }
            let clock = record.state.contexts[Int(version.context)].clock
            return Self.inOrder(clock) != Self.inOrder(admitted.version.clock)
        }
    }

    private static func inOrder(_ clock: ShortClock) -> ShortClock {
        ShortClock(base: clock.base, ancestors: clock.ancestors.sorted())
    }

    func verdict(of record: StoredRecord) throws -> Verdict {
        if !prepared.contains(record.id) { try prepare(for: [record]) }
        do {
            return try isAsAdmitted(record) ? .sound : .altered
        } catch is Unreadable {
            return .unknown
        }
    }

    /// Whether a record can be sent to somebody who holds it otherwise; remembers those that
    /// cannot.
    func vouches(for record: StoredRecord) throws -> Bool {
        guard case .sound = try verdict(of: record), try isInItsPlace(record) else {
            alteredRecords.insert(record.firstSequence)
            return false
        }
        return true
    }

    /// Remembers a record that cannot even be read.
    func withhold(_ firstSequence: UInt64) { alteredRecords.insert(firstSequence) }

    /// Whether a record that is as it was admitted lies where it says, and its recorder's batch.
    private func isInItsPlace(_ record: StoredRecord) throws -> Bool {
        switch Kind(rawValue: record.kind) {
        case .need:
            guard
                record.grid.map({ Array($0.utf8) })
                    == record.state.value(of: NeedField.grid.rawValue),
                record.team == record.progress.dispatch?.team
            else { return false }
            // Of what was brought back, the recorder comes later, or never.
            guard let first = try change(at: record.firstSequence),
                first.createdMilliseconds != nil
            else { return true }
            return try storage.replica(first.version.dot.replica)?.device == record.device
        case .note:
            guard
                let need = try record.parent.flatMap({
                    try storage.record(key: $0, unreadable: { _ in })
                })
            else {
                return false
            }
            return record.device == need.device && record.grid == need.grid
                && record.team == need.team
        case .territory, .team, .category, nil:
            return true
        }
    }

    /// The digest of a record as it was admitted, so that whoever holds it rightly sees no
    /// difference.
    ///
    /// - Returns: `nil` when what the record says of its versions leads nowhere.
    func admittedDigest(of record: StoredRecord) throws -> UInt64? {
        var digest = RecordDigest(of: record.id)
        do {
            for entry in record.state.fields {
                for version in entry.register.versions {
                    guard let admitted = try change(at: version.sequence),
                        admitted.record == record.id
                    else { return nil }
                    var value = admitted.version.value
                    if admitted.field != entry.field {
                        guard entry.field == LateAnswers.field else { return nil }
                        value = version.value == nil ? nil : [UInt8(admitted.field)] + (value ?? [])
                    }
                    digest.add(field: entry.field, dot: admitted.version.dot, value: value)
                }
            }
        } catch is Unreadable {
            return nil
        }
        return digest.value
    }

    private func isAsAdmitted(_ record: StoredRecord) throws -> Bool {
        guard let first = try change(at: record.firstSequence), first.record == record.id,
            first.kind == record.kind,
            first.createdMilliseconds.map({ $0 == record.createdMilliseconds }) ?? true
        else { return false }
        for entry in record.state.fields {
            for version in entry.register.versions {
                guard let admitted = try change(at: version.sequence),
                    admitted.record == record.id,
                    Self.isLike(admitted, field: entry.field, value: version.value),
                    admitted.version.stamp == version.stamp,
                    admitted.version.formerPositions == version.formerPositions,
                    try mayBeKnown(version.clock, from: admitted.version.clock, of: record)
                else { return false }
            }
        }
        return true
    }

    /// Field 64 keeps what late answers say under their own dots, and the dispatch that decided.
    private static func isLike(_ admitted: Admitted, field: UInt32, value: [UInt8]?) -> Bool {
        if admitted.field == field { return admitted.version.value == value }
        guard field == LateAnswers.field, let source = NeedField(rawValue: admitted.field) else {
            return false
        }
        guard let value else { return source == .dispatch }
        return LateAnswers.sources.contains(source)
            && value == [UInt8(admitted.field)] + (admitted.version.value ?? [])
    }

    /// Whether a version may be known to have seen so much: what its batch says, or that and what
    /// other versions of the record had seen, which the merge hands on after a restore.
    private func mayBeKnown(
        _ clock: ShortClock, from own: ShortClock, of record: StoredRecord
    ) throws -> Bool {
        let (clock, own) = (Self.inOrder(clock), Self.inOrder(own))
        if clock == own { return true }
        guard clock.contains(own), let seen = try seen[record.id]?.get() else { return false }
        return seen.bases.contains(clock.base)
            && clock.ancestors.allSatisfy { seen.entries.contains($0) }
    }

    private func change(at sequence: UInt64) throws -> Admitted? {
        try changes[sequence]?.get()
    }

    private func readChange(at sequence: UInt64) throws -> Admitted? {
        guard let batch = try batch(holding: sequence) else { return nil }
        let offset = sequence - batch.sequences.lowerBound
        if offset < UInt64(batch.brought.count) {
            let change = batch.brought[Int(offset)]
            guard change.version.sequence == sequence else { return nil }
            return Admitted(
                record: change.record, kind: change.kind, createdMilliseconds: nil,
                field: change.field, version: change.version)
        }
        // The groups' sequences ascend.
        let next = batch.groups.partitioningIndex { $0.outcome.sequence > sequence }
        guard next > 0 else { return nil }
        let (group, outcome, clock) = batch.groups[next - 1]
        let index = sequence - outcome.sequence
        guard index < UInt64(group.changes.count) else { return nil }
        let change = group.changes[Int(index)]
        return Admitted(
            record: group.record, kind: index == 0 ? group.createdKind : nil,
            createdMilliseconds: index == 0 ? outcome.stamps[0] : nil, field: change.field,
            version: Version(
                value: change.value,
                stamp: Stamp(
                    milliseconds: outcome.stamps[Int(index)],
                    dot: Dot(batch.writer, group.firstCounter + index)),
                sequence: sequence, clock: clock))
    }

    private func batch(holding sequence: UInt64) throws -> Decoded? {
        if let index = batches.firstIndex(where: { $0.sequences.contains(sequence) }) {
            return recall(index)
        }
        guard let row = try storage.batch(holding: sequence) else { return nil }
        return try keep(row)
    }

    private func batch(number: Int64) throws -> Decoded {
        if let index = batches.firstIndex(where: { $0.number == number }) { return recall(index) }
        guard let row = try storage.batch(number: number), row.firstSequence <= row.lastSequence
        else { throw Unreadable() }
        return try keep(row)
    }

    private func recall(_ index: Int) -> Decoded {
        if index > 0 { batches.insert(batches.remove(at: index), at: 0) }
        return batches[0]
    }

    private func keep(_ row: BatchRow) throws -> Decoded {
        let batch = try decode(row)
        if batches.count >= LedgerLimits.decodedBatchesMax { batches.removeLast() }
        batches.insert(batch, at: 0)
        return batch
    }

    private func decode(_ row: BatchRow) throws -> Decoded {
        guard row.isSound, let writer = try storage.replica(row: row.replicaRow),
            let groups = try? StoredContent.decode(row),
            let outcomes = try? StoredOutcome.decode(row.outcomes),
            let brought = try? StoredContent.decodeBrought(row.content).changes,
            groups.count == outcomes.count, row.firstSequence <= row.lastSequence
        else { throw Unreadable() }
        // As the line was when the batch came: where a term ended was not known before its end.
        let line = TermLine(terms.entries.filter { $0.first <= row.firstSequence })
        var decoded = Decoded(
            number: row.number, sequences: row.firstSequence...row.lastSequence, groups: [],
            brought: brought, writer: writer.id)
        for (group, outcome) in zip(groups, outcomes) where outcome.isApplied {
            guard outcome.stamps.count == group.changes.count else { throw Unreadable() }
            let clock = try row.clock(of: group, writer: writer, terms: line, in: storage)
            decoded.groups.append((group, outcome, clock))
        }
        return decoded
    }
}
