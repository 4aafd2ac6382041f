import SQLiteStore
import SimulatedDisk
import Testing

/// What is left after crashes, in cases that can be told beforehand.
@Suite struct SurvivalTests {
    private func insert(_ name: String, into connection: Connection) throws {
        try connection.run("INSERT INTO item (name) VALUES (?)", .text(name))
    }

    /// Runs an insert up to its sync, and crashes there.
    private func killBeforeSync(_ disk: Disk, _ name: String, like steps: Int) throws {
        let connection = try disk.open()
        _ = try connection.itemNames
        disk.failNext(after: steps, with: .crash(.processKilled))
        #expect(throws: SQLiteError.self) { try insert(name, into: connection) }
        disk.restart()
    }

    /// Returns a disk with one committed insert and how many steps that took.
    private func diskWithOneItem(seed: Int) throws -> (Disk, steps: Int) {
        let disk = Disk(seed: UInt64(seed))
        let connection = try disk.openWithItems()
        let before = disk.stepCount
        try insert("a", into: connection)
        return (disk, disk.stepCount - before)
    }

    @Test func sameSeedLeavesTheSameBytes() async throws {
        let first = try await Self.fingerprints()
        let second = try await Self.fingerprints()
        #expect(first.contains("fingerprint"))
        #expect(first == second)
    }

    /// Runs crashing histories in a process of their own: SQLite's randomness has but one state.
    private static func fingerprints() async throws -> String {
        let result = try #require(
            await #expect(
                processExitsWith: .success, observing: [\.standardOutputContent]
            ) {
                for seed in 1...20 {
                    Disk.seedSQLite(Int32(seed))
                    let history = History(seed: seed)
                    history.disk.failNext(
                        after: history.choices.number(1...120), with: .crash(.powerLost))
                    _ = history.run(transactions: 12)
                    print("fingerprint", history.disk.snapshot().fingerprint)
                }
            })
        let output = String(decoding: result.standardOutputContent, as: UTF8.self)
        return output.split(separator: "\n").filter { $0.hasPrefix("fingerprint") }
            .joined(separator: "\n")
    }

    @Test func seedDecidesWhatSurvives() throws {
        let survivors = try Set(
            (1...20).map { seed in
                let disk = Disk(seed: UInt64(seed))
                let connection = try disk.openWithItems()
                try connection.execute("PRAGMA synchronous = OFF")
                for number in 1...20 { try insert("\(number)", into: connection) }
                disk.crash(.powerLost)
                return try? disk.open().itemNames.count
            })
        #expect(survivors.count > 3)
    }

    @Test func renameSurvivesPowerLossOnlyOnceSynced() {
        func names(_ seed: Int, synced: Bool) -> [String] {
            let disk = Disk(seed: UInt64(seed))
            disk.write([1], to: "/data/old")
            disk.rename("/data/old", to: "/data/new")
            if synced { disk.sync("/data/new") }
            disk.crash(.powerLost)
            return disk.files()
        }
        #expect(Set((1...50).map { names($0, synced: false) }) == [["/data/old"], ["/data/new"]])
        #expect(Set((1...50).map { names($0, synced: true) }) == [["/data/new"]])
    }

    /// SQLite's recovery does not sync the log that it finds. A reader must not tell anyone of
    /// what it sees then, before a commit or a checkpoint has synced it.
    @Test func transactionSeenAfterAKillCanBeLostToALaterPowerLoss() throws {
        let losses = try (1...50).filter { seed in
            let (disk, steps) = try diskWithOneItem(seed: seed)
            try killBeforeSync(disk, "b", like: steps)
            guard try disk.open().itemNames == ["a", "b"] else { return false }
            disk.crash(.powerLost)
            return try disk.open().itemNames == ["a"]
        }
        #expect(!losses.isEmpty)
    }

    /// The remedy for the case above.
    @Test func checkpointMakesDurableWhatAKillLeft() throws {
        for seed in 1...50 {
            let (disk, steps) = try diskWithOneItem(seed: seed)
            try killBeforeSync(disk, "b", like: steps)
            let connection = try disk.open()
            try connection.checkpoint(.passive)
            let seen = try connection.itemNames
            disk.crash(.powerLost)
            #expect(try disk.open().itemNames == seen)
        }
    }

    /// Where the kernel forgets what it could not write, a log that is used on after a failed
    /// sync has a hole, and recovery ends there.
    @Test func commitAfterARestartBehindADroppedSyncCanBeLost() throws {
        let losses = try (1...50).filter { seed in
            let items = try itemsAfterDroppedSync(seed: seed) { _ in }
            return !items.contains("c")
        }
        #expect(!losses.isEmpty)
    }

    /// The remedy for the case above: the log starts anew.
    @Test func emptyingTheLogAtOpeningHealsADroppedSync() throws {
        for seed in 1...50 {
            let items = try itemsAfterDroppedSync(seed: seed) { try $0.checkpoint(.truncate) }
            #expect(items.contains("c"))
        }
    }

    /// Fails the sync of an insert, restarts the process, inserts and commits "c", loses power.
    private func itemsAfterDroppedSync(
        seed: Int, atOpening: (Connection) throws -> Void
    ) throws -> [String] {
        let (disk, steps) = try diskWithOneItem(seed: seed)
        disk.failedSyncDropsWrites = true
        do {
            let connection = try disk.open()
            _ = try connection.itemNames
            disk.failNext(after: steps, with: .ioError)
            #expect(throws: SQLiteError.self) { try insert("b", into: connection) }
        }
        let connection = try disk.open()
        try atOpening(connection)
        try insert("c", into: connection)
        disk.crash(.powerLost)
        return try disk.open().itemNames
    }
}
