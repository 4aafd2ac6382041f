import NeedModel
import SyncCore
import Testing

@Suite struct FieldValueTests {
    private static let forms: [FieldValue.Form] = [
        .text, .integer, .location, .record, .withdrawal, .dispatch, .answer, .rating,
    ]

    private func text(_ generator: inout SplitMix64) -> String {
        let pieces = ["路灯", "a", "", "\u{0}", "👵🏽", "é", "e\u{301}", "\n", "乌拉特前旗"]
        return (0..<generator.below(5)).map { _ in
            pieces.randomElement(using: &generator)!
        }.joined()
    }

    private func value(_ form: FieldValue.Form, _ generator: inout SplitMix64) -> FieldValue {
        let order = max(generator.next() >> UInt64(generator.below(60)), 1)
        switch form {
        case .text: return .text(text(&generator))
        case .withdrawal: return .withdrawal(reason: text(&generator))
        case .integer: return .integer(generator.wildNumber())
        case .location:
            return .location(
                latitude: .random(in: -90_000_000...90_000_000, using: &generator),
                longitude: .random(in: -180_000_000...180_000_000, using: &generator))
        case .record:
            return .record(RecordID(high: generator.next(), low: generator.next()))
        case .dispatch:
            let days = CivilDate.validDays.randomElement(using: &generator)!
            return .dispatch(
                .init(
                    order: order, team: "T" + text(&generator),
                    due: generator.oneIn(3) ? nil : CivilDate(daysSince1970: days)))
        case .answer:
            return .answer(
                .init(
                    order: order,
                    verdict: FieldValue.Verdict.allCases.randomElement(using: &generator)!,
                    text: text(&generator)))
        case .rating:
            return .rating(
                .init(order: order, grade: 1 + generator.below(5), comment: text(&generator)))
        }
    }

    @Test func bytesRoundTrip() {
        forEachSeed(5_000) { generator in
            for form in Self.forms {
                let value = value(form, &generator)
                let decoded = FieldValue(form, bytes: value.bytes)
                try check(decoded == value, "\(value)")
                // Texts that Unicode calls equal are different bytes, and must stay so.
                try check(decoded?.bytes == value.bytes, "\(value)")
            }
        }
    }

    @Test func randomBytesNeverCrash() {
        forEachSeed(10_000) { generator in
            let bytes = generator.bytes(countMax: 24)
            for form in Self.forms {
                guard let value = FieldValue(form, bytes: bytes) else { continue }
                try check(FieldValue(form, bytes: value.bytes) == value, "\(form): \(bytes)")
            }
        }
    }

    @Test func everyCutAndEveryExtraByteOfACompositeIsRefused() {
        let due = CivilDate(daysSince1970: 20_000)
        let whole: [(FieldValue.Form, FieldValue, optional: Set<Int>)] = [
            (.location, .location(latitude: 40_737_000, longitude: 108_652_000), []),
            (.record, .record(RecordID(high: 1, low: 2)), []),
            (.integer, .integer(-300), []),
            // Without its last part a composite is whole too: no due day, no words.
            (.dispatch, .dispatch(.init(order: 300, team: "T1", due: due)), [5]),
            (.answer, .answer(.init(order: 300, verdict: .declined, text: "no")), [3]),
            (.rating, .rating(.init(order: 300, grade: 5, comment: "ok")), [3]),
        ]
        for (form, value, optional) in whole {
            let bytes = value.bytes
            for count in 0..<bytes.count where !optional.contains(count) {
                let cut = FieldValue(form, bytes: Array(bytes.prefix(count)))
                #expect(cut == nil, "\(form) of \(count) bytes")
            }
            #expect(FieldValue(form, bytes: bytes + [0]) == nil, "\(form) and one more")
        }
    }

    @Test func valuesOutsideTheirRangeAreRefused() {
        func bytes(_ write: (inout ByteWriter) -> Void) -> [UInt8] {
            var writer = ByteWriter()
            write(&writer)
            return writer.bytes
        }
        for (latitude, longitude) in [
            (90_000_001, 0), (-90_000_001, 0), (0, 180_000_001), (0, -180_000_001),
            (.min, 0), (.max, 0), (0, .min), (0, .max),
        ] as [(Int64, Int64)] {
            let far = bytes {
                $0.put(signed: latitude)
                $0.put(signed: longitude)
            }
            #expect(FieldValue(.location, bytes: far) == nil)
        }
        let noOrder = bytes {
            $0.put(0 as UInt64)
            $0.put("T1")
        }
        let noTeam = bytes {
            $0.put(1 as UInt64)
            $0.put("")
        }
        let noDay = bytes {
            $0.put(1 as UInt64)
            $0.put("T1")
            $0.put(signed: .max)
        }
        for bytes in [noOrder, noTeam, noDay] {
            #expect(FieldValue(.dispatch, bytes: bytes) == nil)
        }
        for verdict in [0, 5, 255] as [UInt8] {
            #expect(FieldValue(.answer, bytes: [1, verdict]) == nil)
        }
        #expect(FieldValue(.answer, bytes: [0, 1]) == nil)
        for grade in [0, 6, 127] as [UInt8] {
            #expect(FieldValue(.rating, bytes: [1, grade]) == nil)
        }
        #expect(FieldValue(.rating, bytes: [0, 5]) == nil)
    }

    @Test(arguments: [[0xc3, 0x28], [0xff], [0xed, 0xa0, 0x80], [0xc0, 0xaf]] as [[UInt8]])
    func invalidUTF8IsNoText(_ bytes: [UInt8]) {
        #expect(FieldValue(.text, bytes: bytes) == nil)
        #expect(FieldValue(.withdrawal, bytes: bytes) == nil)
        let block = [UInt8(bytes.count)] + bytes
        #expect(FieldValue(.dispatch, bytes: [1] + block) == nil)
        #expect(FieldValue(.answer, bytes: [1, 2] + block) == nil)
        #expect(FieldValue(.rating, bytes: [1, 5] + block) == nil)
    }
}
