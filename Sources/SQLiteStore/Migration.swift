import CSQLite

/// One step of a schema's history.
package struct Migration {
    /// The schema's version after this step; from 1, ascending.
    package let version: Int32

    let apply: (Connection) throws -> Void

    /// A step that is a script.
    package init(version: Int32, sql: String) {
        self.init(version: version) { connection in try connection.execute(sql) }
    }

    /// A step that needs code; it runs in the migration's transaction and must not end it.
    package init(version: Int32, apply: @escaping (Connection) throws -> Void) {
        self.version = version
        self.apply = apply
    }
}

/// A later release of the program has been here: what it stored may mean things unknown to us.
package struct SchemaTooNew: Error, Equatable, Sendable, CustomStringConvertible {
    package let path: String
    package let found: Int32
    package let supported: Int32

    package init(path: String, found: Int32, supported: Int32) {
        self.path = path
        self.found = found
        self.supported = supported
    }

    package var description: String {
        "\(path) has schema version \(found), and this program knows versions up to \(supported)"
    }

    package var hint: String { "Upgrade the program; the file was not changed." }
}

/// The file is a database, but not of the kind that was asked for.
package struct ForeignDatabase: Error, Equatable, Sendable, CustomStringConvertible {
    package let path: String
    /// The application id in the file, 0 if it has none.
    package let found: Int32
    package let expected: Int32

    package init(path: String, found: Int32, expected: Int32) {
        self.path = path
        self.found = found
        self.expected = expected
    }

    package var description: String {
        "\(path) is a database of another program "
            + "(application id \(found) instead of \(expected))"
    }

    package var hint: String { "Check the path; the file was not changed." }
}

/// There is nothing in the file: it may have been left by a program that failed at its first step.
package struct EmptyDatabase: Error, Equatable, Sendable, CustomStringConvertible {
    package let path: String

    package init(path: String) { self.path = path }

    package var description: String { "\(path) is empty" }

    package var hint: String { "Check the path; the file was not changed." }
}

extension Connection {
    /// Brings the schema up to date, in one transaction: all the steps or none.
    ///
    /// A database that is current is only read, so this is cheap at every start and works with a
    /// read-only connection. Of several programs that start at once, one migrates.
    ///
    /// - Parameters:
    ///   - steps: The whole history, at least one step, versions ascending.
    ///   - applicationID: The number that marks this program's files; not 0. An empty database is
    ///     marked with it, any other must bear it already.
    ///   - fillsEmpty: Whether an empty database may become one of this program's.
    /// - Throws: ``SchemaTooNew``, ``ForeignDatabase``, ``EmptyDatabase``, ``SQLiteError``, or what
    ///   a step throws.
    package func migrate(
        _ steps: [Migration], applicationID expected: Int32, fillsEmpty: Bool = true
    ) throws {
        precondition(expected != 0, "0 marks the files of nobody")
        let versions = steps.map(\.version)
        guard let newest = versions.last,
            zip([0] + versions, versions).allSatisfy({ $0 < $1 })
        else { preconditionFailure("Versions ascend from 1") }

        func isNeeded() throws -> Bool {
            try needsMigration(to: newest, applicationID: expected, fillsEmpty: fillsEmpty)
        }
        guard try isNeeded() else { return }
        try transaction {
            // Once more: another program may have been faster to the lock.
            guard try isNeeded() else { return }
            let current = try userVersion
            for step in steps where step.version > current {
                try step.apply(self)
                precondition(isInTransaction, "A step must not end the migration's transaction")
            }
            try execute("PRAGMA application_id = \(expected)")
            try setUserVersion(newest)
        }
    }

    private func needsMigration(
        to newest: Int32, applicationID expected: Int32, fillsEmpty: Bool
    ) throws -> Bool {
        let found = try applicationID
        let version = try userVersion
        if found != expected {
            let isEmpty = try pragma("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)") == 1
            guard found == 0, version == 0, isEmpty else {
                throw ForeignDatabase(path: path, found: found, expected: expected)
            }
            guard fillsEmpty else { throw EmptyDatabase(path: path) }
            return true
        }
        guard version <= newest else {
            throw SchemaTooNew(path: path, found: version, supported: newest)
        }
        return version < newest
    }
}
