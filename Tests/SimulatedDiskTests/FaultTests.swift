import SQLiteStore
import SimulatedDisk
import Testing

/// What a failing, full or crashed disk says to the code above.
@Suite struct FaultTests {
    let disk = Disk(seed: 1)

    private func failure(
        sourceLocation: SourceLocation = #_sourceLocation, _ call: () throws -> Void
    ) throws -> SQLiteError {
        try #require(throws: SQLiteError.self, sourceLocation: sourceLocation, performing: call)
    }

    private func insert(_ name: String, into connection: Connection) throws {
        try connection.run("INSERT INTO item (name) VALUES (?)", .text(name))
    }

    // MARK: Full

    @Test func quotaIsReportedAsFullAndRollsBack() throws {
        let connection = try disk.openWithItems()
        try insert("a", into: connection)
        disk.bytesMax = disk.bytesUsed + 3_000
        let error = try failure { try insert("b", into: connection) }
        #expect(error.kind == .full)
        #expect(try connection.itemNames == ["a"])
    }

    @Test func quotaIsNeverExceeded() throws {
        let connection = try disk.openWithItems()
        disk.bytesMax = 100_000
        while (try? insert("a", into: connection)) != nil {}
        #expect(disk.bytesUsed <= 100_000)
        #expect(disk.bytesUsed == disk.files().reduce(0) { $0 + disk.contents(of: $1)!.count })
    }

    @Test func deletingAFileMakesRoom() throws {
        disk.write([UInt8](repeating: 1, count: 10_000), to: "/data/photo")
        let connection = try disk.openWithItems()
        disk.bytesMax = disk.bytesUsed
        #expect(throws: SQLiteError.self) { try insert("a", into: connection) }
        disk.remove("/data/photo")
        try insert("b", into: connection)
        #expect(try connection.itemNames == ["b"])
    }

    // A full disk at a sync is an I/O error to callers: SQLite does not ask for the `errno` then.

    @Test func plannedFullDiskAtAWriteIsReportedAsFull() throws {
        let connection = try disk.openWithItems()
        disk.failNext(with: .full)
        #expect(try failure { try insert("a", into: connection) }.kind == .full)
        #expect(try connection.itemNames == [])
    }

    @Test func plannedFullDiskAtACreationIsReportedAsFull() throws {
        disk.failNext(with: .full)
        #expect(try failure { _ = try disk.open() }.kind == .full)
    }

    // MARK: I/O errors

    @Test func failedSyncRollsBack() throws {
        let connection = try disk.openWithItems()
        let before = disk.stepCount
        try insert("a", into: connection)
        // An insert like the one before; its sync is the last of its steps.
        disk.failNext(after: disk.stepCount - before, with: .ioError)
        #expect(try failure { try insert("b", into: connection) }.kind == .ioError)
        #expect(try connection.itemNames == ["a"])
    }

    @Test func plannedFaultComesOnce() throws {
        let connection = try disk.openWithItems()
        disk.failNext(with: .ioError)
        #expect(try failure { try insert("a", into: connection) }.kind == .ioError)
        try insert("b", into: connection)
        #expect(try connection.itemNames == ["b"])
    }

    @Test func cancelledFaultNeverComes() throws {
        let connection = try disk.openWithItems()
        disk.failNext(with: .ioError)
        disk.failNextRead()
        disk.cancelFaults()
        try insert("a", into: connection)
        #expect(try disk.open().itemNames == ["a"])
    }

    @Test func failedReadIsAnIOError() throws {
        _ = try disk.openWithItems()
        let connection = try disk.open()
        disk.failNextRead()
        #expect(try failure { _ = try connection.itemNames }.kind == .ioError)
        #expect(try connection.itemNames == [])
    }

    @Test func flippedBitIsFound() throws {
        let connection = try disk.openWithItems()
        for number in 1...200 { try insert("\(number)", into: connection) }
        try connection.checkpoint(.truncate)
        // The first page's number of the freelist's pages.
        disk.corrupt(path, offset: 39, bit: 0)
        let reader = try Connection(path: path, mode: .readOnly, vfs: disk.vfsName)
        #expect(try !reader.integrityCheck().isEmpty)
    }

    // MARK: Crashes

    @Test(arguments: [Disk.Crash.processKilled, .powerLost])
    func whatWasOpenAtACrashIsDead(crash: Disk.Crash) throws {
        let connection = try disk.openWithItems()
        disk.crash(crash)
        #expect(try failure { _ = try connection.itemNames }.kind == .ioError)
        #expect(try failure { try insert("a", into: connection) }.kind == .ioError)
    }

    @Test func whatIsDeadHoldsNoLocks() throws {
        let dead = try disk.openWithItems()
        try dead.execute("BEGIN IMMEDIATE")
        disk.crash(.processKilled)
        let connection = try disk.open()
        try insert("a", into: connection)
        #expect(try connection.itemNames == ["a"])
        withExtendedLifetime(dead) {}
    }

    @Test func closingWhatIsDeadDisturbsNobody() throws {
        var dead: Connection? = try disk.openWithItems()
        try dead?.execute("BEGIN IMMEDIATE")
        disk.crash(.processKilled)
        let connection = try disk.open()
        try connection.transaction {
            dead = nil
            try insert("a", into: connection)
            let other = try disk.open()
            #expect(try failure { try insert("b", into: other) }.kind == .busy)
        }
        #expect(disk.openFileCount == 2)
        #expect(dead == nil)
    }

    @Test func plannedCrashLastsUntilTheRestart() throws {
        let connection = try disk.openWithItems()
        disk.failNext(with: .crash(.processKilled))
        #expect(try failure { try insert("a", into: connection) }.kind == .ioError)
        #expect(disk.isDown)
        #expect(try failure { _ = try disk.open() }.kind == .ioError)
        disk.restart()
        #expect(try disk.open().itemNames == [])
    }

    @Test func nothingIsAStepWhileTheDiskIsDown() throws {
        let connection = try disk.openWithItems()
        disk.failNext(with: .crash(.powerLost))
        try? insert("a", into: connection)
        let steps = disk.stepCount
        try? insert("b", into: connection)
        _ = try? disk.open()
        #expect(disk.stepCount == steps)
    }

    /// Switching to the log commits after the pragma's row: a failure there must not pass.
    @Test(arguments: 1...9)
    func openingDurablyNeverPassesOverAnError(step: Int) throws {
        let disk = Disk(seed: 1)
        defer { disk.close() }
        disk.failNext(after: step, with: .ioError)
        let steps = disk.stepCount
        do {
            let connection = try disk.open()
            let mode = try connection.prepare(uncached: "PRAGMA journal_mode").first {
                $0.text(at: 0)
            }
            #expect(mode == "wal")
            #expect(disk.stepCount - steps < step)
        } catch is SQLiteError {
            // Told, as it must be.
        }
    }
}
