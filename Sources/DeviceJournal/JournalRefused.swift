package import NeedModel
import SQLiteStore
package import SyncCore

/// A command that the hub refused, or what a restored hub did not take back, or what a disk made
/// of a command; it is not shown in the need any more, but kept here with its reason until the
/// person retries or drops it.
package struct RefusedGroup: Hashable, Sendable {
    /// Its name for people, from 1, never given out twice.
    package var number: Int64
    package var record: RecordID
    /// The need that it is about: the record itself, or the one that a note belongs to.
    package var need: RecordID?
    /// `nil` for a code of a later release.
    package var code: RejectionCode?
    package var codeNumber: UInt32
    /// The field at fault, if it was one.
    package var field: UInt32?
    /// By the hub, in English, without residents' data.
    package var reason: String
    /// By the hub's clock.
    package var refusedMilliseconds: Int64
    package var written: ShownTime
    /// The kind of the record that it would have created.
    package var createdKind: UInt32?
    package var changes: [Change]

    /// In place of the hub's code: a restored hub did not take back what this device had pulled
    /// from it before. The hub's own codes begin with 1.
    package static let notTakenBackCode: UInt32 = 0
    package var isNotTakenBack: Bool { codeNumber == Self.notTakenBackCode }

    /// In place of the hub's code: the command is not as it was stored, and ``changes`` are what
    /// can be read of it.
    package static let damagedCode: UInt32 = .max
    package var isDamaged: Bool { codeNumber == Self.damagedCode }
}

extension Journal {
    /// What the hub refused, oldest first.
    package func refused() throws(JournalError) -> [RefusedGroup] {
        try reading { try readRefused() }
    }

    /// Finds a refused command by its number, or by the digits of its record's id, or of its
    /// need's, when that has only one.
    package func refused(matching text: String) throws(JournalError) -> RefusedGroup {
        let all = try refused()
        if let number = Int64(text), let found = all.first(where: { $0.number == number }) {
            return found
        }
        guard let digits = try? Self.digits(of: text) else { throw .notRefused(text) }
        let candidates = all.filter { group in
            [group.record, group.need].contains {
                $0.map { $0.digits.hasSuffix(digits) || $0.digits.hasPrefix(digits) } ?? false
            }
        }
        guard let first = candidates.first else { throw .notRefused(text) }
        guard candidates.count == 1 else {
            throw .ambiguousName(text, codes: candidates.map { "\($0.number)" })
        }
        return first
    }

    /// Does a refused command anew, as of now, with some of its values replaced.
    ///
    /// Commands that were refused only because this one's record was not created go with it.
    ///
    /// - Parameter replacing: Fields that take another value; a field that the command did not set
    ///   is added to it. Of a note, its text.
    /// - Returns: How many commands wait again.
    @discardableResult
    package func retry(
        _ number: Int64, replacing: [FieldEdit] = [], clocks: ClockReading
    ) throws(JournalError) -> Int {
        try storing {
            let identity = try requireIdentity()
            let entry = try requireRefused(number)
            var content = entry
            for change in try changes(replacing, in: entry, identity: identity) {
                if let index = content.changes.firstIndex(where: { $0.field == change.field }) {
                    content.changes[index] = change
                } else {
                    content.changes.append(change)
                }
            }
            // What a disk made of a command may name a field twice, and no batch can.
            var fields: Set<UInt32> = []
            content.changes = content.changes.filter { fields.insert($0.field).inserted }
            // A cleared optional field need not be part of a new record.
            if content.createdKind != nil { content.changes.removeAll { $0.value == nil } }
            var writer = try readWriter()
            var record = entry.record
            let isForeign =
                try !entry.record.isWellFormed
                || !readLineage().contains { $0.replica == entry.record.replica }
            if let kind = entry.createdKind, entry.code == .recordExists || isForeign {
                // The name is taken, as it can be after a copy of the journal was in use, or was
                // given by somebody else.
                record = try newRecord(of: kind, writer: &writer, clocks: clocks)
                try rename(entry.record, to: record)
            }
            // What a disk has made of an id names nothing that the hub could have.
            guard record.isWellFormed else { throw JournalError.tooDamaged }
            let dependents =
                entry.createdKind == nil
                ? []
                : try readRefused().filter {
                    // The hub never heard of a record whose creation was damaged here.
                    $0.number != number && ($0.code == .depends || $0.code == .unknownRecord)
                        && ($0.record == record || $0.need == record)
                }
            for group in [content] + dependents {
                try offerAnew(
                    group, as: group.number == number ? record : group.record, writer: &writer,
                    clocks: clocks)
            }
            try storeWriter(writer)
            return 1 + dependents.count
        }
    }

