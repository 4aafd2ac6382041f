import NeedModel
import SyncCore
import Testing

/// Runs `protocol/vectors` that concern field values and scopes.
@Suite struct ModelVectorTests {
    /// A value's meaning in JSON: a text, a number, or an object of such.
    private struct Meaning: Decodable {
        struct Parts: Decodable {
            let latitude: Int64?
            let longitude: Int64?
            let order: Exact<UInt64>?
            let team: String?
            let dueDays: Int64?
            let verdict: UInt8?
            let text: String?
            let grade: Int?
            let comment: String?
        }

        let text: String?
        let number: Int64?
        let parts: Parts?

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            text = try? container.decode(String.self)
            number = (try? container.decode(Exact<Int64>.self))?.value
            parts = try? container.decode(Parts.self)
        }

        func value(_ form: FieldValue.Form) throws -> FieldValue {
            switch form {
            case .text: return .text(try #require(text))
            case .withdrawal: return .withdrawal(reason: try #require(text))
            case .integer: return .integer(try #require(number))
            case .record:
                let text = try #require(text)
                return .record(try #require(RecordID(text)))
            case .location:
                let parts = try #require(parts)
                return .location(
                    latitude: try #require(parts.latitude),
                    longitude: try #require(parts.longitude))
            case .dispatch:
                let parts = try #require(parts)
                return .dispatch(
                    .init(
                        order: try #require(parts.order).value, team: try #require(parts.team),
                        due: parts.dueDays.flatMap { CivilDate(daysSince1970: $0) }))
            case .answer:
                let parts = try #require(parts)
                let verdict = try #require(parts.verdict)
                return .answer(
                    .init(
                        order: try #require(parts.order).value,
                        verdict: try #require(FieldValue.Verdict(rawValue: verdict)),
                        text: try #require(parts.text)))
            case .rating:
                let parts = try #require(parts)
                return .rating(
                    .init(
                        order: try #require(parts.order).value, grade: try #require(parts.grade),
                        comment: try #require(parts.comment)))
            }
        }
    }

    private static let forms: [String: FieldValue.Form] = [
        "text": .text, "integer": .integer, "location": .location, "record": .record,
        "withdrawal": .withdrawal, "dispatch": .dispatch, "answer": .answer, "rating": .rating,
    ]

    @Test func fieldValues() throws {
        struct Case: Decodable {
            let form: String
            let bytes: Hex
            let meaning: Meaning
        }
        struct Hostile: Decodable {
            let form: String
            let about: String
            let bytes: Hex
        }
        struct File: Decodable {
            let cases: [Case]
            let hostile: [Hostile]
        }
        let file = try Vectors.load("field-values", as: File.self)
        #expect(Set(file.cases.map(\.form)).count == Self.forms.count)
        for one in file.cases {
            let form = try #require(Self.forms[one.form])
            let value = try one.meaning.value(form)
            #expect(value.bytes == one.bytes.bytes, "\(one.form)")
            #expect(FieldValue(form, bytes: one.bytes.bytes) == value, "\(one.form)")
        }
        for one in file.hostile {
            let form = try #require(Self.forms[one.form])
            #expect(FieldValue(form, bytes: one.bytes.bytes) == nil, "\(one.form): \(one.about)")
        }
    }

    /// Late answers, conflicts and status, change by change.
    @Test func needs() throws {
        for (number, history) in try NeedHistory.all().enumerated() {
            var registers: [UInt32: Register] = [:]
            var late = Register()
            for step in history.steps {
                let field = try #require(NeedField(rawValue: step.field))
                let version = step.version
                registers[step.field, default: Register()].insert(version)
                LateAnswers.update(&late, after: field, version: version) {
                    registers[$0.rawValue] ?? Register()
                }
                let place: Comment = "history \(number), step \(step.sequence)"
                #expect(late.versions.map(\.sequence) == step.late.map(\.sequence), place)
                #expect(late.versions.map(\.value) == step.late.map { $0.value?.bytes }, place)
                let withdrawal = NeedField.withdrawal.rawValue
                let contested = Tombstone.contestedFields(
                    of: registers[withdrawal] ?? Register(),
                    among: registers.filter { $0.key != withdrawal }.map {
                        (field: $0.key, register: $0.value)
                    })
                #expect(contested == step.contested, place)
                let conflicts = NeedConflicts.fields(isDeleteContested: !contested.isEmpty) {
                    $0 == LateAnswers.field ? late : registers[$0] ?? Register()
                }
                #expect(conflicts.map(\.rawValue) == step.conflicts, place)
                let progress = NeedProgress(late: late) { registers[$0.rawValue] ?? Register() }
                #expect(progress.status.rawValue == step.status, place)
            }
        }
    }

    @Test func scopes() throws {
        struct Case: Decodable {
            let buckets: [String]
            let sorted: [String]
            let scope: Hex
        }
        struct File: Decodable { let cases: [Case] }
        for one in try Vectors.load("scopes", as: File.self).cases {
            let scope = Scope(try one.buckets.map { try #require(Bucket(name: $0)) })
            #expect(scope.buckets.map(\.name) == one.sorted)
            #expect(scope.id == one.scope.bytes.reduce(0) { $0 << 8 | UInt64($1) })
        }
    }

    @Test func scopeDigests() throws {
        struct Held: Decodable {
            let places: UInt8
            let digest: Hex
        }
        struct Case: Decodable {
            let records: [Held]
            let scopeDigest: Hex
        }
        struct File: Decodable { let scopes: [Case] }
        func number(_ hex: Hex) -> UInt64 { hex.bytes.reduce(0) { $0 << 8 | UInt64($1) } }
        let cases = try Vectors.load("digests", as: File.self).scopes
        #expect(cases.count >= 4)
        for one in cases {
            let sum = one.records.reduce(0) {
                $0 &+ HeldPlaces(rawValue: $1.places).count &* number($1.digest)
            }
            #expect(sum == number(one.scopeDigest))
        }
    }

    @Test func placesAreThoseOfTheScope() {
        let scope = Scope([.reference, .recordedBy(device: 7), .team("T1"), .grid("G1")])
        #expect(scope.places(of: Placement(isReference: true)) == .reference)
        let everywhere = Placement(grid: "G1", team: "T1", device: 7)
        #expect(scope.places(of: everywhere) == [.recorder, .team, .grid])
        #expect(scope.places(of: everywhere).count == 3)
        #expect(scope.places(of: Placement(grid: "G2", team: "T1", device: 8)) == .team)
        #expect(scope.places(of: Placement(grid: "G2")) == [])
    }
}
