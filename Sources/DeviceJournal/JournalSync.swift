import NeedModel
import SQLiteStore
package import SyncCore
package import WireFormat

// The journal's part of a sync: it makes requests out of what waits, and takes answers in, each in
// one transaction. Nothing of a request is remembered here, so one that got no answer is simply
// made anew; an answer that does not fit the state any more is refused whole.

/// What an answer changed.
package struct Absorbed: Sendable {
    /// For the session.
    package var answer: DeviceSession.Answer
    /// What a completed pull brought; empty but for `refused` and `superseded` until then.
    package var news: News
    /// Commands settled by this answer.
    package var settledGroups: Int
    /// Records that were not what the hub has, and are now.
    package var mendedRecords: Int
}

// MARK: - Enrolment

extension Journal {
    /// Stores that this device belongs to a hub, or belongs to it anew.
    ///
    /// What was pulled and what waits stays; so enrolling again with another address, or after the
    /// token was lost, costs nothing.
    ///
    /// - Parameters:
    ///   - server: `http://host:port` or `https://host:port`.
    ///   - token: As in `answer`.
    ///   - pin: SHA-256 of the hub's public key, 32 bytes.
    ///   - authority: The path of a PEM file.
    ///   - answer: What the hub said to the code, for the present replica.
    package func enroll(
        server: String, token: String, pin: [UInt8]?, authority: String?, answer: EnrollAnswer
    ) throws(JournalError) {
        try storing {
            if let banner = try readIdentity()?.banner, !banner.isEmpty,
                banner != answer.assignment.banner
            {
                // Another ledger: what was pulled from the former one is none of its business.
                try connection.run("DELETE FROM reached")
                try connection.run("DELETE FROM recovery")
                try connection.run("UPDATE pull SET term = 0, sequence = 0, scope = 0")
                try dropStaging()
            }
            let former = try readIdentity()?.device
            try connection.run(
                """
                INSERT OR REPLACE INTO enrolment
                VALUES (1, ?, ?, ?, ?, 0, '', 1, '', '', '', 0, x'')
                """, .text(server), .text(token), SQLValue(pin), SQLValue(authority))
            if answer.forkCounter != nil {
                // The hub told this without having seen what is held here. The person who enrols a
                // journal anew need not be told that it goes on as another one.
                try fork(from: 1)
            }
            try storeAssignment(answer.assignment)
            if let former, former != answer.assignment.device { try forgetRecorder() }
        }
    }

    /// As another device, this one recorded nothing yet, as far as buckets go.
    private func forgetRecorder() throws {
        var audit = try readAudit()
        let rows = try connection.all(
            """
            SELECT id, kind, parent, created, visible, state, places, digest, checksum
            FROM record WHERE places & ? != 0
            """, .integer(Int(HeldPlaces.recorder.rawValue))
        ) { GuardedRow(row: $0) }
        for row in rows { try move(row, to: row.places.subtracting(.recorder), &audit) }
        try storeAudit(audit)
    }

    /// Notes that a record lies in other buckets of this device now.
    private func move(_ row: GuardedRow, to places: HeldPlaces, _ audit: inout AuditRow) throws {
        var moved = row
        moved.places = places
        // What was damaged stays so.
        if row.checksum == row.expectedChecksum { moved.checksum = moved.expectedChecksum }
        audit.add(moved.share &- row.share, at: row.id)
        try connection.run(
            "UPDATE record SET places = ?, checksum = ? WHERE id = ?",
            .integer(Int(places.rawValue)), .bits(moved.checksum), .bytes(row.id))
    }

    /// Goes on as a new replica with all groups that the hub does not have, or may not have.
    ///
    /// - Parameter counter: Below it the hub has what this journal wrote; 1 when nobody knows what
    ///   it has, and then nothing is shared.
    /// - Returns: How many groups go with it.
    @discardableResult
    private func fork(from counter: UInt64) throws -> Int {
        let writer = try readWriter()
        let taken = try readOutbox().filter {
            $0.replica == writer.replica && $0.counter >= counter
        }
        var shared = Ancestor(Dot(writer.replica, 0), chain: .empty)
        if counter == writer.nextCounter {
            shared = Ancestor(Dot(writer.replica, counter - 1), chain: writer.chain)
        } else if let chain = try readChain(below: Dot(writer.replica, counter)) {
            shared = Ancestor(Dot(writer.replica, counter - 1), chain: chain)
        }
        // What a disk has altered of it is set aside.
        if counter == 1 { try unsettle(writer.replica) }
        try become(newReplicaWith: taken, sharing: shared)
        return taken.count
    }

    /// - Returns: The chain below a group of the outbox, also below one that is damaged itself.
    private func readChain(below dot: Dot) throws -> HashChain? {
        try connection.first(
            "SELECT chain FROM outbox WHERE replica = ? AND counter = ?",
            .bits(dot.replica.rawValue), .bits(dot.counter)
        ) { HashChain($0.bits(at: 0)) }
    }

    /// Goes on as a new replica: the groups are numbered from 1 under it, in the order of writing,
    /// otherwise unchanged, and wait.
    ///
    /// - Parameters:
    ///   - groups: With one also all that were written after it, so that the order stays.
    ///   - shared: What it has in common with the present replica.
    private func become(newReplicaWith groups: [OutboxGroup], sharing shared: Ancestor) throws {
        let lineage = try readLineage()
        var replica: ReplicaID
        repeat {
            replica = ReplicaID.random(using: &random)
        } while lineage.contains { $0.replica == replica }
        try connection.run(
            "UPDATE lineage SET shared = ?, chain = ? WHERE shared IS NULL",
            .bits(shared.dot.counter), .bits(shared.chain.value))
        try connection.run(
            "INSERT INTO lineage (replica, device) VALUES (?, (SELECT device FROM enrolment))",
            .bits(replica.rawValue))
        var writer = WriterRow(replica: replica, nextCounter: 1, nextRecord: 1, chain: .empty)
        for group in groups {
            let dot = Dot(replica, writer.nextCounter)
            try connection.run(
                """
                UPDATE outbox SET replica = ?, counter = ?, state = 0, content = ?, chain = ?
                WHERE number = ?
                """, .bits(dot.replica.rawValue), .bits(dot.counter),
                .bytes(group.content.bytes(of: group.record, under: dot)),
                .bits(writer.chain.value), .integer(group.number))
            writer.chain.append(group.content.group(of: group.record, at: dot.counter))
            writer.nextCounter += UInt64(group.content.changes.count)
        }
        try storeWriter(writer)
        try connection.run(
            "UPDATE pull SET missing_from = NULL, held_from = NULL, hub_schema_counter = 0")
        try connection.run("DELETE FROM set_aside")
    }

