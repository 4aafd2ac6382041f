import NeedModel
import SyncCore
import Testing
import WireFormat

@Suite struct MessageCodingTests {
    @Test func batchesRoundTrip() {
        forEachSeed(3_000) { generator in
            var random = RandomMessages(generator: generator)
            let groups = random.groups()
            try check(try BatchCoding.decode(BatchCoding.encode(groups)) == groups, "\(groups)")
        }
    }

    @Test func requestsRoundTrip() {
        forEachSeed(3_000) { generator in
            var random = RandomMessages(generator: generator)
            let request = random.request()
            try check(try SyncRequest(decoding: request.encoded()) == request, "\(request)")
        }
    }

    @Test func answersRoundTrip() {
        forEachSeed(3_000) { generator in
            var random = RandomMessages(generator: generator)
            let answer = random.answer()
            try check(try SyncAnswer(decoding: answer.encoded()) == answer, "\(answer)")
        }
    }

    @Test func answersToTheirRequestsRoundTrip() {
        forEachSeed(3_000) { generator in
            var random = RandomMessages(generator: generator)
            let (request, answer) = random.exchange()
            let bytes = answer.encoded(for: request)
            try check(
                try SyncAnswer(decoding: bytes, for: request) == answer, "\(request) \(answer)")
        }
    }

    /// What it says of the request's groups would be said of others.
    @Test func thePageOfAnotherAttemptIsNotRead() throws {
        var random = RandomMessages(generator: SplitMix64(seed: 1))
        var request = random.request()
        let answer = SyncAnswer(
            attempt: request.attempt, hubMilliseconds: 0, page: Page(cursor: request.cursor))
        let bytes = answer.encoded(for: request)
        #expect(try SyncAnswer(decoding: bytes, for: request) == answer)
        request.attempt ^= 1
        #expect(try SyncAnswer(decoding: bytes, for: request).page == nil)
        #expect(throws: FrameError.self) { try SyncAnswer(decoding: bytes) }
    }

    /// Ledgers keep batches of the first form, in which columns were not shortened.
    @Test func fullColumnsAreRead() throws {
        let groups = try BatchCoding.decode(Self.twoGroupsInFullColumns)
        #expect(groups.map(\.firstCounter) == [1, 2])
        #expect(groups.allSatisfy { $0.createdKind == nil && $0.base.sequence == 1 })
        #expect(BatchCoding.encode(groups).count < Self.twoGroupsInFullColumns.count)
    }

    private static let twoGroupsInFullColumns: [UInt8] = [
        0x08, 1,  // first counter
        0x12, 2, 1, 1, 0x1A, 2, 0, 0, 0x22, 2, 0, 0, 0x2A, 2, 0, 0,  // changes, kinds, bases, boots
        0x32, 2, 0, 0, 0x3A, 2, 0, 0,  // elapsed, walls
        0x42, 18, 0x0A, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0x1A, 2, 2, 2, 0x22, 2, 2, 2,  // records
        0x4A, 12, 0x0A, 2, 1, 1, 0x12, 2, 2, 2, 0x1A, 2, 0x78, 0x79,  // fields, sizes, values
        0x52, 11, 0x09, 9, 0, 0, 0, 0, 0, 0, 0, 0x10, 1,  // a base
        0x5A, 8, 1, 0, 0, 0, 0, 0, 0, 0,  // a boot
    ]

    @Test func enrolmentRoundTrips() {
        forEachSeed(1_000) { generator in
            var random = RandomMessages(generator: generator)
            let request = EnrollRequest(code: random.text(), replica: random.replica())
            try check(try EnrollRequest(decoding: request.encoded()) == request)
            let answer = EnrollAnswer(
                token: random.text(), assignment: random.assignment(),
                forkCounter: generator.oneIn(2) ? nil : 7)
            try check(try EnrollAnswer(decoding: answer.encoded()) == answer, "\(answer)")
        }
    }

    @Test func historyRoundTrips() {
        forEachSeed(1_000) { generator in
            var random = RandomMessages(generator: generator)
            let id = random.record()
            try check(try HistoryCoding.decodeRequest(HistoryCoding.encode(record: id)) == id)
            let entries = random.history()
            let decoded = try HistoryCoding.decodeAnswer(HistoryCoding.encode(entries: entries))
            try check(decoded == entries, "\(entries)")
        }
    }

    @Test func aPageSizeIsTakenWithinItsBounds() throws {
        var random = RandomMessages(generator: SplitMix64(seed: 1))
        var request = random.request()
        for (asked, given) in [
            (0, Limits.pageBytesStart), (1, Limits.pageBytesMin), (70_000, 70_000),
            (.max, Limits.pageBytesMax),
        ] {
            request.pageBytes = asked
            #expect(try SyncRequest(decoding: request.encoded()).pageBytes == given)
        }
    }

