import NeedModel
import SQLiteStore
package import SyncCore

// People name a need by the last digits of its id, which look random (see ``RecordID``); its first
// digits are the time and much alike among needs of one day.

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
        Self.shortIDs(of: try needIDs())
    }

    /// The shortest end of an id that no other need held here has.
    package func shortID(of id: RecordID) throws(JournalError) -> String {
        var ids = try needIDs()
        if !ids.contains(id) { ids.append(id) }
        return Self.shortIDs(of: ids)[id] ?? id.digits
    }

    static func digits(of text: String) throws(JournalError) -> String {
        let wanted = text.lowercased().filter { $0 != "-" }
        guard wanted.utf8.count <= 32, wanted.allSatisfy({ $0.isASCII && $0.isHexDigit }) else {
            throw .idMalformed(text)
        }
        guard wanted.utf8.count >= JournalLimits.idDigitsMin else { throw .idTooShort(text) }
        return wanted
    }

    static func choose(
        _ wanted: String, text: String, among ids: [RecordID]
    ) throws(JournalError) -> RecordID {
        let byEnd = ids.filter { $0.digits.hasSuffix(wanted) }
        let found = byEnd.isEmpty ? ids.filter { $0.digits.hasPrefix(wanted) } : byEnd
        guard let first = found.first else { throw .notFound(text) }
        guard found.count == 1 else {
            throw .ambiguous(
                text, candidates: Array(found.sorted().prefix(JournalLimits.ambiguousMax)))
        }
        return first
    }

    static func shortIDs(of ids: [RecordID]) -> [RecordID: String] {
        // Sorted by their digits from behind, the most alike stand side by side.
        let sorted = ids.map { (id: $0, key: reversedDigits($0)) }.sorted { $0.key < $1.key }
        var result: [RecordID: String] = [:]
        for (index, entry) in sorted.enumerated() {
            var shared = 0
            if index > 0 { shared = sharedDigits(entry.key, sorted[index - 1].key) }
            if index + 1 < sorted.count {
                shared = max(shared, sharedDigits(entry.key, sorted[index + 1].key))
            }
            let length = min(32, max(JournalLimits.idDigitsMin, shared + 1))
            result[entry.id] = String(entry.id.digits.suffix(length))
        }
        return result
    }

    private static func reversedDigits(_ id: RecordID) -> (UInt64, UInt64) {
        func reversed(_ number: UInt64) -> UInt64 {
            (0..<16).reduce(0) { $0 << 4 | (number >> UInt64(4 * $1)) & 0xF }
        }
        return (reversed(id.low), reversed(id.high))
    }

    private static func sharedDigits(_ left: (UInt64, UInt64), _ right: (UInt64, UInt64)) -> Int {
        left.0 == right.0
            ? 16 + (left.1 ^ right.1).leadingZeroBitCount / 4
            : (left.0 ^ right.0).leadingZeroBitCount / 4
    }

    /// Needs that are shown, withdrawn ones too.
    private func needIDs() throws(JournalError) -> [RecordID] {
        try reading {
            var ids = Set<RecordID>()
            try connection.forEach(
                "SELECT id FROM record WHERE kind = ? AND visible = 1",
                .integer(Int64(Kind.need.rawValue))
            ) { ids.insert(try $0.record(at: 0)) }
            for group in try readOutbox() where group.content.createdKind == Kind.need.rawValue {
                if ids.contains(group.record) { continue }
                if try readRecord(group.record) == nil { ids.insert(group.record) }
            }
            return ids.sorted()
        }
    }
}
