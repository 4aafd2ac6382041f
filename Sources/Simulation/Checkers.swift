import DeviceJournal
import HubLedger
import NeedModel
import SyncCore
import WireFormat

// The invariants, a checker each or a few that look at the same thing. They know nothing of how
// the production code works, only what it promises. Numbers are those of `protocol/SIMULATION.md`.

/// Names a command: its record and the clocks when it was given. A fork or a retry keeps both.
struct CommandKey: Hashable {
    let record: RecordID
    let written: ClockReading

    init(_ group: ChangeGroup) {
        record = group.record
        written = group.written
    }

    init(_ refused: InspectedCommands.Refused) {
        record = refused.record
        written = refused.written
    }
}

extension InspectedCommands {
    var waitingKeys: Set<CommandKey> { Set(outbox.map { CommandKey($0.group) }) }
    var refusedKeys: Set<CommandKey> { Set(refused.map { CommandKey($0) }) }
}

/// What was written in one journal, newest first; copies share what was written before they parted.
final class Written {
    let key: CommandKey
    private let before: Written?

    init(_ key: CommandKey, after before: Written?) {
        self.key = key
        self.before = before
    }

    /// Whether it was written there before this one.
    func follows(_ key: CommandKey) -> Bool {
        var next = before
        while let one = next {
            if one.key == key { return true }
            next = one.before
        }
        return false
    }
}

/// Invariants 1 and 2: every durable command ends in exactly one outcome; and that a writer's own
/// commands are all that its counters cover (7).
final class CommandChecker {
    private struct Command {
        let written: Written
        var device: Int64
        var changes: [Change]
        /// All that was written under its key: a retry may offer several commands on one record at
        /// once.
        var offered: [[Change]]
        var count: Int
        var isLost = false
        /// Offered anew as another command, after the hub was upgraded or by a person; or dropped.
        var isReplaced = false
        /// Whether its device's disk had altered what it is about: brought it back, for instance,
        /// when it had left.
        var isOnAltered: Bool
    }

    private var commands: [CommandKey: Command] = [:]
    private var order: [CommandKey] = []
    /// When commands were given in which the device died.
    private var interrupted: Set<ClockReading> = []
    /// Devices of which copies were in use: each copy is a writer of its own, so what waited when
    /// the copy was made may be written by both.
    var copiedDevices: Set<Int64> = []
    /// What a ledger that was replaced had applied, and may have said so.
    private var formerlyApplied: Set<CommandKey> = []
    /// Devices that have offered anew what had been refused, perhaps out of their scope by then.
    private var retryingDevices: Set<Int64> = []
    /// Whether a part of what one retry offered may be gone with a copy or a backup.
    private var hasLost = false

    /// Notes that a device died in a command, whatever it has stored of it.
    func noteInterrupted(_ clocks: ClockReading) { interrupted.insert(clocks) }

    /// Notes what a command that was told as done has stored.
    func record(
        _ device: SimulatedDevice, _ clocks: ClockReading, _ own: InspectedCommands
    ) throws {
        guard let last = own.outbox.last, last.group.written == clocks else {
            throw Violation(invariant: 1, what: "\(device.name): a command left nothing")
        }
        for entry in own.outbox where entry.group.written == clocks {
            if let pulled = device.pulled, entry.group.base != pulled.cursor {
                throw Violation(
                    invariant: 7,
                    what: "\(device.name) claims to have seen \(entry.group.base), and pulled "
                        + "\(pulled.cursor)")
            }
            add(CommandKey(entry.group), device, entry.group, own)
        }
    }

    private func add(
        _ key: CommandKey, _ device: SimulatedDevice, _ group: ChangeGroup, _ own: InspectedCommands
    ) {
        if commands[key] == nil { order.append(key) }
        let count = own.outbox.count { CommandKey($0.group) == key }
        let written = Written(key, after: device.written)
        device.written = written
        let changes = Array(group.changes)
        let need =
            group.createdKind == Kind.note.rawValue
            ? changes.first { $0.field == NoteField.need.rawValue }?.value : nil
        let subjects = [group.record, need.flatMap { RecordID(bytes: $0) }]
        commands[key] = Command(
            written: written, device: device.number, changes: changes,
            offered: (commands[key]?.offered ?? []) + [changes], count: count,
            isOnAltered: subjects.contains { $0.map(device.everAltered.contains) ?? false })
        device.unsettled.insert(key)
    }

    /// Notes which of the refused commands a person has retried or dropped.
    ///
    /// - Parameters:
    ///   - before: Those that were refused.
    ///   - taken: How many; `nil` when the command ended with an error or a crash.
    func noteTakenUp(
        _ device: SimulatedDevice, _ before: [CommandKey], _ taken: Int?, _ own: InspectedCommands
    ) throws {
        guard !before.isEmpty else { return }
        if let taken, own.refused.count + taken != before.count {
            throw Violation(
                invariant: 2,
                what: "\(device.name) took up \(taken) of \(before.count) refused commands, and "
                    + "keeps \(own.refused.count)")
        }
        let kept = own.refusedKeys
        for key in before where !kept.contains(key) {
            commands[key]?.isReplaced = true
            retryingDevices.insert(device.number)
        }
    }

