import NeedModel
import SwiftProtobuf
package import SyncCore

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

// Between the messages of `Messages.swift` and protobuf bytes. Decoding trusts nothing: every
// count, index and length is checked before it is used.

private func parsed<Message: SwiftProtobuf.Message>(
    _ type: Message.Type, _ bytes: [UInt8]
) throws(FrameError) -> Message {
    do {
        return try Message(serializedBytes: bytes)
    } catch {
        throw .malformed("not the protobuf message that belongs here")
    }
}

private func serialized(_ message: some SwiftProtobuf.Message) -> [UInt8] {
    do {
        return try message.serializedBytes()
    } catch {
        // Only required fields (proto2) and messages above 2 GiB can fail, and we have neither.
        preconditionFailure("protobuf cannot encode: \(error)")
    }
}

extension Position {
    fileprivate var wire: Waystation_V1_Position {
        .with {
            $0.term = term.rawValue
            $0.sequence = sequence
        }
    }

    fileprivate init(_ wire: Waystation_V1_Position) {
        self.init(term: TermID(truncating: wire.term), sequence: wire.sequence)
    }
}

extension Dot {
    fileprivate var wire: Waystation_V1_Dot {
        .with {
            $0.replica = replica.rawValue
            $0.counter = counter
        }
    }

    fileprivate init(_ wire: Waystation_V1_Dot) {
        self.init(ReplicaID(truncating: wire.replica), wire.counter)
    }
}

extension Ancestor {
    fileprivate var wire: Waystation_V1_Ancestor {
        .with {
            $0.replica = dot.replica.rawValue
            $0.counter = dot.counter
            $0.chain = chain.value
        }
    }

    fileprivate init(_ wire: Waystation_V1_Ancestor) {
        self.init(
            Dot(ReplicaID(truncating: wire.replica), wire.counter), chain: HashChain(wire.chain))
    }
}

// MARK: - Batch