    /// Puts back among what waits what had been decided and does not show in a pull that ended in
    /// another term than the one before it: a hub that was restored in between may have lost it, or
    /// have decided otherwise.
    ///
    /// What shows neither in the pull nor behind a later own change of the field is sent again. A
    /// group of the present replica gets the outcome that it has there. For a former one's the hub
    /// is never asked, so it goes out under a new replica, which may show a conflict too many when
    /// somebody else has covered it meanwhile.
    ///
    /// - Parameters:
    ///   - cursor: Where the pull ended that is now stored.
    ///   - former: Where the one before it ended.
    ///   - milliseconds: When.
    private func sendAgainWhatIsLost(
        at cursor: Position, after former: Position, milliseconds: Int64
    ) throws {
        guard cursor.term != former.term else { return }
        let writer = try readWriter()
        try setAsideDamagedGroups(before: writer.replica, at: milliseconds)
        let outbox = try readOutbox()
        struct Register: Hashable {
            var record: RecordID
            var field: UInt32
        }
        /// Another copy of the journal may have written something else under the same name.
        struct Written: Hashable {
            var field: UInt32
            var dot: Dot
            var value: [UInt8]?
        }
        /// The newest settled change of each.
        var newest: [Register: Written] = [:]
        for group in outbox where group.isSettled {
            for (index, change) in group.content.changes.enumerated() {
                newest[Register(record: group.record, field: change.field)] = Written(
                    field: change.field, dot: Dot(group.replica, group.counter + UInt64(index)),
                    value: change.value)
            }
        }
        var shown: [RecordID: Set<Written>] = [:]
        /// Whether the newest own change of a field that the group sets is not there; of a group of
        /// a former replica only if that is a former one's, too.
        func isMissing(_ group: OutboxGroup) throws -> Bool {
            let versions: Set<Written>
            if let known = shown[group.record] {
                versions = known
            } else {
                let fields = try readRecord(group.record)?.state.fields ?? FieldMap()
                versions = Set(
                    fields.flatMap { field, versions in
                        versions.map { version in
                            // Late answers stand behind the number of their own field.
                            guard field == LateAnswers.field, let value = version.value,
                                let source = value.first
                            else {
                                return Written(
                                    field: field, dot: version.stamp.dot, value: version.value)
                            }
                            return Written(
                                field: UInt32(source), dot: version.stamp.dot,
                                value: Array(value.dropFirst()))
                        }
                    })
                shown[group.record] = versions
            }
            return group.content.changes.contains { change in
                guard let last = newest[Register(record: group.record, field: change.field)]
                else { return false }
                let isOwn = last.dot.replica == writer.replica
                return isOwn == (group.replica == writer.replica) && !versions.contains(last)
            }
        }
        for group in outbox where group.isSettled && group.replica == writer.replica {
            guard try isMissing(group) else { continue }
            try connection.run(
                "UPDATE outbox SET state = 0 WHERE number = ?", .integer(group.number))
        }
        let first = try outbox.firstIndex {
            try $0.replica != writer.replica && isMissing($0)
        }
        guard let first else { return }
        // What goes out again must not count as having seen itself, or what was written after it,
        // which is all that later replicas wrote.
        let oldest = outbox[first]
        try connection.run(
            "UPDATE lineage SET shared = ?, chain = ? WHERE replica = ? AND shared >= ?",
            .bits(oldest.counter - 1), .bits(oldest.chain.value),
            .bits(oldest.replica.rawValue), .bits(oldest.counter))
        try connection.run(
            """
            UPDATE lineage SET shared = 0, chain = 0 WHERE shared IS NOT NULL
                AND number > (SELECT number FROM lineage WHERE replica = ?)
            """, .bits(oldest.replica.rawValue))
        try become(
            newReplicaWith: Array(outbox[first...]),
            sharing: Ancestor(Dot(writer.replica, 0), chain: .empty))
    }

    func storeNotice(_ kind: Notice.Kind, at milliseconds: Int64, amount: Int) throws {
        // The same again is counted, and leaves room for the others.
        if kind == .differs || kind == .mended {
            try connection.run(
                """
                UPDATE notice SET amount = amount + ?, milliseconds = ?
                WHERE kind = ? AND number = (SELECT max(number) FROM notice)
                """, .integer(amount), .integer(milliseconds), .integer(kind.rawValue))
            if connection.changes > 0 { return }
        }
        try connection.run(
            """
            INSERT INTO notice (number, kind, milliseconds, amount)
            VALUES ((SELECT coalesce(max(number), 0) + 1 FROM notice), ?, ?, ?)
            """, .integer(kind.rawValue), .integer(milliseconds), .integer(amount))
        try connection.run(
            "DELETE FROM notice WHERE number <= (SELECT max(number) FROM notice) - ?",
            .integer(JournalLimits.noticesMax))
    }
}

// MARK: - Requests

