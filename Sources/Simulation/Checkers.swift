import DeviceJournal
import HubLedger
import NeedModel
import SyncCore
import WireFormat

// The invariants, a checker each or a few that look at the same thing. They know nothing of how
// the production code works, only what it promises. Numbers are those of `protocol/SIMULATION.md`.

/// Names a command: its record and the clocks when it was given. A fork or a retry keeps both.
struct CommandKey: Hashable {
    var record: RecordID
    var written: ClockReading
}

/// Invariants 1 and 2: every durable command ends in exactly one outcome.
final class CommandChecker {
    private struct Command {
        var device: Int64
        var isLost = false
    }

    private var commands: [CommandKey: Command] = [:]
    private var order: [CommandKey] = []
    /// Devices of which copies were in use: each copy is a writer of its own, so what waited when
    /// the copy was made may be written by both.
    var copiedDevices: Set<Int64> = []

    /// Notes what a command that was told as done has stored.
    func record(
        _ device: SimulatedDevice, _ clocks: ClockReading, _ inspection: JournalInspection
    ) throws {
        guard let last = inspection.outbox.last, last.group.written == clocks else {
            throw Violation(invariant: 1, what: "\(device.name): a command left nothing")
        }
        let key = CommandKey(record: last.group.record, written: clocks)
        commands[key] = Command(device: device.number)
        order.append(key)
        device.unsettled.insert(key)
    }

    /// After an answer was absorbed: what left the outbox has its outcome.
    func noteAbsorbed(_ device: SimulatedDevice, _ inspection: JournalInspection) {
        device.unsettled.formIntersection(
            inspection.outbox.map {
                CommandKey(record: $0.group.record, written: $0.group.written)
            })
    }

    /// After a crash: what was told as done and not settled is still there.
    func checkDurable(_ device: SimulatedDevice, _ inspection: JournalInspection) throws {
        let here = Set(
            inspection.outbox.map {
                CommandKey(record: $0.group.record, written: $0.group.written)
            })
        let refused = Set(
            inspection.refused.map { CommandKey(record: $0.record, written: $0.written) })
        for key in device.unsettled where !here.contains(key) && !refused.contains(key) {
            throw Violation(invariant: 1, what: "\(device.name) lost a command at a crash")
        }
    }

    /// A journal went back to an older copy: what it had not sent is gone with it.
    func forgetUnsent(of device: Int64, ledger: [InspectedGroup]) {
        let known = Set(
            ledger.map { CommandKey(record: $0.group.record, written: $0.group.written) })
        for key in order where commands[key]?.device == device && !known.contains(key) {
            commands[key]?.isLost = true
        }
    }

    func checkOutcomes(
        ledger: [InspectedGroup], journals: [(SimulatedDevice, JournalInspection)]
    ) throws {
        var applied: [CommandKey: Int] = [:]
        var rejected: [CommandKey: Int] = [:]
        for entry in ledger where entry.device != nil {
            let key = CommandKey(record: entry.group.record, written: entry.group.written)
            if case .applied = entry.outcome {
                applied[key, default: 0] += 1
            } else {
                rejected[key, default: 0] += 1
            }
        }
        for key in order {
            guard let command = commands[key] else { continue }
            let count = applied[key, default: 0] + rejected[key, default: 0]
            if count == 0 && !command.isLost {
                throw Violation(invariant: 2, what: "a command for \(key.record) vanished")
            }
            if count > 1 && !copiedDevices.contains(command.device) {
                throw Violation(invariant: 1, what: "a command for \(key.record) came twice")
            }
        }
    }
}

/// Invariant 12: a retry gets the identical outcome.
struct OutcomeChecker {
    private struct Key: Hashable {
        var replica: ReplicaID
        var counter: UInt64
        var group: ChangeGroup
    }
    private var known: [Key: String] = [:]

