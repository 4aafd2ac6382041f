import SQLiteStore
import Testing

@Suite struct MigrationTests {
    let scratch: Scratch
    let applicationID: Int32 = 0x5761_7973

    init() throws { scratch = try Scratch() }

    private let first = Migration(version: 1, sql: "CREATE TABLE item (id INTEGER, name TEXT)")
    private let second = Migration(version: 2) { connection in
        try connection.run("INSERT INTO item VALUES (1, 'from the second step')")
    }

    @Test func newDatabaseGoesThroughAllSteps() throws {
        let connection = try scratch.open()
        try connection.migrate([first, second], applicationID: applicationID)
        #expect(try connection.userVersion == 2)
        #expect(try connection.applicationID == applicationID)
        #expect(try connection.itemNames == ["from the second step"])
    }

    @Test func olderDatabaseGoesThroughTheStepsItLacks() throws {
        try scratch.open().migrate([first], applicationID: applicationID)
        let connection = try scratch.open()
        try connection.migrate([first, second], applicationID: applicationID)
        #expect(try connection.userVersion == 2)
    }

    @Test func currentDatabaseIsOnlyRead() throws {
        try scratch.open().migrate([first, second], applicationID: applicationID)
        let connection = try scratch.open(mode: .readOnly)
        try connection.migrate([first, second], applicationID: applicationID)
        #expect(try connection.itemNames.count == 1)
    }

    @Test func newerDatabaseIsRefused() throws {
        try scratch.open().migrate([first, second], applicationID: applicationID)
        let error = SchemaTooNew(path: scratch.path, found: 2, supported: 1)
        #expect(throws: error) {
            try scratch.open().migrate([first], applicationID: applicationID)
        }
    }

    @Test func emptyDatabaseIsLeftEmptyUnlessItMayBeFilled() throws {
        let connection = try scratch.open()
        #expect(throws: EmptyDatabase(path: scratch.path)) {
            try connection.migrate([first], applicationID: applicationID, fillsEmpty: false)
        }
        #expect(try connection.applicationID == 0)
        try connection.migrate([first], applicationID: applicationID)
        try connection.migrate([first], applicationID: applicationID, fillsEmpty: false)
    }

    @Test func databaseOfAnotherProgramIsRefusedAndUntouched() throws {
        let connection = try scratch.open()
        try connection.execute("PRAGMA application_id = 77")
        #expect(throws: ForeignDatabase(path: scratch.path, found: 77, expected: applicationID)) {
            try connection.migrate([first], applicationID: applicationID)
        }
        #expect(try connection.applicationID == 77)
        #expect(try connection.userVersion == 0)
    }

    @Test func unmarkedDatabaseWithTablesIsRefused() throws {
        let connection = try scratch.open()
        try connection.execute("CREATE TABLE theirs (x)")
        #expect(throws: ForeignDatabase(path: scratch.path, found: 0, expected: applicationID)) {
            try connection.migrate([first], applicationID: applicationID)
        }
    }

    @Test func failingStepLeavesNothingBehind() throws {
        let connection = try scratch.open()
        let failing = Migration(version: 2) { _ in throw Deliberate() }
        #expect(throws: Deliberate.self) {
            try connection.migrate([first, failing], applicationID: applicationID)
        }
        #expect(try connection.userVersion == 0)
        #expect(try connection.applicationID == 0)
        try connection.migrate([first, second], applicationID: applicationID)
        #expect(try connection.itemNames.count == 1)
    }
}
