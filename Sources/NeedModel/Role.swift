/// What a device's person does; given by the invite, judged by the hub as of now.
package enum Role: UInt8, Sendable, CaseIterable {
    case worker = 1
    case team = 2
    case office = 3

    package var name: String {
        switch self {
        case .worker: "worker"
        case .team: "team"
        case .office: "office"
        }
    }

    package init?(name: String) {
        guard let role = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = role
    }

    package func mayCreate(_ kind: Kind) -> Bool {
        switch kind {
        case .need: self != .team
        case .note: true
        case .territory, .team, .category: false
        }
    }

    /// Whoever may write a field may settle its conflicts. A field that this program does not know
    /// is left to those who may create the record.
    package func mayWrite(_ kind: Kind, field: UInt32) -> Bool {
        guard kind == .need else { return mayCreate(kind) }
        if field == LateAnswers.field { return false }
        guard let field = NeedField(rawValue: field) else { return mayCreate(kind) }
        switch field {
        case .text, .category, .grid, .resident, .phone, .address, .urgency, .location,
            .withdrawal, .rating:
            return self != .team
        case .answer: return self != .worker
        case .dispatch: return self == .office
        }
    }
}
