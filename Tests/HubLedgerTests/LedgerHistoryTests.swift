import Testing

@Suite("Random histories")
struct LedgerHistoryTests {
    /// In shards that run side by side.
    @Test(
        "devices end in the ledger's state, and the ledger in the join of what they wrote",
        arguments: 0..<4 as Range<UInt64>)
    func histories(shard: UInt64) throws {
        var count = 0
        forEachSeed(500) { generator in
            let history = try LedgerHistory(
                generator: SplitMix64(seed: generator.next() &+ shard),
                stepCount: 10 + generator.below(24))
            count += 1
            try history.checkInvariants(checksFile: count % 20 == 1)
        }
    }
}
