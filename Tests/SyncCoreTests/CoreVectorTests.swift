import SyncCore
import Testing

/// Runs `protocol/vectors` that concern names, clocks, merge, admission and hashes.
@Suite struct CoreVectorTests {
    @Test func recordIDs() throws {
        struct Case: Decodable {
            let milliseconds: Exact<Int64>
            let millisecondsKept: Exact<Int64>
            let replica: ReplicaText
            let number: UInt64
            let text: String
            let bytes: Hex
        }
        struct File: Decodable { let cases: [Case] }
        for one in try Vectors.load("record-ids", as: File.self).cases {
            let id = RecordID(
                milliseconds: one.milliseconds.value, replica: one.replica.id,
                number: one.number)
            #expect(id.description == one.text)
            #expect(id.bytes == one.bytes.bytes)
            #expect(RecordID(one.text) == id)
            #expect(id.milliseconds == one.millisecondsKept.value)
            #expect(id.replica == one.replica.id)
            #expect(id.number == one.number)
        }
    }

    @Test func positions() throws {
        struct Case: Decodable {
            let term: ReplicaText
            let sequence: Exact<UInt64>
            let cut: UInt64
            let isOnLine: Bool
        }
        struct File: Decodable {
            let line: [DotText]
            let head: UInt64
            let cases: [Case]
        }
        let file = try Vectors.load("positions", as: File.self)
        let line = TermLine(file.line)
        for one in file.cases {
            let position = Position(term: one.term.id, sequence: one.sequence.value)
            #expect(line.cut(position, head: file.head) == one.cut, "\(position)")
            #expect(line.contains(position, head: file.head) == one.isOnLine, "\(position)")
        }
    }

