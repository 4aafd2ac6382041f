import NeedModel
import SyncCore
import WireFormat

// The meanings in `protocol/vectors/messages.json`, and the messages that they stand for.

struct PositionText: Decodable {
    let term: ReplicaText
    let sequence: Exact<UInt64>

    var value: Position { Position(term: term.id, sequence: sequence.value) }
}

struct ClocksText: Decodable {
    let wall: Exact<Int64>
    let boot: Exact<UInt64>
    let elapsed: Exact<Int64>

    var value: ClockReading {
        ClockReading(
            wallMilliseconds: wall.value, boot: boot.value, elapsedMilliseconds: elapsed.value)
    }
}

/// `[field, bytes or null]`.
struct ChangeText: Decodable {
    let value: Change

    init(from decoder: any Decoder) throws {
        var container = try decoder.unkeyedContainer()
        let field = try container.decode(UInt32.self)
        value = Change(field: field, value: try container.decodeIfPresent(Hex.self)?.bytes)
    }
}

struct GroupText: Decodable {
    let record: RecordText
    let createdKind: UInt32?
    let firstCounter: Exact<UInt64>
    let changes: [ChangeText]
    let base: PositionText
    let written: ClocksText

    var value: ChangeGroup {
        ChangeGroup(
            record: record.id, createdKind: createdKind, firstCounter: firstCounter.value,
            changes: changes.map(\.value), base: base.value, written: written.value)
    }
}

struct AuditPartText: Decodable {
    let bucket: Int?
    let prefix: Hex

    var value: AuditPart { AuditPart(bucket: bucket, prefix: prefix.bytes) }
}

struct AuditText: Decodable {
    let parts: [AuditPartText]
    let refetch: [RecordText]

    var value: AuditRequest {
        AuditRequest(parts: parts.map(\.value), refetch: refetch.map(\.id))
    }
}

struct FindingText: Decodable {
    struct ListedText: Decodable {
        let id: RecordText
        let digest: Exact<UInt64>
    }

    let part: AuditPartText
    let digests: [Exact<UInt64>]?
    let records: [ListedText]?

    var value: AuditFinding {
        AuditFinding(
            part: part.value,
            content: records.map {
                .records($0.map { AuditFinding.Record(id: $0.id.id, digest: $0.digest.value) })
            } ?? .digests((digests ?? []).map(\.value)))
    }
}

struct AncestorText: Decodable {
    let ancestor: Ancestor

    init(from decoder: any Decoder) throws {
        var container = try decoder.unkeyedContainer()
        let replica = try container.decode(ReplicaText.self).id
        let counter = try container.decode(Exact<UInt64>.self).value
        let chain = try container.decode(Exact<UInt64>.self).value
        ancestor = Ancestor(Dot(replica, counter), chain: HashChain(chain))
    }
}

struct RequestText: Decodable {
    let attempt: UInt32
    let replica: ReplicaText
    let nextCounter: Exact<UInt64>
    let cursor: PositionText?
    let scope: Exact<UInt64>
    let clocks: ClocksText
    let resume: Hex
    let pageBytes: Int
    let groups: [GroupText]
    let chain: Exact<UInt64>?
    let ancestors: [AncestorText]
    let heldFrom: Exact<UInt64>?
    let missingFrom: Exact<UInt64>?
    let missingChain: Exact<UInt64>?
    let recovery: RecoveryText?

    struct RecoveryText: Decodable {
        let confirmed: PositionText
        let reached: [PositionText]
        let records: [PageText.PageRecordText]
    }
    let audit: AuditText?

    var value: SyncRequest {
        SyncRequest(
            attempt: attempt, replica: replica.id, nextCounter: nextCounter.value,
            cursor: cursor?.value ?? .origin, scope: scope.value, clocks: clocks.value,
            resume: resume.bytes, pageBytes: pageBytes, groups: groups.map(\.value),
            chain: chain.map { HashChain($0.value) }, ancestors: ancestors.map(\.ancestor),
            gap: heldFrom.map {
                SyncRequest.Gap(
                    counters: (missingFrom?.value ?? 0)..<$0.value,
                    chain: HashChain(missingChain?.value ?? 0))
            },
            recovery: recovery.map {
                SyncRequest.Recovery(
                    confirmed: $0.confirmed.value, reached: $0.reached.map(\.value),
                    records: $0.records.map(\.record))
            }, audit: audit?.value)
    }
}

struct OutcomesText: Decodable {
    struct SupersededText: Decodable {
        let firstCounter: Exact<UInt64>
        let fields: [UInt32]
    }

    struct RefusalText: Decodable {
        let firstCounter: Exact<UInt64>
        let code: UInt32
        let field: UInt32
        let reason: String
    }

    let settledCounter: Exact<UInt64>
    let firstSequence: Exact<UInt64>
    let superseded: [SupersededText]
    let refusals: [RefusalText]
    let forkCounter: Exact<UInt64>?
    let expectedCounter: Exact<UInt64>?

