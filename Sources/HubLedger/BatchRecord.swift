import NeedModel
import SyncCore
import WireFormat

// What the ledger keeps of a batch beside its content: the outcomes, so that a retry gets the
// identical answer, and the records it touched, which is what the feed reads.

/// The outcome of one group as stored.
///
/// Bytes of all outcomes of a batch: 0x80 0x00, count, then for each: flags (1 rejected, 2 stamps
/// differ, 4 superseded fields, basis * 8); if applied the sequence's difference to the one after
/// the applied group before (signed), the first stamp's difference to that group's first (signed),
/// count of stamps, when they differ the other stamps' differences to the first (signed), when
/// there are any the count of superseded fields and the fields; if rejected code, field, reason.
///
/// Before there were flags, and still read: count, then for each: 0 (applied), sequence, basis,
/// count of stamps, stamp of the first change (signed), the other stamps' differences to it
/// (signed), count of superseded fields, the fields; or 1 (rejected), code, field, reason. No such
/// count begins with 0x80 0x00, which is 0 in two bytes.
struct StoredOutcome: Hashable {
    var outcome: GroupOutcome
    /// Of the first change; 0 when rejected.
    var sequence: UInt64 = 0
    var basis: WriteTimeEstimate.Basis = .elapsed
    /// One a change, milliseconds; empty when rejected.
    var stamps: [Int64] = []

    private static let formWithFlags: [UInt8] = [0x80, 0]

    private enum Flag {
        static let rejected: UInt8 = 1
        static let stampsDiffer: UInt8 = 2
        static let superseded: UInt8 = 4
        /// Bits from here on are the basis.
        static let basisShift: UInt8 = 3
    }

    static func encode(_ outcomes: [StoredOutcome]) -> [UInt8] {
        var writer = ByteWriter()
        writer.put(raw: formWithFlags)
        writer.put(outcomes.count)
        var nextSequence: UInt64 = 0
        var lastStamp: Int64 = 0
        for entry in outcomes {
            switch entry.outcome {
            case .applied(let superseded):
                let first = entry.stamps.first ?? 0
                let areStampsOne = entry.stamps.allSatisfy { $0 == first }
                writer.put(
                    byte: (areStampsOne ? 0 : Flag.stampsDiffer)
                        | (superseded.isEmpty ? 0 : Flag.superseded)
                        | entry.basis.rawValue << Flag.basisShift)
                writer.put(signed: Int64(bitPattern: entry.sequence &- nextSequence))
                writer.put(signed: first &- lastStamp)
                writer.put(entry.stamps.count)
                if !areStampsOne {
                    for stamp in entry.stamps.dropFirst() { writer.put(signed: stamp &- first) }
                }
                if !superseded.isEmpty {
                    writer.put(superseded.count)
                    for field in superseded { writer.put(UInt64(field)) }
                }
                nextSequence = entry.sequence &+ UInt64(entry.stamps.count)
                lastStamp = first
            case .rejected(let code, let field, let reason):
                writer.put(byte: Flag.rejected)
                writer.put(UInt64(code))
                writer.put(UInt64(field))
                writer.put(reason)
            }
        }
        return writer.bytes
    }

    static func decode(_ bytes: [UInt8]) throws -> [StoredOutcome] {
        var reader = ByteReader(bytes)
        if bytes.starts(with: formWithFlags) {
            _ = try reader.raw(formWithFlags.count)
            return try decodeWithFlags(&reader)
        }
        var result: [StoredOutcome] = []
        for _ in 0..<(try reader.count()) {
            if try reader.byte() == 0 {
                let sequence = try reader.number()
                let basis = WriteTimeEstimate.Basis(rawValue: try reader.byte()) ?? .wall
                var stamps: [Int64] = []
                for index in 0..<(try reader.count()) {
                    let number = try reader.signed()
                    stamps.append(index == 0 ? number : stamps[0] &+ number)
                }
                result.append(
                    StoredOutcome(
                        outcome: .applied(superseded: try fields(&reader)), sequence: sequence,
                        basis: basis, stamps: stamps))
            } else {
                result.append(try rejected(&reader))
            }
        }
        return result
    }

    private static func decodeWithFlags(_ reader: inout ByteReader) throws -> [StoredOutcome] {
        var result: [StoredOutcome] = []
        var nextSequence: UInt64 = 0
        var lastStamp: Int64 = 0
        for _ in 0..<(try reader.count()) {
            let flags = try reader.byte()
            if flags & Flag.rejected != 0 {
                result.append(try rejected(&reader))
                continue
            }
            let sequence = nextSequence &+ UInt64(bitPattern: try reader.signed())
            let first = lastStamp &+ (try reader.signed())
            let count = try reader.number()
            guard count <= UInt64(Limits.changesPerBatchMax) else {
                throw LedgerError.damaged("more stamps than a batch has changes")
            }
            var stamps = [Int64](repeating: first, count: Int(count))
            if flags & Flag.stampsDiffer != 0 {
                for index in stamps.indices.dropFirst() {
                    stamps[index] = first &+ (try reader.signed())
                }
            }
            result.append(
                StoredOutcome(
                    outcome: .applied(
                        superseded: flags & Flag.superseded == 0 ? [] : try fields(&reader)),
                    sequence: sequence,
                    basis: WriteTimeEstimate.Basis(rawValue: flags >> Flag.basisShift) ?? .wall,
                    stamps: stamps))
            nextSequence = sequence &+ count
            lastStamp = first
        }
        return result
    }

    private static func fields(_ reader: inout ByteReader) throws -> [UInt32] {
        var fields: [UInt32] = []
        for _ in 0..<(try reader.count()) {
            fields.append(UInt32(truncatingIfNeeded: try reader.number()))
        }
        return fields
    }

