import NeedModel
import Testing

@Suite struct RoleTests {
    /// W, T and O where worker, team and office may; the operator alone writes reference data.
    private static let matrix = """
        need             W-O
          text           W-O
          category       W-O
          grid           W-O
          resident       W-O
          phone          W-O
          address        W-O
          urgency        W-O
          location       W-O
          withdrawal     W-O
          dispatch       --O
          answer         -TO
          rating         W-O
          (unknown)      W-O
        note             WTO
          (any)          WTO
        territory        ---
          (any)          ---
        team             ---
          (any)          ---
        category         ---
          (any)          ---

        """

    private func marks(_ may: (Role) -> Bool) -> String {
        zip([Role.worker, .team, .office], "WTO").map { may($0) ? String($1) : "-" }.joined()
    }

    @Test func rolesMayWhatTheTableSays() {
        var table = ""
        func add(_ name: String, _ may: (Role) -> Bool) {
            table += name + String(repeating: " ", count: 17 - name.count) + marks(may) + "\n"
        }
        for kind in Kind.allCases {
            add("\(kind)") { $0.mayCreate(kind) }
            if kind == .need {
                for field in NeedField.allCases {
                    add("  \(field.name)") { $0.mayWrite(kind, field: field.rawValue) }
                }
                add("  (unknown)") { $0.mayWrite(kind, field: 999) }
            } else {
                add("  (any)") { $0.mayWrite(kind, field: 1) }
            }
        }
        #expect(table == Self.matrix)
    }

    @Test func namesAndNumbers() {
        #expect(Role.allCases.map(\.rawValue) == [1, 2, 3])
        for role in Role.allCases { #expect(Role(name: role.name) == role) }
        #expect(Role(name: "operator") == nil)
    }
}
