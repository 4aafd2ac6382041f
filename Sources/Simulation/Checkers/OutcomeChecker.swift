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
    /// Of each command that was decided, how far a pull reaches at least that brings it.
    private(set) var pullsBringing: [CommandKey: UInt64] = [:]

    /// - Parameter headBefore: The ledger's, before the request.
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
            // What was admitted before is told with a page of the same moment, as what is new is.
            let command = CommandKey(group)
            if pullsBringing[command] == nil {
                pullsBringing[command] = max(headBefore, outcomes.firstSequence)
            }
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
