import SyncCore

/// What a message may hold at most, checked on its bytes before it is parsed.
///
/// Eight kilobytes on the wire can be eight megabytes inflated, and these four million list entries
/// of two bytes, of which the parser makes objects of sixty. So its lists are counted first: a walk
/// over tags and lengths, which takes no memory.
struct FieldBounds: Sendable {
    enum Content: Sendable {
        /// A list, packed or not, and how many it may have.
        case varints(Int)
        case fixed64s(Int)
        case messages(FieldBounds, Int)
        /// What stands only in messages of the other direction.
        case refused
        /// One value, or nothing that we know.
        case other
    }

    /// By the field's number.
    private let contents: [Content]

    private init(_ fields: [Int: Content]) {
        var contents = [Content](repeating: .other, count: (fields.keys.max() ?? -1) + 1)
        for (number, content) in fields { contents[number] = content }
        self.contents = contents
    }

    private static let single = FieldBounds([:])

    private static func records(_ countMax: Int) -> FieldBounds {
        FieldBounds([
            1: .fixed64s(countMax), 2: .varints(countMax), 3: .varints(countMax),
            4: .varints(countMax),
        ])
    }

    /// Of a batch, and of what one request brings back.
    private static let changesMax = Limits.changesPerBatchMax
    private static let changes = FieldBounds([1: .varints(changesMax), 2: .varints(changesMax)])

    private static let batch = FieldBounds([
        2: .varints(changesMax), 3: .varints(changesMax), 4: .varints(changesMax),
        5: .varints(changesMax), 6: .varints(changesMax), 7: .varints(changesMax),
        8: .messages(records(changesMax), 1), 9: .messages(changes, 1),
        10: .messages(single, Limits.tableEntriesMax), 11: .fixed64s(Limits.tableEntriesMax),
    ])

    /// Records alone; no more of them, and no more writers, than versions.
    private static let broughtPage = FieldBounds([
        1: .refused, 2: .refused, 3: .refused,
        4: .messages(records(changesMax), 1), 5: .varints(changesMax), 6: .varints(changesMax),
        7: .varints(changesMax), 8: .fixed64s(changesMax),
        10: .varints(changesMax), 11: .varints(changesMax), 12: .varints(changesMax),
        13: .messages(changes, 1), 14: .refused, 15: .refused,
        16: .messages(FieldBounds([2: .varints(changesMax)]), changesMax),
        18: .varints(changesMax), 19: .refused, 20: .refused, 21: .refused, 22: .refused,
        23: .varints(changesMax),
    ])

    private static let recovery = FieldBounds([
        1: .messages(single, 1), 2: .messages(single, Limits.reachedMax),
        3: .messages(broughtPage, 1),
    ])

    private static let audit = FieldBounds([
        1: .messages(single, Limits.auditPartsMax),
        2: .messages(records(Limits.refetchedRecordsMax), 1),
    ])

    /// Of `SyncRequest`.
    static let request = FieldBounds([
        4: .messages(single, 1), 6: .messages(single, 1), 9: .messages(batch, 1),
        10: .messages(single, Limits.ancestorsMax), 12: .messages(recovery, 1),
        13: .messages(audit, 1),
    ])

    /// Counts what a parser would make of a message.
    ///
    /// - Returns: How many fields and list entries there are, at most
    ///   ``SyncCore/Limits/requestEntriesMax``.
    /// - Throws: ``FrameError/malformed(_:)`` when there are more of anything than there may be.
    func countEntries(in message: [UInt8]) throws(FrameError) -> Int {
        var entries = 0
        try walk(message, 0..<message.count, &entries)
        return entries
    }

    private func walk(
        _ message: [UInt8], _ range: Range<Int>, _ entries: inout Int
    ) throws(FrameError) {
        var reader = MessageReader(message, range)
        var counts = [Int](repeating: 0, count: contents.count)
        while !reader.isAtEnd {
            guard let tag = reader.varint() else { throw Self.notProtobuf }
            let number = Int(clamping: tag >> 3)
            let content = number < contents.count ? contents[number] : .other
            var block: Range<Int>?
            switch tag & 7 {
            case 0: guard reader.varint() != nil else { throw Self.notProtobuf }
            case 1: reader.skip(8)
            case 2:
                block = reader.block()
                if block == nil { throw Self.notProtobuf }
            case 5: reader.skip(4)
            // Groups, which proto3 has not; a parser would go as deep as they do.
            default: throw Self.notProtobuf
            }
            entries += 1
            switch content {
            case .varints(let countMax):
                // What is far too long need not be counted.
                if let block, block.count / Self.varintBytesMax > countMax { throw Self.tooMany }
                try add(block.map { Self.varints(message[$0]) } ?? 1, number, countMax)
            case .fixed64s(let countMax): try add((block?.count ?? 8) / 8, number, countMax)
            case .messages(let bounds, let countMax):
                try add(1, number, countMax)
                if let block { try bounds.walk(message, block, &entries) }
            case .refused: throw .malformed("a request with a part of an answer")
            case .other: break
            }
            guard entries <= Limits.requestEntriesMax else { throw Self.tooMany }
        }

        func add(_ count: Int, _ number: Int, _ countMax: Int) throws(FrameError) {
            counts[number] += count
            entries += count
            guard counts[number] <= countMax else { throw Self.tooMany }
        }
    }

    private static let varintBytesMax = 10

    /// How many numbers end in a packed list.
    private static func varints(_ bytes: ArraySlice<UInt8>) -> Int {
        bytes.reduce(0) { $0 + ($1 < 0x80 ? 1 : 0) }
    }

    private static let notProtobuf = FrameError.malformed(
        "not the protobuf message that belongs here")
    private static let tooMany = FrameError.malformed("a list of more than there may be")
}