    /// After an answer was absorbed: what left the outbox has its outcome, and what was applied
    /// has come with a pull, so that its writer goes on seeing it (8).
    ///
    /// - Parameters:
    ///   - cursor: The journal's.
    ///   - outcomes: Of this ledger; `nil` when another one may have decided.
    func noteAbsorbed(
        _ device: SimulatedDevice, _ own: InspectedCommands, cursor: UInt64,
        outcomes: OutcomeChecker?
    ) throws {
        noteOfferedAnew(device, own)
        // What one copy of a journal has created is there when the other creates it.
        if let outcomes, !copiedDevices.contains(device.number) {
            for key in device.unsettled.subtracting(own.waitingKeys).subtracting(own.refusedKeys) {
                guard let head = outcomes.heads[key] else {
                    throw Violation(
                        invariant: 1,
                        what: "\(device.name) gave up a command for \(key.record) that was not "
                            + "decided")
                }
                guard head < cursor else {
                    throw Violation(
                        invariant: 8,
                        what: "\(device.name) gave up a command for \(key.record) that no pull "
                            + "had brought: admitted after \(head), pulled up to \(cursor)")
                }
            }
        }
        // What once stood there stays, whatever a former ledger did.
        formerlyApplied.subtract(own.refusedKeys)
        device.unsettled.formIntersection(own.waitingKeys)
    }

    /// What the hub refused for its kind becomes a new command by itself once the hub knows more.
    private func noteOfferedAnew(_ device: SimulatedDevice, _ own: InspectedCommands) {
        let refused = own.refusedKeys
        for entry in own.outbox {
            let group = entry.group
            let key = CommandKey(group)
            // What was interrupted may want what another had wanted, and is not that one.
            guard commands[key] == nil, !interrupted.contains(group.written) else { continue }
            let former = order.first { former in
                guard former.record == group.record, !refused.contains(former),
                    let command = commands[former]
                else { return false }
                return command.device == device.number && !command.isReplaced
                    && Self.isSame(command.changes, group)
            }
            guard let former else { continue }
            commands[former]?.isReplaced = true
            retryingDevices.insert(device.number)
            device.unsettled.remove(former)
            add(key, device, group, own)
        }
    }

    /// Whether a group wants what a command wanted; a note follows a need that got a new id.
    private static func isSame(_ changes: [Change], _ group: ChangeGroup) -> Bool {
        guard group.createdKind == Kind.note.rawValue else {
            return changes == Array(group.changes)
        }
        let need = NoteField.need.rawValue
        return changes.filter { $0.field != need } == group.changes.filter { $0.field != need }
    }

    /// After a crash: what was told as done and not settled is still there.
    func checkDurable(_ device: SimulatedDevice, _ own: InspectedCommands) throws {
        noteOfferedAnew(device, own)
        let kept = own.waitingKeys.union(own.refusedKeys)
        for key in device.unsettled where !kept.contains(key) {
            throw Violation(invariant: 1, what: "\(device.name) lost a command at a crash")
        }
    }

    /// Whether a ledger has, or had, all of these values of a record.
    private static func has(
        _ changes: [Change], of record: RecordID, _ ledger: [InspectedGroup],
        _ brought: [InspectedBrought]
    ) -> Bool {
        var known = Set(
            brought.filter { $0.record == record }
                .map { Change(field: $0.field, value: $0.version.value) })
        for entry in ledger where entry.group.record == record && entry.isApplied {
            known.formUnion(entry.group.changes)
        }
        return known.isSuperset(of: changes)
    }

    /// A journal went back to an older copy: what it had not sent is gone with it.
    func forgetUnsent(of device: Int64, ledger: [InspectedGroup]) throws {
        try checkScopes(ledger)
        let known = Set(ledger.map { CommandKey($0.group) })
        hasLost = true
        for key in order where commands[key]?.device == device && !known.contains(key) {
            commands[key]?.isLost = true
        }
    }

    /// The hub went back to a backup: what it had decided since, and nobody sends again, is gone
    /// as a command; what is live of it is ``RestoreChecker``'s business.
    func forgetLost(ledger: [InspectedGroup], waiting: Set<CommandKey>) {
        let known = Set(ledger.map { CommandKey($0.group) })
        hasLost = true
        for key in order where !known.contains(key) && !waiting.contains(key) {
            commands[key]?.isLost = true
        }
    }

    /// A ledger is replaced: by a backup, or by the one that had been replaced by a backup. What it
    /// has applied the other may have refused, and nobody looks for that.
    func noteReplaced(ledger: [InspectedGroup]) throws {
        try checkScopes(ledger)
        for entry in ledger where entry.isApplied {
            formerlyApplied.insert(CommandKey(entry.group))
        }
    }

