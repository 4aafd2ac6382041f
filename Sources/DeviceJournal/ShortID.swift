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
        // An end goes before a beginning, and ends are looked up.
        if let end = UInt16(wanted.suffix(ShortIDs.digitsMin), radix: 16) {
            let alike = try reading { try needIDs(ending: end) }
            if alike.contains(where: { $0.digits.hasSuffix(wanted) }) {
                return try Self.choose(wanted, text: text, among: alike)
            }
        }
        return try Self.choose(wanted, text: text, among: needIDs())
    }

    /// The shortest unambiguous end of each need's id, at least 4 digits, or its beginning; see
    /// ``ShortIDs``.
    package func shortIDs() throws(JournalError) -> [RecordID: String] {
        let ids = try needIDs()
        let short = ShortIDs(ids)
        return Dictionary(uniqueKeysWithValues: ids.map { ($0, short[$0]) })
    }

    /// How ``shortIDs()`` names one need.
    package func shortID(of id: RecordID) throws(JournalError) -> String {
        // Only those that share the fewest digits shown can make it longer.
        let alike = try reading { try needIDs(ending: UInt16(truncatingIfNeeded: id.low)) }
        let isHeld = alike.contains(id)
        return try ShortIDs(isHeld ? alike : alike + [id]) { () throws(JournalError) in
            try needIDs() + (isHeld ? [] : [id])
        }[id]
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
                if try readRecord(group.record)?.isVisible != true { ids.insert(group.record) }
            }
            return ids.sorted()
        }
    }

    /// The plus keeps SQLite from the index by kind.
    static let needsByEnd: StaticString = """
        SELECT id FROM record WHERE substr(id, 15) = ? AND +kind = ? AND visible = 1
        """

    /// Those of ``needIDs()`` that end with four digits; costs a look-up, and a glance at each
    /// group of the outbox.
    private func needIDs(ending end: UInt16) throws -> [RecordID] {
        let bytes = SQLValue.bytes([UInt8(end >> 8), UInt8(truncatingIfNeeded: end)])
        // A list, since few end alike.
        var ids = try connection.all(
            Self.needsByEnd, bytes, .integer(Int64(Kind.need.rawValue))
        ) { RecordID(bytes: $0.bytes(at: 0)) }.compactMap { $0 }
        let groups = try connection.all(
            """
            SELECT number, replica, counter, record, state, content, chain FROM outbox
            WHERE substr(record, 15) = ? ORDER BY number
            """, bytes
        ) { OutboxGroup(row: $0) }.compactMap { $0 }
        for group in groups where group.content.createdKind == Kind.need.rawValue {
            if ids.contains(group.record) { continue }
            if try readRecord(group.record)?.isVisible != true { ids.append(group.record) }
        }
        return ids.sorted()
    }
}