/// Groups as columns: the content of a request, and the form in which the ledger keeps it.
package enum BatchCoding {
    /// What a request says of itself and its batch need not say again.
    struct Context {
        var replica: ReplicaID
        var cursor: Position
        var clocks: ClockReading

        fileprivate var wallLessElapsed: Int64 {
            clocks.wallMilliseconds &- clocks.elapsedMilliseconds
        }
    }

    package static func encode(_ groups: [ChangeGroup]) -> [UInt8] {
        serialized(wire(groups, in: nil))
    }

    package static func decode(
        _ bytes: [UInt8]
    ) throws(FrameError) -> [ChangeGroup] {
        try groups(parsed(Waystation_V1_Batch.self, bytes), in: nil)
    }

    static func wire(_ groups: [ChangeGroup], in context: Context?) -> Waystation_V1_Batch {
        var batch = Waystation_V1_Batch()
        guard let first = groups.first else { return batch }
        batch.firstCounter = first.firstCounter
        var bases = Table(known: context?.cursor)
        var boots = Table(known: context?.clocks.boot)
        var elapsed = DeltaEncoder(from: context?.clocks.elapsedMilliseconds ?? 0)
        var walls = DeltaEncoder(from: context?.wallLessElapsed ?? 0)
        var changes: [(field: UInt32, value: SizedValue)] = []
        // Gathered outside the message, as in `Page.wire`.
        var counts: [UInt32] = []
        var kinds: [UInt32] = []
        var baseIndexes: [UInt32] = []
        var bootIndexes: [UInt32] = []
        var elapsedColumn: [Int64] = []
        var wallColumn: [Int64] = []
        for group in groups {
            counts.append(UInt32(group.changes.count))
            kinds.append(group.createdKind.map { $0 &+ 1 } ?? 0)
            baseIndexes.append(bases.index(of: group.base))
            bootIndexes.append(boots.index(of: group.written.boot))
            elapsedColumn.append(elapsed.next(group.written.elapsedMilliseconds))
            // Within one boot wall and boot clock walk together, so their difference stands still.
            wallColumn.append(
                walls.next(
                    group.written.wallMilliseconds &- group.written.elapsedMilliseconds))
            for change in group.changes {
                changes.append((change.field, change.value.map { .bytes($0) } ?? .marker(0)))
            }
        }
        batch.groupChanges = shortened(counts)
        batch.groupKinds = shortened(kinds)
        batch.groupBases = shortened(baseIndexes)
        batch.groupBoots = shortened(bootIndexes)
        batch.groupElapsed = shortened(elapsedColumn)
        batch.groupWalls = shortened(wallColumn)
        batch.bases = bases.entries.map(\.wire)
        batch.boots = boots.entries
        batch.records = WireRecords(groups.lazy.map(\.record), known: context?.replica)
        batch.changes = WireChanges(changes, markers: 1)
        return batch
    }

    static func groups(
        _ batch: Waystation_V1_Batch, in context: Context?
    ) throws(FrameError) -> [ChangeGroup] {
        let records = try batch.records.ids(
            countMax: Limits.changesPerBatchMax, known: context?.replica)
        let count = records.count
        guard batch.bases.count <= Limits.tableEntriesMax,
            batch.boots.count <= Limits.tableEntriesMax
        else { throw .malformed("a table of too many entries") }
        let bases = (context.map { [$0.cursor] } ?? []) + batch.bases.map { Position($0) }
        let boots = (context.map { [$0.clocks.boot] } ?? []) + batch.boots
        let elapsedColumn = try lengthened(batch.groupElapsed, count: count)
        let wallColumn = try lengthened(batch.groupWalls, count: count)
        let counts = try lengthened(batch.groupChanges, count: count)
        let kinds = try lengthened(batch.groupKinds, count: count)
        let baseIndexes = try lengthened(batch.groupBases, count: count)
        let bootIndexes = try lengthened(batch.groupBoots, count: count)
        let block = try batch.changes.unpacked(markers: 1, countMax: Limits.changesPerBatchMax)
        let changes = block.spans
        guard count == 0 || batch.firstCounter > 0, batch.firstCounter < 1 << 62 else {
            throw .malformed("a counter out of range")
        }
        var result: [ChangeGroup] = []
        result.reserveCapacity(count)
        var counter = batch.firstCounter
        var offset = 0
        var elapsed = DeltaDecoder(from: context?.clocks.elapsedMilliseconds ?? 0)
        var walls = DeltaDecoder(from: context?.wallLessElapsed ?? 0)
        for index in 0..<count {
            let size = Int(counts[index])
            guard size > 0, size <= Limits.changesPerGroupMax, size <= changes.count - offset,
                Int(baseIndexes[index]) < bases.count, Int(bootIndexes[index]) < boots.count
            else { throw .malformed("a group without changes, base or boot") }
            let group = changes[offset..<offset + size]
            guard group.areFieldsAscending || Set(group.lazy.map(\.field)).count == size else {
                throw .malformed("a field twice in one group")
            }
            let elapsedMilliseconds = Int64(
                bitPattern: elapsed.next(elapsedColumn[index]))
            let difference = Int64(bitPattern: walls.next(wallColumn[index]))
            result.append(
                ChangeGroup(
                    record: records[index],
                    createdKind: kinds[index] == 0 ? nil : kinds[index] - 1,
                    firstCounter: counter,
                    changes: ChangeList(block, offset..<offset + size),
                    base: bases[Int(baseIndexes[index])],
                    written: ClockReading(
                        wallMilliseconds: difference &+ elapsedMilliseconds,
                        boot: boots[Int(bootIndexes[index])],
                        elapsedMilliseconds: elapsedMilliseconds)))
            counter += UInt64(size)
            offset += size
        }
        guard offset == changes.count else { throw .malformed("changes without a group") }
        return result
    }
}

// MARK: - Requests