    @Test func restores() throws {
        struct VersionText: Decodable {
            let sequence: UInt64
            let base: UInt64
            let seen: [DotText]
            let former: [DotText]
        }
        struct Case: Decodable {
            let about: String
            let line: [DotText]
            let head: UInt64
            let reached: [DotText]
            let shared: UInt64
            let lost: [DotText]
            let kept: [DotText]
            let versions: [VersionText]
        }
        struct ClockText: Decodable {
            let replica: ReplicaText
            let counter: UInt64
            let sequence: UInt64
            let base: UInt64
            let ancestors: [DotText]
            let former: [DotText]

            var version: Version {
                Version(
                    value: nil,
                    stamp: Stamp(milliseconds: 0, dot: Dot(replica.id, counter)),
                    sequence: sequence,
                    clock: ShortClock(base: base, ancestors: ancestors.map(\.dot)),
                    formerPositions: former.map(\.position))
            }
        }
        struct Pair: Decodable {
            let about: String
            let later: ClockText
            let earlier: ClockText
            let covers: Bool
        }
        struct File: Decodable {
            let cases: [Case]
            let pairs: [Pair]
        }
        let file = try Vectors.load("restores", as: File.self)
        for one in file.cases {
            let line = TermLine(one.line)
            let lost = LostPart(
                reached: one.reached.map(\.position), line: line, head: one.head)
            #expect(lost.shared == one.shared, "\(one.about)")
            #expect(lost.reached == one.lost.map(\.position), "\(one.about)")
            #expect(lost.kept == one.kept.map(\.position), "\(one.about)")
            let sequences = one.versions.map(\.sequence)
            let clock = lost.clock(oldest: sequences.min() ?? 0)
            for version in one.versions {
                #expect(clock.base == version.base, "\(one.about)")
                #expect(clock.ancestors == version.seen.map(\.dot).sorted(), "\(one.about)")
                #expect(
                    lost.formerPositions(of: version.sequence)
                        == version.former.map(\.position), "\(one.about)")
            }
        }
        for pair in file.pairs {
            #expect(pair.later.version.covers(pair.earlier.version) == pair.covers, "\(pair.about)")
        }
    }

    @Test func clocks() throws {
        struct Compared: Decodable {
            let about: String
            let left: [DotText]
            let right: [DotText]
            let leftIs: String
            let rightIs: String
            let merged: [DotText]
        }
        struct Expanded: Decodable {
            let about: String
            let dot: DotText
            let base: UInt64
            let term: ReplicaText
            let ancestors: [DotText]
            let admitted: [DotText]
            let full: [DotText]
        }
        struct File: Decodable {
            let compared: [Compared]
            let expanded: [Expanded]
        }
        let file = try Vectors.load("clocks", as: File.self)
        for one in file.compared {
            let left = VectorClock(one.left.map(\.dot))
            let right = VectorClock(one.right.map(\.dot))
            #expect("\(left.compared(to: right))" == one.leftIs, "\(one.about)")
            #expect("\(right.compared(to: left))" == one.rightIs, "\(one.about)")
            #expect(left.merged(with: right).entries == one.merged.map(\.dot), "\(one.about)")
        }
        for one in file.expanded {
            let full = ShortClock(base: one.base, ancestors: one.ancestors.map(\.dot)).expanded(
                for: one.dot.dot, term: one.term.id,
                admitted: VectorClock(one.admitted.map(\.dot)))
            #expect(full.entries == one.full.map(\.dot), "\(one.about)")
        }
    }

    @Test func stamps() throws {
        struct Case: Decodable {
            let about: String
            let estimate: Exact<Int64>
            let newestSeen: Exact<Int64>?
            let newestOwn: Exact<Int64>?
            let newestCovered: Exact<Int64>?
            let now: Int64
            let stamp: Exact<Int64>
        }
        struct File: Decodable { let cases: [Case] }
        for one in try Vectors.load("stamps", as: File.self).cases {
            let stamp = StampLaw.milliseconds(
                estimate: one.estimate.value, newestSeen: one.newestSeen?.value,
                newestOwn: one.newestOwn?.value, newestCovered: one.newestCovered?.value,
                now: one.now)
            #expect(stamp == one.stamp.value, "\(one.about)")
        }
    }

    @Test func estimates() throws {
        struct Reading: Decodable {
            let wall: Exact<Int64>
            let boot: Exact<UInt64>
            let elapsed: Exact<Int64>

            var clocks: ClockReading {
                ClockReading(
                    wallMilliseconds: wall.value, boot: boot.value,
                    elapsedMilliseconds: elapsed.value)
            }
        }
        struct Case: Decodable {
            let about: String
            let written: Reading
            let sent: Reading
            let hub: Int64
            let offset: Exact<Int64>?
            let estimate: Exact<Int64>
            let basis: String
        }
        struct File: Decodable { let cases: [Case] }
        for one in try Vectors.load("estimates", as: File.self).cases {
            let estimate = WriteTimeEstimate(
                written: one.written.clocks, sent: one.sent.clocks, hub: one.hub,
                measuredOffset: one.offset?.value)
            #expect(estimate.milliseconds == one.estimate.value, "\(one.about)")
            let basis =
                switch estimate.basis {
                case .elapsed: "elapsed"
                case .correctedWall: "corrected-wall"
                case .wall: "wall"
                }
            #expect(basis == one.basis, "\(one.about)")
        }
    }

    private struct VersionText: Decodable {
        let replica: ReplicaText
        let counter: UInt64
        let sequence: UInt64
        let base: UInt64
        let ancestors: [DotText]
        let value: Hex?
        let stamp: Int64

        var version: Version {
            Version(
                value: value?.bytes,
                stamp: Stamp(milliseconds: stamp, dot: Dot(replica.id, counter)),
                sequence: sequence,
                clock: ShortClock(base: base, ancestors: ancestors.map(\.dot)))
        }
    }

    @Test func merge() throws {
        struct Step: Decodable {
            let replica: ReplicaText
            let counter: UInt64
            let sequence: UInt64
            let base: UInt64
            let ancestors: [DotText]
            let value: Hex?
            let stamp: Int64
            let now: Int64
            let estimate: Int64
            let newestSeen: Int64?
            let newestOwn: Int64?
            let newestCovered: Int64?
            let live: [UInt64]
            let conflict: Bool
        }
        struct History: Decodable { let steps: [Step] }
        struct File: Decodable { let histories: [History] }
        for history in try Vectors.load("merge", as: File.self).histories {
            var register = Register()
            var versions: [Version] = []
            for step in history.steps {
                var version = Version(
                    value: step.value?.bytes,
                    stamp: Stamp(milliseconds: 0, dot: Dot(step.replica.id, step.counter)),
                    sequence: step.sequence,
                    clock: ShortClock(base: step.base, ancestors: step.ancestors.map(\.dot)))
                #expect(register.newestCovered(by: version) == step.newestCovered)
                version.stamp.milliseconds = StampLaw.milliseconds(
                    estimate: step.estimate, newestSeen: step.newestSeen,
                    newestOwn: step.newestOwn, newestCovered: register.newestCovered(by: version),
                    now: step.now)
                #expect(version.stamp.milliseconds == step.stamp)
                register.insert(version)
                versions.append(version)
                #expect(register.versions.map(\.sequence) == step.live)
                #expect(register.isInConflict == step.conflict)
                #expect(register.winner?.sequence == step.live.first)
            }
            var backwards = Register()
            for version in versions.reversed() { backwards.insert(version) }
            #expect(backwards == register)
        }
    }

    @Test func tombstones() throws {
        struct FieldText: Decodable {
            let field: UInt32
            let versions: [VersionText]
        }
        struct Case: Decodable {
            let about: String
            let delete: [VersionText]
            let fields: [FieldText]
            let contested: [UInt32]
        }
        struct File: Decodable { let tombstones: [Case] }
        for one in try Vectors.load("merge", as: File.self).tombstones {
            let contested = Tombstone.contestedFields(
                of: Register(live: one.delete.map(\.version)),
                among: one.fields.map {
                    (field: $0.field, register: Register(live: $0.versions.map(\.version)))
                })
            #expect(contested == one.contested, "\(one.about)")
        }
    }

    @Test func admission() throws {
        struct Group: Decodable {
            let firstCounter: UInt64
            let changes: UInt64
            let content: String

            var group: ChangeGroup {
                ChangeGroup(
                    record: RecordID(high: 1, low: 1), createdKind: nil,
                    firstCounter: firstCounter,
                    changes: (0..<changes).map {
                        Change(field: UInt32($0), value: Array(content.utf8))
                    }, base: .origin,
                    written: ClockReading(
                        wallMilliseconds: 0, boot: 1, elapsedMilliseconds: 0))
            }
        }
        struct Judgement: Decodable {
            let admit: Int?
            let known: Int?
            let fork: UInt64?
            let expected: UInt64?
        }
        struct Case: Decodable {
            let about: String
            let groups: [Group]
            let isSameBelow: Bool
            let expected: UInt64
            let nextCounter: UInt64
            let stored: [Group]
            let judgement: Judgement
        }
        struct File: Decodable { let cases: [Case] }
        for one in try Vectors.load("admission", as: File.self).cases {
            let stored = one.stored.map(\.group)
            let judged = Admission.judge(
                groups: one.groups.map(\.group), expected: one.expected,
                deviceNextCounter: one.nextCounter, isSameBelow: { _ in one.isSameBelow },
                stored: { counter in stored.first { $0.firstCounter == counter } })
            let known = one.judgement.known ?? 0
            let expected: Admission =
                if let counter = one.judgement.fork {
                    .fork(index: known, counter: counter)
                } else if let counter = one.judgement.expected {
                    .expected(counter: counter)
                } else {
                    .admit(knownGroups: known)
                }
            #expect(judged == expected, "\(one.about)")
            if let admit = one.judgement.admit { #expect(one.groups.count == known + admit) }
        }
    }

    @Test func hashes() throws {
        struct Case: Decodable {
            let bytes: Hex
            let hash: Hex
        }
        struct File: Decodable { let cases: [Case] }
        for one in try Vectors.load("hashes", as: File.self).cases {
            var hash = ContentHash()
            hash.combine(one.bytes.bytes)
            #expect(bytes(of: hash.value) == one.hash.bytes)
        }
    }

    @Test func digests() throws {
        struct Case: Decodable {
            let record: RecordText
            let field: UInt32
            let replica: ReplicaText
            let counter: Exact<UInt64>
            let value: Hex?
            let share: Hex
        }
        struct Hashed: Decodable {
            let record: RecordText
            let hash: Hex
        }
        struct File: Decodable {
            let cases: [Case]
            let digest: Hex
            let hashes: [Hashed]
        }
        let file = try Vectors.load("digests", as: File.self)
        for one in file.hashes {
            let hash = BucketDigest.hash(of: one.record.id)
            #expect(bytes(of: hash) == one.hash.bytes)
            #expect((0..<8).map { hash.byte($0) } == one.hash.bytes)
            #expect(hash.begins(with: Array(one.hash.bytes.prefix(3))))
            #expect(!hash.begins(with: [one.hash.bytes[0] ^ 1]))
        }
        var digest: UInt64 = 0
        for one in file.cases {
            let share = BucketDigest.share(
                record: one.record.id, field: one.field,
                version: Version(
                    value: one.value?.bytes,
                    stamp: Stamp(
                        milliseconds: 0, dot: Dot(one.replica.id, one.counter.value)),
                    sequence: 1, clock: ShortClock(base: 0)))
            #expect(bytes(of: share) == one.share.bytes)
            digest &+= share
        }
        #expect(bytes(of: digest) == file.digest.bytes)
    }

    private func bytes(of number: UInt64) -> [UInt8] {
        stride(from: 56, through: 0, by: -8).map {
            UInt8(truncatingIfNeeded: number >> UInt64($0))
        }
    }
}
