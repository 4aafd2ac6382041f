package import NeedModel
import SQLiteStore
package import SyncCore

// What people do. Each command is checked first, with the rules that the hub applies too, then
// stored as one group in one durable transaction; it returns the need as it is shown afterwards.

/// One field of a need set or, with `nil`, cleared.
package struct FieldEdit: Hashable, Sendable {
    package var field: NeedField
    package var value: FieldValue?

    package init(_ field: NeedField, _ value: FieldValue?) {
        self.field = field
        self.value = value
    }
}

/// Which version of a conflict to keep.
package enum Keep: Hashable, Sendable {
    case shown
    /// The one that is not shown; there must be exactly one.
    case other
    /// As ``ConflictSnapshot`` numbers them.
    case number(Int)
    case value(FieldValue?)
}

extension Journal {
    /// Records a need.
    ///
    /// - Parameter fields: `text` and `grid` are required; a need is not recorded with an order,
    ///   an answer, a rating or a withdrawal.
    package func addNeed(
        _ fields: [FieldEdit], clocks: ClockReading
    ) throws(JournalError) -> NeedSnapshot {
        try storing {
            let identity = try requireIdentity()
            guard identity.role.mayCreate(.need) else {
                throw JournalError.notAllowed(role: identity.role, action: .add)
            }
            let given = fields.filter { $0.value != nil }
            for required in [NeedField.text, .grid]
            where !given.contains(where: {
                $0.field == required
            }) {
                throw JournalError.missing(field: required)
            }
            try check(given, identity: identity, action: .add, isCreation: true)
            let group = try appendOne(
                to: nil, creating: Kind.need.rawValue, given.changes, clocks: clocks)
            let context = try readContext(ofOwn: identity)
            let view = compose(id: group.record, row: nil, groups: [group], context: context)
            guard let view else { preconditionFailure("what was created is shown") }
            return NeedSnapshot(view, context: context)
        }
    }

    /// Changes fields of a need.
    package func editNeed(
        _ id: RecordID, _ edits: [FieldEdit], clocks: ClockReading
    ) throws(JournalError) -> NeedSnapshot {
        try change(id, .edit, clocks: clocks) { need, identity in
            guard !need.isWithdrawn else {
                throw JournalError.wrongState(status: need.status, action: .edit)
            }
            for edit in edits where !edit.field.isContent {
                throw JournalError.invalid(
                    field: edit.field, reason: "not changed by an edit but by a command of its own")
            }
            return edits
        }
    }

    /// Hides a need everywhere, with a reason.
    package func withdraw(
        _ id: RecordID, reason: String, clocks: ClockReading
    ) throws(JournalError) -> NeedSnapshot {
        try change(id, .withdraw, clocks: clocks) { need, _ in
            guard !need.isWithdrawn else {
                throw JournalError.wrongState(status: need.status, action: .withdraw)
            }
            guard reason.contains(where: { !$0.isWhitespace }) else {
                throw JournalError.invalid(field: .withdrawal, reason: "without a reason")
            }
            return [FieldEdit(.withdrawal, .withdrawal(reason: reason))]
        }
    }

    /// Brings a withdrawn need back.
    package func undoWithdrawal(
        _ id: RecordID, clocks: ClockReading
    ) throws(JournalError) -> NeedSnapshot {
        try change(id, .undo, clocks: clocks) { need, _ in
            guard need.isWithdrawn else {
                throw JournalError.wrongState(status: need.status, action: .undo)
            }
            return [FieldEdit(.withdrawal, nil)]
        }
    }

    /// Adds a remark to a need.
    package func note(
        _ id: RecordID, text: String, clocks: ClockReading
    ) throws(JournalError) -> NoteSnapshot {
        let note = try write(creating: Kind.note.rawValue, clocks: clocks) { identity in
            guard identity.role.mayCreate(.note) else {
                throw JournalError.notAllowed(role: identity.role, action: .note)
            }
            _ = try requireNeed(id, context: readContext())
            let content = Array(text.utf8)
            let rule = FieldRule.rule(kind: .note, field: NoteField.text.rawValue)
            guard text.contains(where: { !$0.isWhitespace }) else {
                throw JournalError.invalid(field: .text, reason: "empty")
            }
            if let fault = rule?.fault(in: content) {
                throw JournalError.invalid(field: .text, reason: fault)
            }
            return [
                Change(field: NoteField.need.rawValue, value: id.bytes),
                Change(field: NoteField.text.rawValue, value: content),
            ]
        }
        guard let stored = try notes(of: id).first(where: { $0.id == note }) else {
            throw .notFound(note.description)
        }
        return stored
    }