extension SyncRequest {
    package func encoded() -> [UInt8] {
        serialized(
            Waystation_V1_SyncRequest.with {
                $0.attempt = attempt
                $0.replica = replica.rawValue
                // All that waits goes with the batch, as a rule.
                $0.nextCounter = nextCounter == groups.last?.nextCounter ? 0 : nextCounter
                if cursor != .origin { $0.cursor = cursor.wire }
                $0.scope = scope
                $0.clocks = .with {
                    $0.wallMilliseconds = clocks.wallMilliseconds
                    $0.boot = clocks.boot
                    $0.elapsedMilliseconds = clocks.elapsedMilliseconds
                }
                $0.resume = Data(resume)
                $0.pageBytes =
                    pageBytes == Limits.pageBytesStart ? 0 : UInt32(clamping: pageBytes)
                if !groups.isEmpty { $0.batch = BatchCoding.wire(groups, in: batchContext) }
                $0.chain = chain?.value ?? 0
                $0.ancestors = ancestors.map(\.wire)
                if let gap {
                    $0.heldFrom = gap.counters.upperBound
                    $0.missingFrom = gap.counters.lowerBound
                    $0.missingChain = gap.chain.value
                }
                if let recovery { $0.recovery = recovery.wire }
                if let audit { $0.audit = audit.wire }
            })
    }

    /// The bytes of a request whose lists were counted, so that decoding them takes memory within
    /// bounds.
    package struct Counted {
        fileprivate let bytes: [UInt8]
        /// How many fields and list entries there are: what decoding takes memory for, however few
        /// the bytes. At most ``SyncCore/Limits/requestEntriesMax``.
        package let entryCount: Int

        /// - Throws: ``FrameError/malformed(_:)`` when there are more of anything than there may be.
        package init(_ bytes: [UInt8]) throws(FrameError) {
            entryCount = try FieldBounds.request.countEntries(in: bytes)
            self.bytes = bytes
        }
    }

    package init(decoding bytes: [UInt8]) throws(FrameError) {
        try self.init(decoding: Counted(bytes))
    }

    package init(decoding counted: Counted) throws(FrameError) {
        let wire = try parsed(Waystation_V1_SyncRequest.self, counted.bytes)
        guard wire.replica != 0, wire.replica <= ReplicaID.bitMask,
            wire.ancestors.count <= Limits.ancestorsMax
        else { throw .malformed("no replica, or too many ancestors") }
        guard wire.missingFrom <= wire.heldFrom else { throw .malformed("a gap without end") }
        self.init(
            attempt: wire.attempt, replica: ReplicaID(truncating: wire.replica),
            nextCounter: wire.nextCounter,
            cursor: wire.hasCursor ? Position(wire.cursor) : .origin, scope: wire.scope,
            clocks: ClockReading(
                wallMilliseconds: wire.clocks.wallMilliseconds, boot: wire.clocks.boot,
                elapsedMilliseconds: wire.clocks.elapsedMilliseconds),
            resume: Array(wire.resume),
            pageBytes: wire.pageBytes == 0
                ? Limits.pageBytesStart
                : min(max(Int(wire.pageBytes), Limits.pageBytesMin), Limits.pageBytesMax),
            groups: [],
            chain: nil,
            ancestors: wire.ancestors.map { Ancestor($0) }.sorted { $0.dot < $1.dot },
            gap: wire.heldFrom == 0
                ? nil
                : Gap(
                    counters: wire.missingFrom..<wire.heldFrom,
                    chain: HashChain(wire.missingChain)),
            recovery: wire.hasRecovery ? try Recovery(wire.recovery) : nil,
            audit: wire.hasAudit ? try AuditRequest(wire.audit) : nil)
        if wire.hasBatch { groups = try BatchCoding.groups(wire.batch, in: batchContext) }
        // Without groups it may be left out, and so 0 says nothing.
        if wire.chain != 0 || !groups.isEmpty || gap != nil { chain = HashChain(wire.chain) }
        let batchEnd = groups.last?.nextCounter ?? 0
        if nextCounter == 0 { nextCounter = batchEnd }
        guard nextCounter > 0, batchEnd <= nextCounter else {
            throw .malformed("no next counter, or a change beyond it")
        }
    }

    private var batchContext: BatchCoding.Context {
        BatchCoding.Context(replica: replica, cursor: cursor, clocks: clocks)
    }
}

extension SyncRequest.Recovery {
    fileprivate var wire: Waystation_V1_Recovery {
        .with {
            $0.confirmed = confirmed.wire
            $0.reached = reached.map(\.wire)
            if !records.isEmpty { $0.page = Page(records: records).wire() }
        }
    }

