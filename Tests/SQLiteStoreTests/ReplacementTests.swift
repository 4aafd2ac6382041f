import Foundation
import Glibc
import SQLiteStore
import Testing

/// One database in place of another. What a kill at each step leaves is tested with the real
/// programs.
@Suite struct ReplacementTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    private var new: String { scratch.directory + "/new.db" }
    private var kept: String { scratch.directory + "/kept.db" }

    /// A durable database with one item, whose newest commit stands in the log only.
    private func make(_ path: String, holding name: String) throws {
        let connection = try Connection(path: path, mode: .readWriteCreate)
        try connection.makeDurable(autocheckpointFrames: 0)
        try connection.execute(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE) STRICT")
        try connection.run("INSERT INTO item (name) VALUES (?)", .text(name))
    }

    private func names(in path: String) throws -> [String] {
        try Connection(path: path, mode: .readWrite).itemNames
    }

    @Test func foldingLeavesOneFileWithEverything() throws {
        try make(scratch.path, holding: "a")
        #expect(try scratch.fileNames.count == 3)
        try DatabaseFile.fold(scratch.path)
        #expect(try scratch.fileNames == ["store.db"])
        #expect(try names(in: scratch.path) == ["a"])
    }

    @Test func foldingWaitsForNobody() throws {
        try make(scratch.path, holding: "a")
        let other = try scratch.open()
        #expect(try other.itemNames == ["a"])
        #expect(try sqliteError { try DatabaseFile.fold(scratch.path) }.kind == .busy)
        #expect(try other.itemNames == ["a"])
    }

    @Test func formerDatabaseIsKeptWithWhatStoodInItsLog() throws {
        try make(scratch.path, holding: "former")
        try make(new, holding: "new")
        try DatabaseFile.fold(new)
        try DatabaseFile.replace(scratch.path, with: new, keepingAs: kept)
        #expect(try scratch.fileNames == ["kept.db", "store.db"])
        #expect(try names(in: scratch.path) == ["new"])
        #expect(try names(in: kept) == ["former"])
    }

    @Test func missingDatabaseIsReplaced() throws {
        try make(new, holding: "new")
        try DatabaseFile.fold(new)
        try DatabaseFile.replace(scratch.path, with: new, keepingAs: kept)
        #expect(try scratch.fileNames == ["store.db"])
        #expect(try names(in: scratch.path) == ["new"])
    }

    /// SQLite would apply the former one's log to the new one.
    @Test func logOfAMissingDatabaseTouchesNothing() throws {
        try make(scratch.path, holding: "former")
        unlink(scratch.path)
        try make(new, holding: "new")
        try DatabaseFile.fold(new)
        try DatabaseFile.replace(scratch.path, with: new, keepingAs: kept)
        #expect(try scratch.fileNames == ["kept.db-wal", "store.db"])
        #expect(try names(in: scratch.path) == ["new"])
    }

    @Test func damagedDatabaseIsKeptAsItIs() throws {
        let garbage = Data(repeating: 0x41, count: 5_000)
        try garbage.write(to: URL(filePath: scratch.path))
        try garbage.write(to: URL(filePath: scratch.path + "-wal"))
        try make(new, holding: "new")
        try DatabaseFile.fold(new)
        try DatabaseFile.replace(scratch.path, with: new, keepingAs: kept)
        #expect(try names(in: scratch.path) == ["new"])
        #expect(try Data(contentsOf: URL(filePath: kept)) == garbage)
    }

    @Test func openDatabaseIsNotReplaced() throws {
        try make(scratch.path, holding: "former")
        try make(new, holding: "new")
        try DatabaseFile.fold(new)
        let other = try scratch.open()
        #expect(try other.itemNames == ["former"])
        let error = try sqliteError {
            try DatabaseFile.replace(scratch.path, with: new, keepingAs: kept)
        }
        #expect(error.kind == .busy)
        try other.run("INSERT INTO item (name) VALUES ('more')")
        #expect(try other.itemNames == ["former", "more"])
    }

    @Test func copyHasTheLogAndTheModelsPermissions() throws {
        try make(scratch.path, holding: "a")
        let model = scratch.directory + "/model"
        try Data().write(to: URL(filePath: model))
        chmod(model, 0o640)
        let before = try Data(contentsOf: URL(filePath: scratch.path + "-wal"))
        try DatabaseFile.copy(scratch.path, to: new, ownedLike: model)
        var status = stat()
        #expect(stat(new, &status) == 0 && status.st_mode & 0o777 == 0o640)
        #expect(try names(in: new) == ["a"])
        #expect(try Data(contentsOf: URL(filePath: scratch.path + "-wal")) == before)
    }

    @Test func databaseLeftInTheMiddleOfAChangeIsNotCopied() throws {
        try make(scratch.path, holding: "a")
        try Data().write(to: URL(filePath: scratch.path + "-journal"))
        #expect(
            try sqliteError {
                try DatabaseFile.copy(scratch.path, to: new, ownedLike: nil)
            }.kind == .cannotOpen)
        #expect(!FileManager.default.fileExists(atPath: new))
    }

    // MARK: Locks

    private func lock(_ mode: FileLock.Mode) throws -> FileLock {
        let path = scratch.directory + "/lock"
        return try FileLock(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600), mode, path: path)
    }

    @Test func lockIsSharedOrAlone() throws {
        var shared: [FileLock]? = [try lock(.shared), try lock(.shared)]
        #expect(shared?.count == 2)
        #expect(try sqliteError { _ = try lock(.exclusive) }.kind == .busy)
        shared = nil
        let alone = try lock(.exclusive)
        #expect(try sqliteError { _ = try lock(.shared) }.kind == .busy)
        #expect(try sqliteError { _ = try lock(.exclusive) }.kind == .busy)
        withExtendedLifetime(alone) {}
    }
}