    /// Stores the resident's grade of the finished job.
    ///
    /// - Parameter grade: 1 to 5, 5 best.
    package func rate(
        _ id: RecordID, grade: Int, comment: String = "", clocks: ClockReading
    ) throws(JournalError) -> NeedSnapshot {
        try change(id, .rate, clocks: clocks) { need, _ in
            guard (1...5).contains(grade) else {
                throw JournalError.invalid(field: .rating, reason: "not 1 to 5")
            }
            guard need.status == .finished || need.status == .rated, let dispatch = need.dispatch
            else { throw JournalError.wrongState(status: need.status, action: .rate) }
            return [
                FieldEdit(
                    .rating, .rating(.init(order: dispatch.order, grade: grade, comment: comment)))
            ]
        }
    }

    /// The team takes the job.
    package func accept(_ id: RecordID, clocks: ClockReading) throws(JournalError) -> NeedSnapshot {
        try answer(
            id, .accept, .accepted, "", from: [.dispatched, .declined], clocks: clocks)
    }

    /// The team does not take the job, or gives it back.
    package func decline(
        _ id: RecordID, reason: String, clocks: ClockReading
    ) throws(JournalError) -> NeedSnapshot {
        guard reason.contains(where: { !$0.isWhitespace }) else {
            throw .invalid(field: .answer, reason: "without a reason")
        }
        return try answer(
            id, .decline, .declined, reason, from: [.dispatched, .accepted, .started],
            clocks: clocks)
    }

    /// The team is at work.
    package func start(_ id: RecordID, clocks: ClockReading) throws(JournalError) -> NeedSnapshot {
        try answer(id, .start, .started, "", from: [.accepted], clocks: clocks)
    }

    /// The job is done, with this result.
    package func finish(
        _ id: RecordID, result: String, clocks: ClockReading
    ) throws(JournalError) -> NeedSnapshot {
        try answer(
            id, .finish, .finished, result, from: [.accepted, .started], clocks: clocks)
    }

    /// Sends a team, under a new order: earlier answers do not count for it.
    ///
    /// - Parameter team: A team's code.
    package func dispatch(
        _ id: RecordID, team: String, due: CivilDate? = nil, clocks: ClockReading
    ) throws(JournalError) -> NeedSnapshot {
        try change(id, .dispatch, clocks: clocks) { need, _ in
            switch need.status {
            case .recorded, .dispatched, .declined, .accepted, .started: break
            case .finished, .rated, .withdrawn:
                throw JournalError.wrongState(status: need.status, action: .dispatch)
            }
            let order = UInt64.random(in: 1...UInt64.max, using: &random)
            return [FieldEdit(.dispatch, .dispatch(.init(order: order, team: team, due: due)))]
        }
    }

    /// Ends a conflict: always writes a change, also of the shown value, since only a change that
    /// has seen all versions ends it.
    ///
    /// Of a contested withdrawal, keeping the withdrawal writes it again, and keeping an edit
    /// brings the need back.
    package func settle(
        _ id: RecordID, _ field: NeedField, keep: Keep, clocks: ClockReading
    ) throws(JournalError) -> NeedSnapshot {
        try change(id, .settle, clocks: clocks) { need, _ in
            guard let conflict = need.conflicts.first(where: { $0.field == field }) else {
                throw JournalError.nothingToSettle(field: field)
            }
            let kept: ConflictSnapshot.Version?
            switch keep {
            case .value(let value): return [FieldEdit(field, value)]
            case .shown: kept = conflict.versions.first(where: \.isShown)
            case .other:
                let others = conflict.versions.filter { !$0.isShown }
                guard others.count == 1 else {
                    throw JournalError.otherIsAmbiguous(count: conflict.versions.count)
                }
                kept = others[0]
            case .number(let number):
                kept = conflict.versions.first { $0.number == number }
                if kept == nil {
                    throw JournalError.noSuchVersion(
                        number: number, count: conflict.versions.count)
                }
            }
            if let kept, kept.field != field, field == .dispatch { throw JournalError.formerOrder }
            guard let kept, kept.field == field else { return [FieldEdit(field, nil)] }
            guard kept.version.value == nil || kept.value != nil else {
                throw JournalError.invalid(field: field, reason: "not well-formed")
            }
            return [FieldEdit(field, kept.value)]
        }
    }