    fileprivate init(_ wire: Waystation_V1_Recovery) throws(FrameError) {
        let reached = wire.reached.map { Position($0) }
        guard reached.count <= Limits.reachedMax,
            zip(reached, reached.dropFirst()).allSatisfy({ $0.sequence < $1.sequence })
        else { throw .malformed("positions that do not ascend, or too many") }
        let records =
            wire.hasPage
            ? try Page(wire.page, countMax: Limits.changesPerBatchMax).records : []
        // Each naming would have all that came back of the record before looked through again.
        guard Set(records.map(\.id)).count == records.count else {
            throw .malformed("a record that is brought twice")
        }
        var count = 0
        for record in records {
            guard !record.versions.isEmpty else { throw .malformed("a record without versions") }
            count += record.versions.count
            let fields = record.fields
            guard
                fields.allSatisfy({ $0.versions.count <= Limits.broughtVersionsPerFieldMax })
            else { throw .malformed("more versions of one field than may be brought") }
            let contested = record.contested
            guard contested.count <= fields.count,
                Set(contested).count == contested.count,
                Set(fields.map(\.field)).isSuperset(of: contested)
            else { throw .malformed("contested fields that are not brought, or one twice") }
            for version in record.versions {
                if version.value == .asSent {
                    throw .malformed("a value as sent that was not sent")
                }
                let dot = version.stamp.dot
                guard dot.replica != .none, (1..<1 << 62).contains(dot.counter),
                    (1..<1 << 62).contains(version.sequence)
                else { throw .malformed("a dot or a sequence out of range") }
            }
        }
        guard count <= Limits.changesPerBatchMax else {
            throw .malformed("more versions than one request may bring")
        }
        self.init(
            confirmed: wire.hasConfirmed ? Position(wire.confirmed) : .origin, reached: reached,
            records: records)
    }
}

// MARK: - Audit

extension AuditPart {
    fileprivate var wire: Waystation_V1_AuditPart {
        .with {
            $0.bucket = bucket.map { UInt32($0) + 1 } ?? 0
            $0.prefix = Data(prefix)
        }
    }

    fileprivate init(_ wire: Waystation_V1_AuditPart) throws(FrameError) {
        guard wire.bucket <= Limits.bucketsPerScopeMax,
            wire.prefix.count <= (wire.bucket == 0 ? 0 : Limits.auditPrefixBytesMax)
        else { throw .malformed("a part of no bucket") }
        self.init(
            bucket: wire.bucket == 0 ? nil : Int(wire.bucket) - 1, prefix: Array(wire.prefix))
    }
}

extension AuditRequest {
    fileprivate var wire: Waystation_V1_AuditRequest {
        .with {
            $0.parts = parts.map(\.wire)
            if !refetch.isEmpty { $0.refetch = WireRecords(refetch) }
        }
    }

    fileprivate init(_ wire: Waystation_V1_AuditRequest) throws(FrameError) {
        guard wire.parts.count <= Limits.auditPartsMax else {
            throw .malformed("an audit of too many parts")
        }
        self.init(
            refetch: wire.hasRefetch
                ? try wire.refetch.ids(countMax: Limits.refetchedRecordsMax) : [])
        for part in wire.parts { parts.append(try AuditPart(part)) }
    }
}

extension AuditFinding {
    fileprivate var wire: Waystation_V1_AuditFinding {
        .with {
            $0.part = part.wire
            switch content {
            case .digests(let digests): $0.digests = digests
            case .records(let records):
                $0.digests = records.map(\.digest)
                $0.records = WireRecords(records.lazy.map(\.id))
            }
        }
    }

    fileprivate init(_ wire: Waystation_V1_AuditFinding) throws(FrameError) {
        let part = try AuditPart(wire.part)
        if wire.hasRecords {
            let ids = try wire.records.ids(countMax: Limits.auditListMax)
            guard ids.count == wire.digests.count else {
                throw .malformed("a record without its digest")
            }
            self.init(
                part: part,
                content: .records(
                    zip(ids, wire.digests).map { AuditFinding.Record(id: $0, digest: $1) }))
        } else {
            guard wire.digests.count <= Limits.bucketsPerScopeMax else {
                throw .malformed("digests of too many buckets")
            }
            self.init(part: part, content: .digests(wire.digests))
        }
    }
}

