import NeedModel
import SyncCore
import WireFormat

// After a restore devices bring back the live versions that they hold of what was lost. They are
// admitted in a batch of the hub's own: each keeps its dot and its stamp, gets a new sequence, and
// bears what its writer is known to have seen, and where it stood before.

/// A version that a device brought back.
struct BroughtChange: Hashable {
    var record: RecordID
    /// Of the record.
    var kind: UInt32
    var field: UInt32
    var version: Version

    /// Bytes, one change after the other: record, kind, field, replica, counter, stamp (signed),
    /// sequence, base, then a count and that many dots seen, and a count and that many former
    /// positions, the value's length + 1 (0 when cleared) and the value.
    static func encode(_ changes: [BroughtChange]) -> [UInt8] {
        var writer = ByteWriter()
        for change in changes {
            let version = change.version
            writer.put(raw: change.record.bytes)
            writer.put(UInt64(change.kind))
            writer.put(UInt64(change.field))
            writer.put(version.dot.replica.rawValue)
            writer.put(version.dot.counter)
            writer.put(signed: version.stamp.milliseconds)
            writer.put(version.sequence)
            writer.put(version.clock.base)
            writer.put(version.clock.ancestors.count)
            for seen in version.clock.ancestors {
                writer.put(seen.replica.rawValue)
                writer.put(seen.counter)
            }
            writer.put(version.formerPositions.count)
            for position in version.formerPositions {
                writer.put(position.term.rawValue)
                writer.put(position.sequence)
            }
            writer.put(version.value.map { $0.count + 1 } ?? 0)
            writer.put(raw: version.value ?? [])
        }
        return writer.bytes
    }

    /// - Parameter bytes: Of a batch: its form, the device that brought it, and the changes.
    static func decode(_ bytes: [UInt8]) throws -> (device: Int64, changes: [BroughtChange]) {
        var reader = ByteReader(bytes)
        _ = try reader.byte()
        let device = Int64(bitPattern: try reader.number())
        return (device, try decode(&reader))
    }

    /// - Parameter reader: What ``encode(_:)`` wrote, up to its end.
    fileprivate static func decode(_ reader: inout ByteReader) throws -> [BroughtChange] {
        var result: [BroughtChange] = []
        while !reader.isAtEnd {
            guard let record = RecordID(bytes: try reader.raw(16)) else {
                throw LedgerError.damaged("a stored batch cannot be read")
            }
            let kind = UInt32(truncatingIfNeeded: try reader.number())
            let field = UInt32(truncatingIfNeeded: try reader.number())
            let replica = ReplicaID(truncating: try reader.number())
            let dot = Dot(replica, try reader.number())
            let stamp = Stamp(milliseconds: try reader.signed(), dot: dot)
            let sequence = try reader.number()
            var clock = ShortClock(base: try reader.number())
            for _ in 0..<(try reader.count()) {
                let seen = ReplicaID(truncating: try reader.number())
                clock.ancestors.append(Dot(seen, try reader.number()))
            }
            var positions: [Position] = []
            for _ in 0..<(try reader.count()) {
                let term = TermID(truncating: try reader.number())
                positions.append(Position(term: term, sequence: try reader.number()))
            }
            let size = try reader.number()
            let value = size == 0 ? nil : try reader.raw(Int(clamping: size) - 1)
            result.append(
                BroughtChange(
                    record: record, kind: kind, field: field,
                    version: Version(
                        value: value, stamp: stamp, sequence: sequence, clock: clock,
                        formerPositions: positions)))
        }
        return result
    }
}

/// What one device brought back of one record in one request, beside the batch that holds all that
/// it brought: a record that is written to later must not cost the reading of whole batches, each
/// of which may be many megabytes that somebody made up.
struct BroughtRow: Hashable {
    /// Its key.
    var record: Int64
    var batch: Int64
    /// Who brought it, whoever wrote it.
    var device: Int64
    /// See ``BroughtChange/encode(_:)``.
    var content: [UInt8]
    /// As it was stored; `nil` before.
    var storedChecksum: Int64?

    /// Of all columns, as that of a batch.
    var checksum: Int64 {
        var hash = ContentHash()
        for number in [record, batch, device] { hash.combine(UInt64(bitPattern: number)) }
        hash.combine(UInt64(content.count))
        hash.combine(content)
        return Int64(hash.value >> 33)
    }

    /// Of what it has in common with its batch.
    var hash: UInt64 {
        var hash = ContentHash()
        hash.combine(UInt64(bitPattern: device))
        hash.combine(content)
        return hash.value
    }

