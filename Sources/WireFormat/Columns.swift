import SyncCore

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

// The packed columns that batches and pages share.

typealias WireChanges = Waystation_V1_Changes
typealias WireRecords = Waystation_V1_Records

/// Encodes numbers as differences to the one before, in wrapping arithmetic: any number has a
/// difference to any other, so nothing can overflow.
struct DeltaEncoder {
    private var last: UInt64

    /// - Parameter start: What the first number is the difference to.
    init(from start: Int64 = 0) { last = UInt64(bitPattern: start) }

    mutating func next(_ number: UInt64) -> Int64 {
        defer { last = number }
        return Int64(bitPattern: number &- last)
    }

    mutating func next(_ number: Int64) -> Int64 { next(UInt64(bitPattern: number)) }
}

struct DeltaDecoder {
    private var last: UInt64

    /// - Parameter start: As it was encoded with.
    init(from start: Int64 = 0) { last = UInt64(bitPattern: start) }

    mutating func next(_ delta: Int64) -> UInt64 {
        last &+= UInt64(bitPattern: delta)
        return last
    }
}

/// Where the versions of a page stand, by thread: what one writer wrote as it created records, and
/// what it wrote later. Each number of a version is told as the difference to the one before it in
/// its thread, since an edit has little in common with the creation beside it, and much with the
/// edit before.
struct VersionThreads {
    /// In wrapping arithmetic, as ``DeltaEncoder`` has it.
    struct Point {
        var counter: UInt64 = 0
        var sequence: UInt64 = 0
        var stamp: UInt64 = 0

        static func &- (point: Point, other: Point) -> Point {
            Point(
                counter: point.counter &- other.counter,
                sequence: point.sequence &- other.sequence, stamp: point.stamp &- other.stamp)
        }

        static func &+ (point: Point, difference: Point) -> Point {
            Point(
                counter: point.counter &+ difference.counter,
                sequence: point.sequence &+ difference.sequence,
                stamp: point.stamp &+ difference.stamp)
        }
    }

    /// By thread; threads are as many as twice the writers of the page.
    private var points: [Point?] = []
    private var newest = Point()

    /// How far a version lies from the one before it in its thread, which goes on from there.
    mutating func difference(to point: Point, in thread: UInt32) -> Point {
        defer { advance(thread, to: point) }
        return point &- last(of: thread)
    }

    /// The inverse of ``difference(to:in:)``.
    mutating func point(at difference: Point, in thread: UInt32) -> Point {
        let point = last(of: thread) &+ difference
        advance(thread, to: point)
        return point
    }

    /// The thread's last version; of one that begins, the version before it in the page.
    private func last(of thread: UInt32) -> Point {
        Int(thread) < points.count ? points[Int(thread)] ?? newest : newest
    }

    private mutating func advance(_ thread: UInt32, to point: Point) {
        while points.count <= Int(thread) { points.append(nil) }
        points[Int(thread)] = point
        newest = point
    }
}

/// Shortens a column that says one thing of all: nothing for zeros, one entry for equal ones.
func shortened<Entry: Equatable & ExpressibleByIntegerLiteral>(_ column: [Entry]) -> [Entry] {
    guard let first = column.first, column.allSatisfy({ $0 == first }) else { return column }
    return first == 0 ? [] : [first]
}

/// The inverse of ``shortened(_:)``.
///
/// - Parameter count: How many entries there must be; the caller has bounded it.
func lengthened<Entry: ExpressibleByIntegerLiteral>(
    _ column: [Entry], count: Int
) throws(FrameError) -> [Entry] {
    if column.count == count { return column }
    guard column.count < 2 else { throw .malformed("a column of another length") }
    return Array(repeating: column.first ?? 0, count: count)
}

/// Gives things small numbers in order of appearance.
struct Table<Entry: Hashable> {
    /// Beyond those that are known.
    private(set) var entries: [Entry] = []
    private var indexes: [Entry: UInt32] = [:]
    /// Asked last, and nearly always next.
    private var last: (entry: Entry, index: UInt32)?

    /// - Parameter known: The far side has it as the first entry, without being told.
    init(known: Entry? = nil) {
        if let known { _ = index(of: known) }
        entries = []
    }

    mutating func index(of entry: Entry) -> UInt32 {
        if let last, last.entry == entry { return last.index }
        let index = indexes[entry] ?? UInt32(indexes.count)
        if index == indexes.count {
            indexes[entry] = index
            entries.append(entry)
        }
        last = (entry, index)
        return index
    }
}

extension WireRecords {
    /// - Parameter known: A replica that the far side has as the table's first entry.
    init(_ ids: some Sequence<RecordID>, known: ReplicaID? = nil) {
        self.init()
        var table = Table(known: known)
        var numbers = DeltaEncoder()
        var times = DeltaEncoder()
        // Gathered outside the message, as in `Page.wire`.
        var indexColumn: [UInt32] = []
        var numberColumn: [Int64] = []
        var timeColumn: [Int64] = []
        for id in ids {
            indexColumn.append(table.index(of: id.replica))
            numberColumn.append(numbers.next(id.number))
            timeColumn.append(times.next(id.milliseconds))
        }
        replicas = table.entries.map(\.rawValue)
        self.numbers = numberColumn
        self.times = timeColumn
        replicaIndexes = shortened(indexColumn)
    }