// MARK: - Answers

extension SyncAnswer {
    /// - Parameter request: What it answers, so that what follows from it stays out; `nil` for an
    ///   answer that can be read without it.
    package func encoded(for request: SyncRequest? = nil) -> [UInt8] {
        serialized(
            Waystation_V1_SyncAnswer.with {
                $0.attempt = attempt
                $0.hubMilliseconds = hubMilliseconds
                if let outcomes { $0.outcomes = outcomes.wire }
                if let page { $0.page = page.wire(for: request.map(foretelling)) }
                if let assignment { $0.assignment = assignment.wire }
                $0.schema = schema
                if !line.isEmpty {
                    $0.line = line.map { entry in
                        .with {
                            $0.term = entry.term.rawValue
                            $0.first = entry.first
                        }
                    }
                }
                if let recovered { $0.recovered = recovered.wire }
            })
    }

    /// - Parameter request: What it should answer. The page of an answer to another attempt is not
    ///   read: it speaks of what that one sent.
    package init(
        decoding bytes: [UInt8], for request: SyncRequest? = nil
    ) throws(FrameError) {
        let wire = try parsed(Waystation_V1_SyncAnswer.self, bytes)
        self.init(
            attempt: wire.attempt, hubMilliseconds: wire.hubMilliseconds,
            outcomes: wire.hasOutcomes ? Outcomes(wire.outcomes) : nil,
            assignment: wire.hasAssignment ? try Assignment(wire.assignment) : nil,
            schema: wire.schema, line: try Self.line(wire.line),
            recovered: wire.hasRecovered ? Position(wire.recovered) : nil)
        if wire.hasPage, attempt == request?.attempt ?? attempt {
            page = try Page(wire.page, for: request.map(foretelling))
        }
    }

    private func foretelling(_ request: SyncRequest) -> Foretelling {
        Foretelling(
            request, hubMilliseconds: hubMilliseconds,
            firstSequence: outcomes?.firstSequence ?? 0)
    }

    private static func line(
        _ wire: [Waystation_V1_TermStart]
    ) throws(FrameError) -> [TermLine.Entry] {
        let line = wire.map {
            TermLine.Entry(term: TermID(truncating: $0.term), first: $0.first)
        }
        guard line.count <= Limits.lineTermsMax, line.first?.first != 0,
            zip(line, line.dropFirst()).allSatisfy({ $0.first < $1.first })
        else { throw .malformed("terms that do not ascend, or too many") }
        return line
    }
}

extension Outcomes {
    fileprivate var wire: Waystation_V1_Outcomes {
        .with {
            $0.settledCounter = settledCounter
            $0.firstSequence = firstSequence
            $0.superseded = superseded.map { entry in
                .with {
                    $0.firstCounter = entry.firstCounter
                    $0.fields = entry.fields
                }
            }
            $0.refusals = refusals.map { refusal in
                .with {
                    $0.firstCounter = refusal.firstCounter
                    $0.code = refusal.code
                    $0.field = refusal.field
                    $0.reason = refusal.reason
                }
            }
            $0.forkCounter = forkCounter ?? 0
            $0.expectedCounter = expectedCounter ?? 0
        }
    }

    fileprivate init(_ wire: Waystation_V1_Outcomes) {
        self.init(
            settledCounter: wire.settledCounter, firstSequence: wire.firstSequence,
            superseded: wire.superseded.map {
                Superseded(firstCounter: $0.firstCounter, fields: $0.fields)
            },
            refusals: wire.refusals.map {
                Refusal(
                    firstCounter: $0.firstCounter, code: $0.code, field: $0.field,
                    reason: $0.reason)
            },
            forkCounter: wire.forkCounter == 0 ? nil : wire.forkCounter,
            expectedCounter: wire.expectedCounter == 0 ? nil : wire.expectedCounter)
    }
}