extension Journal {
    /// What to send now: the oldest waiting groups that fit, and where the pull stands.
    ///
    /// What waits and is not as it was stored is set aside first, and a journal that may have given
    /// a counter out twice goes on as a new replica.
    ///
    /// - Parameters:
    ///   - batchBytesMax: Bound on the content of the batch; the first group goes in any case.
    ///   - pageBytesMax: How much of the feed to ask for, in bytes before compression.
    ///   - clocks: Now.
    ///   - attempt: A random number that the answer repeats.
    package func makeRequest(
        batchBytesMax: Int, pageBytesMax: Int, clocks: ClockReading, attempt: UInt32
    ) throws(JournalError) -> SyncRequest {
        while true {
            let request = try reading {
                try nextRequest(
                    batchBytesMax: batchBytesMax, pageBytesMax: pageBytesMax, clocks: clocks,
                    attempt: attempt)
            }
            guard let request else {
                try storing { try removeDamage(clocks: clocks) }
                continue
            }
            // Only what a person wrote must not travel before it is durable.
            if !request.groups.isEmpty || request.recovery != nil { try syncLog() }
            return request
        }
    }

    /// - Returns: `nil` when something damaged stands in the way.
    private func nextRequest(
        batchBytesMax: Int, pageBytesMax: Int, clocks: ClockReading, attempt: UInt32
    ) throws -> SyncRequest? {
        _ = try requireIdentity()
        let writer = try readWriter()
        let pull = try readPull()
        // Also those that nothing is shared with: ids may still be theirs.
        let ancestors = try readLineage().compactMap { row in
            row.shared.map { Ancestor(Dot(row.replica, $0), chain: row.chain) }
        }
        let recovery = try nextRecovery(bytesMax: batchBytesMax)
        let isBringing = !(recovery?.records.isEmpty ?? true)
        guard
            let batch = isBringing
                ? ([], nil) : try nextGroups(of: writer, bytesMax: batchBytesMax)
        else { return nil }
        let gap = try pull.gap.flatMap { counters in
            try readSetAside(from: counters).map { SyncRequest.Gap(counters: counters, chain: $0) }
        }
        return SyncRequest(
            attempt: attempt, replica: writer.replica, nextCounter: writer.nextCounter,
            cursor: pull.cursor, scope: pull.scope, clocks: clocks, resume: pull.resume,
            pageBytes: pageBytesMax, groups: batch.groups,
            chain: gap == nil ? batch.chain : batch.chain ?? writer.chain,
            // Dropping the oldest errs toward a conflict, never toward covering.
            ancestors: ancestors.suffix(Limits.ancestorsMax).sorted { $0.dot < $1.dot },
            gap: gap, recovery: recovery,
            audit: isBringing ? nil : try nextAudit())
    }

    /// What waits, and the chain below it.
    ///
    /// - Returns: `nil` when one that would be among them is damaged, or has counters that were
    ///   never given out. When nothing waits, the chain of all, or none when there is nothing held
    ///   that the hub could have lost.
    private func nextGroups(
        of writer: WriterRow, bytesMax: Int
    ) throws -> (groups: [ChangeGroup], chain: HashChain?)? {
        let statement = try connection.prepare(
            """
            SELECT number, replica, counter, record, state, content, chain FROM outbox
            WHERE state IS NOT 1 ORDER BY number
            """)
        var groups: [ChangeGroup] = []
        var chain: HashChain?
        var bytes = 0
        var changes = 0
        while try statement.step() {
            guard let row = OutboxGroup(row: statement), row.replica == writer.replica,
                row.nextCounter <= writer.nextCounter
            else { return nil }
            bytes += row.content.batchBytes
            changes += row.content.changes.count
            if let last = groups.last {
                // A batch has no holes; what lies behind one goes with the next.
                guard row.counter == last.nextCounter, bytes <= bytesMax,
                    changes <= Limits.changesPerBatchMax
                else { break }
            } else {
                chain = row.chain
            }
            groups.append(row.group)
        }
        if groups.isEmpty {
            let isHeld = try connection.first("SELECT 1 FROM outbox LIMIT 1", read: { _ in true })
            chain = isHeld == nil ? nil : writer.chain
        }
        return (groups, chain)
    }

    /// A command that waits and is not as it was stored, or waits under a former replica: what
    /// waits is renumbered with every fork, so a disk made that of one that was decided.
    struct DamagedGroup {
        var number: Int64
        var record: RecordID?
        var content: [UInt8]
        /// The counters that are gone with it, as far as the row and those beside it tell.
        var counters: Range<UInt64>
        /// Of all below them.
        var chain: HashChain
    }

    func readDamagedGroups() throws -> [DamagedGroup] {
        let writer = try readWriter()
        var damaged: [DamagedGroup] = []
        /// Those of ``damaged`` behind which nothing sound came yet.
        var open = 0
        var reached: UInt64 = 0
        func close(at counter: UInt64) {
            for index in damaged.indices.suffix(open) {
                let first = min(damaged[index].counters.lowerBound, counter)
                damaged[index].counters = first..<counter
            }
            open = 0
        }
        try connection.forEach(
            """
            SELECT number, replica, counter, record, state, content, chain FROM outbox ORDER BY number
            """
        ) { row in
            // Counters of a former replica say nothing of the present one's.
            if let group = OutboxGroup(row: row), group.replica == writer.replica {
                close(at: group.counter)
                reached = group.nextCounter
            } else if row.integer(at: 4) != JournalSchema.settled {
                let isOwn = row.replica(at: 1) == writer.replica
                let first = isOwn ? max(row.bits(at: 2), reached) : .max
                damaged.append(
                    DamagedGroup(
                        number: row.integer(at: 0), record: RecordID(bytes: row.bytes(at: 3)),
                        content: row.bytes(at: 5), counters: first..<first,
                        chain: HashChain(row.bits(at: 6))))
                open += 1
            }
        }
        close(at: writer.nextCounter)
        return damaged
    }

