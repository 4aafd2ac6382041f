import HubLedger
import NeedModel
import SyncCore

/// All that a ledger holds.
struct InspectedLedger {
    var records: [InspectedRecord]
    var groups: [InspectedGroup]
    var brought: [InspectedBrought]
    var head: UInt64

    init(_ ledger: Ledger) throws {
        records = try ledger.inspectRecords()
        groups = try ledger.inspectGroups()
        brought = try ledger.inspectBrought()
        head = try ledger.head()
    }
}

/// Invariants 3, 4, 6, 7, 12, 13 and 17, from the ledger's whole history; and its own check (25).
struct LedgerChecker {
    let ledger: InspectedLedger
    let restores: RestoreChecker
    let times: HubTimes

    private var groups: [InspectedGroup] { ledger.groups }
    private var brought: [InspectedBrought] { ledger.brought }

    /// What a ledger holds is sound, and follows from its history.
    static func check(
        _ ledger: Ledger, restores: RestoreChecker, times: HubTimes
    ) throws -> InspectedLedger {
        let findings = try ledger.check()
        guard findings.isEmpty else {
            throw Violation(invariant: 25, what: "the ledger: \(findings)")
        }
        let inspected = try InspectedLedger(ledger)
        try LedgerChecker(ledger: inspected, restores: restores, times: times).check()
        return inspected
    }

    /// Every field's admitted changes, by record and field.
    static func histories(
        groups: [InspectedGroup], brought: [InspectedBrought]
    ) -> [RecordID: [UInt32: [Version]]] {
        var histories: [RecordID: [UInt32: [Version]]] = [:]
        var returned: Set<RestoreChecker.Held> = []
        for change in brought where change.field != LateAnswers.field {
            returned.insert(RestoreChecker.Held(change.version, of: change.record, change.field))
            histories[change.record, default: [:]][change.field, default: []]
                .append(change.version)
        }
        for entry in groups {
            guard case .applied = entry.outcome else { continue }
            for (index, change) in entry.group.changes.enumerated() {
                let version = Version(
                    value: change.value,
                    stamp: Stamp(
                        milliseconds: entry.stamps[index],
                        dot: Dot(entry.replica, entry.group.firstCounter + UInt64(index))),
                    sequence: entry.sequence + UInt64(index), clock: entry.clock)
                // Sent again by its writer after somebody else had brought it back.
                let held = RestoreChecker.Held(version, of: entry.group.record, change.field)
                if returned.contains(held) { continue }
                histories[entry.group.record, default: [:]][change.field, default: []]
                    .append(version)
            }
        }
        return histories
    }

    func check() throws {
        try checkCounters()
        let histories = Self.histories(groups: groups, brought: brought)
        let known = restores.happened ? knownLate : []
        let rows = Set(ledger.records.map(\.id))
        if let missing = histories.keys.filter({ !rows.contains($0) }).min() {
            throw Violation(
                invariant: 2, what: "the ledger admitted \(missing) and has no row of it")
        }
        for record in ledger.records {
            // Then two say of one position that other versions were live there.
            if restores.happened, restores.staleRows.contains(record.id) { continue }
            try restores.checkUndecided(record, known: known)
            let strange = record.fields.first {
                $0.field != LateAnswers.field && histories[record.id]?[$0.field] == nil
            }
            if let strange {
                throw Violation(
                    invariant: 2,
                    what: "field \(strange.field) of \(record.id) was never admitted")
            }
            for (field, history) in histories[record.id] ?? [:] {
                try restores.checkCovers(history, record: record.id, field: field)
                let history = restores.happened ? inheriting(history) : history
                try checkStamps(history, record: record.id, field: field)
                let live = history.filter { version in
                    !history.contains { $0.covers(version) }
                }
                let stored =
                    record.fields.first { $0.field == field }?.register ?? Register()
                guard isEqual(Register(live: live), stored) else {
                    throw Violation(
                        invariant: 6,
                        what: "field \(field) of \(record.id): \(stored.versions.count) live "
                            + "versions stored, \(live.count) by its history: "
                            + text(of: history) + "; stored: " + text(of: stored.versions))
                }
                try checkJoin(history, stored: stored, record: record.id)
            }
        }
    }

    /// The answers and ratings that the ledger knows, as they stand where they came too late.
    private var knownLate: Set<RestoreChecker.Held> {
        var result: Set<RestoreChecker.Held> = []
        for held in RestoreChecker.Held.all(of: groups.filter(\.isApplied), brought: brought) {
            if held.field == LateAnswers.field { result.insert(held) }
            guard let field = NeedField(rawValue: held.field), LateAnswers.sources.contains(field),
                let value = held.value
            else { continue }
            var late = held
            late.field = LateAnswers.field
            late.value = [UInt8(held.field)] + value
            result.insert(late)
        }
        return result
    }

    /// The history with what each writer had seen by way of the versions it saw. Of what came back
    /// after a restore that does not follow from its own clock.
    private func inheriting(_ history: [Version]) -> [Version] {
        var history = history
        var isChanged = true
        while isChanged {
            isChanged = false
            for index in history.indices {
                for other in history where history[index].covers(other) {
                    let before = history[index].clock
                    history[index].clock.base = max(before.base, other.clock.base)
                    history[index].clock.ancestors =
                        VectorClock(before.ancestors + other.clock.ancestors).entries
                    isChanged = isChanged || history[index].clock != before
                }
            }
        }
        return history
    }