    mutating func check(_ request: SyncRequest, _ answer: SyncAnswer) throws {
        guard let outcomes = answer.outcomes else { return }
        for group in request.groups where group.nextCounter <= outcomes.settledCounter {
            let refusal = outcomes.refusals.first { $0.firstCounter == group.firstCounter }
            let superseded = outcomes.superseded.first { $0.firstCounter == group.firstCounter }
            let outcome = "\(refusal.map { "\($0)" } ?? "") \(superseded.map { "\($0)" } ?? "")"
            let key = Key(
                replica: request.replica, counter: group.firstCounter, group: group)
            if let before = known.updateValue(outcome, forKey: key), before != outcome {
                throw Violation(
                    invariant: 12, what: "a retry got another outcome: \(before), \(outcome)")
            }
        }
    }
}

/// Invariants 5, 10, 11, 14, 15 and 16: a complete pull is the ledger's state over the scope, as of
/// its cursor, and nothing else.
struct PullChecker {
    /// By the answer's attempt and cursor (a duplicated request is served twice): each record's
    /// digest at the moment the last page was served.
    private var expected: [Key: [RecordID: UInt64]] = [:]
    private var order: [Key] = []

    private struct Key: Hashable {
        var attempt: UInt32
        var cursor: Position
    }

    mutating func noteServed(
        _ answer: SyncAnswer, ledger: Ledger, device: SimulatedDevice
    ) throws {
        guard let page = answer.page else { return }
        let scope = try ledger.scope(ofDevice: device.number)
        let records = try ledger.inspectRecords()
        let allowed = Set(records.filter { scope.contains($0.placement) }.map(\.id))
        for record in page.records where !allowed.contains(record.id) {
            throw Violation(
                invariant: 16, what: "\(device.name) was sent \(record.id), outside its scope")
        }
        guard let cursor = page.cursor else { return }
        let key = Key(attempt: answer.attempt, cursor: cursor)
        expected[key] = Dictionary(
            uniqueKeysWithValues: records.filter { allowed.contains($0.id) }.map {
                ($0.id, Self.digest($0))
            })
        order.append(key)
        if order.count > 50 { expected[order.removeFirst()] = nil }
    }

    /// - Parameter mayDiffer: Whether a disk altered a record.
    /// - Returns: Whether all is equal.
    func checkAbsorbed(
        _ answer: SyncAnswer, _ inspection: JournalInspection, device: SimulatedDevice,
        mayDiffer: (RecordID) -> Bool
    ) throws -> Bool {
        guard let cursor = answer.page?.cursor,
            let expected = expected[Key(attempt: answer.attempt, cursor: cursor)]
        else { return false }
        let held = Self.held(inspection)
        if held == expected { return true }
        let difference = Set(held.keys).union(expected.keys).filter { held[$0] != expected[$0] }
        guard let first = difference.filter({ !mayDiffer($0) }).min() else { return false }
        let what =
            held[first] == nil
            ? "lacks \(first)" : expected[first] == nil ? "holds \(first)" : "differs in \(first)"
        throw Violation(
            invariant: 5, what: "\(device.name) after a complete pull \(what) (\(difference.count))"
        )
    }

    func checkEqual(
        _ inspection: JournalInspection, records: [InspectedRecord], scope: Scope,
        device: SimulatedDevice
    ) throws {
        let expected = Dictionary(
            uniqueKeysWithValues: records.filter { scope.contains($0.placement) }.map {
                ($0.id, Self.digest($0))
            })
        let held = Self.held(inspection)
        guard held == expected else {
            let difference = Set(held.keys).union(expected.keys)
                .filter { held[$0] != expected[$0] }
            throw Violation(
                invariant: 5,
                what:
                    "\(device.name) differs from the ledger at rest in \(difference.count) records")
        }
        if let hidden = inspection.records.first(where: { !$0.value.isVisible }) {
            throw Violation(invariant: 15, what: "\(device.name) still keeps \(hidden.key)")
        }
    }

    private static func held(_ inspection: JournalInspection) -> [RecordID: UInt64] {
        inspection.records.filter(\.value.isVisible).mapValues { record in
            var hash = ContentHash()
            hash.combine(UInt64(record.kind))
            hash.combine(UInt64(bitPattern: record.createdMilliseconds))
            for field in record.contested { hash.combine(UInt64(field)) }
            for (field, versions) in record.fields.sorted(by: { $0.key < $1.key }) {
                hash.combine(UInt64(field))
                for version in versions {
                    combine(
                        &hash, value: version.value, stamp: version.stamp,
                        sequence: version.sequence)
                }
            }
            return hash.value
        }
    }

