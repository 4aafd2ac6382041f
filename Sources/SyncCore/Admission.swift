/// What the hub does with a batch, decided from counters alone.
///
/// Counters have no holes and a device sends a group unchanged until it has its outcome, so the
/// hub can tell a first try from a retry, and a retry from a second machine with the same journal.
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
    ///   - isFirstDecided: The first group had its outcome before, so a hub that awaits it has been
    ///     put back, and others may have used what lies before it.
    ///   - deviceNextCounter: The next counter that the device will give out. A device behind the
    ///     hub was restored from an older copy of its journal.
    ///   - stored: The group that the hub admitted or rejected at a counter, if one starts there.
    package static func judge(
        groups: [ChangeGroup], isFirstDecided: Bool = false, expected: UInt64,
        deviceNextCounter: UInt64,
        stored: (UInt64) throws -> ChangeGroup?
    ) rethrows -> Admission {
        var known = 0
        for (index, group) in groups.enumerated() {
            if group.firstCounter >= expected { break }
            guard let before = try stored(group.firstCounter), before == group else {
                return .fork(index: index, counter: group.firstCounter)
            }
            known += 1
        }
        let isLost = isFirstDecided && known == 0
        if known < groups.count, groups[known].firstCounter > expected || isLost {
            return .expected(counter: expected)
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
