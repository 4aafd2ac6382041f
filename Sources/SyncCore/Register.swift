/// One write to one field, as the ledger admitted it.
package struct Version: Hashable, Sendable {
    /// The value's bytes as they travelled; `nil` when the field was cleared. What they mean is
    /// NeedModel's business, so a field that a program does not know passes through unharmed.
    package var value: [UInt8]?
    package var stamp: Stamp
    /// Where the ledger admitted it, on its own line of terms; 0 while it is not admitted.
    package var sequence: UInt64
    package var clock: ShortClock
    /// Where it stood in a part of the ledger that a restore lost and a device brought back, by a
    /// term of that part; empty otherwise. Who had pulled up to there has seen this version.
    package var formerPositions: [Position]

    package init(
        value: [UInt8]?, stamp: Stamp, sequence: UInt64, clock: ShortClock,
        formerPositions: [Position] = []
    ) {
        self.value = value
        self.stamp = stamp
        self.sequence = sequence
        self.clock = clock
        self.formerPositions = formerPositions
    }

    package var dot: Dot { stamp.dot }

    /// Whether a device brought it back after a restore.
    package var isBroughtBack: Bool { !formerPositions.isEmpty }

    /// Whether the writer of this version had seen `other`: its clock contains the other's dot or
    /// one of its places in a sequence. A version does not cover itself.
    ///
    /// Of what came back after a restore counters say nothing, since it may be of another copy of
    /// its writer's journal than what the ledger knows under the same replica; its places do.
    package func covers(_ other: Version) -> Bool {
        if other.dot == dot { return false }
        if other.dot.replica == dot.replica, !other.isBroughtBack, !isBroughtBack {
            return other.dot.counter < dot.counter
        }
        if other.sequence > 0 && other.sequence <= clock.base { return true }
        if clock.ancestors.isEmpty { return false }
        return clock.ancestors.contains { seen in
            !other.isBroughtBack && seen.replica == other.dot.replica
                && other.dot.counter <= seen.counter
                || other.formerPositions.contains {
                    $0.term == seen.replica && $0.sequence <= seen.counter
                }
        }
    }

    /// Neither had seen the other.
    package func isConcurrent(with other: Version) -> Bool {
        dot != other.dot && !covers(other) && !other.covers(self)
    }
}

/// The live versions of one field of one record: the admitted writes that nothing covers.
///
/// A join semilattice: ``join(_:)`` is commutative, associative and idempotent, because covering is
/// transitive (a writer that saw a change also saw what that change's writer had seen).
///
/// - SeeAlso: Preguiça et al. 2010, "Dotted Version Vectors"; `protocol/SPEC.md` §4.
package struct Register: Hashable, Sendable {
    /// Newest stamp first; never empty once written.
    package private(set) var versions: [Version]

    package init() { versions = [] }

    /// Takes versions that do not cover each other, in any order.
    package init(live versions: [Version]) {
        self.versions = versions.count < 2 ? versions : versions.sorted { $0.stamp > $1.stamp }
    }

    /// The version with the greatest stamp: what everyone is shown.
    package var winner: Version? { versions.first }

    /// Whether live versions disagree; concurrent writes of one value are no conflict.
    package var isInConflict: Bool {
        guard let first = versions.first else { return false }
        return versions.dropFirst().contains { $0.value != first.value }
    }

    /// The newest stamp among the live versions that a write would cover, in milliseconds.
    package func newestCovered(by incoming: Version) -> Int64? {
        var newest: Int64?
        for version in versions where incoming.covers(version) {
            newest = max(newest ?? .min, version.stamp.milliseconds)
        }
        return newest
    }

    /// Adds one version: drops what it covers, and drops it if it is covered or already here.
    ///
    /// - Returns: Whether the version is live afterwards.
    @discardableResult
    package mutating func insert(_ incoming: Version) -> Bool {
        if versions.isEmpty {
            versions = [incoming]
            return true
        }
        if versions.contains(where: { $0.dot == incoming.dot }) { return true }
        if versions.contains(where: { $0.covers(incoming) }) {
            drop(coveredBy: incoming)
            return false
        }
        versions.removeAll { incoming.covers($0) }
        let index = versions.firstIndex { $0.stamp < incoming.stamp } ?? versions.count
        versions.insert(incoming, at: index)
        return true
    }

    /// Drops what a version covers that is not live itself.
    ///
    /// Mostly there is nothing: what covers it covers that too. But of what came back after a
    /// restore it may be known that it had seen more than what covers it is known to have seen.
    /// Something always stays.
    package mutating func drop(coveredBy version: Version) {
        let left = versions.filter { !version.covers($0) || $0.covers(version) }
        if !left.isEmpty { versions = left }
    }

    /// The versions of both that neither side covers.
    package mutating func join(_ other: Register) {
        for version in other.versions { insert(version) }
    }
}

/// The rules for a register that hides its record: a tombstone.
package enum Tombstone {
    /// The fields whose live versions an applied delete has not seen and that have not seen the
    /// delete: the delete and these edits are concurrent, so a person must decide.
    ///
    /// - Parameters:
    ///   - tombstone: The register that deletes; a winner without value deletes nothing.
    ///   - fields: The record's other registers, by field.
    /// - Returns: Sorted field ids; empty when there is no conflict.
    package static func contestedFields(
        of tombstone: Register, among fields: some Sequence<(field: UInt32, register: Register)>
    ) -> [UInt32] {
        guard let delete = tombstone.winner, delete.value != nil else { return [] }
        return fields.filter { entry in
            entry.register.versions.contains { delete.isConcurrent(with: $0) }
        }.map(\.field).sorted()
    }
}
