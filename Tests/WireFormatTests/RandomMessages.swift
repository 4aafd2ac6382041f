import NeedModel
import SyncCore
import WireFormat

/// Random messages of every shape that the types allow.
struct RandomMessages {
    var generator: SplitMix64

    mutating func number() -> UInt64 { generator.next() >> UInt64(generator.below(64)) }

    mutating func text() -> String {
        ["", "路灯", "a\u{0}b", "独居老人需要帮忙", "👵🏽"].randomElement(using: &generator)!
    }

    mutating func replica() -> ReplicaID {
        // Few, so that tables have something to share.
        [0x1, 0xabcdef, ReplicaID.bitMask].map { ReplicaID(truncating: $0) }
            .randomElement(using: &generator)!
    }

    mutating func dot() -> Dot { Dot(replica(), number()) }

    mutating func position() -> Position { Position(term: replica(), sequence: number()) }

    mutating func record() -> RecordID {
        RecordID(
            milliseconds: generator.wildNumber(), replica: replica(),
            number: number() & RecordID.numberMask)
    }

    mutating func clocks() -> ClockReading {
        ClockReading(
            wallMilliseconds: generator.wildNumber(),
            boot: [0, 1, .max].randomElement(
                using: &generator)!, elapsedMilliseconds: generator.wildNumber())
    }

    mutating func value() -> [UInt8]? {
        generator.oneIn(4) ? nil : generator.bytes(countMax: generator.oneIn(20) ? 3_000 : 12)
    }

    mutating func groups() -> [ChangeGroup] {
        var counter = 1 + number() >> 3
        return (0..<generator.below(6)).map { _ in
            let fields = Set((0...generator.below(5)).map { _ in UInt32(generator.below(20)) })
            let group = ChangeGroup(
                record: record(),
                createdKind: generator.oneIn(2) ? nil : UInt32(generator.below(9)),
                firstCounter: counter,
                changes: fields.shuffled(using: &generator).map {
                    Change(field: $0, value: value())
                },
                base: generator.oneIn(3) ? .origin : position(), written: clocks())
            counter = group.nextCounter
            return group
        }
    }

    mutating func request() -> SyncRequest {
        let groups = groups()
        let gap = generator.oneIn(4) ? gap() : nil
        return SyncRequest(
            attempt: UInt32(truncatingIfNeeded: generator.next()), replica: replica(),
            nextCounter: max((groups.last?.nextCounter ?? 0) + number() >> 4, 1),
            cursor: generator.oneIn(3) ? .origin : position(), scope: number(),
            clocks: clocks(), resume: generator.bytes(countMax: 20),
            pageBytes: Limits.pageBytesMin
                + generator.below(Limits.pageBytesMax - Limits.pageBytesMin + 1),
            groups: groups,
            chain: groups.isEmpty && gap == nil && generator.oneIn(2)
                ? nil : HashChain(number() | 1),
            ancestors: (0..<generator.below(4)).map { _ in dot() }.sorted().map {
                Ancestor($0, chain: HashChain(number()))
            },
            gap: gap,
            recovery: generator.oneIn(3) ? recovery() : nil,
            audit: generator.oneIn(3)
                ? AuditRequest(
                    parts: (0..<generator.below(4)).map { _ in auditPart() },
                    refetch: (0..<generator.below(4)).map { _ in record() }) : nil)
    }

    mutating func gap() -> SyncRequest.Gap {
        let end = number() | 1
        return SyncRequest.Gap(counters: number() % end..<end, chain: HashChain(number()))
    }

    mutating func recovery() -> SyncRequest.Recovery {
        var sequence: UInt64 = 0
        return SyncRequest.Recovery(
            confirmed: position(),
            reached: (0..<generator.below(4)).map { _ in
                sequence += 1 + UInt64(generator.below(1_000))
                return Position(term: replica(), sequence: sequence)
            },
            records: page().records.filter { !$0.versions.isEmpty }.map { record in
                var record = record
                record.contested = record.fields.map(\.field).filter { _ in generator.oneIn(3) }
                for field in record.fields.indices {
                    for version in record.fields[field].versions.indices {
                        var one = record.fields[field].versions[version]
                        if one.value == .asSent { one.value = .cleared }
                        one.stamp.dot.counter = one.stamp.dot.counter >> 3 | 1
                        one.sequence = one.sequence >> 3 | 1
                        record.fields[field].versions[version] = one
                    }
                }
                return record
            })
    }

    mutating func auditPart() -> AuditPart {
        generator.oneIn(3)
            ? .scope
            : AuditPart(
                bucket: generator.below(Limits.bucketsPerScopeMax),
                prefix: generator.bytes(countMax: Limits.auditPrefixBytesMax))
    }

    mutating func finding() -> AuditFinding {
        AuditFinding(
            part: auditPart(),
            content: generator.oneIn(2)
                ? .digests((0..<generator.below(9)).map { _ in generator.next() })
                : .records(
                    (0..<generator.below(9)).map { _ in
                        AuditFinding.Record(id: record(), digest: generator.next())
                    }))
    }

