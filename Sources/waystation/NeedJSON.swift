import DeviceJournal
import NeedModel
import SyncCore
import TerminalUI

// The JSON that `--json` prints. Names and forms are a contract (README, "JSON"): members are
// added, never renamed or removed.

extension JSONValue {
    init(_ text: String?) { self = text.map { .string($0) } ?? .null }

    init(_ number: UInt64) { self = .integer(Int(clamping: number)) }

    static func strings(_ texts: some Sequence<String>) -> JSONValue {
        .array(texts.map { .string($0) })
    }
}

extension NeedScreen {
    func json(_ time: ShownTime) -> JSONValue { .string(rfc3339(time.milliseconds)) }

    func json(_ need: NeedSnapshot) -> JSONValue {
        .object([
            ("id", .string(need.id.description)),
            ("short_id", .string(shortID(need.id))),
            ("status", .string(need.status.rawValue)),
            ("text", .string(need.text)),
            ("category", JSONValue(need.category)),
            ("category_name", JSONValue(need.category.map(categoryName))),
            ("grid", JSONValue(need.grid)),
            ("grid_name", JSONValue(need.grid.map(gridName))),
            ("resident", JSONValue(need.resident)),
            ("phone", JSONValue(need.phone)),
            ("address", JSONValue(need.address)),
            ("urgency", need.urgency.map { .integer($0) } ?? .null),
            (
                "location",
                JSONValue(
                    need.location.map { text(of: .location(latitude: $0, longitude: $1)) })
            ),
            ("recorded_at", json(need.created)),
            ("recorded_at_approximate", .bool(need.created.isApproximate)),
            ("recorded_by", JSONValue(need.creator)),
            ("dispatch", json(need.dispatch)),
            ("answer", json(need.answer, at: need.answerVersion?.time)),
            ("rating", json(need.rating)),
            ("withdrawal", JSONValue(need.withdrawalReason)),
            ("overdue", .bool(need.isOverdue(today: today))),
            ("new", .bool(need.isNew)),
            ("unsent", .bool(need.isWaiting)),
            ("conflicts", .strings(need.conflicts.map(\.field.name))),
        ])
    }

    private func json(_ dispatch: FieldValue.Dispatch?) -> JSONValue {
        guard let dispatch else { return .null }
        return .object([
            ("team", .string(dispatch.team)), ("team_name", .string(teamName(dispatch.team))),
            ("due", JSONValue(dispatch.due?.description)),
        ])
    }

    private func json(_ answer: FieldValue.Answer?, at time: ShownTime?) -> JSONValue {
        guard let answer else { return .null }
        return .object([
            ("verdict", .string("\(answer.verdict)")), ("text", .string(answer.text)),
            ("at", time.map(json) ?? .null),
        ])
    }

    private func json(_ rating: FieldValue.Rating?) -> JSONValue {
        guard let rating else { return .null }
        return .object([
            ("grade", .integer(rating.grade)), ("comment", .string(rating.comment)),
        ])
    }

    func json(_ note: NoteSnapshot) -> JSONValue {
        .object([
            ("id", .string(note.id.description)), ("text", .string(note.text)),
            ("recorded_at", json(note.created)), ("recorded_by", JSONValue(note.creator)),
            ("unsent", .bool(note.isWaiting)),
        ])
    }

    func json(_ line: HistoryLine) -> JSONValue {
        .object([
            ("field", .string(line.field?.name ?? "\(line.fieldNumber)")),
            ("value", line.field.map { json(line.value, field: $0) } ?? .null),
            ("at", json(line.time)), ("at_approximate", .bool(line.time.isApproximate)),
            ("by", JSONValue(line.writer)),
            ("replica", .string(line.dot.replica.description)),
            ("counter", JSONValue(line.dot.counter)),
            ("sequence", line.sequence == 0 ? .null : JSONValue(line.sequence)),
            ("live", .bool(line.isLive)), ("shown", .bool(line.isWinner)),
            (
                "clock",
                .object(
                    line.clock.entries.map {
                        ($0.replica.description, JSONValue($0.counter))
                    })
            ),
        ])
    }

    /// A value as a script would read it: codes stay codes.
    func json(_ bytes: [UInt8]?, field: NeedField) -> JSONValue {
        guard let bytes, let rule = FieldRule.rule(kind: .need, field: field.rawValue),
            let value = FieldValue(rule.form, bytes: bytes)
        else { return .null }
        switch value {
        case .text(let text), .withdrawal(let text): return .string(text)
        case .integer(let number): return .integer(Int(number))
        case .location, .record: return .string(text(of: value))
        case .dispatch(let dispatch): return json(dispatch)
        case .answer(let answer): return json(answer, at: nil)
        case .rating(let rating): return json(rating)
        }
    }

    func json(_ conflict: ConflictSnapshot) -> JSONValue {
        .object([
            ("id", .string(conflict.need.description)),
            ("field", .string(conflict.field.name)),
            ("contested_withdrawal", .bool(conflict.isContestedWithdrawal)),
            (
                "versions",
                .array(
                    conflict.versions.map { version in
                        .object([
                            ("number", .integer(version.number)),
                            ("field", .string(version.field.name)),
                            ("value", json(version.version.value, field: version.field)),
                            ("at", json(version.version.time)),
                            ("by", JSONValue(version.version.writer)),
                            ("shown", .bool(version.isShown)),
                        ])
                    })
            ),
        ])
    }
}