extension Page {
    fileprivate func wire(for foretelling: Foretelling? = nil) -> Waystation_V1_Page {
        var page = Waystation_V1_Page()
        // Most pages bring nothing, and to set a field costs much, also to what it is already.
        if restart { page.restart = restart }
        if let cursor {
            if let known = foretelling?.request.cursor, known.term == cursor.term {
                page.advance = cursor.sequence &- known.sequence
            } else {
                page.cursor = cursor.wire
            }
        }
        if !resume.isEmpty { page.resume = Data(resume) }
        if !records.isEmpty { put(records, into: &page, foretelling) }
        if !departed.isEmpty { page.departed = WireRecords(departed) }
        if !writers.isEmpty {
            page.writers = writers.map { writer in
                .with {
                    $0.replica = writer.replica.rawValue
                    $0.name = writer.name
                }
            }
        }
        if let scopeDigest { page.scopeDigest = scopeDigest }
        if !findings.isEmpty { page.findings = findings.map(\.wire) }
        return page
    }

    private func put(
        _ records: [PageRecord], into page: inout Waystation_V1_Page, _ foretelling: Foretelling?
    ) {
        var records = records
        if let foretelling {
            let split = WireSentRecords.split(records, foretelling)
            records = split.listed
            if let sent = split.sent { page.sent = sent }
            if records.isEmpty { return }
        }
        page.records = WireRecords(records.lazy.map(\.id))
        var table = Table<ReplicaID>()
        var threads = VersionThreads()
        var changes: [(field: UInt32, value: SizedValue)] = []
        // Gathered outside the message, which checks with every access whether it must be copied.
        var kinds: [UInt32] = []
        var versionCounts: [UInt32] = []
        var flags: [UInt32] = []
        var creations: [Int64] = []
        var versionThreads: [UInt32] = []
        var versionCounters: [Int64] = []
        var versionSequences: [Int64] = []
        var versionStamps: [Int64] = []
        for (index, record) in records.enumerated() {
            kinds.append(record.kind)
            versionCounts.append(UInt32(record.versions.count))
            flags.append(record.flags)
            if let created = record.createdMilliseconds {
                creations.append(created &- record.id.milliseconds)
            }
            if !record.contested.isEmpty {
                page.contested.append(
                    .with {
                        $0.recordIndex = UInt32(index)
                        $0.fields = record.contested
                    })
            }
            for version in record.versions {
                let isLater = version.stamp.milliseconds != record.createdMilliseconds
                let thread = 2 * table.index(of: version.stamp.dot.replica) + (isLater ? 1 : 0)
                let point = VersionThreads.Point(
                    counter: version.stamp.dot.counter, sequence: version.sequence,
                    stamp: UInt64(bitPattern: version.stamp.milliseconds))
                let difference = threads.difference(to: point, in: thread)
                versionThreads.append(thread)
                versionCounters.append(Int64(bitPattern: difference.counter))
                versionSequences.append(Int64(bitPattern: difference.sequence))
                versionStamps.append(Int64(bitPattern: difference.stamp))
                let value: SizedValue =
                    switch version.value {
                    case .asSent: .marker(0)
                    case .cleared: .marker(1)
                    case .bytes(let bytes): .bytes(bytes)
                    }
                changes.append((version.field, value))
            }
        }
        page.recordKinds = kinds
        page.recordVersions = versionCounts
        page.recordFlags = flags
        page.recordCreated = creations
        page.versionThreads = versionThreads
        page.versionCounters = versionCounters
        page.versionSequences = versionSequences
        page.versionStamps = versionStamps
        page.replicas = table.entries.map(\.rawValue)
        page.changes = WireChanges(changes, markers: 2)
    }