    /// Reads a field's value as people type it.
    ///
    /// `urgency` takes a number, `location` LAT,LON in degrees, `grid` and `category` a code or a
    /// name, `dispatch` TEAM or TEAM,YYYY-MM-DD, `rating` a grade, `answer` and `withdrawal` their
    /// text. What is not typed (an order's number, a verdict) is taken from `original`.
    ///
    /// - Returns: `nil` for an empty or blank text, which clears the field.
    package func value(
        of field: NeedField, from text: String, original: FieldValue? = nil
    ) throws(JournalError) -> FieldValue? {
        guard text.contains(where: { !$0.isWhitespace }) else { return nil }
        switch (field, original) {
        case (.text, _), (.resident, _), (.phone, _), (.address, _): return .text(text)
        case (.grid, _): return .text(try gridCode(matching: text))
        case (.category, _):
            return .text(try categories().isEmpty ? text : categoryCode(matching: text))
        case (.urgency, _):
            guard let number = Int64(text) else {
                throw .invalid(field: field, reason: "not a number")
            }
            return .integer(number)
        case (.location, _):
            guard let location = Self.location(text) else {
                throw .invalid(field: field, reason: "not LAT,LON in degrees")
            }
            return location
        case (.withdrawal, _): return .withdrawal(reason: text)
        case (.dispatch, .dispatch(var dispatch)?):
            let parts = text.split(
                separator: ",", maxSplits: 1, omittingEmptySubsequences: false)
            dispatch.team = try teamCode(matching: String(parts[0]))
            if parts.count > 1 {
                guard let due = CivilDate(String(parts[1])) else {
                    throw .invalid(field: field, reason: "not a date YYYY-MM-DD")
                }
                dispatch.due = due
            }
            return .dispatch(dispatch)
        case (.answer, .answer(var answer)?):
            answer.text = text
            return .answer(answer)
        case (.rating, .rating(var rating)?):
            guard let grade = Int(text), (1...5).contains(grade) else {
                throw .invalid(field: field, reason: "not 1 to 5")
            }
            rating.grade = grade
            return .rating(rating)
        case (.dispatch, _), (.answer, _), (.rating, _):
            throw .invalid(field: field, reason: "not set this way")
        }
    }

    private static func location(_ text: String) -> FieldValue? {
        let parts = text.split(separator: ",", omittingEmptySubsequences: false)
        guard parts.count == 2 else { return nil }
        let degrees = parts.map { part in
            Double(String(part.drop(while: \.isWhitespace)))
        }
        guard let latitude = degrees[0], let longitude = degrees[1], abs(latitude) <= 90,
            abs(longitude) <= 180
        else { return nil }
        return .location(
            latitude: Int64((latitude * 1_000_000).rounded()),
            longitude: Int64((longitude * 1_000_000).rounded()))
    }
}

// MARK: - Common steps

extension NeedField {
    /// What `need edit` changes: what was recorded, not what became of it.
    package var isContent: Bool {
        switch self {
        case .text, .category, .grid, .resident, .phone, .address, .urgency, .location: true
        case .withdrawal, .dispatch, .answer, .rating: false
        }
    }
}

extension [FieldEdit] {
    var changes: [Change] {
        map { Change(field: $0.field.rawValue, value: $0.value?.bytes) }
    }
}

extension Journal {
    /// Stores one command as one group, in one transaction with what it was decided on. What kind
    /// and fields mean is the caller's business: all that is checked here are the bounds.
    ///
    /// - Parameters:
    ///   - record: `nil` for a new one.
    ///   - kind: Of a new one.
    ///   - changes: At least one, no field twice.
    package func write(
        to record: RecordID? = nil, creating kind: UInt32? = nil, clocks: ClockReading,
        _ changes: (Identity) throws -> [Change]
    ) throws(JournalError) -> RecordID {
        try storing {
            try appendOne(
                to: record, creating: kind, changes(requireIdentity()), clocks: clocks
            ).record
        }
    }

    private func appendOne(
        to record: RecordID?, creating kind: UInt32?, _ changes: [Change], clocks: ClockReading
    ) throws -> OutboxGroup {
        var writer = try readWriter()
        let id = try record ?? newRecord(of: kind ?? 0, writer: &writer, clocks: clocks)
        let group = try append(
            record: id, createdKind: kind, changes: changes, writer: &writer, clocks: clocks)
        try storeWriter(writer)
        return group
    }