    mutating func page() -> Page {
        let records = (0..<generator.below(6)).map { _ in
            let fields = Set((0..<generator.below(5)).map { _ in UInt32(generator.below(20)) })
            return PageRecord(
                id: record(), kind: UInt32(generator.below(9)),
                createdMilliseconds: generator.oneIn(2) ? nil : generator.wildNumber(),
                contested: generator.oneIn(3) ? [9, 10] : [],
                places: HeldPlaces(rawValue: UInt8(generator.below(16))),
                fields: fields.sorted().map { field in
                    PageRecord.Field(
                        field: field,
                        versions: (0...generator.below(3)).map { _ in
                            let value: PageRecord.Value =
                                generator.oneIn(3)
                                ? .asSent : value().map { .bytes($0) } ?? .cleared
                            return PageRecord.Version(
                                value: value,
                                stamp: Stamp(milliseconds: generator.wildNumber(), dot: dot()),
                                sequence: number())
                        })
                })
        }
        return Page(
            restart: generator.oneIn(3), cursor: generator.oneIn(2) ? nil : position(),
            resume: generator.bytes(countMax: 20), records: records,
            departed: (0..<generator.below(4)).map { _ in record() },
            writers: (0..<generator.below(4)).map { _ in
                Page.Writer(replica: replica(), name: text())
            },
            scopeDigest: generator.oneIn(2) ? generator.next() : nil,
            findings: (0..<generator.below(4)).map { _ in finding() })
    }

    mutating func outcomes() -> Outcomes {
        Outcomes(
            settledCounter: number(), firstSequence: number(),
            superseded: (0..<generator.below(4)).map { _ in
                Outcomes.Superseded(firstCounter: number(), fields: [1, 10])
            },
            refusals: (0..<generator.below(4)).map { _ in
                Outcomes.Refusal(
                    firstCounter: number(), code: UInt32(generator.below(40)),
                    field: UInt32(generator.below(40)), reason: text())
            },
            forkCounter: generator.oneIn(3) ? number() | 1 : nil,
            expectedCounter: generator.oneIn(3) ? number() | 1 : nil)
    }

    mutating func assignment() -> Assignment {
        let buckets: [Bucket] = (0..<generator.below(6)).map { _ in
            switch generator.below(4) {
            case 0: .reference
            case 1: .recordedBy(device: generator.wildNumber())
            case 2: .team(text())
            default: .grid("15\(generator.below(100))")
            }
        }
        return Assignment(
            device: generator.wildNumber(), deviceName: text(),
            role: Role.allCases.randomElement(using: &generator)!, territory: text(),
            team: text(), banner: text(), offsetMinutes: generator.below(2_881) - 1_440,
            scope: Scope(buckets))
    }

    mutating func answer() -> SyncAnswer {
        SyncAnswer(
            attempt: UInt32(truncatingIfNeeded: generator.next()),
            hubMilliseconds: generator.wildNumber(),
            outcomes: generator.oneIn(3) ? nil : outcomes(),
            page: generator.oneIn(4) ? nil : page(),
            assignment: generator.oneIn(2) ? nil : assignment(),
            schema: UInt32(generator.below(3)))
    }

    /// An answer whose page has much of what the request sent, mostly as can be foretold.
    mutating func exchange() -> (request: SyncRequest, answer: SyncAnswer) {
        let request = request()
        var answer = answer()
        answer.attempt = request.attempt
        guard answer.page != nil else { return (request, answer) }
        if generator.oneIn(2) {
            answer.page?.cursor = Position(
                term: request.cursor.term, sequence: generator.oneIn(2) ? number() : 0)
        }
        for group in request.groups where !generator.oneIn(4) {
            let sequence = (answer.outcomes?.firstSequence ?? 0) &+ number() & 3
            let stamp = generator.oneIn(3) ? generator.wildNumber() : answer.hubMilliseconds
            let isOdd = generator.oneIn(6)
            let record = PageRecord(
                id: group.record, kind: group.createdKind ?? 1,
                createdMilliseconds: generator.oneIn(2) ? nil : generator.wildNumber(),
                places: HeldPlaces(rawValue: UInt8(generator.below(16))),
                fields: group.changes.enumerated().map { index, change in
                    PageRecord.Field(
                        field: change.field,
                        versions: [
                            PageRecord.Version(
                                value: isOdd && generator.oneIn(3) ? .cleared : .asSent,
                                stamp: Stamp(
                                    milliseconds: isOdd && generator.oneIn(3) ? 0 : stamp,
                                    dot: Dot(
                                        request.replica, group.firstCounter &+ UInt64(index))),
                                sequence: sequence &+ UInt64(index))
                        ])
                }.sorted { $0.field < $1.field })
            let count = answer.page?.records.count ?? 0
            answer.page?.records.insert(
                record, at: generator.oneIn(3) ? generator.below(count + 1) : count)
        }
        return (request, answer)
    }

    mutating func history() -> [HistoryEntry] {
        (0..<generator.below(5)).map { _ in
            HistoryEntry(
                field: UInt32(generator.below(20)), value: value(),
                stamp: Stamp(milliseconds: generator.wildNumber(), dot: dot()),
                sequence: number(), writer: text(),
                clock: VectorClock((0..<generator.below(4)).map { _ in dot() }),
                isLive: generator.oneIn(2), isWinner: generator.oneIn(2),
                isTimeUncertain: generator.oneIn(2))
        }
    }
}
