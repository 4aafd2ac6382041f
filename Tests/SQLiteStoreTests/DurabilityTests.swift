import Foundation
import SQLiteStore
import Testing

@Suite struct DurabilityTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    private var logByteCount: Int {
        get throws {
            let log = try FileManager.default.attributesOfItem(atPath: scratch.path + "-wal")
            return try #require(log[.size] as? Int)
        }
    }

    @Test func durableSettingsAreInForce() throws {
        let connection = try scratch.open()
        try connection.makeDurable(autocheckpointFrames: 128)
        #expect(try connection.first("PRAGMA journal_mode") { $0.text(at: 0) } == "wal")
        #expect(try connection.first("PRAGMA synchronous") { $0.integer(at: 0) } == 2)
        #expect(try connection.first("PRAGMA foreign_keys") { $0.integer(at: 0) } == 1)
        #expect(try connection.first("PRAGMA wal_autocheckpoint") { $0.integer(at: 0) } == 128)
    }

    @Test func databaseWithoutAFileIsRefused() throws {
        let connection = try Connection(path: ":memory:", mode: .readWriteCreate)
        let error = try sqliteError { try connection.makeDurable(autocheckpointFrames: 128) }
        #expect(error.description.contains("journal_mode is memory"))
    }

    @Test func closingNeitherFoldsNorDeletesTheLog() throws {
        func write() throws { try scratch.openWithItems().run("INSERT INTO item VALUES (1, 'a')") }
        try write()
        #expect(try logByteCount > 0)
        #expect(try scratch.open().itemNames == ["a"])
    }

    @Test func commitFoldsALogThatHasGrown() throws {
        let connection = try scratch.openWithItems()
        try connection.makeDurable(autocheckpointFrames: 8)
        for number in 0..<100 {
            try connection.run("INSERT INTO item (name) VALUES (?)", .text("\(number)"))
        }
        let checkpoint = try connection.checkpoint()
        #expect(checkpoint.frames < 16)
        #expect(checkpoint.foldedFrames == checkpoint.frames)
    }

    @Test func truncatingCheckpointEmptiesTheLog() throws {
        let connection = try scratch.openWithItems()
        try connection.run("INSERT INTO item VALUES (1, 'a')")
        #expect(try connection.checkpoint(.passive).frames > 0)
        try connection.checkpoint(.truncate)
        #expect(try logByteCount == 0)
        #expect(try connection.itemNames == ["a"])
    }

    @Test func truncatingCheckpointIsBusyWhileSomeoneReads() throws {
        let connection = try scratch.openWithItems(busyTimeoutMilliseconds: 0)
        let reader = try scratch.open()
        try reader.transaction(.deferred) {
            #expect(try reader.itemNames == [])
            try connection.run("INSERT INTO item VALUES (1, 'a')")
            #expect(try sqliteError { try connection.checkpoint(.truncate) }.kind == .busy)
        }
    }

    @Test func programsThatStartAtOnceAllOpenANewDatabase() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask { [scratch] in _ = try scratch.openWithItems() }
            }
            try await group.waitForAll()
        }
        #expect(try scratch.open().itemNames == [])
    }
}
