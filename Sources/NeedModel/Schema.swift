/// What a record is. Numbers are never reused.
package enum Kind: UInt32, Sendable, CaseIterable {
    case need = 1
    case note = 2
    case territory = 3
    case team = 4
    case category = 5

    /// Reference data comes from the hub's operator alone and goes to everyone.
    package var isReference: Bool {
        switch self {
        case .need, .note: false
        case .territory, .team, .category: true
        }
    }
}

/// How much a program knows. A hub is given its own when it starts, and tells devices.
package struct SchemaLevel: Hashable, Sendable {
    /// Grows by one whenever a ``Kind`` is added, so that devices learn of a hub's upgrade.
    package var number: UInt32
    package var kinds: Set<Kind>

    package init(number: UInt32, kinds: Set<Kind>) {
        self.number = number
        self.kinds = kinds
    }

    /// This program's.
    package static let current = SchemaLevel(number: 1, kinds: Set(Kind.allCases))

    /// - Returns: `nil` for a kind of a later program.
    package func kind(_ number: UInt32) -> Kind? {
        Kind(rawValue: number).flatMap { kinds.contains($0) ? $0 : nil }
    }
}

/// The fields of a need. Numbers are never reused.
package enum NeedField: UInt32, Sendable, CaseIterable {
    case text = 1
    case category = 2
    case grid = 3
    case resident = 4
    case phone = 5
    case address = 6
    case urgency = 7
    case location = 8
    /// The need's tombstone: set to a reason it hides the need, cleared it shows it again.
    case withdrawal = 9
    case dispatch = 10
    case answer = 11
    case rating = 12

    /// The field's name in JSON and on the command line.
    package var name: String {
        switch self {
        case .text: "text"
        case .category: "category"
        case .grid: "grid"
        case .resident: "resident"
        case .phone: "phone"
        case .address: "address"
        case .urgency: "urgency"
        case .location: "location"
        case .withdrawal: "withdrawal"
        case .dispatch: "dispatch"
        case .answer: "answer"
        case .rating: "rating"
        }
    }

    package init?(name: String) {
        guard let field = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = field
    }
}

package enum NoteField: UInt32, Sendable, CaseIterable {
    case need = 1
    case text = 2
}

package enum TerritoryField: UInt32, Sendable, CaseIterable {
    case code = 1
    case name = 2
    case level = 3
    case parent = 4
}

package enum TeamField: UInt32, Sendable, CaseIterable {
    case code = 1
    case name = 2
    case territory = 3
}

package enum CategoryField: UInt32, Sendable, CaseIterable {
    case code = 1
    case name = 2
}

