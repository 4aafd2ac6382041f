import Foundation
import SQLiteStore
import Testing

@Suite struct BackupTests {
    let scratch: Scratch
    let connection: Connection

    init() throws {
        scratch = try Scratch()
        connection = try scratch.openWithItems()
        try connection.transaction {
            for number in 0..<2_000 {
                try connection.run("INSERT INTO item (name) VALUES (?)", .text("name \(number)"))
            }
        }
    }

    private var target: String { scratch.directory + "/copy.db" }

    private func countInCopy() throws -> Int64? {
        let copy = try Connection(path: target, mode: .readOnly)
        #expect(try copy.integrityCheck() == [])
        return try copy.first("SELECT count(*) FROM item") { $0.integer(at: 0) }
    }

    @Test func copyIsWholeAndAlone() throws {
        try connection.backup(to: target)
        let names = try scratch.fileNames.filter { $0.hasPrefix("copy") }
        #expect(names == ["copy.db"])
        #expect(try countInCopy() == 2_000)
    }

    @Test func copyCanBeOpenedForWriting() throws {
        try connection.backup(to: target)
        let copy = try Connection(path: target, mode: .readWrite)
        try copy.makeDurable(autocheckpointFrames: 128)
        try copy.run("INSERT INTO item (name) VALUES ('new')")
        #expect(try copy.itemNames.count == 2_001)
    }

    @Test func copyIsOfOneStateWhileAnotherConnectionWrites() throws {
        let writer = try scratch.open()
        var steps = 0
        try connection.backup(to: target, pagesPerStep: 4) { remaining, total in
            steps += 1
            #expect(remaining < total)
            try writer.run("INSERT INTO item (name) VALUES (?)", .text("meanwhile \(steps)"))
            try writer.run("UPDATE item SET name = name || '!' WHERE id = 1")
        }
        #expect(steps > 3)
        #expect(try countInCopy() == 2_000)
        #expect(try connection.itemNames.count == 2_000 + steps)
    }

    @Test func givingUpLeavesNoFile() throws {
        #expect(throws: Deliberate.self) {
            try connection.backup(to: target, pagesPerStep: 1) { _, _ in throw Deliberate() }
        }
        #expect(try scratch.fileNames.filter { $0.hasPrefix("copy") } == [])
        #expect(!connection.isInTransaction)
        try connection.run("INSERT INTO item (name) VALUES ('still alive')")
    }

    @Test func earlierBackupIsReplaced() throws {
        try connection.backup(to: target)
        try connection.run("DELETE FROM item WHERE id > 5")
        try connection.backup(to: target)
        #expect(try countInCopy() == 5)
    }

    @Test func databaseInUseIsNotReplaced() throws {
        let error = try sqliteError { try connection.backup(to: scratch.path) }
        #expect(error.kind == .cannotOpen)
        #expect(try connection.itemNames.count == 2_000)
    }

    @Test func missingDirectoryIsNamed() throws {
        let error = try sqliteError {
            try connection.backup(to: scratch.directory + "/none/copy.db")
        }
        #expect(error.kind == .cannotOpen)
        #expect(error.description.contains("/none/copy.db"))
    }

    @Test func copyIsAsPrivateAsTheOriginal() throws {
        try FileManager.default.setAttributes(
            [.posixPermissions: 0o600], ofItemAtPath: scratch.path)
        try connection.backup(to: target)
        let permissions = try FileManager.default.attributesOfItem(atPath: target)[
            .posixPermissions]
        #expect(permissions as? Int == 0o600)
    }
}
