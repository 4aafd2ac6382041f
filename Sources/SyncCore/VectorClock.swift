/// What a writer had seen: for each replica, the greatest counter.
///
/// Since counters have no holes, an entry `(r, n)` says that `r`'s changes 1 to `n` were seen.
/// Kept sorted by replica, so that equal clocks have equal bytes.
///
/// - SeeAlso: Mattern 1989, "Virtual Time and Global States of Distributed Systems".
package struct VectorClock: Hashable, Sendable {
    /// Sorted by replica, each replica once, no counter zero.
    package private(set) var entries: [Dot]

    package init() { entries = [] }

    /// Takes dots in any order; of several for one replica the greatest counts.
    package init(_ dots: [Dot]) {
        entries = []
        for dot in dots { observe(dot) }
    }

    /// The greatest counter seen of a replica, 0 when none was.
    package subscript(replica: ReplicaID) -> UInt64 {
        let index = insertionIndex(of: replica)
        guard index < entries.count, entries[index].replica == replica else { return 0 }
        return entries[index].counter
    }

    package mutating func observe(_ dot: Dot) {
        guard dot.counter > 0 else { return }
        let index = insertionIndex(of: dot.replica)
        if index < entries.count, entries[index].replica == dot.replica {
            entries[index].counter = max(entries[index].counter, dot.counter)
        } else {
            entries.insert(dot, at: index)
        }
    }

    package func contains(_ dot: Dot) -> Bool { dot.counter <= self[dot.replica] }

    /// The least clock that has seen what either has seen.
    package func merged(with other: VectorClock) -> VectorClock {
        var result = self
        for dot in other.entries { result.observe(dot) }
        return result
    }

    package enum Causality: Sendable { case equal, before, after, concurrent }

    /// How this clock stands to another: `before` is Lamport's happened-before.
    package func compared(to other: VectorClock) -> Causality {
        let ahead = entries.contains { !other.contains($0) }
        let behind = other.entries.contains { !contains($0) }
        switch (ahead, behind) {
        case (false, false): return .equal
        case (false, true): return .before
        case (true, false): return .after
        case (true, true): return .concurrent
        }
    }

    package func happenedBefore(_ other: VectorClock) -> Bool { compared(to: other) == .before }

    package func isConcurrent(with other: VectorClock) -> Bool {
        compared(to: other) == .concurrent
    }

    private func insertionIndex(of replica: ReplicaID) -> Int {
        entries.partitioningIndex { $0.replica >= replica }
    }
}

/// A vector clock as it travels and is stored.
///
/// Devices meet only through the hub, so what a writer had seen is a prefix of the ledger's
/// sequence, its own earlier changes, and, after a fork, those of the replicas it descends from.
/// ``VectorClock`` is recovered by asking the ledger how far each replica was at `base`.
package struct ShortClock: Hashable, Sendable {
    /// The ledger's head when the writer's newest complete pull ended, cut to the ledger's own
    /// line of terms; 0 when it had pulled nothing.
    package var base: UInt64
    /// Sorted by replica; empty but after a fork, or after a restore of the ledger: what the
    /// writer had seen of a part that was lost stands here under a term of that part.
    package var ancestors: [Dot]

    package init(base: UInt64, ancestors: [Dot] = []) {
        self.base = base
        self.ancestors = ancestors
    }

    /// Whether whoever has seen this has seen all of another.
    package func contains(_ other: ShortClock) -> Bool {
        if other.base > base { return false }
        var rest = ancestors[...]
        return other.ancestors.allSatisfy { dot in
            rest = rest.drop { $0.replica < dot.replica }
            return rest.first.map { $0.replica == dot.replica && dot.counter <= $0.counter }
                ?? false
        }
    }

    /// The full clock.
    ///
    /// - Parameters:
    ///   - dot: The change that bears this clock; it counts itself as seen.
    ///   - term: The ledger's term at `base`.
    ///   - admitted: For each replica, the greatest counter admitted at or below `base`.
    package func expanded(
        for dot: Dot, term: TermID, admitted: VectorClock
    ) -> VectorClock {
        var clock = admitted
        for ancestor in ancestors { clock.observe(ancestor) }
        clock.observe(Dot(term, base))
        clock.observe(dot)
        return clock
    }
}