    /// In the order of the sequence; `nil` when the disk has altered the row.
    var changes: [BroughtChange]? {
        guard storedChecksum == checksum else { return nil }
        var reader = ByteReader(content)
        return try? BroughtChange.decode(&reader)
    }
}

extension BroughtRow {
    /// The rows of a batch, in the order of the records' ids, each with its ``replicas(of:)``.
    ///
    /// - Parameter key: Of a record; `nil` leaves it out.
    static func all(
        of changes: [BroughtChange], by device: Int64, inBatch number: Int64,
        key: (RecordID) throws -> Int64?
    ) rethrows -> [(row: BroughtRow, replicas: Set<ReplicaID>)] {
        let changesByRecord = Dictionary(grouping: changes, by: \.record)
        return try changesByRecord.sorted { $0.key < $1.key }.compactMap { id, changes in
            guard let key = try key(id) else { return nil }
            let row = BroughtRow(
                record: key, batch: number, device: device,
                content: BroughtChange.encode(changes))
            return (row, replicas(of: changes))
        }
    }

    /// The writers of changes, and those who named their records.
    static func replicas(of changes: [BroughtChange]) -> Set<ReplicaID> {
        Set(changes.lazy.flatMap { [$0.version.dot.replica, $0.record.replica] })
    }
}

/// What a change that a device brings back is called.
struct NamedChange: Hashable {
    var record: RecordID
    var field: UInt32
    var dot: Dot
}

/// What is in the ledger by itself under the dot of a change that a device brings back.
enum AdmittedBefore {
    case same, other, unreadable
}

/// What was brought back of one record, in the order of the sequence.
final class BroughtHistory {
    private(set) var changes: [BroughtChange] = []
    // Indices of `changes`.
    private var byDot: [Dot: [Int]] = [:]
    private var byFormerPosition: [Position: [Int]] = [:]
    private var lateAnswers: [Int] = []
    /// By field and clock, the first with it: all that a device brings of a field at once share one.
    private var byClock: [UInt32: [ShortClock: Int]] = [:]
    private var sequences: Set<UInt64> = []
    private var counts: [Int64: Int] = [:]

    /// - Parameter device: Who brought it, whoever wrote it.
    func append(_ change: BroughtChange, by device: Int64) {
        let index = changes.count
        let version = change.version
        byDot[version.dot, default: []].append(index)
        for position in version.formerPositions {
            byFormerPosition[position, default: []].append(index)
        }
        if change.field == LateAnswers.field {
            lateAnswers.append(index)
        } else if byClock[change.field]?[version.clock] == nil {
            byClock[change.field, default: [:]][version.clock] = index
        }
        sequences.insert(version.sequence)
        counts[device, default: 0] += 1
        changes.append(change)
    }

    /// Whether a write of a field came back before, perhaps under a name that the hub lent it.
    ///
    /// - Parameter name: What the device calls it.
    func contains(_ version: Version, of field: UInt32, under name: Dot) -> Bool {
        func isSame(_ index: Int) -> Bool {
            let other = changes[index].version
            return changes[index].field == field && other.value == version.value
                && (other.dot == name || other.stamp.milliseconds == version.stamp.milliseconds)
        }
        return byDot[name]?.contains(where: isSame) == true
            || version.formerPositions.contains {
                byFormerPosition[$0]?.contains(where: isSame) == true
            }
    }

    /// Whether what came back of a field before had seen a version that comes back as well.
    func covers(_ version: Version, of field: UInt32) -> Bool {
        if field == LateAnswers.field {
            return lateAnswers.contains { index in
                let other = changes[index].version
                return other.covers(version) && !LateAnswers.areApart(other, version, in: field)
            }
        }
        return byClock[field]?.values.contains { changes[$0].version.covers(version) } ?? false
    }

    func under(_ dot: Dot) -> some Sequence<BroughtChange> {
        (byDot[dot] ?? []).lazy.map { self.changes[$0] }
    }

    func contains(_ dot: Dot) -> Bool { byDot[dot] != nil }

    /// Whether something came back at this place in the ledger's own order.
    func contains(sequence: UInt64) -> Bool { sequences.contains(sequence) }

    func count(by device: Int64) -> Int { counts[device] ?? 0 }
}

/// Finds what was brought back of a record before. Keeps what it read, up to
/// ``LedgerLimits/broughtChangesKeptMax``, since a batch may come back to a record again and again.
final class BroughtChanges {
    private let storage: any LedgerStorage
    private let countMax: Int
    /// By the record's key. When half of what may be kept is full, it takes the place of
    /// `older`, so that what is in use stays, and finding what goes costs nothing.
    private var newer: [Int64: BroughtHistory] = [:]
    private var older: [Int64: BroughtHistory] = [:]
    /// Of `newer`, with one for each record.
    private var keptChanges = 0
    private lazy var isEmpty: Result<Bool, any Error> = Result { try !storage.hasBrought() }