    /// Makes a request possible again.
    private func removeDamage(clocks: ClockReading) throws {
        let milliseconds = try readBoots().corrected(clocks).milliseconds
        let writer = try readWriter()
        let held = try readOutbox().filter { $0.replica == writer.replica }
        if held.contains(where: { $0.nextCounter > writer.nextCounter }) {
            // The disk brought back which counter is next as it was, so some may have been given
            // out twice.
            try storeNotice(.forked, at: milliseconds, amount: try fork(from: 1))
            return
        }
        let damaged = try readDamagedGroups()
        // Or the request would be made for ever.
        guard !damaged.isEmpty else { throw ByteCodingError.truncated }
        for row in damaged {
            try storeDamaged(
                row.record, row.content,
                reason: "damaged on this device before the server confirmed it", at: milliseconds)
            try connection.run("DELETE FROM outbox WHERE number = ?", .integer(row.number))
            try connection.run(
                "INSERT OR REPLACE INTO set_aside VALUES (?, ?, ?)",
                .bits(row.counters.lowerBound), .bits(row.counters.upperBound),
                .bits(row.chain.value))
        }
        try storeNotice(.commandsDamaged, at: milliseconds, amount: damaged.count)
    }

    /// Sets aside what a disk made of commands that were decided under a former replica: the hub is
    /// never asked for them again, and may have lost them.
    private func setAsideDamagedGroups(
        before replica: ReplicaID, at milliseconds: Int64
    ) throws {
        let damaged = try connection.all(
            """
            SELECT number, replica, counter, record, state, content, chain FROM outbox
            WHERE state = 1 AND replica IS NOT ?
            """, .bits(replica.rawValue)
        ) { row in
            OutboxGroup(row: row) == nil
                ? (
                    number: row.integer(at: 0), record: RecordID(bytes: row.bytes(at: 3)),
                    content: row.bytes(at: 5)
                ) : nil
        }.compactMap { $0 }
        if damaged.isEmpty { return }
        for row in damaged {
            try storeDamaged(
                row.record, row.content, reason: "damaged on this device; the server may have it",
                at: milliseconds)
            try connection.run("DELETE FROM outbox WHERE number = ?", .integer(row.number))
        }
        try storeNotice(.commandsDamaged, at: milliseconds, amount: damaged.count)
    }

    /// Moves what a disk made of a command to what was refused, where the person sees what can
    /// still be read of it and decides.
    private func storeDamaged(
        _ record: RecordID?, _ content: [UInt8], reason: String, at milliseconds: Int64
    ) throws {
        try storeRefused(
            record ?? RecordID(high: 0, low: 0), GroupContent(salvaging: content),
            code: RefusedGroup.damagedCode, field: 0, reason: reason, at: milliseconds)
    }
}

// MARK: - Answers

extension Journal {
    /// Takes in what the hub answered, in one transaction.
    ///
    /// - Parameters:
    ///   - message: A ``WireFormat/SyncAnswer``, of any origin.
    ///   - request: What was sent.
    ///   - received: The clocks when the answer had come.
    /// - Throws: ``JournalError/staleAnswer`` when it does not belong to the request or the journal
    ///   moved on meanwhile, ``JournalError/badAnswer(_:)`` when it cannot be; nothing was changed.
    package func absorb(
        _ message: [UInt8], for request: SyncRequest, clocks received: ClockReading
    ) throws(JournalError) -> Absorbed {
        let answer: SyncAnswer
        do throws(FrameError) {
            answer = try Self.answer(in: message, to: request)
        } catch {
            throw .badAnswer(error.description)
        }
        guard answer.attempt == request.attempt else { throw .staleAnswer }
        let absorbed = try storing {
            let writer = try readWriter()
            let pull = try readPull()
            guard writer.replica == request.replica, pull.cursor == request.cursor,
                pull.scope == request.scope, pull.resume == request.resume,
                try readRecovery()?.confirmed == request.recovery?.confirmed
            else { throw JournalError.staleAnswer }
            try storeAnchor(
                hub: answer.hubMilliseconds, sent: request.clocks, received: received)
            var news = News()
            var settled = 0
            var progressed = false
            var hasLearned = try noteSchema(answer.schema)
            if !answer.line.isEmpty {
                guard let head = answer.recovered else {
                    throw JournalError.badAnswer("a line of terms without its head")
                }
                progressed = try beginRecovery(answer.line, head: head) || progressed
            } else if let recovered = answer.recovered, let recovery = request.recovery,
                !recovery.records.isEmpty
            {
                try advanceRecovery(past: recovery.records, confirmed: recovered)
                progressed = true
            }
            if let outcomes = answer.outcomes {
                settled = try settle(
                    outcomes, of: request, at: answer.hubMilliseconds, news: &news,
                    hasLearned: &hasLearned)
                progressed = progressed || settled > 0
            }
            if hasLearned, try offerAnewAfterUpgrade(clocks: received) > 0 { progressed = true }
            if try redirect(answer.outcomes, request: request, at: answer.hubMilliseconds) {
                progressed = true
            }
            var isComplete = false
            var auditWaits = false
            var mended = 0
            if answer.page != nil || answer.assignment != nil {
                if try stage(answer, message, for: request) { progressed = true }
                if answer.page?.cursor != nil, try !isStagingSound() {
                    // What the disk made of the pull is not shown; it starts anew.
                    try dropStaging()
                    progressed = true
                } else if let page = answer.page, let cursor = page.cursor {
                    (auditWaits, mended) = try complete(
                        with: page, at: cursor, milliseconds: answer.hubMilliseconds,
                        isWhole: answer.recovered != nil || request.cursor == .origin,
                        asked: request.audit, news: &news)
                    isComplete = true
                    progressed = true
                }
            }
            return Absorbed(
                answer: DeviceSession.Answer(
                    pullComplete: isComplete, groupsWait: try readWaitingGroups() > 0,
                    auditWaits: auditWaits, progressed: progressed,
                    elapsedMilliseconds: max(
                        0,
                        received.elapsedMilliseconds.subtractingSaturated(
                            request.clocks.elapsedMilliseconds))),
                news: news, settledGroups: settled, mendedRecords: mended)
        }
        if absorbed.answer.pullComplete { foldLog() }
        return absorbed
    }

