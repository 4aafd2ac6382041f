import Foundation
import SQLiteStore
import Testing

/// A directory of a test's own, removed when the test lets go of it.
final class Scratch: Sendable {
    let directory: String

    init() throws {
        let url = FileManager.default.temporaryDirectory
            .appendingPathComponent("SQLiteStoreTests-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        directory = url.path
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    /// The path of the database that most tests use.
    var path: String { directory + "/store.db" }

    func open(
        mode: Connection.Mode = .readWriteCreate, busyTimeoutMilliseconds: Int32 = 30_000
    ) throws -> Connection {
        try Connection(
            path: path, mode: mode, busyTimeoutMilliseconds: busyTimeoutMilliseconds)
    }

    /// A durable database with the table `item (id, name)`.
    func openWithItems(busyTimeoutMilliseconds: Int32 = 30_000) throws -> Connection {
        let connection = try open(busyTimeoutMilliseconds: busyTimeoutMilliseconds)
        try connection.makeDurable(autocheckpointFrames: 1_000)
        try connection.execute(
            "CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, name TEXT UNIQUE) STRICT")
        return connection
    }

    var fileNames: [String] {
        get throws { try FileManager.default.contentsOfDirectory(atPath: directory).sorted() }
    }
}

extension Connection {
    var itemNames: [String] {
        get throws { try all("SELECT name FROM item ORDER BY id") { $0.text(at: 0) } }
    }
}

/// What a test's closure throws on purpose.
struct Deliberate: Error, Equatable {}

/// Returns the SQLite error that the call must throw.
func sqliteError(
    sourceLocation: SourceLocation = #_sourceLocation, _ call: () throws -> Void
) throws -> SQLiteError {
    try #require(throws: SQLiteError.self, sourceLocation: sourceLocation, performing: call)
}
