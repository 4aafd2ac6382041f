import SQLiteStore
import SyncCore

// The bytes of a group's content, the same in `outbox` and `refused`:
//
//     byte       1, the form
//     varint     0 when the record exists, else 1 + the kind that is created
//     varint     the base's term
//     varint     the base's sequence
//     zigzag     wall clock when written, milliseconds
//     varint     boot
//     zigzag     boot clock when written, milliseconds
//     varint     how many changes, then for each:
//       varint     field
//       varint     0 cleared, else 1 + length of the value, then the value

/// One command's changes as the journal keeps them.
struct GroupContent: Equatable {
    var createdKind: UInt32?
    var base: Position
    var written: ClockReading
    var changes: [Change]

    var bytes: [UInt8] {
        var writer = ByteWriter()
        writer.put(byte: 1)
        writer.put(createdKind.map { UInt64($0) + 1 } ?? 0)
        writer.put(base.term.rawValue)
        writer.put(base.sequence)
        writer.put(signed: written.wallMilliseconds)
        writer.put(written.boot)
        writer.put(signed: written.elapsedMilliseconds)
        writer.put(changes.count)
        for change in changes {
            writer.put(UInt64(change.field))
            writer.put(value: change.value)
        }
        return writer.bytes
    }

    init(createdKind: UInt32?, base: Position, written: ClockReading, changes: [Change]) {
        self.createdKind = createdKind
        self.base = base
        self.written = written
        self.changes = changes
    }

    init(bytes: [UInt8]) throws(ByteCodingError) {
        var reader = ByteReader(bytes)
        guard try reader.byte() == 1 else { throw .truncated }
        let kind = try reader.number()
        createdKind = kind == 0 ? nil : UInt32(truncatingIfNeeded: kind - 1)
        base = Position(
            term: TermID(truncating: try reader.number()), sequence: try reader.number())
        let wall = try reader.signed()
        let boot = try reader.number()
        written = ClockReading(
            wallMilliseconds: wall, boot: boot, elapsedMilliseconds: try reader.signed())
        changes = []
        for _ in 0..<(try reader.count()) {
            let field = UInt32(truncatingIfNeeded: try reader.number())
            changes.append(Change(field: field, value: try reader.value()))
        }
        try reader.end()
    }

    /// What the group weighs in a batch.
    var batchBytes: Int {
        changes.reduce(JournalLimits.groupOverheadBytes) {
            $0 + JournalLimits.changeOverheadBytes + ($1.value?.count ?? 0)
        }
    }
}

/// A row of the outbox.
struct OutboxGroup {
    /// Its place in the order of writing.
    var number: Int64
    var replica: ReplicaID
    var counter: UInt64
    var record: RecordID
    /// The hub has decided; the pull that contains it has not ended yet.
    var isSettled: Bool
    var content: GroupContent

    var nextCounter: UInt64 { counter + UInt64(content.changes.count) }

    var group: ChangeGroup {
        ChangeGroup(
            record: record, createdKind: content.createdKind, firstCounter: counter,
            changes: content.changes, base: content.base, written: content.written)
    }

    /// Columns: number, replica, counter, record, state, content.
    init(row: borrowing Statement) throws {
        guard let record = RecordID(bytes: row.bytes(at: 3)) else {
            throw ByteCodingError.truncated
        }
        number = row.integer(at: 0)
        replica = ReplicaID(truncating: UInt64(bitPattern: row.integer(at: 1)))
        counter = UInt64(bitPattern: row.integer(at: 2))
        self.record = record
        isSettled = row.integer(at: 4) == JournalSchema.settled
        content = try GroupContent(bytes: row.bytes(at: 5))
    }
}
