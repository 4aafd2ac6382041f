// The invariants, a checker each or a few that look at the same thing. They know nothing of how
// the production code works, only what it promises. Numbers are those of `protocol/SIMULATION.md`.

import DeviceJournal
import HubLedger
import NeedModel
import SyncCore

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
        /// All that was written under its key, the newest last: a retry may offer several commands
        /// on one record at once.
        var offered: [[Change]]
        var count: Int
        var isLost = false
        /// Offered anew as another command, after the hub was upgraded or by a person; or dropped.
        var isReplaced = false
        /// Whether its device's disk had altered what it is about: brought it back, for instance,
        /// when it had left.
        var isOnAltered: Bool

        var changes: [Change] { offered[offered.count - 1] }
    }

    private var commands: [CommandKey: Command] = [:]
    private var order: [CommandKey] = []
    /// Of all records that people made.
    private var kinds: [RecordID: UInt32] = [:]
    /// Those that stand for others, which a hub had refused for their kind.
    private var offeredAnew: Set<CommandKey> = []
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
            // What was offered anew in the same millisecond has the base that it had.
            if let pulled = device.pulled, entry.group.base != pulled.cursor,
                !offeredAnew.contains(CommandKey(entry.group))
            {
                throw Violation(
                    invariant: 7,
                    what: "\(device.name) claims to have seen \(entry.group.base), and pulled "
                        + "\(pulled.cursor)")
            }
            try checkKind(of: entry.group)
            add(CommandKey(entry.group), device, entry.group, own)
        }
    }

    /// Copies of a journal may give an id twice; of two kinds a hub could not keep both.
    private func checkKind(of group: ChangeGroup) throws {
        guard let kind = group.createdKind else { return }
        if let other = kinds.updateValue(kind, forKey: group.record), other != kind {
            throw Violation(
                invariant: 2, what: "\(group.record) is of kind \(kind), and was of kind \(other)")
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
            written: written, device: device.number,
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
                guard let sequence = outcomes.pullsBringing[key] else {
                    throw Violation(
                        invariant: 1,
                        what: "\(device.name) gave up a command for \(key.record) that was not "
                            + "decided")
                }
                guard cursor >= sequence else {
                    throw Violation(
                        invariant: 8,
                        what: "\(device.name) gave up a command for \(key.record) that no pull "
                            + "had brought: decided by \(sequence), pulled up to \(cursor)")
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
            offeredAnew.insert(key)
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
        try checkCovers(ledger)
        try checkValues(ledger)
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

    /// The hub has what was stored when the command was told as done.
    private func checkValues(_ ledger: [InspectedGroup]) throws {
        for entry in ledger where entry.device != nil {
            let key = CommandKey(entry.group)
            guard let command = commands[key] else { continue }
            guard command.offered.contains(Array(entry.group.changes)) else {
                throw Violation(
                    invariant: 2, what: "a command for \(key.record) is another at the hub")
            }
        }
    }

    func checkOutcomes(
        ledger: [InspectedGroup], brought: [InspectedBrought],
        journals: [(SimulatedDevice, JournalInspection)]
    ) throws {
        try checkCovers(ledger)
        try checkScopes(ledger)
        try checkValues(ledger)
        var applied: [CommandKey: Int] = [:]
        var rejected: [CommandKey: Int] = [:]
        var creationsRefused: Set<CommandKey> = []
        for entry in ledger where entry.device != nil {
            let key = CommandKey(entry.group)
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