    /// What a person wants in place of what was refused, checked.
    private func changes(
        _ edits: [FieldEdit], in entry: RefusedGroup, identity: Identity
    ) throws -> [Change] {
        if entry.isNeed {
            try check(edits, identity: identity, action: .retry, isCreation: false)
            return edits.map { Change(field: $0.field.rawValue, value: $0.value?.bytes) }
        }
        return try edits.map { edit in
            guard entry.createdKind == Kind.note.rawValue, edit.field == .text else {
                throw JournalError.invalid(
                    field: edit.field, reason: "not part of what was refused")
            }
            let change = Change(field: NoteField.text.rawValue, value: edit.value?.bytes)
            guard change.value != nil else {
                throw JournalError.invalid(field: .text, reason: "missing")
            }
            let rule = FieldRule.rule(kind: .note, field: change.field)
            if let fault = rule?.fault(in: change.value) {
                throw JournalError.invalid(field: .text, reason: fault)
            }
            return change
        }
    }

    /// Notes how much the hub knows.
    ///
    /// - Parameter schema: The hub's level, as its answer says.
    /// - Returns: Whether that is more than before.
    func noteSchema(_ schema: UInt32) throws -> Bool {
        let known = try connection.first("SELECT hub_schema FROM pull") { $0.integer(at: 0) } ?? 0
        guard Int64(schema) != known else { return false }
        // What was written so far may have been judged by the hub as it was, in an answer that was
        // lost, and then the same outcome comes again.
        try connection.run(
            """
            UPDATE pull SET hub_schema = ?, hub_schema_counter = (SELECT next_counter FROM writer)
            """, .integer(Int64(schema)))
        return Int64(schema) > known
    }

    /// Whether the present replica wrote this before it was told what the hub knows now.
    func isBeforeSchema(_ counter: UInt64) throws -> Bool {
        try connection.first("SELECT hub_schema_counter FROM pull") { counter < $0.bits(at: 0) }
            ?? false
    }

    /// Puts what the hub refused for not knowing its kind back among what waits.
    ///
    /// - Returns: How many commands wait again.
    func offerAnewAfterUpgrade(clocks: ClockReading) throws -> Int {
        let refused = try readRefused()
        let upgrade = refused.filter { $0.code == .upgrade }
        let records = Set(upgrade.map(\.record))
        let dependents = refused.filter { $0.code == .depends && records.contains($0.record) }
        guard !upgrade.isEmpty else { return 0 }
        var writer = try readWriter()
        for group in (upgrade + dependents).sorted(by: { $0.number < $1.number }) {
            try offerAnew(group, as: group.record, writer: &writer, clocks: clocks)
        }
        try storeWriter(writer)
        return upgrade.count + dependents.count
    }

    private func offerAnew(
        _ group: RefusedGroup, as record: RecordID, writer: inout WriterRow, clocks: ClockReading
    ) throws {
        guard !group.changes.isEmpty else { throw JournalError.tooDamaged }
        try append(
            record: record, createdKind: group.createdKind, changes: group.changes, writer: &writer,
            clocks: clocks)
        try connection.run("DELETE FROM refused WHERE number = ?", .integer(group.number))
    }

    /// Forgets a refused command for good, and those that depended on its record.
    package func drop(_ number: Int64) throws(JournalError) {
        try storing {
            let entry = try requireRefused(number)
            try connection.run("DELETE FROM refused WHERE number = ?", .integer(number))
            guard entry.createdKind != nil else { return }
            for other in try readRefused()
            where other.code == .depends
                && (other.record == entry.record || other.need == entry.record)
            {
                try connection.run("DELETE FROM refused WHERE number = ?", .integer(other.number))
            }
        }
    }

