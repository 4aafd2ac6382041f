import Testing

@testable import DeviceJournal

/// Behaves as a dictionary does, and has the fields in their order.
@Suite struct FieldMapTests {
    @Test func isAnOrderedDictionary() {
        var generator = Seeded(7)
        for _ in 0..<200 {
            var map = FieldMap<UInt64>()
            var model: [UInt32: UInt64] = [:]
            for _ in 0..<40 {
                let field = UInt32(generator.next() % 12)
                let value = generator.next() % 4 == 0 ? nil : generator.next()
                map[field] = value
                model[field] = value
                #expect(map[field] == value)
                #expect(map.map(\.key) == model.keys.sorted())
                #expect(map.allSatisfy { model[$0.key] == $0.value })
            }
            let doubled = map.mapValues { $0 &* 2 }
            #expect(doubled.map(\.key) == map.map(\.key))
            #expect(Array(doubled.values) == map.values.map { $0 &* 2 })
            let even = map.filter { $0.key % 2 == 0 }
            #expect(even.map(\.key) == model.keys.filter { $0 % 2 == 0 }.sorted())
            #expect(even == map || even.count < map.count)
        }
    }

    @Test func equalMapsHashAlikeHoweverTheyCameAbout() {
        var upwards = FieldMap<String>()
        var downwards = FieldMap<String>()
        for field in [1, 5, 9] as [UInt32] { upwards[field] = "\(field)" }
        for field in [9, 7, 5, 1] as [UInt32] { downwards[field] = "\(field)" }
        #expect(upwards != downwards)
        downwards[7] = nil
        #expect(upwards == downwards)
        #expect(upwards.hashValue == downwards.hashValue)
    }
}