    var value: Outcomes {
        Outcomes(
            settledCounter: settledCounter.value, firstSequence: firstSequence.value,
            superseded: superseded.map {
                Outcomes.Superseded(firstCounter: $0.firstCounter.value, fields: $0.fields)
            },
            refusals: refusals.map {
                Outcomes.Refusal(
                    firstCounter: $0.firstCounter.value, code: $0.code, field: $0.field,
                    reason: $0.reason)
            }, forkCounter: forkCounter?.value, expectedCounter: expectedCounter?.value)
    }
}

struct PageText: Decodable {
    struct VersionText: Decodable {
        let replica: ReplicaText
        let counter: Exact<UInt64>
        let sequence: Exact<UInt64>
        let stamp: Exact<Int64>
        let value: String

        var version: PageRecord.Version {
            let content: PageRecord.Value =
                switch value {
                case "as-sent": .asSent
                case "cleared": .cleared
                default: .bytes(Hex(value)?.bytes ?? [])
                }
            return PageRecord.Version(
                value: content,
                stamp: Stamp(
                    milliseconds: stamp.value, dot: Dot(replica.id, counter.value)),
                sequence: sequence.value)
        }
    }

    struct FieldText: Decodable {
        let field: UInt32
        let versions: [VersionText]
    }

    struct PageRecordText: Decodable {
        let id: RecordText
        let kind: UInt32
        let created: Exact<Int64>?
        let contested: [UInt32]
        let places: UInt8
        let fields: [FieldText]

        var record: PageRecord {
            PageRecord(
                id: id.id, kind: kind, createdMilliseconds: created?.value,
                contested: contested, places: HeldPlaces(rawValue: places),
                fields: fields.map {
                    PageRecord.Field(field: $0.field, versions: $0.versions.map(\.version))
                })
        }
    }

    struct WriterText: Decodable {
        let replica: ReplicaText
        let name: String
    }

    let restart: Bool
    let cursor: PositionText?
    let resume: Hex
    let records: [PageRecordText]
    let departed: [RecordText]
    let writers: [WriterText]
    let scopeDigest: Exact<UInt64>?
    let findings: [FindingText]

    var value: Page {
        Page(
            restart: restart, cursor: cursor?.value, resume: resume.bytes,
            records: records.map(\.record),
            departed: departed.map(\.id),
            writers: writers.map { Page.Writer(replica: $0.replica.id, name: $0.name) },
            scopeDigest: scopeDigest?.value, findings: findings.map(\.value))
    }
}

struct AssignmentText: Decodable {
    let buckets: [String]
    let role: UInt8
    let deviceName: String
    let territory: String
    let team: String
    let banner: String
    let offsetMinutes: Int
    let device: Exact<Int64>

    struct Unknown: Error {}

    func value() throws -> Assignment {
        guard let role = Role(rawValue: role) else { throw Unknown() }
        return Assignment(
            device: device.value, deviceName: deviceName, role: role, territory: territory,
            team: team, banner: banner, offsetMinutes: offsetMinutes,
            scope: Scope(
                try buckets.map {
                    guard let bucket = Bucket(name: $0) else { throw Unknown() }
                    return bucket
                }))
    }
}

struct AnswerText: Decodable {
    let attempt: UInt32
    let hubMilliseconds: Exact<Int64>
    let outcomes: OutcomesText?
    let page: PageText?
    let assignment: AssignmentText?
    let schema: UInt32
    let line: [TermStartText]
    let recovered: PositionText?

    struct TermStartText: Decodable {
        let term: ReplicaText
        let first: Exact<UInt64>
    }

    func value() throws -> SyncAnswer {
        SyncAnswer(
            attempt: attempt, hubMilliseconds: hubMilliseconds.value, outcomes: outcomes?.value,
            page: page?.value, assignment: try assignment?.value(), schema: schema,
            line: line.map { TermLine.Entry(term: $0.term.id, first: $0.first.value) },
            recovered: recovered?.value)
    }
}

struct EnrollRequestText: Decodable {
    let code: String
    let replica: ReplicaText

    var value: EnrollRequest { EnrollRequest(code: code, replica: replica.id) }
}

struct EnrollAnswerText: Decodable {
    let token: String
    let assignment: AssignmentText
    let forkCounter: Exact<UInt64>?

    func value() throws -> EnrollAnswer {
        EnrollAnswer(
            token: token, assignment: try assignment.value(), forkCounter: forkCounter?.value)
    }
}

struct HistoryRequestText: Decodable {
    let record: RecordText
}

struct HistoryAnswerText: Decodable {
    struct EntryText: Decodable {
        let replica: ReplicaText
        let counter: Exact<UInt64>
        let sequence: Exact<UInt64>
        let stamp: Exact<Int64>
        let field: UInt32
        let value: Hex?
        let writer: String
        let clock: [DotText]
        let live: Bool
        let winner: Bool
        let uncertain: Bool
    }

    let entries: [EntryText]
}

extension HistoryAnswerText.EntryText {
    var entry: HistoryEntry {
        HistoryEntry(
            field: field, value: value?.bytes,
            stamp: Stamp(milliseconds: stamp.value, dot: Dot(replica.id, counter.value)),
            sequence: sequence.value, writer: writer, clock: VectorClock(clock.map(\.dot)),
            isLive: live, isWinner: winner, isTimeUncertain: uncertain)
    }
}