/// What the fields of a kind may hold.
package struct FieldRule: Sendable {
    package var form: FieldValue.Form
    /// For texts, and for the text inside a composite, bytes of UTF-8.
    package var bytesMax: Int
    package var range: ClosedRange<Int64>?
    /// Whether a record cannot be without it: given at creation, never cleared.
    package var isRequired: Bool

    private init(
        _ form: FieldValue.Form, bytesMax: Int = 1_024, range: ClosedRange<Int64>? = nil,
        isRequired: Bool = false
    ) {
        self.form = form
        self.bytesMax = bytesMax
        self.range = range
        self.isRequired = isRequired
    }

    /// - Returns: `nil` for a field that this program does not know: it merges as opaque bytes.
    package static func rule(kind: Kind, field: UInt32) -> FieldRule? {
        switch kind {
        case .need: NeedField(rawValue: field).map(rule)
        case .note:
            switch NoteField(rawValue: field) {
            case .need: FieldRule(.record, isRequired: true)
            case .text: FieldRule(.text, bytesMax: 8_192, isRequired: true)
            case nil: nil
            }
        case .territory:
            TerritoryField(rawValue: field).map {
                FieldRule(.text, bytesMax: 256, isRequired: $0 != .parent)
            }
        case .team: TeamField(rawValue: field).map { _ in FieldRule(.text, isRequired: true) }
        case .category:
            CategoryField(rawValue: field).map { _ in FieldRule(.text, isRequired: true) }
        }
    }

    private static let requiredOfNeed = NeedField.allCases.filter { rule($0).isRequired }
        .map(\.rawValue)
    private static let requiredOfNote = NoteField.allCases.map(\.rawValue)

    /// The fields that a device must give when it creates a record, ascending; of reference data,
    /// which none creates, no field.
    package static func required(of kind: Kind) -> [UInt32] {
        switch kind {
        case .need: requiredOfNeed
        case .note: requiredOfNote
        case .territory, .team, .category: []
        }
    }

    private static func rule(_ field: NeedField) -> FieldRule {
        switch field {
        case .text: FieldRule(.text, bytesMax: 8_192, isRequired: true)
        case .grid: FieldRule(.text, bytesMax: 64, isRequired: true)
        case .category: FieldRule(.text, bytesMax: 64)
        case .resident, .phone: FieldRule(.text, bytesMax: 256)
        case .address: FieldRule(.text)
        case .urgency: FieldRule(.integer, range: 1...3)
        case .location: FieldRule(.location)
        case .withdrawal: FieldRule(.withdrawal)
        case .dispatch: FieldRule(.dispatch)
        case .answer: FieldRule(.answer, bytesMax: 4_096)
        case .rating: FieldRule(.rating, bytesMax: 4_096)
        }
    }

    /// Why a value cannot stand, or `nil` when it can. Says nothing of the value itself.
    package func fault(in bytes: [UInt8]?) -> String? {
        guard let bytes else { return faultWhenCleared }
        return bytes.withUnsafeBufferPointer { fault(in: $0) }
    }

    /// Why a field cannot be cleared.
    package var faultWhenCleared: String? { isRequired ? "cannot be cleared" : nil }

    /// The same of a value that lies among others.
    package func fault(in bytes: UnsafeBufferPointer<UInt8>) -> String? {
        guard bytes.count <= bytesMax + 32 else { return "longer than \(bytesMax) bytes" }
        guard let outline = FieldOutline(form, bytes) else { return "not well-formed" }
        if outline.text.count > bytesMax { return "longer than \(bytesMax) bytes" }
        switch form {
        case .text:
            if outline.text.isEmpty { return "empty" }
        case .integer:
            if let range, !range.contains(outline.number) {
                return "not \(range.lowerBound) to \(range.upperBound)"
            }
        case .answer:
            if outline.number == Int64(FieldValue.Verdict.declined.rawValue),
                outline.text.isEmpty
            {
                return "without a reason"
            }
        case .withdrawal, .dispatch, .rating, .location, .record:
            break
        }
        return nil
    }
}

/// Why the hub refuses a group. Numbers are part of the protocol and never reused.
package enum RejectionCode: UInt32, Sendable, CaseIterable {
    /// A value is not of its field's form, too long, out of range or missing.
    case invalid = 1
    /// The kind of record is unknown to this hub: offered anew after an upgrade.
    case upgrade = 2
    /// The role may not write this field or kind.
    case role = 3
    /// The record lies outside the device's territory or team.
    case scope = 4
    case unknownRecord = 5
    /// The creation of the record was refused.
    case depends = 6
    case unknownGrid = 7
    case unknownCategory = 8
    case unknownTeam = 9
    /// A grade for an order that is not finished.
    case notFinished = 10
    /// The record exists, or its id is not one that this writer can give.
    case recordExists = 11
    /// The hub's disk has altered the record beyond reading.
    case unreadable = 12

    /// A stable name for JSON.
    package var name: String {
        switch self {
        case .invalid: "invalid"
        case .upgrade: "upgrade"
        case .role: "role"
        case .scope: "scope"
        case .unknownRecord: "unknown-record"
        case .depends: "depends"
        case .unknownGrid: "unknown-grid"
        case .unknownCategory: "unknown-category"
        case .unknownTeam: "unknown-team"
        case .notFinished: "not-finished"
        case .recordExists: "record-exists"
        case .unreadable: "unreadable"
        }
    }
}
