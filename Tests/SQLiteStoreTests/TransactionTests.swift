import SQLiteStore
import Testing

@Suite struct TransactionTests {
    let scratch: Scratch
    let connection: Connection

    init() throws {
        scratch = try Scratch()
        connection = try scratch.openWithItems()
    }

    private func insert(_ name: String) throws {
        try connection.run("INSERT INTO item (name) VALUES (?)", .text(name))
    }

    /// Leaves room for a few pages, so that ``fill()`` fails with a full disk.
    private func limitSize() throws {
        let pages = try connection.first("PRAGMA page_count") { $0.integer(at: 0) } ?? 0
        try connection.execute("PRAGMA max_page_count = \(pages + 4)")
    }

    private func fill() throws {
        for number in 0..<100 { try insert("\(number)" + String(repeating: "x", count: 2_000)) }
    }

    @Test func commitIsSeenByOthers() throws {
        let result = try connection.transaction {
            try insert("a")
            return 7
        }
        #expect(result == 7)
        #expect(try scratch.open().itemNames == ["a"])
    }

    @Test(arguments: [Connection.TransactionKind.immediate, .deferred])
    func errorRollsBack(_ kind: Connection.TransactionKind) throws {
        #expect(throws: Deliberate.self) {
            try connection.transaction(kind) {
                try insert("a")
                throw Deliberate()
            }
        }
        #expect(!connection.isInTransaction)
        #expect(try connection.itemNames == [])
    }

    @Test func deferredTransactionSeesOneState() throws {
        let other = try scratch.open()
        try connection.transaction(.deferred) {
            #expect(try connection.itemNames == [])
            try other.run("INSERT INTO item VALUES (1, 'a')")
            #expect(try connection.itemNames == [])
        }
        #expect(try connection.itemNames == ["a"])
    }

    @Test func failedSavepointUndoesOnlyItsOwnPart() throws {
        try connection.transaction {
            try insert("a")
            try connection.savepoint {
                try insert("b")
                #expect(throws: Deliberate.self) {
                    try connection.savepoint {
                        try insert("c")
                        throw Deliberate()
                    }
                }
            }
            try connection.savepoint { try insert("d") }
        }
        #expect(try connection.itemNames == ["a", "b", "d"])
    }

    @Test func savepointAloneIsATransaction() throws {
        try connection.savepoint { try insert("a") }
        #expect(!connection.isInTransaction)
        #expect(throws: Deliberate.self) {
            try connection.savepoint {
                try insert("b")
                throw Deliberate()
            }
        }
        #expect(!connection.isInTransaction)
        #expect(try scratch.open().itemNames == ["a"])
    }

    @Test func fullDiskRollsBackAndTheConnectionLivesOn() throws {
        try limitSize()
        let error = try sqliteError { try connection.transaction { try fill() } }
        #expect(error.kind == .full)
        #expect(!connection.isInTransaction)
        #expect(try connection.itemNames == [])
        try connection.transaction { try insert("a") }
        #expect(try connection.itemNames == ["a"])
        #expect(try connection.integrityCheck() == [])
    }

    @Test func fullDiskInSavepointsRollsBackEverything() throws {
        try limitSize()
        let error = try sqliteError {
            try connection.transaction {
                try insert("a")
                try connection.savepoint { try connection.savepoint { try fill() } }
            }
        }
        #expect(error.kind == .full)
        #expect(!connection.isInTransaction)
        #expect(try connection.itemNames == [])
    }

    @Test func swallowingTheErrorThatEndedATransactionDoesNotPassForACommit() throws {
        try limitSize()
        let error = try sqliteError {
            try connection.transaction {
                try insert("a")
                try? fill()
            }
        }
        #expect(error.description.contains("had already ended the transaction"))
        #expect(try connection.itemNames == [])
    }

    @Test func foreignKeyFailureAtCommitRollsBack() throws {
        try connection.execute(
            """
            CREATE TABLE note (
                item INTEGER REFERENCES item DEFERRABLE INITIALLY DEFERRED
            ) STRICT
            """)
        let error = try sqliteError {
            try connection.transaction { try connection.run("INSERT INTO note VALUES (99)") }
        }
        #expect(error.kind == .constraint)
        #expect(!connection.isInTransaction)
        #expect(try connection.first("SELECT count(*) FROM note") { $0.integer(at: 0) } == 0)
    }
}