    /// After a restore the ledger may have kept less of the clocks than could be known.
    private func isEqual(_ left: Register, _ right: Register) -> Bool {
        if !restores.happened { return left == right }
        return left.versions.count == right.versions.count
            && zip(left.versions, right.versions).allSatisfy {
                $0.stamp == $1.stamp && $0.value == $1.value && $0.sequence == $1.sequence
            }
    }

    private func checkCounters() throws {
        var next: [ReplicaID: UInt64] = [:]
        for entry in groups where entry.device != nil {
            let expected = next[entry.replica] ?? 1
            // A restored hub records a gap where the writer no longer has what was lost.
            guard
                entry.group.firstCounter == expected
                    || restores.happened && entry.group.firstCounter > expected
            else {
                throw Violation(
                    invariant: 12,
                    what: "\(entry.replica) goes from \(expected) to \(entry.group.firstCounter)")
            }
            next[entry.replica] = entry.group.nextCounter
        }
        var sequence: UInt64 = 0
        for entry in groups {
            guard case .applied = entry.outcome else { continue }
            guard entry.sequence > sequence else {
                throw Violation(invariant: 13, what: "sequence \(entry.sequence) came late")
            }
            sequence = entry.sequence + UInt64(entry.group.changes.count) - 1
        }
        guard sequence <= ledger.head else {
            throw Violation(invariant: 13, what: "changes beyond the head")
        }
    }

    private func checkStamps(_ history: [Version], record: RecordID, field: UInt32) throws {
        for version in history {
            // What came back keeps the stamp that it had, whatever was stamped meanwhile.
            if !version.formerPositions.isEmpty { continue }
            for other in history
            where version.covers(other) && version.stamp <= other.stamp
                && other.formerPositions.isEmpty
                // Of two copies of a journal the later one may have been admitted first, after a
                // restore; then the other's change was covered before it came.
                && (other.sequence < version.sequence || !restores.happened)
                // Nor did the ledger know that it was covered before something came back that tells.
                && !history.contains(where: {
                    $0.isBroughtBack && $0.sequence > version.sequence && version.covers($0)
                        && $0.covers(other)
                })
                // Where the ledger's clock steps back, only what is live then can be outdone.
                && !history.contains(where: {
                    $0.sequence < version.sequence && $0.covers(other)
                })
            {
                throw Violation(
                    invariant: 4,
                    what: "field \(field) of \(record): a change covers one with a later stamp")
            }
            if version.stamp.milliseconds > times.newest(at: version.sequence),
                !history.contains(where: {
                    version.covers($0)
                        && $0.stamp.milliseconds == version.stamp.milliseconds - 1
                })
            {
                throw Violation(
                    invariant: 4,
                    what: "a stamp later than the ledger's now: sequence \(version.sequence) has "
                        + "\(version.stamp.milliseconds), the clock had shown "
                        + "\(times.newest(at: version.sequence))")
            }
        }
    }

    /// Joining in any order, and grouped in any way, gives the same; and what is joined twice.
    private func checkJoin(_ history: [Version], stored: Register, record: RecordID) throws {
        var chance = Chance(seed: UInt64(history.count))
        for order in [history.reversed(), history.shuffled(using: &chance)] {
            var joined = Register()
            var inserted = Register()
            var parts = [Register(), Register()]
            for (index, version) in order.enumerated() {
                var one = Register()
                one.insert(version)
                one.join(joined)
                joined = one
                inserted.insert(version)
                parts[index % 2].insert(version)
            }
            parts[0].join(parts[1])
            parts[1].join(parts[0])
            guard [joined, inserted, parts[0], parts[1]].allSatisfy({ isEqual($0, stored) }) else {
                throw Violation(
                    invariant: 3,
                    what: "\(record): order of arrival matters: \(text(of: history))")
            }
        }
    }
}

/// The newest time that the hub's clock had shown when each change was admitted.
struct HubTimes {
    private var heads: [(head: UInt64, newest: Int64)] = []
    private var newestSinceHead = Int64.min
    private var newestEver: Int64

    init(newest: Int64 = .min) { newestEver = newest }

    mutating func noteReading(_ milliseconds: Int64) {
        newestSinceHead = max(newestSinceHead, milliseconds)
        newestEver = max(newestEver, milliseconds)
    }

    /// Notes how far the ledger is after an operation.
    mutating func noteHead(_ head: UInt64) {
        // A disk that failed may have kept what it refused: it counts until the ledger has grown.
        if let last = heads.last, head <= last.head { return }
        heads.append((head, heads.isEmpty ? newestEver : newestSinceHead))
        newestSinceHead = .min
    }

    /// A copy of the ledger takes its place.
    ///
    /// - Parameter former: As they were when the copy was made.
    mutating func goBack(to former: HubTimes) {
        heads = former.heads
        newestSinceHead = newestEver
    }

    func newest(at sequence: UInt64) -> Int64 {
        heads.first { $0.head >= sequence }?.newest ?? newestEver
    }
}

/// A field's history, one change after the other, without values.
func text(of history: [Version]) -> String {
    history.map { version in
        let seen = version.clock.ancestors.map { "\($0.replica) \($0.counter)" }
        let former = version.formerPositions.map { "\($0.term) \($0.sequence)" }
        return "\(version.sequence) is \(version.dot.replica) \(version.dot.counter) with base "
            + "\(version.clock.base), seen \(seen), former \(former)"
    }.joined(separator: "; ")
}
