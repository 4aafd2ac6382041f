import Foundation

/// A value of JSON as Foundation, not we, reads it.
enum JSON: Sendable, Equatable {
    case null
    case bool(Bool)
    case number(Double)
    case text(String)
    case list([JSON])
    case object([String: JSON])

    init(parsing bytes: [UInt8]) throws {
        self.init(
            try JSONSerialization.jsonObject(with: Data(bytes), options: [.fragmentsAllowed]))
    }

    private init(_ value: Any) {
        switch value {
        case let text as String: self = .text(text)
        case let list as [Any]: self = .list(list.map { JSON($0) })
        case let object as [String: Any]: self = .object(object.mapValues { JSON($0) })
        case let number as NSNumber:
            // What Foundation made of true and false is a number too, told by its C type.
            self =
                String(cString: number.objCType) == "c"
                ? .bool(number.boolValue) : .number(number.doubleValue)
        default: self = .null
        }
    }

    /// A member of an object; `null` when there is none.
    subscript(name: String) -> JSON {
        if case .object(let members) = self { return members[name] ?? .null }
        return .null
    }

    subscript(index: Int) -> JSON {
        if case .list(let elements) = self, elements.indices.contains(index) {
            return elements[index]
        }
        return .null
    }

    var elements: [JSON] {
        if case .list(let elements) = self { return elements }
        return []
    }

    var text: String? {
        if case .text(let text) = self { return text }
        return nil
    }

    var integer: Int? {
        if case .number(let number) = self { return Int(exactly: number) }
        return nil
    }

    var isTrue: Bool { self == .bool(true) }
}

/// What a value of JSON must look like: the contract that scripts rely on.
indirect enum Shape: Sendable {
    case text, integer, bool
    case anything
    /// A full record id.
    case id
    /// RFC 3339 with milliseconds and the banner's offset.
    case time
    /// `YYYY-MM-DD`.
    case date
    case optional(Shape)
    case list(Shape)
    /// Exactly these members.
    case object([String: Shape])
    /// Any names, values of one shape.
    case dictionary(Shape)
    case oneOf([String])

    /// The names of all members, at any depth.
    var names: Set<String> {
        switch self {
        case .optional(let shape), .list(let shape), .dictionary(let shape): shape.names
        case .object(let shapes):
            shapes.values.reduce(into: Set(shapes.keys)) { $0.formUnion($1.names) }
        case .text, .integer, .bool, .anything, .id, .time, .date, .oneOf: []
        }
    }

    /// Where a value departs from the shape; empty when it fits.
    func faults(in value: JSON, at place: String = "$") -> [String] {
        func wrong(_ expected: String) -> [String] { ["\(place): \(value) is not \(expected)"] }
        switch (self, value) {
        case (.text, .text), (.bool, .bool), (.anything, _): return []
        case (.integer, .number(let number)):
            return number == number.rounded() ? [] : wrong("whole")
        case (.id, .text(let text)):
            return text.wholeMatch(of: /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/) == nil
                ? wrong("an id") : []
        case (.time, .text(let text)):
            let form = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+08:00/
            let reader = ISO8601DateFormatter()
            reader.formatOptions = [.withInternetDateTime, .withFractionalSeconds]
            return text.wholeMatch(of: form) == nil || reader.date(from: text) == nil
                ? wrong("a time of RFC 3339 at +08:00") : []
        case (.date, .text(let text)):
            return text.wholeMatch(of: /\d{4}-\d\d-\d\d/) == nil ? wrong("a date") : []
        case (.optional(let shape), _):
            return value == .null ? [] : shape.faults(in: value, at: place)
        case (.oneOf(let texts), .text(let text)):
            return texts.contains(text) ? [] : wrong("one of \(texts)")
        case (.list(let shape), .list(let elements)):
            return elements.enumerated().flatMap { index, element in
                shape.faults(in: element, at: "\(place)[\(index)]")
            }
        case (.dictionary(let shape), .object(let members)):
            return members.sorted { $0.key < $1.key }.flatMap { name, member in
                shape.faults(in: member, at: "\(place).\(name)")
            }
        case (.object(let shapes), .object(let members)):
            let names = Set(shapes.keys)
            var faults = names.subtracting(members.keys).sorted().map { "\(place): no \($0)" }
            faults += Set(members.keys).subtracting(names).sorted()
                .map { "\(place): \($0) is not in the contract" }
            for (name, shape) in shapes.sorted(by: { $0.key < $1.key }) {
                guard let member = members[name] else { continue }
                faults += shape.faults(in: member, at: "\(place).\(name)")
            }
            return faults
        default: return wrong("\(self)")
        }
    }
}