    /// Marks what was decided; what was refused leaves the overlay.
    ///
    /// Only groups of this very request are marked: the hub may know later ones too, from a try
    /// whose answer was lost, but lists only the refusals of what it was asked now.
    ///
    /// - Parameter hasLearned: Set when the hub repeats what it had refused as an older program.
    private func settle(
        _ outcomes: Outcomes, of request: SyncRequest, at milliseconds: Int64, news: inout News,
        hasLearned: inout Bool
    ) throws -> Int {
        let decided = request.groups.prefix { $0.nextCounter <= outcomes.settledCounter }
        guard let last = decided.last else { return 0 }
        let sent = Dictionary(
            decided.map { ($0.firstCounter, $0) }, uniquingKeysWith: { first, _ in first })
        var rows: [UInt64: OutboxGroup] = [:]
        for row in try readOutbox()
        where !row.isSettled && row.replica == request.replica && row.counter < last.nextCounter {
            // A disk that brought back an older state may have let a counter be given out twice.
            if sent[row.counter] == row.group { rows[row.counter] = row }
        }
        let refusals = Dictionary(
            outcomes.refusals.map { ($0.firstCounter, $0) }, uniquingKeysWith: { first, _ in first }
        )
        var count = 0
        for group in decided {
            guard let row = rows[group.firstCounter] else { continue }
            count += 1
            if let refusal = refusals[group.firstCounter] {
                try storeRefused(
                    row.record, row.content, code: refusal.code, field: refusal.field,
                    reason: refusal.reason, at: milliseconds)
                try connection.run("DELETE FROM outbox WHERE number = ?", .integer(row.number))
                news.refused += 1
                if refusal.code == RejectionCode.upgrade.rawValue,
                    try isBeforeSchema(row.counter)
                {
                    hasLearned = true
                }
            } else {
                try connection.run(
                    "UPDATE outbox SET state = 1 WHERE number = ?", .integer(row.number))
            }
        }
        // What was decided before is no news.
        let counters = Set(rows.keys)
        news.superseded += outcomes.superseded.reduce(0) {
            $0 + (counters.contains($1.firstCounter) ? $1.fields.count : 0)
        }
        return count
    }

    /// Follows the hub to another replica or another counter.
    ///
    /// - Returns: Whether that changes the next request.
    private func redirect(
        _ outcomes: Outcomes?, request: SyncRequest, at milliseconds: Int64
    ) throws -> Bool {
        if try readRecovery() != nil {
            // It is followed after that. What the hub does not have must not leave with the pull.
            if outcomes?.forkCounter != nil || outcomes?.expectedCounter != nil {
                try unsettle(request.replica)
            }
            return false
        }
        if let counter = outcomes?.forkCounter {
            let amount = try fork(from: counter)
            try storeNotice(.forked, at: milliseconds, amount: amount)
            return true
        }
        var pull = try readPull()
        let before = pull.gap
        guard let expected = outcomes?.expectedCounter else {
            // The hub has recorded the gap that the request told of.
            guard before != nil, request.gap?.counters == before else { return false }
            pull.gap = nil
            try storePull(pull)
            return false
        }
        let nextCounter = try readWriter().nextCounter
        guard expected <= nextCounter else {
            throw JournalError.badAnswer("it expects a counter that was never given out")
        }
        // The hub lost what it had confirmed; what is still here goes there again.
        let held = try readOutbox().filter { $0.replica == request.replica }
        let isResending = held.contains { $0.isSettled && $0.counter >= expected }
        try unsettle(request.replica, from: expected)
        let first = held.first { $0.counter >= expected }?.counter ?? nextCounter
        pull.gap = first == expected ? nil : expected..<first
        if let gap = pull.gap, try readSetAside(from: gap) == nil {
            // What it lost there was refused, so nothing of it is missing, but what lies behind
            // cannot follow without it.
            try fork(from: 1)
            return true
        }
        guard pull.gap != before else { return isResending }
        try storePull(pull)
        return true
    }

    /// What the hub had decided from a counter on waits again, as far as it is held.
    func unsettle(_ replica: ReplicaID, from counter: UInt64 = 1) throws {
        try connection.run(
            "UPDATE outbox SET state = 0 WHERE state = 1 AND replica = ? AND counter >= ?",
            .bits(replica.rawValue), .bits(counter))
    }

    /// - Returns: The chain below these counters, if all of them are those of commands that were
    ///   damaged here.
    private func readSetAside(from counters: Range<UInt64>) throws -> HashChain? {
        var reached = counters.lowerBound
        var chain: HashChain?
        for row in try connection.all(
            "SELECT first_counter, next_counter, chain FROM set_aside ORDER BY first_counter",
            read: { (first: $0.bits(at: 0), next: $0.bits(at: 1), chain: $0.bits(at: 2)) })
        where row.first <= reached {
            if row.first == counters.lowerBound { chain = HashChain(row.chain) }
            reached = max(reached, row.next)
        }
        return reached >= counters.upperBound ? chain : nil
    }

    /// Keeps a part of the pull under way; its last page is taken in at once.
    ///
    /// - Parameter message: The answer as it came.
    /// - Returns: Whether it moves the pull on.
    private func stage(
        _ answer: SyncAnswer, _ message: [UInt8], for request: SyncRequest
    ) throws -> Bool {
        if answer.page?.restart == true { try dropStaging() }
        if let assignment = answer.assignment {
            let kept = SyncAnswer(attempt: 0, hubMilliseconds: 0, assignment: assignment)
            try connection.run("UPDATE pull SET assignment = ?", .bytes(kept.encoded()))
        }
        guard let page = answer.page else { return false }
        guard page.cursor != nil || !page.resume.isEmpty else {
            throw JournalError.badAnswer("a page that neither ends the pull nor goes on")
        }
        if page.cursor == nil {
            let request = request.encoded()
            try connection.run(
                "INSERT INTO staging (page, request, checksum) VALUES (?, ?, ?)", .bytes(message),
                .bytes(request), .bits(Self.checksum(ofStaged: message, request)))
        }
        let resume = page.cursor == nil ? page.resume : []
        try connection.run("UPDATE pull SET resume = ?", .bytes(resume))
        return resume != request.resume || !page.records.isEmpty || !page.departed.isEmpty
    }