    /// What nobody pulled before writing is covered only by whoever wrote it.
    private func checkCovers(_ ledger: [InspectedGroup]) throws {
        var earlier: [RecordID: [(key: CommandKey, version: Version)]] = [:]
        for entry in ledger where entry.isApplied && entry.device != nil {
            let key = CommandKey(entry.group)
            let version = Version(
                value: nil,
                stamp: Stamp(
                    milliseconds: 0, dot: Dot(entry.replica, entry.group.firstCounter)),
                sequence: entry.sequence, clock: entry.clock)
            if let written = commands[key]?.written {
                for other in earlier[entry.group.record] ?? []
                where other.key != key && other.version.sequence > entry.clock.base
                    && version.covers(other.version) && !written.follows(other.key)
                {
                    throw Violation(
                        invariant: 7,
                        what: "a change of \(key.record) covers one that its writer never saw: "
                            + "\(version.dot), \(other.version.dot)")
                }
                earlier[entry.group.record, default: []].append((key, version))
            }
        }
    }

    /// People work on what they are shown. What was lost, by a ledger or a journal, nobody can tell
    /// any more.
    private func checkScopes(_ ledger: [InspectedGroup]) throws {
        if hasLost { return }
        for entry in ledger where entry.device != nil {
            // With a field it says of an order that another team answers it.
            guard case .rejected(RejectionCode.scope.rawValue, field: 0, _) = entry.outcome,
                let command = commands[CommandKey(entry.group)], !command.isOnAltered,
                !retryingDevices.contains(command.device)
            else { continue }
            throw Violation(
                invariant: 15, what: "work on \(entry.group.record) was refused for its scope")
        }
    }

    func checkOutcomes(
        ledger: [InspectedGroup], brought: [InspectedBrought],
        journals: [(SimulatedDevice, JournalInspection)]
    ) throws {
        try checkCovers(ledger)
        try checkScopes(ledger)
        var applied: [CommandKey: Int] = [:]
        var rejected: [CommandKey: Int] = [:]
        var creationsRefused: Set<CommandKey> = []
        for entry in ledger where entry.device != nil {
            let key = CommandKey(entry.group)
            if let command = commands[key], !command.offered.contains(Array(entry.group.changes)) {
                throw Violation(
                    invariant: 2, what: "a command for \(key.record) is another at the hub")
            }
            switch entry.outcome {
            case .applied: applied[key, default: 0] += 1
            case .rejected(let code, _, _):
                rejected[key, default: 0] += 1
                if code == RejectionCode.recordExists.rawValue { creationsRefused.insert(key) }
            }
        }
        for key in order {
            guard let command = commands[key] else { continue }
            let count = applied[key, default: 0] + rejected[key, default: 0]
            // A hub that was restored has lost the refusal too; what replaced it is followed.
            if count < (hasLost ? 1 : command.count), !command.isLost, !command.isReplaced {
                throw Violation(invariant: 2, what: "a command for \(key.record) vanished")
            }
            // What was under way when the hub was restored may come beside what its writer sends as
            // a new replica.
            if count > command.count && !hasLost && !copiedDevices.contains(command.device) {
                throw Violation(invariant: 1, what: "a command for \(key.record) came twice")
            }
        }
        for (device, inspection) in journals where !copiedDevices.contains(device.number) {
            let kept = inspection.commands.refusedKeys
            for key in order
            where commands[key]?.device == device.number && rejected[key] != nil
                && !kept.contains(key) && commands[key]?.isReplaced == false
                && !formerlyApplied.contains(key)
            {
                // What a disk had damaged of somebody else's record and a person offered anew,
                // while the hub has it all the same: nothing is left to decide.
                if creationsRefused.contains(key), let changes = commands[key]?.changes,
                    Self.has(changes, of: key.record, ledger, brought)
                {
                    continue
                }
                throw Violation(
                    invariant: 2, what: "\(device.name) lost a refused command for \(key.record)")
            }
        }
    }
}

/// Invariants 12 and 21: a retry gets the identical outcome, and no group waits for another.
struct OutcomeChecker {
    private struct Key: Hashable {
        var replica: ReplicaID
        var counter: UInt64
        var group: ChangeGroup
    }
    private var known: [Key: String] = [:]
    /// Of each command that was decided, the ledger's head before that.
    private(set) var heads: [CommandKey: UInt64] = [:]

