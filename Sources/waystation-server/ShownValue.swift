import NeedModel
import SyncCore
import TerminalUI

/// A field's value for people and for JSON.
struct ShownValue {
    private let value: FieldValue?
    private let isCleared: Bool

    /// - Parameter bytes: As stored; `nil` for a field that was cleared.
    init(field: NeedField, bytes: [UInt8]?) {
        isCleared = bytes == nil
        let rule = FieldRule.rule(kind: .need, field: field.rawValue)
        value = bytes.flatMap { bytes in rule.flatMap { FieldValue($0.form, bytes: bytes) } }
    }

    func text(in language: Language) -> String {
        switch value {
        case nil:
            isCleared
                ? Phrase("(cleared)", "（已清空）")(language)
                : Phrase("(unreadable)", "（无法显示）")(language)
        case .text(let text): text
        case .withdrawal(let reason): reason
        case .integer(let number): String(number)
        case .location(let latitude, let longitude):
            "\(Double(latitude) / 1e6),\(Double(longitude) / 1e6)"
        case .record(let id): id.description
        case .dispatch(let dispatch):
            [dispatch.team, dispatch.due?.description].compactMap { $0 }.joined(separator: ", ")
        case .answer(let answer):
            [answer.verdict.phrase(language), answer.text].filter { !$0.isEmpty }
                .joined(separator: ": ")
        case .rating(let rating):
            [String(rating.grade), rating.comment].filter { !$0.isEmpty }.joined(separator: ": ")
        }
    }

    var json: JSONValue {
        switch value {
        case nil: nil
        case .text(let text): .string(text)
        case .withdrawal(let reason): .string(reason)
        case .integer(let number): .integer(Int(number))
        case .location(let latitude, let longitude):
            [
                "latitude": .double(Double(latitude) / 1e6),
                "longitude": .double(Double(longitude) / 1e6),
            ]
        case .record(let id): .string(id.description)
        case .dispatch(let dispatch):
            [
                "team": .string(dispatch.team),
                "due": dispatch.due.map { .string($0.description) } ?? nil,
            ]
        case .answer(let answer):
            ["verdict": .string("\(answer.verdict)"), "text": .string(answer.text)]
        case .rating(let rating):
            ["grade": .integer(rating.grade), "comment": .string(rating.comment)]
        }
    }
}
