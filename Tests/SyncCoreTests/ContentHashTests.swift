import SyncCore
import Testing

@Suite struct ContentHashTests {
    private func version(_ generator: inout SplitMix64) -> Version {
        Version(
            value: generator.oneIn(4) ? nil : generator.bytes(countMax: 6),
            stamp: Stamp(
                milliseconds: 0,
                dot: Dot(ReplicaID(truncating: generator.next()), generator.next() >> 20)),
            sequence: 1, clock: ShortClock(base: 0))
    }

    @Test func aDigestDoesNotDependOnTheOrderOfItsChanges() {
        forEachSeed(1_000) { generator in
            let record = RecordID(high: generator.next(), low: generator.next())
            let shares = (0..<8).map { field in
                BucketDigest.share(
                    record: record, field: UInt32(field), version: version(&generator))
            }
            let kept = shares.prefix(5)
            let expected = kept.reduce(0, &+)
            // All eight come, the last three go, in any order that does not matter.
            var steps = shares.map { (share: $0, adds: true) }
            steps += shares.dropFirst(5).map { (share: $0, adds: false) }
            steps.shuffle(using: &generator)
            let digest = steps.reduce(0) { $1.adds ? $0 &+ $1.share : $0 &- $1.share }
            try check(digest == expected, "\(digest)")
        }
    }

    @Test func everyPartOfAShareCounts() {
        let record = RecordID(high: 1, low: 2)
        let other = RecordID(high: 1, low: 3)
        func one(_ replica: UInt64 = 5, _ counter: UInt64 = 6, _ value: [UInt8]? = [7]) -> Version {
            Version(
                value: value,
                stamp: Stamp(
                    milliseconds: 0, dot: Dot(ReplicaID(truncating: replica), counter)),
                sequence: 1, clock: ShortClock(base: 0))
        }
        let shares = [
            BucketDigest.share(record: record, field: 1, version: one()),
            BucketDigest.share(record: other, field: 1, version: one()),
            BucketDigest.share(record: record, field: 2, version: one()),
            BucketDigest.share(record: record, field: 1, version: one(6)),
            BucketDigest.share(record: record, field: 1, version: one(5, 7)),
            BucketDigest.share(record: record, field: 1, version: one(5, 6, [8])),
            BucketDigest.share(record: record, field: 1, version: one(5, 6, [])),
            BucketDigest.share(record: record, field: 1, version: one(5, 6, nil)),
        ]
        #expect(Set(shares).count == shares.count)
    }

    @Test func piecesHashAsTheWhole() {
        forEachSeed(1_000) { generator in
            let bytes = generator.bytes(countMax: 40)
            let middle = generator.below(bytes.count + 1)
            var whole = ContentHash()
            whole.combine(bytes)
            var pieces = ContentHash()
            pieces.combine(Array(bytes[..<middle]))
            pieces.combine(Array(bytes[middle...]))
            try check(whole.value == pieces.value)
        }
    }
}