    /// - Parameter known: As it was encoded with.
    func ids(countMax: Int, known: ReplicaID? = nil) throws(FrameError) -> [RecordID] {
        let numbers = self.numbers
        let times = self.times
        let table = (known.map { [$0.rawValue] } ?? []) + replicas
        guard numbers.count <= countMax, times.count == numbers.count else {
            throw .malformed("record columns of different lengths")
        }
        let indexes = try lengthened(replicaIndexes, count: numbers.count)
        var result: [RecordID] = []
        result.reserveCapacity(numbers.count)
        var numberDecoder = DeltaDecoder()
        var timeDecoder = DeltaDecoder()
        for index in numbers.indices {
            let number = numberDecoder.next(numbers[index])
            let time = timeDecoder.next(times[index])
            let entry = Int(indexes[index])
            guard entry < table.count, number <= RecordID.numberMask, time <= ReplicaID.bitMask,
                table[entry] <= ReplicaID.bitMask
            else { throw .malformed("a record id out of range") }
            result.append(
                RecordID(
                    milliseconds: Int64(time), replica: ReplicaID(truncating: table[entry]),
                    number: number))
        }
        return result
    }
}

/// Values of one column, for the size column: 0 and up to `markers - 1` are markers, and a value
/// of n bytes is `markers + n`.
enum SizedValue: Hashable {
    case marker(UInt32)
    case bytes([UInt8])
}

extension WireChanges {
    /// - Parameter markers: How many sizes are markers: 1 in a batch, 2 in a page.
    init(_ changes: [(field: UInt32, value: SizedValue)], markers: UInt32) {
        self.init()
        let fieldColumn = changes.map(\.field)
        var sizeColumn: [UInt32] = []
        sizeColumn.reserveCapacity(changes.count)
        var bytesOfAll: [UInt8] = []
        // Sorting by field brings like texts together, and deflate finds them.
        for index in Self.order(of: fieldColumn) {
            switch changes[index].value {
            case .marker(let marker):
                sizeColumn.append(marker)
            case .bytes(let bytes):
                sizeColumn.append(markers + UInt32(bytes.count))
                bytesOfAll.append(contentsOf: bytes)
            }
        }
        fields = fieldColumn
        sizes = sizeColumn
        values = Data(bytesOfAll)
    }

    /// Checks every size.
    ///
    /// - Returns: The bytes of all values, and one entry for each change, in the order of `fields`.
    ///   A marker has a length below 0: the last one -1, the one before it -2.
    func unpacked(
        markers: UInt32, countMax: Int
    ) throws(FrameError) -> ChangeList.Block {
        let fields = self.fields
        let sizes = self.sizes
        guard fields.count <= countMax, sizes.count == fields.count else {
            throw .malformed("change columns of different lengths, or too many changes")
        }
        // Slices of an array cost a fraction of Data's.
        let values = [UInt8](self.values)
        var spans = [ValueSpan](
            repeating: ValueSpan(field: 0, length: ValueSpan.cleared, offset: 0),
            count: fields.count)
        var offset = 0
        for (position, index) in Self.order(of: fields).enumerated() {
            let size = sizes[position]
            let length = Int(size) - Int(markers)
            guard length <= Limits.valueBytesMax, length <= values.count - offset else {
                throw .malformed("a value longer than allowed or than what is there")
            }
            spans[index] = ValueSpan(
                field: fields[index], length: Int32(length), offset: UInt32(offset))
            offset += max(0, length)
        }
        guard offset == values.count else { throw .malformed("values left over") }
        return ChangeList.Block(bytes: values, spans: spans)
    }

    /// The indexes of a field column, stably sorted by field.
    private static func order(of fields: [UInt32]) -> [Int] {
        // The fields that there are have small numbers, and counting is faster than comparing.
        guard let greatest = fields.max(), greatest < 256 else {
            return fields.indices.sorted { (fields[$0], $0) < (fields[$1], $1) }
        }
        var next = [Int](repeating: 0, count: Int(greatest) + 2)
        for field in fields { next[Int(field) + 1] += 1 }
        for field in 1..<next.count { next[field] += next[field - 1] }
        var order = [Int](repeating: 0, count: fields.count)
        for (index, field) in fields.enumerated() {
            order[next[Int(field)]] = index
            next[Int(field)] += 1
        }
        return order
    }
}

extension ArraySlice<ValueSpan> {
    /// Whether they are as a group has them, as a rule: none twice, in the order of their numbers.
    var areFieldsAscending: Bool {
        for place in indices.dropFirst() where self[place].field <= self[place - 1].field {
            return false
        }
        return true
    }
}
