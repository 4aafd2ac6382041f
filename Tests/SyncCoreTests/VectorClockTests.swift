import SyncCore
import Testing

/// Clocks are a lattice: before is a partial order, and merging is its least upper bound.
@Suite struct VectorClockTests {
    private func clock(_ generator: inout SplitMix64) -> VectorClock {
        VectorClock(
            (0..<generator.below(4)).map { _ in
                Dot(
                    ReplicaID(truncating: UInt64(generator.below(3))),
                    UInt64(generator.below(4)))
            })
    }

    @Test func comparingIsAPartialOrder() {
        forEachSeed(20_000) { generator in
            let (a, b, c) = (clock(&generator), clock(&generator), clock(&generator))
            try check(a.compared(to: a) == .equal, "reflexive")
            try check((a.compared(to: b) == .equal) == (a == b), "antisymmetric: \(a) \(b)")
            try check(a.happenedBefore(b) == (b.compared(to: a) == .after), "mirrored")
            try check(a.isConcurrent(with: b) == b.isConcurrent(with: a), "symmetric")
            if a.happenedBefore(b) && b.happenedBefore(c) {
                try check(a.happenedBefore(c), "transitive: \(a) \(b) \(c)")
            }
        }
    }

    @Test func mergingIsTheLeastUpperBound() {
        func isAtMost(_ left: VectorClock, _ right: VectorClock) -> Bool {
            left == right || left.happenedBefore(right)
        }
        forEachSeed(20_000) { generator in
            let (a, b, c) = (clock(&generator), clock(&generator), clock(&generator))
            let both = a.merged(with: b)
            try check(both == b.merged(with: a), "commutative")
            try check(both.merged(with: c) == a.merged(with: b.merged(with: c)), "associative")
            try check(a.merged(with: a) == a, "idempotent")
            try check(isAtMost(a, both) && isAtMost(b, both), "an upper bound")
            if isAtMost(a, c) && isAtMost(b, c) { try check(isAtMost(both, c), "the least") }
        }
    }

    @Test func entriesAreSortedOncePerReplicaAndNeverZero() {
        forEachSeed(5_000) { generator in
            let one = clock(&generator)
            let replicas = one.entries.map(\.replica)
            try check(replicas == Set(replicas).sorted(), "\(one)")
            try check(one.entries.allSatisfy { $0.counter > 0 }, "\(one)")
            try check(one == VectorClock(one.entries.shuffled(using: &generator)), "any order")
            for dot in one.entries {
                try check(one[dot.replica] == dot.counter && one.contains(dot), "\(dot)")
                try check(!one.contains(Dot(dot.replica, dot.counter + 1)), "\(dot)")
            }
        }
    }
}
