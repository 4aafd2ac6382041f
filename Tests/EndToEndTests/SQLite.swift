/// Reads and changes a database behind a program's back, through Python's sqlite3.
enum SQLite {
    static func run(_ statement: String, on path: String, in world: World) async throws {
        _ = try await rows(of: statement, on: path, in: world)
    }

    /// The rows' first columns as text.
    static func rows(
        of statement: String, on path: String, in world: World
    ) async throws -> [String] {
        let script = """
            import sqlite3, sys
            connection = sqlite3.connect(sys.argv[1])
            for row in connection.execute(sys.argv[2]):
                print(row[0])
            connection.commit()
            connection.close()
            """
        return try await world.start(["python3", "-c", script, path, statement]).end().expect(0)
            .lines
    }
}