    /// - Parameter countMax: How many records, and how many versions, there may be; of an answer,
    ///   what fits into it.
    fileprivate init(
        _ wire: Waystation_V1_Page, for foretelling: Foretelling? = nil,
        countMax: Int = Limits.inflatedBytesMax
    ) throws(FrameError) {
        let ids = try wire.records.ids(countMax: countMax)
        let block = try wire.changes.unpacked(markers: 2, countMax: countMax)
        let changes = block.spans
        guard wire.recordKinds.count == ids.count, wire.recordVersions.count == ids.count,
            wire.recordFlags.count == ids.count, wire.versionThreads.count == changes.count,
            wire.versionCounters.count == changes.count,
            wire.versionSequences.count == changes.count,
            wire.versionStamps.count == changes.count
        else { throw .malformed("page columns of different lengths") }
        guard wire.replicas.count <= changes.count else {
            throw .malformed("more writers than versions")
        }
        var contested: [UInt32: [UInt32]] = [:]
        for entry in wire.contested { contested[entry.recordIndex] = entry.fields }
        var threads = VersionThreads()
        var creations = wire.recordCreated.makeIterator()
        var offset = 0
        var records: [PageRecord] = []
        records.reserveCapacity(ids.count)
        let recordVersions = wire.recordVersions
        let versionThreads = wire.versionThreads
        let replicas = wire.replicas
        let versionCounters = wire.versionCounters
        let versionStamps = wire.versionStamps
        let versionSequences = wire.versionSequences
        let recordFlags = wire.recordFlags
        let recordKinds = wire.recordKinds
        for (index, id) in ids.enumerated() {
            let count = Int(recordVersions[index])
            guard count <= changes.count - offset else {
                throw .malformed("a record without its versions")
            }
            let versions = try (offset..<offset + count).map {
                position throws(FrameError) -> PageRecord.FieldVersion in
                let thread = versionThreads[position]
                guard thread / 2 < replicas.count else {
                    throw .malformed("a version without a writer")
                }
                let difference = VersionThreads.Point(
                    counter: UInt64(bitPattern: versionCounters[position]),
                    sequence: UInt64(bitPattern: versionSequences[position]),
                    stamp: UInt64(bitPattern: versionStamps[position]))
                let point = threads.point(at: difference, in: thread)
                let change = changes[position]
                let value: PageRecord.Value =
                    change.length < ValueSpan.cleared
                    ? .asSent : block.value(of: change).map { .bytes($0) } ?? .cleared
                return PageRecord.FieldVersion(
                    field: change.field, value: value,
                    stamp: Stamp(
                        milliseconds: Int64(bitPattern: point.stamp),
                        dot: Dot(
                            ReplicaID(truncating: replicas[Int(thread / 2)]), point.counter)),
                    sequence: point.sequence)
            }
            guard zip(versions, versions.dropFirst()).allSatisfy({ $0.field <= $1.field }) else {
                throw .malformed("fields that do not ascend")
            }
            offset += count
            var created: Int64?
            if recordFlags[index] & PageRecord.isWholeFlag != 0 {
                guard let sinceID = creations.next() else {
                    throw .malformed("a whole record without its creation")
                }
                created = id.milliseconds &+ sinceID
            }
            records.append(
                PageRecord(
                    id: id, kind: recordKinds[index], createdMilliseconds: created,
                    contested: contested[UInt32(index)] ?? [],
                    places: PageRecord.places(recordFlags[index]), versions: versions))
        }
        guard offset == changes.count else { throw .malformed("versions without a record") }
        var cursor = wire.hasCursor ? Position(wire.cursor) : nil
        if wire.hasSent || wire.hasAdvance {
            guard let foretelling else { throw .malformed("an answer that nothing asked for") }
            if wire.hasSent { records = try wire.sent.merged(into: records, foretelling) }
            if wire.hasAdvance {
                cursor = foretelling.request.cursor
                cursor?.sequence &+= wire.advance
            }
        }
        self.init(
            restart: wire.restart, cursor: cursor,
            resume: Array(wire.resume), records: records,
            departed: wire.hasDeparted ? try wire.departed.ids(countMax: countMax) : [],
            writers: wire.writers.map {
                Writer(replica: ReplicaID(truncating: $0.replica), name: $0.name)
            },
            scopeDigest: wire.hasScopeDigest ? wire.scopeDigest : nil)
        guard wire.findings.count <= Limits.auditPartsMax else {
            throw .malformed("more findings than parts")
        }
        for finding in wire.findings { findings.append(try AuditFinding(finding)) }
    }
}

extension Assignment {
    fileprivate var wire: Waystation_V1_Assignment {
        .with {
            $0.scope = scope.id
            $0.buckets = scope.buckets.map(\.name)
            $0.role = UInt32(role.rawValue)
            $0.deviceName = deviceName
            $0.territory = territory
            $0.team = team
            $0.banner = banner
            $0.offsetMinutes = Int32(offsetMinutes)
            $0.device = device
        }
    }