    /// The pull that is under way, if any, begins anew.
    func dropStaging() throws {
        try connection.run("DELETE FROM staging")
        try connection.run("UPDATE pull SET assignment = NULL, resume = x''")
    }

    private func readStagedAssignment() throws -> Assignment? {
        let bytes = try connection.first("SELECT assignment FROM pull") {
            $0.optionalBytes(at: 0)
        }
        return try (bytes ?? nil).flatMap { try SyncAnswer(decoding: $0).assignment }
    }

    /// Whether what is staged is as it was stored.
    private func isStagingSound() throws -> Bool {
        do { _ = try readStagedAssignment() } catch is FrameError { return false }
        var isSound = true
        try connection.forEach("SELECT page, request, checksum FROM staging") { row in
            guard isSound else { return }
            isSound =
                Self.checksum(ofStaged: row.bytes(at: 0), row.bytes(at: 1)) == row.bits(at: 2)
        }
        return isSound
    }

    private static func checksum(ofStaged page: [UInt8], _ request: [UInt8]) -> UInt64 {
        var sum = RowChecksum()
        sum.combine(page)
        sum.combine(request)
        return sum.value
    }

    /// Reads an answer, and puts in what the hub left out.
    private static func answer(
        in message: [UInt8], to request: SyncRequest
    ) throws(FrameError) -> SyncAnswer {
        var answer = try SyncAnswer(decoding: message, for: request)
        try fillIn(&answer.page, from: request)
        return answer
    }

    /// Puts in the values that the hub did not send back because the request held them.
    private static func fillIn(
        _ page: inout Page?, from request: SyncRequest
    ) throws(FrameError) {
        guard var records = page?.records else { return }
        page?.records = []
        var sent: [UInt64: [UInt8]?] = [:]
        for index in records.indices {
            for position in records[index].versions.indices {
                guard case .asSent = records[index].versions[position].value else { continue }
                if sent.isEmpty {
                    for group in request.groups {
                        for (offset, change) in group.changes.enumerated() {
                            sent.updateValue(
                                change.value, forKey: group.firstCounter + UInt64(offset))
                        }
                    }
                }
                let dot = records[index].versions[position].stamp.dot
                guard dot.replica == request.replica, let value = sent[dot.counter] else {
                    throw .malformed("a value as sent that was not sent")
                }
                records[index].versions[position].value = value.map { .bytes($0) } ?? .cleared
            }
        }
        page?.records = records
    }
}

// MARK: - The end of a pull

extension Journal {
    /// Shows what was staged, with the cursor, in the transaction of the last page.
    ///
    /// - Parameters:
    ///   - last: That page.
    ///   - isWhole: Whether the pull brought everything, so that nothing else is held.
    /// - Returns: Whether it differs from what the hub has, and there is more to ask; and how many
    ///   records were mended.
    private func complete(
        with last: Page, at cursor: Position, milliseconds: Int64, isWhole: Bool,
        asked: AuditRequest?, news: inout News
    ) throws -> (auditWaits: Bool, mended: Int) {
        var pull = try readPull()
        let assignment = try readStagedAssignment()
        var merge = PullMerge(
            context: try readContext(),
            groups: Dictionary(grouping: try readOutbox(), by: \.record),
            audit: try readAudit(), progress: AuditProgress(asked: asked, last: last),
            haveSuspects: try countSuspects() > 0,
            recovery: isWhole ? try readRecovery() : nil, milliseconds: milliseconds)
        if isWhole {
            let held = try connection.all("SELECT id FROM record WHERE visible = 1") {
                try $0.record(at: 0)
            }
            merge.unsent = Set(held)
        }
        // Page by page, so that memory is bounded by one page.
        for number in try connection.all(
            "SELECT number FROM staging ORDER BY number", read: { $0.integer(at: 0) })
        {
            let page = try connection.first(
                "SELECT page, request FROM staging WHERE number = ?", .integer(number)
            ) { row in
                let request = try SyncRequest(decoding: row.bytes(at: 1))
                return try Self.answer(in: row.bytes(at: 0), to: request).page
            }
            if let page = page ?? nil { try take(page, &merge) }
        }
        try take(last, &merge)
        for id in merge.unsent.sorted() {
            if let held = try readGuarded(id) { try keepLost(of: held, in: nil, &merge) }
            try hide(id, &merge)
        }
        try endRecovery(isWhole: isWhole, keptCount: merge.keptCount, at: milliseconds)
        try noteReached(cursor)
        if let assignment {
            try storeAssignment(assignment)
            if pull.scope != 0, pull.scope != assignment.scope.id {
                try hideOutside(assignment.scope, &merge)
            }
            merge.progress.isScopeChanged = pull.scope != assignment.scope.id
            pull.scope = assignment.scope.id
        }
        news.refused -= min(news.refused, try forgetDoubleCreations())
        // The hub computed the last page after it had admitted what it settled, so the pull
        // contains every group that is settled by now, but for what it has lost in between.
        try sendAgainWhatIsLost(at: cursor, after: pull.cursor, milliseconds: milliseconds)
        try connection.run("DELETE FROM outbox WHERE state = 1")
        try connection.run(
            """
            DELETE FROM seen WHERE record IN (SELECT id FROM record WHERE visible = 0)
            """)
        try connection.run(
            """
            DELETE FROM record WHERE visible = 0 AND id NOT IN (SELECT record FROM outbox)
            """)
        try dropStaging()
        pull.cursor = cursor
        // A new replica has none.
        pull.gap = try readPull().gap
        pull.resume = []
        pull.completedAt = milliseconds
        try storePull(pull)
        let auditWaits = try compare(&merge.audit, merge.progress, at: milliseconds)
        try storeAudit(merge.audit)
        try tell(merge, &news)
        return (auditWaits, merge.progress.mendedCount)
    }

