import NeedModel
import SyncCore
import Testing

@Suite struct SchemaTests {
    private func fault(_ kind: Kind, _ field: UInt32, _ bytes: [UInt8]?) -> String? {
        FieldRule.rule(kind: kind, field: field)?.fault(in: bytes)
    }

    private func fault(_ field: NeedField, _ value: FieldValue?) -> String? {
        fault(.need, field.rawValue, value?.bytes)
    }

    @Test func numbersAndNamesAreThoseOfTheProtocol() {
        #expect(Kind.allCases.map(\.rawValue) == [1, 2, 3, 4, 5])
        #expect(NeedField.allCases.map(\.rawValue) == Array(1...12))
        #expect(
            NeedField.allCases.map(\.name) == [
                "text", "category", "grid", "resident", "phone", "address", "urgency", "location",
                "withdrawal", "dispatch", "answer", "rating",
            ])
        for field in NeedField.allCases { #expect(NeedField(name: field.name) == field) }
        #expect(NeedField(name: "status") == nil)
        #expect(RejectionCode.allCases.map(\.rawValue) == Array(1...12))
        #expect(Set(RejectionCode.allCases.map(\.name)).count == 12)
        #expect(Kind.allCases.filter(\.isReference) == [.territory, .team, .category])
    }

    @Test func unknownFieldsHaveNoRule() {
        for kind in Kind.allCases {
            #expect(FieldRule.rule(kind: kind, field: 0) == nil)
            #expect(FieldRule.rule(kind: kind, field: 13) == nil)
            #expect(FieldRule.rule(kind: kind, field: .max) == nil)
        }
    }

    @Test func requiredFieldsCannotBeCleared() {
        for (kind, required) in [
            (.need, [1, 3]), (.note, [1, 2]), (.territory, [1, 2, 3]), (.team, [1, 2, 3]),
            (.category, [1, 2]),
        ] as [(Kind, Set<UInt32>)] {
            for field in 1...12 as ClosedRange<UInt32>
            where FieldRule.rule(kind: kind, field: field) != nil {
                let expected = required.contains(field) ? "cannot be cleared" : nil
                #expect(fault(kind, field, nil) == expected, "\(kind) \(field)")
            }
        }
    }

    @Test(
        arguments: [
            (1, 8_192), (2, 64), (3, 64), (4, 256), (5, 256), (6, 1_024),
        ] as [(UInt32, Int)])
    func textsHaveALimitInBytes(field: UInt32, limit: Int) {
        let fits = [UInt8](repeating: 0x61, count: limit)
        #expect(fault(.need, field, fits) == nil)
        #expect(fault(.need, field, fits + [0x61]) == "longer than \(limit) bytes")
        let huge = [UInt8](repeating: 0x61, count: 100_000)
        #expect(fault(.need, field, huge) == "longer than \(limit) bytes")
        // The limit counts bytes, so three to a Chinese character.
        let chinese = String(repeating: "灯", count: limit / 3 + 1)
        #expect(fault(.need, field, Array(chinese.utf8)) == "longer than \(limit) bytes")
        #expect(fault(.need, field, []) == "empty")
        #expect(fault(.need, field, [0xff]) == "not well-formed")
    }

    @Test func compositesHaveTheirLimitInside() {
        func text(_ count: Int) -> String { String(repeating: "a", count: count) }
        for (count, expected) in [(4_096, nil), (4_097, "longer than 4096 bytes")]
            as [(Int, String?)]
        {
            let text = text(count)
            #expect(
                fault(.answer, .answer(.init(order: 1, verdict: .finished, text: text)))
                    == expected)
            #expect(
                fault(.rating, .rating(.init(order: 1, grade: 1, comment: text))) == expected)
        }
        for (count, expected) in [(1_024, nil), (1_025, "longer than 1024 bytes")]
            as [(Int, String?)]
        {
            #expect(fault(.withdrawal, .withdrawal(reason: text(count))) == expected)
            #expect(
                fault(.dispatch, .dispatch(.init(order: .max, team: text(count), due: nil)))
                    == expected)
        }
    }

    @Test func otherFaults() {
        #expect(fault(.urgency, .integer(1)) == nil)
        #expect(fault(.urgency, .integer(3)) == nil)
        #expect(fault(.urgency, .integer(0)) == "not 1 to 3")
        #expect(fault(.urgency, .integer(.max)) == "not 1 to 3")
        #expect(fault(.need, NeedField.urgency.rawValue, []) == "not well-formed")
        #expect(fault(.location, .location(latitude: 0, longitude: 0)) == nil)
        #expect(
            fault(.answer, .answer(.init(order: 1, verdict: .declined))) == "without a reason")
        #expect(fault(.answer, .answer(.init(order: 1, verdict: .accepted))) == nil)
        #expect(fault(.withdrawal, .withdrawal(reason: "")) == nil)
        #expect(fault(.note, NoteField.need.rawValue, [1, 2]) == "not well-formed")
    }

    /// Residents' data stays out of errors and logs.
    @Test func faultsNameNoValue() {
        let secret = "13904781234"
        for field in NeedField.allCases {
            let long = Array(String(repeating: secret, count: 2_000).utf8)
            let text = fault(.need, field.rawValue, long) ?? ""
            #expect(!text.isEmpty)
            #expect(!text.contains(secret))
        }
    }
}
