import SyncCore
import Testing
import WireFormat

/// Requests that are small on the wire and huge once parsed.
@Suite struct FieldBoundsTests {
    private static func varint(_ number: Int) -> [UInt8] {
        var rest = number
        var bytes: [UInt8] = []
        while rest >= 0x80 {
            bytes.append(UInt8(rest & 0x7F) | 0x80)
            rest >>= 7
        }
        return bytes + [UInt8(rest)]
    }

    private static func block(_ field: Int, _ content: [UInt8]) -> [UInt8] {
        varint(field << 3 | 2) + varint(content.count) + content
    }

    private static func list(_ field: Int, _ count: Int) -> [UInt8] {
        Array(repeating: varint(field << 3 | 2) + [0], count: count).flatMap { $0 }
    }

    /// Replica 5, next counter 1.
    private static let head: [UInt8] = [0x11, 5, 0, 0, 0, 0, 0, 0, 0, 0x18, 1]

    private static func inRecovery(_ page: [UInt8]) -> [UInt8] { block(12, block(3, page)) }

    /// Each list with one entry more than it may have, in parts of the message by field number.
    private static let overfull: [(about: String, part: [UInt8])] = {
        let many = [UInt8](repeating: 0, count: Limits.changesPerBatchMax + 1)
        let wide = [UInt8](repeating: 0, count: 8 * many.count)
        var parts: [(String, [UInt8])] = [
            ("ancestors", list(10, Limits.ancestorsMax + 1)),
            ("positions reached", block(12, list(2, Limits.reachedMax + 1))),
            ("parts of an audit", block(13, list(1, Limits.auditPartsMax + 1))),
            ("bases", block(9, list(10, Limits.tableEntriesMax + 1))),
            ("boots", block(9, block(11, wide))),
            ("brought writers' replicas", inRecovery(block(8, wide))),
            ("contested records", inRecovery(list(16, many.count))),
            ("contested fields", inRecovery(block(16, block(2, many)))),
        ]
        for field in 2...7 { parts.append(("batch column \(field)", block(9, block(field, many)))) }
        for field in [5, 6, 7, 10, 11, 12, 18, 23] {
            parts.append(("brought column \(field)", inRecovery(block(field, many))))
        }
        for (field, bytes) in [(1, wide), (2, many), (3, many), (4, many)] {
            let records = block(field, bytes)
            parts.append(("records of a batch \(field)", block(9, block(8, records))))
            parts.append(("brought records \(field)", inRecovery(block(4, records))))
            parts.append(("records to be sent again \(field)", block(13, block(2, records))))
        }
        for field in [1, 2] {
            let changes = block(field, many)
            parts.append(("changes of a batch \(field)", block(9, block(9, changes))))
            parts.append(("brought changes \(field)", inRecovery(block(13, changes))))
        }
        return parts
    }()

    @Test func noListHasMoreThanItMay() {
        for (about, part) in Self.overfull {
            #expect(throws: FrameError.malformed("a list of more than there may be"), "\(about)") {
                try SyncRequest.Counted(Self.head + part).entryCount
            }
            #expect(throws: FrameError.self, "\(about)") {
                try SyncRequest(decoding: Self.head + part)
            }
        }
    }

    /// A list that is not packed, and one in two parts, counts as any other.
    @Test func entriesCountHoweverTheyStand() throws {
        let half = [UInt8](repeating: 0, count: Limits.changesPerBatchMax / 2)
        let loose = half.flatMap { _ in [UInt8(2 << 3), 0] as [UInt8] }
        let full = Self.block(2, half) + loose
        let entries = try SyncRequest.Counted(Self.head + Self.block(9, full)).entryCount
        // The head's, the batch's tag and the batch, the packed list's tag.
        #expect(entries == 2 + 2 + 1 + half.count + 2 * half.count)
        #expect(throws: FrameError.self) {
            try SyncRequest.Counted(Self.head + Self.block(9, full + Self.block(2, [0]))).entryCount
        }
    }

    /// What nobody knows, and what stands there once, is bounded too.
    @Test(arguments: [[0x18, 1], [0xB8, 0x3E, 0], [0xBA, 0x3E, 0]] as [[UInt8]])
    func allFieldsTogetherAreBounded(field: [UInt8]) throws {
        func message(_ count: Int) -> [UInt8] {
            Self.head + Array(repeating: field, count: count).joined()
        }
        let most = Limits.requestEntriesMax - 2
        #expect(try SyncRequest.Counted(message(most)).entryCount == Limits.requestEntriesMax)
        #expect(throws: FrameError.malformed("a list of more than there may be")) {
            try SyncRequest.Counted(message(most + 1)).entryCount
        }
    }

    /// The bounds leave room for all that a device may send.
    @Test func fullRequestsAreTaken() throws {
        let replica = ReplicaID(truncating: 7)
        var groups: [ChangeGroup] = []
        var records: [PageRecord] = []
        for index in 0..<UInt64(Limits.changesPerBatchMax) {
            // Nothing repeats, so no column is shortened and every table is full but for what the
            // request says.
            let record = RecordID(
                milliseconds: Int64(index * index), replica: ReplicaID(truncating: index + 9),
                number: index + 1)
            let time = Int64(index * index)
            groups.append(
                ChangeGroup(
                    record: record, createdKind: UInt32(index), firstCounter: 1 + index,
                    changes: [Change(field: UInt32(index), value: [1])],
                    base: Position(term: TermID(truncating: index + 2), sequence: index),
                    written: ClockReading(
                        wallMilliseconds: -time, boot: index, elapsedMilliseconds: time)))
            records.append(
                PageRecord(
                    id: record, kind: 1, createdMilliseconds: time, contested: [1], places: [],
                    versions: [
                        PageRecord.FieldVersion(
                            field: 1, value: .bytes([1]),
                            stamp: Stamp(
                                milliseconds: time,
                                dot: Dot(ReplicaID(truncating: index + 9), index + 1)),
                            sequence: index + 1)
                    ]))
        }
        var request = SyncRequest(
            attempt: 1, replica: replica, nextCounter: groups[groups.count - 1].nextCounter,
            cursor: Position(term: TermID(truncating: 2), sequence: 0), scope: 1,
            clocks: ClockReading(wallMilliseconds: 0, boot: 0, elapsedMilliseconds: 0),
            resume: [], pageBytes: Limits.pageBytesStart, groups: groups, chain: .empty,
            ancestors: (1...UInt64(Limits.ancestorsMax)).map {
                Ancestor(Dot(ReplicaID(truncating: $0), $0), chain: .empty)
            })
        #expect(try SyncRequest(decoding: request.encoded()) == request)
        let batch = try SyncRequest.Counted(request.encoded()).entryCount
        request.groups = []
        request.chain = nil
        request.recovery = SyncRequest.Recovery(
            confirmed: request.cursor,
            reached: (1...UInt64(Limits.reachedMax)).map {
                Position(term: TermID(truncating: $0), sequence: $0)
            }, records: records)
        #expect(try SyncRequest(decoding: request.encoded()) == request)
        let recovery = try SyncRequest.Counted(request.encoded()).entryCount
        #expect(max(batch, recovery) <= Limits.requestEntriesMax * 2 / 3)
    }
}