    /// - Parameter countMax: Of the changes that it keeps.
    init(storage: any LedgerStorage, countMax: Int = LedgerLimits.broughtChangesKeptMax) {
        self.storage = storage
        self.countMax = countMax
    }

    /// Nearly never: no ledger that was not restored has any.
    var areAny: Bool { get throws { try !isEmpty.get() } }

    /// - Returns: `nil` when nothing was ever brought back of any record.
    func of(_ record: StoredRecord) throws -> BroughtHistory? {
        guard try areAny else { return nil }
        if let known = newer[record.key] { return known }
        let history = try older[record.key] ?? read(record)
        let count = history.changes.count + 1
        if keptChanges + count > countMax / 2 {
            (newer, older) = ([:], newer)
            keptChanges = 0
        }
        keptChanges += count
        newer[record.key] = history
        return history
    }

    /// What the disk has altered counts as never brought: the versions that came with it still lie
    /// in the record itself.
    private func read(_ record: StoredRecord) throws -> BroughtHistory {
        let history = BroughtHistory()
        try storage.forEachBrought(of: record.key) { row in
            for change in row.changes ?? [] where change.record == record.id {
                history.append(change, by: row.device)
            }
        }
        return history
    }
}

extension Admitter {
    /// Takes back records as a device holds them, each named once.
    func bring(_ records: [PageRecord], lost: LostPart) throws {
        try lookUp(records)
        for record in records { try bring(record, lost: lost) }
    }

    /// Takes back one record: merges what the ledger does not know.
    ///
    /// Nothing is refused: what cannot be taken (a kind that is unknown here, a value that is not
    /// of its form, a note whose need is nowhere, reference data whose code was imported anew, a
    /// record that the disk has altered beyond reading) is passed over, and comes from nobody.
    private func bring(_ page: PageRecord, lost: LostPart) throws {
        guard let kind = schema.kind(page.kind) else { return }
        // What cannot be read comes once the operator has restored the ledger.
        guard let stored = try readable({ try load(page.id) }) else { return }
        if let stored {
            if stored.record.kind != page.kind { return }
            noteRecorder(of: stored)
        }
        guard try kind != .note || stored != nil || parent(of: page) != nil else { return }
        if stored == nil, try isCodeTaken(page, kind: kind) { return }
        let now = broughtNow[page.id] ?? BroughtHistory()
        broughtNow[page.id] = now
        let before = try stored.flatMap { try earlierBrought.of($0.record) }
        let histories = [before, now].compactMap(\.self)
        let device = writer.device?.id ?? 0
        var room = LedgerLimits.broughtPerRecordMax
        for history in histories { room -= history.count(by: device) }
        // A late answer shares its dot with the answer beside it: only earlier pages are compared.
        let broughtBefore = brought.count
        defer { for change in brought[broughtBefore...] { now.append(change, by: device) } }
        let unseen = UnseenVersions(in: page)
        for field in page.fields {
            let oldest = field.versions.map(\.sequence).min() ?? 0
            // Oldest first, as they were admitted.
            for found in field.versions.sorted(by: { $0.sequence < $1.sequence }) {
                guard brought.count - broughtBefore < room,
                    var version = try lostVersion(
                        found, record: page.id, field: field.field, kind: kind,
                        clock: lost.clock(
                            oldest: oldest,
                            unseen: unseen.oldest(for: found, of: field.field)),
                        lost: lost),
                    !histories.contains(where: {
                        $0.contains(version, of: field.field, under: found.stamp.dot)
                    })
                else { continue }
                if histories.contains(where: { $0.contains(version.dot) }) {
                    // Another write came back under this dot: the hub lends it a name.
                    version.stamp.dot = Dot(writer.replica.id, head + 1)
                }
                try takeBack(
                    version, field: field.field, page: page, kind: kind,
                    isCovered: histories.contains { $0.covers(version, of: field.field) })
            }
        }
    }