    /// Changes fields of a need that is shown, in one transaction with what it was decided on.
    private func change(
        _ id: RecordID, _ action: JournalError.Action, clocks: ClockReading,
        _ edits: (NeedSnapshot, Identity) throws -> [FieldEdit]
    ) throws(JournalError) -> NeedSnapshot {
        try storing {
            let identity = try requireIdentity()
            let context = try readContext()
            let need = try requireNeed(id, context: context)
            let edits = try edits(need, identity)
            guard !edits.isEmpty else { return need }
            try check(edits, identity: identity, action: action, isCreation: false)
            _ = try appendOne(to: id, creating: nil, edits.changes, clocks: clocks)
            return try requireNeed(id, context: context)
        }
    }

    private func answer(
        _ id: RecordID, _ action: JournalError.Action, _ verdict: FieldValue.Verdict,
        _ text: String, from: [NeedStatus], clocks: ClockReading
    ) throws(JournalError) -> NeedSnapshot {
        try change(id, action, clocks: clocks) { need, identity in
            // The role first: a worker shall not be told about states.
            guard identity.role.mayWrite(.need, field: NeedField.answer.rawValue) else {
                throw JournalError.notAllowed(role: identity.role, action: action)
            }
            guard let dispatch = need.dispatch, from.contains(need.status) else {
                throw JournalError.wrongState(status: need.status, action: action)
            }
            guard identity.role != .team || dispatch.team == identity.team else {
                throw JournalError.notYourJob
            }
            return [
                FieldEdit(
                    .answer, .answer(.init(order: dispatch.order, verdict: verdict, text: text)))
            ]
        }
    }

    /// The rules that the hub will apply, as far as a device can know them.
    func check(
        _ edits: [FieldEdit], identity: Identity, action: JournalError.Action, isCreation: Bool
    ) throws {
        for (index, edit) in edits.enumerated() {
            let field = edit.field
            guard identity.role.mayWrite(.need, field: field.rawValue) else {
                throw JournalError.notAllowed(role: identity.role, action: action)
            }
            guard !edits[..<index].contains(where: { $0.field == field }) else {
                throw JournalError.invalid(field: field, reason: "given twice")
            }
            guard !isCreation || field.isContent else {
                throw JournalError.invalid(field: field, reason: "not given with a new need")
            }
            if let fault = FieldRule.rule(kind: .need, field: field.rawValue)?
                .fault(in: edit.value?.bytes)
            {
                throw JournalError.invalid(field: field, reason: fault)
            }
            switch (field, edit.value) {
            case (.grid, .text(let code)?):
                if try isAssigned(.grid(code)) { continue }
                guard TerritoryTree(try readTerritories()).isGrid(code) else {
                    throw JournalError.unknownGrid(code)
                }
                // A need may be moved into a neighbour's grid, which then is the hub's to judge;
                // recording in it is not for this device.
                guard !isCreation else { throw JournalError.outsideTerritory(grid: code) }
            case (.category, .text(let code)?):
                // Any will do while there is none.
                guard try isNamed(code, in: .category) || !holdsAny(.category) else {
                    throw JournalError.unknownCategory(code)
                }
            case (.dispatch, .dispatch(let dispatch)?):
                guard try isNamed(dispatch.team, in: .team) else {
                    throw JournalError.unknownTeam(dispatch.team)
                }
            default: break
            }
        }
    }

    /// Gives out a record's name. That of a need is no note's, even if the journal was restored
    /// under a clock that stands still.
    ///
    /// - SeeAlso: `protocol/SPEC.md` §2, *Record id*.
    func newRecord(
        of kind: UInt32, writer: inout WriterRow, clocks: ClockReading
    ) throws -> RecordID {
        guard writer.nextRecord <= RecordID.numberMask else { throw JournalError.exhausted }
        let number = writer.nextRecord + (UInt64(kind) &- writer.nextRecord) % RecordID.kindsApart
        guard number <= RecordID.numberMask else { throw JournalError.exhausted }
        writer.nextRecord = number + 1
        return RecordID(
            milliseconds: try readBoots().corrected(clocks).milliseconds,
            replica: writer.replica, number: number)
    }
}
