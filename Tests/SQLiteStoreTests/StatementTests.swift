import SQLiteStore
import Testing

@Suite struct StatementTests {
    let scratch: Scratch
    let connection: Connection

    init() throws {
        scratch = try Scratch()
        connection = try scratch.openWithItems()
        try connection.execute("INSERT INTO item VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    }

    @Test(arguments: ["", "plain", "求助：三号楼缺水", "nul\0inside\0", "👩‍👩‍👧 é e\u{301}"])
    func textComesBackAsItWas(_ text: String) throws {
        let read = try connection.first("SELECT ?, typeof(?1)", .text(text)) {
            ($0.text(at: 0), $0.text(at: 1))
        }
        #expect(read.map { Array($0.0.utf8) } == Array(text.utf8))
        #expect(read?.1 == "text")
    }

    @Test(arguments: [[], [0], [1, 0, 2, 0xff], Array(repeating: 7, count: 100_000)] as [[UInt8]])
    func bytesComeBackAsTheyWere(_ bytes: [UInt8]) throws {
        let statement = try connection.prepare("SELECT ?, typeof(?1)")
        let copied = try statement.first(.bytes(bytes)) { ($0.bytes(at: 0), $0.text(at: 1)) }
        #expect(copied?.0 == bytes)
        #expect(copied?.1 == "blob")
        let lent = try bytes.withUnsafeBytes { buffer in
            try statement.withBytes(1, buffer) {
                try statement.first { ($0.bytes(at: 0), $0.text(at: 1)) }
            }
        }
        #expect(lent?.0 == bytes)
        #expect(lent?.1 == "blob")
        let afterwards = try statement.first { $0.isNull(at: 0) }
        #expect(afterwards == true)
    }

    @Test(arguments: [0, 1, -1, .max, .min] as [Int64])
    func integersComeBackAsTheyWere(_ value: Int64) throws {
        #expect(try connection.first("SELECT ?", .integer(value)) { $0.integer(at: 0) } == value)
    }

    @Test func literalsBindAsTheirTypes() throws {
        let types = try connection.first(
            "SELECT typeof(?), typeof(?), typeof(?), typeof(?), typeof(?)", 1, 1.5, "x", nil, true
        ) { row in (0..<5).map { row.text(at: $0) } }
        #expect(types == ["integer", "real", "text", "null", "integer"])
    }

    @Test func singleBindsTakeEveryType() throws {
        let statement = try connection.prepare("SELECT ?, ?, ?, ?, ?, ?, ?")
        try statement.bind(1, 5)
        try statement.bind(2, 6 as Int64)
        try statement.bind(3, true)
        try statement.bind(4, 0.25)
        try statement.bind(5, "x")
        try statement.bind(6, [1, 2] as [UInt8])
        try statement.bind(7, nil)
        let hasRow = try statement.step()
        #expect(hasRow)
        let integers = [statement.optionalInteger(at: 0), statement.integer(at: 1)]
        #expect(integers == [5, 6])
        let (truth, real) = (statement.bool(at: 2), statement.optionalReal(at: 3))
        #expect(truth)
        #expect(real == 0.25)
        let (text, bytes) = (statement.optionalText(at: 4), statement.optionalBytes(at: 5))
        #expect(text == "x")
        #expect(bytes == [1, 2])
        let (isNull, absent) = (statement.isNull(at: 6), statement.optionalText(at: 6))
        #expect(isNull)
        #expect(absent == nil)
        let hasAnother = try statement.step()
        #expect(!hasAnother)
    }

    @Test func optionalsBindTheirValueOrNull() {
        #expect(SQLValue(3 as Int?) == 3)
        #expect(SQLValue("x" as String?) == "x")
        #expect(SQLValue(nil as [UInt8]?) == nil)
    }

    @Test func firstWithoutARowIsNil() throws {
        let name = try connection.first("SELECT name FROM item WHERE id = ?", 99) { $0.text(at: 0) }
        #expect(name == nil)
    }

    @Test func cachedStatementForgetsItsLastValues() throws {
        func name(_ bind: Bool) throws -> String? {
            let statement = try connection.prepare("SELECT name FROM item WHERE id = ?")
            if bind { try statement.bind(1, 2) }
            return try statement.first { $0.text(at: 0) }
        }
        #expect(try name(true) == "b")
        #expect(try name(false) == nil)
    }

    @Test func oneSQLTextCanRunInsideItself() throws {
        func visit(_ depth: Int) throws -> [String] {
            guard depth > 0 else { return ["."] }
            return try connection.all("SELECT name FROM item ORDER BY id") { row in
                let name = row.text(at: 0)
                return try visit(depth - 1).map { name + $0 }
            }.flatMap { $0 }
        }
        #expect(
            try visit(2) == ["aa.", "ab.", "ac.", "ba.", "bb.", "bc.", "ca.", "cb.", "cc."])
    }

    @Test func abandonedQueryHoldsNoTransactionOpen() throws {
        func abandon() throws {
            let statement = try connection.prepare("SELECT name FROM item")
            _ = try statement.step()
            throw Deliberate()
        }
        #expect(throws: Deliberate.self) { try abandon() }
        #expect(throws: Deliberate.self) {
            try connection.forEach("SELECT name FROM item") { _ in throw Deliberate() }
        }
        // An open reader would make it busy.
        let other = try scratch.open(busyTimeoutMilliseconds: 0)
        #expect(try other.checkpoint(.truncate).frames == 0)
    }

    @Test func failedStatementCanBeUsedAgain() throws {
        let statement = try connection.prepare("INSERT INTO item (name) VALUES (?)")
        let error = try sqliteError { try statement.run("a") }
        #expect(error.kind == .constraint)
        try statement.run("d")
        #expect(try connection.itemNames == ["a", "b", "c", "d"])
    }

    @Test func statementBuiltAtRunTimeTakesValues() throws {
        let ids: [Int64] = [1, 3]
        let marks = ids.map { _ in "?" }.joined(separator: ", ")
        let statement = try connection.prepare(
            uncached: "SELECT name FROM item WHERE id IN (\(marks)) ORDER BY id")
        try statement.bind(ids.map { .integer($0) })
        let names = try statement.all { $0.text(at: 0) }
        #expect(names == ["a", "c"])
    }

    @Test func statementOutlivesItsConnection() throws {
        func open() throws -> Statement {
            try scratch.open().prepare("SELECT count(*) FROM item")
        }
        let statement = try open()
        let count = try statement.first { $0.integer(at: 0) }
        #expect(count == 3)
    }
}
