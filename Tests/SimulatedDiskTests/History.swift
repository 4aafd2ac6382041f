import SQLiteStore
import SimulatedDisk
import Testing

/// The database of most tests.
let path = "/data/store.db"

extension Disk {
    /// Opens the database as production does.
    func open(
        autocheckpointFrames: Int32 = 1_000, busyTimeoutMilliseconds: Int32 = 0
    ) throws -> Connection {
        let connection = try Connection(
            path: path, mode: .readWriteCreate,
            busyTimeoutMilliseconds: busyTimeoutMilliseconds, vfs: vfsName)
        try connection.makeDurable(autocheckpointFrames: autocheckpointFrames)
        try? connection.emptyLog(longerThan: autocheckpointFrames)
        return connection
    }

    /// Opens the database and creates the table `item (id, name)`.
    func openWithItems() throws -> Connection {
        let connection = try open()
        try connection.execute(
            "CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, name TEXT) STRICT")
        return connection
    }
}

extension Connection {
    var itemNames: [String] {
        get throws { try all("SELECT name FROM item ORDER BY id") { $0.text(at: 0) } }
    }
}

/// A repeatable source of a test's choices.
struct Choices: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: Int) { state = UInt64(seed) &* 0x9e37_79b9_7f4a_7c15 }

    mutating func next() -> UInt64 {
        state ^= state >> 12 ^ 0x2545_f491
        state = state &* 0xd129_42f1_1f7b_4d35 &+ 0x1405_7b7e_f767_814f
        return state ^ state >> 29
    }

    mutating func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self) }
    mutating func oneIn(_ count: Int) -> Bool { number(1...count) == 1 }
}

/// Random transactions on a disk, whose every state is known beforehand: transaction n writes `n`
/// into `done` and into a few of 40 items, with a body of a length that follows from both.
final class History {
    enum Logging {
        /// As production has it.
        case durable
        /// The log is never synced.
        case unsynced
        /// No log: the old pages go to a journal, whose deletion is the commit.
        case rollbackJournal
    }

    let disk: Disk
    var choices: Choices
    /// Transactions that said they were committed.
    private(set) var committed = 0
    private let logging: Logging
    /// The items, id to transaction, after each transaction; a failed one is the last.
    private var states: [[Int: Int]] = [[:]]

    init(seed: Int, _ logging: Logging = .durable) {
        disk = Disk(seed: UInt64(seed))
        choices = Choices(seed)
        self.logging = logging
    }

    /// Opens the database and runs transactions until one fails.
    ///
    /// - Returns: Whether all went well.
    func run(transactions: Int) -> Bool {
        do {
            var connection = try open()
            for _ in 0..<transactions {
                if choices.oneIn(8) { connection = try open() }
                if choices.oneIn(12) { try connection.checkpoint(.passive) }
                if choices.oneIn(20) { try connection.checkpoint(.truncate) }
                try commit(on: connection)
            }
            return true
        } catch {
            return false
        }
    }

    private func open() throws -> Connection {
        let connection = try disk.open(autocheckpointFrames: Int32(choices.number(2...60)))
        switch logging {
        case .durable: break
        case .unsynced: try connection.execute("PRAGMA synchronous = OFF")
        case .rollbackJournal:
            // EXTRA, because FULL does not sync the directory that the journal was deleted from.
            try connection.execute("PRAGMA journal_mode = DELETE; PRAGMA synchronous = EXTRA")
        }
        // So small that large transactions spill into the log before they commit.
        try connection.execute("PRAGMA cache_size = 5")
        try connection.transaction {
            try connection.execute(
                """
                CREATE TABLE IF NOT EXISTS done (id INTEGER PRIMARY KEY) STRICT;
                CREATE TABLE IF NOT EXISTS item
                    (id INTEGER PRIMARY KEY, version INTEGER, body BLOB) STRICT;
                CREATE INDEX IF NOT EXISTS item_version ON item (version);
                """)
        }
        return connection
    }

    private func commit(on connection: Connection) throws {
        let number = committed + 1
        var state = states[committed]
        states.removeLast(states.count - number)
        for _ in 0..<(choices.oneIn(6) ? 30 : choices.number(1...4)) {
            state[choices.number(1...40)] = number
        }
        states.append(state)
        try connection.transaction {
            try connection.run("INSERT INTO done VALUES (?)", .integer(Int64(number)))
            for (id, version) in state.sorted(by: { $0.key < $1.key }) where version == number {
                try connection.run(
                    "INSERT OR REPLACE INTO item VALUES (?, ?, ?)", .integer(Int64(id)),
                    .integer(Int64(version)), .bytes(body(id, version)))
            }
        }
        committed = number
    }

    private func body(_ id: Int, _ version: Int) -> [UInt8] {
        Array(repeating: UInt8(truncatingIfNeeded: version), count: (id * version * 37) % 3_000)
    }

    /// Reads the database anew, and says what is wrong with it.
    ///
    /// - Returns: A complaint; `nil` if the file is sound and holds exactly what was committed,
    ///   with or without the transaction that failed.
    func complaint() throws -> String? {
        let connection = try Connection(
            path: path, mode: .readWriteCreate, busyTimeoutMilliseconds: 0, vfs: disk.vfsName)
        let damage = try connection.integrityCheck()
        guard damage.isEmpty else { return "damaged: \(damage[0])" }
        let hasTables =
            try connection.first("SELECT count(*) FROM sqlite_schema") { $0.integer(at: 0) } ?? 0
        guard hasTables > 0 else {
            return committed == 0 ? nil : "no tables after \(committed) commits"
        }
        let numbers = try connection.all("SELECT id FROM done ORDER BY id") {
            Int($0.integer(at: 0))
        }
        let found = numbers.count
        guard numbers == Array(1..<(found + 1)) else { return "holes among \(numbers)" }
        guard found >= committed else { return "\(found) of \(committed) commits are there" }
        guard found < states.count else { return "\(found) commits, \(committed) were made" }
        var state: [Int: Int] = [:]
        try connection.forEach("SELECT id, version, body FROM item") { row in
            let id = Int(row.integer(at: 0))
            let version = Int(row.integer(at: 1))
            state[id] = row.bytes(at: 2) == self.body(id, version) ? version : -1
        }
        guard state == states[found] else { return "not the state after commit \(found)" }
        committed = found
        return nil
    }
}
