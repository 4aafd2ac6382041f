/// A JSON value whose objects keep the order of their members.
///
/// For `--json`, which is a contract: the same command must give the same bytes. A library exists,
/// `JSONEncoder` in FoundationEssentials, but it costs start-up time in a program that runs for
/// milliseconds, and it loses the order of keys. This one only writes.
///
/// Literals work: `["id": .string(id), "open": 3, "tags": ["a", nil]]`.
package enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    case integer(Int)
    /// JSON has no infinities and no NaN; they are written as `null`, as ECMAScript does.
    case double(Double)
    case string(String)
    case array([JSONValue])
    /// Members in the order written; keys are not checked for repetition.
    case object([(String, JSONValue)])

    /// Without any space.
    package var compact: String { text(indent: nil) }

    /// Indented by two spaces, without a line feed at the end.
    package var pretty: String { text(indent: 0) }

    package static func == (left: JSONValue, right: JSONValue) -> Bool {
        left.compact == right.compact
    }

    private func text(indent: Int?) -> String {
        var text = ""
        write(to: &text, indent: indent)
        return text
    }

    private func write(to text: inout String, indent: Int?) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .integer(let value): text += String(value)
        case .double(let value): text += value.isFinite ? value.description : "null"
        case .string(let value): Self.quote(value, to: &text)
        case .array(let values):
            Self.enclose(values, in: ("[", "]"), to: &text, indent: indent) { value, text, indent in
                value.write(to: &text, indent: indent)
            }
        case .object(let members):
            Self.enclose(members, in: ("{", "}"), to: &text, indent: indent) { one, text, indent in
                Self.quote(one.0, to: &text)
                text += indent == nil ? ":" : ": "
                one.1.write(to: &text, indent: indent)
            }
        }
    }

    private static func enclose<Item>(
        _ items: [Item], in brackets: (String, String), to text: inout String, indent: Int?,
        writeItem: (Item, inout String, Int?) -> Void
    ) {
        text += brackets.0
        for (index, item) in items.enumerated() {
            if index > 0 { text += "," }
            if let indent { text += "\n" + String(repeating: "  ", count: indent + 1) }
            writeItem(item, &text, indent.map { $0 + 1 })
        }
        if let indent, !items.isEmpty { text += "\n" + String(repeating: "  ", count: indent) }
        text += brackets.1
    }

    /// Escapes what RFC 8259 §7 demands and, so that JSON on a terminal is as harmless as other
    /// output, every scalar that ``sanitised(_:keepingLines:)`` would replace. All are in the
    /// basic plane, so no surrogate pair is needed.
    private static func quote(_ string: String, to text: inout String) {
        text += "\""
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            case "\u{08}": text += "\\b"
            case "\u{0C}": text += "\\f"
            case _ where isUnsafeOnTerminal(scalar):
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default:
                text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }
}

extension JSONValue: ExpressibleByNilLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral, ExpressibleByStringInterpolation,
    ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    package init(nilLiteral: ()) { self = .null }
    package init(booleanLiteral value: Bool) { self = .bool(value) }
    package init(integerLiteral value: Int) { self = .integer(value) }
    package init(floatLiteral value: Double) { self = .double(value) }
    package init(stringLiteral value: String) { self = .string(value) }
    package init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    package init(dictionaryLiteral elements: (String, JSONValue)...) { self = .object(elements) }
}