    fileprivate init(_ wire: Waystation_V1_Assignment) throws(FrameError) {
        guard let role = Role(rawValue: UInt8(clamping: wire.role)),
            wire.buckets.count <= Limits.bucketsPerScopeMax,
            (-24 * 60...24 * 60).contains(wire.offsetMinutes)
        else { throw .malformed("an assignment with an unknown role or too many buckets") }
        var buckets: [Bucket] = []
        for name in wire.buckets {
            guard let bucket = Bucket(name: name) else { throw .malformed("an unknown bucket") }
            buckets.append(bucket)
        }
        let scope = Scope(buckets)
        guard scope.id == wire.scope else { throw .malformed("a scope that is not its name") }
        self.init(
            device: wire.device, deviceName: wire.deviceName, role: role,
            territory: wire.territory, team: wire.team, banner: wire.banner,
            offsetMinutes: Int(wire.offsetMinutes), scope: scope)
    }
}

// MARK: - Enrolment and history

extension EnrollRequest {
    package func encoded() -> [UInt8] {
        serialized(
            Waystation_V1_EnrollRequest.with {
                $0.code = code
                $0.replica = replica.rawValue
            })
    }

    package init(decoding bytes: [UInt8]) throws(FrameError) {
        let wire = try parsed(Waystation_V1_EnrollRequest.self, bytes)
        self.init(code: wire.code, replica: ReplicaID(truncating: wire.replica))
    }
}

extension EnrollAnswer {
    package func encoded() -> [UInt8] {
        serialized(
            Waystation_V1_EnrollAnswer.with {
                $0.token = token
                $0.assignment = assignment.wire
                $0.forkCounter = forkCounter ?? 0
            })
    }

    package init(decoding bytes: [UInt8]) throws(FrameError) {
        let wire = try parsed(Waystation_V1_EnrollAnswer.self, bytes)
        self.init(
            token: wire.token, assignment: try Assignment(wire.assignment),
            forkCounter: wire.forkCounter == 0 ? nil : wire.forkCounter)
    }
}

/// The messages of `POST /v1/history`: a record's id, and its admitted changes, oldest first.
package enum HistoryCoding {
    package static func encode(record: RecordID) -> [UInt8] {
        serialized(Waystation_V1_HistoryRequest.with { $0.record = Data(record.bytes) })
    }

    package static func decodeRequest(_ bytes: [UInt8]) throws(FrameError) -> RecordID {
        let wire = try parsed(Waystation_V1_HistoryRequest.self, bytes)
        guard let id = RecordID(bytes: [UInt8](wire.record)) else {
            throw .malformed("not a record id")
        }
        return id
    }

    package static func encode(entries: [HistoryEntry]) -> [UInt8] {
        serialized(
            Waystation_V1_HistoryAnswer.with {
                $0.entries = entries.map { entry in
                    .with {
                        $0.dot = entry.stamp.dot.wire
                        $0.sequence = entry.sequence
                        $0.stampMilliseconds = entry.stamp.milliseconds
                        $0.field = entry.field
                        $0.isCleared = entry.value == nil
                        $0.value = Data(entry.value ?? [])
                        $0.writer = entry.writer
                        $0.clock = entry.clock.entries.map(\.wire)
                        $0.flags =
                            (entry.isLive ? 1 : 0) | (entry.isWinner ? 2 : 0)
                            | (entry.isTimeUncertain ? 4 : 0)
                    }
                }
            })
    }

    package static func decodeAnswer(_ bytes: [UInt8]) throws(FrameError) -> [HistoryEntry] {
        try parsed(Waystation_V1_HistoryAnswer.self, bytes).entries.map { wire in
            HistoryEntry(
                field: wire.field, value: wire.isCleared ? nil : Array(wire.value),
                stamp: Stamp(milliseconds: wire.stampMilliseconds, dot: Dot(wire.dot)),
                sequence: wire.sequence, writer: wire.writer,
                clock: VectorClock(wire.clock.map { Dot($0) }), isLive: wire.flags & 1 != 0,
                isWinner: wire.flags & 2 != 0, isTimeUncertain: wire.flags & 4 != 0)
        }
    }
}