    /// - Returns: `nil` for what the ledger knows, or cannot take.
    private func lostVersion(
        _ version: PageRecord.Version, record: RecordID, field: UInt32, kind: Kind,
        clock: ShortClock, lost: LostPart
    ) throws -> Version? {
        let value: [UInt8]?
        switch version.value {
        case .bytes(let bytes): value = bytes
        case .cleared: value = nil
        case .asSent: return nil
        }
        let rule = FieldRule.rule(kind: kind, field: field)
        if rule?.fault(in: value) != nil || (value?.count ?? 0) > Limits.valueBytesMax {
            return nil
        }
        var stamp = version.stamp
        // A clock that was ahead before the restore poisons nobody.
        stamp.milliseconds = min(
            max(stamp.milliseconds, 0), now &+ LedgerLimits.broughtAheadMillisecondsMax)
        // A late answer stands under the dot of the answer, which may not be lost at all.
        if field != LateAnswers.field {
            // What the device cannot have been sent where it says that it has pulled.
            if lost.formerPositions(of: version.sequence).isEmpty { return nil }
            // A name that the hub has still to give: its own change would be taken for this one.
            if stamp.dot.replica == writer.replica.id && stamp.dot.counter > headBefore {
                return nil
            }
            // Reference data is the hub's own.
            if kind.isReference, try storage.replica(stamp.dot.replica)?.device != nil {
                return nil
            }
            switch admittedBefore[NamedChange(record: record, field: field, dot: stamp.dot)] {
            case nil: break
            case .same, .unreadable: return nil
            case .other:
                // Another copy of its writer's journal was faster: the hub lends it a name.
                stamp.dot = Dot(writer.replica.id, head + 1)
            }
        }
        return Version(
            value: value, stamp: stamp, sequence: head + 1, clock: clock,
            formerPositions: lost.formerPositions(of: version.sequence))
    }

    /// Finds which of the changes that a device brings back are in the ledger by themselves: sent
    /// again by their writer, or not lost.
    ///
    /// They are looked for in the order of their dots, so that no batch is read twice.
    private func lookUp(_ records: [PageRecord]) throws {
        var named: [(change: NamedChange, value: PageRecord.Value)] = []
        for record in records {
            // A late answer stands under the dot of the answer, which may not be lost at all.
            for field in record.fields where field.field != LateAnswers.field {
                for version in field.versions {
                    let change = NamedChange(
                        record: record.id, field: field.field, dot: version.stamp.dot)
                    named.append((change, version.value))
                }
            }
        }
        named.sort { $0.change.dot < $1.change.dot }
        var replica = ReplicaID.none
        // `nil` when the disk has altered what is known of the replica.
        var stored: StoredGroups??
        for (change, value) in named {
            let dot = change.dot
            if replica != dot.replica {
                replica = dot.replica
                stored = try readable {
                    try storage.replica(replica).map { StoredGroups(storage: storage, of: $0) }
                }
            }
            // In a batch that cannot be read nobody can tell whether it is the same.
            guard let stored,
                let admitted = try readable({ try stored?.appliedChange(at: dot.counter) })
            else {
                admittedBefore[change] = .unreadable
                continue
            }
            guard let admitted else { continue }
            let isSame =
                admitted.record == change.record && admitted.change.field == change.field
                && admitted.change.value == value.bytes
            admittedBefore[change] = isSame ? .same : .other
        }
    }

    /// Whether a group comes from another copy of its writer's journal than what was brought back
    /// of the record under the same dots.
    ///
    /// What was brought back of other records is not asked: a dot that stands for two changes does
    /// no harm, since counters say nothing of what came back (``SyncCore/Version/covers(_:)``).
    func isForked(_ group: ChangeGroup) throws -> Bool {
        guard try earlierBrought.areAny, let stored = try loadReadable(group.record) else {
            return false
        }
        guard let brought = try earlierBrought.of(stored.record) else { return false }
        return group.changes.enumerated().contains { index, change in
            let dot = Dot(writer.replica.id, group.firstCounter + UInt64(index))
            // A late answer stands elsewhere, under the dot of the answer.
            return brought.under(dot).contains {
                $0.field != LateAnswers.field
                    && ($0.field != change.field || $0.version.value != change.value)
            }
        }
    }

    private func takeBack(
        _ version: Version, field: UInt32, page: PageRecord, kind: Kind, isCovered: Bool
    ) throws {
        let touched =
            try records[page.id] ?? createBrought(page, kind: kind, version: version)
        var (register, apart) = LateAnswers.parted(
            touched.record.state[field], at: version, in: field)
        var version = version
        try inheritSeen(&version, from: register)
        head += 1
        brought.append(
            BroughtChange(record: page.id, kind: page.kind, field: field, version: version))
        newestStamp = max(newestStamp ?? .min, version.stamp.milliseconds)
        if try passOnSeen(of: version, in: &register) || isCovered {
            let count = register.versions.count
            register.drop(coveredBy: version)
            if register.versions.count < count { touched.hasLessThanBefore = true }
            touched.record.state[field] = Register(live: register.versions + apart)
        } else if touched.record.state.versions.count < LedgerLimits.liveVersionsBesideBroughtMax,
            touched.record.state.size + (version.value?.count ?? 0) <= LedgerLimits.recordBytesMax
        {
            // A record that is full keeps it in its history alone.
            register.insert(version)
            touched.record.state[field] = Register(live: register.versions + apart)
            if field != LateAnswers.field {
                _ = noteLateness(of: field, in: touched) { version }
            }
        }
        touched.record.lastSequence = head
        touched.isChanged = true
        place(touched)
    }