    /// What the end of a pull gathers on its way through the pages.
    private struct PullMerge {
        /// Before the pull.
        let context: ReadingContext
        /// The outbox before the pull; afterwards there is less of it.
        let groups: [RecordID: [OutboxGroup]]
        var audit: AuditRow
        var progress: AuditProgress
        var haveSuspects: Bool
        /// The recovery that this pull ends.
        let recovery: RecoveryRow?
        let milliseconds: Int64
        /// Records of which the recovery brought something that did not come back.
        var keptCount = 0
        /// Of a pull that brings everything: what was shown before and did not come yet.
        var unsent: Set<RecordID> = []
        /// The needs that it touches: how they were shown before, and how they are now, as far as
        /// that follows from what came.
        var needs: [RecordID: (before: Glimpse?, after: Glimpse?)] = [:]
        /// New notes of others, with their needs.
        var noted: [RecordID: RecordID] = [:]
        /// What was damaged here and came again is no news.
        var mended: Set<RecordID> = []

        mutating func noteMended(_ id: RecordID) {
            progress.mendedCount += 1
            mended.insert(id)
        }
    }

    /// Stores what one page brought.
    private func take(_ page: Page, _ merge: inout PullMerge) throws {
        for writer in page.writers {
            try connection.run(
                "INSERT OR REPLACE INTO person VALUES (?, ?)",
                .bits(writer.replica.rawValue), .text(writer.name))
        }
        let insert = try connection.prepare(
            """
            INSERT INTO record (id, kind, parent, created, visible, state, places, digest, checksum)
            VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING
            """)
        for record in page.records {
            let isFirst = !merge.unsent.isEmpty && merge.unsent.remove(record.id) != nil
            let held = isFirst && merge.recovery != nil ? try readGuarded(record.id) : nil
            if try !insertNew(record, insert, &merge) { try update(record, &merge) }
            if let held { try keepLost(of: held, in: readRecord(record.id)?.state, &merge) }
        }
        for id in page.departed {
            if try merge.haveSuspects && clear(id) {
                merge.progress.clearedCount += 1
                if try readGuarded(id)?.isVisible ?? false { merge.noteMended(id) }
            }
            try hide(id, &merge)
        }
    }

    /// Keeps what a recovery brought of a record and did not get back.
    ///
    /// - Parameters:
    ///   - held: As it was shown before the pull.
    ///   - state: What came of it; `nil` when nothing did.
    private func keepLost(
        of held: GuardedRow, in state: RecordState?, _ merge: inout PullMerge
    ) throws {
        guard let recovery = merge.recovery,
            try keepWhatDidNotReturn(
                of: held, in: state, recovery, role: merge.context.identity?.role,
                at: merge.milliseconds)
        else { return }
        merge.keptCount += 1
    }

    /// Remembers how a need was shown, before the first change to it.
    private func remember(_ id: RecordID, _ row: RecordRow?, _ merge: inout PullMerge) {
        if let known = merge.needs[id] {
            merge.needs[id] = (known.before, nil)
            return
        }
        let groups = merge.groups[id] ?? []
        var view = compose(id: id, row: row, groups: groups, context: merge.context)
        if var row, !row.isVisible, view != nil {
            // It is shown as far as it was recorded here; this is what was last told of it.
            row.isVisible = true
            view = compose(id: id, row: row, groups: groups, context: merge.context)
        }
        merge.needs[id] = (view.map { Glimpse(NeedSnapshot($0, context: merge.context)) }, nil)
    }

    /// Says what a pull changed for the person.
    private func tell(_ merge: PullMerge, _ news: inout News) throws {
        let context = try readContext()
        let groups = Dictionary(grouping: try readOutbox(), by: \.record)
        for id in merge.needs.keys.sorted() where !merge.mended.contains(id) {
            let need = merge.needs[id] ?? (nil, nil)
            var after = need.after
            if after == nil {
                let row = try readRecord(id)
                let view = compose(
                    id: id, row: row, groups: groups[id] ?? [], context: context)
                // Hidden, and shown as far as it was recorded here: that is no news.
                if row?.isVisible == false, view != nil { continue }
                after = view.map { Glimpse(NeedSnapshot($0, context: context)) }
            }
            // Whose replicas are whose is known only now.
            after?.isOwn = context.isOwn(id.replica)
            news.compare(
                id, before: need.before, after: after, identity: context.identity)
        }
        // A remark on a need that is itself new says nothing more.
        let fresh = Set(news.newNeeds)
        news.noted = Set(merge.noted.filter { !merge.mended.contains($0.key) }.values).filter {
            !fresh.contains($0)
        }.sorted()
    }

    /// Drops refusals of a creation that the hub has all the same, value for value: a copy of this
    /// journal, or this one before it forked, had sent it under another number. Nothing is left
    /// for a person to decide.
    ///
    /// - Returns: How many were dropped.
    private func forgetDoubleCreations() throws -> Int {
        let refused = try connection.all(
            "SELECT number, record, content FROM refused WHERE code = ?",
            .integer(Int64(RejectionCode.recordExists.rawValue))
        ) { row in
            (
                number: row.integer(at: 0), record: try row.record(at: 1),
                content: try? GroupContent(
                    bytes: row.bytes(at: 2), of: row.record(at: 1), under: nil)
            )
        }
        var count = 0
        for entry in refused {
            guard let content = entry.content, content.createdKind != nil,
                let row = try readRecord(entry.record), row.isVisible,
                content.changes.allSatisfy({ change in
                    row.state.fields[change.field]?.contains { $0.value == change.value } ?? false
                })
            else { continue }
            try connection.run("DELETE FROM refused WHERE number = ?", .integer(entry.number))
            count += 1
        }
        return count
    }

