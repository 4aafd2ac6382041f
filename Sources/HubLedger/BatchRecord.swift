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
    var stamps = StampList()

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
                let areStampsOne = entry.stamps.areOne
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
                var stamps = StampList()
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
            var stamps = StampList(repeating: first, count: Int(count))
            if flags & Flag.stampsDiffer != 0 {
                stamps = StampList()
                for index in 0..<count {
                    stamps.append(index == 0 ? first : first &+ (try reader.signed()))
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

/// The stamps of a group's changes, milliseconds: mostly one for all.
struct StampList: Hashable, RandomAccessCollection, ExpressibleByArrayLiteral {
    private var common: Int64 = 0
    /// All of them as soon as one differs.
    private var each: [Int64] = []
    private(set) var count = 0

    init() {}

    init(repeating stamp: Int64, count: Int) {
        common = stamp
        self.count = count
    }

    init(_ stamps: some Sequence<Int64>) {
        for stamp in stamps { append(stamp) }
    }

    init(arrayLiteral stamps: Int64...) { self.init(stamps) }

    mutating func append(_ stamp: Int64) {
        if count == 0 {
            common = stamp
        } else if !each.isEmpty {
            each.append(stamp)
        } else if stamp != common {
            each = Array(repeating: common, count: count) + [stamp]
        }
        count += 1
    }

    var areOne: Bool { each.isEmpty }
    var newest: Int64? { count == 0 ? nil : each.max() ?? common }

    var startIndex: Int { 0 }
    var endIndex: Int { count }

    subscript(position: Int) -> Int64 {
        precondition(position >= 0 && position < count, "a stamp that is there")
        return each.isEmpty ? common : each[position]
    }
}

/// The records that one batch touched, with the buckets that they lie in, and, where they moved,
/// those that they lay in before.
///
/// Bytes: count of bucket names, the names; count of entries; for each the key's difference to the
/// entry before (signed), flags (1 created, 2 moved), count of buckets, their indexes, and, when
/// moved, the same for the buckets before.
struct TouchedRecords {
    struct Entry {
        var key: Int64
        var isCreated: Bool
        /// Of ``places``.
        var place: Int
        /// `nil` when the record stayed where it was.
        var placeBefore: Int?
    }

    private(set) var entries: [Entry] = []
    /// The buckets of each place where records lie. Few: most of a batch's lie in one.
    private(set) var places: [[Bucket]] = []
    private var lastPlace: (place: Placement, index: Int)?

    init() {}

    mutating func append(key: Int64, isCreated: Bool, place: Placement, before: Placement?) {
        let placeBefore = before.map { index(of: $0) }
        entries.append(
            Entry(
                key: key, isCreated: isCreated, place: index(of: place),
                placeBefore: placeBefore))
    }

    private mutating func index(of place: Placement) -> Int {
        if let lastPlace, lastPlace.place == place { return lastPlace.index }
        // One that comes again after another may stand here twice.
        places.append(place.buckets)
        lastPlace = (place, places.count - 1)
        return places.count - 1
    }

    func encoded() -> [UInt8] {
        var names: [String] = []
        var indexes: [Bucket: Int] = [:]
        let lists = places.map { buckets in
            var list = ByteWriter()
            list.put(buckets.count)
            for bucket in buckets {
                let index = indexes[bucket] ?? names.count
                if index == names.count {
                    indexes[bucket] = index
                    names.append(bucket.name)
                }
                list.put(index)
            }
            return list.bytes
        }
        var writer = ByteWriter()
        writer.reserve(8 * entries.count)
        writer.put(names.count)
        for name in names { writer.put(name) }
        writer.put(entries.count)
        var last: Int64 = 0
        for entry in entries {
            writer.put(signed: entry.key &- last)
            last = entry.key
            writer.put(byte: (entry.isCreated ? 1 : 0) | (entry.placeBefore == nil ? 0 : 2))
            writer.put(raw: lists[entry.place])
            if let before = entry.placeBefore { writer.put(raw: lists[before]) }
        }
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
        var touched = TouchedRecords()
        if !anyWanted { return touched }
        /// Where the list that was read last lies in the bytes.
        var lastList = 0..<0
        func place() throws -> Int {
            let start = reader.index
            // A list says itself how long it is, so equal bytes are an equal list.
            if !lastList.isEmpty, bytes.count - start >= lastList.count,
                lastList.allSatisfy({ bytes[$0] == bytes[start + $0 - lastList.lowerBound] })
            {
                try reader.skip(lastList.count)
                return touched.places.count - 1
            }
            var list: [Bucket] = []
            for _ in 0..<(try reader.count()) {
                let index = try reader.number()
                guard index < UInt64(buckets.count) else {
                    throw LedgerError.damaged("a feed entry without its bucket")
                }
                list.append(buckets[Int(index)])
            }
            lastList = start..<reader.index
            touched.places.append(list)
            return touched.places.count - 1
        }
        let count = try reader.count()
        touched.entries.reserveCapacity(min(count, Limits.changesPerBatchMax))
        var key: Int64 = 0
        for _ in 0..<count {
            key &+= try reader.signed()
            let flags = try reader.byte()
            let now = try place()
            touched.entries.append(
                Entry(
                    key: key, isCreated: flags & 1 != 0, place: now,
                    placeBefore: flags & 2 == 0 ? nil : try place()))
        }
        return touched
    }
}

/// A batch's groups as the ledger keeps them: those of a device in the frame in which they came,
/// the hub's own in a frame without dictionary.
enum StoredContent {
    /// Stands where a frame has its magic, before a message that is kept as it is.
    private static let plain: UInt8 = 0
    /// Stands there before the number of the device (a varint) and the changes that it brought
    /// back; such a batch has no groups.
    private static let brought: UInt8 = 1
    /// Stands there before the frame of a request.
    private static let received: UInt8 = 2

    /// - Parameter frame: Of the request; it may hold more groups than were admitted with it.
    static func encode(received frame: [UInt8]) -> [UInt8] { [received] + frame }

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

    /// - Returns: Also who brought them, 0 when nobody brought anything.
    static func decodeBrought(
        _ bytes: [UInt8]
    ) throws -> (device: Int64, changes: [BroughtChange]) {
        isBrought(bytes) ? try BroughtChange.decode(bytes) : (0, [])
    }

    static func decode(_ batch: BatchRow) throws -> [ChangeGroup] {
        do {
            switch batch.content.first {
            case brought: return []
            case plain: return try BatchCoding.decode(Array(batch.content.dropFirst()))
            case received:
                let frame = Array(batch.content.dropFirst())
                let counters = batch.firstCounter..<batch.nextCounter
                return try SyncRequest(decoding: Frame.decode(frame).message).groups.filter {
                    counters.contains($0.firstCounter)
                }
            default: return try BatchCoding.decode(Frame.decode(batch.content).message)
            }
        } catch {
            throw LedgerError.damaged("a stored batch cannot be read")
        }
    }
}
