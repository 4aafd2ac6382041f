import NeedModel
import SyncCore
import WireFormat

/// Serves the pages of a pull, inside the transaction that admitted the request's batch.
///
/// A pull first walks the buckets that the device does not hold yet, from the start, and then
/// follows the feed: for every batch beyond the cursor, the records it touched, as they are now.
/// A record that changes while the pull goes on comes again with a later page, so the last page
/// leaves the device with exactly the ledger's state at its cursor.
struct Feed {
    let storage: any LedgerStorage
    let terms: TermLine
    let head: UInt64
    let device: Device
    /// The buckets that the device may hold, as of now.
    let scope: Scope

    struct Served {
        var page: Page
        /// Whether the device must be told its assignment.
        var needsAssignment: Bool
        /// The first sequences of records that it asked for, or that cannot be read, and that are
        /// withheld, because the ledger's disk has altered them.
        var alteredRecords: Set<UInt64> = []
    }

    /// Where a pull stands between two pages; travels as the page's `resume`.
    ///
    /// Bytes, all varints: scope id, term, head, cursor, the walk's bucket index + 1 (0 in the
    /// feed), then the walk's key (signed) and the head when it began, or the feed's position and
    /// the entry offset in the next batch.
    struct Progress: Hashable {
        var scopeID: UInt64
        /// Where the ledger stood when it served the last page. What the device has staged is of
        /// that state, so a ledger that was since restored to before it must start anew.
        var served: Position
        /// The cursor's place on this ledger's line, from which the pull started.
        var cursor: UInt64
        var phase: Phase

        enum Phase: Hashable {
            case walk(bucket: Int, key: Int64, headAtStart: UInt64)
            case feed(position: UInt64, offset: Int)
        }

        var bytes: [UInt8] {
            var writer = ByteWriter()
            writer.put(scopeID)
            writer.put(served.term.rawValue)
            writer.put(served.sequence)
            writer.put(cursor)
            switch phase {
            case .walk(let bucket, let key, let headAtStart):
                writer.put(bucket + 1)
                writer.put(signed: key)
                writer.put(headAtStart)
            case .feed(let position, let offset):
                writer.put(0)
                writer.put(position)
                writer.put(offset)
            }
            return writer.bytes
        }

        init(scopeID: UInt64, served: Position, cursor: UInt64, phase: Phase) {
            self.scopeID = scopeID
            self.served = served
            self.cursor = cursor
            self.phase = phase
        }

        init?(_ bytes: [UInt8]) {
            var reader = ByteReader(bytes)
            guard let scopeID = try? reader.number(), let term = try? reader.number(),
                let head = try? reader.number(), let cursor = try? reader.number(),
                let bucket = try? reader.number()
            else { return nil }
            self.scopeID = scopeID
            served = Position(term: TermID(truncating: term), sequence: head)
            self.cursor = cursor
            if bucket > 0 {
                guard let key = try? reader.signed(), let start = try? reader.number(),
                    bucket <= UInt64(Limits.bucketsPerScopeMax)
                else { return nil }
                phase = .walk(bucket: Int(bucket) - 1, key: key, headAtStart: start)
            } else {
                guard let position = try? reader.number(), let offset = try? reader.number(),
                    offset <= UInt64(Limits.changesPerBatchMax) * 2
                else { return nil }
                phase = .feed(position: position, offset: Int(offset))
            }
        }
    }

