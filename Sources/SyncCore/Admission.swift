/// What the hub does with a batch.
///
/// Counters have no holes, a device sends a group unchanged until it has its outcome, and the
/// chain says whether all before the batch is the same on both sides; so the hub can tell a first
/// try from a retry, and a retry from a second machine with the same journal.
///
/// - SeeAlso: `protocol/SPEC.md` §6.
package enum Admission: Hashable, Sendable {
    /// The first `count` groups are known, with equal content: answer with the stored outcomes.
    /// The rest is new: admit it.
    case admit(knownGroups: Int)
    /// From group `index` on, whose counters were used for other content, the journal is a copy
    /// that went its own way: everything from `counter` on must go out under a new replica.
    case fork(index: Int, counter: UInt64)
    /// The batch starts after a gap: the hub has nothing from `counter` on.
    case expected(counter: UInt64)

    /// - Parameters:
    ///   - groups: The batch's groups, their counters consecutive; empty only when the device
    ///     holds none without an outcome.
    ///   - expected: The counter that the hub awaits from this replica; 1 for a new one.
    ///   - deviceNextCounter: The next counter that the device will give out. A device behind the
    ///     hub was restored from an older copy of its journal.
    ///   - isSameBelow: Whether both sides have the same chain of all below a counter, which is
    ///     not beyond `expected`.
    ///   - stored: The group that the hub admitted or rejected at a counter, if one starts there.
    package static func judge(
        groups: [ChangeGroup], expected: UInt64, deviceNextCounter: UInt64,
        isSameBelow: (UInt64) throws -> Bool, stored: (UInt64) throws -> ChangeGroup?
    ) rethrows -> Admission {
        let first = groups.first?.firstCounter ?? deviceNextCounter
        if first > expected { return .expected(counter: expected) }
        // Nobody can tell where the two parted, so nothing of it is shared.
        guard try isSameBelow(first) else { return .fork(index: 0, counter: 1) }
        var known = 0
        for (index, group) in groups.enumerated() {
            if group.firstCounter >= expected { break }
            guard let before = try stored(group.firstCounter), before == group else {
                return .fork(index: index, counter: group.firstCounter)
            }
            known += 1
        }
        // Only once everything that the device holds was compared: of counters that are still to
        // come nobody knows yet whether the hub's content is the device's own.
        let isAll = groups.last.map { $0.nextCounter == deviceNextCounter } ?? true
        if isAll && deviceNextCounter < expected {
            return .fork(index: known, counter: deviceNextCounter)
        }
        return .admit(knownGroups: known)
    }
}
