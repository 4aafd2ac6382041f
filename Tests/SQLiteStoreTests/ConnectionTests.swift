import Foundation
import SQLiteStore
import Testing

@Suite struct ConnectionTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    @Test func modesThatDoNotCreateRefuseAMissingFile() throws {
        for mode in [Connection.Mode.readOnly, .readWrite] {
            let error = try sqliteError { _ = try scratch.open(mode: mode) }
            #expect(error.kind == .cannotOpen)
            #expect(error.description.contains(scratch.path))
        }
        #expect(try scratch.fileNames.isEmpty)
    }

    @Test func readOnlyConnectionReadsAndRefusesToWrite() throws {
        try scratch.openWithItems().run("INSERT INTO item VALUES (1, 'a')")
        let connection = try scratch.open(mode: .readOnly)
        let error = try sqliteError { try connection.run("DELETE FROM item") }
        #expect(error.kind == .readOnly)
        #expect(try connection.itemNames == ["a"])
    }

    // The superuser may write to any file.
    @Test(.enabled(if: geteuid() != 0)) func fileWithoutWritePermissionIsRefusedAtOnce() throws {
        _ = try scratch.openWithItems()
        try FileManager.default.setAttributes(
            [.posixPermissions: 0o444], ofItemAtPath: scratch.path)
        let error = try sqliteError { _ = try scratch.open() }
        #expect(error.kind == .readOnly)
    }

    @Test func anotherKindOfFileIsRefusedAndUntouched() throws {
        let content = Data(String(repeating: "no database, just a letter\n", count: 100).utf8)
        try content.write(to: URL(fileURLWithPath: scratch.path))
        let error = try sqliteError {
            try scratch.open().makeDurable(autocheckpointFrames: 1_000)
        }
        #expect(error.kind == .notADatabase)
        #expect(try Data(contentsOf: URL(fileURLWithPath: scratch.path)) == content)
    }

    @Test func damagedPageIsFoundByTheIntegrityCheck() throws {
        let connection = try scratch.openWithItems()
        for name in 0..<500 {
            try connection.run("INSERT INTO item (name) VALUES (?)", .text("\(name)"))
        }
        #expect(try connection.integrityCheck() == [])
        try connection.checkpoint(.truncate)

        let file = try FileHandle(forUpdating: URL(fileURLWithPath: scratch.path))
        try file.seek(toOffset: 2 * 4096)
        try file.write(contentsOf: Data(repeating: 0x5a, count: 4096))
        try file.close()
        #expect(try scratch.open().integrityCheck() != [])
    }

    @Test func countsChangesAndRemembersTheLastRow() throws {
        let connection = try scratch.openWithItems()
        try connection.run("INSERT INTO item VALUES (7, 'a'), (9, 'b')")
        #expect(connection.changes == 2)
        #expect(connection.lastInsertedRow == 9)
        try connection.run("DELETE FROM item WHERE id = ?", 7)
        #expect(connection.changes == 1)
        #expect(connection.totalChanges == 3)
    }

    @Test func userVersionIsReadBack() throws {
        let connection = try scratch.open()
        #expect(try connection.userVersion == 0)
        try connection.setUserVersion(41)
        #expect(try connection.userVersion == 41)
        #expect(try scratch.open().userVersion == 41)
    }

    @Test func scriptRunsAllItsStatementsAndSkipsComments() throws {
        let connection = try scratch.openWithItems()
        try connection.execute(
            """
            -- two rows
            INSERT INTO item VALUES (1, 'a;b'); SELECT 1;
            INSERT INTO item VALUES (2, '驿站') -- the last
            """)
        #expect(try connection.itemNames == ["a;b", "驿站"])
        try connection.execute("")
    }

    @Test func lockedDatabaseIsBusy() throws {
        let holder = try scratch.openWithItems()
        let other = try scratch.open(busyTimeoutMilliseconds: 1)
        try holder.transaction {
            try holder.run("INSERT INTO item VALUES (1, 'a')")
            let error = try sqliteError { try other.transaction {} }
            #expect(error.kind == .busy)
            #expect(!other.isInTransaction)
        }
        try other.transaction { try other.run("INSERT INTO item VALUES (2, 'b')") }
        #expect(try holder.itemNames == ["a", "b"])
    }

    @Test func busyTimeoutLetsAWriterWaitForItsTurn() async throws {
        let holder = try scratch.openWithItems()
        try holder.run("BEGIN IMMEDIATE")
        let waiter = Task.detached { [scratch] in
            let connection = try scratch.open()
            try connection.transaction { try connection.run("INSERT INTO item VALUES (2, 'b')") }
        }
        try holder.run("INSERT INTO item VALUES (1, 'a')")
        try holder.run("COMMIT")
        try await waiter.value
        #expect(try holder.itemNames == ["a", "b"])
    }

    @Test func errorsShowTheSQLButNoValue() throws {
        let connection = try scratch.openWithItems()
        try connection.run("INSERT INTO item VALUES (1, ?)", "secret")
        let constraint = try sqliteError {
            try connection.run("INSERT INTO item VALUES (2, ?)", "secret")
        }
        #expect(constraint.kind == .constraint)
        #expect(
            constraint.description
                == "INSERT INTO item VALUES (2, ?): UNIQUE constraint failed: item.name")

        // SQLite's own message quotes the value here.
        let path = try sqliteError {
            _ = try connection.first("SELECT json_extract('{}', ?)", "secret") { $0.isNull(at: 0) }
        }
        #expect(!path.description.contains("secret"))
        #expect(path.kind == .other)

        let syntax = try sqliteError { try connection.run("SELEKT 1") }
        #expect(syntax.description == #"SELEKT 1: near "SELEKT": syntax error"#)
    }
}
