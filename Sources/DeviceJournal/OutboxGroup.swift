import SQLiteStore
import SyncCore

// The bytes of a group's content, the same in `outbox` and `refused`:
//
//     byte       2, the form; 1 was without the checksum
//     varint     0 when the record exists, else 1 + the kind that is created
//     varint     the base's term
//     varint     the base's sequence
//     zigzag     wall clock when written, milliseconds
//     varint     boot
//     zigzag     boot clock when written, milliseconds
//     varint     how many changes, then for each:
//       varint     field
//       varint     0 cleared, else 1 + length of the value, then the value
//     8 bytes    a checksum over all before it and what names the row, little endian
//
// What a disk made of a command must never be sent as what the person wrote.

/// One command's changes as the journal keeps them.
struct GroupContent: Equatable {
    var createdKind: UInt32?
    var base: Position
    var written: ClockReading
    var changes: [Change]

    /// - Parameters:
    ///   - record: What it is about, from the same row.
    ///   - dot: In the outbox, its replica and first counter.
    func bytes(of record: RecordID, under dot: Dot?) -> [UInt8] {
        var writer = ByteWriter()
        writer.put(byte: 2)
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
        let checksum = Self.checksum(writer.bytes, record, dot)
        writer.put(raw: withUnsafeBytes(of: checksum.littleEndian, Array.init))
        return writer.bytes
    }

    private static func checksum(
        _ bytes: [UInt8], _ record: RecordID, _ dot: Dot?
    ) -> UInt64 {
        var sum = RowChecksum()
        sum.combine(bytes)
        sum.combine(record.bytes)
        sum.combine(dot?.replica.rawValue ?? 0)
        sum.combine(dot?.counter ?? 0)
        return sum.value
    }

    init(createdKind: UInt32?, base: Position, written: ClockReading, changes: [Change]) {
        self.createdKind = createdKind
        self.base = base
        self.written = written
        self.changes = changes
    }

    /// - Throws: When the bytes are not as they were stored.
    init(bytes: [UInt8], of record: RecordID, under dot: Dot?) throws(ByteCodingError) {
        self.init(empty: ())
        let body = Self.body(of: bytes)
        switch bytes.first {
        case 1: break
        case 2:
            let stored = bytes.suffix(8).reversed().reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
            guard stored == Self.checksum(body, record, dot) else { throw .truncated }
        default: throw .truncated
        }
        try read(body)
    }

    /// As much as can be read of what a disk has altered.
    init(salvaging bytes: [UInt8]) {
        self.init(empty: ())
        try? read(Self.body(of: bytes))
    }

    /// All but the checksum.
    private static func body(of bytes: [UInt8]) -> [UInt8] {
        bytes.first == 1 ? bytes : Array(bytes[..<max(0, bytes.count - 8)])
    }

    private init(empty: Void) {
        self.init(
            createdKind: nil, base: .origin,
            written: ClockReading(wallMilliseconds: 0, boot: 0, elapsedMilliseconds: 0),
            changes: [])
    }

    private mutating func read(_ bytes: [UInt8]) throws(ByteCodingError) {
        var reader = ByteReader(bytes)
        _ = try reader.byte()
        let kind = try reader.number()
        createdKind = kind == 0 ? nil : UInt32(truncatingIfNeeded: kind - 1)
        base = Position(
            term: TermID(truncating: try reader.number()), sequence: try reader.number())
        let wall = try reader.signed()
        let boot = try reader.number()
        written = ClockReading(
            wallMilliseconds: wall, boot: boot, elapsedMilliseconds: try reader.signed())
        for _ in 0..<(try reader.count()) {
            let field = UInt32(truncatingIfNeeded: try reader.number())
            changes.append(Change(field: field, value: try reader.value()))
        }
        try reader.end()
    }

    func group(of record: RecordID, at counter: UInt64) -> ChangeGroup {
        ChangeGroup(
            record: record, createdKind: createdKind, firstCounter: counter, changes: changes,
            base: base, written: written)
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
    /// Of all that its replica wrote before it.
    var chain: HashChain

    var nextCounter: UInt64 { counter + UInt64(content.changes.count) }

    var group: ChangeGroup { content.group(of: record, at: counter) }
}

extension OutboxGroup {
    /// Columns: number, replica, counter, record, state, content, chain.
    ///
    /// - Returns: `nil` when the row is not as it was stored.
    init?(row: borrowing Statement) {
        number = row.integer(at: 0)
        replica = ReplicaID(truncating: UInt64(bitPattern: row.integer(at: 1)))
        counter = UInt64(bitPattern: row.integer(at: 2))
        isSettled = row.integer(at: 4) == JournalSchema.settled
        chain = HashChain(row.bits(at: 6))
        guard let record = RecordID(bytes: row.bytes(at: 3)),
            let content = try? GroupContent(
                bytes: row.bytes(at: 5), of: record, under: Dot(replica, counter)),
            !content.changes.isEmpty
        else { return nil }
        self.record = record
        self.content = content
    }

    /// Gives what waits in a journal of an older schema its chains.
    static func storeChains(_ connection: Connection) throws {
        let rows = try connection.all(
            """
            SELECT number, replica, counter, record, state, content, chain FROM outbox
            WHERE replica = (SELECT replica FROM writer) ORDER BY number
            """
        ) { (number: $0.integer(at: 0), group: OutboxGroup(row: $0)?.group) }
        // What it wrote before is not known any more, and so is like no copy's.
        let start = try connection.first(
            "SELECT CASE next_counter WHEN 1 THEN 0 ELSE random() END FROM writer"
        ) { $0.bits(at: 0) }
        let isFromStart = rows.first?.group?.firstCounter == 1
        var chain = isFromStart ? .empty : HashChain(start ?? 0)
        for row in rows {
            try connection.run(
                "UPDATE outbox SET chain = ? WHERE number = ?", .bits(chain.value),
                .integer(row.number))
            if let group = row.group { chain.append(group) }
        }
        try connection.run("UPDATE writer SET chain = ?", .bits(chain.value))
    }
}