    /// - Parameter sent: The dots of the changes in this request, whose values need not come back.
    func serve(_ request: SyncRequest, sent: Range<UInt64>?) throws -> Served {
        // A cursor off this ledger's line comes from a ledger that was since restored: what the
        // device holds cannot be told, so it is sent everything.
        let isOnLine = terms.contains(request.cursor, head: head)
        let cursor = isOnLine ? request.cursor.sequence : 0
        let held: Scope =
            !isOnLine || request.cursor == .origin
            ? .empty
            : request.scope == scope.id
                ? scope : try storage.scope(device: device.id, id: request.scope) ?? .empty
        let isUnheld = held.buckets.isEmpty
        // A scope that was told in a part that a restore lost: all comes anew, and what left the
        // buckets since the cursor must be told, too.
        let feedStart = isUnheld && cursor == 0 ? head : cursor
        let added = held == scope ? [] : scope.buckets.filter { !held.contains($0) }
        var page = Page()
        var progress: Progress
        if !request.resume.isEmpty, let resumed = Progress(request.resume), isValid(resumed),
            resumed.cursor == cursor
        {
            progress = resumed
            progress.served = Position(term: terms.current, sequence: head)
        } else {
            page.restart = !request.resume.isEmpty
            progress = Progress(
                scopeID: scope.id, served: Position(term: terms.current, sequence: head),
                cursor: cursor,
                phase: added.isEmpty
                    ? .feed(position: feedStart, offset: 0)
                    : .walk(bucket: 0, key: .min, headAtStart: head))
        }
        var collector = PageCollector(
            bytesMax: min(request.pageBytes, LedgerLimits.pageBytesMax), scope: scope,
            replica: request.replica, sent: sent)
        if case .walk(let bucket, let key, let headAtStart) = progress.phase {
            progress.phase = try walk(
                added, from: bucket, after: key, headAtStart: headAtStart,
                into: &collector, thenFeedFrom: isUnheld && cursor == 0 ? headAtStart : cursor)
        }
        if case .feed(let position, let offset) = progress.phase, !collector.isFull {
            let next = try follow(
                from: position, offset: offset, cursor: isUnheld ? nil : cursor, held: held,
                into: &collector)
            if let next {
                progress.phase = next
            } else {
                page.cursor = Position(term: terms.term(at: head), sequence: head)
            }
        }
        var alteredRecords = collector.withheld
        if page.cursor == nil {
            page.resume = progress.bytes
        } else if let audit = request.audit {
            let sources = RecordSources(storage: storage, terms: terms)
            try refetch(audit.refetch, into: &collector, sources: sources)
            // Indexes mean the scope that the device holds.
            if request.scope == scope.id {
                page.findings = try findings(of: audit.parts, sources: sources)
            }
            alteredRecords.formUnion(sources.alteredRecords)
        }
        page.records = collector.records
        page.departed = collector.departed
        page.writers = try writers(of: page.records)
        let isNews =
            !page.records.isEmpty || !page.departed.isEmpty || !request.resume.isEmpty
            || request.scope != scope.id || request.audit != nil
        if page.cursor != nil, isNews {
            page.scopeDigest = try storage.digests(of: scope.buckets).reduce(0, &+)
        }
        return Served(
            page: page,
            needsAssignment: request.scope != scope.id && (request.resume.isEmpty || page.restart),
            alteredRecords: alteredRecords)
    }

    private func isValid(_ progress: Progress) -> Bool {
        guard progress.scopeID == scope.id, terms.contains(progress.served, head: head) else {
            return false
        }
        switch progress.phase {
        case .walk(_, _, let headAtStart): return headAtStart <= progress.served.sequence
        case .feed(let position, _): return position <= progress.served.sequence
        }
    }

    /// Reads new buckets record by record.
    ///
    /// - Returns: Where to go on, or the feed when all buckets are through.
    private func walk(
        _ buckets: [Bucket], from first: Int, after firstKey: Int64, headAtStart: UInt64,
        into collector: inout PageCollector, thenFeedFrom position: UInt64
    ) throws -> Progress.Phase {
        var key = firstKey
        var index = first
        while index < buckets.count {
            let records = try storage.records(
                in: buckets[index], after: key, limit: LedgerLimits.recordsPerReadMax
            ) { collector.withhold($0) }
            for record in records {
                if collector.isFull {
                    return .walk(bucket: index, key: key, headAtStart: headAtStart)
                }
                key = record.key
                // A record in several new buckets comes with the first of them.
                if index > 0 {
                    let places = record.placement.buckets
                    if buckets[..<index].contains(where: { places.contains($0) }) { continue }
                }
                collector.add(record, after: nil)
            }
            if records.count < LedgerLimits.recordsPerReadMax {
                index += 1
                key = .min
            }
        }
        return .feed(position: position, offset: 0)
    }

    /// Follows the feed.
    ///
    /// - Parameter cursor: Where the device's state stands; `nil` when it holds nothing, so that
    ///   every record comes whole.
    /// - Returns: Where to go on, `nil` when the head is reached.
    private func follow(
        from start: UInt64, offset startOffset: Int, cursor: UInt64?, held: Scope,
        into collector: inout PageCollector
    ) throws -> Progress.Phase? {
        var position = start
        var offset = startOffset
        var seen: Set<Int64> = []
        func isVisible(_ bucket: Bucket) -> Bool {
            scope.contains(bucket) || held.contains(bucket)
        }
        var batchCount = 0
        while position < head {
            if batchCount >= LedgerLimits.feedBatchesPerPageMax {
                return .feed(position: position, offset: 0)
            }
            let batches = try storage.feed(
                after: position, limit: LedgerLimits.feedBatchesPerReadMax)
            if batches.isEmpty { break }
            batchCount += batches.count
            for batch in batches {
                let touched = try TouchedRecords.decode(batch.touched, isWanted: isVisible)
                let areVisible = touched.places.map { $0.contains(where: isVisible) }
                let areHeld = touched.places.map { buckets in
                    buckets.contains { held.contains($0) && scope.contains($0) }
                }
                // A batch names no record twice.
                let isOnly = start == position && batch.end == head
                for index in touched.entries.indices.dropFirst(offset) {
                    let entry = touched.entries[index]
                    let before = entry.placeBefore ?? (entry.isCreated ? nil : entry.place)
                    guard areVisible[entry.place] || before.map({ areVisible[$0] }) ?? false
                    else { continue }
                    if collector.isFull { return .feed(position: position, offset: index) }
                    guard isOnly || seen.insert(entry.key).inserted,
                        let record = try storage.record(
                            key: entry.key, unreadable: { collector.withhold($0) })
                    else { continue }
                    guard collector.holds(record) else {
                        collector.depart(record.id)
                        continue
                    }
                    // Only the changes are sent if the device has the rest: it held the record
                    // at its cursor, or got it whole with an earlier page of this pull. A record
                    // that left a bucket since may have been told to leave in between.
                    let isHeld =
                        cursor.map { record.leftSequence <= $0 } ?? false
                        && before.map { areHeld[$0] } ?? false
                    collector.add(record, after: isHeld ? cursor : nil)
                }
                position = batch.end
                offset = 0
            }
        }
        return nil
    }

