/// The time that decides the last writer of a field, given to each change once, by the ledger.
///
/// Ordered by milliseconds, then replica, then counter. The order is total, so arrival order is
/// irrelevant.
///
/// - SeeAlso: `protocol/SPEC.md` §4.
package struct Stamp: Hashable, Comparable, Sendable {
    /// Milliseconds since 1970 by the ledger's clock, clamped by ``StampLaw``.
    package var milliseconds: Int64
    package var dot: Dot

    package init(milliseconds: Int64, dot: Dot) {
        self.milliseconds = milliseconds
        self.dot = dot
    }

    package static func < (left: Stamp, right: Stamp) -> Bool {
        (left.milliseconds, left.dot) < (right.milliseconds, right.dot)
    }
}

/// The law that makes every stamp later than the stamps its writer had seen.
///
/// `stamp = max(clamp(estimate, L, now), 1 ms after the newest live version it covers)` with
/// `L = min(now, 1 ms after the newer of: newest stamp at or below base, newest stamp of its
/// replica or its ancestors)`. `L` is taken once a group: within a group the fields differ, and
/// nothing else compares their stamps. `L` is never below 0: no clock, however wrong or hostile,
/// makes a stamp before 1970, whose distance to another could overflow.
package enum StampLaw {
    /// - Parameters:
    ///   - estimate: When the change was made, in milliseconds; see ``WriteTimeEstimate``.
    ///   - newestSeen: The newest stamp at or below the change's base, if any.
    ///   - newestOwn: The newest stamp that the ledger gave its replica, or those that it descends
    ///     from, before this group, if any.
    ///   - newestCovered: The newest live version of the same field that the change covers, if any.
    ///   - now: The ledger's clock.
    /// - Returns: Milliseconds; later than `now` only by the successor of `newestCovered`.
    package static func milliseconds(
        estimate: Int64, newestSeen: Int64?, newestOwn: Int64?, newestCovered: Int64?, now: Int64
    ) -> Int64 {
        let seen = max(newestSeen ?? .min, newestOwn ?? .min)
        let lowest = min(now, max(0, successor(seen)))
        let clamped = min(max(estimate, lowest), now)
        guard let newestCovered else { return clamped }
        return max(clamped, successor(newestCovered))
    }

    private static func successor(_ milliseconds: Int64) -> Int64 {
        milliseconds == .max ? .max : milliseconds + 1
    }
}
