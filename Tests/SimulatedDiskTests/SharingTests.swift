import SQLiteStore
import SimulatedDisk
import Testing

/// Several connections on one disk, as SQLite's locks arrange it.
@Suite struct SharingTests {
    let disk = Disk(seed: 1)

    private func openWithJournal() throws -> Connection {
        let connection = try Connection(
            path: path, mode: .readWriteCreate, busyTimeoutMilliseconds: 0, vfs: disk.vfsName)
        try connection.execute(
            "CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, name TEXT) STRICT")
        return connection
    }

    private func expectBusy(
        sourceLocation: SourceLocation = #_sourceLocation, _ call: () throws -> Void
    ) throws {
        let error = try #require(
            throws: SQLiteError.self, sourceLocation: sourceLocation, performing: call)
        #expect(error.kind == .busy, sourceLocation: sourceLocation)
    }

    @Test func durableSettingsAreInForce() throws {
        let connection = try disk.open()
        #expect(try connection.first("PRAGMA journal_mode") { $0.text(at: 0) } == "wal")
        #expect(try connection.first("PRAGMA synchronous") { $0.integer(at: 0) } == 2)
    }

    @Test func anotherConnectionSeesWhatWasCommitted() throws {
        let writer = try disk.openWithItems()
        let reader = try disk.open()
        try writer.run("INSERT INTO item VALUES (1, 'a')")
        #expect(try reader.itemNames == ["a"])
    }

    @Test func readerKeepsItsStateWhileAnotherCommits() throws {
        let writer = try disk.openWithItems()
        let reader = try disk.open()
        let seen = try reader.transaction(.deferred) {
            let before = try reader.itemNames
            try writer.run("INSERT INTO item VALUES (1, 'a')")
            return [before, try reader.itemNames]
        }
        #expect(seen == [[], []])
    }

    @Test func logHasOneWriter() throws {
        let first = try disk.openWithItems()
        let second = try disk.open()
        try first.transaction {
            try expectBusy { try second.run("INSERT INTO item VALUES (1, 'a')") }
        }
        try second.run("INSERT INTO item VALUES (1, 'a')")
        #expect(try first.itemNames == ["a"])
    }

    @Test func readerKeepsTheLogFromBeingEmptied() throws {
        let writer = try disk.openWithItems()
        let reader = try disk.open()
        try reader.transaction(.deferred) {
            _ = try reader.itemNames
            try writer.run("INSERT INTO item VALUES (1, 'a')")
            try expectBusy { try writer.checkpoint(.truncate) }
        }
        try writer.checkpoint(.truncate)
        #expect(disk.contents(of: path + "-wal") == [])
    }

    @Test func waitingForALockIsVirtual() throws {
        var waited = 0
        let disk = Disk(seed: 1, sleep: { waited += $0 })
        let first = try disk.openWithItems()
        let second = try disk.open(busyTimeoutMilliseconds: 3_600_000)
        try first.transaction {
            try expectBusy { try second.run("INSERT INTO item VALUES (1, 'a')") }
        }
        #expect(waited >= 3_500_000_000)
    }

    // The next ones are without a log, so with locks of the file alone.

    @Test func journalHasOneWriter() throws {
        let first = try openWithJournal()
        let second = try openWithJournal()
        try first.transaction {
            try expectBusy { try second.transaction {} }
        }
        try second.transaction {}
    }

    @Test func reservedLockLetsReadersIn() throws {
        let writer = try openWithJournal()
        let reader = try openWithJournal()
        try writer.transaction {
            try writer.run("INSERT INTO item VALUES (1, 'a')")
            #expect(try reader.itemNames == [])
        }
        #expect(try reader.itemNames == ["a"])
    }

    @Test func pendingLockLetsNoNewReaderIn() throws {
        let writer = try openWithJournal()
        let reader = try openWithJournal()
        let late = try openWithJournal()
        try writer.execute("BEGIN IMMEDIATE; INSERT INTO item VALUES (1, 'a')")
        try reader.transaction(.deferred) {
            _ = try reader.itemNames
            try expectBusy { try writer.execute("COMMIT") }
            try expectBusy { _ = try late.itemNames }
        }
        try writer.execute("COMMIT")
        #expect(try late.itemNames == ["a"])
    }

    @Test func exclusiveLockLetsNobodyIn() throws {
        let writer = try openWithJournal()
        let reader = try openWithJournal()
        try writer.execute("BEGIN EXCLUSIVE")
        try expectBusy { _ = try reader.itemNames }
        try writer.execute("COMMIT")
        #expect(try reader.itemNames == [])
    }

    @Test func clockIsTheOneGiven() throws {
        let disk = Disk(seed: 1, clock: { 1_700_000_000_000 })
        let connection = try disk.open()
        let now = try connection.first("SELECT datetime('now')") { $0.text(at: 0) }
        #expect(now == "2023-11-14 22:13:20")
    }
}