    private static func digest(_ record: InspectedRecord) -> UInt64 {
        var hash = ContentHash()
        hash.combine(UInt64(record.kind))
        hash.combine(UInt64(bitPattern: record.createdMilliseconds))
        for field in record.contested { hash.combine(UInt64(field)) }
        for entry in record.fields {
            hash.combine(UInt64(entry.field))
            for version in entry.register.versions {
                combine(
                    &hash, value: version.value, stamp: version.stamp,
                    sequence: version.sequence)
            }
        }
        return hash.value
    }

    private static func combine(
        _ hash: inout ContentHash, value: [UInt8]?, stamp: Stamp, sequence: UInt64
    ) {
        hash.combine(UInt64(value.map { $0.count + 1 } ?? 0))
        if let value { hash.combine(value) }
        hash.combine(UInt64(bitPattern: stamp.milliseconds))
        hash.combine(stamp.dot.replica.rawValue)
        hash.combine(stamp.dot.counter)
        hash.combine(sequence)
    }
}

/// Invariants 3, 4, 6, 7, 12, 13 and 17, from the ledger's whole history.
struct LedgerChecker {
    let records: [InspectedRecord]
    let groups: [InspectedGroup]
    let head: UInt64
    let newestHubTime: Int64

    func check() throws {
        try checkCounters()
        var histories: [RecordID: [UInt32: [Version]]] = [:]
        for entry in groups {
            guard case .applied = entry.outcome else { continue }
            for (index, change) in entry.group.changes.enumerated() {
                let version = Version(
                    value: change.value,
                    stamp: Stamp(
                        milliseconds: entry.stamps[index],
                        dot: Dot(entry.replica, entry.group.firstCounter + UInt64(index))),
                    sequence: entry.sequence + UInt64(index), clock: entry.clock)
                histories[entry.group.record, default: [:]][change.field, default: []]
                    .append(version)
            }
        }
        for record in records {
            for (field, history) in histories[record.id] ?? [:] {
                try checkStamps(history, record: record.id, field: field)
                let live = history.filter { version in
                    !history.contains { $0.covers(version) }
                }
                let stored =
                    record.fields.first { $0.field == field }?.register ?? Register()
                guard Register(live: live) == stored else {
                    throw Violation(
                        invariant: 6,
                        what: "field \(field) of \(record.id): \(stored.versions.count) live "
                            + "versions stored, \(live.count) by its history")
                }
                try checkJoin(history, stored: stored, record: record.id)
            }
        }
    }

    private func checkCounters() throws {
        var next: [ReplicaID: UInt64] = [:]
        for entry in groups where entry.device != nil {
            let expected = next[entry.replica] ?? 1
            guard entry.group.firstCounter == expected else {
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
        guard sequence <= head else {
            throw Violation(invariant: 13, what: "changes beyond the head")
        }
    }

    private func checkStamps(_ history: [Version], record: RecordID, field: UInt32) throws {
        for version in history {
            for other in history where version.covers(other) && version.stamp <= other.stamp {
                throw Violation(
                    invariant: 4,
                    what: "field \(field) of \(record): a change covers one with a later stamp")
            }
            if version.stamp.milliseconds > newestHubTime,
                !history.contains(where: {
                    version.covers($0)
                        && $0.stamp.milliseconds == version.stamp.milliseconds - 1
                })
            {
                throw Violation(invariant: 4, what: "a stamp later than the ledger's now")
            }
        }
    }

    /// Joining in any order gives the same.
    private func checkJoin(_ history: [Version], stored: Register, record: RecordID) throws {
        var backwards = Register()
        for version in history.reversed() {
            var one = Register()
            one.insert(version)
            one.join(backwards)
            backwards = one
        }
        guard backwards == stored else {
            throw Violation(invariant: 3, what: "\(record): order of arrival matters")
        }
    }
}
