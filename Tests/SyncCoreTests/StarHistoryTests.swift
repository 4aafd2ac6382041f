import SyncCore
import Testing

/// The merge's promises over thousands of random histories; DESIGN.md §4, rules 1 to 5.
@Suite struct StarHistoryTests {
    static let historyCount = 2_000

    private func forEachHistory(
        test: String = #function, sourceLocation: SourceLocation = #_sourceLocation,
        _ property: (inout SplitMix64, StarHistory) throws -> Void
    ) {
        forEachSeed(Self.historyCount, test: test, sourceLocation: sourceLocation) { generator in
            let history = try StarHistory(generator: generator, stepCount: 48)
            generator = history.generator
            try property(&generator, history)
        }
    }

    @Test func coversExactlyWhatTheWriterHadSeen() {
        forEachHistory { _, history in
            for later in history.admitted {
                for earlier in history.admitted where later.id != earlier.id {
                    try check(
                        later.version.covers(earlier.version) == later.seen.contains(earlier.id),
                        "\(later.version.dot) and \(earlier.version.dot)")
                }
            }
        }
    }

    @Test func coversIsTransitiveAndIrreflexive() {
        forEachHistory { _, history in
            var covered: [Dot: Set<Dot>] = [:]
            for one in history.admitted {
                covered[one.version.dot] = Set(
                    history.admitted.filter { one.version.covers($0.version) }.map(\.version.dot))
            }
            for (dot, dots) in covered {
                try check(!dots.contains(dot), "\(dot) covers itself")
                for other in dots {
                    try check(covered[other]!.isSubset(of: dots), "\(dot) over \(other)")
                }
            }
        }
    }

    @Test func fullClocksAgreeWithCovers() {
        forEachHistory { _, history in
            for later in history.admitted {
                for earlier in history.admitted where later.id != earlier.id {
                    let covers = later.version.covers(earlier.version)
                    try check(covers == later.fullClock.contains(earlier.version.dot), "by dot")
                    try check(
                        covers == earlier.fullClock.happenedBefore(later.fullClock),
                        "\(earlier.fullClock.entries) before \(later.fullClock.entries)")
                    try check(
                        later.version.isConcurrent(with: earlier.version)
                            == later.fullClock.isConcurrent(with: earlier.fullClock),
                        "concurrent")
                }
            }
        }
    }

    @Test func coveringImpliesALaterStamp() {
        forEachHistory { _, history in
            for later in history.admitted {
                for earlier in history.admitted
                where later.key == earlier.key && later.version.covers(earlier.version) {
                    // Always against what was live. Against what was long covered too, unless the
                    // ledger's clock stood still or stepped back before a stamp that it had given.
                    let binds =
                        history.ledgerClock == .movesOn
                        || earlier.version.stamp.milliseconds
                            < later.now
                        || later.live.contains(earlier.version)
                    try check(
                        !binds || earlier.version.stamp < later.version.stamp,
                        "\(earlier.version) then \(later.version)")
                }
            }
        }
    }

    @Test func noStampIsLaterThanNowButByTheSuccessorStep() {
        forEachHistory { _, history in
            for one in history.admitted {
                let covered = one.live.filter { one.version.covers($0) }
                    .map(\.stamp.milliseconds).max()
                let latest = max(one.now, covered.map { $0 + 1 } ?? one.now)
                try check(one.version.stamp.milliseconds <= latest, "\(one.version)")
            }
        }
    }

    @Test func estimatesWithinOneBootAreExact() {
        forEachHistory { _, history in
            try check(history.estimateFault == nil, history.estimateFault ?? "")
        }
    }

    @Test func liveVersionsAreThoseThatNothingCovers() {
        forEachHistory { _, history in
            for (key, register) in history.registers {
                let all = history.admitted.filter { $0.key == key }.map(\.version)
                let live = all.filter { one in !all.contains { $0.covers(one) } }
                try check(register.versions == live.sorted { $0.stamp > $1.stamp }, "\(key)")
                try check(register.winner == live.max { $0.stamp < $1.stamp }, "\(key)")
            }
        }
    }

    @Test func aConflictIsTwoConcurrentLiveVersionsWithDifferentValues() {
        forEachHistory { _, history in
            for (key, register) in history.registers {
                let all = history.admitted.filter { $0.key == key }
                let live = all.filter { one in !all.contains { $0.seen.contains(one.id) } }
                let disagree = live.contains { one in
                    live.contains { $0.version.value != one.version.value }
                }
                try check(register.isInConflict == disagree, "\(key): \(register)")
                for one in register.versions {
                    for other in register.versions where one.dot != other.dot {
                        try check(one.isConcurrent(with: other), "\(one) and \(other)")
                    }
                }
            }
        }
    }

    @Test func arrivalOrderIsIrrelevant() {
        forEachHistory { generator, history in
            for (key, register) in history.registers {
                var versions = history.admitted.filter { $0.key == key }.map(\.version)
                versions.append(contentsOf: versions.prefix(2))  // Networks say things twice.
                for _ in 0..<3 {
                    versions.shuffle(using: &generator)
                    var other = Register()
                    for version in versions { other.insert(version) }
                    try check(other == register, "\(key)")
                }
            }
        }
    }

    @Test func joinIsCommutativeAssociativeAndIdempotent() {
        forEachHistory { generator, history in
            for key in history.registers.keys.sorted(by: { $0.field < $1.field }) {
                let versions = history.admitted.filter { $0.key == key }.map(\.version)
                var parts = [Register(), Register(), Register()]
                for version in versions.shuffled(using: &generator) {
                    parts[generator.below(3)].insert(version)
                    if generator.oneIn(3) { parts[generator.below(3)].insert(version) }
                }
                func joined(_ left: Register, _ right: Register) -> Register {
                    var result = left
                    result.join(right)
                    return result
                }
                let (a, b, c) = (parts[0], parts[1], parts[2])
                try check(joined(a, b) == joined(b, a), "commutative")
                try check(joined(joined(a, b), c) == joined(a, joined(b, c)), "associative")
                try check(joined(a, a) == a, "idempotent")
                try check(joined(joined(a, b), b) == joined(a, b), "absorbing")
                try check(joined(joined(a, b), c) == history.registers[key], "complete")
            }
        }
    }

    /// The generator must reach what it is there for.
    @Test func historiesContainForksConflictsAndAllClocks() throws {
        var forks = 0
        var conflicts = 0
        var clocks: Set<StarHistory.LedgerClock> = []
        for seed in 0..<60 as Range<UInt64> {
            let history = try StarHistory(generator: SplitMix64(seed: seed), stepCount: 48)
            forks += history.forkCount
            conflicts += history.registers.values.count { $0.isInConflict }
            clocks.insert(history.ledgerClock)
        }
        #expect(forks > 30)
        #expect(conflicts > 30)
        #expect(clocks.count == 3)
    }
}
