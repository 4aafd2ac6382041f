import HubLedger
import SyncCore
import WireFormat

/// Invariants 12 and 21: a retry gets the identical outcome, and no group waits for another.
struct OutcomeChecker {
    private struct Key: Hashable {
        var replica: ReplicaID
        var counter: UInt64
        var group: ChangeGroup
    }
    private var known: [Key: String] = [:]
    /// Of each command that came to the hub, the ledger's head before that. It may have been
    /// admitted by a hub that died before it answered.
    private var headsBefore: [CommandKey: UInt64] = [:]
    private var decided: Set<CommandKey> = []

    /// - Returns: The ledger's head before a command was decided, `nil` when it is not.
    func headBefore(_ command: CommandKey) -> UInt64? {
        decided.contains(command) ? headsBefore[command] : nil
    }

    /// Notes what the hub is about to decide.
    mutating func noteCall(_ request: SyncRequest, head: UInt64) {
        for group in request.groups {
            let command = CommandKey(group)
            headsBefore[command] = min(headsBefore[command] ?? head, head)
        }
    }

    mutating func check(_ request: SyncRequest, _ answer: SyncAnswer) throws {
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
            decided.insert(CommandKey(group))
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