    /// The people behind a page's writers, but for the device's own.
    private func writers(of records: [PageRecord]) throws -> [Page.Writer] {
        var result: [Page.Writer] = []
        var seen: Set<ReplicaID> = []
        var names: [Int64: String] = [:]
        func note(_ replica: ReplicaID) throws {
            guard seen.insert(replica).inserted, let row = try storage.replica(replica) else {
                return
            }
            guard let id = row.device else {
                result.append(Page.Writer(replica: replica, name: ""))
                return
            }
            if id == device.id { return }
            let name = try names[id] ?? storage.device(id)?.device.name ?? ""
            names[id] = name
            result.append(Page.Writer(replica: replica, name: name))
        }
        // Most versions have the writer of the one before.
        var last: ReplicaID?
        for record in records {
            guard let kind = Kind(rawValue: record.kind), !kind.isReference else { continue }
            if record.createdMilliseconds != nil, record.id.replica != last {
                last = record.id.replica
                try note(record.id.replica)
            }
            for place in record.versions.indices {
                let replica = record.versions[place].stamp.dot.replica
                if replica == last { continue }
                last = replica
                try note(replica)
            }
        }
        return result
    }
}

/// Gathers the records of one page until it is full.
struct PageCollector {
    private let bytesMax: Int
    private let scope: Scope
    private let replica: ReplicaID
    private let sent: Range<UInt64>?
    private var bytes = 0
    private(set) var records: [PageRecord] = []
    private(set) var departed: [RecordID] = []
    /// First sequences.
    private(set) var withheld: Set<UInt64> = []
    /// Of the record that was asked for last: most of a page lie in one place.
    private var lastPlace: (placement: Placement, places: HeldPlaces)?

    init(bytesMax: Int, scope: Scope, replica: ReplicaID, sent: Range<UInt64>?) {
        self.bytesMax = bytesMax
        self.scope = scope
        self.replica = replica
        self.sent = sent
    }

    var isFull: Bool { bytes >= bytesMax }

    /// Leaves out a record that cannot be read: whoever holds it has a better copy.
    mutating func withhold(_ firstSequence: UInt64) { withheld.insert(firstSequence) }

    /// In which of the device's buckets a record lies.
    private mutating func places(of placement: Placement) -> HeldPlaces {
        if let lastPlace, lastPlace.placement == placement { return lastPlace.places }
        let places = scope.places(of: placement)
        lastPlace = (placement, places)
        return places
    }

    /// Whether the device may hold a record.
    mutating func holds(_ record: StoredRecord) -> Bool { !places(of: record.placement).isEmpty }

    mutating func depart(_ id: RecordID) {
        bytes += 8
        departed.append(id)
    }

    /// - Parameter cursor: Only fields that changed after it are sent; `nil` sends all.
    mutating func add(_ record: StoredRecord, after cursor: UInt64?) {
        bytes += 16
        let stored = record.state.versions
        var versions: [PageRecord.FieldVersion] = []
        versions.reserveCapacity(stored.count)
        var start = 0
        while start < stored.count {
            let field = stored[start].field
            var end = start
            var isNews = cursor == nil
            while end < stored.count, stored[end].field == field {
                isNews = isNews || stored[end].sequence > cursor ?? 0
                end += 1
            }
            defer { start = end }
            if !isNews { continue }
            for place in start..<end {
                // A late answer stands under its own dot, but with another value; and what came
                // back after a restore may be of another copy of the device's journal.
                let stamp = stored[place].stamp
                let isSent =
                    sent?.contains(stamp.dot.counter) ?? false && stamp.dot.replica == replica
                    && field != LateAnswers.field
                    && record.state.contexts[Int(stored[place].context)].formerPositions.isEmpty
                let value: PageRecord.Value
                if isSent {
                    value = .asSent
                } else if let content = record.state.value(at: place) {
                    value = .bytes(content)
                    bytes += content.count
                } else {
                    value = .cleared
                }
                bytes += 8
                versions.append(
                    PageRecord.FieldVersion(
                        field: field, value: value, stamp: stamp,
                        sequence: stored[place].sequence))
            }
        }
        records.append(
            PageRecord(
                id: record.id, kind: record.kind,
                createdMilliseconds: cursor == nil ? record.createdMilliseconds : nil,
                contested: record.contestedFields, places: places(of: record.placement),
                versions: versions))
    }
}
