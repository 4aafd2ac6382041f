import NeedModel
import SQLiteStore
package import SyncCore

extension Journal {
    /// Finds the need that a person means.
    ///
    /// - Parameter text: The whole id, or its end or its beginning, at least 4 hexadecimal digits;
    ///   hyphens are skipped. An end goes before a beginning.
    /// - Throws: ``JournalError/notFound(_:)``, ``JournalError/ambiguous(_:candidates:)``, or that
    ///   it cannot be an id at all.
    package func resolve(_ text: String) throws(JournalError) -> RecordID {
        let wanted = try Self.digits(of: text)
        return try Self.choose(wanted, text: text, among: needIDs())
    }

    /// The shortest unambiguous end of each need's id, at least 4 digits.
    package func shortIDs() throws(JournalError) -> [RecordID: String] {
        let ids = try needIDs()
        let short = ShortIDs(ids)
        return Dictionary(uniqueKeysWithValues: ids.map { ($0, short[$0]) })
    }

    /// The shortest end of an id that no other need held here has.
    package func shortID(of id: RecordID) throws(JournalError) -> String {
        var ids = try needIDs()
        if !ids.contains(id) { ids.append(id) }
        return ShortIDs(ids)[id]
    }

    static func digits(of text: String) throws(JournalError) -> String {
        let wanted = text.lowercased().filter { $0 != "-" }
        guard wanted.utf8.count <= 32, wanted.allSatisfy({ $0.isASCII && $0.isHexDigit }) else {
            throw .idMalformed(text)
        }
        guard wanted.utf8.count >= ShortIDs.digitsMin else { throw .idTooShort(text) }
        return wanted
    }

    static func choose(
        _ wanted: String, text: String, among ids: [RecordID]
    ) throws(JournalError) -> RecordID {
        let found = ShortIDs.matches(of: wanted, among: ids)
        guard let first = found.first else { throw .notFound(text) }
        guard found.count == 1 else {
            throw .ambiguous(
                text, candidates: Array(found.sorted().prefix(JournalLimits.ambiguousMax)))
        }
        return first
    }

    /// Needs that are shown, withdrawn ones too.
    private func needIDs() throws(JournalError) -> [RecordID] {
        try reading {
            var ids = Set<RecordID>()
            try connection.forEach(
                "SELECT id FROM record WHERE kind = ? AND visible = 1",
                .integer(Int64(Kind.need.rawValue))
            ) { row in
                if let id = RecordID(bytes: row.bytes(at: 0)) { ids.insert(id) }
            }
            for group in try readOutbox() where group.content.createdKind == Kind.need.rawValue {
                if ids.contains(group.record) { continue }
                if try readRecord(group.record) == nil { ids.insert(group.record) }
            }
            return ids.sorted()
        }
    }
}