    mutating func check(
        _ request: SyncRequest, _ answer: SyncAnswer, headBefore: UInt64
    ) throws {
        // Unless the answer sends the device elsewhere, or what was lost comes back first, it
        // decides on every group, whatever becomes of those before it.
        let end = request.groups.last?.nextCounter
        guard
            end == nil || answer.outcomes?.settledCounter == end || !answer.line.isEmpty
                || answer.recovered != nil
                || answer.outcomes?.forkCounter != nil || answer.outcomes?.expectedCounter != nil
        else {
            throw Violation(
                invariant: 21,
                what: "groups up to \(end ?? 0) decided as far as "
                    + "\(answer.outcomes?.settledCounter ?? 0)")
        }
        guard let outcomes = answer.outcomes else { return }
        for group in request.groups where group.nextCounter <= outcomes.settledCounter {
            let refusal = outcomes.refusals.first { $0.firstCounter == group.firstCounter }
            let superseded = outcomes.superseded.first { $0.firstCounter == group.firstCounter }
            let command = CommandKey(group)
            heads[command] = min(heads[command] ?? headBefore, headBefore)
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

/// Invariant 23: nothing that travels is larger than its limit.
enum SizeChecker {
    static func check(_ request: SyncRequest, _ message: [UInt8], _ frame: [UInt8]) throws {
        try check(message, frame)
        let changes = request.groups.map(\.changes.count)
        try check(changes.reduce(0, +), Limits.changesPerBatchMax)
        try check(changes.max() ?? 0, Limits.changesPerGroupMax)
        try check(request.ancestors.count, Limits.ancestorsMax)
        try check(request.recovery?.reached.count ?? 0, Limits.reachedMax)
        try check(request.audit?.parts.count ?? 0, Limits.auditPartsMax)
        try check(request.audit?.refetch.count ?? 0, Limits.refetchedRecordsMax)
    }

    static func check(_ answer: SyncAnswer, _ message: [UInt8], _ frame: [UInt8]) throws {
        try check(message, frame)
        try check(answer.line.count, Limits.lineTermsMax)
        try check(answer.assignment?.scope.buckets.count ?? 0, Limits.bucketsPerScopeMax)
        for case .records(let records) in answer.page?.findings.map(\.content) ?? [] {
            try check(records.count, Limits.auditListMax)
        }
    }

    private static func check(_ message: [UInt8], _ frame: [UInt8]) throws {
        try check(message.count, Limits.inflatedBytesMax)
        try check(frame.count, Limits.frameBytesMax)
    }

    private static func check(_ count: Int, _ countMax: Int) throws {
        guard count <= countMax else {
            throw Violation(invariant: 23, what: "\(count) of at most \(countMax) travel")
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
    /// By the device's number, all buckets that it was ever entitled to.
    private var scopes: [Int64: Set<Bucket>] = [:]

    private struct Key: Hashable {
        var attempt: UInt32
        var cursor: Position
    }

    mutating func noteScope(_ scope: Scope, of device: SimulatedDevice) {
        scopes[device.number, default: []].formUnion(scope.buckets)
    }

    mutating func noteServed(
        _ answer: SyncAnswer, to request: SyncRequest, holding: RightfulHolding,
        device: SimulatedDevice, by hub: SimulatedHub
    ) throws {
        guard let page = answer.page else { return }
        func fail(_ what: String) -> Violation {
            Violation(invariant: 16, what: "\(device.name) \(what), outside its scope")
        }
        var writers: Set<ReplicaID> = []
        for record in page.records {
            guard holding.fingerprints[record.id] != nil else {
                throw fail("was sent \(record.id)")
            }
            writers.insert(record.id.replica)
            for version in record.versions { writers.insert(version.stamp.dot.replica) }
        }
        for writer in page.writers where !writers.contains(writer.replica) {
            throw fail("is told the name of \(writer.replica)")
        }
        // What was there at the time of an earlier pull and is not any more, or was asked for.
        for id in page.departed where request.audit?.refetch.contains(id) != true {
            if try hub.wasEver(id, in: scopes[device.number] ?? []) { continue }
            throw fail("is told that \(id) departs")
        }
        for case .records(let records) in page.findings.map(\.content) {
            for record in records where holding.fingerprints[record.id] == nil {
                throw fail("is told of \(record.id)")
            }
        }
        guard let cursor = page.cursor else { return }
        let key = Key(attempt: answer.attempt, cursor: cursor)
        expected[key] = holding.fingerprints
        order.append(key)
        if order.count > 50 { expected[order.removeFirst()] = nil }
    }

    /// Until its last page has come nothing of a pull is shown, and the cursor stays.
    func checkStaged(
        _ answer: SyncAnswer, _ inspection: JournalInspection, device: SimulatedDevice
    ) throws {
        if let cursor = answer.page?.cursor {
            guard inspection.cursor == cursor else {
                throw Violation(
                    invariant: 14,
                    what: "\(device.name) pulled \(cursor) and stands at \(inspection.cursor)")
            }
            device.pulled = (cursor, inspection.records)
            return
        }
        // Another line of terms may put a device back.
        guard let pulled = device.pulled, answer.line.isEmpty, answer.recovered == nil else {
            device.pulled = nil
            return
        }
        guard inspection.cursor == pulled.cursor else {
            throw Violation(
                invariant: 14,
                what: "\(device.name) stands at \(inspection.cursor) before its pull is complete")
        }
        guard device.altered.isEmpty else { return }
        for (id, record) in inspection.records where record.isVisible {
            guard let former = pulled.records[id], former.isVisible,
                record.isSame(as: former)
                    || Fingerprint.of(record) == device.fingerprint(of: id, former)
            else {
                throw Violation(
                    invariant: 10,
                    what: "\(device.name) shows \(id) before its pull is complete")
            }
        }
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
        let held = Self.held(inspection, by: device)
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
        _ inspection: JournalInspection, holding: RightfulHolding, device: SimulatedDevice,
        wasRestored: Bool = false
    ) throws {
        let expected = holding.fingerprints
        let held = Self.held(inspection, by: device)
        let difference = Set(held.keys).union(expected.keys)
            .filter { id in
                // What a restored hub was sent again has other stamps; a row that a disk brings
                // back from before has the same dots and values, and so the same digest.
                held[id] != expected[id] && !(wasRestored && device.everAltered.contains(id))
            }
        guard difference.isEmpty else {
            throw Violation(
                invariant: 5,
                what:
                    "\(device.name) differs from the ledger at rest in \(difference.count) records")
        }
        if let hidden = inspection.records.first(where: { !$0.value.isVisible }) {
            throw Violation(invariant: 15, what: "\(device.name) still keeps \(hidden.key)")
        }
    }

    private static func held(
        _ inspection: JournalInspection, by device: SimulatedDevice
    ) -> [RecordID: UInt64] {
        var held: [RecordID: UInt64] = [:]
        held.reserveCapacity(inspection.records.count)
        for (id, record) in inspection.records where record.isVisible {
            held[id] = device.fingerprint(of: id, record)
        }
        return held
    }
}

extension InspectedRecord {
    /// The fields of a need about which somebody has to decide: live versions of other values, an
    /// answer that an order did not know, a withdrawal that did not know of a change.
    var openConflicts: Set<NeedField> {
        let registers = Dictionary(uniqueKeysWithValues: fields.map { ($0.field, $0.register) })
        let order = LateAnswers.order(
            ofDispatch: registers[NeedField.dispatch.rawValue]?.winner?.value)
        return Set(
            NeedField.allCases.filter { field in
                guard let register = registers[field.rawValue] else { return false }
                let values = register.versions.map(\.value).filter {
                    !LateAnswers.sources.contains(field)
                        || LateAnswers.order(of: field, $0) == order
                }
                if Set(values).count > 1 { return true }
                switch field {
                case .dispatch:
                    return registers[LateAnswers.field]?.versions.contains {
                        LateAnswers.open($0.value, currentOrder: order) != nil
                    } ?? false
                case .withdrawal:
                    return register.winner?.value != nil
                        && contested.contains { NeedField(rawValue: $0) != nil }
                default: return false
                }
            })
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
        if let last = heads.last {
            if head > last.head { heads.append((head, newestSinceHead)) }
        } else {
            heads.append((head, newestEver))
        }
        newestSinceHead = .min
    }

    /// Another ledger takes the place, and when it admitted what is not known any more.
    mutating func forgetHeads() { heads = [] }

    func newest(at sequence: UInt64) -> Int64 {
        heads.first { $0.head >= sequence }?.newest ?? newestEver
    }
}

/// What the checkers want to know of one record of the ledger.
struct KnownRecord {
    var id: RecordID
    /// In which it lies.
    var buckets: [Bucket]
    /// Of all that a device is told of it.
    var fingerprint: UInt64
    /// Of its live versions, as `protocol/SPEC.md` §9 has it.
    var digest: UInt64
    /// Of a note, the need that it is about.
    var need: RecordID?

    init(_ record: InspectedRecord) {
        id = record.id
        buckets = record.placement.buckets
        var hash = Fingerprint(
            kind: record.kind, createdMilliseconds: record.createdMilliseconds,
            contested: record.contested)
        var digest = RecordDigest(of: record.id)
        for entry in record.fields {
            hash.combine(field: entry.field)
            for version in entry.register.versions {
                hash.combine(
                    value: version.value, stamp: version.stamp, sequence: version.sequence)
                digest.add(field: entry.field, dot: version.dot, value: version.value)
            }
        }
        fingerprint = hash.value
        self.digest = digest.value
        if record.kind == Kind.note.rawValue {
            need = record.fields.first { $0.field == NoteField.need.rawValue }?
                .register.winner?.value.flatMap { RecordID(bytes: $0) }
        }
    }
}

/// What a device may hold of the ledger's records.
struct RightfulHolding {
    private(set) var scope = Scope.empty
    /// Of each record that lies in one of them.
    private(set) var fingerprints: [RecordID: UInt64] = [:]
    /// The sum of the digests of its buckets.
    private(set) var digest: UInt64 = 0

    /// Of a hub that is down.
    init() {}

    init(of records: [KnownRecord], in scope: Scope) {
        self.scope = scope
        for record in records {
            let count = record.buckets.count { scope.contains($0) }
            if count == 0 { continue }
            fingerprints[record.id] = record.fingerprint
            digest &+= UInt64(count) &* record.digest
        }
    }
}

/// A hash of all that a device is told of a record, on either side.
struct Fingerprint {
    private var hash = ContentHash()

    static func of(_ record: JournalInspection.Record) -> UInt64 {
        var hash = Fingerprint(
            kind: record.kind, createdMilliseconds: record.createdMilliseconds,
            contested: record.contested)
        for (field, versions) in record.fields.sorted(by: { $0.key < $1.key }) {
            hash.combine(field: field)
            for version in versions {
                hash.combine(
                    value: version.value, stamp: version.stamp, sequence: version.sequence)
            }
        }
        return hash.value
    }

    init(kind: UInt32, createdMilliseconds: Int64, contested: [UInt32]) {
        hash.combine(UInt64(kind))
        hash.combine(UInt64(bitPattern: createdMilliseconds))
        for field in contested { hash.combine(UInt64(field)) }
    }

    var value: UInt64 { hash.value }

    mutating func combine(field: UInt32) { hash.combine(UInt64(field)) }

    mutating func combine(value: [UInt8]?, stamp: Stamp, sequence: UInt64) {
        hash.combine(UInt64(value.map { $0.count + 1 } ?? 0))
        if let value { hash.combine(value) }
        hash.combine(UInt64(bitPattern: stamp.milliseconds))
        hash.combine(stamp.dot.replica.rawValue)
        hash.combine(stamp.dot.counter)
        hash.combine(sequence)
    }
}

/// Invariant 20: after the hub was restored, everything that any device holds comes back.
struct RestoreChecker {
    /// A live version that a device was shown when the hub was restored.
    struct Held: Hashable {
        var record: RecordID
        var field: UInt32
        var dot: Dot
        var value: [UInt8]?

        init(record: RecordID, field: UInt32, dot: Dot, value: [UInt8]?) {
            self.record = record
            self.field = field
            self.dot = dot
            self.value = value
        }

        init(_ version: Version, of record: RecordID, _ field: UInt32) {
            self.init(record: record, field: field, dot: version.dot, value: version.value)
        }

        /// What a ledger was sent by writers, and what it was brought back.
        static func all(of groups: [InspectedGroup], brought: [InspectedBrought]) -> Set<Held> {
            var result = Set(brought.map { Held($0.version, of: $0.record, $0.field) })
            for entry in groups {
                for (index, change) in entry.group.changes.enumerated() {
                    result.insert(
                        Held(
                            record: entry.group.record, field: change.field,
                            dot: Dot(entry.replica, entry.group.firstCounter + UInt64(index)),
                            value: change.value))
                }
            }
            return result
        }
    }
    private struct Named: Hashable {
        var record: RecordID
        var field: UInt32
        var value: [UInt8]?

        init(_ record: RecordID, _ field: UInt32, _ value: [UInt8]?) {
            self.record = record
            self.field = field
            self.value = value
        }
    }
    /// One field of one record.
    struct Field: Hashable {
        var record: RecordID
        var field: UInt32
    }
    /// A code of reference data, which is what people mean by it.
    private struct Code: Hashable {
        var kind: UInt32
        var value: [UInt8]?
    }
    /// Records of which a disk brought back an older row, whole: until the next audit its device
    /// cannot tell it from what it pulled last, and a restored hub takes its word that there was
    /// nothing else.
    var staleRows: Set<RecordID> = []
    /// The fields of which former ledgers were brought something back; late answers may still tell
    /// of it.
    private(set) var formerlyBrought: Set<Field> = []
    /// Of all reference data that any device held when the hub was restored.
    private var codes: [RecordID: Code] = [:]
    private(set) var happened = false
    /// What each device held when the hub was restored, until it has brought it back.
    private var held: [ObjectIdentifier: Set<Held>] = [:]
    private var returned: Set<Held> = []
    /// The first ledger that was lost. Later ones may show conflicts too many, so what is live
    /// there side by side proves nothing.
    private var lostLedger: LostLedger?

    private struct LostLedger {
        /// What was written in it.
        var writes: Set<Held>
        /// What of it was live, and was not replaced in those that were lost after it.
        var live: Set<Held>
        var undecided: [RecordID: Undecided]
    }

    /// What of a need somebody had to decide between its fields.
    private struct Undecided {
        var delete: Held?
        /// Live versions of other fields, that the delete had not seen.
        var edits: Set<Held> = []
        var orders: Set<Held> = []
        var currentOrder: Held?
        /// Answers and ratings that came too late for the order, of the field that keeps them.
        var late: Set<Held> = []

        /// - Returns: `nil` where there was nothing to decide.
        init?(_ record: InspectedRecord) {
            guard record.kind == Kind.need.rawValue else { return nil }
            let registers = Dictionary(
                uniqueKeysWithValues: record.fields.map { ($0.field, $0.register) })
            if let winner = registers[NeedField.withdrawal.rawValue]?.winner {
                delete = Held(winner, of: record.id, NeedField.withdrawal.rawValue)
                for field in record.contested {
                    for version in registers[field]?.versions ?? []
                    where version.isConcurrent(with: winner) {
                        edits.insert(Held(version, of: record.id, field))
                    }
                }
            }
            let dispatch = registers[NeedField.dispatch.rawValue]
            orders = Set(
                dispatch?.versions.map { Held($0, of: record.id, NeedField.dispatch.rawValue) }
                    ?? [])
            currentOrder = dispatch?.winner.map {
                Held($0, of: record.id, NeedField.dispatch.rawValue)
            }
            let order = LateAnswers.order(ofDispatch: dispatch?.winner?.value)
            for version in registers[LateAnswers.field]?.versions ?? []
            where LateAnswers.open(version.value, currentOrder: order) != nil {
                late.insert(Held(version, of: record.id, LateAnswers.field))
            }
            if edits.isEmpty && late.isEmpty { return nil }
        }
    }

    private mutating func held(by device: SimulatedDevice) throws -> Set<Held> {
        var result: Set<Held> = []
        guard let inspection = try device.inspect() else { return [] }
        for (id, record) in inspection.records where record.isVisible {
            // What a disk altered is not brought to others, nor what belongs to it.
            if device.altered.contains(id) { continue }
            if record.kind == Kind.note.rawValue,
                let need = record.fields[NoteField.need.rawValue]?.first?.value,
                let need = RecordID(bytes: need), device.altered.contains(need)
            {
                continue
            }
            if Kind(rawValue: record.kind)?.isReference ?? false {
                // All kinds of reference data number their codes alike.
                codes[id] = Code(
                    kind: record.kind,
                    value: record.fields[CategoryField.code.rawValue]?.first?.value)
            }
            for (field, versions) in record.fields where field != LateAnswers.field {
                for version in versions {
                    result.insert(
                        Held(
                            record: id, field: field, dot: version.stamp.dot,
                            value: version.value))
                }
            }
        }
        return result
    }

    mutating func noteRestore(of ledger: Ledger, _ devices: [SimulatedDevice]) throws {
        happened = true
        let (groups, brought) = try (ledger.inspectGroups(), ledger.inspectBrought())
        formerlyBrought.formUnion(brought.map { Field(record: $0.record, field: $0.field) })
        var live: Set<Held> = []
        let records = try ledger.inspectRecords()
        for record in records {
            for entry in record.fields where entry.field != LateAnswers.field {
                for version in entry.register.versions {
                    live.insert(Held(version, of: record.id, entry.field))
                }
            }
        }
        if let lost = lostLedger {
            // What was replaced since, by somebody who had seen it, is no more live beside what
            // comes back of this ledger. Nothing else may have replaced it.
            var replaced: Set<Held> = []
            for (record, fields) in LedgerChecker.histories(groups: groups, brought: brought)
            where !staleRows.contains(record) {
                for (field, history) in fields {
                    try checkCovers(history, record: record, field: field)
                    replaced.formUnion(history.map { Held($0, of: record, field) })
                }
            }
            lostLedger?.live = lost.live.subtracting(replaced.subtracting(live))
        } else {
            // What was refused there may be applied after it, and covers what it had seen.
            lostLedger = LostLedger(
                writes: Held.all(of: groups.filter(\.isApplied), brought: brought), live: live,
                undecided: Dictionary(
                    uniqueKeysWithValues: records.compactMap { record in
                        Undecided(record).map { (record.id, $0) }
                    }))
        }
        returned = []
        for device in devices { held[ObjectIdentifier(device)] = try held(by: device) }
    }

    /// A device holds something else now, before it could bring anything back: its journal was
    /// restored too, or a last answer of the former hub came late.
    mutating func noteChange(of device: SimulatedDevice) throws {
        guard held[ObjectIdentifier(device)] != nil else { return }
        held[ObjectIdentifier(device)] = try held(by: device)
    }

    /// A device has brought back what it held, and pulled.
    mutating func noteReturn(of device: SimulatedDevice) {
        returned.formUnion(held.removeValue(forKey: ObjectIdentifier(device)) ?? [])
    }

    func check(
        records: [InspectedRecord], groups: [InspectedGroup], brought: [InspectedBrought]
    ) throws {
        guard happened else { return }
        let known = Held.all(of: groups.filter(\.isApplied), brought: brought)
        // Where two copies of a journal had used one dot, the hub lends one of them another.
        let renamed = Set(brought.map { Named($0.record, $0.field, $0.version.value) })
        // What the operator imported anew has another id, and takes the place of what was lost;
        // after two restores, what is brought back of the one import that of the other.
        var ids: [Code: Set<RecordID>] = [:]
        for record in records where Kind(rawValue: record.kind)?.isReference ?? false {
            let code = record.fields.first { $0.field == CategoryField.code.rawValue }
            ids[Code(kind: record.kind, value: code?.register.winner?.value), default: []]
                .insert(record.id)
        }
        if let double = ids.first(where: { $0.value.count > 1 }) {
            throw Violation(
                invariant: 20, what: "one code has \(double.value.count) records after a restore")
        }
        func isReplaced(_ record: RecordID) -> Bool {
            guard let code = codes[record], let others = ids[code] else { return false }
            return !others.contains(record)
        }
        let missing = held.values.reduce(returned) { $0.union($1) }.subtracting(known)
            .filter { !renamed.contains(Named($0.record, $0.field, $0.value)) }
            .filter { !isReplaced($0.record) }
        if let first = missing.min(by: { ($0.record, $0.field) < ($1.record, $1.field) }) {
            throw Violation(
                invariant: 20,
                what: "\(missing.count) versions did not come back after a restore, one of them "
                    + "of field \(first.field) of \(first.record), \(first.dot)")
        }
    }
}

extension RestoreChecker {
    /// Invariants 6 and 7 across restores: an extra conflict is allowed, a false cover never.
    func checkCovers(_ history: [Version], record: RecordID, field: UInt32) throws {
        guard let lost = lostLedger else { return }
        for version in history where lost.writes.contains(Held(version, of: record, field)) {
            for other in history
            where version.covers(other) && lost.live.contains(Held(other, of: record, field))
                // What one writer did after the other, which one of them did not tell when it had
                // been brought back to the ledger that was lost.
                && (version.dot.replica != other.dot.replica || version.isBroughtBack
                    || other.isBroughtBack)
            {
                throw Violation(
                    invariant: 7,
                    what: "field \(field) of \(record): \(version.dot) covers \(other.dot), "
                        + "which was live beside it before a restore: \(text(of: history))")
            }
        }
    }
}

extension RestoreChecker {
    /// Invariants 6 and 7 across restores, between the fields of a need: what somebody had to decide
    /// and nobody has decided is there to decide again, as far as it came back.
    func checkUndecided(_ record: InspectedRecord, known: Set<Held>) throws {
        guard let lost = lostLedger?.undecided[record.id] else { return }
        func versions(of field: UInt32) -> [Version] {
            record.fields.first { $0.field == field }?.register.versions ?? []
        }
        if let delete = versions(of: NeedField.withdrawal.rawValue).first,
            lost.delete == Held(delete, of: record.id, NeedField.withdrawal.rawValue)
        {
            for edit in lost.edits {
                for version in versions(of: edit.field)
                where edit == Held(version, of: record.id, edit.field)
                    && !version.isConcurrent(with: delete)
                {
                    throw Violation(
                        invariant: 7,
                        what: "\(record.id): the delete \(delete.dot) and \(version.dot) of field "
                            + "\(edit.field) had not seen each other before a restore: "
                            + text(of: [delete, version]))
                }
            }
        }
        let orders = versions(of: NeedField.dispatch.rawValue)
        let held = orders.map { Held($0, of: record.id, NeedField.dispatch.rawValue) }
        guard lost.orders == Set(held), lost.currentOrder == held.first else { return }
        let late = versions(of: LateAnswers.field)
        let lostDots = Set(lost.late.map(\.dot))
        for held in lost.late where known.contains(held) {
            let isKept = late.contains {
                // A newer one of the same field may have seen it.
                $0.dot == held.dot
                    || $0.value?.first == held.value?.first && !lostDots.contains($0.dot)
            }
            if isKept { continue }
            throw Violation(
                invariant: 7,
                what: "\(record.id): \(held.dot) came too late for the order before a restore, and "
                    + "is not beside it any more: " + text(of: orders + late))
        }
    }
}

/// Invariants 3, 4, 6, 7, 12, 13 and 17, from the ledger's whole history.
struct LedgerChecker {
    let records: [InspectedRecord]
    let groups: [InspectedGroup]
    let brought: [InspectedBrought]
    let restores: RestoreChecker
    let head: UInt64
    let times: HubTimes

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
        let rows = Set(records.map(\.id))
        if let missing = histories.keys.filter({ !rows.contains($0) }).min() {
            throw Violation(
                invariant: 2, what: "the ledger admitted \(missing) and has no row of it")
        }
        for record in records {
            // Then two say of one position that other versions were live there.
            if restores.happened, restores.staleRows.contains(record.id) { continue }
            try restores.checkUndecided(record, known: known)
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
        guard sequence <= head else {
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
                throw Violation(invariant: 4, what: "a stamp later than the ledger's now")
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

/// A field's history, one change after the other, without values.
private func text(of history: [Version]) -> String {
    history.map { version in
        let seen = version.clock.ancestors.map { "\($0.replica) \($0.counter)" }
        let former = version.formerPositions.map { "\($0.term) \($0.sequence)" }
        return "\(version.sequence) is \(version.dot.replica) \(version.dot.counter) with base "
            + "\(version.clock.base), seen \(seen), former \(former)"
    }.joined(separator: "; ")
}