    private func createBrought(
        _ page: PageRecord, kind: Kind, version: Version
    ) throws -> TouchedRecord {
        let touched = try create(
            page.id, kind: page.kind,
            device: try storage.replica(page.id.replica)?.device,
            parent: kind == .note ? try parent(of: page) : nil)
        noteRecorder(of: touched)
        if let row = ReferenceImport.Row(of: page, kind: kind) {
            codesBrought.insert(ReferenceCode(table: row.table, code: row.code))
        }
        touched.record.createdMilliseconds =
            page.createdMilliseconds ?? version.stamp.milliseconds
        touched.record.firstSequence = version.sequence
        return touched
    }

    private func parent(of page: PageRecord) throws -> StoredRecord? {
        guard let bytes = page.winner(NoteField.need.rawValue),
            case .record(let need) = FieldValue(.record, bytes: bytes)
        else { return nil }
        return try loadReadable(need)?.record
    }

    /// Whether reference data came anew under another id, because the operator imported it again;
    /// or stands in the same request under another, because a disk has brought back what had left.
    private func isCodeTaken(_ page: PageRecord, kind: Kind) throws -> Bool {
        guard kind.isReference else { return false }
        guard let row = ReferenceImport.Row(of: page, kind: kind) else { return true }
        return try codesBrought.contains(ReferenceCode(table: row.table, code: row.code))
            || storage.referenceKey(row.table, code: row.code) != nil
    }

    /// Follows with the ledger's own tables what was brought back of the reference data.
    func storeBroughtReferences() throws {
        let importer = ReferenceImport(storage: storage)
        for id in Set(brought.map(\.record)).sorted() {
            guard let record = records[id]?.record, let kind = Kind(rawValue: record.kind),
                kind.isReference,
                let row = ReferenceImport.Row(
                    kind: kind, text: { record.state.value(of: $0) })
            else { continue }
            try importer.store(row, key: record.key)
        }
    }
}

extension PageRecord {
    /// The bytes of a field's winner.
    fileprivate func winner(_ field: UInt32) -> [UInt8]? {
        let versions = fields.first { $0.field == field }?.versions
        return versions?.first?.value.bytes
    }
}

/// What an entry of the reference data is called, whatever its record's id.
struct ReferenceCode: Hashable {
    var table: ReferenceTable
    var code: String
}

extension ReferenceImport.Row {
    /// The row that a device brings back; `nil` of another kind, or when fields are missing.
    fileprivate init?(of page: PageRecord, kind: Kind) {
        self.init(kind: kind, text: { page.winner($0) })
    }

    /// The row that a record of reference data stands for; `nil` when fields are missing.
    init?(kind: Kind, text bytes: (UInt32) -> [UInt8]?) {
        func text(_ field: UInt32) -> String? {
            bytes(field).flatMap { String(validating: $0, as: UTF8.self) }
        }
        switch kind {
        case .territory:
            guard let code = text(TerritoryField.code.rawValue),
                let name = text(TerritoryField.name.rawValue),
                let level = text(TerritoryField.level.rawValue).flatMap({
                    TerritoryLevel(rawValue: $0)
                })
            else { return nil }
            self = .territory(
                Territory(
                    code: code, name: name, level: level,
                    parent: text(TerritoryField.parent.rawValue)))
        case .team:
            guard let code = text(TeamField.code.rawValue),
                let name = text(TeamField.name.rawValue),
                let territory = text(TeamField.territory.rawValue)
            else { return nil }
            self = .team(TeamRow(code: code, name: name, territory: territory))
        case .category:
            guard let code = text(CategoryField.code.rawValue),
                let name = text(CategoryField.name.rawValue)
            else { return nil }
            self = .category(code: code, name: name)
        case .need, .note:
            return nil
        }
    }

    var table: ReferenceTable {
        switch self {
        case .territory: .territory
        case .team: .teams
        case .category: .categories
        }
    }

    var code: String {
        switch self {
        case .territory(let territory): territory.code
        case .team(let team): team.code
        case .category(let code, _): code
        }
    }
}