    @Test func aFullBatchFitsItsLimits() throws {
        let record = RecordID(milliseconds: 1, replica: ReplicaID(truncating: 1), number: 1)
        let clocks = ClockReading(wallMilliseconds: 0, boot: 1, elapsedMilliseconds: 0)
        func groups(_ count: Int, _ size: Int, _ value: [UInt8] = [1]) -> [ChangeGroup] {
            (0..<count).map { index in
                ChangeGroup(
                    record: record, createdKind: nil, firstCounter: UInt64(1 + index * size),
                    changes: (0..<size).map { Change(field: UInt32($0), value: value) },
                    base: .origin, written: clocks)
            }
        }
        let groupsMax = Limits.changesPerBatchMax / Limits.changesPerGroupMax
        let full = groups(groupsMax, Limits.changesPerGroupMax)
        #expect(try BatchCoding.decode(BatchCoding.encode(full)) == full)
        let longest = groups(1, 1, [UInt8](repeating: 7, count: Limits.valueBytesMax))
        #expect(try BatchCoding.decode(BatchCoding.encode(longest)) == longest)
        for tooMuch in [
            groups(groupsMax + 1, Limits.changesPerGroupMax),
            groups(1, Limits.changesPerGroupMax + 1),
            groups(1, 1, [UInt8](repeating: 7, count: Limits.valueBytesMax + 1)),
        ] {
            #expect(throws: FrameError.self) {
                try BatchCoding.decode(BatchCoding.encode(tooMuch))
            }
        }
    }

    /// Ten needs of one command shape, so that a change of the columns' cost is noticed.
    @Test func tenNeedsTakeFewBytes() throws {
        let replica = ReplicaID(truncating: 0x1234_5678_9abc)
        let changes = [
            Change(field: 1, value: Array("小区里缺路灯，晚上老人出门不安全。".utf8)),
            Change(field: 2, value: Array("lighting".utf8)),
            Change(field: 3, value: Array("152921001001".utf8)),
            Change(field: 7, value: [4]),
        ]
        var groups: [ChangeGroup] = []
        for index in 0..<10 as Range<Int64> {
            let elapsed: Int64 = 5_000 + index * 61_007
            let wall: Int64 = 1_790_000_000_000 + elapsed
            groups.append(
                ChangeGroup(
                    record: RecordID(
                        milliseconds: wall, replica: replica, number: UInt64(index + 1)),
                    createdKind: Kind.need.rawValue, firstCounter: UInt64(1 + index * 4),
                    changes: changes, base: Position(term: replica, sequence: 77),
                    written: ClockReading(
                        wallMilliseconds: wall, boot: 42, elapsedMilliseconds: elapsed)))
        }
        let frame = try Frame.encode(BatchCoding.encode(groups), usesDictionary: true)
        #expect(frame.count < 300)
    }

    // MARK: - Hostile messages

    @Test func randomBytesNeverCrash() {
        forEachSeed(10_000) { generator in
            let bytes = generator.bytes(countMax: 60)
            decodeAll(bytes)
        }
    }

    @Test func damagedMessagesNeverCrash() {
        forEachSeed(6_000) { generator in
            var random = RandomMessages(generator: generator)
            var bytes =
                switch generator.below(4) {
                case 0: BatchCoding.encode(random.groups())
                case 1: random.request().encoded()
                case 2: random.answer().encoded()
                default: HistoryCoding.encode(entries: random.history())
                }
            for _ in 0...generator.below(3) where !bytes.isEmpty {
                let index = generator.below(bytes.count)
                switch generator.below(4) {
                case 0: bytes[index] ^= 1 << UInt8(generator.below(8))
                case 1: bytes[index] = UInt8(truncatingIfNeeded: generator.next())
                case 2: bytes.remove(at: index)
                default: bytes = Array(bytes.prefix(index))
                }
            }
            decodeAll(bytes)
        }
    }

    @Test func damagedAnswersToARequestNeverCrash() {
        forEachSeed(6_000) { generator in
            var random = RandomMessages(generator: generator)
            let (request, answer) = random.exchange()
            var bytes = answer.encoded(for: request)
            for _ in 0...generator.below(3) {
                bytes[generator.below(bytes.count)] ^= 1 << UInt8(generator.below(8))
            }
            guard let decoded = try? SyncAnswer(decoding: bytes, for: request) else { return }
            guard decoded.attempt == request.attempt else { return }
            let again = decoded.encoded(for: request)
            #expect((try? SyncAnswer(decoding: again, for: request)) != nil)
        }
    }

    /// Whatever is decoded can be encoded again, and stays what it is.
    private func decodeAll(_ bytes: [UInt8]) {
        if let groups = try? BatchCoding.decode(bytes) {
            #expect((try? BatchCoding.decode(BatchCoding.encode(groups))) == groups)
        }
        if let request = try? SyncRequest(decoding: bytes) {
            #expect((try? SyncRequest(decoding: request.encoded())) == request)
        }
        if let answer = try? SyncAnswer(decoding: bytes) {
            #expect((try? SyncAnswer(decoding: answer.encoded())) != nil)
        }
        _ = try? EnrollRequest(decoding: bytes)
        _ = try? EnrollAnswer(decoding: bytes)
        _ = try? HistoryCoding.decodeRequest(bytes)
        _ = try? HistoryCoding.decodeAnswer(bytes)
    }
}