    func storeRefused(
        _ record: RecordID, _ content: GroupContent, code: UInt32, field: UInt32, reason: String,
        at milliseconds: Int64
    ) throws {
        try connection.run(
            """
            INSERT INTO refused (record, code, field, reason, refused_at, content)
            VALUES (?, ?, ?, ?, ?, ?)
            """,
            .bytes(record.bytes), .integer(Int64(code)), .integer(Int64(field)),
            .text(reason), .integer(milliseconds), .bytes(content.bytes(of: record, under: nil)))
    }

    func readRefused() throws -> [RefusedGroup] {
        let boots = try readBoots()
        return try connection.all(
            """
            SELECT number, record, code, field, reason, refused_at, content FROM refused
            ORDER BY number
            """
        ) { row in
            let record = RecordID(bytes: row.bytes(at: 1)) ?? RecordID(high: 0, low: 0)
            let stored = row.bytes(at: 6)
            let sound = try? GroupContent(bytes: stored, of: record, under: nil)
            let content = sound ?? GroupContent(salvaging: stored)
            let code =
                sound == nil
                ? RefusedGroup.damagedCode : UInt32(truncatingIfNeeded: row.integer(at: 2))
            let field = UInt32(truncatingIfNeeded: row.integer(at: 3))
            let parent = content.changes.first { $0.field == NoteField.need.rawValue }?.value
            return RefusedGroup(
                number: row.integer(at: 0), record: record,
                need: content.createdKind == Kind.note.rawValue
                    ? parent.flatMap { RecordID(bytes: $0) } : record,
                code: RejectionCode(rawValue: code), codeNumber: code,
                field: field == 0 ? nil : field, reason: row.text(at: 4),
                refusedMilliseconds: row.integer(at: 5),
                written: ShownTime(
                    milliseconds: boots.corrected(content.written).milliseconds,
                    isApproximate: true),
                createdKind: content.createdKind, changes: content.changes)
        }
    }

    /// Those that are not as they were stored; what was damaged before it was put there is.
    func countDamagedRefused() throws -> Int {
        try connection.all("SELECT record, content FROM refused") { row in
            let content = RecordID(bytes: row.bytes(at: 0)).flatMap {
                try? GroupContent(bytes: row.bytes(at: 1), of: $0, under: nil)
            }
            return content == nil
        }.count { $0 }
    }

    private func requireRefused(_ number: Int64) throws -> RefusedGroup {
        guard let entry = try readRefused().first(where: { $0.number == number }) else {
            throw JournalError.notRefused("\(number)")
        }
        return entry
    }

    /// Gives what was refused about one record another name, in notes too.
    private func rename(_ old: RecordID, to new: RecordID) throws {
        for entry in try readRefused() {
            // What is damaged stays so, to be seen.
            guard var content = try readContent(entry) else { continue }
            var isChanged = entry.record == old
            if content.createdKind == Kind.note.rawValue {
                for index in content.changes.indices
                where content.changes[index].field == NoteField.need.rawValue
                    && content.changes[index].value == old.bytes
                {
                    content.changes[index].value = new.bytes
                    isChanged = true
                }
            }
            guard isChanged else { continue }
            let record = entry.record == old ? new : entry.record
            try connection.run(
                "UPDATE refused SET record = ?, content = ? WHERE number = ?",
                .bytes(record.bytes), .bytes(content.bytes(of: record, under: nil)),
                .integer(entry.number))
        }
    }

    /// - Returns: `nil` when it is not as it was stored.
    private func readContent(_ entry: RefusedGroup) throws -> GroupContent? {
        try connection.first(
            "SELECT content FROM refused WHERE number = ?", .integer(entry.number)
        ) { try? GroupContent(bytes: $0.bytes(at: 0), of: entry.record, under: nil) } ?? nil
    }
}

extension RefusedGroup {
    /// Whether its fields are those of a need.
    package var isNeed: Bool { createdKind == nil || createdKind == Kind.need.rawValue }

    /// What it would have made of a need's field; `nil` when nothing, or nothing that can be read.
    package func value(of field: NeedField) -> FieldValue? {
        guard isNeed, let rule = FieldRule.rule(kind: .need, field: field.rawValue) else {
            return nil
        }
        return changes.first { $0.field == field.rawValue }?.value
            .flatMap { FieldValue(rule.form, bytes: $0) }
    }
}