    private static func rejected(_ reader: inout ByteReader) throws -> StoredOutcome {
        let code = UInt32(truncatingIfNeeded: try reader.number())
        let field = UInt32(truncatingIfNeeded: try reader.number())
        return StoredOutcome(
            outcome: .rejected(code: code, field: field, reason: try reader.text()))
    }
}

/// The records that one batch touched, with the buckets that they lie in, and, where they moved,
/// those that they lay in before.
///
/// Bytes: count of bucket names, the names; count of entries; for each the key's difference to the
/// entry before (signed), flags (1 created, 2 moved), count of buckets, their indexes, and, when
/// moved, the same for the buckets before.
struct TouchedRecords: Hashable {
    struct Entry: Hashable {
        var key: Int64
        var isCreated: Bool
        var buckets: [Bucket]
        /// `nil` when the record stayed where it was.
        var bucketsBefore: [Bucket]?
    }

    var entries: [Entry]

    func encoded() -> [UInt8] {
        var names: [String] = []
        var indexes: [Bucket: Int] = [:]
        func index(of bucket: Bucket) -> Int {
            if let index = indexes[bucket] { return index }
            indexes[bucket] = names.count
            names.append(bucket.name)
            return names.count - 1
        }
        var body = ByteWriter()
        body.put(entries.count)
        var last: Int64 = 0
        for entry in entries {
            body.put(signed: entry.key &- last)
            last = entry.key
            body.put(byte: (entry.isCreated ? 1 : 0) | (entry.bucketsBefore == nil ? 0 : 2))
            for list in [entry.buckets, entry.bucketsBefore].compactMap({ $0 }) {
                body.put(list.count)
                for bucket in list { body.put(index(of: bucket)) }
            }
        }
        var writer = ByteWriter()
        writer.put(names.count)
        for name in names { writer.put(name) }
        writer.put(raw: body.bytes)
        return writer.bytes
    }

    /// - Parameter isWanted: Whether a bucket matters to the reader; when none of the batch's
    ///   buckets does, the entries are not even read.
    static func decode(
        _ bytes: [UInt8], isWanted: (Bucket) -> Bool
    ) throws -> TouchedRecords {
        var reader = ByteReader(bytes)
        var buckets: [Bucket] = []
        var anyWanted = false
        for _ in 0..<(try reader.count()) {
            guard let bucket = Bucket(name: try reader.text()) else {
                throw LedgerError.damaged("an unknown bucket in the feed")
            }
            anyWanted = anyWanted || isWanted(bucket)
            buckets.append(bucket)
        }
        if !anyWanted { return TouchedRecords(entries: []) }
        var entries: [Entry] = []
        var key: Int64 = 0
        for _ in 0..<(try reader.count()) {
            key &+= try reader.signed()
            let flags = try reader.byte()
            let now = try list(&reader, of: buckets)
            let before = flags & 2 == 0 ? nil : try list(&reader, of: buckets)
            entries.append(
                Entry(
                    key: key, isCreated: flags & 1 != 0, buckets: now, bucketsBefore: before))
        }
        return TouchedRecords(entries: entries)
    }

    private static func list(
        _ reader: inout ByteReader, of buckets: [Bucket]
    ) throws -> [Bucket] {
        var result: [Bucket] = []
        for _ in 0..<(try reader.count()) {
            let index = try reader.number()
            guard index < UInt64(buckets.count) else {
                throw LedgerError.damaged("a feed entry without its bucket")
            }
            result.append(buckets[Int(index)])
        }
        return result
    }
}

/// A batch's groups as the ledger keeps them: compressed, without the dictionary, so that they can
/// be read after the dictionary has changed.
enum StoredContent {
    /// Stands where a frame has its magic, before a message that is kept as it is.
    private static let plain: UInt8 = 0
    /// Stands there before the number of the device (a varint) and the changes that it brought
    /// back; such a batch has no groups.
    private static let brought: UInt8 = 1

    static func encode(_ groups: [ChangeGroup]) -> [UInt8] {
        let message = BatchCoding.encode(groups)
        // What just fitted a frame with the dictionary may not fit one without.
        return (try? Frame.encode(message, usesDictionary: false, borders: .batch)) ?? [plain]
            + message
    }

    /// - Parameter device: Who brought them, whoever wrote them.
    static func encode(brought changes: [BroughtChange], by device: Int64) -> [UInt8] {
        var writer = ByteWriter()
        writer.put(byte: brought)
        writer.put(UInt64(bitPattern: device))
        return writer.bytes + BroughtChange.encode(changes)
    }

    /// Whether a device came to bring back what a restore had lost; of what was here already, only
    /// the place may have changed, and there are no changes.
    static func isBrought(_ bytes: [UInt8]) -> Bool { bytes.first == brought }

    static func decodeBrought(_ bytes: [UInt8]) throws -> [BroughtChange] {
        isBrought(bytes) ? try BroughtChange.decode(bytes).changes : []
    }

    /// Who brought back what a batch holds; `nil` for any other batch.
    static func bringer(_ bytes: [UInt8]) throws -> Int64? {
        isBrought(bytes) ? try BroughtChange.decode(bytes).device : nil
    }

    static func decode(_ bytes: [UInt8]) throws -> [ChangeGroup] {
        do {
            if bytes.first == brought { return [] }
            if bytes.first == plain { return try BatchCoding.decode(Array(bytes.dropFirst())) }
            return try BatchCoding.decode(Frame.decode(bytes).message)
        } catch {
            throw LedgerError.damaged("a stored batch cannot be read")
        }
    }
}