    /// Stores a record that was sent whole, unless something of it is here already.
    ///
    /// - Returns: Whether it is stored.
    private func insertNew(
        _ record: PageRecord, _ insert: borrowing Statement, _ merge: inout PullMerge
    ) throws -> Bool {
        guard let created = record.createdMilliseconds else { return false }
        let row = GuardedRow(record, versions: record.versions, created: created)
        try insert.bind(1, row.id)
        try insert.bind(2, row.kind)
        try insert.bind(3, SQLValue(row.parent))
        try insert.bind(4, row.created)
        try insert.bind(6, Int(row.places.rawValue))
        try insert.bind(7, SQLValue.bits(row.digest))
        try insert.bind(8, SQLValue.bits(row.checksum))
        try row.stateBytes.withUnsafeBytes { state in
            try insert.withBytes(5, state) { try insert.run() }
        }
        guard connection.changes > 0 else { return false }
        merge.audit.add(row.share, at: row.id)
        if try merge.haveSuspects && clear(record.id) {
            merge.progress.clearedCount += 1
            merge.noteMended(record.id)
        }
        if record.kind == Kind.need.rawValue {
            if merge.groups[record.id] == nil {
                merge.needs[record.id] = (nil, Glimpse(ofNewcomer: record))
            } else {
                remember(record.id, nil, &merge)
            }
        }
        noteRemark(record, row, &merge)
        return true
    }

    private func noteRemark(_ record: PageRecord, _ row: GuardedRow, _ merge: inout PullMerge) {
        guard let parent = row.parent.flatMap({ RecordID(bytes: $0) }),
            merge.groups[record.id] == nil, merge.context.shared(of: record.id.replica) == nil
        else { return }
        merge.noted[record.id] = parent
    }

    /// Stores a record of which something is here already, or should be.
    private func update(_ record: PageRecord, _ merge: inout PullMerge) throws {
        let held = try readGuarded(record.id)
        let row = held?.record
        if record.kind == Kind.need.rawValue { remember(record.id, row, &merge) }
        lazy var isSound = held?.isSound ?? false
        var versions = record.versions
        let isWhole = record.createdMilliseconds != nil
        if !isWhole {
            // The hub says only what changed since the cursor, so what it changes must be here.
            if !isSound || held?.isVisible != true {
                try suspect(record.id)
                merge.haveSuspects = true
            }
            if let row { versions = row.state.versions(changedBy: record.versions) }
        }
        var new = GuardedRow(
            record, versions: versions,
            created: record.createdMilliseconds ?? row?.created ?? record.id.milliseconds)
        // What the disk has altered or lost stays marked until it comes whole, or a recovery could
        // bring it to others as if it were sound.
        if !isWhole, !isSound { new.checksum = ~new.checksum }
        merge.audit.add(new.share &- (held?.share ?? 0), at: new.id)
        if try isWhole && merge.haveSuspects && clear(record.id) {
            merge.progress.clearedCount += 1
            if !isSound || held?.share != new.share || held?.checksum != new.checksum {
                merge.noteMended(record.id)
            }
        }
        try connection.run(
            """
            INSERT INTO record (id, kind, parent, created, visible, state, places, digest, checksum)
            VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?)
            ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, parent = excluded.parent,
                created = excluded.created, visible = 1, state = excluded.state,
                places = excluded.places, digest = excluded.digest, checksum = excluded.checksum
            """,
            .bytes(new.id), .integer(new.kind), SQLValue(new.parent), .integer(new.created),
            .bytes(new.stateBytes), .integer(Int(new.places.rawValue)), .bits(new.digest),
            .bits(new.checksum))
        if row == nil { noteRemark(record, new, &merge) }
    }

    /// Hides a record that left, and the notes on it, which lie where it lies.
    private func hide(_ id: RecordID, _ merge: inout PullMerge) throws {
        guard let held = try readGuarded(id) else { return }
        if held.kind == Int64(Kind.need.rawValue) { remember(id, held.record, &merge) }
        for row in try readNotes(of: id) + [held] { merge.audit.add(0 &- row.share, at: row.id) }
        try connection.run(
            "UPDATE record SET visible = 0 WHERE id = ? OR parent = ?", .bytes(id.bytes),
            .bytes(id.bytes))
    }

    private func readNotes(of need: RecordID) throws -> [GuardedRow] {
        try connection.all(
            """
            SELECT id, kind, parent, created, visible, state, places, digest, checksum
            FROM record WHERE parent = ?
            """, .bytes(need.bytes)
        ) { GuardedRow(row: $0) }
    }

    /// Hides what a changed scope does not contain any more. What lies in added buckets came with
    /// the same pull, so places only have to be taken away.
    private func hideOutside(_ scope: Scope, _ merge: inout PullMerge) throws {
        let device = try readIdentity()?.device
        let needs = try connection.all(
            """
            SELECT id, kind, parent, created, visible, state, places, digest, checksum
            FROM record WHERE kind = ? AND visible = 1
            """, .integer(Int64(Kind.need.rawValue))
        ) { GuardedRow(row: $0) }
        for need in needs {
            // What does not decode is fetched again anyway.
            guard let record = need.record else { continue }
            var placement = record.state.placement
            placement.device = device
            let places = need.places.intersection(scope.places(of: placement))
            if places.isEmpty {
                if !need.places.isEmpty { try hide(record.id, &merge) }
                continue
            }
            // The need may have come with this pull, and so be right already, and its notes not.
            for row in try readNotes(of: record.id) + [need]
            where row.isVisible && row.places != places {
                try move(row, to: places, &merge.audit)
            }
        }
    }
}
